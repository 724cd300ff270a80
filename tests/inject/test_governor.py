from __future__ import annotations

from decimal import Decimal as D

import msgspec
import pytest

from config.settings import load
from qt_actors.judgement.governor import ACCOUNT_AGE_MS_MAX, Governor, GovernorWiring
from qt_actors.kernel import ChildSpec, Probe, SimRuntime, SupervisorSpec
from qt_actors.messages.market import UniverseChosen
from qt_actors.messages.policy import Directive, EntriesProposed, EntryAdmitted, EntryDenied, ReservationReleased
from qt_actors.messages.positions import TradeClosed
from qt_actors.messages.system import ControlRequested, GovernorState, HealthReported, VenueLost, VenueReady
from tests.builders import CLOSE_MS, NOW, a_decision, a_plan, a_snapshot, some_rules

PATH = "root/governor"


class Past:
    """What the journal remembers of the governor."""

    def __init__(self, state=None):
        self.state = state

    def governor_state(self):
        return self.state


class House:
    """A governor; its neighbours are probes."""

    def __init__(self, state=None, **env):
        self.runtime = SimRuntime(seed=1, start_ms=NOW)
        names = ("universe", "recorder", "executor", "orchestrator", "web")
        self.probes = {n: Probe(self.runtime, f"root/{n}") for n in names}
        address = {n: self.runtime.address(f"root/{n}") for n in names}
        self.past = Past(state)
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

    def tell(self, *messages):
        for message in messages:
            self.runtime.address(PATH).tell(message)
        self.runtime.run_for(0)

    def healthy(self, **account):
        rules = tuple(some_rules(s) for s in ("BTCUSDT", "ETHUSDT", "XRPUSDT"))
        universe = UniverseChosen(symbols=tuple(r.symbol for r in rules), rules=rules, refused={})
        account.setdefault("positions", ())
        account.setdefault("conditionals", ())
        self.tell(universe, VenueReady(clock_offset_ms=0), a_snapshot(**account))

    def word(self):
        return [m for m in self.probes["web"].heard if isinstance(m, Directive)][-1]

    def propose(self, symbol="BTCUSDT"):
        plan = a_plan(symbol=symbol, decision_id=f"{symbol}-{CLOSE_MS}")
        decision = a_decision(symbol=symbol, decision_id=plan.decision_id, plan=plan)
        self.tell(EntriesProposed(decisions=(decision,)))
        answers = [m for m in self.probes["orchestrator"].heard if isinstance(m, EntryAdmitted | EntryDenied)]
        return answers[-1]


def lost(usd, symbol="BTCUSDT"):
    return TradeClosed(
        decision_id=f"{symbol}-1",
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
    assert house.probes["executor"].heard == ()


def test_a_proposal_that_fits_is_admitted_to_executor_and_orchestrator(house):
    house.healthy()
    assert isinstance(house.propose(), EntryAdmitted)
    assert isinstance(house.probes["executor"].heard[-1], EntryAdmitted)


def test_an_admitted_entry_is_reserved_until_its_position_is_in_a_later_snapshot(house):
    house.healthy()
    house.propose()
    assert house.propose().decision.gate == "position"
    house.tell(ReservationReleased(decision_id=f"BTCUSDT-{CLOSE_MS}", symbol="BTCUSDT", outcome="opened"))
    assert house.propose().decision.gate == "position"
    house.tell(a_snapshot(requested_ms=NOW + 1, positions=(), conditionals=()))
    assert isinstance(house.propose(), EntryAdmitted)


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
    assert states[-1].halted
    assert isinstance(house.propose(), EntryDenied)


def test_a_restart_does_not_forget_the_days_loss():
    house = House(a_state(halted=True, halt_reason="until the next UTC day: the day's loss"), QT_COOLDOWN_SECONDS="0")
    house.healthy(equity_usd=D(9_700))
    assert not house.word().allow_new_positions
    assert house.word().daily_pnl_usd == D(-300)
    house.runtime.stop()


def test_five_losses_in_a_row_stop_entries(house):
    house.healthy()
    house.tell(*[lost(-10) for _ in range(5)])
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
