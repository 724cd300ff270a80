"""A mailbox belongs to an address and outlives the actors behind it: two lanes, bounded, a policy per message class."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from qt_actors.kernel.errors import Fenced, MailboxFullError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from qt_actors.kernel.incarnation import Incarnation
    from qt_actors.kernel.messages import Envelope


class Policy(msgspec.Struct, frozen=True):
    """How many messages of one class may wait, and what happens to the next one."""

    kind: str
    limit: int
    key: Callable[[Any], Hashable] | None = None


def conflate(key: Callable[[Any], Hashable] | str, keys_max: int = 4096) -> Policy:
    """Keep only the newest message per key (a function of the message, or its field's name), in the oldest's place."""
    if isinstance(key, str):
        field = key
        return Policy("conflate", keys_max, lambda message: getattr(message, field))
    return Policy("conflate", keys_max, key)


def bounded(n: int) -> Policy:
    """Never drop; the sender of one more than `n` gets `MailboxFullError`."""
    return Policy("bounded", n)


def drop_oldest(n: int) -> Policy:
    """Keep the newest `n`; the oldest becomes a dead letter."""
    return Policy("drop_oldest", n)


class Mailbox:
    """Messages waiting for one address. Thread-safe; never blocks a sender.

    `bury(envelope, reason)` receives what is not delivered; it is called without the lock, because its subscribers may
    tell. Each incarnation waits on a wake-up queue of its own, so a superseded one can steal no wake-up.
    """

    def __init__(self, path: str, bury: Callable[[Envelope, str], None], limit: int = 1024) -> None:
        self.path = path
        self.handled = 0
        self.conflated = 0
        self.dropped = 0
        self.refused = 0
        self.tap: Callable[[Envelope], None] | None = None
        self._bury = bury
        self._limit = limit
        self._policies: Mapping[type, Policy] = {}
        self._lock = threading.Lock()
        self._system: deque[Envelope] = deque()
        self._user: deque[Envelope] = deque()
        self._slots: dict[tuple[type, Hashable], Envelope] = {}
        self._counts: dict[type, int] = {}
        self._ruled = 0  # queued messages that do not count against the common limit
        self._owner: Incarnation | None = None
        self._wakeup: Any = None
        self._closed = False

    def configure(
        self, policies: Mapping[type, Policy], limit: int, arrive: Callable[[Mailbox, Envelope], None]
    ) -> None:
        """Set the receiver's policies; what already waits arrives anew under them."""
        with self._lock:
            self._policies = dict(policies)
            self._limit = limit
            waiting = list(self._user)
            self._user.clear()
            self._slots.clear()
            self._counts.clear()
            self._ruled = 0
        for envelope in waiting:
            envelope.policy = envelope.slot = None
            arrive(self, envelope)

    @property
    def depth(self) -> int:
        """Messages waiting in both lanes."""
        return len(self._system) + len(self._user)

    @property
    def closed(self) -> bool:
        """True once the address has ended for good."""
        return self._closed

    def offer(self, envelope: Envelope, *, force: bool = False) -> None:
        """Queue in the user lane.

        `force` skips the bounds: for what the kernel itself delivers (timers, watches), at most one per key or watch.

        Raises:
            MailboxFullError: a class that is never dropped is at its limit.
        """
        if self.tap is not None:
            self.tap(envelope)
            return
        policy = self._policies.get(envelope.message.__class__)
        pushed_out, reason = None, "dropped"
        with self._lock:
            if self._closed:
                pushed_out, reason, wakeup = (None if force else envelope), "closed", None
            elif policy is None and not force:
                if len(self._user) - self._ruled >= self._limit:
                    self._refuse(envelope, self._limit)
                self._user.append(envelope)
                wakeup = self._wakeup
            else:
                queued, pushed_out = self._admit(envelope, _FREE if force or policy is None else policy)
                wakeup = self._wakeup if queued and pushed_out is None else None  # else a wake-up is already on its way
        if pushed_out is not None:
            self._bury(pushed_out, reason)
        if wakeup is not None:
            wakeup.put(None)

    def offer_system(self, envelope: Envelope) -> None:
        """Queue in the system lane: unbounded, read first, only the kernel writes it."""
        envelope.system = True
        with self._lock:
            if self._closed:
                return
            self._system.append(envelope)
            wakeup = self._wakeup
        if wakeup is not None:
            wakeup.put(None)

    def take(self, reader: Incarnation) -> Envelope | None:
        """Remove the next message and put it into the reader's hands (`current`); None when nothing waits.

        Raises:
            Fenced: the reader no longer owns this mailbox.
        """
        with self._lock:
            if self._owner is not reader:
                raise Fenced
            if self._system:
                envelope = self._system.popleft()
            elif self._user:
                envelope = self._user.popleft()
                if envelope.policy is not None:
                    self._forget(envelope)
                self.handled += 1
            else:
                return None
            reader.current = envelope
            return envelope

    def put_back(self, envelope: Envelope) -> None:
        """Return a message to the front for one more try, unless a newer one of its key has already replaced it."""
        with self._lock:
            closed = self._closed
            if not closed:
                self.handled -= 1
                if envelope.slot is not None and envelope.slot in self._slots:
                    self.conflated += 1
                    return
                self._user.appendleft(envelope)
                if envelope.policy is not None:
                    self._remember(envelope, envelope.policy)
        if closed:
            self._bury(envelope, "closed")

    def adopt(self, owner: Incarnation, wakeup: Any) -> None:
        """Make `owner` the only reader; `wakeup.put(None)` is called once for each message it will find."""
        with self._lock:
            self._owner = owner
            self._wakeup = wakeup
            for _ in range(len(self._system) + len(self._user)):
                wakeup.put(None)

    def disown(self, owner: Incarnation, *, fence: bool = False) -> bool:
        """Take the mailbox from `owner`; False when it did not own it any more."""
        with self._lock:
            if self._owner is not owner:
                return False
            self._owner = None
            self._wakeup = None
            owner.fenced = owner.fenced or fence
            return True

    def close(self) -> None:
        """End the address for good: what waits, and what comes, becomes dead letters."""
        with self._lock:
            self._closed = True
            left = list(self._user)
            for lane in (self._user, self._system, self._slots, self._counts):
                lane.clear()
            self._ruled = 0
        for envelope in left:
            if envelope.timer is None and not envelope.system:
                self._bury(envelope, "closed")

    def _refuse(self, envelope: Envelope, limit: int) -> None:
        self.refused += 1
        name = envelope.message.__class__.__name__
        msg = f"{self.path}: mailbox full, {limit} messages wait; {name} refused. The receiver is stuck or too slow."
        raise MailboxFullError(msg)

    def _admit(self, envelope: Envelope, policy: Policy) -> tuple[bool, Envelope | None]:
        """Queue by the class's own policy: (False if a waiting one took over its content, what had to go for it)."""
        kind = envelope.message.__class__
        if policy.key is not None and envelope.answer is None:
            envelope.slot = (kind, policy.key(envelope.message))
            waiting = self._slots.get(envelope.slot)
            if waiting is not None:
                for field in ("message", "number", "trace", "parent", "sender", "deadline_ms", "incarnation"):
                    setattr(waiting, field, getattr(envelope, field))
                self.conflated += 1
                return False, None
        pushed_out = None
        if policy is not _FREE and self._counts.get(kind, 0) >= policy.limit:
            if policy.kind != "drop_oldest":
                self._refuse(envelope, policy.limit)
            pushed_out = next(waiting for waiting in self._user if waiting.message.__class__ is kind)
            self._user.remove(pushed_out)
            self._forget(pushed_out)
            self.dropped += 1
        self._user.append(envelope)
        self._remember(envelope, policy)
        return True, pushed_out

    def _remember(self, envelope: Envelope, policy: Policy) -> None:
        envelope.policy = policy
        kind = envelope.message.__class__
        self._counts[kind] = self._counts.get(kind, 0) + 1
        self._ruled += 1
        if envelope.slot is not None:
            self._slots[envelope.slot] = envelope

    def _forget(self, envelope: Envelope) -> None:
        self._counts[envelope.message.__class__] -= 1
        self._ruled -= 1
        if envelope.slot is not None:
            self._slots.pop(envelope.slot, None)


_FREE = Policy("free", 0)
