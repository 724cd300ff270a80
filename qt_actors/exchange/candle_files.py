"""Candle files on disk: Parquet, Binance's CSV dumps (header or not) and the zip archives they come in.

Needed are the columns `open_time`, `open`, `high`, `low`, `close`, `volume`; `quote_volume`, `trades` and
`taker_buy_volume` are taken where they are. Times of 16 digits are microseconds, of 19 nanoseconds, and are divided
down. Rows out of order are sorted, of doubled rows the last one counts (Binance's dumps have both). Anything else
that is wrong is one line: `MarketDataError`.
"""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from qt_actors.exchange.candles import CLOSE, FIELDS, HIGH, LOW, VOLUME, Candles, between

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES: Final = (".parquet", ".csv", ".zip")
FILE_BYTES_MAX: Final = 2_000_000_000
REQUIRED: Final = ("open_time", "open", "high", "low", "close", "volume")
OPTIONAL: Final = ("quote_volume", "trades", "taker_buy_volume")

# Binance's documented column order; the names are those of its newer dumps with a header.
_DUMP_COLUMNS: Final = (
    "open_time", "open", "high", "low", "close", "volume", "close_time",
    "quote_volume", "count", "taker_buy_volume", "taker_buy_quote_volume", "ignore",
)  # fmt: skip
_ALIASES: Final = {
    "count": "trades",
    "number_of_trades": "trades",
    "quote_asset_volume": "quote_volume",
    "taker_buy_base_asset_volume": "taker_buy_volume",
    "taker_base_vol": "taker_buy_volume",
    "timestamp": "open_time",
    "date": "open_time",
}


class MarketDataError(ValueError):
    """A market source cannot be used; the text is one line: what, where, what is allowed."""


def symbol_of(path: Path) -> str:
    """The symbol a file name carries: `BTCUSDT.parquet`, `BTCUSDT-1m-2026-10.zip`."""
    return path.name.split(".", 1)[0].split("-", 1)[0].upper()


def read_candles(path: Path, start_ms: int | None = None, end_ms: int | None = None) -> Candles:
    """The candles of a file that open in [start_ms, end_ms), sorted and unique; NaN where it lacks an optional field.

    Raises:
        MarketDataError: the file cannot be read, misses a column or holds an impossible price.
    """
    try:
        frame = _read(path, start_ms, end_ms)
    except MarketDataError:
        raise
    except (OSError, ValueError, zipfile.BadZipFile, pl.exceptions.PolarsError) as reason:
        raise MarketDataError(f"{path}: cannot be read as candles: {_one_line(reason)}") from reason
    columns = {_ALIASES.get(name.lower(), name.lower()): name for name in reversed(frame.columns)}
    columns |= {name.lower(): name for name in frame.columns if name.lower() in (*REQUIRED, *OPTIONAL)}
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        raise MarketDataError(
            f"{path}: column {', '.join(missing)} is missing; needed are {', '.join(REQUIRED)} (has {frame.columns})"
        )
    candles = _candles(frame, columns, path)
    if start_ms is not None or end_ms is not None:
        candles = between(candles, start_ms or 0, end_ms if end_ms is not None else 1 << 62)
    _check(candles, path)
    return candles


def _read(path: Path, start_ms: int | None, end_ms: int | None) -> pl.DataFrame:
    if path.suffix == ".parquet":
        lazy = pl.scan_parquet(path)
        names = lazy.collect_schema().names()
        if start_ms is not None and end_ms is not None and "open_time" in names:
            # Only a first cut: files in micro- or nanoseconds are filtered again after they are divided down.
            low = pl.col("open_time")
            lazy = lazy.filter((low >= 10**15) | ((low >= start_ms) & (low < end_ms)))
        return lazy.collect()
    if path.suffix == ".zip":
        return _csv(_unzipped(path))
    if path.stat().st_size > FILE_BYTES_MAX:
        raise MarketDataError(f"{path}: {path.stat().st_size:,} bytes; at most {FILE_BYTES_MAX:,} are read")
    return _csv(path.read_bytes())


def _unzipped(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        names = [info for info in archive.infolist() if info.filename.lower().endswith(".csv")]
        if len(names) != 1:
            raise MarketDataError(f"{path}: holds {len(names)} CSV files; a Binance archive holds exactly one")
        if names[0].file_size > FILE_BYTES_MAX:
            raise MarketDataError(
                f"{path}: unpacks to {names[0].file_size:,} bytes; at most {FILE_BYTES_MAX:,} are read"
            )
        return archive.read(names[0])


def _csv(raw: bytes) -> pl.DataFrame:
    headless = raw[:1].isdigit()
    frame = pl.read_csv(io.BytesIO(raw), has_header=not headless, infer_schema_length=1000)
    if headless:
        frame = frame.rename(dict(zip(frame.columns, _DUMP_COLUMNS, strict=False)))
    return frame


def _candles(frame: pl.DataFrame, columns: dict[str, str], path: Path) -> Candles:
    """The columns as arrays, times in ms, sorted and unique."""
    times = frame.get_column(columns["open_time"])
    if times.null_count():
        raise MarketDataError(f"{path}: open_time is empty in {times.null_count()} row(s); remove them")
    try:
        times = times.dt.epoch("ms") if times.dtype.is_temporal() else times
        opens = times.cast(pl.Int64).to_numpy()
        data = np.full((FIELDS, opens.size), np.nan)
        for field, name in enumerate((*REQUIRED[1:], *OPTIONAL)):
            if name in columns:
                data[field] = frame.get_column(columns[name]).cast(pl.Float64).to_numpy()
    except (pl.exceptions.PolarsError, ValueError) as reason:
        raise MarketDataError(f"{path}: a column is not a number: {_one_line(reason)}") from reason
    opens = np.where(opens >= 10**18, opens // 1_000_000, np.where(opens >= 10**15, opens // 1000, opens))
    if np.all(opens[1:] > opens[:-1]):
        return Candles(opens, data)
    order = np.argsort(opens, kind="stable")
    opens = opens[order]
    last = np.append(opens[1:] != opens[:-1], True)
    return Candles(opens[last], data[:, order[last]])


def _check(candles: Candles, path: Path) -> None:
    prices, volume = candles.data[: CLOSE + 1], candles.data[VOLUME]
    low, high = prices.min(axis=0), prices.max(axis=0)  # NaN stays NaN, and fails every comparison
    good = (low > 0) & (high < np.inf) & (candles.data[HIGH] == high) & (candles.data[LOW] == low)
    good &= (volume >= 0) & (volume < np.inf)
    if not good.all():
        bad = int(np.flatnonzero(~good)[0])
        o, h, l, c, v = candles.data[: VOLUME + 1, bad].tolist()  # noqa: E741 - a candle's own letters
        raise MarketDataError(
            f"{path}: {int((~good).sum())} impossible candle(s), the first at open_time {candles.opens[bad]}: "
            f"open {o} high {h} low {l} close {c} volume {v}; "
            "prices must be above 0, high and low must enclose open and close, volume must be at least 0"
        )


def _one_line(reason: Exception) -> str:
    return (str(reason) or type(reason).__name__).strip().splitlines()[0]
