"""Changes of a book between two frames, as the diff-depth streams tell them.

Applied in order to the book of `GET depth?limit=1000`, they give that book at every later frame, exactly: a side's
levels are LEVELS_MAX at most, and what falls out of them is told with quantity 0 like any level that is gone. A book
that somebody was shown between two frames counts, too: a level that came and went since is told in the next frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qt_actors.exchange.depth import LEVELS_MAX

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qt_actors.exchange.market import Market

Side = tuple["NDArray[np.int64]", "NDArray[np.int64]"]
"""Prices in ticks, ascending, and quantities in steps."""


class ToldBook:
    """The book of a symbol as a stream's listeners have it.

    Args:
        market: where the book is.
        row: the symbol.
    """

    def __init__(self, market: Market, row: int) -> None:
        self._market, self._row = market, row
        self._told = self._now()
        self._shown: list[tuple[Side, Side]] = []

    def _now(self) -> tuple[Side, Side]:
        bids, sizes = self._market.side(self._row, -1, LEVELS_MAX)
        return (bids[::-1], sizes[::-1]), self._market.side(self._row, 1, LEVELS_MAX)

    def show(self) -> None:
        """Somebody is shown the present book."""
        self._shown.append(self._now())

    def changes(self) -> tuple[Side, Side]:
        """Levels of bids and asks that changed since the last call, by price, those that are gone with 0."""
        now, known = self._now(), [self._told, *self._shown]
        self._told, self._shown = now, []
        bids, asks = (_union([_changes(book[side], now[side]) for book in known]) for side in (0, 1))
        return bids, asks


def _union(changes: list[Side]) -> Side:
    """Changes towards one and the same book, together."""
    if len(changes) == 1:
        return changes[0]
    ticks, first = np.unique(np.concatenate([one[0] for one in changes]), return_index=True)
    return ticks, np.concatenate([one[1] for one in changes])[first]


def _changes(old: Side, new: Side) -> Side:
    ticks = np.concatenate((old[0], new[0]))
    order = np.argsort(ticks, kind="stable")  # of a price in both, the old level comes first
    ticks, sizes = ticks[order], np.concatenate((np.zeros_like(old[1]), new[1]))[order]
    before = np.concatenate((old[1], np.zeros_like(new[1])))[order]
    last = np.append(ticks[1:] != ticks[:-1], True) if ticks.size else np.empty(0, dtype=np.bool_)
    paired = np.append(False, ~last[:-1]) if ticks.size else last
    before = np.where(paired, np.roll(before, 1), before)
    changed = last & (sizes != before)
    return ticks[changed], sizes[changed]
