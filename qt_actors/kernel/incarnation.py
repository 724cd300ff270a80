"""One life of an actor, from spawn to its single `Down`: what its thread, its supervisor and the tree view share."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qt_actors.kernel.actor import Actor
    from qt_actors.kernel.mailbox import Mailbox
    from qt_actors.kernel.messages import Envelope
    from qt_actors.kernel.runtime import Runtime
    from qt_actors.kernel.spec import ChildSpec
    from qt_actors.kernel.timers import Entry


class Incarnation:
    """Mutable record; each field has one writing thread; `fenced` is the supervisor's, under the mailbox lock."""

    __slots__ = (
        "actor",
        "beat_since_s",
        "born_ms",
        "busy_since_s",
        "current",
        "ended",
        "failure",
        "fenced",
        "fenced_s",
        "last_message",
        "mailbox",
        "number",
        "parent",
        "path",
        "runtime",
        "spec",
        "started",
        "taking",
        "thread_id",
        "timers",
        "watched",
    )

    def __init__(self, runtime: Runtime, mailbox: Mailbox, number: int, spec: ChildSpec, parent: str | None) -> None:
        self.runtime = runtime
        self.mailbox = mailbox
        self.path = mailbox.path
        self.number = number
        self.spec = spec
        self.parent = parent
        self.actor: Actor | None = None
        self.current: Envelope | None = None
        self.last_message = ""
        self.busy_since_s: float | None = None
        self.beat_since_s: float | None = None  # when its loop was asked for a sign of life it has not given yet
        self.born_ms = runtime.real_ms()
        self.started = False
        self.ended = False
        self.taking = False
        self.fenced = False
        self.fenced_s = 0.0
        self.failure: BaseException | None = None
        self.thread_id: int | None = None
        self.timers: dict[str, Entry] = {}
        self.watched: set[str] = set()


class Here(threading.local):
    """Which incarnation the running code belongs to; None outside of actors."""

    own: Incarnation | None = None


here = Here()
