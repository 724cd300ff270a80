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
        overdue: the last snapshot passed on did not show it, though it should have.
    """

    trade_id: int
    change: Decimal
    time_ms: int
    asked_after: bool = False
    overdue: bool = False


class Holdings:
    """Positions of the last snapshot passed on, and the fills told since."""

    def __init__(self) -> None:
        self._held: Mapping[str, Decimal] | None = None
        self._began_ms = 0
        """When the first snapshot passed on was asked for: it shows every fill up to then."""
        self._told: dict[str, list[Told]] = defaultdict(list)
        self._unexplained: dict[str, Decimal] = {}
        """By how much a snapshot passed on differed from held and told; fills told later make it good."""

    def told(self, fill: Fill) -> None:
        """A fill is told to everybody for the first time, by whichever way it came."""
        if fill.time_ms < self._began_ms:
            return
        change = fill.quantity if fill.side == "BUY" else -fill.quantity
        insort(self._told[fill.symbol], Told(fill.trade_id, change, fill.time_ms))

    def asked(self) -> None:
        """A round is asked for now."""
        for fills in self._told.values():
            for fill in fills:
                fill.asked_after = True

    def unexplained(self, snapshot: AccountSnapshot) -> tuple[str, ...]:
        """Symbols whose quantity the fills told do not explain; none before a first snapshot was passed on."""
        if self._held is None:
            return ()
        seen = _quantities(snapshot)
        symbols = sorted({*self._held, *self._told, *seen})
        return tuple(s for s in symbols if self._explanation(s, self._told_of(s), seen.get(s, ZERO))[0] is None)

    def lacking(self, snapshot: AccountSnapshot) -> tuple[str, ...]:
        """Those of the unexplained whose position is gone, turned or smaller than expected."""
        seen = _quantities(snapshot)
        return tuple(s for s in self.unexplained(snapshot) if _is_less(seen.get(s, ZERO), self._expected(s)))

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
        if self._held is None:
            self._began_ms = snapshot.requested_ms
        self._held = seen

    def _settle(self, symbol: str, fills: list[Told], quantity: Decimal) -> int:
        """Up to which fill this quantity has seen them; where it fits none, remember by how much it does not."""
        end, made_good = self._explanation(symbol, fills, quantity)
        if end is not None:
            if made_good:
                del self._unexplained[symbol]
            return end
        sums, sure = _sums(fills), _sure(fills)
        for earlier in range(sure - 1, -1, -1):
            if sums[earlier] == quantity - self._held_of(symbol) and not fills[earlier].overdue:
                for fill in fills[earlier:sure]:
                    fill.overdue = True  # the snapshot lags behind the stream, once
                return earlier
        self._unexplained[symbol] = quantity - self._held_of(symbol) - sums[sure]
        return sure

    def _explanation(self, symbol: str, fills: list[Told], quantity: Decimal) -> tuple[int | None, bool]:
        """(up to which fill, whether an earlier difference was made good by it); None when no place fits."""
        sums, sure, change = _sums(fills), _sure(fills), quantity - self._held_of(symbol)
        for end in range(sure, len(sums)):
            if sums[end] == change:
                return end, False
        if symbol in self._unexplained:
            for end in range(max(sure, 1), len(sums)):
                if sums[end] == change + self._unexplained[symbol]:
                    return end, True
        return None, False

    def _expected(self, symbol: str) -> Decimal:
        fills = self._told_of(symbol)
        return self._held_of(symbol) + _sums(fills)[_sure(fills)]

    def _told_of(self, symbol: str) -> list[Told]:
        return self._told.get(symbol, [])

    def _held_of(self, symbol: str) -> Decimal:
        return (self._held or {}).get(symbol, ZERO)


def _is_less(quantity: Decimal, expected: Decimal) -> bool:
    return expected != 0 and (quantity * expected <= 0 or abs(quantity) < abs(expected))


def _sums(fills: list[Told]) -> list[Decimal]:
    """Change of the position by the first n fills, n from 0."""
    return list(accumulate((fill.change for fill in fills), initial=ZERO))


def _sure(fills: list[Told]) -> int:
    """How many of the fills, in the order of their making, the running round's snapshot must show."""
    return max((number for number, fill in enumerate(fills, 1) if fill.asked_after), default=0)


def _quantities(snapshot: AccountSnapshot) -> Mapping[str, Decimal]:
    return {position.symbol: position.quantity for position in snapshot.positions}
