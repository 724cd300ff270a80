"""Closed bars of all symbols on one time grid: what has been told is history, what comes after is being put together.

Pure bookkeeping: no clock, no messages. A bar is told once, in order, and never changes anybody's past but the
history's own holes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import inf, isnan
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qt_actors.messages.market import Floats, HistoryReady, Times

Heard = Literal["new", "duplicate", "conflict", "late", "ancient", "future", "off grid", "no bar"]
"""What a bar turned out to be: only ``new`` and ``late`` change anything."""

QUIET_AFTER = 3
"""A symbol that missed so many bars in a row is not waited for until it has one again."""
PENDING_MAX = 2048
"""Bars ahead of the history that are kept; a longer outage is filled in several rounds."""


class BarGrid:
    """Bars are addressed by (row, open time); rows are symbols in the universe's order.

    Args:
        symbols, interval_ms: the grid.
        capacity: closed bars of history kept.

    Attributes:
        head_ms: open time of the newest bar told, -1 before ``settle``.
        counts: how often a bar was what (``Heard``), and told with a hole (``missing``).
    """

    def __init__(self, symbols: tuple[str, ...], interval_ms: int, capacity: int = 512) -> None:
        self.symbols = symbols
        self.interval_ms = interval_ms
        self.head_ms = -1
        self.counts: Counter[str] = Counter()
        self._capacity = capacity
        self._history = np.full((len(symbols), capacity, 5), np.nan)
        self._first_ms = 0
        self._pending: dict[int, Floats] = {}
        self._streamed: dict[int, NDArray[np.bool_]] = {}
        self._absent = np.zeros(len(symbols), dtype=np.int64)
        self._unstreamed = np.zeros(len(symbols), dtype=np.int64)
        self._repaired = 0

    @property
    def next_ms(self) -> int:
        """Open time of the bar to be told next; meaningless before ``settle``."""
        return self.head_ms + self.interval_ms

    @property
    def newest_ms(self) -> int:
        """Open time of the newest bar of any symbol, -1 for none."""
        return max(self._pending, default=self.head_ms)

    def hear(self, row: int, open_ms: int, bar: Sequence[float], now_ms: int, *, streamed: bool) -> Heard:
        """Take one closed bar of one symbol.

        Args:
            row: index of the symbol.
            open_ms: open time.
            bar: open, high, low, close, volume.
            now_ms: exchange time; a bar that cannot have closed by now is refused.
            streamed: True when it came by the stream.
        """
        heard = self._hear(row, open_ms, bar, now_ms)
        if streamed and heard == "new":
            self._streamed.setdefault(open_ms, np.zeros(len(self.symbols), dtype=np.bool_))[row] = True
        self.counts[heard] += 1
        return heard

    def settle(self) -> None:
        """End the back-fill: all bars up to the newest that every living symbol has become history."""
        times = sorted(self._pending)
        newest = np.array([self._newest_of(row, times) for row in range(len(self.symbols))])
        living = newest >= newest.max() - QUIET_AFTER * self.interval_ms
        self._absent[~living] = QUIET_AFTER
        head_ms = int(newest[living].min())
        self._first_ms = max(times[0], head_ms - (self._capacity - 1) * self.interval_ms)
        self.head_ms = head_ms
        for open_ms in times:
            if open_ms <= head_ms:
                bars = self._pending.pop(open_ms)
                self._streamed.pop(open_ms, None)
                if open_ms >= self._first_ms:
                    self._history[:, self._slot(open_ms)] = bars

    def holes(self) -> tuple[int, NDArray[np.int64]]:
        """(since when, rows) of the holes in what was heard so far, between a symbol's first bar and the newest of all.

        Symbols that lie far behind are not holed but quiet, and left out; (0, empty) when all is whole.
        """
        times = sorted(self._pending)
        if not times:
            return 0, np.zeros(0, dtype=np.int64)
        oldest = max(times[0], times[-1] - (self._capacity - 1) * self.interval_ms)
        grid = np.arange(oldest, times[-1] + 1, self.interval_ms)
        empty = np.full((len(self.symbols), 5), np.nan)
        there = ~np.isnan(np.stack([self._pending.get(int(t), empty)[:, 3] for t in grid], axis=1))
        first = np.where(there.any(axis=1), there.argmax(axis=1), grid.size)
        last = grid.size - 1 - there[:, ::-1].argmax(axis=1)
        inside = np.arange(grid.size) >= first[:, None]
        living = last >= grid.size - 1 - QUIET_AFTER
        holed = inside & ~there & living[:, None]
        rows = holed.any(axis=1).nonzero()[0]
        return (int(grid[holed.any(axis=0).argmax()]), rows) if rows.size else (0, rows)

    def missing(self) -> NDArray[np.int64]:
        """Rows whose next bar is awaited and not there."""
        pending = self._pending.get(self.next_ms)
        awaited = self._absent < QUIET_AFTER
        return (awaited & (True if pending is None else np.isnan(pending[:, 3]))).nonzero()[0]

    def begun(self) -> bool:
        """True when any symbol has the next bar."""
        return self.next_ms in self._pending

    def take(self) -> Floats:
        """Make the next bar history and return it, float64[S, 5]; rows that are missing are NaN."""
        open_ms = self.next_ms
        bars = self._pending.pop(open_ms, None)
        if bars is None:
            bars = np.full((len(self.symbols), 5), np.nan)
        there = ~np.isnan(bars[:, 3])
        streamed = self._streamed.pop(open_ms, np.zeros_like(there))
        self._absent = np.where(there, 0, self._absent + 1)
        self.counts["missing"] += int((~there & (self._absent <= QUIET_AFTER)).sum())
        self._repaired += int((there & ~streamed).sum())
        traded = there & (bars[:, 4] > 0.0)
        self._unstreamed = np.where(streamed, 0, self._unstreamed + traded)
        self.head_ms = open_ms
        self._first_ms = max(self._first_ms, open_ms - (self._capacity - 1) * self.interval_ms)
        self._history[:, self._slot(open_ms)] = bars
        told = bars.copy()
        told.flags.writeable = False
        return told

    def never_streamed(self) -> tuple[str, ...]:
        """Symbols that traded and whose last three bars the stream did not bring; the count begins anew."""
        rows = (self._unstreamed >= QUIET_AFTER).nonzero()[0]
        self._unstreamed[rows] = 0
        return tuple(self.symbols[row] for row in rows)

    def take_repaired(self) -> int:
        """Bars told since the last call that only REST had."""
        repaired, self._repaired = self._repaired, 0
        return repaired

    def history(self) -> HistoryReady:
        """Everything told so far that is still kept, oldest first; arrays are copies."""
        times: Times = np.arange(self._first_ms, self.head_ms + 1, self.interval_ms, dtype=np.int64)
        ohlcv = self._history[:, (times // self.interval_ms) % self._capacity]
        times.flags.writeable = ohlcv.flags.writeable = False
        return HistoryReady(symbols=self.symbols, interval_ms=self.interval_ms, open_time_ms=times, ohlcv=ohlcv)

    def newest_bar(self) -> Floats:
        """The newest bar told, float64[S, 5]."""
        bars = self._history[:, self._slot(self.head_ms)].copy()
        bars.flags.writeable = False
        return bars

    def _hear(self, row: int, open_ms: int, bar: Sequence[float], now_ms: int) -> Heard:
        if open_ms % self.interval_ms:
            return "off grid"
        if open_ms + self.interval_ms // 2 > now_ms:  # half a bar is left to clocks that differ
            return "future"
        if not _is_bar(*bar):
            return "no bar"
        if self.head_ms >= 0 and open_ms <= self.head_ms:
            return self._hear_late(row, open_ms, bar)
        bars = self._pending.get(open_ms)
        if bars is None:
            if self.head_ms < 0 and open_ms < now_ms - self._capacity * self.interval_ms:
                return "ancient"
            if len(self._pending) >= PENDING_MAX:
                return "future"
            bars = self._pending[open_ms] = np.full((len(self.symbols), 5), np.nan)
        return _fill(bars[row], bar, "new")

    def _hear_late(self, row: int, open_ms: int, bar: Sequence[float]) -> Heard:
        if open_ms < self._first_ms:
            return "ancient"
        heard = _fill(self._history[row, self._slot(open_ms)], bar, "late")
        if heard == "late":
            self._absent[row] = 0
        return heard

    def _newest_of(self, row: int, times: list[int]) -> int:
        return next((t for t in reversed(times) if not np.isnan(self._pending[t][row, 3])), -1)

    def _slot(self, open_ms: int) -> int:
        return (open_ms // self.interval_ms) % self._capacity


def _fill(place: Floats, bar: Sequence[float], heard: Heard) -> Heard:
    """Put a bar into an empty place; the first one heard stays."""
    if isnan(place[3]):
        place[:] = bar
        return heard
    return "duplicate" if place.tolist() == list(bar) else "conflict"


def _is_bar(open_: float, high: float, low: float, close: float, volume: float) -> bool:
    """False for what no market can print; NaN and infinity fail the comparisons."""
    return 0.0 < low <= open_ <= high < inf and low <= close <= high and 0.0 <= volume < inf
