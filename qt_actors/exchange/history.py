"""The window of candles that the running market holds: a stretch behind it for queries, a stretch ahead to walk.

Memory is bounded by the window, not by the files. Older candles are read from the source when somebody asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from qt_actors.exchange.candles import HIGH, LOW, OPEN, QUOTE_VOLUME, Candles, Grid, join, row_candles
from qt_actors.exchange.depth import Liquidity
from qt_actors.exchange.intervals import DAY_MS, HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BEHIND_MS: Final = 800 * HOUR_MS
CELLS_MAX: Final = 1_500_000  # symbols x bars kept behind: 96 MB
AHEAD_BARS: Final = 512
AHEAD_MIN: Final = 128  # fetch more when fewer bars are left
COVERED_MIN_MS: Final = HOUR_MS  # less history than this tells as little as this
CENTS: Final = 100.0
SQUARES: Final = 1e12  # units of a squared move: running sums of whole numbers are exact, whatever the window
PARKINSON: Final = 4.0 * np.log(2.0)  # squared range of a diffusion over its variance


class MarketSource(Protocol):
    """Where candles come from: a folder of files, or a seeded model.

    Attributes:
        name: "replay:FOLDER" or "synthetic:SEED".
        identity: what a saved account belongs to; two sources of one identity have the same prices.
        symbols: in the order of every array below.
        interval_ms: length of its bars, a kline interval.
        decimals: price decimals of each symbol, int64.
        first_ms: open time of each symbol's first bar, int64.
        end_of_ms: first ms after each symbol's last bar, int64 (far future where there is none).
        end_ms: first ms after the last bar of all.
        default_start_ms: when trading starts unless told otherwise.
    """

    name: str
    identity: str
    symbols: tuple[str, ...]
    interval_ms: int
    decimals: NDArray[np.int64]
    first_ms: NDArray[np.int64]
    end_of_ms: NDArray[np.int64]
    end_ms: int
    default_start_ms: int

    def read(self, start_ms: int, end_ms: int, rows: Sequence[int] | None = None) -> Grid:
        """All bars that open in [start_ms, end_ms) (multiples of interval_ms); of `rows` only, in that order."""
        ...


class History:
    """A sliding window over a source.

    Args:
        source: the candles.
        now_ms: open time of the bar that runs first.
    """

    def __init__(self, source: MarketSource, now_ms: int) -> None:
        self._source = source
        self.interval_ms = source.interval_ms
        behind = min(BEHIND_MS // self.interval_ms, CELLS_MAX // max(1, len(source.symbols)))
        self._behind = max(int(behind), DAY_MS // self.interval_ms)
        start = max(now_ms - self._behind * self.interval_ms, 0)
        self.grid = source.read(start, now_ms + AHEAD_BARS * self.interval_ms)
        self._sums = _running_sums(self.grid.data)

    def column(self, open_ms: int) -> int:
        """Index of the bar that opens at `open_ms`, within what is loaded."""
        return (open_ms - self.grid.start_ms) // self.interval_ms

    def wants_more(self, open_ms: int) -> bool:
        """Whether the stretch ahead of the bar at `open_ms` gets short."""
        return self.grid.bars - self.column(open_ms) < AHEAD_MIN

    def fetch(self) -> Grid:
        """Read the next stretch; changes nothing, so it may run on another thread."""
        end = self.grid.end_ms
        return self._source.read(end, end + AHEAD_BARS * self.interval_ms)

    def extend(self, more: Grid, open_ms: int) -> None:
        """Append what `fetch` read, unless somebody did already, and drop what lies too far behind `open_ms`."""
        if more.start_ms != self.grid.end_ms:
            return
        drop = max(0, self.column(open_ms) - self._behind)
        data = np.concatenate((self.grid.data[:, :, drop:], more.data), axis=2)
        sums = self._sums[:, :, -1:] + _running_sums(more.data)[:, :, 1:]
        self._sums = np.concatenate((self._sums[:, :, drop:], sums), axis=2)
        self.grid = Grid(self.grid.start_ms + drop * self.interval_ms, self.interval_ms, data)

    def bars_at(self, open_ms: int) -> NDArray[np.float64]:
        """The bars that open at `open_ms`, shape (FIELDS, symbols), NaN where there is none; loads more if needed."""
        while self.column(open_ms) >= self.grid.bars:
            self.extend(self.fetch(), open_ms)
        return self.grid.data[:, :, self.column(open_ms)]

    def candles(self, row: int, start_ms: int, end_ms: int) -> Candles:
        """One symbol's bars that open in [start_ms, end_ms), from the window, and from the source what lies before."""
        low, high = self.column(start_ms), self.column(end_ms - 1) + 1
        grid = Grid(
            self.grid.start_ms + max(low, 0) * self.interval_ms,
            self.interval_ms,
            self.grid.data[:, row : row + 1, max(low, 0) : max(high, 0)],
        )
        inside = row_candles(grid, 0)
        first = int(self._source.first_ms[row])
        if start_ms >= self.grid.start_ms or first >= self.grid.start_ms:
            return inside
        start = max(start_ms, first) // self.interval_ms * self.interval_ms
        older = self._source.read(start, min(end_ms, self.grid.start_ms), [row])
        return join(row_candles(older, 0), inside)

    def liquidity(self, open_ms: int) -> Liquidity:
        """Volume and volatility of the 24 hours before `open_ms`; a shorter history is taken for a whole day."""
        high = self.column(open_ms)
        low = max(0, high - DAY_MS // self.interval_ms)
        volume, squares, bars = self._sums[:, :, high] - self._sums[:, :, low]
        days = np.maximum(bars * self.interval_ms, COVERED_MIN_MS) / DAY_MS
        return Liquidity.of(volume / CENTS / days, np.sqrt(squares / SQUARES / PARKINSON / days))

    def volume_24h(self, open_ms: int) -> NDArray[np.float64]:
        """Quote volume of the 24 hours before `open_ms`, USDT, shape (symbols,)."""
        high = self.column(open_ms)
        low = max(0, high - DAY_MS // self.interval_ms)
        return np.asarray((self._sums[0, :, high] - self._sums[0, :, low]) / CENTS)


def _running_sums(data: NDArray[np.float64]) -> NDArray[np.int64]:
    """Quote volume in cents, squared log ranges in 1e-12 and bars, summed along time, int64, (3, symbols, bars + 1)."""
    there = ~np.isnan(data[OPEN])
    sums = np.zeros((3, data.shape[1], data.shape[2] + 1), dtype=np.int64)
    ranges = np.log(np.divide(data[HIGH], data[LOW], out=np.ones_like(data[HIGH]), where=there))
    for place, values in enumerate((np.where(there, data[QUOTE_VOLUME], 0.0) * CENTS, ranges**2 * SQUARES, there)):
        np.cumsum(np.rint(values).astype(np.int64), axis=1, out=sums[place, :, 1:])
    return sums
