"""Other hands on the same account and on the same trader: a person, another program, the exchange, an operator."""

from __future__ import annotations

import itertools
import random
from decimal import Decimal
from typing import Any

from qt_actors.exchange.errors import ExchangeError
from qt_actors.messages.positions import Position
from qt_actors.simulation.truth import Truth, truth_of
from qt_actors.simulation.world import World


class Hands:
    """Interference from outside.

    Args:
        world: with the account.

    Attributes:
        touched: virtual µs of the last interference, by symbol.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._numbers = itertools.count(1)
        self.touched: dict[str, int] = {}

    def expire_stop(self, chance: random.Random) -> bool:
        """The exchange ends one stop by itself."""
        stops = [o for o in truth_of(self._world).stops if o.kind == "STOP_MARKET"]
        if not stops:
            return False
        stop = chance.choice(stops)
        self._touch(stop.symbol)
        self._world.exchange.exchange.operate("spoil", {"do": "expire", "algoId": str(stop.exchange_id)})
        self._world.advance()
        return True

    def cancel_orders(self, chance: random.Random) -> bool:
        """Somebody cancels every order of a symbol that is held."""
        position = self._one(truth_of(self._world), chance)
        if position is None:
            return False
        self._touch(position.symbol)
        for path in ("/fapi/v1/allOpenOrders", "/fapi/v1/algoOpenOrders"):
            self._ask("DELETE", path, symbol=position.symbol)
        return True

    def add(self, chance: random.Random) -> bool:
        """Somebody adds to a position."""
        position = self._one(truth_of(self._world), chance)
        return position is not None and self._trade(position, chance.choice((Decimal("0.5"), Decimal(1))), adds=True)

    def cut(self, chance: random.Random) -> bool:
        """Somebody closes a position, in part or whole, or turns it round."""
        position = self._one(truth_of(self._world), chance)
        share = chance.choice((Decimal("0.5"), Decimal(1), Decimal(1), Decimal(2)))
        return position is not None and self._trade(position, share, adds=False)

    def open(self, chance: random.Random, symbols: tuple[str, ...]) -> bool:
        """Somebody opens a position where there is none."""
        held = {p.symbol for p in truth_of(self._world).positions}
        free = [s for s in symbols if s not in held]
        if not free:
            return False
        symbol = chance.choice(free)
        row = self._ask("GET", "/fapi/v1/premiumIndex", symbol=symbol)
        price = Decimal(row["markPrice"])
        quantity = (Decimal(chance.randrange(300, 1500)) / price).quantize(Decimal(10) ** -_decimals(symbol))
        return self._order(symbol, chance.choice(("BUY", "SELL")), quantity)

    def _trade(self, position: Position, share: Decimal, *, adds: bool) -> bool:
        buys = (position.quantity > 0) == adds
        step = Decimal(10) ** -_decimals(position.symbol)
        quantity = (abs(position.quantity) * share).quantize(step)
        return self._order(position.symbol, "BUY" if buys else "SELL", quantity)

    def _order(self, symbol: str, side: str, quantity: Decimal) -> bool:
        self._touch(symbol)
        name = f"manual-{next(self._numbers)}"
        order = {"symbol": symbol, "side": side, "type": "MARKET", "quantity": format(quantity, "f")}
        return self._ask("POST", "/fapi/v1/order", **order, newClientOrderId=name) is not None

    def _ask(self, method: str, path: str, **params: Any) -> Any:
        try:
            return self._world.request(method, path, params)
        except ExchangeError:
            return None

    def _touch(self, symbol: str) -> None:
        self.touched[symbol] = self._world.now_us

    @staticmethod
    def _one(truth: Truth, chance: random.Random) -> Position | None:
        return chance.choice(truth.positions) if truth.positions else None


def _decimals(symbol: str) -> int:
    return {"BTCUSDT": 3, "ETHUSDT": 3, "SOLUSDT": 2}.get(symbol, 1)
