from __future__ import annotations

from decimal import Decimal as D

import pytest

from qt_actors.decisions.cover import cover_text
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
