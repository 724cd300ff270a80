"""The exchange as it was before 2025-12-09: conditional orders placed, asked for and told among the regular ones.

While `before_2025_12_09` lasts, the order endpoints take the conditional types with their names of then (`stopPrice`,
`activationPrice`), answer with order rows and tell of them as ORDER_TRADE_UPDATE; the algo endpoints do not exist. A
fired conditional order ends EXPIRED and goes on as MARKET or LIMIT under its own order id. When it ends, what rests is
found on the algo endpoints, and the order endpoints answer -4120: the break of that day.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from qt_actors.exchange import params as wire_params
from qt_actors.exchange.errors import ExchangeError
from qt_actors.exchange.orders import CONDITIONAL

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qt_actors.exchange.exchange import Exchange
    from qt_actors.exchange.faults.desk import Desk

Act = Callable[[str, dict[str, str]], Any]
KIND: Final = "before_2025_12_09"
BATCH_MAX: Final = 5
NEW_NAMES: Final = {
    "stopPrice": "triggerPrice",
    "activationPrice": "activatePrice",
    "newClientOrderId": "clientAlgoId",
}
EXECUTIONS: Final = {"NEW": "NEW", "CANCELED": "CANCELED", "EXPIRED": "EXPIRED", "TRIGGERING": "EXPIRED"}
GONE: Final = -5000


def trade(exchange: Exchange, method: str, params: dict[str, str]) -> Any:
    """Run an operation of the engine, of today or of then."""
    if not exchange.desk.lasting(KIND):
        return exchange.operate(method, params)
    if "algo" in method:
        raise ExchangeError(GONE, "Path /fapi/v1/algoOrder is invalid", 404)
    return _of_then(exchange.operate, method, params)


def _of_then(act: Act, method: str, params: dict[str, str]) -> Any:
    match method:
        case "place_order":
            return _place(act, params)
        case "batch_orders":
            return [_element(act, one) for one in wire_params.batch(params, BATCH_MAX)]
        case "cancel_order" | "query_order" | "open_order":
            return _one(act, method, params)
        case "open_orders":
            return act(method, params) + [_row(row) for row in act("open_algo_orders", params)]
        case "all_orders":
            waiting = [row for row in act("all_algo_orders", params) if not row["actualOrderId"]]
            return act(method, params) + [_row(row) for row in waiting]
        case "cancel_all_orders":
            act("cancel_all_algo_orders", params)
            return act(method, params)
        case _:
            return act(method, params)


def _place(act: Act, params: dict[str, str]) -> Any:
    if params.get("type") not in CONDITIONAL:
        return act("place_order", params)
    renamed = {NEW_NAMES.get(name, name): value for name, value in params.items()}
    return _row(act("place_algo_order", {**renamed, "algoType": "CONDITIONAL"}))


def _element(act: Act, one: dict[str, str]) -> Any:
    try:
        return _place(act, one)
    except ExchangeError as refused:
        return {"code": refused.code, "msg": refused.msg}


def _one(act: Act, method: str, params: dict[str, str]) -> Any:
    """Cancel or query an order: as conditional while it waits, as what it became after it fired."""
    named = {"algoId": params.get("orderId", ""), "clientAlgoId": params.get("origClientOrderId", "")}
    try:
        row = act("query_algo_order", {name: value for name, value in named.items() if value})
    except ExchangeError:
        return act(method, params)
    if row["symbol"] != params.get("symbol", "").upper():
        return act(method, params)
    if row["actualOrderId"]:
        became = act(method, {"symbol": row["symbol"], "orderId": row["actualOrderId"]})
        return {**became, "orderId": row["algoId"]}
    if method == "cancel_order":
        try:
            act("cancel_algo_order", {"algoId": str(row["algoId"])})
        except ExchangeError:
            return act(method, params)  # refuses it: no such order is open
        return _row({**row, "algoStatus": "CANCELED"})
    if method == "open_order" and row["algoStatus"] != "NEW":
        return act(method, params)
    return _row(row)


def _row(algo: Mapping[str, Any]) -> dict[str, Any]:
    """A conditional order as an order row of then."""
    row = {
        "orderId": algo["algoId"],
        "symbol": algo["symbol"],
        "status": EXECUTIONS.get(algo["algoStatus"], "EXPIRED"),
        "clientOrderId": algo["clientAlgoId"],
        "price": algo["price"],
        "avgPrice": "0.00",
        "origQty": algo["quantity"],
        "executedQty": "0",
        "cumQty": "0",
        "cumQuote": "0",
        "timeInForce": algo["timeInForce"],
        "type": algo["orderType"],
        "reduceOnly": algo["reduceOnly"],
        "closePosition": algo["closePosition"],
        "side": algo["side"],
        "positionSide": algo["positionSide"],
        "stopPrice": algo["triggerPrice"],
        "workingType": algo["workingType"],
        "priceProtect": algo["priceProtect"],
        "origType": algo["orderType"],
        "priceMatch": algo["priceMatch"],
        "selfTradePreventionMode": algo["selfTradePreventionMode"],
        "goodTillDate": algo["goodTillDate"],
        "time": algo["createTime"],
        "updateTime": algo["updateTime"],
    }
    if algo["callbackRate"]:
        row["activatePrice"], row["priceRate"] = algo["activatePrice"], algo["callbackRate"]
    return row


class Teller:
    """Tells account events as today or as then; remembers which fired order goes on under which number.

    Args:
        desk: says whether it is then.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._fired: dict[str, int] = {}

    def told(self, event: dict[str, Any]) -> Iterable[dict[str, Any]]:
        """The event as clients shall hear it; none when they hear of it otherwise."""
        if not self._desk.lasting(KIND):
            self._fired.clear()
            return (event,)
        if event["e"] == "ORDER_TRADE_UPDATE" and event["o"]["c"] in self._fired:
            return ({**event, "o": {**event["o"], "i": self._fired[event["o"]["c"]]}},)
        if event["e"] != "ALGO_UPDATE":
            return (event,)
        algo = event["o"]
        if algo["X"] not in EXECUTIONS:
            return ()  # the order that it became has told it
        if algo["X"] == "TRIGGERING":
            self._fired[algo["caid"]] = algo["aid"]
        return ({**event, "e": "ORDER_TRADE_UPDATE", "o": _as_order(algo, event["T"])},)


def _as_order(algo: Mapping[str, Any], time_ms: int) -> dict[str, Any]:
    """The body of ORDER_TRADE_UPDATE for one of ALGO_UPDATE."""
    status = EXECUTIONS[algo["X"]]
    return {
        **{name: algo[name] for name in ("s", "S", "o", "f", "q", "p")},
        "c": algo["caid"],
        "ap": "0",
        "sp": algo["tp"],
        "x": status,
        "X": status,
        "i": algo["aid"],
        **dict.fromkeys(("l", "z", "L", "n", "b", "a", "rp"), "0"),
        "N": "USDT",
        "T": time_ms,
        "t": 0,
        "m": False,
        "R": algo["R"],
        "wt": algo.get("wt", "CONTRACT_PRICE"),
        "ot": algo["o"],
        "ps": algo["ps"],
        "cp": algo.get("cp", False),
        "pP": algo.get("pP", False),
        "si": 0,
        "ss": 0,
        "V": algo.get("V", "EXPIRE_MAKER"),
        "pm": algo.get("pm", "NONE"),
        "gtd": algo["gtd"],
        "er": "8" if algo["X"] == "TRIGGERING" else "0",
    }
