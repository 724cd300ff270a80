"""Bars as every part of this package takes them: on a regular grid, their holes marked and bridged in one way."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.indicators import Floats, Times

HOUR_MS = 3_600_000
OHLC = ("open", "high", "low", "close")
CLOSE, VOLUME = 3, 4
"""Columns of every float64[..., 5]: the prices in the order of ``OHLC``, then volume."""


def usable_bars(ohlcv: Floats) -> NDArray[np.bool_]:
    """bool[...]: which of float64[..., 5] are whole: finite, price > 0, volume >= 0, low <= open and close <= high."""
    with np.errstate(invalid="ignore"):
        low, high = ohlcv[..., 2], ohlcv[..., 1]
        inner = ohlcv[..., (0, 3)]
        ordered = (inner >= low[..., None]).all(axis=-1) & (inner <= high[..., None]).all(axis=-1)
        whole: NDArray[np.bool_] = np.isfinite(ohlcv).all(axis=-1) & (low > 0) & (ohlcv[..., VOLUME] >= 0) & ordered
    return whole


def fill_gaps(ohlcv: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Bridge the holes of one symbol.

    Args:
        ohlcv: float64[T, 5] on a regular grid, unusable rows (NaN, see ``usable_bars``) where a bar is missing; the
            first row is whole.

    Returns:
        float64[T, 5] with flat bars of volume 0 in the holes, and bool[T], False there.
    """
    real = usable_bars(ohlcv)
    last = np.maximum.accumulate(np.where(real, np.arange(len(ohlcv)), 0))
    filled = ohlcv[last]
    holes = ~real
    filled[holes, :VOLUME] = filled[holes, CLOSE, None]
    filled[holes, VOLUME] = 0.0
    return filled, real


def check_grid(open_time_ms: Times, interval_ms: int) -> None:
    """Raise ``ValueError`` unless open times int64[T] are consecutive multiples of ``interval_ms``."""
    if not len(open_time_ms):
        raise ValueError("no bars: at least one is needed")
    if (np.diff(open_time_ms) != interval_ms).any() or open_time_ms[0] % interval_ms:
        raise ValueError(
            f"open times must be multiples of {interval_ms} ms in a row; leave NaN rows where bars are missing"
        )
