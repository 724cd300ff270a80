"""Commands that the gateway never answers, because an incarnation of it died with them."""

from __future__ import annotations

import pytest

from qt_actors.messages import orders
from qt_actors.messages.policy import EntryAdmitted, ReservationReleased
from qt_actors.trading.dispatch import ANSWER_REAL_MS_MAX
from tests.builders import a_decision
from tests.executor_house import House


@pytest.fixture
def house():
    house = House()
    yield house
    house.runtime.stop()


def test_a_stop_that_is_never_answered_is_looked_up_and_its_trade_goes_on(house):
    house.tell(EntryAdmitted(decision=a_decision()), orders.LeverageSet(symbol="BTCUSDT", leverage=10))
    (stop,) = house.sent(orders.PlaceConditional)
    house.runtime.run_for(ANSWER_REAL_MS_MAX - 1)
    assert house.sent(orders.LookUpOrder) == []
    house.runtime.run_for(1_000)
    assert [(asked.client_id, asked.conditional) for asked in house.sent(orders.LookUpOrder)] == [
        (stop.client_id, True)
    ]


def test_a_stop_that_was_answered_is_not_looked_up(house):
    house.stand_stop()
    (entry,) = house.sent(orders.PlaceOrder)
    house.accept(entry, "FILLED", "0.010")
    house.runtime.run_for(ANSWER_REAL_MS_MAX + 1_000)
    (stop, *_) = house.sent(orders.PlaceConditional)
    assert stop.client_id not in {asked.client_id for asked in house.sent(orders.LookUpOrder)}


def test_a_leverage_that_is_never_answered_ends_the_entry_and_frees_what_was_reserved(house):
    house.tell(EntryAdmitted(decision=a_decision()))
    assert house.sent(orders.SetLeverage)
    house.runtime.run_for(ANSWER_REAL_MS_MAX + 1)
    assert "never answered" in house.governor.fish(ReservationReleased).outcome
    house.tell(orders.LeverageSet(symbol="BTCUSDT", leverage=10))
    assert house.sent(orders.PlaceConditional) == []


def test_a_leverage_that_was_answered_ends_nothing_later(house):
    house.tell(EntryAdmitted(decision=a_decision()), orders.LeverageSet(symbol="BTCUSDT", leverage=10))
    house.runtime.run_for(ANSWER_REAL_MS_MAX + 1)
    assert not [m for m in house.governor.heard if isinstance(m, ReservationReleased)]
