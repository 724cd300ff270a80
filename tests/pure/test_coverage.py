"""Time without a stop, told by any mixture of snapshots and trade changes, never less than there was."""

from __future__ import annotations

from decimal import Decimal as D

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qt_actors.decisions import trade_life
from qt_actors.decisions.coverage import after_recovery, after_snapshot, after_trade, bare_symbols, covered_since
from tests.builders import NOW, a_plan, a_position, a_snapshot, a_stop


def held(at_ms, stop_id="s0", **changes):
    trade = trade_life.begin(a_plan(), NOW).trade
    held = msgspec.structs.replace(trade, phase="open", filled=D("0.010"), stop_id=stop_id, changed_ms=NOW + at_ms)
    return msgspec.structs.replace(held, **changes)


def added(told_ms, stop_id="s0", stop_quantity="0.010", *, at_ms=0, **changes):
    more = {"filled": D("0.020"), "stop_quantity": D(stop_quantity), "bare_from_ms": NOW + at_ms if at_ms else 0}
    return held(told_ms, stop_id, **more, **changes)


def seen(at_ms, *created_ms, **changes):
    stops = tuple(a_stop(created_ms=NOW + c, client_id=f"s{c}") for c in created_ms)
    return a_snapshot(requested_ms=NOW + at_ms, conditionals=stops, **changes)


def total(*told):
    covers, spent = {}, 0
    for message in told:
        fold = after_trade if hasattr(message, "phase") else after_snapshot
        covers, more = fold(covers, message)
        assert more >= 0
        spent += more
    return spent, bare_symbols(covers)


@pytest.mark.parametrize(
    ("told", "spent_ms", "bare"),
    [
        ((held(0), seen(1000, 0)), 0, ()),
        ((held(0), seen(1000), seen(2000, 0)), 0, ()),  # one snapshot between two requests
        ((held(0), seen(1000), seen(2000)), 2000, ("BTCUSDT",)),
        ((held(0), seen(1000), seen(2000), seen(3000, 2500)), 2500, ()),
        ((held(0), held(500, ""), held(700, "s1")), 200, ()),
        ((held(0), held(500, ""), held(900, "", phase="closed")), 400, ()),
        ((held(0), held(500, ""), held(700, "s1"), seen(1000, 650)), 200, ()),
        ((held(0), held(500, "s1"), seen(1000, 450)), 0, ()),  # moved: the new stop stood before the old one went
        ((held(0), seen(1000, 0), seen(9000, 4000)), 3000, ()),  # replaced, and nobody told us
        ((held(0), held(500, ""), seen(400, 0), held(700, "s1")), 200, ()),  # a snapshot older than the news
        ((held(0), held(500, ""), seen(5000, positions=())), 4500, ()),
        ((held(0), seen(60_000_000, 0)), 0, ()),  # a restart: the journal's last word, then the same stop
        ((held(0), seen(1000), held(1200, "s1")), 1200, ()),  # seen bare once, and a stop placed before the second look
        ((held(0), seen(1000), held(1200, phase="closed", exits=("policy",))), 1200, ()),  # closed before it
        ((held(0), seen(1000), held(1200, phase="closed", exits=("target", "stop"))), 0, ()),  # its stop was there
        ((seen(1000), seen(2000), held(2500, filled=D(0), phase="entering")), 2000, ("BTCUSDT",)),  # not of it
        ((seen(1000), seen(3000)), 3000, ("BTCUSDT",)),  # opened at NOW, not by us, without a stop
        ((seen(1000), seen(2000, 1500)), 1500, ()),  # first seen bare, covered since
        ((seen(1000, -5),), 0, ()),  # its stop was there first
        ((held(0), added(700, at_ms=500)), 0, ("BTCUSDT",)),  # somebody added to it
        ((held(0), added(700, at_ms=500), added(900, "s1", "0.020")), 400, ()),
        ((held(0), added(700, at_ms=500), added(900, exited=D("0.010"))), 400, ()),  # and took it away again
        ((held(0), seen(600, 0), added(700, at_ms=500), added(900, "s1", "0.020")), 300, ()),  # proven meanwhile
    ],
)
def test_the_time_without_a_stop_is_the_time_without_a_proof(told, spent_ms, bare):
    assert total(*told) == (spent_ms, bare)


@pytest.mark.parametrize(
    ("told", "spent_ms"),
    [
        ((held(0), seen(60_200), seen(60_300, 60_250)), 1_250),  # cancelled while nobody lived: since the last look
        ((held(0), seen(60_200, 0)), 0),  # it stood all the time
        ((held(0, ""), seen(60_200), seen(60_300, 60_250)), 60_250),  # left bare: no look has covered it
        ((held(59_500), seen(60_200), seen(60_300, 60_250)), 750),  # changed after the last look
    ],
)
def test_a_former_life_that_looked_has_proven_what_it_left_as_covered(told, spent_ms):
    covers, spent = {}, 0
    for message in told:
        if hasattr(message, "phase"):
            covers = after_recovery(after_trade(covers, message)[0], NOW + 59_000)
        else:
            covers, more = after_snapshot(covers, message)
            spent += more
    assert (spent, bare_symbols(covers)) == (spent_ms, ())


def test_a_former_life_s_look_does_not_settle_a_doubt_of_this_one():
    doubtful = after_snapshot({}, seen(100))[0]
    assert after_recovery(doubtful, NOW + 90) == doubtful


def test_two_partial_stops_cover_since_the_younger_one():
    stops = (a_stop(quantity=D("0.006"), created_ms=5), a_stop(quantity=D("0.004"), created_ms=9, client_id="b"))
    assert covered_since(a_position(), stops) == 9
    assert covered_since(a_position(), stops[:1]) is None


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 5_000)), min_size=1, max_size=12),
    st.lists(st.booleans(), max_size=12),
)
def test_what_is_counted_is_never_less_than_what_was_bare_and_told(spans, looks):
    """A stop comes and goes; the executor tells every change, snapshots come in between or not."""
    at, told, bare_ms, stop_ms = 0, [held(0)], 0, 0
    for number, (covered, lasts) in enumerate(spans):
        told.append(held(at, f"s{number}" if covered else ""))
        stop_ms = at if covered else stop_ms
        bare_ms += 0 if covered else lasts
        if number < len(looks) and looks[number] and lasts > 1:
            told.append(seen(at + lasts // 2, *([stop_ms] if covered else [])))
        at += lasts
    told.append(held(at, "last"))
    assert total(*told) == (bare_ms, ())
