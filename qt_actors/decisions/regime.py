"""Trending, ranging or normal? SPEC 5.

ADX says whether there is a direction, the channel's slope whether the price really went there, the volatility rank
whether a quiet channel is a range or a fight. Every threshold is a pair, one to enter and one to leave, so that a value
moving around it does not flicker. In two years of 1h bars of five symbols ADX(14) has quartiles 18, 25 and 34, and a
50-bar channel rises or falls by 0.4, 0.9 and 1.7 stop distances.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qt_actors.messages.market import Floats
from qt_actors.messages.signals import Regime

ADX_TREND_ENTER: Final = 25.0
ADX_TREND_LEAVE: Final = 20.0
"""Wilder's own reading of ADX: 25 is a trend, below 20 there is none."""
ADX_RANGE_ENTER: Final = 18.0
ADX_RANGE_LEAVE: Final = 22.0
"""Ranging begins in the quietest quarter and ends before a trend can begin."""
SLOPE_TREND_ENTER: Final = 1.0
SLOPE_TREND_LEAVE: Final = 0.5
"""A trend has carried the price by at least one stop distance over the channel."""
SLOPE_RANGE_ENTER: Final = 0.5
SLOPE_RANGE_LEAVE: Final = 1.0
VOLATILITY_RANGE_ENTER: Final = 0.8
VOLATILITY_RANGE_LEAVE: Final = 0.9
"""Sideways in the wildest fifth of the symbol's history is a fight, not a range: neither rule for it, NORMAL."""
MARKET_ENTER: Final = 0.5
MARKET_LEAVE: Final = 0.4
"""Share of the symbols in a regime that makes it the market's."""


def next_regimes(adx: Floats, slope: Floats, volatility_rank: Floats, previous: Sequence[Regime]) -> tuple[Regime, ...]:
    """Return the regime of every symbol.

    Args:
        adx: float64[S], 0 to 100.
        slope: float64[S], rise of the channel in stop distances; its sign does not matter here.
        volatility_rank: float64[S], 0 to 1.
        previous: the last regimes, same order; they are kept while the leave thresholds hold. A symbol with a value
            that is not known is NORMAL.
    """
    before = np.asarray(previous, dtype=object)
    trending, ranging = before == "TRENDING", before == "RANGING"
    steep = np.abs(slope)
    trends = _held(
        trending,
        (adx >= ADX_TREND_ENTER) & (steep >= SLOPE_TREND_ENTER),
        (adx >= ADX_TREND_LEAVE) & (steep >= SLOPE_TREND_LEAVE),
    )
    ranges = _held(
        ranging,
        (adx <= ADX_RANGE_ENTER) & (steep <= SLOPE_RANGE_ENTER) & (volatility_rank <= VOLATILITY_RANGE_ENTER),
        (adx <= ADX_RANGE_LEAVE) & (steep <= SLOPE_RANGE_LEAVE) & (volatility_rank <= VOLATILITY_RANGE_LEAVE),
    )
    unknown = ~np.isfinite(adx + slope + volatility_rank)
    named = np.where(trends, "TRENDING", np.where(ranges, "RANGING", "NORMAL"))
    made: list[Regime] = np.where(unknown, "NORMAL", named).tolist()
    return tuple(made)


def _held(there: NDArray[np.bool_], enter: NDArray[np.bool_], stay: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return who enters or, being there already, stays; comparisons with NaN are false and let go."""
    return np.where(there, stay, enter)


def market_regime(regimes: Sequence[Regime], previous: Regime = "NORMAL") -> Regime:
    """Return the market's regime: that of at least half of the symbols, kept until fewer than two fifths share it."""
    if not regimes:
        return "NORMAL"
    names: tuple[Regime, Regime] = ("TRENDING", "RANGING")
    share = {name: sum(r == name for r in regimes) / len(regimes) for name in names}
    for name in names:
        if share[name] >= MARKET_ENTER:
            return name
    return previous if previous != "NORMAL" and share[previous] >= MARKET_LEAVE else "NORMAL"
