"""A folder of candles as rows to learn from: features, labels, weights, outcomes and windows. Training only.

Rows are sorted by decision time over all symbols. Labels overlap, so each symbol gives one row in ``stride`` bars, its
phase shifted by its index, and a row weighs its label's average uniqueness. Symbols move together: n of them at one
time carry about n / (1 + (n - 1) ρ) independent observations (the design effect of Kish 1965), and a row's weight is
scaled by that over n, so that a year of 80 symbols does not outvote five years of 16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.candles import Candles, CandleSet, load_candles
from models.features import BARS_NEEDED, compute_batch, feature_hash, feature_names, market_context
from models.indicators import Floats, Times
from models.labels import Barriers, average_uniqueness, triple_barrier
from models.market import MarketContext
from models.windows import WINDOW_BARS, gather_windows

STRIDE = 4
CROSS_CORRELATION = 0.5
"""ρ of the weights: the typical correlation of hourly returns between two symbols of the universe."""
BASE_FUNDING_8H = 0.0001
"""Binance's interest component, charged where no settlement is on file."""
_EIGHT_HOURS_MS = 28_800_000
_SETTLEMENT_SLACK_MS = 60_000

Rows = NDArray[np.int64]


class Dataset(NamedTuple):
    """N labelled rows of S symbols, sorted by ``t0_ms``, and the T bars they were made of, symbol after symbol.

    Attributes:
        symbols: names; interval_ms, feature_names, feature_hash: of the bars and the columns; notes: what was wrong
            with the files.
        features: float32[N, F]; labels: int8[N], SELL 0, HOLD 1, BUY 2; weights: float32[N], mean 1.
        t0_ms: int64[N], close of the row's bar = the entry; t1_ms: int64[N], close of the last bar the label depends
            on.
        symbol: int32[N], index into ``symbols``; row: int64[N], index into the bars.
        r_long, r_short: float32[N], in stop distances after fees, slippage and funding.
        stop_distance: float64[N], w. both_won: bool[N], HOLD rows in which long and short both won.
        ohlcv, market_index, scale: float64[T, 5], float64[T], float64[T]: bars without holes, market index, w (NaN
            where unknown).
        first: int64[S + 1], where each symbol's bars begin. open_time_ms: int64[T].
    """

    symbols: tuple[str, ...]
    interval_ms: int
    feature_names: tuple[str, ...]
    feature_hash: str
    notes: tuple[str, ...]
    features: NDArray[np.float32]
    labels: NDArray[np.int8]
    weights: NDArray[np.float32]
    t0_ms: Times
    t1_ms: Times
    symbol: NDArray[np.int32]
    row: Rows
    r_long: NDArray[np.float32]
    r_short: NDArray[np.float32]
    stop_distance: Floats
    both_won: NDArray[np.bool_]
    ohlcv: Floats
    market_index: Floats
    scale: Floats
    first: Rows
    open_time_ms: Times

    def windows(self, rows: Rows) -> NDArray[np.float32]:
        """Windows float32[n, WINDOW_BARS, C] of data set rows int64[n]."""
        return gather_windows(self.ohlcv, self.market_index, self.scale, self.row[rows], WINDOW_BARS)

    def future_moves(self, rows: Rows, horizon_bars: int) -> NDArray[np.float32]:
        """Log return to each of the next closes in stop distances, float32[n, H]; NaN past the end of a symbol."""
        at = self.row[rows][:, None] + np.arange(1, horizon_bars + 1)
        end = self.first[1:][self.symbol[rows]]
        close = self.ohlcv[:, 3]
        ahead = close[np.minimum(at, len(close) - 1)]
        moves = np.log(ahead / close[self.row[rows]][:, None]) / self.stop_distance[rows][:, None]
        return np.where(at < end[:, None], moves, np.nan).astype(np.float32)


class _Part(NamedTuple):
    """One symbol's share of the data set; rows count from its own first bar."""

    bars: Floats
    market_index: Floats
    scale: Floats
    open_time_ms: Times
    rows: Rows
    last: Rows
    features: NDArray[np.float32]
    labels: NDArray[np.int8]
    uniqueness: Floats
    r_long: Floats
    r_short: Floats
    both: NDArray[np.bool_]


def build_dataset(
    source: Path | Sequence[Path] | CandleSet,
    *,
    interval: str = "1h",
    barriers: Barriers = Barriers(),  # noqa: B008 - an immutable tuple of defaults
    stride: int = STRIDE,
    symbols: Iterable[str] | None = None,
    funding_file: Path | None = None,
    progress: Callable[[str], object] | None = None,
) -> Dataset:
    """Read, compute, label and thin.

    Args:
        source: folders of candle files (see ``load_candles``), or candles already loaded.
        interval: of the bars.
        barriers: stop, target, horizon and costs of the labels.
        stride: bars between two rows of a symbol; 1 keeps every bar.
        symbols: only these.
        funding_file: Parquet of symbol, funding_time (ms), funding_rate; without it, and where it has holes, the base
            rate is charged.
        progress: called with each symbol when it is done.

    Raises:
        CandleError: nothing usable was found.
        ValueError: stride below 1, or no bar could be labelled.
    """
    if stride < 1:
        raise ValueError(f"stride {stride}: at least 1 bar")
    candles = source if isinstance(source, CandleSet) else load_candles(source, interval, symbols)
    names = tuple(candles.by_symbol)
    context = _context(candles)
    settlements = _settlements(funding_file)
    parts = []
    for index, (symbol, own) in enumerate(candles.by_symbol.items()):
        funding = _funding_per_bar(own.open_time_ms, candles.interval_ms, settlements.get(symbol))
        parts.append(_part(own, context, candles.interval_ms, barriers, funding, stride, index))
        if progress is not None:
            progress(symbol)
    if not sum(len(part.rows) for part in parts):
        raise ValueError(
            f"none of {len(names)} symbols has a labelled bar: "
            f"each needs {BARS_NEEDED + barriers.horizon_bars} bars or more"
        )
    return _joined(names, candles, parts)


def _context(candles: CandleSet) -> MarketContext:
    """Market context over the union of all symbols' times."""
    begin = min(int(own.open_time_ms[0]) for own in candles.by_symbol.values())
    end = max(int(own.open_time_ms[-1]) for own in candles.by_symbol.values())
    grid = np.arange(begin, end + 1, candles.interval_ms)
    close = np.full((len(candles.by_symbol), len(grid)), np.nan)
    for row, own in zip(close, candles.by_symbol.values(), strict=True):
        start = (int(own.open_time_ms[0]) - begin) // candles.interval_ms
        row[start : start + len(own.ohlcv)] = own.ohlcv[:, 3]
    return market_context(tuple(candles.by_symbol), grid, close)


def _part(
    own: Candles,
    context: MarketContext,
    interval_ms: int,
    barriers: Barriers,
    funding: Floats,
    stride: int,
    index: int,
) -> _Part:
    batch = compute_batch(own.ohlcv, own.open_time_ms, context, interval_ms=interval_ms)
    outcomes = triple_barrier(batch.ohlcv, batch.real, batch.stop_distance, barriers, funding)
    phase = own.open_time_ms // interval_ms % stride == index % stride
    rows = np.flatnonzero(batch.eligible & outcomes.known & phase)
    last = outcomes.last[rows]
    return _Part(
        bars=batch.ohlcv,
        market_index=context.at(own.open_time_ms)["market_index"],
        scale=batch.stop_distance,
        open_time_ms=own.open_time_ms,
        rows=rows,
        last=last,
        features=batch.features[rows],
        labels=outcomes.labels[rows],
        uniqueness=average_uniqueness(rows + 1, last),
        r_long=outcomes.r_long[rows],
        r_short=outcomes.r_short[rows],
        both=outcomes.both[rows],
    )


def _joined(symbols: tuple[str, ...], candles: CandleSet, parts: list[_Part]) -> Dataset:
    first = np.concatenate([[0], np.cumsum([len(part.bars) for part in parts])]).astype(np.int64)
    t0_ms = np.concatenate([part.open_time_ms[part.rows] + candles.interval_ms for part in parts])
    symbol = np.repeat(np.arange(len(parts), dtype=np.int32), [len(part.rows) for part in parts])
    order = np.lexsort((symbol, t0_ms))

    def gathered(name: str) -> NDArray[np.generic]:
        return np.concatenate([getattr(part, name) for part in parts])[order]

    rows = np.concatenate([part.rows + begin for part, begin in zip(parts, first, strict=False)])[order]
    t1_ms = np.concatenate([part.open_time_ms[part.last] + candles.interval_ms for part in parts])[order]
    scale = np.concatenate([part.scale for part in parts])
    weights = gathered("uniqueness").astype(np.float64) * _breadth_share(t0_ms[order], candles, parts)
    return Dataset(
        symbols=symbols,
        interval_ms=candles.interval_ms,
        feature_names=feature_names(),
        feature_hash=feature_hash(),
        notes=candles.notes,
        features=gathered("features").astype(np.float32, copy=False),
        labels=gathered("labels").astype(np.int8, copy=False),
        weights=(weights / weights.mean()).astype(np.float32),
        t0_ms=t0_ms[order],
        t1_ms=t1_ms,
        symbol=symbol[order],
        row=rows,
        r_long=gathered("r_long").astype(np.float32),
        r_short=gathered("r_short").astype(np.float32),
        stop_distance=scale[rows],
        both_won=gathered("both").astype(np.bool_, copy=False),
        ohlcv=np.concatenate([part.bars for part in parts]),
        market_index=np.concatenate([part.market_index for part in parts]),
        scale=scale,
        first=first,
        open_time_ms=np.concatenate([part.open_time_ms for part in parts]),
    )


def _breadth_share(t0_ms: Times, candles: CandleSet, parts: list[_Part]) -> Floats:
    """Independent observations per symbol: 1 / (1 + (n - 1) ρ), n the symbols that give rows in the row's day."""
    step_ms = 24 * candles.interval_ms
    days = t0_ms // step_ms
    origin = int(days.min())
    listed = np.zeros(int(days.max()) - origin + 1, dtype=np.int64)
    for part in parts:
        own = np.unique((part.open_time_ms[part.rows] + candles.interval_ms) // step_ms) - origin
        listed[own] += 1
    count = listed[days - origin]
    return np.asarray(1.0 / (1.0 + (count - 1) * CROSS_CORRELATION), dtype=np.float64)


def _settlements(path: Path | None) -> dict[str, pl.DataFrame]:
    """Settlements by symbol, sorted by time; raises polars' and OSError for an unreadable file."""
    if path is None:
        return {}
    frame = pl.read_parquet(path, columns=["symbol", "funding_time", "funding_rate"]).sort("funding_time")
    return {str(key[0]): part for key, part in frame.partition_by("symbol", as_dict=True).items()}


def _funding_per_bar(open_time_ms: Times, interval_ms: int, settlements: pl.DataFrame | None) -> Floats:
    """Rate a long pays at each bar's open, float64[T]: settlements on file, else the base rate spread evenly."""
    funding = np.full(len(open_time_ms), BASE_FUNDING_8H * interval_ms / _EIGHT_HOURS_MS)
    if settlements is None:
        return funding
    times = settlements["funding_time"].to_numpy() // interval_ms * interval_ms
    rates = settlements["funding_rate"].to_numpy()
    at = np.searchsorted(open_time_ms, times)
    near = np.diff(settlements["funding_time"].to_numpy()) <= _EIGHT_HOURS_MS + _SETTLEMENT_SLACK_MS
    for begin, end in zip(at[:-1][near], at[1:][near], strict=True):
        funding[begin:end] = 0.0
    inside = (at < len(open_time_ms)) & (times >= open_time_ms[0])
    funding[at[inside]] = 0.0
    np.add.at(funding, at[inside], rates[inside])
    return funding
