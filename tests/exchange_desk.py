"""An exchange engine on a table: one market, its orders and its events."""

from __future__ import annotations

import copy
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from qt_actors.exchange.engine import Engine, ExchangeError, ExchangeRules, Quote


class Desk:
    """An engine with BTCUSDT at 60,000 (spread 0.2, 2 BTC at the bid, 3 at the ask), its events and a running time."""

    def __init__(self, wallet: str = "10000", rules: ExchangeRules | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        self.now_ms = 1_700_000_000_000
        self.engine = Engine(
            rules or ExchangeRules.default(), wallet=Decimal(wallet), now_ms=self.now_ms, emit=self.events.append
        )
        self.quote("60000")
        self.engine.advance(self.now_ms)

    def quote(
        self,
        last: str,
        mark: str | None = None,
        spread: str = "0.2",
        symbol: str = "BTCUSDT",
        volume: str = "0",
        *,
        walked: bool = False,
    ) -> None:
        """The market a second later: a touch around the last price, 2 at the bid and 3 at the ask."""
        half = Decimal(spread) / 2
        bid, ask = str(Decimal(last) - half), str(Decimal(last) + half)
        self.touch(last, bid, ask, mark=mark, symbol=symbol, volume=volume, walked=walked)

    def touch(
        self,
        last: str,
        bid: str,
        ask: str,
        *,
        mark: str | None = None,
        symbol: str = "BTCUSDT",
        volume: str = "0",
        walked: bool = False,
    ) -> None:
        """The same with bid and ask named."""
        self.now_ms += 1000
        index = Decimal(mark or last)
        sizes = Decimal(2), Decimal(3), Decimal(volume)
        prices = Decimal(last), index, index, Decimal(bid), Decimal(ask)
        self.engine.quote(Quote(symbol, self.now_ms, *prices, *sizes, walked=walked))

    def order(self, side: str, quantity: str, price: str | None = None, **more: str) -> dict[str, Any]:
        wire = {"symbol": "BTCUSDT", "side": side, "type": "LIMIT" if price else "MARKET", "quantity": quantity}
        if price:
            wire |= {"price": price, "timeInForce": "GTC"}
        return self.engine.place_order({**wire, **more}, self.now_ms)

    def algo(self, side: str, kind: str, **more: str) -> dict[str, Any]:
        wire = {"algoType": "CONDITIONAL", "symbol": "BTCUSDT", "side": side, "type": kind}
        return self.engine.place_algo_order({**wire, **more}, self.now_ms)

    def held(self) -> Decimal:
        rows = self.engine.position_risk_v2({"symbol": "BTCUSDT"}, self.now_ms)
        return sum((Decimal(row["positionAmt"]) for row in rows), Decimal(0))

    def fills(self) -> list[tuple[str, str]]:
        """Client id and price of every fill, oldest first."""
        orders = [event["o"] for event in self.events if event["e"] == "ORDER_TRADE_UPDATE"]
        return [(order["c"], order["L"]) for order in orders if order["x"] in {"TRADE", "CALCULATED"}]

    def kinds(self) -> list[str]:
        """Events as short names, oldest first: `ORDER_TRADE_UPDATE NEW`, `ALGO_UPDATE TRIGGERED`, `TRADE_LITE`."""
        names = []
        for event in self.events:
            body = event.get("o", {})
            detail = body.get("x") if event["e"] == "ORDER_TRADE_UPDATE" else body.get("X", "")
            names.append(f"{event['e']} {detail}".strip())
        return names


def refused(act: Callable[[], object]) -> int:
    """The code with which the engine refuses."""
    with pytest.raises(ExchangeError) as caught:
        act()
    return caught.value.code


def changed_rules(**filters: dict[str, str]) -> ExchangeRules:
    """BTCUSDT of the shipped table with some filter keys (or, under `symbol`, symbol keys) changed."""
    info = copy.deepcopy(ExchangeRules.default().exchange_info(0))
    row = next(row for row in info["symbols"] if row["symbol"] == "BTCUSDT")
    row |= filters.pop("symbol", {})
    for one in row["filters"]:
        one.update(filters.get(one["filterType"], {}))
    return ExchangeRules.from_exchange_info({**info, "symbols": [row]}, None)
