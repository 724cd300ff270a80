"""The table of features: every formula once, as text that is both the documentation and the code that runs.

All are scale-free: a ratio, a share, a rank, or a price move in units of ``w``, the stop distance as a fraction of
price (1.5 × ATR(14) of bars four times as long / close). Names in the formulas are the outputs of
``indicators.SYMBOL_STEPS`` and ``MARKET_STEPS``, the bar itself (open, high, low, close, previous_close, volume), and

- ``move_k``, ``btc_move_k``, ``market_move_k``: log return over the last k bars of the symbol, of bitcoin, of the
  market mean;
- ``day_phase``, ``week_phase``: fraction of the UTC day and of the week (from Thursday, 1970-01-01) at the bar's close.

Sources: Wilder 1978 (RSI, ATR, ADX, SAR), Appel 1979 (MACD), Bollinger 2001, Keltner 1960 in Raschke's ATR form,
Chande and Kroll 1994 (stochastic RSI), Lane (stochastic), Williams 1979 (%R), Lambert 1980 (CCI), Granville 1963
(OBV), Nison 1991 (candles), as TA-Lib computes them. A value outside its range is clipped to it; ``warmup`` is the
number of bars before the first value.
"""

from __future__ import annotations

import hashlib

import msgspec

from models.indicators import MARKET_STEPS, SYMBOL_STEPS
from models.market import HORIZONS, RETURN_CLIP

BARS_NEEDED = 256
"""Closed bars before a symbol has features: SMA 200, the 200-bar rank of ATR 14, and room for RSI 28 to settle."""
HISTORY_BARS = 499
"""Bars to load at the start: the most that a klines request of weight 2 returns."""
ATR_PERIOD = 14
STOP_ATR_MULTIPLE = 1.5
FEATURE_ATR_BARS = 4
"""Bars in one bar of the ATR that scales features and stops: 4h on 1h."""
FILLED_MAX = 12
"""Missing bars among the last ``BARS_NEEDED`` that are bridged; with more the symbol has no features."""
_VERSION = 1
"""Raised when the arithmetic around the table (gap filling, market mean, ATR bars) changes meaning."""

_WIDE = (-20.0, 20.0)
_UNIT = (0.0, 1.0)
_SIGNED = (-1.0, 1.0)


class Feature(msgspec.Struct, frozen=True):
    """One column: its formula, the closed range it is clipped to, the bars before its first value, what it says."""

    name: str
    formula: str
    low: float
    high: float
    warmup: int
    meaning: str


def _row(name: str, formula: str, limits: tuple[float, float], warmup: int, meaning: str) -> Feature:
    return Feature(name, formula, *limits, warmup, meaning)


MOMENTUM = (
    _row("rsi_14", "rsi_14 / 50 - 1", _SIGNED, 14, "relative strength, 0 = as much up as down"),
    _row("rsi_28", "rsi_28 / 50 - 1", _SIGNED, 28, "relative strength, slower"),
    _row("macd", "macd / close / w", _WIDE, 33, "EMA 12 above EMA 26, in stop distances"),
    _row("macd_signal", "macd_signal / close / w", _WIDE, 33, "EMA 9 of it"),
    _row("macd_histogram", "macd_histogram / close / w", _WIDE, 33, "MACD above its signal"),
    _row("stoch_rsi_k", "stoch_rsi_k / 100", _UNIT, 29, "RSI 14 within its own range of 14 bars"),
    _row("stoch_rsi_d", "stoch_rsi_d / 100", _UNIT, 29, "mean of 3 of it"),
    _row("stoch_k", "stoch_k / 100", _UNIT, 17, "close within the range of 14 bars, mean of 3"),
    _row("stoch_d", "stoch_d / 100", _UNIT, 17, "mean of 3 of it"),
    _row("williams_r", "williams_r / 50 + 1", _SIGNED, 13, "close within the range of 14 bars, now"),
    _row("cci_20", "cci_20 / 100", (-7.0, 7.0), 19, "typical price from its mean in mean absolute deviations"),
    _row("mfi_14", "mfi_14 / 50 - 1", _SIGNED, 14, "RSI weighted by money flow"),
    _row(
        "close_location",
        "where(high > low, (2 * close - high - low) / maximum(high - low, 1e-12), 0.0)",
        _SIGNED,
        0,
        "close within its own bar",
    ),
)

TREND = (
    *(
        _row(f"sma_{n}", f"(close / sma_{n} - 1) / w", _WIDE, n - 1, f"close above its mean of {n}")
        for n in (20, 50, 200)
    ),
    *(_row(f"ema_{n}", f"(close / ema_{n} - 1) / w", _WIDE, n - 1, f"close above its EMA {n}") for n in (12, 26)),
    _row("adx_14", "adx_14 / 100", _UNIT, 27, "strength of trend, either way"),
    _row("plus_di_14", "plus_di_14 / 100", _UNIT, 14, "directional movement up"),
    _row("minus_di_14", "minus_di_14 / 100", _UNIT, 14, "directional movement down"),
    _row("sar", "(close / sar - 1) / w", _WIDE, 1, "close above the parabolic stop"),
    *(
        _row(
            f"channel_slope_{n}",
            f"slope_{n} * {n} / close / w",
            _WIDE,
            n - 1,
            f"rise of the least-squares line over {n} bars",
        )
        for n in (20, 50)
    ),
    _row(
        "channel_position_20",
        "(close - sma_20 - slope_20 * 9.5) / (bb_upper - sma_20) * 2",
        (-6.0, 6.0),
        19,
        "close from the end of that line, in standard deviations of the close",
    ),
    _row(
        "channel_position_50",
        "(close - sma_50 - slope_50 * 24.5) / deviation_50",
        (-8.0, 8.0),
        49,
        "the same over 50 bars",
    ),
)

VOLATILITY = (
    _row(
        "bollinger_position",
        "(close - bb_lower) / (bb_upper - bb_lower) * 2 - 1",
        (-3.0, 3.0),
        19,
        "close in the 2σ band, ±1 = its edges",
    ),
    _row("bollinger_width", "(bb_upper - bb_lower) / sma_20 / w", (0.0, 20.0), 19, "width of the band"),
    _row(
        "keltner_position",
        "(close - ema_20) / (2 * atr_20)",
        (-10.0, 10.0),
        20,
        "close in the EMA 20 ± 2 ATR channel, ±1 = its edges",
    ),
    _row(
        "squeeze",
        "(bb_upper - bb_lower) / (4 * atr_20)",
        (0.0, 20.0),
        20,
        "Bollinger width over Keltner width: below 1 is a squeeze",
    ),
    _row("stop_distance", "w", _UNIT, 59, "the stop distance itself"),
    _row("atr_14", "volatility / w", (0.0, 5.0), 14, "true range of single bars against the stop distance"),
    _row("deviation_20", "(bb_upper - sma_20) / 2 / close / w", (0.0, 20.0), 19, "standard deviation of the close"),
    _row("volatility_24", "volatility_24 / w", (0.0, 5.0), 23, "standard deviation of one-bar returns over 24 bars"),
    *(
        _row(
            f"volatility_{a}_{b}",
            f"volatility_{a} / volatility_{b} - 1",
            (-1.0, 5.0),
            b - 1,
            f"realised volatility, {a} against {b} bars",
        )
        for a, b in ((8, 24), (24, 96), (96, 168))
    ),
    _row(
        "span_24",
        "span_sum_24 / 24 / volatility_24",
        (0.0, 20.0),
        23,
        "mean high-low span per standard deviation: choppy inside bars",
    ),
    _row(
        "volatility_rank",
        "volatility_rank_200 / 100",
        _UNIT,
        214,
        "share of the last 200 bars that were calmer (ATR 14 / close)",
    ),
)

VOLUME = (
    *(
        _row(
            f"obv_{n}",
            f"signed_volume_sum_{n} / volume_sum_{n}",
            _SIGNED,
            n - 1,
            f"on-balance volume gained in {n} bars per volume",
        )
        for n in (20, 96)
    ),
    _row(
        "volume_change_14",
        "log(maximum(volume, 1e-5 * volume_sum_96) / maximum(volume_14_ago, 1e-5 * volume_sum_96))",
        (-10.0, 10.0),
        95,
        "rate of change of volume over 14 bars, in logs with a floor of a thousandth of the mean",
    ),
    _row(
        "volume_20", "log(maximum(volume * 20 / volume_sum_20, 1e-3))", (-7.0, 3.0), 19, "volume against its mean of 20"
    ),
    _row(
        "volume_20_168",
        "log(volume_sum_20 / volume_sum_168 * 8.4)",
        (-7.0, 3.0),
        167,
        "mean volume of 20 against 168 bars",
    ),
    *(
        _row(
            f"vwap_{n}",
            f"(close * volume_sum_{n} / money_sum_{n} - 1) / w",
            _WIDE,
            n - 1,
            f"close above the volume-weighted price of {n} bars",
        )
        for n in (20, 50)
    ),
)

PATTERNS = (
    _row("doji", "doji / 100", _SIGNED, 10, "open and close all but equal"),
    _row("engulfing", "engulfing / 100", _SIGNED, 2, "body swallows the previous one, signed"),
    _row("hammer", "hammer / 100", _SIGNED, 11, "small body on a long lower shadow, near the low"),
    _row("shooting_star", "shooting_star / 100", _SIGNED, 11, "small body under a long upper shadow, after a gap up"),
    *(
        _row(f"resistance_{n}", f"(high_{n} / close - 1) / w", _WIDE, n - 1, f"distance to the highest high of {n}")
        for n in (20, 50, 100)
    ),
    *(
        _row(f"support_{n}", f"(1 - low_{n} / close) / w", _WIDE, n - 1, f"distance to the lowest low of {n}")
        for n in (20, 50, 100)
    ),
)

RETURNS = tuple(
    row
    for k in HORIZONS
    for row in (
        _row(f"return_{k}", f"move_{k} / w", _WIDE, k, f"log return over {k} bars"),
        _row(f"btc_return_{k}", f"btc_move_{k} / w", _WIDE, k, "bitcoin's"),
        _row(f"market_return_{k}", f"market_move_{k} / w", _WIDE, k, "the market mean's"),
        _row(f"relative_return_{k}", f"(move_{k} - market_move_{k}) / w", _WIDE, k, "above the market mean"),
    )
)

MARKET = (
    *(
        _row(
            f"btc_correlation_{n}",
            f"btc_correlation_{n}",
            _SIGNED,
            n - 1,
            f"correlation of one-bar returns with bitcoin's over {n}",
        )
        for n in (48, 168)
    ),
    _row("market_correlation_168", "market_correlation_168", _SIGNED, 167, "with the market mean"),
    _row(
        "btc_beta_168",
        "btc_correlation_168 * volatility_168 / btc_volatility_168",
        (-10.0, 10.0),
        167,
        "move expected per move of bitcoin",
    ),
    _row(
        "btc_volatility_24",
        "btc_volatility_24 / w",
        (0.0, 5.0),
        23,
        "bitcoin's volatility in the symbol's stop distances",
    ),
    _row(
        "btc_volatility_24_168",
        "btc_volatility_24 / btc_volatility_168 - 1",
        (-1.0, 5.0),
        167,
        "bitcoin's volatility, 24 against 168 bars",
    ),
    _row("breadth_24", "breadth_24 * 2 - 1", _SIGNED, 23, "rising against falling symbols, mean of 24"),
    _row("dispersion_24", "dispersion_24 / w", (0.0, 5.0), 23, "spread of returns across symbols, mean of 24"),
)

CALENDAR = (
    _row("day_sin", "sin(2 * pi * day_phase)", _SIGNED, 0, "hour of the day"),
    _row("day_cos", "cos(2 * pi * day_phase)", _SIGNED, 0, "hour of the day"),
    _row("week_sin", "sin(2 * pi * week_phase)", _SIGNED, 0, "day of the week"),
    _row("week_cos", "cos(2 * pi * week_phase)", _SIGNED, 0, "day of the week"),
)

FEATURES: tuple[Feature, ...] = MOMENTUM + TREND + VOLATILITY + VOLUME + PATTERNS + RETURNS + MARKET + CALENDAR
"""Every feature, in the order of the columns."""


FEATURE_NAMES = tuple(feature.name for feature in FEATURES)
"""Names of the columns, in order."""


def feature_names() -> tuple[str, ...]:
    """Names of the columns, in order."""
    return FEATURE_NAMES


def feature_hash() -> str:
    """SHA-256, in hex, over all that defines a feature's value: steps, parameters, formulas, ranges, constants."""
    constants = (
        _VERSION,
        BARS_NEEDED,
        ATR_PERIOD,
        STOP_ATR_MULTIPLE,
        FEATURE_ATR_BARS,
        FILLED_MAX,
        HORIZONS,
        RETURN_CLIP,
    )
    columns = [(feature.name, feature.formula, feature.low, feature.high) for feature in FEATURES]
    return hashlib.sha256(msgspec.json.encode((constants, SYMBOL_STEPS, MARKET_STEPS, columns))).hexdigest()
