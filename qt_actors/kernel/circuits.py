"""Which classes of message are kept from one actor because it crashed on them again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qt_actors.kernel.restarts import PoisonRecord, poison_record

if TYPE_CHECKING:
    from qt_actors.kernel.restarts import Poison

CLASSES_MAX = 64  # remembered per actor; the one that crashed longest ago is forgotten first


class Circuits:
    """Belongs to a path, outlives its incarnations; written between two of them only."""

    def __init__(self, limits: Poison | None) -> None:
        self._limits = limits
        self._records: dict[type, PoisonRecord] = {}

    def crashed_on(self, kind: type, now_ms: int) -> int:
        """Remember a crash on a message of this class; for how many ms the circuit opens by it, 0 when it does not."""
        if self._limits is None:
            return 0
        record = poison_record(self._records.pop(kind, PoisonRecord()), now_ms, self._limits)
        self._records[kind] = record
        if len(self._records) > CLASSES_MAX:
            del self._records[next(iter(self._records))]
        return max(0, record.open_until_ms - now_ms)

    def is_open(self, kind: type, now_ms: int) -> bool:
        """Whether messages of this class are kept away now."""
        record = self._records.get(kind)
        return record is not None and now_ms < record.open_until_ms

    def open_now(self, now_ms: int) -> tuple[str, ...]:
        """Names of the classes that are kept away now."""
        return tuple(kind.__name__ for kind in tuple(self._records) if self.is_open(kind, now_ms))
