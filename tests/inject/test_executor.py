"""The executor's way from an admitted entry to a closed trade; closes and the governor: ``test_executor_closes``."""

from __future__ import annotations

from decimal import Decimal as D

import msgspec
import pytest

from qt_actors.decisions import trade_life
from qt_actors.kernel import Crash
from qt_actors.messages import orders
from qt_actors.messages.policy import EntryAdmitted, ReservationReleased
from qt_actors.messages.positions import (
    CancelOrphan,
    ClosePosition,
    PositionVanished,
    ProtectPosition,
    SnapshotRequested,
    TradeClosed,
    TradeOpened,
)
from qt_actors.messages.system import IncidentSeen
from qt_actors.trading.dispatch import LOOK_UP_DELAYS_MS
from tests.builders import NOW, a_decision, a_plan, algo_update, order_update
from tests.executor_house import PATH, House, know_the_rules


@pytest.fixture
def house():
    house = House()
    yield house
    house.runtime.stop()


def test_the_stop_is_acknowledged_before_the_entry_is_even_recorded(house):
    house.tell(EntryAdmitted(decision=a_decision()), orders.LeverageSet(symbol="BTCUSDT", leverage=10))
    (stop,) = house.sent(orders.PlaceConditional)
    assert not house.sent(orders.PlaceOrder)
    house.accept(stop)
    intents = [i for m in house.recorder.heard if isinstance(m, orders.RecordIntents) for i in m.intents]
    assert [i.purpose for i in intents] == ["stop", "entry"]
    heard = [m for m in house.recorder.heard if isinstance(m, orders.RecordIntents | orders.IntentResolved)]
    assert [type(m).__name__ for m in heard] == ["RecordIntents", "IntentResolved", "RecordIntents"]


def test_no_order_leaves_before_its_intent_is_on_disk():
    house = House(recorder_answers=False)
    house.tell(EntryAdmitted(decision=a_decision()), orders.LeverageSet(symbol="BTCUSDT", leverage=10))
    assert not house.sent(orders.PlaceConditional)
    token = next(m.token for m in house.recorder.heard if isinstance(m, orders.RecordIntents))
    house.tell(orders.IntentsRecorded(token=token))
    assert [c.client_id for c in house.sent(orders.PlaceConditional)] == [token]
    house.runtime.stop()


def test_an_entry_whose_intent_cannot_be_written_is_given_up():
    house = House(recorder_answers=False)
    house.tell(EntryAdmitted(decision=a_decision()), orders.LeverageSet(symbol="BTCUSDT", leverage=10))
    token = next(m.token for m in house.recorder.heard if isinstance(m, orders.RecordIntents))
    house.tell(orders.IntentsLost(token=token, reason="disk full"))
    assert not house.sent(orders.PlaceConditional)
    assert isinstance(house.governor.heard[-1], ReservationReleased)
    house.runtime.stop()


def test_a_close_is_sent_even_when_its_intent_cannot_be_written(house):
    house.open()
    house.recorder._answers.clear()
    house.tell(ClosePosition(symbol="BTCUSDT", reason="too long", exit_reason="policy"))
    token = [m.token for m in house.recorder.heard if isinstance(m, orders.RecordIntents)][-1]
    assert len(house.sent(orders.PlaceOrder)) == 1
    house.tell(orders.IntentsLost(token=token, reason="disk full"))
    assert house.sent(orders.PlaceOrder)[-1].reduce_only


def test_every_command_carries_the_fence_and_the_path_of_this_incarnation(house):
    house.stand_stop()
    fence = house.runtime.fence(PATH)
    assert {(c.reply_to, c.fence) for c in house.gateway.heard} == {(PATH, fence)}


def test_one_decision_admitted_twice_places_one_entry(house):
    house.tell(EntryAdmitted(decision=a_decision()), EntryAdmitted(decision=a_decision()))
    assert len(house.sent(orders.SetLeverage)) == 1
    assert house.governor.expect(ReservationReleased).outcome == "a trade is already there"


def test_a_decision_acted_upon_before_a_restart_is_never_acted_upon_again(house):
    house.past.acted = {a_decision().decision_id}
    house.tell(EntryAdmitted(decision=a_decision()))
    assert not house.sent(orders.SetLeverage)
    assert house.governor.expect(ReservationReleased).outcome == "a trade is already there"


def test_a_filled_entry_is_told_and_armed(house):
    house.open()
    kinds = [c.kind for c in house.sent(orders.PlaceConditional)]
    assert kinds == ["STOP_MARKET", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"]
    assert house.watcher.fish(TradeOpened).quantity == D("0.010")
    assert house.governor.fish(ReservationReleased).outcome == "opened"


def test_a_triggered_stop_closes_the_trade_and_takes_target_and_trail_back(house):
    trade = house.open()
    stop, target, trail = house.sent(orders.PlaceConditional)
    house.tell(
        order_update(
            trade, stop.client_id, "FILLED", executed="0.010", trade_id=2, side="SELL", last="0.010", pnl="-20"
        )
    )
    closed = house.watcher.fish(TradeClosed)
    assert (closed.exit_reason, closed.realized_usd) == ("stop", D(-20))
    assert {c.client_id for c in house.sent(orders.CancelOrder)} == {target.client_id, trail.client_id}


def test_an_unknown_outcome_is_looked_up_and_never_sent_again(house):
    house.stand_stop()
    (entry,) = house.sent(orders.PlaceOrder)
    unknown = orders.OrderOutcomeUnknown(
        client_id=entry.client_id, symbol="BTCUSDT", conditional=False, reason="timeout"
    )
    house.tell(unknown)
    house.runtime.run_for(LOOK_UP_DELAYS_MS[0])
    (look_up,) = house.sent(orders.LookUpOrder)
    assert (look_up.client_id, look_up.conditional) == (entry.client_id, False)
    house.tell(
        orders.OrderFound(
            client_id=entry.client_id,
            symbol="BTCUSDT",
            conditional=False,
            exchange_id=5,
            status="FILLED",
            executed_quantity=D("0.010"),
            average_price=D(100_020),
        )
    )
    assert house.watcher.fish(TradeOpened).entry_price == D(100_020)
    assert len(house.sent(orders.PlaceOrder)) == 1


def test_an_entry_not_found_is_believed_only_after_it_has_stayed_so_and_the_account_shows_no_position(house):
    stop = house.stand_stop()
    (entry,) = house.sent(orders.PlaceOrder)
    ask = {"client_id": entry.client_id, "symbol": "BTCUSDT", "conditional": False}
    house.tell(orders.OrderOutcomeUnknown(**ask, reason="connection lost"))
    for looked, delay_ms in enumerate(LOOK_UP_DELAYS_MS, 1):
        assert not house.sent(orders.CancelOrder)
        house.runtime.run_for(delay_ms)
        assert len(house.sent(orders.LookUpOrder)) == looked
        house.tell(orders.OrderMissing(**ask))
    assert not house.sent(orders.CancelOrder)
    assert house.probes["account"].fish(SnapshotRequested)
    house.tell(PositionVanished(symbol="BTCUSDT"))
    assert [c.client_id for c in house.sent(orders.CancelOrder)] == [stop.client_id]
    assert len(house.sent(orders.PlaceOrder)) == 1
    assert sum(LOOK_UP_DELAYS_MS) > 12_000


def test_a_denied_look_up_is_tried_again_and_does_not_end_the_order(house):
    house.stand_stop()
    (entry,) = house.sent(orders.PlaceOrder)
    ask = {"client_id": entry.client_id, "symbol": "BTCUSDT", "conditional": False}
    house.tell(orders.OrderOutcomeUnknown(**ask, reason="timeout"))
    house.runtime.run_for(LOOK_UP_DELAYS_MS[0])
    house.tell(orders.OrderDenied(**ask, gate="request budget", reason="spent"))
    house.runtime.run_for(LOOK_UP_DELAYS_MS[1])
    assert len(house.sent(orders.LookUpOrder)) == 2
    assert not house.sent(orders.CancelOrder)


def test_after_a_crash_the_book_is_read_back_and_what_was_unanswered_is_looked_up():
    step = trade_life.on_leverage_set(trade_life.begin(a_plan(), NOW).trade, NOW)
    house = House(step.trade)
    assert house.probes["account"].expect(SnapshotRequested)
    house.runtime.run_for(LOOK_UP_DELAYS_MS[0])
    (look_up,) = house.sent(orders.LookUpOrder)
    assert (look_up.client_id, look_up.conditional) == (step.commands[0].client_id, True)
    assert not house.sent(orders.PlaceConditional)
    house.runtime.stop()


def test_a_crash_of_the_executor_loses_no_trade_because_the_journal_holds_it(house):
    house.stand_stop()
    held = [m.trade for m in house.recorder.heard if type(m).__name__ == "TradeChanged"][-1]
    house.past.trades = (held,)
    house.runtime.inject(Crash(PATH, house.runtime.handled(PATH) + 1))
    house.tell(orders.LeverageSet(symbol="NONE", leverage=1))
    house.runtime.run_for(5_000)
    state = next(s for s in house.runtime.tree() if s.path == PATH)
    assert state.restarts == 1
    assert next(c.client_id for c in house.sent(orders.LookUpOrder)) == held.entry_id
    assert len(house.sent(orders.PlaceOrder)) == 1


def test_before_the_rules_are_known_no_price_is_made_up_and_with_them_the_stop_follows_at_once(house):
    house.tell(
        ProtectPosition(
            symbol="ETHUSDT",
            quantity=D(1),
            entry_price=D(3000),
            mark_price=D("1579.12372820"),
            liquidation_price=D(0),
            missing_quantity=D(1),
            adopted=True,
        )
    )
    assert not house.sent(orders.PlaceConditional)
    know_the_rules(house)
    assert [c.symbol for c in house.sent(orders.PlaceConditional)] == ["ETHUSDT"]


def test_a_position_found_without_a_trade_is_adopted_with_a_stop_at_once(house):
    know_the_rules(house)
    house.tell(
        ProtectPosition(
            symbol="ETHUSDT",
            quantity=D(-2),
            entry_price=D(3000),
            mark_price=D(3100),
            liquidation_price=D(3500),
            missing_quantity=D(2),
            adopted=True,
        )
    )
    (stop,) = house.sent(orders.PlaceConditional)
    assert (stop.side, stop.quantity, stop.kind, stop.trigger_price) == ("BUY", D(2), "STOP_MARKET", D(3162))
    assert house.recorder.fish(IncidentSeen).kind == "adopted position"


def test_missing_protection_whose_price_was_passed_is_closed_at_market(house):
    house.open()
    know_the_rules(house)
    house.tell(
        ProtectPosition(
            symbol="BTCUSDT",
            quantity=D("0.010"),
            entry_price=D(100_000),
            mark_price=D(97_000),
            liquidation_price=D(60_000),
            missing_quantity=D("0.010"),
            adopted=False,
        )
    )
    close = house.sent(orders.PlaceOrder)[-1]
    assert (close.reduce_only, close.side, close.quantity) == (True, "SELL", D("0.010"))


def test_the_answer_to_a_cancel_does_not_change_where_the_intent_ended(house):
    trade = house.open()
    stop, target, _ = house.sent(orders.PlaceConditional)
    house.tell(
        order_update(trade, stop.client_id, "FILLED", executed="0.010", trade_id=2, side="SELL", last="0.010"),
        orders.OrderCancelled(client_id=target.client_id, symbol="BTCUSDT", conditional=True),
        orders.OrderRejected(client_id=stop.client_id, symbol="BTCUSDT", conditional=True, code=-2011, reason="gone"),
    )
    told = [m for m in house.recorder.heard if isinstance(m, orders.IntentResolved)]
    assert {m.outcome for m in told} == {"accepted"}


def test_a_stop_cancelled_by_hand_is_placed_again(house):
    trade = house.open()
    stop = house.sent(orders.PlaceConditional)[0]
    house.tell(algo_update(trade, stop.client_id, "CANCELED"))
    again = house.sent(orders.PlaceConditional)[-1]
    assert (again.kind, again.trigger_price) == ("STOP_MARKET", D("98000.0"))
    assert again.client_id != stop.client_id


def test_a_vanished_position_ends_its_trade_and_an_orphan_is_cancelled(house):
    house.open()
    house.tell(PositionVanished(symbol="BTCUSDT"))
    assert house.watcher.fish(TradeClosed).exit_reason == "external"
    house.tell(CancelOrphan(symbol="XRPUSDT", client_id="qt-XRPUSDT-abc-s0", conditional=True))
    assert house.sent(orders.CancelOrder)[-1].client_id == "qt-XRPUSDT-abc-s0"


def test_answers_for_a_symbol_it_has_never_traded_change_nothing(house):
    before = len(house.gateway.heard)
    house.tell(
        orders.OrderRejected(client_id="x", symbol="NOPE", conditional=False, code=-1, reason="no"),
        orders.OrderMissing(client_id="x", symbol="NOPE", conditional=False),
        order_update(trade_life.begin(a_plan(symbol="Z"), NOW).trade, "x", "NEW", executed="0"),
    )
    assert len(house.gateway.heard) == before


def test_after_a_kill_an_entry_acknowledged_but_not_yet_heard_of_is_looked_up():
    trade = trade_life.begin(a_plan(), NOW).trade
    held = msgspec.structs.replace(trade, phase="entering", entry_id="qt-BTCUSDT-sxwkn4-e0", stop_id="s")
    house = House(held)
    house.runtime.run_for(LOOK_UP_DELAYS_MS[0])
    assert [c.client_id for c in house.sent(orders.LookUpOrder)] == [held.entry_id]
    house.runtime.stop()


def test_after_a_restart_a_stop_that_stands_gets_no_entry_any_more():
    step = trade_life.on_leverage_set(trade_life.begin(a_plan(), NOW).trade, NOW)
    house, stop = House(step.trade), step.commands[0]
    house.tell(
        orders.OrderFound(
            client_id=stop.client_id,
            symbol="BTCUSDT",
            conditional=True,
            exchange_id=1,
            status="NEW",
            executed_quantity=D(0),
            average_price=D(0),
        )
    )
    assert not house.sent(orders.PlaceOrder)
    assert [c.client_id for c in house.sent(orders.CancelOrder)] == [stop.client_id]
    house.runtime.stop()


def test_a_fill_of_an_earlier_trade_does_not_touch_the_one_that_is_entering(house):
    house.stand_stop()
    old = order_update(
        trade_life.begin(a_plan(), NOW).trade,
        "qt-BTCUSDT-aaaaaa-t0",
        "FILLED",
        executed="0.005",
        trade_id=5,
        side="SELL",
        last="0.005",
    ).fill
    house.tell(old)
    assert not house.sent(orders.CancelOrder)


def test_a_target_taken_at_market_is_looked_up_among_regular_orders(house):
    house.stand_stop()
    (entry,) = house.sent(orders.PlaceOrder)
    trade = trade_life.begin(a_plan(), NOW).trade
    house.tell(order_update(trade, entry.client_id, "FILLED", executed="0.010", trade_id=1, last="0.010"))
    target = house.sent(orders.PlaceConditional)[1]
    refused = orders.OrderRejected(
        client_id=target.client_id, symbol="BTCUSDT", conditional=True, code=-2021, reason="would trigger"
    )
    house.tell(refused)
    take = house.sent(orders.PlaceOrder)[1]
    house.tell(
        orders.OrderOutcomeUnknown(client_id=take.client_id, symbol="BTCUSDT", conditional=False, reason="timeout")
    )
    house.runtime.run_for(LOOK_UP_DELAYS_MS[0])
    (look_up,) = house.sent(orders.LookUpOrder)
    assert (look_up.client_id, look_up.conditional) == (take.client_id, False)


def test_a_close_found_ended_without_a_fill_can_be_asked_for_again(house):
    house.open()
    house.tell(ClosePosition(symbol="BTCUSDT", reason="x", exit_reason="policy"))
    close = house.sent(orders.PlaceOrder)[-1]
    ask = {"client_id": close.client_id, "symbol": "BTCUSDT", "conditional": False}
    house.tell(orders.OrderOutcomeUnknown(**ask, reason="timeout"))
    house.tell(
        orders.OrderFound(**ask, exchange_id=1, status="EXPIRED", executed_quantity=D(0), average_price=D(0)),
        ClosePosition(symbol="BTCUSDT", reason="again", exit_reason="manual"),
    )
    assert len({c.client_id for c in house.sent(orders.PlaceOrder)}) == 3


def test_a_stop_that_our_own_gateway_denied_is_tried_again_by_the_second_and_closes_nothing(house):
    trade = house.open()
    stop = house.sent(orders.PlaceConditional)[0]
    house.tell(algo_update(trade, stop.client_id, "CANCELED"))
    for _ in range(8):
        again = house.sent(orders.PlaceConditional)[-1]
        denied = orders.OrderDenied(
            client_id=again.client_id, symbol="BTCUSDT", conditional=True, gate="connection", reason="no route"
        )
        house.tell(denied)
        house.runtime.run_for(1000)
    stops = {c.client_id for c in house.sent(orders.PlaceConditional) if c.kind == "STOP_MARKET"}
    assert len(stops) == 10
    assert len(house.sent(orders.PlaceOrder)) == 1


def test_a_stop_that_triggered_and_filled_in_part_closes_the_rest_at_market(house):
    trade = house.open()
    stop = house.sent(orders.PlaceConditional)[0]
    part = {"executed": "0.004", "side": "SELL"}
    house.tell(
        order_update(trade, stop.client_id, "PARTIALLY_FILLED", trade_id=3, last="0.004", **part),
        order_update(trade, stop.client_id, "EXPIRED", **part),
    )
    close = house.sent(orders.PlaceOrder)[-1]
    assert (close.reduce_only, close.quantity) == (True, D("0.006"))


def test_an_intent_ends_as_accepted_even_when_the_fill_was_heard_first(house):
    house.stand_stop()
    (entry,) = house.sent(orders.PlaceOrder)
    trade = trade_life.begin(a_plan(), NOW).trade
    house.tell(order_update(trade, entry.client_id, "FILLED", executed="0.010", trade_id=1, last="0.010"))
    house.accept(entry, "FILLED", "0.010")
    told = [m for m in house.recorder.heard if isinstance(m, orders.IntentResolved)]
    assert [m.outcome for m in told if m.client_id == entry.client_id] == ["accepted"]
