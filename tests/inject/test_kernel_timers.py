"""Timers and clocks: a timer is a message to one incarnation, on the runtime's clock or in real time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from qt_actors.kernel import (
    Actor,
    Address,
    Backoff,
    ChildSpec,
    KernelError,
    Probe,
    ScaledClock,
    SimRuntime,
    SupervisorSpec,
    ThreadRuntime,
    TimerFired,
    VirtualClock,
    WallClock,
)
from qt_actors.kernel.timers import Schedule

Runtime = ThreadRuntime | SimRuntime
START_MS = 1_700_000_000_000


class Timed(Actor):
    """Runs functions, reports its timers."""

    def __init__(self, out: Address) -> None:
        super().__init__()
        self.out = out

    def handle(self, message: object) -> None:
        match message:
            case TimerFired(key):
                self.out.tell((key, self.incarnation, self.now_ms()))
            case _ if callable(message):
                message(self)


@pytest.fixture(params=["threads", "simulation"])
def runtime(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    made = ThreadRuntime() if request.param == "threads" else SimRuntime(start_ms=START_MS)
    yield made
    made.stop(5)


def begin(runtime: Runtime) -> tuple[Probe, Address]:
    probe = Probe(runtime, "out")
    out = runtime.address("out")
    child = ChildSpec("timed", lambda: Timed(out), hang_after_ms=None, poison=None)
    runtime.start(SupervisorSpec("root", children=(child,), backoff=Backoff(1, 1)))
    assert runtime.wait_ready(5)
    return probe, runtime.address("root/timed")


def crash(_me: Timed) -> None:
    raise RuntimeError


def fired(probe: Probe) -> tuple[str, int]:
    key, incarnation, _now_ms = probe.expect(tuple, within_ms=5_000)
    return key, incarnation


def test_a_timer_is_a_message(runtime: Runtime):
    probe, address = begin(runtime)
    address.tell(lambda me: me.timer("cycle", 5))
    assert fired(probe) == ("cycle", 1)


def test_timers_fire_in_the_order_of_their_times(runtime: Runtime):
    probe, address = begin(runtime)

    def arm(me: Timed) -> None:
        for delay_ms in (30, 10, 20):
            me.timer(f"after {delay_ms}", delay_ms)

    address.tell(arm)
    assert [fired(probe)[0] for _ in range(3)] == ["after 10", "after 20", "after 30"]


def test_the_same_key_replaces_its_predecessor():
    runtime = SimRuntime(start_ms=START_MS)
    probe, address = begin(runtime)

    def arm(me: Timed) -> None:
        me.timer("cycle", 10)
        me.timer("cycle", 1_000)

    begun_ms = runtime.clock.now_ms()
    address.tell(arm)
    runtime.run_for(10_000)
    assert probe.heard == (("cycle", 1, begun_ms + 1_000),)


def test_a_cancelled_timer_is_not_heard():
    runtime = SimRuntime()
    probe, address = begin(runtime)

    def arm(me: Timed) -> None:
        me.timer("a", 10)
        me.timer("b", 10)
        me.cancel_timer("a")
        me.cancel_timer("never armed")

    address.tell(arm)
    runtime.run_for(1_000)
    assert [key for key, _incarnation, _now in probe.heard] == ["b"]


def test_a_timer_cancelled_while_it_waits_in_the_mailbox_is_not_heard(runtime: Runtime):
    probe, address = begin(runtime)

    def arm(me: Timed) -> None:
        for key in ("cancelled", "replaced"):
            fire(me, key)
        me.cancel_timer("cancelled")
        me.timer("replaced", 1)

    address.tell(arm)
    assert fired(probe) == ("replaced", 1)
    probe.expect_none()


def fire(me: Timed, key: str) -> None:
    """Let a timer fall due at this very moment, while its actor is busy."""
    me.timer(key, 60_000)
    entry = me._own.timers[key]
    entry.fire(entry)


def test_timers_die_with_their_incarnation(runtime: Runtime):
    probe, address = begin(runtime)

    def arm_and_crash(me: Timed) -> None:
        me.timer("of the dead one", 5)
        fire(me, "already in the mailbox of the dead one")
        crash(me)

    address.tell(arm_and_crash)
    address.tell(lambda me: me.timer("of the living one", 20))
    assert fired(probe) == ("of the living one", 2)
    probe.expect_none()


def test_the_timers_of_dead_incarnations_do_not_pile_up():
    runtime = SimRuntime()
    _probe, address = begin(runtime)
    for _ in range(5):
        address.tell(lambda me: me.timer("in an hour", 3_600_000))
        address.tell(crash)
        runtime.run_for(1_000)
    assert runtime.tree()[1].restarts == 5
    assert len(runtime._schedule) == 0


def test_a_timer_begins_a_trace_of_its_own_unless_it_is_given_one():
    runtime = SimRuntime()
    probe, address = begin(runtime)

    def arm(me: Timed) -> None:
        me.timer("own", 1)
        me.timer("given", 2, trace=me.trace)

    address.tell(arm, trace="order-1")
    assert fired(probe)[0] == "own"
    assert probe.trace != "order-1"
    assert fired(probe)[0] == "given"
    assert probe.trace == "order-1"


@pytest.mark.parametrize("delay_ms", [-1, float("nan")])
def test_a_delay_that_makes_no_sense_is_refused(delay_ms: float):
    runtime = SimRuntime()
    _probe, address = begin(runtime)
    address.tell(lambda me: me.timer("x", delay_ms))
    runtime.run_until_idle()
    (letter,) = runtime.dead_letters.kept()
    assert "allowed is any number from 0" in letter.error


def test_virtual_time_moves_only_with_the_scheduler_and_exactly_to_each_timer():
    runtime = SimRuntime(start_ms=START_MS)
    probe, address = begin(runtime)
    begun_ms = runtime.clock.now_ms()

    def again(me: Timed) -> None:
        for number in range(1, 4):
            me.timer(f"hour {number}", number * 3_600_000)

    address.tell(again)
    runtime.run_for(3 * 3_600_000)
    assert [now_ms - begun_ms for _key, _incarnation, now_ms in probe.heard] == [3_600_000, 7_200_000, 10_800_000]
    assert runtime.clock.now_ms() == begun_ms + 3 * 3_600_000


def delays(clock_speed: float, floor_ms: int) -> Callable[[float], float]:
    runtime = ThreadRuntime(ScaledClock(START_MS, clock_speed), timer_floor_ms=floor_ms)
    return lambda delay_ms: runtime._clock_delay_s(delay_ms) * 1000


def test_on_a_fast_clock_timers_are_shortened_down_to_the_floor_and_never_lengthened():
    at_3600 = delays(3_600, 100)
    assert at_3600(3_600_000) == pytest.approx(1_000)
    assert at_3600(10_000) == pytest.approx(100)
    assert at_3600(20) == pytest.approx(20)
    assert delays(1, 100)(20) == pytest.approx(20)
    assert delays(0.5, 100)(1_000) == pytest.approx(2_000)


def test_a_fast_clock_shortens_clock_timers_and_leaves_real_ones():
    runtime = ThreadRuntime(ScaledClock(START_MS, 36_000), timer_floor_ms=1)
    probe, address = begin(runtime)

    def arm(me: Timed) -> None:
        me.timer("an hour of the market", 3_600_000)
        me.timer("real time", 200, real=True)

    address.tell(arm)
    assert [fired(probe)[0] for _ in range(2)] == ["an hour of the market", "real time"]
    assert runtime.stop(5)


def test_a_scaled_clock_starts_where_it_is_told_and_runs_forward():
    clock = ScaledClock(START_MS, 1_000_000)
    first = clock.now_ms()
    second = clock.now_ms()
    assert START_MS <= first <= second
    with pytest.raises(ValueError, match="clock speed 0: allowed is any number above 0"):
        ScaledClock(0, 0)


def test_the_wall_clock_is_utc_in_milliseconds():
    assert WallClock().now_ms() > START_MS


def test_a_virtual_clock_never_goes_back():
    clock = VirtualClock(START_MS)
    clock.advance_to_s(2.5)
    clock.advance_to_s(1.0)
    assert clock.now_ms() == START_MS + 2_500


def test_cancelled_entries_do_not_pile_up():
    schedule = Schedule()
    kept = schedule.add(5.0, lambda _entry: None)
    for _ in range(10_000):
        schedule.cancel(schedule.add(60.0, lambda _entry: None))
    assert len(schedule) == 1
    assert len(schedule._heap) < 200
    assert schedule.pop_due(4.9) is None
    assert schedule.pop_due(5.0) is kept
    schedule.cancel(kept)
    assert len(schedule) == 0
    assert schedule.next_due_s() is None


def test_the_runtime_wants_no_second_tree():
    runtime = SimRuntime()
    begin(runtime)
    with pytest.raises(KernelError, match="already runs root"):
        runtime.start(SupervisorSpec("other"))
