"""Features: one table, two ways to compute it, no look-ahead."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.bars import fill_gaps
from models.feature_batch import history_names
from models.feature_table import FEATURES, FILLED_MAX
from models.features import (
    BARS_NEEDED,
    BatchFeatures,
    FeatureFrame,
    FeatureStream,
    batch_features,
    compute_batch,
    feature_hash,
    feature_names,
    market_context,
)
from models.indicators import evaluate
from tests.random_candles import HOUR_MS, RandomCandles, random_candles

Compute = Callable[[RandomCandles, int], NDArray[np.float32]]
_REGIME = ("adx", "channel_slope", "volatility", "volatility_rank", "stop_distance")


def _batches(candles: RandomCandles) -> list[tuple[int, BatchFeatures]]:
    """First row and features of every symbol."""
    context = market_context(candles.symbols, candles.open_time_ms, candles.ohlcv[..., 3])
    out = []
    for bars in candles.ohlcv:
        first = int(np.argmax(np.isfinite(bars[:, 3])))
        out.append((first, compute_batch(bars[first:], candles.open_time_ms[first:], context)))
    return out


def _assert_frame_is_row(frame: FeatureFrame, row: int, batches: list[tuple[int, BatchFeatures]]) -> int:
    """Compare a frame with the batch in every bit; return the number of eligible symbols."""
    for lane, (first, batch) in enumerate(batches):
        if row < first:
            assert not frame.eligible[lane]
            continue
        at = row - first
        assert frame.eligible[lane] == batch.eligible[at], (row, frame.symbols[lane])
        np.testing.assert_array_equal(frame.features[lane], batch.features[at])
        if frame.eligible[lane]:
            for name in _REGIME:
                assert getattr(frame, name)[lane] == getattr(batch, name)[at], (row, name)
    return int(frame.eligible.sum())


def _with_holes(candles: RandomCandles, seed: int) -> RandomCandles:
    """The last symbol is young, each has a missed bar here and there, one a hole too long to bridge."""
    rng = np.random.default_rng(seed)
    ohlcv = candles.ohlcv.copy()
    bars = ohlcv.shape[1]
    for lane in range(len(ohlcv)):
        ohlcv[lane, rng.choice(np.arange(1, bars), size=3, replace=False)] = np.nan
    ohlcv[-1, : rng.integers(20, 60)] = np.nan
    hole = int(rng.integers(270, 300))
    ohlcv[1, hole : hole + FILLED_MAX + 2] = np.nan
    return candles._replace(ohlcv=ohlcv)


def test_the_table_holds_every_group_of_the_specification_once() -> None:
    names = feature_names()
    assert len(names) == len(set(names)) >= 60
    wanted = {
        "rsi_14", "rsi_28", "macd", "stoch_rsi_k", "williams_r", "cci_20", "sma_20", "sma_50", "sma_200", "ema_12",
        "ema_26", "adx_14", "sar", "bollinger_position", "atr_14", "keltner_position", "deviation_20", "obv_20",
        "volume_change_14", "vwap_20", "doji", "engulfing", "hammer", "support_50", "resistance_50",
        "channel_slope_50", "return_168", "btc_return_24", "market_return_24", "relative_return_24", "day_sin",
    }  # fmt: skip
    assert wanted <= set(names)


def test_the_feature_hash_is_the_same_in_every_process() -> None:
    code = "from models.features import feature_hash; print(feature_hash())"
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert fresh.stdout.strip() == feature_hash()
    assert re.fullmatch("[0-9a-f]{64}", feature_hash())


def test_trading_imports_no_training_library() -> None:
    heavy = ("torch", "sklearn", "scipy", "xgboost", "lightgbm", "models.candles", "models.dataset")
    code = f"import sys, models.features, models.windows; print([m for m in {heavy} if m in sys.modules])"
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert fresh.stdout.strip() == "[]"


def test_every_documented_warmup_is_the_number_of_bars_before_the_first_value() -> None:
    # From a 4h boundary on, as the documented warm-up of the stop distance counts.
    candles = random_candles(5)
    times = candles.open_time_ms // (4 * HOUR_MS) * (4 * HOUR_MS)
    times = times[0] + HOUR_MS * np.arange(len(times))
    context = market_context(candles.symbols, times, candles.ohlcv[..., 3])
    names = history_names(fill_gaps(candles.ohlcv[2])[0], times, context.at(times), HOUR_MS)
    scale_warm = next(feature.warmup for feature in FEATURES if feature.name == "stop_distance")
    found = {f.name: int(np.argmax(np.isfinite(evaluate(f.formula, names)))) for f in FEATURES}
    assert found["stop_distance"] == scale_warm
    in_stops = {f.name for f in FEATURES if re.search(r"/ w\b", f.formula)}
    expected = {f.name: max(f.warmup, scale_warm) if f.name in in_stops else f.warmup for f in FEATURES}
    patterns = {"doji", "engulfing", "hammer", "shooting_star"}  # TA-Lib says "none" rather than NaN before it can tell
    assert all(found.pop(name) == 0 for name in patterns)
    assert all(0 < expected.pop(name) < 16 for name in patterns)
    assert found == expected
    assert max(found.values()) < BARS_NEEDED


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), opened=st.integers(100, 300))
def test_streaming_equals_batch_in_every_bit_with_holes_and_young_symbols(seed: int, opened: int) -> None:
    candles = _with_holes(random_candles(seed), seed)
    batches = _batches(candles)
    stream = FeatureStream(candles.symbols, candles.open_time_ms[:opened], candles.ohlcv[:, :opened])
    scored = 0
    for row in range(opened, len(candles.open_time_ms)):
        frame = stream.update(int(candles.open_time_ms[row]), candles.ohlcv[:, row])
        scored += _assert_frame_is_row(frame, row, batches)
    assert scored > 100


@pytest.mark.real
def test_streaming_equals_batch_in_every_bit_on_real_candles(real_data: Path) -> None:
    candles = _real_candles(real_data, bars=1100)
    batches = _batches(candles)
    stream = FeatureStream(candles.symbols, candles.open_time_ms[:500], candles.ohlcv[:, :500])
    scored = 0
    for row in range(500, 1100):
        frame = stream.update(int(candles.open_time_ms[row]), candles.ohlcv[:, row])
        scored += _assert_frame_is_row(frame, row, batches)
    assert scored == 600 * len(candles.symbols)


@pytest.mark.real
def test_a_stream_opened_on_the_history_loaded_at_start_is_all_but_equal_to_years_of_it(real_data: Path) -> None:
    candles = _real_candles(real_data, bars=2500)
    long = np.concatenate([batch.features for _, batch in _batches(candles)])
    deviation = np.nanstd(long, axis=0)
    recent = candles._replace(open_time_ms=candles.open_time_ms[-499:], ohlcv=candles.ohlcv[:, -499:])
    short = np.stack([batch.features[-1] for _, batch in _batches(recent)])
    full = long.reshape(len(candles.symbols), -1, len(FEATURES))[:, -1]
    assert np.isfinite(short).all()
    assert (np.abs(short - full) / deviation).max() < 2e-3


def _real_candles(real_data: Path, bars: int) -> RandomCandles:
    symbols = ("BTCUSDT", "ETHUSDT", "1000PEPEUSDT", "1000SHIBUSDT", "ENAUSDT")
    frames = [pl.read_parquet(real_data / "klines" / "1h" / f"{symbol}.parquet").tail(bars) for symbol in symbols]
    times = frames[0]["open_time"].to_numpy()
    ohlcv = np.stack([frame.select("open", "high", "low", "close", "volume").to_numpy() for frame in frames])
    return RandomCandles(symbols, times, ohlcv)


def _ours(candles: RandomCandles, lane: int) -> NDArray[np.float32]:
    context = market_context(candles.symbols, candles.open_time_ms, candles.ohlcv[..., 3])
    return batch_features(candles.ohlcv[lane], candles.open_time_ms, context)


def _scaled_over_all_time(candles: RandomCandles, lane: int) -> NDArray[np.float32]:
    """A planted leak, of the usual kind: z-scores over the whole series."""
    features = _ours(candles, lane)
    return (features - np.nanmean(features, axis=0)) / (np.nanstd(features, axis=0) + 1e-9)


def _centred(candles: RandomCandles, lane: int) -> NDArray[np.float32]:
    """Another: a mean that reaches one bar ahead."""
    features = _ours(candles, lane)
    return (features + np.concatenate([features[1:], features[-1:]])) / 2


def _next_market(candles: RandomCandles, lane: int) -> NDArray[np.float32]:
    """And one through the market: other symbols' closes a bar early."""
    close = candles.ohlcv[..., 3]
    early = np.concatenate([close[:, 1:], close[:, -1:]], axis=1)
    context = market_context(candles.symbols, candles.open_time_ms, early)
    return batch_features(candles.ohlcv[lane], candles.open_time_ms, context)


def _looks_ahead(compute: Compute, candles: RandomCandles, cuts: list[int]) -> bool:
    """Whether any row up to a cut is different when the bars after the cut are not there."""
    whole = compute(candles, 2)
    for cut in cuts:
        prefix = candles._replace(open_time_ms=candles.open_time_ms[:cut], ohlcv=candles.ohlcv[:, :cut])
        if not np.array_equal(compute(prefix, 2), whole[:cut], equal_nan=True):
            return True
    return False


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(BARS_NEEDED, 399))
def test_features_of_any_prefix_equal_those_of_the_whole_series(seed: int, cut: int) -> None:
    assert not _looks_ahead(_ours, random_candles(seed), [cut])


@pytest.mark.parametrize("leak", [_scaled_over_all_time, _centred, _next_market])
def test_a_planted_leak_is_caught_by_the_prefix_test(leak: Compute) -> None:
    assert _looks_ahead(leak, random_candles(11), [300])


@pytest.mark.real
def test_features_of_real_candles_do_not_look_ahead(real_data: Path) -> None:
    assert not _looks_ahead(_ours, _real_candles(real_data, bars=900), [256, 257, 300, 511, 700, 899])


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), crash=st.floats(0.01, 0.9), pump=st.floats(1.5, 50.0))
def test_every_feature_stays_in_its_range_through_crashes_and_pumps(seed: int, crash: float, pump: float) -> None:
    candles = random_candles(seed)
    ohlcv = candles.ohlcv.copy()
    ohlcv[1, 290:, :4] *= crash
    ohlcv[1, 340:, :4] *= pump
    ohlcv[1, 300:310, 4] = 0.0
    _, batch = _batches(candles._replace(ohlcv=ohlcv))[1]
    rows = batch.features[batch.eligible]
    assert len(rows) > 100
    assert (rows >= np.float32([f.low for f in FEATURES])).all()
    assert (rows <= np.float32([f.high for f in FEATURES])).all()


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), price=st.integers(-12, 12), volume=st.floats(1e-3, 1e3))
def test_features_do_not_know_the_unit_of_price_or_volume(seed: int, price: int, volume: float) -> None:
    candles = random_candles(seed)
    scaled = candles.ohlcv * np.array([2.0**price] * 4 + [1.0])
    np.testing.assert_array_equal(_ours(candles._replace(ohlcv=scaled), 2), _ours(candles, 2))
    other = candles.ohlcv * np.array([1.0] * 4 + [volume])
    np.testing.assert_allclose(_ours(candles._replace(ohlcv=other), 2), _ours(candles, 2), rtol=1e-4, atol=1e-5)


def test_a_coin_at_a_ten_thousandth_of_a_cent_has_the_features_of_the_same_coin_at_a_dollar() -> None:
    candles = random_candles(3)
    ohlcv = candles.ohlcv.copy()
    ohlcv[2, :, :4] *= 2.0**-40  # powers of two, so that the two differ by nothing else
    np.testing.assert_array_equal(_ours(candles._replace(ohlcv=ohlcv), 2), _ours(candles, 2))


def test_the_stop_distance_is_one_and_a_half_atr_of_closed_4h_bars_over_the_close() -> None:
    candles = random_candles(8)
    _, batch = _batches(candles)[1]
    bars = candles.ohlcv[1]
    first = int(np.argmax(candles.open_time_ms % (4 * HOUR_MS) == 0))
    assert first > 0
    true_ranges: list[float] = []
    previous = np.nan
    atr = np.nan
    for row in range(first, len(bars)):
        if (candles.open_time_ms[row] + HOUR_MS) % (4 * HOUR_MS) == 0:
            high, low = bars[row - 3 : row + 1, 1].max(), bars[row - 3 : row + 1, 2].min()
            if np.isfinite(previous):
                true_ranges.append(max(high - low, abs(high - previous), abs(low - previous)))
            previous = bars[row, 3]
            if len(true_ranges) == 14:
                atr = float(np.mean(true_ranges))
            elif len(true_ranges) > 14:
                atr = (atr * 13 + true_ranges[-1]) / 14
        np.testing.assert_allclose(batch.stop_distance[row], 1.5 * atr / bars[row, 3], rtol=1e-12)


def test_a_stop_atr_of_another_interval_moves_the_stop_and_no_feature() -> None:
    candles = random_candles(4)
    head = (candles.open_time_ms[:300], candles.ohlcv[:, :300])
    normal = FeatureStream(candles.symbols, *head)
    hourly = FeatureStream(candles.symbols, *head, stop_atr_interval_ms=HOUR_MS)
    for row in range(300, 310):
        bar = (int(candles.open_time_ms[row]), candles.ohlcv[:, row])
        a, b = normal.update(*bar), hourly.update(*bar)
        np.testing.assert_array_equal(a.features, b.features)
        np.testing.assert_allclose(b.stop_distance, 1.5 * b.volatility, rtol=1e-12)
        assert (a.stop_distance > b.stop_distance).all()
