from __future__ import annotations

from decimal import Decimal as D

import msgspec
import numpy as np
import pytest

from config.settings import load
from qt_actors.judgement.orchestrator import Orchestrator, OrchestratorWiring
from qt_actors.kernel import ChildSpec, Probe, SimRuntime, SupervisorSpec
from qt_actors.messages.market import BarsClosed, QuotesUpdated, UniverseChosen
from qt_actors.messages.policy import DecisionsMade, Directive, EntriesProposed, EntryAdmitted, EntryDenied
from qt_actors.messages.positions import TradeClosed
from qt_actors.messages.signals import FeatureBatch, Signals
from tests.builders import CLOSE_MS, NOW, a_signal, a_snapshot, a_stop, some_rules

PATH = "root/orchestrator"
SYMBOLS = ("BTCUSDT", "ETHUSDT", "XRPUSDT")
HOUR_MS = 3_600_000
HOLD = {"action": "HOLD"}


class Past:
    """The journal's closed trades, newest first."""

    def __init__(self, rows):
        self.answer = rows

    def rows(self, query, _parameters=None):
        return self.answer if query == "trades_voted" else []


class House:
    """An orchestrator; governor and listeners are probes."""

    def __init__(self, past=(), **env):
        env = {"ORCHESTRATOR_PROFILE": "NONE", "QT_COOLDOWN_SECONDS": "120", **env}
        self.runtime = SimRuntime(seed=1, start_ms=NOW - 600_000)
        self.governor = Probe(self.runtime, "root/governor")
        self.recorder = Probe(self.runtime, "root/recorder")
        Probe(self.runtime, "root/universe")
        self.telemetry = Probe(self.runtime, "root/telemetry")
        wiring = OrchestratorWiring(
            universe=self.runtime.address("root/universe"),
            settings=load(None, env),
            governor=self.runtime.address("root/governor"),
            journal=lambda: Past(past),
            listeners=(self.runtime.address("root/recorder"),),
            quote_age_ms_max=15_000_000,
            telemetry=self.runtime.address("root/telemetry"),
            monotonic_s=self.runtime.monotonic_s,
        )
        self.runtime.start(SupervisorSpec("root", children=(ChildSpec("orchestrator", lambda: Orchestrator(wiring)),)))
        assert self.runtime.wait_ready()
        self.runtime.run_for(600_000)

    def tell(self, *messages):
        for message in messages:
            self.runtime.address(PATH).tell(message)
        self.runtime.run_for(0)

    def know_everything(self):
        rules = tuple(some_rules(s) for s in SYMBOLS)
        self.tell(
            UniverseChosen(symbols=SYMBOLS, rules=rules, refused={}),
            quotes(),
            features(CLOSE_MS),
            a_directive(),
            a_snapshot(positions=(), conditionals=(), now_ms=NOW, requested_ms=NOW),
        )

    def decisions(self):
        """Return the last word on every (symbol, bar)."""
        told = [d for m in self.recorder.heard if isinstance(m, DecisionsMade) for d in m.decisions]
        return {(d.symbol, d.close_time_ms): d for d in told}

    def proposed(self):
        return [d for m in self.governor.heard if isinstance(m, EntriesProposed) for d in m.decisions]


def quotes():
    full = np.full(len(SYMBOLS), 100_000.0)
    return QuotesUpdated(
        now_ms=NOW,
        symbols=SYMBOLS,
        bid=full,
        ask=full + 1,
        bid_quantity=full / 1000,
        ask_quantity=full / 1000,
        mark=full,
        funding_rate=full * 1e-9,
        next_funding_ms=np.full(len(SYMBOLS), NOW + HOUR_MS),
        heard_ms=np.full(len(SYMBOLS), NOW),
    )


def features(close_ms):
    count = len(SYMBOLS)
    ones = np.ones(count)
    return FeatureBatch(
        symbols=SYMBOLS,
        close_time_ms=close_ms,
        interval_ms=HOUR_MS,
        features=np.zeros((count, 3), np.float32),
        windows=np.zeros((count, 4, 5), np.float32),
        have=np.full(count, 300),
        need=256,
        eligible=np.ones(count, bool),
        close=ones * 100_000,
        stop_distance=ones * 0.02,
        adx=ones * 20,
        slope=ones * 0,
        volatility=ones * 0.01,
        volatility_rank=ones * 0.5,
    )


def a_directive(**changes):
    word = Directive(
        now_ms=NOW,
        allow_trades=True,
        allow_new_positions=True,
        leverage_multiplier=1.0,
        size_multiplier=1.0,
        risk_level="NORMAL",
        reason="all within limits",
        daily_pnl_usd=D(0),
        daily_loss_limit_usd=D(200),
        gross_notional_usd=D(0),
        gross_limit_usd=D(45_000),
        losing_streak=0,
        equity_usd=D(10_000),
    )
    return msgspec.structs.replace(word, **changes)


def signals(close_ms=CLOSE_MS, **by_symbol):
    made = tuple(
        a_signal(
            symbol=s, close_time_ms=close_ms, expires_ms=close_ms + HOUR_MS, **by_symbol.get(s, {"action": "HOLD"})
        )
        for s in SYMBOLS
    )
    return Signals(close_time_ms=close_ms, symbols=SYMBOLS, signals=made)


def bars(close_ms):
    return BarsClosed(
        symbols=SYMBOLS,
        interval_ms=HOUR_MS,
        open_time_ms=close_ms - HOUR_MS,
        close_time_ms=close_ms,
        ohlcv=np.ones((len(SYMBOLS), 5)),
    )


@pytest.fixture
def house():
    house = House()
    yield house
    house.runtime.stop()


def test_every_symbol_of_a_bar_ends_in_one_decision_and_holds_are_decisions_too(house):
    house.know_everything()
    house.tell(bars(CLOSE_MS), signals())
    assert {s for s, _ in house.decisions()} == set(SYMBOLS)
    assert {d.verdict for d in house.decisions().values()} == {"hold"}


def test_a_bar_without_signals_is_denied_for_every_symbol_when_the_next_one_closes(house):
    house.know_everything()
    house.tell(bars(CLOSE_MS), bars(CLOSE_MS + HOUR_MS))
    denied = [d for (s, t), d in house.decisions().items() if t == CLOSE_MS]
    assert len(denied) == len(SYMBOLS)
    assert {d.gate for d in denied} == {"signals"}


def test_a_bar_without_signals_is_denied_at_the_stop_too(house):
    house.know_everything()
    house.tell(bars(CLOSE_MS))
    house.runtime.stop()
    assert {d.gate for d in house.decisions().values()} == {"signals"}
    assert len(house.decisions()) == len(SYMBOLS)


def test_late_signals_of_a_bar_already_decided_change_nothing(house):
    house.know_everything()
    house.tell(bars(CLOSE_MS), bars(CLOSE_MS + HOUR_MS))
    before = house.decisions()
    house.tell(signals(BTCUSDT={"action": "BUY"}))
    assert house.decisions() == before
    assert not house.proposed()


def test_a_passing_signal_is_proposed_and_recorded_when_the_governor_answers(house):
    house.know_everything()
    house.tell(bars(CLOSE_MS), signals(BTCUSDT={"action": "BUY"}))
    (asked,) = house.proposed()
    assert asked.plan.symbol == "BTCUSDT"
    assert ("BTCUSDT", CLOSE_MS) not in house.decisions()
    house.tell(EntryAdmitted(decision=asked))
    assert house.decisions()["BTCUSDT", CLOSE_MS].verdict == "admitted"


def test_without_account_or_quotes_or_directive_nothing_is_proposed(house):
    house.tell(bars(CLOSE_MS), features(CLOSE_MS), signals(BTCUSDT={"action": "BUY"}))
    assert not house.proposed()
    denied = house.decisions()["BTCUSDT", CLOSE_MS]
    assert denied.verdict == "denied"
    assert not any(g.passed and g.value == "unknown" for g in denied.gates)


def test_entries_are_proposed_one_at_a_time_best_first_and_the_cooldown_denies_the_rest(house):
    house.know_everything()
    house.tell(
        bars(CLOSE_MS),
        signals(BTCUSDT={"action": "BUY", "edge_r": 0.4}, ETHUSDT={"action": "SELL", "edge_r": 0.6}),
    )
    (first,) = house.proposed()
    assert first.symbol == "ETHUSDT"
    house.tell(EntryAdmitted(decision=first))
    assert len(house.proposed()) == 1
    assert house.decisions()["BTCUSDT", CLOSE_MS].gate == "cooldown"


def test_a_denied_entry_lets_the_next_one_be_asked(house):
    house.know_everything()
    house.tell(
        bars(CLOSE_MS),
        signals(BTCUSDT={"action": "BUY", "edge_r": 0.4}, ETHUSDT={"action": "SELL", "edge_r": 0.6}),
    )
    (first,) = house.proposed()
    denied = msgspec.structs.replace(first, verdict="denied", gate="worst_case_loss", plan=None)
    house.tell(EntryDenied(decision=denied))
    assert [d.symbol for d in house.proposed()] == ["ETHUSDT", "BTCUSDT"]
    assert house.decisions()["ETHUSDT", CLOSE_MS].gate == "worst_case_loss"


def test_a_signal_denied_by_the_cooldown_is_asked_again_within_its_bar_and_stays_one_decision(house):
    house.know_everything()
    house.tell(
        bars(CLOSE_MS),
        signals(BTCUSDT={"action": "BUY", "edge_r": 0.4}, ETHUSDT={"action": "SELL", "edge_r": 0.6}),
    )
    admitted_ms = house.runtime.clock.now_ms()
    house.tell(a_directive(last_entry_ms=admitted_ms, reserved=("ETHUSDT",)))
    house.tell(EntryAdmitted(decision=house.proposed()[0]))
    for _ in range(11):
        house.runtime.run_for(10_000)
        house.tell(quotes())
    assert [d.symbol for d in house.proposed()] == ["ETHUSDT"]
    for _ in range(3):
        house.runtime.run_for(10_000)
        house.tell(quotes())
    assert [d.symbol for d in house.proposed()] == ["ETHUSDT", "BTCUSDT"]
    house.tell(EntryAdmitted(decision=house.proposed()[1]))
    second = house.decisions()["BTCUSDT", CLOSE_MS]
    assert (second.verdict, second.evaluations > 1) == ("admitted", True)
    assert len(house.decisions()) == len(SYMBOLS)


def test_a_governor_that_never_answers_is_a_no(house):
    house.know_everything()
    house.tell(bars(CLOSE_MS), signals(BTCUSDT={"action": "BUY"}))
    house.tell(bars(CLOSE_MS + HOUR_MS), signals(CLOSE_MS + HOUR_MS))
    denied = house.decisions()["BTCUSDT", CLOSE_MS]
    assert (denied.verdict, denied.gate) == ("denied", "governor")
    assert len(house.decisions()) == 2 * len(SYMBOLS)


def test_the_cooldown_and_entries_under_way_are_the_governors_word_and_survive_our_restart(house):
    house.know_everything()
    entered_ms = house.runtime.clock.now_ms() - 30_000
    house.tell(a_directive(last_entry_ms=entered_ms, reserved=("BTCUSDT",)))
    house.tell(bars(CLOSE_MS), signals(BTCUSDT={"action": "BUY"}, ETHUSDT={"action": "BUY"}))
    btc, eth = (house.decisions()[symbol, CLOSE_MS] for symbol in ("BTCUSDT", "ETHUSDT"))
    said = {g.name: (g.passed, g.value, g.limit) for g in btc.gates}
    assert said["cooldown"] == (False, "30 s", "≥ 120 s since the last entry")
    assert said["position"] == (False, "entry under way", "none on the symbol")
    assert [g.name for g in eth.gates if not g.passed] == ["cooldown"]


def test_after_a_start_without_any_entry_the_cooldown_says_so_and_stands_in_nobodys_way(house):
    house.know_everything()
    house.tell(bars(CLOSE_MS), signals(BTCUSDT={"action": "BUY"}))
    (asked,) = house.proposed()
    assert next((g.passed, g.value) for g in asked.gates if g.name == "cooldown") == (True, "no entry yet")


def test_an_entry_whose_word_was_lost_on_its_way_blocks_its_symbol_only_as_long_as_it_is_reserved(house):
    house.know_everything()
    house.tell(bars(CLOSE_MS), signals(BTCUSDT={"action": "BUY"}))
    house.tell(EntryAdmitted(decision=house.proposed()[0]))
    house.tell(bars(CLOSE_MS + HOUR_MS), features(CLOSE_MS + HOUR_MS), quotes())
    house.runtime.run_for(HOUR_MS)
    house.tell(signals(CLOSE_MS + HOUR_MS, BTCUSDT={"action": "BUY"}))
    again = house.decisions().get(("BTCUSDT", CLOSE_MS + HOUR_MS)) or house.proposed()[-1]
    assert next(g.passed for g in again.gates if g.name == "position")


@pytest.mark.parametrize(("client_id", "proposed"), [(a_stop().client_id, []), ("web_1", ["BTCUSDT"])])
def test_an_order_of_ours_that_still_rests_keeps_its_symbol_taken_and_one_of_others_does_not(
    house, client_id, proposed
):
    house.know_everything()
    stops = (a_stop(client_id=client_id),)
    house.tell(a_snapshot(positions=(), conditionals=stops, requested_ms=NOW, now_ms=NOW), signals(BTCUSDT={}))
    assert [d.symbol for d in house.proposed()] == proposed


def test_an_entry_admitted_after_its_bar_was_closed_is_recorded_as_admitted(house):
    house.know_everything()
    house.tell(bars(CLOSE_MS), signals(BTCUSDT={"action": "BUY"}))
    (asked,) = house.proposed()
    house.tell(bars(CLOSE_MS + HOUR_MS), signals(CLOSE_MS + HOUR_MS))
    denied = house.decisions()["BTCUSDT", CLOSE_MS]
    assert denied.verdict == "denied"
    house.runtime.run_for(1000)
    house.tell(EntryAdmitted(decision=asked))
    last = house.decisions()["BTCUSDT", CLOSE_MS]
    assert (last.verdict, last.decided_ms > denied.decided_ms) == ("admitted", True)


def a_row(number, net, **changes):
    """A closed trade as the journal tells it, three models behind it."""
    votes = [msgspec.to_builtins(v) for v in a_signal().votes]
    closed = {
        "decision_id": f"BTCUSDT-{number}",
        "symbol": "BTCUSDT",
        "side": "BUY",
        "quantity": "1",
        "entry_price": "100",
        "exit_price": "99",
        "opened_ms": number,
        "closed_ms": NOW - HOUR_MS + number,
        "exit_reason": "stop",
        "exits": ["stop"],
        "realized_usd": net,
        "commission_usd": "0",
        "risk_usd": "10",
        "slippage_bps": 0.0,
        "mfe_pct": 0.0,
        "mae_pct": 0.0,
        "confidence": 0.8,
        "adopted": 0,
        "complete": 1,
    }
    return {**closed, "votes": votes, **changes}


def minimum(house):
    """What the confidence gate of the newest BTCUSDT decision says, with its reasons."""
    house.know_everything()
    house.tell(bars(CLOSE_MS), signals(BTCUSDT={"action": "BUY"}))
    made = house.decisions().get(("BTCUSDT", CLOSE_MS)) or house.proposed()[-1]
    return next(g.note for g in made.gates if g.name == "confidence")


def test_a_restart_remembers_how_a_symbol_and_its_models_have_done():
    house = House(past=[a_row(n, "-10") for n in range(9, 0, -1)])
    reasons = minimum(house)
    assert "9 losses in a row" in reasons
    assert "models' win rate" in reasons
    house.runtime.stop()


def test_a_trade_whose_end_is_in_the_journal_and_in_the_mailbox_counts_once():
    house = House(past=[a_row(n, "-10") for n in range(3, 0, -1)])
    again = msgspec.convert(a_row(3, "-10"), TradeClosed, strict=False)
    house.tell(again, again)
    assert "3 losses in a row" in minimum(house)
    house.runtime.stop()


def test_votes_behind_a_trade_that_was_open_at_the_restart_are_credited_when_it_closes():
    losses = [a_row(n, "-10") for n in range(8, 0, -1)]
    house = House(past=[a_row(9, "-10", closed_ms=None), *losses])
    house.tell(msgspec.convert(a_row(9, "-10"), TradeClosed, strict=False))
    with_votes = minimum(house)
    house.runtime.stop()
    blind = House(past=losses)
    blind.tell(msgspec.convert(a_row(9, "-10"), TradeClosed, strict=False))
    assert with_votes != minimum(blind)
    blind.runtime.stop()
