"""Telemetry and its metrics: told messages in, scraped text out."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporters.prometheus import LABEL_SETS_MAX, METRICS, Metrics
from qt_actors.decisions.ids import client_id
from qt_actors.ground.telemetry import SAMPLE_MS, Telemetry, TelemetryWiring
from qt_actors.kernel import ActorState, ChildSpec, Crash, SimRuntime, SupervisorSpec
from qt_actors.messages import market, orders, policy, positions, signals, system

NOW = 1_700_000_000_000
PATH = "root/telemetry"
ZERO = Decimal(0)
ENTRY = client_id("BTCUSDT", NOW, "entry")


def an_actor(path="root/executor", restarts=0, depth=0, state="up"):
    return ActorState(
        path=path,
        kind="actor",
        detail="Executor",
        state=state,
        incarnation=restarts + 1,
        restarts=restarts,
        mailbox_depth=depth,
        handled=5,
        busy_ms=250,
        last_message="",
        last_error="",
        statistics={},
    )


class House:
    def __init__(self, speed=1.0):
        self.metrics = Metrics()
        self.tree = (an_actor(),)
        self.dead = {}
        wiring = TelemetryWiring(
            metrics=self.metrics,
            tree=lambda: self.tree,
            dead_letters=lambda: self.dead,
            run_info=("0.1.0", "paper", "synthetic seed 7", "SAFE"),
            speed=speed,
        )
        self.runtime = SimRuntime(seed=1, start_ms=NOW)
        self.runtime.start(SupervisorSpec("root", children=(ChildSpec("telemetry", lambda: Telemetry(wiring)),)))
        assert self.runtime.wait_ready()

    def hear(self, *messages):
        for message in messages:
            self.runtime.address(PATH).tell(message)
        self.runtime.run_until_idle()
        return samples(self.metrics)


def samples(metrics):
    """Values by name and label values, the labels in alphabetical order."""
    return {
        (s.name, *s.labels.values()): s.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for s in family.samples
    }


@pytest.fixture
def house():
    house = House()
    yield house
    house.runtime.stop()


def a_decision(symbol="BTCUSDT", verdict="denied", gate="confidence", close_time_ms=NOW):
    return policy.Decision(
        decision_id=f"{symbol}-{close_time_ms}",
        symbol=symbol,
        close_time_ms=close_time_ms,
        decided_ms=close_time_ms + 1500,
        action="BUY",
        verdict=verdict,
        gate=gate,
        gates=(),
        signal=None,
    )


def decided(*decisions):
    return policy.DecisionsMade(close_time_ms=NOW, decisions=decisions)


def a_position(symbol, quantity, pnl):
    return positions.Position(
        symbol=symbol,
        quantity=Decimal(quantity),
        entry_price=Decimal(100),
        mark_price=Decimal(100),
        unrealized_pnl=Decimal(pnl),
        liquidation_price=ZERO,
        notional_usd=Decimal(1000),
        initial_margin_usd=ZERO,
        updated_ms=NOW,
    )


def an_account(*held):
    return positions.AccountSnapshot(
        serial=1,
        requested_ms=NOW,
        now_ms=NOW,
        wallet_usd=Decimal(10_000),
        equity_usd=Decimal("9990.5"),
        available_usd=Decimal(9000),
        positions=held,
        orders=(),
        conditionals=(),
    )


def a_result(realized, reason="stop"):
    return positions.TradeClosed(
        decision_id="BTCUSDT-1",
        symbol="BTCUSDT",
        side="BUY",
        quantity=Decimal(1),
        entry_price=Decimal(1),
        exit_price=Decimal(1),
        opened_ms=NOW,
        closed_ms=NOW,
        exit_reason=reason,
        exits=(reason,),
        realized_usd=Decimal(realized),
        commission_usd=Decimal("0.5"),
        risk_usd=Decimal(10),
        slippage_bps=3.0,
        mfe_pct=0,
        mae_pct=0,
        confidence=0.8,
    )


def test_time_unprotected_exists_at_zero_before_anything_happened(house):
    assert samples(house.metrics)["qt_unprotected_position_seconds_total",] == 0


def test_every_name_of_the_table_is_exposed_with_help_and_type(house):
    text = house.metrics.exposition().decode()
    for name, metric in METRICS.items():
        family = name.removesuffix("_total") if metric.kind == "counter" else name
        assert f"# HELP {family}" in text
        assert f"# TYPE {family}" in text


@pytest.mark.parametrize("name", METRICS)
def test_names_follow_the_conventions(name):
    metric = METRICS[name]
    assert name.startswith("qt_")
    assert name == name.lower()
    assert name.endswith("_total") == (metric.kind == "counter")
    assert not name.endswith(("_ms", "_pct", "_percent", "_bps", "_minutes"))
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert metric.help.endswith(".") or metric.help.endswith("0")


def test_a_measurement_is_taken_by_the_kind_of_its_metric(house):
    measured = system.Measured(metric="qt_model_inference_seconds", value=0.004, labels=("xgb",))
    got = house.hear(measured, measured, system.Measured(metric="qt_ensemble_confidence", value=0.83))
    assert got["qt_model_inference_seconds_count", "xgb"] == 2
    assert got["qt_ensemble_confidence",] == 0.83


@pytest.mark.parametrize(
    ("measured", "reason"),
    [
        (system.Measured(metric="qt_nonsense", value=1), "name"),
        (system.Measured(metric="qt_cycle_seconds", value=1, labels=("x",)), "labels"),
        (system.Measured(metric="qt_cycle_seconds", value=float("nan")), "value"),
        (system.Measured(metric="qt_bars_repaired_total", value=-1), "value"),
    ],
)
def test_a_measurement_that_cannot_be_taken_is_counted_and_harms_nobody(house, measured, reason):
    got = house.hear(measured, measured)
    assert got["qt_measurements_refused_total", reason] == 2
    assert got["qt_up",] == 1


def test_a_label_outside_its_closed_set_becomes_other_and_open_ones_are_bounded():
    metrics = Metrics()
    for i in range(1000):
        metrics.take("qt_trades_total", 1, f"reason {i}")
        metrics.take("qt_position_unrealized_pnl_usd", i, f"S{i}USDT")
    got = samples(metrics)
    assert got["qt_trades_total", "other"] == 1000
    assert sum(key[0] == "qt_position_unrealized_pnl_usd" for key in got) == LABEL_SETS_MAX
    assert got["qt_measurements_refused_total", "series"] == 1000 - LABEL_SETS_MAX


def test_a_decision_counts_once_however_often_it_is_told_and_again_where_it_ends_elsewhere(house):
    got = house.hear(decided(a_decision()), decided(a_decision()), decided(a_decision(verdict="admitted", gate="")))
    assert got["qt_decisions_total", "confidence", "denied"] == 1
    assert got["qt_decisions_total", "", "admitted"] == 1
    assert got["qt_decision_lag_seconds_count",] == 1
    assert got["qt_decision_lag_seconds_sum",] == 1.5


def test_a_closed_position_has_no_series_any_more(house):
    first = house.hear(an_account(a_position("BTCUSDT", "1", "5"), a_position("ETHUSDT", "-1", "-7")))
    assert first["qt_position_notional_usd", "ETHUSDT"] == -1000
    then = house.hear(an_account(a_position("ETHUSDT", "-1", "-8")))
    assert then["qt_position_unrealized_pnl_usd", "ETHUSDT"] == -8
    assert ("qt_position_unrealized_pnl_usd", "BTCUSDT") not in then
    assert (then["qt_positions_open",], then["qt_equity_usd",]) == (1, 9990.5)


def test_closed_trades_are_counted_won_and_summed_after_commission(house):
    got = house.hear(a_result("10", "trail"), a_result("-3"), a_result("0.5"))
    assert (got["qt_trades_total", "trail"], got["qt_trades_total", "stop"]) == (1, 2)
    assert got["qt_trades_won_total",] == 1
    assert got["qt_realized_pnl_usd",] == 6.0
    assert got["qt_commission_usd_total",] == 1.5


def test_order_outcomes_are_counted_by_the_purpose_their_client_id_tells(house):
    accepted = orders.OrderAccepted(
        client_id=ENTRY,
        symbol="BTCUSDT",
        exchange_id=1,
        conditional=False,
        status="FILLED",
        executed_quantity=ZERO,
        elapsed_ms=42.0,
    )
    foreign = orders.OrderOutcomeUnknown(client_id="by hand", symbol="BTCUSDT", conditional=False, reason="timeout")
    got = house.hear(accepted, foreign)
    assert got["qt_orders_total", "entry", "accepted"] == 1
    assert got["qt_orders_total", "other", "unknown"] == 1
    assert got["qt_order_ack_seconds_sum",] == 0.042


def test_unprotected_time_adds_up_and_the_number_of_positions_is_the_last(house):
    told = positions.ProtectionMeasured(now_ms=NOW, unprotected_seconds=1.5, unprotected_symbols=("BTCUSDT",))
    well = positions.ProtectionMeasured(now_ms=NOW, unprotected_seconds=0, unprotected_symbols=())
    got = house.hear(told, told, well)
    assert got["qt_unprotected_position_seconds_total",] == 3.0
    assert got["qt_unprotected_positions",] == 0


def test_a_model_is_in_exactly_one_state_and_its_votes_are_counted(house):
    votes = signals.Votes(
        model="xgb",
        close_time_ms=NOW,
        symbols=("A", "B", "C", "D"),
        probabilities=np.zeros((4, 3), np.float32),
        actions=np.array([0, 2, 2, -1], np.int8),
        confidence=np.zeros(4, np.float32),
        abstentions=("", "", "", "warmup 25/120"),
        elapsed_ms=1.0,
    )
    got = house.hear(
        signals.ModelStateChanged(model="xgb", state="warmup"),
        signals.ModelStateChanged(model="xgb", state="active"),
        votes,
    )
    assert [got["qt_model_state", "xgb", s] for s in ("active", "warmup", "quarantined", "missing")] == [1, 0, 0, 0]
    assert [got["qt_votes_total", "xgb", v] for v in ("BUY", "SELL", "HOLD", "ABSTAIN")] == [2, 1, 0, 1]


def test_the_age_of_a_silent_stream_grows_though_nothing_is_heard(house):
    floats = np.array([1.0])
    quotes = market.QuotesUpdated(
        now_ms=NOW,
        symbols=("BTCUSDT",),
        bid=floats,
        ask=floats,
        bid_quantity=floats,
        ask_quantity=floats,
        mark=floats,
        funding_rate=floats,
        next_funding_ms=np.array([0]),
        heard_ms=np.array([NOW - 500]),
    )
    assert house.hear(quotes)["qt_stream_age_seconds", "public"] == 0.5
    house.runtime.run_for(10 * SAMPLE_MS)
    assert samples(house.metrics)["qt_stream_age_seconds", "public"] == 20.5


def test_on_a_fast_market_clock_lags_are_told_in_real_time():
    house = House(speed=3600)
    assert house.hear(decided(a_decision()))["qt_decision_lag_seconds_sum",] == pytest.approx(1.5 / 3600)
    house.runtime.stop()


def test_a_stream_that_is_lost_twice_is_counted_twice_and_a_first_connection_is_no_loss(house):
    def changed(connected):
        return market.StreamChanged(stream="private", connected=connected)

    got = house.hear(*map(changed, (False, True, False, True, False, False)))
    assert got["qt_stream_losses_total", "private"] == 2
    assert got["qt_stream_connected", "private"] == 0


def test_the_sickest_subsystem_is_the_health_of_the_system(house):
    def health(subsystem, value):
        return system.HealthReported(subsystem=subsystem, health=value, reason="", now_ms=NOW)

    assert house.hear(health("journal", 0), health("feed", 100))["qt_system_health",] == 0
    assert house.hear(health("journal", 100))["qt_system_health",] == 100


def test_the_tree_is_sampled_and_restarts_are_counted_over_a_restart_of_telemetry_itself(house):
    house.tree = (an_actor(restarts=2, depth=7),)
    house.dead = {("Fill", "crash"): 1, ("Intent", "crash"): 2}
    house.runtime.run_for(SAMPLE_MS + 1)
    house.runtime.inject(Crash(path=PATH, nth=house.runtime.handled(PATH) + 1))
    house.hear(system.Measured(metric="qt_ensemble_confidence", value=0.5))
    house.tree = (an_actor(restarts=3, state="backoff"),)
    house.runtime.run_for(5 * SAMPLE_MS)
    got = samples(house.metrics)
    assert got["qt_actor_restarts_total", "root/executor"] == 3
    assert got["qt_actor_mailbox_depth", "root/executor"] == 0
    assert got["qt_actor_busy_seconds", "root/executor"] == 0.25
    assert got["qt_actor_up", "root/executor"] == 0
    assert got["qt_dead_letters_total", "crash"] == 3


def test_series_stay_few_with_222_symbols_all_held():
    metrics = Metrics()
    for i in range(222):
        metrics.take("qt_position_unrealized_pnl_usd", 1, f"S{i}USDT")
        metrics.take("qt_position_notional_usd", 1, f"S{i}USDT")
    assert len(samples(metrics)) <= 1500
