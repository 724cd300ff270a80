"""Hangs: a stuck actor is abandoned and replaced, and whatever it does when it wakes has no effect."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from qt_actors.kernel import (
    Actor,
    Address,
    Backoff,
    ChildSpec,
    Fenced,
    Hang,
    Probe,
    SimRuntime,
    SupervisorSpec,
    ThreadRuntime,
)

QUICK = Backoff(initial_ms=1, max_ms=10, jitter=0.0)


class Executor(Actor):
    """Sends what it is told to the gateway, with its fence; waits on the event it is told."""

    def __init__(self, gateway: Address, out: Address) -> None:
        super().__init__()
        self.gateway = gateway
        self.out = out

    def on_start(self) -> None:
        self.out.tell(("up", self.incarnation, self.fence))

    def handle(self, message: object) -> None:
        match message:
            case threading.Event() as event:
                self.out.tell("stuck")
                event.wait(30)
                self.gateway.tell(("zombie's order", self.fence))
            case _:
                self.gateway.tell((message, self.fence))


@pytest.fixture
def release() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def spec(runtime: ThreadRuntime | SimRuntime, **limits: object) -> ChildSpec:
    gateway, out = runtime.address("gateway"), runtime.address("out")
    settings = {"hang_after_ms": 200, **limits}
    return ChildSpec("executor", lambda: Executor(gateway, out), **settings)  # type: ignore[arg-type]


def begin(runtime: ThreadRuntime | SimRuntime, child: ChildSpec) -> tuple[Probe, Probe, Address]:
    gateway, out = Probe(runtime, "gateway"), Probe(runtime, "out")
    runtime.start(SupervisorSpec("root", children=(child,), backoff=QUICK))
    assert runtime.wait_ready(5)
    return gateway, out, runtime.address("root/executor")


def thread_of(name: str) -> threading.Thread:
    return next(thread for thread in threading.enumerate() if thread.name == name)


def test_a_stuck_actor_is_replaced_and_its_zombie_can_send_nothing(release: threading.Event):
    runtime = ThreadRuntime(generation=7)
    gateway, out, address = begin(runtime, spec(runtime))
    assert out.expect(tuple) == ("up", 1, (7, 1))
    zombie = thread_of("root/executor#1")
    address.tell(release)
    address.tell("order")
    assert out.expect(str) == "stuck"
    kind, incarnation, fence = out.expect(tuple, within_ms=5_000)
    assert (kind, incarnation) == ("up", 3)  # abandoning takes a number too: the zombie's fence is stale at once
    assert gateway.expect(tuple) == ("order", fence)
    assert address.fence == fence == (7, 3)
    ((path, number, why),) = runtime.abandoned()
    assert (path, number) == ("root/executor", 1)
    assert "hangs: busy for" in why
    assert "in wait (threading.py" in why
    release.set()
    zombie.join(5)
    assert not zombie.is_alive()
    gateway.expect_none()
    assert runtime.dead_letters.counts() == {("Event", "abandoned"): 1, ("tuple", "fenced"): 1}
    assert runtime.abandoned() == ()
    assert runtime.stop(5)


def test_the_message_it_hung_in_is_a_dead_letter(release: threading.Event):
    runtime = ThreadRuntime()
    _gateway, out, address = begin(runtime, spec(runtime))
    out.expect(tuple)
    address.tell(release, trace="bar-1")
    out.fish(tuple, within_ms=5_000)
    (letter,) = runtime.dead_letters.kept()
    assert (letter.message, letter.reason, letter.trace) == (release, "abandoned", "bar-1")
    release.set()
    runtime.stop(5)


def test_an_actor_that_does_not_stop_in_time_is_abandoned_and_the_others_stop_in_order(release: threading.Event):
    runtime = ThreadRuntime()
    _gateway, out, address = begin(runtime, spec(runtime, shutdown_ms=50, hang_after_ms=None))
    out.expect(tuple)
    address.tell(release)
    out.expect(str)
    address.tell("never handled")
    assert not runtime.stop(5)
    assert "did not stop within 50 ms" in runtime.abandoned()[0][2]
    assert runtime.dead_letters.counts() == {("Event", "abandoned"): 1, ("str", "closed"): 1}
    assert next(line.state for line in runtime.tree() if line.path == "root") == "ended"


def test_a_stop_that_runs_out_of_time_abandons_who_is_left(release: threading.Event):
    runtime = ThreadRuntime()
    _gateway, out, address = begin(runtime, spec(runtime, shutdown_ms=60_000, hang_after_ms=None))
    out.expect(tuple)
    address.tell(release)
    out.expect(str)
    assert not runtime.stop(0.05)
    assert {path for path, _number, _why in runtime.abandoned()} >= {"root/executor"}


def test_a_start_that_takes_too_long_is_abandoned_and_tried_again(release: threading.Event):
    runtime = ThreadRuntime()
    out = Probe(runtime, "out")
    address = runtime.address("out")
    first = iter([True])

    class Slow(Actor):
        def on_start(self) -> None:
            if next(first, False):
                release.wait(30)
            address.tell(("started", self.incarnation))

        def handle(self, message: object) -> None:
            raise NotImplementedError(message)

    child = ChildSpec("slow", Slow, start_timeout_ms=200)
    runtime.start(SupervisorSpec("root", children=(child,), backoff=QUICK))
    assert runtime.wait_ready(5)
    assert out.expect(tuple)[1] >= 3
    assert "did not start within 200 ms" in runtime.tree()[1].last_error
    zombie = thread_of("root/slow#1")
    release.set()
    zombie.join(5)
    assert runtime.stop(5)
    out.expect_none()


def test_too_many_stuck_threads_are_beyond_repair(release: threading.Event):
    runtime = ThreadRuntime(abandoned_max=1)
    _gateway, out, address = begin(runtime, spec(runtime))
    for _ in range(2):
        out.fish(tuple, within_ms=5_000)
        address.tell(release)
    assert runtime.failed.wait(5)
    assert runtime.failed.reason == "2 abandoned actors are stuck, allowed are 1"
    assert runtime.join(5)
    release.set()


def test_idle_is_not_stuck():
    runtime = SimRuntime()
    _gateway, _out, _address = begin(runtime, spec(runtime))
    runtime.run_for(60_000)
    assert runtime.tree()[1].restarts == 0


def test_in_simulation_a_hang_is_found_after_its_limit_and_the_zombie_wakes_to_no_effect():
    runtime = SimRuntime(seed=4)
    gateway, _out, address = begin(runtime, spec(runtime, hang_after_ms=1_000))
    runtime.inject(Hang("root/executor", 2, wake_after_ms=10_000))
    for order in ("first", "hangs", "third"):
        address.tell(order)
    runtime.run_for(900)
    assert [message for message, _fence in gateway.heard] == ["first"]
    assert runtime.tree()[1].busy_ms == 900
    runtime.run_for(600)
    assert [message for message, _fence in gateway.heard] == ["first", "third"]
    assert runtime.abandoned()[0][:2] == ("root/executor", 1)
    runtime.run_for(10_000)
    assert [fence for _message, fence in gateway.heard] == [(1, 1), (1, 3)]
    assert runtime.abandoned() == ()


def test_in_simulation_a_short_hang_is_only_late():
    runtime = SimRuntime(seed=4)
    gateway, _out, address = begin(runtime, spec(runtime, hang_after_ms=1_000))
    runtime.inject(Hang("root/executor", 1, wake_after_ms=500))
    address.tell("late")
    runtime.run_for(2_000)
    assert gateway.heard == (("late", (1, 1)),)
    assert runtime.tree()[1].restarts == 0


def test_a_retried_message_is_delivered_twice_at_most():
    runtime = SimRuntime(seed=4)
    gateway, _out, address = begin(runtime, spec(runtime, hang_after_ms=1_000, retry_crashed=True))
    runtime.inject(Hang("root/executor", 1), Hang("root/executor", 2))
    address.tell("poison")
    address.tell("next")
    runtime.run_for(10_000)
    assert [message for message, _fence in gateway.heard] == ["next"]
    assert [(letter.message, letter.reason) for letter in runtime.dead_letters.kept()] == [("poison", "abandoned")]
    assert runtime.tree()[1].restarts == 2


def test_a_superseded_incarnation_is_refused_at_every_door(release: threading.Event):
    runtime = ThreadRuntime()
    _gateway, out = Probe(runtime, "gateway"), Probe(runtime, "out")
    address = runtime.address("root/zombie")
    other = runtime.address("out")
    refused: list[str] = []

    class Zombie(Actor):
        def on_start(self) -> None:
            other.tell(self.incarnation)

        def handle(self, message: object) -> None:
            release.wait(30)
            doors = {
                "tell": lambda: other.tell("from the grave"),
                "reply": lambda: self.reply("from the grave"),
                "watch": lambda: self.watch(other),
            }
            for name, door in doors.items():
                try:
                    door()
                except Fenced:
                    refused.append(name)
            self.timer("from the grave", 0)
            raise RuntimeError(message)

    child = ChildSpec("zombie", Zombie, hang_after_ms=200)
    runtime.start(SupervisorSpec("root", children=(child,), backoff=QUICK))
    assert out.expect(int) == 1
    address.tell("hang")
    assert out.expect(int, within_ms=5_000) == 3
    zombie = thread_of("root/zombie#1")
    release.set()
    zombie.join(5)
    assert runtime.stop(5)
    assert refused == ["tell", "reply", "watch"]
    out.expect_none()
    assert runtime.tree()[1].restarts == 1


class Reader(Actor):
    """Tells who heard what; hangs on an event and then says nothing more, so that no door can stop it."""

    def __init__(self, out: Address) -> None:
        super().__init__()
        self.out = out

    def on_start(self) -> None:
        self.out.tell(("up", self.incarnation))

    def handle(self, message: object) -> None:
        if isinstance(message, threading.Event):
            message.wait(30)
        else:
            self.out.tell((message, self.incarnation))


def test_a_zombie_that_wakes_reads_nothing_more_of_what_waits(release: threading.Event):
    runtime = ThreadRuntime()
    out, address = Probe(runtime, "out"), runtime.address("root/reader")
    made = runtime.address("out")
    child = ChildSpec("reader", lambda: Reader(made), hang_after_ms=200)
    slow = Backoff(initial_ms=500, max_ms=500, jitter=0.0)
    runtime.start(SupervisorSpec("root", children=(child,), backoff=slow))
    assert out.expect(tuple) == ("up", 1)
    zombie = thread_of("root/reader#1")
    address.tell(release)
    for number in range(20):
        address.tell(number)
    runtime.on_dead_letter(lambda _letter: release.set())  # it is abandoned now: let it wake before the next one starts
    assert [out.expect(tuple, within_ms=5_000) for _ in range(21)] == [("up", 3), *((n, 3) for n in range(20))]
    zombie.join(5)
    assert not zombie.is_alive()
    assert runtime.stop(5)


def test_in_simulation_too_a_zombie_reads_nothing_more():
    for seed in range(20):
        runtime = SimRuntime(seed)
        out, address = Probe(runtime, "out"), runtime.address("root/reader")
        made = runtime.address("out")
        child = ChildSpec("reader", lambda to=made: Reader(to), hang_after_ms=1_000)
        slow = Backoff(initial_ms=5_000, max_ms=5_000, jitter=0.0)
        runtime.start(SupervisorSpec("root", children=(child,), backoff=slow))
        assert runtime.wait_ready(5)
        event = threading.Event()
        event.set()
        runtime.inject(Hang("root/reader", 1, wake_after_ms=3_000))
        for message in (event, 1, 2):
            address.tell(message)
        runtime.run_for(20_000)
        assert out.heard == (("up", 1), ("up", 3), (1, 3), (2, 3))
