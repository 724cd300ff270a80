"""A stop outlasts its trade until the account shows that nothing is left; what others add is covered at once."""

from __future__ import annotations

from decimal import Decimal as D

import msgspec
import pytest

from qt_actors.decisions import trade_life, trade_repair
from qt_actors.decisions.trade_state import is_bare, is_covered, is_over, is_under_way, remaining
from qt_actors.messages.orders import CancelOrder, OrderFound, PlaceConditional, PlaceOrder
from qt_actors.messages.positions import SnapshotRequested, TradeClosed
from tests.builders import NOW, a_plan, algo_update, order_update


def opened():
    """Return an open long of 0.010 whose stop, target and trail stand."""
    step = trade_life.on_leverage_set(trade_life.begin(a_plan(), NOW).trade, NOW)
    step = trade_life.on_accepted(step.trade, step.commands[0].client_id, "NEW", D(0), NOW)
    entry = order_update(step.trade, step.trade.entry_id, "FILLED", executed="0.010", trade_id=1, last="0.010")
    step = trade_life.on_order(step.trade, entry, NOW)
    for command in step.commands:
        step = trade_life.on_accepted(step.trade, command.client_id, "NEW", D(0), NOW)
    return step.trade


def filled(trade, client_id, quantity, *, side="SELL", number=7):
    return order_update(trade, client_id, "FILLED", executed=quantity, trade_id=number, side=side, last=quantity)


def told(trade, client_id, quantity, **how):
    return trade_life.on_order(trade, filled(trade, client_id, quantity, **how), NOW)


def placed(step):
    return [c for c in step.commands if isinstance(c, PlaceConditional)]


def cancelled(step):
    return [c.client_id for c in step.commands if isinstance(c, CancelOrder)]


def closed_by_fills():
    trade = trade_repair.close(opened(), "policy: enough", NOW).trade
    return told(trade, trade.close_id, "0.010")


def test_a_trade_that_its_fills_have_ended_leaves_its_stop_and_asks_whether_the_position_is_flat():
    step = closed_by_fills()
    assert (step.trade.phase, step.trade.stop_id) == ("closed", opened().stop_id)
    assert step.trade.stop_id not in cancelled(step)
    assert [type(e) for e in step.events] == [TradeClosed, SnapshotRequested]
    assert not is_under_way(step.trade), "nobody waits for it"
    assert not is_over(step.trade)


def test_what_the_account_shows_flat_takes_the_stop_back_again_and_again_until_it_is_gone():
    ended = closed_by_fills().trade
    for answer in (-1001, 0):
        step = trade_repair.on_position_gone(ended, NOW)
        assert cancelled(step) == [ended.stop_id]
        assert is_under_way(step.trade)
        step = trade_life.on_refused(step.trade, ended.stop_id, answer, "not now", NOW)
        assert (step.trade.stop_id, is_under_way(step.trade)) == (ended.stop_id, False)
    gone = trade_life.on_gone(trade_repair.on_position_gone(ended, NOW).trade, ended.stop_id, NOW).trade
    assert (is_over(gone), is_under_way(gone)) == (True, False)
    assert trade_repair.on_position_gone(gone, NOW).commands == ()


@pytest.mark.parametrize("status", ["CANCELED", "EXPIRED", "REJECTED", "TRIGGERED", "FINISHED"])
def test_a_stop_heard_or_found_to_have_ended_after_its_trade_stands_in_nobody_s_way(status):
    ended = closed_by_fills().trade
    assert is_over(trade_life.on_conditional(ended, algo_update(ended, ended.stop_id, status), NOW).trade)
    assert is_over(trade_life.on_accepted(ended, ended.stop_id, status, D(0), NOW).trade)
    assert not is_over(trade_life.on_conditional(ended, algo_update(ended, "qt-BTCUSDT-1-s9", status), NOW).trade)


def test_a_trade_that_its_own_stop_has_ended_leaves_none():
    trade = opened()
    step = told(trade, trade.stop_id, "0.010")
    assert is_over(step.trade)
    assert any(isinstance(e, SnapshotRequested) for e in step.events), "what others added is bare now"


def test_the_stop_of_somebody_else_is_neither_waited_for_nor_taken_back():
    trade = msgspec.structs.replace(opened(), stop_id="web_1", adopted=True)
    step = told(trade, "web_2", "0.010")
    assert is_over(step.trade)
    assert "web_1" not in cancelled(step)


def test_a_stop_acknowledged_after_the_end_protects_on_where_none_does_and_goes_where_nothing_was_ever_held():
    trade = msgspec.structs.replace(opened(), stop_id="")
    again = trade_repair.retry(trade, NOW)
    late = placed(again)[0].client_id
    ended = told(again.trade, "web_2", "0.010").trade
    step = trade_life.on_accepted(ended, late, "NEW", D(0), NOW)
    assert (step.trade.stop_id, step.commands) == (late, ())
    assert isinstance(step.events[0], SnapshotRequested)
    begun = trade_life.on_leverage_set(trade_life.begin(a_plan(), NOW).trade, NOW)
    gone = trade_repair.abandon(begun.trade, NOW, "enough")
    step = trade_life.on_accepted(gone.trade, begun.commands[0].client_id, "NEW", D(0), NOW)
    assert cancelled(step) == [begun.commands[0].client_id]
    assert not is_over(step.trade)


def test_a_position_that_somebody_turns_round_ends_its_trade_with_the_price_of_what_was_held():
    step = told(opened(), "web_1", "0.020")
    closed = step.events[0]
    assert (closed.quantity, closed.exit_price) == (D("0.010"), D(100_000))
    assert any(isinstance(e, SnapshotRequested) for e in step.events)


def test_what_is_added_is_bare_from_its_execution_on_until_the_larger_stop_stands():
    step = told(opened(), "web_1", "0.010", side="BUY")
    assert not is_covered(step.trade)
    assert step.trade.bare_from_ms == filled(step.trade, "web_1", "0.010").time_ms
    (stop,) = placed(step)
    assert stop.quantity == D("0.020")
    after = trade_life.on_accepted(step.trade, stop.client_id, "NEW", D(0), NOW)
    assert is_covered(after.trade)
    assert cancelled(after) == [opened().stop_id]


def test_what_is_added_while_a_close_is_under_way_is_protected_at_once_too():
    trade = trade_repair.close(opened(), "policy: enough", NOW).trade
    assert [c.quantity for c in placed(told(trade, "web_1", "0.010", side="BUY"))] == [D("0.020")]


def test_what_is_added_within_the_stop_s_size_needs_no_other_one():
    trade = told(opened(), "web_1", "0.006").trade
    step = told(trade, "web_1", "0.005", side="BUY", number=8)
    assert remaining(step.trade) == D("0.009")
    assert (is_covered(step.trade), step.commands) == (True, ())


def test_each_stop_counts_for_what_it_was_sent_for_in_whatever_order_they_are_acknowledged():
    first = told(opened(), "web_1", "0.010", side="BUY")
    second = told(first.trade, "web_1", "0.010", side="BUY", number=8)
    (small,), (large,) = placed(first), placed(second)
    trade = trade_life.on_accepted(second.trade, small.client_id, "NEW", D(0), NOW).trade
    assert (trade.stop_id, trade.stop_quantity, is_covered(trade)) == (small.client_id, D("0.020"), False)
    trade = trade_life.on_accepted(trade, large.client_id, "NEW", D(0), NOW).trade
    assert (trade.stop_quantity, is_covered(trade), trade.stops_sent) == (D("0.030"), True, ())


def test_a_stop_that_is_found_after_a_restart_takes_none_back_before_the_account_is_seen():
    first = told(opened(), "web_1", "0.010", side="BUY")
    second = told(first.trade, "web_1", "0.010", side="BUY", number=8)
    (small,), (large,) = placed(first), placed(second)
    trade = second.trade
    for stop in (large, small):
        found = OrderFound(
            client_id=stop.client_id,
            symbol="BTCUSDT",
            conditional=True,
            exchange_id=1,
            status="NEW",
            executed_quantity=D(0),
            average_price=D(0),
        )
        step = trade_life.on_found(trade, found, NOW, "")
        assert step.commands == ()
        trade = step.trade
    assert (trade.stop_id, trade.stop_quantity, trade.pending) == (large.client_id, D("0.030"), ())


def test_a_larger_stop_that_is_refused_is_tried_again_though_the_smaller_one_stands():
    trade = told(opened(), "web_1", "0.010", side="BUY").trade
    for _ in range(3):
        step = trade_life.on_refused(trade, trade.pending[-1], -1001, "internal error", NOW)
        assert [c.quantity for c in placed(step)] == [D("0.020")]
        trade = step.trade
    denied = trade_life.on_refused(trade, trade.pending[-1], 0, "not sent", NOW).trade
    assert is_bare(denied), "the timer sees to it"


def test_a_larger_stop_whose_price_is_passed_closes_it_all():
    trade = told(opened(), "web_1", "0.010", side="BUY").trade
    step = trade_life.on_refused(trade, trade.pending[-1], -2021, "would trigger at once", NOW)
    assert [(c.quantity, c.reduce_only) for c in step.commands if isinstance(c, PlaceOrder)] == [(D("0.020"), True)]


def entering():
    """Return a trade whose entry is on its way and whose stop stands."""
    step = trade_life.on_leverage_set(trade_life.begin(a_plan(), NOW).trade, NOW)
    return trade_life.on_accepted(step.trade, step.commands[0].client_id, "NEW", D(0), NOW).trade


@pytest.mark.parametrize("status", ["CANCELED", "EXPIRED", "REJECTED"])
def test_the_stop_of_an_entry_told_as_ended_without_a_fill_stays_until_the_account_shows_it_flat(status):
    trade = entering()
    step = trade_life.on_order(trade, order_update(trade, trade.entry_id, status, executed="0"), NOW)
    assert (step.trade.phase, step.trade.stop_id, step.commands) == ("abandoned", trade.stop_id, ())
    assert SnapshotRequested in [type(event) for event in step.events]
    assert cancelled(trade_repair.on_position_gone(step.trade, NOW)) == [trade.stop_id]


def test_an_entry_that_the_exchange_refused_has_its_stop_taken_back_at_once():
    trade = entering()
    assert cancelled(trade_life.on_refused(trade, trade.entry_id, -2019, "margin", NOW)) == [trade.stop_id]


@pytest.mark.parametrize("by", ["reply", "stream"])
def test_the_end_of_an_earlier_close_says_nothing_of_the_one_under_way(by):
    first = trade_repair.close(opened(), "policy: enough", NOW).trade
    part = order_update(first, first.close_id, "EXPIRED", executed="0.004", trade_id=7, side="SELL", last="0.004")
    second = trade_repair.close(trade_life.on_order(first, part, NOW).trade, "policy: enough", NOW).trade
    assert second.close_id != first.close_id
    late = order_update(first, first.close_id, "EXPIRED", executed="0.004", side="SELL")
    if by == "reply":
        after = trade_life.on_accepted(second, first.close_id, "EXPIRED", D("0.004"), NOW)
    else:
        after = trade_life.on_order(second, late, NOW)
    assert (after.trade.phase, after.trade.close_id, after.commands) == ("closing", second.close_id, ())
