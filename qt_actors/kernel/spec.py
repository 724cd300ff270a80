"""The supervision tree as data: who is started in which order, restarted how, and how long each may take."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import msgspec

from qt_actors.kernel.actor import Actor
from qt_actors.kernel.errors import SpecError
from qt_actors.kernel.restarts import Backoff, Budget, Poison, slowest_exhaustion_ms
from qt_actors.kernel.rules import Policy

if TYPE_CHECKING:
    from collections.abc import Iterator

RESTARTS = ("permanent", "transient", "temporary")
STRATEGIES = ("one_for_one", "one_for_all", "rest_for_one")


class SupervisorSpec(msgspec.Struct, frozen=True):
    """Children in start order; they stop in reverse.

    one_for_one restarts the failed child alone, rest_for_one it and those after it, one_for_all all of them. More than
    `intensity` failures within `period_ms` stop the whole subtree, and the parent decides. Times are real time.
    """

    id: str
    strategy: Literal["one_for_one", "one_for_all", "rest_for_one"] = "one_for_one"
    children: tuple[ChildSpec | SupervisorSpec, ...] = ()
    intensity: int = 5
    period_ms: int = 60_000
    backoff: Backoff = Backoff()

    def __post_init__(self) -> None:
        _check_id(self.id)
        if self.strategy not in STRATEGIES:
            msg = f"supervisor {self.id}: strategy {self.strategy!r}; allowed are {', '.join(STRATEGIES)}"
            raise SpecError(msg)
        names = [child.id for child in self.children]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            msg = f"supervisor {self.id}: child id {twice[0]!r} is used twice; ids must differ"
            raise SpecError(msg)
        if self.intensity < 0 or self.period_ms <= 0:
            msg = f"supervisor {self.id}: intensity {self.intensity} in {self.period_ms} ms; allowed are >= 0 and > 0"
            raise SpecError(msg)
        needed_ms = slowest_exhaustion_ms(self.budget, self.backoff)
        if needed_ms >= self.period_ms:
            msg = (
                f"supervisor {self.id}: {self.intensity} restarts with backoff take up to {needed_ms} ms, its period "
                f"is {self.period_ms} ms, so it could never escalate; lengthen the period or shorten the backoff"
            )
            raise SpecError(msg)

    @property
    def budget(self) -> Budget:
        """The restart budget as `restart_verdict` takes it."""
        return Budget(self.intensity, self.period_ms)

    def specs(self) -> tuple[ChildSpec, ...]:
        """The children, nested supervisors wrapped as permanent ones."""
        return tuple(
            ChildSpec(child.id, child) if isinstance(child, SupervisorSpec) else child for child in self.children
        )

    def walk(self, above: str = "") -> Iterator[tuple[str, ChildSpec]]:
        """(path, spec) of this supervisor and all below it, in start order."""
        path = f"{above}/{self.id}" if above else self.id
        yield path, ChildSpec(self.id, self)
        for child in self.specs():
            if isinstance(child.factory, SupervisorSpec):
                for below, spec in child.factory.walk(path):
                    yield below, (child if below == f"{path}/{child.id}" else spec)
            else:
                yield f"{path}/{child.id}", child


class ChildSpec(msgspec.Struct, frozen=True):
    """One child. Times are real milliseconds.

    `factory` makes a fresh actor for each start, on the new actor's own thread. permanent children are always
    restarted, transient ones after a failure only, temporary ones never. When a `significant` child ends without being
    restarted, its supervisor ends too. `hang_after_ms`: busy with one message, or idle without a sign of life, for
    longer means abandoned and replaced; None: never. `retry_crashed`: the message whose handler crashed is delivered
    once more (idempotent handlers only), else it is a dead letter at once. `poison`: when a class of messages that
    crashes the actor is kept from it; None: never, each crash counts. `mailbox` holds policies by message class,
    `mailbox_max` bounds the rest together. Supervisors take their children's time: `shutdown_ms` and `start_timeout_ms`
    do not bind them.
    """

    id: str
    factory: Callable[[], Actor] | SupervisorSpec
    restart: Literal["permanent", "transient", "temporary"] = "permanent"
    shutdown_ms: int = 2_000
    start_timeout_ms: int = 30_000
    hang_after_ms: int | None = 30_000
    mailbox: dict[type, Policy] = {}
    mailbox_max: int = 1024
    significant: bool = False
    retry_crashed: bool = False
    poison: Poison | None = Poison()

    def __post_init__(self) -> None:
        _check_id(self.id)
        if self.restart not in RESTARTS:
            msg = f"child {self.id}: restart {self.restart!r}; allowed are {', '.join(RESTARTS)}"
            raise SpecError(msg)
        if isinstance(self.factory, SupervisorSpec) and self.factory.id != self.id:
            msg = f"child {self.id}: its supervisor is called {self.factory.id}; the two ids must be the same"
            raise SpecError(msg)
        for name in ("shutdown_ms", "start_timeout_ms", "hang_after_ms", "mailbox_max"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                msg = f"child {self.id}: {name} {value}; allowed is any number above 0"
                raise SpecError(msg)

    @property
    def supervises(self) -> bool:
        """True for a nested supervisor."""
        return isinstance(self.factory, SupervisorSpec)


def _check_id(name: str) -> None:
    if not name or "/" in name or "#" in name:
        msg = f"id {name!r}: allowed is any non-empty text without / and #"
        raise SpecError(msg)
