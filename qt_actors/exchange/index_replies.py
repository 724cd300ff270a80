"""What indices are made of. Here: of this exchange's own price; every asset is worth a dollar; nothing is delivered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from qt_actors.exchange.errors import refusal
from qt_actors.exchange.kline_replies import row_of
from qt_actors.exchange.params import required

if TYPE_CHECKING:
    from qt_actors.exchange.exchange import Exchange
    from qt_actors.exchange.market import Market

Params = Mapping[str, str]
PAR: Final = "1.00000000"
NONE: Final = "0.00000000"


def constituents(market: Market, params: Params) -> dict[str, Any]:
    """`GET /fapi/v1/constituents`: one source, with all the weight."""
    row = row_of(market, params)
    symbol = market.symbols[row]
    source = {"exchange": "binance", "symbol": symbol, "price": f"{market.index[row]:.8f}", "weight": PAR}
    return {"symbol": symbol, "time": market.now_ms, "constituents": [source]}


def composite_indices(market: Market, params: Params) -> list[Any]:
    """`GET /fapi/v1/indexInfo`: no symbol here is a composite index."""
    if params.get("symbol"):
        row_of(market, params)
    return []


def delivery_prices(market: Market, params: Params) -> list[Any]:
    """`GET /futures/data/delivery-price`: perpetuals are not delivered."""
    row_of(market, params, "pair")
    return []


def asset_indices(exchange: Exchange, params: Params) -> dict[str, Any] | list[dict[str, Any]]:
    """`GET /fapi/v1/assetIndex` of a symbol such as USDTUSD, or of all: at par, as multi-assets mode counts them."""
    rows = [_asset_index(str(row["asset"]), exchange) for row in exchange.engine.exchange_info(0)["assets"]]
    if not params.get("symbol"):
        return rows
    wanted = required(params, "symbol").upper()
    found = next((row for row in rows if row["symbol"] == wanted), None)
    if found is None:
        raise refusal(-1121)
    return found


def _asset_index(asset: str, exchange: Exchange) -> dict[str, Any]:
    return {
        "symbol": f"{asset}USD",
        "time": exchange.clock.told_ms(),
        "index": PAR,
        "bidBuffer": NONE,
        "askBuffer": NONE,
        "bidRate": PAR,
        "askRate": PAR,
        "autoExchangeBidBuffer": NONE,
        "autoExchangeAskBuffer": NONE,
        "autoExchangeBidRate": PAR,
        "autoExchangeAskRate": PAR,
    }
