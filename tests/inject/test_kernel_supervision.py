"""Supervision: start and stop order, the three strategies, restart types, specs that cannot work."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from qt_actors.kernel import (
    Actor,
    ActorState,
    Address,
    Backoff,
    ChildSpec,
    CrashStart,
    Probe,
    SimRuntime,
    SpecError,
    SupervisorSpec,
    ThreadRuntime,
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


def test_children_start_in_order_and_stop_in_reverse(runtime: Runtime, probe: Probe):
    begin(runtime, three(runtime, "rest_for_one"))
    assert runtime.stop(5)
    assert list(probe.heard) == [
        "root/a#1 up",
        "root/b#1 up",
        "root/c#1 up",
        "root/c#1 stopped",
        "root/b#1 stopped",
        "root/a#1 stopped",
    ]
    assert {line.state for line in runtime.tree()} == {"ended"}


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_no_child_starts_before_its_predecessor_is_up_whatever_the_schedule(strategy: str):
    for seed in range(10):
        runtime = SimRuntime(seed)
        probe = Probe(runtime, "out")
        begin(runtime, three(runtime, strategy))
        assert probe.heard == ("root/a#1 up", "root/b#1 up", "root/c#1 up")


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_whatever_happens_meanwhile_the_next_child_waits_for_a_slow_one(strategy: str):
    runtime = SimRuntime(seed=5)
    probe = Probe(runtime, "out")
    slow = Backoff(initial_ms=1_000, max_ms=1_000, jitter=0.0)
    inner = SupervisorSpec("inner", "rest_for_one", (worker(runtime, "x"),), backoff=slow)
    children = (worker(runtime, "a", restart="temporary"), inner, worker(runtime, "z"))
    runtime.inject(CrashStart("root/inner/x", 1))
    runtime.start(SupervisorSpec("root", strategy, children))  # type: ignore[arg-type]
    runtime.run_for(500)
    assert state(runtime, "root/inner").state == "starting"
    runtime.address("root/a").tell(lambda me: me.stop())
    runtime.run_for(1_000)
    assert probe.heard == ("root/a#1 up", "root/a#1 stopped", "root/inner/x#2 up", "root/z#1 up")


def test_nested_supervisors_are_up_only_when_their_children_are(runtime: Runtime, probe: Probe):
    inner = SupervisorSpec("inner", children=(worker(runtime, "x"), worker(runtime, "y")))
    begin(runtime, SupervisorSpec("root", "rest_for_one", (worker(runtime, "a"), inner, worker(runtime, "z"))))
    assert runtime.stop(5)
    ups = [line for line in probe.heard if str(line).endswith("up")]
    assert ups == ["root/a#1 up", "root/inner/x#1 up", "root/inner/y#1 up", "root/z#1 up"]
    assert list(probe.heard)[4:] == [str(line).replace("up", "stopped") for line in reversed(ups)]


def test_one_for_one_restarts_the_failed_child_alone(runtime: Runtime, probe: Probe):
    begin(runtime, three(runtime, "one_for_one"))
    hear(probe, 3)
    runtime.address("root/b").tell(crash)
    assert hear(probe, 1) == ["root/b#2 up"]
    assert [line.restarts for line in runtime.tree()] == [0, 0, 1, 0]


def test_rest_for_one_restarts_those_after_the_failed_one_too(runtime: Runtime, probe: Probe):
    begin(runtime, three(runtime, "rest_for_one"))
    hear(probe, 3)
    runtime.address("root/b").tell(crash)
    assert hear(probe, 3) == ["root/c#1 stopped", "root/b#2 up", "root/c#2 up"]
    assert [line.restarts for line in runtime.tree()] == [0, 0, 1, 1]


def test_one_for_all_restarts_all_of_them_in_order(runtime: Runtime, probe: Probe):
    begin(runtime, three(runtime, "one_for_all"))
    hear(probe, 3)
    runtime.address("root/b").tell(crash)
    assert hear(probe, 5) == [
        "root/c#1 stopped",
        "root/a#1 stopped",
        "root/a#2 up",
        "root/b#2 up",
        "root/c#2 up",
    ]


def test_what_was_queued_behind_the_crash_is_handled_by_the_next_incarnation(runtime: Runtime, probe: Probe):
    begin(runtime, three(runtime, "one_for_one"))
    hear(probe, 3)
    address = runtime.address("root/a")
    for message in (crash, "one", "two"):
        address.tell(message)
    assert hear(probe, 3) == ["root/a#2 up", "one", "two"]


def test_the_crash_is_seen_in_the_tree_view(runtime: Runtime, probe: Probe):
    begin(runtime, three(runtime, "one_for_one"))
    hear(probe, 3)
    runtime.address("root/a").tell(crash)
    hear(probe, 1)
    line = state(runtime, "root/a")
    assert (line.kind, line.detail, line.incarnation, line.restarts) == ("actor", "Worker", 2, 1)
    assert line.last_error == "RuntimeError: told to"
    assert state(runtime, "root").detail == "one_for_one"


@pytest.mark.parametrize("poison", [SystemExit(3), KeyboardInterrupt(), BaseException("bare"), GeneratorExit()])
def test_no_exception_of_whatever_kind_leaves_its_actor(runtime: Runtime, probe: Probe, poison: BaseException):
    begin(runtime, three(runtime, "one_for_one"))
    hear(probe, 3)

    def die(_me: Worker) -> None:
        raise poison

    runtime.address("root/a").tell(die)
    assert hear(probe, 1) == ["root/a#2 up"]
    runtime.address("root/b").tell("still here")
    assert hear(probe, 1) == ["still here"]
    assert state(runtime, "root/b").incarnation == 1
    assert not runtime.failed.is_set()


def test_system_exit_while_starting_is_a_failed_start(runtime: Runtime, probe: Probe):
    out = runtime.address("out")
    tries = iter([SystemExit(1), None])

    class Shy(Worker):
        def on_start(self) -> None:
            error = next(tries)
            if error is not None:
                raise error
            super().on_start()

    begin(runtime, SupervisorSpec("root", children=(ChildSpec("shy", lambda: Shy(out)),), backoff=QUICK))
    assert hear(probe, 1) == ["root/shy#2 up"]


def test_a_factory_that_raises_is_a_failed_start(runtime: Runtime, probe: Probe):
    out = runtime.address("out")
    tries = iter([False, False, True])

    def factory() -> Worker:
        if not next(tries):
            msg = "no model file"
            raise FileNotFoundError(msg)
        return Worker(out)

    begin(runtime, SupervisorSpec("root", "rest_for_one", (ChildSpec("a", factory),), backoff=QUICK))
    assert hear(probe, 1) == ["root/a#3 up"]
    assert state(runtime, "root/a").last_error == "FileNotFoundError: no model file"


def test_a_factory_that_makes_something_else_is_a_failed_start(runtime: Runtime):
    spec = ChildSpec("a", lambda: "not an actor")  # type: ignore[arg-type,return-value]
    runtime.start(SupervisorSpec("root", children=(spec,), intensity=0))
    assert "root/a: its factory made a str; an Actor is needed" in until_failed(runtime)


def test_a_child_that_dies_while_starting_does_not_lose_the_rest_of_the_start(runtime: Runtime, probe: Probe):
    out = runtime.address("out")
    tries = iter([True, True, False])
    flaky = ChildSpec("b", lambda: Worker(out, lambda: next(tries)))
    begin(
        runtime,
        SupervisorSpec("root", "rest_for_one", (worker(runtime, "a"), flaky, worker(runtime, "c")), backoff=QUICK),
    )
    assert hear(probe, 3) == ["root/a#1 up", "root/b#3 up", "root/c#1 up"]


def test_a_model_that_cannot_start_does_not_keep_its_siblings_down(probe: Probe, runtime: Runtime):
    out = runtime.address("out")
    broken = ChildSpec("b", lambda: Worker(out, lambda: True))
    patient = Backoff(initial_ms=5_000, max_ms=5_000, jitter=0.0)
    begin(runtime, SupervisorSpec("root", "one_for_one", (broken, worker(runtime, "c")), backoff=patient))
    assert hear(probe, 1) == ["root/c#1 up"]
    assert state(runtime, "root/b").state == "backoff"


def test_a_permanent_child_is_restarted_even_after_an_orderly_end(runtime: Runtime, probe: Probe):
    begin(runtime, three(runtime, "one_for_one"))
    hear(probe, 3)
    runtime.address("root/a").tell(lambda me: me.stop())
    assert hear(probe, 2) == ["root/a#1 stopped", "root/a#2 up"]


def test_a_transient_child_is_restarted_after_a_crash_only(runtime: Runtime, probe: Probe):
    begin(runtime, SupervisorSpec("root", children=(worker(runtime, "a", restart="transient"),), backoff=QUICK))
    hear(probe, 1)
    runtime.address("root/a").tell(crash)
    assert hear(probe, 1) == ["root/a#2 up"]
    runtime.address("root/a").tell(lambda me: me.stop())
    assert hear(probe, 1) == ["root/a#2 stopped"]
    runtime.address("root/a").tell("anybody?")
    runtime.stop(5)
    assert runtime.dead_letters.counts()["str", "closed"] == 1
    assert state(runtime, "root/a").incarnation == 2


def test_a_temporary_child_is_never_restarted(runtime: Runtime, probe: Probe):
    children = (worker(runtime, "a"), worker(runtime, "b", restart="temporary"))
    begin(runtime, SupervisorSpec("root", "rest_for_one", children, backoff=QUICK))
    hear(probe, 2)
    runtime.address("root/b").tell(crash)
    runtime.address("root/a").tell(crash)
    probe.fish(str, lambda line: line == "root/a#2 up", within_ms=5_000)
    runtime.stop(5)
    assert state(runtime, "root/b").restarts == 0
    assert not any("root/b#2" in str(line) for line in probe.heard)


def test_the_stop_of_the_runtime_lets_queued_messages_be_handled_first(runtime: Runtime, probe: Probe):
    begin(runtime, three(runtime, "rest_for_one"))
    hear(probe, 3)
    for number in range(50):
        runtime.address("root/b").tell(str(number))
    assert runtime.stop(5)
    heard = hear(probe, 53)
    assert [line for line in heard if line.isdigit()] == [str(number) for number in range(50)]
    assert heard[-2:] == ["root/b#1 stopped", "root/a#1 stopped"]


def test_an_actor_whose_on_stop_fails_is_stopped_all_the_same(runtime: Runtime, probe: Probe):
    out = runtime.address("out")

    class Sulky(Worker):
        def on_stop(self) -> None:
            raise SystemExit(9)

    children = (worker(runtime, "a"), ChildSpec("sulky", lambda: Sulky(out)))
    begin(runtime, SupervisorSpec("root", "rest_for_one", children))
    hear(probe, 2)
    assert runtime.stop(5)
    assert hear(probe, 1) == ["root/a#1 stopped"]
    assert state(runtime, "root/sulky").last_error == "SystemExit: 9"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ChildSpec("a/b", Worker), "id 'a/b': allowed is any non-empty text"),
        (lambda: ChildSpec("a", Worker, restart="always"), "restart 'always'; allowed are permanent, transient"),
        (lambda: ChildSpec("a", Worker, mailbox_max=0), "mailbox_max 0; allowed is any number above 0"),
        (lambda: ChildSpec("a", SupervisorSpec("b")), "the two ids must be the same"),
        (lambda: SupervisorSpec("s", "all"), "strategy 'all'; allowed are one_for_one"),
        (lambda: SupervisorSpec("s", children=(ChildSpec("a", Worker),) * 2), "child id 'a' is used twice"),
        (lambda: SupervisorSpec("s", intensity=-1), "intensity -1 in 60000 ms"),
        (
            lambda: SupervisorSpec("s", intensity=8, backoff=Backoff(1_000, 30_000)),
            "it could never escalate; lengthen the period or shorten the backoff",
        ),
    ],
)
def test_a_tree_that_cannot_work_is_refused_with_the_reason(make: Callable[[], object], message: str):
    with pytest.raises(SpecError, match=message):
        make()


def test_runtimes_of_one_process_know_nothing_of_each_other():
    first, second = SimRuntime(), ThreadRuntime()
    probe = Probe(first, "out")
    Probe(second, "out")
    for made in (first, second):
        begin(made, three(made, "rest_for_one"))
    first.stop(5)
    assert len(probe.heard) == 6
    assert [line.state for line in second.tree()] == ["up"] * 4
    assert second.stop(5)
