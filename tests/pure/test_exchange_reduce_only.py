"""A resting reduce-only order never holds more than the position that is left, whatever made that smaller."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.exchange_desk import Desk


def named(desk: Desk, name: str) -> dict[str, Any]:
    return desk.engine.query_order({"symbol": "BTCUSDT", "origClientOrderId": name}, desk.now_ms)


def amended(desk: Desk, name: str, quantity: str, price: str, side: str = "SELL") -> dict[str, Any]:
    wire = {"symbol": "BTCUSDT", "origClientOrderId": name, "side": side, "quantity": quantity, "price": price}
    return desk.engine.modify_order(wire, desk.now_ms)


def filled_as_maker(desk: Desk) -> None:
    desk.quote("60600")


def amended_into_the_book(desk: Desk) -> None:
    amended(desk, "plain", "0.2", "59900")


@pytest.mark.parametrize("act", [filled_as_maker, amended_into_the_book])
def test_it_shrinks_when_a_plain_order_takes_part_of_the_position(act: Any) -> None:
    desk = Desk()
    desk.order("BUY", "0.3")
    desk.order("SELL", "0.2", "60500", newClientOrderId="plain")
    desk.order("SELL", "0.3", "61000", reduceOnly="true", newClientOrderId="rests")
    desk.events.clear()
    act(desk)
    assert named(desk, "plain")["status"] == "FILLED"
    assert named(desk, "rests")["origQty"] == "0.100"
    told = [e["o"] for e in desk.events if e["e"] == "ORDER_TRADE_UPDATE" and e["o"]["c"] == "rests"]
    assert [(order["x"], order["q"], order["er"]) for order in told] == [("AMENDMENT", "0.1", "4")]
    desk.quote("62000")
    assert desk.held() == 0


def test_it_may_be_moved_whole_though_it_holds_the_whole_position_itself() -> None:
    desk = Desk()
    desk.order("BUY", "0.3")
    desk.order("SELL", "0.3", "61000", reduceOnly="true", newClientOrderId="rests")
    assert amended(desk, "rests", "0.3", "60800")["origQty"] == "0.300"
    desk.quote("60900")
    assert desk.held() == 0


def test_moved_after_a_partial_fill_it_keeps_what_is_left_of_the_position() -> None:
    """2 of 3 BTC find a bid at 61,000; the order of 3 goes on for the third."""
    desk = Desk("100000")
    desk.order("BUY", "3")
    desk.order("SELL", "3", "61000", reduceOnly="true", newClientOrderId="rests")
    desk.touch("61000", "61000", "61000.2")
    assert named(desk, "rests")["executedQty"] == "2.000"
    amended(desk, "rests", "3", "61500")
    assert (named(desk, "rests")["origQty"], desk.held()) == ("3.000", Decimal(1))
    desk.quote("61600")
    assert (named(desk, "rests")["status"], desk.held()) == ("FILLED", Decimal(0))
