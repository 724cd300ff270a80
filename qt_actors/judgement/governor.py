"""Safety governor: can stop everything; every entry needs its word.

Owns: the day's start equity, the losing streak, halt and pause, the risk reserved for entries under way.
Hears: account snapshots, the ledger, proposed entries, the executor's trades, operators, lost and found venues.
Says: directives to all, the executor included; ``EntryAdmitted`` or ``EntryDenied``; its state (until the recorder has
it on disk) and the equity to the recorder; ``ControlTaken`` to the operator.
Never: blocks an exit; forgets a loss; lets an entry go, or confirms an operator's word, before its state is on disk.
On restart: reads its state, transfers and uncounted trades from the journal; until the account is known again every
entry is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Literal

import msgspec

from config.settings import Settings
from qt_actors.decisions import closes, reservations
from qt_actors.decisions.admission import Book, admission_gates, is_sound, last_gates
from qt_actors.decisions.chain import with_admission
from qt_actors.decisions.day import Condition, Reading, after_condition, is_transfer, reading_of
from qt_actors.decisions.governor import (
    COUNTED_MAX,
    NO_REASON,
    after_control,
    after_results,
    after_trade,
    control_note,
    directive_of,
    first_state,
)
from qt_actors.decisions.limits import limits_of, limits_text
from qt_actors.decisions.protection import holdings_of
from qt_actors.judgement.closing import Closing
from qt_actors.judgement.writing import Writing
from qt_actors.kernel import Actor, Address, TimerFired, Up
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
from qt_actors.messages.positions import AccountSnapshot, IncomeRow, LedgerSynced, TradeChanged, TradeClosed
from qt_actors.messages.requests import UniverseRequested
from qt_actors.messages.system import (
    ClosesRequested,
    Control,
    ControlRequested,
    ControlTaken,
    EquityMeasured,
    GovernorState,
    HealthReported,
    IncidentSeen,
    StateWritten,
    VenueLost,
    VenueReady,
)
from qt_actors.ports import JournalReader, Mailbox

LOG = logging.getLogger("qt.governor")
HEALTH_MIN = 50
"""A subsystem below this stops entries."""
ACCOUNT_AGE_MS_MAX = 45_000
"""Real time: four missed reconciliation rounds; after that the account counts as not known."""
ANSWER_MS_MAX = 60_000
"""Real time after its signal's end in which an entry's last answer must have come: look-ups take 13 s."""
REVISIONS = 1_000_000
"""Each incarnation counts the revisions of its state in a range of its own: a receipt for another's is not its own."""


class GovernorWiring(msgspec.Struct, frozen=True, kw_only=True):
    """What the governor needs from outside."""

    universe: Mailbox
    settings: Settings
    journal: Callable[[], JournalReader]
    recorder: Address
    """Watched: a state that its end has lost is told to its successor."""
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
        self._state: GovernorState
        self._account: AccountSnapshot | None = None
        self._serial = -1
        """Of the newest snapshot."""
        self._reading: Reading | None = None
        self._before: Reading | None = None
        self._transfers: dict[tuple[str, int, str], IncomeRow] = {}
        self._ledger_ms = 0
        self._rules: dict[str, SymbolRules] = {}
        self._underway: reservations.Reserved = {}
        self._expired: set[str] = set()
        """Decisions under way whose signal has expired."""
        self._writing = Writing()
        self._directive: Directive | None = None
        self._ills: dict[str, str] = {}
        """Subsystem → why it is not healthy; any of them stops entries."""
        self._logged_level = ""
        self._closing = Closing(wiring.executor)

    def on_start(self) -> None:
        """Read what must not be forgotten."""
        journal = self._wiring.journal()
        state = journal.governor_state() or first_state(self.now_ms())
        self._state = msgspec.structs.replace(state, revision=self.incarnation * REVISIONS)
        self._underway = reservations.recovered(state.reserved, journal.open_trades())
        moved = journal.rows("income_beside_trading", {"since_ms": state.day_opened_ms})
        self._note_transfers(msgspec.convert(row, IncomeRow, strict=False) for row in moved)
        for row in journal.rows("equity_last"):
            self._reading = Reading(
                equity_usd=Decimal(row["equity_usd"]), asked_ms=row["now_ms"], told_ms=row["now_ms"]
            )
        closed = journal.rows("trades_since", {"since_ms": state.streak_since_ms, "limit": COUNTED_MAX})
        self._keep(after_results(self._state, closed))
        self._wiring.universe.tell(UniverseRequested(reply_to=self.path))
        self.watch(self._wiring.recorder)
        self._judge()

    def handle(self, message: object) -> None:
        """One case a message."""
        match message:
            case EntriesProposed(decisions=decisions):
                for decision in decisions:
                    self._admit(decision)
            case StateWritten():
                self._written(message)
            case Up():
                self._tell_again()
            case AccountSnapshot():
                self._see(message)
            case LedgerSynced(income=rows, now_ms=ledger_ms):
                self._note_transfers(rows)
                self._ledger_ms = max(self._ledger_ms, ledger_ms)
                self._judge()
            case ReservationReleased():
                self._follow(reservations.after_release(self._underway, message, self._serial))
            case TradeChanged(trade=trade):
                self._follow(reservations.after_trade_change(self._underway, trade, self._serial))
            case TradeClosed():
                self._become(closes.after_end(after_trade(self._state, message), message.symbol))
                self._judge()
            case ControlRequested():
                self._obey_operator(message)
            case TimerFired(key=key):
                self._timer(key)
            case _:
                self._note(message)

    def _note(self, message: object) -> None:
        """Take what others are or have become."""
        match message:
            case ClosesRequested(symbols=symbols, reason=reason, by=by):
                LOG.warning("close %s asked for (%s): %s", ", ".join(symbols), by, reason)
                self._become(self._closing.asked(self._state, message), self._answer_written("close"))
            case UniverseChosen(rules=rules):
                self._rules = {r.symbol: r for r in rules}
            case VenueLost(reason=reason):
                self._ail("venue", reason)
            case VenueReady():
                self._ail("venue", "")
            case HealthReported(subsystem=subsystem, health=health, reason=reason):
                self._ail(subsystem, "" if health >= HEALTH_MIN else f"{subsystem}: {reason}")
            case _:
                pass

    def statistics(self) -> Mapping[str, object]:
        """Return what the tree view shows."""
        word = self._directive
        return {"level": word.risk_level if word else "EMERGENCY", "reserved": len(self._underway)}

    def _timer(self, key: str) -> None:
        what, _, decision_id = key.partition(":")
        if what == "late":
            self._underway = reservations.after_waiting(self._underway, decision_id)
        elif what == "writing":
            self._tell_again()
        else:
            self._account = None
            self._judge()

    def _obey_operator(self, message: ControlRequested) -> None:
        """Take an operator's word at once, and answer when it is on disk."""
        note = control_note(self._state, message.control)
        told = "; ".join(filter(None, (message.reason or NO_REASON, note)))
        LOG.warning("%s by operator (%s): %s", message.control, message.by, told)
        self._incident("operator", message.control, f"by {message.by}: {told}")
        written = self._answer_written(message.control, note)
        self._become(after_control(self._state, message.control, message.reason, self.now_ms()), written)
        self._judge()

    def _answer_written(self, control: Control | Literal["close"], note: str = "") -> Callable[[str], None]:
        answer = self.reply_later()

        def written(fault: str) -> None:
            word = self._directive
            allowed, because = (word.allow_new_positions, word.reason) if word else (False, "no directive yet")
            answer(ControlTaken(control=control, fault=fault, entries=allowed, because=because, note=note))

        return written

    def _see(self, snapshot: AccountSnapshot) -> None:
        """Take the account's word: the day may turn, the loss may go over its limit, entries may have settled."""
        self._serial = snapshot.serial
        if not is_sound(snapshot):
            self._account = None
            self._incident("account", self.path, "a figure of the account is no number: no entries")
            self._judge()
            return
        self._before = self._reading if self._account is None else None  # a gap: nobody has looked in between
        self._account, self._reading = snapshot, reading_of(snapshot)
        self.timer("account age", ACCOUNT_AGE_MS_MAX, real=True)
        self._settle(snapshot)
        self._become(self._closing.seen(self._state, snapshot))
        self._judge()
        word = self._directive
        if word is not None:
            self._wiring.recorder.tell(
                EquityMeasured(
                    now_ms=self.now_ms(),
                    wallet_usd=snapshot.wallet_usd,
                    equity_usd=snapshot.equity_usd,
                    unrealized_usd=snapshot.equity_usd - snapshot.wallet_usd,
                    daily_pnl_usd=word.daily_pnl_usd,
                    gross_notional_usd=word.gross_notional_usd,
                )
            )

    def _settle(self, snapshot: AccountSnapshot) -> None:
        """End the reservations that the account shows, and those that nothing more can be heard of."""
        kept, lost = reservations.after_snapshot(self._underway, snapshot)
        for plan in lost:
            detail = f"{plan.decision_id} was admitted and never heard of again; its reserved risk is free"
            self._incident("lost entry", plan.symbol, detail)
        self._reserve(kept)
        self._expired &= set(kept)
        for decision_id, entry in kept.items():
            if self.now_ms() > entry.plan.expires_ms and decision_id not in self._expired:
                self._expired.add(decision_id)
                self.timer(f"late:{decision_id}", ANSWER_MS_MAX, real=True)

    def _incident(self, kind: str, subject: str, detail: str) -> None:
        self._wiring.recorder.tell(
            IncidentSeen(kind=kind, subject=subject, detail=detail, repaired=True, now_ms=self.now_ms())
        )

    def _note_transfers(self, rows: Iterable[IncomeRow]) -> None:
        """Keep this day's; a row that is told again is the same."""
        known = self._transfers | {(r.kind, r.transaction_id, r.symbol): r for r in rows if is_transfer(r)}
        self._transfers = {i: r for i, r in known.items() if r.time_ms > self._state.day_opened_ms}

    def _ail(self, subsystem: str, reason: str) -> None:
        """Note a subsystem ill (or well again, with an empty reason)."""
        before = dict(self._ills)
        if reason:
            self._ills[subsystem] = reason
        else:
            self._ills.pop(subsystem, None)
        if self._ills != before:
            LOG.log(logging.WARNING if reason else logging.INFO, "%s", reason or f"{subsystem}: well again")
            self._judge()

    def _judge(self) -> None:
        """Form the directive and tell it."""
        now, account, settings = self.now_ms(), self._account, self._wiring.settings
        condition = Condition(
            reading=self._reading if account else None,
            before=self._before,
            gross_notional_usd=self._gross(account) if account else None,
            healthy=not self._ills,
            health_reason="; ".join(self._ills.values()),
            transfers=tuple(self._transfers.values()),
            ledger_ms=self._ledger_ms,
        )
        self._become(after_condition(self._state, condition, settings, now))
        word = directive_of(self._state, condition, settings, now)
        if account is not None and not self._logged_level:
            LOG.info("limits: %s", limits_text(limits_of(settings, self._state.day_start_equity_usd, word.equity_usd)))
        if account is not None and self._logged_level != word.risk_level:
            self._logged_level = word.risk_level
            LOG.log(
                logging.INFO if word.allow_trades else logging.WARNING, "%s (risk %s)", word.reason, word.risk_level
            )
        self._directive = word
        for listener in (self._wiring.executor, self._wiring.orchestrator, *self._wiring.listeners):
            listener.tell(word)

    def _gross(self, account: AccountSnapshot) -> Decimal:
        """Return what is held and reserved; a position that is still reserved counts once, as the larger of both."""
        gross = {p.symbol: p.notional_usd for p in account.positions}
        for entry in self._underway.values():
            gross[entry.plan.symbol] = max(gross.get(entry.plan.symbol, Decimal(0)), entry.plan.notional_usd)
        return sum(gross.values(), Decimal(0))

    def _become(self, state: GovernorState, written: Callable[[str], None] | None = None) -> None:
        """Keep and tell a changed state; ``written`` is called when it is on disk, or with why it is not."""
        if written is not None:
            self._writing.wait(self._state.revision + 1, written)
        if state != self._state or written is not None:
            self._keep(state)

    def _keep(self, state: GovernorState) -> None:
        self._state = msgspec.structs.replace(state, revision=self._state.revision + 1)
        self._writing.told(self._state.revision)
        for listener in self._wiring.listeners:
            listener.tell(self._state)
        self._tell_again()

    def _tell_again(self) -> None:
        """Tell the recorder what is not on disk yet, until it is: message and receipt can be lost with an actor."""
        if self._writing.open:
            self._wiring.recorder.tell(self._state)
            self.timer("writing", self._writing.repeat_ms(), real=True)

    def _written(self, receipt: StateWritten) -> None:
        """Go on with what waited for the disk; a state that is there has all before it in it."""
        due = self._writing.heard(receipt)
        if not self._writing.open:
            self.cancel_timer("writing")
        for go_on in due:
            go_on(receipt.fault)

    def _follow(self, underway: reservations.Reserved) -> None:
        """Keep what the executor told of its trades; what is no longer reserved is free at once."""
        before = self._state
        self._reserve(underway)
        if self._state is not before:
            self._judge()

    def _reserve(
        self, underway: reservations.Reserved, written: Callable[[str], None] | None = None, **changes: int
    ) -> None:
        """Keep what is under way, on disk too."""
        self._underway = underway
        plans = tuple(entry.plan for entry in underway.values())
        self._become(msgspec.structs.replace(self._state, reserved=plans, **changes), written)

    def _admit(self, decision: Decision) -> None:
        """Ask the last questions of one entry; its risk is reserved, on disk too, before the word goes out."""
        now, account, plan = self.now_ms(), self._account, decision.plan
        if plan is None:
            self._wiring.orchestrator.tell(EntryDenied(decision=decision))
            return
        book = Book(
            directive=self._directive,
            available_usd=account.available_usd if account else None,
            holdings=holdings_of(account) if account else None,
            reserved=tuple(entry.plan for entry in self._underway.values()),
            last_entry_ms=self._state.last_entry_ms,
        )
        answers = admission_gates(decision, book, self._rules, self._wiring.settings, now)
        answered = with_admission(decision, answers, now)
        if answered.verdict != "admitted":
            self._wiring.orchestrator.tell(EntryDenied(decision=answered))
            return
        before_ms = self._state.last_entry_ms
        underway = {**self._underway, plan.decision_id: reservations.Underway(plan=plan)}
        self._reserve(underway, lambda fault: self._let_go(answered, plan, fault, before_ms), last_entry_ms=now)
        self._judge()

    def _let_go(self, decision: Decision, plan: EntryPlan, fault: str, before_ms: int) -> None:
        """Send an entry whose admission is on disk, unless something has come between: then nothing was entered."""
        now = self.now_ms()
        answered = with_admission(decision, last_gates(plan, self._directive, fault, now), now)
        if answered.verdict == "admitted":
            admitted = EntryAdmitted(decision=answered)
            self._wiring.executor.tell(admitted)
            self._wiring.orchestrator.tell(admitted)
            return
        last = self._state.last_entry_ms
        left = {d: e for d, e in self._underway.items() if d != plan.decision_id}
        self._reserve(left, last_entry_ms=before_ms if last == decision.decided_ms else last)
        self._judge()
        self._wiring.orchestrator.tell(EntryDenied(decision=answered))
