"""Candles on a dense grid (symbols x bars), and their aggregation to any kline interval.

A grid holds, for every symbol, one cell a bar; a cell without a bar (not yet listed, delisted, a gap) has NaN in all
fields. Five fields are always there, three more only where a source knows them; `turnover`, `trade_count` and
`taker_share` give documented estimates where it does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from qt_actors.exchange.intervals import opens_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPEN: Final = 0
HIGH: Final = 1
LOW: Final = 2
CLOSE: Final = 3
VOLUME: Final = 4
QUOTE_VOLUME: Final = 5
TRADES: Final = 6
TAKER_VOLUME: Final = 7
FIELDS: Final = 8

USDT_PER_TRADE: Final = 1000.0  # estimate of the trade count where a source has none
TAKER_TILT: Final = 0.2  # taker buys: half, plus this much of the bar's body over its range


@dataclass(frozen=True, slots=True)
class Grid:
    """Candles of several symbols on one time grid.

    Attributes:
        start_ms: open time of the first column, ms UTC.
        interval_ms: length of a bar.
        data: float64, shape (FIELDS, symbols, bars); NaN where there is no bar.
    """

    start_ms: int
    interval_ms: int
    data: NDArray[np.float64]

    @property
    def bars(self) -> int:
        """Number of columns."""
        return int(self.data.shape[2])

    @property
    def end_ms(self) -> int:
        """First ms after the last column."""
        return self.start_ms + self.bars * self.interval_ms

    def opens(self) -> NDArray[np.int64]:
        """Open times of the columns, int64 ms, shape (bars,)."""
        return self.start_ms + np.arange(self.bars, dtype=np.int64) * self.interval_ms


@dataclass(frozen=True, slots=True)
class Candles:
    """Candles of one symbol in time order, gaps left out.

    Attributes:
        opens: open times, int64 ms UTC, shape (bars,).
        data: float64, shape (FIELDS, bars), no NaN in the first five fields.
    """

    opens: NDArray[np.int64]
    data: NDArray[np.float64]


def empty_grid(start_ms: int, interval_ms: int, symbols: int, bars: int) -> Grid:
    """A grid of NaN."""
    return Grid(start_ms, interval_ms, np.full((FIELDS, symbols, bars), np.nan))


def fill_estimates(data: NDArray[np.float64]) -> None:
    """Give the three optional fields, in place, their documented estimates where they are NaN and the bar is there.

    Quote volume: volume x (high + low + close) / 3. Trades: one a 1,000 USDT of quote volume, at least one when
    anything was traded. Taker buys: volume x (0.5 + 0.2 x (close - open) / (high - low)).
    """
    volume, span = data[VOLUME], data[HIGH] - data[LOW]
    turnover = volume * (data[HIGH] + data[LOW] + data[CLOSE]) / 3.0
    data[QUOTE_VOLUME] = np.where(np.isnan(data[QUOTE_VOLUME]), turnover, data[QUOTE_VOLUME])
    count = np.maximum(np.rint(data[QUOTE_VOLUME] / USDT_PER_TRADE), 1.0) * (volume > 0)
    data[TRADES] = np.where(np.isnan(data[TRADES]) & ~np.isnan(volume), count, data[TRADES])
    body = np.divide(data[CLOSE] - data[OPEN], span, out=np.zeros_like(span), where=span > 0)
    data[TAKER_VOLUME] = np.where(np.isnan(data[TAKER_VOLUME]), volume * (0.5 + TAKER_TILT * body), data[TAKER_VOLUME])


def row_candles(grid: Grid, row: int) -> Candles:
    """The bars that one symbol has in a grid."""
    data = grid.data[:, row, :]
    there = ~np.isnan(data[OPEN])
    return Candles(grid.opens()[there], data[:, there])


def aggregate(candles: Candles, interval: str) -> Candles:
    """Candles of a coarser interval (a key of INTERVAL_MS) from finer ones; the last may be incomplete.

    Open of the first, highest high, lowest low, close of the last, sums of the rest. A bucket with no finer bar at all
    has no candle.
    """
    if candles.opens.size == 0:
        return candles
    buckets = opens_of(interval, candles.opens)
    starts = np.flatnonzero(np.concatenate(([True], buckets[1:] != buckets[:-1])))
    ends = np.concatenate((starts[1:], [buckets.size])) - 1
    data = np.empty((FIELDS, starts.size))
    data[OPEN] = candles.data[OPEN][starts]
    data[CLOSE] = candles.data[CLOSE][ends]
    data[HIGH] = np.maximum.reduceat(candles.data[HIGH], starts)
    data[LOW] = np.minimum.reduceat(candles.data[LOW], starts)
    data[VOLUME:] = np.add.reduceat(candles.data[VOLUME:], starts, axis=1)
    return Candles(buckets[starts], data)


def join(first: Candles, second: Candles) -> Candles:
    """Two runs of candles, one after the other in time."""
    return Candles(np.concatenate((first.opens, second.opens)), np.concatenate((first.data, second.data), axis=1))


def between(candles: Candles, start_ms: int, end_ms: int) -> Candles:
    """The candles that open in [start_ms, end_ms)."""
    low, high = np.searchsorted(candles.opens, (start_ms, end_ms))
    return Candles(candles.opens[low:high], candles.data[:, low:high])
