"""One stream connection, kept alive for ever: reconnects with backoff, notices silence, moves house before 24 hours.

python-binance's own stream layer is not used: it gives up after about 15 s of outage, overflows at 100 messages and
never notices a socket that is connected and mute.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from qt_actors.edges.binance_errors import Failure
from qt_actors.edges.binance_requests import BudgetDenied

log = logging.getLogger(__name__)


class SocketLimits(msgspec.Struct, frozen=True):
    """Real-time limits of one connection; the defaults suit Binance.

    Attributes:
        rotate_after_s: a new connection takes over before the exchange ends this one at 24 h.
        names_per_frame, frame_gap_s: pace of SUBSCRIBE frames (10 a second are allowed).
        retry_s_min, retry_s_max: backoff between attempts, doubling, with jitter.
        settled_s: a connection that lived so long was well: the next attempt starts from the shortest backoff.
        look_s: how often silence is looked for.
    """

    rotate_after_s: float = 23 * 3600 + 50 * 60
    names_per_frame: int = 200
    frame_gap_s: float = 0.25
    retry_s_min: float = 0.25
    retry_s_max: float = 30.0
    settled_s: float = 10.0
    look_s: float = 0.5
    open_timeout_s: float = 10.0
    frame_bytes_max: int = 4 * 1024 * 1024


class _Line:
    """One connection and the task that reads it."""

    def __init__(self, connection: ClientConnection, opened_s: float) -> None:
        self.connection = connection
        self.opened_s = opened_s
        self.heard = asyncio.Event()
        self.last_s: dict[str, float] = {}
        self.reason = ""
        self.task: asyncio.Task[None] | None = None


class StreamSocket:
    """Runs until cancelled.

    Args:
        url: gives the address of the next connection (a private one first fetches its key).
        names: streams to subscribe to, empty when the address names them.
        hear: takes a frame, returns its kind, or "" for what is no data.
        report: hears (connected, reason) whenever that changes.
        silence_s: by kind of frame, after how long without one the connection counts as mute; empty = never.
        limits: see there; direct: never go through a proxy (loopback).
        dial: opens a connection, as ``websockets`` does; chance: in [0, 1), for the jitter.
    """

    def __init__(
        self,
        url: Callable[[], Awaitable[str]],
        names: tuple[str, ...],
        hear: Callable[[bytes], str],
        report: Callable[[bool, str], None],
        *,
        silence_s: Mapping[str, float] = MappingProxyType({}),
        limits: SocketLimits | None = None,
        direct: bool = False,
        dial: Callable[..., Awaitable[ClientConnection]] = connect,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._dial_up, self._chance = dial, chance
        self.connections = 0
        self._url = url
        self._names = names
        self._hear = hear
        self._report = report
        self._silence_s = dict(silence_s)
        self._limits = limits or SocketLimits()
        self._direct = direct
        self._line: _Line | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._connected = False
        self._hurry = asyncio.Event()

    def hurry(self) -> None:
        """Cut the pause before the next attempt short: there is reason to think that it works. Loop thread only."""
        self._hurry.set()

    def drop(self, reason: str) -> None:
        """End the present connection; the next attempt follows at once. Loop thread only."""
        if self._line is not None:
            self._end(self._line, reason)

    async def run(self) -> None:
        """Keep a connection up; returns only by cancellation, and then leaves none behind."""
        try:
            await self._keep_up()
        finally:
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep_up(self) -> None:
        attempt = 0
        while True:
            try:
                line = self._line = await self._dial()
            except (OSError, TimeoutError, InvalidHandshake, InvalidURI, Failure, BudgetDenied) as error:
                self._change(False, f"cannot connect: {_brief(error)}")
                attempt += 1
                await self._pause(attempt)
                continue
            line = await self._stay(line)
            self._change(False, line.reason)
            well = line.heard.is_set() or asyncio.get_running_loop().time() - line.opened_s > self._limits.settled_s
            attempt = 0 if well else attempt + 1
            await self._pause(attempt)

    async def _pause(self, attempt: int) -> None:
        self._hurry.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), self._backoff_s(attempt))

    async def _dial(self) -> _Line:
        loop = asyncio.get_running_loop()
        limits = self._limits
        connection = await self._dial_up(
            await self._url(),
            compression=None,
            open_timeout=limits.open_timeout_s,
            close_timeout=1.0,
            max_size=limits.frame_bytes_max,
            logger=_quiet,
            proxy=None if self._direct else True,
        )
        line = _Line(connection, loop.time())
        line.last_s = dict.fromkeys(self._silence_s, line.opened_s)
        line.task = loop.create_task(self._attend(line))
        self._tasks.add(line.task)
        line.task.add_done_callback(self._tasks.discard)
        self.connections += 1
        return line

    async def _stay(self, line: _Line) -> _Line:
        """Until the connection has ended; when it grows old another takes over first. Returns the last line."""
        while line.task is not None:
            done, _ = await asyncio.wait({line.task}, timeout=self._limits.rotate_after_s)
            if done:
                if (error := line.task.exception()) is not None:
                    line.reason = line.reason or f"our own {type(error).__name__}"
                    log.error("reading a stream failed", exc_info=error)
                break
            line = self._line = await self._relieved(line)
        return line

    async def _relieved(self, old: _Line) -> _Line:
        """Open the successor, and let the old connection go only when data flows there: nothing is missed."""
        try:
            new = await self._dial()
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI, Failure, BudgetDenied) as error:
            log.warning("the successor of an old stream connection cannot connect: %s", _brief(error))
            await asyncio.sleep(self._limits.retry_s_max)
            return old
        if self._silence_s:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(new.heard.wait(), self._limits.open_timeout_s)
        old.reason = "relieved"
        await old.connection.close()
        return new

    async def _attend(self, line: _Line) -> None:
        """Subscribe, read, watch; ends when the connection does, and ends it."""
        try:
            async with asyncio.TaskGroup() as group:
                besides = [group.create_task(self._subscribe(line.connection)), group.create_task(self._watch(line))]
                if not self._silence_s:
                    self._change(True, "")
                await self._read(line)
                for task in besides:
                    task.cancel()
        finally:
            await line.connection.close()

    async def _read(self, line: _Line) -> None:
        recv, hear, last_s = line.connection.recv, self._hear, line.last_s
        time_s = asyncio.get_running_loop().time
        try:
            while True:
                kind = hear(await recv(decode=False))
                if kind:
                    last_s[kind] = time_s()
                    if not line.heard.is_set():
                        line.heard.set()
                        self._change(True, "")
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd is not None else 1006
            line.reason = line.reason or f"closed by the exchange ({code})"

    async def _subscribe(self, connection: ClientConnection) -> None:
        per_frame = self._limits.names_per_frame
        with contextlib.suppress(ConnectionClosed):
            for number, start in enumerate(range(0, len(self._names), per_frame), start=1):
                if start:
                    await asyncio.sleep(self._limits.frame_gap_s)
                names = self._names[start : start + per_frame]
                await connection.send(json.dumps({"method": "SUBSCRIBE", "params": names, "id": number}))

    async def _watch(self, line: _Line) -> None:
        """Data frames are the only proof of life: pings are answered by a connection that delivers nothing."""
        time_s = asyncio.get_running_loop().time
        while self._silence_s:
            await asyncio.sleep(self._limits.look_s)
            now_s = time_s()
            for kind, limit_s in self._silence_s.items():
                if now_s - line.last_s[kind] > limit_s:
                    self._end(line, f"silent: no {kind} frame for {limit_s:.1f} s")
                    return

    def _end(self, line: _Line, reason: str) -> None:
        line.reason = line.reason or reason
        line.connection.transport.abort()

    def _change(self, connected: bool, reason: str) -> None:
        if connected != self._connected:
            self._connected = connected
            self._report(connected, reason)

    def _backoff_s(self, attempt: int) -> float:
        limits = self._limits
        base = min(limits.retry_s_max, limits.retry_s_min * 2.0 ** min(attempt, 16))
        return base * (0.5 + self._chance())


def _brief(error: BaseException) -> str:
    """A failure without addresses: the path of a private stream is a key."""
    return str(error) if isinstance(error, (Failure, BudgetDenied)) else type(error).__name__


_quiet = logging.getLogger(f"{__name__}.wire")
"""The library logs handshakes, and with them listen keys, at DEBUG level: this logger is never that talkative."""
_quiet.setLevel(logging.WARNING)
