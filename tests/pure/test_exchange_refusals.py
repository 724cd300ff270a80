"""Refusals of the embedded exchange that no other test meets on its way: each by the request that earns it."""

from __future__ import annotations

from functools import partial

import pytest

from qt_actors.exchange.engine import Engine
from tests.exchange_desk import Desk, changed_rules, refused

BTC = {"symbol": "BTCUSDT"}


def change(desk: Desk, price: str) -> None:
    wire = {**BTC, "side": "BUY", "origClientOrderId": "a", "quantity": "0.1", "price": price}
    desk.engine.modify_order(wire, desk.now_ms)


@pytest.mark.parametrize(
    ("side", "wire", "code"),
    [
        ("SELL", {"type": "STOP_MARKET", "quantity": "0.1", "triggerPrice": "0"}, -4006),
        ("SELL", {"type": "STOP_MARKET", "quantity": "0.1", "triggerPrice": "-1"}, -4006),
        ("SELL", {"type": "STOP_MARKET", "quantity": "0.1", "triggerPrice": "59000", "newOrderRespType": "x"}, -1136),
        ("SELL", {"type": "STOP_MARKET", "quantity": "0.1", "triggerPrice": "99999999"}, -4007),
        ("SELL", {"type": "STOP_MARKET", "closePosition": "true", "triggerPrice": "1", "reduceOnly": "false"}, -4138),
        ("BUY", {"type": "STOP", "quantity": "0.1", "triggerPrice": "61000", "price": "70000"}, -4183),
        ("SELL", {"type": "STOP", "quantity": "0.1", "triggerPrice": "59000", "price": "50000"}, -4184),
        (
            "SELL",
            {"type": "TRAILING_STOP_MARKET", "quantity": "0.1", "callbackRate": "1", "activatePrice": "-1"},
            -4135,
        ),
        ("SELL", {"type": "TRAILING_STOP_MARKET", "quantity": "0.1", "callbackRate": "20.1"}, -2007),
        ("SELL", {"type": "STOP_MARKET", "quantity": "0.1", "triggerPrice": "59000", "priceMatch": "QUEUE"}, -5038),
        ("SELL", {"type": "STOP_MARKET", "quantity": "0.1", "triggerPrice": "59000", "workingType": "x"}, -4031),
        ("SELL", {"type": "STOP_MARKET", "quantity": "0.1", "triggerPrice": "59000", "reduceOnly": "maybe"}, -4062),
        ("SELL", {"type": "STOP_MARKET", "quantity": "0.1", "triggerPrice": "59000", "clientAlgoId": "x" * 37}, -4015),
    ],
)
def test_a_wrong_conditional_order_has_its_code(side: str, wire: dict[str, str], code: int) -> None:
    desk = Desk()
    kind = wire["type"]
    more = {name: text for name, text in wire.items() if name != "type"}
    assert refused(lambda: desk.algo(side, kind, **more)) == code


def test_a_symbol_under_control_on_one_side_takes_the_other() -> None:
    desk = Desk(rules=changed_rules(POSITION_RISK_CONTROL={"positionControlSide": "SELL"}))
    assert refused(lambda: desk.order("SELL", "0.1")) == -4107
    desk.order("BUY", "0.1")
    desk.order("SELL", "0.1", reduceOnly="true")


def test_an_order_is_changed_as_often_as_the_symbol_allows_and_only_while_it_trades() -> None:
    desk = Desk(rules=changed_rules(symbol={"maxMoveOrderLimit": "2"}))
    desk.order("BUY", "0.1", "59000", newClientOrderId="a")
    change(desk, "59001")
    change(desk, "59002")
    assert refused(partial(change, desk, "59003")) == -5026
    halted = Desk(rules=changed_rules())
    halted.order("BUY", "0.1", "59000", newClientOrderId="a")
    closing = changed_rules(symbol={"status": "PRE_SETTLE"})
    halted.engine = Engine.restore(halted.engine.save(), closing, halted.events.append)
    assert refused(partial(change, halted, "59001")) == -5024


def test_more_than_ten_cancels_at_once_are_refused_whole() -> None:
    desk = Desk()
    ids = [desk.order("BUY", "0.01", f"{58000 + number}")["orderId"] for number in range(11)]
    listed = {**BTC, "orderIdList": f"{ids}"}
    assert refused(lambda: desk.engine.cancel_batch_orders(listed, desk.now_ms)) == -4032
    assert len(desk.engine.open_orders(BTC, desk.now_ms)) == 11


def test_multi_assets_mode_wants_no_isolated_symbol_and_no_open_order() -> None:
    desk = Desk()
    on = {"multiAssetsMargin": "true"}
    desk.engine.set_margin_type({**BTC, "marginType": "ISOLATED"}, desk.now_ms)
    assert refused(lambda: desk.engine.set_multi_assets(on, desk.now_ms)) == -4167
    desk.engine.set_margin_type({**BTC, "marginType": "CROSSED"}, desk.now_ms)
    desk.order("BUY", "0.1", "59000")
    assert refused(lambda: desk.engine.set_multi_assets(on, desk.now_ms)) == -4170


def test_a_batch_takes_null_for_not_sent_and_booleans_as_json_writes_them() -> None:
    desk = Desk()
    order = (
        '[{"symbol":"BTCUSDT","side":"BUY","type":"LIMIT","timeInForce":"GTC","quantity":0.1,"price":59000,'
        '"reduceOnly":false,"newClientOrderId":null}]'
    )
    placed = desk.engine.batch_orders({"batchOrders": order}, desk.now_ms)[0]
    assert (placed["status"], placed["origQty"]) == ("NEW", "0.100")
    assert len(placed["clientOrderId"]) == 22
