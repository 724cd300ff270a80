"""What may be traded and how: symbol rules, filters and leverage brackets.

Read from a real `GET /fapi/v1/exchangeInfo` (any year's shape) and `GET /fapi/v1/leverageBracket`, or from the small
table shipped beside this file (`rules/default.json`, factual parameters of about forty liquid symbols).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from importlib import resources
from types import MappingProxyType
from typing import Any, Final

import msgspec

from qt_actors.exchange.rule_table import symbol_info

RATE_LIMITS: Final[list[dict[str, object]]] = [
    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2400},
    {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1200},
    {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300},
]
ASSETS: Final[list[dict[str, object]]] = [{"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"}]
USUAL_BRACKETS: Final = ((50, 5_000, "0.015"), (20, 25_000, "0.025"), (10, 100_000, "0.05"), (5, 250_000, "0.1"),
                         (2, 1_000_000, "0.25"), (1, 3_000_000, "0.5"))  # fmt: skip
"""(leverage, notional cap, maintenance ratio) for a symbol that no bracket table names: a small alt-coin's."""


class RulesError(ValueError):
    """A rules file that cannot be used; the text says where and what is missing."""


class Bracket(msgspec.Struct, frozen=True):
    """One notional tier: maintenance margin = notional x maint_ratio - cum for floor < notional <= cap."""

    number: int
    leverage: int
    floor: Decimal
    cap: Decimal
    maint_ratio: Decimal
    cum: Decimal


class SymbolRules(msgspec.Struct, frozen=True):
    """Filters and constants of one symbol; prices in quote, quantities in base asset, ratios as fractions."""

    symbol: str
    status: str
    contract_type: str
    margin_asset: str
    onboard_ms: int
    price_precision: int
    quantity_precision: int
    tick: Decimal
    min_price: Decimal
    max_price: Decimal
    step: Decimal
    min_qty: Decimal
    max_qty: Decimal
    market_step: Decimal
    market_min_qty: Decimal
    market_max_qty: Decimal
    min_notional: Decimal
    multiplier_up: Decimal
    multiplier_down: Decimal
    max_orders: int
    position_control: str
    liquidation_fee: Decimal
    trigger_protect: Decimal
    market_take_bound: Decimal
    brackets: tuple[Bracket, ...]
    raw: dict[str, Any]

    def bracket(self, notional: Decimal) -> Bracket:
        """The tier that an absolute notional falls in (the last one beyond the table)."""
        for tier in self.brackets:
            if notional <= tier.cap:
                return tier
        return self.brackets[-1]

    def max_leverage(self) -> int:
        """Leverage of the first tier."""
        return self.brackets[0].leverage

    def max_notional(self, leverage: int) -> Decimal:
        """Largest position notional allowed at that leverage."""
        return max(tier.cap for tier in self.brackets if tier.leverage >= leverage)


def brackets_from_tiers(tiers: Sequence[Sequence[object]]) -> tuple[Bracket, ...]:
    """(leverage, cap, ratio) rows to brackets; cum_n = floor_n (ratio_n - ratio_{n-1}) + cum_{n-1}."""
    rows: list[Bracket] = []
    floor, ratio_before, cum = Decimal(0), Decimal(0), Decimal(0)
    for number, (leverage, cap, ratio) in enumerate(tiers, 1):
        ratio_now = Decimal(str(ratio))
        cum += floor * (ratio_now - ratio_before)
        rows.append(Bracket(number, int(str(leverage)), floor, Decimal(str(cap)), ratio_now, cum))
        floor, ratio_before = Decimal(str(cap)), ratio_now
    return tuple(rows)


def _bracket_rows(rows: Sequence[Mapping[str, Any]]) -> tuple[Bracket, ...]:
    return tuple(
        Bracket(
            int(row["bracket"]),
            int(row["initialLeverage"]),
            Decimal(str(row["notionalFloor"])),
            Decimal(str(row["notionalCap"])),
            Decimal(str(row["maintMarginRatio"])),
            Decimal(str(row["cum"])),
        )
        for row in sorted(rows, key=lambda row: int(row["bracket"]))
    )


def _symbol_rules(info: Mapping[str, Any], brackets: tuple[Bracket, ...]) -> SymbolRules:
    by_type = {row["filterType"]: row for row in info["filters"]}
    price, lot, percent = by_type["PRICE_FILTER"], by_type["LOT_SIZE"], by_type["PERCENT_PRICE"]
    market = by_type.get("MARKET_LOT_SIZE", lot)
    raw = {**info, "filters": [row for row in info["filters"] if row["filterType"] != "MAX_NUM_ALGO_ORDERS"]}
    return SymbolRules(
        symbol=info["symbol"],
        status=info["status"],
        contract_type=info.get("contractType", "PERPETUAL"),
        margin_asset=info.get("marginAsset", "USDT"),
        onboard_ms=int(info.get("onboardDate", 0)),
        price_precision=int(info["pricePrecision"]),
        quantity_precision=int(info["quantityPrecision"]),
        tick=Decimal(price["tickSize"]),
        min_price=Decimal(price["minPrice"]),
        max_price=Decimal(price["maxPrice"]),
        step=Decimal(lot["stepSize"]),
        min_qty=Decimal(lot["minQty"]),
        max_qty=Decimal(lot["maxQty"]),
        market_step=Decimal(market["stepSize"]),
        market_min_qty=Decimal(market["minQty"]),
        market_max_qty=Decimal(market["maxQty"]),
        min_notional=Decimal(str(by_type.get("MIN_NOTIONAL", {}).get("notional", "5"))),
        multiplier_up=Decimal(percent["multiplierUp"]),
        multiplier_down=Decimal(percent["multiplierDown"]),
        max_orders=int(by_type.get("MAX_NUM_ORDERS", {}).get("limit", 200)),
        position_control=by_type.get("POSITION_RISK_CONTROL", {}).get("positionControlSide", "NONE"),
        liquidation_fee=Decimal(info.get("liquidationFee", "0.0125")),
        trigger_protect=Decimal(info.get("triggerProtect", "0.05")),
        market_take_bound=Decimal(info.get("marketTakeBound", "0.05")),
        brackets=brackets,
        raw=raw,
    )


class ExchangeRules:
    """All symbols of one exchange, and the exchangeInfo document that tells clients of them."""

    def __init__(self, symbols: Mapping[str, SymbolRules], head: Mapping[str, Any] | None = None) -> None:
        self.symbols: Mapping[str, SymbolRules] = MappingProxyType(dict(symbols))
        self._head = dict(head or {})

    @classmethod
    def from_exchange_info(cls, info: Mapping[str, Any], brackets: Sequence[Mapping[str, Any]] | None) -> ExchangeRules:
        """Rules from the two REST documents; a symbol without brackets gets a small alt-coin's.

        Raises:
            RulesError: a document lacks something; the text names the symbol and the key.
        """
        known = {row["symbol"]: _bracket_rows(row["brackets"]) for row in brackets or ()}
        symbols: dict[str, SymbolRules] = {}
        where = "exchangeInfo: symbols"
        try:
            for row in info["symbols"]:
                where = f"exchangeInfo: symbol {row['symbol']}"
                tiers = known.get(row["symbol"]) or brackets_from_tiers(USUAL_BRACKETS)
                symbols[row["symbol"]] = _symbol_rules(row, tiers)
        except (KeyError, TypeError, ArithmeticError) as cause:
            raise RulesError(
                f"{where}: cannot read {cause!r}; expected the reply of GET /fapi/v1/exchangeInfo"
            ) from cause
        if not symbols:
            raise RulesError("exchangeInfo: no symbols; expected the reply of GET /fapi/v1/exchangeInfo")
        return cls(symbols, {key: value for key, value in info.items() if key != "symbols"})

    @classmethod
    def default(cls) -> ExchangeRules:
        """The shipped table: enough to trade on a machine that has no exchangeInfo file."""
        text = resources.files("qt_actors.exchange").joinpath("rules/default.json").read_bytes()
        rows: dict[str, dict[str, Any]] = msgspec.json.decode(text)["symbols"]
        return cls(
            {
                symbol: _symbol_rules(symbol_info(symbol, row), brackets_from_tiers(row["tiers"]))
                for symbol, row in rows.items()
            }
        )

    def exchange_info(self, now_ms: int) -> dict[str, Any]:
        """The document of `GET /fapi/v1/exchangeInfo` at that time."""
        return {
            "timezone": "UTC",
            "serverTime": now_ms,
            "futuresType": "U_MARGINED",
            "rateLimits": RATE_LIMITS,
            "exchangeFilters": [],
            "assets": self._head.get("assets", ASSETS),
            "symbols": [rules.raw for rules in self.symbols.values()],
        }
