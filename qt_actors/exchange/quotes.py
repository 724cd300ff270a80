"""One symbol's market at one instant, and the depth that is assumed behind its touch."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_CEILING, Decimal
from typing import Final

import msgspec

LEVELS_MAX: Final = 1000
"""Levels the model goes deep; a market order larger than that is left unfilled."""
LEVEL_GAP: Final = Decimal("0.0001")
"""Aimed distance of two levels as a fraction of the price (1 bp)."""


class Quote(msgspec.Struct, frozen=True):
    """Prices of one symbol: last trade, mark, index and the touch with its quantities (base asset)."""

    symbol: str
    time_ms: int
    last: Decimal
    mark: Decimal
    index: Decimal
    bid: Decimal
    ask: Decimal
    bid_qty: Decimal
    ask_qty: Decimal

    def levels(self, side: str) -> Iterator[tuple[Decimal, Decimal]]:
        """Price and quantity a taker of `side` meets, best first (BUY meets asks, SELL meets bids).

        The first level is the touch. Level k (0-based) lies k gaps beyond it and holds k + 1 times the touch quantity,
        a book that thickens linearly. A gap is the smallest multiple of the spread that is at least 1 bp of the price,
        so every level is on tick when bid and ask are, and every quantity on step when the touch quantities are.
        """
        best, quantity, sign = (self.ask, self.ask_qty, 1) if side == "BUY" else (self.bid, self.bid_qty, -1)
        spread = self.ask - self.bid
        unit = spread if spread > 0 else Decimal(1).scaleb(int(best.as_tuple().exponent))
        gap = unit * max(Decimal(1), (best * LEVEL_GAP / unit).to_integral_value(ROUND_CEILING))
        for k in range(LEVELS_MAX):
            price = best + sign * k * gap
            if price <= 0:
                return
            yield price, quantity * (k + 1)
