from __future__ import annotations

from decimal import Decimal as D

import msgspec
import pytest

from config.settings import load
from qt_actors.decisions import trade_life
from qt_actors.kernel import ChildSpec, Probe, SimRuntime, SupervisorSpec
from qt_actors.messages.positions import (
    CancelOrphan,
    ClosePosition,
    MindChanged,
    PositionResized,
    PositionVanished,
    ProtectionMeasured,
    ProtectPosition,
    RearmTrade,
    SnapshotRequested,
    TradeChanged,
    TradesRecovered,
)
from qt_actors.messages.requests import LedgerSyncRequested
from qt_actors.messages.signals import Signals
from qt_actors.messages.system import IncidentSeen
from qt_actors.trading.position_monitor import LOOK_AGAIN_REAL_MS, PositionMonitor, PositionMonitorWiring
from tests.builders import CLOSE_MS, NOW, a_plan, a_position, a_signal, a_snapshot, a_stop

PATH = "root/position-monitor"


class House:
    """A monitor; its neighbours are probes."""

    def __init__(self, *, book_known=True):
        self.runtime = SimRuntime(seed=1, start_ms=NOW)
        names = ("executor", "account", "recorder", "telemetry", "web")
        self.probes = {n: Probe(self.runtime, f"root/{n}") for n in names}
        address = {n: self.runtime.address(f"root/{n}") for n in names}
        wiring = PositionMonitorWiring(
            executor=address["executor"],
            account=address["account"],
            recorder=address["recorder"],
            telemetry=address["telemetry"],
            watchers=(address["web"],),
            settings=load(None, {}),
        )
        self.runtime.start(
            SupervisorSpec("root", children=(ChildSpec("position-monitor", lambda: PositionMonitor(wiring)),))
        )
        assert self.runtime.wait_ready()
        self.executor, self.account = self.probes["executor"], self.probes["account"]
        if book_known:
            self.tell(TradesRecovered())

    def tell(self, *messages):
        for message in messages:
            self.runtime.address(PATH).tell(message)
            self.runtime.run_until_idle()

    def hold(self, **changes):
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
        self.tell(TradeChanged(trade=msgspec.structs.replace(held, **changes)))

    def unprotected_s(self):
        return sum(m.unprotected_seconds for m in self.probes["telemetry"].heard if isinstance(m, ProtectionMeasured))

    def alerts(self):
        return [m for m in self.probes["recorder"].heard if isinstance(m, IncidentSeen) and m.kind == "pnl alert"]


@pytest.fixture
def house():
    house = House()
    yield house
    house.runtime.stop()


def later(snapshot, ms):
    return msgspec.structs.replace(
        snapshot, serial=snapshot.serial + 1, requested_ms=snapshot.requested_ms + ms, now_ms=snapshot.now_ms + ms
    )


def test_a_covered_position_costs_nothing_and_nobody_is_told(house):
    house.hold()
    house.tell(a_snapshot(), later(a_snapshot(), 10_000))
    assert house.executor.heard == ()
    assert house.unprotected_s() == 0


def test_a_missing_stop_is_confirmed_by_a_second_snapshot_before_anything_is_ordered(house):
    house.hold()
    bare = a_snapshot(conditionals=())
    house.tell(bare)
    assert house.executor.heard == ()
    assert house.account.expect(SnapshotRequested)
    house.tell(later(bare, 300))
    assert house.executor.expect(ProtectPosition).missing_quantity == D("0.010")


def test_the_time_without_protection_is_measured_from_the_last_proof(house):
    house.hold()  # its stop was acknowledged at NOW, a second before the first snapshot
    bare = a_snapshot(conditionals=())
    house.tell(bare, later(bare, 300), later(bare, 1300), later(a_snapshot(), 2000))
    assert house.unprotected_s() == pytest.approx(2.3)


def test_a_stop_that_one_snapshot_missed_counts_as_no_time(house):
    house.hold()
    house.tell(a_snapshot(conditionals=()), later(a_snapshot(), 300))
    assert house.unprotected_s() == 0
    assert house.executor.heard == ()


def test_a_stop_lost_and_restored_between_two_snapshots_is_measured(house):
    house.hold()
    house.tell(a_snapshot())
    house.hold(stop_id="", changed_ms=NOW + 3_000)
    house.hold(stop_id="qt-BTCUSDT-sxwkn4-s1", changed_ms=NOW + 4_500)
    house.tell(later(a_snapshot(conditionals=(a_stop(client_id="x", created_ms=NOW + 4_400),)), 10_000))
    assert house.unprotected_s() == pytest.approx(1.5)


def test_a_stop_replaced_by_a_younger_one_that_nobody_told_of_counts_since_the_last_proof(house):
    house.hold()
    house.tell(a_snapshot(), later(a_snapshot(conditionals=(a_stop(created_ms=NOW + 6_000),)), 10_000))
    assert house.unprotected_s() == pytest.approx(5)


def test_a_silence_through_which_the_same_stop_stood_costs_nothing(house):
    house.hold()
    house.tell(a_snapshot(), later(a_snapshot(), 900_000))
    assert house.unprotected_s() == 0


def test_a_stop_cancelled_while_nobody_lived_counts_from_the_former_life_s_last_look():
    house = House(book_known=False)
    hours_ms = 7_200_000
    house.hold()
    house.runtime.run_for(hours_ms)
    house.tell(TradesRecovered(looked_ms=NOW + hours_ms - 5_000))
    bare = later(a_snapshot(conditionals=()), hours_ms - 1_000)
    house.tell(bare, later(bare, 300))
    assert house.unprotected_s() == pytest.approx((bare.requested_ms + 300 - NOW - hours_ms + 5_000) / 1000)
    house.runtime.stop()


def test_a_target_cancelled_by_hand_is_to_be_placed_again_when_two_snapshots_agree(house):
    house.hold(target_quantity=D("0.005"), target_id="gone")
    house.tell(a_snapshot())
    assert house.executor.heard == ()
    house.tell(later(a_snapshot(), 300))
    assert house.executor.expect(RearmTrade).target


def test_a_target_that_filled_unseen_is_not_placed_a_second_time(house):
    house.hold(target_quantity=D("0.005"), target_id="gone")
    half = a_snapshot(positions=(a_position(quantity=D("0.005")),))
    house.tell(half)
    assert house.account.expect(LedgerSyncRequested)
    house.tell(later(half, 300))
    assert not [m for m in house.executor.heard if isinstance(m, RearmTrade)]
    assert house.executor.expect(PositionResized).quantity == D("0.005")


def test_a_covered_position_that_nobody_opened_is_taken_into_the_book(house):
    house.tell(a_snapshot(), later(a_snapshot(), 300))
    found = house.executor.expect(ProtectPosition)
    assert (found.missing_quantity, found.stop, found.adopted) == (D(0), a_stop(), True)


def test_a_position_that_turned_round_ends_its_trade_and_is_protected_as_what_it_is(house):
    house.hold()
    turned = a_snapshot(positions=(a_position(quantity=D("-0.004"), liquidation_price=D(140_000)),), conditionals=())
    house.tell(turned, later(turned, 300))
    heard = [type(m).__name__ for m in house.executor.heard]
    assert heard == ["PositionVanished", "ProtectPosition"]


def test_nothing_is_corrected_before_the_executor_has_told_its_trades():
    house = House(book_known=False)
    bare = a_snapshot(conditionals=())
    house.tell(bare, later(bare, 300), later(bare, 600))
    assert house.executor.heard == ()
    assert house.unprotected_s() > 0
    house.tell(TradesRecovered(), later(bare, 900), later(bare, 1200))
    assert house.executor.expect(ProtectPosition).adopted
    house.runtime.stop()


def test_a_stop_whose_answer_is_outstanding_counts_as_unprotected_and_is_waited_for(house):
    house.hold(pending=("qt-BTCUSDT-sxwkn4-s1",), stop_id="")
    bare = a_snapshot(conditionals=())
    house.tell(bare, later(bare, 300))
    assert house.unprotected_s() == pytest.approx(1.3)
    assert house.executor.heard == ()
    house.tell(later(bare, 20_000))
    assert house.executor.expect(ProtectPosition).symbol == "BTCUSDT"


def test_a_vanished_position_is_told_when_two_snapshots_agree(house):
    house.hold()
    gone = a_snapshot(positions=(), conditionals=())
    house.tell(gone)
    assert house.executor.heard == ()
    house.tell(later(gone, 300))
    assert house.executor.expect(PositionVanished).symbol == "BTCUSDT"


def test_the_stop_that_a_trade_left_goes_with_the_first_snapshot_after_its_end_that_shows_nothing_held(house):
    house.hold(phase="closed", exited=D("0.010"))
    house.tell(a_snapshot())
    assert house.executor.heard == ()
    house.tell(later(a_snapshot(positions=()), 100))
    assert house.executor.heard == (PositionVanished(symbol="BTCUSDT"),)


def test_a_stranger_that_has_come_bare_since_the_last_look_is_protected_at_the_first(house):
    house.tell(a_snapshot(positions=(), conditionals=()))
    came = a_position(quantity=D("-0.004"), liquidation_price=D(140_000), updated_ms=NOW + 2_000)
    house.tell(later(a_snapshot(positions=(came,), conditionals=()), 1_500))
    (found,) = house.executor.heard
    assert (type(found), found.quantity, found.adopted) == (ProtectPosition, D("-0.004"), True)


def test_a_stranger_that_was_there_before_the_last_look_waits_for_a_second_one(house):
    house.tell(a_snapshot(positions=(), conditionals=()))
    house.tell(later(a_snapshot(conditionals=()), 1_500))
    assert house.executor.heard == ()


def test_what_was_put_right_proves_nothing_for_the_next_time_and_a_second_look_is_asked_for_again(house):
    bare = a_snapshot(conditionals=())
    house.tell(bare, later(bare, 300))
    assert [type(m) for m in house.executor.heard] == [ProtectPosition]
    house.hold(adopted=True, phase="closed", exited=D("0.010"), changed_ms=NOW + 20_000)
    asked = len(house.account.heard)
    house.tell(later(bare, 18_990))  # asked for just before its end: too old to be acted upon
    assert SnapshotRequested in [type(m) for m in house.account.heard[asked:]]
    house.tell(later(bare, 19_400))
    assert [type(m) for m in house.executor.heard] == [ProtectPosition, ProtectPosition]


def test_what_is_sure_and_cannot_be_acted_upon_yet_is_looked_at_again_after_a_second(house):
    house.hold(stop_id="", pending=("qt-BTCUSDT-sxwkn4-s1",), changed_ms=NOW + 900)
    bare = a_snapshot(conditionals=())
    house.tell(bare, later(bare, 300))
    asked = len(house.account.heard)
    assert house.executor.heard == ()
    house.runtime.run_for(LOOK_AGAIN_REAL_MS)
    assert [type(m) for m in house.account.heard[asked:]] == [SnapshotRequested]


def test_an_orphan_of_ours_is_to_be_cancelled_when_two_snapshots_agree(house):
    orphaned = a_snapshot(positions=())
    house.tell(orphaned)
    assert house.executor.heard == ()
    house.tell(later(orphaned, 300))
    assert house.executor.expect(CancelOrphan).client_id == a_stop().client_id


def test_each_step_of_a_position_s_result_is_told_once_and_again_when_it_turns(house):
    house.hold()  # risks 20 USDT

    def told(pnl):
        before = len(house.alerts())
        house.tell(later(a_snapshot(positions=(a_position(unrealized_pnl=D(pnl)),)), 1000))
        return len(house.alerts()) - before

    assert [told(pnl) for pnl in ("5", "10", "12", "21", "15", "-9", "-11", "-30", "-25", "21")] == [
        *(0, 1, 0, 1, 0, 0, 1, 1, 0, 1)
    ]


def test_a_position_held_too_long_is_closed_by_policy(house):
    house.hold(opened_ms=NOW - 49 * 3_600_000, changed_ms=NOW - 1)
    house.tell(a_snapshot())
    close = house.executor.expect(ClosePosition)
    assert close.exit_reason == "policy"


def test_a_weak_opposite_signal_warns_once_a_bar_and_closes_nothing(house):
    house.hold()
    flipped = a_signal(action="SELL", confidence=0.1)
    signals = Signals(close_time_ms=CLOSE_MS, symbols=("BTCUSDT",), signals=(flipped,))
    house.tell(signals, signals)
    warned = [m for m in house.probes["web"].heard if isinstance(m, MindChanged)]
    assert [(m.position_side, m.action) for m in warned] == [("BUY", "SELL")]
    told = [m.detail for m in house.probes["recorder"].heard if isinstance(m, IncidentSeen)]
    assert told == ["holds LONG, the ensemble now says SELL 10%"]
    assert house.executor.heard == ()
