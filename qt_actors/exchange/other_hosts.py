"""What clients ask of Binance's other hosts on their way to the futures: spot's ping and time, the wallet's `sapi`.

python-binance's constructors ping spot and read its time; ccxt asks for currencies and margin pairs before markets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qt_actors.exchange.exchange import Exchange

Params = Mapping[str, str]


def ping(_exchange: Exchange, _params: Params) -> dict[str, Any]:
    """`GET ping` of either host."""
    return {}


def time(exchange: Exchange, _params: Params) -> dict[str, int]:
    """`GET time` of either host."""
    return {"serverTime": exchange.clock.told_ms()}


def system_status(exchange: Exchange, _params: Params) -> dict[str, Any]:
    """`GET /sapi/v1/system/status`: whether a maintenance fault is on."""
    down = bool(exchange.desk.lasting("maintenance"))
    return {"status": int(down), "msg": "system_maintenance" if down else "normal"}


def margin_pairs(_exchange: Exchange, _params: Params) -> list[Any]:
    """`GET /sapi/v1/margin/allPairs`, and the isolated ones: there is no margin trading here."""
    return []


def coins(exchange: Exchange, _params: Params) -> list[dict[str, Any]]:
    """`GET /sapi/v1/capital/config/getall`: the futures assets, no networks."""
    return [
        {
            "coin": row["asset"],
            "name": row["asset"],
            "depositAllEnable": False,
            "withdrawAllEnable": False,
            "free": "0",
            "locked": "0",
            "freeze": "0",
            "withdrawing": "0",
            "ipoing": "0",
            "ipoable": "0",
            "storage": "0",
            "isLegalMoney": False,
            "trading": True,
            "networkList": [],
        }
        for row in exchange.engine.exchange_info(0)["assets"]
    ]
