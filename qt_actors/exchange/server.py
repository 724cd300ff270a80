"""The exchange on a socket: one aiohttp application for REST and streams, on one port, with one loop that moves time.

`ExchangeServer` lives on a running event loop; `serve_in_thread` gives it a thread and a loop of its own, which is how
a trader embeds it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import uvloop
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

from qt_actors.exchange import ws_api
from qt_actors.exchange.candle_files import MarketDataError
from qt_actors.exchange.control import PATHS as CONTROL_PATHS
from qt_actors.exchange.control import SLICE_BARS, Control
from qt_actors.exchange.exchange import AHEAD_MAX_MS, Exchange
from qt_actors.exchange.faults.control import PATH as FAULTS_PATH
from qt_actors.exchange.faults.control import serve_faults
from qt_actors.exchange.faults.moments import tick as faults_tick
from qt_actors.exchange.faults.requests import answer_under_faults
from qt_actors.exchange.limits import Limits
from qt_actors.exchange.rest import BODY_BYTES_MAX, refused_unavailable, serve_rest
from qt_actors.exchange.streams import is_stream_path, serve_stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from qt_actors.exchange.config import ExchangeConfig
    from qt_actors.exchange.market import Market

log = logging.getLogger(__name__)

TICK_S: Final = 0.025
STOP_TIMEOUT_S: Final = 5.0


def _http_log() -> logging.Logger:
    """The HTTP layer's log, without a trace for every client whose HTTP is broken: it has been answered 400."""
    http_log = logging.getLogger(f"{__name__}.http")
    http_log.addFilter(_is_ours)
    return http_log


def _is_ours(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], (HttpProcessingError, RequestPayloadError)))


class ExchangeServer:
    """An exchange that listens.

    Args:
        config: its settings.

    Raises:
        MarketDataError, RulesError, StateError: a file cannot be used.
    """

    def __init__(self, config: ExchangeConfig) -> None:
        self.exchange = Exchange(config)
        self._config = config
        self._limits = Limits(
            lambda: time.time() * 1000.0,
            config.request_weight_max,
            config.orders_minute_max,
            config.orders_ten_seconds_max,
        )
        self._control = Control(self.exchange)
        self._stopping = False
        self._runner: web.AppRunner | None = None
        self._mover: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Listen and let time move; the port.

        Raises:
            OSError: the port is taken.
        """
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=1.0,
            max_line_size=BODY_BYTES_MAX,
            logger=_http_log(),
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._config.host, self._config.port)
        await site.start()
        self._mover = asyncio.create_task(self._move())
        port: int = self._runner.addresses[0][1]
        return port

    async def stop(self) -> None:
        """Save, tell the clients (close 1001) and stop listening."""
        self._stopping = True
        self._control.cut()
        tasks = [task for task in (self._mover, self._reading) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._mover = None
        try:
            self.exchange.close()
        except OSError as reason:
            log.error("the account could not be saved at the stop: %s", reason)  # noqa: TRY400 - one line says it
        for client in self.exchange.hub.clients:
            client.close(1001, "Exchange stops")
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def pause(self) -> None:
        """Stop exchange time; requests go on being answered."""
        self.exchange.clock.pause()

    def resume(self) -> None:
        """Let exchange time go on."""
        if not self.exchange.ended:
            self.exchange.clock.resume()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if self._stopping:  # the account is saved already
            return refused_unavailable()
        if request.path == FAULTS_PATH:
            return await serve_faults(request, self.exchange.desk)
        if request.path in CONTROL_PATHS:
            return await self._control.serve(request)
        return await answer_under_faults(request, self.exchange, self._serve_healthy)

    async def _serve_healthy(self, request: web.Request) -> web.StreamResponse:
        if is_stream_path(request.path):
            return await serve_stream(request, self.exchange)
        if request.path == ws_api.PATH and request.headers.get("Upgrade", "").lower() == "websocket":
            return await ws_api.serve_ws_api(request, self.exchange, self._limits)
        return await serve_rest(request, self.exchange, self._limits)

    async def _move(self) -> None:
        """Move time and streams; a slice that fails is a bug, told once and tried again at the next tick."""
        failed = ""
        while True:
            try:
                await self._tick()
                failed = ""
            except OSError as reason:
                if repr(reason) != failed:
                    failed = repr(reason)
                    log.error("the account cannot be saved: %s", reason)  # noqa: TRY400 - one line says it
            except Exception as reason:
                if repr(reason) != failed:
                    failed = repr(reason)
                    log.exception("the market stands at %d", self.exchange.market.now_ms)
            await asyncio.sleep(min(TICK_S, AHEAD_MAX_MS / 1000.0 / self.exchange.clock.speed))

    async def _tick(self) -> None:
        exchange = self.exchange
        exchange.commit()  # what could not be saved before: time waits for it
        while not exchange.step(SLICE_BARS * exchange.market.interval_ms):
            exchange.hub.tick(exchange.clock.real_ms())
            exchange.commit()
            exchange.wait_for_market()
            await asyncio.sleep(0)
        key = exchange.listen_keys.expired()
        if key is not None:
            exchange.hub.expire(key, exchange.clock.now_ms())
        exchange.hub.tick(exchange.clock.real_ms())
        faults_tick(exchange)
        exchange.commit()
        exchange.snapshot_if_due()
        if self._reading is None and exchange.market.history.wants_more(exchange.market.open_ms()):
            self._reading = asyncio.create_task(self._read_ahead())

    async def _read_ahead(self) -> None:
        """Read the next stretch of candles on another thread, while the market walks the present one."""
        market = self.exchange.market
        try:
            more = await asyncio.get_running_loop().run_in_executor(None, market.history.fetch)
            market.history.extend(more, market.open_ms())
        except MarketDataError as reason:
            log.error("%s", reason)  # noqa: TRY400 - the market meets it again when it gets there, with its trace
        finally:
            self._reading = None


class ServedExchange:
    """An exchange in a thread of its own.

    Attributes:
        port: where it listens.
        account: the id of its account.
        engine, clock, market: its parts, to be read only while it is paused or stopped (another thread owns them).
    """

    def __init__(self, config: ExchangeConfig) -> None:
        self._server = ExchangeServer(config)
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="exchange", daemon=True)
        self._thread.start()
        try:
            self.port: int = self._call(self._server.start())
        except BaseException:
            self._end()
            raise
        self.account = self._server.exchange.account
        self.engine = self._server.exchange.engine
        self.clock = self._server.exchange.clock

    @property
    def market(self) -> Market:
        """Its market."""
        return self._server.exchange.market

    @property
    def ended(self) -> bool:
        """Whether the market has no candle left."""
        return self._server.exchange.ended

    def pause(self) -> None:
        """Stop exchange time; when this returns it stands still."""
        self._call(self._on_its_thread(self._server.pause))

    def resume(self) -> None:
        """Let exchange time go on."""
        self._call(self._on_its_thread(self._server.resume))

    def stop(self) -> None:
        """Save, close and end the thread; a second call does nothing."""
        if self._thread.is_alive():
            self._call(self._server.stop())
            self._end()

    async def _on_its_thread(self, act: Callable[[], None]) -> None:
        act()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(STOP_TIMEOUT_S * 4)

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_TIMEOUT_S)
        if not self._thread.is_alive():
            self._loop.close()


def serve_in_thread(config: ExchangeConfig) -> ServedExchange:
    """Start an exchange beside the caller; returns once it listens.

    Raises:
        MarketDataError, RulesError, StateError: a file cannot be used; one line each.
        OSError: the port is taken.
    """
    return ServedExchange(config)
