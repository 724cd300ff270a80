"""Candle files for tests: seeded random walks written as a replay folder reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
START_MS = 1_735_689_600_000  # 2025-01-01T00:00Z


def candles(
    bars: int, *, seed: int, start_ms: int = START_MS, interval_ms: int = 15 * MINUTE_MS, price: float = 100.0
) -> pl.DataFrame:
    """A random walk as candles with prices of two decimals and volumes of three."""
    rng = np.random.default_rng(seed)
    close = np.round(price * np.exp(np.cumsum(rng.normal(0, 0.004, bars))), 2)
    first = np.concatenate(([price], close[:-1]))
    reach = np.abs(rng.normal(0, 0.003, (2, bars))) * price
    return pl.DataFrame(
        {
            "open_time": start_ms + np.arange(bars) * interval_ms,
            "open": first,
            "high": np.round(np.maximum(first, close) + reach[0], 2),
            "low": np.round(np.minimum(first, close) - reach[1], 2),
            "close": close,
            "volume": np.round(rng.uniform(10, 900, bars), 3),
        }
    )


def folder(path: Path, symbols: Sequence[str], bars: int, **shape: int) -> Path:
    """A folder with one Parquet file a symbol."""
    path.mkdir(exist_ok=True)
    for number, symbol in enumerate(symbols):
        candles(bars, seed=number, **shape).write_parquet(path / f"{symbol}.parquet")
    return path
