"""Acting on requests: late, lost, refused, cut answers, and orders that the exchange itself ends."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qsl

import orjson
from aiohttp import web

from qt_actors.exchange.errors import UNAVAILABLE_503, UNKNOWN_503
from qt_actors.exchange.faults.fault import REQUEST, SPOILERS, Facts, delay_ms

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from qt_actors.exchange.exchange import Exchange
    from qt_actors.exchange.faults.desk import Hit
    from qt_actors.exchange.faults.fault import Fault

    Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

PAGE: Final = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
MAINTENANCE: Final = "maintenance"
STATUS_PATH: Final = "/sapi/v1/system/status"


class Refusal(NamedTuple):
    """HTTP status, code and text of a kind; `executed` None is said by the fault."""

    status: int
    code: int | None
    text: str
    executed: bool | None = False


REFUSALS: Final[dict[str, Refusal]] = {
    "unknown_executed": Refusal(503, None, UNKNOWN_503, executed=True),
    "unknown_not_executed": Refusal(503, None, UNKNOWN_503),
    "unavailable": Refusal(503, None, UNAVAILABLE_503),
    "internal_error": Refusal(503, -1001, "Internal error; unable to process your request. Please try again."),
    "throttled": Refusal(
        503, -1008, "Server is currently overloaded with other requests. Please try again in a few minutes."
    ),
    "bad_reply": Refusal(
        400, -1006, "An unexpected response was received from the message bus. Execution status unknown.", executed=None
    ),
    "backend_timeout": Refusal(
        408,
        -1007,
        "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
        executed=None,
    ),
    "too_many_requests": Refusal(
        429,
        -1003,
        "Too many requests; current limit of IP(127.0.0.1) is 2400 requests per minute. "
        "Please use the websocket for live updates to avoid polling the API.",
    ),
    "too_many_orders": Refusal(429, -1015, "Too many new orders; current limit is 300 orders per TEN_SECONDS."),
    "banned": Refusal(
        418,
        -1003,
        "Way too many requests; IP(127.0.0.1) banned until {until}. "
        "Please use the websocket for live updates to avoid bans.",
    ),
    "bad_timestamp": Refusal(400, -1021, "Timestamp for this request is outside of the recvWindow."),
    MAINTENANCE: Refusal(503, -1016, "This service is no longer available."),
}


async def answer_under_faults(request: web.Request, exchange: Exchange, healthy: Answer) -> web.StreamResponse:
    """Answer one request as `healthy` would, and as the faults want it."""
    desk = exchange.desk
    if desk.lasting(MAINTENANCE) and request.path != STATUS_PATH:
        return _json(REFUSALS[MAINTENANCE])
    if not desk.concerns(REQUEST):
        return await healthy(request)
    facts = await _facts(request)
    hits = desk.hits(facts)
    await late(hits, executed=False)
    before = spoiler(hits, executed=False)
    if before is not None:
        return _spoilt(request, before)
    with with_empty_book(exchange, facts, hits):
        reply = await healthy(request)
        if not isinstance(reply, web.Response):
            return reply  # a stream that has ended
        again = duplicated(hits)
        if again is not None:
            second = await healthy(request)
            reply = second if again.executed and isinstance(second, web.Response) else reply
    if reply.status == 200 and isinstance(reply.body, bytes):
        end_order(exchange, facts, orjson.loads(reply.body), hits)
    await late(hits, executed=True)
    after = spoiler(hits, executed=True)
    if after is not None:
        return await _cut(request, reply, after.share) if after.kind == "partial_reply" else _spoilt(request, after)
    return reply


async def _facts(request: web.Request) -> Facts:
    """What the request shows; a body that cannot be read shows nothing, and is refused by the exchange itself."""
    try:
        body = (await request.read()).decode() if request.body_exists else ""
        query = request.rel_url.raw_query_string
        params = dict(parse_qsl(body, max_num_fields=200) + parse_qsl(query, max_num_fields=200))
    except (web.HTTPRequestEntityTooLarge, ValueError):
        params = {}
    return Facts(
        scope=REQUEST,
        method=request.method,
        path=request.path,
        symbol=params.get("symbol", "").upper(),
        side=params.get("side", ""),
        type=params.get("type", ""),
    )


def _is_executed(fault: Fault) -> bool:
    """Whether a fault strikes after the request was carried out."""
    known = REFUSALS.get(fault.kind)
    if known is not None and known.executed is not None:
        return known.executed
    return fault.executed or fault.kind == "partial_reply"


def spoiler(hits: Iterable[Hit], *, executed: bool) -> Fault | None:
    """The fault that spoils the answer before, or after, the request is carried out."""
    spoilers = (hit.fault for hit in hits if hit.fault.kind in SPOILERS)
    return next((fault for fault in spoilers if _is_executed(fault) == executed), None)


async def late(hits: Iterable[Hit], *, executed: bool) -> None:
    """Wait as the faults want it before, or after, the request is carried out."""
    delays = [delay_ms(h.fault, h.count) for h in hits if h.fault.kind == "latency" and h.fault.executed == executed]
    if delays:
        await asyncio.sleep(sum(delays) / 1000)


def duplicated(hits: Iterable[Hit]) -> Fault | None:
    """The fault by which the network brings the request a second time, as it may after a lost acknowledgement."""
    return next((hit.fault for hit in hits if hit.fault.kind == "duplicate_request"), None)


def refusal_of(fault: Fault) -> Refusal | None:
    """The refusal that a fault answers with; None when the connection just ends."""
    if fault.kind in {"drop", "partial_reply", "bad_gateway"}:
        return None
    known = REFUSALS.get(fault.kind) or Refusal(fault.status, fault.code, fault.text)
    return known._replace(text=known.text.format(until=int(time.time() * 1000) + 1000 * fault.retry_after_s))


def _spoilt(request: web.Request, fault: Fault) -> web.Response:
    """The answer that comes instead; after a `drop` nobody hears it."""
    if fault.kind == "bad_gateway":
        return web.Response(body=PAGE, status=502, content_type="text/html")
    refusal = refusal_of(fault)
    if refusal is None:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()
    return _json(refusal, fault.retry_after_s)


def _json(refusal: Refusal, retry_after_s: int = 0) -> web.Response:
    """Binance's shape; the 503 texts come without a code."""
    content: dict[str, Any] = {} if refusal.code is None else {"code": refusal.code}
    headers = {"Retry-After": str(retry_after_s)} if retry_after_s else {}
    body = orjson.dumps({**content, "msg": refusal.text})
    return web.Response(body=body, status=refusal.status, headers=headers, content_type="application/json")


async def _cut(request: web.Request, reply: web.Response, share: float) -> web.StreamResponse:
    """Send the head, which promises the whole body, and a part of it, and close."""
    body = reply.body if isinstance(reply.body, bytes) else b""
    torn = web.StreamResponse(status=reply.status, headers={**reply.headers, "Content-Length": str(len(body))})
    await torn.prepare(request)
    await torn.write(body[: min(int(len(body) * share), len(body) - 1)])
    if request.transport is not None:
        request.transport.close()
    return torn


@contextmanager
def with_empty_book(exchange: Exchange, facts: Facts, hits: Iterable[Hit]) -> Iterator[None]:
    """Let nothing be there for an order to take, and no new price come before it, if the faults want it so."""
    known = facts.side in {"BUY", "SELL"} and facts.symbol in exchange.market.row_of
    if not known or not any(hit.fault.kind == "no_liquidity" for hit in hits):
        yield
        return
    book = {"symbol": facts.symbol, "side": facts.side}
    exchange.operate("spoil", {"do": "empty_book", **book})
    exchange.stands = True
    try:
        yield
    finally:
        exchange.stands = False
        exchange.operate("spoil", {"do": "full_book", **book})


def end_order(exchange: Exchange, facts: Facts, told: Any, hits: Iterable[Hit]) -> None:
    """End the order that was accepted just now, after the fault's time, if the faults want it so."""
    name = next((name for name in ("orderId", "algoId") if isinstance(told, dict) and name in told), None)
    for hit in hits:
        if hit.fault.kind == "expire_order" and facts.method == "POST" and name is not None:
            wire = {"do": "expire", name: str(told[name])}
            asyncio.get_running_loop().call_later(hit.fault.ms / 1000, exchange.operate, "spoil", wire)
