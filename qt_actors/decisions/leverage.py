"""Which leverage keeps the stop inside the liquidation price, and where that price is."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_FLOOR, Decimal
from typing import Final

from config.settings import Settings
from qt_actors.messages.base import Side
from qt_actors.messages.market import Bracket

LIQUIDATION_SHARE: Final = Decimal("0.8")
"""Share of the way to liquidation that the stop may use: the rest is for a gap, and for fees and funding paid."""


def bracket_of(notional: Decimal, brackets: Sequence[Bracket]) -> Bracket | None:
    """Return the row that applies to this notional; None above the last cap or without a table."""
    return next((b for b in brackets if b.notional_floor <= notional <= b.notional_cap), None)


def maintenance_usd(notional: Decimal, bracket: Bracket) -> Decimal:
    """Return the maintenance margin: notional × ratio − amount."""
    return max(Decimal(0), notional * bracket.maintenance_ratio - bracket.maintenance_amount)


def liquidation_distance(side: Side, leverage: int, notional: Decimal, bracket: Bracket) -> Decimal:
    """Return how far the mark may move against an isolated position before liquidation, a fraction of the entry price.

    From LP = (EP·Q ∓ WB ∓ cum) / (Q·(1 ∓ MMR)) with WB = EP·Q / leverage (Binance's liquidation formula, other
    positions zero). Isolated margin is assumed although the account may be cross; admission looks at the whole account.
    """
    room = 1 / Decimal(leverage) + bracket.maintenance_amount / notional - bracket.maintenance_ratio
    return room / (1 - bracket.maintenance_ratio if side == "BUY" else 1 + bracket.maintenance_ratio)


def leverage_cap(settings: Settings, multiplier: float, bracket: Bracket) -> int:
    """Return the most leverage allowed: default, profile × the governor's multiplier, and the bracket; at least 1."""
    wanted = min(settings.leverage_default, int(settings.profile.leverage_max * min(1.0, multiplier)))
    return max(1, min(wanted, bracket.leverage_max))


def safe_leverage(side: Side, stop: Decimal, notional: Decimal, bracket: Bracket, cap: int) -> int | None:
    """Return the highest leverage up to ``cap`` with the stop inside liquidation and its buffer; None: not even 1×."""
    ratio = bracket.maintenance_ratio
    needed = stop / LIQUIDATION_SHARE * (1 - ratio if side == "BUY" else 1 + ratio)
    margin = needed + ratio - bracket.maintenance_amount / notional
    if margin <= 0:
        return cap
    allowed = int((1 / margin).to_integral_value(ROUND_FLOOR))
    return min(cap, allowed) if allowed >= 1 else None
