from __future__ import annotations

import numpy as np
import pytest

from qt_actors.exchange.candles import CLOSE, HIGH, LOW, OPEN, QUOTE_VOLUME, VOLUME, Candles, aggregate, row_candles
from qt_actors.exchange.rules import ExchangeRules
from qt_actors.exchange.synthetic import CHUNK, STEP_MS, SyntheticMarket

HOUR_MS = 3_600_000
RULES = list(ExchangeRules.default().symbols.values())


def autocorrelation(series: np.ndarray, lag: int) -> float:
    centred = series - series.mean()
    return float((centred[lag:] * centred[:-lag]).mean() / centred.var())


def variance_ratio(returns: np.ndarray, hours: int) -> float:
    whole = returns[: returns.size // hours * hours].reshape(-1, hours).sum(axis=1)
    return float(whole.var() / (hours * returns.var()))


@pytest.fixture(scope="module")
def hourly() -> dict[str, Candles]:
    """10,000 hours of sixteen symbols."""
    market = SyntheticMarket(7, RULES[:16])
    grid = market.read(market.origin_ms, market.origin_ms + 10_000 * HOUR_MS)
    return {symbol: aggregate(row_candles(grid, row), "1h") for row, symbol in enumerate(market.symbols)}


def test_it_has_the_statistics_of_real_hours(hourly: dict[str, Candles]) -> None:
    """Bands around the medians measured on sixteen real symbols, 2022 to 2025 (synthetic.py)."""
    figures = []
    btc = np.diff(np.log(hourly["BTCUSDT"].data[CLOSE]))
    for symbol, candles in hourly.items():
        returns = np.diff(np.log(candles.data[CLOSE]))
        spans = np.log(candles.data[HIGH] / candles.data[LOW])[1:]
        volumes = np.log(candles.data[QUOTE_VOLUME])[1:]
        size = np.abs(returns)
        figures.append(
            (
                100 * returns.std(),
                (((returns - returns.mean()) / returns.std()) ** 4).mean(),
                autocorrelation(returns, 1),
                autocorrelation(size, 1),
                autocorrelation(size, 24),
                autocorrelation(size, 168),
                variance_ratio(returns, 24),
                spans.mean() / size.mean(),
                np.corrcoef(volumes, np.log(spans + 1e-6))[0, 1],
                autocorrelation(volumes, 1),
                1.0 if symbol == "BTCUSDT" else np.corrcoef(returns, btc)[0, 1],
            )
        )
    median = np.median(np.array(figures), axis=0)
    low = [0.7, 8, -0.04, 0.18, 0.08, 0.02, 0.85, 1.95, 0.65, 0.75, 0.50]
    high = [1.4, 40, 0.04, 0.38, 0.24, 0.16, 1.10, 2.35, 0.90, 0.92, 0.85]
    assert (median >= low).all(), median
    assert (median <= high).all(), median


def test_the_hours_of_the_day_differ_as_on_the_real_market(hourly: dict[str, Candles]) -> None:
    sizes = np.mean(
        [
            [
                np.abs(np.diff(np.log(candles.data[CLOSE])))[(candles.opens[1:] // HOUR_MS) % 24 == hour].mean()
                for hour in (4, 14)
            ]
            for candles in hourly.values()
        ],
        axis=0,
    )
    assert 1.25 < sizes[1] / sizes[0] < 1.8, "14:00 UTC is about one and a half times as wild as 04:00"


def test_every_candle_is_possible_and_on_the_grid_of_its_symbol() -> None:
    market = SyntheticMarket(3, RULES)
    data = market.read(market.origin_ms, market.default_start_ms).data
    assert not np.isnan(data).any()
    assert (data[HIGH] >= np.maximum(data[OPEN], data[CLOSE])).all()
    assert (data[LOW] <= np.minimum(data[OPEN], data[CLOSE])).all()
    assert (data[LOW] > 0).all()
    assert (data[VOLUME] > 0).all()
    for row, rules in enumerate(RULES):
        ticks = data[: CLOSE + 1, row] / float(rules.tick)
        assert np.abs(ticks - np.rint(ticks)).max() < 1e-4
        steps = data[VOLUME, row] / float(rules.step)
        assert np.abs(steps - np.rint(steps)).max() < 1e-4
        assert float(rules.min_price) < data[LOW, row].min()
        assert data[HIGH, row].max() < float(rules.max_price)


def test_the_same_seed_makes_the_same_market_in_any_order_of_reading() -> None:
    first, second = SyntheticMarket(5, RULES[:4]), SyntheticMarket(5, RULES[:4])
    start = first.origin_ms
    forward = first.read(start, start + 9 * CHUNK * STEP_MS).data
    late = second.read(start + 6 * CHUNK * STEP_MS, start + 9 * CHUNK * STEP_MS).data
    assert np.array_equal(late, forward[:, :, 6 * CHUNK :])
    early = second.read(start + 100 * STEP_MS, start + 700 * STEP_MS, [2]).data
    assert np.array_equal(early[:, 0], forward[:, 2, 100:700])
    assert not np.array_equal(SyntheticMarket(6, RULES[:4]).read(start, start + HOUR_MS).data, forward[:, :, :4])


def test_a_start_of_ones_own_moves_the_history_with_it() -> None:
    start = 1_735_689_600_000 + 5 * HOUR_MS + 7
    market = SyntheticMarket(1, RULES[:2], start_ms=start)
    assert market.default_start_ms == start
    grid = market.read(start // HOUR_MS * HOUR_MS - 600 * HOUR_MS, start // HOUR_MS * HOUR_MS)
    assert not np.isnan(grid.data).any()
    before = market.read(market.origin_ms - HOUR_MS, market.origin_ms)
    assert np.isnan(before.data).all()
