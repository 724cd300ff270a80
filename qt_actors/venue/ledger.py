"""Which fills and income rows the journal still lacks: what the stream told is known, the ledger shows the rest.

Income and trades are different tables of the exchange, and either may lag: a commission whose fill is not there yet is
looked at again with the next syncs. What was told may be lost on its way to the disk: the journal itself is asked for
charges without a fill, and those are told again.
"""

from __future__ import annotations

from collections.abc import Iterable

from qt_actors.messages.orders import Fill
from qt_actors.messages.positions import LedgerSynced

KNOWN_MAX = 20_000
OVERLAP_MS = 60_000
"""Rows may appear a little later than their own time; they are told apart by their identity."""
LACKING_SYNCS_MAX = 5


class Ledger:
    """Where the next sync begins, and the fills already told.

    Args:
        since_ms: exchange time of the newest row the journal has.

    Attributes:
        repaired: fills that only the ledger told.
        unexplained: symbols charged for a fill that was not found in ``LACKING_SYNCS_MAX`` syncs, since the last one.
    """

    def __init__(self, since_ms: int) -> None:
        self.since_ms = since_ms
        self.repaired = 0
        self.unexplained: tuple[str, ...] = ()
        self._known: dict[tuple[str, int], None] = {}
        self._doubted: dict[tuple[str, int], Fill] = {}
        self._asked_for: tuple[str, ...] = ()
        self._tries: dict[tuple[str, int], int] = {}
        self._unwritten: dict[tuple[str, int], int] = {}
        self._owed: dict[tuple[str, int], int] = {}

    def unwritten(self, charges: Iterable[tuple[str, int, int]]) -> None:
        """Hear which charges (symbol, trade id, time) have no fill on disk; a new one may be on its way there."""
        now = {(symbol, trade_id): time_ms for symbol, trade_id, time_ms in charges}
        self._owed = {fill: time_ms for fill, time_ms in now.items() if fill in self._unwritten}
        self._unwritten = now

    def told(self, fill: Fill) -> bool:
        """The stream told a fill; True when it is news."""
        self._doubted.pop((fill.symbol, fill.trade_id), None)
        news = (fill.symbol, fill.trade_id) not in self._known
        self._know(fill)
        return news

    def found(self, fill: Fill) -> bool:
        """The ledger told a fill; True when it is news."""
        identity = (fill.symbol, fill.trade_id)
        if identity in self._known:
            return False
        self._owed.pop(identity, None)
        self._know(fill)
        self._doubted[identity] = fill
        self.repaired += 1
        return True

    def settled(self, fill: Fill) -> bool:
        """The ledger told a fill that was told before; True when the journal has lost it."""
        return self._owed.pop((fill.symbol, fill.trade_id), None) is not None

    def never_told(self) -> tuple[Fill, ...]:
        """Fills found in the ledger since the last call that the stream has not told in the meantime."""
        lost = tuple(self._doubted.values())
        self._doubted.clear()
        return lost

    def repair(self, synced: LedgerSynced) -> tuple[int, tuple[str, ...]] | None:
        """(since when, of which symbols) fills are to be asked for; None when none lack, or they had their try."""
        lacking = {
            (row.symbol, int(row.trade_id)): row.time_ms
            for row in synced.income
            if row.kind == "COMMISSION" and row.trade_id.isdigit()
        }
        lacking = {fill: time_ms for fill, time_ms in lacking.items() if fill not in self._known} | self._owed
        self._tries = {fill: tries for fill, tries in self._tries.items() if fill in lacking}
        wanted = {f: time_ms for f, time_ms in lacking.items() if self._tries.get(f, 0) < LACKING_SYNCS_MAX}
        if wanted and not self._asked_for:
            self._asked_for = tuple(sorted({symbol for symbol, _ in wanted}))
            return min(wanted.values()), self._asked_for
        for fill in wanted:
            self._tries[fill] = self._tries.get(fill, 0) + 1
        over = {fill for fill in wanted if self._tries[fill] == LACKING_SYNCS_MAX}
        self.unexplained = tuple(sorted({symbol for symbol, _ in over}))
        self._asked_for = ()
        newest = max((row.time_ms for row in synced.income), default=0)
        self.since_ms = max(self.since_ms, min([newest - OVERLAP_MS, *(t for f, t in wanted.items() if f not in over)]))
        return None

    def restart(self) -> None:
        """The repair under way will not be answered."""
        self._asked_for = ()

    def _know(self, fill: Fill) -> None:
        self._known[fill.symbol, fill.trade_id] = None
        if len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]
