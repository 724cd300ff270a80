"""One policy from all subsystems: the table of SPEC 6."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qt_actors.decisions.performance import UNTRIED, Performance
from qt_actors.decisions.policy import policy_of, positions_max

LOSER = Performance(trades=10, weight=10, wins=1, sum_r=-8, total_r=-8, peak_r=0, losing_streak=6)


def policy(facts, *, profile="NONE", spread=2.0, market="NORMAL", record=UNTRIED, variables=None, **signal):
    return policy_of(
        facts.signal(**signal), spread, record, market, facts.directive(), facts.settings(profile, **(variables or {}))
    )


@pytest.mark.parametrize(
    ("profile", "regime", "least"),
    [
        ("NONE", "TRENDING", 0.32),
        ("NONE", "NORMAL", 0.38),
        ("NONE", "RANGING", 0.40),
        ("AGGRESSIVE", "NORMAL", 0.45),
        ("SAFE", "TRENDING", 0.49),
        ("SAFE", "NORMAL", 0.55),
        ("SAFE", "RANGING", 0.57),
    ],
)
def test_base_and_regime(facts, profile, regime, least):
    assert policy(facts, profile=profile, regime=regime).min_confidence == pytest.approx(least)


def test_the_variable_overrides_the_profile_and_says_so(facts):
    made = policy(facts, profile="SAFE", variables={"QT_CONFIDENCE_THRESHOLD": 0.5})
    assert made.min_confidence == pytest.approx(0.5)
    assert made.reasons == ("base 0.50 (QT_CONFIDENCE_THRESHOLD)",)


@pytest.mark.parametrize(
    ("facts_changed", "added"),
    [
        ({"volatility": 0.061}, 0.07),
        ({"volatility": 0.060}, 0.0),
        ({"volatility_rank": 0.2}, -0.02),
        ({"volatility_rank": 0.21}, 0.0),
        ({"volatility": 0.07, "volatility_rank": 0.1}, 0.07),
        ({"spread": 10.1}, 0.05),
        ({"spread": 10.0}, 0.0),
        ({"spread": None}, 0.05),
        ({"spread": float("nan")}, 0.05),
    ],
)
def test_volatility_and_spread_move_the_threshold(facts, facts_changed, added):
    assert policy(facts, **facts_changed).min_confidence == pytest.approx(0.38 + added)


def test_every_adjustment_is_named_with_its_amount(facts):
    made = policy(facts, profile="SAFE", regime="RANGING", volatility=0.07, spread=12.0, record=LOSER)
    assert made.min_confidence == pytest.approx(made.base + sum(a for _, a in made.adjustments))
    assert [name for name, _ in made.adjustments] == [
        "regime RANGING",
        "volatility 0.070",
        "spread 12.0 bps",
        "win rate 0.37",
        "drawdown 8.0 R",
        "6 losses in a row",
    ]


@pytest.mark.parametrize(
    ("regime", "market", "record", "multiplier"),
    [
        ("TRENDING", "NORMAL", UNTRIED, 1.2),
        ("TRENDING", "TRENDING", UNTRIED, 1.5),
        ("NORMAL", "TRENDING", UNTRIED, 1.0),
        ("RANGING", "RANGING", UNTRIED, 0.8),
        ("TRENDING", "TRENDING", LOSER, 1.5 - 8 / 30),
        ("RANGING", "NORMAL", LOSER, 0.8),
    ],
)
def test_the_risk_multiplier_follows_the_regime_and_the_record(facts, regime, market, record, multiplier):
    assert policy(facts, regime=regime, market=market, record=record).risk_multiplier == pytest.approx(multiplier)


@pytest.mark.parametrize(
    ("profile", "variables", "most"),
    [
        ("SAFE", {}, 6),
        ("AGGRESSIVE", {}, 10),
        ("AGGRESSIVE", {"QT_MAX_POSITIONS": 3}, 3),
        ("AGGRESSIVE", {"RM_MAX_CONCURRENT_TRADES": 4, "QT_MAX_POSITIONS": 8}, 4),
    ],
)
def test_the_smallest_of_the_position_limits_wins(facts, profile, variables, most):
    assert positions_max(facts.settings(profile, **variables)) == most


def test_without_a_directive_or_a_record_nothing_is_allowed(facts):
    settings, signal = facts.settings(), facts.signal()
    assert not policy_of(signal, 2.0, UNTRIED, "NORMAL", None, settings).allow_trades
    assert not policy_of(signal, 2.0, None, "NORMAL", facts.directive(), settings).allow_trades
    assert policy_of(signal, 2.0, UNTRIED, "NORMAL", facts.directive(), settings).allow_trades


@pytest.mark.parametrize("word", ["allow_trades", "allow_new_positions"])
def test_the_governors_no_is_the_policys_no(facts, word):
    said = facts.directive(**{word: False}, reason="5 losses in a row of 5")
    made = policy_of(facts.signal(), 2.0, UNTRIED, "NORMAL", said, facts.settings())
    assert not made.allow_trades
    assert made.reasons[-1] == "5 losses in a row of 5"


@given(
    regime=st.sampled_from(["TRENDING", "NORMAL", "RANGING"]),
    market=st.sampled_from(["TRENDING", "NORMAL", "RANGING"]),
    volatility=st.floats(0, 1),
    rank=st.floats(0, 1),
    spread=st.floats(0, 1000),
    results=st.floats(-50, 50),
    streak=st.integers(0, 20),
)
def test_the_policy_stays_in_its_bounds(facts, regime, market, volatility, rank, spread, results, streak):
    record = Performance(trades=20, weight=20, wins=10, sum_r=results, total_r=results, losing_streak=streak)
    made = policy(
        facts,
        regime=regime,
        market=market,
        volatility=volatility,
        volatility_rank=rank,
        spread=spread,
        record=record,
    )
    assert 0.30 <= made.min_confidence <= 0.90
    assert 0.8 <= made.risk_multiplier <= 1.5
