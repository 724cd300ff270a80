"""What every actor inherits: pykka's actor with one exit path, an address, timers, a trace and no way to wait.

pykka's loop runs the messages; the private hooks overridden here are held to their contract by
`tests/accept/test_pykka_contract.py`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, NoReturn

import pykka

from qt_actors.kernel.errors import Fenced, KernelError
from qt_actors.kernel.messages import Stop

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    from qt_actors.kernel.address import Address
    from qt_actors.kernel.incarnation import Incarnation
    from qt_actors.kernel.messages import Envelope


class _Unbound:
    """The inbox of an actor that no runtime has started."""

    def put(self, _envelope: object) -> NoReturn:
        msg = "actors are told through their Address"
        raise KernelError(msg)

    def get(self) -> NoReturn:
        msg = "this actor was not started by a runtime"
        raise KernelError(msg)

    def empty(self) -> bool:
        return True


class Inbox:
    """One incarnation's view of its mailbox, as pykka's loop reads it.

    It is always `empty()`, so that pykka's teardown drains nothing: what waits belongs to the address.
    """

    def __init__(self, own: Incarnation, wait: Callable[[], object]) -> None:
        self._own = own
        self._take = own.mailbox.take
        self._wait = wait

    put = _Unbound.put

    def get(self) -> Envelope:
        """Wait for the next message that is meant for this incarnation and not too late."""
        own, wait, take = self._own, self._wait, self._take
        while True:
            wait()
            envelope = take(own)
            if envelope is None:
                continue
            if (
                envelope.incarnation or envelope.deadline_ms is not None or envelope.answer is not None
            ) and own.runtime.is_void(own, envelope):
                own.current = None
                continue
            return envelope

    def empty(self) -> bool:
        """True: see the class."""
        return True


class Actor(pykka.Actor):
    """Subclass, store what `__init__` is given, implement `handle` with one `match`.

    Everything but `statistics` runs on the actor's own thread. Any exception out of `on_start` or `handle`, SystemExit
    included, is this actor's crash and nobody else's; its supervisor decides what follows.
    """

    _supervises = False

    def __init__(self) -> None:
        super().__init__()
        self._own: Incarnation = _unstarted
        self._run: Callable[[Any], None] = self.handle
        self._heed: Callable[[Any], None] = self._obey
        self._monotonic_s: Callable[[], float] = _never

    def on_start(self) -> None:
        """Recover: starting is recovering. The actor is up when this returns; raising is a failed start."""

    def on_stop(self) -> None:
        """Last words of an orderly stop; not called after a crash."""

    @abstractmethod
    def handle(self, message: object) -> None:
        """React to one message."""

    def statistics(self) -> Mapping[str, object]:
        """A few JSON-able values for the tree view; called from another thread."""
        return {}

    @property
    def path(self) -> str:
        """Where this actor stands in the tree, as root/trading/executor."""
        return self._own.path

    @property
    def incarnation(self) -> int:
        """Grows with every start (and every abandoned predecessor) of this path."""
        return self._own.number

    @property
    def fence(self) -> tuple[int, int]:
        """(generation, incarnation): what gateways compare, so that a superseded incarnation cannot act."""
        return (self._own.runtime.generation, self._own.number)

    @property
    def me(self) -> Address:
        """The address others tell; it outlives this incarnation."""
        return self._own.runtime.address(self._own.path)

    @property
    def return_address(self) -> Address:
        """For results of work that this incarnation started: its successor never hears them."""
        return self._own.runtime.return_address(self._own)

    @property
    def sender(self) -> str:
        """Path of the actor that told the message being handled; empty when it came from outside."""
        return self._own.current.sender if self._own.current is not None else ""

    @property
    def trace(self) -> str:
        """Trace id of the message being handled; empty outside of `handle`."""
        return self._own.runtime.trace_of(self._own.current) if self._own.current is not None else ""

    @property
    def random(self) -> random.Random:
        """Seeded by runtime, path and incarnation: the same run draws the same numbers."""
        return self._own.runtime.random_of(self._own)

    def now_ms(self) -> int:
        """The runtime's clock: UTC, milliseconds since 1970."""
        return self._own.runtime.clock.now_ms()

    def timer(self, key: str, delay_ms: float, *, real: bool = False, trace: str | None = None) -> None:
        """Hear `TimerFired(key)` after `delay_ms`, counted on the runtime's clock, or in real time if `real`.

        The same key replaces its predecessor, fired or not; the timer dies with this incarnation. It starts a trace of
        its own unless `trace` names one. On a fast clock it fires no sooner than the runtime's `timer_floor_ms`.
        """
        self._own.runtime.arm(self._own, key, delay_ms, real=real, trace=trace)

    def cancel_timer(self, key: str) -> None:
        """`TimerFired(key)` will not be heard, even if it is already waiting in the mailbox."""
        self._own.runtime.disarm(self._own, key)

    def watch(self, address: Address) -> None:
        """Hear `Up` and `Down` of another actor, beginning with what it is now; ends with this incarnation."""
        self._own.runtime.watch(self._own, address.path)

    def reply(self, value: object) -> None:
        """Answer the message being handled: to the edge that asked, or as a message to the actor that told it."""
        if self._own.current is None:
            msg = f"{self.path}: reply outside of handle"
            raise KernelError(msg)
        self._own.runtime.reply(self._own, self._own.current, value)

    def reply_later(self) -> Callable[[object], None]:
        """Take the duty to answer the message being handled out of this handler; call the result with the answer."""
        own, envelope = self._own, self._own.current
        if envelope is None:
            msg = f"{self.path}: reply_later outside of handle"
            raise KernelError(msg)
        if envelope.answer is not None:
            envelope.answer.deferred = True
        return lambda value: own.runtime.reply(own, envelope, value)

    def stop(self) -> None:
        """End this incarnation in order, before the next message."""
        self._own.runtime.request_stop(self._own.path, self._own.number)

    # What follows is between the kernel and pykka.

    def bind(self, own: Incarnation, inbox: Inbox) -> None:
        """Give the actor its identity; only a runtime calls this."""
        self._own = own
        self.actor_inbox = inbox  # type: ignore[assignment]  # our envelope has the two fields pykka reads
        self._monotonic_s = own.runtime.monotonic_s
        self._run = own.runtime.guard(own, self.handle)
        if self._supervises:
            self._heed = own.runtime.guard(own, self._obey)

    @classmethod
    def start(cls, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Not here: pykka would register it globally and run it unsupervised."""
        msg = f"{cls.__name__}: actors are started by a runtime from a ChildSpec, not by start()"
        raise KernelError(msg)

    @staticmethod
    def _create_actor_inbox() -> Any:
        return _Unbound()

    @staticmethod
    def _create_future() -> pykka.ThreadingFuture[Any]:
        return pykka.ThreadingFuture()

    def _start_actor_loop(self) -> None:
        self.start()

    def _actor_loop_setup(self) -> None:
        own = self._own
        try:
            own.runtime.call_on_start(self)
            if own.fenced:
                raise Fenced  # noqa: TRY301 -- one exit path for every way out
            if not self._supervises:
                own.runtime.report_up(own)
        except BaseException as error:  # noqa: BLE001 -- SystemExit here must end this actor only
            self._end(error)

    def _handle_receive(self, message: Any) -> None:
        own = self._own
        envelope = own.current
        own.busy_since_s = self._monotonic_s()
        own.last_message = message.__class__.__name__
        try:
            if envelope is not None and envelope.system:
                self._heed(message)
            else:
                self._run(message)
            if envelope is not None and envelope.answer is not None:
                own.runtime.settle(own, envelope)
        except BaseException as error:  # noqa: BLE001 -- pykka would stop every actor of the process on SystemExit
            self._end(error)
            return
        own.current = None
        own.busy_since_s = None

    def _obey(self, message: object) -> None:
        """Handle a message of the system lane."""
        if isinstance(message, Stop):
            self._stop()  # pykka's: marks the actor stopped, then calls on_stop

    def _handle_failure(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        self._end(error)

    def _end(self, failure: BaseException | None) -> None:
        """Leave the loop after this message; the thread's last act reports it."""
        self._own.failure = failure
        self.actor_stopped.set()


class _Unstarted:
    """Stands in until a runtime binds the actor: any use says what is missing."""

    def __getattr__(self, name: str) -> NoReturn:
        msg = f"this actor has no {name} yet: a runtime has not started it"
        raise KernelError(msg)


def _never() -> float:
    return 0.0


_unstarted: Any = _Unstarted()
