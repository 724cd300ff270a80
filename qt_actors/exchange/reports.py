"""Account and position documents (GET account, balance, positionRisk, …): read only, key by key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from qt_actors.exchange.account import MAKER_FEE, TAKER_FEE
from qt_actors.exchange.core import Core
from qt_actors.exchange.exposure import Balance, Exposure, Margin
from qt_actors.exchange.figures import ZERO, fixed, money, plain, shown
from qt_actors.exchange.settings import Settings
from qt_actors.exchange.state import Position

Params = Mapping[str, str]
Reply = dict[str, Any]
ALIAS: Final = hashlib.sha256(b"embedded exchange").hexdigest()[:8]
FEES: Final = {
    "makerCommissionRate": str(MAKER_FEE),
    "takerCommissionRate": str(TAKER_FEE),
    "rpiCommissionRate": "0.00005",
}
ADL_STEPS: Final = (Decimal("0.2"), Decimal("0.5"), Decimal(1), Decimal(2))
"""Return on margin at which the ADL quantile rises by one."""


def brief(value: Decimal) -> str:
    """Money of a position row: `0` or 8 decimals."""
    return shown(value) if value else "0"


class Reports:
    """Answers the account queries."""

    def __init__(self, core: Core, margin: Margin, settings: Settings) -> None:
        self._core = core
        self._margin = margin
        self._settings = settings

    def _assets(self) -> list[str]:
        named = [str(row["asset"]) for row in self._core.rules.exchange_info(0)["assets"]]
        return named + [asset for asset in self._core.state.wallets if asset not in named]

    def _asset_row(self, asset: str) -> Reply:
        state = self._core.state
        balance = self._margin.balance(asset, alone=True)
        pool = self._margin.balance(asset)
        wallet = state.wallets.get(asset, ZERO)
        return {
            "asset": asset,
            "walletBalance": shown(wallet),
            "unrealizedProfit": shown(balance.unrealized),
            "marginBalance": shown(wallet + balance.unrealized),
            "maintMargin": shown(balance.maintenance),
            "initialMargin": shown(balance.position_margin + balance.order_margin),
            "positionInitialMargin": shown(balance.position_margin),
            "openOrderInitialMargin": shown(balance.order_margin),
            "crossWalletBalance": shown(balance.cross_wallet),
            "crossUnPnl": shown(balance.cross_unrealized),
            "availableBalance": shown(pool.available),
            "maxWithdrawAmount": shown(min(wallet, pool.withdrawable)),
            "updateTime": state.wallet_update_ms.get(asset, 0),
        }

    @staticmethod
    def _totals(balance: Balance) -> Reply:
        return {
            "totalInitialMargin": shown(balance.position_margin + balance.order_margin),
            "totalMaintMargin": shown(balance.maintenance),
            "totalWalletBalance": shown(balance.wallet),
            "totalUnrealizedProfit": shown(balance.unrealized),
            "totalMarginBalance": shown(balance.wallet + balance.unrealized),
            "totalPositionInitialMargin": shown(balance.position_margin),
            "totalOpenOrderInitialMargin": shown(balance.order_margin),
            "totalCrossWalletBalance": shown(balance.cross_wallet),
            "totalCrossUnPnl": shown(balance.cross_unrealized),
            "availableBalance": shown(balance.available),
            "maxWithdrawAmount": shown(balance.withdrawable),
        }

    def _held(self) -> list[Position]:
        """Rows with a position or an open order."""
        core = self._core
        symbols = {position.symbol for position in core.open_positions()}
        symbols |= {symbol for symbol, orders in core.open_orders.items() if orders}
        rows = [position for symbol in sorted(symbols) for position in core.positions_of(symbol)]
        if not core.state.hedge_mode:
            return rows
        ordered = {(o.symbol, o.position_side) for orders in core.open_orders.values() for o in orders.values()}
        return [row for row in rows if row.qty or (row.symbol, row.side) in ordered]

    def _margins(self, position: Position, exposure: Exposure) -> Reply:
        leg = self._margin.leg(position)
        return {
            "unrealizedProfit": shown(leg.unrealized),
            "initialMargin": brief(exposure.position_margin + exposure.order_margin),
            "maintMargin": brief(leg.maintenance),
        }

    def _isolated_margin(self, position: Position) -> Decimal:
        """Isolated wallet plus unrealised profit, 0 when crossed."""
        if not self._core.setting(position.symbol).isolated or not position.qty:
            return ZERO
        return position.isolated_wallet + self._margin.leg(position).unrealized

    def account_v3(self) -> Reply:
        """GET v3/account: positions with a position or open order only."""
        positions = []
        for position in self._held():
            exposure = self._margin.exposure(position.symbol, position.side)
            positions.append(
                {
                    "symbol": position.symbol,
                    "positionSide": position.side,
                    "positionAmt": self._quantity(position),
                    **self._margins(position, exposure),
                    "isolatedMargin": brief(self._isolated_margin(position)),
                    "notional": brief(exposure.present),
                    "isolatedWallet": brief(position.isolated_wallet),
                    "updateTime": position.update_ms,
                }
            )
        return {
            **self._totals(self._margin.balance("USDT")),
            "assets": [self._asset_row(asset) for asset in self._assets()],
            "positions": positions,
        }

    def account_v2(self) -> Reply:
        """GET v2/account: positions of all symbols."""
        core = self._core
        positions = []
        for symbol, rules in core.rules.symbols.items():
            setting = core.setting(symbol)
            for position in core.positions_of(symbol):
                exposure = self._margin.exposure(symbol, position.side)
                positions.append(
                    {
                        "symbol": symbol,
                        **self._margins(position, exposure),
                        "positionInitialMargin": brief(exposure.position_margin),
                        "openOrderInitialMargin": brief(exposure.order_margin),
                        "leverage": str(setting.leverage),
                        "isolated": setting.isolated,
                        "entryPrice": self._entry(position),
                        "breakEvenPrice": plain(money(position.break_even_price)),
                        "maxNotional": plain(rules.max_notional(setting.leverage)),
                        "positionSide": position.side,
                        "positionAmt": self._quantity(position),
                        "notional": brief(exposure.present),
                        "isolatedWallet": brief(position.isolated_wallet),
                        "updateTime": position.update_ms,
                        "bidNotional": brief(exposure.bids),
                        "askNotional": brief(exposure.asks),
                    }
                )
        return {
            **self._head(),
            "feeBurn": self._core.state.fee_burn,
            **self._totals(self._margin.balance("USDT")),
            "assets": [{**self._asset_row(asset), "marginAvailable": True} for asset in self._assets()],
            "positions": positions,
        }

    def _head(self) -> Reply:
        return {
            "feeTier": 0,
            "canTrade": True,
            "canDeposit": True,
            "canWithdraw": True,
            "updateTime": 0,
            "multiAssetsMargin": self._core.state.multi_assets,
            "tradeGroupId": -1,
        }

    def account_config(self) -> Reply:
        """GET accountConfig."""
        return {**self._head(), "dualSidePosition": self._core.state.hedge_mode}

    def balance(self) -> list[Reply]:
        """GET v2/balance and v3/balance."""
        rows = []
        for asset in self._assets():
            row = self._asset_row(asset)
            kept = ("crossWalletBalance", "crossUnPnl", "availableBalance", "maxWithdrawAmount")
            rows.append(
                {
                    "accountAlias": ALIAS,
                    "asset": asset,
                    "balance": row["walletBalance"],
                    **{key: row[key] for key in kept},
                    "marginAvailable": True,
                    "updateTime": row["updateTime"],
                }
            )
        return rows

    def _quantity(self, position: Position) -> str:
        return fixed(position.qty, self._core.rules_of(position.symbol).quantity_precision)

    @staticmethod
    def _entry(position: Position) -> str:
        return plain(money(position.entry_price)) if position.qty else "0.0"

    def position_risk_v3(self, wire: Params) -> list[Reply]:
        """GET v3/positionRisk: rows with a position or open order; neither leverage nor marginType."""
        symbols = set(self._settings.named_symbols(wire))
        rows = []
        for position in self._held():
            if position.symbol not in symbols:
                continue
            exposure = self._margin.exposure(position.symbol, position.side)
            row = self._risk(position, exposure)
            margins = self._margins(position, exposure)
            row |= {
                "marginAsset": self._core.rules_of(position.symbol).margin_asset,
                "initialMargin": margins["initialMargin"],
                "maintMargin": margins["maintMargin"],
                "positionInitialMargin": brief(exposure.position_margin),
                "openOrderInitialMargin": brief(exposure.order_margin),
                "adl": self._quantile(position),
                "bidNotional": brief(exposure.bids),
                "askNotional": brief(exposure.asks),
            }
            rows.append(row)
        return rows

    def _risk(self, position: Position, exposure: Exposure) -> Reply:
        return {
            "symbol": position.symbol,
            "positionSide": position.side,
            "positionAmt": self._quantity(position),
            "entryPrice": self._entry(position),
            "breakEvenPrice": plain(money(position.break_even_price)) if position.qty else "0.0",
            "markPrice": shown(self._core.mark(position.symbol)),
            "unRealizedProfit": shown(self._margin.leg(position).unrealized),
            "liquidationPrice": brief(self._margin.liquidation_price(position)),
            "isolatedMargin": brief(self._isolated_margin(position)),
            "notional": brief(exposure.present),
            "isolatedWallet": brief(position.isolated_wallet),
            "updateTime": position.update_ms,
        }

    def position_risk_v2(self, wire: Params) -> list[Reply]:
        """GET v2/positionRisk: all symbols, with leverage and marginType."""
        core = self._core
        rows = []
        for symbol in self._settings.named_symbols(wire):
            setting = core.setting(symbol)
            for position in core.positions_of(symbol):
                row = self._risk(position, self._margin.exposure(symbol, position.side))
                row |= {
                    "leverage": str(setting.leverage),
                    "maxNotionalValue": plain(core.rules_of(symbol).max_notional(setting.leverage)),
                    "marginType": "isolated" if setting.isolated else "cross",
                    "isAutoAddMargin": "false",
                }
                rows.append(row)
        return rows

    def commission_rate(self, symbol: str) -> Reply:
        """GET commissionRate."""
        self._core.rules_of(symbol)
        return {"symbol": symbol, **FEES}

    def leverage_bracket(self, wire: Params) -> list[Reply]:
        """GET leverageBracket: numbers, not strings."""
        rows = []
        for symbol in self._settings.named_symbols(wire):
            brackets = [
                {
                    "bracket": tier.number,
                    "initialLeverage": tier.leverage,
                    "notionalCap": int(tier.cap),
                    "notionalFloor": int(tier.floor),
                    "maintMarginRatio": float(tier.maint_ratio),
                    "cum": float(tier.cum),
                }
                for tier in self._core.rules_of(symbol).brackets
            ]
            rows.append({"symbol": symbol, "brackets": brackets})
        return rows

    def _quantile(self, position: Position) -> int:
        """Place in the queue for auto-deleveraging, 0 to 4, by return on margin: winners go first."""
        if not position.qty:
            return 0
        exposure = self._margin.exposure(position.symbol, position.side)
        bound = exposure.position_margin
        gain = self._margin.leg(position).unrealized / bound if bound else ZERO
        return sum(gain > step for step in ADL_STEPS)

    def adl_quantile(self, wire: Params) -> list[Reply]:
        """GET adlQuantile of symbols with a position."""
        core = self._core
        rows = []
        for symbol in self._settings.named_symbols(wire):
            held = {position.side: self._quantile(position) for position in core.positions_of(symbol)}
            if not any(position.qty for position in core.positions_of(symbol)):
                continue
            both = held.get("BOTH", 0)
            quantile = {"LONG": held.get("LONG", both), "SHORT": held.get("SHORT", both)}
            quantile |= {"HEDGE": 0} if core.state.hedge_mode else {"BOTH": both}
            rows.append({"symbol": symbol, "adlQuantile": quantile})
        return rows

    def trading_status(self, wire: Params) -> Reply:
        """GET apiTradingStatus: nothing is ever locked, the quantitative rules are not among what is modelled."""
        if wire.get("symbol"):
            self._settings.named_symbols(wire)
        return {"indicators": {}, "updateTime": self._core.now}
