"""The supervision tree as data, in start order. Printed by ``qt tree``.

Sinks start first and sources last, so that stopping in reverse is the drain. Who tells whom is in ``wiring``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qt_actors.kernel import Backoff, ChildSpec, Policy, SimRuntime, SupervisorSpec, ThreadRuntime, conflate
from qt_actors.messages.market import QuotesUpdated
from qt_actors.messages.policy import Directive
from qt_actors.messages.positions import AccountSnapshot, SnapshotRequested
from qt_actors.messages.signals import MODELS
from qt_actors.outside import Edges, Outside
from qt_actors.wiring import Wires

if TYPE_CHECKING:
    from collections.abc import Callable

    from qt_actors.kernel import Actor

NEWEST: Final[dict[type, Policy]] = {
    kind: conflate(type) for kind in (QuotesUpdated, AccountSnapshot, Directive, SnapshotRequested)
}
"""Of these only the newest counts."""
PROMPT: Final[dict[str, Any]] = {"mailbox": NEWEST, "hang_after_ms": 10_000}
"""Positions depend on them: hung is who is busy for 10 s, not the 30 s of the others."""
QUICK: Final = Backoff(initial_ms=20, max_ms=2_000)
"""Those who hold positions are back before anything can happen to them."""


def supervision_tree(runtime: ThreadRuntime | SimRuntime, outside: Outside, edges: Edges) -> SupervisorSpec:
    """Return the tree of DESIGN 2, with the actors that have work today.

    Raises:
        OSError: the HTTP port cannot be had.
    """
    wires = Wires(runtime, outside, edges)
    if outside.web:
        wires.bind()
    venue = [
        _careful("gateway", wires.gateway, significant=True),
        _careful("account", wires.account, mailbox=_newest(SnapshotRequested), mailbox_max=8192),
    ]
    if outside.serve is not None:
        venue.insert(0, ChildSpec("exchange", wires.exchange(outside.serve), shutdown_ms=4000))
    oversight = (_oversight(wires),) if outside.web else ()
    return SupervisorSpec(
        "root",
        "rest_for_one",
        (
            SupervisorSpec(
                "ground",
                "rest_for_one",
                (
                    _careful("recorder", wires.recorder, significant=True, mailbox_max=50_000),
                    ChildSpec("telemetry", wires.telemetry, mailbox=NEWEST, mailbox_max=20_000),
                ),
            ),
            SupervisorSpec("venue", "rest_for_one", tuple(venue)),
            _trading(wires),
            _judgement(wires),
            _minds(wires),
            SupervisorSpec("feed", "one_for_one", (ChildSpec("market-data", wires.feed, mailbox_max=8192),)),
            *oversight,
        ),
        intensity=3,
        period_ms=300_000,
    )


def _trading(wires: Wires) -> SupervisorSpec:
    return SupervisorSpec(
        "trading",
        "rest_for_one",
        (
            _careful("position-monitor", wires.position_monitor, mailbox_max=8192, **PROMPT),
            _careful("executor", wires.executor, mailbox_max=8192, **PROMPT),
        ),
        backoff=QUICK,
    )


def _judgement(wires: Wires) -> SupervisorSpec:
    return SupervisorSpec(
        "judgement",
        "rest_for_one",
        (
            _careful("governor", wires.governor, **PROMPT),
            ChildSpec("orchestrator", wires.orchestrator, mailbox=NEWEST, retry_crashed=True),
        ),
        backoff=QUICK,
    )


def _minds(wires: Wires) -> SupervisorSpec:
    return SupervisorSpec(
        "minds",
        "one_for_one",
        (
            ChildSpec("ensemble", wires.ensemble),
            *(ChildSpec(f"model-{n}", wires.model(n)) for n in MODELS),
            ChildSpec("features", wires.features),
            ChildSpec("regime", wires.regime),
            ChildSpec("universe", wires.universe),
        ),
    )


def _oversight(wires: Wires) -> SupervisorSpec:
    window = ChildSpec("web", wires.web, mailbox=NEWEST, mailbox_max=20_000)
    return SupervisorSpec("oversight", "one_for_one", (window,))


def _careful(name: str, factory: Callable[[], Actor], **limits: Any) -> ChildSpec:
    """Return the spec of one who handles orders, fills or limits.

    No circuit against poison: an exit is never kept from it. Crashing on, it recovers from journal and exchange.
    """
    return ChildSpec(name, factory, poison=None, **limits)


def _newest(*kinds: type) -> dict[type, Policy]:
    return {kind: NEWEST[kind] for kind in kinds}
