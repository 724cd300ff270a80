"""Acting on orders and positions, inside the engine: an empty book, and what ends by the exchange's own doing."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from qt_actors.exchange import params
from qt_actors.exchange.core import in_symbol_order
from qt_actors.exchange.matching import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qt_actors.exchange.algo_orders import AlgoOrders
    from qt_actors.exchange.core import Core
    from qt_actors.exchange.liquidation import Liquidation
    from qt_actors.exchange.matching import Matching

DISPLACED: Final = "4"  # expiry reason of an order that the exchange took away


def spoil(core: Core, matching: Matching, algos: AlgoOrders, liquidation: Liquidation, wire: Mapping[str, str]) -> None:
    """Do what `do` of `wire` says: empty_book, thin_book, full_book (for orders of side), deleverage, expire.

    thin_book leaves quantity `left` to take.
    deleverage closes the positions of symbol; without one, of all.
    expire ends open orders, conditional too: those of symbol, side and type, or the one of orderId or algoId.
    """
    match wire["do"]:
        case "empty_book" | "thin_book":
            symbol, side = params.symbol_of(wire), wire["side"]
            gone = EVERYTHING if wire["do"] == "empty_book" else matching.depth(symbol, side) - Decimal(wire["left"])
            core.state.taken.setdefault(symbol, {})[side] = max(gone, Decimal(0))
            core.active.add(symbol)
        case "full_book":
            core.state.taken.get(params.symbol_of(wire), {}).pop(wire["side"], None)
        case "deleverage":
            held = {position.symbol for position in core.open_positions()}
            for symbol in sorted(held & {wire["symbol"]} if wire["symbol"] else held):
                liquidation.deleverage(symbol)
        case _:
            _expire(core, matching, algos, wire)


def _expire(core: Core, matching: Matching, algos: AlgoOrders, wire: Mapping[str, str]) -> None:
    order_id, algo_id = wire.get("orderId", ""), wire.get("algoId", "")
    wanted = {"symbol": wire.get("symbol", ""), "side": wire.get("side", ""), "type": wire.get("type", "")}

    def is_meant(order: object, number: int, named: str) -> bool:
        if order_id or algo_id:
            return named == str(number)
        return all(not value or getattr(order, name) == value for name, value in wanted.items())

    for _, orders in in_symbol_order(core.open_orders):
        for order in list(orders.values()):
            if is_meant(order, order.order_id, order_id):
                matching.expire(order, "EXPIRED", DISPLACED)
    for _, waiting in in_symbol_order(core.open_algos):
        for algo in list(waiting.values()):
            if is_meant(algo, algo.algo_id, algo_id):
                algos.expire(algo)
    for symbol in sorted(core.children):
        algos.settle(symbol)
