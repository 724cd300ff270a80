"""Fills and charges that only the ledger knows, and fills that never reached the disk."""

from __future__ import annotations

import pytest

from qt_actors.messages.orders import Fill
from qt_actors.messages.requests import LedgerLoadRequested, LedgerSyncRequested
from qt_actors.venue.ledger import KNOWN_MAX, LACKING_SYNCS_MAX, OVERLAP_MS, Ledger
from tests.account_house import DAY, NOW, House, a_fill, an_update, commission, synced


@pytest.fixture
def house() -> House:
    return House()


def test_a_fill_that_only_the_ledger_knows_is_fetched_and_told_once(house: House) -> None:
    house.tell(an_update(a_fill(1)))
    house.tell(LedgerSyncRequested(reason="test"))
    assert len(house.asked(LedgerLoadRequested)) == 2
    house.tell(synced(commission(1), commission(2, NOW + 5), commission(3, NOW + 9, "ETHUSDT")))
    request = house.asked(LedgerLoadRequested)[-1]
    assert (request.since_ms, request.symbols) == (NOW + 5, ("BTCUSDT", "ETHUSDT"))
    house.tell(
        a_fill(1), a_fill(2), a_fill(3, symbol="ETHUSDT"), synced(commission(2), commission(3, symbol="ETHUSDT"))
    )
    told = [m.trade_id for m in house.executor.heard if isinstance(m, Fill)]
    assert told == [2, 3]
    assert len(house.asked(LedgerLoadRequested)) == 3
    house.tell(an_update(a_fill(2)))
    assert [m.trade_id for m in house.executor.heard if isinstance(m, Fill)] == [2, 3]


def test_a_commission_without_a_fill_is_an_incident_and_no_endless_question(house: House) -> None:
    before = len(house.asked(LedgerLoadRequested))
    for n in range(LACKING_SYNCS_MAX + 3):
        assert len(house.incidents()) == (n >= LACKING_SYNCS_MAX)
        house.tell(LedgerSyncRequested(reason="test"), synced(commission(7), commission(8, NOW + DAY)))
        house.tell(a_fill(8), synced(commission(7), commission(8, NOW + DAY)))
    assert any("BTCUSDT" in detail for detail in house.incidents())
    asked = house.asked(LedgerLoadRequested)[before:]
    assert len(asked) == LACKING_SYNCS_MAX * 2 + 3
    assert asked[-1].since_ms == NOW + DAY - OVERLAP_MS


def test_a_fill_that_appears_later_than_its_commission_is_still_told(house: House) -> None:
    house.tell(LedgerSyncRequested(reason="test"), synced(commission(7), commission(8, NOW + DAY)))
    house.tell(a_fill(8), synced(commission(7), commission(8, NOW + DAY)))
    house.tell(LedgerSyncRequested(reason="test"))
    assert house.asked(LedgerLoadRequested)[-1].since_ms <= NOW
    house.tell(synced(commission(7), commission(8, NOW + DAY)))
    house.tell(a_fill(7), a_fill(8), synced(commission(7)))
    assert [m.trade_id for m in house.executor.heard if isinstance(m, Fill)] == [8, 7]
    assert house.incidents() == []


def test_the_next_sync_begins_where_the_last_one_ended(house: House) -> None:
    house.tell(an_update(a_fill(1)), LedgerSyncRequested(reason="test"), synced(commission(1, NOW)))
    house.runtime.run_for(61_000)
    assert house.asked(LedgerLoadRequested)[-1].since_ms == NOW - OVERLAP_MS


def test_the_ledger_forgets_the_oldest_fills_and_never_more_than_it_may_keep() -> None:
    ledger = Ledger(0)
    for trade_id in range(KNOWN_MAX + 10):
        ledger.told(a_fill(trade_id))
    assert ledger.found(a_fill(3))
    assert not ledger.found(a_fill(KNOWN_MAX))


def test_a_fill_that_never_reached_the_disk_is_asked_for_again_and_told_once(house: House) -> None:
    house.tell(an_update(a_fill(1)), an_update(a_fill(2)))
    house.past.charges.append(("BTCUSDT", 1, NOW))
    house.tell(LedgerSyncRequested(reason="test"), synced())
    assert house.asked(LedgerLoadRequested)[-1].symbols == ()
    house.tell(LedgerSyncRequested(reason="test"), synced())
    assert house.asked(LedgerLoadRequested)[-1].symbols == ("BTCUSDT",)
    house.tell(a_fill(1), a_fill(2), a_fill(1), synced())
    assert [m.trade_id for m in house.executor.heard if isinstance(m, Fill)] == [1]


def test_a_fill_that_an_earlier_life_lost_is_asked_for_with_the_first_ledger() -> None:
    house = House(started=False, charges=(("BTCUSDT", 7, NOW - 2 * DAY), ("ETHUSDT", 8, NOW - 8 * DAY)))
    house.tell(synced())
    request = house.asked(LedgerLoadRequested)[-1]
    assert (request.since_ms, request.symbols) == (NOW - 2 * DAY, ("BTCUSDT",))
    house.tell(a_fill(7, time_ms=NOW - 2 * DAY), synced())
    assert [m.trade_id for m in house.executor.heard if isinstance(m, Fill)] == [7]


def test_an_old_fill_told_late_makes_no_snapshot_wait(house: House) -> None:
    house.tell(a_fill(7, time_ms=NOW - DAY))
    before = len(house.snapshots())
    house.ask_a_round()
    assert len(house.snapshots()) == before + 1


def test_a_fill_that_is_nowhere_to_be_found_is_not_asked_for_without_an_end() -> None:
    house = House(started=False, charges=(("BTCUSDT", 7, NOW - DAY),))
    for _ in range(LACKING_SYNCS_MAX + 3):
        house.tell(synced(), synced(), LedgerSyncRequested(reason="test"))
    asked = [m for m in house.asked(LedgerLoadRequested) if m.symbols]
    assert len(asked) == LACKING_SYNCS_MAX
    assert any("commissions without a fill: ('BTCUSDT',)" in detail for detail in house.incidents())
