"""What a round trip costs, as a fraction of notional, before it is made (SPEC 7.5)."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from config.settings import Settings
from qt_actors.decisions.facts import Quote
from qt_actors.decisions.funding import expected_funding, expected_hold_hours
from qt_actors.decisions.texts import percent
from qt_actors.messages.base import Side, opposite
from qt_actors.messages.policy import Gate

IMPACT_MAX: Final = 0.05
"""The exchange itself takes nothing further from the mark than 5 % (``marketTakeBound``)."""


class Costs(msgspec.Struct, frozen=True):
    """Fractions of notional over the whole round trip, all at market."""

    spread: float
    impact: float
    fees: float
    funding: float

    @property
    def total(self) -> float:
        """Sum of all four."""
        return self.spread + self.impact + self.fees + self.funding


def impact_of(quantity: float, touch_quantity: float, half_spread: float) -> float:
    """Return the mean extra price of a market order, a fraction.

    The book behind the touch is not heard; it is taken as levels of the touch's size, half a spread apart. An order of
    n touch sizes then pays (n − 1) / 2 half spreads more than the touch on average, nothing when the touch holds it.
    """
    if touch_quantity <= 0:
        return IMPACT_MAX
    levels = quantity / touch_quantity
    return min(IMPACT_MAX, max(0.0, (levels - 1) / 2) * half_spread)


def costs_of(
    side: Side, quantity: Decimal, quote: Quote, funding_interval_hours: int, settings: Settings, taker_fee: float
) -> Costs:
    """Return the expected costs of entering now and leaving later at market."""
    half_spread = (quote.ask - quote.bid) / 2 / quote.mid
    into = impact_of(float(quantity), quote.touch_quantity(side), half_spread)
    out = impact_of(float(quantity), quote.touch_quantity(opposite(side)), half_spread)
    hold = expected_hold_hours(settings.interval_ms, settings.holding_bars_max)
    paid = expected_funding(side, quote.funding_rate, funding_interval_hours, hold)
    return Costs(spread=2 * half_spread, impact=into + out, fees=2 * taker_fee, funding=paid)


def cost_gate(costs: Costs, edge: float) -> Gate:
    """Refuse a trade whose expected edge (fraction of notional) does not cover its costs."""
    parts = (
        f"spread {percent(costs.spread, 3)}, impact {percent(costs.impact, 3)}, "
        f"fees {percent(costs.fees, 3)}, funding {percent(costs.funding, 3)}"
    )
    # A comparison with NaN is false: what cannot be computed is refused.
    return Gate(
        name="cost",
        passed=costs.total < edge,
        value=percent(costs.total, 3),
        limit=f"< {percent(edge, 3)} expected edge",
        note=parts,
        transient=True,
    )
