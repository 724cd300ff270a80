"""Stopping in order: no entry begins any more, and the wish is answered when no order is under way."""

from __future__ import annotations

import pytest

from qt_actors.decisions import trade_life
from qt_actors.kernel import Probe
from qt_actors.messages import orders
from qt_actors.messages.policy import EntryAdmitted, ReservationReleased
from qt_actors.messages.positions import ClosePosition, PositionVanished
from qt_actors.messages.system import Drained, DrainRequested
from tests.builders import NOW, a_decision, a_plan, order_update
from tests.executor_house import PATH, House, word


@pytest.fixture
def house():
    house = House()
    yield house
    house.runtime.stop()


@pytest.fixture
def drainer(house):
    return Probe(house.runtime, "root/drainer")


def drain(house, drainer):
    drainer.tell(PATH, DrainRequested())
    house.runtime.run_for(0)


def test_with_nothing_under_way_it_is_answered_at_once(house, drainer):
    drain(house, drainer)
    assert drainer.expect(Drained).path == PATH


def test_an_open_position_is_nothing_under_way(house, drainer):
    house.open()
    for order in house.sent(orders.PlaceConditional)[1:]:
        house.accept(order)
    drain(house, drainer)
    drainer.expect(Drained)


def test_what_is_admitted_while_stopping_is_released_and_nothing_is_sent(house, drainer):
    drain(house, drainer)
    house.tell(word(allowed=True), EntryAdmitted(decision=a_decision()))
    assert house.governor.fish(ReservationReleased).outcome == "the trader is stopping"
    assert house.gateway.heard == ()


def test_a_stop_under_way_is_taken_back_instead_of_being_followed_by_an_entry(house, drainer):
    house.tell(EntryAdmitted(decision=a_decision()), orders.LeverageSet(symbol="BTCUSDT", leverage=10))
    drain(house, drainer)
    drainer.expect_none()
    (stop,) = house.sent(orders.PlaceConditional)
    house.accept(stop)
    assert [c.client_id for c in house.sent(orders.CancelOrder)] == [stop.client_id]
    assert house.sent(orders.PlaceOrder) == []
    drainer.expect_none()
    house.tell(orders.OrderCancelled(client_id=stop.client_id, symbol="BTCUSDT", conditional=True))
    drainer.expect(Drained)


def test_an_entry_on_its_way_is_waited_for_and_armed(house, drainer):
    house.stand_stop()
    drain(house, drainer)
    drainer.expect_none()
    (entry,) = house.sent(orders.PlaceOrder)
    trade = trade_life.begin(a_plan(), NOW).trade
    house.tell(order_update(trade, entry.client_id, "FILLED", executed="0.010", trade_id=1, last="0.010"))
    for order in house.sent(orders.PlaceConditional)[1:]:
        drainer.expect_none()
        house.accept(order)
    drainer.expect(Drained)


def test_a_close_that_ends_while_stopping_is_not_waited_for_longer_but_the_cancel_of_its_stop_is(house, drainer):
    trade = house.open()
    house.tell(ClosePosition(symbol="BTCUSDT", reason="enough", exit_reason="manual"))
    drain(house, drainer)
    drainer.expect_none()
    close, stop = house.sent(orders.PlaceOrder)[-1], house.sent(orders.PlaceConditional)[0]
    house.tell(order_update(trade, close.client_id, "FILLED", executed="0.010", trade_id=9, side="SELL", last="0.010"))
    drainer.expect(Drained)
    house.tell(PositionVanished(symbol="BTCUSDT"))
    drain(house, drainer)
    drainer.expect_none()
    assert house.sent(orders.CancelOrder)[-1].client_id == stop.client_id
    house.tell(orders.OrderMissing(client_id=stop.client_id, symbol="BTCUSDT", conditional=True))
    drainer.expect(Drained)


def test_a_close_asked_for_while_stopping_is_sent_all_the_same(house, drainer):
    house.open()
    for order in house.sent(orders.PlaceConditional)[1:]:
        house.accept(order)
    drain(house, drainer)
    drainer.expect(Drained)
    house.tell(ClosePosition(symbol="BTCUSDT", reason="enough", exit_reason="manual"))
    assert [order.reduce_only for order in house.sent(orders.PlaceOrder)][1:] == [True]
