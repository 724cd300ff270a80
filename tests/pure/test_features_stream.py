"""The stream of features in service: young symbols, missed bars, repairs, refusals."""

from __future__ import annotations

import re

import numpy as np
import pytest

from models.feature_table import FEATURES, FILLED_MAX
from models.features import BARS_NEEDED, FeatureStream, batch_features, compute_batch, feature_names, market_context
from tests.random_candles import HOUR_MS, random_candles


def test_a_young_symbol_counts_its_bars_and_is_eligible_from_the_256th() -> None:
    candles = random_candles(6, bars=600)
    ohlcv = candles.ohlcv.copy()
    ohlcv[3, :310] = np.nan
    stream = FeatureStream(candles.symbols, candles.open_time_ms[:300], ohlcv[:, :300])
    for row in range(300, 600):
        frame = stream.update(int(candles.open_time_ms[row]), ohlcv[:, row])
        assert frame.have[3] == min(max(0, row - 309), BARS_NEEDED)
        assert frame.eligible[3] == (frame.have[3] == BARS_NEEDED)
        assert frame.eligible[:3].all()


def test_a_missed_bar_costs_one_frame_and_too_many_cost_all_until_they_are_past() -> None:
    candles = random_candles(7, bars=700)
    stream = FeatureStream(candles.symbols, candles.open_time_ms[:300], candles.ohlcv[:, :300])
    eligible = []
    for row in range(300, 700):
        bars = candles.ohlcv[:, row].copy()
        if row == 310 or 340 <= row < 340 + FILLED_MAX:
            bars[1] = np.nan
        frame = stream.update(int(candles.open_time_ms[row]), bars)
        eligible.append(bool(frame.eligible[1]))
        assert frame.eligible[[0, 2, 3]].all()
        assert np.isnan(frame.close[1]) == np.isnan(bars[1, 3])
    ineligible = [300 + index for index, ok in enumerate(eligible) if not ok]
    # One more than may be bridged lies in the last 256 bars until the first hole has left them.
    assert ineligible == [310, *range(340, 310 + BARS_NEEDED)]


def test_bars_that_are_no_candles_count_as_missing() -> None:
    candles = random_candles(9)
    stream = FeatureStream(candles.symbols, candles.open_time_ms[:300], candles.ohlcv[:, :300])
    bars = candles.ohlcv[:, 300].copy()
    bars[0, 1], bars[1, 3], bars[2, 4] = bars[0, 2] / 2, -1.0, np.inf
    frame = stream.update(int(candles.open_time_ms[300]), bars)
    assert frame.eligible.tolist() == [False, False, False, True]


def test_bars_skipped_for_all_symbols_are_bridged_like_single_ones() -> None:
    candles = random_candles(10)
    head = (candles.open_time_ms[:300], candles.ohlcv[:, :300])
    skipping, told = FeatureStream(candles.symbols, *head), FeatureStream(candles.symbols, *head)
    for row in (300, 301):
        told.update(int(candles.open_time_ms[row]), np.full((4, 5), np.nan))
    bar = (int(candles.open_time_ms[302]), candles.ohlcv[:, 302])
    a, b = skipping.update(*bar), told.update(*bar)
    np.testing.assert_array_equal(a.features, b.features)
    assert a.eligible.all()


def test_a_repaired_past_counts_as_if_it_had_never_been_missed() -> None:
    candles = random_candles(12, bars=700)
    head = (candles.open_time_ms[:400], candles.ohlcv[:, :400])
    stream, whole = FeatureStream(candles.symbols, *head), FeatureStream(candles.symbols, *head)
    for row in range(400, 440):
        bars = candles.ohlcv[:, row].copy()
        whole.update(int(candles.open_time_ms[row]), bars)
        bars[2, :] = np.nan
        assert not stream.update(int(candles.open_time_ms[row]), bars).eligible[2]
    stream.replace("COIN2USDT", candles.ohlcv[2, :440])
    start = 440 - BARS_NEEDED
    context = market_context(candles.symbols, candles.open_time_ms, candles.ohlcv[..., 3])
    fresh = compute_batch(candles.ohlcv[2, start:], candles.open_time_ms[start:], context)
    for row in range(440, 460):
        bar = (int(candles.open_time_ms[row]), candles.ohlcv[:, row])
        repaired, never_missed = stream.update(*bar), whole.update(*bar)
        assert repaired.eligible[2]
        own = [index for index, f in enumerate(FEATURES) if not re.search("market|breadth|dispersion", f.formula)]
        np.testing.assert_array_equal(repaired.features[2, own], fresh.features[row - start, own])
        np.testing.assert_array_equal(repaired.features[1, own], never_missed.features[1, own])


def test_a_symbol_repaired_to_a_shorter_past_is_young_again() -> None:
    candles = random_candles(18, bars=700)
    stream = FeatureStream(candles.symbols, candles.open_time_ms[:400], candles.ohlcv[:, :400])
    stream.replace("COIN2USDT", candles.ohlcv[2, 300:400])
    context = market_context(candles.symbols, candles.open_time_ms, candles.ohlcv[..., 3])
    fresh = compute_batch(candles.ohlcv[2, 300:], candles.open_time_ms[300:], context)
    for row in range(400, 600):
        frame = stream.update(int(candles.open_time_ms[row]), candles.ohlcv[:, row])
        assert frame.have[2] == min(row - 299, BARS_NEEDED)
        assert frame.eligible[2] == (row >= 555)
        np.testing.assert_array_equal(frame.features[2], fresh.features[row - 300])
    with pytest.raises(ValueError, match="NOUSDT: not among the 4 symbols"):
        stream.replace("NOUSDT", candles.ohlcv[2, :400])
    with pytest.raises(ValueError, match="begin with a whole bar"):
        stream.replace("COIN2USDT", np.full((300, 5), np.nan))


def test_a_symbol_whose_price_stands_still_is_not_eligible() -> None:
    candles = random_candles(13)
    ohlcv = candles.ohlcv.copy()
    ohlcv[1, :, :4], ohlcv[1, :, 4] = 5.0, 0.0
    context = market_context(candles.symbols, candles.open_time_ms, ohlcv[..., 3])
    assert not compute_batch(ohlcv[1], candles.open_time_ms, context).eligible.any()
    stream = FeatureStream(candles.symbols, candles.open_time_ms[:300], ohlcv[:, :300])
    frame = stream.update(int(candles.open_time_ms[300]), ohlcv[:, 300])
    assert frame.eligible.tolist() == [True, False, True, True]
    assert np.isnan(stream.windows()[1]).all()


def test_without_bitcoin_the_market_mean_stands_in_for_it() -> None:
    candles = random_candles(14)
    alone = candles._replace(symbols=("AUSDT", "BUSDT", "CUSDT", "DUSDT"))
    names = feature_names()
    context = market_context(alone.symbols, alone.open_time_ms, alone.ohlcv[..., 3])
    features = batch_features(alone.ohlcv[1], alone.open_time_ms, context)
    np.testing.assert_array_equal(
        features[:, names.index("btc_return_24")], features[:, names.index("market_return_24")]
    )
    stream = FeatureStream(alone.symbols, alone.open_time_ms[:300], alone.ohlcv[:, :300])
    frame = stream.update(int(alone.open_time_ms[300]), alone.ohlcv[:, 300])
    np.testing.assert_array_equal(frame.features[1], features[300])


def test_a_frame_cannot_be_written_to() -> None:
    candles = random_candles(15)
    stream = FeatureStream(candles.symbols, candles.open_time_ms[:300], candles.ohlcv[:, :300])
    frame = stream.update(int(candles.open_time_ms[300]), candles.ohlcv[:, 300])
    with pytest.raises(ValueError, match="read-only"):
        frame.features[0, 0] = 1.0
    with pytest.raises(AttributeError):
        frame.close = frame.adx  # type: ignore[misc]


@pytest.mark.parametrize(
    ("bars_ahead", "says"),
    [(0, "cannot follow"), (-3, "cannot follow"), (0.5, "cannot follow"), (BARS_NEEDED + 1, "open a new stream")],
)
def test_a_bar_that_does_not_follow_is_refused_with_what_is_expected(bars_ahead: float, says: str) -> None:
    candles = random_candles(16)
    stream = FeatureStream(candles.symbols, candles.open_time_ms[:300], candles.ohlcv[:, :300])
    with pytest.raises(ValueError, match=says):
        stream.update(int(candles.open_time_ms[299] + bars_ahead * HOUR_MS), candles.ohlcv[:, 300])
    assert stream.last_open_ms == candles.open_time_ms[299]


def test_bars_of_another_shape_or_off_the_grid_are_refused() -> None:
    candles = random_candles(17)
    with pytest.raises(ValueError, match="symbols × bars × OHLCV"):
        FeatureStream(candles.symbols[:3], candles.open_time_ms, candles.ohlcv)
    with pytest.raises(ValueError, match="NaN rows where bars are missing"):
        FeatureStream(candles.symbols, candles.open_time_ms + 1, candles.ohlcv)
    with pytest.raises(ValueError, match="no multiple of the bar interval"):
        FeatureStream(candles.symbols, candles.open_time_ms, candles.ohlcv, stop_atr_interval_ms=5 * HOUR_MS // 2)
    stream = FeatureStream(candles.symbols, candles.open_time_ms, candles.ohlcv)
    with pytest.raises(ValueError, match="symbols × OHLCV"):
        stream.update(int(candles.open_time_ms[-1]) + HOUR_MS, candles.ohlcv[:3, 0])
    context = market_context(candles.symbols, candles.open_time_ms[:200], candles.ohlcv[:, :200, 3])
    with pytest.raises(ValueError, match="market context covers"):
        batch_features(candles.ohlcv[0], candles.open_time_ms, context)
