"""A place in the tree: what stays the same over all incarnations of one path, and how it looks from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qt_actors.kernel.circuits import Circuits
from qt_actors.kernel.errors import EscalationError
from qt_actors.kernel.messages import ActorState, Down, Up
from qt_actors.kernel.spec import ChildSpec, SupervisorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qt_actors.kernel.incarnation import Incarnation
    from qt_actors.kernel.mailbox import Mailbox


class Node:
    """Mutable record; the runtime writes it under its lock, `state` is written by the supervisor."""

    def __init__(self, path: str, spec: ChildSpec, mailbox: Mailbox) -> None:
        self.path = path
        self.spec = spec
        self.mailbox = mailbox
        self.epoch = 0
        self.starts = 0
        self.live: Incarnation | None = None
        self.state = "idle"
        self.last_error = ""
        self.last_error_ms = 0
        self.circuits = Circuits(spec.poison)
        self.latest: Up | Down = Down(path, 0, "not started")

    def fails(self, error: str, now_ms: int) -> None:
        """Remember what was wrong last, and when."""
        self.last_error = error
        self.last_error_ms = now_ms

    def describe(self, busy_ms: int, real_ms: int, zombies: int) -> ActorState:
        """The line of the tree view; an actor whose `statistics` fail shows that error instead."""
        own = self.live
        actor = own.actor if own is not None else None
        statistics: Mapping[str, object] = {}
        if actor is not None:
            try:
                statistics = dict(actor.statistics())
            except Exception as error:  # noqa: BLE001 -- one actor's figures must not break the view of the others
                statistics = {"error": summary(error)}
        factory = self.spec.factory
        supervises = isinstance(factory, SupervisorSpec)
        detail = factory.strategy if isinstance(factory, SupervisorSpec) else type(actor).__name__ if actor else ""
        return ActorState(
            path=self.path,
            kind="supervisor" if supervises else "actor",
            detail=detail,
            state=self.state,
            incarnation=own.number if own is not None else self.epoch,
            restarts=max(0, self.starts - 1),
            mailbox_depth=self.mailbox.depth,
            handled=self.mailbox.handled,
            busy_ms=busy_ms,
            last_message=own.last_message if own is not None else "",
            last_error=self.last_error,
            statistics=statistics,
            mailbox_high=self.mailbox.high,
            last_error_ms=self.last_error_ms,
            up_ms=max(0, real_ms - own.born_ms) if own is not None else 0,
            circuits=self.circuits.open_now(real_ms),
            zombies=zombies,
        )


def summary(error: BaseException) -> str:
    """One line for an exception: its type and its words."""
    text = str(error)
    if isinstance(error, EscalationError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
