"""How much? The stop that will be placed sizes the trade (SPEC 8).

risk = equity × risk per trade × policy × confidence × governor, at most RM_MAX_RISK_PCT and a quarter of Kelly
notional = risk / stop distance, clamped to the position limits, the portfolio's and the exchange's

Rounding: the quantity goes down to the symbol's step, so notional and risk never exceed what was decided; only a
quantity below the smallest possible one is raised to it, and refused when that would risk more than the cap.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

import msgspec

from config.settings import Settings
from qt_actors.decisions.barriers import Barriers
from qt_actors.decisions.leverage import bracket_of, leverage_cap, safe_leverage
from qt_actors.decisions.texts import number, percent, usd
from qt_actors.messages.base import Side
from qt_actors.messages.market import SymbolRules
from qt_actors.messages.policy import Directive, Gate, Policy

KELLY_SHARE: Final = 0.25
CONFIDENCE_BANDS: Final = ((0.70, 1.5), (0.60, 1.0))
"""Between RM_HIGH_CONF_MULT (from 0.85) and RM_LOW_CONF_MULT (below 0.60)."""
CONFIDENCE_HIGH: Final = 0.85
NOTIONAL_MIN_MARGIN: Final = Decimal("1.02")
"""The exchange values a market order at the mark, which the mark gate lets be 1 % away."""
MARGIN_SHARE: Final = Decimal("0.95")
"""Of the available balance: the rest pays the fee and the uplift the exchange adds to a market buy's price."""


class Account(msgspec.Struct, frozen=True):
    """What the account allows; ``gross_notional_usd`` counts positions and reserved entries."""

    equity_usd: Decimal
    available_usd: Decimal
    gross_notional_usd: Decimal


class Sized(msgspec.Struct, frozen=True, kw_only=True):
    """A size that fits every limit.

    Attributes:
        risk_wanted_usd, notional_wanted_usd: before the notional was clamped (risk: after the 3 % and Kelly caps).
        notional_usd, risk_usd: of the rounded quantity at ``price`` with ``stop_pct``.
        margin_usd: notional before rounding / leverage, so never less than the exchange will ask.
        leverage_wanted: what limits alone would allow; ``leverage`` is lower when the stop needs room.
    """

    side: Side
    price: Decimal
    quantity: Decimal
    notional_usd: Decimal
    risk_usd: Decimal
    margin_usd: Decimal
    leverage: int
    leverage_wanted: int
    risk_wanted_usd: Decimal
    notional_wanted_usd: Decimal
    barriers: Barriers
    clamped_by: tuple[str, ...] = ()


def exact(value: float) -> Decimal:
    """Return a model number as the Decimal that prints the same."""
    return Decimal(str(float(value)))


def floor_to(value: Decimal, step: Decimal) -> Decimal:
    """Return the largest multiple of ``step`` not above ``value``."""
    return (value / step).to_integral_value(ROUND_FLOOR) * step


def ceil_to(value: Decimal, step: Decimal) -> Decimal:
    """Return the smallest multiple of ``step`` not below ``value``."""
    return (value / step).to_integral_value(ROUND_CEILING) * step


def confidence_multiplier(confidence: float, settings: Settings) -> float:
    """Return SPEC 8's band: ≥ 0.85 → 2.0, ≥ 0.70 → 1.5, ≥ 0.60 → 1.0, else 0.3."""
    if confidence >= CONFIDENCE_HIGH:
        return settings.high_confidence_multiplier
    return next((m for least, m in CONFIDENCE_BANDS if confidence >= least), settings.low_confidence_multiplier)


def kelly(edge_r: float, ratio: float) -> float:
    """Return the growth-optimal share of equity to risk: mean over variance of a bet that wins ``ratio`` or loses 1.

    Kelly 1956: f* = p − q / b, which is edge / b. With a third outcome (time barrier) of about zero it errs low.
    """
    return edge_r / ratio


def risk_of(
    confidence: float, policy: Policy, directive: Directive, equity_usd: Decimal, cap: Decimal, settings: Settings
) -> tuple[Decimal, bool]:
    """Return (risk in USDT, whether the cap bound)."""
    share = min(settings.risk_per_trade, settings.profile.risk_per_trade)
    factors = (share, policy.risk_multiplier, confidence_multiplier(confidence, settings), directive.size_multiplier)
    risk = equity_usd
    for factor in factors:
        risk *= exact(factor)
    return min(risk, cap), risk > cap


def minimum_quantity(price: Decimal, rules: SymbolRules, settings: Settings) -> Decimal:
    """Return the smallest quantity that both we and the exchange take, on step."""
    least = max(exact(settings.position_usd_min), rules.notional_min * NOTIONAL_MIN_MARGIN)
    return max(ceil_to(least / price, rules.quantity_step), ceil_to(rules.quantity_min, rules.quantity_step))


def notional_limits(account: Account, price: Decimal, rules: SymbolRules, settings: Settings) -> dict[str, Decimal]:
    """Return every upper limit on the notional by the name a person knows it by."""
    multiple = exact(settings.profile.gross_equity_multiple_max)
    return {
        "RM_MAX_POSITION_USD": exact(settings.position_usd_max),
        "QT_MAX_GROSS_NOTIONAL": exact(settings.gross_notional_usd_max) - account.gross_notional_usd,
        f"profile {settings.profile.name} gross": multiple * account.equity_usd - account.gross_notional_usd,
        "exchange market quantity": rules.market_quantity_max * price,
        "exchange leverage table": max((b.notional_cap for b in rules.brackets), default=Decimal(0)),
    }


def _refusal(name: str, value: str, limit: str, note: str = "", *, transient: bool = False) -> Gate:
    return Gate(name=name, passed=False, value=value, limit=limit, note=note, transient=transient)


def size(
    side: Side,
    confidence: float,
    edge_r: float,
    price: Decimal,
    barriers: Barriers,
    policy: Policy,
    directive: Directive,
    account: Account,
    rules: SymbolRules,
    settings: Settings,
) -> Sized | Gate:
    """Return the size, or the gate that refuses one.

    ``edge_r`` is the expected result in placed stop distances before costs, ``price`` the touch of a market order.
    """
    growth = kelly(edge_r, barriers.ratio)
    if not growth > 0:  # NaN included
        return _refusal("kelly", number(growth, 4), "> 0", "no edge, no size")
    fraction = min(settings.risk_max, KELLY_SHARE * growth)
    cap = account.equity_usd * exact(fraction)
    risk, capped = risk_of(confidence, policy, directive, account.equity_usd, cap, settings)
    if risk <= 0:
        return _refusal("risk", usd(risk), "> $0.00", "a multiplier of zero leaves nothing to risk", transient=True)
    wanted = Sized(
        side=side,
        price=price,
        quantity=Decimal(0),
        notional_usd=risk / exact(barriers.stop_pct),
        risk_usd=risk,
        margin_usd=Decimal(0),
        leverage=0,
        leverage_wanted=0,
        risk_wanted_usd=risk,
        notional_wanted_usd=risk / exact(barriers.stop_pct),
        barriers=barriers,
        clamped_by=_cap_name(fraction, settings) if capped else (),
    )
    clamped = _clamped(wanted, cap, account, rules, settings)
    return clamped if isinstance(clamped, Gate) else _within_margin(clamped, directive, account, rules, settings)


def _cap_name(fraction: float, settings: Settings) -> tuple[str]:
    return ("RM_MAX_RISK_PCT" if fraction == settings.risk_max else "a quarter of Kelly",)


def _clamped(wanted: Sized, cap: Decimal, account: Account, rules: SymbolRules, settings: Settings) -> Sized | Gate:
    """Bring the notional between the smallest order and the tightest upper limit."""
    stop, target, clamps = exact(wanted.barriers.stop_pct), wanted.notional_usd, wanted.clamped_by
    limits = notional_limits(account, wanted.price, rules, settings)
    tightest = min(limits, key=lambda name: limits[name])
    smallest = minimum_quantity(wanted.price, rules, settings) * wanted.price
    if limits[tightest] < smallest:
        gate = "gross_limit" if "gross" in tightest.lower() else "size_limit"
        left = f"{usd(limits[tightest])} left"
        return _refusal(gate, left, f"≥ {usd(smallest)} smallest order", tightest, transient=gate == "gross_limit")
    if limits[tightest] < target:
        target, clamps = limits[tightest], (*clamps, tightest)
    if target < smallest:
        target, clamps = smallest, (*clamps, "raised to the smallest order")
        if target * stop > cap:
            text = f"the smallest order {usd(target)} would risk {usd(target * stop)}"
            limit = f"≤ {percent(cap / account.equity_usd)} of equity"
            return _refusal("risk_cap", percent(target * stop / account.equity_usd), limit, text)
    return msgspec.structs.replace(wanted, notional_usd=target, clamped_by=clamps)


def _within_margin(
    sized: Sized, directive: Directive, account: Account, rules: SymbolRules, settings: Settings
) -> Sized | Gate:
    """Choose the leverage, then shrink to what the available balance can carry at that leverage."""
    target, stop = sized.notional_usd, exact(sized.barriers.stop_pct)
    bracket = bracket_of(target, rules.brackets)
    if bracket is None:
        return _refusal("liquidation", usd(target), "a row in the leverage table", "the exchange's table has none")
    cap = leverage_cap(settings, directive.leverage_multiplier, bracket)
    leverage = safe_leverage(sized.side, stop, target, bracket, cap)
    if leverage is None:
        return _refusal("liquidation", f"stop {percent(stop)}", "inside liquidation at 1×", "the stop is too wide")
    clamps = sized.clamped_by
    payable = max(Decimal(0), account.available_usd * MARGIN_SHARE * leverage)
    if payable < target:
        target, clamps = payable, (*clamps, "available margin")
    quantity = floor_to(target / sized.price, rules.quantity_step)
    least = minimum_quantity(sized.price, rules, settings)
    if quantity < least:
        needed = least * sized.price / leverage / MARGIN_SHARE
        return _refusal(
            "margin", f"{usd(account.available_usd)} available", f"≥ {usd(needed)} at {leverage}×", transient=True
        )
    return msgspec.structs.replace(
        sized,
        quantity=quantity,
        notional_usd=quantity * sized.price,
        risk_usd=quantity * sized.price * stop,
        margin_usd=target / leverage,
        leverage=leverage,
        leverage_wanted=cap,
        clamped_by=clamps,
    )
