"""Regimes and their hysteresis."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qt_actors.decisions.regime import market_regime, next_regimes

NAMES = ("TRENDING", "RANGING", "NORMAL")


def read(previous: str, adx: float, slope: float, rank: float = 0.5) -> str:
    return next_regimes(np.array([adx]), np.array([slope]), np.array([rank]), (previous,))[0]


@pytest.mark.parametrize(
    ("previous", "adx", "slope", "rank", "now"),
    [
        ("NORMAL", 30, 1.5, 0.5, "TRENDING"),
        ("NORMAL", 30, -1.5, 0.5, "TRENDING"),
        ("NORMAL", 30, 0.2, 0.5, "NORMAL"),
        ("NORMAL", 22, 1.5, 0.5, "NORMAL"),
        ("TRENDING", 22, 0.7, 0.5, "TRENDING"),
        ("TRENDING", 19, 1.5, 0.5, "NORMAL"),
        ("TRENDING", 30, 0.4, 0.5, "NORMAL"),
        ("TRENDING", 15, 0.1, 0.5, "RANGING"),
        ("NORMAL", 15, 0.1, 0.5, "RANGING"),
        ("NORMAL", 15, 0.1, 0.85, "NORMAL"),
        ("RANGING", 15, 0.1, 0.85, "RANGING"),
        ("RANGING", 15, 0.1, 0.95, "NORMAL"),
        ("NORMAL", 20, 0.1, 0.5, "NORMAL"),
        ("RANGING", 20, 0.8, 0.5, "RANGING"),
        ("RANGING", 23, 0.1, 0.5, "NORMAL"),
        ("RANGING", 30, 1.5, 0.5, "TRENDING"),
    ],
)
def test_a_regime_is_entered_at_one_threshold_and_left_at_another(previous, adx, slope, rank, now):
    assert read(previous, adx, slope, rank) == now


@pytest.mark.parametrize("hole", range(3))
@pytest.mark.parametrize("previous", NAMES)
def test_a_symbol_of_which_something_is_not_known_is_normal(previous, hole):
    values = [30.0, 2.0, 0.5]
    values[hole] = float("nan")
    assert read(previous, *values) == "NORMAL"


@given(adx=st.floats(0, 100), slope=st.floats(-5, 5), rank=st.floats(0, 1), previous=st.sampled_from(NAMES))
def test_the_same_reading_twice_changes_nothing_the_second_time(adx, slope, rank, previous):
    first = read(previous, adx, slope, rank)
    assert read(first, adx, slope, rank) == first


def test_adx_wavering_around_its_threshold_does_not_flicker():
    regimes, seen = "NORMAL", []
    for adx in (24, 26, 24, 26, 23, 25.5, 22):
        regimes = read(regimes, adx, 1.5)
        seen.append(regimes)
    assert seen == ["NORMAL", *["TRENDING"] * 6]


@pytest.mark.parametrize(
    ("trending", "ranging", "previous", "now"),
    [
        (5, 0, "NORMAL", "TRENDING"),
        (4, 0, "NORMAL", "NORMAL"),
        (4, 0, "TRENDING", "TRENDING"),
        (3, 0, "TRENDING", "NORMAL"),
        (0, 5, "NORMAL", "RANGING"),
        (0, 4, "RANGING", "RANGING"),
        (4, 5, "TRENDING", "RANGING"),
    ],
)
def test_the_market_has_the_regime_of_half_its_symbols_and_keeps_it_a_little_longer(trending, ranging, previous, now):
    symbols = ["TRENDING"] * trending + ["RANGING"] * ranging + ["NORMAL"] * (10 - trending - ranging)
    assert market_regime(symbols, previous) == now


def test_a_market_without_symbols_is_normal():
    assert market_regime((), "TRENDING") == "NORMAL"
