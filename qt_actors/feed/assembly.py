"""From single bars to whole sets: back-fill, gaps, repairs, deadlines. Pure: facts in, messages and asks out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qt_actors.feed.grid import BarGrid
from qt_actors.feed.repairs import Ask, Backfill, Repairs
from qt_actors.messages.market import BarsClosed, Floats, HistoryReady

Row = tuple[str, int, Sequence[float]]
"""Symbol, open time, and open, high, low, close, volume."""


class Assembly:
    """One universe's bars. Every method may leave something in ``told`` and ``asks``; ``drain`` takes it out.

    Args:
        symbols, interval_ms: the grid; capacity: closed bars kept.
        history_bars: back-filled; backfill_tries: how often unanswered parts are asked for.

    Attributes:
        waiting: the next bar is begun or due and not whole: its repair and deadline are running.
        ready: the back-fill is over.
    """

    def __init__(
        self, symbols: tuple[str, ...], interval_ms: int, *, capacity: int, history_bars: int, backfill_tries: int
    ) -> None:
        self.grid = BarGrid(symbols, interval_ms, capacity)
        self.repairs = Repairs()
        self.waiting = False
        self._backfill: Backfill | None = Backfill(symbols, history_bars, backfill_tries)
        self._row_of = {symbol: row for row, symbol in enumerate(symbols)}
        self._told: list[HistoryReady | BarsClosed] = []
        self._asks: list[Ask] = []
        self._amended = False
        self.ask_backfill()

    @property
    def ready(self) -> bool:
        """True once the history was told."""
        return self._backfill is None

    def statistics(self) -> dict[str, object]:
        """What the tree view shows; counts of bars by what they turned out to be."""
        counts = {f"bars_{name.replace(' ', '_')}": count for name, count in tuple(self.grid.counts.items())}
        state = "ready" if self._backfill is None else self._backfill.progress
        closed_ms = self.grid.head_ms + self.grid.interval_ms if self.grid.head_ms >= 0 else 0
        return {"state": state, "newest_bar_closed_ms": closed_ms, "asked_by_rest": self.repairs.asked, **counts}

    @property
    def due_ms(self) -> int:
        """Exchange time at which the next bar closes."""
        return self.grid.next_ms + self.grid.interval_ms

    def drain(self) -> tuple[list[HistoryReady | BarsClosed], list[Ask]]:
        """What is to be told and to be asked since the last call."""
        told, asks = self._told, self._asks
        self._told, self._asks = [], []
        return told, asks

    def hear(self, rows: Iterable[Row], now_ms: int, *, streamed: bool) -> None:
        """Take bars; those of symbols outside the universe are ignored."""
        row_of = self._row_of
        for symbol, open_ms, bar in rows:
            if symbol in row_of and self.grid.hear(row_of[symbol], open_ms, bar, now_ms, streamed=streamed) == "late":
                self._amended = True

    def loaded(self, symbol: str, *, failed: bool) -> None:
        """A REST answer for one symbol is complete."""
        self.repairs.answered(symbol)
        if self._backfill is not None and not failed:
            self._backfill.loaded(symbol)

    def ask_backfill(self) -> None:
        """Ask for what the back-fill still lacks."""
        if self._backfill is not None and (ask := self._backfill.ask()) is not None:
            self._asks.append(ask)

    def advance(self, now_ms: int) -> None:
        """Tell what is whole; ask at once for what is certainly lost."""
        if self._backfill is not None:
            self._settle(self._backfill)
        if self._backfill is not None:
            return
        grid = self.grid
        while grid.begun() and not grid.missing().size:
            self._tell_next()
        self.waiting = self.waiting or grid.begun()
        if grid.newest_ms > grid.next_ms:
            self.repair(now_ms)

    def due(self) -> None:
        """The next bar has closed by the clock."""
        self.waiting = self.ready

    def repair(self, now_ms: int) -> None:
        """Ask for what is missing."""
        if self.ready and (ask := self.repairs.ask(self.grid, now_ms)) is not None:
            self._asks.append(ask)

    def deadline(self, now_ms: int) -> bool:
        """Tell the next bar without those who still lack it, and ask for theirs once more.

        False when nobody has it: then it is asked for again.
        """
        if not self.ready or not self.waiting:
            return True
        if self.grid.begun():
            lacking, open_ms = [self.grid.symbols[row] for row in self.grid.missing()], self.grid.next_ms
            self._tell_next()
            if (ask := self.repairs.ask_once_more(lacking, open_ms)) is not None:
                self._asks.append(ask)
            self.advance(now_ms)
            return True
        self.repairs.again()
        self.repair(now_ms)
        return False

    def _settle(self, backfill: Backfill) -> None:
        finished, ask = backfill.step(self.grid)
        if ask is not None:
            self._asks.append(ask)
        if not finished:
            return
        self.grid.settle()
        self._backfill = None
        self._told.append(self.grid.history())
        self._say(self.grid.newest_bar(), replayed=True)

    def _tell_next(self) -> None:
        """Tell the next bar; when a late one has filled a hole since the last, the amended history before it."""
        if self._amended:
            self._told.append(self.grid.history())
            self._amended = False
        self.waiting = False
        self._say(self.grid.take(), replayed=False)

    def _say(self, bars: Floats, *, replayed: bool) -> None:
        grid = self.grid
        closed = BarsClosed(
            symbols=grid.symbols,
            interval_ms=grid.interval_ms,
            open_time_ms=grid.head_ms,
            close_time_ms=grid.head_ms + grid.interval_ms,
            ohlcv=bars,
            replayed=replayed,
        )
        self._told.append(closed)
