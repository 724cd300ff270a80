"""The last 128 bars of a symbol as the networks see them: logarithms relative to the last close, in stop distances.

Channels of a window ending in a bar with close C, stop distance w (fraction of price) and market index M (cumulated
mean log return):

======  ==============  ====================================================================
0       close           log(close / C) / w
1       high            log(high / close) / w
2       low             log(low / close) / w
3       volume          log(volume / mean volume of the window), floored at a thousandth
4       market          (market index - M) / w
======  ==============  ====================================================================

Instance normalisation (RevIN) is inside the networks. The same function makes a window for serving and for training.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.feature_table import BARS_NEEDED
from models.indicators import Floats

WINDOW_BARS = 128
CHANNELS = ("close", "high", "low", "volume", "market")
_VOLUME_FLOOR = 1e-3
_HIGH, _LOW, _CLOSE, _VOLUME = 1, 2, 3, 4


def make_windows(ohlcv: Floats, market_index: Floats, stop_distance: Floats) -> NDArray[np.float32]:
    """Windows float32[N, L, 5] from bars float64[N, L, 5], market index float64[N, L] and stop distance float64[N]."""
    columns = np.ascontiguousarray(np.moveaxis(ohlcv, 2, 0))
    high, low, close, volume = columns[_HIGH], columns[_LOW], columns[_CLOSE], columns[_VOLUME]
    scale = 1.0 / stop_distance[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = volume.mean(axis=1, keepdims=True)
        relative = np.where(mean > 0, volume / mean, 1.0)
        channels = (
            np.log(close / close[:, -1:]) * scale,
            np.log(high / close) * scale,
            np.log(low / close) * scale,
            np.log(np.maximum(relative, _VOLUME_FLOOR)),
            (market_index - market_index[:, -1:]) * scale,
        )
    return np.stack(channels, axis=2, dtype=np.float32, casting="same_kind")


def gather_windows(
    ohlcv: Floats,
    market_index: Floats,
    stop_distance: Floats,
    ends: NDArray[np.int64],
    bars: int = WINDOW_BARS,
) -> NDArray[np.float32]:
    """Windows ending in the rows ``ends`` of one long table, gathered for a minibatch: overlaps are never stored.

    Args:
        ohlcv: float64[T, 5] without holes, symbols one after another.
        market_index: float64[T].
        stop_distance: float64[T], w.
        ends: int64[n]; every window must lie inside its symbol, which rows with features do.
        bars: length of a window.

    Returns:
        float32[n, bars, 5].
    """
    if len(ends) and int(ends.min()) < bars - 1:
        raise ValueError(f"a window of {bars} bars cannot end in row {ends.min()}; rows from {bars - 1} on are allowed")
    rows = ends[:, None] + np.arange(1 - bars, 1)
    return make_windows(ohlcv[rows], market_index[rows], stop_distance[ends])


class WindowBuffer:
    """Ring of the last bars of S symbols, holes filled: lags, gap counts and windows are read from it when serving."""

    def __init__(self, symbols: int, bars: int = BARS_NEEDED) -> None:
        self._bars = bars
        self._ohlcv = np.full((symbols, 2 * bars, 5), np.nan)
        self._real = np.zeros((symbols, 2 * bars), dtype=np.bool_)
        self._market = np.full(2 * bars, np.nan)
        self._end = 0

    def append(self, ohlcv: Floats, real: NDArray[np.bool_], market_index: float) -> None:
        """Add one bar of all symbols, float64[S, 5] (NaN before a symbol's first), and the market's index."""
        if self._end == self._ohlcv.shape[1]:
            keep = slice(self._end - self._bars, self._end)
            for ring in (self._ohlcv, self._real):
                ring[:, : self._bars] = ring[:, keep]
            self._market[: self._bars] = self._market[keep]
            self._end = self._bars
        self._ohlcv[:, self._end] = ohlcv
        self._real[:, self._end] = real
        self._market[self._end] = market_index
        self._end += 1

    @property
    def ohlcv(self) -> Floats:
        """float64[S, <= bars, 5], oldest first; a view that the next append may overwrite."""
        return self._ohlcv[:, max(0, self._end - self._bars) : self._end]

    @property
    def real(self) -> NDArray[np.bool_]:
        """bool[S, <= bars]: False where a bar was missing and is filled."""
        return self._real[:, max(0, self._end - self._bars) : self._end]

    def replace(self, symbol: int, ohlcv: Floats, real: NDArray[np.bool_]) -> None:
        """Overwrite one symbol's bars with float64[B, 5], aligned at the newest."""
        count = min(len(ohlcv), self._bars, self._end)
        self._ohlcv[symbol, self._end - count : self._end] = ohlcv[-count:]
        self._real[symbol, self._end - count : self._end] = real[-count:]

    def windows(self, stop_distance: Floats) -> NDArray[np.float32]:
        """float32[S, WINDOW_BARS, 5] ending in the newest bar; NaN where ``stop_distance`` is or bars are too few."""
        out = np.full((len(self._ohlcv), WINDOW_BARS, len(CHANNELS)), np.nan, dtype=np.float32)
        span = slice(self._end - WINDOW_BARS, self._end)
        if span.start < 0:
            return out
        usable = np.isfinite(stop_distance) & np.isfinite(self._ohlcv[:, span.start, _CLOSE])
        rows = np.flatnonzero(usable)
        market = np.broadcast_to(self._market[span], (len(rows), WINDOW_BARS))
        out[rows] = make_windows(self._ohlcv[rows, span], market, stop_distance[rows])
        return out
