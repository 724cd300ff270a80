"""The orchestrator's profiles (SPEC 6)."""

from __future__ import annotations

import msgspec


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one profile; fractions, not percent."""

    name: str
    base_confidence: float
    risk_per_trade: float
    positions_max: int
    gross_equity_multiple_max: float
    """Gross notional over equity."""
    daily_loss_max: float
    """Of the equity at the start of the UTC day."""
    leverage_max: int


PROFILES: dict[str, Profile] = {
    "SAFE": Profile(
        name="SAFE",
        base_confidence=0.55,
        risk_per_trade=0.008,
        positions_max=6,
        gross_equity_multiple_max=10.0,
        daily_loss_max=0.02,
        leverage_max=10,
    ),
    "AGGRESSIVE": Profile(
        name="AGGRESSIVE",
        base_confidence=0.45,
        risk_per_trade=0.015,
        positions_max=10,
        gross_equity_multiple_max=20.0,
        daily_loss_max=0.05,
        leverage_max=30,
    ),
}

NO_PROFILE = Profile(
    name="NONE",
    base_confidence=0.38,
    risk_per_trade=0.015,
    positions_max=10,
    gross_equity_multiple_max=20.0,
    daily_loss_max=1.0,
    leverage_max=30,
)
"""``ORCHESTRATOR_PROFILE=NONE``: only the variables limit, at the widest profile's exposure."""
