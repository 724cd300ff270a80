"""Stops that the exchange refuses or that do not stay, over all trades: what cannot be protected is not entered.

Belongs to the executor, whose health it tells. A pause ends it: one more is tried, whose refusal begins the next pause
at once; while stops go on being lost, the pause goes on.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Final, Literal

from qt_actors.decisions.trade_reports import adopted_text, stop_given_up
from qt_actors.decisions.trade_state import ALREADY_PASSED, ATTEMPTS_MAX, is_covered, is_loss_of_stop
from qt_actors.messages.orders import ConditionalUpdated
from qt_actors.messages.positions import ProtectPosition, TradeState
from qt_actors.messages.system import HealthReported
from qt_actors.trading.dispatch import Owner

LOG = logging.getLogger("qt.executor")
REFUSED_MAX: Final = 3
LOST_MAX: Final = 3
LOST_REAL_MS: Final = 60_000
"""So many losses within this time are one too many."""
PAUSE_REAL_MS: Final = 300_000
PAUSED: Final = f"no entries for {PAUSE_REAL_MS // 60_000} min"
SUBSYSTEM: Final = "stops"
REST: Final = "rest"


class Stops:
    """What becomes of the stops: named, counted, and what the count says of our health.

    Args:
        owner: its timers ``stops:…`` come back to ``timer_fired``; tell: where our health goes.
        note: takes an incident by kind, symbol and detail.
    """

    def __init__(
        self, owner: Owner, tell: Callable[[HealthReported], None], note: Callable[[str, str, str], None]
    ) -> None:
        self._owner = owner
        self._tell = tell
        self._note = note
        self._in_a_row = 0
        self._losses = 0
        self._recent: set[str] = set()
        """Timers of the newest losses, of which none is older than ``LOST_REAL_MS``."""
        self._lost_by: Counter[str] = Counter()
        self._ill: Literal["", "refused", "lost"] = ""

    def begin(self) -> None:
        """Begin a new count; what a predecessor told of its own is over."""
        self._say(100, "")

    def refused(self, code: int, reason: str) -> None:
        """Count a refusal; a price already passed is none."""
        if code in ALREADY_PASSED:
            return
        self._in_a_row += 1
        if self._in_a_row >= REFUSED_MAX and not self._ill:
            self._fall_ill("refused", f"the exchange refused {self._in_a_row} stops in a row: {code} {reason}")

    def heard(self, trade: TradeState | None, event: ConditionalUpdated) -> None:
        """Count a stop that the exchange says is gone; one that triggered and was rejected then did stay."""
        if trade is None or not is_loss_of_stop(trade, event):
            return
        detail = f"{event.client_id} {event.status} {event.reason}".strip()
        self._note("stop lost", trade.symbol, detail)
        if event.status != "REJECTED":
            self._lost(trade.symbol, detail)

    def found(self, before: TradeState | None, trade: TradeState, shown: ProtectPosition) -> None:
        """Name what a look at the account shows: a trade ``before`` without its stop, or another's position (None)."""
        if before is None:
            self._note("adopted position", shown.symbol, adopted_text(trade, shown))
            return
        detail = f"{shown.quantity} held, {shown.missing_quantity} without a stop"
        self._note("missing protection", shown.symbol, detail)
        if is_covered(before) and shown.missing_quantity >= abs(shown.quantity):
            self._lost(shown.symbol, "the exchange no longer shows it")  # nobody had told of its end

    def _lost(self, symbol: str, detail: str) -> None:
        self._lost_by[symbol] += 1
        if self._lost_by[symbol] > 1:
            LOG.warning("%s has lost its stop again, %d times by now: %s", symbol, self._lost_by[symbol], detail)
        slot = str(self._losses % LOST_MAX)  # the newest takes the place of the oldest
        self._losses += 1
        self._recent.add(slot)
        self._owner.timer(f"{SUBSYSTEM}:{slot}", LOST_REAL_MS)
        if len(self._recent) == LOST_MAX and self._ill != "lost":
            self._fall_ill("lost", f"stops do not stay: {LOST_MAX} lost within {LOST_REAL_MS // 1000} s; {PAUSED}")

    def changed(self, before: TradeState | None, trade: TradeState) -> None:
        """Name a trade that is closed for want of its stop: too many failures make us ill, a price passed does not."""
        why = stop_given_up(before, trade)
        if not why:
            return
        self._note("stop could not be kept", trade.symbol, f"{why}; the position is closed at market")
        if trade.strikes > ATTEMPTS_MAX and not self._ill:
            self._fall_ill("lost", f"the stop of {trade.symbol} could not be kept: {why}; {PAUSED}")

    def stood(self) -> None:
        """A stop was accepted: well again, if refusals were the trouble."""
        self._in_a_row = 0
        if self._ill == "refused":
            self._be_well()

    def timer_fired(self, of: str) -> None:
        """A loss is forgotten, or the pause is over: one may be tried, unless stops are still being lost."""
        if of != REST:
            self._recent.discard(of)
        elif len(self._recent) == LOST_MAX:
            self._owner.timer(f"{SUBSYSTEM}:{REST}", PAUSE_REAL_MS)
        else:
            self._in_a_row = REFUSED_MAX - 1
            self._be_well()

    def _fall_ill(self, cause: Literal["refused", "lost"], text: str) -> None:
        self._ill = cause
        self._say(0, text)
        self._owner.timer(f"{SUBSYSTEM}:{REST}", PAUSE_REAL_MS)

    def _be_well(self) -> None:
        if self._ill:
            self._ill = ""
            self._say(100, "")

    def _say(self, health: int, reason: str) -> None:
        self._tell(HealthReported(subsystem=SUBSYSTEM, health=health, reason=reason, now_ms=self._owner.now_ms()))
