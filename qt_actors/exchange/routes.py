"""The REST surface as data: method, path, what it needs, what it costs, what answers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from qt_actors.exchange import (
    data_replies,
    index_replies,
    kline_replies,
    market_replies,
    other_hosts,
    price_klines,
    trade_replies,
)
from qt_actors.exchange.faults.before import trade
from qt_actors.exchange.params import INTEGER

if TYPE_CHECKING:
    from qt_actors.exchange.exchange import Exchange

Params = Mapping[str, str]
Weight = Callable[[Params], int]


class Access(Enum):
    """What a request must carry."""

    PUBLIC = 0
    KEY = 1
    SIGNED = 2


class Route(NamedTuple):
    """One endpoint.

    Attributes:
        access: what it must carry.
        weight: request weight, by parameters.
        orders: what it counts on the ten-second and on the minute limit; empty for nothing.
        answer: makes the reply.
        bucket: the limit of its own that it counts on instead of request weight (limits.BUCKETS); "" for none.
    """

    access: Access
    weight: Weight
    orders: tuple[int, int] | tuple[()]
    answer: Callable[[Exchange, dict[str, str]], Any]
    bucket: str = ""


def _flat(weight: int) -> Weight:
    return lambda _params: weight


def _by_symbol(one: int, every: int) -> Weight:
    return lambda params: one if params.get("symbol") else every


def _kline_weight(params: Params) -> int:
    limit = _number(params.get("limit"), 500)
    if limit <= 100:
        return 1 if params.get("limit") else 5
    return 2 if limit <= 500 and params.get("limit") else 5 if limit <= 1000 else 10


def _depth_weight(params: Params) -> int:
    if not params.get("limit"):
        return 1
    limit = _number(params["limit"], 500)
    return 2 if limit <= 50 else 5 if limit <= 100 else 10 if limit <= 500 else 20


def _number(text: str | None, default: int) -> int:
    return int(text) if text and INTEGER.fullmatch(text) else default


def _engine(name: str) -> Callable[[Exchange, dict[str, str]], Any]:
    return lambda exchange, params: trade(exchange, name, params)


def _market(answer: Callable[[Any, Params], Any]) -> Callable[[Exchange, dict[str, str]], Any]:
    def read(exchange: Exchange, params: dict[str, str]) -> Any:
        exchange.catch_up()
        exchange.commit()
        return answer(exchange.market, params)

    return read


def _exchange_info(exchange: Exchange, _params: Params) -> dict[str, Any]:
    """The exchangeInfo document of this moment, with the configured limits."""
    exchange.catch_up()
    info = exchange.engine.exchange_info(exchange.clock.now_ms())
    return {**info, "rateLimits": exchange.config.rate_limits()}


def _order_limits(exchange: Exchange, _params: Params) -> list[dict[str, Any]]:
    return [limit for limit in reversed(exchange.config.rate_limits()) if limit["rateLimitType"] == "ORDERS"]


def _sign_contract(_exchange: Exchange, _params: Params) -> dict[str, Any]:
    """The agreement that TradFi contracts need; there are none here, so that nothing depends on it."""
    return {"code": 200, "msg": "success"}


def _trading_schedule(exchange: Exchange, _params: Params) -> dict[str, Any]:
    """Sessions of TradFi markets, of which there are none here: every symbol trades around the clock."""
    return {"updateTime": exchange.clock.now_ms(), "marketSchedules": {}}


def _create_key(exchange: Exchange, _params: Params) -> dict[str, str]:
    key = exchange.listen_keys.create()
    exchange.commit()
    return {"listenKey": key}


def _extend_key(exchange: Exchange, _params: Params) -> dict[str, str]:
    return {"listenKey": exchange.listen_keys.extend()}


def _delete_key(exchange: Exchange, _params: Params) -> dict[str, Any]:
    key = exchange.listen_keys.delete()
    if key is not None:
        exchange.hub.expire(key, exchange.clock.now_ms())
    exchange.commit()
    return {}


_MARKET_DATA: Final[dict[str, tuple[Weight, Callable[[Any, Params], Any]]]] = {
    "v1/depth": (_depth_weight, market_replies.depth),
    "v1/rpiDepth": (_flat(20), market_replies.rpi_depth),
    "v1/trades": (_flat(5), trade_replies.trades),
    "v1/aggTrades": (_flat(20), trade_replies.agg_trades),
    "v1/klines": (_kline_weight, kline_replies.klines),
    "v1/continuousKlines": (_kline_weight, kline_replies.continuous_klines),
    "v1/markPriceKlines": (_kline_weight, price_klines.mark_price_klines),
    "v1/indexPriceKlines": (_kline_weight, price_klines.index_price_klines),
    "v1/premiumIndexKlines": (_kline_weight, price_klines.premium_index_klines),
    "v1/premiumIndex": (_by_symbol(1, 10), market_replies.premium_index),
    "v1/ticker/24hr": (_by_symbol(1, 40), market_replies.day_ticker),
    "v1/ticker/price": (_by_symbol(1, 2), market_replies.price_ticker),
    "v2/ticker/price": (_by_symbol(1, 2), market_replies.price_ticker),
    "v1/ticker/bookTicker": (_by_symbol(2, 5), market_replies.book_ticker),
    "v1/openInterest": (_flat(1), market_replies.open_interest),
    "v1/constituents": (_flat(2), index_replies.constituents),
    "v1/indexInfo": (_flat(1), index_replies.composite_indices),
}

_OWN_BUCKET: Final[dict[str, tuple[str, Callable[[Any, Params], Any]]]] = {
    "/fapi/v1/fundingRate": ("funding", market_replies.funding_rates),
    "/fapi/v1/fundingInfo": ("funding", market_replies.funding_info),
    "/futures/data/openInterestHist": ("data", data_replies.open_interest_history),
    "/futures/data/topLongShortAccountRatio": ("data", data_replies.long_short_ratio),
    "/futures/data/topLongShortPositionRatio": ("data", data_replies.long_short_ratio),
    "/futures/data/globalLongShortAccountRatio": ("data", data_replies.long_short_ratio),
    "/futures/data/takerlongshortRatio": ("data", data_replies.taker_ratio),
    "/futures/data/basis": ("data", data_replies.basis),
    "/futures/data/delivery-price": ("data", index_replies.delivery_prices),
}

# method, path, weight, orders, engine method
_TRADING: Final[tuple[tuple[str, str, Weight, tuple[int, int] | tuple[()], str], ...]] = (
    ("POST", "v1/order", _flat(0), (1, 1), "place_order"),
    ("POST", "v1/order/test", _flat(0), (), "test_order"),
    ("PUT", "v1/order", _flat(0), (1, 1), "modify_order"),
    ("DELETE", "v1/order", _flat(1), (), "cancel_order"),
    ("GET", "v1/order", _flat(1), (), "query_order"),
    ("DELETE", "v1/allOpenOrders", _flat(1), (), "cancel_all_orders"),
    ("POST", "v1/countdownCancelAll", _flat(10), (), "countdown_cancel_all"),
    ("POST", "v1/batchOrders", _flat(5), (5, 1), "batch_orders"),
    ("PUT", "v1/batchOrders", _flat(5), (5, 1), "modify_batch_orders"),
    ("DELETE", "v1/batchOrders", _flat(1), (), "cancel_batch_orders"),
    ("GET", "v1/openOrder", _flat(1), (), "open_order"),
    ("GET", "v1/openOrders", _by_symbol(1, 40), (), "open_orders"),
    ("GET", "v1/allOrders", _flat(5), (), "all_orders"),
    ("GET", "v1/userTrades", _flat(5), (), "user_trades"),
    ("GET", "v1/forceOrders", _by_symbol(20, 50), (), "force_orders"),
    ("GET", "v1/orderAmendment", _flat(1), (), "order_amendments"),
    ("POST", "v1/algoOrder", _flat(0), (1, 1), "place_algo_order"),
    ("DELETE", "v1/algoOrder", _flat(1), (), "cancel_algo_order"),
    ("GET", "v1/algoOrder", _flat(1), (), "query_algo_order"),
    ("DELETE", "v1/algoOpenOrders", _flat(1), (), "cancel_all_algo_orders"),
    ("GET", "v1/openAlgoOrders", _by_symbol(1, 40), (), "open_algo_orders"),
    ("GET", "v1/allAlgoOrders", _flat(5), (), "all_algo_orders"),
    ("GET", "v2/account", _flat(5), (), "account_v2"),
    ("GET", "v3/account", _flat(5), (), "account_v3"),
    ("GET", "v2/balance", _flat(5), (), "balance"),
    ("GET", "v3/balance", _flat(5), (), "balance"),
    ("GET", "v2/positionRisk", _flat(5), (), "position_risk_v2"),
    ("GET", "v3/positionRisk", _flat(5), (), "position_risk_v3"),
    ("GET", "v1/symbolConfig", _flat(5), (), "symbol_config"),
    ("GET", "v1/accountConfig", _flat(5), (), "account_config"),
    ("GET", "v1/commissionRate", _flat(20), (), "commission_rate"),
    ("GET", "v1/leverageBracket", _flat(1), (), "leverage_bracket"),
    ("GET", "v1/income", _flat(30), (), "income"),
    ("POST", "v1/leverage", _flat(1), (), "set_leverage"),
    ("POST", "v1/marginType", _flat(1), (), "set_margin_type"),
    ("POST", "v1/positionMargin", _flat(1), (), "position_margin"),
    ("GET", "v1/positionMargin/history", _flat(1), (), "margin_history"),
    ("GET", "v1/positionSide/dual", _flat(30), (), "get_position_side"),
    ("POST", "v1/positionSide/dual", _flat(1), (), "set_position_side"),
    ("GET", "v1/multiAssetsMargin", _flat(30), (), "get_multi_assets"),
    ("POST", "v1/multiAssetsMargin", _flat(1), (), "set_multi_assets"),
    ("GET", "v1/feeBurn", _flat(30), (), "get_fee_burn"),
    ("POST", "v1/feeBurn", _flat(1), (), "set_fee_burn"),
    ("GET", "v1/apiTradingStatus", _by_symbol(1, 10), (), "trading_status"),
    ("GET", "v1/adlQuantile", _flat(5), (), "adl_quantile"),
)


def _table() -> dict[tuple[str, str], Route]:
    public, keyed, signed = Access.PUBLIC, Access.KEY, Access.SIGNED
    table = {
        ("GET", "/fapi/v1/ping"): Route(public, _flat(1), (), other_hosts.ping),
        ("GET", "/fapi/v1/time"): Route(public, _flat(1), (), other_hosts.time),
        ("GET", "/api/v3/ping"): Route(public, _flat(1), (), other_hosts.ping),
        ("GET", "/api/v3/time"): Route(public, _flat(1), (), other_hosts.time),
        ("GET", "/sapi/v1/system/status"): Route(public, _flat(1), (), other_hosts.system_status),
        ("GET", "/sapi/v1/capital/config/getall"): Route(signed, _flat(10), (), other_hosts.coins),
        ("GET", "/sapi/v1/margin/allPairs"): Route(keyed, _flat(1), (), other_hosts.margin_pairs),
        ("GET", "/sapi/v1/margin/isolated/allPairs"): Route(keyed, _flat(10), (), other_hosts.margin_pairs),
        ("GET", "/fapi/v1/exchangeInfo"): Route(public, _flat(1), (), _exchange_info),
        ("GET", "/fapi/v1/assetIndex"): Route(public, _by_symbol(1, 10), (), index_replies.asset_indices),
        ("GET", "/fapi/v1/tradingSchedule"): Route(public, _flat(5), (), _trading_schedule),
        ("POST", "/fapi/v1/stock/contract"): Route(signed, _flat(50), (), _sign_contract),
        ("GET", "/fapi/v1/rateLimit/order"): Route(signed, _flat(1), (), _order_limits),
        ("GET", "/fapi/v1/historicalTrades"): Route(keyed, _flat(20), (), _market(trade_replies.historical_trades)),
        ("POST", "/fapi/v1/listenKey"): Route(keyed, _flat(1), (), _create_key),
        ("PUT", "/fapi/v1/listenKey"): Route(public, _flat(1), (), _extend_key),
        ("DELETE", "/fapi/v1/listenKey"): Route(keyed, _flat(1), (), _delete_key),
    }
    for path, (weight, answer) in _MARKET_DATA.items():
        table["GET", f"/fapi/{path}"] = Route(public, weight, (), _market(answer))
    for path, (bucket, answer) in _OWN_BUCKET.items():
        table["GET", path] = Route(public, _flat(0), (), _market(answer), bucket)
    for method, path, weight, orders, name in _TRADING:
        table[method, f"/fapi/{path}"] = Route(signed, weight, orders, _engine(name))
    return table


ROUTES: Final = _table()
