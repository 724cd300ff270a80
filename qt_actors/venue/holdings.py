"""Do the fills that were told explain what a snapshot shows? Pure bookkeeping, a symbol at a time."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from itertools import accumulate

import msgspec

from qt_actors.messages.orders import Fill
from qt_actors.messages.positions import AccountSnapshot

ZERO = Decimal(0)


class Told(msgspec.Struct, order=True):
    """A fill told and not yet seen in a snapshot that was passed on.

    Attributes:
        trade_id: rises within a symbol, so that fills told late find their place.
        change: of the position, signed; time_ms: of the execution, exchange time.
        asked_after: the running round was asked after it was told: its snapshot must show it.
    """

    trade_id: int
    change: Decimal
    time_ms: int
    asked_after: bool = False


class Holdings:
    """Positions of the last snapshot passed on, and the fills told since."""

    def __init__(self) -> None:
        self._held: Mapping[str, Decimal] | None = None
        self._told: dict[str, list[Told]] = defaultdict(list)
        self._unexplained: dict[str, Decimal] = {}
        """By how much a snapshot passed on differed from held and told: a late fill or snapshot makes it good."""

    def told(self, fill: Fill) -> None:
        """A fill is told to everybody for the first time, by whichever way it came."""
        change = fill.quantity if fill.side == "BUY" else -fill.quantity
        insort(self._told[fill.symbol], Told(fill.trade_id, change, fill.time_ms))

    def asked(self) -> None:
        """A round is asked for now."""
        for fills in self._told.values():
            for fill in fills:
                fill.asked_after = True

    def lacking(self, snapshot: AccountSnapshot) -> tuple[str, ...]:
        """Symbols of which less is held than the fills told can explain; none when nothing was passed on before."""
        if self._held is None:
            return ()
        seen = _quantities(snapshot)
        return tuple(symbol for symbol in sorted({*self._held, *self._told}) if self._lacks(symbol, seen))

    def passed(self, snapshot: AccountSnapshot) -> None:
        """The snapshot is passed on: what it shows needs no more explaining."""
        seen = _quantities(snapshot)
        for symbol in {*self._told, *seen, *(self._held or {})}:
            fills = self._told.pop(symbol, [])
            if self._held is None:
                left = [fill for fill in fills if fill.time_ms > snapshot.now_ms]
            else:
                left = fills[self._settle(symbol, fills, seen.get(symbol, ZERO)) :]
            if left:
                self._told[symbol] = left
        self._held = seen

    def _settle(self, symbol: str, fills: list[Told], quantity: Decimal) -> int:
        """Up to which fill this quantity has seen them; where it fits none, remember by how much it does not."""
        end, made_good = self._explanation(symbol, fills, quantity)
        if end is None:
            end = _sure(fills)
            self._unexplained[symbol] = quantity - self._expected(symbol, fills)
        elif made_good:
            del self._unexplained[symbol]
        return end

    def _explanation(self, symbol: str, fills: list[Told], quantity: Decimal) -> tuple[int | None, bool]:
        """(up to which fill, whether an earlier difference was made good by it); None when no place fits."""
        sums = list(accumulate((fill.change for fill in fills), initial=ZERO))
        change = quantity - self._held_of(symbol)
        for earlier in (ZERO, self._unexplained.get(symbol, ZERO)):
            for end in range(_sure(fills), len(sums)):
                if sums[end] == change + earlier:
                    return end, earlier != 0
        return None, False

    def _lacks(self, symbol: str, seen: Mapping[str, Decimal]) -> bool:
        """Whether the position is unexplained, and gone, turned or smaller than expected."""
        fills, quantity = self._told.get(symbol, []), seen.get(symbol, ZERO)
        if self._explanation(symbol, fills, quantity)[0] is not None:
            return False
        expected = self._expected(symbol, fills)
        return expected != 0 and (quantity * expected <= 0 or abs(quantity) < abs(expected))

    def _expected(self, symbol: str, fills: list[Told]) -> Decimal:
        return self._held_of(symbol) + sum((fill.change for fill in fills[: _sure(fills)]), ZERO)

    def _held_of(self, symbol: str) -> Decimal:
        return (self._held or {}).get(symbol, ZERO)


def _sure(fills: list[Told]) -> int:
    """How many of the fills, in the order of their making, the running round's snapshot must show."""
    return max((number for number, fill in enumerate(fills, 1) if fill.asked_after), default=0)


def _quantities(snapshot: AccountSnapshot) -> Mapping[str, Decimal]:
    return {position.symbol: position.quantity for position in snapshot.positions}
