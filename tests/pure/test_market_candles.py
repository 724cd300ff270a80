from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qt_actors.exchange.candles import (
    CLOSE,
    FIELDS,
    HIGH,
    LOW,
    OPEN,
    QUOTE_VOLUME,
    TAKER_VOLUME,
    TRADES,
    VOLUME,
    Candles,
    aggregate,
    between,
    fill_estimates,
)
from qt_actors.exchange.forming import Forming
from qt_actors.exchange.hashes import symbol_key
from qt_actors.exchange.intervals import INTERVAL_MS, close_of, name_of, open_of, opens_of
from qt_actors.exchange.paths import points_per_bar, refine, walk

if TYPE_CHECKING:
    from numpy.typing import NDArray

MINUTE = 60_000
BAR = 15 * MINUTE


def random_candles(seed: int, bars: int, interval_ms: int = BAR, start_ms: int = 1_735_689_600_000) -> Candles:
    rng = np.random.default_rng(seed)
    data = np.full((FIELDS, bars), np.nan)
    data[CLOSE] = np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.01, bars))), 2)
    data[OPEN] = np.concatenate(([100.0], data[CLOSE, :-1]))
    spread = np.round(np.abs(rng.normal(0, 0.5, (2, bars))) * rng.integers(0, 2, (2, bars)), 2)
    data[HIGH] = np.maximum(data[OPEN], data[CLOSE]) + spread[0]
    data[LOW] = np.minimum(data[OPEN], data[CLOSE]) - spread[1]
    data[HIGH], data[LOW] = np.round(data[HIGH], 2), np.round(data[LOW], 2)
    data[VOLUME] = np.round(rng.uniform(0, 50, bars), 3)
    fill_estimates(data)
    return Candles(start_ms + np.arange(bars, dtype=np.int64) * interval_ms, data)


def key_of(bars: int, symbol: str = "BTCUSDT") -> NDArray[np.uint64]:
    return np.full(bars, symbol_key(symbol), dtype=np.uint64)


def two_decimals(bars: int) -> NDArray[np.int64]:
    return np.full(bars, 2, dtype=np.int64)


@given(st.integers(0, 4_000_000_000_000), st.sampled_from(sorted(INTERVAL_MS)))
def test_a_moment_lies_in_its_candle_and_candles_follow_each_other(time_ms: int, interval: str) -> None:
    begin = open_of(interval, time_ms)
    assert begin <= time_ms < close_of(interval, begin)
    assert open_of(interval, close_of(interval, begin)) == close_of(interval, begin)
    assert opens_of(interval, np.array([time_ms]))[0] == begin


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    moment = int(datetime(2026, 11, 22, 21, 5, tzinfo=UTC).timestamp() * 1000)
    assert datetime.fromtimestamp(open_of("1w", moment) / 1000, UTC) == datetime(2026, 11, 16, tzinfo=UTC)
    assert datetime.fromtimestamp(open_of("1M", moment) / 1000, UTC) == datetime(2026, 11, 1, tzinfo=UTC)
    assert datetime.fromtimestamp(close_of("1M", open_of("1M", moment)) / 1000, UTC) == datetime(
        2026, 12, 1, tzinfo=UTC
    )


def test_lengths_have_names_and_other_lengths_have_none() -> None:
    assert (name_of(BAR), name_of(7 * MINUTE)) == ("15m", None)


@given(st.integers(0, 99), st.sampled_from(["1h", "4h", "1d"]), st.sets(st.integers(0, 199), max_size=150))
def test_aggregation_keeps_first_open_last_close_extremes_and_sums(seed: int, interval: str, missing: set[int]) -> None:
    every = random_candles(seed, 200)
    keep = np.array([bar not in missing for bar in range(200)])
    made = aggregate(Candles(every.opens[keep], every.data[:, keep]), interval)
    for place, begin in enumerate(made.opens.tolist()):
        part = between(Candles(every.opens[keep], every.data[:, keep]), begin, close_of(interval, begin))
        assert part.opens.size > 0
        assert made.data[OPEN, place] == part.data[OPEN, 0]
        assert made.data[CLOSE, place] == part.data[CLOSE, -1]
        assert made.data[HIGH, place] == part.data[HIGH].max()
        assert made.data[LOW, place] == part.data[LOW].min()
        assert made.data[VOLUME:, place] == pytest.approx(part.data[VOLUME:].sum(axis=1))
    assert made.opens.size == np.unique(opens_of(interval, every.opens[keep])).size


def test_what_a_source_does_not_know_is_estimated_and_what_it_knows_is_kept() -> None:
    data = np.full((FIELDS, 2), np.nan)
    data[: VOLUME + 1] = [[100, 100], [110, 110], [90, 90], [105, 105], [20, 20]]
    data[QUOTE_VOLUME, 1], data[TRADES, 1], data[TAKER_VOLUME, 1] = 2222.0, 7, 3.0
    fill_estimates(data)
    assert data[VOLUME + 1 :, 0].tolist() == pytest.approx([20 * 305 / 3, 2, 20 * (0.5 + 0.2 * 0.25)])
    assert data[VOLUME + 1 :, 1].tolist() == [2222.0, 7, 3.0]


@given(st.integers(0, 99), st.sampled_from([1, 2, 5, 40]))
def test_a_path_touches_the_four_prices_of_its_bar_and_nothing_outside(seed: int, detail: int) -> None:
    bars = random_candles(seed, 50)
    path = walk(key_of(50), bars.opens, BAR, bars.data[:VOLUME], two_decimals(50), detail)
    assert path.prices.shape == (50, points_per_bar(detail))
    prices = np.where(path.there, path.prices, path.prices[:, :1])
    assert np.array_equal(prices[:, 0], bars.data[OPEN])
    assert np.array_equal(prices.max(axis=1), bars.data[HIGH])
    assert np.array_equal(prices.min(axis=1), bars.data[LOW])
    whole = path.there.all(axis=1)
    assert np.array_equal(prices[whole, -1], bars.data[CLOSE, whole])
    assert np.allclose(path.weights.sum(axis=1), 1.0)
    assert (np.diff(path.times, axis=1) >= 0).all()
    assert np.array_equal(path.times[:, 0], bars.opens)
    assert np.array_equal(path.times[:, -1], bars.opens + BAR - 1)


def test_the_extreme_nearer_to_the_open_comes_first() -> None:
    ohlc = np.array([[100.0, 100.0, 100.0], [101.0, 105.0, 102.0], [95.0, 99.0, 98.0], [98.0, 103.0, 101.0]])
    opens = np.zeros(3, dtype=np.int64)
    path = walk(key_of(3), opens, BAR, ohlc, two_decimals(3))
    assert path.prices.tolist() == [[100, 101, 95, 98], [100, 99, 105, 103], [100, 98, 102, 101]]


def test_a_bar_has_the_same_path_in_any_company() -> None:
    bars = random_candles(3, 40)
    whole = walk(key_of(40), bars.opens, BAR, bars.data[:VOLUME], two_decimals(40), 7)
    alone = walk(key_of(1), bars.opens[17:18], BAR, bars.data[:VOLUME, 17:18], two_decimals(1), 7)
    assert np.array_equal(whole.prices[17], alone.prices[0])
    assert np.array_equal(whole.times[17], alone.times[0])
    other = walk(key_of(1, "ETHUSDT"), bars.opens[17:18], BAR, bars.data[:VOLUME, 17:18], two_decimals(1), 7)
    assert not np.array_equal(whole.times[17], other.times[0])


def test_a_frozen_bar_is_a_single_point() -> None:
    ohlc = np.full((4, 1), 7.0)
    path = walk(key_of(1), np.zeros(1, dtype=np.int64), BAR, ohlc, two_decimals(1), 3)
    assert path.there.sum() == 1
    assert path.there[0, 0]


@given(st.integers(0, 99), st.sampled_from([("1m", MINUTE), ("5m", 5 * MINUTE)]), st.sampled_from([1, 8]))
def test_candles_split_along_their_path_and_put_together_are_the_same(
    seed: int, finer: tuple[str, int], detail: int
) -> None:
    bars = random_candles(seed, 30)
    fine = refine(symbol_key("BTCUSDT"), 2, bars, BAR, finer[0], detail, finer[1])
    assert fine.opens.size == 30 * (BAR // finer[1])
    assert (fine.data[HIGH] >= np.maximum(fine.data[OPEN], fine.data[CLOSE])).all()
    assert (fine.data[LOW] <= np.minimum(fine.data[OPEN], fine.data[CLOSE])).all()
    back = aggregate(fine, "15m")
    assert np.array_equal(back.opens, bars.opens)
    assert np.array_equal(back.data[: CLOSE + 1], bars.data[: CLOSE + 1])
    assert np.allclose(back.data[VOLUME:], bars.data[VOLUME:])


@given(st.integers(0, 99), st.integers(1, 60))
def test_forming_candles_from_points_equal_the_bars_they_came_from(seed: int, chunk: int) -> None:
    bars = random_candles(seed, 4)
    path = walk(key_of(4), bars.opens, BAR, bars.data[:VOLUME], two_decimals(4), 5)
    there = path.there
    prices = path.prices[there]
    amounts = (bars.data[VOLUME:, :, None] * path.weights)[:, there]
    forming = Forming("1h", int(bars.opens[0]), 3)
    for low in range(0, prices.size, chunk):
        part = slice(low, low + chunk)
        rows = np.full(prices[part].size, 1, dtype=np.int64)
        forming.add_points(rows, prices[part], amounts[:, part])
    whole = aggregate(bars, "1h")
    assert forming.there.tolist() == [False, True, False]
    assert np.array_equal(forming.data[: CLOSE + 1, 1], whole.data[: CLOSE + 1, 0])
    assert np.allclose(forming.data[VOLUME:, 1], whole.data[VOLUME:, 0])
