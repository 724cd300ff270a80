"""What the governor must not forget, on a real journal: the process dies at the worst moment and another one starts."""

from __future__ import annotations

from decimal import Decimal as D

import pytest

from config.settings import load
from qt_actors.edges.journal import FILE_NAME, SqliteJournal
from qt_actors.edges.journal_queries import SqliteJournalReader
from qt_actors.ground.recorder import Recorder, RecorderWiring
from qt_actors.judgement.governor import Governor, GovernorWiring
from qt_actors.judgement.writing import REPEAT_MS_MAX
from qt_actors.kernel import ChildSpec, Crash, Probe, SimRuntime, SupervisorSpec
from qt_actors.messages.market import UniverseChosen
from qt_actors.messages.policy import Directive, EntriesProposed, EntryAdmitted, EntryDenied
from qt_actors.messages.positions import LedgerSynced
from qt_actors.messages.system import ControlRequested, ControlTaken, GovernorState
from tests.builders import NOW, a_decision, a_plan, a_snapshot, some_rules
from tests.inject.test_governor import House, a_transfer, lost

GOVERNOR = "root/governor"


class Process:
    """Recorder and governor on one folder. ``kill`` leaves everything as it lies; the next ``Process`` finds it."""

    def __init__(self, folder, *, start_ms=NOW, **env):
        self.runtime = SimRuntime(seed=1, start_ms=start_ms)
        names = ("universe", "executor", "orchestrator", "web", "telemetry")
        self.probes = {n: Probe(self.runtime, f"root/{n}") for n in names}
        address = {n: self.runtime.address(f"root/{n}") for n in names}
        recorder = RecorderWiring(
            open_journal=lambda: SqliteJournal(folder / FILE_NAME, self.runtime.clock.now_ms),
            address_of=self.runtime.address,
            telemetry=address["telemetry"],
            watchers=(),
            free_bytes=lambda: 1 << 30,
            monotonic_s=self.runtime.monotonic_s,
        )
        governor = GovernorWiring(
            universe=address["universe"],
            settings=load(None, {"QT_COOLDOWN_SECONDS": "0", **env}),
            journal=lambda: SqliteJournalReader(folder / FILE_NAME),
            recorder=self.runtime.address("root/recorder"),
            executor=address["executor"],
            orchestrator=address["orchestrator"],
            listeners=(address["web"],),
        )
        children = (
            ChildSpec("recorder", lambda: Recorder(recorder)),
            ChildSpec("governor", lambda: Governor(governor)),
        )
        self.runtime.start(SupervisorSpec("root", children=children))
        assert self.runtime.wait_ready()
        self.runtime.run_until_idle()

    def tell(self, *messages, to=GOVERNOR):
        for message in messages:
            self.runtime.address(to).tell(message)
        self.runtime.run_for(0)

    def healthy(self, **account):
        rules = (some_rules("BTCUSDT"), some_rules("ETHUSDT"))
        universe = UniverseChosen(symbols=("BTCUSDT", "ETHUSDT"), rules=rules, refused={})
        self.tell(universe, a_snapshot(**{"positions": (), "conditionals": (), **account}))

    def ask(self, control, within_s=1.0):
        asked = ControlRequested(control=control, reason="drill", by="test")
        return self.runtime.address(GOVERNOR).ask(asked, within_s)

    def propose(self, symbol="BTCUSDT"):
        plan = a_plan(symbol=symbol, decision_id=f"{symbol}-{NOW}")
        self.tell(EntriesProposed(decisions=(a_decision(symbol=symbol, decision_id=plan.decision_id, plan=plan),)))
        return [m for m in self.probes["orchestrator"].heard if isinstance(m, EntryAdmitted | EntryDenied)][-1]

    def entered(self):
        return [m.decision.symbol for m in self.probes["executor"].heard if isinstance(m, EntryAdmitted)]

    def word(self):
        return [m for m in self.probes["web"].heard if isinstance(m, Directive)][-1]


@pytest.fixture
def processes(tmp_path):
    made = []

    def start(**options):
        made.append(Process(tmp_path, **options))
        return made[-1]

    yield start
    for process in made:
        process.runtime.stop()


@pytest.mark.parametrize("control", ["halt", "pause"])
@pytest.mark.parametrize("known", [True, False])
def test_a_confirmed_word_survives_a_kill_right_after_the_answer(processes, control, known):
    first = processes()
    if known:
        first.healthy()
    assert isinstance(first.ask(control), ControlTaken)
    second = processes()  # the first is never stopped: nothing more of it reaches the disk
    second.healthy()
    assert not second.word().allow_new_positions
    assert isinstance(second.propose(), EntryDenied)
    assert second.ask("resume").entries
    third = processes()
    third.healthy()
    assert third.word().allow_new_positions


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_halt_whose_write_crashed_the_recorder_is_told_again_and_no_one_hears_yes_before_it_is_on_disk(
    processes, tmp_path, when
):
    first, on_disk = processes(), SqliteJournalReader(tmp_path / FILE_NAME)
    first.healthy()
    first.runtime.inject(Crash("root/recorder", first.runtime.handled("root/recorder") + 2, when))
    first.tell(ControlRequested(control="halt", reason="drill", by="test"))
    assert on_disk.governor_state().halted == (when == "after")
    assert not first.word().allow_new_positions
    taken = first.ask("halt", within_s=REPEAT_MS_MAX / 1000)
    assert (taken.fault, on_disk.governor_state().halted) == ("", True)
    second = processes()
    second.healthy()
    assert not second.word().allow_new_positions


def test_an_operators_word_is_in_the_journal_with_its_reason_and_what_it_changed(processes, tmp_path):
    house = processes()
    house.healthy()
    house.tell(lost(-10, 1), lost(-10, 2))
    assert house.ask("halt").note == ""
    assert house.ask("resume").note == "the losing streak of 2 begins again at zero"
    told = [
        (r["state"], r["kind"], r["subject"], r["detail"])
        for r in SqliteJournalReader(tmp_path / FILE_NAME).rows("incidents")
    ]
    assert told == [
        ("news", "operator", "resume", "by test: drill; the losing streak of 2 begins again at zero"),
        ("news", "operator", "halt", "by test: drill"),
    ]


def test_a_halt_lost_with_its_writer_reaches_the_disk_without_another_word(processes, tmp_path):
    first, on_disk = processes(), SqliteJournalReader(tmp_path / FILE_NAME)
    first.healthy()
    first.runtime.inject(Crash("root/recorder", first.runtime.handled("root/recorder") + 2, "before"))
    first.tell(ControlRequested(control="halt", reason="drill", by="test"))
    assert not on_disk.governor_state().halted
    first.runtime.run_for(REPEAT_MS_MAX)
    assert on_disk.governor_state().halted


def test_an_admission_lost_with_its_writer_enters_only_once_it_is_on_disk(processes, tmp_path):
    first, on_disk = processes(), SqliteJournalReader(tmp_path / FILE_NAME)
    first.healthy()
    first.runtime.inject(Crash("root/recorder", first.runtime.handled("root/recorder") + 1, "before"))
    plan = a_plan(symbol="BTCUSDT", decision_id=f"BTCUSDT-{NOW}")
    first.tell(EntriesProposed(decisions=(a_decision(symbol="BTCUSDT", decision_id=plan.decision_id, plan=plan),)))
    assert first.entered() == []
    reserved = []
    first.probes["executor"].answers(EntryAdmitted, lambda _m: reserved.extend(on_disk.governor_state().reserved))
    first.runtime.run_for(REPEAT_MS_MAX)
    assert first.entered() == [p.symbol for p in reserved] == ["BTCUSDT"]


def test_a_state_that_the_disk_refuses_is_told_for_ever_at_a_bounded_rate():
    house = House()
    house.healthy()
    house.disk = "disk is full"
    assert house.ask("halt").fault == "disk is full"
    before = len(house.probes["recorder"].heard)
    house.runtime.run_for(3_600_000)
    told = [m for m in house.probes["recorder"].heard[before:] if isinstance(m, GovernorState)]
    assert 3_600_000 / REPEAT_MS_MAX <= len(told) <= 3_600_000 / REPEAT_MS_MAX + 10
    assert all(m.halted for m in told)
    house.disk = ""
    house.runtime.run_for(2 * REPEAT_MS_MAX)
    after = len(house.probes["recorder"].heard)
    house.runtime.run_for(3_600_000)
    assert len(house.probes["recorder"].heard) == after


def test_an_entry_that_was_admitted_is_counted_after_a_kill_and_its_cooldown_goes_on(processes):
    first = processes(QT_COOLDOWN_SECONDS="600")
    first.healthy()
    assert isinstance(first.propose(), EntryAdmitted)
    second = processes(start_ms=NOW + 100_000, QT_COOLDOWN_SECONDS="600")
    second.healthy()
    assert second.word().reserved == ("BTCUSDT",)
    cooldown = next(g for g in second.propose("ETHUSDT").decision.gates if g.name == "cooldown")
    assert (cooldown.passed, cooldown.value) == (False, "100 s")


def test_a_trader_that_never_entered_has_no_cooldown_after_a_restart(processes):
    processes().healthy()
    second = processes(QT_COOLDOWN_SECONDS="600")
    second.healthy()
    admitted = second.propose().decision
    assert next(g.value for g in admitted.gates if g.name == "cooldown") == "no entry yet"


def test_a_governor_that_crashes_keeps_the_halt_the_reservation_and_the_streak(processes):
    house = processes()
    house.healthy()
    house.propose()
    house.tell(lost(-10, 1), lost(-10, 2))
    house.ask("halt")
    house.runtime.inject(Crash(path=GOVERNOR, nth=house.runtime.handled(GOVERNOR) + 1))
    house.healthy()
    house.runtime.run_for(1000)
    house.healthy(serial=5)
    word = house.word()
    assert next(s.restarts for s in house.runtime.tree() if s.path == GOVERNOR) == 1
    assert (word.allow_new_positions, word.reserved, word.losing_streak) == (False, ("BTCUSDT",), 2)


def test_a_loss_that_only_the_recorder_heard_of_is_in_the_streak_after_the_kill(processes):
    first = processes()
    first.healthy()
    first.tell(lost(-10, 1))
    first.tell(lost(-10, 1), lost(-10, 2), to="root/recorder")
    second = processes()
    second.healthy()
    assert second.word().losing_streak == 2


def test_the_days_loss_and_what_was_transferred_survive_a_kill(processes):
    first = processes()
    first.healthy()
    synced = LedgerSynced(
        income=(a_transfer(-3000, NOW + 5000),),
        wallet_usd=D(0),
        equity_usd=D(0),
        unrealized_usd=D(0),
        now_ms=NOW + 6000,
    )
    first.tell(synced, to="root/recorder")
    first.runtime.run_for(1000)
    later = {"requested_ms": NOW + 9000, "now_ms": NOW + 9000, "serial": 2}
    second = processes()
    second.healthy(equity_usd=D(6950), **later)
    assert second.word().daily_pnl_usd == -50
    second.healthy(equity_usd=D(6700), **later)
    assert not second.word().allow_new_positions
    third = processes()
    third.healthy(equity_usd=D(7000), **later)
    assert not third.word().allow_new_positions
