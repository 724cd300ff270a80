"""The running market: what every symbol's price is now, walked point by point along its candles.

`advance` moves time forward and tells a listener, in time order, of every price point, every candle that closes and
every funding settlement. Nothing is ever skipped, however far one call goes. All state is arrays over the symbols;
the only work per price point is the `Quote` of a symbol that the listener watches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from qt_actors.exchange.blocks import Block, Funding, Tape, unroll
from qt_actors.exchange.books import ModelBook
from qt_actors.exchange.candles import CLOSE, OPEN, Candles
from qt_actors.exchange.captured import CapturedMarket
from qt_actors.exchange.captured_blocks import CapturedBooks, captured_block
from qt_actors.exchange.depth import behind
from qt_actors.exchange.forming import Forming
from qt_actors.exchange.funding_rates import DEFAULT_INTERVAL_MS, FundingCalendar, rate_of_move
from qt_actors.exchange.hashes import symbol_key
from qt_actors.exchange.history import History
from qt_actors.exchange.intervals import INTERVAL_MS, name_of
from qt_actors.exchange.paths import points_per_bar
from qt_actors.exchange.quoting import Points, Quoter
from qt_actors.exchange.touch import Steps, Touch

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from qt_actors.exchange.book_diffs import ToldBook
    from qt_actors.exchange.books import ListedBook
    from qt_actors.exchange.history import MarketSource
    from qt_actors.exchange.quotes import Quote
    from qt_actors.exchange.rules import SymbolRules

POINTS_PER_SECOND: Final = 1500.0  # aimed at, over all symbols, in real time
POINT_GAP_MS: Final = 1000  # no more than one point a second of exchange time
DETAIL_MAX: Final = 300


class MarketListener(Protocol):
    """Who hears what happens in the market, in time order."""

    def watched(self) -> Collection[str] | None:
        """Symbols of which every price point is wanted; None for all. The others' are had by `fresh_quotes`."""

    def quoted(self, quotes: list[Quote]) -> None:
        """Price points, each symbol's in time order."""

    def closed(self, forming: Forming) -> None:
        """All candles of an interval that close now; `forming` is emptied after the call."""

    def settled(self, symbol: str, rate: float, time_ms: int) -> None:
        """A funding settlement."""


def detail_for(symbols: int, interval_ms: int, speed: float) -> int:
    """Path detail (paths.walk) that a speed leaves room for: about one point a second, POINTS_PER_SECOND in all."""
    by_rate = POINTS_PER_SECOND * interval_ms / 1000.0 / (max(1, symbols) * speed)
    points = min(by_rate, interval_ms / POINT_GAP_MS)
    return int(min(max((points - 1) // 3, 1), DETAIL_MAX))


class Market:
    """All symbols of a source, at one moment.

    Args:
        source: the candles.
        rules: the symbols' rules, in the source's order.
        start_ms: exchange time to begin at; anywhere, also inside a bar.
        calendar: funding settlements.
        seed: part of every path's key.
        detail: path detail, see `detail_for`.
        carry: what `carry()` gave at `start_ms`, to go on exactly as that market would have.

    Attributes:
        now_ms: the moment up to which everything has been walked.
        last, mark, index: float64, 0 before a symbol's first print.
        bid, ask, bid_qty, ask_qty: best prices in ticks, sizes in steps, int64.
        print_ms, print_ids: time and number of each symbol's last print, int64. Numbers are even: one more is the
            update id of a book that holds the print, so that the next diff encloses it (U <= lastUpdateId <= u).
        rising: whether the last print was bought.
        print_volume, traded: base volume of the last print, and of all since the start.
        funding: next settlements and running rates.
        told_books: by row, those who tell changes of its book and want to know when somebody is shown it.
    """

    def __init__(
        self,
        source: MarketSource,
        rules: Sequence[SymbolRules],
        start_ms: int,
        calendar: FundingCalendar,
        *,
        seed: int = 0,
        detail: int = 1,
        carry: bytes | None = None,
    ) -> None:
        count = len(source.symbols)
        self.source, self.rules, self.calendar, self.detail = source, tuple(rules), calendar, detail
        self.seed = seed
        self.symbols = source.symbols
        self.row_of = {symbol: row for row, symbol in enumerate(source.symbols)}
        self.interval_ms = source.interval_ms
        self.steps = Steps.of(rules)
        self.keys = np.array([symbol_key(symbol, seed) for symbol in source.symbols], dtype=np.uint64)
        self.price_digits = [
            max(rule.price_precision, int(places)) for rule, places in zip(rules, source.decimals, strict=True)
        ]
        self._quoter = Quoter(self.rules, self.price_digits)
        self._open_ms = start_ms // self.interval_ms * self.interval_ms
        self.history = History(source, self._open_ms)
        self.now_ms = start_ms
        self._cursor, self._prints = 0, 2 * start_ms
        self.last, self.mark, self.index = np.zeros(count), np.zeros(count), np.zeros(count)
        self.bid, self.ask = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
        self.bid_qty, self.ask_qty = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
        self.print_ms = np.zeros(count, dtype=np.int64)
        self.print_ids = np.zeros(count, dtype=np.int64)
        self._told_ids = np.full(count, -1, dtype=np.int64)
        self._cell = np.ones(count, dtype=np.int64)
        self._per_cell, self._near = np.zeros(count), np.ones(count)
        self._books: dict[int, ModelBook] = {}
        self._captured = CapturedBooks(source, self.rules) if isinstance(source, CapturedMarket) else None
        self.told_books: dict[int, list[ToldBook]] = {}
        self.traded, self.print_volume = np.zeros(count), np.zeros(count)
        self.rising = np.zeros(count, dtype=np.bool_)
        self._tape = Tape(np.zeros(count), np.zeros(count), np.zeros(count), np.zeros(count, dtype=np.int64))
        self.funding = Funding(
            np.zeros(count, dtype=np.int64), np.zeros(count), np.full(count, DEFAULT_INTERVAL_MS, dtype=np.int64)
        )
        base = name_of(self.interval_ms)
        if base is None:
            raise ValueError(f"{source.name}: bars of {self.interval_ms} ms are no kline interval")
        self.base = Forming(base, start_ms, count)
        self._forming = {base: self.base}
        self._begin(carry)

    # ---- time ----------------------------------------------------------------------------------------------------

    def advance(self, to_ms: int, listener: MarketListener) -> None:
        """Walk everything up to and including `to_ms` (nothing when that is not later than now)."""
        while self.now_ms < to_ms:
            boundary = self._boundary()
            if boundary > to_ms:
                self._walk(int(np.searchsorted(self._block.times, to_ms, side="right")), listener)
                self.now_ms = to_ms
                return
            self._walk(int(np.searchsorted(self._block.times, boundary, side="left")), listener)
            self.now_ms = boundary
            self._close(boundary, listener)
            if int(self.funding.next_ms.min()) <= boundary:
                self._settle(boundary, listener)
            if boundary == self._open_ms + self.interval_ms:
                self._open_ms = boundary
                self._open_block()
        # A point may lie exactly on the last boundary.
        self._walk(int(np.searchsorted(self._block.times, self.now_ms, side="right")), listener)

    def pending_until(self) -> int:
        """Time of the next thing that happens: a price point, a close or a settlement."""
        if self._cursor < self._block.times.size:
            return min(int(self._block.times[self._cursor]), self._boundary())
        return self._boundary()

    def _boundary(self) -> int:
        closes = min(forming.close_ms for forming in self._forming.values())
        return min(closes, int(self.funding.next_ms.min()), self._open_ms + self.interval_ms)

    def _walk(self, until: int, listener: MarketListener | None) -> None:
        """Take the block's points up to index `until` into the state."""
        low, self._cursor = self._cursor, max(until, self._cursor)
        if low == self._cursor:
            return
        block, part = self._block, slice(low, self._cursor)
        rows = block.rows[part]
        self.last[rows], self.mark[rows], self.index[rows] = block.last[part], block.mark[part], block.index[part]
        touch = block.touch
        self.bid[rows], self.ask[rows] = touch.bid[part], touch.ask[part]
        self.bid_qty[rows], self.ask_qty[rows] = touch.bid_qty[part], touch.ask_qty[part]
        self.print_ms[rows], self.rising[rows] = block.times[part], block.rising[part]
        self.print_ids[rows] = self._prints + 2 * np.arange(rows.size)
        self._prints += 2 * rows.size
        self.print_volume[rows] = block.amounts[0, part]
        np.add.at(self.traded, rows, block.amounts[0, part])
        for forming in self._forming.values():
            forming.add_points(rows, block.last[part], block.amounts[:, part])
        if listener is not None:
            self._tell(low, self._cursor, listener)

    def _close(self, boundary: int, listener: MarketListener) -> None:
        for forming in self._forming.values():
            if forming.close_ms == boundary:
                if INTERVAL_MS[forming.interval] < self.interval_ms:
                    forming.fill_flat(self._in_bar, self.last)
                listener.closed(forming)
                forming.begin(boundary)

    def _settle(self, boundary: int, listener: MarketListener) -> None:
        self.history.bars_at(boundary // self.interval_ms * self.interval_ms)  # the rate looks at its open
        for row in np.flatnonzero(self.funding.next_ms <= boundary).tolist():
            rate = self._next_rates[row]
            if rate is None:
                rate = self.rate_at(row, boundary)
            self._plan_funding(row, boundary)
            self.funding.rate[row] = rate
            if self._in_bar[row]:
                listener.settled(self.symbols[row], rate, boundary)

    # ---- reading -------------------------------------------------------------------------------------------------

    def forming(self, interval: str) -> Forming:
        """The running candles of an interval, kept from the first call until `drop_forming`."""
        found = self._forming.get(interval)
        if found is None:
            found = Forming(interval, self.now_ms, len(self.symbols))
            for open_ms in range(max(found.open_ms, self.history.grid.start_ms), self._open_ms, self.interval_ms):
                found.add_bars(self.history.bars_at(open_ms))
            block, low = self._block, int(np.searchsorted(self._block.times, found.open_ms))
            if low < self._cursor:
                part = slice(low, self._cursor)
                found.add_points(block.rows[part], block.last[part], block.amounts[:, part])
            self._forming[interval] = found
        return found

    def drop_forming(self, interval: str) -> None:
        """Keep the running candles of an interval no longer (those of the files' own interval stay)."""
        if interval != self.base.interval:
            self._forming.pop(interval, None)

    def prints(self, row: int) -> Candles:
        """The points of the running bar that a symbol has printed so far, as candles of one price."""
        block = self._block
        mine = np.flatnonzero(block.rows[: self._cursor] == row)
        data = np.empty((OPEN + 8, mine.size))
        data[: CLOSE + 1] = block.last[mine]
        data[CLOSE + 1 :] = block.amounts[:, mine]
        return Candles(block.times[mine], data)

    def listed(self) -> NDArray[np.bool_]:
        """Which symbols have begun and not ended."""
        return (self.source.first_ms <= self.now_ms) & (self.now_ms < self.source.end_of_ms) & (self.last > 0)

    def open_ms(self) -> int:
        """Open time of the running bar."""
        return self._open_ms

    def book(self, row: int, time_ms: int) -> ModelBook | ListedBook:
        """What lies behind the symbol's touch at a time of the running bar."""
        if self._captured is not None:
            return self._captured.book(row, time_ms)
        found = self._books.get(row)
        if found is None:
            rules = self.rules[row]
            found = self._books[row] = ModelBook(
                int(self.keys[row]),
                rules.tick,
                rules.step,
                int(self._cell[row]),
                float(self._per_cell[row]),
                float(self._near[row]),
            )
        return found

    def side(self, row: int, sign: int, levels: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The best levels of asks (sign +1) or bids (-1): prices in ticks, best first, and quantities in steps."""
        best, size = (self.ask, self.ask_qty) if sign > 0 else (self.bid, self.bid_qty)
        touch = int(best[row])
        if touch <= 0:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        size = size[row : row + 1]
        if self._captured is not None:
            ticks, sizes = self._captured.side(row, sign, touch, int(self.print_ms[row]))
            return np.concatenate(([touch], ticks[: levels - 1])), np.concatenate((size, sizes[: levels - 1]))
        shape = int(self.keys[row]), int(self._cell[row]), float(self._per_cell[row]), float(self._near[row])
        ticks, sizes = behind(*shape, touch, sign, int(self.print_ms[row]), levels - 1)
        return np.concatenate(([touch], ticks)), np.concatenate((size, sizes))

    def quote_now(self, row: int) -> Quote:
        """The symbol's present quote."""
        return self._present(np.array([row]))[0]

    def fresh_quotes(self) -> list[Quote]:
        """Present quotes of the symbols with prints that nobody was told of, each once."""
        rows = np.flatnonzero((self.print_ids > self._told_ids) & (self.last > 0))
        self._told_ids[:] = self.print_ids
        return self._present(rows)

    def _present(self, rows: NDArray[np.int64]) -> list[Quote]:
        touch = Touch(self.bid[rows], self.ask[rows], self.bid_qty[rows], self.ask_qty[rows])
        prices, jumped = (self.last[rows], self.mark[rows], self.index[rows]), np.zeros(rows.size, dtype=np.bool_)
        return self._quoter.quotes(
            Points(rows, self.print_ms[rows], *prices, touch, self.print_volume[rows], jumped), self.book
        )

    def _tell(self, low: int, high: int, listener: MarketListener) -> None:
        """Quotes of the block's points [low, high), of the watched symbols."""
        block, watched = self._block, listener.watched()
        chosen = np.arange(low, high)
        if watched is not None:
            wanted = np.zeros(len(self.symbols), dtype=np.bool_)
            wanted[[self.row_of[symbol] for symbol in watched if symbol in self.row_of]] = True
            chosen = chosen[wanted[block.rows[low:high]]]
        if chosen.size:
            rows, touch = block.rows[chosen], block.touch
            self._told_ids[rows] = self.print_ids[rows]
            here = Touch(touch.bid[chosen], touch.ask[chosen], touch.bid_qty[chosen], touch.ask_qty[chosen])
            prices = block.last[chosen], block.mark[chosen], block.index[chosen]
            flow, walked = block.amounts[0, chosen], block.walked[chosen]
            points = Points(rows, block.times[chosen], *prices, here, flow, walked)
            listener.quoted(self._quoter.quotes(points, self.book))

    # ---- beginnings ----------------------------------------------------------------------------------------------

    def carry(self) -> bytes:
        """What the price models carried into the running bar; with the source, all the state there is."""
        return self._carried.tobytes()

    def _begin(self, carry: bytes | None) -> None:
        """State at the start: last closes of the history, the running bar up to now, the next settlements."""
        closes = self.history.grid.data[CLOSE, :, : self.history.column(self._open_ms)]
        there = ~np.isnan(closes)
        bars = closes.shape[1]
        if bars:
            newest = bars - 1 - np.argmax(there[:, ::-1], axis=1)
            self.last[:] = np.where(there.any(axis=1), closes[np.arange(len(self.symbols)), newest], 0.0)
        self._tape.last[:] = self._tape.index[:] = self.last
        self._tape.time_ms[:] = self._open_ms
        self.mark[:] = self.index[:] = self.last
        priced = self.last > 0
        at = np.where(priced, self.last, 1.0) / self.steps.tick
        self.bid[:] = np.where(priced, np.maximum(np.floor(at + 1e-6), 1), 0).astype(np.int64)
        self.ask[:] = np.where(priced, self.bid + 1, 0)
        self.bid_qty[:] = self.ask_qty[:] = self.steps.least
        self.print_ms[:] = self.now_ms
        self.print_ids[:] = self._prints
        self._next_rates: list[float | None] = [None] * len(self.symbols)
        for row in range(len(self.symbols)):
            self._plan_funding(row, self.now_ms)
            past = self.calendar.settled(row, self.now_ms - DEFAULT_INTERVAL_MS, self.now_ms + 1)
            known = past[-1][1] if past else None
            self.funding.rate[row] = self.rate_at(row, self._open_ms) if known is None else known
        if carry is not None:
            tape = self._tape
            tape.last[:], tape.index[:], tape.basis[:], times, self.funding.rate[:] = np.frombuffer(carry).reshape(
                5, -1
            )
            tape.time_ms[:] = times.astype(np.int64)
        self._open_block()
        self._walk(int(np.searchsorted(self._block.times, self.now_ms, side="right")), None)

    def _open_block(self) -> None:
        bars = self.history.bars_at(self._open_ms)
        self._in_bar = ~np.isnan(bars[OPEN])
        tape = self._tape
        self._carried = np.stack((tape.last, tape.index, tape.basis, tape.time_ms.astype(float), self.funding.rate))
        liquidity = self.history.liquidity(self._open_ms)
        if isinstance(self.source, CapturedMarket):
            self._block: Block = captured_block(self.source, self._open_ms, self.steps, tape, self.funding, liquidity)
        else:
            self._block = unroll(
                bars, self._open_ms, self.interval_ms, self.keys, self.source.decimals, self.steps, tape, self.funding,
                liquidity, self.detail,
            )  # fmt: skip
        rows, depth = self._block.traded, self._block.depth
        self._cell[rows], self._per_cell[rows], self._near[rows] = depth.cell, depth.per_cell, depth.near
        self._books.clear()
        self._cursor = 0

    def _plan_funding(self, row: int, after_ms: int) -> None:
        at, rate, interval = self.calendar.next_after(row, after_ms)
        self.funding.next_ms[row], self.funding.interval_ms[row], self._next_rates[row] = at, interval, rate

    def price_at(self, row: int, time_ms: int) -> float:
        """The price at which the bar at `time_ms` opened; 0 where the window has none (or in the future)."""
        column = self.history.column(time_ms // self.interval_ms * self.interval_ms)
        if not 0 <= column < self.history.grid.bars or time_ms > self.now_ms:
            return 0.0
        price = float(self.history.grid.data[OPEN, row, column])
        return price if price > 0 else 0.0

    def rate_at(self, row: int, time_ms: int) -> float:
        """The default funding rate of a settlement at `time_ms`, now or in the past."""
        then = self.price_at(row, time_ms - DEFAULT_INTERVAL_MS)
        now = self.price_at(row, time_ms)
        move = now / then - 1.0 if then > 0 and now > 0 else 0.0
        return rate_of_move(move, int(self.funding.interval_ms[row]))

    @property
    def points_per_bar(self) -> int:
        """Price points a traded bar is walked in."""
        return points_per_bar(self.detail)
