"""Acting on requests: late, lost, refused, cut answers, and orders that the exchange itself ends."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qsl

import orjson
from aiohttp import web

from qt_actors.exchange.faults.fault import REQUEST, SPOILERS, Facts, delay_ms

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from qt_actors.exchange.exchange import Exchange
    from qt_actors.exchange.faults.desk import Hit
    from qt_actors.exchange.faults.fault import Fault

    Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

PAGE: Final = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
STATUS_PATH: Final = "/sapi/v1/system/status"


class _Refusal(NamedTuple):
    """HTTP status, code and text of a kind; `executed` None is said by the fault."""

    status: int
    code: int | None
    text: str
    executed: bool | None = False


UNKNOWN: Final = "Unknown error, please check your request or try again later."
REFUSALS: Final[dict[str, _Refusal]] = {
    "unknown_executed": _Refusal(503, None, UNKNOWN, executed=True),
    "unknown_not_executed": _Refusal(503, None, UNKNOWN),
    "unavailable": _Refusal(503, None, "Service Unavailable."),
    "internal_error": _Refusal(503, -1001, "Internal error; unable to process your request. Please try again."),
    "throttled": _Refusal(
        503, -1008, "Server is currently overloaded with other requests. Please try again in a few minutes."
    ),
    "bad_reply": _Refusal(
        400, -1006, "An unexpected response was received from the message bus. Execution status unknown.", executed=None
    ),
    "backend_timeout": _Refusal(
        408,
        -1007,
        "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
        executed=None,
    ),
    "too_many_requests": _Refusal(
        429,
        -1003,
        "Too many requests; current limit of IP(127.0.0.1) is 2400 requests per minute. "
        "Please use the websocket for live updates to avoid polling the API.",
    ),
    "too_many_orders": _Refusal(429, -1015, "Too many new orders; current limit is 300 orders per TEN_SECONDS."),
    "banned": _Refusal(
        418,
        -1003,
        "Way too many requests; IP(127.0.0.1) banned until {until}. "
        "Please use the websocket for live updates to avoid bans.",
    ),
    "bad_timestamp": _Refusal(400, -1021, "Timestamp for this request is outside of the recvWindow."),
    "maintenance": _Refusal(503, -1016, "This service is no longer available."),
}


async def answer_under_faults(request: web.Request, exchange: Exchange, healthy: Answer) -> web.StreamResponse:
    """Answer one request as `healthy` would, and as the faults want it."""
    desk = exchange.desk
    if desk.lasting("maintenance") and request.path != STATUS_PATH:
        return _json(REFUSALS["maintenance"])
    if not desk.concerns(REQUEST):
        return await healthy(request)
    facts = await _facts(request)
    hits = desk.hits(facts)
    await _wait(hits, executed=False)
    before = _first(hits, executed=False)
    if before is not None:
        return _spoilt(request, before)
    if _empties_the_book(facts, hits):
        exchange.operate("spoil", {"do": "empty_book", "symbol": facts.symbol, "side": facts.side})
        exchange.stands = True  # no new price before the order is there
    try:
        reply = await healthy(request)
    finally:
        exchange.stands = False
    if not isinstance(reply, web.Response):
        return reply  # a stream that has ended
    _end_orders(exchange, facts, reply, hits)
    await _wait(hits, executed=True)
    after = _first(hits, executed=True)
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


def _first(hits: Iterable[Hit], *, executed: bool) -> Fault | None:
    """The first fault that spoils the answer before, or after, the request is carried out."""
    for hit in hits:
        if hit.fault.kind in SPOILERS and _is_executed(hit.fault) == executed:
            return hit.fault
    return None


async def _wait(hits: Iterable[Hit], *, executed: bool) -> None:
    late = [hit for hit in hits if hit.fault.kind == "latency" and hit.fault.executed == executed]
    if late:
        await asyncio.sleep(sum(delay_ms(hit.fault, hit.count) for hit in late) / 1000)


def _spoilt(request: web.Request, fault: Fault) -> web.Response:
    """The answer that comes instead; after a `drop` nobody hears it."""
    if fault.kind == "drop":
        if request.transport is not None:
            request.transport.abort()
        return web.Response()
    if fault.kind == "bad_gateway":
        return web.Response(body=PAGE, status=502, content_type="text/html")
    known = REFUSALS.get(fault.kind) or _Refusal(fault.status, fault.code, fault.text)
    return _json(known, fault.retry_after_s)


def _json(refusal: _Refusal, retry_after_s: int = 0) -> web.Response:
    """Binance's shape; the 503 texts come without a code."""
    text = refusal.text.format(until=int(time.time() * 1000) + 1000 * retry_after_s) if retry_after_s else refusal.text
    content: dict[str, Any] = {} if refusal.code is None else {"code": refusal.code}
    headers = {"Retry-After": str(retry_after_s)} if retry_after_s else {}
    body = orjson.dumps({**content, "msg": text})
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


def _empties_the_book(facts: Facts, hits: Iterable[Hit]) -> bool:
    return facts.side in {"BUY", "SELL"} and any(hit.fault.kind == "no_liquidity" for hit in hits)


def _end_orders(exchange: Exchange, facts: Facts, reply: web.Response, hits: Iterable[Hit]) -> None:
    """End the order that was accepted just now, after the fault's time."""
    for hit in hits:
        if hit.fault.kind != "expire_order" or reply.status != 200 or facts.method != "POST":
            continue
        told = orjson.loads(reply.body) if isinstance(reply.body, bytes) else {}
        name = next((name for name in ("orderId", "algoId") if isinstance(told, dict) and name in told), None)
        if name is not None:
            wire = {"do": "expire", name: str(told[name])}
            asyncio.get_running_loop().call_later(hit.fault.ms / 1000, exchange.operate, "spoil", wire)
