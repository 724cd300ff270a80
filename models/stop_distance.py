"""The stop distance w = 1.5 × ATR(14) / close, its ATR on closed coarse bars (4h by default) made of the trader's own.

One number scales the features, sizes the trade, is placed as the stop and bounds the labels (SPEC 8). Coarse bars
stand on the UTC grid and count once their last fine bar has closed; between two of them the ATR rests and only the
close moves. A coarse bar whose first fine bar lies before the history is left out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import talib
import talib.stream
from numpy.typing import NDArray

from models.feature_table import ATR_PERIOD, STOP_ATR_MULTIPLE
from models.indicators import Floats, Names, Times


class CoarseBars(NamedTuple):
    """Complete coarse bars, float64[N], the fine rows int64[N] that complete them, and what is still open."""

    ends: NDArray[np.int64]
    high: Floats
    low: Floats
    close: Floats
    open_rows: slice


def coarse_bars(names: Names, open_time_ms: Times, interval_ms: int, coarse_ms: int) -> CoarseBars:
    """Aggregate high, low, close float64[T] on a regular grid; ``open_rows`` belong to the unfinished bar."""
    total = len(open_time_ms)
    per_bar = coarse_ms // interval_ms
    first = int(-(open_time_ms[0] // interval_ms) % per_bar)
    count = max(0, (total - first) // per_bar)
    stop = first + count * per_bar
    shape = (count, per_bar)
    return CoarseBars(
        ends=np.arange(count) * per_bar + first + per_bar - 1,
        high=names["high"][first:stop].reshape(shape).max(axis=1),
        low=names["low"][first:stop].reshape(shape).min(axis=1),
        close=names["close"][first:stop].reshape(shape)[:, -1].copy(),
        open_rows=slice(min(stop, total), total),
    )


def stop_distances(names: Names, open_time_ms: Times, interval_ms: int, coarse_ms: int) -> Floats:
    """Stop distance float64[T] from high, low, close float64[T] of one symbol; NaN before 15 complete coarse bars."""
    bars = coarse_bars(names, open_time_ms, interval_ms, coarse_ms)
    atr = np.full(len(open_time_ms), np.nan)
    if len(bars.ends) > ATR_PERIOD:
        rests = np.diff(np.append(bars.ends, len(open_time_ms)))
        atr[bars.ends[0] :] = np.repeat(talib.ATR(bars.high, bars.low, bars.close, ATR_PERIOD), rests)
    return STOP_ATR_MULTIPLE * atr / names["close"]


class StopDistances:
    """``stop_distances`` bar by bar for S symbols, equal to it bit for bit."""

    def __init__(self, symbols: int, interval_ms: int, coarse_ms: int) -> None:
        if coarse_ms <= 0 or coarse_ms % interval_ms:
            raise ValueError(
                f"ATR interval {coarse_ms} ms is no multiple of the bar interval {interval_ms} ms; "
                "set QT_ATR_INTERVAL to one"
            )
        self._interval_ms, self._coarse_ms = interval_ms, coarse_ms
        self._updates: list[Any] = [None] * symbols
        self._pending: list[list[tuple[float, float, float]]] = [[] for _ in range(symbols)]
        self._whole = np.zeros(symbols, dtype=np.bool_)
        self._opened = np.zeros(symbols, dtype=np.bool_)
        self._high = np.full(symbols, -np.inf)
        self._low = np.full(symbols, np.inf)
        self._atr = np.full(symbols, np.nan)

    def open(self, symbol: int, names: Names, open_time_ms: Times) -> None:
        """Start a symbol from its history, high, low, close float64[T]."""
        bars = coarse_bars(names, open_time_ms, self._interval_ms, self._coarse_ms)
        rows = bars.open_rows
        self._whole[symbol] = rows.start < rows.stop
        self._high[symbol] = names["high"][rows].max(initial=-np.inf)
        self._low[symbol] = names["low"][rows].min(initial=np.inf)
        self._opened[symbol] = True
        self._updates[symbol], self._atr[symbol] = None, np.nan
        self._pending[symbol] = list(zip(bars.high.tolist(), bars.low.tolist(), bars.close.tolist(), strict=True))
        self._open_handle(symbol)

    def _open_handle(self, symbol: int) -> None:
        """Open the ATR handle as soon as enough coarse bars are pending."""
        if len(self._pending[symbol]) > ATR_PERIOD:
            high, low, close = (np.array(column) for column in zip(*self._pending[symbol], strict=True))
            handle = talib.stream.ATR(high, low, close, ATR_PERIOD)
            self._updates[symbol], self._atr[symbol] = handle.update, handle.value
            self._pending[symbol] = []

    def update(self, names: Names, open_time_ms: int) -> Floats:
        """One bar: high, low, close float64[S]; returns w float64[S], NaN where unknown."""
        if open_time_ms % self._coarse_ms == 0:
            self._whole[:] = True
            self._high[:], self._low[:] = -np.inf, np.inf
        self._high = np.fmax(self._high, names["high"])
        self._low = np.fmin(self._low, names["low"])
        if (open_time_ms + self._interval_ms) % self._coarse_ms == 0:
            self._complete(names["close"])
        return STOP_ATR_MULTIPLE * self._atr / names["close"]

    def _complete(self, close: Floats) -> None:
        for symbol in np.flatnonzero(self._opened & self._whole).tolist():
            bar = (float(self._high[symbol]), float(self._low[symbol]), float(close[symbol]))
            if self._updates[symbol] is not None:
                self._atr[symbol] = self._updates[symbol](*bar)
            else:
                self._pending[symbol].append(bar)
                self._open_handle(symbol)
