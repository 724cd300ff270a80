"""Every entry gate both ways: what passes, what is refused, and that what is not known is refused."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from qt_actors.decisions import gates
from qt_actors.decisions.barriers import Barriers
from qt_actors.messages.signals import Signal

replace = msgspec.structs.replace


def case_with(facts, **changes):
    """The good case with some facts replaced, each given as part__field."""
    case = facts.case()
    for name, value in changes.items():
        part, _, field = name.partition("__")
        if not field:
            case = replace(case, **{part: value})
        elif part in {"quote", "rules"}:
            inner = replace(getattr(case.symbol, part), **{field: value})
            case = replace(case, symbol=replace(case.symbol, **{part: inner}))
        elif part == "directive":
            case = replace(case, book=replace(case.book, directive=replace(case.book.directive, **{field: value})))
        else:
            case = replace(case, **{part: replace(getattr(case, part), **{field: value})})
    return case


@pytest.mark.parametrize("ask", gates.ENTRY_GATES, ids=lambda g: g.__name__)
def test_a_good_case_passes_every_gate_and_each_names_itself(facts, ask):
    gate = ask(facts.case())
    assert gate.passed, gate
    assert gate.name == ask.__name__
    assert gate.value
    assert gate.limit


REFUSED = [
    # gate          fact changed                                            value read
    (gates.warmup, {"signal__warmup": "25/120"}, "25/120"),
    (gates.freshness, {"signal__expires_ms": 1_700_000_060_000}, "60 s"),
    (gates.freshness, {"now_ms": 1_699_999_999_000}, "-1 s"),
    (gates.figures, {"signal__edge_r": float("inf"), "signal__volatility": float("nan")}, "edge, volatility unknown"),
    (gates.confidence, {"signal__confidence": 0.43}, "0.43"),
    (gates.confidence, {"signal__confidence": 0.4496}, "0.4496"),
    (gates.confidence, {"signal__confidence": float("nan")}, "unknown"),
    (gates.governor, {"directive__allow_trades": False}, "NORMAL"),
    (gates.governor, {"directive__allow_new_positions": False}, "NORMAL"),
    (gates.policy, {"policy__allow_trades": False}, "not allowed"),
    (gates.governor, {"book__directive": None}, "unknown"),
    (gates.cooldown, {"book__last_entry_ms": 1_700_000_000_000}, "60 s"),
    (gates.cooldown, {"book__last_entry_ms": None}, "unknown"),
    (gates.position, {"book__held": frozenset({"BTCUSDT"})}, "open position"),
    (gates.position, {"book__pending": frozenset({"BTCUSDT"})}, "entry under way"),
    (gates.position, {"book__held": None}, "unknown"),
    (gates.position, {"book__pending": None}, "unknown"),
    (gates.slots, {"book__held": frozenset("ABCDEF"), "book__pending": frozenset("GHIJ")}, "10"),
    (gates.slots, {"book__held": None}, "unknown"),
    (gates.account, {"book__equity_usd": None}, "equity unknown"),
    (gates.account, {"book__available_usd": None}, "available margin unknown"),
    (gates.account, {"book__gross_notional_usd": None}, "gross notional unknown"),
    (gates.account, {"book__equity_usd": Decimal(0)}, "equity $0.00"),
    (gates.rules, {"symbol__rules": None}, "unknown"),
    (gates.rules, {"rules__status": "SETTLING"}, "SETTLING"),
    (gates.rules, {"rules__brackets": ()}, "TRADING"),
    (gates.rules, {"rules__price_tick": Decimal(0)}, "TRADING"),
    (gates.quote, {"symbol__quote": None}, "no quote"),
    (gates.quote, {"quote__heard_ms": 1_700_000_044_999}, "15 s old"),
    (gates.quote, {"quote__ask_quantity": 0.0}, "empty book"),
    (gates.quote, {"quote__bid_quantity": float("nan")}, "empty book"),
    (gates.spread, {"symbol__quote": None}, "unknown"),
    (gates.spread, {"quote__bid": 86_900.0}, "57.4 bps"),
    (gates.mark_gap, {"symbol__quote": None}, "unknown"),
    (gates.mark_gap, {"quote__mark": 86_500.0}, "1.03 %"),
    (gates.stop, {"barriers": None}, "unknown"),
    (gates.drift, {"signal__close": 86_000.0}, "1.63 %"),
    (gates.drift, {"signal__close": 0.0}, "unknown"),
    (gates.drift, {"symbol__quote": None}, "unknown"),
    (gates.drift, {"barriers": None}, "0.00 %"),
    (gates.funding, {"quote__funding_rate": 0.0101}, "1.0100 %"),
    (gates.funding, {"quote__funding_rate": float("nan")}, "unknown"),
    (gates.funding, {"symbol__quote": None}, "unknown"),
    (gates.funding, {"symbol__rules": None}, "unknown"),
    (gates.funding, {"rules__funding_interval_hours": 0}, "unknown"),
]


@pytest.mark.parametrize(("ask", "changes", "value"), REFUSED, ids=lambda x: x.__name__ if callable(x) else None)
def test_a_gate_refuses_what_is_beyond_its_limit_or_not_known(facts, ask, changes, value):
    gate = ask(case_with(facts, **changes))
    assert not gate.passed
    assert gate.value == value


@pytest.mark.parametrize(
    ("ask", "changes"),
    [
        (gates.freshness, {"now_ms": 1_700_000_000_000}),
        (gates.freshness, {"now_ms": 1_700_003_599_999}),
        (gates.confidence, {"signal__confidence": 0.45}),
        (gates.cooldown, {"book__last_entry_ms": 1_699_999_940_000}),
        (gates.slots, {"book__held": frozenset("ABCDEFGHI")}),
        (gates.slots, {"book__held": frozenset("ABCDEFGHI"), "book__pending": frozenset("ABC")}),
        (gates.position, {"book__held": frozenset({"ETHUSDT"})}),
        (gates.quote, {"quote__heard_ms": 1_700_000_045_000}),
        (gates.quote, {"quote__heard_ms": 1_699_999_900_000, "book__quote_age_ms_max": 200_000}),
        (gates.mark_gap, {"quote__mark": 86_600.0}),
        (gates.drift, {"signal__close": 88_000.0}),
        (gates.funding, {"quote__funding_rate": 0.01}),
        (gates.funding, {"quote__funding_rate": -0.2}),
        (gates.funding, {"quote__funding_rate": 0.2, "side": "SELL"}),
    ],
    ids=lambda x: x.__name__ if callable(x) else None,
)
def test_a_gate_passes_at_its_limit(facts, ask, changes):
    gate = ask(case_with(facts, **changes))
    assert gate.passed, gate


def test_funding_is_normalised_so_that_an_hourly_rate_is_refused_at_an_eighth(facts):
    hourly = case_with(facts, rules__funding_interval_hours=1, quote__funding_rate=0.00126)
    assert gates.funding(hourly).value == "1.0080 %"
    assert not gates.funding(hourly).passed
    assert gates.funding(case_with(facts, rules__funding_interval_hours=4, quote__funding_rate=0.005)).passed


def test_what_may_change_within_the_bar_is_transient_and_what_may_not_is_not(facts):
    lasting = {"figures", "freshness", "confidence", "position", "rules", "stop", "funding"}
    for ask in gates.ENTRY_GATES:
        assert ask(facts.case()).transient == (ask.__name__ not in lasting), ask.__name__
    assert gates.position(case_with(facts, book__held=None)).transient
    assert gates.freshness(case_with(facts, now_ms=1_699_999_999_999)).transient


def signal_like(facts, action: str, agree: int, quorum: int) -> Signal:
    return facts.signal(action, agree=agree, active=4, quorum=quorum)


@pytest.mark.parametrize(
    ("action", "agree", "passed", "value"),
    [("BUY", 3, True, "3/4 BUY"), ("SELL", 2, False, "2/4 SELL"), ("HOLD", 4, False, "4/4 HOLD")],
)
def test_consensus_wants_a_side_and_its_quorum(facts, action, agree, passed, value):
    gate = gates.consensus(signal_like(facts, action, agree, 3))
    assert (gate.passed, gate.value, gate.limit) == (passed, value, "≥ 3 for BUY or SELL")


def test_low_confidence_may_pass_later_only_when_a_wide_spread_is_what_lacks(facts):
    narrow = case_with(facts, signal__confidence=0.44)
    wide = case_with(facts, signal__confidence=0.44, quote__bid=87_300.0)
    hopeless = case_with(facts, signal__confidence=0.39, quote__bid=87_300.0)
    assert [gates.confidence(c).transient for c in (narrow, wide, hopeless)] == [False, True, False]


def test_the_spread_limit_is_in_basis_points_of_the_middle(facts):
    gate = gates.spread(case_with(facts, quote__bid=99.75, quote__ask=100.25))
    assert (gate.passed, gate.value, gate.limit) == (True, "50.0 bps", "≤ 50 bps")


def test_drift_is_measured_against_half_of_the_stop(facts):
    gate = gates.drift(case_with(facts, barriers=Barriers(0.01, 0.01), signal__close=87_000.0))
    assert (gate.passed, gate.limit) == (True, "≤ 0.50 % from the bar's close")


def test_gate_names_are_a_closed_set_without_repeats():
    assert len(set(gates.GATE_NAMES)) == len(gates.GATE_NAMES)
    assert {"warmup", "consensus", "cost", "worst_case_loss"} <= set(gates.GATE_NAMES)
