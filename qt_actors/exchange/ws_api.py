"""The WebSocket API (`/ws-fapi/v1`): requests as JSON frames, each answered in one frame that echoes its id.

A request is `{"id", "method", "params"}`, its signature that of all other parameters sorted by name. Behind every
method stands the REST route of the same meaning, with its weight, its order count and its reply; both kinds of request
count on the same limits. `session.logon` wants an Ed25519 key (-1020 for other accounts); after it, requests on that
connection need neither key nor signature.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import orjson
from aiohttp import WSMsgType, web
from Crypto.PublicKey import ECC

from qt_actors.exchange.connections import connect
from qt_actors.exchange.errors import UNKNOWN_503, ExchangeError, refusal
from qt_actors.exchange.faults.api import reply_under_faults
from qt_actors.exchange.gate import admit
from qt_actors.exchange.routes import ROUTES, Route
from qt_actors.exchange.signing import check_key, check_text, check_time, public_key
from qt_actors.exchange.subscribers import POLICY_VIOLATION, Subscriber, ws_frame

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qt_actors.exchange.exchange import Exchange
    from qt_actors.exchange.limits import Limits

log = logging.getLogger(__name__)

PATH: Final = "/ws-fapi/v1"
HANDSHAKE_WEIGHT: Final = 5
PINGS_MAX: Final = 5  # in one second
ID: Final = re.compile(r"[\x20-\x7e]{1,36}", re.ASCII)
METHODS: Final[dict[str, tuple[str, str]]] = {
    "order.place": ("POST", "/fapi/v1/order"),
    "order.modify": ("PUT", "/fapi/v1/order"),
    "order.cancel": ("DELETE", "/fapi/v1/order"),
    "order.status": ("GET", "/fapi/v1/order"),
    "algoOrder.place": ("POST", "/fapi/v1/algoOrder"),
    "algoOrder.cancel": ("DELETE", "/fapi/v1/algoOrder"),
    "account.balance": ("GET", "/fapi/v2/balance"),
    "v2/account.balance": ("GET", "/fapi/v3/balance"),
    "account.status": ("GET", "/fapi/v2/account"),
    "v2/account.status": ("GET", "/fapi/v3/account"),
    "account.position": ("GET", "/fapi/v2/positionRisk"),
    "v2/account.position": ("GET", "/fapi/v3/positionRisk"),
    "depth": ("GET", "/fapi/v1/depth"),
    "ticker.price": ("GET", "/fapi/v2/ticker/price"),
    "ticker.book": ("GET", "/fapi/v1/ticker/bookTicker"),
    "userDataStream.start": ("POST", "/fapi/v1/listenKey"),
    "userDataStream.ping": ("PUT", "/fapi/v1/listenKey"),
    "userDataStream.stop": ("DELETE", "/fapi/v1/listenKey"),
}
SESSION: Final = frozenset({"session.logon", "session.status", "session.logout"})
TOLD_LIMITS: Final = (("ORDERS", "SECOND"), ("ORDERS", "MINUTE"), ("REQUEST_WEIGHT", "MINUTE"))


class _Number(str):
    """A JSON number as it was written: what the client signed."""

    __slots__ = ()


class Conversation:
    """One connection's requests and replies.

    Args:
        exchange: whom it asks.
        limits: what it counts on.
        since_ms: exchange time of the handshake.
        told: whether replies carry rateLimits unless a request says otherwise.
    """

    def __init__(self, exchange: Exchange, limits: Limits, since_ms: int, *, told: bool = True) -> None:
        self._exchange = exchange
        self._limits = limits
        self._since_ms = since_ms
        self._told = told
        self._logged_on: tuple[str, int] | None = None

    def reply(self, data: str | bytes) -> dict[str, Any]:
        """The answer to one frame; never raises."""
        number, told, route = None, self._told, None
        try:
            request = _parsed(data)
            number = _id_of(request)
            method, params = _asked(request)
            told = _told(params, self._told)
            route = ROUTES[METHODS[method]] if method in METHODS else None
            answer = {"id": number, "status": 200, "result": self._result(method, route, params)}
        except ExchangeError as refused:
            answer = {"id": number, "status": refused.http_status, "error": self._error(refused)}
        except OSError:  # the disk keeps nothing: nobody knows what became of it
            answer = {"id": number, "status": 503, "error": {"code": -1000, "msg": UNKNOWN_503}}
        except Exception:  # a bug here must not silence the connection
            log.exception("a WebSocket API request")
            text = "An unknown error occured while processing the request."
            answer = {"id": number, "status": 500, "error": {"code": -1000, "msg": text}}
        if told:
            answer["rateLimits"] = self._rate_limits(orders=route is not None and bool(route.orders))
        return answer

    def _result(self, method: str, route: Route | None, params: dict[str, str]) -> Any:
        exchange = self._exchange
        if route is None:
            self._limits.count_weight(1)
            return self._session(method, params)
        signature = params.pop("signature", "")
        if self._logged_on is not None and not signature and "apiKey" not in params:
            admit(route, params, self._logged_on[0], _nothing, exchange, self._limits)
        else:
            check = partial(check_text, _signed_texts(params), signature, exchange.config.api_secret)
            admit(route, params, params.pop("apiKey", None), check, exchange, self._limits)
        return _reshaped(method, route.answer(exchange, params), exchange)

    def _session(self, method: str, params: dict[str, str]) -> dict[str, Any]:
        """Log on or off, or only say who is; -1020 for any other method, and for a key that may not log on."""
        exchange, secret = self._exchange, self._exchange.config.api_secret
        if method not in SESSION or (method == "session.logon" and not isinstance(public_key(secret), ECC.EccKey)):
            raise ExchangeError(-1020, "This operation is not supported.")
        if method == "session.logon":
            signature = params.pop("signature", "")
            texts, key = _signed_texts(params), params.pop("apiKey", "")
            check_key(key, exchange.config.api_key)
            check_text(texts, signature, secret)
            check_time(params, exchange.clock)
            self._logged_on = key, exchange.clock.told_ms()
        elif method == "session.logout":
            self._logged_on = None
        key_, since = self._logged_on or (None, None)
        return {
            "apiKey": key_,
            "authorizedSince": since,
            "connectedSince": self._since_ms,
            "returnRateLimits": self._told,
            "serverTime": exchange.clock.told_ms(),
        }

    def _error(self, refused: ExchangeError) -> dict[str, Any]:
        error: dict[str, Any] = {"code": refused.code, "msg": refused.msg}
        if refused.http_status in {418, 429}:
            now = self._limits.wall_ms()
            error["data"] = {"serverTime": now, "retryAfter": now + 1000 * self._limits.retry_after_s()}
        return error

    def _rate_limits(self, *, orders: bool) -> list[dict[str, Any]]:
        counts = self._limits.counts()
        rows = {(row["rateLimitType"], row["interval"]): row for row in self._exchange.config.rate_limits()}
        return [{**rows[kind], "count": counts[kind]} for kind in (TOLD_LIMITS if orders else TOLD_LIMITS[2:])]


def _nothing() -> None:
    """No signature is looked for in a session that is logged on."""


def _parsed(data: str | bytes) -> dict[str, Any]:
    try:
        request = json.loads(data, parse_float=_Number, parse_int=_Number, parse_constant=str)
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict):
        raise ExchangeError(-1135, "Invalid JSON Request")
    return request


def _id_of(request: dict[str, Any]) -> int | str | None:
    number = request.get("id")
    if number is None:
        return None
    if isinstance(number, _Number) and re.fullmatch(r"-?[0-9]{1,18}", number):
        return int(number)
    if isinstance(number, str) and not isinstance(number, _Number) and ID.fullmatch(number):
        return str(number)
    raise refusal(-1100, "id", "^[a-zA-Z0-9-_]{1,36}$")


def _asked(request: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Method and parameters as texts; a null parameter is one that was not sent."""
    method, sent = request.get("method"), request.get("params")
    if not isinstance(method, str) or isinstance(method, _Number):
        raise refusal(-1102, "method")
    if sent is None:
        return method, {}
    if not isinstance(sent, dict):
        raise refusal(-1102, "params")
    return method, {name: _text(name, value) for name, value in sent.items() if value is not None}


def _text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str) or not _is_unicode(name + value):
        raise refusal(-1130, name if _is_unicode(name) else "?")
    return str(value)


def _is_unicode(text: str) -> bool:
    """Whether it can be written at all: JSON may escape halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _told(params: dict[str, str], default: bool) -> bool:
    told = params.get("returnRateLimits")
    return default if told is None else told != "false"


def _signed_texts(params: Mapping[str, str]) -> tuple[str, ...]:
    """What a client may have signed: the parameters sorted by name, plain, with an encoded symbol, or all encoded."""
    pairs = sorted(params.items())
    return (
        "&".join(f"{name}={value}" for name, value in pairs),
        "&".join(f"{name}={quote(value) if name == 'symbol' else value}" for name, value in pairs),
        urlencode(pairs),
    )


def _reshaped(method: str, reply: Any, exchange: Exchange) -> Any:
    """The two replies that differ from REST's."""
    if method == "v2/account.position":
        return [
            {("unrealizedProfit" if name == "unRealizedProfit" else name): row[name] for name in row} for row in reply
        ]
    if method != "ticker.book":
        return reply
    market = exchange.market
    rows = [
        {"lastUpdateId": int(market.print_ids[market.row_of[row["symbol"]]]) + 1, **row}
        for row in (reply if isinstance(reply, list) else [reply])
    ]
    return rows if isinstance(reply, list) else rows[0]


async def serve_ws_api(request: web.Request, exchange: Exchange, limits: Limits) -> web.StreamResponse:
    """One connection from handshake to close: pinged every three minutes, 24 hours old at most."""
    try:
        limits.count_weight(HANDSHAKE_WEIGHT)
    except ExchangeError as refused:
        content = {"code": refused.code, "msg": refused.msg}
        retry = {"Retry-After": str(limits.retry_after_s())}
        return web.json_response(content, status=refused.http_status, headers=retry)
    told = request.query.get("returnRateLimits") != "false"
    conversation = Conversation(exchange, limits, exchange.clock.told_ms(), told=told)
    return await connect(request, exchange, "api", partial(_converse, conversation, exchange))


async def _converse(
    conversation: Conversation, exchange: Exchange, socket: web.WebSocketResponse, client: Subscriber
) -> None:
    loop = asyncio.get_running_loop()
    pings: deque[float] = deque(maxlen=PINGS_MAX)
    while client.closing is None:
        message = await socket.receive()
        if client.closing is not None:  # nothing is carried out any more: it may be the exchange that stops
            return
        if message.type in {WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR}:
            return
        if message.type in {WSMsgType.TEXT, WSMsgType.BINARY}:
            answer = await reply_under_faults(exchange, message.data, conversation.reply, METHODS)
            if answer is None:
                client.cut()
                return
            client.queue(ws_frame(orjson.dumps(answer, default=str)))
            client.flush()
            continue
        if len(pings) == PINGS_MAX and loop.time() - pings[0] < 1.0:
            client.close(POLICY_VIOLATION, "Too many requests")
            return
        pings.append(loop.time())
        if message.type is WSMsgType.PONG:
            client.ponged_s = loop.time()
        else:
            await socket.pong(message.data)
