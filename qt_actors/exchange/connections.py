"""The life of one WebSocket connection, whatever is said on it: handshake, pings, close."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiohttp import web

from qt_actors.exchange.clock import wall_ms
from qt_actors.exchange.subscribers import POLICY_VIOLATION, Subscriber

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from qt_actors.exchange.exchange import Exchange

CONTROL_BYTES_MAX: Final = 256 * 1024
PING_EVERY_S: Final = 180.0
PONG_WITHIN_S: Final = 600.0
LIFETIME_S: Final = 24 * 3600.0


async def connect(
    request: web.Request,
    exchange: Exchange,
    route: str,
    converse: Callable[[web.WebSocketResponse, Subscriber], Awaitable[None]],
    *,
    combined: bool = False,
) -> web.StreamResponse:
    """One connection from handshake to close; `converse` talks until it shall end."""
    socket = web.WebSocketResponse(compress=False, autoping=False, max_msg_size=CONTROL_BYTES_MAX, timeout=2.0)
    await socket.prepare(request)
    transport = request.transport
    if transport is None:
        return socket
    client = Subscriber(transport, route, combined=combined)
    exchange.hub.join(client)
    keeper = asyncio.ensure_future(keep_alive(socket, client))
    try:
        await converse(socket, client)
    finally:
        keeper.cancel()
        exchange.hub.leave(client)
    return socket


def ending(age_s: float, silent_s: float) -> tuple[int, str] | None:
    """Why a connection of that age ends, whose last pong is `silent_s` ago: close code and reason; None: it goes on."""
    if silent_s > PONG_WITHIN_S:
        return POLICY_VIOLATION, "No pong"
    return (1001, "Connection is 24 hours old") if age_s >= LIFETIME_S else None


async def keep_alive(socket: web.WebSocketResponse, client: Subscriber) -> None:
    """Ping every three minutes with the time in ms; close after ten without a pong and after 24 hours."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    client.ponged_s = began
    while True:
        await asyncio.sleep(PING_EVERY_S)
        end = ending(loop.time() - began, loop.time() - client.ponged_s)
        if end is not None:
            client.close(*end)
            return
        await socket.ping(str(round(wall_ms())).encode())
