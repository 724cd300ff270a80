"""Getting messages to where they belong: addresses, replies, timers, watches, and letters that arrive nowhere."""

from __future__ import annotations

import random
import threading
from abc import ABC, abstractmethod
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, NoReturn

from qt_actors.kernel.address import Address
from qt_actors.kernel.dead_letters import DeadLetters
from qt_actors.kernel.errors import Fenced, KernelError, MailboxFullError
from qt_actors.kernel.mailbox import Mailbox
from qt_actors.kernel.messages import Beat, DeadLetter, Envelope, TimerFired
from qt_actors.kernel.watches import Watches

if TYPE_CHECKING:
    from collections.abc import Callable

    from qt_actors.kernel.answers import Answer
    from qt_actors.kernel.clocks import Clock
    from qt_actors.kernel.incarnation import Incarnation
    from qt_actors.kernel.node import Node
    from qt_actors.kernel.timers import Entry


TIMERS_MAX = 4096  # of one incarnation, waiting at the same time
PATHS_MAX = 16_384  # addresses of one runtime


class Post(ABC):
    """The half of a runtime that actors see; `Runtime` adds the half that supervisors see."""

    def __init__(self, clock: Clock, *, seed: int, generation: int) -> None:
        self.clock = clock
        self.generation = generation
        self.dead_letters = DeadLetters()
        self.next_number = count(1).__next__
        self.watches = Watches(self.next_number)
        self._seed = seed
        self._lock = threading.RLock()
        self._nodes: dict[str, Node] = {}
        self._mailboxes: dict[str, Mailbox] = {}
        self._addresses: dict[str, Address] = {}
        self._randoms: dict[Incarnation, random.Random] = {}

    def address(self, path: str) -> Address:
        """The address of `path`, made on demand: what is told before the actor exists waits for it."""
        found = self._addresses.get(path)
        if found is None:
            with self._lock:
                found = self._addresses.setdefault(path, Address(self, self.mailbox(path)))
        return found

    def on_dead_letter(self, callback: Callable[[DeadLetter], None]) -> None:
        """Call `callback(letter)` for each dead letter, on whatever thread it arises."""
        self.dead_letters.subscribe(callback)

    def fence(self, path: str) -> tuple[int, int]:
        """(generation, epoch) of whoever is entitled to act for `path`."""
        node = self._nodes.get(path)
        return (self.generation, node.epoch if node is not None else 0)

    @abstractmethod
    def monotonic_s(self) -> float:
        """Seconds of real time (virtual under simulation)."""

    def real_ms(self) -> int:
        """`monotonic_s` in milliseconds."""
        return int(self.monotonic_s() * 1000)

    def mailbox(self, path: str) -> Mailbox:
        """The mailbox of `path`, made on demand."""
        with self._lock:
            found = self._mailboxes.get(path)
            if found is None:
                if len(self._mailboxes) >= PATHS_MAX:
                    msg = f"{path}: no more than {PATHS_MAX} addresses; do paths vary without end?"
                    raise KernelError(msg)
                found = self._mailboxes[path] = Mailbox(path, partial(self.bury, path))
            return found

    def carrier(self, mailbox: Mailbox) -> Callable[[Envelope], None]:
        """What an address calls to send."""
        return mailbox.offer

    def arrive(self, mailbox: Mailbox, envelope: Envelope) -> None:
        """Deliver something whose sender cannot be told any more that the mailbox is full."""
        try:
            mailbox.offer(envelope)
        except MailboxFullError:
            self.bury(mailbox.path, envelope, "overflow")

    def return_address(self, own: Incarnation) -> Address:
        """An address that reaches this incarnation only."""
        return Address(self, own.mailbox, own.number)

    def trace_of(self, envelope: Envelope) -> str:
        """The envelope's trace id as text: generation and number of the message it began with."""
        trace = envelope.trace
        return trace if isinstance(trace, str) else f"{self.generation:x}-{trace:08x}"

    def random_of(self, own: Incarnation) -> random.Random:
        """The incarnation's own chance."""
        found = self._randoms.get(own)
        if found is None:
            found = self._randoms[own] = random.Random(f"{self._seed}/{own.path}/{own.number}")  # noqa: S311 -- repeatable jitter, no secret
        return found

    def arm(self, own: Incarnation, key: str, delay_ms: float, *, real: bool, trace: str | None) -> None:
        """Plan `TimerFired(key)` for this incarnation, replacing the one with the same key."""
        if not delay_ms >= 0:
            msg = f"{own.path}: timer {key!r} after {delay_ms} ms; allowed is any number from 0"
            raise KernelError(msg)
        self.disarm(own, key)
        if len(own.timers) >= TIMERS_MAX:
            msg = f"{own.path}: {TIMERS_MAX} timers wait, {key!r} is one too many; do its keys vary without end?"
            raise KernelError(msg)
        if not own.ended and not own.fenced:
            delay_s = delay_ms / 1000 if real else self._clock_delay_s(delay_ms)
            own.timers[key] = self._plan(delay_s, partial(self._fire, own, key, trace))

    def disarm(self, own: Incarnation, key: str) -> None:
        """Forget the timer `key`, waiting or already in the mailbox."""
        entry = own.timers.pop(key, None)
        if entry is not None:
            self._unplan(entry)

    def _fire(self, own: Incarnation, key: str, trace: str | None, entry: Entry) -> None:
        if own.timers.get(key) is entry and not own.ended:
            number = self.next_number()
            fired = Envelope(TimerFired(key), number, trace or number, 0, own.path, incarnation=own.number, timer=entry)
            own.mailbox.offer_own(fired)

    def is_void(self, own: Incarnation, envelope: Envelope) -> bool:
        """True when the reader must not see this message; what is lost by that becomes a dead letter."""
        if envelope.timer is not None:
            key = envelope.message.key
            return own.timers.get(key) is not envelope.timer or own.timers.pop(key) is None
        if envelope.incarnation not in {0, own.number}:
            if not envelope.system:
                self.bury(own.path, envelope, "stale")
            return True
        if envelope.message.__class__ is Beat:
            own.beat_since_s = None
            return True
        if envelope.deadline_ms is not None and self.clock.now_ms() > envelope.deadline_ms:
            self.bury(own.path, envelope, "deadline")
            return True
        if envelope.answer is not None and envelope.answer.given_up:
            self.bury(own.path, envelope, "unasked")
            return True
        return False

    def watch(self, own: Incarnation, path: str) -> None:
        """Tell `own` what `path` is, now and at each change."""
        if own.fenced:
            raise Fenced
        with self._lock:
            node = self._nodes.get(path)
            self.watches.add(own, path, node.latest if node is not None else None)

    def reply(self, own: Incarnation, envelope: Envelope, value: object) -> None:
        """Answer an envelope: its asker, or its sender."""
        if own.fenced:
            self.refuse(own, envelope.sender, value)
        if envelope.answer is not None:
            envelope.answer.give(value)
            return
        answer = Envelope(value, self.next_number(), envelope.trace, envelope.number, own.path)
        if envelope.sender:
            self.address(envelope.sender).forward(answer)
        else:
            self.bury("", answer, "no sender")

    def refuse(self, own: Incarnation, path: str, message: object) -> NoReturn:
        """What a superseded incarnation still wants to say is a dead letter, and its end."""
        cause = own.current
        number = self.next_number()
        self.bury(path, Envelope(message, number, number if cause is None else cause.trace, 0, own.path), "fenced")
        raise Fenced

    def settle(self, own: Incarnation, envelope: Envelope) -> None:
        """After its handler: an asker who got neither an answer nor a promise learns it at once."""
        answer = envelope.answer
        if answer is not None and not answer.settled and not answer.deferred:
            answer.fail(f"{own.path} handled {type(envelope.message).__name__} without an answer")

    def bury(self, path: str, envelope: Envelope, reason: str, error: str = "", stack: str = "") -> None:
        """Make a dead letter of it."""
        if envelope.answer is not None:
            name = type(envelope.message).__name__
            envelope.answer.fail(f"{path}: {name} became a dead letter: {reason} {error}".rstrip())
        self.dead_letters.add(
            DeadLetter(path, envelope.message, reason, self.trace_of(envelope), envelope.sender, error, stack)
        )

    @abstractmethod
    def _plan(self, delay_s: float, fire: Callable[[Entry], None]) -> Entry:
        """Call `fire(entry)` in `delay_s` of real time."""

    @abstractmethod
    def _unplan(self, entry: Entry) -> None:
        """Do not call it after all."""

    @abstractmethod
    def _clock_delay_s(self, delay_ms: float) -> float:
        """Real seconds for a delay on the runtime's clock."""

    @abstractmethod
    def new_answer(self) -> Answer:
        """An empty answer."""

    @abstractmethod
    def await_answer(self, answer: Answer, path: str, timeout_s: float) -> object:
        """Wait for it, at the edge."""
