"""The stop comes before liquidation, whatever the leverage."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qt_actors.decisions.leverage import (
    LIQUIDATION_SHARE,
    bracket_of,
    leverage_cap,
    liquidation_distance,
    maintenance_usd,
    safe_leverage,
)

SIDES = st.sampled_from(["BUY", "SELL"])


def test_the_row_of_the_table_is_found_by_notional(facts):
    low, high = facts.rules().brackets
    assert bracket_of(Decimal(50_000), facts.rules().brackets) == low
    assert bracket_of(Decimal(50_001), facts.rules().brackets) == high
    assert bracket_of(Decimal(600_001), facts.rules().brackets) is None
    assert bracket_of(Decimal(100), ()) is None


def test_maintenance_margin_has_no_step_between_the_rows(facts):
    low, high = facts.rules().brackets
    assert maintenance_usd(Decimal(50_000), low) == maintenance_usd(Decimal(50_000), high) == Decimal(200)


@pytest.mark.parametrize(
    ("side", "leverage", "distance"), [("BUY", 30, "0.0294511"), ("SELL", 30, "0.0292165"), ("BUY", 10, "0.0963855")]
)
def test_isolated_liquidation_is_where_binances_formula_puts_it(facts, side, leverage, distance):
    found = liquidation_distance(side, leverage, Decimal(5000), facts.rules().brackets[0])
    assert float(found) == pytest.approx(float(distance), abs=1e-7)


@pytest.mark.parametrize(
    ("stop", "leverage"),
    [("0.0206", 30), ("0.0236", 29), ("0.03", 24), ("0.08", 9), ("0.25", 3), ("0.9", None)],
)
def test_leverage_is_lowered_until_the_stop_fits_and_refused_when_it_never_does(facts, stop, leverage):
    bracket = facts.rules().brackets[0]
    assert safe_leverage("BUY", Decimal(stop), Decimal(5000), bracket, 30) == leverage


@given(side=SIDES, stop=st.decimals("0.001", "0.7", places=4), notional=st.decimals(20, 600_000, places=2))
def test_the_stop_uses_at_most_its_share_of_the_way_to_liquidation(facts, side, stop, notional):
    bracket = bracket_of(notional, facts.rules().brackets)
    leverage = safe_leverage(side, stop, notional, bracket, 125)
    if leverage is not None:
        assert 1 <= leverage <= 125
        distance = liquidation_distance(side, leverage, notional, bracket)
        assert stop <= distance * LIQUIDATION_SHARE + Decimal("1e-20")


@pytest.mark.parametrize(
    ("profile", "default", "multiplier", "row", "cap"),
    [
        ("AGGRESSIVE", 30, 1.0, 0, 30),
        ("SAFE", 30, 1.0, 0, 10),
        ("SAFE", 5, 1.0, 0, 5),
        ("SAFE", 30, 0.5, 0, 5),
        ("AGGRESSIVE", 30, 0.75, 0, 22),
        ("AGGRESSIVE", 30, 1.0, 1, 20),
        ("SAFE", 30, 0.05, 0, 1),
        ("SAFE", 30, 3.0, 0, 10),
    ],
)
def test_the_tightest_of_default_profile_governor_and_exchange_caps_the_leverage(
    facts, profile, default, multiplier, row, cap
):
    settings = facts.settings(profile, QT_DEFAULT_LEVERAGE=default)
    assert leverage_cap(settings, multiplier, facts.rules().brackets[row]) == cap
