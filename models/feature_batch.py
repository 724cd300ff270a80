"""Features of one symbol's whole history, for training: the table of ``feature_table`` run in batch.

Its pieces also serve ``features``, which computes the same bar by bar.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.bars import CLOSE, HOUR_MS, OHLC, VOLUME, check_grid, fill_gaps
from models.feature_table import BARS_NEEDED, FEATURE_ATR_BARS, FEATURES, FILLED_MAX
from models.indicators import SYMBOL_STEPS, Floats, Names, Times, evaluate, price_scale, run_batch
from models.market import HORIZONS, MarketContext
from models.stop_distance import stop_distances

VOLUME_LAG = 14
_DAY_MS = 24 * HOUR_MS
_WEEK_MS = 7 * _DAY_MS


class BatchFeatures(NamedTuple):
    """Everything computed from one symbol's history of T bars.

    Attributes:
        features: float32[T, F], NaN in rows that are not eligible; eligible, real: bool[T].
        ohlcv: float64[T, 5], holes filled; stop_distance: w as float64[T].
        adx (0-100), channel_slope (rise over 50 bars in stop distances), volatility (ATR 14 / close) and
            volatility_rank (0-1): float64[T].
    """

    features: NDArray[np.float32]
    eligible: NDArray[np.bool_]
    real: NDArray[np.bool_]
    ohlcv: Floats
    stop_distance: Floats
    adx: Floats
    channel_slope: Floats
    volatility: Floats
    volatility_rank: Floats


def batch_features(
    ohlcv: Floats, open_time_ms: Times, market: MarketContext, *, interval_ms: int = HOUR_MS
) -> NDArray[np.float32]:
    """Features float32[T, F] of one symbol; see ``compute_batch``."""
    return compute_batch(ohlcv, open_time_ms, market, interval_ms=interval_ms).features


def compute_batch(
    ohlcv: Floats, open_time_ms: Times, market: MarketContext, *, interval_ms: int = HOUR_MS
) -> BatchFeatures:
    """Features of one symbol's whole history; row t uses rows 0..t only.

    Args:
        ohlcv: float64[T, 5], NaN rows where a bar is missing, the first row whole.
        open_time_ms: int64[T] on the regular grid of ``interval_ms``.
        market: context whose grid contains these times.
        interval_ms: of the bars.

    Raises:
        ValueError: the times are no regular grid, lie outside the context, or the first bar is unusable.
    """
    check_grid(open_time_ms, interval_ms)
    filled, real = fill_gaps(ohlcv)
    if not real[0]:
        raise ValueError(
            f"the first bar, opened at {open_time_ms[0]}, is missing or unusable; begin a history with a whole bar"
        )
    names = history_names(filled, open_time_ms, market.at(open_time_ms), interval_ms)
    missing = np.concatenate([np.zeros(BARS_NEEDED, dtype=np.int64), np.cumsum(~real)])
    allowed = real & (missing[BARS_NEEDED:] - missing[:-BARS_NEEDED] <= FILLED_MAX)
    allowed[: BARS_NEEDED - 1] = False
    features, eligible = table_columns(names, allowed)
    return BatchFeatures(
        features=features,
        eligible=eligible,
        real=real,
        ohlcv=filled,
        stop_distance=names["w"],
        **regime_inputs(names),
    )


def history_names(ohlcv: Floats, open_time_ms: Times, market: Names, interval_ms: int) -> Names:
    """Every name of the table, float64[T], from bars float64[T, 5] without holes and the market over the same times."""
    names = bar_names(ohlcv, market)
    run_batch(SYMBOL_STEPS, names)
    for bars in HORIZONS:
        names[f"move_{bars}"] = np.log(names["close"] / _lagged(names["close"], bars))
    names["w"] = stop_distances(names, open_time_ms, interval_ms, FEATURE_ATR_BARS * interval_ms)
    names.update(calendar(open_time_ms + interval_ms))
    return names


def bar_names(ohlcv: Floats, market: Names) -> Names:
    """What ``SYMBOL_STEPS`` start from: the bars, prices scaled, and the market's names."""
    scale = price_scale(ohlcv[:1, CLOSE])
    names: Names = dict(market)
    names.update((name, ohlcv[:, column] * scale) for column, name in enumerate(OHLC))
    names["volume"] = ohlcv[:, VOLUME].copy()
    names["previous_close"] = np.concatenate([names["close"][:1], names["close"][:-1]])
    names["volume_14_ago"] = _lagged(names["volume"], VOLUME_LAG)
    return names


def _lagged(values: Floats, bars: int) -> Floats:
    out = np.full(len(values), np.nan)
    out[bars:] = values[:-bars]
    return out


def calendar(close_time_ms: Times) -> Names:
    """Phases of the UTC day and week, 0 to 1, at the bars' closes int64[...]."""
    return {"day_phase": close_time_ms % _DAY_MS / _DAY_MS, "week_phase": close_time_ms % _WEEK_MS / _WEEK_MS}


def table_columns(names: Names, allowed: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The table's columns, float32[N, F], and which rows are whole and allowed; the others are NaN."""
    table = np.empty((len(FEATURES), len(allowed)))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for row, feature in zip(table, FEATURES, strict=True):
            np.clip(evaluate(feature.formula, names), feature.low, feature.high, out=row)
        eligible = allowed & (names["w"] > 0) & np.isfinite(table).all(axis=0)
    table[:, ~eligible] = np.nan
    return np.ascontiguousarray(table.T, dtype=np.float32), eligible


def regime_inputs(names: Names) -> Names:
    """The four regime inputs of ``BatchFeatures`` from the table's names."""
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = names["slope_50"] * 50 / names["close"] / names["w"]
    return {
        "adx": names["adx_14"],
        "channel_slope": slope,
        "volatility": names["volatility"],
        "volatility_rank": names["volatility_rank_200"] / 100,
    }
