"""Windows: what the networks see when serving is what they saw in training."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.features import FeatureStream, compute_batch, market_context
from models.windows import CHANNELS, WINDOW_BARS, WindowBuffer, gather_windows
from tests.random_candles import random_candles


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), bars=st.integers(300, 620))
def test_served_windows_equal_gathered_ones_in_every_bit(seed: int, bars: int) -> None:
    candles = random_candles(seed, bars=bars)
    ohlcv = candles.ohlcv.copy()
    ohlcv[1, bars - 40 : bars - 35] = np.nan
    context = market_context(candles.symbols, candles.open_time_ms, ohlcv[..., 3])
    stream = FeatureStream(candles.symbols, candles.open_time_ms[: bars - 30], ohlcv[:, : bars - 30])
    batches = [compute_batch(one, candles.open_time_ms, context) for one in ohlcv]
    for row in range(bars - 30, bars):
        stream.update(int(candles.open_time_ms[row]), ohlcv[:, row])
        served = stream.windows()
        for lane, batch in enumerate(batches):
            table = (batch.ohlcv, context.names["market_index"], batch.stop_distance)
            np.testing.assert_array_equal(served[lane], gather_windows(*table, np.array([row]))[0])


def test_a_window_holds_what_its_documentation_says() -> None:
    candles = random_candles(1)
    context = market_context(candles.symbols, candles.open_time_ms, candles.ohlcv[..., 3])
    bars, index = candles.ohlcv[2], context.names["market_index"]
    scale = compute_batch(bars, candles.open_time_ms, context).stop_distance
    window = gather_windows(bars, index, scale, np.array([350]))[0]
    part, w = bars[350 - WINDOW_BARS + 1 : 351], scale[350]
    expected = {
        "close": np.log(part[:, 3] / part[-1, 3]) / w,
        "high": np.log(part[:, 1] / part[:, 3]) / w,
        "low": np.log(part[:, 2] / part[:, 3]) / w,
        "volume": np.log(part[:, 4] / part[:, 4].mean()),
        "market": (index[350 - WINDOW_BARS + 1 : 351] - index[350]) / w,
    }
    assert tuple(expected) == CHANNELS
    assert window.dtype == np.float32
    for channel, values in enumerate(expected.values()):
        np.testing.assert_allclose(window[:, channel], values, rtol=1e-5, atol=1e-6)
    assert window[-1, 0] == window[-1, 4] == 0.0


def test_a_window_does_not_see_the_next_bar() -> None:
    candles = random_candles(2)
    context = market_context(candles.symbols, candles.open_time_ms, candles.ohlcv[..., 3])
    scale = compute_batch(candles.ohlcv[1], candles.open_time_ms, context).stop_distance
    changed = candles.ohlcv[1].copy()
    changed[351:] *= 2
    ends = np.arange(WINDOW_BARS, 351)[scale[WINDOW_BARS:351] > 0]
    index = context.names["market_index"]
    np.testing.assert_array_equal(
        gather_windows(candles.ohlcv[1], index, scale, ends), gather_windows(changed, index, scale, ends)
    )


def test_bars_without_volume_stay_finite() -> None:
    bars = np.tile([10.0, 11.0, 9.0, 10.0, 0.0], (WINDOW_BARS, 1))
    quiet = gather_windows(bars, np.zeros(WINDOW_BARS), np.full(WINDOW_BARS, 0.02), np.array([WINDOW_BARS - 1]))
    assert np.isfinite(quiet).all()
    bars[-1, 4] = 5.0
    one = gather_windows(bars, np.zeros(WINDOW_BARS), np.full(WINDOW_BARS, 0.02), np.array([WINDOW_BARS - 1]))[0]
    assert one[0, 3] == np.float32(np.log(1e-3))
    assert one[-1, 3] == np.float32(np.log(WINDOW_BARS))


def test_a_window_that_would_begin_before_the_first_row_is_refused() -> None:
    bars = np.ones((WINDOW_BARS, 5))
    with pytest.raises(ValueError, match="cannot end in row 126"):
        gather_windows(bars, bars[:, 0], bars[:, 0], np.array([WINDOW_BARS - 2]))


def test_the_ring_keeps_the_newest_bars_in_order_however_long_it_runs() -> None:
    ring = WindowBuffer(2, bars=WINDOW_BARS)
    for bar in range(1, 1000):
        ring.append(np.full((2, 5), float(bar)), np.array([True, bar % 7 > 0]), float(bar))
        have = min(bar, WINDOW_BARS)
        np.testing.assert_array_equal(ring.ohlcv[0, :, 3], np.arange(bar - have + 1, bar + 1))
        np.testing.assert_array_equal(ring.real[1], np.arange(bar - have + 1, bar + 1) % 7 > 0)


def test_symbols_without_a_scale_or_enough_bars_have_no_window() -> None:
    ring = WindowBuffer(3)
    assert np.isnan(ring.windows(np.full(3, 0.02))).all()
    for bar in range(200):
        ohlcv = np.tile([10.0, 11.0, 9.0, 10.0, 5.0], (3, 1))
        if bar < 100:
            ohlcv[2] = np.nan
        ring.append(ohlcv, np.ones(3, dtype=np.bool_), 0.0)
    windows = ring.windows(np.array([0.02, np.nan, 0.02]))
    assert [bool(np.isfinite(window).all()) for window in windows] == [True, False, False]
    assert np.isnan(windows[1:]).all()
