"""Candles of prices that are not traded: mark price, index price and premium index.

They are computed from the points that the market walks, by the models that its running prices follow (blocks.py): what
a candle says is what the mark price stream said. Where that would be more than `POINTS_MAX` points, the coarsest path
is taken, and where even that is more, traded prices for mark and index: over so long a candle they differ by nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qt_actors.exchange.blocks import BASIS_TAU_MS, INDEX_TAU_MS
from qt_actors.exchange.candles import CLOSE, HIGH, LOW, OPEN, VOLUME, Candles, aggregate
from qt_actors.exchange.funding_rates import DEFAULT_INTERVAL_MS
from qt_actors.exchange.intervals import INTERVAL_MS, close_of
from qt_actors.exchange.kline_replies import asked_candles, row_of
from qt_actors.exchange.paths import points_per_bar, walk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from qt_actors.exchange.market import Market

POINTS_MAX: Final = 1_000_000
WARM_MS: Final = int(20 * BASIS_TAU_MS)  # what the models carry from before is gone by then
SAMPLE_MS: Final = {"mark": 1000, "index": 1000, "premium": 5000}
"""How often Binance looks at each price: what the ninth slot counts."""


def mark_price_klines(market: Market, params: Mapping[str, str]) -> list[list[Any]]:
    """`GET /fapi/v1/markPriceKlines`."""
    return _rows(market, row_of(market, params), params, "mark")


def index_price_klines(market: Market, params: Mapping[str, str]) -> list[list[Any]]:
    """`GET /fapi/v1/indexPriceKlines`, by pair."""
    return _rows(market, row_of(market, params, "pair"), params, "index")


def premium_index_klines(market: Market, params: Mapping[str, str]) -> list[list[Any]]:
    """`GET /fapi/v1/premiumIndexKlines`: traded price over index, minus one."""
    return _rows(market, row_of(market, params), params, "premium")


def _rows(market: Market, row: int, params: Mapping[str, str], kind: str) -> list[list[Any]]:
    interval, traded = asked_candles(market, row, params)
    prices = modelled(market, row, interval, traded, kind)
    rows: list[list[Any]] = []
    for open_ms, candle in zip(traded.opens.tolist(), prices.T.tolist(), strict=True):
        close_ms = close_of(interval, open_ms) - 1
        samples = (min(close_ms, market.now_ms) - open_ms) // SAMPLE_MS[kind] + 1
        rows.append([open_ms, *(f"{price:.8f}" for price in candle), "0", close_ms, "0", samples, "0", "0", "0"])
    return rows


def modelled(market: Market, row: int, interval: str, traded: Candles, kind: str) -> NDArray[np.float64]:
    """Open, high, low and close of that kind of price, for the same candles as `traded`; shape (4, candles)."""
    if traded.opens.size == 0:
        return np.empty((4, 0))
    first, last = int(traded.opens[0]), int(traded.opens[-1])
    end = min(close_of(interval, last), market.now_ms + 1)
    if _detail(market, first, end) == 0:
        return np.zeros((4, traded.opens.size)) if kind == "premium" else traded.data[: CLOSE + 1]
    times, values = _series(market, row, first, end, kind)
    inside = times >= first
    data = np.zeros((traded.data.shape[0], int(inside.sum())))
    data[: CLOSE + 1] = values[inside]
    made = aggregate(Candles(times[inside], data), interval)
    place = np.searchsorted(made.opens, traded.opens, side="right") - 1
    found = (place >= 0) & (made.opens[place] == traded.opens) if made.opens.size else np.zeros(place.size, dtype=bool)
    before = np.where(place >= 0, place, 0)
    flat = made.data[CLOSE, before] if made.opens.size else np.full(place.size, values[-1] if values.size else 0.0)
    return np.stack([np.where(found, made.data[field, before] if made.opens.size else flat, flat)
                     for field in (OPEN, HIGH, LOW, CLOSE)])  # fmt: skip


def _detail(market: Market, start_ms: int, end_ms: int) -> int:
    """Path detail for that stretch: the market's own, or the coarsest, or 0 where it is too long for either."""
    bars = (end_ms - start_ms) // market.interval_ms + 1
    return next((d for d in (market.detail, 1) if bars * points_per_bar(d) <= POINTS_MAX), 0)


def _series(
    market: Market, row: int, start_ms: int, end_ms: int, kind: str
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Points of one price in time order up to `end_ms`, from a little before `start_ms` on."""
    grid = market.interval_ms
    warm = max(start_ms - WARM_MS, int(market.source.first_ms[row])) // grid * grid
    bars = market.history.candles(row, warm, -(-end_ms // grid) * grid)
    key, digits = int(market.keys[row]), int(market.source.decimals[row])
    count = bars.opens.size
    path = walk(
        np.full(count, key, dtype=np.uint64), bars.opens, grid, bars.data[:VOLUME],
        np.full(count, digits, dtype=np.int64), _detail(market, start_ms, end_ms),
    )  # fmt: skip
    there = path.there & (path.times < end_ms)
    index, basis = _smoothed(path.times, path.prices, there)
    times, last, index, basis = path.times[there], path.prices[there], index[there], basis[there]
    if kind == "index":
        return times, index
    if kind == "premium":
        return times, last / index - 1.0
    carried = index * (1.0 + _carry(market, row, times))
    low, high = np.minimum(carried, index + basis), np.maximum(carried, index + basis)
    return times, np.minimum(np.maximum(last, low), high)


def _smoothed(
    times: NDArray[np.int64], prices: NDArray[np.float64], there: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Index and averaged basis at every point: blocks.py's recurrences, over all bars at once.

    Within a bar each is an affine map of its value at the bar's start; the maps are chained from bar to bar.
    """
    flat = np.where(there, times, 0).ravel()
    earlier = np.concatenate((times[:1, 0], np.maximum.accumulate(flat)[:-1])).reshape(times.shape)
    elapsed = np.where(there, np.maximum(times - earlier, 0), 0)
    index = _chained(elapsed / INDEX_TAU_MS, prices, float(prices[0, 0]) if prices.size else 0.0)
    return index, _chained(elapsed / BASIS_TAU_MS, prices - index, 0.0)


def _chained(age: NDArray[np.float64], target: NDArray[np.float64], start: float) -> NDArray[np.float64]:
    """Y moves towards `target` by 1 - exp(-age) at every point, row after row; shape (bars, points)."""
    kept, moved = np.exp(-age), -np.expm1(-age) * target
    factor, offset = np.empty_like(age), np.empty_like(age)
    scale, shift = np.ones(age.shape[0]), np.zeros(age.shape[0])
    for point in range(age.shape[1]):
        scale, shift = scale * kept[:, point], shift * kept[:, point] + moved[:, point]
        factor[:, point], offset[:, point] = scale, shift
    starts, value = np.empty(age.shape[0]), start
    for bar, (by, plus) in enumerate(zip(scale.tolist(), shift.tolist(), strict=True)):
        starts[bar] = value
        value = value * by + plus
    return factor * starts[:, None] + offset


def _carry(market: Market, row: int, times: NDArray[np.int64]) -> NDArray[np.float64]:
    """Funding rate x time to funding / funding interval, at each time."""
    if times.size == 0:
        return np.empty(0)
    known = market.calendar.settled(row, int(times[0]) - 2 * DEFAULT_INTERVAL_MS, int(times[-1]) + 1)
    following = market.calendar.next_after(row, int(times[-1]))[0]
    moments = np.array([*(at for at, _ in known), following], dtype=np.int64)
    rates = np.array([market.rate_at(row, at) if rate is None else rate for at, rate in known])
    place = np.searchsorted(moments, times, side="right")
    length = np.clip(moments[place] - moments[place - 1], INTERVAL_MS["1h"], DEFAULT_INTERVAL_MS)
    return np.asarray(rates[place - 1] * np.clip((moments[place] - times) / length, 0.0, 1.0))
