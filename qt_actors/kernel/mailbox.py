"""A mailbox belongs to an address and outlives the actors behind it: two lanes, bounded, a policy per message class."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from qt_actors.kernel.errors import Fenced, MailboxFullError
from qt_actors.kernel.rules import Blocked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qt_actors.kernel.incarnation import Incarnation
    from qt_actors.kernel.messages import Envelope
    from qt_actors.kernel.rules import Admission, Policy, Rule


class Mailbox:
    """Messages waiting for one address. Thread-safe; never blocks a sender.

    The reader takes no lock, see `rules`. `bury(envelope, reason)` receives what is not delivered; it is called
    without the lock, because its subscribers may tell. Each incarnation waits on a wake-up queue of its own, so a
    superseded one can steal no wake-up.
    """

    def __init__(self, path: str, bury: Callable[[Envelope, str], None], limit: int = 1024) -> None:
        self.path = path
        self.handled = 0
        self.conflated = 0
        self.dropped = 0
        self.refused = 0
        self.high = 0
        self.tap: Callable[[Envelope], None] | None = None
        self._bury = bury
        self._limit = limit
        self._mark = 0  # at this depth the next message goes the slow way: a new high-water mark, or no room
        self._rules: dict[type, Rule] = {}
        self._lock = threading.Lock()
        self._system: deque[Envelope] = deque()
        self._user: deque[Envelope] = deque()
        self._owner: Incarnation | None = None
        self._wakeup: Any = None
        self._closed = False

    def configure(
        self, policies: Mapping[type, Policy], limit: int, arrive: Callable[[Mailbox, Envelope], None]
    ) -> None:
        """Set the receiver's policies, before its first start; what already waits arrives anew under them."""
        self._rules = {kind: policy.rule() for kind, policy in policies.items()}
        self._limit = limit
        self._mark = min(self._mark, limit)
        for _ in range(len(self._user)):
            arrive(self, self._user.popleft())

    @property
    def depth(self) -> int:
        """Messages waiting in both lanes."""
        return len(self._system) + len(self._user)

    @property
    def closed(self) -> bool:
        """True once the address has ended for good."""
        return self._closed

    def offer(self, envelope: Envelope) -> None:
        """Queue in the user lane.

        Raises:
            MailboxFullError: a class that is never dropped is at its limit.
        """
        if self.tap is not None:
            self.tap(envelope)
            return
        rule = self._rules.get(envelope.message.__class__)
        if rule is not None and self._offer_ruled(envelope, rule):
            return
        if len(self._user) >= self._mark:
            self._rise(envelope)
        self._user.append(envelope)
        wakeup = self._wakeup  # read after the append: whoever adopts meanwhile has counted this message
        if wakeup is not None:
            wakeup.put(None)
        if self._closed:
            self._sweep()

    def offer_own(self, envelope: Envelope) -> None:
        """Queue what the kernel itself says in the user lane (timers, watches, Stop): never refused, never dropped."""
        envelope.own = True
        self._user.append(envelope)
        wakeup = self._wakeup
        if wakeup is not None:
            wakeup.put(None)
        if self._closed:
            self._sweep()

    def offer_system(self, envelope: Envelope) -> None:
        """Queue in the system lane: unbounded, read first, only the kernel writes it."""
        envelope.own = envelope.system = True
        self._system.append(envelope)
        wakeup = self._wakeup
        if wakeup is not None:
            wakeup.put(None)

    def take(self, reader: Incarnation) -> Envelope | None:
        """Remove the next message and put it into the reader's hands (`current`); None when nothing waits.

        Raises:
            Fenced: the reader no longer owns this mailbox.
        """
        reader.taking = True  # see disown
        if reader.fenced:
            reader.taking = False
            raise Fenced
        envelope: Envelope | None = None
        if self._system:
            reader.current = envelope = self._system.popleft()
        elif self._user:
            queued = self._user.popleft()
            envelope = queued if queued.rule is None else queued.rule.taken(queued)
            if envelope is not None:
                reader.current = envelope
                self.handled += 1
        reader.taking = False
        return envelope

    def put_back(self, envelope: Envelope) -> None:
        """Return a message to the front for one more try, unless a newer one of its key has already replaced it.

        Called between two readers only.
        """
        rule = envelope.rule
        key = None if rule is None else rule.key_of(envelope)
        with self._lock:
            self.handled -= 1
            queued = envelope if rule is None else rule.returned(envelope, key)
            if queued is None:
                self.conflated += 1
            else:
                self._user.appendleft(queued)
        if self._closed:
            self._sweep()

    def block(self, kind: type, is_open: Callable[[], bool]) -> None:
        """Bury what waits of this class, and what comes of it while `is_open()`. Called between two readers only."""
        with self._lock:
            inner = self._rules.get(kind)
            self._rules[kind] = Blocked(inner.inner if isinstance(inner, Blocked) else inner, is_open)
        for queued in tuple(self._user):
            if queued.message.__class__ is kind and not queued.own and self._removed(queued):
                envelope = queued if queued.rule is None else queued.rule.taken(queued)
                if envelope is not None:
                    self._bury(envelope, "circuit")

    def adopt(self, owner: Incarnation, wakeup: Any) -> None:
        """Open for `owner`, the only reader; `wakeup.put(None)` is called for each message it will find."""
        with self._lock:
            self._closed = False
            self._owner = owner
            self._wakeup = wakeup
            for _ in range(self.depth):
                wakeup.put(None)

    def disown(self, owner: Incarnation, *, fence: bool = False) -> bool:
        """Take the mailbox from `owner`; False when it did not own it any more.

        With `fence` the owner may still run: it cannot take another message, and what it is just taking is in its
        `current` when this returns.
        """
        with self._lock:
            if self._owner is not owner:
                return False
            self._owner = None
            self._wakeup = None
            owner.fenced = owner.fenced or fence
        while fence and owner.taking:
            time.sleep(0)  # it is between two instructions of `take`, which never waits
        return True

    def close(self) -> None:
        """End the address for good: what waits, and what comes, becomes dead letters."""
        self._closed = True
        self._system.clear()
        self._sweep()

    def _sweep(self) -> None:
        while True:
            try:
                queued = self._user.popleft()
            except IndexError:
                return
            envelope = queued if queued.rule is None else queued.rule.taken(queued)
            if envelope is not None and not envelope.own:
                self._bury(envelope, "closed")

    def _offer_ruled(self, envelope: Envelope, rule: Rule) -> bool:
        """Deal with it by the rule of its class; False: it goes to the common room like any other."""
        if isinstance(rule, Blocked):
            if rule.is_open():
                self._bury(envelope, "circuit")
                return True
            inner = self._unblock(envelope.message.__class__, rule)
            return inner is not None and self._offer_ruled(envelope, inner)
        if envelope.answer is not None:
            return False
        envelope.rule = rule
        key = rule.key_of(envelope)  # the receiver's own code: not under the lock, lest it hang with it
        with self._lock:
            admission = rule.admit(envelope, key)
            wakeup = self._admitted(admission)
            if len(self._user) > self._mark:
                self._note_high(len(self._user))
        if admission.refused:
            self._refuse(envelope, rule.limit)
        if admission.buried is not None:
            self._bury(admission.buried, "dropped")
        if wakeup is not None:
            wakeup.put(None)
        if self._closed:
            self._sweep()
        return True

    def _admitted(self, admission: Admission) -> Any:
        """Queue and count; the wake-up queue if the reader must be woken."""
        if admission.refused:
            self.refused += 1
        elif admission.conflated:
            self.conflated += 1
        if admission.queue is not None:
            self._user.append(admission.queue)
        if admission.buried is not None:
            self.dropped += 1
        # a wake-up is already on its way when the new one takes the place of the old one in the queue
        in_place = admission.buried is not None and self._removed(admission.buried)
        return None if in_place or admission.queue is None else self._wakeup

    def _unblock(self, kind: type, blocked: Blocked) -> Rule | None:
        """Put back what stood there before the circuit opened."""
        with self._lock:
            if self._rules.get(kind) is blocked:
                del self._rules[kind]
                if blocked.inner is not None:
                    self._rules[kind] = blocked.inner
        return blocked.inner

    def _removed(self, queued: Envelope) -> bool:
        try:
            self._user.remove(queued)
        except ValueError:  # the reader has just found it, and will see that it does not count any more
            return False
        return True

    def _rise(self, envelope: Envelope) -> None:
        """The mailbox has never been this full, or is full."""
        depth = len(self._user)
        if depth >= self._limit:
            self._check_room(envelope)
        self._note_high(depth + 1)

    def _note_high(self, depth: int) -> None:
        self.high = max(self.high, depth)
        self._mark = min(self.high + self.high // 8, self._limit)

    def _check_room(self, envelope: Envelope) -> None:
        """At the limit, count exactly: ruled messages and the kernel's own do not use up the common room."""
        if sum(1 for waiting in tuple(self._user) if waiting.rule is None and not waiting.own) >= self._limit:
            with self._lock:
                self.refused += 1
            self._refuse(envelope, self._limit)

    def _refuse(self, envelope: Envelope, limit: int) -> None:
        name = envelope.message.__class__.__name__
        msg = f"{self.path}: mailbox full, {limit} messages wait; {name} refused. The receiver is stuck or too slow."
        raise MailboxFullError(msg)
