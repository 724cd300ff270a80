"""Target and stop distances, and the edge they leave."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qt_actors.decisions.barriers import LABEL_RATIO, Barriers, barriers_of, edge_fraction, edge_in_stops, percentages

SHARES = st.floats(0.0, 1.0)


@pytest.mark.parametrize(
    ("confidence", "tp_pct", "sl_pct"),
    [(0.45, 0.06, 0.08), (0.83, 0.0828, 0.0724), (1.0, 0.093, 0.069), (0.0, 0.033, 0.089)],
)
def test_percentages_are_those_of_the_specification(facts, confidence, tp_pct, sl_pct):
    assert percentages(confidence, facts.settings()) == pytest.approx((tp_pct, sl_pct))


def test_the_atr_stop_is_placed_and_the_target_keeps_the_ratio(facts):
    placed = barriers_of(0.0828, 0.0724, 0.0206, facts.settings())
    assert placed.stop_pct == 0.0206
    assert placed.ratio == pytest.approx(0.0828 / 0.0724)


def test_the_atr_stop_is_never_wider_than_the_percentage(facts):
    placed = barriers_of(0.0828, 0.0724, 0.20, facts.settings())
    assert (placed.stop_pct, placed.target_pct) == pytest.approx((0.0724, 0.0828))


def test_percent_mode_places_the_percentages(facts):
    assert barriers_of(0.0828, 0.0724, 0.0206, facts.settings(QT_STOP_MODE="percent")) == Barriers(0.0724, 0.0828)


@pytest.mark.parametrize("mode", ["atr", "percent"])
@pytest.mark.parametrize("unknown", [None, float("nan"), 0.0, -0.01])
def test_no_stop_is_placed_when_the_atr_is_not_known(facts, mode, unknown):
    assert barriers_of(0.06, 0.08, unknown, facts.settings(QT_STOP_MODE=mode)) is None


def test_the_labels_were_made_with_the_barriers_that_are_placed(facts):
    labels = pytest.importorskip("models.labels").Barriers()
    settings = facts.settings()
    tp_pct, sl_pct = percentages(0.45, settings)
    assert labels.target_ratio == LABEL_RATIO == pytest.approx(tp_pct / sl_pct)
    assert (labels.stop_max, labels.horizon_bars) == (settings.sl_pct, settings.holding_bars_max)


def test_with_one_to_one_barriers_the_edge_is_the_difference_of_the_chances():
    assert edge_in_stops(0.5, 0.4, 1.0, label_ratio=1.0) == pytest.approx(0.1)


def test_a_fair_game_has_no_edge_at_any_ratio():
    """Target 0.75, stop 1, no time barrier: each side alone wins 0.429 of the time, both win the rest."""
    long_wins = 1 / 1.75
    both = 2 * long_wins - 1
    alone = long_wins - both
    assert edge_in_stops(alone, alone, 1.14) == 0.0
    assert alone * 0.75 - alone + both * 0.75 == pytest.approx(0.0)


@given(drift=st.floats(-0.3, 0.3), ratio=st.floats(0.3, 1.0))
def test_the_edge_is_the_expectation_of_a_drifting_path_between_the_barriers(drift, ratio):
    """Exact chances of hitting target or stop first, for a path that drifts by ``drift`` standard deviations a stop."""
    long_wins, short_wins = first_passage(drift, ratio), first_passage(-drift, ratio)
    both = max(0.0, long_wins + short_wins - 1)
    expected = long_wins * ratio - (1 - long_wins)
    found = edge_in_stops(long_wins - both, short_wins - both, ratio, label_ratio=ratio)
    assert found == pytest.approx(expected, abs=0.03 * abs(drift) + 1e-9)


def first_passage(drift: float, ratio: float) -> float:
    """Chance that a Brownian path with this drift reaches +ratio before -1 (scale function of the path)."""
    if abs(drift) < 1e-9:
        return 1 / (1 + ratio)
    return math.expm1(2 * drift) / (math.expm1(2 * drift) - math.expm1(-2 * drift * ratio))


def test_a_farther_target_is_not_credited_with_more_and_a_nearer_one_earns_less():
    learned = edge_in_stops(0.5, 0.4, 0.75)
    assert learned == pytest.approx(0.0875)
    assert edge_in_stops(0.5, 0.4, 1.35) == learned
    assert edge_in_stops(0.5, 0.4, 0.375) == pytest.approx(learned / 2)


@given(p_side=SHARES, p_other=SHARES, ratio=st.floats(0.3, 2.0))
def test_the_edge_has_the_sign_of_the_likelier_side(p_side, p_other, ratio):
    assert edge_in_stops(p_side, p_other, ratio) * (p_side - p_other) >= 0


def test_a_stop_wider_than_the_one_learned_on_adds_no_edge():
    assert edge_fraction(0.1, Barriers(0.08, 0.06), 0.02) == pytest.approx(0.002)
    assert edge_fraction(0.1, Barriers(0.02, 0.02), 0.05) == pytest.approx(0.002)
