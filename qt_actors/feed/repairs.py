"""What is asked for by REST: the history at the start, later the bars a stream left out; nothing twice at a time."""

from __future__ import annotations

import msgspec

from qt_actors.feed.grid import BarGrid

BARS_MAX = 1500
"""The exchange gives no more at once."""
PROBES = 3
"""While nobody has the next bar, only so many symbols are asked for it: a down exchange must not cost the budget."""
ANSWERS_MISSED_MAX = 10
TRIES_MIN = 2


class Ask(msgspec.Struct, frozen=True):
    """Bars to load: the newest ``limit`` of these symbols, or the first since a time."""

    symbols: tuple[str, ...]
    since_ms: int | None
    limit: int


class Backfill:
    """The history of every symbol, then once the holes it was found to have.

    While nobody has answered, it does not give up: without any history there is nothing to go on with.

    Args:
        symbols: whose; bars: how many; tries: how often the unanswered are asked again.
    """

    def __init__(self, symbols: tuple[str, ...], bars: int, tries: int) -> None:
        self._bars = bars
        self._tries = tries
        self._left = dict.fromkeys(symbols)
        self._since_ms: int | None = None
        self._is_answered = self._holes_asked = False

    def ask(self) -> Ask | None:
        """What has not been answered yet; None when it has all been, or was asked too often."""
        if not self._left:
            return None
        if self._tries <= 0:
            return None if self._is_answered else Ask(tuple(self._left)[:PROBES], self._since_ms, self._bars)
        self._tries -= 1
        return Ask(tuple(self._left), self._since_ms, self._bars)

    def loaded(self, symbol: str) -> None:
        """A symbol's bars came; the first ones make it worth while to ask for all the others again."""
        self._left.pop(symbol, None)
        if not self._is_answered:
            self._is_answered, self._tries = True, max(self._tries, TRIES_MIN)

    def step(self, grid: BarGrid) -> tuple[bool, Ask | None]:
        """(whether nothing more is awaited, what to ask at once): holes make one more round."""
        if self._left and (self._tries > 0 or not self._is_answered):
            return False, None
        if self._holes_asked or grid.newest_ms < 0:
            return grid.newest_ms >= 0, None
        self._holes_asked = True
        since_ms, rows = grid.holes()
        if not rows.size:
            return True, None
        self._left = {grid.symbols[row]: None for row in rows}
        self._since_ms = since_ms
        self._tries = max(self._tries, TRIES_MIN)
        return False, self.ask()

    @property
    def progress(self) -> str:
        """How many symbols are still awaited."""
        return f"{len(self._left)} symbols to load"


class Repairs:
    """Bars that are due and missing: each symbol is asked once a bar, and never again before it has answered."""

    def __init__(self) -> None:
        self.asked = 0
        self._open: dict[str, None] = {}
        self._asked_ms: dict[str, int] = {}
        self._silent = 0

    def ask(self, grid: BarGrid, now_ms: int) -> Ask | None:
        """Missing rows of the next bar, with what else has closed since; None when there is nothing new to ask."""
        names = [grid.symbols[row] for row in grid.missing()]
        names = [name for name in names if name not in self._open and self._asked_ms.get(name, -1) < grid.next_ms]
        if grid.newest_ms < grid.next_ms:
            names = names[: max(0, PROBES - len(self._open))]
        if not names:
            return None
        self._open.update(dict.fromkeys(names))
        self._asked_ms.update(dict.fromkeys(names, grid.next_ms))
        self.asked += len(names)
        behind = (now_ms - grid.next_ms) // grid.interval_ms
        return Ask(tuple(names), grid.next_ms, min(max(behind, 1), BARS_MAX))

    def ask_once_more(self, symbols: list[str], open_ms: int) -> Ask | None:
        """A bar was told without these: it fills the hole when it comes; None when all are asked already."""
        names = tuple(name for name in symbols if name not in self._open)
        if not names:
            return None
        self._open.update(dict.fromkeys(names))
        self.asked += len(names)
        return Ask(names, open_ms, 1)

    def answered(self, symbol: str) -> None:
        """A symbol's answer came."""
        self._open.pop(symbol, None)
        self._silent = 0

    def again(self) -> None:
        """Time passed and nobody has the bar: whoever has answered may be asked anew."""
        self._silent += 1
        if self._silent > ANSWERS_MISSED_MAX:
            self.lost()
        self._asked_ms = {name: ms for name, ms in self._asked_ms.items() if name in self._open}

    def lost(self) -> None:
        """Nothing that was asked will be answered."""
        self._open.clear()
        self._asked_ms.clear()
        self._silent = 0
