"""REST replies of orders, conditional orders, trades and income, key by key as Binance sends them in late 2026.

Placement, amendment and cancel replies carry neither avgPrice nor cumQuote (removed on 2026-07-14); queries do.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from qt_actors.exchange.figures import ZERO, fixed, plain, shown
from qt_actors.exchange.rules import SymbolRules
from qt_actors.exchange.state import AlgoOrder, Amendment, Income, MarginMove, Order, Trade

Reply = dict[str, Any]


def order_reply(order: Order, rules: SymbolRules) -> Reply:
    """Reply of POST, PUT and DELETE order."""
    price, qty = rules.price_precision, rules.quantity_precision
    return {
        "orderId": order.order_id,
        "symbol": order.symbol,
        "status": order.status,
        "clientOrderId": order.client_order_id,
        "price": fixed(order.price, price),
        "origQty": fixed(order.quantity, qty),
        "executedQty": fixed(order.executed, qty),
        "cumQty": fixed(order.executed, qty),
        "timeInForce": order.time_in_force,
        "type": order.type,
        "reduceOnly": order.reduce_only,
        "closePosition": order.close_position,
        "side": order.side,
        "positionSide": order.position_side,
        "stopPrice": fixed(order.stop_price, price),
        "workingType": order.working_type,
        "priceProtect": order.price_protect,
        "origType": order.orig_type or order.type,
        "priceMatch": order.price_match,
        "selfTradePreventionMode": order.stp_mode,
        "goodTillDate": order.good_till_ms,
        "updateTime": order.update_ms,
    }


def order_row(order: Order, rules: SymbolRules) -> Reply:
    """Reply of GET order and openOrder(s): with avgPrice, cumQuote and the creation time."""
    row = order_reply(order, rules)
    del row["cumQty"]
    row["avgPrice"] = fixed(order.average_price, max(5, rules.price_precision + 1))
    row["cumQuote"] = plain(order.quote)
    row["time"] = order.create_ms
    if order.callback_rate is not None:
        row["activatePrice"] = plain(order.activate_price or ZERO)
        row["priceRate"] = plain(order.callback_rate)
    return row


def order_history_row(order: Order, rules: SymbolRules) -> Reply:
    """Element of GET allOrders."""
    return {**order_row(order, rules), "pair": rules.raw.get("pair", order.symbol), "cumBase": plain(order.executed)}


def amendment_row(change: Amendment, rules: SymbolRules) -> Reply:
    """Element of GET orderAmendment."""
    return {
        "amendmentId": change.amendment_id,
        "symbol": change.symbol,
        "pair": rules.raw.get("pair", change.symbol),
        "orderId": change.order_id,
        "clientOrderId": change.client_order_id,
        "time": change.time_ms,
        "amendment": {
            "price": {"before": plain(change.price_before), "after": plain(change.price_after)},
            "origQty": {"before": plain(change.quantity_before), "after": plain(change.quantity_after)},
            "count": change.count,
        },
        "priceMatch": change.price_match,
    }


def margin_move_row(move: MarginMove) -> Reply:
    """Element of GET positionMargin/history."""
    return {
        "symbol": move.symbol,
        "type": move.type,
        "deltaType": "USER_ADJUST",
        "amount": plain(move.amount),
        "asset": move.asset,
        "time": move.time_ms,
        "positionSide": move.position_side,
    }


def trade_row(trade: Trade, rules: SymbolRules) -> Reply:
    """Element of GET userTrades."""
    return {
        "symbol": trade.symbol,
        "id": trade.trade_id,
        "orderId": trade.order_id,
        "side": trade.side,
        "price": fixed(trade.price, rules.price_precision),
        "qty": fixed(trade.quantity, rules.quantity_precision),
        "realizedPnl": f"{trade.realized:.8f}" if trade.realized else "0",
        "quoteQty": plain(trade.price * trade.quantity),
        "commission": shown(trade.commission),
        "commissionAsset": trade.asset,
        "time": trade.time_ms,
        "positionSide": trade.position_side,
        "buyer": trade.side == "BUY",
        "maker": trade.maker,
        "pair": rules.raw.get("pair", trade.symbol),
        "baseQty": fixed(trade.quantity, rules.quantity_precision),
        "marginAsset": trade.asset,
    }


def income_row(row: Income) -> Reply:
    """Element of GET income."""
    return {
        "symbol": row.symbol,
        "incomeType": row.kind,
        "income": f"{row.amount:.8f}",
        "asset": row.asset,
        "info": str(row.trade_id) if row.trade_id else row.info,
        "time": row.time_ms,
        "tranId": row.tran_id,
        "tradeId": str(row.trade_id) if row.trade_id else "",
    }


def algo_reply(algo: AlgoOrder, rules: SymbolRules) -> Reply:
    """Reply of POST algoOrder."""
    price, qty = rules.price_precision, rules.quantity_precision
    trailing = algo.callback_rate is not None
    return {
        "algoId": algo.algo_id,
        "clientAlgoId": algo.client_algo_id,
        "algoType": "CONDITIONAL",
        "orderType": algo.type,
        "symbol": algo.symbol,
        "side": algo.side,
        "positionSide": algo.position_side,
        "timeInForce": algo.time_in_force,
        "quantity": fixed(algo.quantity, qty),
        "algoStatus": algo.status,
        "triggerPrice": fixed(algo.trigger_price, price),
        "price": fixed(algo.price, price),
        "icebergQuantity": None,
        "selfTradePreventionMode": algo.stp_mode,
        "workingType": algo.working_type,
        "priceMatch": algo.price_match,
        "closePosition": algo.close_position,
        "priceProtect": algo.price_protect,
        "reduceOnly": algo.reduce_only,
        "activatePrice": fixed(algo.activate_price, price) if algo.activate_price is not None else "",
        "callbackRate": plain(algo.callback_rate) if trailing and algo.callback_rate is not None else "",
        "createTime": algo.create_ms,
        "updateTime": algo.update_ms,
        "triggerTime": algo.trigger_ms,
        "goodTillDate": algo.good_till_ms,
    }


def algo_row(algo: AlgoOrder, child: Order | None, rules: SymbolRules) -> Reply:
    """Reply of GET algoOrder, openAlgoOrders and allAlgoOrders: with what became of the child order."""
    row = algo_reply(algo, rules)
    zero = fixed(Decimal(0), rules.price_precision)
    row["actualOrderId"] = str(algo.child_id) if algo.child_id else ""
    row["actualPrice"] = fixed(child.average_price if child else ZERO, max(5, rules.price_precision + 1))
    if child is not None:
        row["actualQty"] = fixed(child.executed, rules.quantity_precision)
        row["actualType"] = child.type
    row |= {"tpTriggerPrice": zero, "tpPrice": zero, "slTriggerPrice": zero, "slPrice": zero, "tpOrderType": ""}
    return row
