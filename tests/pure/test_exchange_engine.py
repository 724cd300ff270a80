"""The embedded exchange as a whole: properties under random operations, save and restore, determinism, its rules."""

from __future__ import annotations

import gzip
import json
import random
import timeit
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qt_actors.exchange.engine import Engine, ExchangeError, ExchangeRules, Quote
from qt_actors.exchange.rules import RulesError
from qt_actors.exchange.state import StateError, decode

RULES = ExchangeRules.default()
SYMBOLS = ("BTCUSDT", "SOLUSDT", "1000PEPEUSDT")
START = {"BTCUSDT": Decimal(60000), "SOLUSDT": Decimal(150), "1000PEPEUSDT": Decimal("0.0101")}
START_MS = 1_700_000_000_000


class Walk:
    """A market and a client that do random things, all drawn from one seeded generator."""

    def __init__(self, seed: int, *, hedge: bool = False) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - a test's own reproducible chance
        self.events: list[dict[str, Any]] = []
        self.now_ms = START_MS
        self.engine = Engine(RULES, now_ms=START_MS, emit=self.events.append)
        self.prices = dict(START)
        self.refusals: set[int] = set()
        self.fundings = 0
        for symbol in SYMBOLS:
            self.move(symbol, Decimal(1))
        if hedge:
            self.engine.set_position_side({"dualSidePosition": "true"}, self.now_ms)
        self.hedge = hedge

    def on_tick(self, symbol: str, price: Decimal) -> Decimal:
        tick = RULES.symbols[symbol].tick
        return max(tick, price - price % tick).quantize(tick)

    def move(self, symbol: str, factor: Decimal) -> None:
        rules = RULES.symbols[symbol]
        last = self.prices[symbol] = self.on_tick(symbol, self.prices[symbol] * factor)
        mark = last * (1 + Decimal(self.chance.randint(-20, 20)) / 10000)
        size = [rules.step * self.chance.randint(1, 2000) for _ in range(2)]
        self.engine.quote(Quote(symbol, self.now_ms, last, mark, mark, last, last + rules.tick, size[0], size[1]))

    def quantity(self, symbol: str) -> str:
        step = RULES.symbols[symbol].step
        notional = Decimal(self.chance.choice([3, 50, 500, 5000, 50000]))
        wanted = notional / self.prices[symbol]
        return format(max(step, wanted - wanted % step).quantize(step), "f")

    def near(self, symbol: str, spread_bp: int = 200) -> str:
        factor = 1 + Decimal(self.chance.randint(-spread_bp, spread_bp)) / 10000
        return format(self.on_tick(symbol, self.prices[symbol] * factor), "f")

    def wire(self, symbol: str) -> dict[str, str]:
        wire = {"symbol": symbol, "side": self.chance.choice(["BUY", "SELL"]), "quantity": self.quantity(symbol)}
        if self.hedge:
            wire["positionSide"] = self.chance.choice(["LONG", "SHORT"])
        elif self.chance.random() < 0.3:
            wire["reduceOnly"] = "true"
        return wire

    def market(self, symbol: str) -> None:
        self.engine.place_order({**self.wire(symbol), "type": "MARKET"}, self.now_ms)

    def limit(self, symbol: str) -> None:
        tif = self.chance.choice(["GTC", "GTC", "IOC", "FOK", "GTX"])
        wire = {**self.wire(symbol), "type": "LIMIT", "timeInForce": tif, "price": self.near(symbol)}
        self.engine.place_order(wire, self.now_ms)

    def conditional(self, symbol: str) -> None:
        kind = self.chance.choice(["STOP_MARKET", "TAKE_PROFIT_MARKET", "STOP", "TRAILING_STOP_MARKET"])
        wire = {**self.wire(symbol), "type": kind, "algoType": "CONDITIONAL"}
        if kind == "TRAILING_STOP_MARKET":
            wire["callbackRate"] = str(self.chance.choice(["0.1", "1", "5"]))
        else:
            wire["triggerPrice"] = self.near(symbol)
            wire["workingType"] = self.chance.choice(["MARK_PRICE", "CONTRACT_PRICE"])
        if kind == "STOP":
            wire["price"] = wire["triggerPrice"]
        if kind in {"STOP_MARKET", "TAKE_PROFIT_MARKET"} and self.chance.random() < 0.3:
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
        if self.chance.random() < 0.3:
            self.engine.cancel_all_orders({"symbol": symbol}, self.now_ms)
            self.engine.cancel_all_algo_orders({"symbol": symbol}, self.now_ms)
        for row in self.engine.open_orders({"symbol": symbol}, self.now_ms)[:1]:
            self.engine.cancel_order({"symbol": symbol, "orderId": str(row["orderId"])}, self.now_ms)

    def choose(self, symbol: str) -> None:
        leverage = str(self.chance.choice([1, 5, 20, 50, 75]))
        self.engine.set_leverage({"symbol": symbol, "leverage": leverage}, self.now_ms)
        kind = self.chance.choice(["ISOLATED", "CROSSED"])
        self.engine.set_margin_type({"symbol": symbol, "marginType": kind}, self.now_ms)

    def margin(self, symbol: str) -> None:
        wire = {"symbol": symbol, "amount": str(self.chance.randint(1, 300)), "type": self.chance.choice(["1", "2"])}
        if self.hedge:
            wire["positionSide"] = self.chance.choice(["LONG", "SHORT"])
        self.engine.position_margin(wire, self.now_ms)

    def jump(self, symbol: str) -> None:
        self.move(symbol, 1 + Decimal(self.chance.randint(-1200, 1200)) / 10000)

    def drift(self, symbol: str) -> None:
        for _ in range(5):
            self.move(symbol, 1 + Decimal(self.chance.randint(-60, 60)) / 10000)

    def funding(self, symbol: str) -> None:
        self.engine.settle_funding(symbol, Decimal(self.chance.randint(-100, 100)) / 100000, self.now_ms)

    def top_up(self, _symbol: str) -> None:
        if self.engine.wallet() < 1000:
            self.engine.transfer("USDT", Decimal(10000), self.now_ms)

    def step(self) -> None:
        self.now_ms += 1000
        acts: list[tuple[Callable[[str], None], int]] = [
            (self.market, 6), (self.limit, 8), (self.conditional, 6), (self.drift, 12), (self.jump, 1),
            (self.modify, 2), (self.cancel, 2), (self.choose, 1), (self.margin, 1), (self.funding, 1), (self.top_up, 1),
        ]  # fmt: skip
        act = self.chance.choices([act for act, _ in acts], [weight for _, weight in acts])[0]
        try:
            act(self.chance.choice(SYMBOLS))
        except ExchangeError as error:
            self.refusals.add(error.code)


def held_by_trades(engine: Engine) -> tuple[dict[tuple[str, str], Decimal], Decimal, Decimal]:
    """Position by (symbol, side), realised profit and cash flow, all from the engine's list of fills alone."""
    held: dict[tuple[str, str], Decimal] = {}
    realized = cash = Decimal(0)
    for trade in engine._core.state.trades:
        signed = trade.quantity if trade.side == "BUY" else -trade.quantity
        key = (trade.symbol, trade.position_side)
        held[key] = held.get(key, Decimal(0)) + signed
        realized += trade.realized
        cash -= signed * trade.price
    return held, realized, cash


def check_books(walk: Walk) -> None:
    """What must hold at any moment, whatever was done."""
    engine, state = walk.engine, walk.engine._core.state
    assert engine.wallet() == engine.income_total()
    held, realized, cash = held_by_trades(engine)
    for position in state.positions.values():
        assert position.qty == held.get((position.symbol, position.side), Decimal(0))
        assert bool(position.qty) or not (position.cost or position.isolated_wallet)
        assert not (position.side == "LONG" and position.qty < 0)
        assert not (position.side == "SHORT" and position.qty > 0)
    assert cash == realized - sum(position.cost for position in state.positions.values())
    for symbol in SYMBOLS:
        cap = RULES.symbols[symbol].max_notional(1)
        assert all(
            abs(p.qty) * engine._core.mark(symbol) <= cap for p in state.positions.values() if p.symbol == symbol
        )
        for order in engine._core.open_orders[symbol].values():
            assert Decimal(0) < order.remaining
            if order.reduce_only:
                qty = engine._core.position(symbol, order.position_side).qty
                assert order.remaining <= (qty if order.side == "SELL" else -qty)


def check_fills_only_shrink_where_they_must(events: list[dict[str, Any]]) -> None:
    """No fill of a reduce-only order opens or flips a position, read from the events alone."""
    held: dict[tuple[str, str], Decimal] = {}
    for event in events:
        if event["e"] != "ORDER_TRADE_UPDATE" or event["o"]["x"] not in {"TRADE", "CALCULATED"}:
            continue
        body = event["o"]
        key = (body["s"], body["ps"])
        before = held.get(key, Decimal(0))
        after = before + (Decimal(body["l"]) if body["S"] == "BUY" else -Decimal(body["l"]))
        if body["R"]:
            assert abs(after) < abs(before)
            assert before * after >= 0
        held[key] = after


@given(seed=st.integers(0, 2**32), hedge=st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_books_balance_after_every_one_of_many_random_operations(seed: int, *, hedge: bool) -> None:
    walk = Walk(seed, hedge=hedge)
    for _ in range(100):
        walk.step()
        check_books(walk)
    check_fills_only_shrink_where_they_must(walk.events)


def test_the_books_balance_over_a_long_life_in_which_everything_happens() -> None:
    walk = Walk(7)
    for number in range(8000):
        walk.step()
        if number % 200 == 0:
            check_books(walk)
    check_books(walk)
    check_fills_only_shrink_where_they_must(walk.events)
    kinds = {row.kind for row in walk.engine._core.state.income}
    assert kinds == {"TRANSFER", "REALIZED_PNL", "COMMISSION", "FUNDING_FEE", "INSURANCE_CLEAR"}
    outcomes = {e["o"]["X"] for e in walk.events if e["e"] in {"ORDER_TRADE_UPDATE", "ALGO_UPDATE"}}
    assert outcomes >= {"NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "EXPIRED", "TRIGGERED", "FINISHED", "REJECTED"}
    assert walk.refusals >= {-2019, -2022, -2021, -5021, -5022, -4164}


@given(seed=st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_a_restored_engine_goes_on_exactly_like_the_saved_one(seed: int) -> None:
    walk = Walk(seed)
    for _ in range(60):
        walk.step()
    saved = walk.engine.save()
    twin = Walk(seed)
    twin.events.clear()
    twin.engine = Engine.restore(saved, RULES, twin.events.append)
    twin.now_ms, twin.prices = walk.now_ms, dict(walk.prices)
    twin.chance.setstate(walk.chance.getstate())
    assert twin.engine.save() == saved
    assert decode(saved) == walk.engine._core.state
    walk.events.clear()
    for _ in range(60):
        walk.step()
        twin.step()
    assert twin.events == walk.events
    assert twin.engine.save() == walk.engine.save()


def test_the_same_inputs_give_the_same_events_to_the_last_byte() -> None:
    first, second = (Walk(11) for _ in range(2))
    for _ in range(500):
        first.step()
        second.step()
    assert json.dumps(first.events) == json.dumps(second.events)
    assert first.engine.revision == second.engine.revision > 0


def test_the_revision_grows_with_every_event_and_stands_still_with_a_quiet_market() -> None:
    walk = Walk(1)
    before = walk.engine.revision
    walk.move("BTCUSDT", Decimal(1))
    walk.engine.advance(walk.now_ms)
    assert walk.engine.revision == before
    walk.engine.set_leverage({"symbol": "BTCUSDT", "leverage": "3"}, walk.now_ms)
    assert walk.engine.revision > before


@pytest.mark.parametrize("data", [b"", b"nonsense", b'{"version": 1}', b"\x81\xa7version\xcd\x03\xe7"])
def test_state_that_cannot_be_read_says_what_to_do(data: bytes) -> None:
    with pytest.raises(StateError, match="delete the file"):
        Engine.restore(data, RULES, print)


def test_state_of_a_symbol_the_rules_do_not_know_is_refused_by_name() -> None:
    walk = Walk(1)
    walk.engine.place_order({"symbol": "SOLUSDT", "side": "BUY", "type": "MARKET", "quantity": "1"}, walk.now_ms)
    info = RULES.exchange_info(0)
    fewer = {**info, "symbols": [row for row in info["symbols"] if row["symbol"] != "SOLUSDT"]}
    with pytest.raises(StateError, match="SOLUSDT"):
        Engine.restore(walk.engine.save(), ExchangeRules.from_exchange_info(fewer, None), print)


def test_retention_forgets_orders_and_income_and_the_wallet_stays_provable() -> None:
    walk = Walk(3)
    for _ in range(300):
        walk.step()
    engine, day = walk.engine, 86_400_000
    for symbol in SYMBOLS:
        engine.cancel_all_orders({"symbol": symbol}, walk.now_ms)
        engine.cancel_all_algo_orders({"symbol": symbol}, walk.now_ms)
    engine.advance(walk.now_ms + 4 * day)
    state = engine._core.state
    assert state.orders
    assert all(order.executed for order in state.orders.values())
    engine.advance(walk.now_ms + 91 * day)
    assert not state.orders
    assert not state.trades
    assert not state.income
    assert engine.wallet() == engine.income_total()


def test_the_shipped_rules_carry_forty_symbols_with_continuous_brackets() -> None:
    assert len(RULES.symbols) >= 40
    for rules in RULES.symbols.values():
        for below, above in zip(rules.brackets, rules.brackets[1:], strict=False):
            assert above.floor == below.cap
            assert below.cap * below.maint_ratio - below.cum == above.floor * above.maint_ratio - above.cum
            assert above.leverage < below.leverage


def test_a_broken_exchange_info_names_the_symbol_and_the_key() -> None:
    info = RULES.exchange_info(0)
    broken = {**info["symbols"][0]}
    del broken["filters"]
    with pytest.raises(RulesError, match=r"symbol BTCUSDT.*filters"):
        ExchangeRules.from_exchange_info({"symbols": [broken]}, None)
    with pytest.raises(RulesError, match="no symbols"):
        ExchangeRules.from_exchange_info({"symbols": []}, None)


def test_every_captured_exchange_info_is_read_with_its_brackets(real_data: Path) -> None:
    brackets: list[dict[str, Any]] = []
    for path in sorted((real_data / "leverage_brackets").glob("*.json.gz")):
        brackets = json.loads(gzip.decompress(path.read_bytes()))
    paths = sorted((real_data / "exchange_info").glob("*.json.gz"))
    assert paths
    for path in paths:
        info = json.loads(gzip.decompress(path.read_bytes()))
        rules = ExchangeRules.from_exchange_info(info, brackets)
        assert len(rules.symbols) == len(info["symbols"])
        btc = rules.symbols["BTCUSDT"]
        assert btc.tick > 0
        assert btc.max_leverage() >= 125
        filters = {row["filterType"] for row in rules.exchange_info(1)["symbols"][0]["filters"]}
        assert "MAX_NUM_ALGO_ORDERS" not in filters


@pytest.mark.bench
def test_the_cost_of_a_quote(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints microseconds per quote of an idle symbol and of one with a position and three conditional orders."""
    engine = Engine(RULES, wallet=Decimal(1_000_000), now_ms=START_MS, emit=lambda _event: None)
    price = Decimal(60000)
    quote = Quote("BTCUSDT", START_MS, price, price, price, price, price + Decimal("0.1"), Decimal(2), Decimal(3))
    idle = timeit.timeit(lambda: engine.quote(quote), number=100_000) / 100_000
    engine.place_order({"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "1"}, START_MS)
    for kind, more in (("STOP_MARKET", {"triggerPrice": "50000"}), ("TAKE_PROFIT_MARKET", {"triggerPrice": "70000"}),
                       ("TRAILING_STOP_MARKET", {"callbackRate": "5"})):  # fmt: skip
        wire = {"algoType": "CONDITIONAL", "symbol": "BTCUSDT", "side": "SELL", "type": kind, "quantity": "1", **more}
        engine.place_algo_order({**wire, "reduceOnly": "true"}, START_MS)
    held = timeit.timeit(lambda: engine.quote(quote), number=5_000) / 5_000
    with capsys.disabled():
        print(f"\nquote: idle {idle * 1e6:.2f} us, with a position and three conditional orders {held * 1e6:.1f} us")
