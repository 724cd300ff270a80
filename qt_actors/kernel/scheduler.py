"""The deterministic runtime: the same actors on one thread, in virtual time, in an order drawn from a seed.

Each step lets one actor handle one message with pykka's own loop: the inbox ends the loop by raising when the turn is
used up, outside of pykka's `try`. Same seed, same tree, same input: same order, same digest.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pykka

from qt_actors.kernel.actor import Inbox
from qt_actors.kernel.answers import Answer
from qt_actors.kernel.clocks import VirtualClock
from qt_actors.kernel.errors import Fenced, KernelError
from qt_actors.kernel.faults import Fault, FaultPlan, InjectedCrash
from qt_actors.kernel.incarnation import Incarnation, here
from qt_actors.kernel.runtime import Runtime
from qt_actors.kernel.timers import Entry, Schedule

if TYPE_CHECKING:
    from collections.abc import Callable
    from queue import SimpleQueue

    from qt_actors.kernel.actor import Actor
    from qt_actors.kernel.mailbox import Mailbox
    from qt_actors.kernel.messages import Envelope


class _TurnOver(BaseException):
    """Leaves pykka's loop after one message."""


class _Turn:
    """One incarnation's place in the schedule; its mailbox wakes it, its inbox waits on it."""

    def __init__(self, own: Incarnation, ready: dict[Incarnation, _Turn]) -> None:
        self._own = own
        self._ready = ready
        self.begun = False
        self.hung = False
        self.held: Envelope | None = None
        self.nth = 0
        self.left = 0

    def put(self, _item: None) -> None:
        if not self.hung:
            self._ready[self._own] = self

    def get(self) -> None:
        if self._own.fenced:
            return  # the mailbox will say so
        if self.left == 0 or self._own.mailbox.depth == 0:
            raise _TurnOver
        self.left -= 1


class _SimInbox(Inbox):
    """An inbox that counts what is taken; its reader may hang with it."""

    def __init__(self, own: Incarnation, turn: _Turn, hangs: Callable[[Incarnation, _Turn], bool]) -> None:
        super().__init__(own, turn.get)
        self._turn = turn
        self._hangs = hangs
        self._counts_all = own.spec.supervises

    def get(self) -> Envelope:
        if self._turn.held is not None:
            envelope, self._turn.held = self._turn.held, None
            return envelope
        envelope = super().get()
        if (self._counts_all or not envelope.system) and self._hangs(self._own, self._turn):
            self._turn.held = envelope
            raise _TurnOver
        return envelope


class SimRuntime(Runtime):
    """Runs actors step by step; nothing happens but inside `run_*`, `wait_ready`, `stop`, `Address.ask` and probes.

    Args:
        seed: of the order of steps, the delays and the actors' chance.
        start_ms: where the virtual clock begins, UTC ms.
        generation: first half of every fence.
        latency_ms: (least, most) delay of each message, order kept per sender and receiver; (0, 0) delivers at once.
        abandoned_max: more abandoned incarnations that never wake than this and the tree is beyond repair.
    """

    clock: VirtualClock

    def __init__(
        self,
        seed: int = 0,
        start_ms: int = 0,
        *,
        generation: int = 1,
        latency_ms: tuple[float, float] = (0, 0),
        abandoned_max: int = 3,
    ) -> None:
        super().__init__(VirtualClock(start_ms), seed=seed, generation=generation, abandoned_max=abandoned_max)
        self.steps = 0
        self.faults = FaultPlan()
        self._ready: dict[Incarnation, _Turn] = {}
        self._turns: dict[Incarnation, _Turn] = {}
        self._schedule = Schedule()
        self._latency_ms = latency_ms
        self._arrivals_s: dict[tuple[str, str], float] = {}
        self._order = random.Random(f"{seed}/order")  # noqa: S311 -- a repeatable schedule, no secret
        self._delays = random.Random(f"{seed}/delays")  # noqa: S311 -- as above
        self._digest = hashlib.blake2b(digest_size=16)
        self._handled: Counter[str] = Counter()
        self._is_up = False
        self._is_down = False

    # Running

    def run_until_idle(self, steps_max: int = 1_000_000) -> None:
        """Run until nobody has anything to do at this instant; time stands still."""
        self.run_until(lambda: False, 0, steps_max=steps_max)

    def run_for(self, ms: float, steps_max: int = 10_000_000) -> None:
        """Run for `ms` of virtual time."""
        self.run_until(lambda: False, ms, steps_max=steps_max)

    def run_until(self, condition: Callable[[], bool], timeout_ms: float, *, steps_max: int = 10_000_000) -> bool:
        """Run until `condition()`; False when `timeout_ms` of virtual time went by without it.

        Raises:
            KernelError: called by an actor, or `steps_max` steps were not enough: the actors chase each other.
        """
        self._only_outside("run")
        end_s = self.monotonic_s() + timeout_ms / 1000
        last_step = self.steps + steps_max
        while not condition():
            if self._ready:
                self._step()
                if self.steps > last_step:
                    msg = f"no end after {steps_max} steps at {self.clock.now_ms()} ms"
                    raise KernelError(msg)
            elif not self._fire_next(end_s):
                self.clock.advance_to_s(end_s)
                return condition()
        return True

    def digest(self) -> str:
        """Of every step so far: when, who, what. Equal digests mean equal runs."""
        return self._digest.hexdigest()

    def inject(self, *faults: Fault) -> None:
        """Put faults in force."""
        for fault in faults:
            self.faults.add(fault)

    def heal(self) -> None:
        """Take all faults out of force; who hangs, hangs on."""
        self.faults.clear()

    def handled(self, path: str) -> int:
        """How many messages `path` has begun to handle, over all incarnations; faults count the same way."""
        return self._handled[path]

    def wait_ready(self, timeout_s: float = 60) -> bool:
        """True as soon as all actors have started once; False when the tree failed or the (virtual) time is up."""
        return self.run_until(lambda: self._is_up or self._is_down, timeout_s * 1000) and not self.failed.is_set()

    def stop(self, timeout_s: float = 60) -> bool:
        """Stop in reverse order, each actor after what was already queued for it; then abandon who is left.

        Returns True when everybody ended in order and in (virtual) time.
        """
        self.stopping = True
        self._stop_by_s = self.monotonic_s() + timeout_s
        root = self._nodes[self._root].live if self._root is not None else None
        if root is not None:
            self.request_stop(root.path, root.number)
        in_time = self._root is None or self.run_until(lambda: self._is_down, timeout_s * 1000)
        self._leave()
        self._close_all()
        self.run_for(self._latency_ms[1])  # what is still on its way arrives at closed doors
        return in_time and not self._abandoned

    def monotonic_s(self) -> float:
        """Virtual seconds since the start."""
        return self.clock.elapsed_s()

    def new_answer(self) -> Answer:
        """An empty answer."""
        return Answer()

    def await_answer(self, answer: Answer, path: str, timeout_s: float) -> object:
        """Run until it is there."""
        self.run_until(lambda: answer.settled, timeout_s * 1000)
        try:
            return answer.get(timeout=0)
        except pykka.Timeout:
            answer.given_up = True
            msg = f"{path} did not answer within {timeout_s} s"
            raise TimeoutError(msg) from None

    def await_item(self, items: SimpleQueue[Any], timeout_s: float) -> Any:
        """Run until something is in the queue; `queue.Empty` after `timeout_s` of virtual time."""
        self.run_until(lambda: not items.empty(), timeout_s * 1000)
        return items.get_nowait()

    # Steps

    def _step(self) -> None:
        ready = list(self._ready)
        own = ready[self._order.randrange(len(ready))] if len(ready) > 1 else ready[0]
        turn = self._ready[own]
        self.steps += 1
        here.own = own
        try:
            over = self._turn(own, turn)
        finally:
            here.own = None
        seen = own.last_message if turn.begun else ""
        now_us = round(self.clock.elapsed_s() * 1e6)
        self._digest.update(f"{now_us}|{own.path}#{own.number}|{seen}|{own.mailbox.handled};".encode())
        if over:
            self._ready.pop(own, None)
            self._turns.pop(own, None)
            self._ended(own)
        elif turn.hung or own.mailbox.depth == 0:
            self._ready.pop(own, None)

    def _turn(self, own: Incarnation, turn: _Turn) -> bool:
        """Start, or handle one message; True when that was the incarnation's last."""
        try:
            if not turn.begun:
                turn.begun = True
                self._create(own)._actor_loop_setup()  # noqa: SLF001 -- pykka's own loop, step by step
            elif own.actor is not None:
                turn.left = 0 if turn.held is not None else 1
                own.actor._actor_loop_running()  # noqa: SLF001 -- as above
        except _TurnOver:
            return False
        except Fenced:
            return True
        except BaseException as error:  # noqa: BLE001 -- a factory's failure is a failed start
            own.failure = error
            return True
        return own.actor is None or own.actor.actor_stopped.is_set()

    def _fire_next(self, end_s: float) -> bool:
        due_s = self._schedule.next_due_s()
        if due_s is None or due_s > end_s:
            return False
        self.clock.advance_to_s(due_s)
        entry = self._schedule.pop_due(due_s)
        if entry is not None:
            entry.fire(entry)
        return True

    # Faults

    def guard(self, own: Incarnation, call: Callable[[Any], None]) -> Callable[[Any], None]:
        """Handle messages under the fault plan."""
        turn = self._turns[own]

        def guarded(message: Any) -> None:
            nth = turn.nth
            if self.faults.crash(own.path, nth, "before"):
                msg = f"before message {nth}"
                raise InjectedCrash(msg)
            call(message)
            if self.faults.crash(own.path, nth, "after"):
                msg = f"after message {nth}"
                raise InjectedCrash(msg)

        return guarded

    def call_on_start(self, actor: Actor) -> None:
        """Run `on_start` unless a fault forbids it."""
        nth = self._nodes[actor.path].starts
        if self.faults.crash_start(actor.path, nth):
            msg = f"at start {nth}"
            raise InjectedCrash(msg)
        actor.on_start()

    def _counted_or_hung(self, own: Incarnation, turn: _Turn) -> bool:
        self._handled[own.path] += 1
        turn.nth = self._handled[own.path]
        hang = None if own.spec.supervises else self.faults.hang(own.path, turn.nth)
        if hang is None:
            return False
        turn.hung = True
        own.busy_since_s = self.monotonic_s()
        if hang.wake_after_ms is not None:
            self._schedule.add(self.monotonic_s() + hang.wake_after_ms / 1000, lambda _entry: self._resume(turn))
        return True

    def _resume(self, turn: _Turn) -> None:
        turn.hung = False
        turn.put(None)

    # What a runtime must provide

    def carrier(self, mailbox: Mailbox) -> Callable[[Envelope], None]:
        """Deliver at once, or after a drawn delay that keeps the order per link."""
        least_ms, most_ms = self._latency_ms
        if most_ms <= 0:
            return mailbox.offer

        def carry(envelope: Envelope) -> None:
            link = (envelope.sender, mailbox.path)
            arrival_s = self.monotonic_s() + self._delays.uniform(least_ms, most_ms) / 1000
            arrival_s = self._arrivals_s[link] = max(arrival_s, self._arrivals_s.get(link, 0.0))
            self._schedule.add(arrival_s, lambda _entry: self.arrive(mailbox, envelope))

        return carry

    def _open(self) -> None:
        pass

    def _enlist(self, own: Incarnation) -> None:
        turn = self._turns[own] = _Turn(own, self._ready)
        own.mailbox.adopt(own, turn)

    def _launch(self, own: Incarnation) -> None:
        self._turns[own].put(None)

    def _wake(self, own: Incarnation) -> None:
        turn = self._turns.get(own)
        if turn is not None:
            turn.put(None)

    def _inbox(self, own: Incarnation) -> Inbox:
        return _SimInbox(own, self._turns[own], self._counted_or_hung)

    def _plan(self, delay_s: float, fire: Callable[[Entry], None]) -> Entry:
        return self._schedule.add(self.monotonic_s() + delay_s, fire)

    def _unplan(self, entry: Entry) -> None:
        self._schedule.cancel(entry)

    def _clock_delay_s(self, delay_ms: float) -> float:
        return delay_ms / 1000

    def _root_up(self) -> None:
        self._is_up = True

    def _root_down(self) -> None:
        self._is_down = True
