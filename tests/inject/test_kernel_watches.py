"""Death watch: who watches hears what is now and what changes, and nothing meant for a predecessor."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from qt_actors.kernel import (
    Actor,
    Address,
    Backoff,
    ChildSpec,
    Crash,
    Down,
    Hang,
    Probe,
    SimRuntime,
    SupervisorSpec,
    ThreadRuntime,
    Up,
)

Runtime = ThreadRuntime | SimRuntime
QUICK = Backoff(initial_ms=1, max_ms=10, jitter=0.0)


class Worker(Actor):
    """Reports its start, its stop and what it hears; runs functions."""

    def __init__(self, out: Address, fail_start: Callable[[], bool] = lambda: False) -> None:
        super().__init__()
        self.out = out
        self.fail_start = fail_start

    def on_start(self) -> None:
        if self.fail_start():
            msg = "cannot start"
            raise ValueError(msg)
        self.out.tell(f"{self.path}#{self.incarnation} up")

    def on_stop(self) -> None:
        self.out.tell(f"{self.path}#{self.incarnation} stopped")

    def handle(self, message: object) -> None:
        if callable(message):
            message(self)
        else:
            self.out.tell(message)


@pytest.fixture(params=["threads", "simulation"])
def runtime(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    made = ThreadRuntime(seed=3) if request.param == "threads" else SimRuntime(seed=3)
    yield made
    made.stop(5)


@pytest.fixture
def probe(runtime: Runtime) -> Probe:
    return Probe(runtime, "out")


def worker(runtime: Runtime, name: str, **spec: object) -> ChildSpec:
    out = runtime.address("out")
    return ChildSpec(name, lambda: Worker(out), **spec)  # type: ignore[arg-type]


def begin(runtime: Runtime, spec: SupervisorSpec) -> None:
    runtime.start(spec)
    assert runtime.wait_ready(5)


def crash(_me: Worker) -> None:
    msg = "told to"
    raise RuntimeError(msg)


def hear(probe: Probe, count: int) -> list[str]:
    return [probe.expect(str, within_ms=5_000) for _ in range(count)]


class Watcher(Actor):
    """Reports what it hears of whom it watches."""

    def __init__(self, out: Address, watched: Address) -> None:
        super().__init__()
        self.out = out
        self.watched = watched

    def on_start(self) -> None:
        self.watch(self.watched)

    def handle(self, message: object) -> None:
        match message:
            case Up(path, incarnation):
                self.out.tell(f"{path}#{incarnation} is up")
            case Down(path, incarnation, reason):
                self.out.tell(f"{path}#{incarnation} is down: {reason}")


def test_a_watcher_hears_what_is_now_and_what_changes(runtime: Runtime, probe: Probe):
    out, watched = runtime.address("watching"), runtime.address("root/b")
    watching = Probe(runtime, "watching")
    children = (ChildSpec("a", lambda: Watcher(out, watched)), worker(runtime, "b"))
    begin(runtime, SupervisorSpec("root", children=children, backoff=QUICK))
    assert hear(watching, 2) == ["root/b#0 is down: not started", "root/b#1 is up"]
    runtime.address("root/b").tell(crash)
    assert hear(watching, 2) == ["root/b#1 is down: RuntimeError: told to", "root/b#2 is up"]
    assert hear(probe, 2) == ["root/b#1 up", "root/b#2 up"]


def test_news_that_waited_for_a_dead_watcher_do_not_reach_the_next():
    runtime = SimRuntime(seed=5)
    watching, probe = Probe(runtime, "watching"), Probe(runtime, "out")
    out, watched = runtime.address("watching"), runtime.address("root/a")
    children = (worker(runtime, "a"), ChildSpec("b", lambda: Watcher(out, watched)))
    begin(runtime, SupervisorSpec("root", "one_for_one", children, backoff=QUICK))
    runtime.run_until_idle()
    assert hear(watching, 1) == ["root/a#1 is up"]
    runtime.inject(Hang("root/b", runtime.handled("root/b") + 1, wake_after_ms=500), Crash("root/b", 2))
    runtime.address("root/b").tell("dies of it half a second later")
    runtime.address("root/a").tell(crash)
    runtime.run_for(5_000)
    assert hear(watching, 1) == ["root/a#2 is up"]
    watching.expect_none()
    assert hear(probe, 2) == ["root/a#1 up", "root/a#2 up"]
    assert list(runtime.watches._watchers["root/a"]) == [runtime._nodes["root/b"].live]


def test_a_watcher_that_starts_late_hears_that_the_other_is_up(runtime: Runtime):
    out, watched = runtime.address("watching"), runtime.address("root/a")
    watching, probe = Probe(runtime, "watching"), Probe(runtime, "out")
    children = (worker(runtime, "a"), ChildSpec("b", lambda: Watcher(out, watched)))
    begin(runtime, SupervisorSpec("root", "rest_for_one", children))
    assert hear(watching, 1) == ["root/a#1 is up"]
    assert hear(probe, 1) == ["root/a#1 up"]


def test_a_probe_can_be_watched(runtime: Runtime):
    gateway, watching = Probe(runtime, "root/gateway"), Probe(runtime, "watching")
    out, watched = runtime.address("watching"), runtime.address("root/gateway")
    begin(runtime, SupervisorSpec("root", children=(ChildSpec("b", lambda: Watcher(out, watched)),)))
    assert hear(watching, 1) == ["root/gateway#0 is up"]
    gateway.down("socket closed")
    gateway.up()
    assert hear(watching, 2) == ["root/gateway#0 is down: socket closed", "root/gateway#0 is up"]
