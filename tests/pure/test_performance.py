"""Records of symbols and models, and what they tighten."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qt_actors.decisions.performance import (
    UNTRIED,
    Record,
    after_votes,
    learned,
    model_tightening,
    result_r,
    tightening,
    with_result,
)

RESULTS = st.lists(st.floats(-3, 3), max_size=60)


def record_of(*results: float):
    record = UNTRIED
    for net_r in results:
        record = with_result(record, net_r)
    return record


def test_an_untried_symbol_counts_as_even_and_tightens_nothing():
    assert (UNTRIED.win_rate, UNTRIED.expectancy_r) == (0.5, 0.0)
    assert tightening(UNTRIED) == ()


def test_five_losses_of_five_are_not_a_win_rate_of_zero():
    assert record_of(*[-1.0] * 5).win_rate == pytest.approx(10 / 25, abs=0.01)


def test_drawdown_is_the_fall_from_the_best():
    assert record_of(2.0, 1.0, -1.0, -1.5, 0.5).drawdown_r == pytest.approx(2.0)


def test_a_losing_streak_ends_with_a_gain_and_outlives_an_even_trade():
    assert record_of(-1, -1, 0, -1).losing_streak == 3
    assert record_of(-1, -1, 0.5).losing_streak == 0


def test_old_results_fade():
    assert record_of(*[-1.0] * 50, *[1.0] * 200).win_rate > 0.85
    once = record_of(-1.0)
    assert record_of(-1.0, *[0.0] * 50).sum_r == pytest.approx(once.sum_r / 2)


def test_expectancy_is_drawn_towards_zero_by_twenty_even_trades():
    assert record_of(*[1.0] * 3).expectancy_r == pytest.approx(3 / 23, rel=0.02)


def test_the_result_is_net_of_fees_over_the_risk(facts):
    assert result_r(facts.closed("-50")) == pytest.approx(-0.5)


def test_a_trade_we_did_not_size_says_nothing_of_the_symbol(facts):
    assert result_r(facts.closed(adopted=True)) is None
    assert result_r(facts.closed(risk_usd=Decimal(0))) is None
    assert learned(Record(), facts.closed(adopted=True)).symbols == {}


def test_each_trade_counts_for_its_own_symbol(facts):
    record = learned(Record(), facts.closed("-50"))
    records = learned(record, facts.closed("100", symbol="ETHUSDT", decision_id="ETHUSDT-1")).symbols
    assert records["BTCUSDT"].losing_streak == 1
    assert records["ETHUSDT"].sum_r == pytest.approx(1.0)


def test_a_model_that_voted_the_other_way_is_credited_with_the_opposite(facts):
    votes = (
        facts.vote("xgb", "BUY"),
        facts.vote("lgbm", "SELL"),
        facts.vote("nhits", "HOLD"),
        facts.vote("patchtst", None),
    )
    records = after_votes({}, votes, "BUY", -1.0)
    assert {m: r.sum_r for m, r in records.items()} == {"xgb": -1.0, "lgbm": 1.0}


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ((-1, -1), []),
        ((-1, -1, -1), ["win rate 0.44", "3 losses in a row"]),
        ((3, -1, -1, -1, -1), ["win rate 0.44", "drawdown 4.0 R", "4 losses in a row"]),
        ((-0.5,) * 6, ["win rate 0.39", "6 losses in a row"]),
    ],
)
def test_what_tightens_says_why(results, said):
    assert [reason for reason, _ in tightening(record_of(*results))] == said


@given(RESULTS)
def test_a_record_only_ever_tightens_and_at_most_by_fifteen_points(results):
    added = [amount for _, amount in tightening(record_of(*results))]
    assert all(a > 0 for a in added)
    assert sum(added) <= 0.15 + 1e-9


@given(RESULTS)
def test_one_more_loss_never_loosens(results):
    before = sum(a for _, a in tightening(record_of(*results)))
    after = sum(a for _, a in tightening(record_of(*results, -1.0)))
    assert after >= before - 1e-9


def test_models_lately_wrong_tighten_and_untried_ones_do_not():
    wrong = record_of(*[-1.0] * 30)
    assert model_tightening({"xgb": wrong}, ["nhits"]) == ()
    assert model_tightening({}, []) == ()
    ((reason, added),) = model_tightening({"xgb": wrong, "lgbm": wrong}, ["xgb", "lgbm"])
    assert reason.startswith("models' win rate 0.2")
    assert 0 < added <= 0.05
