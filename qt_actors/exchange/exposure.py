"""The account's margin as of now: what positions and open orders bind, what is left, and whether an order fits."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from qt_actors.exchange import margin
from qt_actors.exchange.core import Core
from qt_actors.exchange.errors import refusal
from qt_actors.exchange.figures import ZERO
from qt_actors.exchange.state import Order, Position


class Exposure(msgspec.Struct, frozen=True):
    """One symbol and position side: all amounts in the margin asset, `present` signed."""

    present: Decimal
    bids: Decimal
    asks: Decimal
    leverage: int

    @property
    def worst(self) -> Decimal:
        """Largest |notional| the open orders can lead to."""
        return margin.worst_notional(self.present, self.bids, self.asks)

    @property
    def position_margin(self) -> Decimal:
        """Initial margin of the position at mark."""
        return abs(self.present) / self.leverage

    @property
    def order_margin(self) -> Decimal:
        """Initial margin that the open orders bind on top."""
        return self.worst / self.leverage - self.position_margin

    def plus(self, side: str, notional: Decimal) -> Exposure:
        """The same with one more order."""
        bids, asks = (notional, ZERO) if side == "BUY" else (ZERO, notional)
        return Exposure(self.present, self.bids + bids, self.asks + asks, self.leverage)


class Balance(msgspec.Struct, frozen=True):
    """One margin asset, or all of them at par in multi-assets mode."""

    wallet: Decimal
    cross_wallet: Decimal
    unrealized: Decimal
    cross_unrealized: Decimal
    maintenance: Decimal
    position_margin: Decimal
    order_margin: Decimal
    cross_position_margin: Decimal

    @property
    def free(self) -> Decimal:
        """Cross wallet plus cross profit minus what is bound; may be negative."""
        return self.cross_wallet + self.cross_unrealized - self.cross_position_margin - self.order_margin

    @property
    def available(self) -> Decimal:
        """What a new order may bind."""
        return max(ZERO, self.free)

    @property
    def withdrawable(self) -> Decimal:
        """What may be taken out: profit that is not realised does not count."""
        return max(ZERO, min(self.cross_wallet, self.free, self.free - self.cross_unrealized))


class Margin:
    """Reads margin from the state; changes nothing."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._reckoned = -1
        self._pools: dict[str, tuple[Decimal, Decimal]] = {}
        self._legs: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}

    def leg(self, position: Position) -> margin.Leg:
        """A position at its mark price."""
        core = self._core
        return margin.Leg(position.qty, position.cost, core.mark(position.symbol), core.rules_of(position.symbol))

    def exposure(self, symbol: str, side: str, without: int = 0) -> Exposure:
        """What a symbol's position side binds, leaving out the order of that id."""
        bids, asks = self._core.bound(symbol, side)
        left_out = self._core.open_orders[symbol].get(without) if without else None
        if left_out is not None and not left_out.reduces:
            notional = left_out.remaining * left_out.assumed_price
            bids, asks = (bids - notional, asks) if left_out.side == "BUY" else (bids, asks - notional)
        present = self._core.position(symbol, side).qty * self._core.mark(symbol)
        return Exposure(present, bids, asks, self._core.setting(symbol).leverage)

    def wallet(self, asset: str) -> Decimal:
        """Wallet of the margin pool an asset belongs to."""
        wallets = self._core.state.wallets
        return sum(wallets.values(), ZERO) if self._core.state.multi_assets else wallets.get(asset, ZERO)

    def in_pool(self, symbol: str, asset: str, *, alone: bool = False) -> bool:
        """Whether a symbol draws on the margin pool of that asset."""
        return (self._core.state.multi_assets and not alone) or self._core.rules_of(symbol).margin_asset == asset

    def cross_wallet(self, asset: str) -> Decimal:
        """Wallet of the margin pool without what isolated positions hold."""
        isolated = (held.isolated_wallet for held in self._core.open_positions() if self.in_pool(held.symbol, asset))
        return self.wallet(asset) - sum(isolated, ZERO)

    def balance(self, asset: str, *, alone: bool = False) -> Balance:
        """The margin pool of an asset, or the asset `alone` even where multi-assets mode pools it with others."""
        core = self._core
        held = [position for position in core.open_positions() if self.in_pool(position.symbol, asset, alone=alone)]
        legs = [(position, self.leg(position), core.setting(position.symbol)) for position in held]
        crossed = [(leg, setting) for _, leg, setting in legs if not setting.isolated]
        wallet = core.state.wallets.get(asset, ZERO) if alone else self.wallet(asset)
        ordered = self._ordered(asset, alone=alone)
        return Balance(
            wallet=wallet,
            cross_wallet=wallet - sum((position.isolated_wallet for position in held), ZERO),
            unrealized=sum((leg.unrealized for _, leg, _ in legs), ZERO),
            cross_unrealized=sum((leg.unrealized for leg, _ in crossed), ZERO),
            maintenance=sum((leg.maintenance for _, leg, _ in legs), ZERO),
            position_margin=sum((abs(leg.notional) / setting.leverage for _, leg, setting in legs), ZERO),
            order_margin=sum((self.exposure(symbol, side).order_margin for symbol, side in ordered), ZERO),
            cross_position_margin=sum((abs(leg.notional) / setting.leverage for leg, setting in crossed), ZERO),
        )

    def _ordered(self, asset: str, *, alone: bool) -> Iterable[tuple[str, str]]:
        for symbol, orders in self._core.open_orders.items():
            if orders and self.in_pool(symbol, asset, alone=alone):
                for side in self._core.position_sides:
                    yield symbol, side

    def require_room(self, order: Order, amended: int = 0) -> None:
        """Refuse an order that the bracket (-2027) or the available balance (-2019) does not carry.

        `amended` names an open order that this one replaces.
        """
        if order.reduces or order.close_position:
            return
        core = self._core
        rules = core.rules_of(order.symbol)
        before = self.exposure(order.symbol, order.position_side)
        without = self.exposure(order.symbol, order.position_side, amended) if amended else before
        after = without.plus(order.side, order.remaining * order.assumed_price)
        if after.worst <= before.worst:
            return
        if after.worst > rules.max_notional(before.leverage):
            raise refusal(-2027)
        held = core.position(order.symbol, order.position_side).qty
        against = -held if order.side == "BUY" else held
        opening = order.remaining - min(order.remaining, max(ZERO, against))
        cost = (after.worst - before.worst) / before.leverage
        cost += margin.open_loss(order.side, opening, order.assumed_price, core.mark(order.symbol))
        if cost > self.balance(rules.margin_asset).free:
            raise refusal(-2019)

    def others_unrealized(self, position: Position) -> Decimal:
        """Unrealised profit of the other positions of the same pool (none if isolated)."""
        return sum((self.leg(other).unrealized for other in self.pool(position) if other is not position), ZERO)

    def pool(self, position: Position) -> list[Position]:
        """The open positions that share a position's margin: itself alone when isolated."""
        core = self._core
        if core.setting(position.symbol).isolated:
            return [position]
        asset = core.rules_of(position.symbol).margin_asset
        return [
            other
            for other in core.open_positions()
            if not core.setting(other.symbol).isolated and self.in_pool(other.symbol, asset)
        ]

    def backing(self, position: Position) -> Decimal:
        """The wallet that stands behind a position: its own when isolated, else the pool's cross wallet."""
        if self._core.setting(position.symbol).isolated:
            return position.isolated_wallet
        return self.cross_wallet(self._core.rules_of(position.symbol).margin_asset)

    def health(self, position: Position) -> tuple[Decimal, Decimal]:
        """Margin balance and maintenance margin of the pool a position belongs to."""
        legs = [self.leg(held) for held in self.pool(position)]
        equity = self.backing(position) + sum((leg.unrealized for leg in legs), ZERO)
        return equity, sum((leg.maintenance for leg in legs), ZERO)

    def pool_name(self, position: Position) -> str:
        """Names the margin pool of a position: itself when isolated, else the asset, or "" for all assets pooled."""
        core = self._core
        if core.setting(position.symbol).isolated:
            return f"{position.symbol}|{position.side}"
        return "" if core.state.multi_assets else core.rules_of(position.symbol).margin_asset

    def running_health(self, position: Position) -> tuple[Decimal, Decimal]:
        """`health`, kept from quote to quote: until the account changes, only this symbol's mark price can move it."""
        core = self._core
        if self._reckoned != core.state.revision:
            self._reckoned = core.state.revision
            self._pools.clear()
            self._legs.clear()
        name = self.pool_name(position)
        known = self._pools.get(name)
        if known is None:
            for held in self.pool(position):
                leg = self.leg(held)
                self._legs[held.symbol, held.side] = leg.unrealized, leg.maintenance
            self._pools[name] = self.health(position)
            return self._pools[name]
        equity, maintenance = known
        for held in core.held_of(position.symbol):
            if self.pool_name(held) == name:
                leg, (profit, bound) = self.leg(held), self._legs[held.symbol, held.side]
                here = self._legs[held.symbol, held.side] = leg.unrealized, leg.maintenance
                equity, maintenance = equity + here[0] - profit, maintenance + here[1] - bound
        self._pools[name] = equity, maintenance
        return equity, maintenance

    def liquidation_price(self, position: Position) -> Decimal:
        """Mark price at which the position would be liquidated, 0 if none."""
        if not position.qty:
            return ZERO
        pool = self.pool(position)
        here = [self.leg(held) for held in pool if held.symbol == position.symbol]
        away = [self.leg(held) for held in pool if held.symbol != position.symbol]
        maintenance = sum((leg.maintenance for leg in away), ZERO)
        unrealized = sum((leg.unrealized for leg in away), ZERO)
        return margin.liquidation_price(here, self.backing(position), maintenance, unrealized)
