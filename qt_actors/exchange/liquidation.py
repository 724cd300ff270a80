"""Forced closing: what happens when a margin pool's balance falls to its maintenance margin.

A pool is one isolated position, or all cross positions of a margin asset. When maintenance reaches 80 % of the balance
a MARGIN_CALL is sent, once until it has been below again (the threshold is Binance's warning level; the event is
advisory). When it reaches the balance, after a quote of a held symbol:
1. The pool's open orders expire (er 5).
2. The position (in a cross pool the one losing most first) is reduced by an IOC LIMIT order `autoclose-…` at its
   bankruptcy price, filled from the depth; execution type CALCULATED, REALIZED_PNL and taker COMMISSION booked. Its
   quantity is what lies above the next lower bracket, so that a large position goes down bracket by bracket, each time
   judged anew; of the lowest bracket it is all of it.
3. If the pool is carried again, the order's remainder expires and what is left of the position stays. Otherwise, once
   the book does not take such an order whole, all that is left is taken over at the bankruptcy price.
4. The liquidation fee (liquidationFee x closed notional, at most what is left: of the closed part's own margin when
   isolated, of the pool when crossed) is booked as INSURANCE_CLEAR; a pool that ended below zero is made whole by the
   insurance fund through a row of the same type. Conditional orders of a closed position expire.
A pool repeats from 2 while it is still under maintenance.

The insurance fund never runs dry here and there are no other accounts, so that nobody is deleveraged by the market; the
fault `deleverage` does to the account what happens to a winner when the fund cannot take a bankrupt position over.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

from qt_actors.exchange import events, margin
from qt_actors.exchange.account import TAKER_FEE, Account
from qt_actors.exchange.algo_orders import AlgoOrders
from qt_actors.exchange.core import Core
from qt_actors.exchange.exposure import Margin
from qt_actors.exchange.figures import ZERO, money
from qt_actors.exchange.matching import Matching, sweep
from qt_actors.exchange.quotes import Quote
from qt_actors.exchange.state import Order, Position

ONE: Final = Decimal(1)
CALL_RATIO: Final = Decimal("0.8")
"""Maintenance margin / margin balance at which MARGIN_CALL is sent."""


class Liquidation:
    """Watches maintenance margin and closes what is no longer carried."""

    def __init__(self, core: Core, reader: Margin, account: Account, matching: Matching, algos: AlgoOrders) -> None:
        self._core = core
        self._margin = reader
        self._account = account
        self._matching = matching
        self._algos = algos

    def watch(self, quote: Quote) -> None:
        """A new quote: judge its symbol."""
        self.judge(quote.symbol)

    def judge(self, symbol: str) -> None:
        """Judge the symbol's positions at its new mark price: warn, or liquidate what it no longer carries."""
        core = self._core
        if core.state.called:
            self._forget_calls()
        asset = core.rules_of(symbol).margin_asset
        if self._margin.wallet(asset) < 0:
            self._make_whole(asset)
        for position in core.held_of(symbol):
            if not position.qty:
                continue
            equity, maintenance = self._margin.running_health(position)
            if equity <= maintenance:
                self._liquidate_pool(position)
            elif maintenance >= CALL_RATIO * equity:
                self._call(position)
            elif core.state.called:
                core.state.called.pop(self._margin.pool_name(position), None)

    def _make_whole(self, asset: str) -> None:
        """A price that gapped beyond bankruptcy before an own stop closed the position: the insurance fund pays."""
        core = self._core
        if any(
            not core.setting(p.symbol).isolated and self._margin.in_pool(p.symbol, asset) for p in core.open_positions()
        ):
            return
        short = -self._margin.cross_wallet(asset)
        self._account.post("INSURANCE_CLEAR", asset, short)
        row = self._account.balance_row(asset, short)
        core.emit(events.account_update("INSURANCE_CLEAR", core.now, [row], []))

    def _forget_calls(self) -> None:
        """Pools without a position are called anew when there is one again."""
        held = {self._margin.pool_name(position) for position in self._core.open_positions()}
        called = self._core.state.called
        for name in [name for name in called if name not in held]:
            del called[name]

    def _call(self, position: Position) -> None:
        """Emit MARGIN_CALL with the pool's positions, unless that was done."""
        core, name = self._core, self._margin.pool_name(position)
        if name in core.state.called:
            return
        core.state.called[name] = core.now
        isolated = core.setting(position.symbol).isolated
        rows = []
        for held in self._pool(position):
            leg = self._margin.leg(held)
            kind = "ISOLATED" if isolated else "CROSSED"
            rows.append(events.called_position(held, leg.mark, leg.unrealized, leg.maintenance, kind))
        core.emit(events.margin_call(None if isolated else self._margin.backing(position), core.now, rows))

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
        crossed = [
            s for s in sorted(core.open_orders) if not core.setting(s).isolated and self._margin.in_pool(s, asset)
        ]
        for symbol in [position.symbol] if isolated else crossed:
            for order in list(core.open_orders.get(symbol, {}).values()):
                if not isolated or order.position_side == position.side:
                    self._matching.expire(order, "EXPIRED", "5")
            self._algos.settle(symbol)
        for held in pool:
            taken_whole = True
            while held.qty:
                if not self._fails(held):
                    return
                part = self._surplus(held) if taken_whole else abs(held.qty)
                taken_whole = self._close(held, part, isolated=isolated)

    def _surplus(self, position: Position) -> Decimal:
        """The quantity that keeps a position from the next lower bracket; in the lowest one all of it."""
        rules = self._core.rules_of(position.symbol)
        size = abs(self._margin.leg(position).notional)
        steps = (size - rules.bracket(size).floor) / self._core.mark(position.symbol) / rules.step
        return min(abs(position.qty), steps.to_integral_value(ROUND_CEILING) * rules.step)

    def _close(self, position: Position, part: Decimal, *, isolated: bool) -> bool:
        """Steps 2 to 4 for a part of one position; whether the book took it whole."""
        core = self._core
        rules = core.rules_of(position.symbol)
        before = self._margin.backing(position)
        others = self._margin.others_unrealized(position)
        limit = margin.bankruptcy_price(self._margin.leg(position), before, others)
        order = self._limit_order(position, part, limit)
        booked = self._execute(order, position)
        left = before - position.isolated_wallet + booked if isolated else self._margin.health(position)[0]
        whole = not position.qty and (isolated or not self._pool(position))
        fee = min(left, order.quote * rules.liquidation_fee) if left > 0 else ZERO
        change = -money(fee) if left > 0 else money(-left) if whole else ZERO
        self._account.post("INSURANCE_CLEAR", rules.margin_asset, change, order.symbol)
        if change:
            self._account.announce(order.symbol, order.position_side, "INSURANCE_CLEAR", change)
        if not position.qty:
            for algo in list(core.open_algos.get(order.symbol, {}).values()):
                if algo.position_side == order.position_side:
                    self._algos.expire(algo)
        return order.status == "FILLED"

    def _limit_order(self, position: Position, quantity: Decimal, limit: Decimal) -> Order:
        """The exchange's own closing order, its limit on tick no worse than the bankruptcy price."""
        tick = self._core.rules_of(position.symbol).tick
        order = self._order(position, quantity, "autoclose", "LIMIT", "IOC")
        rounding = ROUND_CEILING if order.side == "SELL" else ROUND_FLOOR
        order.price = max(tick, (limit / tick).to_integral_value(rounding) * tick)
        return order

    def _order(self, position: Position, quantity: Decimal, name: str, kind: str, time_in_force: str) -> Order:
        core = self._core
        number = core.new_id()
        order = Order(
            order_id=number,
            symbol=position.symbol,
            client_order_id=f"{name}-{core.now}{number:06d}",
            side="SELL" if position.qty > 0 else "BUY",
            type=kind,
            orig_type=kind,
            time_in_force=time_in_force,
            quantity=quantity,
            position_side=position.side,
            create_ms=core.now,
            update_ms=core.now,
            priority=number,
        )
        core.file_order(order)
        return order

    def delist(self, symbol: str) -> None:
        """Trading in a symbol ends: its orders expire (er 7), its positions are closed at the mark price.

        The closing orders are named `settlement_autoclose-…` and pay the taker's fee; they need no counterparty.
        """
        core = self._core
        for resting in list(core.open_orders.get(symbol, {}).values()):
            self._matching.expire(resting, "EXPIRED", "7")
        for algo in list(core.open_algos.get(symbol, {}).values()):
            self._algos.expire(algo)
        for position in core.held_of(symbol):
            order = self._order(position, abs(position.qty), "settlement_autoclose", "MARKET", "GTC")
            self._fill(order, core.mark(symbol), order.quantity, TAKER_FEE, "TRADE")

    def deleverage(self, symbol: str) -> None:
        """Close the symbol's positions on the tick next to the mark price as auto-deleveraging does, without a fee.

        The closing orders are named `adl_autoclose-…`, execution type CALCULATED; what rests is fitted to the new
        position (er 4) and conditional orders stay, but those tied to the position.
        """
        core, tick = self._core, self._core.rules_of(symbol).tick
        for position in core.held_of(symbol):
            order = self._order(position, abs(position.qty), "adl_autoclose", "LIMIT", "IOC")
            order.price = max(ONE, (core.mark(symbol) / tick).to_integral_value()) * tick
            self._fill(order, order.price, order.quantity, ZERO)
            self._matching.fit_reduce_only(symbol, order.position_side)
        self._algos.settle(symbol)

    def _execute(self, order: Order, position: Position) -> Decimal:
        """Fill from the depth; of a whole position take the rest over at the limit unless the pool is carried again.

        Returns what was booked: realised profit less commission.
        """
        core = self._core
        quote = core.quote_of(order.symbol)
        taken = core.state.taken.get(order.symbol, {}).get(order.side, ZERO)
        booked = ZERO
        for price, part in sweep(quote.levels(order.side), order.side, order.quantity, order.price, taken):
            booked += self._fill(order, price, part, TAKER_FEE)
            self._matching.take(order, part)
        if not order.remaining:
            return booked
        if order.remaining < abs(position.qty) or not self._fails(position):
            self._matching.expire(order, "EXPIRED", "2")
            return booked
        return booked + self._fill(order, order.price, order.remaining, ZERO)

    def _fill(
        self, order: Order, price: Decimal, part: Decimal, rate: Decimal, execution: str = "CALCULATED"
    ) -> Decimal:
        core = self._core
        trade = self._account.book_fill(order, price, part, core.new_id(), maker=False, rate=rate)
        order.status, order.update_ms = ("PARTIALLY_FILLED" if order.remaining else "FILLED"), core.now
        self._account.announce_fill(order)
        self._matching.emit_order(order, execution, trade)
        return trade.realized - trade.commission
