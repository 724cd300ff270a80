"""Closes that meet an entry, a stranger's position, a failure; the governor's word between admission and entry."""

from __future__ import annotations

from decimal import Decimal as D

import msgspec
import pytest

from qt_actors.decisions import trade_life
from qt_actors.messages import orders
from qt_actors.messages.policy import EntryAdmitted, ReservationReleased
from qt_actors.messages.positions import (
    ClosePosition,
    PositionResized,
    PositionVanished,
    ProtectPosition,
    SnapshotRequested,
    TradeChanged,
    TradeOpened,
    TradesRecovered,
)
from qt_actors.messages.system import HealthReported, IncidentSeen
from qt_actors.trading.dispatch import LOOK_UP_DELAYS_MS
from qt_actors.trading.refusals import PAUSE_REAL_MS, REFUSED_MAX
from tests.builders import CLOSE_MS, NOW, a_decision, a_plan, a_stop, algo_update, order_update
from tests.executor_house import House, know_the_rules, word


@pytest.fixture
def house():
    house = House()
    yield house
    house.runtime.stop()


def a_trade(symbol):
    return trade_life.begin(a_plan(symbol=symbol), NOW).trade


def by_hand(symbol="BTCUSDT"):
    return ClosePosition(symbol=symbol, reason="enough", exit_reason="manual")


def an_admission(later_ms):
    decision = a_decision(decision_id=f"BTCUSDT-{CLOSE_MS + later_ms}")
    plan = a_plan(decision_id=decision.decision_id)
    return EntryAdmitted(decision=msgspec.structs.replace(decision, plan=plan))


def found(**changes):
    facts = {
        "symbol": "ETHUSDT",
        "quantity": D(-2),
        "entry_price": D(3000),
        "mark_price": D(3100),
        "liquidation_price": D(3500),
        "missing_quantity": D(0),
        "adopted": True,
        "stop": a_stop(symbol="ETHUSDT", side="BUY", client_id="web_1", quantity=D(2), trigger_price=D(3200)),
    }
    return ProtectPosition(**{**facts, **changes})


def test_every_watcher_hears_when_all_trades_of_the_journal_were_told(house):
    assert house.watcher.fish(TradesRecovered)


def test_a_covered_position_of_somebody_else_is_taken_in_with_its_stop_and_nothing_is_ordered(house):
    know_the_rules(house)
    house.tell(found())
    assert house.gateway.heard == ()
    trade = house.watcher.fish(TradeChanged).trade
    assert (trade.symbol, trade.adopted, trade.stop_id) == ("ETHUSDT", True, "web_1")


def test_a_close_of_a_position_outside_the_book_is_done_as_soon_as_it_is_found(house):
    know_the_rules(house)
    house.tell(by_hand("ETHUSDT"))
    assert house.gateway.heard == ()
    assert house.probes["account"].fish(SnapshotRequested)
    house.tell(found())
    (close,) = house.sent(orders.PlaceOrder)
    assert (close.symbol, close.side, close.quantity, close.reduce_only) == ("ETHUSDT", "BUY", D(2), True)


def test_a_close_of_what_is_not_there_is_forgotten_after_a_minute(house):
    know_the_rules(house)
    house.tell(by_hand("ETHUSDT"))
    house.runtime.run_for(60_000)
    house.tell(found())
    assert not house.sent(orders.PlaceOrder)


def test_a_close_while_the_entry_is_under_way_is_sent_when_it_has_filled(house):
    house.stand_stop()
    (entry,) = house.sent(orders.PlaceOrder)
    house.tell(by_hand())
    assert len(house.sent(orders.PlaceOrder)) == 1
    trade = house.watcher.fish(TradeChanged).trade
    house.tell(order_update(trade, entry.client_id, "FILLED", executed="0.010", trade_id=1, last="0.010"))
    close = house.sent(orders.PlaceOrder)[-1]
    assert (close.purpose, close.quantity, close.reduce_only) == ("close", D("0.010"), True)


def test_a_close_that_the_exchange_refused_is_tried_again_by_itself(house):
    house.open()
    house.tell(by_hand())
    close = house.sent(orders.PlaceOrder)[-1]
    refused = {"client_id": close.client_id, "symbol": "BTCUSDT", "conditional": False}
    house.tell(orders.OrderRejected(**refused, code=-1001, reason="internal error"))
    house.runtime.run_for(1000)
    again = house.sent(orders.PlaceOrder)[-1]
    assert (again.purpose, again.client_id != close.client_id) == ("close", True)


def test_a_second_stop_is_sent_at_once_when_nobody_knows_of_the_first(house):
    trade = house.open()
    stop = house.sent(orders.PlaceConditional)[0]
    house.tell(algo_update(trade, stop.client_id, "CANCELED"))
    first = house.sent(orders.PlaceConditional)[-1]
    lost = {"client_id": first.client_id, "symbol": "BTCUSDT", "conditional": True}
    house.tell(orders.OrderOutcomeUnknown(**lost, reason="timeout"))
    second = house.sent(orders.PlaceConditional)[-1]
    assert (second.kind, second.quantity) == ("STOP_MARKET", D("0.010"))
    assert second.client_id != first.client_id


def test_a_size_that_no_fill_explains_is_taken_from_the_exchange(house):
    house.open()
    house.tell(PositionResized(symbol="BTCUSDT", quantity=D("0.004"), entry_price=D(100_000)))
    house.tell(by_hand())
    assert house.sent(orders.PlaceOrder)[-1].quantity == D("0.004")


def doubt_the_entry(house):
    house.stand_stop()
    (entry,) = house.sent(orders.PlaceOrder)
    ask = {"client_id": entry.client_id, "symbol": "BTCUSDT", "conditional": False}
    house.tell(orders.OrderOutcomeUnknown(**ask, reason="timeout"))
    for delay_ms in LOOK_UP_DELAYS_MS:
        house.runtime.run_for(delay_ms)
        house.tell(orders.OrderMissing(**ask))


def test_an_entry_that_the_exchange_denies_and_the_account_shows_is_armed_like_any_other(house):
    doubt_the_entry(house)
    house.tell(PositionResized(symbol="BTCUSDT", quantity=D("0.010"), entry_price=D(100_050)))
    assert not house.sent(orders.CancelOrder)
    assert house.watcher.fish(TradeOpened).entry_price == D(100_050)
    assert [c.purpose for c in house.sent(orders.PlaceConditional)] == ["stop", "target", "trail"]


def refuse_a_stop(house, number, code=-4120):
    decision = a_decision(symbol=f"S{number}USDT", decision_id=f"S{number}USDT-{CLOSE_MS}")
    plan = a_plan(symbol=decision.symbol, decision_id=decision.decision_id)
    house.tell(EntryAdmitted(decision=msgspec.structs.replace(decision, plan=plan)))
    house.tell(orders.LeverageSet(symbol=decision.symbol, leverage=10))
    stop = house.sent(orders.PlaceConditional)[-1]
    said = {"client_id": stop.client_id, "symbol": stop.symbol, "conditional": True}
    house.tell(orders.OrderRejected(**said, code=code, reason="moved to the algo endpoints"))


def health(house):
    told = [(m.subsystem, m.health) for m in house.watcher.heard if isinstance(m, HealthReported)]
    assert told[0] == ("stops", 100)  # a start ends what a predecessor told
    return told[1:]


def test_three_stops_refused_in_a_row_make_us_ill_and_a_pause_allows_one_more(house):
    for number in range(REFUSED_MAX - 1):
        refuse_a_stop(house, number)
    assert health(house) == []
    refuse_a_stop(house, 7)
    assert health(house) == [("stops", 0)]
    assert house.recorder.fish(IncidentSeen).kind == "order refused"
    house.runtime.run_for(PAUSE_REAL_MS)
    assert health(house) == [("stops", 0), ("stops", 100)]
    refuse_a_stop(house, 8)
    assert health(house)[-1] == ("stops", 0)


def test_a_stop_that_stands_between_refusals_and_prices_already_passed_are_no_row(house):
    for number in range(REFUSED_MAX - 1):
        refuse_a_stop(house, number)
    house.stand_stop_of("OKUSDT")
    for number in range(10, 20):
        refuse_a_stop(house, number, code=-2021)
    refuse_a_stop(house, 30)
    assert health(house) == []


def test_a_fill_outside_the_book_makes_us_look_at_the_account_at_once(house):
    asked = house.probes["account"].heard
    stranger = order_update(a_trade("DOGEUSDT"), "web_1", "FILLED", executed="5", trade_id=3, last="5")
    house.tell(stranger)
    assert len(house.probes["account"].heard) == len(asked) + 1


@pytest.mark.parametrize(("side", "quantity"), [("BUY", "0.004"), ("SELL", "0.004"), ("SELL", "0.020")])
def test_a_fill_by_hand_in_our_symbol_makes_us_look_at_the_account_at_once(house, side, quantity):
    trade = house.open()
    asked = len(house.probes["account"].heard)
    house.tell(order_update(trade, "web_1", "FILLED", executed=quantity, trade_id=3, side=side, last=quantity))
    assert any(isinstance(m, SnapshotRequested) for m in house.probes["account"].heard[asked:])


def test_a_fill_of_our_own_order_is_no_reason_to_look_while_something_is_left(house):
    trade = house.open()
    asked, target = len(house.probes["account"].heard), house.sent(orders.PlaceConditional)[1]
    house.tell(order_update(trade, target.client_id, "FILLED", executed="0.005", trade_id=3, side="SELL", last="0.005"))
    assert len(house.probes["account"].heard) == asked


def test_a_position_that_somebody_opens_before_our_entry_is_sent_ends_the_entry_and_is_taken_in(house):
    know_the_rules(house)
    house.tell(EntryAdmitted(decision=a_decision()), orders.LeverageSet(symbol="BTCUSDT", leverage=10))
    begun = house.sent(orders.PlaceConditional)[-1]
    theirs = {"symbol": "BTCUSDT", "quantity": D("0.194"), "mark_price": D(100_000), "liquidation_price": D(0)}
    house.tell(found(**theirs, missing_quantity=D("0.194"), adopted=False, stop=None))
    assert house.governor.fish(ReservationReleased).outcome == "somebody else has opened a position"
    stop = house.sent(orders.PlaceConditional)[-1]
    assert (stop.quantity, stop.client_id != begun.client_id) == (D("0.194"), True)
    house.accept(begun)
    assert not house.sent(orders.PlaceOrder)


@pytest.mark.parametrize("answer", [orders.OrderCancelled, orders.OrderMissing])
def test_no_entry_is_begun_while_the_stop_of_the_last_trade_may_still_rest(house, answer):
    trade = house.open()
    stop = house.sent(orders.PlaceConditional)[0]
    house.tell(order_update(trade, "web_1", "FILLED", executed="0.010", trade_id=3, side="SELL", last="0.010"))
    begun = len(house.sent(orders.SetLeverage))
    house.tell(an_admission(60_000), PositionVanished(symbol="BTCUSDT"))
    assert house.governor.heard[-1].outcome == "a trade is already there"
    assert house.sent(orders.CancelOrder)[-1].client_id == stop.client_id
    house.tell(an_admission(120_000))
    assert len(house.sent(orders.SetLeverage)) == begun
    house.tell(answer(client_id=stop.client_id, symbol="BTCUSDT", conditional=True), an_admission(180_000))
    assert len(house.sent(orders.SetLeverage)) == begun + 1


def test_a_stop_that_is_lost_is_an_incident_and_one_that_triggers_is_none(house):
    trade = house.open()
    stop = house.sent(orders.PlaceConditional)[0]
    house.tell(algo_update(trade, stop.client_id, "TRIGGERED"))
    assert not [m for m in house.recorder.heard if isinstance(m, IncidentSeen)]
    house.tell(algo_update(trade, stop.client_id, "CANCELED"))
    assert house.recorder.fish(IncidentSeen).kind == "stop lost"


def test_an_entry_admitted_before_a_halt_is_not_sent_after_it(house):
    house.tell(EntryAdmitted(decision=a_decision()), orders.LeverageSet(symbol="BTCUSDT", leverage=10))
    (stop,) = house.sent(orders.PlaceConditional)
    house.tell(word(allowed=False))
    house.accept(stop)
    assert not house.sent(orders.PlaceOrder)
    assert [c.client_id for c in house.sent(orders.CancelOrder)] == [stop.client_id]
    assert "halted" in house.governor.fish(ReservationReleased).outcome


def test_an_entry_is_not_sent_when_the_halt_came_while_its_intent_was_written(house):
    house.tell(EntryAdmitted(decision=a_decision()), orders.LeverageSet(symbol="BTCUSDT", leverage=10))
    (stop,) = house.sent(orders.PlaceConditional)
    house.recorder._answers.clear()
    house.accept(stop)
    token = [m.token for m in house.recorder.heard if isinstance(m, orders.RecordIntents)][-1]
    house.tell(word(allowed=False), orders.IntentsRecorded(token=token))
    assert not house.sent(orders.PlaceOrder)
    assert [c.client_id for c in house.sent(orders.CancelOrder)] == [stop.client_id]
    told = [m for m in house.recorder.heard if isinstance(m, orders.IntentResolved)]
    assert (told[-1].client_id, told[-1].outcome) == (token, "denied")


def test_no_entry_is_begun_before_the_governor_has_spoken():
    house = House(spoken=False)
    house.tell(EntryAdmitted(decision=a_decision()))
    assert house.gateway.heard == ()
    house.runtime.stop()


def test_an_admission_that_arrives_after_the_halt_begins_nothing_until_the_word_is_taken_back(house):
    house.tell(word(allowed=False), EntryAdmitted(decision=a_decision()))
    assert house.gateway.heard == ()
    house.tell(word(allowed=True), EntryAdmitted(decision=a_decision()))
    assert house.sent(orders.SetLeverage)


def test_a_halt_closes_nothing_and_stops_no_close(house):
    house.open()
    house.tell(word(allowed=False))
    assert len(house.sent(orders.PlaceOrder)) == 1
    house.tell(by_hand())
    assert house.sent(orders.PlaceOrder)[-1].reduce_only


def lose_the_stop_for_good(house):
    """Every stop and close is refused until the timer has grown longer than the monitor's pace."""
    trade, refused = house.open(), set()
    house.tell(algo_update(trade, house.sent(orders.PlaceConditional)[0].client_id, "CANCELED"))
    for _ in range(120):
        for command in (*house.sent(orders.PlaceConditional)[3:], *house.sent(orders.PlaceOrder)[1:]):
            if command.client_id not in refused:
                refused.add(command.client_id)
                said = {"client_id": command.client_id, "symbol": "BTCUSDT"}
                conditional = isinstance(command, orders.PlaceConditional)
                house.tell(orders.OrderRejected(**said, conditional=conditional, code=-1001, reason="internal"))
        house.runtime.run_for(1000)
    return refused


def test_a_monitor_that_asks_every_ten_seconds_does_not_put_the_next_try_off(house):
    know_the_rules(house)
    refused = lose_the_stop_for_good(house)
    bare = found(
        symbol="BTCUSDT",
        quantity=D("0.010"),
        entry_price=D(100_000),
        mark_price=D(100_000),
        liquidation_price=D(60_000),
        missing_quantity=D("0.010"),
        adopted=False,
        stop=None,
    )
    for _ in range(13):
        house.tell(bare)
        house.runtime.run_for(10_000)
    sent = (*house.sent(orders.PlaceConditional)[3:], *house.sent(orders.PlaceOrder)[1:])
    assert {c.client_id for c in sent} - refused


def test_a_denied_question_after_an_acknowledged_entry_is_asked_again_and_gives_nothing_up(house):
    house.stand_stop()
    (entry,) = house.sent(orders.PlaceOrder)
    house.accept(entry, "FILLED", "0.010")
    ask = {"client_id": entry.client_id, "symbol": "BTCUSDT", "conditional": False}
    house.tell(orders.OrderDenied(**ask, gate="request budget", reason="spent"))
    assert not house.sent(orders.CancelOrder)
    house.runtime.run_for(1000)
    assert len(house.sent(orders.LookUpOrder)) > 1
    found_it = orders.OrderFound(
        **ask, exchange_id=1, status="FILLED", executed_quantity=D("0.010"), average_price=D(100_000)
    )
    house.tell(found_it)
    assert house.watcher.fish(TradeOpened).quantity == D("0.010")


def test_stops_acknowledged_out_of_order_leave_the_later_one(house):
    trade = house.open()
    for number, size in ((8, "0.005"), (9, "0.005")):
        house.tell(
            order_update(trade, f"web_{number}", "FILLED", executed=size, trade_id=number, side="BUY", last=size)
        )
    smaller, larger = house.sent(orders.PlaceConditional)[-2:]
    assert (smaller.quantity, larger.quantity) == (D("0.015"), D("0.020"))
    house.accept(larger)
    house.accept(smaller)
    assert house.sent(orders.CancelOrder)[-1].client_id == smaller.client_id
