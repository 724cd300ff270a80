"""Random candles with what matters to indicators: fat tails, clustered volatility, a common factor, many prices."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

HOUR_MS = 3_600_000
START_MS = 1_700_002_800_000
"""An hour that is no multiple of four: the first 4h bar is incomplete."""


class RandomCandles(NamedTuple):
    """Symbols, int64[B] open times, float64[S, B, 5] OHLCV."""

    symbols: tuple[str, ...]
    open_time_ms: NDArray[np.int64]
    ohlcv: NDArray[np.float64]


def random_candles(seed: int, symbols: int = 4, bars: int = 400) -> RandomCandles:
    """Bitcoin first, then coins of very different prices that follow it in part."""
    rng = np.random.default_rng(seed)
    level = np.exp(np.cumsum(rng.normal(0, 0.05, (symbols, bars)), axis=1)).clip(0.3, 3)
    shock = rng.standard_t(4, (symbols, bars)) * 0.004
    moves = (0.6 * shock[:1] + 0.8 * shock) * level
    close = np.exp(np.cumsum(moves, axis=1)) * 10.0 ** rng.uniform(-4, 5, (symbols, 1))
    opened = np.concatenate([close[:, :1], close[:, :-1]], axis=1) * np.exp(rng.normal(0, 2e-4, (symbols, bars)))
    high = np.maximum(opened, close) * (1 + np.abs(rng.normal(0, 0.003, (symbols, bars))))
    low = np.minimum(opened, close) * (1 - np.abs(rng.normal(0, 0.003, (symbols, bars))))
    volume = np.round(np.exp(rng.normal(8, 1, (symbols, bars))), 3)
    names = ("BTCUSDT", *(f"COIN{index}USDT" for index in range(1, symbols)))
    times = START_MS + HOUR_MS * np.arange(bars)
    return RandomCandles(names, times, np.stack([opened, high, low, close, volume], axis=2))
