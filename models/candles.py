"""Candle files of folders: read, checked, repaired or refused by name, aggregated, merged per symbol. Training only.

Read are Parquet and CSV (plain, gzipped or zipped; with Binance's header or none), one or more files a symbol, named
after it (``BTCUSDT.parquet``, ``BTCUSDT-1h-2024-01.zip``). Times in micro- or nanoseconds are divided down. What was
dropped or repaired is told in ``CandleSet.notes``, a line each.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from models.bars import usable_bars
from models.indicators import Floats, Times

COLUMNS = ("open_time", "open", "high", "low", "close", "volume")
INTERVALS_MS = {
    "1m": 60_000,
    "5m": 300_000,
    "15m": 900_000,
    "30m": 1_800_000,
    "1h": 3_600_000,
    "4h": 14_400_000,
    "1d": 86_400_000,
}
FILE_BYTES_MAX = 2_000_000_000
_SUFFIXES = (".parquet", ".csv", ".csv.gz", ".zip")
_SYMBOL = re.compile(r"([A-Z0-9]+USDT)(?:[-_.]|$)")
_EARLIEST_MS = 1_483_228_800_000
"""2017-01-01; older times are no Binance candles."""
_ROWS_MIN = 2
_DISAGREE = 0.005


class CandleError(Exception):
    """No usable candles; one line says where was looked and what is expected."""


class Candles(NamedTuple):
    """One symbol: open times int64[T] on a regular grid, OHLCV float64[T, 5] with NaN rows where a bar is missing."""

    open_time_ms: Times
    ohlcv: Floats


class CandleSet(NamedTuple):
    """Candles by symbol, sorted by name, all of ``interval_ms``, and what was found wrong on the way."""

    interval_ms: int
    by_symbol: dict[str, Candles]
    notes: tuple[str, ...]


class _Refused(Exception):  # noqa: N818 - it is a verdict on one file, told as a note
    pass


def load_candles(
    folders: Path | Sequence[Path], interval: str = "1h", symbols: Iterable[str] | None = None
) -> CandleSet:
    """Read every candle file below ``folders``.

    Files finer than ``interval`` are aggregated, of complete buckets only; coarser ones are refused. Where several
    files hold the same bar of a symbol, the one of the coarsest interval wins: it is the exchange's own bar, and the
    longest histories are stored so.

    Args:
        folders: searched with all below them.
        interval: of the bars wanted, a key of ``INTERVALS_MS``.
        symbols: only these; None = all that end in USDT.

    Raises:
        CandleError: unknown interval, a folder is absent, or nothing usable is in any.
    """
    if interval not in INTERVALS_MS:
        raise CandleError(f"interval {interval!r}: unknown; allowed: {', '.join(INTERVALS_MS)}")
    interval_ms = INTERVALS_MS[interval]
    paths = [folders] if isinstance(folders, Path) else list(folders)
    if absent := [str(path) for path in paths if not path.is_dir()]:
        raise CandleError(
            f"{', '.join(absent)}: no such folder; give one that holds SYMBOL.parquet or Binance CSV files"
        )
    wanted = None if symbols is None else set(symbols)
    notes: list[str] = []
    parts: dict[str, list[tuple[int, pl.DataFrame]]] = {}
    for path in sorted({file for folder in paths for file in folder.rglob("*") if file.name.endswith(_SUFFIXES)}):
        symbol = _symbol(path)
        if symbol is None or (wanted is not None and symbol not in wanted):
            continue
        try:
            frame, own_ms = _aggregated(_clean(_read(path), path, notes), interval_ms)
        except _Refused as refusal:
            notes.append(f"{path}: refused, {refusal}")
            continue
        parts.setdefault(symbol, []).append((own_ms, frame))
    merged = {symbol: _merge(symbol, parts[symbol], interval_ms, notes) for symbol in sorted(parts)}
    by_symbol = {symbol: candles for symbol, candles in merged.items() if candles is not None}
    if not by_symbol:
        seen = f"; {notes[0]}" if notes else ""
        raise CandleError(
            f"{', '.join(map(str, paths))}: no usable {interval} candles; "
            f"expected SYMBOL.parquet with {', '.join(COLUMNS)}{seen}"
        )
    return CandleSet(interval_ms, by_symbol, tuple(notes))


def _symbol(path: Path) -> str | None:
    match = _SYMBOL.match(path.name.upper())
    return match.group(1) if match else None


def _read(path: Path) -> pl.DataFrame:
    """The six columns as float64, open_time as int64 ms."""
    if path.stat().st_size > FILE_BYTES_MAX:
        raise _Refused(f"larger than {FILE_BYTES_MAX} bytes; split it by month")
    try:
        frame = pl.read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    except (OSError, pl.exceptions.PolarsError, zipfile.BadZipFile) as error:
        raise _Refused(f"cannot be read ({str(error).splitlines()[0]})") from error
    if absent := [name for name in COLUMNS if name not in frame.columns]:
        raise _Refused(f"no column {', '.join(absent)}; needed are {', '.join(COLUMNS)}")
    try:
        frame = frame.select(
            pl.col("open_time").cast(pl.Int64), *(pl.col(name).cast(pl.Float64) for name in COLUMNS[1:])
        )
    except pl.exceptions.PolarsError as error:
        raise _Refused(f"a column is not numeric ({str(error).splitlines()[0]})") from error
    time = pl.col("open_time")
    in_ms = pl.when(time > 10**17).then(time // 10**6).when(time > 10**14).then(time // 10**3).otherwise(time)
    return frame.with_columns(in_ms)


def _read_csv(path: Path) -> pl.DataFrame:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            names = [info for info in archive.infolist() if info.filename.endswith(".csv")]
            if len(names) != 1 or names[0].file_size > FILE_BYTES_MAX:
                raise _Refused(f"holds {len(names)} CSV files; one of at most {FILE_BYTES_MAX} bytes is expected")
            source: Path | bytes = archive.read(names[0])
    else:
        source = path
    frame = pl.read_csv(source, has_header=False, infer_schema=False)
    if frame.item(0, 0) in {"open_time", "timestamp"}:
        header = ["open_time", *(str(name) for name in frame.row(0)[1:])]
        return frame.slice(1).rename(dict(zip(frame.columns, header, strict=True)))
    return frame.rename(dict(zip(frame.columns, COLUMNS, strict=False)))


def _clean(frame: pl.DataFrame, path: Path, notes: list[str]) -> pl.DataFrame:
    """Drop rows that are no candle, sort, keep the last of doubled times."""
    whole = usable_bars(frame.select(COLUMNS[1:]).to_numpy())
    whole &= (frame["open_time"].fill_null(0) >= _EARLIEST_MS).to_numpy()
    if dropped := int((~whole).sum()):
        notes.append(
            f"{path}: {dropped} rows dropped: a price or volume is missing, not finite or negative, "
            "or not low <= open, close <= high"
        )
    frame = frame.filter(pl.Series(whole))
    once = frame.unique("open_time", keep="last", maintain_order=True).sort("open_time")
    if doubled := len(frame) - len(once):
        notes.append(f"{path}: {doubled} doubled bars, the last of each kept")
    if len(once) < _ROWS_MIN:
        raise _Refused(f"{len(once)} usable bars; at least {_ROWS_MIN} are needed")
    if once["close"].n_unique() == 1:
        raise _Refused("its price never changes")
    return once


def _aggregated(frame: pl.DataFrame, interval_ms: int) -> tuple[pl.DataFrame, int]:
    """Bars of ``interval_ms``, and the interval that the file had: the most common step between its times."""
    own_ms = int(frame["open_time"].diff().drop_nulls().mode()[0])
    if own_ms > interval_ms or interval_ms % own_ms:
        raise _Refused(f"its bars are {own_ms} ms apart; {interval_ms} ms or a whole part of it are needed")
    if own_ms == interval_ms:
        return frame.filter(pl.col("open_time") % interval_ms == 0), own_ms
    bucket = (pl.col("open_time") // interval_ms * interval_ms).alias("open_time")
    bars = frame.group_by(bucket, maintain_order=True).agg(
        pl.col("open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
        pl.col("volume").sum(),
        pl.len(),
    )
    return bars.filter(pl.col("len") == interval_ms // own_ms).drop("len"), own_ms


def _merge(symbol: str, parts: list[tuple[int, pl.DataFrame]], interval_ms: int, notes: list[str]) -> Candles | None:
    """One symbol's bars on its grid, the coarsest source first."""
    ordered = sorted(parts, key=lambda part: -part[0])
    frame = pl.concat([part.with_columns(pl.lit(rank).alias("rank")) for rank, (_, part) in enumerate(ordered)])
    if frame.is_empty():
        notes.append(f"{symbol}: no complete bar of {interval_ms} ms")
        return None
    spread = frame.group_by("open_time").agg((pl.col("close").max() / pl.col("close").min() - 1).alias("gap"))
    if differ := int((spread["gap"] > _DISAGREE).sum()):
        notes.append(
            f"{symbol}: {differ} bars whose sources differ by more than {_DISAGREE:.1%}, the coarsest source kept"
        )
    frame = frame.sort("open_time", "rank").unique("open_time", keep="first", maintain_order=True)
    times = frame["open_time"].to_numpy()
    grid = np.arange(times[0], times[-1] + 1, interval_ms)
    ohlcv = np.full((len(grid), 5), np.nan)
    ohlcv[(times - times[0]) // interval_ms] = frame.select(COLUMNS[1:]).to_numpy()
    if gaps := len(grid) - len(times):
        notes.append(f"{symbol}: {gaps} of {len(grid)} bars missing")
    return Candles(grid, ohlcv)
