"""The replay market: candle files of a folder as a market source.

A folder holds one file a symbol (`BTCUSDT.parquet`, `BTCUSDT.csv`) or Binance's dumps (`BTCUSDT-15m-2026-10.zip`, many
a symbol). Symbols may begin and end at different times and have gaps: a missing bar is a gap on this exchange too, in
its REST answers and its streams. Where files have different intervals the finest is the grid and the bars of the
others are split along their price path (paths.py), which loses nothing: put together again they are the file's. That
holds for one symbol's files, too: coarser bars count before, after and between its finer files.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from qt_actors.exchange.candle_files import (
    SUFFIXES,
    MarketDataError,
    read_candles,
    symbol_of,
)
from qt_actors.exchange.candles import CLOSE, FIELDS, HIGH, LOW, OPEN, Candles, Grid, empty_grid, fill_estimates
from qt_actors.exchange.hashes import symbol_key
from qt_actors.exchange.intervals import HOUR_MS, INTERVAL_MS, name_of
from qt_actors.exchange.paths import refine

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

WARMUP_MS: Final = 600 * HOUR_MS  # history a default start leaves before it
SYMBOLS_MAX: Final = 1000
DECIMALS_MAX: Final = 10


@dataclass(frozen=True, slots=True)
class _Part:
    path: Path
    first_ms: int = 0
    last_ms: int = 0
    interval_ms: int = 0


class ReplayMarket:
    """Candle files as a market source (protocol `market.MarketSource`).

    Args:
        folder: where the files lie.
        symbols: the ones to serve, or "all".
        seed: part of every path's key.

    Raises:
        MarketDataError: no folder, no candle file, an unknown symbol, an unreadable file or an odd interval.
    """

    def __init__(self, folder: Path, symbols: Sequence[str] | str = "all", seed: int = 0) -> None:
        self.name = f"replay:{folder}"
        self.identity = f"replay:{folder.resolve()}"
        self._parts = _scan(folder, symbols)
        self.symbols = tuple(self._parts)
        self._intervals: list[int] = []
        self.first_ms = np.empty(len(self.symbols), dtype=np.int64)
        self.end_of_ms = np.empty(len(self.symbols), dtype=np.int64)
        self._keys = [symbol_key(symbol, seed) for symbol in self.symbols]
        decimals: list[int] = []
        for row, symbol in enumerate(self.symbols):
            interval, places = self._survey(symbol)
            self._intervals.append(interval)
            decimals.append(places)
            self.first_ms[row] = self._parts[symbol][0].first_ms
            self.end_of_ms[row] = max(part.last_ms + part.interval_ms for part in self._parts[symbol])
        self.interval_ms = min(self._intervals)
        self.end_ms = int(self.end_of_ms.max())
        self.decimals = np.array(decimals, dtype=np.int64)
        self.default_start_ms = self._default_start()

    def read(self, start_ms: int, end_ms: int, rows: Sequence[int] | None = None) -> Grid:
        """The grid from `start_ms` to `end_ms` (multiples of `interval_ms`) of all symbols, or of those in `rows`."""
        chosen = range(len(self.symbols)) if rows is None else rows
        grid = empty_grid(start_ms, self.interval_ms, len(chosen), max(0, (end_ms - start_ms) // self.interval_ms))
        for place, row in enumerate(chosen):
            candles = self._candles(row, start_ms, end_ms)
            column = (candles.opens - start_ms) // self.interval_ms
            inside = (column >= 0) & (column < grid.bars)
            grid.data[:, place, column[inside]] = candles.data[:, inside]
        return grid

    def _candles(self, row: int, start_ms: int, end_ms: int) -> Candles:
        parts = [
            part
            for part in self._parts[self.symbols[row]]
            if part.first_ms < end_ms and part.last_ms + part.interval_ms > start_ms
        ]
        found: list[Candles] = []
        for interval in sorted({part.interval_ms for part in parts}, reverse=True):
            low = start_ms // interval * interval
            same = [read_candles(part.path, low, end_ms) for part in parts if part.interval_ms == interval]
            candles = _outside(_joined(same), interval, [part for part in parts if part.interval_ms < interval])
            fill_estimates(candles.data)
            found.append(candles if interval == self.interval_ms else self._split(row, candles, interval))
        return _joined(found)

    def _split(self, row: int, candles: Candles, interval_ms: int) -> Candles:
        """Bars of a coarser file as bars of the grid; inside such a bar each opens where the one before closed."""
        finer = name_of(self.interval_ms)
        if finer is None:
            raise MarketDataError(f"{self.name}: no kline interval is {self.interval_ms} ms long")
        detail = interval_ms // self.interval_ms // 2 + 1
        fine = refine(self._keys[row], int(self.decimals[row]), candles, interval_ms, finer, detail, self.interval_ms)
        data = fine.data
        inner = np.flatnonzero(np.arange(fine.opens.size) % (interval_ms // self.interval_ms))
        data[OPEN, inner] = data[CLOSE, inner - 1]
        data[HIGH, inner] = np.maximum(data[HIGH, inner], data[OPEN, inner])
        data[LOW, inner] = np.minimum(data[LOW, inner], data[OPEN, inner])
        return fine

    def _survey(self, symbol: str) -> tuple[int, int]:
        """Check the symbol's files and fill in their ranges; its finest interval in ms and its price decimals."""
        parts: list[_Part] = []
        decimals = 0
        lonely: list[_Part] = []
        for part in self._parts[symbol]:
            candles = read_candles(part.path)
            opens = candles.opens
            if not opens.size:
                raise MarketDataError(f"{part.path}: holds no candle; delete the file or give one with rows")
            decimals = max(decimals, decimals_of(candles.data[: CLOSE + 1].T))
            ranged = _Part(part.path, int(opens[0]), int(opens[-1]))
            if opens.size == 1:
                lonely.append(ranged)
            else:
                parts.append(replace(ranged, interval_ms=_interval(opens, part.path)))
        # A file of one candle has the interval of its neighbours.
        interval = min((part.interval_ms for part in parts), default=0) or _step_of(lonely)
        parts += [replace(part, interval_ms=interval) for part in lonely]
        self._parts[symbol] = sorted(parts, key=lambda part: part.first_ms)
        return interval, decimals

    def _default_start(self) -> int:
        """When trading starts unless told otherwise: all symbols listed and 600 h of history behind, on the hour.

        Where the common range is shorter than that, its middle.
        """
        common = int(self.first_ms.max())
        end = int(self.end_of_ms.min())
        if end <= common:  # some symbol ends before another begins: the middle of everything
            common, end = int(self.first_ms.min()), self.end_ms
        start = common + min(WARMUP_MS, (end - common) // 2)
        return -(-start // HOUR_MS) * HOUR_MS


def _scan(folder: Path, symbols: Sequence[str] | str) -> dict[str, list[_Part]]:
    if not folder.is_dir():
        raise MarketDataError(f"{folder}: no such folder; give one with SYMBOL.parquet, .csv or Binance .zip files")
    found: dict[str, list[_Part]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in SUFFIXES and path.is_file():
            found.setdefault(symbol_of(path), []).append(_Part(path))
    if not found:
        within = sorted({path.parent.name for path in folder.glob("*/*") if path.suffix in SUFFIXES})
        there = f"; there are some in {', '.join(within[:9])}" if within else ""
        allowed = f"allowed are {', '.join(SUFFIXES)}, one or more a symbol"
        raise MarketDataError(f"{folder}: no candle file here; {allowed}{there}")
    if isinstance(symbols, str):
        wanted = tuple(found) if symbols == "all" else tuple(part.strip().upper() for part in symbols.split(","))
    else:
        wanted = tuple(symbol.upper() for symbol in symbols)
    unknown = [symbol for symbol in wanted if symbol not in found]
    if unknown:
        raise MarketDataError(
            f"{folder}: no file for {', '.join(unknown)}; there are {len(found)}, such as {min(found)}"
        )
    if len(wanted) > SYMBOLS_MAX:
        raise MarketDataError(f"{folder}: {len(wanted)} symbols; at most {SYMBOLS_MAX} are served")
    return {symbol: found[symbol] for symbol in dict.fromkeys(wanted)}


def _interval(opens: NDArray[np.int64], path: Path) -> int:
    """The interval of a file's candles: the commonest step between two of them."""
    lengths, counts = np.unique(np.diff(opens), return_counts=True)
    interval = int(lengths[np.argmax(counts)])
    if interval not in INTERVAL_MS.values() or interval > INTERVAL_MS["1d"]:
        names = ", ".join(name for name, length in INTERVAL_MS.items() if length <= INTERVAL_MS["1d"])
        raise MarketDataError(f"{path}: candles are {interval} ms apart, which is no interval; allowed are {names}")
    odd = opens[opens % interval != 0]
    if odd.size:
        raise MarketDataError(f"{path}: open_time {odd[0]} is no multiple of the interval {name_of(interval)}")
    return interval


def _step_of(parts: list[_Part]) -> int:
    """The interval of files of one candle each: the commonest step from one to the next."""
    if len(parts) < 2:
        raise MarketDataError(f"{parts[0].path}: holds one candle; its interval cannot be told, give at least two")
    opens = np.array(sorted(part.first_ms for part in parts), dtype=np.int64)
    return _interval(opens, parts[0].path)


def _outside(candles: Candles, interval_ms: int, finer: list[_Part]) -> Candles:
    """The candles that lie wholly outside the ranges of finer files."""
    kept = np.ones(candles.opens.size, dtype=np.bool_)
    for part in finer:
        before = candles.opens + interval_ms <= part.first_ms
        kept &= before | (candles.opens >= part.last_ms + part.interval_ms)
    return Candles(candles.opens[kept], candles.data[:, kept])


def _joined(parts: list[Candles]) -> Candles:
    """Candles of several files in time order; where two have the same bar, the later file's."""
    if not parts:
        return Candles(np.empty(0, dtype=np.int64), np.empty((FIELDS, 0)))
    if len(parts) == 1:
        return parts[0]
    opens = np.concatenate([part.opens for part in parts])
    data = np.concatenate([part.data for part in parts], axis=1)
    order = np.argsort(opens, kind="stable")
    last = np.append(np.diff(opens[order]) > 0, True)
    return Candles(opens[order][last], data[:, order][:, last])


def decimals_of(prices: NDArray[np.float64]) -> int:
    """The fewest decimals that write every price exactly, at most DECIMALS_MAX."""
    fewest = 0
    for sample in (prices[:200], prices):  # a few rows find the answer, all rows confirm it
        for decimals in range(fewest, DECIMALS_MAX):
            scaled = sample * 10.0**decimals
            if np.abs(scaled - np.rint(scaled)).max() < 1e-4:
                fewest = decimals
                break
        else:
            return DECIMALS_MAX
    return fewest
