"""What lies behind a quote's touch: the model's levels, or levels that were really seen."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import msgspec

from qt_actors.exchange.depth import LEVELS_MAX, behind, level_at
from qt_actors.exchange.figures import ZERO

if TYPE_CHECKING:
    from collections.abc import Iterable

SHORT: Final = 24  # most takers end within so many levels
SIGN: Final = {"BUY": 1, "SELL": -1}  # of the levels a taker of that side meets
Level = tuple[Decimal, Decimal]


class ModelBook(msgspec.Struct, frozen=True, tag="model"):
    """A symbol's book by `depth.behind`; fields as there."""

    key: int
    tick: Decimal
    step: Decimal
    cell: int
    per_cell: float
    near: float

    def behind(self, taker: str, best: Decimal, time_ms: int) -> Iterator[Level]:
        """The levels behind `best` that a taker of that side meets, best first."""
        for low, count in ((0, SHORT), (SHORT, LEVELS_MAX - 1)):
            ticks, sizes = behind(
                self.key, self.cell, self.per_cell, self.near, int(best / self.tick), SIGN[taker], time_ms, count
            )
            for place, size in zip(ticks[low:].tolist(), sizes[low:].tolist(), strict=True):
                yield place * self.tick, size * self.step

    def at(self, taker: str, best: Decimal, price: Decimal, time_ms: int) -> Decimal:  # noqa: ARG002 - as `ListedBook.at`
        """Quantity at a price behind `best`, 0 where there is no level."""
        place, off = divmod(price, self.tick)
        if off or place % self.cell:
            return ZERO
        shape = self.key, self.cell, self.per_cell, self.near
        return level_at(*shape, int(best / self.tick), int(place), time_ms) * self.step


class ListedBook(msgspec.Struct, frozen=True, tag="listed"):
    """A book that was captured: the levels behind the touch, best first."""

    bids: tuple[Level, ...]
    asks: tuple[Level, ...]

    def behind(self, taker: str, best: Decimal, time_ms: int) -> Iterable[Level]:  # noqa: ARG002 - as `ModelBook.behind`
        """The levels behind `best` that a taker of that side meets, best first."""
        return (level for level in (self.asks if taker == "BUY" else self.bids) if (level[0] - best) * SIGN[taker] > 0)

    def at(self, taker: str, best: Decimal, price: Decimal, time_ms: int) -> Decimal:
        """Quantity at a price behind `best`, 0 where there is no level."""
        return next((quantity for at, quantity in self.behind(taker, best, time_ms) if at == price), ZERO)
