"""Conditional orders of time in force GTE_GTC live as long as the position they are tied to."""

from __future__ import annotations

from typing import Any

import pytest

from tests.exchange_desk import Desk, refused

TIED = {"timeInForce": "GTE_GTC", "quantity": "0.1"}
STOP, TARGET = {**TIED, "triggerPrice": "59000"}, {**TIED, "triggerPrice": "61000"}


def statuses(desk: Desk) -> dict[str, Any]:
    rows = desk.engine.all_algo_orders({"symbol": "BTCUSDT"}, desk.now_ms)
    return {row["clientAlgoId"]: row["algoStatus"] for row in rows}


def test_it_needs_a_position_that_it_would_reduce() -> None:
    desk = Desk()
    assert refused(lambda: desk.algo("SELL", "STOP_MARKET", **STOP)) == -4509
    desk.order("BUY", "0.1", "59500")
    assert refused(lambda: desk.algo("SELL", "STOP_MARKET", **STOP)) == -4509, "an open order is no position"
    desk.order("SELL", "0.1")
    assert refused(lambda: desk.algo("SELL", "STOP_MARKET", **STOP)) == -4509, "a short is not reduced by selling"
    assert desk.algo("BUY", "STOP_MARKET", **{**STOP, "triggerPrice": "61000"})["timeInForce"] == "GTE_GTC"


def test_stop_and_target_of_a_position_end_each_other_and_those_that_are_not_tied_stay() -> None:
    desk = Desk()
    desk.order("BUY", "0.1")
    for name, kind, wire in (("stop", "STOP_MARKET", STOP), ("target", "TAKE_PROFIT_MARKET", TARGET)):
        desk.algo("SELL", kind, **wire, clientAlgoId=name, reduceOnly="true")
    desk.algo("SELL", "STOP_MARKET", quantity="0.1", triggerPrice="58000", reduceOnly="true", clientAlgoId="free")
    desk.events.clear()
    desk.quote("61000")
    assert statuses(desk) == {"stop": "EXPIRED", "target": "FINISHED", "free": "NEW"}
    child = next(e["o"] for e in desk.events if e["e"] == "ORDER_TRADE_UPDATE")
    assert (child["c"], child["f"]) == ("target", "GTE_GTC")
    assert desk.kinds()[-1] == "ALGO_UPDATE EXPIRED"


def test_it_ends_when_the_position_turns_around_and_stays_when_it_shrinks() -> None:
    desk = Desk()
    desk.order("BUY", "0.2")
    desk.algo("SELL", "STOP_MARKET", **STOP, clientAlgoId="stop")
    desk.order("SELL", "0.1")
    assert statuses(desk) == {"stop": "NEW"}
    desk.order("SELL", "0.2")
    assert statuses(desk) == {"stop": "EXPIRED"}


@pytest.mark.parametrize(("reduce_only", "reason"), [("false", "6"), ("true", "4")])
def test_the_limit_order_that_it_became_ends_with_the_position(reduce_only: str, reason: str) -> None:
    desk = Desk()
    desk.order("BUY", "0.1")
    desk.algo("SELL", "STOP", **STOP, price="59100", clientAlgoId="stop", reduceOnly=reduce_only)
    desk.quote("59000")
    assert statuses(desk) == {"stop": "TRIGGERED"}
    desk.events.clear()
    desk.order("SELL", "0.1")
    (ended,) = [e["o"] for e in desk.events if e["e"] == "ORDER_TRADE_UPDATE" and e["o"]["c"] == "stop"]
    assert (ended["x"], ended["er"], ended["f"]) == ("EXPIRED", reason, "GTE_GTC")
    assert statuses(desk) == {"stop": "FINISHED"}
    assert desk.held() == 0


def test_the_order_endpoint_knows_no_such_time_in_force() -> None:
    desk = Desk()
    desk.order("BUY", "0.1")
    wire = {"symbol": "BTCUSDT", "side": "SELL", "type": "LIMIT", "quantity": "0.1", "price": "61000"}
    assert refused(lambda: desk.engine.place_order({**wire, "timeInForce": "GTE_GTC"}, desk.now_ms)) == -1115


def test_an_order_that_closes_the_position_may_say_so_itself() -> None:
    """Many clients send GTE_GTC beside closePosition, as the exchange's own page does."""
    desk = Desk()
    desk.order("BUY", "0.1")
    wire = {"closePosition": "true", "timeInForce": "GTE_GTC", "triggerPrice": "59000", "clientAlgoId": "stop"}
    assert desk.algo("SELL", "STOP_MARKET", **wire)["timeInForce"] == "GTE_GTC"
    desk.order("SELL", "0.1")
    assert statuses(desk) == {"stop": "EXPIRED"}
