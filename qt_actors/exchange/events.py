"""User-data events, key by key as captured from the real private stream (2026). E equals T: there is no latency."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from qt_actors.exchange.figures import amount, fixed, money, plain
from qt_actors.exchange.rules import SymbolRules
from qt_actors.exchange.state import AlgoOrder, Order, Position, Trade

Event = dict[str, Any]


def order_update(
    order: Order,
    execution: str,
    now_ms: int,
    notionals: tuple[Decimal, Decimal],
    trade: Trade | None = None,
    asset: str = "USDT",
) -> Event:
    """ORDER_TRADE_UPDATE; `notionals` are the symbol's open bid and ask notional, `trade` the fill it reports."""
    body: Event = {
        "s": order.symbol,
        "c": order.client_order_id,
        "S": order.side,
        "o": order.type,
        "f": order.time_in_force,
        "q": plain(order.quantity),
        "p": plain(order.price),
        "ap": plain(money(order.average_price)),
        "sp": plain(order.stop_price),
        "x": execution,
        "X": order.status,
        "i": order.order_id,
        "l": plain(trade.quantity) if trade else "0",
        "z": plain(order.executed),
        "L": plain(trade.price) if trade else "0",
        "n": amount(trade.commission) if trade else "0",
        "N": trade.asset if trade else asset,
        "T": now_ms,
        "t": trade.trade_id if trade else 0,
        "b": plain(notionals[0]),
        "a": plain(notionals[1]),
        "m": trade.maker if trade else False,
        "R": order.reduce_only,
        "wt": order.working_type,
        "ot": order.orig_type or order.type,
        "ps": order.position_side,
        "cp": order.close_position,
        "rp": amount(trade.realized) if trade else "0",
        "pP": order.price_protect,
        "si": 0,
        "ss": 0,
        "V": order.stp_mode,
        "pm": order.price_match,
        "gtd": order.good_till_ms,
        "er": order.expiry_reason,
    }
    if order.callback_rate is not None:
        body["AP"], body["cr"] = plain(order.activate_price or Decimal(0)), plain(order.callback_rate)
    if execution == "AMENDMENT":
        body["M"] = order.modify_id
    return {"e": "ORDER_TRADE_UPDATE", "T": now_ms, "E": now_ms, "o": body}


def trade_lite(order: Order, trade: Trade, rules: SymbolRules) -> Event:
    """TRADE_LITE: the fill alone, prices and quantities padded to the symbol's precision."""
    return {
        "e": "TRADE_LITE",
        "E": trade.time_ms,
        "T": trade.time_ms,
        "s": order.symbol,
        "q": fixed(order.quantity, rules.quantity_precision),
        "p": fixed(order.price, rules.price_precision),
        "m": trade.maker,
        "c": order.client_order_id,
        "S": order.side,
        "L": fixed(trade.price, rules.price_precision),
        "l": fixed(trade.quantity, rules.quantity_precision),
        "t": trade.trade_id,
        "i": order.order_id,
    }


def balance_row(asset: str, wallet: Decimal, cross: Decimal, change: Decimal) -> Event:
    """An element of ACCOUNT_UPDATE `B`; `change` leaves out realised profit and commission."""
    return {"a": asset, "wb": amount(wallet), "cw": amount(cross), "bc": amount(change)}


def position_row(position: Position, unrealized: Decimal, asset: str, *, isolated: bool) -> Event:
    """An element of ACCOUNT_UPDATE `P`."""
    return {
        "s": position.symbol,
        "pa": plain(position.qty),
        "ep": plain(money(position.entry_price)),
        "cr": amount(position.realized),
        "up": amount(money(unrealized)),
        "mt": "isolated" if isolated else "cross",
        "iw": amount(position.isolated_wallet),
        "ps": position.side,
        "ma": asset,
        "bep": plain(money(position.break_even_price)),
    }


def account_update(
    reason: str, now_ms: int, balances: Iterable[Event], positions: Iterable[Event], symbol: str = ""
) -> Event:
    """ACCOUNT_UPDATE; `symbol` is named on FUNDING_FEE only."""
    body: Event = {"B": list(balances), "P": list(positions), "m": reason}
    if symbol:
        body["S"] = symbol
    return {"e": "ACCOUNT_UPDATE", "T": now_ms, "E": now_ms, "a": body}


def margin_call(cross_wallet: Decimal | None, now_ms: int, positions: Iterable[Event]) -> Event:
    """MARGIN_CALL; `cross_wallet` is named for a cross pool only."""
    cross = {} if cross_wallet is None else {"cw": plain(money(cross_wallet))}
    return {"e": "MARGIN_CALL", "E": now_ms, **cross, "p": list(positions)}


def called_position(position: Position, mark: Decimal, unrealized: Decimal, maintenance: Decimal, kind: str) -> Event:
    """An element of MARGIN_CALL `p`; `kind` is CROSSED or ISOLATED."""
    return {
        "s": position.symbol,
        "ps": position.side,
        "pa": plain(position.qty),
        "mt": kind,
        "iw": plain(position.isolated_wallet),
        "mp": plain(mark),
        "up": plain(money(unrealized)),
        "mm": plain(money(maintenance)),
    }


def leverage_update(symbol: str, leverage: int, now_ms: int) -> Event:
    """ACCOUNT_CONFIG_UPDATE of a symbol's leverage."""
    return {"e": "ACCOUNT_CONFIG_UPDATE", "E": now_ms, "T": now_ms, "ac": {"s": symbol, "l": leverage}}


def multi_assets_update(on: bool, now_ms: int) -> Event:
    """ACCOUNT_CONFIG_UPDATE of the multi-assets mode."""
    return {"e": "ACCOUNT_CONFIG_UPDATE", "E": now_ms, "T": now_ms, "ai": {"j": on}}


def algo_update(algo: AlgoOrder, now_ms: int, child: Order | None = None) -> Event:
    """ALGO_UPDATE. `child` gives ai, ap, aq and act; a cancel carries fewer keys, as captured in 2026-09."""
    body: Event = {
        "caid": algo.client_algo_id,
        "aid": algo.algo_id,
        "at": "CONDITIONAL",
        "o": algo.type,
        "s": algo.symbol,
        "S": algo.side,
        "ps": algo.position_side,
        "f": algo.time_in_force,
        "q": plain(algo.quantity),
        "X": algo.status,
        "ai": str(algo.child_id) if algo.child_id else "",
    }
    if child is not None:
        finished = algo.status == "FINISHED"
        body["ap"] = plain(money(child.average_price)) if finished else "0"
        body["aq"] = plain(child.executed) if finished else "0"
        body["act"] = child.type
    body["tp"], body["p"] = plain(algo.trigger_price), plain(algo.price)
    if algo.status != "CANCELED":
        body |= {
            "V": algo.stp_mode,
            "wt": algo.working_type,
            "pm": algo.price_match,
            "cp": algo.close_position,
            "pP": algo.price_protect,
        }
    body |= {"R": algo.reduce_only, "tt": algo.trigger_ms, "gtd": algo.good_till_ms}
    if algo.reason:
        body["rm"] = algo.reason
    body["ia"] = algo.activated
    return {"e": "ALGO_UPDATE", "T": now_ms, "E": now_ms, "o": body}
