"""Snapshots against the fills told: what is explained goes out, what is gone without a fill waits."""

from __future__ import annotations

from decimal import Decimal as D

from hypothesis import given
from hypothesis import strategies as st

from qt_actors.messages.orders import Fill
from qt_actors.messages.positions import AccountSnapshot
from qt_actors.venue.holdings import Holdings
from tests.builders import NOW, a_position, a_snapshot


def fill(trade_id: int, change: int) -> Fill:
    return Fill(
        symbol="BTCUSDT",
        trade_id=trade_id,
        order_id=1,
        client_id="q",
        side="BUY" if change > 0 else "SELL",
        price=D(1),
        quantity=abs(D(change)),
        commission=D(0),
        commission_asset="USDT",
        realized_pnl=D(0),
        maker=False,
        time_ms=NOW + 1000,
    )


def shown(quantity: int) -> AccountSnapshot:
    return a_snapshot(positions=(a_position(quantity=D(quantity)),) if quantity else ())


def holding(quantity: int) -> Holdings:
    holdings = Holdings()
    holdings.asked()
    holdings.passed(shown(quantity))
    return holdings


ROUNDS = st.lists(
    st.tuples(
        st.lists(st.integers(-3, 3).filter(bool), max_size=3),
        st.lists(st.integers(-3, 3).filter(bool), max_size=3),
        st.lists(st.integers(-3, 3).filter(bool), max_size=3),
    ),
    max_size=8,
)


@given(ROUNDS)
def test_while_the_stream_tells_every_fill_no_snapshot_waits_whatever_races_with_it(
    rounds: list[tuple[list[int], list[int], list[int]]],
) -> None:
    """Fills before a round is asked, before the exchange computed it, and between that and its answer."""
    holdings, position, number = holding(0), 0, 0
    for before, seen, unseen in rounds:
        for change in before:
            number, position = number + 1, position + change
            holdings.told(fill(number, change))
        holdings.asked()
        waiting = []
        for change in seen:
            number, position = number + 1, position + change
            waiting.append(fill(number, change))
        snapshot = shown(position)
        for change in unseen:
            number, position = number + 1, position + change
            waiting.append(fill(number, change))
        for one in waiting:
            holdings.told(one)
        assert holdings.lacking(snapshot) == ()
        holdings.passed(snapshot)


@given(
    st.integers(1, 5),
    st.lists(st.integers(1, 3), max_size=4),
)
def test_a_position_that_is_gone_without_its_fill_waits_until_the_fill_is_told(held: int, bought: list[int]) -> None:
    holdings = holding(held)
    for number, change in enumerate(bought, 1):
        holdings.told(fill(number, change))
    holdings.asked()
    assert holdings.lacking(shown(0)) == ("BTCUSDT",)
    holdings.told(fill(99, -held - sum(bought)))
    assert holdings.lacking(shown(0)) == ()


def test_a_trade_that_opened_and_closed_between_two_snapshots_is_missed_too() -> None:
    holdings = holding(0)
    holdings.told(fill(1, 2))
    holdings.asked()
    assert holdings.lacking(shown(0)) == ("BTCUSDT",)
    holdings.told(fill(2, -2))
    assert holdings.lacking(shown(0)) == ()


def test_a_position_whose_entry_was_never_told_does_not_explain_its_own_end() -> None:
    holdings = holding(0)
    holdings.asked()
    assert (holdings.unexplained(shown(2)), holdings.lacking(shown(2))) == (("BTCUSDT",), ())
    holdings.passed(shown(2))
    holdings.asked()
    assert holdings.lacking(shown(0)) == ("BTCUSDT",)
    holdings.told(fill(1, 2))
    assert holdings.lacking(shown(0)) == ("BTCUSDT",)
    holdings.told(fill(2, -2))
    assert holdings.lacking(shown(0)) == ()
    holdings.passed(shown(0))
    holdings.asked()
    assert holdings.unexplained(shown(0)) == ()


def test_smaller_and_turned_positions_wait_and_grown_and_new_ones_do_not() -> None:
    for quantity, waits in ((1, True), (-2, True), (-1, True), (3, False), (2, False)):
        assert bool(holding(2).lacking(shown(quantity))) is waits, quantity
    assert holding(0).lacking(shown(-4)) == ()


def test_what_was_passed_on_unexplained_is_the_truth_and_a_fill_told_too_late_changes_nothing() -> None:
    holdings = holding(2)
    holdings.asked()
    assert holdings.lacking(shown(0))
    holdings.passed(shown(0))
    holdings.asked()
    assert holdings.lacking(shown(0)) == ()
    holdings.passed(shown(0))
    holdings.told(fill(1, -2))
    holdings.asked()
    assert holdings.lacking(shown(0)) == ()
    holdings.passed(shown(0))
    holdings.told(fill(2, 3))
    holdings.asked()
    assert holdings.lacking(shown(0)) == ("BTCUSDT",), "the old difference was made good, and explains nothing more"


def test_a_snapshot_that_lags_behind_the_stream_makes_no_later_one_wait() -> None:
    holdings = holding(2)
    holdings.told(fill(1, -2))
    holdings.asked()
    assert holdings.lacking(shown(2)) == ()
    holdings.passed(shown(2))
    holdings.asked()
    assert holdings.lacking(shown(0)) == ()


def test_what_the_first_snapshot_shows_is_not_counted_again() -> None:
    holdings = Holdings()
    holdings.told(fill(1, 2))
    holdings.asked()
    holdings.told(fill(2, 1))
    assert holdings.lacking(shown(3)) == ()
    holdings.passed(shown(3))
    holdings.asked()
    assert holdings.lacking(shown(3)) == ()
    assert holdings.lacking(shown(1)) == ("BTCUSDT",)
