"""Which limit is in force, and by whose word: where a profile and a variable limit the same thing, the tighter wins.

The values are those that the gates use; nothing is decided here.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from config.settings import Settings
from qt_actors.decisions.policy import base_confidence
from qt_actors.decisions.texts import usd

Unit = Literal["USDT", "of equity", "positions", "x", "confidence"]


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """One limit in force.

    Attributes:
        value: in ``unit`` (a share is a fraction); None while the equity it depends on is not known.
        source: the variable or profile whose word it is; allows: what each of them allows.
    """

    name: str
    unit: Unit
    value: float | None
    source: str
    allows: dict[str, float | None]


def limits_of(settings: Settings, start_usd: Decimal | None, equity_usd: Decimal | None) -> tuple[Limit, ...]:
    """Return every limit that a profile and a variable may both set; ``start_usd`` is the day's start equity.

    What was withdrawn since then narrows the day's loss further: the governor's directive tells what is left.
    """
    profile, name = settings.profile, f"profile {settings.profile.name}"
    of_day = f"{name}: {profile.daily_loss_max * 100:g} % of the day's start"
    of_equity = f"{name}: {profile.gross_equity_multiple_max:g} times equity"
    base, source = base_confidence(settings)
    return (
        _tightest("risk per trade", "of equity", {
            "RM_RISK_PER_TRADE_PCT": settings.risk_per_trade, name: profile.risk_per_trade,
        }),
        _tightest("open positions", "positions", {
            "QT_MAX_POSITIONS": settings.positions_max,
            "RM_MAX_CONCURRENT_TRADES": settings.concurrent_trades_max,
            name: profile.positions_max,
        }),
        _tightest("leverage", "x", {"QT_DEFAULT_LEVERAGE": settings.leverage_default, name: profile.leverage_max}),
        _tightest("daily loss", "USDT", {
            "QT_MAX_DAILY_LOSS": settings.daily_loss_usd_max, of_day: _times(profile.daily_loss_max, start_usd),
        }),
        _tightest("gross notional", "USDT", {
            "QT_MAX_GROSS_NOTIONAL": settings.gross_notional_usd_max,
            of_equity: _times(profile.gross_equity_multiple_max, equity_usd),
        }),
        Limit(name="base confidence", unit="confidence", value=base, source=source, allows={source: base}),
    )  # fmt: skip


def _times(share: float, equity_usd: Decimal | None) -> float | None:
    return None if equity_usd is None else share * float(equity_usd)


def _tightest(name: str, unit: Unit, allows: dict[str, float | None]) -> Limit:
    """Return the limit; of two alike the first one's word."""
    known = {source: value for source, value in allows.items() if value is not None}
    source = min(known, key=lambda s: known[s])
    whole = len(known) == len(allows)
    return Limit(
        name=name, unit=unit, value=known[source] if whole else None, source=source if whole else "", allows=allows
    )


def limits_text(limits: tuple[Limit, ...]) -> str:
    """Return the limits in one line, each with whose word it is and what the others allow."""
    return ", ".join(
        f"{limit.name} {shown(limit.value, limit.unit)} ({'; '.join((limit.source, *_others(limit)))})"
        for limit in limits
    )


def _others(limit: Limit) -> list[str]:
    return [f"{s} allows {shown(v, limit.unit)}" for s, v in limit.allows.items() if s != limit.source]


def shown(value: float | None, unit: Unit) -> str:
    """Return a value in its unit as people read it."""
    if value is None:
        return "not known yet"
    match unit:
        case "USDT":
            return usd(Decimal(str(round(value, 2))))
        case "of equity":
            return f"{value * 100:g} % of equity"
        case "x":
            return f"{value:g}x"
        case _:
            return f"{value:g}"
