"""Stops that somebody takes away: named, counted over all trades, and no entry while they do not stay."""

from __future__ import annotations

import logging
from decimal import Decimal as D

import msgspec
import pytest

from qt_actors.decisions.trade_state import ATTEMPTS_MAX
from qt_actors.kernel import Crash
from qt_actors.messages import orders
from qt_actors.messages.positions import ProtectPosition, TradeClosed, TradesRecovered
from qt_actors.messages.system import HealthReported, IncidentSeen
from qt_actors.trading.refusals import LOST_MAX, LOST_REAL_MS, PAUSE_REAL_MS
from tests.builders import NOW, algo_update, order_update
from tests.executor_house import PATH, House, know_the_rules


@pytest.fixture
def house():
    house = House()
    yield house
    house.runtime.stop()


def newest_stop(house):
    sent = house.sent(orders.PlaceConditional)
    return [c for c in sent if (c.kind, c.symbol) == ("STOP_MARKET", "BTCUSDT")][-1]


def take_away(house, trade, status="CANCELED"):
    """The stop goes; the one that replaces it is accepted."""
    gone = newest_stop(house)
    house.tell(algo_update(trade, gone.client_id, status))
    if newest_stop(house) != gone:
        house.accept(newest_stop(house))


def health(house):
    return [(m.health, m.reason) for m in house.watcher.heard if isinstance(m, HealthReported)][1:]


def incidents(house):
    return [m.kind for m in house.recorder.heard if isinstance(m, IncidentSeen)]


def found(**changes):
    facts = {
        "symbol": "ETHUSDT",
        "quantity": D(-2),
        "entry_price": D(3000),
        "mark_price": D(3100),
        "liquidation_price": D(3500),
        "missing_quantity": D(2),
        "adopted": True,
    }
    return ProtectPosition(**{**facts, **changes})


def test_three_stops_lost_within_a_minute_stop_entries_and_accepted_ones_do_not_end_that(house):
    trade = house.open()
    for _ in range(LOST_MAX):
        assert health(house) == []
        take_away(house, trade)
    assert health(house) == [(0, "stops do not stay: 3 lost within 60 s; no entries for 5 min")]
    house.runtime.run_for(PAUSE_REAL_MS - 1)
    assert len(health(house)) == 1
    house.runtime.run_for(1)
    assert health(house)[1:] == [(100, "")]


def test_stops_lost_a_minute_apart_stop_nothing(house):
    trade = house.open()
    for _ in range(LOST_MAX + 1):
        take_away(house, trade)
        house.runtime.run_for(LOST_REAL_MS / (LOST_MAX - 1) + 1)
    assert health(house) == []


def test_the_pause_goes_on_while_stops_are_still_being_lost(house):
    trade = house.open()
    for _ in range(LOST_MAX):
        take_away(house, trade)
    house.runtime.run_for(PAUSE_REAL_MS - 1_000)
    for _ in range(LOST_MAX):
        take_away(house, trade)
    house.runtime.run_for(PAUSE_REAL_MS)
    assert [told for told, _ in health(house)] == [0]
    house.runtime.run_for(1_000)
    assert [told for told, _ in health(house)] == [0, 100]


def test_a_stop_that_triggers_and_one_that_we_move_are_no_loss(house):
    trade = house.open()
    for number in range(2, 2 + LOST_MAX):
        old = newest_stop(house)
        grown = {"executed": "0.005", "last": "0.005", "side": "BUY"}
        house.tell(order_update(trade, f"web_{number}", "FILLED", trade_id=number, **grown))
        house.accept(newest_stop(house))
        house.tell(algo_update(trade, old.client_id, "CANCELED"))
    house.tell(algo_update(trade, newest_stop(house).client_id, "TRIGGERED"))
    assert health(house) == []
    assert "stop lost" not in incidents(house)


def test_losses_that_only_the_account_shows_count_too(house):
    know_the_rules(house)
    house.open()
    shown = found(symbol="BTCUSDT", quantity=D("0.010"), mark_price=D(100_000), liquidation_price=D(60_000))
    for _ in range(LOST_MAX):
        house.tell(msgspec.structs.replace(shown, missing_quantity=D("0.010"), adopted=False))
        house.accept(newest_stop(house))
    assert [told for told, _ in health(house)] == [0]


def test_a_trade_whose_stop_cannot_be_kept_says_so_when_it_is_closed_and_no_entry_follows(house, caplog):
    trade = house.open()
    for _ in range(ATTEMPTS_MAX + 1):
        take_away(house, trade)
        house.runtime.run_for(LOST_REAL_MS)  # too slowly for the other count
    close = house.sent(orders.PlaceOrder)[-1]
    sold = {"executed": "0.010", "last": "0.010", "side": "SELL"}
    with caplog.at_level(logging.INFO, "qt.executor"):
        house.tell(order_update(trade, close.client_id, "FILLED", trade_id=7, **sold))
    closed = house.watcher.fish(TradeClosed)
    assert (closed.exit_reason, closed.exits) == ("unprotected", ("unprotected",))
    assert incidents(house).count("stop could not be kept") == 1
    assert "LONG 0.01 because its stop could not be kept" in caplog.text
    assert [told for told, _ in health(house)] == [0]
    assert "the stop of BTCUSDT could not be kept: the stop ended CANCELED" in health(house)[0][1]


def test_a_stop_whose_price_is_passed_closes_its_trade_and_stops_no_entries(house):
    trade = house.open()
    house.tell(algo_update(trade, newest_stop(house).client_id, "CANCELED"))
    stop = newest_stop(house)
    said = {"client_id": stop.client_id, "symbol": stop.symbol, "conditional": True}
    house.tell(orders.OrderRejected(**said, code=-2021, reason="would trigger"))
    assert house.sent(orders.PlaceOrder)[-1].reduce_only
    assert incidents(house).count("stop could not be kept") == 1
    assert health(house) == []


def test_an_adopted_position_is_named_with_its_side_its_size_and_its_stop(house):
    know_the_rules(house)
    house.tell(found())
    told = house.recorder.fish(IncidentSeen)
    assert (told.kind, told.subject) == ("adopted position", "ETHUSDT")
    assert told.detail == "SHORT 2, opened from outside; stop at 3,162; 2 of it had no stop"


def test_the_log_names_a_stop_lost_again(house, caplog):
    with caplog.at_level(logging.WARNING, "qt.executor"):
        trade = house.open()
        take_away(house, trade)
        assert caplog.records == []
        take_away(house, trade, "EXPIRED")
    (again,) = [record.getMessage() for record in caplog.records]
    assert again.startswith("BTCUSDT has lost its stop again, 2 times by now: qt-BTCUSDT-")
    assert again.endswith("EXPIRED")


def test_a_former_process_has_looked_until_its_last_equity_and_a_former_incarnation_is_still_watched(house):
    house.past.looked_ms = NOW - 4_000
    house.runtime.inject(Crash(PATH, house.runtime.handled(PATH) + 1))
    house.tell("anything")
    house.runtime.run_for(5_000)
    told = [m.looked_ms for m in house.watcher.heard if isinstance(m, TradesRecovered)]
    assert told == [0, 0]


def test_a_process_that_starts_tells_when_the_former_one_looked_last():
    house = House(looked_ms=NOW - 4_000)
    assert house.watcher.fish(TradesRecovered).looked_ms == NOW - 4_000
    house.runtime.stop()
