"""The account between the gateway and its listeners: rounds, what is held back, the stream, the drain."""

from __future__ import annotations

from decimal import Decimal as D

import pytest

from qt_actors.kernel import Crash, Probe
from qt_actors.messages.market import StreamChanged
from qt_actors.messages.orders import ConditionalUpdated
from qt_actors.messages.positions import (
    BalanceChanged,
    OpenOrdersSeen,
    SnapshotRequested,
)
from qt_actors.messages.requests import AccountLoadRequested, LedgerLoadRequested, LedgerSyncRequested
from qt_actors.messages.system import Drained, DrainRequested, IncidentRepaired, IncidentSeen, VenueLost
from tests.account_house import DAY, NOW, PATH, READY, House, a_fill, a_trade, an_update, commission, synced
from tests.builders import a_snapshot


@pytest.fixture
def house() -> House:
    return House()


def test_at_start_it_listens_reconciles_and_syncs_from_the_journals_last_row_before_it_says_anything() -> None:
    house = House(started=False)
    assert house.streams.calls == [("open_account", PATH)]
    (request,) = house.asked(LedgerLoadRequested)
    assert (request.since_ms, request.symbols) == (NOW - DAY, ())
    assert house.snapshots() == []
    house.tell(synced())
    assert len(house.snapshots()) == 1


def test_a_new_journal_looks_a_week_back() -> None:
    (request,) = House(last_income_ms=0).asked(LedgerLoadRequested)
    assert request.since_ms == NOW - 7 * DAY


def test_what_happened_to_open_trades_while_the_trader_was_away_is_told_before_the_first_snapshot() -> None:
    away = (a_trade(symbol="BTCUSDT", opened_ms=NOW - 3 * DAY), a_trade(symbol="ETHUSDT", opened_ms=NOW - 2 * DAY))
    house = House(started=False, trades=away)
    house.held = D(0)
    (request,) = house.asked(LedgerLoadRequested)
    assert request.symbols == ("BTCUSDT", "ETHUSDT")
    assert NOW - 3 * DAY - 3_600_000 <= request.since_ms < NOW - 3 * DAY
    house.tell(a_fill(7, side="SELL"), synced(commission(7)))
    assert house.order() == ["Fill", "AccountSnapshot"]
    assert len(house.asked(LedgerLoadRequested)) == 1


def test_a_first_snapshot_waits_no_longer_for_a_ledger_that_does_not_come_than_protection_can() -> None:
    house = House(started=False, trades=(a_trade(),))
    house.runtime.run_for(9_900)
    assert house.snapshots() == []
    house.runtime.run_for(200)
    assert house.snapshots()


def test_a_position_that_is_gone_is_not_told_before_the_fill_that_only_the_ledger_knows(house: House) -> None:
    before = len(house.asked(LedgerLoadRequested))
    house.held = D(0)
    house.ask_a_round()
    assert house.order() == ["AccountSnapshot"]
    request = house.asked(LedgerLoadRequested)[before]
    assert request.symbols == ("BTCUSDT",)
    house.tell(a_fill(5, side="SELL"), synced(commission(5)))
    assert house.order() == ["AccountSnapshot", "Fill", "AccountSnapshot"]


def test_a_position_whose_exit_the_stream_told_goes_out_at_once(house: House) -> None:
    before = len(house.asked(LedgerLoadRequested))
    house.tell(an_update(a_fill(5, side="SELL")))
    house.held = D(0)
    house.ask_a_round()
    assert len(house.snapshots()) == 2
    assert len(house.asked(LedgerLoadRequested)) == before


def test_trades_that_lag_behind_positions_are_asked_for_again_but_not_for_ever(house: House) -> None:
    before = len(house.asked(LedgerLoadRequested))
    house.held = D("0.004")
    house.ask_a_round()
    house.tell(synced())
    assert len(house.snapshots()) == 1
    house.runtime.run_for(600)
    assert len(house.asked(LedgerLoadRequested)) == before + 2
    house.tell(synced())
    house.runtime.run_for(600)
    house.tell(synced())
    assert len(house.snapshots()) == 2
    assert any("less is held than fills explain: BTCUSDT" in detail for detail in house.incidents())
    house.ask_a_round()
    assert len(house.snapshots()) == 3, "what was passed on is the truth from now on"


def test_a_grown_or_new_position_is_told_at_once_for_it_may_be_bare_and_its_fills_are_asked_for(house: House) -> None:
    before = len(house.asked(LedgerLoadRequested))
    house.held = D("0.05")
    house.ask_a_round()
    assert len(house.snapshots()) == 2
    (request,) = house.asked(LedgerLoadRequested)[before:]
    assert request.symbols == ("BTCUSDT",)
    house.tell(a_fill(5, quantity=D("0.04")), synced())
    house.ask_a_round()
    assert len(house.snapshots()) == 3
    assert len(house.asked(LedgerLoadRequested)) == before + 1


def test_a_held_snapshot_is_forgotten_with_the_venue_and_asked_anew(house: House) -> None:
    house.held = D(0)
    house.ask_a_round()
    house.tell(VenueLost(reason="down"))
    house.runtime.run_for(300)
    assert len(house.snapshots()) == 1
    house.tell(READY, a_fill(5, side="SELL"), synced())
    assert house.order() == ["AccountSnapshot", "Fill", "AccountSnapshot"]


def test_order_events_are_passed_on_in_their_order(house: House) -> None:
    events = [an_update(None), an_update(a_fill()), an_update(a_fill())]
    house.tell(*events)
    assert list(house.executor.heard) == events


def test_a_conditional_event_is_passed_on(house: House) -> None:
    event = ConditionalUpdated(
        client_id="s",
        symbol="BTCUSDT",
        algo_id=3,
        side="SELL",
        kind="STOP_MARKET",
        status="NEW",
        quantity=D(1),
        trigger_price=D(2),
        reduce_only=True,
        time_ms=NOW,
    )
    house.tell(event)
    assert house.executor.expect(ConditionalUpdated) == event


def test_a_round_follows_every_ten_seconds_with_a_rising_serial(house: House) -> None:
    house.runtime.run_for(30_500)
    serials = house.snapshots()
    assert len(serials) == 4
    assert serials == sorted(set(serials))


def test_rounds_never_overlap_and_a_wish_during_one_is_for_the_next() -> None:
    house = House(answers=False)
    (first,) = house.asked(AccountLoadRequested)
    house.tell(SnapshotRequested(reason="a"), SnapshotRequested(reason="b"))
    assert len(house.asked(AccountLoadRequested)) == 1
    house.tell(a_snapshot(serial=first.serial), synced())
    assert len(house.asked(AccountLoadRequested)) == 2
    house.tell(a_snapshot(serial=first.serial))
    assert house.snapshots() == [first.serial], "a repeated answer is not the running round's"


def test_wishes_are_paced_so_that_the_weight_budget_bears_them(house: House) -> None:
    for _ in range(600):
        house.tell(SnapshotRequested(reason="again"))
        house.runtime.run_for(100)
    rounds = len(house.snapshots())
    assert rounds <= 4 + 60_000 / 4_500 + 1
    assert rounds >= 12
    assert rounds * 90 < 0.7 * 2400


def test_a_stream_that_never_tells_a_fill_made_after_it_connected_is_reopened(house: House) -> None:
    house.tell(StreamChanged(stream="private", connected=True))
    house.runtime.run_for(1_000)
    house.tell(LedgerSyncRequested(reason="test"), synced(commission(5, NOW + 500)))
    house.tell(a_fill(5, time_ms=NOW + 500), synced())
    assert house.streams.named("reopen") == []
    house.runtime.run_for(3_100)
    assert house.streams.named("reopen") == [("private", "it missed a fill")]


def test_an_exchange_that_answers_again_hurries_streams_that_wait(house: House) -> None:
    house.tell(VenueLost(reason="away"))
    assert house.streams.named("hurry") == []
    house.tell(READY)
    assert house.streams.named("hurry") == [()]


def test_a_fill_that_the_stream_tells_a_little_later_is_no_reason_to_reopen(house: House) -> None:
    house.tell(StreamChanged(stream="private", connected=True))
    house.tell(synced(commission(5, NOW + 500)))
    house.tell(a_fill(5, time_ms=NOW + 500), synced())
    house.tell(an_update(a_fill(5, time_ms=NOW + 500)))
    house.runtime.run_for(3_100)
    assert house.streams.named("reopen") == []


def test_a_stream_that_comes_back_means_a_round_and_a_sync(house: House) -> None:
    before = len(house.snapshots())
    house.tell(StreamChanged(stream="private", connected=False, reason="closed"))
    house.tell(StreamChanged(stream="private", connected=True))
    told = [m for m in house.probes["recorder"].heard if isinstance(m, IncidentSeen | IncidentRepaired)]
    assert [(type(m).__name__, m.kind) for m in told] == [
        ("IncidentSeen", "private stream lost"),
        ("IncidentRepaired", "private stream lost"),
    ]
    assert len(house.snapshots()) == before + 1
    assert len(house.asked(LedgerLoadRequested)) == 2
    assert any("closed" in detail for detail in house.incidents())


def test_what_the_lost_venue_did_not_answer_is_asked_again_when_it_is_back() -> None:
    house = House(answers=False)
    house.tell(LedgerSyncRequested(reason="test"), VenueLost(reason="down"))
    house.runtime.run_for(1_000)
    assert len(house.asked(AccountLoadRequested)) == 1
    house.tell(READY)
    assert len(house.asked(AccountLoadRequested)) == 2
    assert len(house.asked(LedgerLoadRequested)) == 2


def test_a_question_that_is_never_answered_is_asked_again() -> None:
    house = House(answers=False)
    house.tell(LedgerSyncRequested(reason="test"))
    house.runtime.run_for(76_000)
    assert len(house.asked(AccountLoadRequested)) == 2
    assert len(house.asked(LedgerLoadRequested)) == 2
    assert any("late round" in detail for detail in house.incidents())


def test_a_drain_ends_with_one_more_round_and_one_more_sync(house: House) -> None:
    drainer = Probe(house.runtime, "root/drainer")
    drainer.tell(PATH, DrainRequested())
    house.runtime.run_until_idle()
    drainer.expect_none()
    house.tell(synced())
    drained = drainer.expect(Drained)
    assert drained.path == PATH
    assert drained.account is not None
    assert [drained.account.serial] == house.snapshots()[1:]


def test_after_a_crash_the_serials_go_on_rising(house: House) -> None:
    before = house.snapshots()[-1]
    house.runtime.inject(Crash(PATH, house.runtime.handled(PATH) + 1))
    house.tell("poison")
    house.runtime.run_for(5_000)
    house.tell(synced())
    assert house.snapshots()[-1] > before
    assert house.streams.named("open_account") == [(PATH,), (PATH,)]


@pytest.mark.parametrize(("reason", "asked"), [("DEPOSIT", 1), ("WITHDRAW", 1), ("ORDER", 0), ("FUNDING_FEE", 0)])
def test_money_moved_in_or_out_asks_the_ledger_at_once(house, reason, asked):
    before = len(house.asked(LedgerLoadRequested))
    house.tell(BalanceChanged(wallet_usd=D(1), reason=reason, time_ms=NOW))
    assert len(house.asked(LedgerLoadRequested)) - before == asked


def test_the_recorder_hears_what_rests_when_it_has_changed_and_not_with_every_round(house: House) -> None:
    def seen() -> list[list[int]]:
        told = [m for m in house.probes["recorder"].heard if isinstance(m, OpenOrdersSeen)]
        return [[order.exchange_id for order in m.orders] for m in told]

    assert seen() == [[1]]
    house.ask_a_round()
    assert seen() == [[1]]
    house.stops = ()
    house.ask_a_round()
    assert seen() == [[1], []]
