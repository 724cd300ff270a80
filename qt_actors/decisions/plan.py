"""Where the orders go: stop, target and trail of one sized entry (SPEC 9), on the symbol's ticks and steps.

Rounding: stop and target go to the tick nearer to the entry. So the loss at the stop never exceeds the risk that was
decided, and the target is reached no later than planned.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from config.settings import Settings
from qt_actors.decisions.sizing import Sized, ceil_to, exact, floor_to
from qt_actors.decisions.texts import number, percent
from qt_actors.messages.market import SymbolRules
from qt_actors.messages.policy import EntryPlan, Gate
from qt_actors.messages.signals import Signal

STOP_TICKS_MIN: Final = 2
"""A stop one tick away is the spread, not a stop."""
CALLBACK_STEP: Final = Decimal("0.1")
CALLBACK_MIN: Final = Decimal("0.1")
CALLBACK_MAX: Final = Decimal(20)
"""``callbackRate`` of a trailing stop, percent (Binance, since 2026-10-23)."""


def stop_and_target(sized: Sized, tick: Decimal) -> tuple[Decimal, Decimal]:
    """Return (stop price, target price), both rounded towards the entry."""
    stop, target = exact(sized.barriers.stop_pct), exact(sized.barriers.target_pct)
    if sized.side == "BUY":
        return ceil_to(sized.price * (1 - stop), tick), floor_to(sized.price * (1 + target), tick)
    return floor_to(sized.price * (1 + stop), tick), ceil_to(sized.price * (1 - target), tick)


def split(quantity: Decimal, price: Decimal, rules: SymbolRules, settings: Settings) -> tuple[Decimal, Decimal]:
    """Return (target quantity, trail quantity): QT_PARTIAL_TP rounded down to the step, and the rest.

    When either part would be below the exchange's smallest order, the target takes all.
    """
    part = floor_to(quantity * exact(settings.partial_tp), rules.quantity_step)
    rest = quantity - part
    least = min(part, rest)
    if least < rules.quantity_min or least * price < rules.notional_min or least <= 0:
        return quantity, Decimal(0)
    return part, rest


def callback_pct(stop_pct: float, settings: Settings) -> Decimal:
    """Return the trailing distance in percent: QT_TRAIL_PCT, never wider than the stop, rounded down to 0.1."""
    wanted = floor_to(100 * min(exact(settings.trail_pct), exact(stop_pct)), CALLBACK_STEP)
    return min(CALLBACK_MAX, max(CALLBACK_MIN, wanted))


def plan_entry(
    signal: Signal, sized: Sized, rules: SymbolRules, settings: Settings, decision_id: str
) -> EntryPlan | Gate:
    """Return what the executor places, or the gate ``price_filter`` when the symbol's ticks allow no such stop."""
    stop_price, target_price = stop_and_target(sized, rules.price_tick)
    ticks = abs(sized.price - stop_price) / rules.price_tick
    reach = abs(target_price - sized.price) / rules.price_tick
    if min(ticks, reach) < STOP_TICKS_MIN:
        return Gate(
            name="price_filter",
            passed=False,
            value=f"{number(min(ticks, reach), 0)} ticks",
            limit=f"≥ {STOP_TICKS_MIN} ticks",
            note=f"tick {rules.price_tick} at stop {percent(sized.barriers.stop_pct)}",
        )
    low, high = min(stop_price, target_price), max(stop_price, target_price)
    if low < rules.price_min or (rules.price_max > 0 and high > rules.price_max) or low <= 0:
        return Gate(
            name="price_filter",
            passed=False,
            value=f"{low} to {high}",
            limit=f"{rules.price_min} to {rules.price_max}",
            note="stop or target outside the exchange's prices",
        )
    part, rest = split(sized.quantity, sized.price, rules, settings)
    return EntryPlan(
        decision_id=decision_id,
        symbol=signal.symbol,
        side=sized.side,
        quantity=sized.quantity,
        price=sized.price,
        stop_price=stop_price,
        target_price=target_price,
        target_quantity=part,
        trail_quantity=rest,
        trail_callback_pct=callback_pct(sized.barriers.stop_pct, settings),
        leverage=sized.leverage,
        notional_usd=sized.notional_usd,
        risk_usd=sized.quantity * abs(sized.price - stop_price),
        stop_pct=sized.barriers.stop_pct,
        confidence=signal.confidence,
        close_time_ms=signal.close_time_ms,
        expires_ms=signal.expires_ms,
        clamped_by=", ".join(sized.clamped_by),
    )
