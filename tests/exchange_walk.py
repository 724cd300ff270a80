"""A random market and a random client at one exchange engine; every step is a function of its own seed.

`Walk.act(name, symbol, seed)` does one thing, so that a test can draw steps (and shrink them) or let `Walk.wander`
draw them. What must hold whatever was done is `tests.exchange_audit`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from qt_actors.exchange.engine import Engine, ExchangeError, ExchangeRules, Quote

RULES: Final = ExchangeRules.default()
SYMBOLS: Final = ("BTCUSDT", "SOLUSDT", "1000PEPEUSDT")
START: Final = {"BTCUSDT": Decimal(60000), "SOLUSDT": Decimal(150), "1000PEPEUSDT": Decimal("0.0101")}
START_MS: Final = 1_700_000_000_000
WEIGHTS: Final = {
    "market": 6, "limit": 8, "conditional": 6, "drift": 12, "jump": 1, "modify": 2, "cancel": 2, "batch": 1,
    "choose": 1, "margin": 1, "funding": 1, "top_up": 1, "countdown": 1, "time": 1, "pool": 1,
    "deleverage": 1,
}  # fmt: skip


class Walk:
    """The engine, its events since the start, the market's prices and the codes of what was refused."""

    def __init__(self, seed: int, *, hedge: bool = False) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - a test's own reproducible chance
        self.events: list[dict[str, Any]] = []
        self.now_ms = START_MS
        self.engine = Engine(RULES, now_ms=START_MS, emit=self.hear)
        self.prices = dict(START)
        self.refusals: set[int] = set()
        self.hedge = hedge
        for symbol in SYMBOLS:
            self.move(symbol, Decimal(1))
        if hedge:
            self.engine.set_position_side({"dualSidePosition": "true"}, self.now_ms)

    def hear(self, event: dict[str, Any]) -> None:
        self.events.append(event)

    def restart(self) -> None:
        """Go on with an engine that was saved and read back."""
        self.engine = Engine.restore(self.engine.save(), RULES, self.hear)

    def wander(self) -> tuple[str, str]:
        """One step drawn from the walk's own chance; returns its name and symbol."""
        name, symbol = self.chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0], self.chance.choice(SYMBOLS)
        self.act(name, symbol, self.chance.getrandbits(32))
        return name, symbol

    def act(self, name: str, symbol: str, seed: int) -> None:
        """Do one of WEIGHTS with that seed, a second later; a refusal is remembered."""
        self.now_ms += 1000
        self.draw = random.Random(seed)  # noqa: S311 - a test's own reproducible chance
        step: Callable[[str], None] = getattr(self, name)
        try:
            step(symbol)
        except ExchangeError as error:
            self.refusals.add(error.code)

    # ---- the market ----------------------------------------------------------------------------------------------

    def on_tick(self, symbol: str, price: Decimal) -> Decimal:
        tick = RULES.symbols[symbol].tick
        return max(tick, price - price % tick).quantize(tick)

    def move(self, symbol: str, factor: Decimal) -> None:
        """A print that many times the last price away, its mark within 20 bp, a random touch; walked to or a jump."""
        rules, draw = RULES.symbols[symbol], getattr(self, "draw", self.chance)
        last = self.prices[symbol] = self.on_tick(symbol, self.prices[symbol] * factor)
        mark = last * (1 + Decimal(draw.randint(-20, 20)) / 10000)
        spread = rules.tick * draw.choice([1, 1, 1, 5])
        bid = last if draw.random() < 0.5 or last <= spread else last - spread
        sizes = [rules.step * draw.randint(1, 2000) for _ in range(3)]
        self.engine.advance(self.now_ms)
        prices, walked = (last, mark, mark, bid, bid + spread), draw.random() < 0.5
        self.engine.quote(Quote(symbol, self.now_ms, *prices, *sizes, walked=walked))

    def jump(self, symbol: str) -> None:
        self.move(symbol, 1 + Decimal(self.draw.randint(-1200, 1200)) / 10000)

    def drift(self, symbol: str) -> None:
        for _ in range(5):
            self.move(symbol, 1 + Decimal(self.draw.randint(-60, 60)) / 10000)

    def funding(self, symbol: str) -> None:
        self.engine.settle_funding(symbol, Decimal(self.draw.randint(-100, 100)) / 100000, self.now_ms)

    def deleverage(self, symbol: str) -> None:
        if self.draw.random() < 0.1:
            self.engine.spoil({"do": "deleverage", "symbol": symbol}, self.now_ms)

    def time(self, _symbol: str) -> None:
        self.now_ms += self.draw.choice([1_000, 60_000, 700_000])
        self.engine.advance(self.now_ms)

    # ---- the client ----------------------------------------------------------------------------------------------

    def quantity(self, symbol: str) -> str:
        step = RULES.symbols[symbol].step
        notional = Decimal(self.draw.choice([3, 50, 500, 5000, 50000, 2_000_000]))
        wanted = notional / self.prices[symbol]
        return format(max(step, wanted - wanted % step).quantize(step), "f")

    def near(self, symbol: str, spread_bp: int = 200) -> str:
        factor = 1 + Decimal(self.draw.randint(-spread_bp, spread_bp)) / 10000
        return format(self.on_tick(symbol, self.prices[symbol] * factor), "f")

    def wire(self, symbol: str) -> dict[str, str]:
        wire = {"symbol": symbol, "side": self.draw.choice(["BUY", "SELL"]), "quantity": self.quantity(symbol)}
        wire["selfTradePreventionMode"] = self.draw.choice(["EXPIRE_MAKER", "EXPIRE_TAKER", "EXPIRE_BOTH", "NONE"])
        if self.hedge:
            wire["positionSide"] = self.draw.choice(["LONG", "SHORT"])
        elif self.draw.random() < 0.3:
            wire["reduceOnly"] = "true"
        return wire

    def limit_wire(self, symbol: str) -> dict[str, str]:
        tif = self.draw.choice(["GTC", "GTC", "GTC", "IOC", "FOK", "GTX", "GTD"])
        wire = {**self.wire(symbol), "type": "LIMIT", "timeInForce": tif, "price": self.near(symbol)}
        if tif == "GTD":
            wire["goodTillDate"] = str(self.now_ms + self.draw.randint(610_000, 2_000_000))
        if self.draw.random() < 0.2:
            wire |= {"price": "", "priceMatch": self.draw.choice(["QUEUE", "OPPONENT", "QUEUE_5", "OPPONENT_5"])}
        return wire

    def market(self, symbol: str) -> None:
        self.engine.place_order({**self.wire(symbol), "type": "MARKET"}, self.now_ms)

    def limit(self, symbol: str) -> None:
        self.engine.place_order(self.limit_wire(symbol), self.now_ms)

    def batch(self, symbol: str) -> None:
        orders = [self.limit_wire(symbol) for _ in range(3)]
        texts = ",".join("{" + ",".join(f'"{key}":"{value}"' for key, value in one.items()) + "}" for one in orders)
        for reply in self.engine.batch_orders({"batchOrders": f"[{texts}]"}, self.now_ms):
            if "code" in reply:
                self.refusals.add(reply["code"])

    def conditional(self, symbol: str) -> None:
        kind = self.draw.choice(["STOP_MARKET", "TAKE_PROFIT_MARKET", "STOP", "TAKE_PROFIT", "TRAILING_STOP_MARKET"])
        wire = {**self.wire(symbol), "type": kind, "algoType": "CONDITIONAL"}
        wire["workingType"] = self.draw.choice(["MARK_PRICE", "CONTRACT_PRICE"])
        wire["priceProtect"] = self.draw.choice(["true", "false"])
        if kind == "TRAILING_STOP_MARKET":
            wire["callbackRate"] = str(self.draw.choice(["0.1", "1", "5"]))
            if self.draw.random() < 0.5:
                wire["activatePrice"] = self.near(symbol)
        else:
            wire["triggerPrice"] = self.near(symbol)
        if self.draw.random() < 0.2:
            wire["timeInForce"] = "GTE_GTC"
        if kind in {"STOP", "TAKE_PROFIT"}:
            wire["price"] = wire["triggerPrice"]
        if kind in {"STOP_MARKET", "TAKE_PROFIT_MARKET"} and self.draw.random() < 0.3:
            del wire["quantity"]
            wire.pop("reduceOnly", None)
            wire["closePosition"] = "true"
        self.engine.place_algo_order(wire, self.now_ms)

    def modify(self, symbol: str) -> None:
        for row in self.engine.open_orders({"symbol": symbol}, self.now_ms)[:1]:
            wire = {"symbol": symbol, "side": row["side"], "orderId": str(row["orderId"])}
            wire |= {"quantity": self.quantity(symbol), "price": self.near(symbol)}
            self.engine.modify_order(wire, self.now_ms)

    def cancel(self, symbol: str) -> None:
        if self.draw.random() < 0.3:
            self.engine.cancel_all_orders({"symbol": symbol}, self.now_ms)
            self.engine.cancel_all_algo_orders({"symbol": symbol}, self.now_ms)
        for row in self.engine.open_orders({"symbol": symbol}, self.now_ms)[:1]:
            self.engine.cancel_order({"symbol": symbol, "orderId": str(row["orderId"])}, self.now_ms)

    def countdown(self, symbol: str) -> None:
        wire = {"symbol": symbol, "countdownTime": str(self.draw.choice([0, 5000, 30000]))}
        self.engine.countdown_cancel_all(wire, self.now_ms)

    def choose(self, symbol: str) -> None:
        leverage = str(self.draw.choice([1, 5, 20, 50, 75]))
        self.engine.set_leverage({"symbol": symbol, "leverage": leverage}, self.now_ms)
        kind = self.draw.choice(["ISOLATED", "CROSSED"])
        self.engine.set_margin_type({"symbol": symbol, "marginType": kind}, self.now_ms)

    def margin(self, symbol: str) -> None:
        wire = {"symbol": symbol, "amount": str(self.draw.randint(1, 300)), "type": self.draw.choice(["1", "2"])}
        if self.hedge:
            wire["positionSide"] = self.draw.choice(["LONG", "SHORT"])
        self.engine.position_margin(wire, self.now_ms)

    def pool(self, _symbol: str) -> None:
        on = "false" if self.engine.get_multi_assets({}, self.now_ms)["multiAssetsMargin"] else "true"
        self.engine.set_multi_assets({"multiAssetsMargin": on}, self.now_ms)

    def top_up(self, _symbol: str) -> None:
        """Deposit when there is little left, rarely a lot, or take something out again."""
        wallet = self.engine.wallet()
        if wallet < 1000:
            self.engine.transfer("USDT", Decimal(self.draw.choice([10_000, 10_000, 10_000, 3_000_000])), self.now_ms)
        else:
            asset, amount = self.draw.choice([("USDC", 100), ("USDC", -50), ("USDT", -wallet / 2), ("USDT", -200)])
            self.engine.transfer(asset, Decimal(amount), self.now_ms)
