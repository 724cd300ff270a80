"""What the account may choose: leverage, margin type, isolated margin, position mode, multi-assets mode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qt_actors.exchange import admission, events, params
from qt_actors.exchange.account import Account
from qt_actors.exchange.core import Core
from qt_actors.exchange.errors import refusal
from qt_actors.exchange.exposure import Margin
from qt_actors.exchange.figures import ZERO, floor_money, money, plain
from qt_actors.exchange.state import MarginMove

Params = Mapping[str, str]
Reply = dict[str, Any]
SUCCESS: dict[str, object] = {"code": 200, "msg": "success"}


class Settings:
    """Reads and changes the account's settings."""

    def __init__(self, core: Core, margin: Margin, account: Account) -> None:
        self._core = core
        self._margin = margin
        self._account = account

    def set_leverage(self, wire: Params) -> Reply:
        """POST leverage; the same value is accepted. Emits ACCOUNT_CONFIG_UPDATE when it changed.

        -4028 outside the brackets, -2027 when position and orders exceed the cap at that leverage, -4161 lowering it
        under an isolated position, -2028 lowering it when the balance does not carry the margin.
        """
        core = self._core
        symbol = params.symbol_of(wire)
        rules = core.rules_of(symbol)
        leverage = params.integer(wire, "leverage")
        if leverage is None:
            raise refusal(-1102, "leverage")
        if not 1 <= leverage <= rules.max_leverage():
            raise refusal(-4028, leverage)
        setting = core.setting(symbol)
        positions = core.positions_of(symbol)
        cap = rules.max_notional(leverage)
        if any(self._margin.exposure(symbol, position.side).worst > cap for position in positions):
            raise refusal(-2027)
        if leverage < setting.leverage:
            if setting.isolated and any(position.qty for position in positions):
                raise refusal(-4161)
            worst = sum((self._margin.exposure(symbol, position.side).worst for position in positions), ZERO)
            more = worst / leverage - worst / setting.leverage
            if more > max(ZERO, self._margin.balance(rules.margin_asset).free):
                raise refusal(-2028)
        if leverage != setting.leverage:
            core.own_setting(symbol).leverage = leverage
            core.emit(events.leverage_update(symbol, leverage, core.now))
        return {"symbol": symbol, "leverage": leverage, "maxNotionalValue": plain(cap)}

    def set_margin_type(self, wire: Params) -> Reply:
        """POST marginType: -4046 no change, -4168 in multi-assets mode, -4047 open orders, -4048 position.

        Emits ACCOUNT_UPDATE MARGIN_TYPE_CHANGE.
        """
        core = self._core
        symbol = params.symbol_of(wire)
        core.rules_of(symbol)
        kind = params.required(wire, "marginType")
        if kind not in {"ISOLATED", "CROSSED"}:
            raise refusal(-1130, "marginType")
        isolated = kind == "ISOLATED"
        if core.setting(symbol).isolated == isolated:
            raise refusal(-4046)
        if isolated and core.state.multi_assets:
            raise refusal(-4168)
        if core.open_orders.get(symbol):
            raise refusal(-4047)
        if any(position.qty for position in core.positions_of(symbol)):
            raise refusal(-4048)
        core.own_setting(symbol).isolated = isolated
        rows = [self._account.position_row(position) for position in core.positions_of(symbol)]
        core.emit(events.account_update("MARGIN_TYPE_CHANGE", core.now, [], rows))
        return SUCCESS

    def position_margin(self, wire: Params) -> Reply:
        """POST positionMargin: type 1 adds, 2 takes from an isolated position. Emits ACCOUNT_UPDATE MARGIN_TRANSFER.

        What may be taken leaves the position's initial margin at mark, losses included.
        """
        core = self._core
        symbol = params.symbol_of(wire)
        rules = core.rules_of(symbol)
        amount, direction = params.decimal(wire, "amount"), params.integer(wire, "type")
        if amount is None:
            raise refusal(-1102, "amount")
        if direction not in {1, 2}:
            raise refusal(-1102, "type") if direction is None else refusal(-1130, "type")
        if amount <= 0:
            raise refusal(-4055)
        side = params.choice(wire, "positionSide", admission.POSITION_SIDES, "BOTH", -4060)
        if (side == "BOTH") == core.state.hedge_mode:
            raise refusal(-4061)
        setting = core.setting(symbol)
        if not setting.isolated:
            raise refusal(-4049)
        position = core.position(symbol, side)
        if not position.qty:
            raise refusal(-4054)
        amount = money(amount)
        if direction == 1 and amount > self._margin.balance(rules.margin_asset).withdrawable:
            raise refusal(-4050)
        if direction == 2:
            leg = self._margin.leg(position)
            bound = abs(leg.notional) / setting.leverage - min(ZERO, leg.unrealized)
            if amount > position.isolated_wallet - bound:
                raise refusal(-4051)
        self._account.move_margin(position, amount if direction == 1 else -amount)
        core.state.margin_moves.append(
            MarginMove(
                symbol=symbol,
                type=direction,
                amount=amount,
                asset=rules.margin_asset,
                position_side=side,
                time_ms=core.now,
            )
        )
        return {
            "amount": float(floor_money(amount)),
            "code": 200,
            "msg": "Successfully modify position margin.",
            "type": direction,
        }

    def position_side(self) -> Reply:
        """GET positionSide/dual."""
        return {"dualSidePosition": self._core.state.hedge_mode}

    def set_position_side(self, wire: Params) -> Reply:
        """POST positionSide/dual: -4059 no change, -4067 open orders of either kind, -4068 positions."""
        core = self._core
        params.required(wire, "dualSidePosition")
        hedge = params.boolean(wire, "dualSidePosition")
        if hedge == core.state.hedge_mode:
            raise refusal(-4059)
        if any(core.open_orders.values()) or any(core.open_algos.values()):
            raise refusal(-4067)
        if core.open_positions():
            raise refusal(-4068)
        core.state.hedge_mode = hedge
        core.changed()
        return SUCCESS

    def multi_assets(self) -> Reply:
        """GET multiAssetsMargin."""
        return {"multiAssetsMargin": self._core.state.multi_assets}

    def set_multi_assets(self, wire: Params) -> Reply:
        """POST multiAssetsMargin: -4171 no change, -4167 an isolated symbol, -4170 open orders.

        -4169 turning it off while an asset alone does not carry its own positions.
        With the mode on, all wallets back all cross positions at par: the exchange holds dollar assets only.
        """
        core = self._core
        params.required(wire, "multiAssetsMargin")
        on = params.boolean(wire, "multiAssetsMargin")
        if on == core.state.multi_assets:
            raise refusal(-4171)
        if on and any(setting.isolated for setting in core.state.settings.values()):
            raise refusal(-4167)
        if any(core.open_orders.values()):
            raise refusal(-4170)
        if not on and any(self._margin.balance(asset, alone=True).free < 0 for asset in core.state.wallets):
            raise refusal(-4169)
        core.state.multi_assets = on
        core.emit(events.multi_assets_update(on, core.now))
        return SUCCESS

    def fee_burn(self) -> Reply:
        """GET feeBurn."""
        return {"feeBurn": self._core.state.fee_burn}

    def set_fee_burn(self, wire: Params) -> Reply:
        """POST feeBurn; an account without BNB goes on paying in the margin asset, as on Binance."""
        params.required(wire, "feeBurn")
        self._core.state.fee_burn = params.boolean(wire, "feeBurn")
        self._core.changed()
        return SUCCESS

    def symbol_config(self, wire: Params) -> list[Reply]:
        """GET symbolConfig."""
        core = self._core
        rows = []
        for symbol in self.named_symbols(wire):
            setting = core.setting(symbol)
            rows.append(
                {
                    "symbol": symbol,
                    "marginType": "ISOLATED" if setting.isolated else "CROSSED",
                    "isAutoAddMargin": False,
                    "leverage": setting.leverage,
                    "maxNotionalValue": plain(core.rules_of(symbol).max_notional(setting.leverage)),
                }
            )
        return rows

    def named_symbols(self, wire: Params) -> list[str]:
        """The symbol sent, or all of them."""
        if not wire.get("symbol"):
            return list(self._core.rules.symbols)
        symbol = params.symbol_of(wire)
        self._core.rules_of(symbol)
        return [symbol]
