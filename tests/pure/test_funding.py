"""Funding, normalised to eight hours."""

from __future__ import annotations

import pytest

from qt_actors.decisions.funding import expected_funding, expected_hold_hours, paid_per_8h


@pytest.mark.parametrize(
    ("side", "rate", "interval", "paid"),
    [
        ("BUY", 0.001, 8, 0.001),
        ("SELL", 0.001, 8, -0.001),
        ("BUY", -0.001, 8, -0.001),
        ("SELL", -0.001, 8, 0.001),
        ("BUY", 0.001, 4, 0.002),
        ("BUY", 0.001, 1, 0.008),
    ],
)
def test_what_a_side_pays_is_normalised_by_the_symbols_own_interval(side, rate, interval, paid):
    assert paid_per_8h(side, rate, interval) == pytest.approx(paid)


def test_a_trade_is_expected_to_last_half_of_its_time_barrier():
    assert expected_hold_hours(3_600_000, 48) == pytest.approx(24)
    assert expected_hold_hours(900_000, 48) == pytest.approx(6)


def test_funding_is_paid_over_the_hold_and_income_is_not_counted_on():
    assert expected_funding("BUY", 0.0001, 8, 24) == pytest.approx(0.0003)
    assert expected_funding("BUY", 0.0001, 1, 24) == pytest.approx(0.0024)
    assert expected_funding("SELL", 0.0001, 8, 24) == 0.0
