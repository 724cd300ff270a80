"""The supervisor: an ordinary actor that starts its children in order, replaces who fails, and knows when to give up.

It is level-triggered: each event changes what a child is and whether it must go, then `_advance` takes the next step
towards "all that should be up are up". So a death during start-up, overlapping restarts and late messages of earlier
incarnations need no cases of their own. It never waits, never asks and touches no disk or network.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from qt_actors.kernel.actor import Actor
from qt_actors.kernel.errors import EscalationError
from qt_actors.kernel.messages import Down, GiveUp, Restart, Stop, TimerFired, Up
from qt_actors.kernel.restarts import BudgetExceeded, restart_verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qt_actors.kernel.runtime import Runtime
    from qt_actors.kernel.spec import ChildSpec, SupervisorSpec

logger = logging.getLogger(__name__)

IDLE, STARTING, UP, STOPPING, BACKOFF, ENDED = "idle", "starting", "up", "stopping", "backoff", "ended"
LIVE = (STARTING, UP, STOPPING)


class _Child:
    """What a supervisor knows of one child."""

    def __init__(self, spec: ChildSpec, path: str) -> None:
        self.spec = spec
        self.path = path
        self.state = IDLE
        self.incarnation = 0
        self.not_before_ms = 0
        self.streak = 0
        self.may_stop_ms = 0.0
        self.up_since_ms: int | None = None
        self.recycle = False  # must be stopped and started again


class Supervisor(Actor):
    """Owns its children's lives. Hears Up, Down, Restart, GiveUp, Stop and its own timers."""

    _supervises = True

    def __init__(self, spec: SupervisorSpec, runtime: Runtime, path: str) -> None:
        super().__init__()
        self._spec = spec
        self._runtime = runtime
        self._children = [_Child(child, f"{path}/{child.id}") for child in spec.specs()]
        self._by_path = {child.path: child for child in self._children}
        self._in_order = spec.strategy != "one_for_one"
        self._failures_ms: tuple[int, ...] = ()
        self._ready = False
        self._closing = False
        self._draining = False
        self._gives_up: str | None = None
        limits = [child.spec.hang_after_ms for child in self._children if child.spec.hang_after_ms is not None]
        self._watchdog_ms = max(10, min(limits) // 4) if limits else 0
        self._watch_at_ms = 0
        self._looked_late = False

    def on_start(self) -> None:
        """Start the first child; the others follow as their predecessors come up."""
        if self._watchdog_ms:
            self._watch_at_ms = self._runtime.real_ms() + self._watchdog_ms
            self.timer("watchdog", self._watchdog_ms, real=True)
        self._advance()

    def handle(self, message: object) -> None:
        """Timers and requests; anything else is not for a supervisor."""
        match message:
            case TimerFired("watchdog"):
                self._look_for_hangs()
            case TimerFired(key) if key.startswith("overdue "):
                self._overdue(key.removeprefix("overdue "))
            case TimerFired():
                self._advance()
            case Restart(child_id, reason):
                self._requested(child_id, reason)
            case _:
                logger.warning("%s: a supervisor does not handle %s", self.path, type(message).__name__)

    def statistics(self) -> Mapping[str, object]:
        """Failures inside the current period, against the budget."""
        since_ms = self._runtime.real_ms() - self._spec.period_ms
        recent = sum(1 for at_ms in self._failures_ms if at_ms > since_ms)
        return {"failures": recent, "intensity": self._spec.intensity, "period_ms": self._spec.period_ms}

    def _obey(self, message: object) -> None:
        match message:
            case Up(path, incarnation):
                self._child_up(self._by_path[path], incarnation)
            case Down(path, incarnation, reason, normal, cured):
                self._child_down(self._by_path[path], incarnation, reason, normal=normal, cured=cured)
            case Stop():
                self._closing = True
                self._draining = self._own.runtime.stopping
                self._advance()
            case GiveUp(reason):
                self._give_up(reason)
                self._advance()
            case _:
                logger.warning("%s: unknown system message %s", self.path, type(message).__name__)

    # What happens to children

    def _child_up(self, child: _Child, incarnation: int) -> None:
        if incarnation != child.incarnation or child.state != STARTING:
            return
        self._become(child, UP)
        child.up_since_ms = self._runtime.real_ms()
        self.cancel_timer(f"overdue {child.path}")
        self._advance()

    def _child_down(
        self, child: _Child, incarnation: int, reason: str, *, normal: bool = False, cured: bool = False
    ) -> None:
        if incarnation != child.incarnation or child.state not in LIVE:
            return
        self.cancel_timer(f"overdue {child.path}")
        was_stopping = child.state == STOPPING
        self._become(child, ENDED if self._closing else IDLE)
        if was_stopping and not (child.recycle and child.spec.restart == "temporary"):
            child.recycle = False
        elif child.spec.restart == "temporary" or (child.spec.restart == "transient" and normal):
            self._ended(child, reason, normal=normal)
        else:
            self._failed(child, reason, cured=cured)
        self._advance()

    def _ended(self, child: _Child, reason: str, *, normal: bool) -> None:
        self._become(child, ENDED)
        self._runtime.close(child.path)
        if not child.spec.significant:
            return
        self._closing = True
        if not normal:
            self._give_up(f"{child.path} is significant and has ended: {reason}")

    def _failed(self, child: _Child, reason: str, *, cured: bool = False) -> None:
        if self._closing:
            return
        now_ms = self._runtime.real_ms()
        healthy_ms = 0 if child.up_since_ms is None else now_ms - child.up_since_ms
        child.up_since_ms = None
        verdict = restart_verdict(
            self._failures_ms,
            child.streak,
            healthy_ms,
            now_ms,
            self._spec.budget,
            self._spec.backoff,
            self.random.random(),
            counts=not cured,
        )
        if isinstance(verdict, BudgetExceeded):
            self._give_up(
                f"{child.path}: {reason}; {verdict.failures} failures within {verdict.period_ms} ms, "
                f"allowed are {self._spec.intensity}"
            )
            return
        self._failures_ms = verdict.failures_ms
        child.streak = verdict.streak
        logger.warning("%s: %s; restart in %d ms", child.path, reason, verdict.delay_ms)
        for affected in self._affected_by(child):
            affected.not_before_ms = max(affected.not_before_ms, now_ms + verdict.delay_ms)
            if affected.state in {STARTING, UP}:
                affected.recycle = True
        if child.state not in LIVE:
            self._become(child, BACKOFF)

    def _affected_by(self, child: _Child) -> list[_Child]:
        match self._spec.strategy:
            case "one_for_one":
                return [child]
            case "rest_for_one":
                return self._children[self._children.index(child) :]
            case "one_for_all":
                return self._children

    def _give_up(self, reason: str) -> None:
        if self._gives_up is None:
            self._gives_up = reason
            self._closing = True
            logger.error("%s gives up: %s", self.path, reason)
            self._runtime.supervisor_gives_up(self.path, reason)

    def _requested(self, child_id: str, reason: str) -> None:
        child = self._by_path.get(f"{self.path}/{child_id}")
        if child is None:
            logger.warning("%s: no child %r to restart (%s)", self.path, child_id, reason)
        elif child.state in {STARTING, UP} and not self._closing:
            self._failed(child, f"restart requested: {reason}")
            self._advance()

    # Towards the goal, one step at a time

    def _advance(self) -> None:
        if self._stop_next():
            return
        if not self._closing:
            self._start_next()
        elif not any(child.state in LIVE for child in self._children):
            self._finish()

    def _stop_next(self) -> bool:
        """Stop who must go, last one first; True while somebody's end must be awaited."""
        one_by_one = self._in_order or self._closing
        if one_by_one and any(child.state == STOPPING for child in self._children):
            return True
        for child in reversed(self._children):
            if child.state in {STARTING, UP} and (self._closing or child.recycle):
                self._become(child, STOPPING)
                if not child.spec.supervises:
                    child.may_stop_ms = self._runtime.shutdown_ms(child.spec)
                    self.timer(f"overdue {child.path}", child.may_stop_ms, real=True)
                self._runtime.request_stop(child.path, child.incarnation, drain=self._draining)
                if one_by_one:
                    return True
        return False

    def _start_next(self) -> None:
        """Start who is missing, in order; before the first time all are up, always one after the other."""
        now_ms = self._runtime.real_ms()
        for child in self._children:
            if child.state in {UP, ENDED}:
                continue
            if child.state in LIVE:
                if self._in_order or not self._ready:
                    return
            elif child.not_before_ms > now_ms:
                self.timer(f"restart {child.path}", child.not_before_ms - now_ms, real=True)
                if self._in_order:
                    return
            else:
                self._start(child)
                if self._in_order or not self._ready:
                    return
        if not self._ready:
            self._ready = True
            self._runtime.report_up(self._own)

    def _start(self, child: _Child) -> None:
        self._become(child, STARTING)
        child.recycle = False
        child.incarnation = self._runtime.spawn(child.path, child.spec, self.path)
        if not child.spec.supervises:
            self.timer(f"overdue {child.path}", child.spec.start_timeout_ms, real=True)

    def _finish(self) -> None:
        if self._gives_up is None:
            self._stop()
        else:
            self._end(EscalationError(self._gives_up))

    # Those who take too long

    def _overdue(self, path: str) -> None:
        child = self._by_path[path]
        if child.state == STOPPING:
            self._abandon(child, f"did not stop within {child.may_stop_ms:.0f} ms")
        elif child.state == STARTING:
            self._abandon(child, f"did not start within {child.spec.start_timeout_ms} ms")

    def _look_for_hangs(self) -> None:
        now_ms = self._runtime.real_ms()
        late, self._watch_at_ms = now_ms - self._watch_at_ms > self._watchdog_ms, now_ms + self._watchdog_ms
        # Who looks late was not running itself, nor was anybody else (SIGSTOP, no CPU): that is nobody's hang. Late
        # twice in a row counts, for a thread that keeps the interpreter to itself makes its own watchdog late.
        self._looked_late = late and not self._looked_late
        for child in self._children:
            limit_ms = child.spec.hang_after_ms
            if limit_ms is None or child.state != UP:
                continue
            busy_ms, silent_ms = self._runtime.busy_ms(child.path), self._runtime.silent_ms(child.path)
            if self._looked_late:
                continue
            if busy_ms > limit_ms:
                self._abandon(child, f"hangs: busy for {busy_ms} ms, allowed are {limit_ms}")
            elif silent_ms > limit_ms:
                self._abandon(child, f"is dead: idle, but no sign of life for {silent_ms} ms, allowed are {limit_ms}")
        self.timer("watchdog", self._watchdog_ms, real=True)

    def _abandon(self, child: _Child, reason: str) -> None:
        where = self._runtime.abandon(child.path, child.incarnation, reason)
        if where is not None:  # else it has just ended by itself: its Down is on its way
            self._child_down(child, child.incarnation, f"{reason}{where}")

    def _become(self, child: _Child, state: str) -> None:
        child.state = state
        self._runtime.show(child.path, state)
