"""The kernel's own vocabulary: what actors hear from it (`TimerFired`, `Up`, `Down`), what supervisors are told."""

from __future__ import annotations

from collections.abc import Mapping  # at run time: ActorState is described to others
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from qt_actors.kernel.answers import Answer
    from qt_actors.kernel.rules import Cell, Rule
    from qt_actors.kernel.timers import Entry


class TimerFired(msgspec.Struct, frozen=True):
    """A timer of this very incarnation is due; `key` is the one given to `Actor.timer`."""

    key: str


class Up(msgspec.Struct, frozen=True):
    """The actor at `path` has started: its `on_start` returned, or all children of a supervisor are up."""

    path: str
    incarnation: int


class Down(msgspec.Struct, frozen=True):
    """The actor at `path` is not there: it stopped (`normal`), crashed, was abandoned, or has not started yet.

    `cured`: the class of message that it crashed on is kept from it now, so the crash costs no restart budget.
    """

    path: str
    incarnation: int
    reason: str
    normal: bool = False
    cured: bool = False


class Stop(msgspec.Struct, frozen=True):
    """To one incarnation: end in order."""


class Beat(msgspec.Struct, frozen=True):
    """To one incarnation: show that your loop still runs. Its inbox answers; no handler sees it."""


class Restart(msgspec.Struct, frozen=True):
    """To a supervisor: stop the child and start it again, counted against the restart budget like a failure."""

    child: str
    reason: str


class GiveUp(msgspec.Struct, frozen=True):
    """To the root supervisor: stop everything, the process is beyond repair."""

    reason: str


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that nobody handled to its end.

    `reason` is one of: crash (its handler raised), abandoned (its handler hung), closed (the actor has ended for
    good), deadline (it came too late), unasked (the asker gave up waiting), dropped (pushed out by a newer one), stale
    (addressed to an earlier incarnation), fenced (said by a superseded one), overflow (late arrival at a full mailbox),
    circuit (its class crashed the receiver again and again and is kept from it for a while), no sender (a reply to
    nobody). `error` says why in a line, `stack` where: the end of the traceback of a crash.
    """

    path: str
    message: object
    reason: str
    trace: str
    sender: str
    error: str = ""
    stack: str = ""


class ActorState(msgspec.Struct, frozen=True):
    """One line of the tree view.

    `kind` is supervisor or actor, `detail` the strategy or the class; `state` is idle, starting, up, stopping, backoff
    or ended. `busy_ms` is real time since the current message was taken, 0 when waiting. `mailbox_high` is the most
    that ever waited: exact up to 8, above that up to an eighth too low, because counting each message would cost more.
    `last_error_ms`: when `last_error` happened, UTC ms on the runtime's clock, 0 for never; `circuits`: classes of
    messages that are kept from it now because it crashed on them; `zombies`: superseded incarnations that still run;
    `up_ms`: real time since this incarnation began, 0 when none runs.
    """

    path: str
    kind: str
    detail: str
    state: str
    incarnation: int
    restarts: int
    mailbox_depth: int
    handled: int
    busy_ms: int
    last_message: str
    last_error: str
    statistics: Mapping[str, object]
    mailbox_high: int = 0
    last_error_ms: int = 0
    circuits: tuple[str, ...] = ()
    zombies: int = 0
    up_ms: int = 0


class Envelope(msgspec.Struct, gc=False, eq=False):
    """A message on its way, with its causality. pykka's loop reads `message` and `reply_to` (always None here).

    `trace` is a number until somebody looks at it: formatting it for each message would cost more than the rest.
    `incarnation` is 0 for messages that belong to the address, else they are for that incarnation only. `own` marks the
    kernel's own messages, `system` those of them that supervision consists of; `rule` and `cell` are the mailbox's.
    """

    message: Any
    number: int
    trace: int | str
    parent: int
    sender: str
    deadline_ms: int | None = None
    incarnation: int = 0
    answer: Answer | None = None
    rule: Rule | None = None
    cell: Cell | None = None
    timer: Entry | None = None
    attempts: int = 0
    own: bool = False
    system: bool = False
    reply_to: None = None
