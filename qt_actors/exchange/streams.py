"""The WebSocket side: routes and control frames.

Paths: `/<route>/ws/<s1>/<s2>`, `/<route>/ws` with SUBSCRIBE, `/<route>/stream?streams=a/b` for the routes public and
market; `/private/ws/<listenKey>`, `/private/ws?listenKey=K&events=A/B`, `/private/stream?listenKey=K`. The legacy
`/ws` and `/stream` connect and acknowledge like them and deliver public streams only.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import WSMsgType, web

from qt_actors.exchange.connections import connect
from qt_actors.exchange.subscribers import POLICY_VIOLATION, STREAMS_MAX, Subscriber, ws_frame

if TYPE_CHECKING:
    from qt_actors.exchange.exchange import Exchange

ROUTES: Final = frozenset({"public", "market", "private"})
CONTROL_FRAMES_MAX: Final = 15  # in one second; more is answered with 1008 (observed: 15 of a burst of 40 answered)


def is_stream_path(path: str) -> bool:
    """Whether a request path belongs to the WebSocket side."""
    parts = path.split("/")
    first = parts[1] if len(parts) > 1 else ""
    return first in ROUTES or first in {"ws", "stream"}


async def serve_stream(request: web.Request, exchange: Exchange) -> web.StreamResponse:
    """One WebSocket connection from handshake to close."""
    route, form, names = _addressed(request.path)
    if form not in {"ws", "stream"} or request.headers.get("Upgrade", "").lower() != "websocket":
        return web.Response(status=404, text="{}", content_type="application/json")

    async def converse(socket: web.WebSocketResponse, client: Subscriber) -> None:
        _begin(request, client, exchange, names)
        await _converse(socket, client, exchange)

    return await connect(request, exchange, route, converse, combined=form == "stream")


def _begin(request: web.Request, client: Subscriber, exchange: Exchange, names: list[str]) -> None:
    """Subscribe to what the address names."""
    hub = exchange.hub
    asked = [*names, *"/".join(request.query.getall("streams", [])).split("/")]
    if client.route == "private":
        events = "/".join(request.query.getall("events", []))
        client.events = frozenset(filter(None, events.replace(",", "/").split("/")))
        for key in [*request.query.getall("listenKey", []), *asked]:
            _attach(client, exchange, key)
        return
    for name in filter(None, asked):
        hub.subscribe(client, name)
        if client.route == "legacy" and "private" in hub.unrouted:
            _attach(client, exchange, name)
    if len(client.streams) > STREAMS_MAX:
        client.close(POLICY_VIOLATION, "Too many subscriptions")


def _attach(client: Subscriber, exchange: Exchange, key: str) -> None:
    """Let a private client hear a live listen key; any other name is as silent as on the exchange."""
    if exchange.listen_keys.is_live(key):
        exchange.hub.attach(client, key)


def _addressed(path: str) -> tuple[str, str, list[str]]:
    """Route, form ("ws" or "stream") and the stream names of a path."""
    parts = [part for part in path.split("/") if part]
    if parts[0] in ROUTES:
        return parts[0], parts[1] if len(parts) > 1 else "", parts[2:]
    return "legacy", parts[0], parts[1:]


async def _converse(socket: web.WebSocketResponse, client: Subscriber, exchange: Exchange) -> None:
    loop = asyncio.get_running_loop()
    heard: deque[float] = deque(maxlen=CONTROL_FRAMES_MAX)
    while client.closing is None:
        message = await socket.receive()
        if message.type in {WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR}:
            return
        if message.type is WSMsgType.PONG:
            client.ponged_s = loop.time()
            continue
        if len(heard) == CONTROL_FRAMES_MAX and loop.time() - heard[0] < 1.0:
            client.close(POLICY_VIOLATION, "Too many requests")
            return
        heard.append(loop.time())
        if message.type is WSMsgType.PING:
            await socket.pong(message.data)
            continue
        reply = control_reply(message.data, client, exchange)
        if not exchange.frames.is_muted(client):
            client.queue(ws_frame(orjson.dumps(reply)))
            client.flush()
        if len(client.streams) > STREAMS_MAX:
            client.close(POLICY_VIOLATION, "Too many subscriptions")


def control_reply(data: str | bytes, client: Subscriber, exchange: Exchange) -> dict[str, Any]:
    """Answer one control frame; SUBSCRIBE is acknowledged whatever it names."""
    try:
        request = orjson.loads(data)
    except orjson.JSONDecodeError as reason:
        return _error(None, 3, f"Invalid JSON: {reason}")
    if not isinstance(request, dict):
        return _error(None, 2, "Invalid request: request must be a JSON object")
    number, method, names = request.get("id"), request.get("method"), request.get("params", [])
    unsigned = isinstance(number, int) and not isinstance(number, bool) and number >= 0
    if not (number is None or unsigned or isinstance(number, str)):
        return _error(None, 2, "Invalid request: request ID must be an unsigned integer")
    if method in {"SUBSCRIBE", "UNSUBSCRIBE"}:
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return _error(number, 2, "Invalid request: params must be an array of stream names")
        return _subscribe(client, exchange, number, names, add=method == "SUBSCRIBE")
    if method == "LIST_SUBSCRIPTIONS":
        return {"result": list(client.streams), "id": number}
    if method == "SET_PROPERTY" and names in (["combined", True], ["combined", False]) and isinstance(names[1], bool):
        client.combined = names[1]
        return {"result": None, "id": number}
    if method == "GET_PROPERTY" and names == ["combined"]:
        return {"result": client.combined, "id": number}
    return _error(number, 2, f"Invalid request: unknown variant {str(method)[:60]!r}, expected one of SUBSCRIBE, "
                  "UNSUBSCRIBE, LIST_SUBSCRIPTIONS, SET_PROPERTY, GET_PROPERTY")  # fmt: skip


def _subscribe(
    client: Subscriber, exchange: Exchange, number: int | str | None, names: list[str], *, add: bool
) -> dict[str, Any]:
    for name in names:
        if not add:
            exchange.hub.unsubscribe(client, name)
        elif len(client.streams) < STREAMS_MAX or name in client.streams:
            exchange.hub.subscribe(client, name)
            if client.route == "private":
                _attach(client, exchange, name)
        else:
            client.streams[name] = None  # the one too many: the connection ends after this reply
            return _error(number, 4, "Too many subscriptions")
    return {"result": None, "id": number}


def _error(number: int | str | None, code: int, text: str) -> dict[str, Any]:
    return {"error": {"code": code, "msg": text}, "id": number}
