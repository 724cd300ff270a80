"""The HTTP API over a real socket: what stands now, from the newest messages."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import numpy as np
import pytest

from qt_actors.messages import market, policy, positions, signals, system
from tests.web_site import (
    BAR,
    MODELS,
    NOW,
    a_directive,
    a_position,
    a_resting,
    an_account,
    an_actor,
    make_healthy,
    quotes,
    some_signals,
)


def test_health_begins_starting_says_what_it_waits_for_and_becomes_healthy(site):
    told = site.get("/health")
    assert (told["status"], told["reasons"]) == ("starting", ["waiting for the account"])
    assert told["ai_status"] == dict.fromkeys(MODELS, "warmup")
    make_healthy(site)
    told = site.get("/health")
    assert (told["status"], told["reasons"]) == ("healthy", [])
    assert told["ai_status"] == dict.fromkeys(MODELS, "active")
    assert (told["active_positions"], told["daily_pnl"], told["mode"]) == (0, -50.0, "paper")
    assert told["market"] == "synthetic seed 7"
    assert told["uptime"] >= 0


def test_the_coordination_report_tells_what_exists_and_names_what_does_not(site):
    told = site.get("/api/os/report")
    assert (told["system_risk_mode"], told["system_health"]) == ("EMERGENCY", None)
    assert not told["global_directives"]["allow_new_trades"]
    site.states = [an_actor("up", "")]
    make_healthy(site)
    site.show(market.UniverseChosen(symbols=("BTCUSDT",), rules=(), refused={}))
    told = site.get("/api/os/report")
    assert (told["system_risk_mode"], told["system_health"]) == ("NORMAL", 100)
    assert told["global_directives"]["allow_new_positions"]
    assert told["subsystems"]["profit_amplification"]["status"] == "not built"
    site.show(system.VenueLost(reason="banned until noon"))
    told = site.get("/api/os/report")
    assert told["subsystems"]["execution_layer"] == {"status": "active", "health": 0, "detail": "banned until noon"}
    assert told["system_health"] == 80


@pytest.mark.parametrize(
    ("message", "status", "reason"),
    [
        (system.VenueLost(reason="banned until noon"), "unhealthy", "exchange: banned until noon"),
        (
            system.HealthReported(subsystem="journal", health=0, reason="disk is full", now_ms=NOW),
            "unhealthy",
            "journal: disk is full",
        ),
        (
            system.HealthReported(subsystem="feed", health=60, reason="2 gaps", now_ms=NOW),
            "degraded",
            "feed: 2 gaps",
        ),
        (
            signals.ModelStateChanged(model="xgb", state="missing", reason="xgb.onnx: missing; qt train"),
            "degraded",
            "model xgb cannot vote: xgb.onnx: missing; qt train",
        ),
        (
            positions.ProtectionMeasured(now_ms=NOW, unprotected_seconds=2, unprotected_symbols=("BTCUSDT",)),
            "degraded",
            "without full protection: BTCUSDT",
        ),
        (
            market.StreamChanged(stream="private", connected=False, reason="silent"),
            "degraded",
            "stream private: silent",
        ),
    ],
)
def test_health_names_what_is_wrong_and_unhealthy_is_503(site, message, status, reason):
    make_healthy(site)
    site.show(message)
    code, told = site.ask("/health")
    assert (told["status"], told["reasons"]) == (status, [reason])
    assert code == (503 if status == "unhealthy" else 200)


def test_a_restarting_actor_degrades_and_one_that_ended_is_unhealthy(site):
    make_healthy(site)
    site.states = [an_actor("backoff", "ValueError: x")]
    assert site.ask("/health")[1]["reasons"] == ["root/trading/executor is being restarted: ValueError: x"]
    site.states = [an_actor("ended", "ValueError: x")]
    assert site.ask("/health")[0] == 503


def test_an_account_not_seen_for_long_degrades_and_its_positions_say_how_old_they_are(site):
    make_healthy(site)
    site.show(msgspec.structs.replace(an_account(a_position()), now_ms=NOW - 60_000))
    assert site.get("/health")["reasons"] == ["the account was last seen 60 s ago; positions may have changed"]
    assert site.get("/api/positions")["account_age_s"] == 60


def test_entries_that_are_stopped_are_told_with_the_reason_and_are_no_illness(site):
    make_healthy(site)
    site.show(a_directive(allow=False, reason="daily loss 205 over 200"))
    told = site.get("/health")
    assert (told["status"], told["entries"]) == ("healthy", "stopped")
    assert told["entries_reason"] == "daily loss 205 over 200"
    assert site.get("/api/why")["stops"] == ["governor: daily loss 205 over 200"]


def test_positions_show_what_rests_on_the_exchange_at_the_newest_mark(site):
    orders = (a_resting("STOP_MARKET", "95"), a_resting("TAKE_PROFIT_MARKET", "120"))
    trail = a_resting("TRAILING_STOP_MARKET", "0", callback=Decimal("1.5"))
    site.show(an_account(a_position(), a_position("ETHUSDT", "-2"), conditionals=(*orders, trail)), quotes(104.0))
    short, long = sorted(site.get("/api/positions")["positions"], key=lambda p: p["symbol"], reverse=True)
    assert (long["side"], long["stop_price"], long["target_price"]) == ("LONG", 95.0, 120.0)
    assert (long["mark_price"], long["unrealized_pnl_usd"], long["protected"]) == (104.0, 2.0, True)
    assert long["trail_callback_pct"] == 0.015
    assert (short["side"], short["stop_price"], short["protected"]) == ("SHORT", None, False)
    assert short["unrealized_pnl_usd"] == -2.0


def test_signals_come_with_calls_before_holds_strongest_first_and_no_number_is_null(site):
    site.show(some_signals())
    told = site.get("/api/signals/live")
    assert [s["symbol"] for s in told["signals"]] == ["ETHUSDT", "BTCUSDT", "AUSDT"]
    assert told["signals"][0]["edge_r"] is None
    assert [v["model"] for v in told["signals"][0]["votes"]] == list(MODELS)


def test_a_warming_model_says_how_far_it_is(site):
    votes = signals.Votes(
        model="nhits",
        close_time_ms=BAR,
        symbols=("A", "B", "C"),
        probabilities=np.zeros((3, 3), np.float32),
        actions=np.array([-1, -1, -1], np.int8),
        confidence=np.zeros(3, np.float32),
        abstentions=("warmup 25/120", "warmup 25/120", "no whole bar"),
        elapsed_ms=1.0,
    )
    site.show(signals.ModelStateChanged(model="nhits", state="warmup", reason="no bars yet"), votes)
    told = site.get("/api/ai/status")["models"][2]
    assert (told["state"], told["reason"], told["votes"]["abstained"]) == ("warmup", "25/120", 3)
    assert site.get("/health")["ai_reasons"]["nhits"] == "25/120"


def test_risk_shows_how_much_of_each_limit_is_used(site):
    site.show(a_directive(), an_account())
    told = site.get("/api/risk")
    assert (told["daily_loss_used"], told["gross_used"]) == (0.25, 0.1)


def test_what_is_not_known_before_the_account_is_null_and_not_zero(site):
    site.show(a_directive())
    told = site.get("/api/risk")
    figures = {name: told[name] for name in told if name.endswith(("_usd", "_used"))}
    assert figures == dict.fromkeys(figures)
    assert len(figures) == 9
    assert site.get("/health")["daily_pnl"] is None


@pytest.mark.parametrize(
    ("halt_reason", "day_lost", "shown"),
    [("drill", "", "drill"), ("", "lost", "lost"), ("drill", "lost", "drill; lost")],
)
def test_risk_tells_both_halts_the_operators_and_the_days(site, halt_reason, day_lost, shown):
    state = system.GovernorState(
        day="2023-11-14",
        day_start_equity_usd=Decimal(1),
        losing_streak=0,
        halted=bool(halt_reason),
        halt_reason=halt_reason,
        changed_ms=NOW,
        day_lost=day_lost,
    )
    site.show(a_directive(allow=False), state)
    told = site.get("/api/risk")
    assert (told["halted"], told["halt_reason"]) == (True, shown)


def test_policy_shows_every_adjustment(site):
    site.show(
        policy.Policy(
            min_confidence=0.49,
            base=0.55,
            adjustments=(("regime", -0.06),),
            risk_multiplier=1.2,
            allow_trades=True,
            max_open_positions=6,
            reasons=("trending",),
        )
    )
    told = site.get("/api/policy")
    assert (told["min_confidence"], told["adjustments"], told["profile"]) == (0.49, {"regime": -0.06}, "SAFE")


def test_the_tree_shows_every_actor_and_a_figure_that_is_no_number_is_null(site):
    (actor,) = site.get("/api/tree")["actors"]
    assert (actor["path"], actor["state"]) == ("root/trading/executor", "up")
    assert actor["statistics"] == {"trades": 1, "share": None}
