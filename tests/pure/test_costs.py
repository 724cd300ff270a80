"""What a round trip costs."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qt_actors.decisions.costs import Costs, cost_gate, costs_of, impact_of


def test_an_order_that_the_touch_holds_has_no_impact():
    assert impact_of(5.0, 5.0, 0.001) == 0.0


def test_an_order_of_nine_touches_pays_four_half_spreads_more():
    assert impact_of(9.0, 1.0, 0.0001) == pytest.approx(0.0004)


def test_an_empty_touch_costs_as_much_as_the_exchange_lets_a_market_order_pay():
    assert impact_of(1.0, 0.0, 0.0001) == 0.05


@given(quantity=st.floats(0.001, 1e6), more=st.floats(1.0, 10.0), touch=st.floats(0.001, 1e6))
def test_a_larger_order_never_costs_less(quantity, more, touch):
    assert impact_of(quantity * more, touch, 0.0005) >= impact_of(quantity, touch, 0.0005)


def test_all_four_costs_of_a_round_trip_are_counted(facts):
    quote = facts.quote(bid=99.95, ask=100.05, bid_quantity=1.0, ask_quantity=5.0, funding_rate=0.0001)
    costs = costs_of("BUY", Decimal(5), quote, 8, facts.settings(), 0.0005)
    assert costs.spread == pytest.approx(0.001)
    assert costs.impact == pytest.approx(2 * 0.0005)
    assert costs.fees == pytest.approx(0.001)
    assert costs.funding == pytest.approx(0.0003)
    assert costs.total == pytest.approx(0.0033)


def test_an_edge_above_the_costs_passes_and_one_at_the_costs_is_refused():
    costs = Costs(0.0001, 0.0, 0.001, 0.0)
    assert cost_gate(costs, 0.0012).passed
    assert not cost_gate(costs, costs.total).passed


def test_a_cost_or_an_edge_that_is_not_a_number_is_refused():
    assert not cost_gate(Costs(0.0001, 0.0, 0.001, float("nan")), 0.01).passed
    assert not cost_gate(Costs(0.0001, 0.0, 0.001, 0.0), float("nan")).passed


def test_the_gate_reads_as_a_sentence_of_figures():
    gate = cost_gate(Costs(0.0001, 0.0002, 0.001, 0.0003), 0.0021)
    assert (gate.value, gate.limit) == ("0.160 %", "< 0.210 % expected edge")
    assert gate.note == "spread 0.010 %, impact 0.020 %, fees 0.100 %, funding 0.030 %"
