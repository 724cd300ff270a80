"""Conditional orders of the embedded exchange: acceptance, triggers, the child order, and the order of events."""

from __future__ import annotations

from decimal import Decimal

import pytest

from qt_actors.exchange.engine import Engine, ExchangeRules
from tests.exchange_desk import Desk, refused

STOP = {"quantity": "0.1", "triggerPrice": "59000", "reduceOnly": "true"}


@pytest.mark.parametrize(
    ("code", "side", "kind", "wire"),
    [
        (-1130, "SELL", "STOP_MARKET", {**STOP, "algoType": "VP"}),
        (-1116, "SELL", "LIMIT", STOP),
        (-1117, "HOLD", "STOP_MARKET", STOP),
        (-1102, "SELL", "STOP_MARKET", {**STOP, "triggerPrice": ""}),
        (-1102, "SELL", "STOP_MARKET", {**STOP, "quantity": ""}),
        (-1102, "SELL", "STOP", STOP),
        (-1102, "SELL", "TRAILING_STOP_MARKET", {"quantity": "0.1"}),
        (-2007, "SELL", "TRAILING_STOP_MARKET", {"quantity": "0.1", "callbackRate": "20.1"}),
        (-2007, "SELL", "TRAILING_STOP_MARKET", {"quantity": "0.1", "callbackRate": "0.05"}),
        (-2021, "SELL", "TRAILING_STOP_MARKET", {"quantity": "0.1", "callbackRate": "1", "activatePrice": "59999"}),
        (-2021, "BUY", "TRAILING_STOP_MARKET", {"quantity": "0.1", "callbackRate": "1", "activatePrice": "60001"}),
        (-2021, "SELL", "STOP_MARKET", {**STOP, "triggerPrice": "60000"}),
        (-2021, "BUY", "STOP_MARKET", {**STOP, "triggerPrice": "59000"}),
        (-2021, "SELL", "TAKE_PROFIT_MARKET", {**STOP, "triggerPrice": "59000"}),
        (-1111, "SELL", "STOP_MARKET", {**STOP, "triggerPrice": "59000.001"}),
        (-4006, "SELL", "STOP_MARKET", {**STOP, "triggerPrice": "0"}),
        (-4007, "SELL", "TAKE_PROFIT_MARKET", {**STOP, "triggerPrice": "9000000"}),
        (-4005, "SELL", "STOP_MARKET", {**STOP, "quantity": "120.001"}),
        (-4164, "SELL", "STOP_MARKET", {"quantity": "0.001", "triggerPrice": "59000"}),
        (-4184, "SELL", "STOP", {**STOP, "price": "50000"}),
        (-4031, "SELL", "STOP_MARKET", {**STOP, "workingType": "INDEX"}),
        (-4015, "SELL", "STOP_MARKET", {**STOP, "clientAlgoId": "x" * 37}),
        (-4509, "SELL", "STOP_MARKET", {"closePosition": "true", "triggerPrice": "59000"}),
        (-4137, "SELL", "STOP_MARKET", {"closePosition": "true", "triggerPrice": "59000", "quantity": "1"}),
        (-4136, "SELL", "TRAILING_STOP_MARKET", {"closePosition": "true", "callbackRate": "1"}),
        (-1106, "SELL", "STOP_MARKET", {"closePosition": "true", "triggerPrice": "59000", "reduceOnly": "true"}),
    ],
)
def test_a_bad_conditional_order_is_refused_with_its_own_code(
    code: int, side: str, kind: str, wire: dict[str, str]
) -> None:
    desk = Desk()
    assert refused(lambda: desk.algo(side, kind, **wire)) == code
    assert not desk.events
    assert desk.engine.open_algo_orders({}, desk.now_ms) == []


def test_a_reduce_only_stop_is_accepted_before_there_is_a_position() -> None:
    desk = Desk()
    reply = desk.algo("SELL", "STOP_MARKET", **STOP, clientAlgoId="sl-1", workingType="MARK_PRICE")
    assert (reply["algoStatus"], reply["clientAlgoId"], reply["orderType"]) == ("NEW", "sl-1", "STOP_MARKET")
    assert desk.kinds() == ["ALGO_UPDATE NEW"]
    assert desk.events[0]["o"]["ia"] is False


def test_a_triggered_stop_fills_before_its_algo_update_says_so() -> None:
    desk = Desk()
    desk.algo("SELL", "STOP_MARKET", **STOP, clientAlgoId="sl-1", workingType="MARK_PRICE")
    desk.order("BUY", "0.1")
    desk.events.clear()
    desk.quote("58000", mark="59000.1")
    assert desk.events == []
    desk.quote("58990", mark="59000")
    assert desk.kinds() == [
        "ALGO_UPDATE TRIGGERING",
        "TRADE_LITE",
        "ORDER_TRADE_UPDATE NEW",
        "ACCOUNT_UPDATE",
        "ORDER_TRADE_UPDATE TRADE",
        "ALGO_UPDATE TRIGGERED",
        "ALGO_UPDATE FINISHED",
    ]
    child, finished = desk.events[4]["o"], desk.events[6]["o"]
    assert (child["c"], child["ot"], child["o"], child["sp"]) == ("sl-1", "STOP_MARKET", "MARKET", "59000")
    assert (finished["ai"], finished["ap"], finished["aq"]) == (str(child["i"]), "58989.9", "0.1")
    row = desk.engine.query_algo_order({"clientAlgoId": "sl-1"}, desk.now_ms)
    assert (row["algoStatus"], row["actualQty"], row["actualPrice"]) == ("FINISHED", "0.100", "58989.90000")
    order = desk.engine.query_order({"symbol": "BTCUSDT", "origClientOrderId": "sl-1"}, desk.now_ms)
    assert (order["status"], order["origType"], str(order["orderId"])) == (
        "FILLED",
        "STOP_MARKET",
        row["actualOrderId"],
    )


@pytest.mark.parametrize(
    ("side", "kind", "trigger", "before", "at"),
    [
        ("SELL", "STOP_MARKET", "59000", "59000.1", "59000"),
        ("BUY", "STOP_MARKET", "61000", "60999.9", "61000"),
        ("SELL", "TAKE_PROFIT_MARKET", "61000", "60999.9", "61000"),
        ("BUY", "TAKE_PROFIT_MARKET", "59000", "59000.1", "59000"),
    ],
)
def test_stops_and_take_profits_fire_at_their_price_and_not_before(
    side: str, kind: str, trigger: str, before: str, at: str
) -> None:
    desk = Desk()
    desk.order("BUY" if side == "SELL" else "SELL", "0.1")
    desk.algo(side, kind, quantity="0.1", triggerPrice=trigger, reduceOnly="true")
    desk.quote(before)
    assert abs(desk.held()) == Decimal("0.1")
    desk.quote(at)
    assert desk.held() == 0


def test_a_trailing_stop_follows_the_high_from_its_activation_on() -> None:
    desk = Desk()
    desk.order("BUY", "0.1")
    desk.algo(
        "SELL", "TRAILING_STOP_MARKET", quantity="0.1", callbackRate="1", activatePrice="61000", reduceOnly="true"
    )
    desk.events.clear()
    for price in ("60900", "60000", "60999.9"):
        desk.quote(price)
    assert desk.kinds() == []
    desk.quote("61000")
    assert [(e["o"]["X"], e["o"]["ia"]) for e in desk.events] == [("NEW", True)]
    for price in ("62000", "61390"):
        desk.quote(price)
    restored = Engine.restore(desk.engine.save(), ExchangeRules.default(), desk.events.append)
    desk.engine = restored
    desk.quote("61380.1")
    assert desk.held() == Decimal("0.1")
    desk.quote("61380")
    assert desk.held() == 0


def test_a_trailing_stop_without_activation_price_is_active_at_once() -> None:
    desk = Desk()
    desk.order("SELL", "0.1")
    desk.events.clear()
    reply = desk.algo("BUY", "TRAILING_STOP_MARKET", quantity="0.1", callbackRate="0.5", reduceOnly="true")
    assert [event["o"]["ia"] for event in desk.events] == [False, True]
    assert (reply["callbackRate"], reply["activatePrice"]) == ("0.5", "")
    desk.quote("59000")
    desk.quote("59294.9")
    assert desk.held() == Decimal("-0.1")
    desk.quote("59295")
    assert desk.held() == 0


def test_price_protection_holds_a_stop_back_while_mark_and_last_are_far_apart() -> None:
    desk = Desk()
    desk.order("BUY", "0.1")
    desk.algo("SELL", "STOP_MARKET", **STOP, priceProtect="true")
    desk.quote("56900", mark="60000")
    assert desk.held() == Decimal("0.1")
    desk.quote("58900", mark="60000")
    assert desk.held() == 0


def test_close_position_closes_all_of_it_and_is_expired_when_the_position_goes_otherwise() -> None:
    desk = Desk()
    desk.order("BUY", "0.1")
    reply = desk.algo("SELL", "STOP_MARKET", closePosition="true", triggerPrice="59000")
    assert (reply["timeInForce"], reply["quantity"], reply["closePosition"]) == ("GTE_GTC", "0.000", True)
    assert refused(lambda: desk.algo("SELL", "STOP_MARKET", closePosition="true", triggerPrice="58000")) == -4130
    desk.algo("SELL", "TAKE_PROFIT_MARKET", closePosition="true", triggerPrice="61000", clientAlgoId="tp")
    desk.order("BUY", "0.2")
    desk.events.clear()
    desk.quote("59000")
    assert desk.held() == 0
    assert desk.kinds()[-1] == "ALGO_UPDATE EXPIRED"
    assert desk.events[-1]["o"]["caid"] == "tp"
    assert desk.engine.open_algo_orders({}, desk.now_ms) == []


def test_a_reduce_only_stop_without_a_position_is_rejected_when_it_triggers() -> None:
    desk = Desk()
    desk.algo("SELL", "STOP_MARKET", **STOP)
    desk.events.clear()
    desk.quote("58000")
    assert desk.kinds() == ["ALGO_UPDATE TRIGGERING", "ALGO_UPDATE REJECTED"]
    assert desk.events[-1]["o"]["rm"] == "ReduceOnly Order is rejected."
    assert desk.engine.all_orders({"symbol": "BTCUSDT"}, desk.now_ms) == []


def test_margin_is_judged_at_the_trigger_and_not_at_placement() -> None:
    desk = Desk("100")
    desk.algo("BUY", "STOP_MARKET", quantity="10", triggerPrice="61000")
    desk.quote("61000")
    assert desk.events[-1]["o"]["X"] == "REJECTED"
    assert desk.events[-1]["o"]["rm"] == "Margin is insufficient."


def test_a_stop_limit_rests_as_a_child_and_finishes_with_it() -> None:
    desk = Desk()
    desk.order("BUY", "0.1")
    desk.algo("SELL", "STOP", **STOP, price="59100", clientAlgoId="sl")
    desk.quote("59000")
    name = {"symbol": "BTCUSDT", "origClientOrderId": "sl"}
    assert desk.engine.open_order(name, desk.now_ms)["type"] == "LIMIT"
    assert desk.engine.query_algo_order({"clientAlgoId": "sl"}, desk.now_ms)["algoStatus"] == "TRIGGERED"
    assert refused(lambda: desk.engine.cancel_algo_order({"clientAlgoId": "sl"}, desk.now_ms)) == -2011
    desk.engine = Engine.restore(desk.engine.save(), ExchangeRules.default(), desk.events.append)
    desk.engine.cancel_order(name, desk.now_ms)
    assert (desk.events[-1]["o"]["X"], desk.events[-1]["o"]["aq"]) == ("FINISHED", "0")


def test_conditional_and_regular_endpoints_do_not_see_each_other() -> None:
    desk = Desk()
    algo = desk.algo("SELL", "STOP_MARKET", **STOP, clientAlgoId="sl")
    assert desk.engine.open_orders({}, desk.now_ms) == []
    name = {"symbol": "BTCUSDT", "origClientOrderId": "sl"}
    assert refused(lambda: desk.engine.query_order(name, desk.now_ms)) == -2013
    assert refused(lambda: desk.engine.cancel_order(name, desk.now_ms)) == -2011
    desk.engine.cancel_all_orders({"symbol": "BTCUSDT"}, desk.now_ms)
    assert [row["algoId"] for row in desk.engine.open_algo_orders({}, desk.now_ms)] == [algo["algoId"]]


def test_cancelling_answers_with_the_code_as_text_and_the_event_has_fewer_keys() -> None:
    desk = Desk()
    algo = desk.algo("SELL", "STOP_MARKET", **STOP, clientAlgoId="sl")
    wire = {"algoId": str(algo["algoId"])}
    reply = desk.engine.cancel_algo_order(wire, desk.now_ms)
    assert reply == {"algoId": algo["algoId"], "clientAlgoId": "sl", "code": "200", "msg": "success"}
    assert "wt" not in desk.events[-1]["o"]
    assert refused(lambda: desk.engine.cancel_algo_order(wire, desk.now_ms)) == -2011
    assert refused(lambda: desk.engine.query_algo_order({"algoId": "1"}, desk.now_ms)) == -2013
    assert refused(lambda: desk.engine.query_algo_order({}, desk.now_ms)) == -1102


def test_several_reduce_only_stops_may_stand_side_by_side_up_to_two_hundred_in_all() -> None:
    desk = Desk()
    for _ in range(200):
        desk.algo("SELL", "STOP_MARKET", **STOP)
    assert refused(lambda: desk.algo("SELL", "STOP_MARKET", **STOP)) == -4045
    reply = desk.engine.cancel_all_algo_orders({"symbol": "BTCUSDT"}, desk.now_ms)
    assert reply["code"] == 200
    assert desk.engine.open_algo_orders({}, desk.now_ms) == []
    assert len(desk.engine.all_algo_orders({"symbol": "BTCUSDT"}, desk.now_ms)) == 200


def test_a_client_algo_id_is_unique_among_waiting_orders_only() -> None:
    desk = Desk()
    desk.algo("SELL", "STOP_MARKET", **STOP, clientAlgoId="sl")
    assert refused(lambda: desk.algo("SELL", "STOP_MARKET", **STOP, clientAlgoId="sl")) == -4116
    desk.engine.cancel_algo_order({"clientAlgoId": "sl"}, desk.now_ms)
    assert desk.algo("SELL", "STOP_MARKET", **STOP, clientAlgoId="sl")["algoStatus"] == "NEW"


def test_the_two_halves_of_an_exit_never_sell_more_than_is_held() -> None:
    desk = Desk()
    desk.order("BUY", "0.1")
    desk.algo("SELL", "STOP_MARKET", **STOP)
    desk.algo("SELL", "TAKE_PROFIT_MARKET", quantity="0.05", triggerPrice="61000", reduceOnly="true")
    desk.quote("61000")
    assert desk.held() == Decimal("0.05")
    desk.quote("59000")
    assert desk.held() == 0
    sold = [Decimal(e["l"]) for e in desk.events if e["e"] == "TRADE_LITE" and e["S"] == "SELL"]
    assert sold == [Decimal("0.05"), Decimal("0.05")]
