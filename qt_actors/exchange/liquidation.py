"""Forced closing: what happens when a margin pool's balance falls to its maintenance margin.

A pool is one isolated position, or all cross positions of a margin asset. Steps, after a quote of a held symbol:
1. The pool's open orders expire (er 5), conditional orders of the liquidated symbol too.
2. The position (in a cross pool the one losing most first) is closed by an IOC LIMIT order `autoclose-…` at its
   bankruptcy price, filled from the depth; execution type CALCULATED, REALIZED_PNL and taker COMMISSION booked.
3. What the depth did not take is taken over at the bankruptcy price.
4. The liquidation fee (liquidationFee x notional, at most what is left of the pool) is booked as INSURANCE_CLEAR; a
   pool that ended below zero is made whole by the insurance fund through a row of the same type.
A cross pool repeats from 2 while it is still under maintenance.
Simplification against the real exchange: large positions are not closed bracket by bracket but whole.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from qt_actors.exchange import margin
from qt_actors.exchange.account import TAKER_FEE, Account
from qt_actors.exchange.algo_orders import AlgoOrders
from qt_actors.exchange.core import Core
from qt_actors.exchange.exposure import Margin
from qt_actors.exchange.figures import ZERO, money
from qt_actors.exchange.matching import Matching, sweep
from qt_actors.exchange.state import Order, Position


class Liquidation:
    """Watches maintenance margin and closes what is no longer carried."""

    def __init__(self, core: Core, reader: Margin, account: Account, matching: Matching, algos: AlgoOrders) -> None:
        self._core = core
        self._margin = reader
        self._account = account
        self._matching = matching
        self._algos = algos

    def watch(self, symbol: str) -> None:
        """Liquidate what the symbol's new mark price no longer carries."""
        core = self._core
        for position in core.positions_of(symbol):
            if position.qty and self._fails(position):
                self._liquidate_pool(position)

    def _fails(self, position: Position) -> bool:
        """Whether the margin balance has come down to the maintenance margin."""
        equity, maintenance = self._margin.health(position)
        return equity <= maintenance

    def _pool(self, position: Position) -> list[Position]:
        """The positions that share the margin, the one losing most first."""
        pool = self._margin.pool(position)
        return sorted(pool, key=lambda held: (self._margin.leg(held).unrealized, held.symbol, held.side))

    def _liquidate_pool(self, position: Position) -> None:
        core = self._core
        pool = self._pool(position)
        isolated = core.setting(position.symbol).isolated
        asset = core.rules_of(position.symbol).margin_asset
        crossed = [s for s in core.open_orders if not core.setting(s).isolated and self._margin.in_pool(s, asset)]
        for symbol in [position.symbol] if isolated else crossed:
            for order in list(core.open_orders.get(symbol, {}).values()):
                if not isolated or order.position_side == position.side:
                    self._matching.expire(order, "EXPIRED", "5")
            self._algos.settle(symbol)
        for held in pool:
            if not self._fails(held):
                return
            self._close(held, isolated=isolated)

    def _close(self, position: Position, *, isolated: bool) -> None:
        """Steps 2 to 4 for one position."""
        core = self._core
        rules = core.rules_of(position.symbol)
        before = self._margin.backing(position)
        others = self._margin.others_unrealized(position)
        order = self._order(position, margin.bankruptcy_price(self._margin.leg(position), before, others))
        core.file_order(order)
        booked = self._execute(order)
        left = before + booked + others
        alone = isolated or not any(held.qty for held in self._pool(position))
        topped_up = -left if alone else ZERO
        change = -min(left, order.quote * rules.liquidation_fee) if left > 0 else topped_up
        self._account.post("INSURANCE_CLEAR", rules.margin_asset, money(change), order.symbol)
        if change:
            self._account.announce(order.symbol, order.position_side, "INSURANCE_CLEAR", money(change))
        for algo in list(core.open_algos.get(order.symbol, {}).values()):
            if algo.position_side == order.position_side:
                self._algos.expire(algo)

    def _order(self, position: Position, limit: Decimal) -> Order:
        """The exchange's own closing order, its limit on tick no worse than the bankruptcy price."""
        core = self._core
        tick = core.rules_of(position.symbol).tick
        side, rounding = ("SELL", ROUND_CEILING) if position.qty > 0 else ("BUY", ROUND_FLOOR)
        number = core.new_id()
        return Order(
            order_id=number,
            symbol=position.symbol,
            client_order_id=f"autoclose-{core.now}{number:06d}",
            side=side,
            type="LIMIT",
            orig_type="LIMIT",
            time_in_force="IOC",
            quantity=abs(position.qty),
            price=max(tick, (limit / tick).to_integral_value(rounding) * tick),
            position_side=position.side,
            create_ms=core.now,
            update_ms=core.now,
            priority=number,
        )

    def _execute(self, order: Order) -> Decimal:
        """Fill from the depth, then at the limit; returns what was booked (realised profit less commission)."""
        core = self._core
        quote = core.quote_of(order.symbol)
        taken = core.state.taken.get(order.symbol, {}).get(order.side, ZERO)
        fills = sweep(quote.levels(order.side), order.side, order.quantity, order.price, taken)
        parts = [(price, part, TAKER_FEE) for price, part in fills]
        rest = order.quantity - sum((part for _, part in fills), ZERO)
        if rest:
            parts.append((order.price, rest, ZERO))
        booked = ZERO
        for price, part, rate in parts:
            trade = self._account.book_fill(order, price, part, core.new_id(), maker=False, rate=rate)
            self._matching.take(order, part)
            booked += trade.realized - trade.commission
            order.status, order.update_ms = ("PARTIALLY_FILLED" if order.remaining else "FILLED"), core.now
            self._account.announce_fill(order)
            self._matching.emit_order(order, "CALCULATED", trade)
        return booked
