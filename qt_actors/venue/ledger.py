"""Which fills and income rows the journal still lacks: what the stream told is known, the ledger shows the rest."""

from __future__ import annotations

from qt_actors.messages.orders import Fill
from qt_actors.messages.positions import LedgerSynced

KNOWN_MAX = 20_000
OVERLAP_MS = 60_000
"""Rows may appear a little later than their own time; they are told apart by their identity."""


class Ledger:
    """Where the next sync begins, and the fills already told.

    Args:
        since_ms: exchange time of the newest row the journal has.

    Attributes:
        repaired: fills that only the ledger told; unexplained: symbols charged for a fill that was not found either.
    """

    def __init__(self, since_ms: int) -> None:
        self.since_ms = since_ms
        self.repaired = 0
        self.unexplained: tuple[str, ...] = ()
        self._known: dict[tuple[str, int], None] = {}
        self._doubted: dict[tuple[str, int], Fill] = {}
        self._asked_for: tuple[str, ...] = ()

    def told(self, fill: Fill) -> None:
        """The stream told a fill."""
        self._doubted.pop((fill.symbol, fill.trade_id), None)
        self._know(fill)

    def found(self, fill: Fill) -> bool:
        """The ledger told a fill; True when it is news."""
        identity = (fill.symbol, fill.trade_id)
        if identity in self._known:
            return False
        self._know(fill)
        self._doubted[identity] = fill
        self.repaired += 1
        return True

    def never_told(self) -> tuple[Fill, ...]:
        """Fills found in the ledger since the last call that the stream has not told in the meantime."""
        lost = tuple(self._doubted.values())
        self._doubted.clear()
        return lost

    def repair(self, synced: LedgerSynced) -> tuple[int, tuple[str, ...]] | None:
        """(since when, of which symbols) fills are to be asked for; None when none lack, or they had their try."""
        rows = [
            row
            for row in synced.income
            if row.kind == "COMMISSION"
            and row.trade_id.isdigit()
            and (row.symbol, int(row.trade_id)) not in self._known
        ]
        symbols = tuple(sorted({row.symbol for row in rows}))
        newest = max((row.time_ms for row in synced.income), default=0)
        self.since_ms = max(self.since_ms, newest - OVERLAP_MS)
        if rows and not self._asked_for:
            self._asked_for = symbols
            return min(row.time_ms for row in rows), symbols
        self.unexplained = tuple(symbol for symbol in symbols if symbol in self._asked_for)
        self._asked_for = ()
        return None

    def restart(self) -> None:
        """The repair under way will not be answered."""
        self._asked_for = ()

    def _know(self, fill: Fill) -> None:
        self._known[fill.symbol, fill.trade_id] = None
        if len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]
