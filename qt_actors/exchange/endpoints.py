"""The engine's endpoints: wire parameters and the exchange's time in, the REST reply out, or `ExchangeError`.

Everything that may move a position or close an order is settled before its reply leaves: parents of finished children
are told FINISHED and conditional orders left without a position expire.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from qt_actors.exchange import params
from qt_actors.exchange.algo_orders import AlgoOrders
from qt_actors.exchange.core import Core
from qt_actors.exchange.errors import ExchangeError, refusal
from qt_actors.exchange.orders import Orders
from qt_actors.exchange.queries import Queries
from qt_actors.exchange.reports import Reports
from qt_actors.exchange.settings import Settings

Params = Mapping[str, str]
Reply = dict[str, Any]
BATCH_MAX: Final = 5
BATCH_CANCEL_MAX: Final = 10


class Endpoints:
    """What a client may ask of the engine, a method an endpoint."""

    _core: Core
    _orders: Orders
    _algos: AlgoOrders
    _settings: Settings
    _reports: Reports
    _queries: Queries

    def exchange_info(self, now_ms: int) -> Reply:
        """GET exchangeInfo."""
        return self._core.rules.exchange_info(now_ms)

    def _settled(self, wire: Params, now_ms: int, act: Callable[[Params], Reply]) -> Reply:
        """Run an order operation at that time, then settle what it left behind on its symbol."""
        self._core.at(now_ms)
        try:
            return act(wire)
        finally:
            self._algos.settle(wire.get("symbol", "").upper())

    def place_order(self, wire: Params, now_ms: int) -> Reply:
        """POST order."""
        return self._settled(wire, now_ms, self._orders.place)

    def test_order(self, wire: Params, now_ms: int) -> Reply:
        """POST order/test."""
        return self._settled(wire, now_ms, self._orders.test)

    def modify_order(self, wire: Params, now_ms: int) -> Reply:
        """PUT order."""
        return self._settled(wire, now_ms, self._orders.modify)

    def cancel_order(self, wire: Params, now_ms: int) -> Reply:
        """DELETE order."""
        return self._settled(wire, now_ms, self._orders.cancel)

    def cancel_all_orders(self, wire: Params, now_ms: int) -> Reply:
        """DELETE allOpenOrders."""
        return self._settled(wire, now_ms, self._orders.cancel_all)

    def countdown_cancel_all(self, wire: Params, now_ms: int) -> Reply:
        """POST countdownCancelAll: `advance` cancels the symbol's regular orders in countdownTime ms; 0 disarms."""
        core = self._core
        core.at(now_ms)
        symbol, countdown = params.symbol_of(wire), params.integer(wire, "countdownTime")
        core.rules_of(symbol)
        if countdown is None or countdown < 0:
            raise refusal(-1102, "countdownTime")
        core.state.countdowns.pop(symbol, None)
        if countdown > 0:
            core.state.countdowns[symbol] = now_ms + countdown
            core.expires(now_ms + countdown)
        core.changed()
        return {"symbol": symbol, "countdownTime": str(countdown)}

    def batch_orders(self, wire: Params, now_ms: int) -> list[Reply]:
        """POST batchOrders: each element is an order's reply or `{code, msg}`."""
        return [self._element(one, now_ms, self._orders.place) for one in params.batch(wire, BATCH_MAX)]

    def modify_batch_orders(self, wire: Params, now_ms: int) -> list[Reply]:
        """PUT batchOrders."""
        return [self._element(one, now_ms, self._orders.modify) for one in params.batch(wire, BATCH_MAX)]

    def cancel_batch_orders(self, wire: Params, now_ms: int) -> list[Reply]:
        """DELETE batchOrders: by orderIdList or origClientOrderIdList (JSON), at most ten."""
        symbol = params.symbol_of(wire)
        lower = {key.lower(): value for key, value in wire.items()}
        key, name = (
            ("orderidlist", "orderId") if lower.get("orderidlist") else ("origclientorderidlist", "origClientOrderId")
        )
        wanted = params.json_list(lower.get(key, ""), name + "List")
        if len(wanted) > BATCH_CANCEL_MAX:
            raise refusal(-4032)
        return [self._element({"symbol": symbol, name: str(one)}, now_ms, self._orders.cancel) for one in wanted]

    def _element(self, wire: Params, now_ms: int, act: Callable[[Params], Reply]) -> Reply:
        try:
            return self._settled(wire, now_ms, act)
        except ExchangeError as error:
            return {"code": error.code, "msg": error.msg}

    def query_order(self, wire: Params, now_ms: int) -> Reply:
        """GET order."""
        self._core.at(now_ms)
        return self._queries.order(wire)

    def open_order(self, wire: Params, now_ms: int) -> Reply:
        """GET openOrder."""
        self._core.at(now_ms)
        return self._queries.open_order(wire)

    def open_orders(self, wire: Params, now_ms: int) -> list[Reply]:
        """GET openOrders."""
        self._core.at(now_ms)
        return self._queries.open_orders(wire)

    def all_orders(self, wire: Params, now_ms: int) -> list[Reply]:
        """GET allOrders."""
        self._core.at(now_ms)
        return self._queries.all_orders(wire)

    def user_trades(self, wire: Params, now_ms: int) -> list[Reply]:
        """GET userTrades."""
        self._core.at(now_ms)
        return self._queries.user_trades(wire)

    def force_orders(self, wire: Params, now_ms: int) -> list[Reply]:
        """GET forceOrders."""
        self._core.at(now_ms)
        return self._queries.force_orders(wire)

    def order_amendments(self, wire: Params, now_ms: int) -> list[Reply]:
        """GET orderAmendment."""
        self._core.at(now_ms)
        return self._queries.amendments(wire)

    def margin_history(self, wire: Params, now_ms: int) -> list[Reply]:
        """GET positionMargin/history."""
        self._core.at(now_ms)
        return self._queries.margin_moves(wire)

    def place_algo_order(self, wire: Params, now_ms: int) -> Reply:
        """POST algoOrder."""
        return self._settled(wire, now_ms, self._algos.place)

    def cancel_algo_order(self, wire: Params, now_ms: int) -> Reply:
        """DELETE algoOrder."""
        return self._settled(wire, now_ms, self._algos.cancel)

    def cancel_all_algo_orders(self, wire: Params, now_ms: int) -> Reply:
        """DELETE algoOpenOrders."""
        return self._settled(wire, now_ms, self._algos.cancel_all)

    def query_algo_order(self, wire: Params, now_ms: int) -> Reply:
        """GET algoOrder."""
        self._core.at(now_ms)
        return self._queries.algo_order(wire)

    def open_algo_orders(self, wire: Params, now_ms: int) -> list[Reply]:
        """GET openAlgoOrders."""
        self._core.at(now_ms)
        return self._queries.open_algo_orders(wire)

    def all_algo_orders(self, wire: Params, now_ms: int) -> list[Reply]:
        """GET allAlgoOrders."""
        self._core.at(now_ms)
        return self._queries.all_algo_orders(wire)

    def account_v2(self, _wire: Params, now_ms: int) -> Reply:
        """GET v2/account."""
        self._core.at(now_ms)
        return self._reports.account_v2()

    def account_v3(self, _wire: Params, now_ms: int) -> Reply:
        """GET v3/account."""
        self._core.at(now_ms)
        return self._reports.account_v3()

    def balance(self, _wire: Params, now_ms: int) -> list[Reply]:
        """GET v2/balance and v3/balance."""
        self._core.at(now_ms)
        return self._reports.balance()

    def position_risk_v2(self, wire: Params, now_ms: int) -> list[Reply]:
        """GET v2/positionRisk."""
        self._core.at(now_ms)
        return self._reports.position_risk_v2(wire)

    def position_risk_v3(self, wire: Params, now_ms: int) -> list[Reply]:
        """GET v3/positionRisk."""
        self._core.at(now_ms)
        return self._reports.position_risk_v3(wire)

    def symbol_config(self, wire: Params, now_ms: int) -> list[Reply]:
        """GET symbolConfig."""
        self._core.at(now_ms)
        return self._settings.symbol_config(wire)

    def account_config(self, _wire: Params, now_ms: int) -> Reply:
        """GET accountConfig."""
        self._core.at(now_ms)
        return self._reports.account_config()

    def commission_rate(self, wire: Params, now_ms: int) -> Reply:
        """GET commissionRate."""
        self._core.at(now_ms)
        return self._reports.commission_rate(params.symbol_of(wire))

    def leverage_bracket(self, wire: Params, now_ms: int) -> list[Reply]:
        """GET leverageBracket."""
        self._core.at(now_ms)
        return self._reports.leverage_bracket(wire)

    def income(self, wire: Params, now_ms: int) -> list[Reply]:
        """GET income."""
        self._core.at(now_ms)
        return self._queries.income(wire)

    def set_leverage(self, wire: Params, now_ms: int) -> Reply:
        """POST leverage."""
        return self._settled(wire, now_ms, self._settings.set_leverage)

    def set_margin_type(self, wire: Params, now_ms: int) -> Reply:
        """POST marginType."""
        return self._settled(wire, now_ms, self._settings.set_margin_type)

    def position_margin(self, wire: Params, now_ms: int) -> Reply:
        """POST positionMargin."""
        return self._settled(wire, now_ms, self._settings.position_margin)

    def get_position_side(self, _wire: Params, now_ms: int) -> Reply:
        """GET positionSide/dual."""
        self._core.at(now_ms)
        return self._settings.position_side()

    def set_position_side(self, wire: Params, now_ms: int) -> Reply:
        """POST positionSide/dual."""
        return self._settled(wire, now_ms, self._settings.set_position_side)

    def get_multi_assets(self, _wire: Params, now_ms: int) -> Reply:
        """GET multiAssetsMargin."""
        self._core.at(now_ms)
        return self._settings.multi_assets()

    def set_multi_assets(self, wire: Params, now_ms: int) -> Reply:
        """POST multiAssetsMargin."""
        return self._settled(wire, now_ms, self._settings.set_multi_assets)

    def get_fee_burn(self, _wire: Params, now_ms: int) -> Reply:
        """GET feeBurn."""
        self._core.at(now_ms)
        return self._settings.fee_burn()

    def set_fee_burn(self, wire: Params, now_ms: int) -> Reply:
        """POST feeBurn."""
        return self._settled(wire, now_ms, self._settings.set_fee_burn)

    def trading_status(self, wire: Params, now_ms: int) -> Reply:
        """GET apiTradingStatus."""
        self._core.at(now_ms)
        return self._reports.trading_status(wire)

    def adl_quantile(self, wire: Params, now_ms: int) -> list[Reply]:
        """GET adlQuantile."""
        self._core.at(now_ms)
        return self._reports.adl_quantile(wire)
