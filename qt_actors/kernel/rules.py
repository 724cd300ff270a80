"""Policies of mailboxes by message class: keep the newest per key, refuse what is too much, or let the oldest go.

The reader of a mailbox takes no lock: one held by a thread that waits for the interpreter's own lock makes reader and
sender advance in lockstep, measured at a quarter of the speed. So each rule keeps what senders and the reader share in
single operations of `deque`, which are atomic; senders of ruled messages exclude each other by the mailbox's lock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from qt_actors.kernel.messages import Envelope


class Policy(msgspec.Struct, frozen=True):
    """How many messages of one class may wait, and what happens to the next one."""

    kind: str
    limit: int
    key: Callable[[Any], Hashable] | None = None

    def rule(self) -> Rule:
        """The policy at work in one mailbox."""
        if self.key is not None:
            return Newest(self.limit, self.key)
        return Window(self.limit) if self.kind == "drop_oldest" else Bounded(self.limit)


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


class Admission(msgspec.Struct, frozen=True):
    """What a rule made of a new message: `queue` it (or a stand-in), `bury` an old one; `refused`: no room."""

    queue: Envelope | None = None
    buried: Envelope | None = None
    refused: bool = False
    conflated: bool = False


_REFUSED = Admission(refused=True)


class Rule(ABC):
    """One policy in one mailbox. `admit` and `returned` are called under the mailbox's lock."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def key_of(self, _envelope: Envelope) -> Hashable:
        """What conflates messages; asked before the lock is taken."""
        return None

    @abstractmethod
    def admit(self, envelope: Envelope, key: Hashable) -> Admission:
        """Make room for a new message."""

    @abstractmethod
    def taken(self, queued: Envelope) -> Envelope | None:
        """What the reader gets for what it found in the queue; None when that has been dropped meanwhile."""

    @abstractmethod
    def returned(self, envelope: Envelope, key: Hashable) -> Envelope | None:
        """What to queue in front for a message that comes back; None when a newer one has replaced it."""


class Bounded(Rule):
    """At most `limit` wait; sent and taken are counted apart because they have different writers."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._sent = 0
        self._taken = 0

    def admit(self, envelope: Envelope, _key: Hashable) -> Admission:
        """Queue it, or refuse."""
        if self._sent - self._taken >= self.limit:
            return _REFUSED
        self._sent += 1
        return Admission(envelope)

    def taken(self, queued: Envelope) -> Envelope:
        """Itself."""
        self._taken += 1
        return queued

    def returned(self, envelope: Envelope, _key: Hashable) -> Envelope:
        """Itself."""
        self._sent += 1
        return envelope


class Window(Rule):
    """The newest `limit` wait. Who removes a message from `_waiting`, reader or sender, owns it."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._waiting: deque[Envelope] = deque()

    def admit(self, envelope: Envelope, _key: Hashable) -> Admission:
        """Queue it; the oldest goes."""
        oldest = None
        if len(self._waiting) >= self.limit:
            try:
                oldest = self._waiting.popleft()
            except IndexError:  # the reader was faster
                oldest = None
        self._waiting.append(envelope)
        return Admission(envelope, oldest)

    def taken(self, queued: Envelope) -> Envelope | None:
        """Itself, unless a sender has dropped it."""
        try:
            self._waiting.remove(queued)
        except ValueError:
            return None
        return queued

    def returned(self, envelope: Envelope, _key: Hashable) -> Envelope:
        """Itself."""
        self._waiting.appendleft(envelope)
        return envelope


class Cell:
    """The newest message of one key, and whether its stand-in is in the queue."""

    __slots__ = ("newest", "queued")

    def __init__(self) -> None:
        self.newest: deque[Envelope] = deque()
        self.queued = False


class Newest(Rule):
    """The newest message per key waits, in the place of the first.

    The envelope that is queued is a stand-in for its cell: the reader clears `queued` before it takes the newest, so a
    sender that still saw it set had put its message there in time, and one that did not queues a new stand-in.
    """

    def __init__(self, limit: int, key: Callable[[Any], Hashable]) -> None:
        super().__init__(limit)
        self._key = key
        self._cells: dict[Hashable, Cell] = {}

    def key_of(self, envelope: Envelope) -> Hashable:
        """The message's key, by the receiver's function."""
        return self._key(envelope.message)

    def admit(self, envelope: Envelope, key: Hashable) -> Admission:
        """Replace the one of its key, or queue a stand-in."""
        cell = self._cells.get(key)
        if cell is None:
            if len(self._cells) >= self.limit and not self._forget_idle():
                return _REFUSED
            cell = self._cells[key] = Cell()
        replaced = self._replace(cell, envelope)
        if cell.queued:
            return Admission(conflated=replaced)
        cell.queued = True
        envelope.cell = cell
        return Admission(envelope, conflated=replaced)

    def taken(self, queued: Envelope) -> Envelope | None:
        """The newest of the key; None for a stand-in too many."""
        cell = queued.cell
        if cell is None:
            return queued
        cell.queued = False
        try:
            return cell.newest.popleft()
        except IndexError:
            return None

    def returned(self, envelope: Envelope, key: Hashable) -> Envelope | None:
        """The message, unless a newer one of its key waits."""
        cell = self._cells.get(key)
        if cell is None or cell.newest:
            return None
        cell.newest.append(envelope)
        cell.queued = True
        envelope.cell = cell
        return envelope

    def _replace(self, cell: Cell, envelope: Envelope) -> bool:
        try:
            cell.newest.popleft()
        except IndexError:
            replaced = False
        else:
            replaced = True
        cell.newest.append(envelope)
        return replaced

    def _forget_idle(self) -> bool:
        """Drop the cells of keys that have nothing waiting: keys come and go over months."""
        idle = [key for key, cell in self._cells.items() if not cell.newest and not cell.queued]
        for key in idle:
            del self._cells[key]
        return bool(idle)


class Blocked(Rule):
    """Stands in for the rule of a class (`inner`; None: it had none) while its circuit is open."""

    def __init__(self, inner: Rule | None, is_open: Callable[[], bool]) -> None:
        super().__init__(0)
        self.inner = inner
        self.is_open = is_open

    def admit(self, _envelope: Envelope, _key: Hashable) -> Admission:
        """Never: the mailbox buries such messages before it asks."""
        return _REFUSED

    def taken(self, queued: Envelope) -> Envelope:
        """Itself."""
        return queued

    def returned(self, envelope: Envelope, _key: Hashable) -> Envelope:
        """Itself."""
        return envelope
