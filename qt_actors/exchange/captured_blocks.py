"""Captured points as the market walks them, and captured books as the matching engine and the streams meet them."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

import numpy as np

from qt_actors.exchange.blocks import Block, index_and_mark
from qt_actors.exchange.books import ListedBook
from qt_actors.exchange.captured import (
    ASK,
    ASK_QTY,
    BID,
    BID_QTY,
    BOUGHT,
    LAST,
    TAKER,
    VOLUME,
    CapturedMarket,
)
from qt_actors.exchange.depth import Depth, Liquidity
from qt_actors.exchange.touch import Touch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qt_actors.exchange.blocks import Funding, Tape
    from qt_actors.exchange.rules import SymbolRules
    from qt_actors.exchange.touch import Steps

ENGINE_LEVELS: Final = 200  # levels a side that takers can reach


def captured_block(
    source: CapturedMarket, open_ms: int, steps: Steps, tape: Tape, funding: Funding, liquidity: Liquidity
) -> Block:
    """The points of the minute that opens at `open_ms`; `tape` is moved to its end."""
    count = len(source.symbols)
    times, columns, rows, index, mark = [], [], [], [], []
    for row in range(count):
        at, points = source.points(row, open_ms)
        times.append(at)
        columns.append(points)
        rows.append(np.full(at.size, row, dtype=np.int64))
        if at.size:
            here, there = np.array([row]), np.ones((1, at.size), dtype=np.bool_)
            indexed, marked = index_and_mark(at[None, :], points[LAST][None, :], there, here, tape, funding)
            index.append(indexed[0])
            mark.append(marked[0])
            tape.last[row] = points[LAST, -1]
    every, points = np.concatenate(times), np.concatenate(columns, axis=1)
    order = np.argsort(every, kind="stable")
    row_of, points = np.concatenate(rows)[order], points[:, order]
    none: list[NDArray[np.float64]] = [np.empty(0)]
    traded = np.flatnonzero([part.size > 0 for part in times])
    first = np.array([columns[row][LAST, 0] for row in traded])
    measured = Liquidity(liquidity.volume[traded], liquidity.volatility[traded])
    return Block(
        every[order],
        row_of,
        points[LAST],
        np.concatenate(mark or none)[order],
        np.concatenate(index or none)[order],
        points[VOLUME : TAKER + 1],
        points[BOUGHT] > 0,
        np.zeros(row_of.size, dtype=np.bool_),
        Touch(*(_whole(points[one], steps.tick[row_of]) for one in (BID, ASK)),
              *(_whole(points[one], steps.step[row_of]) for one in (BID_QTY, ASK_QTY))),
        traded,
        Depth.of(first, measured, steps.some(traded)),
    )  # fmt: skip


def _whole(values: NDArray[np.float64], unit: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.maximum(np.rint(values / unit), 1).astype(np.int64)


class CapturedBooks:
    """Books of a captured market in ticks and quantity steps.

    Args:
        source: the capture.
        rules: of its symbols, in order.
    """

    def __init__(self, source: CapturedMarket, rules: tuple[SymbolRules, ...]) -> None:
        self._source, self._rules = source, rules
        self._made: dict[int, tuple[object, object, ListedBook]] = {}

    def side(self, row: int, sign: int, touch: int, time_ms: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The levels behind a touch (ticks) at a time: ticks, best first, and quantity steps."""
        rules = self._rules[row]
        levels = self._source.levels(row, sign, time_ms)
        if not levels:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        prices, sizes = np.array(levels, dtype=np.float64).T
        ticks = np.rint(prices / float(rules.tick)).astype(np.int64)
        steps = np.rint(sizes / float(rules.step)).astype(np.int64)
        beyond = ((ticks - touch) * sign > 0) & (steps > 0)
        return ticks[beyond], steps[beyond]

    def book(self, row: int, time_ms: int) -> ListedBook:
        """The levels at a time, as a quote carries them."""
        bids, asks = (self._source.levels(row, sign, time_ms) for sign in (-1, 1))
        made = self._made.get(row)
        if made is None or made[0] is not bids or made[1] is not asks:
            sides = (
                tuple((Decimal(price), Decimal(size)) for price, size in side[:ENGINE_LEVELS]) for side in (bids, asks)
            )
            made = self._made[row] = (bids, asks, ListedBook(*sides))
        return made[2]


def _exact(levels: list[tuple[str, str]]) -> tuple[tuple[Decimal, Decimal], ...]:
    return tuple((Decimal(price), Decimal(size)) for price, size in levels[:ENGINE_LEVELS])
