"""The orders a trade places, built from its state; ``reply_to`` and the fence are the executor's to stamp."""

from __future__ import annotations

from decimal import Decimal

from qt_actors.decisions.ids import client_id, decision_time_ms, parse
from qt_actors.messages.base import opposite
from qt_actors.messages.orders import (
    CancelOrder,
    ConditionalKind,
    LookUpOrder,
    PlaceConditional,
    PlaceOrder,
    Purpose,
    SetLeverage,
)
from qt_actors.messages.positions import TradeState

_KINDS: dict[Purpose, ConditionalKind] = {
    "stop": "STOP_MARKET",
    "target": "TAKE_PROFIT_MARKET",
    "trail": "TRAILING_STOP_MARKET",
}


def _id(trade: TradeState, purpose: Purpose) -> str:
    return client_id(trade.symbol, decision_time_ms(trade.decision_id), purpose, trade.attempts)


def leverage_order(trade: TradeState) -> SetLeverage:
    """Return the command that makes the symbol's leverage the planned one (asking for the same again is harmless)."""
    return SetLeverage(reply_to="", symbol=trade.symbol, leverage=trade.leverage)


def entry_order(trade: TradeState) -> PlaceOrder:
    """Return the market entry; it expires with its signal."""
    return PlaceOrder(
        reply_to="",
        expires_ms=trade.expires_ms,
        client_id=_id(trade, "entry"),
        symbol=trade.symbol,
        side=trade.side,
        quantity=trade.quantity,
        reduce_only=False,
        purpose="entry",
    )


def close_order(trade: TradeState, quantity: Decimal, purpose: Purpose) -> PlaceOrder:
    """Return a reduce-only market order; protection never waits and never expires."""
    return PlaceOrder(
        reply_to="",
        priority="protect",
        client_id=_id(trade, purpose),
        symbol=trade.symbol,
        side=opposite(trade.side),
        quantity=quantity,
        reduce_only=True,
        purpose=purpose,
    )


def conditional_order(trade: TradeState, purpose: Purpose, quantity: Decimal, *, activate: bool) -> PlaceConditional:
    """Return the stop, target or trailing stop; a trail without activation starts at the current price."""
    trail = purpose == "trail"
    trigger = {"stop": trade.stop_price, "target": trade.target_price}.get(purpose)
    return PlaceConditional(
        reply_to="",
        priority="protect",
        expires_ms=trade.expires_ms if trade.phase == "stopping" else None,
        client_id=_id(trade, purpose),
        symbol=trade.symbol,
        side=opposite(trade.side),
        kind=_KINDS[purpose],
        quantity=quantity,
        purpose=purpose,
        trigger_price=trigger,
        activate_price=trade.target_price if trail and activate else None,
        callback_pct=trade.trail_callback_pct if trail else None,
    )


def look_up_order(trade: TradeState, order_id: str) -> LookUpOrder:
    """Return the question after one of the trade's regular orders."""
    return LookUpOrder(reply_to="", priority="protect", client_id=order_id, symbol=trade.symbol, conditional=False)


def cancel(trade: TradeState, order_id: str) -> CancelOrder:
    """Return the cancel of one of the trade's resting orders."""
    said = parse(order_id)
    conditional = said is None or said.purpose in _KINDS
    return CancelOrder(
        reply_to="", priority="protect", client_id=order_id, symbol=trade.symbol, conditional=conditional
    )


def taken_back(trade: TradeState, *order_ids: str) -> tuple[CancelOrder, ...]:
    """Return the cancels of those that are set and ours; an order made by somebody else is never touched."""
    return tuple(cancel(trade, i) for i in order_ids if parse(i) is not None)
