"""Due times in order, for both runtimes: the threaded one waits for them, the deterministic one jumps to them."""

from __future__ import annotations

import heapq
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Entry:
    """Something due at `due_s` (seconds of the runtime's monotonic clock)."""

    __slots__ = ("cancelled", "due_s", "fire", "number")

    def __init__(self, due_s: float, number: int, fire: Callable[[Entry], None]) -> None:
        self.due_s = due_s
        self.number = number
        self.fire = fire
        self.cancelled = False

    def __lt__(self, other: Entry) -> bool:
        return (self.due_s, self.number) < (other.due_s, other.number)


class Schedule:
    """A heap of entries; cancelled ones are skipped, and swept when they outnumber the others."""

    def __init__(self) -> None:
        self._heap: list[Entry] = []
        self._numbers = count(1)
        self._cancelled = 0

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    def add(self, due_s: float, fire: Callable[[Entry], None]) -> Entry:
        """Plan `fire(entry)` for `due_s`; equal times keep their order."""
        entry = Entry(due_s, next(self._numbers), fire)
        heapq.heappush(self._heap, entry)
        return entry

    def cancel(self, entry: Entry) -> None:
        """It will not fire; harmless when it already has."""
        if entry.cancelled:
            return
        entry.cancelled = True
        self._cancelled += 1
        if self._cancelled > 64 and self._cancelled * 2 > len(self._heap):
            self._heap = [planned for planned in self._heap if not planned.cancelled]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def next_due_s(self) -> float | None:
        """When the next one fires; None when nothing is planned."""
        while self._heap and self._heap[0].cancelled:
            heapq.heappop(self._heap)
            self._cancelled -= 1
        return self._heap[0].due_s if self._heap else None

    def pop_due(self, now_s: float) -> Entry | None:
        """The next entry that is due; it counts as fired from now on."""
        due_s = self.next_due_s()
        if due_s is None or due_s > now_s:
            return None
        entry = heapq.heappop(self._heap)
        entry.cancelled = True  # fired: a later cancel must not count it
        return entry
