"""How a failing run is recorded and replayed: a seed and a list of faults are all of it.

The example is a counter that keeps its total in its own memory only. Chaos finds a run in which the total is wrong;
from that run a list of faults is written down, made shorter, and replayed to the same digest as often as one likes.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from qt_actors.kernel import (
    Actor,
    Backoff,
    Chaos,
    ChildSpec,
    Crash,
    CrashStart,
    Hang,
    SimRuntime,
    SupervisorSpec,
    TimerFired,
)
from qt_actors.kernel.faults import Fault

QUICK = Backoff(initial_ms=1, max_ms=10, jitter=0.0)
ADDED = 20


class Add(msgspec.Struct, frozen=True):
    amount: int


class Counter(Actor):
    """Forgets, when it crashes: the defect to be found. With a disk it reads its total again."""

    def __init__(self, disk: dict[str, int] | None = None) -> None:
        super().__init__()
        self.disk = {} if disk is None else disk
        self.total = 0

    def on_start(self) -> None:
        self.total = self.disk.get("total", 0)

    def handle(self, message: object) -> None:
        if isinstance(message, Add):
            self.total += message.amount
            self.disk["total"] = self.total


class Sender(Actor):
    """Adds one a second."""

    def __init__(self, runtime: SimRuntime) -> None:
        super().__init__()
        self.counter = runtime.address("root/counter")

    def on_start(self) -> None:
        for number in range(ADDED):
            self.timer(f"add {number}", number * 1_000)

    def handle(self, message: object) -> None:
        if isinstance(message, TimerFired):
            self.counter.tell(Add(1))


def tree(runtime: SimRuntime, disk: dict[str, int] | None) -> SupervisorSpec:
    counter = ChildSpec("counter", lambda: Counter(disk), hang_after_ms=1_000)
    return SupervisorSpec("root", children=(counter, ChildSpec("sender", lambda: Sender(runtime))), backoff=QUICK)


class Recording(msgspec.Struct, frozen=True):
    """A run written down; it is JSON, and goes into a bug report as it is."""

    seed: int
    faults: tuple[Crash, ...] = ()


def run(seed: int, *faults: Fault, disk: dict[str, int] | None = None, ms: float = 60_000) -> tuple[int, str]:
    """(total, digest) of a run."""
    runtime = SimRuntime(seed)
    runtime.inject(*faults)
    runtime.start(tree(runtime, disk))
    runtime.run_for(ms)
    actor = runtime._nodes["root/counter"].live.actor
    return actor.total, runtime.digest()


def is_wrong(recording: Recording) -> bool:
    return run(recording.seed, *recording.faults)[0] != ADDED


def recorded(seed: int) -> Recording:
    """What chaos of that seed does to the counter, as a list of faults."""
    chaos = Chaos(seed, crash=0.1, below="root/counter")
    hits = [(nth, when) for nth in range(1, ADDED + 1) for when in ("before", "after")]
    crashes = [
        Crash("root/counter", nth, when)  # type: ignore[arg-type]
        for nth, when in hits
        if chaos.hits(f"crash {when}", "root/counter", nth, 0.05)
    ]
    return Recording(seed, tuple(crashes))


def shrunk(recording: Recording, fails: Callable[[Recording], bool]) -> Recording:
    """Leave out, one by one, every fault without which it still fails."""
    for fault in recording.faults:
        fewer = msgspec.structs.replace(recording, faults=tuple(f for f in recording.faults if f is not fault))
        if fails(fewer):
            recording = fewer
    return recording


def test_a_failing_run_is_written_down_made_shorter_and_replayed_to_the_same_digest():
    found = next(recording for recording in map(recorded, range(100)) if len(recording.faults) > 2)
    assert is_wrong(found)
    short = shrunk(found, is_wrong)
    assert len(short.faults) == 1
    kept = msgspec.json.encode(short)  # to a file, to another machine, into a bug report
    again = msgspec.json.decode(kept, type=Recording)
    assert run(again.seed, *again.faults) == run(short.seed, *short.faults)
    assert is_wrong(again)


def test_chaos_and_its_written_down_faults_are_the_same_run():
    for seed in range(10):
        chaos = Chaos(seed, crash=0.1, below="root/counter")
        assert run(seed, chaos) == run(seed, *recorded(seed).faults)


@pytest.mark.parametrize(
    ("fault", "total"),
    [
        pytest.param(Hang("root/counter", 5, wake_after_ms=500), ADDED, id="delay: half a second late"),
        pytest.param(Hang("root/counter", 5, wake_after_ms=30_000), ADDED - 5, id="freeze: replaced after a second"),
        pytest.param(Hang("root/counter", 5), ADDED - 5, id="dead loop: it never comes back"),
        pytest.param(Crash("root/counter", 5, "after"), ADDED - 5, id="crash"),
        pytest.param(CrashStart("root/counter", 1), ADDED, id="its start fails once"),
    ],
)
def test_each_fault_of_an_actor_does_what_it_says(fault: Fault, total: int):
    assert run(7, fault)[0] == total


def test_a_clock_jump_moves_the_clock_and_no_timer():
    runtime = SimRuntime(3)
    runtime.start(tree(runtime, None))
    runtime.run_for(5_500)
    runtime.clock.jump(3_600_000)
    runtime.run_for(5_000)
    assert runtime.clock.now_ms() == 3_600_000 + 10_500
    assert runtime.handled("root/counter") == 11


def test_a_process_kill_leaves_nothing_but_the_disk():
    disk: dict[str, int] = {}
    run(3, disk=disk, ms=5_500)  # the process is gone after that: nobody is told, nothing is finished
    assert disk == {"total": 6}
    assert run(4, disk=disk)[0] == 6 + ADDED
