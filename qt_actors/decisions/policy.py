"""The conductor: one policy for a symbol from all subsystems (SPEC 6). Where two limits bear, the tighter wins."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Final

from config.settings import Settings
from qt_actors.decisions.performance import Performance, model_tightening, tightening
from qt_actors.messages.policy import Directive, Policy
from qt_actors.messages.signals import Regime, Signal

REGIME_ADD: Final[Mapping[Regime, float]] = {"TRENDING": -0.06, "NORMAL": 0.0, "RANGING": 0.02}
VOLATILITY_HIGH: Final = 0.06
"""ATR / price."""
VOLATILITY_HIGH_ADD: Final = 0.07
VOLATILITY_LOW_RANK: Final = 0.2
"""Low is the calmest fifth of the symbol's own history: 1 % is calm for one symbol and wild for another."""
VOLATILITY_LOW_ADD: Final = -0.02
SPREAD_WIDE_BPS: Final = 10.0
SPREAD_WIDE_ADD: Final = 0.05
CONFIDENCE_MIN: Final = 0.30
"""The least that the table itself can give: 0.38 − 0.06 − 0.02."""
CONFIDENCE_MAX: Final = 0.90
RISK_BY_REGIME: Final[Mapping[Regime, float]] = {"TRENDING": 1.2, "NORMAL": 1.0, "RANGING": 0.8}
RISK_MARKET_TRENDS: Final = 0.3
"""Added when the symbol trends with the whole market: the table's top of 1.5."""
RISK_MULTIPLIER_MIN: Final = 0.8
RISK_MULTIPLIER_MAX: Final = 1.5
RISK_PER_LOST_R: Final = 1.0
"""Multiplier lost for each R that the symbol's trades lose on average: −0.2 R a trade takes 0.2 off."""


def base_confidence(settings: Settings) -> tuple[float, str]:
    """Return the base threshold and where it comes from: ``QT_CONFIDENCE_THRESHOLD``, else the profile."""
    if settings.confidence_threshold is not None:
        return settings.confidence_threshold, "QT_CONFIDENCE_THRESHOLD"
    return settings.profile.base_confidence, f"profile {settings.profile.name}"


def positions_max(settings: Settings) -> int:
    """Return how many positions may be open at once: the smallest of profile and both variables."""
    return min(settings.profile.positions_max, settings.positions_max, settings.concurrent_trades_max)


def spread_adjustment(spread_bps: float | None) -> float:
    """Return the addition for a wide spread; an unknown one counts as wide."""
    narrow = spread_bps is not None and isfinite(spread_bps) and spread_bps <= SPREAD_WIDE_BPS
    return 0.0 if narrow else SPREAD_WIDE_ADD


def market_adjustments(signal: Signal, spread_bps: float | None) -> tuple[tuple[str, float], ...]:
    """Return the rows of SPEC 6's table that apply: regime, volatility, spread."""
    found = [(f"regime {signal.regime}", REGIME_ADD[signal.regime])]
    if signal.volatility > VOLATILITY_HIGH:
        found.append((f"volatility {signal.volatility:.3f}", VOLATILITY_HIGH_ADD))
    elif signal.volatility_rank <= VOLATILITY_LOW_RANK:
        found.append((f"volatility rank {signal.volatility_rank:.2f}", VOLATILITY_LOW_ADD))
    if wide := spread_adjustment(spread_bps):
        found.append(("spread unknown" if spread_bps is None else f"spread {spread_bps:.1f} bps", wide))
    return tuple((name, added) for name, added in found if added)


def risk_multiplier(regime: Regime, market: Regime, performance: Performance) -> float:
    """Return the multiplier on risk per trade, 0.8 to 1.5: by regime, less for a symbol that has been losing."""
    trends_together = regime == "TRENDING" and market == "TRENDING"
    wanted = RISK_BY_REGIME[regime] + (RISK_MARKET_TRENDS if trends_together else 0.0)
    wanted -= RISK_PER_LOST_R * max(0.0, -performance.expectancy_r)
    return min(RISK_MULTIPLIER_MAX, max(RISK_MULTIPLIER_MIN, wanted))


def policy_of(
    signal: Signal,
    spread_bps: float | None,
    performance: Performance | None,
    market: Regime,
    directive: Directive | None,
    settings: Settings,
    models: Mapping[str, Performance] | None = None,
) -> Policy:
    """Return the policy for this signal now; without directive or performance nothing is allowed.

    ``spread_bps`` is of the newest quote, None when there is none; ``market`` the regime of the whole market (the
    symbol's own stands in the signal); ``models`` the closed-trade records by model: when those that agree have lately
    been wrong, that tightens too.
    """
    base, source = base_confidence(settings)
    record = performance or Performance()
    agreeing = [v.model for v in signal.votes if v.action == signal.action]
    adjustments = (
        *market_adjustments(signal, spread_bps),
        *tightening(record),
        *model_tightening(models or {}, agreeing),
    )
    wanted = base + sum(added for _, added in adjustments)
    allowed = directive is not None and directive.allow_trades and directive.allow_new_positions
    reasons = [f"base {base:.2f} ({source})", *(f"{name} {added:+.3f}" for name, added in adjustments)]
    if not allowed:
        reasons.append(directive.reason if directive else "no directive from the governor")
    if performance is None:
        reasons.append("the symbol's record is not known")
    return Policy(
        min_confidence=round(min(CONFIDENCE_MAX, max(CONFIDENCE_MIN, wanted)), 6),
        base=base,
        adjustments=adjustments,
        risk_multiplier=risk_multiplier(signal.regime, market, record),
        allow_trades=allowed and performance is not None,
        max_open_positions=positions_max(settings),
        reasons=tuple(reasons),
    )
