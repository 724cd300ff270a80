"""Candles that are still forming, of all symbols at once, for one interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qt_actors.exchange.candles import CLOSE, FIELDS, HIGH, LOW, OPEN, VOLUME
from qt_actors.exchange.intervals import close_of, open_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Forming:
    """The running candles of one interval; a symbol without a print in the bucket has `there` False.

    Args:
        interval: a key of intervals.INTERVAL_MS.
        time_ms: a moment in the first bucket.
        symbols: how many.
    """

    def __init__(self, interval: str, time_ms: int, symbols: int) -> None:
        self.interval = interval
        self.data = np.zeros((FIELDS, symbols))
        self.there = np.zeros(symbols, dtype=np.bool_)
        self.open_ms = 0
        self.close_ms = 0
        self.begin(time_ms)

    def begin(self, time_ms: int) -> None:
        """Empty the bucket and move to the one that holds `time_ms`."""
        self.open_ms = open_of(self.interval, time_ms)
        self.close_ms = close_of(self.interval, self.open_ms)
        self.data[:] = 0.0
        self.data[HIGH] = -np.inf
        self.data[LOW] = np.inf
        self.there[:] = False

    def add_points(self, rows: NDArray[np.int64], prices: NDArray[np.float64], amounts: NDArray[np.float64]) -> None:
        """Add prints in time order.

        Args:
            rows: symbol of each print, shape (k,); a symbol may come several times.
            prices: shape (k,).
            amounts: volume, quote volume, trades, taker volume of each, shape (4, k).
        """
        fresh, first = np.unique(rows, return_index=True)
        new = ~self.there[fresh]
        self.data[OPEN, fresh[new]] = prices[first[new]]
        self.there[fresh] = True
        np.maximum.at(self.data[HIGH], rows, prices)
        np.minimum.at(self.data[LOW], rows, prices)
        self.data[CLOSE, rows] = prices  # with doubled indices the last value stays
        for field in range(VOLUME, FIELDS):
            np.add.at(self.data[field], rows, amounts[field - VOLUME])

    def add_bars(self, bars: NDArray[np.float64]) -> None:
        """Add one finer bar of every symbol, shape (FIELDS, symbols), NaN where there is none."""
        has = ~np.isnan(bars[OPEN])
        new = has & ~self.there
        self.data[OPEN, new] = bars[OPEN, new]
        self.data[HIGH, has] = np.maximum(self.data[HIGH, has], bars[HIGH, has])
        self.data[LOW, has] = np.minimum(self.data[LOW, has], bars[LOW, has])
        self.data[CLOSE, has] = bars[CLOSE, has]
        self.data[VOLUME:, has] += bars[VOLUME:, has]
        self.there |= has

    def fill_flat(self, listed: NDArray[np.bool_], last: NDArray[np.float64]) -> None:
        """Give the symbols that are listed and had no print a flat candle at their last price, with no volume."""
        rows = listed & ~self.there & (last > 0)
        self.data[OPEN : CLOSE + 1, rows] = last[rows]
        self.there |= rows
