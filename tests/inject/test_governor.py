from __future__ import annotations

from decimal import Decimal as D

import msgspec
import pytest

from config.settings import load
from qt_actors.decisions.trade_life import begin
from qt_actors.judgement.governor import ACCOUNT_AGE_MS_MAX, ANSWER_MS_MAX, Governor, GovernorWiring
from qt_actors.kernel import ChildSpec, Probe, SimRuntime, SupervisorSpec
from qt_actors.messages.market import UniverseChosen
from qt_actors.messages.policy import Directive, EntriesProposed, EntryAdmitted, EntryDenied, ReservationReleased
from qt_actors.messages.positions import IncomeRow, LedgerSynced, TradeChanged, TradeClosed
from qt_actors.messages.system import (
    ControlRequested,
    ControlTaken,
    GovernorState,
    HealthReported,
    IncidentSeen,
    StateWritten,
    VenueLost,
    VenueReady,
)
from tests.builders import CLOSE_MS, NOW, a_decision, a_plan, a_position, a_snapshot, a_stop, some_rules

PATH = "root/governor"


class Past:
    """What the journal remembers, on paper."""

    def __init__(self, state=None, trades=(), **rows):
        self.state, self.trades, self.answers = state, trades, rows

    def governor_state(self):
        return self.state

    def open_trades(self):
        return self.trades

    def rows(self, query, parameters=None):
        return self.answers.get(query, [])


class House:
    """A governor; its neighbours are probes, and the recorder's answers at once unless told to wait."""

    def __init__(self, past=None, **env):
        self.runtime = SimRuntime(seed=1, start_ms=NOW)
        names = ("universe", "recorder", "executor", "orchestrator", "web")
        self.probes = {n: Probe(self.runtime, f"root/{n}") for n in names}
        address = {n: self.runtime.address(f"root/{n}") for n in names}
        self.past, self.disk, self.waiting = past or Past(), "", None
        self.probes["recorder"].answers(GovernorState, self.write)
        wiring = GovernorWiring(
            universe=address["universe"],
            settings=load(None, env),
            journal=lambda: self.past,
            recorder=address["recorder"],
            executor=address["executor"],
            orchestrator=address["orchestrator"],
            listeners=(address["web"],),
        )
        self.runtime.start(SupervisorSpec("root", children=(ChildSpec("governor", lambda: Governor(wiring)),)))
        assert self.runtime.wait_ready()
        self.runtime.run_until_idle()

    def write(self, state):
        """Answer as the recorder does; with ``waiting`` set, keep the receipts back."""
        receipt = StateWritten(revision=state.revision, fault=self.disk)
        if self.waiting is None:
            return receipt
        self.waiting.append(receipt)
        return None

    def tell(self, *messages):
        for message in messages:
            self.runtime.address(PATH).tell(message)
        self.runtime.run_for(0)

    def ask(self, control, reason="drill"):
        return self.runtime.address(PATH).ask(ControlRequested(control=control, reason=reason, by="test"), 1.0)

    def healthy(self, **account):
        rules = tuple(some_rules(s) for s in ("BTCUSDT", "ETHUSDT", "XRPUSDT"))
        universe = UniverseChosen(symbols=tuple(r.symbol for r in rules), rules=rules, refused={})
        account.setdefault("positions", ())
        account.setdefault("conditionals", ())
        self.tell(universe, VenueReady(clock_offset_ms=0), a_snapshot(**account))

    def word(self):
        return [m for m in self.probes["web"].heard if isinstance(m, Directive)][-1]

    def entered(self):
        return [m.decision.symbol for m in self.probes["executor"].heard if isinstance(m, EntryAdmitted)]

    def propose(self, symbol="BTCUSDT"):
        plan = a_plan(symbol=symbol, decision_id=f"{symbol}-{CLOSE_MS}")
        decision = a_decision(symbol=symbol, decision_id=plan.decision_id, plan=plan)
        self.tell(EntriesProposed(decisions=(decision,)))
        answers = [m for m in self.probes["orchestrator"].heard if isinstance(m, EntryAdmitted | EntryDenied)]
        return answers[-1] if answers else None


def lost(usd, number=1, symbol="BTCUSDT"):
    return TradeClosed(
        decision_id=f"{symbol}-{number}",
        symbol=symbol,
        side="BUY",
        quantity=D(1),
        entry_price=D(100),
        exit_price=D(99),
        opened_ms=NOW,
        closed_ms=NOW,
        exit_reason="stop",
        exits=("stop",),
        realized_usd=D(usd),
        commission_usd=D(0),
        risk_usd=D(20),
        slippage_bps=0.0,
        mfe_pct=0.0,
        mae_pct=0.0,
        confidence=0.8,
    )


def a_state(**changes):
    state = GovernorState(
        day="2025-06-15",
        day_start_equity_usd=D(10_000),
        losing_streak=0,
        halted=False,
        halt_reason="",
        changed_ms=NOW,
        day_opened_ms=NOW - 1000,
    )
    return msgspec.structs.replace(state, **changes)


@pytest.fixture
def house():
    house = House(QT_COOLDOWN_SECONDS="0")
    yield house
    house.runtime.stop()


def test_before_the_account_is_known_nothing_may_be_entered(house):
    assert not house.word().allow_new_positions
    assert isinstance(house.propose(), EntryDenied)
    assert house.entered() == []


def test_a_proposal_that_fits_is_admitted_to_executor_and_orchestrator(house):
    house.healthy()
    assert isinstance(house.propose(), EntryAdmitted)
    assert house.entered() == ["BTCUSDT"]


def test_an_admitted_entry_is_reserved_until_its_position_is_in_a_later_snapshot(house):
    house.healthy()
    house.propose()
    assert house.word().reserved == ("BTCUSDT",)
    assert house.propose().decision.gate == "position"
    house.tell(ReservationReleased(decision_id=f"BTCUSDT-{CLOSE_MS}", symbol="BTCUSDT", outcome="opened"))
    house.tell(a_snapshot(serial=2))
    assert house.word().reserved == ("BTCUSDT",)
    house.tell(a_snapshot(serial=3))
    assert house.word().reserved == ()


def test_a_reservation_that_came_to_nothing_is_free_at_once(house):
    house.healthy()
    house.propose()
    house.tell(ReservationReleased(decision_id=f"BTCUSDT-{CLOSE_MS}", symbol="BTCUSDT", outcome="stop refused"))
    assert isinstance(house.propose(), EntryAdmitted)


def test_the_worst_case_of_all_reservations_stays_within_the_day(house):
    house.healthy(equity_usd=D(3000), wallet_usd=D(3000), available_usd=D(3000))
    assert isinstance(house.propose("BTCUSDT"), EntryAdmitted)
    assert isinstance(house.propose("ETHUSDT"), EntryAdmitted)
    denied = house.propose("XRPUSDT").decision
    assert denied.gate == "worst_case_loss"
    failed = next(g for g in denied.gates if g.name == "worst_case_loss")
    assert not failed.passed
    assert "left of the day" in failed.limit


def test_a_days_loss_over_its_limit_stops_entries_and_is_written_down(house):
    house.healthy()
    house.tell(a_snapshot(equity_usd=D(9_700), positions=(), conditionals=()))
    assert house.word().risk_level == "EMERGENCY"
    states = [m for m in house.probes["recorder"].heard if isinstance(m, GovernorState)]
    assert states[-1].day_lost
    assert isinstance(house.propose(), EntryDenied)


def test_a_restart_does_not_forget_the_days_loss():
    house = House(Past(a_state(day_lost="until the next UTC day: the day's loss")), QT_COOLDOWN_SECONDS="0")
    house.healthy(equity_usd=D(9_700))
    assert not house.word().allow_new_positions
    assert house.word().daily_pnl_usd == D(-300)
    house.runtime.stop()


def test_five_losses_in_a_row_stop_entries(house):
    house.healthy()
    house.tell(*[lost(-10, number) for number in range(5)])
    assert house.word().losing_streak == 5
    assert not house.word().allow_new_positions


def test_a_lost_exchange_stops_entries_until_it_is_back(house):
    house.healthy()
    house.tell(VenueLost(reason="banned until 12:00"))
    assert "banned" in house.word().reason
    house.tell(VenueReady(clock_offset_ms=0))
    assert house.word().allow_new_positions


def test_a_journal_that_cannot_be_written_stops_entries(house):
    house.healthy()
    house.tell(HealthReported(subsystem="journal", health=0, reason="disk full", now_ms=NOW))
    assert "disk full" in house.word().reason
    house.tell(HealthReported(subsystem="journal", health=100, reason="", now_ms=NOW))
    assert house.word().allow_new_positions


def test_an_account_not_heard_of_for_long_counts_as_unknown(house):
    house.healthy()
    house.runtime.run_for(ACCOUNT_AGE_MS_MAX + 1)
    assert not house.word().allow_new_positions
    assert "not known" in house.word().reason


def test_pause_and_resume_are_obeyed_and_written_down(house):
    house.healthy()
    house.tell(ControlRequested(control="pause", reason="lunch", by="operator"))
    assert not house.word().allow_new_positions
    house.tell(ControlRequested(control="resume", reason="", by="operator"))
    assert house.word().allow_new_positions
    assert [m.paused for m in house.probes["recorder"].heard if isinstance(m, GovernorState)][-2:] == [True, False]


@pytest.mark.parametrize("control", ["halt", "pause"])
def test_a_word_heard_before_the_account_is_known_is_written_and_holds_when_it_is(house, control):
    taken = house.ask(control)
    assert (taken.fault, taken.entries) == ("", False)
    written = [m for m in house.probes["recorder"].heard if isinstance(m, GovernorState)][-1]
    assert (written.halted, written.paused) == (control == "halt", control == "pause")
    house.healthy()
    assert not house.word().allow_new_positions
    assert isinstance(house.propose(), EntryDenied)


def test_two_quick_words_keep_their_order_account_known_or_not(house):
    for words, allowed in ((("halt", "resume"), True), (("resume", "halt"), False)):
        house.tell(*[ControlRequested(control=w, reason="", by="test") for w in words])
        house.healthy()
        assert house.word().allow_new_positions == allowed


def test_an_operator_is_answered_when_the_word_is_on_disk_and_not_before(house):
    house.waiting = []
    with pytest.raises(TimeoutError):
        house.ask("halt")
    assert "drill" in house.word().reason
    house.tell(*house.waiting)
    house.waiting = None
    assert isinstance(house.ask("halt"), ControlTaken)


def test_a_word_that_cannot_be_written_holds_and_the_operator_is_told(house):
    house.healthy()
    house.disk = "disk full"
    assert house.ask("halt").fault == "disk full"
    assert not house.word().allow_new_positions


def test_a_receipt_of_another_incarnation_confirms_nothing(house):
    house.waiting = []
    house.healthy()
    house.propose()
    house.tell(StateWritten(revision=house.waiting[-1].revision - 1_000_000))
    assert house.entered() == []


def test_an_entry_is_sent_when_its_admission_is_on_disk_and_not_before(house):
    house.healthy()
    house.waiting = []
    assert house.propose() is None
    assert (house.entered(), house.word().reserved) == ([], ("BTCUSDT",))
    house.tell(*house.waiting)
    assert house.entered() == ["BTCUSDT"]


def test_an_admission_that_cannot_be_written_is_denied_and_starts_no_cooldown(house):
    house.healthy()
    house.disk = "disk full"
    denied = house.propose().decision
    assert (denied.verdict, denied.gate) == ("denied", "journal")
    assert (house.entered(), house.word().reserved, house.word().last_entry_ms) == ([], (), 0)


@pytest.mark.parametrize(
    "between",
    [
        ControlRequested(control="halt", reason="now", by="test"),
        ControlRequested(control="pause", reason="now", by="test"),
        VenueLost(reason="banned"),
        a_snapshot(equity_usd=D(9_000), positions=(), conditionals=()),
    ],
)
def test_what_forbids_entries_between_admission_and_disk_stops_the_entry(house, between):
    house.healthy()
    house.waiting = []
    house.propose()
    receipts, house.waiting = house.waiting, None
    house.tell(between, *receipts)
    assert house.entered() == []
    assert house.word().reserved == ()


def test_the_executor_hears_every_directive_before_the_entry_that_it_allows(house):
    house.healthy()
    house.propose()
    heard = house.probes["executor"].heard
    assert isinstance(heard[-1], EntryAdmitted)
    assert heard[-2].allow_new_positions
    house.tell(ControlRequested(control="halt", reason="now", by="test"))
    assert house.probes["executor"].heard[-1] == house.word()
    assert not house.word().allow_new_positions


def test_an_entry_never_heard_of_again_is_released_a_minute_after_its_signal_and_remembered(house):
    house.healthy()
    house.propose()
    for serial, passed_ms in enumerate((3_600_000, ANSWER_MS_MAX - 1), start=2):
        house.runtime.run_for(passed_ms)
        house.tell(a_snapshot(serial=serial, positions=(), conditionals=()))
        assert house.word().reserved == ("BTCUSDT",)
    house.runtime.run_for(1)
    house.tell(a_snapshot(serial=9, positions=(), conditionals=()))
    assert house.word().reserved == ()
    seen = [m for m in house.probes["recorder"].heard if isinstance(m, IncidentSeen)]
    assert [(m.kind, m.subject) for m in seen] == [("lost entry", "BTCUSDT")]


def test_after_a_restart_what_was_admitted_is_reserved_again_and_the_cooldown_goes_on(facts_of_past):
    house = House(facts_of_past, QT_COOLDOWN_SECONDS="600")
    house.healthy()
    assert (house.word().reserved, house.word().last_entry_ms) == (("BTCUSDT",), NOW - 1000)
    assert house.propose().decision.gate == "cooldown"
    assert house.propose("ETHUSDT").decision.gate == "cooldown"
    house.runtime.stop()


@pytest.fixture
def facts_of_past():
    return Past(a_state(reserved=(a_plan(),), last_entry_ms=NOW - 1000))


def test_a_restart_tells_at_once_what_is_halted():
    house = House(Past(a_state(halted=True, halt_reason="drill")))
    (told,) = (m for m in house.probes["web"].heard if isinstance(m, GovernorState))
    assert (told.halted, told.halt_reason) == (True, "drill")
    house.runtime.stop()


def test_losses_that_closed_while_the_governor_was_away_are_in_the_streak():
    rows = [
        {
            "decision_id": f"BTCUSDT-{n}",
            "realized_usd": "-1",
            "commission_usd": "0",
            "closed_ms": NOW - n,
            "complete": 1,
        }
        for n in range(4)
    ]
    house = House(Past(a_state(losing_streak=1, counted=("BTCUSDT-3",)), trades_since=rows), QT_COOLDOWN_SECONDS="0")
    house.healthy()
    house.tell(lost(-1, 0))
    assert house.word().losing_streak == 4
    house.runtime.stop()


def a_transfer(amount, time_ms, number=1):
    return IncomeRow(
        kind="TRANSFER", transaction_id=number, symbol="", amount_usd=D(amount), asset="USDT", time_ms=time_ms
    )


def a_ledger(*rows, now_ms):
    zero = D(0)
    return LedgerSynced(income=rows, wallet_usd=zero, equity_usd=zero, unrealized_usd=zero, now_ms=now_ms)


def test_a_withdrawal_stops_entries_until_the_ledger_explains_it_and_is_no_loss(house):
    house.healthy()
    house.tell(a_snapshot(serial=2, requested_ms=NOW + 9000, now_ms=NOW + 9000, equity_usd=D(7000), positions=()))
    assert house.word().daily_pnl_usd == -3000
    assert not house.word().allow_new_positions
    row = a_transfer(-3000, NOW + 5000)
    house.tell(a_ledger(row, now_ms=NOW + 30_000), a_ledger(row, now_ms=NOW + 90_000))
    assert (house.word().daily_pnl_usd, house.word().allow_new_positions) == (0, True)


def test_a_restart_remembers_what_was_transferred_today():
    row = msgspec.to_builtins(a_transfer(-3000, NOW - 500))
    house = House(Past(a_state(), income_beside_trading=[row]), QT_COOLDOWN_SECONDS="0")
    house.healthy(equity_usd=D(7000))
    assert (house.word().daily_pnl_usd, house.word().allow_new_positions) == (0, True)
    house.runtime.stop()


def test_the_day_begins_with_the_last_equity_that_the_journal_knows_when_that_was_more():
    past = Past(
        a_state(day="2025-06-14"), equity_last=[{"now_ms": NOW - 40_000_000, "equity_usd": "10000", "wallet_usd": "1"}]
    )
    house = House(past, QT_COOLDOWN_SECONDS="0")
    house.healthy(equity_usd=D(9700))
    assert house.word().daily_pnl_usd == -300
    assert not house.word().allow_new_positions
    house.runtime.stop()


DAY_MS = 86_400_000


def test_a_day_that_turns_under_our_eyes_begins_with_what_is_seen_then(house):
    house.healthy(equity_usd=D(10_100))
    house.tell(a_snapshot(serial=2, now_ms=NOW + DAY_MS, equity_usd=D(9_900), positions=(), conditionals=()))
    assert (house.word().daily_pnl_usd, house.word().allow_new_positions) == (0, True)


def test_a_day_that_turns_while_the_exchange_is_away_begins_with_the_better_of_both(house):
    house.healthy(equity_usd=D(10_100))
    house.runtime.run_for(ACCOUNT_AGE_MS_MAX)
    house.tell(a_snapshot(serial=2, now_ms=NOW + DAY_MS, equity_usd=D(9_900), positions=(), conditionals=()))
    assert house.word().daily_pnl_usd == -200


def test_a_halt_outlives_the_day_that_turns_and_the_new_day_has_its_own_loss(house):
    house.healthy()
    house.ask("halt")
    house.tell(a_snapshot(serial=2, equity_usd=D(9_700), positions=(), conditionals=()))
    house.tell(a_snapshot(serial=3, now_ms=NOW + DAY_MS, equity_usd=D(9_700), positions=(), conditionals=()))
    assert (house.word().daily_pnl_usd, house.word().reason) == (0, "entries halted by operator: drill")
    assert house.ask("resume").entries


def test_a_figure_that_is_no_number_makes_the_account_unknown_and_nothing_crashes(house):
    house.healthy()
    nan = D("NaN")
    for broken in (
        a_snapshot(equity_usd=nan),
        a_snapshot(available_usd=nan),
        a_snapshot(positions=(a_position(mark_price=nan),)),
        a_snapshot(conditionals=(a_stop(trigger_price=nan),)),
    ):
        house.tell(broken)
        assert not house.word().allow_new_positions
        assert isinstance(house.propose(), EntryDenied)
    house.healthy()
    assert house.word().allow_new_positions


def test_a_governor_alone_restarted_allows_entries_when_the_account_is_known_again(house):
    house.tell(UniverseChosen(symbols=(), rules=(), refused={}), a_snapshot(positions=(), conditionals=()))
    assert house.word().allow_new_positions


def test_a_trade_that_ended_unreleased_reserves_nothing(house, ended_trade):
    house.healthy()
    house.propose()
    house.tell(TradeChanged(trade=ended_trade))
    assert house.word().reserved == ()


@pytest.fixture
def ended_trade():
    begun = begin(a_plan(), NOW).trade
    return msgspec.structs.replace(begun, phase="abandoned")
