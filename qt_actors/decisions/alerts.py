"""PnL alerts (SPEC 11): when an open position's result is worth a word."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from qt_actors.decisions.texts import HELD, price
from qt_actors.messages.positions import Position, TradeState

STEPS_R: Final = (Decimal("0.5"), Decimal(1), Decimal(2), Decimal(3), Decimal(5))
"""Results, in multiples of what the trade risks, that are told once each, gains and losses alike."""


def risk_of(trade: TradeState) -> Decimal:
    """Return what the trade risks between entry and stop in USD; zero when it has no stop price."""
    return abs(trade.entry_price - trade.stop_price) * trade.filled if trade.stop_price else Decimal(0)


def result_steps(trade: TradeState, position: Position) -> int:
    """Return how many steps the unrealised result has passed: −2 is a loss of one risk or more, 0 nothing to tell."""
    risk = risk_of(trade)
    if risk <= 0:
        return 0
    result = position.unrealized_pnl / risk
    passed = sum(abs(result) >= step for step in STEPS_R)
    return passed if result > 0 else -passed


def alert_text(trade: TradeState, position: Position) -> str:
    """Return the alert as a person reads it."""
    pnl = position.unrealized_pnl
    held = f"{HELD[trade.side]} {price(abs(position.quantity))}"
    return f"{held}: {pnl:+,.2f} USDT unrealised, {pnl / risk_of(trade):+.1f} x its risk"
