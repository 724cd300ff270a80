"""Entries under way: counted until their position is seen, and never for ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qt_actors.decisions import reservations
from qt_actors.decisions.ids import client_id
from qt_actors.messages.policy import ReservationReleased
from tests.builders import CLOSE_MS, a_plan, a_position, a_snapshot, a_stop

ID = f"BTCUSDT-{CLOSE_MS}"


def under_way(**changes):
    return {ID: reservations.Underway(plan=a_plan(), **changes)}


def released(outcome):
    return ReservationReleased(decision_id=ID, symbol="BTCUSDT", outcome=outcome)


def a_trade(facts, phase, **changes):
    return facts.trade(decision_id=ID, phase=phase, **changes)


def flat(serial=1, **changes):
    return a_snapshot(serial=serial, **{"positions": (), "conditionals": (), **changes})


def left(book, snapshot):
    return set(reservations.after_snapshot(book, snapshot)[0])


def test_a_filled_entry_ends_with_the_first_snapshot_surely_asked_for_after_its_fill():
    opened = reservations.after_release(under_way(), released("opened"), 7)
    assert left(opened, a_snapshot(serial=8)) == {ID}
    assert left(opened, a_snapshot(serial=9)) == set()


def test_a_filled_entry_that_the_account_does_not_show_yet_stays_reserved():
    assert left(reservations.after_release(under_way(), released("opened"), 7), flat(9)) == {ID}


def test_what_came_to_nothing_and_what_has_ended_reserve_nothing(facts):
    assert reservations.after_release(under_way(), released("stop refused"), 1) == {}
    for phase in ("abandoned", "closed"):
        assert reservations.after_trade_change(under_way(), a_trade(facts, phase), 1) == {}


def test_a_partly_filled_entry_is_reserved_whole_until_it_is_done(facts):
    entering = reservations.after_trade_change(under_way(), a_trade(facts, "entering"), 1)
    assert left(entering, a_snapshot(serial=9)) == {ID}
    arming = reservations.after_trade_change(entering, a_trade(facts, "arming"), 9)
    assert left(arming, a_snapshot(serial=11)) == set()


def test_an_entry_never_heard_of_ends_when_its_time_is_over_and_the_account_shows_nothing_of_it():
    assert left(under_way(), flat(50)) == {ID}
    kept, lost = reservations.after_snapshot(reservations.after_waiting(under_way(), ID), flat(50))
    assert (kept, lost) == ({}, (a_plan(),))


def test_a_late_entry_whose_order_still_rests_is_waited_for():
    resting = flat(50, conditionals=(a_stop(client_id=client_id("BTCUSDT", CLOSE_MS, "stop")),))
    assert left(reservations.after_waiting(under_way(), ID), resting) == {ID}


def test_a_late_entry_that_the_executor_holds_is_never_released_early(facts):
    held = reservations.after_trade_change(under_way(), a_trade(facts, "entering"), 1)
    assert left(reservations.after_waiting(held, ID), flat(50)) == {ID}


def test_after_a_restart_what_was_admitted_is_counted_again_and_known_trades_are_held(facts):
    book = reservations.recovered((a_plan(),), (a_trade(facts, "entering"), a_trade(facts, "open", adopted=True)))
    assert book[ID].held
    assert reservations.recovered((a_plan(),), ())[ID].held is False
    assert reservations.recovered((), (a_trade(facts, "open"),)) == {}


EVENTS = st.lists(
    st.one_of(
        st.sampled_from(["stopping", "entering", "late"]),
        st.booleans(),
    ),
    max_size=12,
)


@given(events=EVENTS)
def test_while_the_executor_is_entering_no_order_of_events_releases_the_risk(facts, events):
    book, serial = reservations.after_trade_change(under_way(), a_trade(facts, "stopping"), 0), 0
    for event in events:
        if event == "late":
            book = reservations.after_waiting(book, ID)
        elif isinstance(event, str):
            book = reservations.after_trade_change(book, a_trade(facts, event), serial)
        else:
            serial += 1
            held = (a_position(),) if event else ()
            book, lost = reservations.after_snapshot(book, flat(serial, positions=held))
            assert not lost
    assert set(book) == {ID}
