"""Amendment, self-trade prevention, price match, batches and ends by time of the embedded exchange."""

from __future__ import annotations

from decimal import Decimal
from functools import partial

import pytest

from qt_actors.exchange.engine import Engine, ExchangeRules
from tests.exchange_desk import Desk, refused


def test_an_amendment_moves_the_order_to_the_end_of_the_queue() -> None:
    desk = Desk("1000000")
    desk.order("BUY", "2", "59900", newClientOrderId="first")
    desk.order("BUY", "2", "59900", newClientOrderId="second")
    change = {"symbol": "BTCUSDT", "side": "BUY", "origClientOrderId": "first", "quantity": "2.5", "price": "59900"}
    assert desk.engine.modify_order({**change, "modifyId": "7"}, desk.now_ms)["origQty"] == "2.500"
    assert (desk.events[-1]["o"]["x"], desk.events[-1]["o"]["M"]) == ("AMENDMENT", 7)
    assert refused(lambda: desk.engine.modify_order(change, desk.now_ms)) == -5027
    desk.events.clear()
    desk.quote("59899", spread="10")
    assert [e["c"] for e in desk.events if e["e"] == "TRADE_LITE"] == ["second", "first"]
    desk.engine.modify_order({**change, "quantity": "1"}, desk.now_ms)
    assert desk.events[-1]["o"]["X"] == "CANCELED"


def test_an_amended_price_that_crosses_takes_at_once_and_a_post_only_one_is_cancelled() -> None:
    desk = Desk()
    for name, tif in (("plain", "GTC"), ("maker", "GTX")):
        desk.order("BUY", "0.1", "59900", newClientOrderId=name, timeInForce=tif)
        wire = {"symbol": "BTCUSDT", "side": "BUY", "origClientOrderId": name, "quantity": "0.1", "price": "60001"}
        desk.engine.modify_order(wire, desk.now_ms)
    assert desk.held() == Decimal("0.1")
    row = desk.engine.query_order({"symbol": "BTCUSDT", "origClientOrderId": "maker"}, desk.now_ms)
    assert row["status"] == "CANCELED"


def test_an_amendment_that_a_filter_refuses_leaves_the_order_as_it_was() -> None:
    desk = Desk()
    desk.order("BUY", "0.1", "59900", newClientOrderId="a")
    before = desk.engine.save()
    wire = {"symbol": "BTCUSDT", "side": "BUY", "origClientOrderId": "a", "quantity": "0.1"}
    for code, price in ((-4014, "59900.05"), (-4016, "70000"), (-1102, "")):
        assert refused(partial(desk.engine.modify_order, {**wire, "price": price}, desk.now_ms)) == code
    assert refused(lambda: desk.engine.modify_order({**wire, "price": "59900", "quantity": "50"}, desk.now_ms)) == -2019
    assert desk.engine.save() == before


@pytest.mark.parametrize(
    ("mode", "resting", "status", "executed"),
    [("EXPIRE_MAKER", "EXPIRED_IN_MATCH", "FILLED", "0.500"), ("EXPIRE_TAKER", "NEW", "EXPIRED", "0.000"),
     ("EXPIRE_BOTH", "EXPIRED_IN_MATCH", "EXPIRED", "0.000")],
)  # fmt: skip
def test_self_trade_prevention_expires_whom_it_was_told_to(mode: str, resting: str, status: str, executed: str) -> None:
    desk = Desk("100000")
    desk.quote("60000", spread="20")
    desk.order("BUY", "0.3", "59995", newClientOrderId="mine")
    reply = desk.order("SELL", "0.5", selfTradePreventionMode=mode, newOrderRespType="RESULT")
    row = desk.engine.query_order({"symbol": "BTCUSDT", "origClientOrderId": "mine"}, desk.now_ms)
    assert (row["status"], reply["status"], reply["executedQty"]) == (resting, status, executed)


def test_price_match_takes_its_price_from_the_depth() -> None:
    desk = Desk()
    prices = {}
    for match in ("QUEUE", "QUEUE_5"):
        wire = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}
        prices[match] = desk.engine.place_order({**wire, "priceMatch": match}, desk.now_ms)["price"]
    assert prices == {"QUEUE": "59999.90", "QUEUE_5": "59975.90"}


def test_a_batch_answers_element_by_element() -> None:
    desk = Desk()
    good = '{"symbol":"BTCUSDT","side":"BUY","type":"LIMIT","timeInForce":"GTC","quantity":"0.01","price":"59000"}'
    stop = '{"symbol":"BTCUSDT","side":"SELL","type":"STOP_MARKET","quantity":"0.01","stopPrice":"59000"}'
    first, second = desk.engine.batch_orders({"batchOrders": f"[{good},{stop}]"}, desk.now_ms)
    assert (first["status"], second["code"]) == ("NEW", -4120)
    ends = desk.engine.cancel_batch_orders({"symbol": "BTCUSDT", "orderidlist": f"[{first['orderId']},1]"}, desk.now_ms)
    assert (ends[0]["status"], ends[1]["code"]) == ("CANCELED", -2011)
    six = ",".join([good] * 6)
    assert refused(lambda: desk.engine.batch_orders({"batchOrders": f"[{six}]"}, desk.now_ms)) == -4082
    assert refused(lambda: desk.engine.batch_orders({"batchOrders": "nonsense"}, desk.now_ms)) == -1102


def test_a_test_order_is_judged_but_not_placed() -> None:
    desk = Desk()
    wire = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
    before = desk.engine.save()
    assert desk.engine.test_order(wire, desk.now_ms)["orderId"] == 0
    assert refused(lambda: desk.engine.test_order({**wire, "quantity": "0"}, desk.now_ms)) == -4003
    assert desk.engine.save() == before


def test_a_dead_mans_switch_cancels_unless_it_is_rearmed() -> None:
    desk = Desk()
    desk.order("BUY", "0.1", "59900")
    wire = {"symbol": "BTCUSDT", "countdownTime": "5000"}
    assert desk.engine.countdown_cancel_all(wire, desk.now_ms) == wire
    desk.engine.advance(desk.now_ms + 4000)
    desk.engine.countdown_cancel_all(wire, desk.now_ms + 4000)
    desk.engine.advance(desk.now_ms + 6000)
    assert len(desk.engine.open_orders({}, desk.now_ms)) == 1
    desk.engine.advance(desk.now_ms + 9000)
    assert desk.engine.open_orders({}, desk.now_ms) == []


def test_an_order_good_till_cancelled_lives_a_year() -> None:
    desk = Desk()
    desk.order("BUY", "0.1", "59900")
    year = 365 * 86_400_000
    desk.engine.advance(desk.now_ms + year - 1)
    assert len(desk.engine.open_orders({}, desk.now_ms)) == 1
    desk.engine = Engine.restore(desk.engine.save(), ExchangeRules.default(), desk.events.append)
    desk.engine.advance(desk.now_ms + year)
    assert desk.engine.open_orders({}, desk.now_ms) == []
    assert desk.events[-1]["o"]["X"] == "EXPIRED"
