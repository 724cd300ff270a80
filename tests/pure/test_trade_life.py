"""The fold that lives a trade, event by event; prices are those of a small long in a made-up symbol."""

from __future__ import annotations

from decimal import Decimal as D

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qt_actors.decisions import trade_life, trade_repair
from qt_actors.decisions.trade_state import ATTEMPTS_MAX, ENDED, Step, remaining
from qt_actors.messages.orders import (
    CancelOrder,
    LookUpOrder,
    PlaceConditional,
    PlaceOrder,
    SetLeverage,
)
from qt_actors.messages.policy import ReservationReleased
from qt_actors.messages.positions import SnapshotRequested, TradeClosed, TradeOpened, TradeState
from tests.builders import NOW, a_plan, algo_update, order_update


def sent(step: Step, kind: type) -> list:
    return [c for c in step.commands if isinstance(c, kind)]


def stopped_and_entering() -> TradeState:
    """Return a trade whose stop stands and whose entry was sent."""
    step = trade_life.begin(a_plan(), NOW)
    step = trade_life.on_leverage_set(step.trade, NOW)
    stop = sent(step, PlaceConditional)[0].client_id
    return trade_life.on_accepted(step.trade, stop, "NEW", D(0), NOW).trade


def opened() -> TradeState:
    """Return an open trade with stop, target and trail on the exchange."""
    trade = stopped_and_entering()
    step = trade_life.on_order(
        trade, order_update(trade, trade.entry_id, "FILLED", executed="0.010", trade_id=1, last="0.010"), NOW
    )
    for command in sent(step, PlaceConditional):
        step = trade_life.on_accepted(step.trade, command.client_id, "NEW", D(0), NOW)
    assert step.trade.phase == "open"
    return step.trade


def test_the_entry_is_sent_only_after_the_stop_is_acknowledged():
    step = trade_life.begin(a_plan(), NOW)
    assert [type(c) for c in step.commands] == [SetLeverage]
    step = trade_life.on_leverage_set(step.trade, NOW)
    (stop,) = step.commands
    assert isinstance(stop, PlaceConditional)
    assert (stop.kind, stop.side, stop.quantity) == ("STOP_MARKET", "SELL", D("0.010"))
    assert not sent(step, PlaceOrder)
    step = trade_life.on_accepted(step.trade, stop.client_id, "NEW", D(0), NOW)
    (entry,) = sent(step, PlaceOrder)
    assert (entry.side, entry.quantity, entry.reduce_only) == ("BUY", D("0.010"), False)


def test_a_stop_acknowledged_after_the_signal_expired_is_taken_back_without_an_entry():
    step = trade_life.on_leverage_set(trade_life.begin(a_plan(expires_ms=NOW), NOW).trade, NOW)
    stop = step.commands[0].client_id
    step = trade_life.on_accepted(step.trade, stop, "NEW", D(0), NOW + 1)
    assert step.trade.phase == "abandoned"
    assert [c.client_id for c in sent(step, CancelOrder)] == [stop]
    assert not sent(step, PlaceOrder)


@pytest.mark.parametrize("code", [0, -2019, -4045])
def test_a_refused_stop_ends_the_trade_before_any_entry(code):
    step = trade_life.on_leverage_set(trade_life.begin(a_plan(), NOW).trade, NOW)
    step = trade_life.on_refused(step.trade, step.commands[0].client_id, code, "no", NOW)
    assert step.trade.phase == "abandoned"
    assert not step.commands
    assert isinstance(step.events[0], ReservationReleased)


def test_refused_leverage_ends_the_trade_with_nothing_placed():
    step = trade_life.on_leverage_refused(trade_life.begin(a_plan(), NOW).trade, "-4028", NOW)
    assert (step.trade.phase, step.commands) == ("abandoned", ())


def test_a_filled_entry_gets_its_target_and_its_trail():
    trade = stopped_and_entering()
    step = trade_life.on_order(
        trade, order_update(trade, trade.entry_id, "FILLED", executed="0.010", trade_id=7, last="0.010"), NOW
    )
    target, trail = sent(step, PlaceConditional)
    assert (target.kind, target.quantity, target.trigger_price) == ("TAKE_PROFIT_MARKET", D("0.005"), D("101500.0"))
    assert (trail.kind, trail.activate_price, trail.callback_pct) == ("TRAILING_STOP_MARKET", D("101500.0"), D("2.0"))
    assert [type(e) for e in step.events] == [TradeOpened, ReservationReleased]


def test_a_refused_entry_takes_its_stop_back():
    trade = stopped_and_entering()
    step = trade_life.on_refused(trade, trade.entry_id, -2019, "margin", NOW)
    assert step.trade.phase == "abandoned"
    assert [c.client_id for c in step.commands] == [trade.stop_id]


def test_a_partly_filled_then_expired_entry_is_held_with_one_target_for_all_of_it():
    trade = stopped_and_entering()
    trade = trade_life.on_order(
        trade, order_update(trade, trade.entry_id, "PARTIALLY_FILLED", executed="0.004", trade_id=3, last="0.004"), NOW
    ).trade
    step = trade_life.on_order(trade, order_update(trade, trade.entry_id, "EXPIRED", executed="0.004"), NOW)
    assert [(c.kind, c.quantity) for c in sent(step, PlaceConditional)] == [("TAKE_PROFIT_MARKET", D("0.004"))]
    assert remaining(step.trade) == D("0.004")


@pytest.mark.parametrize("status", ["CANCELED", "EXPIRED", "REJECTED"])
def test_a_stop_that_ends_before_the_fill_makes_the_fill_close_at_market_at_once(status):
    trade = stopped_and_entering()
    trade = trade_life.on_conditional(trade, algo_update(trade, trade.stop_id, status), NOW).trade
    step = trade_life.on_order(
        trade, order_update(trade, trade.entry_id, "FILLED", executed="0.010", trade_id=1, last="0.010"), NOW
    )
    (close,) = sent(step, PlaceOrder)
    assert (close.side, close.quantity, close.reduce_only, close.priority) == ("SELL", D("0.010"), True, "protect")
    assert step.trade.phase == "closing"


def test_an_acknowledged_entry_without_a_price_is_looked_up_and_counted_once():
    trade = stopped_and_entering()
    step = trade_life.on_accepted(trade, trade.entry_id, "FILLED", D("0.010"), NOW)
    assert isinstance(step.commands[0], LookUpOrder)
    step = trade_life.on_entry_found(step.trade, "FILLED", D("0.010"), D(100_010), NOW)
    assert (step.trade.filled, step.trade.entry_price, step.trade.phase) == (D("0.010"), D(100_010), "arming")
    late = order_update(trade, trade.entry_id, "FILLED", executed="0.010", trade_id=1, last="0.010", price="100010")
    after = trade_life.on_order(step.trade, late, NOW).trade
    assert (after.filled, after.phase, after.commission_usd) == (D("0.010"), "arming", D("0.5"))


def test_target_then_trail_closes_the_trade_and_takes_them_back_but_not_yet_the_stop():
    trade = opened()
    half = order_update(
        trade,
        trade.target_id,
        "FILLED",
        executed="0.005",
        trade_id=2,
        side="SELL",
        last="0.005",
        price="101500",
        pnl="7.5",
    )
    step = trade_life.on_order(trade, half, NOW)
    assert remaining(step.trade) == D("0.005")
    rest = order_update(
        trade,
        trade.trail_id,
        "FILLED",
        executed="0.005",
        trade_id=3,
        side="SELL",
        last="0.005",
        price="103000",
        pnl="15",
    )
    step = trade_life.on_order(step.trade, rest, NOW)
    assert step.trade.phase == "closed"
    assert {c.client_id for c in step.commands} == {trade.target_id, trade.trail_id}
    closed, asked = step.events
    assert isinstance(closed, TradeClosed)
    assert isinstance(asked, SnapshotRequested)
    assert (closed.exits, closed.exit_reason, closed.exit_price) == (("target", "trail"), "trail", D(102_250))
    assert (closed.realized_usd, closed.commission_usd) == (D("22.5"), D("1.5"))


def test_a_repeated_fill_is_counted_once():
    trade = opened()
    event = order_update(
        trade, trade.stop_id, "PARTIALLY_FILLED", executed="0.004", trade_id=5, side="SELL", last="0.004"
    )
    once = trade_life.on_order(trade, event, NOW).trade
    assert trade_life.on_order(once, event, NOW).trade == once
    assert remaining(once) == D("0.006")


def test_a_liquidation_and_a_manual_close_are_told_apart_from_our_exits():
    for client_id, kind in (("autoclose-123", "liquidation"), ("web_77", "external")):
        trade = opened()
        event = order_update(trade, client_id, "FILLED", executed="0.010", trade_id=9, side="SELL", last="0.010")
        closed, _ = trade_life.on_order(trade, event, NOW).events
        assert closed.exit_reason == kind


@pytest.mark.parametrize("code", [-2021, -4142])
def test_a_target_already_passed_is_taken_at_market(code):
    trade = stopped_and_entering()
    step = trade_life.on_order(
        trade, order_update(trade, trade.entry_id, "FILLED", executed="0.010", trade_id=1, last="0.010"), NOW
    )
    target = sent(step, PlaceConditional)[0]
    step = trade_life.on_refused(step.trade, target.client_id, code, "would trigger", NOW)
    (order,) = step.commands
    assert isinstance(order, PlaceOrder)
    assert (order.quantity, order.reduce_only, order.purpose) == (D("0.005"), True, "take")


def test_a_trail_already_passed_starts_at_the_current_price():
    trade = stopped_and_entering()
    step = trade_life.on_order(
        trade, order_update(trade, trade.entry_id, "FILLED", executed="0.010", trade_id=1, last="0.010"), NOW
    )
    trail = sent(step, PlaceConditional)[1]
    (again,) = trade_life.on_refused(step.trade, trail.client_id, -2021, "would trigger", NOW).commands
    assert (again.kind, again.activate_price) == ("TRAILING_STOP_MARKET", None)
    assert again.client_id != trail.client_id


def test_a_stop_that_vanishes_from_an_open_trade_is_placed_again():
    trade = opened()
    step = trade_life.on_conditional(trade, algo_update(trade, trade.stop_id, "CANCELED"), NOW)
    (stop,) = step.commands
    assert (stop.kind, stop.quantity, stop.trigger_price) == ("STOP_MARKET", D("0.010"), D("98000.0"))


def test_a_stop_whose_price_was_passed_becomes_a_market_close():
    trade = opened()
    step = trade_repair.protect(trade, NOW, passed=True)
    (close,) = step.commands
    assert isinstance(close, PlaceOrder)
    assert close.reduce_only


def test_a_stop_that_cannot_be_placed_ends_in_a_market_close_not_in_an_endless_retry():
    trade, placed = opened(), 0
    step = trade_life.on_conditional(trade, algo_update(trade, trade.stop_id, "CANCELED"), NOW)
    while sent(step, PlaceConditional):
        placed += 1
        assert placed <= ATTEMPTS_MAX + 1
        step = trade_life.on_refused(step.trade, step.commands[0].client_id, -4045, "too many", NOW)
    (close,) = step.commands
    assert isinstance(close, PlaceOrder)


def test_a_replaced_stop_is_cancelled_only_after_the_new_one_stands():
    trade = opened()
    old = trade.stop_id
    step = trade_repair.place(msgspec.structs.replace(trade, attempts=1), NOW, "stop", D("0.010"))
    assert not sent(step, CancelOrder)
    step = trade_life.on_accepted(step.trade, step.commands[0].client_id, "NEW", D(0), NOW)
    assert [c.client_id for c in step.commands] == [old]
    assert step.trade.stop_id != old


def test_closing_twice_sends_one_order():
    step = trade_repair.close(opened(), "policy: too long", NOW)
    assert len(step.commands) == 1
    assert trade_repair.close(step.trade, "policy: again", NOW).commands == ()


def test_a_refused_close_asks_the_exchange_what_is_left():
    step = trade_repair.close(opened(), "policy: too long", NOW)
    step = trade_life.on_refused(step.trade, step.commands[0].client_id, -2022, "reduce only rejected", NOW)
    assert step.trade.phase == "open"
    assert isinstance(step.events[0], SnapshotRequested)


def test_the_answer_to_a_cancel_is_not_taken_for_a_refused_order():
    trade = opened()
    assert trade_life.on_refused(trade, trade.stop_id, -2011, "unknown order", NOW).trade == trade


def test_a_protective_order_acknowledged_after_the_end_is_cancelled():
    trade = stopped_and_entering()
    step = trade_life.on_order(
        trade, order_update(trade, trade.entry_id, "FILLED", executed="0.010", trade_id=1, last="0.010"), NOW
    )
    target = sent(step, PlaceConditional)[0]
    gone = trade_repair.on_position_gone(step.trade, NOW)
    late = trade_life.on_accepted(gone.trade, target.client_id, "NEW", D(0), NOW)
    assert [c.client_id for c in late.commands] == [target.client_id]


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("accept"), st.sampled_from(["stop", "entry", "target", "trail", "close"])),
        st.tuples(st.just("refuse"), st.sampled_from(["stop", "entry", "target", "trail", "close"])),
        st.tuples(st.just("fill"), st.sampled_from(["entry", "stop", "target", "trail", "close"])),
        st.tuples(st.just("lose"), st.sampled_from(["stop", "target", "trail"])),
        st.tuples(st.just("close"), st.just("close")),
        st.tuples(st.just("gone"), st.just("stop")),
    ),
    max_size=25,
)


@given(EVENTS, st.sampled_from([0, -2021, -2022, -4045]))
def test_no_order_of_events_opens_twice_overcloses_or_leaves_a_fill_without_a_stop_or_a_close(events, code):
    step = trade_life.on_leverage_set(trade_life.begin(a_plan(), NOW).trade, NOW)
    trade, entries, issued, trade_id = step.trade, 0, list(step.commands), 0
    for event, purpose in events:
        ids = [c.client_id for c in issued if getattr(c, "purpose", "") == purpose]
        if event == "accept" and ids:
            step = trade_life.on_accepted(trade, ids[-1], "NEW", D(0), NOW)
        elif event == "refuse" and ids:
            step = trade_life.on_refused(trade, ids[-1], code, "no", NOW)
        elif event == "fill" and ids:
            trade_id += 1
            side = "BUY" if purpose == "entry" else "SELL"
            size = "0.010" if purpose == "entry" else "0.003"
            fill = order_update(trade, ids[-1], "FILLED", executed=size, trade_id=trade_id, side=side, last=size)
            step = trade_life.on_order(trade, fill, NOW)
        elif event == "lose" and ids:
            step = trade_life.on_conditional(trade, algo_update(trade, ids[-1], "CANCELED"), NOW)
        elif event == "close":
            step = trade_repair.close(trade, "policy: test", NOW)
        elif event == "gone":
            step = trade_repair.on_position_gone(trade, NOW)
        else:
            continue
        trade = step.trade
        issued += step.commands
        entries += len([c for c in step.commands if isinstance(c, PlaceOrder) and not c.reduce_only])
        assert entries <= 1
        assert D(0) <= trade.exited <= trade.filled <= trade.quantity
        assert all(c.reduce_only for c in issued if isinstance(c, PlaceOrder) and c.side == "SELL")
        if remaining(trade) > 0 and trade.phase not in ENDED and trade.phase != "entering":
            stop_pending = any("-s" in i for i in trade.pending)
            by_us = code == 0  # what we could not send is placed again by reconciliation
            given_up = trade.strikes > ATTEMPTS_MAX
            assert trade.stop_id or stop_pending or trade.phase == "closing" or given_up or by_us


@pytest.mark.parametrize("status", ["FINISHED", "TRIGGERED", "CANCELED", "EXPIRED"])
def test_a_look_up_that_finds_a_finished_order_of_an_ended_trade_cancels_nothing(status):
    trade = opened()
    gone = trade_repair.on_position_gone(trade, NOW).trade
    assert trade_life.on_accepted(gone, trade.trail_id, status, D(0), NOW).commands == ()


@pytest.mark.parametrize("status", ["TRIGGERING", "TRIGGERED", "FINISHED"])
def test_a_stop_found_triggered_is_left_to_its_fills(status):
    trade = opened()
    assert trade_life.on_accepted(trade, trade.stop_id, status, D(0), NOW).commands == ()


@pytest.mark.parametrize("status", ["TRIGGERED", "FINISHED", "CANCELED"])
def test_a_stop_that_is_found_ended_before_its_entry_ends_the_trade(status):
    step = trade_life.on_leverage_set(trade_life.begin(a_plan(), NOW).trade, NOW)
    step = trade_life.on_accepted(step.trade, step.commands[0].client_id, status, D(0), NOW)
    assert (step.trade.phase, sent(step, PlaceOrder)) == ("abandoned", [])
