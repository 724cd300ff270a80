"""The one place where money moves. Every change of a wallet is an income row, so wallet == sum of income, always."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from qt_actors.exchange import events
from qt_actors.exchange.core import Core
from qt_actors.exchange.exposure import Margin
from qt_actors.exchange.figures import ZERO, money
from qt_actors.exchange.state import Income, Order, Position, Trade

MAKER_FEE: Final = Decimal("0.0002")
TAKER_FEE: Final = Decimal("0.0005")


class Account:
    """Books fills, fees, funding, transfers and isolated margin; emits ACCOUNT_UPDATE."""

    def __init__(self, core: Core, margin: Margin) -> None:
        self._core = core
        self._margin = margin

    def post(self, kind: str, asset: str, amount: Decimal, symbol: str = "", trade_id: int = 0, info: str = "") -> None:
        """Change a wallet by an income row; a zero amount is no row."""
        if not amount:
            return
        core = self._core
        core.state.wallets[asset] = core.state.wallets.get(asset, ZERO) + amount
        core.state.wallet_update_ms[asset] = core.now
        core.state.income.append(
            Income(
                tran_id=core.new_id(),
                symbol=symbol,
                kind=kind,
                amount=amount,
                asset=asset,
                info=info or kind,
                time_ms=core.now,
                trade_id=trade_id,
            )
        )
        core.changed()

    def transfer(self, asset: str, amount: Decimal) -> None:
        """A deposit (positive) or withdrawal from outside; emits ACCOUNT_UPDATE DEPOSIT or WITHDRAW."""
        self.post("TRANSFER", asset, amount)
        reason = "DEPOSIT" if amount > 0 else "WITHDRAW"
        self._core.emit(events.account_update(reason, self._core.now, [self.balance_row(asset, amount)], []))

    def book_fill(
        self, order: Order, price: Decimal, qty: Decimal, trade_id: int, *, maker: bool, rate: Decimal | None = None
    ) -> Trade:
        """Book one fill: fee, realised profit, position and isolated margin; the order's own sums too. Emits nothing.

        `rate` replaces the account's fee rate (liquidation takeover pays none).
        """
        core = self._core
        asset = core.rules_of(order.symbol).margin_asset
        position = core.own_position(order.symbol, order.position_side)
        held, signed = position.qty, qty if order.side == "BUY" else -qty
        closing = min(abs(held), qty) if held * signed < 0 else ZERO
        realized = self._close(position, closing, price)
        self._open(position, signed + (closing if signed < 0 else -closing), price)
        if rate is None:
            rate = MAKER_FEE if maker else TAKER_FEE
        fee = money(qty * price * rate)
        position.realized += realized
        started_anew = not position.qty or closing < qty
        position.net_since_open = -fee if started_anew and closing else position.net_since_open + realized - fee
        if not position.qty:
            position.net_since_open = ZERO
        position.update_ms = core.now
        if order.order_id in core.open_orders[order.symbol]:
            core.bind(order, -qty)
        order.executed += qty
        order.quote += qty * price
        self.post("COMMISSION", asset, -fee, order.symbol, trade_id)
        self.post("REALIZED_PNL", asset, realized, order.symbol, trade_id)
        trade = Trade(
            trade_id=trade_id,
            order_id=order.order_id,
            symbol=order.symbol,
            side=order.side,
            position_side=order.position_side,
            price=price,
            quantity=qty,
            realized=realized,
            commission=fee,
            asset=asset,
            maker=maker,
            time_ms=core.now,
        )
        core.state.trades.append(trade)
        core.refresh_active(order.symbol)
        return trade

    @staticmethod
    def _close(position: Position, qty: Decimal, price: Decimal) -> Decimal:
        """Take `qty` (unsigned) off a position; returns the realised profit. What rounding leaves stays in the cost."""
        if not qty:
            return ZERO
        whole = abs(position.qty)
        signed = -qty if position.qty > 0 else qty
        removed = position.cost if qty == whole else position.cost * qty / whole
        realized = money(-signed * price - removed)
        position.isolated_wallet = ZERO if qty == whole else money(position.isolated_wallet * (whole - qty) / whole)
        position.cost = ZERO if qty == whole else position.cost + signed * price + realized
        position.qty += signed
        return realized

    def _open(self, position: Position, signed: Decimal, price: Decimal) -> None:
        """Add a signed quantity to a position that is flat or on the same side."""
        if not signed:
            return
        position.qty += signed
        position.cost += signed * price
        setting = self._core.own_setting(position.symbol)
        if setting.isolated:
            position.isolated_wallet += money(abs(signed) * price / setting.leverage)

    def settle_funding(self, position: Position, rate: Decimal) -> None:
        """Pay or receive funding on one position at its mark price; emits ACCOUNT_UPDATE FUNDING_FEE.

        Fee = signed notional x rate: longs pay a positive rate. Cross: balance only; isolated: balance and position.
        """
        core = self._core
        asset = core.rules_of(position.symbol).margin_asset
        fee = -money(position.qty * core.mark(position.symbol) * rate)
        if not fee:
            return
        isolated = core.setting(position.symbol).isolated
        if isolated:
            position.isolated_wallet += fee
        self.post("FUNDING_FEE", asset, fee, position.symbol)
        rows = [self.position_row(position)] if isolated else []
        row = self.balance_row(asset, fee)
        core.emit(events.account_update("FUNDING_FEE", core.now, [row], rows, position.symbol))

    def move_margin(self, position: Position, amount: Decimal) -> None:
        """Move margin between the cross wallet and an isolated position; emits ACCOUNT_UPDATE MARGIN_TRANSFER."""
        core = self._core
        position.isolated_wallet += amount
        asset = core.rules_of(position.symbol).margin_asset
        row = self.balance_row(asset, ZERO)
        core.emit(events.account_update("MARGIN_TRANSFER", core.now, [row], [self.position_row(position)]))

    def announce_fill(self, order: Order) -> None:
        """Emit ACCOUNT_UPDATE ORDER for the position that the order just changed."""
        self.announce(order.symbol, order.position_side, "ORDER", ZERO)

    def announce(self, symbol: str, side: str, reason: str, change: Decimal) -> None:
        """Emit ACCOUNT_UPDATE with the margin asset's balance and one position."""
        core = self._core
        row = self.balance_row(core.rules_of(symbol).margin_asset, change)
        core.emit(events.account_update(reason, core.now, [row], [self.position_row(core.position(symbol, side))]))

    def cross_wallet(self, asset: str) -> Decimal:
        """One asset's wallet without what isolated positions hold."""
        core = self._core
        isolated = (p.isolated_wallet for p in core.open_positions() if core.rules_of(p.symbol).margin_asset == asset)
        return core.state.wallets.get(asset, ZERO) - sum(isolated, ZERO)

    def balance_row(self, asset: str, change: Decimal) -> events.Event:
        """The asset as ACCOUNT_UPDATE shows it."""
        return events.balance_row(asset, self._core.state.wallets.get(asset, ZERO), self.cross_wallet(asset), change)

    def position_row(self, position: Position) -> events.Event:
        """The position as ACCOUNT_UPDATE shows it."""
        core = self._core
        rules, quote = core.rules_of(position.symbol), core.state.quotes.get(position.symbol)
        unrealized = self._margin.leg(position).unrealized if quote is not None else ZERO
        isolated = core.setting(position.symbol).isolated
        return events.position_row(position, unrealized, rules.margin_asset, isolated=isolated)
