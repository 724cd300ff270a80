"""What nobody's handler notices: dead loops, stopped clocks, leaking threads, a process that does not end."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from qt_actors.kernel import (
    Actor,
    Address,
    Backoff,
    ChildSpec,
    DeadLetter,
    Guard,
    Hang,
    KernelError,
    Probe,
    Restart,
    SimRuntime,
    SupervisorSpec,
    ThreadRuntime,
    conflate,
)
from qt_actors.kernel.dead_letters import COUNTED_MAX
from qt_actors.kernel.post import PATHS_MAX, TIMERS_MAX
from qt_actors.kernel.watches import WATCHED_MAX

QUICK = Backoff(initial_ms=1, max_ms=10, jitter=0.0)


class Worker(Actor):
    """Reports its start and what it hears; runs functions; waits for events."""

    def __init__(self, out: Address) -> None:
        super().__init__()
        self.out = out

    def on_start(self) -> None:
        self.out.tell(f"{self.path}#{self.incarnation} up")

    def on_stop(self) -> None:
        self.out.tell(f"{self.path} flushed")

    def handle(self, message: object) -> None:
        match message:
            case threading.Event() as event:
                self.out.tell("stuck")
                event.wait(30)
            case _ if callable(message):
                message(self)
            case _:
                self.out.tell(message)


@pytest.fixture
def release() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def worker(runtime: ThreadRuntime | SimRuntime, name: str, **spec: object) -> ChildSpec:
    out = runtime.address("out")
    return ChildSpec(name, lambda: Worker(out), **spec)  # type: ignore[arg-type]


def begin(runtime: ThreadRuntime | SimRuntime, *children: ChildSpec | SupervisorSpec, **limits: object) -> Probe:
    probe = Probe(runtime, "out")
    runtime.start(SupervisorSpec("root", children=children, backoff=QUICK, **limits))  # type: ignore[arg-type]
    assert runtime.wait_ready(5)
    return probe


def deaf(me: Worker) -> None:
    """From now on nothing wakes this actor: its loop waits for ever, busy with nothing."""
    me._own.mailbox._wakeup = SimpleQueue()


def test_an_idle_actor_whose_loop_no_longer_listens_is_replaced():
    runtime = ThreadRuntime()
    probe = begin(runtime, worker(runtime, "a", hang_after_ms=200))
    address = runtime.address("root/a")
    assert probe.expect(str) == "root/a#1 up"
    address.tell(deaf)
    assert probe.expect(str, within_ms=5_000) == "root/a#3 up"
    address.tell("heard again")
    assert probe.expect(str) == "heard again"
    line = runtime.tree()[1]
    assert "is dead: idle, but no sign of life for" in line.last_error
    assert line.last_error_ms > 0
    runtime.stop(5)


def test_a_supervisor_whose_loop_is_dead_is_replaced_with_all_below_it():
    runtime = ThreadRuntime()
    inner = SupervisorSpec("inner", children=(worker(runtime, "x"),), backoff=QUICK)
    probe = begin(runtime, ChildSpec("inner", inner, hang_after_ms=200))
    assert probe.expect(str) == "root/inner/x#1 up"
    runtime._nodes["root/inner"].mailbox._wakeup = SimpleQueue()
    assert probe.expect(str, within_ms=5_000) == "root/inner/x#3 up"
    assert runtime.stop(5)


def test_signs_of_life_are_neither_messages_nor_work():
    runtime = SimRuntime()
    probe = begin(runtime, worker(runtime, "a", hang_after_ms=1_000))
    runtime.run_for(100_000)
    line = runtime.tree()[1]
    assert (line.restarts, line.handled, line.last_message, line.mailbox_depth) == (0, 0, "", 0)
    assert probe.heard == ("root/a#1 up",)


def test_a_process_that_stood_still_is_no_hang_of_whoever_was_busy_then():
    runtime = SimRuntime()
    probe = begin(runtime, worker(runtime, "a", hang_after_ms=1_000))
    runtime.inject(Hang("root/a", 1, wake_after_ms=600))
    for message in ("takes 600 ms", "next"):
        runtime.address("root/a").tell(message)
    runtime.run_for(333)
    runtime.clock.advance_to_s(runtime.monotonic_s() + 60)  # nobody ran, the watchdog neither
    runtime.run_for(5_000)
    assert probe.heard[1:] == ("takes 600 ms", "next")
    assert runtime.tree()[1].restarts == 0


def test_who_is_still_busy_when_the_process_runs_again_is_hung_after_all():
    runtime = SimRuntime()
    probe = begin(runtime, worker(runtime, "a", hang_after_ms=1_000))
    runtime.inject(Hang("root/a", 1))
    for message in ("never ends", "next"):
        runtime.address("root/a").tell(message)
    runtime.run_for(333)
    runtime.clock.advance_to_s(runtime.monotonic_s() + 60)
    runtime.run_for(1_000)
    assert probe.heard[-1] == "next"
    assert runtime.tree()[1].restarts == 1


def test_the_root_that_no_longer_listens_is_beyond_repair():
    runtime = ThreadRuntime(guard=Guard(every_ms=20, root_silent_ms=100))
    begin(runtime, worker(runtime, "a"))
    runtime._nodes["root"].mailbox._wakeup = SimpleQueue()
    assert runtime.failed.wait(5)
    assert "the root supervisor has given no sign of life for" in runtime.failed.reason
    assert not runtime.stop(0.1)


def test_timers_that_stand_still_are_beyond_repair(release: threading.Event):
    runtime = ThreadRuntime(guard=Guard(every_ms=20, timers_late_ms=100))
    begin(runtime, worker(runtime, "a"))
    runtime._plan(0, lambda _entry: release.wait(30))
    runtime._plan(0, lambda _entry: None)
    assert runtime.failed.wait(5)
    assert "the timers are" in runtime.failed.reason
    release.set()
    assert runtime.join(5)


def test_a_timer_that_fails_is_beyond_repair_and_the_others_still_fire():
    runtime = ThreadRuntime()
    probe = begin(runtime, worker(runtime, "a"))
    fired = threading.Event()
    runtime._plan(0, lambda entry: entry.no_such_thing())  # type: ignore[attr-defined]
    runtime._plan(0.01, lambda _entry: fired.set())
    assert fired.wait(5)
    assert "a timer failed to fire: AttributeError" in runtime.failed.reason
    assert runtime.join(5)
    assert probe.heard[-1] == "root/a flushed"


def test_threads_that_leak_are_beyond_repair():
    runtime = ThreadRuntime(guard=Guard(every_ms=20, threads_max=1))
    begin(runtime, worker(runtime, "a"))
    assert runtime.failed.wait(5)
    assert "something leaks them" in runtime.failed.reason
    assert runtime.join(5)


def test_stuck_threads_below_a_restarted_supervisor_count_like_hung_ones(release: threading.Event):
    runtime = ThreadRuntime(abandoned_max=1, guard=Guard(every_ms=20, zombie_ms=100))
    inner = SupervisorSpec("inner", children=(worker(runtime, "x"), worker(runtime, "y")), backoff=QUICK)
    probe = begin(runtime, inner)
    for name in "xy":
        runtime.address(f"root/inner/{name}").tell(release)
        probe.fish(str, lambda line: line == "stuck")
    runtime.abandon("root/inner", 1, "the test asks")
    assert runtime.failed.wait(5)
    assert runtime.failed.reason == "2 superseded actors still run (root/inner/y#1, root/inner/x#1), allowed are 1"
    assert {line.path: line.zombies for line in runtime.tree()}["root/inner/x"] == 1
    release.set()
    runtime.stop(1)


def test_nobody_who_is_stuck_takes_the_time_of_those_that_stop_after_him(release: threading.Event):
    runtime = ThreadRuntime()
    patient = {"shutdown_ms": 60_000, "hang_after_ms": None}
    probe = begin(
        runtime,
        worker(runtime, "recorder", **patient),
        *(worker(runtime, name, **patient) for name in "abc"),
        strategy="rest_for_one",
    )
    for name in "abc":
        runtime.address(f"root/{name}").tell(release)
        probe.fish(str, lambda line: line == "stuck")
    runtime.address("root/recorder").tell("last row")
    assert not runtime.stop(1.0)
    assert probe.heard[-2:] == ("last row", "root/recorder flushed")
    assert [path for path, _number, _why in runtime.abandoned()] == ["root/c", "root/b", "root/a"]


STUCK = """
import threading
from qt_actors.kernel import Actor, ChildSpec, Guard, SupervisorSpec, ThreadRuntime

class Stuck(Actor):
    def handle(self, message):
        threading.Event().wait()

runtime = ThreadRuntime(guard=Guard(every_ms=20, threads_max=1, exit_after_ms=50))
runtime.start(SupervisorSpec("root", children=(ChildSpec("a", Stuck),)))
threading.Thread(target=threading.Event().wait).start()  # not a daemon: python alone would wait for it for ever
threading.Event().wait()
"""


def test_a_process_beyond_repair_that_does_not_end_is_ended():
    ended = subprocess.run(
        [sys.executable, "-c", STUCK], timeout=60, check=False, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert ended.returncode == 70


def test_a_key_function_that_hangs_keeps_nobody_but_its_sender(release: threading.Event):
    """An abandoned thread must hold no lock of the kernel, or everybody who tells its receiver hangs with it."""
    runtime = ThreadRuntime()
    entered = threading.Event()

    def slow_key(message: float) -> str:
        if message < 0:
            entered.set()
            release.wait(30)
        return "all"

    probe = begin(
        runtime, worker(runtime, "a", mailbox={float: conflate(slow_key)}), worker(runtime, "b", hang_after_ms=200)
    )
    to = runtime.address("root/a")
    runtime.address("root/b").tell(lambda _me: to.tell(-1.0))
    assert entered.wait(5)
    to.tell(1.0)
    probe.fish(float, lambda number: number == 1.0)
    probe.fish(str, lambda line: line == "root/b#3 up", within_ms=5_000)
    runtime.address("root").tell(Restart("a", "the test asks"))
    probe.fish(str, lambda line: line == "root/a#2 up", within_ms=5_000)
    release.set()
    runtime.stop(5)


def test_an_actor_that_makes_timers_without_end_crashes_at_the_limit():
    runtime = SimRuntime()
    begin(runtime, worker(runtime, "a"))

    def arm(me: Worker) -> None:
        for number in range(TIMERS_MAX):
            me.timer(f"retry {number}", 60_000)
        me.timer("retry 0", 30_000)  # takes the place of its predecessor
        me.timer("one too many", 60_000)

    runtime.address("root/a").tell(arm)
    runtime.run_for(10_000)
    line = runtime.tree()[1]
    assert line.last_error.startswith(f"KernelError: root/a: {TIMERS_MAX} timers wait, 'one too many' is one too many")
    assert line.restarts == 1


def test_an_actor_that_watches_without_end_crashes_at_the_limit():
    runtime = SimRuntime()
    begin(runtime, worker(runtime, "a"))

    def watch(me: Worker) -> None:
        for number in range(WATCHED_MAX + 1):
            me.watch(runtime.address(f"root/none/{number}"))

    runtime.address("root/a").tell(watch)
    runtime.run_for(10_000)
    assert f"root/a watches {WATCHED_MAX} others" in runtime.tree()[1].last_error


def test_addresses_and_kinds_of_dead_letters_have_an_end():
    runtime = SimRuntime()
    for number in range(PATHS_MAX):
        runtime.address(str(number))
    with pytest.raises(KernelError, match="no more than"):
        runtime.address("one too many")
    for number in range(COUNTED_MAX + 5):
        runtime.dead_letters.add(DeadLetter("a", type(f"Kind{number}", (), {})(), "closed", "", ""))
    assert len(runtime.dead_letters.counts()) == COUNTED_MAX + 1
    assert runtime.dead_letters.counts()["other", "closed"] == 5
    assert len(runtime.dead_letters.kept()) == 1_000


def test_the_tree_view_remembers_how_full_a_mailbox_was_and_when_its_actor_failed_last():
    runtime = SimRuntime(start_ms=1_000_000)
    begin(runtime, worker(runtime, "a", hang_after_ms=None))

    def fail(_me: Worker) -> None:
        raise RuntimeError

    assert (runtime.tree()[1].mailbox_high, runtime.tree()[1].last_error_ms) == (0, 0)
    for number in range(5):
        runtime.address("root/a").tell(number)
    runtime.run_for(500)
    runtime.address("root/a").tell(fail)
    runtime.run_for(500)
    line = runtime.tree()[1]
    assert (line.mailbox_depth, line.mailbox_high, line.last_error, line.last_error_ms) == (
        0,
        5,
        "RuntimeError",
        1_000_500,
    )
    for number in range(700):
        runtime.address("root/a").tell(number)
    assert 700 * 8 / 9 <= runtime.tree()[1].mailbox_high <= 700
