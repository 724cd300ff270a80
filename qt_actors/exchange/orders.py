"""Regular orders: MARKET and LIMIT, from wire parameters to the book, through every check Binance makes."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from itertools import islice
from typing import Final

import msgspec

from qt_actors.exchange import admission, params
from qt_actors.exchange.core import Core, generated_client_id
from qt_actors.exchange.errors import ExchangeError, refusal
from qt_actors.exchange.exposure import Margin
from qt_actors.exchange.figures import ZERO
from qt_actors.exchange.margin import assumed_price
from qt_actors.exchange.matching import OPPOSITE, Matching
from qt_actors.exchange.payloads import Reply, order_reply
from qt_actors.exchange.state import Amendment, Order

CONDITIONAL: Final = frozenset({"STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"})
TIMES_IN_FORCE: Final = frozenset({"GTC", "IOC", "FOK", "GTX", "GTD"})
AMENDMENTS_MAX: Final = 10_000
MATCH_DEPTH: Final = {"OPPONENT": 1, "OPPONENT_5": 5, "QUEUE": 1, "QUEUE_5": 5, "QUEUE_10": 10, "QUEUE_20": 20}
Params = Mapping[str, str]


class Orders:
    """Places, amends and cancels regular orders."""

    def __init__(self, core: Core, margin: Margin, matching: Matching) -> None:
        self._core = core
        self._margin = margin
        self._matching = matching

    def place(self, wire: Params) -> Reply:
        """POST order: ACK answers NEW before the fills, RESULT of MARKET, IOC and FOK answers the final state."""
        answer = params.choice(wire, "newOrderRespType", admission.RESPONSE_TYPES, "ACK", -1136)
        order = self.draft(wire)
        self.admit(order)
        rules = self._core.rules_of(order.symbol)
        self.number(order)
        reply = order_reply(order, rules)
        self._matching.accept(order)
        if answer == "RESULT" and (order.type == "MARKET" or order.time_in_force in {"IOC", "FOK"}):
            return order_reply(order, rules)
        return reply

    def test(self, wire: Params) -> Reply:
        """POST order/test: the same checks, nothing placed; the reply's orderId is 0."""
        params.choice(wire, "newOrderRespType", admission.RESPONSE_TYPES, "ACK", -1136)
        order = self.draft(wire)
        self.admit(order)
        return order_reply(order, self._core.rules_of(order.symbol))

    def number(self, order: Order) -> None:
        """Give an admitted order its id, times and queue position."""
        order.order_id = order.priority = self._core.new_id()
        order.create_ms = order.update_ms = self._core.now
        order.client_order_id = order.client_order_id or generated_client_id(order.order_id)

    def draft(self, wire: Params) -> Order:
        """The order as asked for, its syntax checked; it has no id yet."""
        symbol = params.symbol_of(wire)
        rules = self._core.rules_of(symbol)
        side = params.required(wire, "side")
        if side not in admission.SIDES:
            raise refusal(-1117)
        kind = params.required(wire, "type")
        if kind in CONDITIONAL:
            raise refusal(-4120)
        if kind not in {"LIMIT", "MARKET"}:
            raise refusal(-1116)
        if params.boolean(wire, "closePosition"):
            raise refusal(-4136, kind)
        order = Order(
            order_id=0,
            symbol=rules.symbol,
            client_order_id=params.client_id(wire, "newClientOrderId"),
            side=side,
            type=kind,
            orig_type=kind,
            time_in_force="GTC",
            quantity=self.mandatory(wire, "quantity"),
            position_side=self.position_side(wire),
            reduce_only=self.reduce_only(wire),
            stp_mode=self.stp_mode(wire),
        )
        if kind == "LIMIT":
            self._draft_limit(order, wire)
        else:
            for name in ("price", "timeInForce"):
                if wire.get(name):
                    raise refusal(-1106, name)
            if params.choice(wire, "priceMatch", admission.PRICE_MATCHES, "NONE", -5037) != "NONE":
                raise refusal(-5038)
        return order

    def _draft_limit(self, order: Order, wire: Params) -> None:
        order.time_in_force = params.required(wire, "timeInForce")
        if order.time_in_force not in TIMES_IN_FORCE:
            raise refusal(-1115)
        order.price_match = params.choice(wire, "priceMatch", admission.PRICE_MATCHES, "NONE", -5037)
        order.price = self.price(wire, order.symbol, order.side, order.price_match)
        if order.time_in_force == "GTD":
            until = params.integer(wire, "goodTillDate")
            if until is None:
                raise refusal(-1102, "goodTillDate")
            admission.check_good_till(until, self._core.now)
            order.good_till_ms = until - until % 1000

    def price(self, wire: Params, symbol: str, side: str, price_match: str) -> Decimal:
        """The limit price sent, or the one that priceMatch picks from the depth."""
        if price_match == "NONE":
            return self.mandatory(wire, "price")
        if wire.get("price"):
            raise refusal(-1106, "price")
        taker = side if price_match.startswith("OPPONENT") else OPPOSITE[side]
        depth = list(islice(self._core.quote_of(symbol).levels(taker), MATCH_DEPTH[price_match]))
        if len(depth) < MATCH_DEPTH[price_match]:
            raise refusal(-5041)
        return depth[-1][0]

    @staticmethod
    def mandatory(wire: Params, name: str) -> Decimal:
        """A number that must be sent, or -1102."""
        value = params.decimal(wire, name)
        if value is None:
            raise refusal(-1102, name)
        return value

    def position_side(self, wire: Params) -> str:
        """BOTH in one-way mode, LONG or SHORT in hedge mode: -4060, -4061."""
        side = params.choice(wire, "positionSide", admission.POSITION_SIDES, "BOTH", -4060)
        if (side == "BOTH") == self._core.state.hedge_mode:
            raise refusal(-4061)
        return side

    def reduce_only(self, wire: Params) -> bool:
        """The reduceOnly flag, which hedge mode does not know (-1106); -4062 for anything but true or false."""
        if self._core.state.hedge_mode and wire.get("reduceOnly"):
            raise refusal(-1106, "reduceonly")
        return params.boolean(wire, "reduceOnly", -4062)

    @staticmethod
    def stp_mode(wire: Params) -> str:
        """Self-trade prevention; NONE, which older clients send, is today's default."""
        mode = params.choice(wire, "selfTradePreventionMode", admission.STP_MODES, "EXPIRE_MAKER", -5039)
        return "EXPIRE_MAKER" if mode == "NONE" else mode

    def admit(self, order: Order, replaces: int = 0) -> None:
        """Check an order against symbol, filters, position, margin and book; sets what margin it is held at.

        A reducing order larger than the position is cut to it. `replaces` is the open order this one amends.
        """
        core = self._core
        rules = core.rules_of(order.symbol)
        reduces = order.reduces
        admission.check_status(rules, order.side, reduces=reduces)
        if not replaces:
            self._require_new_id(order)
        quote = core.quote_of(order.symbol)
        market = order.type == "MARKET"
        if not order.close_position:
            admission.check_quantity(rules, order.quantity, market=market)
        if market:
            admission.check_touch(rules, order.side, quote.ask if order.side == "BUY" else quote.bid, quote.mark)
        else:
            admission.check_price(rules, order.price)
            admission.check_band(rules, order.side, order.price, quote.mark)
        if not reduces:
            admission.check_notional(rules, order.quantity, quote.mark if market else order.price)
        if not market and not replaces and len(core.open_orders.get(order.symbol, ())) >= rules.max_orders:
            raise refusal(-2025)
        if reduces:
            self._fit_position(order, replaces)
        limit = None if market else order.price
        order.assumed_price = assumed_price(order.side, limit, quote.mark, quote.bid, quote.ask)
        self._margin.require_room(order, replaces)
        self._matching.require_outcome(order)

    def _require_new_id(self, order: Order) -> None:
        known = self._core.client_ids.get((order.symbol, order.client_order_id))
        if order.client_order_id and known is not None and self._core.state.orders[known].is_open:
            raise refusal(-4116)

    def _fit_position(self, order: Order, replaces: int) -> None:
        """Cut a reducing order to the position, less other resting reducing limits if it rests too; -2022 if none."""
        core = self._core
        held = core.position(order.symbol, order.position_side).qty
        room = held if order.side == "SELL" else -held
        if order.type == "LIMIT" and order.time_in_force not in {"IOC", "FOK"}:
            room -= sum(
                other.remaining
                for other in core.open_orders.get(order.symbol, {}).values()
                if other.side == order.side
                and other.position_side == order.position_side
                and other.order_id != replaces
                and other.reduces
            )
        if room <= 0:
            raise refusal(-2022)
        order.quantity = min(order.quantity, order.executed + room)

    def find_open(self, wire: Params, code: int) -> Order:
        """The open order named by orderId or origClientOrderId, or the refusal of `code`."""
        order = self.find(wire, code)
        if not order.is_open:
            raise refusal(code)
        return order

    def find(self, wire: Params, code: int) -> Order:
        """The order named by orderId (which prevails) or origClientOrderId, or the refusal of `code`."""
        symbol = params.symbol_of(wire)
        self._core.rules_of(symbol)
        number = params.integer(wire, "orderId")
        name = params.text(wire, "origClientOrderId")
        if number is None and not name:
            raise self.unnamed()
        found = number if number is not None else self._core.client_ids.get((symbol, name))
        order = self._core.state.orders.get(found) if found is not None else None
        if order is None or order.symbol != symbol:
            raise refusal(code)
        return order

    @staticmethod
    def unnamed() -> ExchangeError:
        """The refusal of a request that names no order."""
        return ExchangeError(-1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")

    def cancel(self, wire: Params) -> Reply:
        """DELETE order: emits ORDER_TRADE_UPDATE CANCELED; -2011 if it is not open."""
        order = self.find_open(wire, -2011)
        self.cancel_open(order)
        return order_reply(order, self._core.rules_of(order.symbol))

    def cancel_open(self, order: Order) -> None:
        """Cancel one open order."""
        self._core.close_order(order, "CANCELED")
        self._matching.emit_order(order, "CANCELED")

    def cancel_all(self, wire: Params) -> Reply:
        """DELETE allOpenOrders of one symbol; conditional orders stay."""
        symbol = params.symbol_of(wire)
        self._core.rules_of(symbol)
        for order in list(self._core.open_orders.get(symbol, {}).values()):
            self.cancel_open(order)
        return {"code": 200, "msg": "The operation of cancel all open order is done."}

    def modify(self, wire: Params) -> Reply:
        """PUT order: a LIMIT order's price and quantity; it loses its place in the queue.

        Not more than its fills, or a GTX that would now take: the order is cancelled instead, as Binance does.
        """
        core = self._core
        rules = core.rules_of(params.symbol_of(wire))
        side = params.required(wire, "side")
        quantity = self.mandatory(wire, "quantity")
        order = self.find_open(wire, -2013)
        match = params.choice(wire, "priceMatch", admission.PRICE_MATCHES, "NONE", -5037)
        price = self.price(wire, order.symbol, order.side, match)
        if rules.status != "TRADING":
            raise refusal(-5024)
        if side != order.side:
            raise refusal(-1117)
        if order.amendments >= int(rules.raw.get("maxMoveOrderLimit", AMENDMENTS_MAX)):
            raise refusal(-5026)
        reduce_only = self.reduce_only(wire) if wire.get("reduceOnly") else order.reduce_only
        if (quantity, price, reduce_only) == (order.quantity, order.price, order.reduce_only):
            raise refusal(-5027)
        if ZERO < quantity <= order.executed:
            self.cancel_open(order)
            return order_reply(order, rules)
        try:
            self._amend(order, quantity, price, match, reduce_only=reduce_only)
        except ExchangeError as error:
            if error.code != -5022:
                raise
            self.cancel_open(order)
            return order_reply(order, rules)
        order.modify_id = params.integer(wire, "modifyId") or 0
        reply = order_reply(order, rules)
        self._matching.emit_order(order, "AMENDMENT")
        self._matching.requeue(order)
        return reply

    def _amend(self, order: Order, quantity: Decimal, price: Decimal, match: str, *, reduce_only: bool) -> None:
        """Admit the changed order and take it over, or leave the order as it is."""
        changed = msgspec.structs.replace(
            order, quantity=quantity, price=price, price_match=match, reduce_only=reduce_only
        )
        self.admit(changed, replaces=order.order_id)
        self._remember(order, changed)
        self._core.bind(order, -order.remaining)
        order.quantity, order.price, order.price_match = changed.quantity, price, match
        order.reduce_only, order.assumed_price = reduce_only, changed.assumed_price
        self._core.bind(order)
        order.amendments += 1
        order.priority, order.update_ms = self._core.new_id(), self._core.now
        self._core.reorder(order.symbol)

    def _remember(self, order: Order, changed: Order) -> None:
        core = self._core
        core.state.amendments.append(
            Amendment(
                amendment_id=core.new_id(),
                order_id=order.order_id,
                symbol=order.symbol,
                client_order_id=order.client_order_id,
                price_before=order.price,
                price_after=changed.price,
                quantity_before=order.quantity,
                quantity_after=changed.quantity,
                price_match=changed.price_match,
                count=order.amendments + 1,
                time_ms=core.now,
            )
        )
