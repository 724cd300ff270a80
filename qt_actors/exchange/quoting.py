"""From the market's arrays to the quotes of the matching engine: exact decimals, one object a point."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from qt_actors.exchange.blocks import MARK_DECIMALS, MARK_UNIT
from qt_actors.exchange.quotes import Quote

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from qt_actors.exchange.books import ListedBook, ModelBook
    from qt_actors.exchange.rules import SymbolRules
    from qt_actors.exchange.touch import Touch


@dataclass(frozen=True, slots=True)
class Points:
    """Prints of symbols as columns of one length: row, time (ms), prices, the touch after it, base volume, `walked`."""

    rows: NDArray[np.int64]
    times: NDArray[np.int64]
    last: NDArray[np.float64]
    mark: NDArray[np.float64]
    index: NDArray[np.float64]
    touch: Touch
    volume: NDArray[np.float64]
    walked: NDArray[np.bool_]


class Quoter:
    """Makes quotes.

    Args:
        rules: of the symbols, in the market's order.
        price_digits: decimals of their traded prices.
    """

    def __init__(self, rules: Sequence[SymbolRules], price_digits: Sequence[int]) -> None:
        self._rules = rules
        self._units = [Decimal(1).scaleb(-digits) for digits in price_digits]
        self._scale = np.array([10.0**digits for digits in price_digits])
        self._step = np.array([float(rule.step) for rule in rules])

    def quotes(self, points: Points, book_of: Callable[[int, int], ModelBook | ListedBook]) -> list[Quote]:
        """The points as quotes, in their order."""
        rows, touch = points.rows, points.touch
        columns = (
            np.rint(points.last * self._scale[rows]),
            np.rint(points.mark * 10**MARK_DECIMALS),
            np.rint(points.index * 10**MARK_DECIMALS),
            touch.bid,
            touch.ask,
            touch.bid_qty,
            touch.ask_qty,
            np.rint(points.volume / self._step[rows]),
        )
        whole = (column.astype(np.int64).tolist() for column in columns)
        quotes = []
        for row, time_ms, walked, last, mark, index, bid, ask, bid_qty, ask_qty, volume in zip(
            rows.tolist(), points.times.tolist(), points.walked.tolist(), *whole, strict=True
        ):
            rule = self._rules[row]
            quotes.append(
                Quote(
                    rule.symbol,
                    time_ms,
                    last * self._units[row],
                    mark * MARK_UNIT,
                    index * MARK_UNIT,
                    bid * rule.tick,
                    ask * rule.tick,
                    bid_qty * rule.step,
                    ask_qty * rule.step,
                    volume * rule.step,
                    book_of(row, time_ms),
                    walked,
                )
            )
        return quotes
