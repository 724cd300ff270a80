"""Giving up, and failures at the worst moment: budgets, escalation, significant children, stale messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from qt_actors.kernel import (
    Actor,
    ActorState,
    Address,
    Backoff,
    ChildSpec,
    Crash,
    CrashStart,
    Down,
    Hang,
    Probe,
    Restart,
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


def state(runtime: Runtime, path: str) -> ActorState:
    return next(line for line in runtime.tree() if line.path == path)


def until_failed(runtime: Runtime) -> str:
    """Wait for the tree to give up, and return why."""
    if isinstance(runtime, SimRuntime):
        runtime.run_until(runtime.failed.is_set, 60_000)
    assert runtime.failed.wait(5)
    return runtime.failed.reason


def three(runtime: Runtime, strategy: str, **limits: object) -> SupervisorSpec:
    children = tuple(worker(runtime, name) for name in "abc")
    return SupervisorSpec("root", strategy, children, backoff=QUICK, **limits)  # type: ignore[arg-type]


def test_the_address_of_a_child_that_has_ended_is_closed_until_its_supervisor_starts_anew():
    runtime = SimRuntime(seed=5)
    probe = Probe(runtime, "out")
    inner = SupervisorSpec("inner", children=(worker(runtime, "x"), worker(runtime, "once", restart="temporary")))
    begin(runtime, SupervisorSpec("root", children=(inner,), backoff=QUICK))
    hear(probe, 2)
    for message in (crash, "waits in vain"):
        runtime.address("root/inner/once").tell(message)
    runtime.run_for(1_000)
    runtime.address("root/inner/once").tell("too late")
    lost = [(letter.message, letter.reason) for letter in runtime.dead_letters.kept()[1:]]
    assert lost == [("waits in vain", "closed"), ("too late", "closed")]
    assert state(runtime, "root/inner/once").state == "ended"
    runtime.address("root").tell(Restart("inner", "the test asks"))
    runtime.run_for(1_000)
    runtime.address("root/inner/once").tell("heard")
    runtime.run_until_idle()
    assert probe.heard[-1] == "heard"


def test_past_the_budget_the_supervisor_gives_up_and_its_parent_restarts_the_whole_subtree(
    runtime: Runtime, probe: Probe
):
    inner = SupervisorSpec(
        "inner", "one_for_one", (worker(runtime, "x"), worker(runtime, "y")), intensity=1, backoff=QUICK
    )
    begin(runtime, SupervisorSpec("root", children=(inner,), backoff=QUICK))
    hear(probe, 2)
    runtime.address("root/inner/x").tell(crash)
    assert hear(probe, 1) == ["root/inner/x#2 up"]
    runtime.address("root/inner/x").tell(crash)
    assert hear(probe, 3) == ["root/inner/y#1 stopped", "root/inner/x#3 up", "root/inner/y#2 up"]
    line = state(runtime, "root/inner")
    assert line.incarnation == 2
    assert line.last_error == "root/inner/x: RuntimeError: told to; 2 failures within 60000 ms, allowed are 1"
    assert not runtime.failed.is_set()


def test_past_the_roots_budget_the_tree_fails_with_the_reason_and_stops_in_reverse_order(
    runtime: Runtime, probe: Probe
):
    begin(runtime, three(runtime, "one_for_one", intensity=1))
    hear(probe, 3)
    runtime.address("root/a").tell(crash)
    hear(probe, 1)
    runtime.address("root/a").tell(crash)
    expected = "root gives up: root/a: RuntimeError: told to; 2 failures within 60000 ms, allowed are 1"
    assert until_failed(runtime) == expected
    assert hear(probe, 2) == ["root/c#1 stopped", "root/b#1 stopped"]
    if isinstance(runtime, ThreadRuntime):
        assert runtime.join(5)


def test_two_levels_of_escalation_reach_the_root(runtime: Runtime, probe: Probe):
    inner = SupervisorSpec("inner", children=(worker(runtime, "x"),), intensity=0)
    begin(runtime, SupervisorSpec("root", children=(inner,), intensity=0))
    hear(probe, 1)
    runtime.address("root/inner/x").tell(crash)
    assert until_failed(runtime).startswith("root gives up: root/inner: root/inner/x: RuntimeError: told to;")


def test_a_tree_that_cannot_start_fails_instead_of_waiting(runtime: Runtime):
    out = runtime.address("out")
    broken = ChildSpec("a", lambda: Worker(out, lambda: True))
    runtime.start(SupervisorSpec("root", children=(broken,), intensity=2, backoff=QUICK))
    assert "ValueError: cannot start; 3 failures" in until_failed(runtime)
    assert not runtime.wait_ready(5)


@pytest.mark.parametrize("orderly", [True, False])
def test_when_a_significant_child_ends_for_good_its_supervisor_ends_too(
    runtime: Runtime, probe: Probe, *, orderly: bool
):
    inner = SupervisorSpec(
        "inner",
        children=(worker(runtime, "x"), worker(runtime, "gateway", restart="temporary", significant=True)),
    )
    begin(runtime, SupervisorSpec("root", children=(inner,), backoff=QUICK))
    hear(probe, 2)
    runtime.address("root/inner/gateway").tell((lambda me: me.stop()) if orderly else crash)
    expected = ["root/inner/x#1 stopped", "root/inner/x#2 up", "root/inner/gateway#2 up"]
    assert hear(probe, 4 if orderly else 3)[-3:] == expected
    ended = "stopped" if orderly else "root/inner/gateway is significant and has ended: RuntimeError: told to"
    assert state(runtime, "root/inner").last_error == ("" if orderly else ended)


def test_a_requested_restart_counts_like_a_failure(runtime: Runtime, probe: Probe):
    begin(runtime, three(runtime, "one_for_one", intensity=1))
    hear(probe, 3)
    runtime.address("root").tell(Restart("a", "the healer asks"))
    assert hear(probe, 2) == ["root/a#1 stopped", "root/a#2 up"]
    runtime.address("root").tell(Restart("a", "the healer asks"))
    assert "restart requested: the healer asks" in until_failed(runtime)


def test_the_restart_of_an_unknown_child_is_ignored(runtime: Runtime, probe: Probe):
    begin(runtime, three(runtime, "one_for_one"))
    hear(probe, 3)
    runtime.address("root").tell(Restart("nobody", "typing error"))
    runtime.address("root").tell("not for a supervisor")
    runtime.address("root/a").tell(crash)
    assert hear(probe, 1) == ["root/a#2 up"]


def test_a_stop_for_an_earlier_incarnation_does_not_touch_the_next(runtime: Runtime, probe: Probe):
    begin(runtime, three(runtime, "one_for_one"))
    hear(probe, 3)
    runtime.address("root/a").tell(crash)
    assert hear(probe, 1) == ["root/a#2 up"]
    runtime.request_stop("root/a", 1)
    runtime.request_stop("root/a", 1, drain=True)
    runtime.address("root/a").tell("alive")
    assert hear(probe, 1) == ["alive"]
    assert state(runtime, "root/a").incarnation == 2


def test_backoff_grows_and_no_restart_comes_before_it():
    runtime = SimRuntime(seed=5)
    probe = Probe(runtime, "out")
    slow = Backoff(initial_ms=1_000, max_ms=3_000, jitter=0.0)
    begin(runtime, SupervisorSpec("root", children=(worker(runtime, "a", poison=None),), intensity=10, backoff=slow))
    hear(probe, 1)
    for delay_ms in (1_000, 2_000, 3_000, 3_000):
        runtime.address("root/a").tell(crash)
        runtime.run_for(delay_ms - 1)
        probe.expect_none()
        runtime.run_for(2)
        assert len(hear(probe, 1)) == 1


def test_in_rest_for_one_nobody_serves_while_one_before_it_is_down():
    runtime = SimRuntime(seed=5)
    Probe(runtime, "out")
    slow = Backoff(initial_ms=1_000, max_ms=1_000, jitter=0.0)
    children = tuple(worker(runtime, name) for name in "abc")
    begin(runtime, SupervisorSpec("root", "rest_for_one", children, backoff=slow))
    runtime.address("root/b").tell(crash)
    runtime.run_for(500)
    assert [line.state for line in runtime.tree()] == ["up", "up", "backoff", "idle"]
    runtime.run_for(600)
    assert [line.state for line in runtime.tree()] == ["up"] * 4


def test_a_crash_while_others_are_being_stopped_changes_neither_their_order_nor_restarts_anybody_twice():
    runtime = SimRuntime(seed=5)
    probe = Probe(runtime, "out")
    children = tuple(worker(runtime, name) for name in "abcd")
    begin(runtime, SupervisorSpec("root", "one_for_all", children, backoff=QUICK))
    hear(probe, 4)
    runtime.inject(Hang("root/d", 1, wake_after_ms=500))
    runtime.address("root/d").tell("takes half a second")
    runtime.run_until_idle()
    runtime.address("root/a").tell(crash)
    runtime.run_for(100)
    assert state(runtime, "root/d").state == "stopping"
    runtime.address("root/b").tell(crash)
    runtime.run_for(5_000)
    assert list(probe.heard[4:]) == [
        "takes half a second",
        "root/d#1 stopped",
        "root/c#1 stopped",
        *(f"root/{name}#2 up" for name in "abcd"),
    ]


def test_news_of_an_earlier_incarnation_do_not_touch_the_next(runtime: Runtime, probe: Probe):
    begin(runtime, three(runtime, "one_for_one"))
    hear(probe, 3)
    runtime.address("root/a").tell(crash)
    assert hear(probe, 1) == ["root/a#2 up"]
    runtime._tell_supervisor("root", Down("root/a", 1, "long ago"))
    runtime._tell_supervisor("root", Up("root/a", 1))
    runtime.address("root/b").tell(crash)
    assert hear(probe, 1) == ["root/b#2 up"]
    assert state(runtime, "root/a").state == "up"
    assert state(runtime, "root/a").restarts == 1


class Echo(SimRuntime):
    """Tells every death twice."""

    def _tell_supervisor(self, path: str, message: object) -> None:
        super()._tell_supervisor(path, message)  # type: ignore[arg-type]
        if isinstance(message, Down):
            super()._tell_supervisor(path, message)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("strategy", "after"),
    [
        ("one_for_one", ["root/b#2 up"]),
        ("rest_for_one", ["root/c#1 stopped", "root/b#2 up", "root/c#2 up"]),
        ("one_for_all", ["root/c#1 stopped", "root/a#1 stopped", "root/a#2 up", "root/b#2 up", "root/c#2 up"]),
    ],
)
def test_a_death_that_is_told_twice_counts_once_and_restarts_nobody_twice(strategy: str, after: list[str]):
    for seed in range(20):
        runtime = Echo(seed)
        probe = Probe(runtime, "out")
        begin(runtime, three(runtime, strategy, intensity=1))
        hear(probe, 3)
        runtime.address("root/b").tell(crash)
        runtime.run_for(1_000)
        assert list(probe.heard[3:]) == after
        assert not runtime.failed.is_set()
        assert state(runtime, "root").statistics["failures"] == 1
        assert state(runtime, "root/b").restarts == 1


def test_a_supervisor_that_crashes_takes_its_children_along_and_is_restarted():
    runtime = SimRuntime(seed=5)
    probe = Probe(runtime, "out")
    inner = SupervisorSpec("inner", children=(worker(runtime, "x"), worker(runtime, "y")))
    begin(runtime, SupervisorSpec("root", children=(inner,), backoff=QUICK))
    hear(probe, 2)
    runtime.inject(Crash("root/inner", runtime.handled("root/inner") + 1))
    runtime.address("root/inner/x").tell("before")
    runtime.address("root/inner").tell(Restart("x", "the message it dies of"))
    runtime.address("root/inner/y").tell("waits for the next one")
    runtime.run_for(1_000)
    assert {"root/inner/x#3 up", "root/inner/y#3 up", "before", "waits for the next one"} == set(probe.heard[2:])
    assert runtime.abandoned() == ()
    assert [line.state for line in runtime.tree()] == ["up"] * 4


def test_a_start_that_fails_by_fault_is_retried():
    runtime = SimRuntime(seed=5)
    probe = Probe(runtime, "out")
    runtime.inject(CrashStart("root/a", 1), CrashStart("root/a", 2))
    begin(runtime, SupervisorSpec("root", "rest_for_one", (worker(runtime, "a"),), backoff=QUICK))
    assert hear(probe, 1) == ["root/a#3 up"]
