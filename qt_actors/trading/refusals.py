"""Stops the exchange refuses one after the other, over all trades: what cannot be protected is not entered.

Belongs to the executor. After a pause one more is tried; its refusal begins the next pause at once.
"""

from __future__ import annotations

from typing import Final

from qt_actors.decisions.trade_state import ALREADY_PASSED
from qt_actors.messages.system import HealthReported

REFUSED_MAX: Final = 3
PAUSE_REAL_MS: Final = 300_000
SUBSYSTEM: Final = "stops"


class Refusals:
    """The count, and what it says of our health."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._ill = False

    def begun(self, now_ms: int) -> HealthReported:
        """A new count begins; what a predecessor told of its own is over."""
        return HealthReported(subsystem=SUBSYSTEM, health=100, reason="", now_ms=now_ms)

    def refused(self, code: int, reason: str, now_ms: int) -> HealthReported | None:
        """Count a refusal (a price already passed is none); return the bad news when it is one too many."""
        if code in ALREADY_PASSED:
            return None
        self._in_a_row += 1
        if self._ill or self._in_a_row < REFUSED_MAX:
            return None
        self._ill = True
        text = f"the exchange refused {self._in_a_row} stops in a row: {code} {reason}"
        return HealthReported(subsystem=SUBSYSTEM, health=0, reason=text, now_ms=now_ms)

    def stood(self, now_ms: int) -> HealthReported | None:
        """A stop was accepted; return the good news when there was bad news before."""
        self._in_a_row = 0
        return self._well(now_ms)

    def rested(self, now_ms: int) -> HealthReported | None:
        """The pause is over: one may be tried."""
        self._in_a_row = REFUSED_MAX - 1
        return self._well(now_ms)

    def _well(self, now_ms: int) -> HealthReported | None:
        if not self._ill:
            return None
        self._ill = False
        return HealthReported(subsystem=SUBSYSTEM, health=100, reason="", now_ms=now_ms)
