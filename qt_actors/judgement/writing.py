"""What of the governor's state is not on disk yet, what waits until it is, and when it is told again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from qt_actors.messages.system import StateWritten

REPEAT_MS: Final = 1_000
REPEAT_MS_MAX: Final = 30_000
"""Real time until a state without a receipt is told again: doubled each time up to this, and then for ever."""


class Receipt(msgspec.Struct, frozen=True):
    """What waits until the state of a revision is on disk; called with the fault, empty when it is."""

    revision: int
    go_on: Callable[[str], None]


class Writing:
    """The newest state told to the recorder: a revision is open until the recorder has said that it is on disk."""

    def __init__(self) -> None:
        """Begin with nothing told."""
        self._newest = 0
        self._written = 0
        self._repeats = 0
        self._receipts: list[Receipt] = []

    @property
    def open(self) -> bool:
        """Whether the newest state may not be on disk."""
        return self._written < self._newest

    def told(self, revision: int) -> None:
        """A newer state was told; it has all before it in it."""
        self._newest, self._repeats = revision, 0

    def wait(self, revision: int, go_on: Callable[[str], None]) -> None:
        """Call ``go_on`` when this revision is on disk, or with why it is not."""
        self._receipts.append(Receipt(revision, go_on))

    def heard(self, receipt: StateWritten) -> tuple[Callable[[str], None], ...]:
        """Take the recorder's word; returns what may go on now."""
        if not receipt.fault:
            self._written = max(self._written, receipt.revision)
        due = tuple(r.go_on for r in self._receipts if r.revision <= receipt.revision)
        self._receipts = [r for r in self._receipts if r.revision > receipt.revision]
        return due

    def repeat_ms(self) -> int:
        """Return when to tell it again, later each time."""
        delay_ms = min(REPEAT_MS_MAX, REPEAT_MS << min(self._repeats, 10))
        self._repeats += 1
        return delay_ms
