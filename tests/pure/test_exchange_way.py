"""Between two points of a candle the embedded exchange passes through every price."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qt_actors.exchange.engine import ExchangeRules, Quote
from qt_actors.exchange.way import Way
from tests.exchange_desk import Desk

RULES = ExchangeRules.default().symbols["BTCUSDT"]


def stop(desk: Desk, side: str, trigger: str, name: str, quantity: str = "0.1", **more: str) -> None:
    wire = {"quantity": quantity, "triggerPrice": trigger, "clientAlgoId": name, **more}
    desk.algo(side, more.get("type", "STOP_MARKET"), **{key: text for key, text in wire.items() if key != "type"})


@pytest.mark.parametrize("working", ["CONTRACT_PRICE", "MARK_PRICE"])
@pytest.mark.parametrize(
    ("side", "kind", "trigger", "to", "at"),
    [
        ("SELL", "STOP_MARKET", "59000", "58000", "58999.9"),
        ("BUY", "STOP_MARKET", "61000", "62000", "61000.1"),
        ("SELL", "TAKE_PROFIT_MARKET", "61000", "62000", "60999.9"),
        ("BUY", "TAKE_PROFIT_MARKET", "59000", "58000", "59000.1"),
        ("SELL", "STOP_MARKET", "59000.04", "58000", "58999.9"),
        ("BUY", "STOP_MARKET", "61000.04", "62000", "61000.2"),
    ],
)
def test_a_trigger_on_the_way_fills_at_its_own_price_give_or_take_the_spread(
    working: str, side: str, kind: str, trigger: str, to: str, at: str
) -> None:
    if working == "MARK_PRICE":
        trigger, at = trigger.replace(".04", ""), at.replace("1000.2", "1000.1")
    desk = Desk()
    desk.order("BUY" if side == "SELL" else "SELL", "0.1")
    stop(desk, side, trigger, "exit", type=kind, workingType=working, reduceOnly="true")
    desk.events.clear()
    desk.quote(to, walked=True)
    assert desk.fills() == [("exit", at)]
    assert desk.held() == 0


def test_a_jump_fills_where_it_lands() -> None:
    desk = Desk()
    desk.order("BUY", "0.1")
    stop(desk, "SELL", "59000", "exit", reduceOnly="true")
    desk.events.clear()
    desk.quote("58000")
    assert desk.fills() == [("exit", "57999.9")]


def test_mark_and_last_are_met_on_their_own_ways() -> None:
    """Half of the way of the mark is half of the last price's: the stop on the mark sells at 59,000 less half a spread.

    A mark that stands still is no way, whatever the last price does.
    """
    desk = Desk()
    desk.order("BUY", "0.1")
    stop(desk, "SELL", "59500", "marked", workingType="MARK_PRICE", reduceOnly="true")
    desk.events.clear()
    desk.quote("57000", mark="60000", walked=True)
    desk.quote("60000", walked=True)
    assert desk.fills() == []
    desk.quote("58000", mark="59000", walked=True)
    assert desk.fills() == [("marked", "58999.9")]


def test_what_lies_on_the_way_is_met_in_the_order_of_its_price() -> None:
    """A bid below the stops: they sell the position first, the bid buys anew when the book comes to it."""
    desk = Desk()
    desk.order("BUY", "0.2")
    stop(desk, "SELL", "58900", "lower", reduceOnly="true")
    stop(desk, "SELL", "59000", "upper", reduceOnly="true")
    desk.order("BUY", "0.3", "58500", newClientOrderId="bid")
    desk.order("BUY", "0.1", "59500", newClientOrderId="first")
    desk.events.clear()
    desk.quote("58000", walked=True)
    assert desk.fills() == [("first", "59500"), ("upper", "58999.9"), ("lower", "58899.9"), ("bid", "58500")]
    assert desk.held() == Decimal("0.4")


@pytest.mark.parametrize(
    ("side", "limit", "to", "at"), [("BUY", "59500", "50000", 56355), ("SELL", "60500", "70000", 63645)]
)
def test_what_a_fill_puts_in_the_way_is_met_too(side: str, limit: str, to: str, at: int) -> None:
    """The limit opens 1 BTC on 3,400: it is liquidated where that margin ends, long before the way does."""
    desk = Desk("3400")
    desk.order(side, "1", limit, newClientOrderId="opens")
    desk.events.clear()
    desk.quote(to, walked=True)
    (opens, price), (closing, closed_at) = desk.fills()
    assert (opens, price, closing[:9]) == ("opens", limit, "autoclose")
    assert abs(Decimal(closed_at) - at) < 50, "and not at the bankruptcy price, some 230 further on"
    assert desk.held() == 0


def test_a_stop_before_the_liquidation_price_saves_the_margin() -> None:
    desk = Desk("4000")
    desk.order("BUY", "1")
    stop(desk, "SELL", "58000", "exit", "1", reduceOnly="true", workingType="MARK_PRICE")
    desk.events.clear()
    desk.quote("50000", walked=True)
    assert desk.fills() == [("exit", "57999.9")]
    assert Decimal(1900) < desk.engine.wallet() < Decimal(2000)


@pytest.mark.parametrize("side", ["BUY", "SELL"])
def test_a_liquidation_happens_at_its_price_on_the_way(side: str) -> None:
    desk = Desk("4000")
    desk.order(side, "1")
    price = Decimal(desk.engine.position_risk_v3({"symbol": "BTCUSDT"}, desk.now_ms)[0]["liquidationPrice"])
    desk.events.clear()
    desk.quote("50000" if side == "BUY" else "70000", walked=True)
    assert abs(Decimal(desk.fills()[0][1]) - price) < 1
    assert desk.held() == 0


def test_a_trailing_stop_turns_at_its_callback_and_not_where_the_way_ends() -> None:
    desk = Desk()
    desk.order("BUY", "0.1")
    desk.algo(
        "SELL", "TRAILING_STOP_MARKET", quantity="0.1", callbackRate="1", activatePrice="60500", clientAlgoId="trail"
    )
    desk.events.clear()
    desk.quote("61000", walked=True)
    assert desk.kinds() == ["ALGO_UPDATE NEW"]
    desk.quote("58000", walked=True)
    assert desk.fills() == [("trail", "60389.9")]


def test_price_protection_holds_a_stop_back_on_the_way_while_mark_and_last_stand_apart() -> None:
    desk = Desk()
    desk.order("BUY", "0.1")
    stop(desk, "SELL", "55000", "exit", priceProtect="true", reduceOnly="true")
    desk.events.clear()
    desk.quote("53000", mark="60000", walked=True)
    assert desk.fills() == []
    desk.quote("53500", mark="53500", walked=True)
    assert [name for name, _ in desk.fills()] == ["exit"]


def test_depth_that_one_stop_took_is_gone_for_the_next_on_the_same_way() -> None:
    """2 BTC stand at the bid: the second stop, a tick below, finds the touch empty."""
    desk = Desk("1000000")
    desk.order("BUY", "3")
    desk.quote("60000")
    stop(desk, "SELL", "59000", "first", "2", reduceOnly="true")
    stop(desk, "SELL", "58999.9", "second", "1", reduceOnly="true")
    desk.events.clear()
    desk.quote("58000", walked=True)
    (_, at), (name, after) = desk.fills()
    assert (at, name) == ("58999.9", "second")
    assert Decimal(after) < Decimal("58999.8")


def test_the_volume_of_a_print_is_spread_along_its_way_and_none_of_it_is_lost() -> None:
    start = Quote("BTCUSDT", 0, *[Decimal(60000)] * 5, Decimal(1), Decimal(1))
    end = msgspec.structs.replace(
        start, last=Decimal(59000), bid=Decimal(59000), ask=Decimal(59001), volume=Decimal("9.001")
    )
    way = Way(start, end, RULES)
    found = []
    for price in ("59700", "59400"):
        place = way.stop(Decimal(price), on_mark=False)
        assert place is not None
        found.append(way.go(place).volume)
    assert way.stop(Decimal(59500), on_mark=False) is None, "that is behind"
    assert [*found, way.arrive().volume] == [Decimal("2.7"), Decimal("2.7"), Decimal("3.601")], "in whole steps"


def shape(*names: str) -> st.SearchStrategy[tuple[str, str, int]]:
    return st.tuples(st.sampled_from(names), st.sampled_from(["BUY", "SELL"]), st.integers(-40, 40).filter(bool))


def price(ticks: int) -> str:
    return str(Decimal(60000) + ticks * Decimal("0.1"))


def put(desk: Desk, number: int, kind: str, side: str, ticks: int) -> None:
    if kind == "LIMIT":
        if (ticks < -1) == (side == "BUY"):
            desk.order(side, "0.004", price(ticks), newClientOrderId=f"o{number}")
        return
    rises = (side == "BUY") == (kind == "STOP_MARKET")
    if rises == (ticks > 0):
        stop(desk, side, price(ticks), f"o{number}", "0.004", type=kind)


@given(
    st.lists(shape("LIMIT", "STOP_MARKET", "TAKE_PROFIT_MARKET"), min_size=1, max_size=6),
    st.lists(st.integers(-45, 45), min_size=1, max_size=4),
)
@settings(max_examples=60)
def test_a_way_in_one_step_does_what_it_does_tick_by_tick(orders: list[tuple[str, str, int]], turns: list[int]) -> None:
    """Every fill, at the same price, in the same order."""
    wholly, slowly = Desk(), Desk()
    for desk in (wholly, slowly):
        for number, (kind, side, ticks) in enumerate(orders):
            put(desk, number, kind, side, ticks)
        desk.events.clear()
    here = 0
    for turn in turns:
        wholly.quote(price(turn), walked=True)
        ahead = 1 if turn > here else -1
        for ticks in range(here + ahead, turn + ahead, ahead):
            slowly.quote(price(ticks))
        here = turn
    assert wholly.fills() == slowly.fills()
    assert wholly.engine.wallet() == slowly.engine.wallet()
