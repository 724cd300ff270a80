"""From a signal to one decision, with every gate in it."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qt_actors.decisions import chain
from qt_actors.decisions.facts import BookFacts, SymbolFacts, quote_at
from qt_actors.decisions.gates import ENTRY_GATES, GATE_NAMES
from qt_actors.decisions.performance import Performance
from qt_actors.messages.market import QuotesUpdated
from qt_actors.messages.policy import Decision
from qt_actors.messages.signals import Signals

replace = msgspec.structs.replace


def decided(facts, signal=None, symbol=None, book=None, settings=None, now_ms=None):
    return chain.decide(
        signal or facts.signal(),
        symbol or facts.symbol(),
        book or facts.book(),
        settings or facts.settings(),
        now_ms or facts.now_ms,
        trace="t1",
    )


def test_a_good_signal_becomes_a_plan_with_every_gate_passed(facts):
    made = decided(facts)
    assert (made.verdict, made.gate, made.action, made.trace) == ("admitted", "", "BUY", "t1")
    assert made.decision_id == made.plan.decision_id == f"BTCUSDT-{facts.close_ms}"
    wanted = ["warmup", "consensus", *(g.__name__ for g in ENTRY_GATES), "size", "liquidation", "cost"]
    assert [g.name for g in made.gates] == wanted
    assert all(g.passed for g in made.gates)
    assert (made.plan.price, made.plan.side) == (Decimal("87400.0"), "BUY")


def test_a_short_is_priced_at_the_bid(facts):
    made = decided(facts, facts.signal("SELL"))
    assert (made.plan.price, made.plan.side) == (Decimal("87399.9"), "SELL")
    assert made.plan.stop_price > made.plan.price > made.plan.target_price


def test_the_worked_example_goes_all_the_way(facts):
    made = decided(facts, facts.signal(regime="TRENDING", edge_r=0.3))
    assert made.plan.quantity == Decimal("0.0572")
    assert made.plan.clamped_by == "RM_MAX_POSITION_USD"
    size = next(g for g in made.gates if g.name == "size")
    assert size.limit == "wanted $11,707.23, risk $241.11"


def test_a_hold_is_one_decision_with_the_consensus_it_lacks(facts):
    made = decided(facts, facts.signal("HOLD", agree=2))
    assert (made.verdict, made.gate, made.plan) == ("hold", "", None)
    assert [(g.name, g.value, g.limit) for g in made.gates] == [("consensus", "2/4 HOLD", "≥ 3 for BUY or SELL")]


def test_a_hold_of_a_young_symbol_says_how_young(facts):
    made = decided(facts, facts.signal("HOLD", warmup="25/120"))
    assert [(g.name, g.value) for g in made.gates] == [("warmup", "25/120")]


def test_the_first_gate_that_fails_names_the_decision_and_the_others_are_asked_all_the_same(facts):
    book = facts.book(last_entry_ms=facts.now_ms, held=frozenset({"BTCUSDT"}))
    made = decided(facts, facts.signal(confidence=0.4), book=book)
    assert (made.verdict, made.gate, made.plan) == ("denied", "confidence", None)
    assert [g.name for g in made.gates if not g.passed] == ["confidence", "cooldown", "position"]
    assert {"size", "cost"} <= {g.name for g in made.gates}


def test_an_edge_that_does_not_cover_its_cost_is_refused_by_cost(facts):
    made = decided(facts, facts.signal(edge_r=0.04))
    assert made.gate == "cost"
    cost = next(g for g in made.gates if g.name == "cost")
    assert (cost.value, cost.limit) == ("0.130 %", "< 0.082 % expected edge")


def test_the_exposure_already_there_bounds_the_size(facts):
    assert decided(facts, book=facts.book(gross_notional_usd=Decimal(44_990))).gate == "gross_limit"
    assert decided(facts, book=facts.book(gross_notional_usd=Decimal(43_000))).plan.notional_usd <= 2000
    assert decided(facts, book=facts.book(available_usd=Decimal("0.5"))).gate == "margin"


def test_leverage_that_the_stop_leaves_alone_needs_no_note(facts):
    assert next(g.note for g in decided(facts).gates if g.name == "liquidation") == ""


def test_a_signal_without_edge_is_refused_by_kelly(facts):
    assert decided(facts, facts.signal(edge_r=-0.01)).gate == "kelly"


def test_percent_mode_sizes_on_the_percentages_and_adds_no_edge(facts):
    made = decided(facts, settings=facts.settings(QT_STOP_MODE="percent"))
    assert made.plan.stop_pct == pytest.approx(0.0724)
    assert made.plan.leverage == 10
    note = next(g.note for g in made.gates if g.name == "liquidation")
    assert note == "lowered from 30× so that the stop comes first"
    limit = next(g.limit for g in made.gates if g.name == "cost")
    assert limit == "< 0.412 % expected edge"


SYMBOL_FIELDS = list(SymbolFacts.__struct_fields__)
BOOK_FIELDS = ["directive", "equity_usd", "available_usd", "gross_notional_usd", "held", "pending", "last_entry_ms"]


@pytest.mark.parametrize("field", SYMBOL_FIELDS)
def test_a_symbol_fact_that_is_not_known_denies(facts, field):
    assert decided(facts, symbol=facts.without(facts.symbol(), field)).verdict == "denied"


@pytest.mark.parametrize("field", BOOK_FIELDS)
def test_a_book_fact_that_is_not_known_denies(facts, field):
    assert decided(facts, book=facts.without(facts.book(), field)).verdict == "denied"


def test_every_book_fact_that_can_be_unknown_is_in_that_list():
    nullable = [f.name for f in msgspec.structs.fields(BookFacts) if "None" in str(f.type)]
    assert nullable == BOOK_FIELDS


def test_a_stop_distance_that_is_not_a_number_denies(facts):
    made = decided(facts, symbol=facts.symbol(stop_distance=float("nan")))
    assert (made.verdict, made.gate) == ("denied", "stop")


def test_a_decision_survives_being_written_down(facts):
    made = decided(facts)
    assert msgspec.json.decode(msgspec.json.encode(made), type=Decision) == made


@pytest.mark.parametrize(
    ("changes", "later"),
    [
        ({"last_entry_ms": 1_700_000_000_000}, True),
        ({"held": frozenset({"BTCUSDT"})}, False),
        ({"last_entry_ms": 1_700_000_000_000, "held": frozenset({"BTCUSDT"})}, False),
        ({}, False),
    ],
)
def test_a_denied_decision_may_pass_later_when_all_that_failed_may_change(facts, changes, later):
    assert chain.may_pass_later(decided(facts, book=facts.book(**changes))) == later


def test_the_best_edge_is_proposed_first_and_only_what_has_a_plan(facts):
    made = [
        decided(facts, facts.signal(symbol=name, edge_r=edge, action=action))
        for name, edge, action in (
            ("AUSDT", 0.2, "BUY"),
            ("BUSDT", 0.3, "SELL"),
            ("CUSDT", 0.2, "BUY"),
            ("DUSDT", 0.9, "HOLD"),
            ("EUSDT", 0.001, "BUY"),
        )
    ]
    assert [d.symbol for d in chain.best_first(made)] == ["BUSDT", "AUSDT", "CUSDT"]


def test_every_signal_ends_in_exactly_one_decision_in_order(facts):
    names = ("BTCUSDT", "ETHUSDT", "XUSDT")
    signals = Signals(
        close_time_ms=facts.close_ms,
        symbols=names,
        signals=(facts.signal(), facts.signal("HOLD", symbol="ETHUSDT"), facts.signal(symbol="XUSDT")),
    )
    made = chain.decide_all(signals, {"BTCUSDT": facts.symbol()}, facts.book(), facts.settings(), facts.now_ms)
    assert [(d.symbol, d.verdict) for d in made] == list(zip(names, ("admitted", "hold", "denied"), strict=True))
    assert made[2].gate == "policy"
    assert next(g.note for g in made[2].gates if g.name == "policy") == "the symbol's record is not known"


def quotes(**changes):
    one = {"bid": 99.0, "ask": 101.0, "mark": 100.0, "bid_quantity": 1.0, "ask_quantity": 2.0, "funding_rate": 0.0001}
    arrays = {name: np.array([value]) for name, value in {**one, **changes}.items()}
    times = np.array([5], dtype=np.int64)
    return QuotesUpdated(now_ms=6, symbols=("BTCUSDT",), next_funding_ms=times, heard_ms=times, **arrays)


def test_a_quote_is_read_whole():
    quote = quote_at(quotes(), 0)
    assert (quote.mid, quote.heard_ms, quote.touch("BUY"), quote.touch("SELL")) == (100.0, 5, 101.0, 99.0)
    assert (quote.touch_quantity("BUY"), quote.touch_quantity("SELL")) == (2.0, 1.0)
    assert quote.spread_bps == pytest.approx(200)


@pytest.mark.parametrize(
    "changes",
    [{"bid": float("nan")}, {"ask": float("nan")}, {"mark": float("nan")}, {"bid": 0.0}, {"ask": 98.0}, {"mark": 0.0}],
)
def test_a_quote_that_makes_no_sense_is_none(changes):
    assert quote_at(quotes(**changes), 0) is None


@given(
    action=st.sampled_from(["BUY", "SELL"]),
    confidence=st.floats(0, 1),
    edge=st.floats(-0.5, 1),
    regime=st.sampled_from(["TRENDING", "RANGING", "NORMAL"]),
    stop=st.floats(0.001, 0.2),
    spread=st.floats(0.1, 900),
    depth=st.floats(0.001, 50),
    funding=st.floats(-0.02, 0.02),
    equity=st.decimals(50, 100_000, places=2),
    gross=st.decimals(0, 46_000, places=2),
    streak=st.integers(0, 10),
    level=st.sampled_from([(1.0, 1.0), (0.5, 0.75), (0.25, 0.5)]),
    profile=st.sampled_from(["SAFE", "AGGRESSIVE", "NONE"]),
)
def test_a_plan_never_risks_more_than_the_cap_and_a_denial_always_names_a_gate(
    facts, action, confidence, edge, regime, stop, spread, depth, funding, equity, gross, streak, level, profile
):
    quote = facts.quote(
        bid=87_400.0 - spread, ask=87_400.0, bid_quantity=depth, ask_quantity=depth, mark=87_400.0, funding_rate=funding
    )
    word = facts.directive(equity_usd=equity, size_multiplier=level[0], leverage_multiplier=level[1])
    made = decided(
        facts,
        facts.signal(action, confidence=confidence, edge_r=edge, regime=regime),
        facts.symbol(quote=quote, stop_distance=stop, performance=Performance(losing_streak=streak)),
        facts.book(directive=word, equity_usd=equity, available_usd=equity, gross_notional_usd=gross),
        facts.settings(profile),
    )
    assert {g.name for g in made.gates} <= set(GATE_NAMES)
    assert len({g.name for g in made.gates}) == len(made.gates)
    if made.verdict == "denied":
        assert made.plan is None
        assert made.gate == next(g.name for g in made.gates if not g.passed)
        return
    assert made.verdict == "admitted"
    assert made.plan.risk_usd <= equity * Decimal("0.03")
    assert made.plan.quantity % Decimal("0.0001") == 0
    assert made.plan.notional_usd + gross <= 45_000
    assert made.signal.confidence >= 0.30
