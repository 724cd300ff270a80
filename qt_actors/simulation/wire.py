"""The wire between the trader's edges and the exchange: requests and connections with latency, loss and faults.

Above it everything is the trader's own: python-binance's methods and paths, retries, the request budget, the
classification of failures, sockets that notice silence. A request that has left arrives even when its sender dies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import orjson
from binance.async_client import AsyncClient
from websockets.exceptions import ConnectionClosedError

from qt_actors.edges.binance_errors import Failure, ReplyError
from qt_actors.exchange.errors import ExchangeError
from qt_actors.simulation.weather import Request, Weather
from qt_actors.simulation.world import ACCOUNT, World

RECV_WINDOW_MS: Final = 5_000
AHEAD_MS_MAX: Final = 1_000


class SimClient(AsyncClient):  # type: ignore[misc] # python-binance publishes no types
    """python-binance's client, whose futures requests go over the wire instead of a session."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.timestamp_ms = 0.0

    async def _request_futures_api(
        self, method: str, path: str, signed: bool = False, version: int = 1, **arguments: Any
    ) -> Any:
        params = dict(arguments.get("data", {}))
        version = params.pop("version", version)
        stamp = self.timestamp_ms if signed else None
        return await self._wire.request(method.upper(), f"/fapi/v{version}/{path}", params, stamp)


class Wire:
    """The only way from one process to the exchange and back.

    Args:
        world: with the exchange; weather: what goes wrong on the way.
    """

    def __init__(self, world: World, weather: Weather) -> None:
        self.world = world
        self._weather = weather
        self._connections: list[Connection] = []
        self.dead = False
        world.listeners.append(self._hear)

    def client(self, *_: object) -> SimClient:
        """A client on this wire."""
        return SimClient(self)

    @staticmethod
    def stamp(client: SimClient, now_ms: float) -> None:
        """Let the next signed request carry this time."""
        client.timestamp_ms = now_ms

    async def close(self, _client: object) -> None:
        """Nothing is kept open between requests."""

    async def request(self, method: str, path: str, params: dict[str, Any], stamp_ms: float | None) -> Any:
        """Send one request; its reply, or what became of it.

        Raises:
            ReplyError, Failure, TimeoutError: as the real client's.
        """
        world, weather = self.world, self._weather
        if self.dead:
            raise asyncio.CancelledError
        if weather.away():
            await asyncio.sleep(0.05)
            raise Failure("retry", 0, "cannot connect to the exchange", sent=False)
        verdict, sent_us = weather.on_request(method, path, params), world.now_us
        reply = asyncio.get_running_loop().create_future()

        def answer(value: Any, error: Exception | None) -> None:
            if reply.done() or self.dead or weather.away():
                return  # what is under way when the line is cut arrives nowhere
            if error is not None:
                reply.set_exception(error)
            else:
                reply.set_result(value)

        def arrive() -> None:
            if weather.away():
                return
            value, error = None, verdict.before or self._refused_time(stamp_ms)
            if error is None:
                value, error = self._carried_out(Request(method, path, params, sent_us))
                error = error or verdict.after
            if not verdict.lost:
                world.after(verdict.back_ms, lambda: answer(value, error))

        world.after(verdict.there_ms, arrive)
        return await reply

    def _carried_out(self, request: Request) -> tuple[Any, Exception | None]:
        """The exchange's reply, or its refusal."""
        value, error = None, None
        try:
            with self._weather.at_the_desk(self.world, request):
                value = self.world.request(request.method, request.path, request.params)
        except ExchangeError as refused:
            error = ReplyError(refused.http_status, refused.code, refused.msg)
        self._weather.carried_out(request, value)
        return value, error

    def _refused_time(self, stamp_ms: float | None) -> Exception | None:
        if stamp_ms is None:
            return None
        behind_ms = self.world.now_ms - stamp_ms
        if -AHEAD_MS_MAX < behind_ms <= RECV_WINDOW_MS:
            return None
        return ReplyError(400, -1021, "Timestamp for this request is outside of the recvWindow.")

    async def dial(self, url: str, **_: Any) -> Connection:
        """Open a connection to a stream address.

        Raises:
            TimeoutError: the exchange cannot be reached.
        """
        await asyncio.sleep(self._weather.latency_ms() / 1000)
        if self._weather.away():
            raise TimeoutError
        connection = Connection(self, url)
        self._connections.append(connection)
        return connection

    def cut(self, route: str = "") -> None:
        """Break connections, those of a route or all."""
        for connection in tuple(self._connections):
            if connection.route.startswith(route):
                connection.abort()

    def forget(self, connection: Connection) -> None:
        """It is closed."""
        if connection in self._connections:
            self._connections.remove(connection)

    def die(self) -> None:
        """The process is gone: nothing reaches it any more."""
        self.dead = True
        self._connections.clear()
        self.world.listeners.remove(self._hear)

    def _hear(self, stream: str, payload: dict[str, Any]) -> None:
        if not self._connections:
            return
        private = stream == ACCOUNT
        if not private and self._weather.muted("market"):
            return
        frame: bytes | None = None
        for connection in self._connections:
            if not connection.wants(stream):
                continue
            if frame is None:
                frame = orjson.dumps(payload if private else {"stream": stream, "data": payload})
            if not private:
                connection.arrive(frame)
                continue
            for delay_ms in self._weather.on_event():
                self.world.after(delay_ms, self._delivery(connection, frame))

    @staticmethod
    def _delivery(connection: Connection, frame: bytes) -> Callable[[], None]:
        return lambda: connection.arrive(frame)


class Connection:
    """One stream connection, as ``websockets`` gives it."""

    def __init__(self, wire: Wire, url: str) -> None:
        route, _, query = url.partition("://")[2].partition("/")[2].partition("/")
        self.route = route
        self.key = query.partition("listenKey=")[2]
        self.transport = self
        self._wire = wire
        self._names: set[str] = set()
        self._frames: list[bytes] = []
        self._waiting: asyncio.Future[None] | None = None
        self._closed = False

    def wants(self, stream: str) -> bool:
        """Whether this connection hears that stream."""
        if stream == ACCOUNT:
            return bool(self.key) and self._wire.world.exchange.exchange.listen_keys.is_live(self.key)
        return stream in self._names

    def arrive(self, frame: bytes) -> None:
        """A frame comes in."""
        if not self._closed:
            self._frames.append(frame)
            self._wake()

    def abort(self) -> None:
        """Break it."""
        if not self._closed:
            self._closed = True
            self._wire.forget(self)
            self._wake()

    async def send(self, text: str) -> None:
        """Take a SUBSCRIBE frame."""
        names = tuple(orjson.loads(text)["params"])
        self._names.update(names)
        self._wire.world.subscribe(names)

    async def recv(self, *, decode: bool) -> bytes:
        """The next frame.

        Raises:
            ConnectionClosedError: there is none any more.
        """
        del decode
        while True:
            if self._frames:
                return self._frames.pop(0)
            if self._closed:
                raise ConnectionClosedError(None, None)
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting

    async def close(self) -> None:
        """End it."""
        self.abort()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done() and not self._wire.dead:
            self._waiting.set_result(None)
