"""What holding costs: funding, normalised to 8 hours, because symbols settle every 8, 4 or 1 hours (SPEC 7.6)."""

from __future__ import annotations

from typing import Final

from qt_actors.messages.base import Side

FUNDING_8H_MAX: Final = 0.01
"""The paying side is refused above 1 % per 8 h."""
HOURS: Final = 8.0
HOLD_SHARE: Final = 0.5
"""Expected hold over the longest: of six years of 1h bars, trades ended on average after 19 to 25 of 48 bars."""


def paid_per_8h(side: Side, rate: float, interval_hours: int) -> float:
    """Return what the side pays per 8 h, a fraction of notional, negative when it earns; longs pay a positive rate."""
    normalised = rate * HOURS / interval_hours
    return normalised if side == "BUY" else -normalised


def expected_hold_hours(interval_ms: int, holding_bars_max: int) -> float:
    """Return how long a trade is expected to last."""
    return HOLD_SHARE * holding_bars_max * interval_ms / 3_600_000


def expected_funding(side: Side, rate: float, interval_hours: int, hold_hours: float) -> float:
    """Return the funding paid over the hold, a fraction of notional; income is not counted on, rates turn."""
    return max(0.0, paid_per_8h(side, rate, interval_hours)) * hold_hours / HOURS
