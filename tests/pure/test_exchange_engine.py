"""The embedded exchange as a whole: properties under random operations, save and restore, determinism, its rules."""

from __future__ import annotations

import gzip
import json
import os
import timeit
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qt_actors.exchange.engine import Engine, ExchangeRules, Quote
from qt_actors.exchange.rules import RulesError
from qt_actors.exchange.state import StateError, decode
from tests.exchange_audit import Audit
from tests.exchange_desk import Desk
from tests.exchange_walk import RULES, START_MS, SYMBOLS, WEIGHTS, Walk

OPERATIONS = int(os.environ.get("QT_TEST_EXCHANGE_OPERATIONS", "6000"))
"""Steps of the long lives; 100,000 take about two minutes."""
STEPS = st.lists(
    st.tuples(st.sampled_from(sorted(WEIGHTS)), st.sampled_from(SYMBOLS), st.integers(0, 2**32)),
    min_size=20,
    max_size=80,
)


@given(steps=STEPS, hedge=st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_books_balance_after_every_one_of_any_operations(steps: list[tuple[str, str, int]], *, hedge: bool) -> None:
    walk = Walk(0, hedge=hedge)
    audit = Audit(walk)
    for name, symbol, seed in steps:
        walk.act(name, symbol, seed)
        audit.check()
        if name in {"drift", "jump"}:
            audit.check_margin(symbol)


@pytest.mark.parametrize("hedge", [False, True])
def test_the_books_balance_over_a_long_life_in_which_everything_happens(*, hedge: bool) -> None:
    walk = Walk(7, hedge=hedge)
    audit = Audit(walk)
    for _ in range(OPERATIONS // 2):
        name, symbol = walk.wander()
        audit.check()
        if name in {"drift", "jump"}:
            audit.check_margin(symbol)
    assert set(audit.booked) == {"TRANSFER", "REALIZED_PNL", "COMMISSION", "FUNDING_FEE", "INSURANCE_CLEAR"}
    assert audit.outcomes >= {
        "NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "EXPIRED", "EXPIRED_IN_MATCH", "TRIGGERED", "FINISHED",
        "REJECTED",
    }  # fmt: skip
    assert walk.refusals >= {-2019, -2022, -2021, -5021, -5022, -4164}


@given(steps=STEPS, cut=st.integers(0, 80))
@settings(max_examples=25, deadline=None)
def test_a_restart_between_any_two_operations_changes_nothing(steps: list[tuple[str, str, int]], cut: int) -> None:
    straight, restarted = Walk(0), Walk(0)
    for number, (name, symbol, seed) in enumerate(steps):
        if number == cut:
            before = restarted.engine.save()
            restarted.restart()
            assert restarted.engine.save() == before
            assert decode(before) == restarted.engine._core.state
        straight.act(name, symbol, seed)
        restarted.act(name, symbol, seed)
    assert straight.events == restarted.events
    assert straight.engine.save() == restarted.engine.save()


def desk_with_a_second_symbol() -> Desk:
    """BTCUSDT was first filed, then emptied again; SOLUSDT has an order, then BTCUSDT again."""
    desk = Desk("4000")
    desk.quote("150", symbol="SOLUSDT")
    for symbol, price in (("BTCUSDT", "57100"), ("SOLUSDT", "149"), ("BTCUSDT", "57200")):
        desk.engine.cancel_all_orders({"symbol": "BTCUSDT"}, desk.now_ms)
        wire = {"symbol": symbol, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1"}
        desk.engine.place_order(
            {**wire, "price": price, "quantity": "0.01" if symbol == "BTCUSDT" else "1"}, desk.now_ms
        )
    return desk


def test_a_liquidation_tells_the_same_in_the_same_order_after_a_restart() -> None:
    told = []
    for restarted in (False, True):
        desk = desk_with_a_second_symbol()
        desk.order("BUY", "1")
        if restarted:
            desk.engine = Engine.restore(desk.engine.save(), RULES, desk.events.append)
        desk.quote("57300", mark="56000")
        told.append(desk.events)
    assert [e["o"]["s"] for e in told[0] if e.get("o", {}).get("er") == "5"] == ["BTCUSDT", "SOLUSDT"]
    assert told[0] == told[1]


def test_children_of_conditional_orders_finish_in_the_same_order_after_a_restart() -> None:
    """The later of two stop-limits fires first; both children rest, and one cancel ends them."""
    told = []
    for restarted in (False, True):
        desk = Desk()
        for name, trigger in (("low", "59000"), ("high", "59500")):
            desk.algo("SELL", "STOP", quantity="0.1", triggerPrice=trigger, price="60500", clientAlgoId=name)
        desk.quote("59500")
        desk.quote("59000")
        if restarted:
            desk.engine = Engine.restore(desk.engine.save(), RULES, desk.events.append)
        desk.engine.cancel_all_orders({"symbol": "BTCUSDT"}, desk.now_ms)
        told.append([e["o"]["caid"] for e in desk.events if e["e"] == "ALGO_UPDATE" and e["o"]["X"] == "FINISHED"])
    assert told == [["high", "low"]] * 2


def test_a_client_id_names_the_latest_order_that_retention_has_left() -> None:
    """A filled order is kept 90 days, a later unfilled one of the same id three."""
    desk = Desk()
    desk.order("BUY", "0.1", newClientOrderId="one")
    desk.order("BUY", "0.1", "59000", newClientOrderId="one")
    desk.engine.cancel_all_orders({"symbol": "BTCUSDT"}, desk.now_ms)
    later = desk.now_ms + 4 * 86_400_000
    desk.engine.advance(later)
    restored = Engine.restore(desk.engine.save(), RULES, desk.events.append)
    name = {"symbol": "BTCUSDT", "origClientOrderId": "one"}
    assert desk.engine.query_order(name, later)["status"] == restored.query_order(name, later)["status"] == "FILLED"


def test_the_same_inputs_give_the_same_events_to_the_last_byte() -> None:
    first, second = (Walk(11) for _ in range(2))
    for _ in range(500):
        first.wander()
        second.wander()
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
        walk.wander()
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
