"""What the kernel relies on in pykka: the private hooks it overrides, and the behaviours it guards against.

Run at every upgrade of pykka. The first half fails when an overridden hook is no longer called as assumed; the second
half shows why the kernel exists: if pykka ever changes one of these, a defence of ours can be reconsidered.
"""

from __future__ import annotations

import inspect
import queue
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import pykka
import pytest
from pykka import ActorRegistry  # noqa: TID251 -- the contract is about it
from pykka._envelope import Envelope
from pykka.messages import _ActorStop

from qt_actors.kernel import Actor, ChildSpec, SimRuntime, SupervisorSpec, ThreadRuntime
from qt_actors.kernel.messages import Envelope as KernelEnvelope


class Plain(pykka.ThreadingActor):
    """Runs functions, echoes the rest, records its hooks."""

    use_daemon_thread = True

    def __init__(self, events: list[str]) -> None:
        super().__init__()
        self.events = events
        self.over = threading.Event()

    def on_start(self) -> None:
        self.events.append("on_start")

    def on_stop(self) -> None:
        self.events.append("on_stop")

    def on_failure(self, *_error: object) -> None:
        self.events.append("on_failure")

    def _actor_loop_teardown(self) -> None:
        super()._actor_loop_teardown()
        self.over.set()

    def on_receive(self, message: Any) -> Any:
        return message(self) if callable(message) else message


@pytest.fixture
def events() -> list[str]:
    return []


@pytest.fixture
def plain(events: list[str]) -> Iterator[pykka.ActorRef[Plain]]:
    ref = Plain.start(events)
    yield ref
    ref.stop(timeout=5)


def over(ref: pykka.ActorRef[Plain]) -> threading.Event:
    actor = ref._actor_weakref()
    assert actor is not None
    return actor.over


def boom(_actor: Plain) -> None:
    msg = "boom"
    raise ValueError(msg)


def wait_for(event: threading.Event) -> Callable[[Plain], object]:
    return lambda _actor: event.wait(5)


# What the kernel overrides must be there, and be called as it assumes.


def test_the_version_is_the_one_that_was_read():
    assert version("pykka") == "4.5.0"


@pytest.mark.parametrize(
    "hook",
    [
        "_create_actor_inbox",
        "_create_future",
        "_start_actor_loop",
        "_actor_loop",
        "_actor_loop_setup",
        "_actor_loop_running",
        "_actor_loop_teardown",
        "_handle_receive",
        "_handle_failure",
        "_stop",
    ],
)
def test_each_hook_exists(hook: str):
    assert callable(getattr(pykka.Actor, hook))


def test_the_abstract_hooks_are_the_three_meant_for_implementors():
    assert pykka.Actor.__abstractmethods__ == {"_create_actor_inbox", "_create_future", "_start_actor_loop"}


def test_the_loop_is_setup_then_running_then_teardown():
    calls: list[str] = []

    class Traced(Plain):
        def _actor_loop_setup(self) -> None:
            calls.append("setup")
            super()._actor_loop_setup()

        def _actor_loop_running(self) -> None:
            calls.append("running")
            super()._actor_loop_running()

        def _actor_loop_teardown(self) -> None:
            calls.append("teardown")
            super()._actor_loop_teardown()

    ref = Traced.start([])
    done = over(ref)
    ref.stop()
    assert done.wait(5)
    assert calls == ["setup", "running", "teardown"]


class Scripted:
    """An inbox that yields what it holds, then raises `end`."""

    def __init__(self, *envelopes: Any, end: BaseException) -> None:
        self.envelopes = list(envelopes)
        self.end = end

    def put(self, envelope: Any) -> None:
        self.envelopes.append(envelope)

    def get(self) -> Any:
        if not self.envelopes:
            raise self.end
        return self.envelopes.pop(0)

    def empty(self) -> bool:
        return True


class _End(BaseException):
    pass


def test_what_an_inbox_raises_passes_through_the_loop_untouched():
    """The deterministic scheduler ends a turn so, and a fenced incarnation its thread."""
    actor = Plain([])
    handled: list[object] = []
    actor.actor_inbox = Scripted(Envelope(lambda _self: handled.append(1)), end=_End())
    with pytest.raises(_End):
        actor._actor_loop_running()
    assert handled == [1]
    assert not actor.actor_stopped.is_set()
    assert actor.events == []


def test_the_loop_ends_after_the_message_that_sets_actor_stopped():
    actor = Plain([])
    envelopes = [Envelope(lambda self: self.actor_stopped.set()), Envelope(boom)]
    actor.actor_inbox = Scripted(*envelopes, end=_End())
    actor._actor_loop_running()
    assert len(actor.actor_inbox.envelopes) == 1  # type: ignore[attr-defined]


def test_the_loop_reads_of_an_envelope_only_message_and_reply_to():
    class Bare:
        __slots__ = ("message", "reply_to")

        def __init__(self, message: object) -> None:
            self.message = message
            self.reply_to = None

    actor = Plain([])
    actor.actor_inbox = Scripted(Bare(lambda self: self.events.append("handled")), end=_End())
    with pytest.raises(_End):
        actor._actor_loop_running()
    assert actor.events == ["handled"]
    assert KernelEnvelope("m", 1, 1, 0, "").reply_to is None


def test_an_inbox_that_says_it_is_empty_is_not_drained_at_teardown():
    actor = Plain([])
    actor.actor_inbox = Scripted(Envelope("keeps waiting"), end=_End())
    actor._actor_loop_teardown()
    assert len(actor.actor_inbox.envelopes) == 1  # type: ignore[attr-defined]


def test_stop_marks_the_actor_stopped_then_calls_on_stop_and_hands_its_failure_on():
    failures: list[BaseException | None] = []

    class Sulky(Plain):
        def on_stop(self) -> None:
            assert self.actor_stopped.is_set()
            raise ValueError

        def _handle_failure(self, _type: object, error: BaseException | None, _traceback: object) -> None:
            failures.append(error)

    Sulky([])._stop()
    assert isinstance(failures[0], ValueError)


def test_stopping_an_unregistered_actor_is_harmless():
    before = ActorRegistry.get_all()
    Plain([])._stop()
    assert ActorRegistry.get_all() == before


def test_init_creates_the_inbox_through_the_instance():
    source = inspect.getsource(pykka.Actor.__init__)
    assert "self._create_actor_inbox()" in source


def test_a_future_takes_one_result_only():
    future: pykka.ThreadingFuture[int] = pykka.ThreadingFuture()
    assert future._result is None
    future.set(1)
    with pytest.raises(queue.Full):
        future.set(2)
    with pytest.raises(queue.Full):
        future.set_exception((ValueError, ValueError(), None))
    assert future.get() == 1
    with pytest.raises(pykka.Timeout):
        pykka.ThreadingFuture().get(timeout=0)


def test_the_kernel_leaves_nothing_in_the_global_registry():
    before = ActorRegistry.get_all()

    class Quiet(Actor):
        def handle(self, message: object) -> None:
            raise NotImplementedError(message)

    for runtime in (ThreadRuntime(), SimRuntime()):
        runtime.start(SupervisorSpec("root", children=(ChildSpec("quiet", Quiet),)))
        assert runtime.wait_ready(5)
        assert ActorRegistry.get_all() == before
        assert runtime.stop(5)
        assert ActorRegistry.get_all() == before


# Why the kernel exists.


def test_pykka_forgets_what_was_queued_behind_a_crash(plain: pykka.ActorRef[Plain], events: list[str]):
    go = threading.Event()
    done = over(plain)
    plain.tell(wait_for(go))
    plain.tell(boom)
    plain.tell(lambda actor: actor.events.append("handled"))
    asked = plain.ask("anything", block=False)
    go.set()
    with pytest.raises(pykka.ActorDeadError):
        asked.get(timeout=5)
    assert done.wait(5)
    assert events == ["on_start", "on_failure"]


def test_pykka_calls_no_hook_when_a_start_fails(events: list[str]):
    class Broken(Plain):
        def on_start(self) -> None:
            raise ValueError

    ref = Broken.start(events)
    assert ref.actor_stopped.wait(5)
    assert events == []


def test_pykka_lets_an_actor_live_on_after_a_failed_ask(plain: pykka.ActorRef[Plain], events: list[str]):
    with pytest.raises(ValueError, match="boom"):
        plain.ask(boom, timeout=5)
    assert plain.ask(1, timeout=5) == 1
    assert "on_failure" not in events


def test_pykka_stops_every_actor_when_one_handler_raises_system_exit(plain: pykka.ActorRef[Plain]):
    bystander = Plain.start([])
    done = over(plain)

    def leave(_actor: Plain) -> None:
        raise SystemExit(3)

    plain.tell(leave)
    assert bystander.actor_stopped.wait(5)
    assert done.wait(5)


def test_pykka_handles_a_question_after_its_asker_has_given_up(plain: pykka.ActorRef[Plain], events: list[str]):
    go = threading.Event()
    plain.tell(wait_for(go))
    with pytest.raises(pykka.Timeout):
        plain.ask(lambda actor: actor.events.append("order placed"), timeout=0.01)
    go.set()
    assert plain.ask(1, timeout=5) == 1
    assert events == ["on_start", "order placed"]


def test_pykkas_stop_waits_its_turn_behind_everything_queued(plain: pykka.ActorRef[Plain], events: list[str]):
    go = threading.Event()
    plain.tell(wait_for(go))
    stopped = plain.ask(_ActorStop(), block=False)
    plain.tell(lambda actor: actor.events.append("too late"))
    go.set()
    stopped.get(timeout=5)
    assert plain.actor_stopped.wait(5)
    assert "too late" not in events
