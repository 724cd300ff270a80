"""The book's worst case with one more trade in it."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qt_actors.decisions.admission import admission_gates, admit, holding_loss, plan_loss, worst_case_loss
from qt_actors.decisions.chain import with_admission

replace = msgspec.structs.replace


def asked(facts, book=None, plan=None, now_ms=None, **variables):
    rules = {s: facts.rules(s) for s in ("BTCUSDT", "ETHUSDT", "SOLUSDT")}
    return admission_gates(
        facts.proposed(plan), book or facts.holdings_book(), rules, facts.settings(**variables), now_ms or facts.now_ms
    )


def refused_by(gates):
    return [g.name for g in gates if not g.passed]


def test_a_good_entry_into_an_empty_book_passes_every_gate(facts):
    assert refused_by(asked(facts)) == []
    gate = admit(facts.proposed(), facts.holdings_book(), {"BTCUSDT": facts.rules()}, facts.settings(), facts.now_ms)
    assert (gate.name, gate.passed) == ("worst_case_loss", True)


def test_a_plan_loses_to_its_stop_the_gap_both_fees_and_funding(facts):
    plan = facts.plan(quantity=Decimal(1), price=Decimal(1000), stop_price=Decimal(980), notional_usd=Decimal(1000))
    assert plan_loss(plan) == Decimal(20) + 5 + 1 + 1


def test_a_holding_loses_from_the_mark_and_pays_one_fee(facts):
    assert holding_loss(facts.holding()) == Decimal(60) + 15 + Decimal("1.5") + 3
    assert holding_loss(facts.holding(side="SELL")) == Decimal(60) + 15 + Decimal("1.5") + 3


def test_a_stop_already_passed_still_loses_the_gap_and_never_counts_as_a_gain(facts):
    passed = facts.holding(mark_price=Decimal(2900))
    assert holding_loss(passed) == Decimal(2900) * Decimal("0.0065")


@pytest.mark.parametrize(
    ("changes", "gate", "value"),
    [
        ({"directive": None}, "governor", "unknown"),
        ({"last_entry_ms": 1_700_000_000_000}, "cooldown", "60 s"),
        ({"last_entry_ms": None}, "cooldown", "unknown"),
        ({"available_usd": None}, "margin", "unknown"),
        ({"available_usd": Decimal(100)}, "margin", "$145.67"),
        ({"holdings": None}, "position", "unknown"),
    ],
)
def test_what_the_account_does_not_allow_or_does_not_tell_is_refused(facts, changes, gate, value):
    answers = asked(facts, facts.holdings_book(**changes))
    assert refused_by(answers)[0] == gate
    assert next(g.value for g in answers if g.name == gate) == value


def test_a_directive_that_forbids_entries_is_obeyed(facts):
    word = facts.directive(allow_new_positions=False, reason="5 losses in a row of 5")
    gate = next(g for g in asked(facts, facts.holdings_book(directive=word)) if not g.passed)
    assert (gate.name, gate.note) == ("governor", "5 losses in a row of 5")


def test_a_symbol_already_held_or_reserved_is_refused_for_good(facts):
    held = asked(facts, facts.holdings_book(holdings=(facts.holding("BTCUSDT"),)))
    reserved = asked(facts, facts.holdings_book(reserved=(facts.plan(),)))
    for answers in (held, reserved):
        gate = next(g for g in answers if g.name == "position")
        assert (gate.passed, gate.value, gate.transient) == (False, "taken", False)


def test_positions_and_reserved_entries_share_the_slots(facts):
    book = facts.holdings_book(holdings=(facts.holding(),), reserved=(facts.plan(symbol="SOLUSDT"),))
    assert "slots" not in refused_by(asked(facts, book, QT_MAX_POSITIONS=3))
    assert "slots" in refused_by(asked(facts, book, QT_MAX_POSITIONS=2))


def test_gross_counts_positions_reserved_entries_and_this_one(facts):
    book = facts.holdings_book(
        holdings=(facts.holding(quantity=Decimal(12)),), reserved=(facts.plan(symbol="SOLUSDT"),)
    )
    gate = next(g for g in asked(facts, book) if g.name == "gross_limit")
    assert (gate.passed, gate.value, gate.limit) == (True, "$44,740.00", "≤ $45,000.00")
    fuller = replace(book, holdings=(facts.holding(quantity=Decimal("12.1")),))
    assert "gross_limit" in refused_by(asked(facts, fuller))


def test_an_open_position_without_a_stop_lets_nothing_in(facts):
    answers = asked(facts, facts.holdings_book(holdings=(facts.holding(stop_price=None),)))
    assert {"protection", "worst_case_loss"} <= set(refused_by(answers))
    assert next(g.value for g in answers if g.name == "protection") == "without stop: ETHUSDT"


def test_the_worst_case_must_fit_into_what_is_left_of_the_day(facts):
    plan = facts.plan()
    needed = plan_loss(plan)
    enough = facts.directive(daily_pnl_usd=needed - Decimal("446.50"))
    short = facts.directive(daily_pnl_usd=needed - Decimal("446.51"))
    assert refused_by(asked(facts, facts.holdings_book(directive=enough), plan)) == []
    assert refused_by(asked(facts, facts.holdings_book(directive=short), plan)) == ["worst_case_loss"]


def test_every_holding_and_reserved_entry_is_in_the_worst_case(facts):
    plan, other = facts.plan(), facts.plan(symbol="SOLUSDT")
    book = facts.holdings_book(holdings=(facts.holding(), facts.holding("SOLUSDT", "SELL")), reserved=(other,))
    holding = holding_loss(facts.holding())
    assert worst_case_loss(book, plan) == plan_loss(plan) + plan_loss(other) + 2 * holding


def test_a_book_that_would_be_liquidated_before_its_stops_is_refused(facts):
    word = facts.directive(equity_usd=Decimal(300), daily_loss_limit_usd=Decimal(290))
    held = facts.holding(quantity=Decimal(10), stop_price=Decimal(2999))
    book = facts.holdings_book(directive=word, holdings=(held,))
    assert "account_liquidation" in refused_by(asked(facts, book, profile="NONE"))


def test_what_is_left_after_the_worst_case_must_be_more_than_the_maintenance_margin(facts):
    plan = facts.plan()
    edge = plan_loss(plan) + plan.notional_usd * Decimal("0.004")
    book = facts.holdings_book(directive=facts.directive(equity_usd=edge))
    assert "account_liquidation" in refused_by(asked(facts, book, plan))
    richer = facts.holdings_book(directive=facts.directive(equity_usd=edge + Decimal("0.01")))
    assert "account_liquidation" not in refused_by(asked(facts, richer, plan))


def test_a_holding_whose_leverage_table_is_not_known_refuses(facts):
    answers = asked(facts, facts.holdings_book(holdings=(facts.holding("XRPUSDT"),)))
    assert refused_by(answers) == ["account_liquidation"]


def test_an_expired_plan_is_refused_for_good(facts):
    gate = asked(facts, now_ms=facts.close_ms + facts.hour_ms)[0]
    assert (gate.name, gate.passed, gate.transient) == ("expiry", False, False)


def test_a_decision_without_a_plan_is_a_bug_not_a_refusal(facts):
    with pytest.raises(ValueError, match="has no plan to admit"):
        admit(replace(facts.proposed(), plan=None), facts.holdings_book(), {}, facts.settings(), facts.now_ms)


def test_a_refused_decision_is_denied_by_its_first_gate_and_keeps_all_answers(facts):
    answers = asked(facts, facts.holdings_book(available_usd=None, directive=None))
    made = with_admission(facts.proposed(), answers, facts.now_ms + 5)
    assert (made.verdict, made.gate, made.plan, made.decided_ms) == ("denied", "governor", None, facts.now_ms + 5)
    assert made.gates == answers


def test_an_admitted_decision_keeps_its_plan_and_each_gate_once(facts):
    decision = facts.proposed()
    earlier = replace(decision, gates=(answers := asked(facts))[1:3])
    made = with_admission(earlier, answers, facts.now_ms)
    assert (made.verdict, made.gate, made.plan) == ("admitted", "", decision.plan)
    assert made.gates == answers


AMOUNTS = st.decimals("0.01", 20, places=2)


@given(
    quantities=st.lists(AMOUNTS, max_size=5),
    pnl=st.decimals(-2000, 500, places=2),
    limit=st.decimals(50, 1500, places=2),
    plan_quantity=st.decimals("0.001", "0.05", places=4),
)
def test_whatever_is_admitted_keeps_the_day_within_its_limit_when_every_stop_is_hit(
    facts, quantities, pnl, limit, plan_quantity
):
    word = facts.directive(daily_pnl_usd=pnl, daily_loss_limit_usd=limit)
    held = tuple(facts.holding(f"H{i}USDT", quantity=q) for i, q in enumerate(quantities))
    book = facts.holdings_book(directive=word, holdings=held, available_usd=Decimal(100_000))
    plan = facts.plan(quantity=plan_quantity, notional_usd=plan_quantity * 87_400)
    rules = {h.symbol: facts.rules(h.symbol) for h in held} | {"BTCUSDT": facts.rules()}
    gates = admission_gates(facts.proposed(plan), book, rules, facts.settings(), facts.now_ms)
    if not refused_by(gates):
        at_stops = sum((h.quantity * (h.mark_price - h.stop_price) for h in held), Decimal(0))
        at_stops += plan.quantity * (plan.price - plan.stop_price)
        assert -pnl + at_stops <= limit
