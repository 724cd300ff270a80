"""Poison: a message that crashes its handler, and a class of messages that does so again and again."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from qt_actors.kernel import (
    Actor,
    ActorState,
    Address,
    Backoff,
    ChildSpec,
    Poison,
    Probe,
    SimRuntime,
    SupervisorSpec,
    ThreadRuntime,
    TimerFired,
    UnansweredError,
    conflate,
)

Runtime = ThreadRuntime | SimRuntime
QUICK = Backoff(initial_ms=1, max_ms=10, jitter=0.0)


class Candle(msgspec.Struct, frozen=True):
    close: float


class Command(msgspec.Struct, frozen=True):
    number: int


class Reader(Actor):
    """Cannot divide by a candle that closed at 0."""

    def __init__(self, out: Address) -> None:
        super().__init__()
        self.out = out

    def handle(self, message: object) -> None:
        if isinstance(message, Candle):
            self.out.tell(1 / message.close)
        else:
            self.out.tell(message)


@pytest.fixture(params=["threads", "simulation"])
def runtime(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    made = ThreadRuntime() if request.param == "threads" else SimRuntime()
    yield made
    made.stop(5)


def begin(runtime: Runtime, intensity: int = 5, **spec: object) -> tuple[Probe, Address]:
    probe, out = Probe(runtime, "out"), runtime.address("out")
    child = ChildSpec("reader", lambda: Reader(out), **spec)  # type: ignore[arg-type]
    runtime.start(SupervisorSpec("root", children=(child,), intensity=intensity, backoff=QUICK))
    assert runtime.wait_ready(5)
    return probe, runtime.address("root/reader")


def line(runtime: Runtime) -> ActorState:
    return runtime.tree()[1]


def letters(runtime: Runtime) -> list[tuple[object, str]]:
    return [(letter.message, letter.reason) for letter in runtime.dead_letters.kept()]


def test_a_class_that_crashes_its_reader_again_and_again_is_kept_from_it_and_the_rest_goes_on(runtime: Runtime):
    probe, address = begin(runtime, intensity=2)
    for number in range(6):
        address.tell(Candle(0.0))
        address.tell(Command(number))
    assert [probe.expect(Command, within_ms=5_000).number for _ in range(6)] == list(range(6))
    assert [reason for _message, reason in letters(runtime)] == ["crash"] * 3 + ["circuit"] * 3
    assert line(runtime).circuits == ("Candle",)
    assert line(runtime).restarts == 3  # the third did not count: two are allowed
    assert not runtime.failed.is_set()


def test_without_a_circuit_each_crash_counts(runtime: Runtime):
    _probe, address = begin(runtime, intensity=2, poison=None)
    for _ in range(3):
        address.tell(Candle(0.0))
    if isinstance(runtime, SimRuntime):
        runtime.run_for(1_000)
    assert runtime.failed.wait(5)
    assert "ZeroDivisionError" in runtime.failed.reason


def test_the_dead_letter_of_a_crash_says_where_it_happened(runtime: Runtime):
    _probe, address = begin(runtime)
    with pytest.raises(UnansweredError, match="ZeroDivisionError"):
        address.ask(Candle(0.0), 5)
    (letter,) = runtime.dead_letters.kept()
    assert letter.error == "ZeroDivisionError: float division by zero"
    assert "self.out.tell(1 / message.close)" in letter.stack


def test_a_circuit_closes_by_itself_and_opens_for_longer_at_the_next_crash():
    runtime = SimRuntime()
    probe, address = begin(runtime, intensity=100)
    for _ in range(3):
        address.tell(Candle(0.0))
    runtime.run_for(1_000)
    address.tell(Candle(4.0))
    runtime.run_for(60_000)
    assert probe.heard == ()
    assert line(runtime).circuits == ()
    address.tell(Candle(2.0))
    runtime.run_for(1)
    assert probe.heard == (0.5,)
    address.tell(Candle(0.0))
    runtime.run_for(100_000)
    assert line(runtime).circuits == ("Candle",)
    runtime.run_for(20_001)
    assert line(runtime).circuits == ()


def test_a_question_of_a_blocked_class_fails_at_once():
    runtime = SimRuntime()
    _probe, address = begin(runtime)
    for _ in range(3):
        address.tell(Candle(0.0))
    runtime.run_for(100)
    with pytest.raises(UnansweredError, match="Candle became a dead letter: circuit"):
        address.ask(Candle(1.0), 5)


def test_what_waits_of_a_blocked_class_is_told_of_too_and_its_own_policy_returns_afterwards():
    runtime = SimRuntime()
    probe, address = begin(
        runtime, mailbox={Candle: conflate(lambda candle: candle.close)}, poison=Poison(crashes_max=1)
    )
    for close in (0.0, 1.0, 2.0, 2.0):
        address.tell(Candle(close))
    address.tell(Command(1))
    runtime.run_for(100)
    assert letters(runtime) == [(Candle(0.0), "crash"), (Candle(1.0), "circuit"), (Candle(2.0), "circuit")]
    runtime.run_for(60_000)
    for _ in range(5):
        address.tell(Candle(4.0))
    runtime.run_for(1)
    assert probe.heard == (Command(1), 0.25)


def test_a_message_that_is_retried_counts_each_time_and_is_delivered_twice_at_most():
    runtime = SimRuntime()
    probe, address = begin(runtime, retry_crashed=True)
    for _ in range(3):
        address.tell(Candle(0.0))
    address.tell(Command(1))
    runtime.run_for(1_000)
    assert runtime.handled("root/reader") == 3 + 1  # the first twice, the second once: then the circuit opens
    assert letters(runtime) == [(Candle(0.0), "crash"), (Candle(0.0), "circuit"), (Candle(0.0), "circuit")]
    assert probe.heard == (Command(1),)


def test_an_actor_that_crashes_on_its_own_timers_is_at_fault_itself():
    runtime = SimRuntime()

    class Ticking(Actor):
        def on_start(self) -> None:
            self.timer("tick", 10)

        def handle(self, message: object) -> None:
            assert message == TimerFired("tock")

    runtime.start(SupervisorSpec("root", children=(ChildSpec("ticking", Ticking),), intensity=4, backoff=QUICK))
    runtime.run_for(1_000)
    assert "5 failures within" in runtime.failed.reason
