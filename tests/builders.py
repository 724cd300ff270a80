"""Builders with defaults: a test names only what it is about."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

import msgspec

from qt_actors.messages.market import Bracket, SymbolRules
from qt_actors.messages.orders import ConditionalUpdated, Fill, OrderUpdated
from qt_actors.messages.policy import Decision, EntryPlan
from qt_actors.messages.positions import AccountSnapshot, Position, RestingOrder, TradeState
from qt_actors.messages.signals import ModelVote, Signal

CLOSE_MS = 1_750_000_000_000
NOW = CLOSE_MS + 500


def _with(message: Any, changes: dict[str, Any]) -> Any:
    return msgspec.structs.replace(message, **changes)


def some_rules(symbol: str = "BTCUSDT", **changes: Any) -> SymbolRules:
    """Rules of a liquid symbol."""
    bracket = Bracket(
        notional_floor=D(0),
        notional_cap=D(10_000_000),
        leverage_max=125,
        maintenance_ratio=D("0.004"),
        maintenance_amount=D(0),
    )
    rules = SymbolRules(
        symbol=symbol,
        status="TRADING",
        onboard_ms=0,
        price_tick=D("0.1"),
        price_min=D("0.1"),
        price_max=D(10_000_000),
        quantity_step=D("0.001"),
        quantity_min=D("0.001"),
        market_quantity_max=D(120),
        notional_min=D(5),
        price_multiplier_up=D("1.05"),
        price_multiplier_down=D("0.95"),
        brackets=(bracket,),
    )
    return _with(rules, changes)


def a_plan(**changes: Any) -> EntryPlan:
    """A small long in BTCUSDT: stop 2 % away, target 1.5 %, half of it trails."""
    plan = EntryPlan(
        decision_id=f"BTCUSDT-{CLOSE_MS}",
        symbol="BTCUSDT",
        side="BUY",
        quantity=D("0.010"),
        price=D("100000.0"),
        stop_price=D("98000.0"),
        target_price=D("101500.0"),
        target_quantity=D("0.005"),
        trail_quantity=D("0.005"),
        trail_callback_pct=D("2.0"),
        leverage=10,
        notional_usd=D(1000),
        risk_usd=D(20),
        stop_pct=0.02,
        confidence=0.8,
        close_time_ms=CLOSE_MS,
        expires_ms=CLOSE_MS + 3_600_000,
    )
    return _with(plan, changes)


def a_signal(**changes: Any) -> Signal:
    """Three of four models buy BTCUSDT."""
    votes = tuple(
        ModelVote(model=m, action="BUY", confidence=0.8, p_sell=0.2, p_hold=0.2, p_buy=0.6)
        for m in ("xgb", "lgbm", "nhits")
    )
    signal = Signal(
        symbol="BTCUSDT",
        action="BUY",
        confidence=0.8,
        p_win=0.75,
        edge_r=0.4,
        agree=3,
        active=4,
        quorum=3,
        regime="NORMAL",
        tp_pct=0.08,
        sl_pct=0.073,
        close=100_000.0,
        volatility=0.01,
        volatility_rank=0.5,
        votes=votes,
        close_time_ms=CLOSE_MS,
        expires_ms=CLOSE_MS + 3_600_000,
    )
    return _with(signal, changes)


def a_decision(**changes: Any) -> Decision:
    """An admitted decision with ``a_plan``."""
    decision = Decision(
        decision_id=f"BTCUSDT-{CLOSE_MS}",
        symbol="BTCUSDT",
        close_time_ms=CLOSE_MS,
        decided_ms=NOW,
        action="BUY",
        verdict="admitted",
        gate="",
        gates=(),
        signal=a_signal(),
        plan=a_plan(),
        trace="t1",
    )
    return _with(decision, changes)


def a_position(**changes: Any) -> Position:
    """What ``a_plan`` becomes on the exchange."""
    position = Position(
        symbol="BTCUSDT",
        quantity=D("0.010"),
        entry_price=D("100000.0"),
        mark_price=D("100000.0"),
        unrealized_pnl=D(0),
        liquidation_price=D("60000.0"),
        notional_usd=D(1000),
        initial_margin_usd=D(100),
        updated_ms=NOW,
    )
    return _with(position, changes)


def a_stop(**changes: Any) -> RestingOrder:
    """The stop that covers ``a_position``."""
    order = RestingOrder(
        symbol="BTCUSDT",
        client_id="qt-BTCUSDT-sxwkn4-s0",
        exchange_id=1,
        side="SELL",
        kind="STOP_MARKET",
        quantity=D("0.010"),
        executed_quantity=D(0),
        trigger_price=D("98000.0"),
        activate_price=None,
        callback_pct=None,
        reduce_only=True,
        close_position=False,
        conditional=True,
        working_type="MARK_PRICE",
        created_ms=NOW,
    )
    return _with(order, changes)


def a_snapshot(**changes: Any) -> AccountSnapshot:
    """An account of 10,000 USDT with ``a_position`` and ``a_stop``."""
    snapshot = AccountSnapshot(
        serial=1,
        requested_ms=NOW + 1000,
        now_ms=NOW + 1000,
        wallet_usd=D(10_000),
        equity_usd=D(10_000),
        available_usd=D(9_900),
        positions=(a_position(),),
        orders=(),
        conditionals=(a_stop(),),
    )
    return _with(snapshot, changes)


def order_update(  # one field of the event each
    trade: TradeState,
    client_id: str,
    status: str,
    *,
    executed: str,
    price: str = "100000.0",
    trade_id: int = 0,
    side: str = "BUY",
    last: str = "0",
    pnl: str = "0",
) -> OrderUpdated:
    """ORDER_TRADE_UPDATE of one of the trade's orders, with a fill when ``trade_id`` is given."""
    fill = None
    if trade_id:
        fill = Fill(
            symbol=trade.symbol,
            trade_id=trade_id,
            order_id=1,
            client_id=client_id,
            side=side,
            price=D(price),
            quantity=D(last),
            commission=D("0.5"),
            commission_asset="USDT",
            realized_pnl=D(pnl),
            maker=False,
            time_ms=NOW,
        )
    return OrderUpdated(
        client_id=client_id,
        symbol=trade.symbol,
        order_id=1,
        side=side,
        order_type="MARKET",
        original_type="MARKET",
        execution="TRADE" if fill else status,
        status=status,
        quantity=trade.quantity,
        executed_quantity=D(executed),
        average_price=D(price),
        reduce_only=side == "SELL",
        time_ms=NOW,
        fill=fill,
    )


def algo_update(trade: TradeState, client_id: str, status: str, reason: str = "") -> ConditionalUpdated:
    """ALGO_UPDATE of one of the trade's conditional orders."""
    return ConditionalUpdated(
        client_id=client_id,
        symbol=trade.symbol,
        algo_id=9,
        side="SELL",
        kind="STOP_MARKET",
        status=status,
        quantity=trade.quantity,
        trigger_price=trade.stop_price,
        reduce_only=True,
        time_ms=NOW,
        reason=reason,
    )
