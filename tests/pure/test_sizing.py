"""Sizes: the worked example of SPEC 8, every limit, and that risk never goes past its cap."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qt_actors.decisions.barriers import Barriers
from qt_actors.decisions.leverage import LIQUIDATION_SHARE, bracket_of, liquidation_distance
from qt_actors.decisions.sizing import Account, Sized, ceil_to, confidence_multiplier, floor_to, kelly, size
from qt_actors.messages.policy import Gate

STOP = 1.5 * 1200 / 87_400


def sized(
    facts,
    *,
    side="BUY",
    confidence=0.83,
    edge=0.3,
    price="87400",
    stop=STOP,
    ratio=1.14,
    equity="8930",
    available=None,
    gross="0",
    settings=None,
    rules=None,
    multiplier=1.2,
    **directive,
):
    return size(
        side,
        confidence,
        edge,
        Decimal(price),
        Barriers(stop, stop * ratio),
        facts.policy(risk_multiplier=multiplier),
        facts.directive(**directive),
        Account(Decimal(equity), Decimal(available or equity), Decimal(gross)),
        rules or facts.rules(),
        settings or facts.settings(),
    )


def cents(amount: Decimal) -> str:
    return f"{amount:.2f}"


def test_the_worked_example_of_the_specification(facts):
    made = sized(facts)
    assert cents(made.risk_wanted_usd) == "241.11"
    assert f"{made.notional_wanted_usd:.0f}" == "11707"
    assert made.quantity == Decimal("0.0572")
    assert made.leverage == 30
    assert cents(made.margin_usd) == "166.67"
    assert made.clamped_by == ("RM_MAX_POSITION_USD",)


def test_at_0_85_the_risk_of_321_48_is_capped_to_267_90(facts):
    assert confidence_multiplier(0.85, facts.settings()) == 2.0
    uncapped = Decimal(8930) * Decimal("0.015") * Decimal("1.2") * 2
    assert cents(uncapped) == "321.48"
    made = sized(facts, confidence=0.85, edge=0.5)
    assert cents(made.risk_wanted_usd) == "267.90"
    assert made.clamped_by == ("RM_MAX_RISK_PCT", "RM_MAX_POSITION_USD")


@pytest.mark.parametrize(
    ("confidence", "multiplier"),
    [(0.0, 0.3), (0.599, 0.3), (0.60, 1.0), (0.699, 1.0), (0.70, 1.5), (0.849, 1.5), (0.85, 2.0), (1.0, 2.0)],
)
def test_confidence_bands(facts, confidence, multiplier):
    assert confidence_multiplier(confidence, facts.settings()) == multiplier


def test_the_outer_bands_are_variables(facts):
    settings = facts.settings(RM_HIGH_CONF_MULT=1.7, RM_LOW_CONF_MULT=0.1)
    assert (confidence_multiplier(0.9, settings), confidence_multiplier(0.1, settings)) == (1.7, 0.1)


def test_the_profile_and_the_variable_bound_the_risk_per_trade(facts):
    assert cents(sized(facts, settings=facts.settings("SAFE")).risk_wanted_usd) == "128.59"
    half = facts.settings(RM_RISK_PER_TRADE_PCT=0.0075)
    assert cents(sized(facts, settings=half).risk_wanted_usd) == "120.56"  # 120.555, half to even


def test_the_governor_shrinks_the_risk(facts):
    assert cents(sized(facts, size_multiplier=0.5).risk_wanted_usd) == "120.56"


def test_a_quarter_of_kelly_caps_the_risk(facts):
    made = sized(facts, edge=0.05)
    assert made.risk_wanted_usd == pytest.approx(Decimal(8930) * Decimal("0.25") * Decimal(0.05 / 1.14))
    assert "a quarter of Kelly" in made.clamped_by


def test_kelly_of_an_even_bet_is_the_difference_of_its_chances():
    assert kelly(0.6 - 0.4, 1.0) == pytest.approx(0.2)


@pytest.mark.parametrize("edge", [0.0, -0.1, float("nan")])
def test_no_edge_is_no_size(facts, edge):
    gate = sized(facts, edge=edge)
    assert (gate.name, gate.passed, gate.limit) == ("kelly", False, "> 0")


def test_a_multiplier_of_zero_is_no_size(facts):
    assert (sized(facts, size_multiplier=0.0).name, sized(facts, size_multiplier=0.0).transient) == ("risk", True)
    assert sized(facts, confidence=0.1, settings=facts.settings(RM_LOW_CONF_MULT=0)).name == "risk"


def test_a_tiny_size_is_raised_to_the_smallest_order(facts):
    made = sized(facts, equity="100", edge=0.05, confidence=0.5, multiplier=0.8, stop=0.03)
    assert made.clamped_by == ("raised to the smallest order",)
    assert made.notional_usd >= 20
    assert made.risk_usd <= Decimal(100) * Decimal("0.25") * Decimal("0.0439")


def test_a_raise_past_the_risk_cap_is_refused_with_that_reason(facts):
    gate = sized(facts, equity="50", stop=0.08, confidence=0.5)
    assert (gate.name, gate.value, gate.limit) == ("risk_cap", "4.20 %", "≤ 3.00 % of equity")
    assert gate.note == "the smallest order $26.22 would risk $2.10"
    assert not gate.transient


def test_the_exchanges_smallest_order_counts_too(facts):
    coarse = facts.rules(quantity_step=Decimal("0.001"), quantity_min=Decimal("0.001"))
    gate = sized(facts, equity="50", rules=coarse)
    assert gate.name == "risk_cap"
    assert "the smallest order $87.40" in gate.note


def test_the_gross_limit_leaves_what_is_left(facts):
    made = sized(facts, gross="43000")
    assert made.notional_usd <= 2000
    assert made.clamped_by == ("QT_MAX_GROSS_NOTIONAL",)
    profile = sized(facts, gross="9500", equity="1000", settings=facts.settings("SAFE"), available="1000")
    assert profile.notional_usd <= 500


def test_no_room_under_the_gross_limit_is_a_refusal_that_may_pass_later(facts):
    gate = sized(facts, gross="44990")
    assert (gate.name, gate.value, gate.limit, gate.transient) == (
        "gross_limit",
        "$10.00 left",
        "≥ $26.22 smallest order",
        True,
    )


def test_the_exchanges_market_maximum_bounds_the_quantity(facts):
    made = sized(facts, rules=facts.rules(market_quantity_max=Decimal("0.01")))
    assert made.quantity == Decimal("0.0100")


def test_available_margin_bounds_the_size_or_refuses_it(facts):
    made = sized(facts, available="100")
    assert made.margin_usd == Decimal(95)
    assert made.clamped_by[-1] == "available margin"
    gate = sized(facts, available="0.5")
    assert (gate.name, gate.value, gate.limit, gate.transient) == (
        "margin",
        "$0.50 available",
        "≥ $0.92 at 30×",
        True,
    )


def test_a_wide_stop_lowers_the_leverage_and_says_so(facts):
    made = sized(facts, stop=0.08)
    assert (made.leverage, made.leverage_wanted) == (9, 30)


def test_a_stop_beyond_liquidation_even_without_leverage_is_refused(facts):
    assert sized(facts, stop=0.85, ratio=0.5, confidence=1.0).name == "liquidation"


def test_without_a_leverage_table_nothing_is_sized(facts):
    assert sized(facts, rules=facts.rules(brackets=())).name == "size_limit"


@pytest.mark.parametrize(
    ("value", "step", "floor", "ceiling"),
    [("0.05729", "0.0001", "0.0572", "0.0573"), ("10", "5", "10", "10"), ("7.3", "0.5", "7.0", "7.5")],
)
def test_steps_round_exactly(value, step, floor, ceiling):
    assert floor_to(Decimal(value), Decimal(step)) == Decimal(floor)
    assert ceil_to(Decimal(value), Decimal(step)) == Decimal(ceiling)


@given(
    side=st.sampled_from(["BUY", "SELL"]),
    confidence=st.floats(0, 1),
    edge=st.floats(-0.2, 1.5),
    price=st.decimals("0.0005", "120000", places=4),
    stop=st.floats(0.001, 0.3),
    ratio=st.floats(0.4, 2.0),
    equity=st.decimals(10, 1_000_000, places=2),
    available=st.floats(0, 1),
    gross=st.decimals(0, 50_000, places=2),
    step=st.sampled_from(["0.0001", "0.001", "0.1", "1", "10"]),
    multiplier=st.floats(0.8, 1.5),
    governor=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    profile=st.sampled_from(["SAFE", "AGGRESSIVE", "NONE"]),
)
def test_whatever_is_sized_fits_every_limit(
    facts, side, confidence, edge, price, stop, ratio, equity, available, gross, step, multiplier, governor, profile
):
    settings = facts.settings(profile)
    rules = facts.rules(quantity_step=Decimal(step), quantity_min=Decimal(step))
    free = equity * Decimal(available)
    made = sized(
        facts,
        side=side,
        confidence=confidence,
        edge=edge,
        price=price,
        stop=stop,
        ratio=ratio,
        equity=equity,
        available=free or "0.0",
        gross=gross,
        settings=settings,
        rules=rules,
        multiplier=multiplier,
        size_multiplier=governor,
    )
    if isinstance(made, Gate):
        assert not made.passed
        return
    assert isinstance(made, Sized)
    assert made.quantity > 0
    assert made.quantity % rules.quantity_step == 0
    assert made.risk_usd <= equity * Decimal("0.03")
    assert made.risk_usd <= equity * Decimal(edge / ratio / 4) * Decimal("1.000000001")
    assert Decimal(20) <= made.notional_usd <= Decimal(5000)
    assert made.notional_usd + gross <= 45_000
    assert made.notional_usd + gross <= Decimal(settings.profile.gross_equity_multiple_max) * equity
    assert made.notional_usd >= rules.notional_min
    assert 1 <= made.leverage <= min(30, settings.profile.leverage_max)
    assert made.margin_usd <= free
    bracket = bracket_of(made.notional_usd, rules.brackets)
    distance = liquidation_distance(side, made.leverage, made.notional_usd, bracket)
    assert Decimal(stop) <= distance * LIQUIDATION_SHARE * Decimal("1.000000001")
