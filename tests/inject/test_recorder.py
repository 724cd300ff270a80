"""The recorder on the deterministic runtime, with a real journal in a real file."""

from __future__ import annotations

import sqlite3
from decimal import Decimal

import pytest

from qt_actors.edges.journal import FILE_NAME, SqliteJournal
from qt_actors.edges.journal_queries import SqliteJournalReader
from qt_actors.ground.recorder import FLUSH_MS, FLUSH_ROWS, RETRY_MS, WAITING_ROWS_MAX, Recorder, RecorderWiring
from qt_actors.kernel import ChildSpec, Crash, Probe, SimRuntime, SupervisorSpec
from qt_actors.kernel.messages import DeadLetter
from qt_actors.messages.orders import Fill, Intent, IntentResolved, IntentsLost, IntentsRecorded, RecordIntents
from qt_actors.messages.policy import Decision, DecisionsMade
from qt_actors.messages.system import EquityMeasured, GovernorState, HealthReported, Measured

PATH = "root/recorder"
NOW = 1_700_000_000_000


class House:
    """A tree with a recorder, its neighbours played by probes."""

    def __init__(self, folder):
        self.file = folder / FILE_NAME
        self.journals = []
        self.free = 1 << 30
        self.look = lambda: self.free
        self.runtime = SimRuntime(seed=1, start_ms=NOW)
        self.executor = Probe(self.runtime, "root/executor")
        self.governor = Probe(self.runtime, "root/governor")
        self.telemetry = Probe(self.runtime, "root/telemetry")
        wiring = RecorderWiring(
            open_journal=self.open_journal,
            address_of=self.runtime.address,
            telemetry=self.runtime.address("root/telemetry"),
            watchers=(self.runtime.address("root/governor"),),
            free_bytes=self.room,
            monotonic_s=self.runtime.monotonic_s,
        )
        self.runtime.start(SupervisorSpec("root", children=(ChildSpec("recorder", lambda: Recorder(wiring)),)))
        assert self.runtime.wait_ready()
        self.reader = SqliteJournalReader(self.file)
        self.recorder = self.runtime.address(PATH)

    def open_journal(self):
        self.journals.append(SqliteJournal(self.file, lambda: NOW))
        return self.journals[-1]

    def room(self):
        return self.look()

    def counts(self):
        return len(self.reader.rows("bars")), len(self.reader.rows("fills"))

    def statistics(self):
        return next(s.statistics for s in self.runtime.tree() if s.path == PATH)

    def fill_disk(self):
        connection = self.journals[-1]._connection
        connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")

    def free_disk(self):
        self.journals[-1]._connection.execute("PRAGMA max_page_count = 1000000")


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    yield house
    house.runtime.stop()
    for journal in house.journals:
        journal.close()


def an_intent(client_id="qt-BTCUSDT-1-e0", created_ms=NOW):
    return Intent(
        client_id=client_id,
        decision_id="BTCUSDT-1",
        symbol="BTCUSDT",
        side="BUY",
        purpose="entry",
        conditional=False,
        kind="MARKET",
        quantity=Decimal(1),
        price=None,
        created_ms=created_ms,
    )


def record(*intents, of="t1"):
    return RecordIntents(token=of, intents=intents or (an_intent(),), reply_to="root/executor")


def decisions(count=1, close_time_ms=NOW):
    made = [
        Decision(
            decision_id=f"S{i}USDT-{close_time_ms}",
            symbol=f"S{i}USDT",
            close_time_ms=close_time_ms,
            decided_ms=NOW,
            action="HOLD",
            verdict="hold",
            gate="",
            gates=(),
            signal=None,
            trace="x" * 200,
        )
        for i in range(count)
    ]
    return DecisionsMade(close_time_ms=close_time_ms, decisions=tuple(made))


def a_fill(trade_id):
    return Fill(
        symbol="BTCUSDT",
        trade_id=trade_id,
        order_id=7,
        client_id="",
        side="BUY",
        price=Decimal(1),
        quantity=Decimal(1),
        commission=Decimal(0),
        commission_asset="USDT",
        realized_pnl=Decimal(0),
        maker=False,
        time_ms=NOW,
    )


def a_governor():
    return GovernorState(
        day="2026-11-22",
        day_start_equity_usd=Decimal(10_000),
        losing_streak=2,
        halted=False,
        halt_reason="",
        changed_ms=NOW,
    )


def an_equity(now_ms):
    zero = Decimal(0)
    return EquityMeasured(
        now_ms=now_ms,
        wallet_usd=zero,
        equity_usd=zero,
        unrealized_usd=zero,
        daily_pnl_usd=zero,
        gross_notional_usd=zero,
    )


def test_intents_are_on_disk_when_their_receipt_is_told(house):
    heard = []
    house.executor.answers(IntentsRecorded, lambda _m: heard.append(house.reader.open_intents()))
    house.recorder.tell(record())
    house.executor.expect(IntentsRecorded)
    assert [i.client_id for i in heard[0]] == ["qt-BTCUSDT-1-e0"]


def test_what_was_told_before_an_intent_is_written_before_it(house):
    house.recorder.tell(a_fill(1))
    house.recorder.tell(record())
    house.executor.expect(IntentsRecorded)
    assert house.counts() == (0, 1)


def test_what_is_not_urgent_is_written_together_a_moment_later(house):
    house.recorder.tell(decisions(3))
    house.recorder.tell(a_fill(1))
    house.runtime.run_until_idle()
    assert house.counts() == (0, 0)
    house.runtime.run_for(FLUSH_MS + 1)
    assert house.counts() == (1, 1)
    commits = [m for m in house.telemetry.heard if isinstance(m, Measured)]
    assert [(m.metric, m.labels) for m in commits] == [("qt_journal_commit_seconds", ("batch",))]


def test_many_rows_do_not_wait_for_the_timer(house):
    house.recorder.tell(decisions(FLUSH_ROWS))
    house.runtime.run_until_idle()
    assert house.counts() == (1, 0)


@pytest.mark.parametrize(
    "message", [a_governor(), IntentResolved(client_id="x", outcome="accepted", exchange_id=1, time_ms=NOW)]
)
def test_what_a_restart_needs_is_written_at_once_with_all_that_waits(house, message):
    house.recorder.tell(a_fill(1))
    house.recorder.tell(message)
    house.runtime.run_until_idle()
    assert house.counts() == (0, 1)


def test_an_orderly_stop_writes_what_waits(house):
    house.recorder.tell(a_fill(1))
    house.runtime.run_until_idle()
    house.runtime.stop()
    assert house.counts() == (0, 1)


def test_a_full_disk_loses_the_intent_by_word_and_the_entries_are_warned(house):
    house.fill_disk()
    house.recorder.tell(record(*(an_intent(f"qt-S{i}USDT-1-e0") for i in range(300))))
    lost = house.executor.expect(IntentsLost)
    assert "full" in lost.reason
    assert "\n" not in lost.reason
    sick = house.governor.expect(HealthReported)
    assert (sick.subsystem, sick.health) == ("journal", 0)
    assert house.reader.open_intents() == ()


def test_rows_wait_for_a_full_disk_and_are_all_there_once_it_has_room(house):
    house.fill_disk()
    house.recorder.tell(decisions(FLUSH_ROWS))
    house.recorder.tell(a_fill(1))
    house.runtime.run_for(3 * RETRY_MS)
    assert house.counts() == (0, 0)
    assert house.governor.expect(HealthReported).health == 0
    house.free_disk()
    house.runtime.run_for(RETRY_MS + 1)
    assert house.counts() == (1, 1)
    assert house.governor.expect(HealthReported).health == 100
    assert "fault" not in house.statistics()


def test_an_intent_that_can_be_written_alone_is_recorded_though_the_rest_still_waits(house):
    house.recorder.tell(record(an_intent("qt-AUSDT-1-e0")))
    house.fill_disk()
    house.recorder.tell(decisions(FLUSH_ROWS))
    house.recorder.tell(record(an_intent("qt-BUSDT-1-e0"), of="t2"))
    house.executor.expect(IntentsRecorded)
    assert house.executor.expect(IntentsRecorded).token == "t2"


def test_a_journal_that_stays_shut_drops_decisions_before_fills_and_counts_them(house):
    house.fill_disk()
    house.recorder.tell(a_fill(1))
    for i in range(WAITING_ROWS_MAX // 500 + 3):
        house.recorder.tell(decisions(500, close_time_ms=NOW + i))
    house.recorder.tell(a_fill(2))
    house.runtime.run_until_idle()
    told = house.statistics()
    assert told["waiting"] <= WAITING_ROWS_MAX
    assert told["dropped"] == 2000
    house.free_disk()
    house.runtime.run_for(2 * RETRY_MS)
    assert house.counts()[1] == 2


def test_an_entry_id_used_for_another_intent_is_refused_without_calling_the_journal_sick(house):
    house.recorder.tell(record())
    house.recorder.tell(record(an_intent(created_ms=NOW + 1), of="t2"))
    house.executor.expect(IntentsRecorded)
    assert "was used before" in house.executor.expect(IntentsLost).reason
    house.runtime.run_for(FLUSH_MS + 1)
    assert house.governor.heard == ()
    assert house.reader.rows("incidents")[0]["kind"] == "intent_conflict"


def test_a_dead_letter_becomes_an_incident_that_names_message_sender_and_cause(house):
    error = "Traceback (most recent call last):\n  ...\nZeroDivisionError: division by zero\n"
    for _ in range(3):
        house.recorder.tell(
            DeadLetter(
                path="root/executor",
                message=a_fill(1),
                reason="crash",
                trace="t",
                sender="root/gateway",
                error=error,
            )
        )
    house.runtime.run_for(FLUSH_MS + 1)
    (row,) = house.reader.rows("incidents")
    assert row["subject"] == "root/executor"
    assert row["detail"] == "Fill from root/gateway: crash (ZeroDivisionError: division by zero)"
    assert row["times"] == 3


def test_a_crashed_recorder_opens_the_journal_again_and_writes_what_waited_in_its_mailbox(house):
    house.runtime.run_until_idle()
    house.runtime.inject(Crash(path=PATH, nth=house.runtime.handled(PATH) + 1))
    house.recorder.tell(an_equity(NOW))
    house.recorder.tell(record())
    house.executor.expect(IntentsRecorded, within_ms=10_000)
    assert len(house.journals) == 2
    assert [i.client_id for i in house.reader.open_intents()] == ["qt-BTCUSDT-1-e0"]


def test_a_journal_that_cannot_be_opened_brings_the_tree_down_with_the_reason(tmp_path):
    file = tmp_path / FILE_NAME
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    runtime = SimRuntime(seed=1)
    nobody = Probe(runtime, "root/nobody")
    wiring = RecorderWiring(
        open_journal=lambda: SqliteJournal(file, lambda: NOW),
        address_of=runtime.address,
        telemetry=runtime.address(nobody.path),
        watchers=(),
        free_bytes=lambda: 1 << 30,
        monotonic_s=runtime.monotonic_s,
    )
    runtime.start(SupervisorSpec("root", children=(ChildSpec("recorder", lambda: Recorder(wiring)),)))
    assert runtime.run_until(runtime.failed.is_set, 600_000)
    assert any("version 99" in s.last_error for s in runtime.tree())
