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
from qt_actors.exchange.payloads import algo_row, income_row, order_history_row, order_row, trade_row
from qt_actors.exchange.state import AlgoOrder, Order

Params = Mapping[str, str]
Reply = dict[str, Any]
DAY_MS: Final = 86_400_000
WINDOW_MS: Final = 7 * DAY_MS
UNFILLED_KEPT_MS: Final = 3 * DAY_MS
KEPT_MS: Final = 90 * DAY_MS
LIMIT_MAX: Final = 1000


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
            return list(known)
        symbol = params.symbol_of(wire)
        self._core.rules_of(symbol)
        return [symbol] if symbol in known else []

    def _limit(self, wire: Params, default: int) -> int:
        limit = params.integer(wire, "limit")
        if limit is None:
            return default
        if limit < 1:
            raise refusal(-1130, "limit")
        return min(limit, LIMIT_MAX)

    def _window(self, wire: Params) -> tuple[int, int]:
        """The startTime and endTime sent, at most 7 days apart (-4165); the last 7 days when none is sent."""
        start, end = params.integer(wire, "startTime"), params.integer(wire, "endTime")
        if start is None and end is None:
            return self._core.now - WINDOW_MS, self._core.now
        if start is None:
            return (end or 0) - WINDOW_MS, end or 0
        if end is None:
            return start, start + WINDOW_MS
        if start > end:
            raise refusal(-1023)
        if end - start > WINDOW_MS:
            raise refusal(-4165, 7)
        return start, end

    def all_orders(self, wire: Params) -> list[Reply]:
        """GET allOrders: by window (the newest), or from an orderId on (the oldest)."""
        core = self._core
        symbol = wire.get("symbol", "").upper()
        if symbol:
            core.rules_of(symbol)
        first, limit = params.integer(wire, "orderId"), self._limit(wire, 500)
        found = [order for order in core.state.orders.values() if symbol in {"", order.symbol} and self._kept(order)]
        if first is not None:
            found = [order for order in found if order.order_id >= first][:limit]
        else:
            start, end = self._window(wire)
            found = [order for order in found if start <= order.create_ms <= end][-limit:]
        return [order_history_row(order, core.rules_of(order.symbol)) for order in found]

    def force_orders(self, wire: Params) -> list[Reply]:
        """GET forceOrders: the account's own liquidation orders, by window (the newest)."""
        core = self._core
        symbol, limit = wire.get("symbol", "").upper(), self._limit(wire, 50)
        start, end = self._window(wire)
        found = [
            order
            for order in core.state.orders.values()
            if order.client_order_id.startswith("autoclose-")
            and symbol in {"", order.symbol}
            and start <= order.create_ms <= end
        ]
        return [order_row(order, core.rules_of(order.symbol)) for order in found[-limit:]]

    def user_trades(self, wire: Params) -> list[Reply]:
        """GET userTrades: by window (the newest), by fromId (the oldest), or of one orderId."""
        core = self._core
        symbol = params.symbol_of(wire)
        rules = core.rules_of(symbol)
        first, number, limit = params.integer(wire, "fromId"), params.integer(wire, "orderId"), self._limit(wire, 500)
        found = [trade for trade in core.state.trades if trade.symbol == symbol]
        if number is not None:
            found = [trade for trade in found if trade.order_id == number]
        if first is not None:
            found = [trade for trade in found if trade.trade_id >= first][:limit]
        elif number is None or wire.get("startTime") or wire.get("endTime"):
            found = self._within(found, wire)[-limit:]
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
        limit, page = self._limit(wire, 100), params.integer(wire, "page")
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
        first, limit, page = params.integer(wire, "algoId"), self._limit(wire, 500), params.integer(wire, "page")
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
            if core.client_ids.get((order.symbol, order.client_order_id)) == order.order_id:
                del core.client_ids[order.symbol, order.client_order_id]
        for algo in list(state.algo_orders.values()):
            if not algo.is_open and algo.status != "TRIGGERED" and algo.create_ms < oldest:
                del state.algo_orders[algo.algo_id]
                if core.client_algo_ids.get(algo.client_algo_id) == algo.algo_id:
                    del core.client_algo_ids[algo.client_algo_id]
        state.trades = [trade for trade in state.trades if trade.time_ms >= oldest]
        for row in state.income:
            if row.time_ms < oldest:
                state.income_dropped[row.asset] = state.income_dropped.get(row.asset, ZERO) + row.amount
        state.income = [row for row in state.income if row.time_ms >= oldest]
