"""Safety governor: can stop everything; every entry needs its word.

Owns: the day's start equity, the losing streak, halt and pause, the risk reserved for entries under way.
Hears: account snapshots, proposed entries, closed trades, released reservations, operators, lost and found venues.
Says: directives to all; ``EntryAdmitted`` or ``EntryDenied``; its state and the equity to the recorder.
Never: blocks an exit; forgets a loss: its state is written whenever it changes.
On restart: reads its state from the journal; until the account is known again every entry is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from decimal import Decimal

import msgspec

from config.settings import Settings
from qt_actors.decisions.admission import Book, admission_gates
from qt_actors.decisions.chain import with_admission
from qt_actors.decisions.governor import (
    Condition,
    after_condition,
    after_control,
    after_trade,
    directive_of,
    first_state,
)
from qt_actors.decisions.protection import holdings_of
from qt_actors.kernel import Actor, TimerFired
from qt_actors.messages.market import SymbolRules, UniverseChosen
from qt_actors.messages.policy import (
    Decision,
    Directive,
    EntriesProposed,
    EntryAdmitted,
    EntryDenied,
    EntryPlan,
    ReservationReleased,
)
from qt_actors.messages.positions import AccountSnapshot, TradeClosed
from qt_actors.messages.requests import UniverseRequested
from qt_actors.messages.system import (
    ControlRequested,
    EquityMeasured,
    GovernorState,
    HealthReported,
    VenueLost,
    VenueReady,
)
from qt_actors.ports import JournalReader, Mailbox

LOG = logging.getLogger("qt.governor")
HEALTH_MIN = 50
"""A subsystem below this stops entries."""
ACCOUNT_AGE_MS_MAX = 45_000
"""Real time: four missed reconciliation rounds; after that the account counts as not known."""


class GovernorWiring(msgspec.Struct, frozen=True, kw_only=True):
    """What the governor needs from outside."""

    universe: Mailbox
    settings: Settings
    journal: Callable[[], JournalReader]
    recorder: Mailbox
    executor: Mailbox
    orchestrator: Mailbox
    listeners: tuple[Mailbox, ...]
    """Told of every new ``Directive`` and of every change of its state."""


class Governor(Actor):
    """See the module's card."""

    def __init__(self, wiring: GovernorWiring) -> None:
        """Keep the wiring; the state is read in ``on_start``."""
        super().__init__()
        self._wiring = wiring
        self._state: GovernorState | None = None
        self._account: AccountSnapshot | None = None
        self._rules: dict[str, SymbolRules] = {}
        self._reserved: dict[str, EntryPlan] = {}
        self._settling: dict[str, int] = {}
        """Decision → when its position was reported; its reservation ends with the first snapshot asked for later."""
        self._directive: Directive | None = None
        self._ills: dict[str, str] = {"venue": "the exchange has not been reached yet"}
        """Subsystem → why it is not healthy; any of them stops entries."""
        self._last_entry_ms = 0
        self._logged_level = ""

    def on_start(self) -> None:
        """Read what must not be forgotten; an entry may just have been made."""
        self._state = self._wiring.journal().governor_state()
        self._last_entry_ms = self.now_ms() if self._state else 0
        self._wiring.universe.tell(UniverseRequested(reply_to=self.path))
        self._judge()

    def handle(self, message: object) -> None:
        """One case a message."""
        match message:
            case EntriesProposed(decisions=decisions):
                for decision in decisions:
                    self._admit(decision)
            case AccountSnapshot():
                self._see(message)
            case ReservationReleased(decision_id=decision_id, outcome=outcome):
                self._release(decision_id, outcome)
            case TradeClosed() if self._state is not None:
                self._become(after_trade(self._state, message))
                self._judge()
            case ControlRequested(control=control, reason=reason, by=by) if self._state is not None:
                LOG.warning("%s by %s: %s", control, by, reason)
                self._become(after_control(self._state, control, reason, self.now_ms()))
                self._judge()
            case VenueLost(reason=reason):
                self._ail("venue", reason)
            case VenueReady():
                self._ail("venue", "")
            case HealthReported(subsystem=subsystem, health=health, reason=reason):
                self._ail(subsystem, "" if health >= HEALTH_MIN else f"{subsystem}: {reason}")
            case TimerFired(key="account age"):
                self._account = None
                self._judge()
            case UniverseChosen(rules=rules):
                self._rules = {r.symbol: r for r in rules}
            case _:
                pass

    def statistics(self) -> Mapping[str, object]:
        """Return what the tree view shows."""
        word = self._directive
        return {"level": word.risk_level if word else "EMERGENCY", "reserved": len(self._reserved)}

    def _see(self, snapshot: AccountSnapshot) -> None:
        """Take the account's word: the day may turn, the loss may go over its limit, entries may have settled."""
        now = self.now_ms()
        self._account = snapshot
        self.timer("account age", ACCOUNT_AGE_MS_MAX, real=True)
        settled = [d for d, since in self._settling.items() if snapshot.requested_ms > since]
        for decision_id in settled:
            del self._settling[decision_id]
            self._reserved.pop(decision_id, None)
        if self._state is None:
            self._become(first_state(snapshot.equity_usd, now))
        self._judge()
        word = self._directive
        if word is not None:
            self._wiring.recorder.tell(
                EquityMeasured(
                    now_ms=now,
                    wallet_usd=snapshot.wallet_usd,
                    equity_usd=snapshot.equity_usd,
                    unrealized_usd=snapshot.equity_usd - snapshot.wallet_usd,
                    daily_pnl_usd=word.daily_pnl_usd,
                    gross_notional_usd=word.gross_notional_usd,
                )
            )

    def _ail(self, subsystem: str, reason: str) -> None:
        """Note a subsystem ill (or well again, with an empty reason)."""
        before = dict(self._ills)
        if reason:
            self._ills[subsystem] = reason
        else:
            self._ills.pop(subsystem, None)
        if self._ills != before:
            LOG.log(logging.WARNING if reason else logging.INFO, "%s: %s", subsystem, reason or "well again")
            self._judge()

    def _judge(self) -> None:
        """Form the directive and tell it."""
        now, account, settings = self.now_ms(), self._account, self._wiring.settings
        condition = Condition(
            equity_usd=account.equity_usd if account else None,
            gross_notional_usd=self._gross(account) if account else None,
            healthy=not self._ills,
            health_reason="; ".join(self._ills.values()),
        )
        if self._state is not None:
            self._become(after_condition(self._state, condition, settings, now))
        word = directive_of(self._state, condition, settings, now)
        if account is not None and self._logged_level != word.risk_level:
            self._logged_level = word.risk_level
            LOG.log(logging.INFO if word.allow_trades else logging.WARNING, "%s: %s", word.risk_level, word.reason)
        self._directive = word
        for listener in (self._wiring.orchestrator, *self._wiring.listeners):
            listener.tell(word)

    def _gross(self, account: AccountSnapshot) -> Decimal:
        held = sum((p.notional_usd for p in account.positions), Decimal(0))
        return held + sum((p.notional_usd for p in self._reserved.values()), Decimal(0))

    def _become(self, state: GovernorState) -> None:
        if state != self._state:
            self._state = state
            for listener in (self._wiring.recorder, *self._wiring.listeners):
                listener.tell(state)

    def _admit(self, decision: Decision) -> None:
        """Ask the last questions of one entry; admitted, its risk is reserved before the word goes out."""
        now, account, plan = self.now_ms(), self._account, decision.plan
        if plan is None:
            self._wiring.orchestrator.tell(EntryDenied(decision=decision))
            return
        book = Book(
            directive=self._directive,
            available_usd=account.available_usd if account else None,
            holdings=holdings_of(account) if account else None,
            reserved=tuple(self._reserved.values()),
            last_entry_ms=self._last_entry_ms,
        )
        answers = admission_gates(decision, book, self._rules, self._wiring.settings, now)
        answered = with_admission(decision, answers, now)
        if answered.verdict != "admitted":
            self._wiring.orchestrator.tell(EntryDenied(decision=answered))
            return
        self._reserved[decision.decision_id] = plan
        self._last_entry_ms = now
        admitted = EntryAdmitted(decision=answered)
        self._wiring.executor.tell(admitted)
        self._wiring.orchestrator.tell(admitted)

    def _release(self, decision_id: str, outcome: str) -> None:
        if outcome == "opened":
            self._settling[decision_id] = self.now_ms()
        else:
            self._reserved.pop(decision_id, None)
