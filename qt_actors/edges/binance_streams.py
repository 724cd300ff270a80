"""The exchange's streams behind ``ports.Streams``: candles, marks and quotes as batches, user data as it comes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol

import msgspec
import numpy as np

from qt_actors.edges import binance_events as events
from qt_actors.edges.binance_errors import Failure
from qt_actors.edges.binance_requests import BudgetDenied, Clock
from qt_actors.edges.binance_socket import SocketLimits, StreamSocket
from qt_actors.edges.endpoints import Endpoints
from qt_actors.edges.loop import Loop
from qt_actors.kernel import MailboxFullError
from qt_actors.messages.base import Message
from qt_actors.messages.market import BarUpdate, QuotesUpdated, StreamChanged
from qt_actors.ports import Mailbox

log = logging.getLogger(__name__)

STREAMS_MAX = 1000
"""Streams a connection; the exchange ends one that has more than 1024."""


class StreamLimits(msgspec.Struct, frozen=True):
    """Real-time limits; the defaults suit Binance.

    Attributes:
        bar_wait_s: after the first closed candle of a set the others are waited for so long.
        quote_gap_s: between two ``QuotesUpdated``.
        mark_silence_s, kline_silence_s, book_silence_s: without such a frame a connection counts as mute; few symbols
            are given more time for the latter two, because they trade less often.
        listen_key_s: between two extensions (a key lives an hour); listen_key_retry_s: after a failed one.
    """

    bar_wait_s: float = 0.15
    quote_gap_s: float = 0.5
    mark_silence_s: float = 4.0
    kline_silence_s: float = 15.0
    book_silence_s: float = 10.0
    listen_key_s: float = 25 * 60.0
    listen_key_retry_s: float = 60.0
    socket: SocketLimits = SocketLimits()


class ListenKeys(Protocol):
    """Where the private stream's key comes from: ``BinanceRest``."""

    async def new_listen_key(self) -> str:
        """A live key."""
        ...

    async def extend_listen_key(self, key: str) -> None:
        """Another hour for it."""
        ...


class Socket(Protocol):
    """One connection kept alive: ``StreamSocket``."""

    def drop(self, reason: str) -> None:
        """End the present connection; the next attempt follows."""
        ...

    def hurry(self) -> None:
        """Try again now, should it be waiting to."""
        ...

    async def run(self) -> None:
        """Keep a connection up until cancelled."""
        ...


class BinanceStreams:
    """Implements ``ports.Streams``. Opening a class of streams again replaces it: a restarted listener just asks anew.

    Args:
        endpoints: where; clock: the trader's, stamps what is told; loop: where the sockets live.
        keys: None when there are no credentials: then there is no account stream.
        socket: makes a connection of what ``StreamSocket`` takes.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        clock: Clock,
        loop: Loop,
        keys: ListenKeys | None = None,
        limits: StreamLimits | None = None,
        socket: Callable[..., Socket] = StreamSocket,
    ) -> None:
        self.malformed = 0
        self.refused = 0
        self._endpoints = endpoints
        self._clock = clock
        self._loop = loop
        self._keys = keys
        self._limits = limits or StreamLimits()
        self._make_socket = socket
        self._tasks: dict[str, tuple[asyncio.Task[None], ...]] = {}
        self._sockets: dict[str, tuple[Socket, ...]] = {}

    def open_market(self, symbols: tuple[str, ...], interval: str, listener: Mailbox) -> None:
        """Closed candles as ``BarUpdate``, marks and quotes as ``QuotesUpdated``, told to ``listener``.

        Raises:
            ValueError: no symbols.
        """
        if not symbols:
            raise ValueError("no symbols to open market streams for; the universe must choose at least one")
        self._loop.call(self._open_market, symbols, interval, listener)

    def open_account(self, listener: Mailbox) -> None:
        """User data, told to ``listener`` in order of arrival.

        Raises:
            ValueError: there are no credentials, hence no account.
        """
        if self._keys is None:
            raise ValueError("the account stream needs an API key")
        self._loop.call(self._open_account, listener, self._keys)

    def reopen(self, stream: str, reason: str) -> None:
        """Drop the connections of a class (``market``, ``public``, ``private``); they come back by themselves."""
        self._loop.call(self._drop, stream, reason)

    def hurry(self) -> None:
        """The exchange answers: connections that wait for their next attempt make it now."""
        self._loop.call(self._hurry)

    def close(self) -> None:
        """Close every socket."""
        self._loop.call(self._cancel, tuple(self._tasks))

    # On the loop's thread

    def _open_market(self, symbols: tuple[str, ...], interval: str, listener: Mailbox) -> None:
        self._cancel(("market", "public", "quotes"))
        limits = self._limits
        board = MarketBoard(symbols, limits, self._clock, lambda message: self._tell(listener, message))
        candles = [f"{symbol.lower()}@{what}" for symbol in symbols for what in (f"kline_{interval}", "markPrice@1s")]
        quotes = [f"{symbol.lower()}@bookTicker" for symbol in symbols]
        silence_s = {"mark": limits.mark_silence_s, "kline": max(limits.kline_silence_s, 150.0 / len(symbols))}
        book_s = {"book": max(limits.book_silence_s, 100.0 / len(symbols))}
        self._start("market", board, listener, candles, silence_s)
        self._start("public", board, listener, quotes, book_s)
        self._run("quotes", (board.tell_quotes_for_ever(),))

    def _start(
        self, route: str, board: MarketBoard, listener: Mailbox, names: list[str], silence_s: dict[str, float]
    ) -> None:
        async def url() -> str:
            return f"{self._endpoints.streams}/{route}/stream"

        def hear(frame: bytes) -> str:
            try:
                return board.hear(frame)
            except msgspec.DecodeError:
                self.malformed += 1
                return ""

        sockets = tuple(
            self._socket(url, tuple(names[start : start + STREAMS_MAX]), hear, route, listener, silence_s)
            for start in range(0, len(names), STREAMS_MAX)
        )
        self._sockets[route] = sockets
        self._run(route, (socket.run() for socket in sockets))

    def _open_account(self, listener: Mailbox, keys: ListenKeys) -> None:
        self._cancel(("private", "listen key"))
        live = ""

        async def url() -> str:
            nonlocal live
            live = await keys.new_listen_key()
            return f"{self._endpoints.streams}/private/ws?listenKey={live}"

        def hear(frame: bytes) -> str:
            try:
                return self._hear_account(frame, listener)
            except msgspec.DecodeError:
                self.malformed += 1
                return ""

        async def keep_alive() -> None:
            wait_s = self._limits.listen_key_s
            while True:
                await asyncio.sleep(wait_s)
                wait_s = await self._extend(keys, live)

        socket = self._socket(url, (), hear, "private", listener, {})
        self._sockets["private"] = (socket,)
        self._run("private", (socket.run(),))
        self._run("listen key", (keep_alive(),))

    async def _extend(self, keys: ListenKeys, key: str) -> float:
        """Extend the key, and return in how many seconds to do so again."""
        try:
            await keys.extend_listen_key(key)
        except (Failure, BudgetDenied) as error:
            if isinstance(error, Failure) and error.code == -1125:
                self._drop("private", "the listen key has expired")
                return self._limits.listen_key_s
            log.warning("the listen key could not be extended: %s", error)
            return self._limits.listen_key_retry_s
        return self._limits.listen_key_s

    def _hear_account(self, frame: bytes, listener: Mailbox) -> str:
        event = events.envelope(frame).e
        if event == "listenKeyExpired":
            # The socket would stay open and silent.
            self._drop("private", "the listen key has expired")
        for message in events.user_messages(event, frame):
            self._tell(listener, message)
        return "user" if event else ""

    def _socket(
        self, url: Any, names: tuple[str, ...], hear: Any, route: str, listener: Mailbox, silence_s: dict[str, float]
    ) -> Socket:
        def report(connected: bool, reason: str) -> None:
            self._tell(listener, StreamChanged(stream=route, connected=connected, reason=reason))

        direct = self._endpoints.network == "loopback"
        return self._make_socket(
            url, names, hear, report, silence_s=silence_s, limits=self._limits.socket, direct=direct
        )

    def _tell(self, listener: Mailbox, message: Message) -> None:
        try:
            listener.tell(message)
        except MailboxFullError as error:
            # What is lost here is found again: bars by REST, the account by its next reconciliation.
            self.refused += 1
            log.error("%s", error)  # noqa: TRY400 -- the text says it all, the stack is ours

    def _run(self, name: str, work: Iterable[Coroutine[Any, Any, None]]) -> None:
        loop = asyncio.get_running_loop()
        self._tasks[name] = tuple(loop.create_task(part, name=name) for part in work)

    def _hurry(self) -> None:
        for sockets in self._sockets.values():
            for socket in sockets:
                socket.hurry()

    def _drop(self, name: str, reason: str) -> None:
        for socket in self._sockets.get(name, ()):
            socket.drop(reason)

    def _cancel(self, names: Iterable[str]) -> None:
        for name in names:
            self._sockets.pop(name, None)
            for task in self._tasks.pop(name, ()):
                task.cancel()


class MarketBoard:
    """What the market streams said and was not told yet: closed candles by time, the newest mark and quote by symbol.

    Args:
        symbols: order of every array told; tell: takes the batches.
    """

    def __init__(self, symbols: tuple[str, ...], limits: StreamLimits, clock: Clock, tell: Any) -> None:
        self._symbols = symbols
        self._row_of = {symbol: row for row, symbol in enumerate(symbols)}
        self._limits = limits
        self._clock = clock
        self._tell = tell
        self._closed: dict[int, dict[int, events.Candle]] = {}
        self._bar_timer: asyncio.TimerHandle | None = None
        self._marks: list[events.MarkFrame | None] = [None] * len(symbols)
        self._quotes: list[events.QuoteFrame | None] = [None] * len(symbols)
        self._changed = False

    def hear(self, frame: bytes) -> str:
        """Take one frame; returns ``kline``, ``mark``, ``book``, or "" for an acknowledgement or an unknown stream.

        Raises:
            msgspec.DecodeError: the frame is no JSON, or not of its stream's shape.
        """
        envelope = events.envelope(frame)
        name = envelope.stream
        if name.endswith("@bookTicker"):
            quote = events.quote(envelope.data)
            row = self._row_of.get(quote.s)
            if row is not None:
                self._quotes[row] = quote
                self._changed = True
            return "book"
        if "@markPrice" in name:
            mark = events.mark(envelope.data)
            row = self._row_of.get(mark.s)
            if row is not None:
                self._marks[row] = mark
                self._changed = True
            return "mark"
        if "@kline_" in name:
            kline = events.kline(envelope.data)
            if kline.k.x and kline.s in self._row_of:
                self._close(self._row_of[kline.s], kline.k)
            return "kline"
        if envelope.error is not None:
            log.warning("the exchange refused a subscription: %s", envelope.error)
        return ""

    async def tell_quotes_for_ever(self) -> None:
        """Tell what changed, at the pace of the limits."""
        while True:
            await asyncio.sleep(self._limits.quote_gap_s)
            self._tell_quotes()

    def _close(self, row: int, candle: events.Candle) -> None:
        self._closed.setdefault(candle.t, {})[row] = candle
        if len(self._closed[candle.t]) == len(self._symbols):
            self._tell_bars()
        elif self._bar_timer is None:
            self._bar_timer = asyncio.get_running_loop().call_later(self._limits.bar_wait_s, self._tell_bars)

    def _tell_bars(self) -> None:
        if self._bar_timer is not None:
            self._bar_timer.cancel()
            self._bar_timer = None
        self._tell_quotes()
        rows = [(t, row, candle) for t in sorted(self._closed) for row, candle in sorted(self._closed[t].items())]
        self._closed.clear()
        times = np.array([t for t, _, _ in rows], dtype=np.int64)
        ohlcv = np.array([(c.o, c.h, c.low, c.c, c.v) for _, _, c in rows], dtype=np.float64)
        times.flags.writeable = ohlcv.flags.writeable = False
        symbols = tuple(self._symbols[row] for _, row, _ in rows)
        self._tell(BarUpdate(symbols=symbols, open_time_ms=times, ohlcv=ohlcv, heard_ms=self._clock.now_ms()))

    def _tell_quotes(self) -> None:
        if not self._changed:
            return
        self._changed = False
        count = len(self._symbols)
        figures = np.full((6, count), np.nan)
        times = np.zeros((2, count), dtype=np.int64)
        for row, (quote, mark) in enumerate(zip(self._quotes, self._marks, strict=True)):
            if quote is not None:
                figures[:4, row] = (quote.b, quote.a, quote.B, quote.A)
                times[0, row] = quote.E
            if mark is not None:
                figures[4:, row] = (mark.p, mark.r)
                times[1, row] = mark.T
        figures.flags.writeable = times.flags.writeable = False
        bid, ask, bid_quantity, ask_quantity, mark_price, funding_rate = figures
        self._tell(
            QuotesUpdated(
                now_ms=self._clock.now_ms(),
                symbols=self._symbols,
                bid=bid,
                ask=ask,
                bid_quantity=bid_quantity,
                ask_quantity=ask_quantity,
                mark=mark_price,
                funding_rate=funding_rate,
                next_funding_ms=times[1],
                heard_ms=times[0],
            )
        )
