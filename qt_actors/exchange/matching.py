"""Fills: what a taker gets from the assumed depth, when a resting order is reached, and the events of both.

Emission of a taker: TRADE_LITE of every fill, ORDER_TRADE_UPDATE NEW, then for every fill ACCOUNT_UPDATE and
ORDER_TRADE_UPDATE TRADE, then EXPIRED if a remainder may not rest. Of a resting order: TRADE_LITE, ACCOUNT_UPDATE,
ORDER_TRADE_UPDATE TRADE. State changes before the event that tells of it. Both orders are those captured live.

Queues are price-time. An order that begins to rest, or is amended, stands behind what the book shows at its price
(`Order.ahead`). That shrinks by what trades at the price, and to what the touch still shows once the price is the
touch (others cancel from the front: the cautious view); at a price better than the touch nobody is ahead. An order
fills, at its own price, when
- the market trades at the price: what the trade's volume leaves over after those ahead;
- the market trades through the price while the book stands back again: the trade's volume (one touch quantity where
  the volume is not known), for nobody trades beyond an order that still stands;
- the book comes to the price: all depth up to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from itertools import takewhile
from typing import Final

from qt_actors.exchange import events
from qt_actors.exchange.account import Account
from qt_actors.exchange.core import Core
from qt_actors.exchange.errors import refusal
from qt_actors.exchange.figures import ZERO, is_multiple
from qt_actors.exchange.quotes import Quote
from qt_actors.exchange.state import Order, Trade

EVERYTHING: Final = Decimal(10) ** 18
OPPOSITE: Final = {"BUY": "SELL", "SELL": "BUY"}
Fills = list[tuple[Decimal, Decimal]]


def within(side: str, price: Decimal, bound: Decimal | None) -> bool:
    """Whether a taker of that side accepts the price."""
    return bound is None or (price <= bound if side == "BUY" else price >= bound)


def sweep(
    levels: Iterable[tuple[Decimal, Decimal]], side: str, qty: Decimal, bound: Decimal | None, taken: Decimal
) -> Fills:
    """Fills (price, quantity) of a taker, best first; `taken` is what earlier takers left missing from this depth."""
    fills: Fills = []
    for price, offered in levels:
        if not within(side, price, bound):
            break
        gone = min(taken, offered)
        taken -= gone
        part = min(qty, offered - gone)
        if part:
            fills.append((price, part))
            qty -= part
        if not qty:
            break
    return fills


def reached(order: Order, quote: Quote, used: Decimal) -> Decimal:
    """Quantity of a resting order that the market fills at this quote (module docstring); moves the order up its queue.

    `used` is what own orders before it on that side already got from the quote.
    """
    side, price, left = order.side, order.price, order.remaining
    near, shown, far, offered = (
        (quote.bid, quote.bid_qty, quote.ask, quote.ask_qty)
        if side == "BUY"
        else (quote.ask, quote.ask_qty, quote.bid, quote.bid_qty)
    )
    if within(side, far, price):
        return sum((part for _, part in sweep(quote.levels(side), side, left, price, used)), ZERO)
    part = ZERO
    if quote.last == price:
        flow = max(ZERO, quote.volume - used)
        part = min(left, max(ZERO, flow - order.ahead))
        order.ahead = max(ZERO, order.ahead - flow)
    elif within(side, quote.last, price):
        part = min(left, max(ZERO, (quote.volume or offered) - used))
    if price == near:
        order.ahead = min(order.ahead, shown)
    elif within(side, near, price):
        order.ahead = ZERO
    return part


class Matching:
    """Executes orders that have been admitted."""

    def __init__(self, core: Core, account: Account) -> None:
        self._core = core
        self._account = account

    def bound(self, order: Order) -> Decimal:
        """Worst price a taker may pay: its limit, or mark moved by the symbol's marketTakeBound."""
        return order.price if order.type == "LIMIT" else self.market_bound(order.symbol, order.side)

    def market_bound(self, symbol: str, side: str) -> Decimal:
        """Mark moved by the symbol's marketTakeBound."""
        bound = self._core.rules_of(symbol).market_take_bound
        return self._core.mark(symbol) * (1 + bound if side == "BUY" else 1 - bound)

    def depth(self, symbol: str, side: str) -> Decimal:
        """Quantity that market orders of that side could take from a whole book."""
        quote, bound = self._core.quote_of(symbol), self.market_bound(symbol, side)
        return sum((part for _, part in sweep(quote.levels(side), side, EVERYTHING, bound, ZERO)), ZERO)

    def plan(self, order: Order) -> Fills:
        """What the order would get now; changes nothing. Quantities are cut to the symbol's step."""
        core = self._core
        quote = core.quote_of(order.symbol)
        taken = core.state.taken.get(order.symbol, {}).get(order.side, ZERO)
        fills = sweep(quote.levels(order.side), order.side, order.remaining, self.bound(order), taken)
        step = core.rules_of(order.symbol).step
        if all(is_multiple(part, step) for _, part in fills):
            return fills
        return [(price, part - part % step) for price, part in fills if part - part % step]

    def require_outcome(self, order: Order) -> None:
        """Refuse a FOK that cannot fill whole (-5021) and a GTX that would take (-5022)."""
        if order.time_in_force == "GTX" and within(order.side, self._touch(order), order.price):
            raise refusal(-5022)
        if order.time_in_force == "FOK" and sum((part for _, part in self.plan(order)), ZERO) < order.remaining:
            raise refusal(-5021)

    def _touch(self, order: Order) -> Decimal:
        quote = self._core.quote_of(order.symbol)
        return quote.ask if order.side == "BUY" else quote.bid

    def accept(self, order: Order) -> None:
        """Take an admitted new order: fill what can be filled, rest or expire the remainder."""
        core = self._core
        core.file_order(order)
        fills, displaced = self._self_trades(order, self.plan(order))
        ids = [core.new_id() for _ in fills]
        self._announce_trades(order, fills, ids, maker=False)
        core.file_open(order)
        self.emit_order(order, "NEW")
        for maker in displaced:
            self.expire(maker, "EXPIRED_IN_MATCH", "1")
        self._fill(order, fills, ids, maker=False)
        if order.is_open:
            self._rest(order, stopped=bool(displaced) or self._stp_blocked(order))
        if fills:
            self.fit_reduce_only(order.symbol, order.position_side)

    def requeue(self, order: Order) -> None:
        """Match an amended order again: what now crosses is taken, the remainder rests at the end of the queue."""
        fills, displaced = self._self_trades(order, self.plan(order))
        ids = [self._core.new_id() for _ in fills]
        self._announce_trades(order, fills, ids, maker=False)
        for maker in displaced:
            self.expire(maker, "EXPIRED_IN_MATCH", "1")
        self._fill(order, fills, ids, maker=False)
        if order.is_open:
            self._rest(order, stopped=self._stp_blocked(order))
        if fills:
            self.fit_reduce_only(order.symbol, order.position_side)

    def _rest(self, order: Order, *, stopped: bool) -> None:
        """What becomes of a remainder: MARKET expires (er 9), IOC (er 2), a limit rests."""
        if order.type == "MARKET":
            self.expire(order, "EXPIRED", "9")
        elif order.time_in_force in {"IOC", "FOK"}:
            self.expire(order, "EXPIRED", "3" if stopped else "2")
        elif order.stp_mode in {"EXPIRE_TAKER", "EXPIRE_BOTH"} and stopped:
            self.expire(order, "EXPIRED_IN_MATCH", "1")
        else:
            order.ahead = self._core.quote_of(order.symbol).displayed(order.side, order.price)

    def _rivals(self, order: Order, bound: Decimal) -> list[Order]:
        """Own resting orders of the other side that a taker going as far as `bound` would meet, best first."""
        bids, asks = self._core.queues(order.symbol)
        resting = asks if order.side == "BUY" else bids
        return list(takewhile(lambda own: within(order.side, own.price, bound), resting))

    def _stp_blocked(self, order: Order) -> bool:
        return order.stp_mode in {"EXPIRE_TAKER", "EXPIRE_BOTH"} and bool(self._rivals(order, self.bound(order)))

    def _self_trades(self, order: Order, fills: Fills) -> tuple[Fills, list[Order]]:
        """Self-trade prevention: the fills that remain and the own resting orders to expire.

        EXPIRE_MAKER removes own orders the taker passes; EXPIRE_TAKER stops before the first; EXPIRE_BOTH does both.
        """
        left = order.remaining - sum((part for _, part in fills), ZERO)
        reach = self.bound(order) if left else (fills[-1][0] if fills else self.bound(order))
        rivals = self._rivals(order, reach)
        if not rivals:
            return fills, []
        if order.stp_mode == "EXPIRE_MAKER":
            return fills, rivals
        first = rivals[0].price
        before = [fill for fill in fills if (fill[0] < first if order.side == "BUY" else fill[0] > first)]
        return before, rivals[:1] if order.stp_mode == "EXPIRE_BOTH" else []

    def touch_resting(self, quote: Quote) -> None:
        """Fill resting orders that a new quote reaches, best price first, then oldest."""
        bids, asks = self._core.queues(quote.symbol)
        if bids and bids[0].price >= min(quote.bid, quote.last):
            self._serve(bids, quote)
        if asks and asks[0].price <= max(quote.ask, quote.last):
            self._serve(asks, quote)

    def _serve(self, queue: list[Order], quote: Quote) -> None:
        """Serve one side's queue as far as the quote reaches."""
        used, step = ZERO, self._core.rules_of(quote.symbol).step
        low, high = min(quote.bid, quote.last), max(quote.ask, quote.last)
        for order in queue:
            if order.price < low if order.side == "BUY" else order.price > high:
                return
            if not order.is_open:
                continue
            part = reached(order, quote, used)
            part -= part % step
            if part:
                used += part
                fills, ids = [(order.price, part)], [self._core.new_id()]
                self._announce_trades(order, fills, ids, maker=True)
                self._fill(order, fills, ids, maker=True)
                self.fit_reduce_only(order.symbol, order.position_side)

    def _announce_trades(self, order: Order, fills: Fills, ids: list[int], *, maker: bool) -> None:
        rules = self._core.rules_of(order.symbol)
        for (price, part), trade_id in zip(fills, ids, strict=True):
            sketch = Trade(
                trade_id=trade_id,
                order_id=order.order_id,
                symbol=order.symbol,
                side=order.side,
                position_side=order.position_side,
                price=price,
                quantity=part,
                realized=ZERO,
                commission=ZERO,
                asset=rules.margin_asset,
                maker=maker,
                time_ms=self._core.now,
            )
            self._core.emit(events.trade_lite(order, sketch, rules))

    def _fill(self, order: Order, fills: Fills, ids: list[int], *, maker: bool) -> None:
        """Book fills that have been announced as TRADE_LITE and emit the rest of their events."""
        core = self._core
        for (price, part), trade_id in zip(fills, ids, strict=True):
            trade = self._account.book_fill(order, price, part, trade_id, maker=maker)
            if not maker:
                self.take(order, part)
            if order.remaining:
                order.status, order.update_ms = "PARTIALLY_FILLED", core.now
            else:
                core.close_order(order, "FILLED")
            self._account.announce_fill(order)
            self.emit_order(order, "TRADE", trade)

    def take(self, order: Order, part: Decimal) -> None:
        """Remember that this depth is gone until the next quote."""
        taken = self._core.state.taken.setdefault(order.symbol, {})
        taken[order.side] = taken.get(order.side, ZERO) + part
        self._core.active.add(order.symbol)

    def emit_order(self, order: Order, execution: str, trade: Trade | None = None) -> None:
        """Emit the order's ORDER_TRADE_UPDATE."""
        core = self._core
        sides = [core.bound(order.symbol, side) for side in core.position_sides]
        notionals = sum((bids for bids, _ in sides), ZERO), sum((asks for _, asks in sides), ZERO)
        asset = core.rules_of(order.symbol).margin_asset
        core.emit(events.order_update(order, execution, core.now, notionals, trade, asset))

    def expire(self, order: Order, status: str, reason: str) -> None:
        """End an order by the exchange's own doing; emits ORDER_TRADE_UPDATE EXPIRED."""
        order.expiry_reason = reason
        self._core.close_order(order, status)
        self.emit_order(order, "EXPIRED")

    def fit_reduce_only(self, symbol: str, side: str) -> None:
        """Shrink or expire (er 4) resting reduce-only orders that a position no longer covers, worst priced first."""
        core = self._core
        held = core.position(symbol, side).qty
        orders = [o for o in core.open_orders.get(symbol, {}).values() if o.position_side == side and o.reduces]
        for order_side in ("BUY", "SELL"):
            room = max(ZERO, held if order_side == "SELL" else -held)
            queue = [o for o in orders if o.side == order_side]
            queue.sort(key=lambda o: (-o.price if order_side == "BUY" else o.price, o.priority))
            for order in queue:
                kept = min(order.remaining, room)
                room -= kept
                if not kept:
                    self.expire(order, "EXPIRED", "4")
                elif kept < order.remaining:
                    order.quantity, order.expiry_reason, order.update_ms = order.executed + kept, "4", core.now
                    self.emit_order(order, "AMENDMENT")
                    order.expiry_reason = "0"
