"""Candle files on disk: Parquet, Binance's CSV dumps (header or not) and the zip archives they come in.

A file is read into polars columns `open_time` (ms), `open`, `high`, `low`, `close`, `volume` and, where it has them,
`quote_volume`, `trades`, `taker_buy_volume`. Times of 16 digits are microseconds, of 19 nanoseconds, and are divided
down. Rows out of order are sorted, of doubled rows the last one counts (Binance's dumps have both). Anything else
that is wrong is one line: `MarketDataError`.
"""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Final

import polars as pl

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


def read_candles(path: Path, start_ms: int | None = None, end_ms: int | None = None) -> pl.DataFrame:
    """The candles of a file that open in [start_ms, end_ms), sorted and unique.

    Raises:
        MarketDataError: the file cannot be read, misses a column, holds no row in all, or an impossible price.
    """
    try:
        frame = _read(path, start_ms, end_ms)
    except MarketDataError:
        raise
    except (OSError, ValueError, zipfile.BadZipFile, pl.exceptions.PolarsError) as reason:
        raise MarketDataError(f"{path}: cannot be read as candles: {_one_line(reason)}") from reason
    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing:
        raise MarketDataError(
            f"{path}: column {', '.join(missing)} is missing; needed are {', '.join(REQUIRED)} (has {frame.columns})"
        )
    frame = _normalised(frame, path)
    if start_ms is not None:
        frame = frame.filter(pl.col("open_time") >= start_ms)
    if end_ms is not None:
        frame = frame.filter(pl.col("open_time") < end_ms)
    _check(frame, path)
    return frame


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


def _milliseconds(frame: pl.DataFrame) -> pl.DataFrame:
    if frame.schema["open_time"].is_temporal():
        frame = frame.with_columns(pl.col("open_time").dt.epoch("ms"))
    time = pl.col("open_time").cast(pl.Int64)
    return frame.with_columns(
        pl.when(time >= 10**18).then(time // 1_000_000).when(time >= 10**15).then(time // 1000).otherwise(time)
        .alias("open_time")
    )  # fmt: skip


def _normalised(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    lower = {name: name.lower() for name in frame.columns}
    frame = frame.rename({**lower})
    present = set(frame.columns)
    frame = frame.rename({old: new for old, new in _ALIASES.items() if old in present and new not in present})
    keep = [name for name in (*REQUIRED, *OPTIONAL) if name in frame.columns]
    try:
        frame = _milliseconds(frame.select(keep)).with_columns(pl.col(keep[1:]).cast(pl.Float64))
    except pl.exceptions.PolarsError as reason:
        raise MarketDataError(f"{path}: a column is not a number: {_one_line(reason)}") from reason
    return frame.unique("open_time", keep="last").sort("open_time")


def _check(frame: pl.DataFrame, path: Path) -> None:
    low = pl.min_horizontal("open", "high", "low", "close")
    high = pl.max_horizontal("open", "high", "low", "close")
    good = (
        (low > 0) & low.is_finite() & high.is_finite() & (pl.col("high") == high) & (pl.col("low") == low)
        & (pl.col("volume") >= 0) & pl.col("volume").is_finite()
    )  # fmt: skip
    bad = frame.filter(~good.fill_null(value=False))
    if not bad.is_empty():
        row = bad.row(0, named=True)
        raise MarketDataError(
            f"{path}: {bad.height} impossible candle(s), the first at open_time {row['open_time']}: "
            f"open {row['open']} high {row['high']} low {row['low']} close {row['close']} volume {row['volume']}; "
            "prices must be above 0, high and low must enclose open and close, volume must be at least 0"
        )


def _one_line(reason: Exception) -> str:
    return (str(reason) or type(reason).__name__).strip().splitlines()[0]
