"""Margin arithmetic: maintenance, order margin, liquidation and bankruptcy price. Pure, exact Decimal.

Formulas: Binance's FAQ pages "Leverage and Margin", "Liquidation price of USDⓈ-M contracts" and "Order cost"; notional
is quantity x mark price, quote asset.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import msgspec

from qt_actors.exchange.figures import ZERO
from qt_actors.exchange.rules import SymbolRules

NEWTON_STEPS: Final = 32
OPEN_UPLIFT: Final = Decimal("0.0005")
"""Fraction a market order, and any short, is priced above the touch when its margin is reckoned (0.05 %)."""


class Leg(msgspec.Struct, frozen=True):
    """One position as the margin formulas see it: signed quantity (base), entry cost (signed quote), mark price."""

    qty: Decimal
    cost: Decimal
    mark: Decimal
    rules: SymbolRules

    @property
    def notional(self) -> Decimal:
        """Signed notional at mark."""
        return self.qty * self.mark

    @property
    def unrealized(self) -> Decimal:
        """Unrealised profit at mark."""
        return self.notional - self.cost

    @property
    def maintenance(self) -> Decimal:
        """Maintenance margin: |notional| x ratio - cum of its bracket."""
        size = abs(self.notional)
        tier = self.rules.bracket(size)
        return size * tier.maint_ratio - tier.cum if size else ZERO


def assumed_price(side: str, limit: Decimal | None, mark: Decimal, bid: Decimal, ask: Decimal) -> Decimal:
    """Price at which an order's margin is reckoned (`limit` None: a market order).

    A long costs its limit price, or the ask plus 0.05 %; a short costs the highest of its limit price, the mark price
    and the bid plus 0.05 %, since it may fill above its limit.
    """
    if side == "BUY":
        return ask * (1 + OPEN_UPLIFT) if limit is None else limit
    return max(bid * (1 + OPEN_UPLIFT), mark, limit or ZERO)


def open_loss(side: str, opening_qty: Decimal, price: Decimal, mark: Decimal) -> Decimal:
    """What the opening part of an order loses against the mark price at once: qty x |min(0, dir x (mark - price))|."""
    direction = 1 if side == "BUY" else -1
    return opening_qty * max(ZERO, direction * (price - mark))


def worst_notional(present: Decimal, bids: Decimal, asks: Decimal) -> Decimal:
    """Largest |notional| the open orders can lead to: present is signed, bids and asks are the orders' notionals."""
    return max(abs(present + bids), abs(present - asks))


def liquidation_price(
    legs: Sequence[Leg], wallet: Decimal, others_maintenance: Decimal, others_unrealized: Decimal
) -> Decimal:
    """Mark price of one symbol at which margin balance equals maintenance margin, 0 when there is none above zero.

    LP = (WB - TMM1 + UPNL1 + sum cum - sum Q EP) / (sum |Q| MMR - sum Q) over the symbol's legs (one, or LONG and SHORT
    of hedge mode), Q signed. Each leg's bracket must be the one of the answer, so the formula is repeated with the
    brackets of the last answer until they agree: Newton's method on a function of straight pieces.
    """
    base = wallet - others_maintenance + others_unrealized - sum((leg.cost for leg in legs), ZERO)
    slope = sum((leg.qty for leg in legs), ZERO)
    tiers = [leg.rules.bracket(abs(leg.notional)) for leg in legs]
    price = ZERO
    for _ in range(NEWTON_STEPS):
        pairs = list(zip(legs, tiers, strict=True))
        divisor = sum((abs(leg.qty) * tier.maint_ratio for leg, tier in pairs), ZERO) - slope
        if not divisor:
            return ZERO
        price = (base + sum((tier.cum for tier in tiers), ZERO)) / divisor
        if price <= 0:
            return ZERO
        there = [leg.rules.bracket(abs(leg.qty) * price) for leg in legs]
        if there == tiers:
            break
        tiers = there
    return price


def bankruptcy_price(leg: Leg, wallet: Decimal, others_unrealized: Decimal) -> Decimal:
    """Price at which closing leaves the margin pool with nothing, never below zero."""
    return max(ZERO, (leg.cost - wallet - others_unrealized) / leg.qty)
