"""Prices and quantities of one entry, on the symbol's ticks and steps."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qt_actors.decisions.barriers import Barriers
from qt_actors.decisions.plan import callback_pct, plan_entry, split
from qt_actors.decisions.sizing import Sized
from qt_actors.messages.policy import EntryPlan, Gate


def size_of(side="BUY", price="87400", quantity="0.0572", stop=0.020595, target=0.0235, clamped=()):
    price, quantity = Decimal(price), Decimal(quantity)
    return Sized(
        side=side,
        price=price,
        quantity=quantity,
        notional_usd=price * quantity,
        risk_usd=price * quantity * Decimal(stop),
        margin_usd=Decimal(0),
        leverage=10,
        leverage_wanted=10,
        risk_wanted_usd=Decimal(0),
        notional_wanted_usd=Decimal(0),
        barriers=Barriers(stop, target),
        clamped_by=clamped,
    )


def planned(facts, sized, rules=None, **variables) -> EntryPlan | Gate:
    return plan_entry(facts.signal(sized.side), sized, rules or facts.rules(), facts.settings(**variables), "BTCUSDT-1")


def test_a_long_has_its_stop_below_and_its_target_above(facts):
    plan = planned(facts, size_of("BUY"))
    assert plan.stop_price == Decimal("85600.0")
    assert plan.target_price == Decimal("89453.9")


def test_a_short_has_its_stop_above_and_its_target_below(facts):
    plan = planned(facts, size_of("SELL"))
    assert plan.stop_price == Decimal("89200.0")
    assert plan.target_price == Decimal("85346.1")


def test_half_is_taken_at_the_target_and_the_rest_trails(facts):
    plan = planned(facts, size_of())
    assert (plan.target_quantity, plan.trail_quantity) == (Decimal("0.0286"), Decimal("0.0286"))


@pytest.mark.parametrize(
    ("quantity", "share", "parts"),
    [
        ("0.0573", 0.5, ("0.0286", "0.0287")),
        ("0.0100", 0.8, ("0.0080", "0.0020")),
        ("0.0001", 0.5, ("0.0001", "0")),
        ("0.0002", 0.5, ("0.0001", "0.0001")),
        ("0.0002", 0.8, ("0.0001", "0.0001")),
    ],
)
def test_the_parts_are_on_step_and_add_up(facts, quantity, share, parts):
    made = split(Decimal(quantity), Decimal(87_400), facts.rules(), facts.settings(QT_PARTIAL_TP=share))
    assert made == (Decimal(parts[0]), Decimal(parts[1]))


def test_a_part_below_the_smallest_notional_is_not_split_off(facts):
    rules = facts.rules(notional_min=Decimal(100))
    assert split(Decimal("0.0020"), Decimal(87_400), rules, facts.settings()) == (Decimal("0.0020"), Decimal(0))
    assert split(Decimal("0.0024"), Decimal(87_400), rules, facts.settings())[1] == Decimal("0.0012")


@pytest.mark.parametrize(
    ("trail", "stop", "callback"),
    [(0.02, 0.03, "2.0"), (0.02, 0.0157, "1.5"), (0.001, 0.03, "0.1"), (0.02, 0.0005, "0.1"), (0.2, 0.5, "20.0")],
)
def test_the_trail_is_never_wider_than_the_stop_and_on_the_exchanges_steps(facts, trail, stop, callback):
    assert callback_pct(stop, facts.settings(QT_TRAIL_PCT=trail)) == Decimal(callback)


def test_a_tick_too_coarse_for_the_stop_is_refused(facts):
    gate = planned(
        facts, size_of(price="0.0123", quantity="100000", stop=0.01), facts.rules(price_tick=Decimal("0.0001"))
    )
    assert (gate.name, gate.value, gate.limit) == ("price_filter", "1 ticks", "≥ 2 ticks")


def test_prices_outside_the_exchanges_are_refused(facts):
    gate = planned(facts, size_of(), facts.rules(price_max=Decimal(89_000)))
    assert (gate.name, gate.passed) == ("price_filter", False)


def test_the_plan_says_what_clamped_it_and_when_it_expires(facts):
    plan = planned(facts, size_of(clamped=("RM_MAX_POSITION_USD", "available margin")))
    assert plan.clamped_by == "RM_MAX_POSITION_USD, available margin"
    assert plan.expires_ms == facts.close_ms + facts.hour_ms
    assert msgspec.json.decode(msgspec.json.encode(plan), type=EntryPlan) == plan


@given(
    side=st.sampled_from(["BUY", "SELL"]),
    price=st.decimals("0.001", "100000", places=3),
    stop=st.floats(0.002, 0.3),
    ratio=st.floats(0.4, 2.0),
    quantity=st.integers(1, 10_000_000),
    tick=st.sampled_from(["0.00001", "0.001", "0.1", "1"]),
)
def test_the_loss_at_the_stop_is_never_more_than_was_sized(facts, side, price, stop, ratio, quantity, tick):
    sized = size_of(side, price, quantity * Decimal("0.0001"), stop, stop * ratio)
    rules = facts.rules(price_tick=Decimal(tick), price_min=Decimal(0), price_max=Decimal(0))
    plan = planned(facts, sized, rules)
    if isinstance(plan, Gate):
        assert not plan.passed
        return
    long = side == "BUY"
    assert (plan.stop_price < price < plan.target_price) if long else (plan.stop_price > price > plan.target_price)
    assert plan.stop_price % rules.price_tick == plan.target_price % rules.price_tick == 0
    assert plan.risk_usd <= sized.notional_usd * Decimal(stop) * Decimal("1.000000001")
    assert plan.target_quantity + plan.trail_quantity == plan.quantity
    assert plan.target_quantity > 0
