"""The shipped rules' compact rows, spread out to exchangeInfo's shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

PERPETUAL_DELIVERY_MS: Final = 4133404800000
ORDER_TYPES: Final = (
    "LIMIT",
    "MARKET",
    "STOP",
    "STOP_MARKET",
    "TAKE_PROFIT",
    "TAKE_PROFIT_MARKET",
    "TRAILING_STOP_MARKET",
)


def _filters(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    tick, low, high = row["price"]
    step, least, most, market_most = row["lot"]
    up, down = row["band"]
    return [
        {"filterType": "PRICE_FILTER", "minPrice": low, "maxPrice": high, "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": least, "maxQty": most, "stepSize": step},
        {"filterType": "MARKET_LOT_SIZE", "minQty": least, "maxQty": market_most, "stepSize": step},
        {"filterType": "MAX_NUM_ORDERS", "limit": 200},
        {"filterType": "MIN_NOTIONAL", "notional": row["notional"]},
        {"filterType": "PERCENT_PRICE", "multiplierUp": up, "multiplierDown": down, "multiplierDecimal": "4"},
        {"filterType": "POSITION_RISK_CONTROL", "positionControlSide": "NONE"},
    ]


def symbol_info(symbol: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """One compact row as a `symbols[]` element of exchangeInfo.

    Row: onboard (ms), digits [price, quantity], price [tick, min, max], lot [step, min, max, market max], notional,
    band [up, down], protect [trigger, take bound], liquidation (fee), kind (sub-types), tiers [[leverage, cap, ratio]].
    """
    base = symbol.removesuffix("USDT")
    return {
        "symbol": symbol,
        "pair": symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": PERPETUAL_DELIVERY_MS,
        "onboardDate": row["onboard"],
        "status": "TRADING",
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": base,
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "pricePrecision": row["digits"][0],
        "quantityPrecision": row["digits"][1],
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": row["kind"],
        "triggerProtect": row["protect"][0],
        "liquidationFee": row["liquidation"],
        "marketTakeBound": row["protect"][1],
        "maxMoveOrderLimit": 10000,
        "filters": _filters(row),
        "orderTypes": list(ORDER_TYPES),
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
        "permissionSets": ["GRID", "COPY"],
    }
