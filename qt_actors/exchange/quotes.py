"""One symbol's market at one instant, and the depth that is assumed behind its touch."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_CEILING, Decimal
from typing import Final

import msgspec

from qt_actors.exchange.books import ListedBook, ModelBook
from qt_actors.exchange.figures import ZERO

LEVELS_MAX: Final = 1000
"""Levels the model goes deep; a market order larger than that is left unfilled."""
LEVEL_GAP: Final = Decimal("0.0001")
"""Aimed distance of two levels as a fraction of the price (1 bp)."""


def thickness(level: int) -> int:
    """Quantity of a level (0 is the touch) in touch quantities: 1 + 0.7 level, rounded half up.

    Measured: in a minute of BTCUSDT's book (2024-08-08) the depth up to 1, 2, 3, 5, 7, 10 bp was 2.5, 4.9, 8.6, 16, 25,
    40 touch quantities (medians); these levels add up to 3, 5, 8, 16, 27, 49.
    """
    return 1 + (7 * level + 5) // 10


class Quote(msgspec.Struct, frozen=True):
    """Prices of one symbol: last trade, mark, index and the touch with its quantities (base asset).

    `volume` is the base volume of the last trade, 0 where it is not known. `book` tells what lies behind the touch (the
    market's quotes have the model of `depth`); a quote without one has a plain ladder there. `walked` says that the
    market came here from the symbol's quote before through every price between (`way`), not by a jump.
    """

    symbol: str
    time_ms: int
    last: Decimal
    mark: Decimal
    index: Decimal
    bid: Decimal
    ask: Decimal
    bid_qty: Decimal
    ask_qty: Decimal
    volume: Decimal = ZERO
    book: ModelBook | ListedBook | None = None
    walked: bool = False

    def _gap(self, best: Decimal) -> Decimal:
        """Distance of two levels: the smallest multiple of the spread that is at least 1 bp of the price."""
        spread = self.ask - self.bid
        unit = spread if spread > 0 else Decimal(1).scaleb(int(best.as_tuple().exponent))
        return unit * max(Decimal(1), (best * LEVEL_GAP / unit).to_integral_value(ROUND_CEILING))

    def levels(self, side: str) -> Iterator[tuple[Decimal, Decimal]]:
        """Price and quantity a taker of `side` meets, best first (BUY meets asks, SELL meets bids).

        The first level is the touch. Without a book, level k lies k gaps beyond it and holds `thickness(k)` touch
        quantities. So every level is on tick when bid and ask are, and every quantity on step when the touch's are.
        """
        best, quantity, sign = (self.ask, self.ask_qty, 1) if side == "BUY" else (self.bid, self.bid_qty, -1)
        yield best, quantity
        if self.book is not None:
            yield from self.book.behind(side, best, self.time_ms)
            return
        gap = sign * self._gap(best)
        for level in range(1, LEVELS_MAX):
            price = best + level * gap
            if price <= 0:
                return
            yield price, quantity * thickness(level)

    def displayed(self, side: str, price: Decimal) -> Decimal:
        """Quantity that the book shows at exactly that price on the side of a resting order (BUY rests among bids)."""
        best, quantity = (self.bid, self.bid_qty) if side == "BUY" else (self.ask, self.ask_qty)
        beyond = best - price if side == "BUY" else price - best
        if beyond <= 0:
            return quantity if not beyond else ZERO
        if self.book is not None:
            return self.book.at("SELL" if side == "BUY" else "BUY", best, price, self.time_ms)
        level, off = divmod(beyond, self._gap(best))
        return ZERO if off or level >= LEVELS_MAX else quantity * thickness(int(level))
