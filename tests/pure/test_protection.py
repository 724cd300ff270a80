from __future__ import annotations

from decimal import Decimal as D

import msgspec
import pytest

from qt_actors.decisions import trade_life
from qt_actors.decisions.protection import (
    Findings,
    adopt,
    covered_quantity,
    emergency_stop_price,
    examine,
    holdings_of,
    inside_liquidation,
)
from qt_actors.messages.positions import PositionVanished, ProtectPosition, TradeState
from tests.builders import NOW, a_plan, a_position, a_snapshot, a_stop, some_rules


def an_open_trade(**changes) -> TradeState:
    trade = trade_life.begin(a_plan(), NOW).trade
    held = msgspec.structs.replace(
        trade,
        phase="open",
        filled=D("0.010"),
        entry_price=D(100_000),
        stop_id=a_stop().client_id,
        target_quantity=D(0),
        trail_quantity=D(0),
    )
    return msgspec.structs.replace(held, **changes)


def missing(**changes) -> ProtectPosition:
    found = ProtectPosition(
        symbol="BTCUSDT",
        quantity=D("0.010"),
        entry_price=D(100_000),
        mark_price=D(100_000),
        liquidation_price=D(60_000),
        missing_quantity=D("0.010"),
        adopted=True,
    )
    return msgspec.structs.replace(found, **changes)


@pytest.mark.parametrize(
    ("change", "covered"),
    [
        ({}, "0.010"),
        ({"quantity": D("0.004")}, "0.004"),
        ({"quantity": D("0.5")}, "0.010"),
        ({"side": "BUY"}, "0"),
        ({"kind": "TAKE_PROFIT_MARKET"}, "0"),
        ({"kind": "TRAILING_STOP_MARKET"}, "0"),
        ({"reduce_only": False}, "0"),
        ({"reduce_only": False, "close_position": True, "quantity": D(0)}, "0.010"),
        ({"trigger_price": D(59_000)}, "0"),
        ({"trigger_price": None}, "0"),
        ({"conditional": False}, "0"),
        ({"symbol": "ETHUSDT"}, "0"),
    ],
)
def test_only_a_reducing_stop_of_the_right_side_inside_liquidation_covers(change, covered):
    assert covered_quantity(a_position(), (a_stop(**change),)) == D(covered)


def test_two_partial_stops_cover_together_and_never_more_than_the_position():
    stops = (a_stop(quantity=D("0.006")), a_stop(quantity=D("0.006"), client_id="other"))
    assert covered_quantity(a_position(), stops) == D("0.010")


def test_a_short_is_covered_by_a_buy_stop_below_its_liquidation():
    short = a_position(quantity=D("-0.010"), liquidation_price=D(140_000))
    assert covered_quantity(short, (a_stop(side="BUY", trigger_price=D(102_000)),)) == D("0.010")
    assert covered_quantity(short, (a_stop(side="BUY", trigger_price=D(141_000)),)) == D(0)


def test_a_covered_book_has_no_findings():
    found = examine(a_snapshot(), {"BTCUSDT": an_open_trade()})
    assert found == Findings()


def test_a_position_without_a_stop_is_found_with_the_quantity_that_is_missing():
    (bare,) = examine(a_snapshot(conditionals=(a_stop(quantity=D("0.003")),)), {"BTCUSDT": an_open_trade()}).unprotected
    assert (bare.missing_quantity, bare.adopted) == (D("0.007"), False)


def test_a_position_we_never_opened_is_to_be_adopted():
    (bare,) = examine(a_snapshot(conditionals=()), {}).unprotected
    assert bare.adopted


def test_a_trade_that_changed_after_the_snapshot_was_asked_for_is_not_judged_by_it():
    younger = an_open_trade(changed_ms=a_snapshot().requested_ms + 1)
    assert examine(a_snapshot(conditionals=()), {"BTCUSDT": younger}).waiting == {"BTCUSDT"}
    assert examine(a_snapshot(positions=()), {"BTCUSDT": younger}).vanished == ()


def test_a_trade_with_an_answer_outstanding_is_measured_at_once_and_judged_when_patience_ends():
    waiting = an_open_trade(pending=("qt-BTCUSDT-x-s1",))
    soon = examine(a_snapshot(conditionals=()), {"BTCUSDT": waiting})
    assert [p.symbol for p in soon.unprotected] == ["BTCUSDT"]
    assert soon.waiting == {"BTCUSDT"}
    late = a_snapshot(conditionals=(), requested_ms=NOW + 60_000)
    assert examine(late, {"BTCUSDT": waiting}).waiting == frozenset()


def test_a_target_and_a_trail_that_the_exchange_does_not_show_are_to_be_placed_again():
    armed = an_open_trade(target_quantity=D("0.005"), trail_quantity=D("0.005"), target_id="t", trail_id="r")
    (found,) = examine(a_snapshot(), {"BTCUSDT": armed}).unarmed
    assert (found.target, found.trail) == (True, True)
    done = msgspec.structs.replace(armed, exits=("target",), target_filled=D("0.005"), exited=D("0.005"))
    (found,) = examine(a_snapshot(positions=(a_position(quantity=D("0.005")),)), {"BTCUSDT": done}).unarmed
    assert (found.target, found.trail) == (False, True)


def test_a_target_under_way_does_not_delay_the_stop_and_a_stop_under_way_does():
    for purpose, waits in (("t", False), ("r", False), ("s", True), ("c", True), ("e", True)):
        waiting = an_open_trade(pending=(f"qt-BTCUSDT-sxwkn4-{purpose}1",))
        found = examine(a_snapshot(conditionals=()), {"BTCUSDT": waiting})
        assert (found.waiting == {"BTCUSDT"}) == waits


def test_a_missing_stop_waits_two_seconds_for_one_under_way_and_fifteen_for_an_entry():
    for purpose, waits_ms in (("s", 2_000), ("c", 2_000), ("e", 15_000)):
        trade = an_open_trade(pending=(f"qt-BTCUSDT-sxwkn4-{purpose}1",))
        for after_ms, waits in ((waits_ms, True), (waits_ms + 1, False)):
            found = examine(a_snapshot(conditionals=(), requested_ms=NOW + after_ms), {"BTCUSDT": trade})
            assert (found.waiting == {"BTCUSDT"}) == waits


def test_a_position_that_outlasts_its_close_is_told_once_the_close_has_been_answered():
    closing = an_open_trade(phase="closing", pending=("qt-BTCUSDT-sxwkn4-c1",))
    assert examine(a_snapshot(), {"BTCUSDT": closing}).resized == ()
    (left,) = examine(a_snapshot(), {"BTCUSDT": msgspec.structs.replace(closing, pending=())}).resized
    assert left.quantity == D("0.010")


def test_a_doubted_entry_is_told_by_the_position_there_or_not_there():
    doubted = an_open_trade(phase="entering", filled=D(0), entry_doubted=True)
    assert examine(a_snapshot(positions=()), {"BTCUSDT": doubted}).vanished == (PositionVanished(symbol="BTCUSDT"),)
    (seen,) = examine(a_snapshot(), {"BTCUSDT": doubted}).resized
    assert seen.quantity == D("0.010")
    sure = msgspec.structs.replace(doubted, entry_doubted=False)
    assert examine(a_snapshot(positions=()), {"BTCUSDT": sure}).vanished == ()


def test_a_position_of_another_size_than_the_book_s_is_resized_and_nothing_is_rearmed_by_it():
    armed = an_open_trade(target_quantity=D("0.005"), target_id="t")
    found = examine(a_snapshot(positions=(a_position(quantity=D("0.005")),)), {"BTCUSDT": armed})
    assert found.unarmed == ()
    assert [(r.symbol, r.quantity) for r in found.resized] == [("BTCUSDT", D("0.005"))]


def test_a_covered_position_without_a_living_trade_is_unknown_and_keeps_its_stop():
    for trades in ({}, {"BTCUSDT": an_open_trade(phase="closed")}):
        (found,) = examine(a_snapshot(), trades).unknown
        assert (found.missing_quantity, found.stop, found.adopted) == (D(0), a_stop(), True)


def test_an_order_of_an_earlier_trade_is_an_orphan_beside_the_living_one():
    old = a_stop(client_id="qt-BTCUSDT-aaaaaa-t0", kind="TAKE_PROFIT_MARKET", trigger_price=D(101_000))
    found = examine(a_snapshot(conditionals=(a_stop(), old)), {"BTCUSDT": an_open_trade()})
    assert [o.client_id for o in found.orphans] == [old.client_id]


def test_a_trade_that_has_ended_leaves_its_stop_until_a_snapshot_younger_than_its_entry_shows_it_flat():
    ended = an_open_trade(phase="closed", exited=D("0.010"), opened_ms=NOW + 999, changed_ms=NOW + 5000)
    flat = a_snapshot(positions=())
    left = (PositionVanished(symbol="BTCUSDT"),)
    assert examine(flat, {"BTCUSDT": ended}).left == left
    assert examine(a_snapshot(positions=(), requested_ms=NOW + 999), {"BTCUSDT": ended}).left == ()
    assert examine(a_snapshot(), {"BTCUSDT": ended}).left == ()
    assert examine(flat, {"BTCUSDT": msgspec.structs.replace(ended, stop_id="")}).left == ()
    assert examine(flat, {"BTCUSDT": an_open_trade()}).left == ()


def test_a_rest_that_outlasts_its_trade_is_taken_in_with_the_stop_that_was_left_even_if_that_covers_a_part_only():
    ended = an_open_trade(phase="closed", exited=D("0.010"))
    found = examine(a_snapshot(positions=(a_position(quantity=D("0.025")),)), {"BTCUSDT": ended}).unprotected[0]
    trade = adopt(found, None, D("0.02"), NOW)
    assert (found.missing_quantity, found.adopted) == (D("0.015"), True)
    assert (trade.stop_id, trade.stop_price, trade.stop_quantity) == (a_stop().client_id, D("98000.0"), D("0.010"))


def test_stops_of_others_that_cover_a_part_only_are_not_taken_for_ours():
    theirs = a_snapshot(conditionals=(a_stop(client_id="web_1", quantity=D("0.004")),))
    assert examine(theirs, {}).unprotected[0].stop is None


def test_an_adopted_position_needs_the_stops_before_it_until_its_own_stands_for_all_of_it():
    trade = an_open_trade(adopted=True, decision_id=f"BTCUSDT-{NOW + 60_000}", stop_id="qt-BTCUSDT-sxwkp0-s0")
    own = a_stop(client_id=trade.stop_id, exchange_id=2)
    small = msgspec.structs.replace(own, quantity=D("0.009"))
    for stops, orphans in (((a_stop(), small), []), ((a_stop(), own), [a_stop().client_id])):
        found = examine(a_snapshot(conditionals=stops), {"BTCUSDT": trade})
        assert [o.client_id for o in found.orphans] == orphans


def test_another_stop_of_the_trade_is_surplus_only_once_its_newest_alone_covers_the_position():
    newest = a_stop(client_id="qt-BTCUSDT-sxwkn4-s3", exchange_id=3)
    trade = an_open_trade(stop_id=newest.client_id)
    snapshot = a_snapshot(conditionals=(a_stop(), newest))
    assert [o.client_id for o in examine(snapshot, {"BTCUSDT": trade}).orphans] == [a_stop().client_id]
    assert examine(snapshot, {"BTCUSDT": msgspec.structs.replace(trade, pending=(a_stop().client_id,))}).orphans == ()
    larger = msgspec.structs.replace(snapshot, positions=(a_position(quantity=D("0.011")),))
    assert examine(larger, {"BTCUSDT": trade}).orphans == ()


def test_an_emergency_stop_without_rules_has_few_digits():
    found = missing(mark_price=D("1579.12372820"), liquidation_price=D(0))
    assert emergency_stop_price(found, None, D("0.02")) == D(1548)


def test_a_trade_whose_position_is_gone_is_found():
    assert examine(a_snapshot(positions=()), {"BTCUSDT": an_open_trade()}).vanished == (
        PositionVanished(symbol="BTCUSDT"),
    )


def test_orders_of_ours_without_position_or_trade_are_orphans_and_foreign_ones_are_left_alone():
    orders = (a_stop(), a_stop(client_id="web_1"))
    found = examine(a_snapshot(positions=(), conditionals=orders), {})
    assert [o.client_id for o in found.orphans] == [a_stop().client_id]


def test_the_stop_of_an_entry_under_way_is_no_orphan():
    entering = an_open_trade(phase="entering", filled=D(0))
    assert examine(a_snapshot(positions=()), {"BTCUSDT": entering}).orphans == ()


@pytest.mark.parametrize(
    ("quantity", "mark", "liquidation", "price"),
    [("1", 100_000, 60_000, "98000.0"), ("1", 100_000, 99_000, "99200.0"), ("-1", 100_000, 101_000, "100800.0")],
)
def test_an_emergency_stop_lies_between_mark_and_liquidation(quantity, mark, liquidation, price):
    found = missing(quantity=D(quantity), mark_price=D(mark), liquidation_price=D(liquidation))
    assert emergency_stop_price(found, some_rules(), D("0.02")) == D(price)


@pytest.mark.parametrize(
    ("quantity", "stop", "liquidation", "price"),
    [("1", 98_000, 60_000, "98000"), ("1", 98_000, 99_000, "99200.0"), ("-1", 102_000, 101_000, "100800.0")],
)
def test_a_stop_that_liquidation_would_forestall_is_drawn_in(quantity, stop, liquidation, price):
    found = missing(quantity=D(quantity), liquidation_price=D(liquidation))
    assert inside_liquidation(D(stop), found, some_rules()) == D(price)


def test_an_adopted_position_keeps_the_stop_it_already_has():
    found = missing(stop=a_stop(client_id="web_1", trigger_price=D(97_000)), missing_quantity=D(0))
    trade = adopt(found, some_rules(), D("0.02"), NOW)
    assert (trade.stop_id, trade.stop_price, trade.adopted, trade.phase) == ("web_1", D(97_000), True, "open")


def test_admission_sees_the_farthest_stop_and_none_where_cover_is_partial():
    (holding,) = holdings_of(a_snapshot(conditionals=(a_stop(), a_stop(trigger_price=D(97_000)))))
    assert holding.stop_price == D(97_000)
    (bare,) = holdings_of(a_snapshot(conditionals=(a_stop(quantity=D("0.001")),)))
    assert bare.stop_price is None
