"""Conditional orders (Algo Service): placed and watched here, handed to the book as a child order when they fire.

Events of a firing order: ALGO_UPDATE TRIGGERING, all events of the child (its fills included), ALGO_UPDATE TRIGGERED,
and ALGO_UPDATE FINISHED once the child is closed; the fill comes before its ALGO_UPDATE, as it does on the real
exchange. A child that the book refuses: TRIGGERING, then REJECTED with the reason. Nothing is checked against margin
or position before the trigger. The child carries clientAlgoId as its clientOrderId.

An order of time in force GTE_GTC, which every closePosition order is, is tied to a position: it cannot be placed
without one that it would reduce (-4509), and it, or the limit order it became (er 6), expires when that one is gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from qt_actors.exchange import admission, events, params, triggers
from qt_actors.exchange.core import ALGO_ID_BASE, Core, generated_client_id
from qt_actors.exchange.errors import ExchangeError, refusal
from qt_actors.exchange.figures import ZERO, decimals
from qt_actors.exchange.matching import Matching
from qt_actors.exchange.orders import CONDITIONAL, Orders
from qt_actors.exchange.payloads import Reply, algo_reply
from qt_actors.exchange.quotes import Quote
from qt_actors.exchange.rules import SymbolRules
from qt_actors.exchange.state import AlgoOrder, Order

OPEN_MAX: Final = 200
"""Open conditional orders over all symbols (-4045)."""
CALLBACK_MIN, CALLBACK_MAX = Decimal("0.1"), Decimal(20)
MARKET_TYPES: Final = frozenset({"STOP_MARKET", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"})
CLOSING_TYPES: Final = frozenset({"STOP_MARKET", "TAKE_PROFIT_MARKET"})
TIED: Final = "GTE_GTC"
TIMES_IN_FORCE: Final = frozenset({"GTC", "IOC", "FOK", "GTX", "GTD", TIED})
WORKING_TYPES: Final = frozenset({"CONTRACT_PRICE", "MARK_PRICE"})
Params = Mapping[str, str]


class AlgoOrders:
    """Places, cancels, watches and fires conditional orders."""

    def __init__(self, core: Core, orders: Orders, matching: Matching) -> None:
        self._core = core
        self._orders = orders
        self._matching = matching

    def place(self, wire: Params) -> Reply:
        """POST algoOrder; emits ALGO_UPDATE NEW (twice for a trailing order that is active at once)."""
        core = self._core
        algo = self._draft(wire)
        rules = core.rules_of(algo.symbol)
        quote = core.quote_of(algo.symbol)
        self._check_numbers(algo, rules)
        self._check_trigger(algo, triggers.working_price(algo, quote))
        if algo.time_in_force == TIED:
            self._check_tied(algo)
        known = core.client_algo_ids.get(algo.client_algo_id)
        if algo.client_algo_id and known is not None and core.state.algo_orders[known].is_open:
            raise refusal(-4116)
        if sum(len(waiting) for waiting in core.open_algos.values()) >= OPEN_MAX:
            raise refusal(-4045)
        number = core.new_id()
        algo.algo_id = ALGO_ID_BASE + number
        algo.client_algo_id = algo.client_algo_id or generated_client_id(number)
        algo.create_ms = algo.update_ms = core.now
        core.state.algo_orders[algo.algo_id] = algo
        core.client_algo_ids[algo.client_algo_id] = algo.algo_id
        core.open_algos[algo.symbol][algo.algo_id] = algo
        core.active.add(algo.symbol)
        core.expires(algo.good_till_ms)
        core.emit(events.algo_update(algo, core.now))
        if algo.type == "TRAILING_STOP_MARKET":
            algo.extreme = triggers.working_price(algo, quote)
            self._follow(algo, algo.extreme)
        return algo_reply(algo, rules)

    def _draft(self, wire: Params) -> AlgoOrder:
        """The order as asked for, its syntax checked; it has no id yet."""
        if params.required(wire, "algoType") != "CONDITIONAL":
            raise refusal(-1130, "algoType")
        params.choice(wire, "newOrderRespType", admission.RESPONSE_TYPES, "ACK", -1136)
        symbol = params.symbol_of(wire)
        self._core.rules_of(symbol)
        side, kind = params.required(wire, "side"), params.required(wire, "type")
        if side not in admission.SIDES:
            raise refusal(-1117)
        if kind not in CONDITIONAL:
            raise refusal(-1116)
        closing = params.boolean(wire, "closePosition")
        algo = AlgoOrder(
            algo_id=0,
            client_algo_id=params.client_id(wire, "clientAlgoId"),
            symbol=symbol,
            side=side,
            type=kind,
            time_in_force=params.choice(wire, "timeInForce", TIMES_IN_FORCE, "GTC", -1115),
            position_side=self._orders.position_side(wire),
            working_type=self._working_type(wire),
            stp_mode=self._orders.stp_mode(wire),
            close_position=closing,
            price_protect=params.boolean(wire, "priceProtect"),
            reduce_only=self._orders.reduce_only(wire),
        )
        self._draft_size(algo, wire)
        self._draft_prices(algo, wire)
        if algo.time_in_force == "GTD":
            until = int(self._orders.mandatory(wire, "goodTillDate"))
            admission.check_good_till(until, self._core.now)
            algo.good_till_ms = until - until % 1000
        return algo

    @staticmethod
    def _working_type(wire: Params) -> str:
        kind = params.text(wire, "workingType", "CONTRACT_PRICE")
        if kind not in WORKING_TYPES:
            raise refusal(-4031, kind)
        return kind

    def _draft_size(self, algo: AlgoOrder, wire: Params) -> None:
        if not algo.close_position:
            algo.quantity = self._orders.mandatory(wire, "quantity")
            return
        if algo.type not in CLOSING_TYPES:
            raise refusal(-4136, algo.type)
        if params.decimal(wire, "quantity"):
            raise refusal(-4137)
        if wire.get("reduceOnly"):
            if not algo.reduce_only:
                raise refusal(-4138)
            raise refusal(-1106, "reduceonly")
        algo.time_in_force, algo.reduce_only = TIED, True

    def _draft_prices(self, algo: AlgoOrder, wire: Params) -> None:
        if algo.type == "TRAILING_STOP_MARKET":
            algo.callback_rate = self._orders.mandatory(wire, "callbackRate")
            algo.activate_price = params.decimal(wire, "activatePrice")
            if not CALLBACK_MIN <= algo.callback_rate <= CALLBACK_MAX:
                raise refusal(-2007)
            return
        algo.trigger_price = self._orders.mandatory(wire, "triggerPrice")
        algo.price_match = params.choice(wire, "priceMatch", admission.PRICE_MATCHES, "NONE", -5037)
        if algo.type in MARKET_TYPES:
            if algo.price_match != "NONE":
                raise refusal(-5038)
            return
        if algo.price_match == "NONE":
            algo.price = self._orders.mandatory(wire, "price")
        elif wire.get("price"):
            raise refusal(-1106, "price")

    @staticmethod
    def _check_numbers(algo: AlgoOrder, rules: SymbolRules) -> None:
        """Filters; a trigger price off tick is accepted, as measured on the real exchange, excess decimals are not."""
        admission.check_status(rules, algo.side, reduces=algo.reduce_only)
        if not algo.close_position:
            admission.check_quantity(rules, algo.quantity, market=algo.type in MARKET_TYPES)
        if algo.callback_rate is None and algo.trigger_price <= 0:
            raise refusal(-4006)
        if not algo.reduce_only and algo.trigger_price:
            admission.check_notional(rules, algo.quantity, algo.trigger_price)
        for price in (algo.trigger_price, algo.activate_price or ZERO):
            if decimals(price) > rules.price_precision:
                raise refusal(-1111)
            if rules.max_price and price > rules.max_price:
                raise refusal(-4007)
        if algo.activate_price is not None and algo.activate_price <= 0:
            raise refusal(-4135)
        if algo.price:
            admission.check_price(rules, algo.price)
            admission.check_stop_band(rules, algo.side, algo.price, algo.trigger_price)

    @staticmethod
    def _check_trigger(algo: AlgoOrder, price: Decimal) -> None:
        """Refuse an order whose trigger, or whose activation price, is already passed (-2021)."""
        if algo.callback_rate is None:
            if triggers.is_passed(algo, price):
                raise refusal(-2021)
        elif algo.activate_price is not None:
            beyond = algo.activate_price >= price if algo.side == "BUY" else algo.activate_price <= price
            if beyond:
                raise refusal(-2021)

    def _check_tied(self, algo: AlgoOrder) -> None:
        """A position to reduce (-4509), and no second closePosition order of the kind in the direction (-4130)."""
        if not self._covered(algo):
            raise refusal(-4509)
        if not algo.close_position:
            return
        for other in self._core.open_algos.get(algo.symbol, {}).values():
            same = (other.side, other.position_side, other.type) == (algo.side, algo.position_side, algo.type)
            if other.close_position and same:
                raise refusal(-4130)

    def _covered(self, algo: AlgoOrder) -> bool:
        """Whether there is a position that the order would reduce."""
        held = self._core.position(algo.symbol, algo.position_side).qty
        return held > 0 if algo.side == "SELL" else held < 0

    def find(self, wire: Params, code: int) -> AlgoOrder:
        """The conditional order named by algoId (which prevails) or clientAlgoId, or the refusal of `code`."""
        number = params.integer(wire, "algoId")
        name = params.text(wire, "clientAlgoId")
        if number is None and not name:
            raise ExchangeError(-1102, "Param 'algoId' or 'clientAlgoId' must be sent, but both were empty/null!")
        found = number if number is not None else self._core.client_algo_ids.get(name)
        algo = self._core.state.algo_orders.get(found) if found is not None else None
        if algo is None:
            raise refusal(code)
        return algo

    def cancel(self, wire: Params) -> Reply:
        """DELETE algoOrder: emits ALGO_UPDATE CANCELED; -2011 if it no longer waits."""
        algo = self.find(wire, -2011)
        if not algo.is_open:
            raise refusal(-2011)
        self._end(algo, "CANCELED")
        return {"algoId": algo.algo_id, "clientAlgoId": algo.client_algo_id, "code": "200", "msg": "success"}

    def cancel_all(self, wire: Params) -> Reply:
        """DELETE algoOpenOrders of one symbol."""
        symbol = params.symbol_of(wire)
        self._core.rules_of(symbol)
        for algo in list(self._core.open_algos.get(symbol, {}).values()):
            self._end(algo, "CANCELED")
        return {"code": 200, "msg": "The operation of cancel all open order is done."}

    def _end(self, algo: AlgoOrder, status: str) -> None:
        self._core.close_algo(algo, status)
        self._core.emit(events.algo_update(algo, self._core.now))

    def expire(self, algo: AlgoOrder) -> None:
        """End a waiting order by the exchange's own doing; emits ALGO_UPDATE EXPIRED."""
        self._end(algo, "EXPIRED")

    def watch(self, quote: Quote) -> None:
        """Fire what a new quote reaches, oldest first."""
        waiting = self._core.open_algos.get(quote.symbol)
        if not waiting:
            return
        protect = self._core.rules_of(quote.symbol).trigger_protect
        for algo in list(waiting.values()):
            if not algo.is_open:
                continue
            price = triggers.working_price(algo, quote)
            if algo.callback_rate is not None:
                self._follow(algo, price)
                reached = triggers.has_turned(algo, price)
            else:
                reached = triggers.is_passed(algo, price)
            if reached and not (algo.price_protect and triggers.is_protected(quote, protect)):
                self._fire(algo)

    def _follow(self, algo: AlgoOrder, price: Decimal) -> None:
        """Track a trailing order; its activation is told by a second ALGO_UPDATE NEW with `ia` true."""
        was_active = algo.activated
        triggers.track(algo, price)
        if algo.activated and not was_active:
            algo.update_ms = self._core.now
            self._core.emit(events.algo_update(algo, self._core.now))

    def _fire(self, algo: AlgoOrder) -> None:
        core = self._core
        core.close_algo(algo, "TRIGGERING")
        algo.trigger_ms = core.now
        core.emit(events.algo_update(algo, core.now))
        try:
            child = self._child(algo)
            self._orders.admit(child)
        except ExchangeError as error:
            algo.status, algo.reason, algo.update_ms = "REJECTED", error.msg, core.now
            core.emit(events.algo_update(algo, core.now))
            return
        self._orders.number(child)
        algo.child_id = child.order_id
        self._matching.accept(child)
        algo.status, algo.update_ms = "TRIGGERED", core.now
        core.emit(events.algo_update(algo, core.now, child))
        if child.is_open:
            core.children[algo.symbol][child.order_id] = algo
        else:
            self._finish(algo, child)

    def _child(self, algo: AlgoOrder) -> Order:
        """The regular order that a fired conditional order becomes."""
        market = algo.type in MARKET_TYPES
        quantity = algo.quantity
        if algo.close_position:
            if not self._covered(algo):
                raise refusal(-2022)
            quantity = abs(self._core.position(algo.symbol, algo.position_side).qty)
        matched = not market and algo.price_match != "NONE"
        price = self._orders.price({}, algo.symbol, algo.side, algo.price_match) if matched else algo.price
        return Order(
            order_id=0,
            symbol=algo.symbol,
            client_order_id=algo.client_algo_id,
            side=algo.side,
            type="MARKET" if market else "LIMIT",
            orig_type=algo.type,
            time_in_force="GTC" if market and algo.time_in_force != TIED else algo.time_in_force,
            quantity=quantity,
            price=ZERO if market else price,
            position_side=algo.position_side,
            reduce_only=algo.reduce_only and not self._core.state.hedge_mode,
            close_position=algo.close_position,
            stop_price=algo.trigger_price,
            working_type=algo.working_type,
            price_protect=algo.price_protect,
            price_match=algo.price_match,
            stp_mode=algo.stp_mode,
            good_till_ms=algo.good_till_ms,
            callback_rate=algo.callback_rate,
            activate_price=algo.activate_price,
            algo_id=algo.algo_id,
        )

    def _finish(self, algo: AlgoOrder, child: Order) -> None:
        algo.status, algo.update_ms = "FINISHED", self._core.now
        self._core.emit(events.algo_update(algo, self._core.now, child))

    def settle(self, symbol: str) -> None:
        """After anything that moved a position or closed an order: finish parents, expire GTE orders left alone."""
        core = self._core
        children = core.children.get(symbol)
        if children:
            for number, algo in sorted(children.items(), key=lambda entry: entry[0]):
                child = core.state.orders[number]
                if child.is_open and child.time_in_force == TIED and not self._covered(algo):
                    self._matching.expire(child, "EXPIRED", "6")
                if not child.is_open:
                    del children[number]
                    self._finish(algo, child)
        for algo in list(core.open_algos.get(symbol, {}).values()):
            if algo.time_in_force == TIED and not self._covered(algo):
                self.expire(algo)
