"""Ping every three minutes, the end after ten silent ones or a day: over real sockets, on a leaping clock."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.exchange import Exchange
from qt_actors.exchange.limits import Limits
from qt_actors.exchange.streams import serve_stream
from qt_actors.exchange.ws_api import PATH as API
from qt_actors.exchange.ws_api import serve_ws_api

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

DAY_S, PING_S = 86_400, 180
SOCKETS_FIRST_S = 0.002  # what was sent on loopback is there by then
PATHS = ["/market/ws/btcusdt@kline_1m", "/private/ws/none", API]


class LeapingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock leaps to its next timer when no socket has anything to say."""

    def __init__(self) -> None:
        inner = selectors.DefaultSelector()
        super().__init__(inner)
        self._leapt_s = 0.0
        self._wait = inner.select
        inner.select = self._select  # type: ignore[method-assign]

    def time(self) -> float:
        return super().time() + self._leapt_s

    def _select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= SOCKETS_FIRST_S:
            return self._wait(timeout)
        ready = self._wait(SOCKETS_FIRST_S)
        if not ready:
            self._leapt_s += timeout - SOCKETS_FIRST_S
        return ready


def converse(path: str, talk: Callable[[aiohttp.ClientWebSocketResponse], Awaitable[None]]) -> None:
    """Talk to an exchange whose market stands, on one connection."""
    exchange = Exchange(ExchangeConfig(symbols=("BTCUSDT",)))
    limits = Limits(lambda: 0.0, 10**6, 10**6, 10**6)

    async def serve(request: web.Request) -> Any:
        return await (
            serve_ws_api(request, exchange, limits) if request.path == API else serve_stream(request, exchange)
        )

    async def run() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", serve)
        runner = web.AppRunner(app, handle_signals=False)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}{path}"
        async with aiohttp.ClientSession() as session, session.ws_connect(url, autoping=False) as stream:
            await talk(stream)
        await runner.cleanup()

    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        runner.run(run())
    exchange.close()


async def pings_until_close(stream: aiohttp.ClientWebSocketResponse, *, pong: bool) -> tuple[list[float], int | None]:
    """Seconds between pings, and the code of the close."""
    loop = asyncio.get_running_loop()
    before, heard = loop.time(), []
    while True:
        message = await stream.receive()
        if message.type is not aiohttp.WSMsgType.PING:
            return heard, stream.close_code
        assert message.data.isdigit()
        heard.append(loop.time() - before)
        before = loop.time()
        if pong:
            await stream.pong(message.data)


@pytest.mark.parametrize("path", PATHS)
def test_a_client_that_answers_is_pinged_every_three_minutes_and_closed_after_a_day(path: str) -> None:
    async def talk(stream: aiohttp.ClientWebSocketResponse) -> None:
        heard, code = await pings_until_close(stream, pong=True)
        assert code == 1001
        assert len(heard) == DAY_S / PING_S - 1
        assert min(heard[1:]) > PING_S - 1

    converse(path, talk)


@pytest.mark.parametrize("path", PATHS)
def test_a_client_that_never_answers_is_closed_after_ten_minutes(path: str) -> None:
    async def talk(stream: aiohttp.ClientWebSocketResponse) -> None:
        heard, code = await pings_until_close(stream, pong=False)
        assert (len(heard), code) == (3, 1008)

    converse(path, talk)
