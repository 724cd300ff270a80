"""What both runtimes share: addresses, the beginning and end of incarnations, fences, timers, dead letters."""

from __future__ import annotations

import logging
import threading
import traceback
from abc import abstractmethod
from collections import Counter
from typing import TYPE_CHECKING, Any

from qt_actors.kernel.actor import Actor, Inbox
from qt_actors.kernel.errors import EscalationError, Fenced, KernelError
from qt_actors.kernel.incarnation import Incarnation, here
from qt_actors.kernel.messages import Beat, Down, Envelope, GiveUp, Stop, Up
from qt_actors.kernel.node import Node, summary
from qt_actors.kernel.post import Post
from qt_actors.kernel.spec import ChildSpec, SupervisorSpec
from qt_actors.kernel.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable
    from queue import SimpleQueue

    from qt_actors.kernel.clocks import Clock
    from qt_actors.kernel.messages import ActorState

logger = logging.getLogger(__name__)

STACK_CHARS_MAX = 4_000  # of a crash's traceback, kept with its dead letter


class Failure(threading.Event):
    """Set once, with the reason, when the tree is beyond repair; `main` waits for it, halts and exits non-zero."""

    reason: str = ""

    def report(self, reason: str) -> None:
        """Keep the first reason and wake whoever waits."""
        if not self.is_set():
            self.reason = reason
            self.set()


class Runtime(Post):
    """Runs a supervision tree. Use `ThreadRuntime` (live) or `SimRuntime` (simulation, tests, backtest)."""

    def __init__(self, clock: Clock, *, seed: int, generation: int, abandoned_max: int) -> None:
        super().__init__(clock, seed=seed, generation=generation)
        self.failed = Failure()
        self.stopping = False
        self.abandoned_max = abandoned_max
        self._root: str | None = None
        self._abandoned: dict[Incarnation, str] = {}
        self._stuck: set[Incarnation] = set()
        self._stop_by_s: float | None = None

    # For everybody

    def start(self, tree: SupervisorSpec) -> None:
        """Start the tree's root; its children follow in order. See `wait_ready`."""
        if self._root is not None:
            msg = f"this runtime already runs {self._root}; make another one"
            raise KernelError(msg)
        self._root = tree.id
        for path, spec in tree.walk():
            mailbox = self.mailbox(path)
            mailbox.configure(spec.mailbox, spec.mailbox_max, self.arrive)
            self._nodes[path] = Node(path, spec, mailbox)
        self._open()
        self.spawn(tree.id, ChildSpec(tree.id, tree), None)

    def tree(self) -> tuple[ActorState, ...]:
        """Every actor of the tree, in start order; from any thread."""
        real_ms = self.real_ms()
        zombies = Counter(own.path for own in tuple(self._abandoned))
        return tuple(
            node.describe(self.busy_ms(node.path), real_ms, zombies[node.path]) for node in self._nodes.values()
        )

    def abandoned(self) -> tuple[tuple[str, int, str], ...]:
        """(path, incarnation, why) of superseded incarnations whose threads have not ended yet."""
        return tuple((own.path, own.number, why) for own, why in tuple(self._abandoned.items()))

    @abstractmethod
    def wait_ready(self, timeout_s: float) -> bool:
        """True as soon as all actors have started once; False when the tree failed or the time is up."""

    @abstractmethod
    def stop(self, timeout_s: float) -> bool:
        """Stop in reverse order, each actor after what was already queued for it; then abandon who is left.

        Each may take its `shutdown_ms`, but never more than half of the time that is left: whoever is stuck on the way
        cannot take the journal's time. Returns True when everybody ended in order and in time.
        """

    @abstractmethod
    def await_item(self, items: SimpleQueue[Any], timeout_s: float) -> Any:
        """For probes: the next item; `queue.Empty` when the time is up."""

    # For supervisors

    def spawn(self, path: str, spec: ChildSpec, parent: str | None) -> int:
        """Begin the next incarnation of `path`; its Up or Down follows. Returns its number."""
        with self._lock:
            node = self._nodes[path]
            node.epoch += 1
            node.starts += 1
            node.state = "starting"
            own = node.live = Incarnation(self, node.mailbox, node.epoch, spec, parent)
            self._enlist(own)
        self._launch(own)
        return own.number

    def request_stop(self, path: str, incarnation: int, *, drain: bool = False) -> None:
        """Let this incarnation end in order: at once, or with `drain` after what already waits for it."""
        node = self._nodes[path]
        number = self.next_number()
        envelope = Envelope(Stop(), number, number, 0, "", incarnation=incarnation, system=True)
        if drain and not node.spec.supervises:
            node.mailbox.offer_own(envelope)
        else:
            node.mailbox.offer_system(envelope)

    def abandon(self, path: str, incarnation: int, reason: str) -> str | None:
        """Fence a stuck incarnation off: it can hear and say nothing more, whenever it wakes.

        Returns where it is stuck; None when it is not the current one or has just ended by itself. More stuck ones than
        `abandoned_max` at a time: the tree is beyond repair.
        """
        own = self._nodes[path].live
        if own is None or own.number != incarnation:
            return None
        where = self._where(own)
        if not self._fence_off(own, reason + where):
            return None
        self._stuck.add(own)
        logger.error("%s#%d abandoned: %s%s", path, own.number, reason, where)
        if len(self._stuck) > self.abandoned_max:
            self.beyond_repair(f"{len(self._stuck)} abandoned actors are stuck, allowed are {self.abandoned_max}")
        return where

    def _fence_off(self, own: Incarnation, reason: str) -> bool:
        with self._lock:
            node = self._nodes[own.path]
            if not own.mailbox.disown(own, fence=True):
                return False
            node.live = None
            node.epoch += 1
            node.fails(reason, self.clock.now_ms())
            own.fenced_s = self.monotonic_s()
            self._abandoned[own] = reason
            self._part(own)
            self._absent(node, Down(own.path, own.number, reason))
        if own.current is not None and not own.current.system:
            self._unfinished(own, own.current, "abandoned", reason)
        self._wake(own)
        if own.spec.supervises:
            self._abandon_below(own.path)
        return True

    def busy_ms(self, path: str) -> int:
        """For how long the current message of `path` has been handled; 0 when it waits."""
        own = self._nodes[path].live
        since_s = own.busy_since_s if own is not None else None
        return 0 if since_s is None else max(0, int((self.monotonic_s() - since_s) * 1000))

    def silent_ms(self, path: str) -> int:
        """For how long the loop of `path` owes a sign of life; 0 when it owed none, and it is asked for one now."""
        own = self._nodes[path].live
        if own is None:
            return 0
        now_s, since_s = self.monotonic_s(), own.beat_since_s
        if since_s is not None:
            return max(0, int((now_s - since_s) * 1000))
        own.beat_since_s = now_s
        number = self.next_number()
        own.mailbox.offer_system(Envelope(Beat(), number, number, 0, "", incarnation=own.number, system=True))
        return 0

    def shutdown_ms(self, spec: ChildSpec) -> float:
        """How long this child may take to stop: when all must stop, no more than half of what is left."""
        if self._stop_by_s is None:
            return spec.shutdown_ms
        return min(spec.shutdown_ms, max(0.0, self._stop_by_s - self.monotonic_s()) * 1000 / 2)

    def show(self, path: str, state: str) -> None:
        """Remember a child's state for the tree view."""
        self._nodes[path].state = state

    def close(self, path: str) -> None:
        """`path` has ended for good; what is told to it from now on is a dead letter."""
        self._nodes[path].mailbox.close()

    def supervisor_gives_up(self, path: str, reason: str) -> None:
        """At the root this is the end: `failed` is set before the children are stopped in order."""
        if path == self._root:
            self._nodes[path].fails(reason, self.clock.now_ms())
            self.failed.report(f"{path} gives up: {reason}")

    def report_up(self, own: Incarnation) -> None:
        """The incarnation has started."""
        with self._lock:
            if own.fenced:
                raise Fenced
            own.started = True
            up = self._nodes[own.path].latest = Up(own.path, own.number)
            self.watches.tell(up)
        if own.parent is not None:
            self._tell_supervisor(own.parent, up)
        else:
            self.show(own.path, "up")
            self._root_up()

    # What a runtime must provide

    @abstractmethod
    def _open(self) -> None:
        """Get ready to launch."""

    @abstractmethod
    def _enlist(self, own: Incarnation) -> None:
        """Make `own` the reader of its mailbox."""

    @abstractmethod
    def _launch(self, own: Incarnation) -> None:
        """Run `own`: `_live` on a thread, or step by step."""

    @abstractmethod
    def _wake(self, own: Incarnation) -> None:
        """Let a waiting incarnation look at its mailbox."""

    @abstractmethod
    def _inbox(self, own: Incarnation) -> Inbox:
        """The incarnation's view of its mailbox."""

    @abstractmethod
    def _root_up(self) -> None:
        """All is up for the first time."""

    @abstractmethod
    def _root_down(self) -> None:
        """All has ended."""

    def _where(self, _own: Incarnation) -> str:
        return ""

    def guard(self, _own: Incarnation, call: Callable[[Any], None]) -> Callable[[Any], None]:
        """What runs a handler; the deterministic runtime may let it fail."""
        return call

    def call_on_start(self, actor: Actor) -> None:
        """Run `on_start`; the deterministic runtime may let it fail."""
        actor.on_start()

    # Beginning and end of an incarnation

    def _create(self, own: Incarnation) -> Actor:
        factory = own.spec.factory
        actor = Supervisor(factory, self, own.path) if isinstance(factory, SupervisorSpec) else factory()
        if not isinstance(actor, Actor):
            msg = f"{own.path}: its factory made a {type(actor).__name__}; an Actor is needed"
            raise KernelError(msg)
        own.actor = actor
        actor.bind(own, self._inbox(own))
        return actor

    def _ended(self, own: Incarnation) -> None:
        """The one exit of every incarnation: exactly one Down to its supervisor and to each watcher."""
        own.ended = True
        owned = own.mailbox.disown(own)
        self._part(own)
        with self._lock:
            self._abandoned.pop(own, None)
            self._stuck.discard(own)
        if not owned:
            return
        failure = own.failure
        error = "" if failure is None else summary(failure)
        details = ""
        if failure is not None and not isinstance(failure, EscalationError):
            details = "".join(traceback.format_exception(failure))
            handled = f" handling {type(own.current.message).__name__}" if own.current is not None else ""
            trace = f" trace={self.trace_of(own.current)}" if own.current is not None else ""
            logger.error("%s#%d crashed%s%s: %s\n%s", own.path, own.number, handled, trace, error, details)
        cured = False
        if own.current is not None and failure is not None and not own.current.system:
            cured = self._unfinished(own, own.current, "crash", error, details[-STACK_CHARS_MAX:])
        own.current = None
        down = Down(own.path, own.number, error or "stopped", normal=failure is None, cured=cured)
        with self._lock:
            node = self._nodes[own.path]
            node.live = None
            if error:
                node.fails(error, self.clock.now_ms())
            self._absent(node, down)
        if own.spec.supervises:
            self._abandon_below(own.path)
        if own.parent is not None:
            self._tell_supervisor(own.parent, down)
            return
        node.state = "ended"
        if failure is not None:
            self.failed.report(f"{own.path}: {error}")
        self._root_down()

    def _unfinished(self, own: Incarnation, envelope: Envelope, reason: str, error: str, stack: str = "") -> bool:
        """What becomes of the message whose handler did not end; True when its class is kept away from now on."""
        if own.spec.retry_crashed and envelope.attempts == 0 and not envelope.incarnation:
            envelope.attempts += 1
            own.mailbox.put_back(envelope)
        else:
            self.bury(own.path, envelope, reason, error, stack)
        if envelope.own:  # timers and news of others belong to the actor: it is at fault itself
            return False
        kind, circuits = envelope.message.__class__, self._nodes[own.path].circuits
        open_ms = circuits.crashed_on(kind, self.real_ms())
        if not open_ms:
            return False
        logger.error("%s: %s crashes it again and again, kept from it for %d ms", own.path, kind.__name__, open_ms)
        own.mailbox.block(kind, lambda: circuits.is_open(kind, self.real_ms()))
        return True

    def _part(self, own: Incarnation) -> None:
        """Drop what belongs to an incarnation: timers and watches."""
        for key in tuple(own.timers):
            self.disarm(own, key)
        self._randoms.pop(own, None)
        self.watches.drop(own)

    def _absent(self, node: Node, down: Down) -> None:
        node.latest = down
        self.watches.tell(down)

    def _abandon_below(self, path: str) -> None:
        """A supervisor's children do not outlive it."""
        for node in reversed(self._nodes.values()):
            own = node.live
            if node.path.startswith(f"{path}/") and own is not None and self._fence_off(own, "its supervisor is gone"):
                node.state = "idle"

    def beyond_repair(self, reason: str) -> None:
        """Report it to `main`, and let the root stop everything in order, if it still can."""
        self.failed.report(reason)
        if self._root is not None:
            self._tell_supervisor(self._root, GiveUp(reason))

    def _tell_supervisor(self, path: str, message: Up | Down | GiveUp) -> None:
        number = self.next_number()
        self._nodes[path].mailbox.offer_system(Envelope(message, number, number, 0, ""))

    def _only_outside(self, what: str) -> None:
        if here.own is not None:
            msg = f"{here.own.path} tried to {what} its own runtime: only main does"
            raise KernelError(msg)

    def _close_all(self) -> None:
        for mailbox in tuple(self._mailboxes.values()):
            mailbox.close()

    def _leave(self) -> None:
        """Abandon whoever is left after a stop that ran out of time."""
        for node in reversed(self._nodes.values()):
            own = node.live
            if own is not None and self._fence_off(own, "did not stop in time"):
                node.state = "ended"
