"""When policy ends a trade, and when it only warns."""

from __future__ import annotations

import pytest

from qt_actors.decisions.exits import mind_changed, policy_exit


def exits(facts, trade=None, signal=None, now_ms=None, least=None, **variables):
    return policy_exit(trade or facts.trade(), signal, now_ms or facts.now_ms, facts.settings(**variables), least)


def test_a_trade_without_a_signal_runs_until_its_time_barrier(facts):
    opened = facts.trade().opened_ms
    assert exits(facts, now_ms=opened + 48 * facts.hour_ms - 1) is None
    assert exits(facts, now_ms=opened + 48 * facts.hour_ms) == "time: held 48 bars, at most 48"
    assert exits(facts, now_ms=opened + 2 * facts.hour_ms, QT_MAX_HOLDING_BARS=2) == "time: held 2 bars, at most 2"


def test_an_opposite_signal_strong_enough_ends_the_trade(facts):
    assert exits(facts, signal=facts.signal("SELL")) == "signal: SELL 0.83 against BUY, at least 0.45"


@pytest.mark.parametrize(
    "changes",
    [
        {"action": "BUY"},
        {"action": "HOLD"},
        {"confidence": 0.44},
        {"symbol": "ETHUSDT"},
        {"expires_ms": 1_700_000_060_000},
        {"close_time_ms": 1_699_996_399_999},
    ],
)
def test_any_other_signal_lets_it_run(facts, changes):
    assert exits(facts, signal=facts.signal(**{"action": "SELL", **changes})) is None


def test_the_confidence_needed_is_an_entrys_in_this_regime(facts):
    trending = facts.signal("SELL", confidence=0.40, regime="TRENDING")
    ranging = facts.signal("SELL", confidence=0.46, regime="RANGING")
    assert exits(facts, signal=trending) is not None
    assert exits(facts, signal=ranging) is None


def test_a_minimum_given_replaces_it(facts):
    assert exits(facts, signal=facts.signal("SELL"), least=0.9) is None


@pytest.mark.parametrize("phase", ["stopping", "entering", "closing", "closed", "abandoned"])
def test_only_a_held_position_is_closed(facts, phase):
    late = facts.now_ms + 100 * facts.hour_ms
    assert exits(facts, facts.trade(phase=phase), facts.signal("SELL"), late) is None


def test_a_position_we_did_not_open_is_never_closed_by_policy(facts):
    late = facts.now_ms + 100 * facts.hour_ms
    assert exits(facts, facts.trade(adopted=True), facts.signal("SELL"), late) is None


def test_a_trade_already_flat_is_not_closed_again(facts):
    flat = facts.trade(exited=facts.trade().filled)
    assert exits(facts, flat, facts.signal("SELL")) is None


@pytest.mark.parametrize(
    ("side", "action", "warned"),
    [
        ("BUY", "SELL", True),
        ("SELL", "BUY", True),
        ("BUY", "BUY", False),
        ("SELL", "SELL", False),
        ("BUY", "HOLD", False),
    ],
)
def test_the_models_changing_their_mind_is_told_whatever_the_confidence(facts, side, action, warned):
    told = mind_changed(facts.trade(side=side), facts.signal(action, confidence=0.1), facts.now_ms)
    assert (told is not None) == warned
    if told is not None:
        assert (told.symbol, told.position_side, told.action) == ("BTCUSDT", side, action)


def test_an_expired_signal_or_one_of_another_symbol_is_no_change_of_mind(facts):
    assert mind_changed(facts.trade(), facts.signal("SELL"), facts.close_ms + facts.hour_ms) is None
    assert mind_changed(facts.trade(), facts.signal("SELL", symbol="ETHUSDT"), facts.now_ms) is None
