"""Labels: the stop and target that the trader places, followed bar by bar."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.labels import BUY, HOLD, SELL, Barriers, Outcomes, average_uniqueness, triple_barrier
from tests.random_candles import random_candles

FREE = Barriers(target_ratio=0.75, stop_max=1.0, horizon_bars=3, fee=0.0, slippage=0.0)
Bar = tuple[float, float, float, float]


def _outcomes(*bars: Bar, barriers: Barriers = FREE, stop: float = 0.04) -> Outcomes:
    """Label a first bar at 100, followed by the given (open, high, low, close) and quiet ones."""
    rows = [(100.0, 100.0, 100.0, 100.0), *bars]
    last = rows[-1][3]
    rows += [(last, last, last, last)] * (barriers.horizon_bars + 1 - len(rows))
    ohlcv = np.array([(*row, 1.0) for row in rows])
    return triple_barrier(ohlcv, np.ones(len(ohlcv), dtype=np.bool_), np.full(len(ohlcv), stop), barriers)


def test_a_long_that_reaches_its_target_first_is_a_buy() -> None:
    out = _outcomes((100, 101, 99, 100), (100, 103, 100, 102))
    assert out.labels[0] == BUY
    assert out.r_long[0] == pytest.approx(0.75)
    # The short meets neither barrier and is closed at the last close.
    assert out.r_short[0] == pytest.approx(-0.02 / 0.04)


def test_a_short_that_reaches_its_target_first_is_a_sell() -> None:
    out = _outcomes((100, 101, 97, 98), (98, 98, 95, 96))
    assert out.labels[0] == SELL
    assert out.r_short[0] == pytest.approx(0.75)
    assert out.r_long[0] == pytest.approx(-1.0)
    assert out.last[0] == 2


def test_a_bar_that_touches_stop_and_target_counts_as_stopped() -> None:
    out = _outcomes((100, 103.5, 95.5, 100))
    assert out.r_long[0] == pytest.approx(-1.0)
    assert out.r_short[0] == pytest.approx(0.75)
    assert out.labels[0] == SELL
    both_stops = _outcomes((100, 105, 95, 100))
    assert both_stops.r_long[0] == both_stops.r_short[0] == pytest.approx(-1.0)
    assert both_stops.labels[0] == HOLD


def test_both_sides_may_win_and_that_is_a_hold() -> None:
    out = _outcomes((100, 103.5, 100, 101), (101, 101, 96.5, 97))
    assert out.r_long[0] == out.r_short[0] == pytest.approx(0.75)
    assert out.labels[0] == HOLD
    assert out.both[0]


def test_nothing_touched_is_a_hold_closed_at_the_time_barrier() -> None:
    out = _outcomes((100, 101, 99, 100), (100, 101, 99, 100), (100, 102, 100, 101))
    assert out.labels[0] == HOLD
    assert out.r_long[0] == pytest.approx(0.25)
    assert out.r_short[0] == pytest.approx(-0.25)
    assert not out.both[0]
    assert out.last[0] == FREE.horizon_bars


def test_a_gap_through_the_stop_costs_more_than_the_stop_and_one_through_the_target_pays_no_more() -> None:
    down = _outcomes((100, 100, 100, 100), (90, 91, 89, 90))
    assert down.r_long[0] == pytest.approx(-0.10 / 0.04)
    assert down.r_short[0] == pytest.approx(0.75)


def test_a_bar_that_opens_beyond_the_target_has_reached_it_before_its_low_meets_the_stop() -> None:
    out = _outcomes((100, 100, 100, 100), (104, 104, 95, 96))
    assert out.r_long[0] == pytest.approx(0.75)
    assert out.labels[0] == BUY
    # For the short the same bar opens at its stop, a hair above 4 % away.
    assert out.r_short[0] == pytest.approx(-1.0)


def test_the_entry_is_the_next_open_not_the_last_close() -> None:
    out = _outcomes((110, 113.4, 110, 113))
    assert out.r_long[0] == pytest.approx(0.75)
    assert out.labels[0] == BUY


def test_a_stop_wider_than_allowed_is_placed_at_the_limit_and_r_counts_in_it() -> None:
    out = _outcomes((100, 100, 91.5, 92), barriers=FREE._replace(stop_max=0.08), stop=0.5)
    assert out.r_long[0] == pytest.approx(-1.0)
    assert out.r_short[0] == pytest.approx(0.75)


def test_fees_slippage_and_funding_are_paid_in_stop_distances() -> None:
    ohlcv = np.array([(100.0, 100.0, 100.0, 100.0, 1.0)] * 5)
    barriers = FREE._replace(fee=0.0005, slippage=0.0002)
    funding = np.array([9.0, 9.0, 0.0001, 0.0003, 9.0])  # what settles at the entry's own open is not paid
    out = triple_barrier(ohlcv, np.ones(5, dtype=np.bool_), np.full(5, 0.04), barriers, funding)
    assert out.known.tolist() == [True, True, False, False, False]
    assert out.r_long[0] == pytest.approx((-0.0014 - 0.0004) / 0.04)
    assert out.r_short[0] == pytest.approx((-0.0014 + 0.0004) / 0.04)


def test_rows_without_a_stop_a_whole_horizon_or_all_its_bars_have_no_label() -> None:
    ohlcv = np.array([(100.0, 100.0, 100.0, 100.0, 1.0)] * 12)
    stop = np.full(12, 0.04)
    stop[0], stop[1] = np.nan, 0.0
    real = np.ones(12, dtype=np.bool_)
    real[6] = False
    out = triple_barrier(ohlcv, real, stop, FREE)
    assert np.flatnonzero(out.known).tolist() == [2, 6, 7, 8]
    short = triple_barrier(ohlcv[:3], real[:3], stop[:3], FREE)
    assert not short.known.any()


def _reference(ohlcv: NDArray[np.float64], row: int, stop: float, barriers: Barriers, side: int) -> tuple[float, int]:
    """One trade, walked bar by bar with prices: its gross R, and the bars it took."""
    entry = ohlcv[row + 1, 0]
    stop_price = entry * (1 - side * stop)
    target_price = entry * (1 + side * stop * barriers.target_ratio)
    for bars in range(1, barriers.horizon_bars + 1):
        opened, high, low, _, _ = ohlcv[row + bars]
        best, worst = (high, low) if side > 0 else (low, high)
        if side * (opened - target_price) >= 0:
            return barriers.target_ratio, bars
        if side * (worst - stop_price) <= 0:
            fill = min(opened, stop_price) if side > 0 else max(opened, stop_price)
            return side * (fill / entry - 1) / stop, bars
        if side * (best - target_price) >= 0:
            return barriers.target_ratio, bars
    return side * (ohlcv[row + barriers.horizon_bars, 3] / entry - 1) / stop, barriers.horizon_bars


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), ratio=st.floats(0.5, 2.0), stop=st.floats(0.004, 0.05))
def test_vectorised_labels_equal_a_walk_through_every_bar(seed: int, ratio: float, stop: float) -> None:
    ohlcv = random_candles(seed, symbols=1, bars=120).ohlcv[0]
    barriers = FREE._replace(target_ratio=ratio, horizon_bars=24)
    out = triple_barrier(ohlcv, np.ones(120, dtype=np.bool_), np.full(120, stop), barriers)
    for row in range(120 - 24):
        long, long_bars = _reference(ohlcv, row, stop, barriers, 1)
        short, short_bars = _reference(ohlcv, row, stop, barriers, -1)
        assert out.r_long[row] == pytest.approx(long, abs=1e-9)
        assert out.r_short[row] == pytest.approx(short, abs=1e-9)
        assert out.last[row] == row + max(long_bars, short_bars)
        won = (long == ratio, short == ratio)
        assert out.labels[row] == {(True, False): BUY, (False, True): SELL}.get(won, HOLD)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), row=st.integers(0, 90))
def test_a_label_depends_on_no_bar_after_its_last(seed: int, row: int) -> None:
    ohlcv = random_candles(seed, symbols=1, bars=140).ohlcv[0]
    barriers = FREE._replace(horizon_bars=48)
    real, stop = np.ones(140, dtype=np.bool_), np.full(140, 0.02)
    before = triple_barrier(ohlcv, real, stop, barriers)
    changed = ohlcv.copy()
    changed[before.last[row] + 1 :, :4] *= 3
    after = triple_barrier(changed, real, stop, barriers)
    for name in ("labels", "r_long", "r_short", "last"):
        assert getattr(after, name)[row] == getattr(before, name)[row]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 20)), max_size=30))
def test_average_uniqueness_equals_its_definition(spans: list[tuple[int, int]]) -> None:
    first = np.array([begin for begin, _ in spans], dtype=np.int64)
    last = first + np.array([length for _, length in spans], dtype=np.int64)
    found = average_uniqueness(first, last)
    for index in range(len(spans)):
        shares = [1 / np.sum((first <= bar) & (bar <= last)) for bar in range(first[index], last[index] + 1)]
        assert found[index] == pytest.approx(np.mean(shares))
