"""What was: order, conditional-order, trade and income queries with Binance's windows, limits and retention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from qt_actors.exchange import params
from qt_actors.exchange.algo_orders import AlgoOrders
from qt_actors.exchange.core import Core
from qt_actors.exchange.errors import refusal
from qt_actors.exchange.figures import ZERO
from qt_actors.exchange.orders import Orders
from qt_actors.exchange.payloads import (
    algo_row,
    amendment_row,
    income_row,
    margin_move_row,
    order_history_row,
    order_row,
    trade_row,
)
from qt_actors.exchange.state import AlgoOrder, Order

Params = Mapping[str, str]
Reply = dict[str, Any]
DAY_MS: Final = 86_400_000
WINDOW_MS: Final = 7 * DAY_MS
UNFILLED_KEPT_MS: Final = 3 * DAY_MS
KEPT_MS: Final = 90 * DAY_MS
LIMIT_MAX: Final = 1000
AMENDMENTS_TOLD_MAX: Final = 100
MARGIN_WINDOW_MS: Final = 30 * DAY_MS
AUTO_CLOSE_PREFIX: Final = {"LIQUIDATION": "autoclose-", "ADL": "adl_autoclose"}
INCOME_TYPES: Final = frozenset({
    "TRANSFER", "WELCOME_BONUS", "REALIZED_PNL", "FUNDING_FEE", "COMMISSION", "INSURANCE_CLEAR",
    "REFERRAL_KICKBACK", "COMMISSION_REBATE", "API_REBATE", "CONTEST_REWARD", "CROSS_COLLATERAL_TRANSFER",
    "OPTIONS_PREMIUM_FEE", "OPTIONS_SETTLE_PROFIT", "INTERNAL_TRANSFER", "AUTO_EXCHANGE", "DELIVERED_SETTELMENT",
    "COIN_SWAP_DEPOSIT", "COIN_SWAP_WITHDRAW", "POSITION_LIMIT_INCREASE_FEE", "STRATEGY_UMFUTURES_TRANSFER",
    "FEE_RETURN", "BFUSD_REWARD", "SPECIAL_FUNDING_FEE",
})  # fmt: skip


class _Timed(Protocol):
    @property
    def time_ms(self) -> int: ...


Row = TypeVar("Row", bound=_Timed)


class Queries:
    """Answers history queries and forgets what Binance forgets."""

    def __init__(self, core: Core, orders: Orders, algos: AlgoOrders) -> None:
        self._core = core
        self._orders = orders
        self._algos = algos

    def order(self, wire: Params) -> Reply:
        """GET order, or -2013."""
        order = self._orders.find(wire, -2013)
        return order_row(order, self._core.rules_of(order.symbol))

    def open_order(self, wire: Params) -> Reply:
        """GET openOrder, or -2013 once it is closed."""
        order = self._orders.find_open(wire, -2013)
        return order_row(order, self._core.rules_of(order.symbol))

    def open_orders(self, wire: Params) -> list[Reply]:
        """GET openOrders, of one symbol or all; conditional orders are not among them."""
        core = self._core
        return [
            order_row(order, core.rules_of(symbol))
            for symbol in self._symbols(wire, core.open_orders)
            for order in core.open_orders[symbol].values()
        ]

    def _symbols(self, wire: Params, known: Mapping[str, object]) -> list[str]:
        if not wire.get("symbol"):
            return sorted(known)
        symbol = params.symbol_of(wire)
        self._core.rules_of(symbol)
        return [symbol] if symbol in known else []

    def _window(self, wire: Params, most_ms: int = WINDOW_MS) -> tuple[int, int]:
        """The startTime and endTime sent, at most `most_ms` apart (-4165); the last `most_ms` when none is sent."""
        start, end = params.integer(wire, "startTime"), params.integer(wire, "endTime")
        if start is None and end is None:
            return self._core.now - most_ms, self._core.now
        if start is None:
            return (end or 0) - most_ms, end or 0
        if end is None:
            return start, start + most_ms
        if start > end:
            raise refusal(-1023)
        if end - start > most_ms:
            raise refusal(-4165, most_ms // DAY_MS)
        return start, end

    def all_orders(self, wire: Params) -> list[Reply]:
        """GET allOrders: by window (the newest), or from an orderId on (the oldest)."""
        core = self._core
        symbol = wire.get("symbol", "").upper()
        if symbol:
            core.rules_of(symbol)
        first, limit = params.integer(wire, "orderId"), params.limit_of(wire, 500, LIMIT_MAX)
        found = [order for order in core.state.orders.values() if symbol in {"", order.symbol} and self._kept(order)]
        if first is not None:
            found = [order for order in found if order.order_id >= first][:limit]
        else:
            start, end = self._window(wire)
            found = [order for order in found if start <= order.create_ms <= end][-limit:]
        return [order_history_row(order, core.rules_of(order.symbol)) for order in found]

    def force_orders(self, wire: Params) -> list[Reply]:
        """GET forceOrders: the account's own liquidation and ADL orders, by window (the newest)."""
        core = self._core
        symbol, limit = wire.get("symbol", "").upper(), params.limit_of(wire, 50, 100)
        if symbol:
            core.rules_of(symbol)
        kind = params.choice(wire, "autoCloseType", frozenset({*AUTO_CLOSE_PREFIX, ""}), "")
        prefixes = (AUTO_CLOSE_PREFIX[kind],) if kind else tuple(AUTO_CLOSE_PREFIX.values())
        start, end = self._window(wire)
        found = [
            order
            for order in core.state.orders.values()
            if order.client_order_id.startswith(prefixes)
            and symbol in {"", order.symbol}
            and start <= order.create_ms <= end
        ]
        return [order_row(order, core.rules_of(order.symbol)) for order in found[-limit:]]

    def user_trades(self, wire: Params) -> list[Reply]:
        """GET userTrades: from startTime or fromId on (the oldest), else the newest of the window or of one orderId."""
        core = self._core
        symbol = params.symbol_of(wire)
        rules = core.rules_of(symbol)
        first, number = params.integer(wire, "fromId"), params.integer(wire, "orderId")
        limit = params.limit_of(wire, 500, LIMIT_MAX)
        if first is not None and (wire.get("startTime") or wire.get("endTime")):
            raise refusal(-1128)
        found = [trade for trade in core.state.trades if trade.symbol == symbol]
        if number is not None:
            found = [trade for trade in found if trade.order_id == number]
        if first is not None:
            found = [trade for trade in found if trade.trade_id >= first][:limit]
        elif number is None or wire.get("startTime") or wire.get("endTime"):
            found = self._within(found, wire)
            found = found[:limit] if wire.get("startTime") else found[-limit:]
        else:
            found = found[-limit:]
        return [trade_row(trade, rules) for trade in found]

    def _within(self, rows: Sequence[Row], wire: Params) -> list[Row]:
        start, end = self._window(wire)
        return [row for row in rows if start <= row.time_ms <= end]

    def income(self, wire: Params) -> list[Reply]:
        """GET income: ascending; with startTime the oldest `limit` rows from it on, else the newest of the last 7 days.

        `page` counts from 1 and pages from the oldest.
        """
        symbol, kind = wire.get("symbol", "").upper(), wire.get("incomeType", "")
        limit, page = params.limit_of(wire, 100, LIMIT_MAX), params.integer(wire, "page")
        if kind and kind not in INCOME_TYPES:
            raise refusal(-1130, "incomeType")
        start, end = params.integer(wire, "startTime"), params.integer(wire, "endTime")
        if start is None:
            start = (end if end is not None else self._core.now) - WINDOW_MS
        end = self._core.now if end is None else end
        if start > end:
            raise refusal(-1023)
        found = [
            row
            for row in self._core.state.income
            if symbol in {"", row.symbol} and kind in {"", row.kind} and start <= row.time_ms <= end
        ]
        if page is not None:
            found = found[max(0, page - 1) * limit :][:limit]
        found = found[:limit] if wire.get("startTime") else found[-limit:]
        return [income_row(row) for row in found]

    def amendments(self, wire: Params) -> list[Reply]:
        """GET orderAmendment of one order: the newest first; -1102 when no order is named."""
        symbol = params.symbol_of(wire)
        rules = self._core.rules_of(symbol)
        number, name = params.integer(wire, "orderId"), params.text(wire, "origClientOrderId")
        if number is None and not name:
            raise self._orders.unnamed()
        limit = params.limit_of(wire, 50, AMENDMENTS_TOLD_MAX)
        start, end = params.integer(wire, "startTime") or 0, params.integer(wire, "endTime")
        if end is not None and start > end:
            raise refusal(-1023)
        found = [
            change
            for change in self._core.state.amendments
            if change.symbol == symbol
            and (change.order_id == number if number is not None else change.client_order_id == name)
            and start <= change.time_ms <= (self._core.now if end is None else end)
        ]
        return [amendment_row(change, rules) for change in found[: -limit - 1 : -1]]

    def margin_moves(self, wire: Params) -> list[Reply]:
        """GET positionMargin/history of one symbol, at most 30 days of it."""
        symbol = params.symbol_of(wire)
        self._core.rules_of(symbol)
        kind, limit = params.integer(wire, "type"), params.limit_of(wire, 500, LIMIT_MAX)
        if kind not in {None, 1, 2}:
            raise refusal(-1130, "type")
        start, end = self._window(wire, MARGIN_WINDOW_MS)
        found = [
            move
            for move in self._core.state.margin_moves
            if move.symbol == symbol and kind in {None, move.type} and start <= move.time_ms <= end
        ]
        return [margin_move_row(move) for move in found[-limit:]]

    def _algo_row(self, algo: AlgoOrder) -> Reply:
        child = self._core.state.orders.get(algo.child_id)
        return algo_row(algo, child, self._core.rules_of(algo.symbol))

    def algo_order(self, wire: Params) -> Reply:
        """GET algoOrder, or -2013."""
        return self._algo_row(self._algos.find(wire, -2013))

    def open_algo_orders(self, wire: Params) -> list[Reply]:
        """GET openAlgoOrders, of one symbol or all."""
        core = self._core
        number = params.integer(wire, "algoId")
        params.choice(wire, "algoType", frozenset({"CONDITIONAL"}), "CONDITIONAL")
        return [
            self._algo_row(algo)
            for symbol in self._symbols(wire, core.open_algos)
            for algo in core.open_algos[symbol].values()
            if number in {None, algo.algo_id}
        ]

    def all_algo_orders(self, wire: Params) -> list[Reply]:
        """GET allAlgoOrders of one symbol: by window or from an algoId on, `page` counts from 1."""
        symbol = params.symbol_of(wire)
        self._core.rules_of(symbol)
        first, page = params.integer(wire, "algoId"), params.integer(wire, "page")
        limit = params.limit_of(wire, 500, LIMIT_MAX)
        found = [algo for algo in self._core.state.algo_orders.values() if algo.symbol == symbol]
        if first is not None:
            found = [algo for algo in found if algo.algo_id >= first]
        else:
            start, end = self._window(wire)
            found = [algo for algo in found if start <= algo.create_ms <= end]
        found = found[max(0, (page or 1) - 1) * limit :][:limit] if page or first is not None else found[-limit:]
        return [self._algo_row(algo) for algo in found]

    def _kept(self, order: Order) -> bool:
        """Whether the order is still found: unfilled dead ones 3 days, all closed ones 90 days."""
        if order.is_open:
            return True
        age = self._core.now - order.create_ms
        return age <= (KEPT_MS if order.executed else UNFILLED_KEPT_MS)

    def forget(self) -> None:
        """Drop what retention has passed; dropped income stays in `income_dropped`, so the wallets stay provable."""
        core, state = self._core, self._core.state
        oldest = core.now - KEPT_MS
        for order in [order for order in state.orders.values() if not self._kept(order)]:
            del state.orders[order.order_id]
        for algo in list(state.algo_orders.values()):
            if not algo.is_open and algo.status != "TRIGGERED" and algo.create_ms < oldest:
                del state.algo_orders[algo.algo_id]
        core.index_ids()
        state.trades = [trade for trade in state.trades if trade.time_ms >= oldest]
        state.amendments = [change for change in state.amendments if change.time_ms >= oldest]
        state.margin_moves = [move for move in state.margin_moves if move.time_ms >= oldest]
        for row in state.income:
            if row.time_ms < oldest:
                state.income_dropped[row.asset] = state.income_dropped.get(row.asset, ZERO) + row.amount
        state.income = [row for row in state.income if row.time_ms >= oldest]
