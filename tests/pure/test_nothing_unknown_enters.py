"""A fact that is no number, or makes no sense, never enters a position and never breaks the chain that asks for it."""

from __future__ import annotations

from decimal import Decimal
from math import inf, nan

import pytest

from qt_actors.decisions.admission import admission_gates
from qt_actors.decisions.chain import best_first, decide

SIGNAL = ("confidence", "p_win", "edge_r", "tp_pct", "sl_pct", "close", "volatility", "volatility_rank")
QUOTE = ("bid", "ask", "bid_quantity", "ask_quantity", "mark", "funding_rate")
NO_RULES = (
    *((field, Decimal(value)) for field in ("price_tick", "quantity_step") for value in ("NaN", "0", "-1")),
    *((field, Decimal(value)) for field in ("quantity_min", "notional_min") for value in ("NaN", "Infinity", "-1")),
    *(("market_quantity_max", Decimal(value)) for value in ("NaN", "0", "-1")),
)
MONEY = ("equity_usd", "available_usd", "gross_notional_usd")


def verdict(facts, signal=None, symbol=None, book=None):
    return decide(
        signal or facts.signal(), symbol or facts.symbol(), book or facts.book(), facts.settings(), facts.now_ms
    ).verdict


def test_the_good_case_is_admitted(facts):
    assert verdict(facts) == "admitted"


@pytest.mark.parametrize("value", [nan, inf, -inf])
@pytest.mark.parametrize("field", SIGNAL)
def test_a_signal_with_a_figure_that_is_no_number_is_denied(facts, field, value):
    assert verdict(facts, signal=facts.signal(**{field: value})) == "denied"


@pytest.mark.parametrize("value", [nan, inf, -inf])
@pytest.mark.parametrize("field", QUOTE)
def test_a_quote_with_a_figure_that_is_no_number_is_denied(facts, field, value):
    symbol = facts.symbol(quote=facts.quote(**{field: value}))
    assert verdict(facts, symbol=symbol) == "denied"


@pytest.mark.parametrize("value", [nan, inf, -inf, 0.0, -0.01])
def test_a_stop_distance_that_makes_no_sense_is_denied(facts, value):
    assert verdict(facts, symbol=facts.symbol(stop_distance=value)) == "denied"


@pytest.mark.parametrize(("field", "value"), NO_RULES)
def test_rules_that_make_no_sense_are_denied(facts, field, value):
    assert verdict(facts, symbol=facts.symbol(rules=facts.rules(**{field: value}))) == "denied"


@pytest.mark.parametrize("field", MONEY)
def test_an_account_with_a_figure_that_is_no_number_is_denied(facts, field):
    assert verdict(facts, book=facts.book(**{field: Decimal("NaN")})) == "denied"


@pytest.mark.parametrize("field", ["size_multiplier", "leverage_multiplier"])
def test_a_directive_with_a_multiplier_that_is_no_number_is_denied(facts, field):
    assert verdict(facts, book=facts.book(directive=facts.directive(**{field: nan}))) == "denied"


def test_the_best_come_first_whatever_stands_beside_them(facts):
    made = [
        decide(facts.signal(symbol=s, edge_r=e), facts.symbol(), facts.book(), facts.settings(), facts.now_ms)
        for s, e in (("AUSDT", 0.2), ("BUSDT", nan), ("CUSDT", 0.3))
    ]
    assert [d.symbol for d in best_first(made)] == ["CUSDT", "AUSDT"]


@pytest.mark.parametrize(
    "broken",
    [
        {"stop_price": Decimal(89_000)},
        {"stop_price": Decimal(87_400)},
        {"side": "SELL"},
        {"quantity": Decimal(0)},
        {"quantity": Decimal("NaN")},
        {"notional_usd": Decimal(-1)},
        {"leverage": 0},
    ],
)
def test_a_plan_whose_loss_cannot_be_measured_is_not_admitted(facts, broken):
    decision = facts.proposed(facts.plan(**broken))
    rules = {"BTCUSDT": facts.rules()}
    gates = admission_gates(decision, facts.holdings_book(), rules, facts.settings(), facts.now_ms)
    assert [g.name for g in gates if not g.passed] == ["plan"]
