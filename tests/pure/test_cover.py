from __future__ import annotations

from decimal import Decimal as D

import pytest

from qt_actors.decisions.cover import NAMED_MAX, cover_text, opening_orders, opening_text
from tests.builders import a_position, a_snapshot, a_stop

ETH = a_position(symbol="ETHUSDT", quantity=D(-2), liquidation_price=D(0))


@pytest.mark.parametrize(
    ("snapshot", "text", "well"),
    [
        (None, "is NOT known", False),
        (a_snapshot(positions=()), "no position is open", True),
        (a_snapshot(), "1 position stays open, all covered by stops on the exchange: BTCUSDT", True),
        (a_snapshot(conditionals=()), "1 position stays open, 1 NOT covered by a stop on the exchange: BTCUSDT", False),
        (a_snapshot(conditionals=(a_stop(quantity=D("0.004")),)), "BTCUSDT (0.006 of 0.010)", False),
        (a_snapshot(positions=(a_position(), ETH)), "2 positions stay open, 1 NOT covered", False),
        (a_snapshot(positions=(a_position(), ETH)), ": ETHUSDT (2 of 2)", False),
    ],
)
def test_what_is_said_at_the_stop_is_what_the_exchange_showed(snapshot, text, well):
    said, all_well = cover_text(snapshot)
    assert text in said
    assert all_well == well


def theirs(**changes):
    """A limit order to buy that somebody else placed."""
    order = {"client_id": "web_1", "kind": "LIMIT", "side": "BUY", "trigger_price": None, "conditional": False}
    return a_stop(**{**order, "price": D("1.90"), "reduce_only": False, "quantity": D(100), **changes})


def test_resting_orders_of_others_that_can_open_a_position_are_named():
    stop_entry = theirs(symbol="SOLUSDT", kind="STOP_MARKET", trigger_price=D(150), price=None, conditional=True)
    started = theirs(symbol="XRPUSDT", executed_quantity=D(40))
    shown = a_snapshot(orders=(started, theirs(reduce_only=True)), conditionals=(a_stop(), stop_entry))
    assert opening_orders(shown) == ("XRPUSDT BUY 60 @ 1.9", "SOLUSDT BUY 100 @ 150")
    assert opening_text(opening_orders(shown)[:1]) == "1 opening order of others rests: XRPUSDT BUY 60 @ 1.9"


def test_our_own_orders_and_those_that_only_close_are_not_told_as_orders_of_others():
    ours, closing = a_stop(reduce_only=False, kind="LIMIT"), theirs(reduce_only=False, close_position=True)
    assert opening_orders(a_snapshot(orders=(ours, closing))) == ()
    assert opening_orders(None) == ()
    assert opening_text(()) == ""


def test_of_many_orders_of_others_some_are_named_and_the_rest_is_counted():
    told = opening_text([f"S{n}USDT BUY 1" for n in range(NAMED_MAX + 3)])
    assert told.startswith("8 opening orders of others rest: S0USDT BUY 1, ")
    assert told.endswith("S4USDT BUY 1, 3 more")
