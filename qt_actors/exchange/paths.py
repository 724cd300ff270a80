"""The price path inside a bar: which prices are traded, when, and how much of the bar's volume goes with each.

A candle says four prices and not their order. The rule here: open, then the extreme nearer to the open, then the
other extreme, then the close; when both are equally far, a rising bar visits its low first and any other its high.
The open is printed at the bar's first ms, the close at its last, the extremes at 15-40 % and 50-85 % of it. Between
these vertices `detail - 1` further points may be walked: a bridge of random steps, never outside low and high, on the
symbol's price grid. So every path touches its four prices exactly, and candles rebuilt from it equal the file's. For
orders the price walks from point to point (`way`).

All chance is a hash of (symbol, bar, point): the same bar has the same path on every machine, in any company of
symbols, after any restart. A bar whose four prices are equal is one point (its open).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from qt_actors.exchange.candles import CLOSE, FIELDS, HIGH, LOW, OPEN, VOLUME, Candles, aggregate
from qt_actors.exchange.hashes import uniforms

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIRST_EXTREME: Final = (0.15, 0.40)
SECOND_EXTREME: Final = (0.50, 0.85)
BRIDGE_SHARE: Final = 0.2  # amplitude of the bridge between two vertices, as a share of the bar's range
_SEGMENTS: Final = 3


@dataclass(frozen=True, slots=True)
class Walk:
    """Paths of n bars, p points each.

    Attributes:
        times: int64 ms UTC, shape (n, p), rising along each row.
        prices: float64, shape (n, p), rounded to the symbol's decimals.
        weights: float64, shape (n, p): the share of the bar's volume traded at the point; rows sum to 1.
        there: bool, shape (n, p): False for points that do not happen (a bar of one point).
    """

    times: NDArray[np.int64]
    prices: NDArray[np.float64]
    weights: NDArray[np.float64]
    there: NDArray[np.bool_]


def points_per_bar(detail: int) -> int:
    """Number of points of a path with `detail` steps between two vertices (>= 1)."""
    return _SEGMENTS * detail + 1


def walk(
    keys: NDArray[np.uint64],
    opens: NDArray[np.int64],
    interval_ms: int,
    ohlc: NDArray[np.float64],
    decimals: NDArray[np.int64],
    detail: int = 1,
) -> Walk:
    """The paths of n bars.

    Args:
        keys: `hashes.symbol_key` of each bar's symbol, uint64, shape (n,).
        opens: open times, ms UTC, shape (n,).
        interval_ms: length of the bars.
        ohlc: open, high, low, close (rows of candles.OPEN..CLOSE), shape (4, n), no NaN.
        decimals: price decimals of each bar's symbol, shape (n,).
        detail: steps between two vertices, >= 1; 1 visits the four prices only.
    """
    count = opens.size
    points = points_per_bar(detail)
    vertices, moments = _vertices(keys, opens, interval_ms, ohlc)
    step = np.arange(detail) / detail
    left_t, right_t = moments[:, :-1, None], moments[:, 1:, None]
    left_p, right_p = vertices[:, :-1, None], vertices[:, 1:, None]
    times = np.empty((count, points))
    times[:, :-1] = (left_t + (right_t - left_t) * step).reshape(count, points - 1)
    times[:, -1] = moments[:, -1]
    prices = np.empty((count, points))
    inner = left_p + (right_p - left_p) * step
    if detail > 1:
        inner[:, :, 1:] += _bridge(keys, opens, ohlc, detail)
        scale = 10.0 ** decimals[:, None, None]
        inner = np.rint(inner * scale) / scale
        inner = np.clip(inner, ohlc[LOW][:, None, None], ohlc[HIGH][:, None, None])
        inner[:, :, 0] = vertices[:, :-1]  # the vertices stay exact
    prices[:, :-1] = inner.reshape(count, points - 1)
    prices[:, -1] = vertices[:, -1]
    weights = uniforms(keys, opens, points, salt=2) + 0.25
    there = np.ones((count, points), dtype=np.bool_)
    there[ohlc[HIGH] == ohlc[LOW], 1:] = False
    weights *= there
    weights /= weights.sum(axis=1, keepdims=True)
    return Walk(opens[:, None] + times.astype(np.int64), prices, weights, there)


def refine(
    key: int, decimals: int, candles: Candles, interval_ms: int, finer: str, detail: int, length_ms: int
) -> Candles:
    """Candles of one symbol, of the finer interval `finer` (`length_ms` long), along the paths of its bars.

    A finer candle without any point is flat at the price before it, with no volume, as on the exchange.
    """
    bars = candles.opens.size
    if bars == 0:
        return candles
    same = np.full(bars, key, dtype=np.uint64)
    path = walk(
        same, candles.opens, interval_ms, candles.data[:VOLUME], np.full(bars, decimals, dtype=np.int64), detail
    )
    ticks = np.empty((FIELDS, *path.times.shape))
    ticks[OPEN : CLOSE + 1] = path.prices
    ticks[VOLUME:] = candles.data[VOLUME:, :, None] * path.weights
    flat = path.there.ravel()
    traded = aggregate(Candles(path.times.ravel()[flat], ticks.reshape(FIELDS, -1)[:, flat]), finer)
    per_bar = interval_ms // length_ms
    opens = (candles.opens[:, None] + np.arange(per_bar, dtype=np.int64) * length_ms).ravel()
    data = np.zeros((FIELDS, opens.size))
    place = np.searchsorted(opens, traded.opens)
    last = np.maximum.accumulate(np.where(np.isin(opens, traded.opens), np.arange(opens.size), 0))
    data[:, place] = traded.data
    empty = last != np.arange(opens.size)
    data[OPEN : CLOSE + 1, empty] = data[CLOSE, last[empty]]
    return Candles(opens, data)


def _vertices(
    keys: NDArray[np.uint64], opens: NDArray[np.int64], interval_ms: int, ohlc: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The four prices in the order they are visited, and when, in ms after the open; both (n, 4)."""
    up, down = ohlc[HIGH] - ohlc[OPEN], ohlc[OPEN] - ohlc[LOW]
    high_first = np.where(up == down, ohlc[CLOSE] <= ohlc[OPEN], up < down)
    first = np.where(high_first, ohlc[HIGH], ohlc[LOW])
    second = np.where(high_first, ohlc[LOW], ohlc[HIGH])
    chance = uniforms(keys, opens, 2, salt=1)
    moments = np.empty((opens.size, 4))
    moments[:, 0] = 0.0
    moments[:, 1] = (FIRST_EXTREME[0] + (FIRST_EXTREME[1] - FIRST_EXTREME[0]) * chance[:, 0]) * interval_ms
    moments[:, 2] = (SECOND_EXTREME[0] + (SECOND_EXTREME[1] - SECOND_EXTREME[0]) * chance[:, 1]) * interval_ms
    moments[:, 3] = interval_ms - 1
    return np.stack((ohlc[OPEN], first, second, ohlc[CLOSE]), axis=1), moments


def _bridge(
    keys: NDArray[np.uint64], opens: NDArray[np.int64], ohlc: NDArray[np.float64], detail: int
) -> NDArray[np.float64]:
    """Deviation from the straight line at the inner points of the three segments, shape (n, 3, detail - 1)."""
    steps = uniforms(keys, opens, _SEGMENTS * detail, salt=3).reshape(opens.size, _SEGMENTS, detail) - 0.5
    summed = np.cumsum(steps, axis=2)
    share = np.arange(1, detail) / detail
    bridge = summed[:, :, :-1] - share * summed[:, :, -1:]
    # Twelve uniforms make a variance of one: sqrt(12 / detail) brings the bridge to the size of the range.
    amplitude = BRIDGE_SHARE * (ohlc[HIGH] - ohlc[LOW]) * np.sqrt(12.0 / detail)
    return np.asarray(bridge * amplitude[:, None, None])
