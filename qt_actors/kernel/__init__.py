"""The supervision kernel, on pykka: actors, addresses, mailboxes, supervisors, timers, two runtimes. No trading."""

from qt_actors.kernel.actor import Actor
from qt_actors.kernel.address import Address
from qt_actors.kernel.clocks import Clock, ScaledClock, VirtualClock, WallClock
from qt_actors.kernel.errors import (
    AskInHandlerError,
    EscalationError,
    Fenced,
    KernelError,
    MailboxFullError,
    SpecError,
    UnansweredError,
)
from qt_actors.kernel.faults import Chaos, Crash, CrashStart, Hang, InjectedCrash
from qt_actors.kernel.messages import ActorState, DeadLetter, Down, Restart, TimerFired, Up
from qt_actors.kernel.probe import Probe
from qt_actors.kernel.restarts import Backoff, Poison
from qt_actors.kernel.rules import Policy, bounded, conflate, drop_oldest
from qt_actors.kernel.scheduler import SimRuntime
from qt_actors.kernel.spec import ChildSpec, SupervisorSpec
from qt_actors.kernel.threads import ThreadRuntime
from qt_actors.kernel.watchman import Guard

__all__ = [
    "Actor",
    "ActorState",
    "Address",
    "AskInHandlerError",
    "Backoff",
    "Chaos",
    "ChildSpec",
    "Clock",
    "Crash",
    "CrashStart",
    "DeadLetter",
    "Down",
    "EscalationError",
    "Fenced",
    "Guard",
    "Hang",
    "InjectedCrash",
    "KernelError",
    "MailboxFullError",
    "Poison",
    "Policy",
    "Probe",
    "Restart",
    "ScaledClock",
    "SimRuntime",
    "SpecError",
    "SupervisorSpec",
    "ThreadRuntime",
    "TimerFired",
    "UnansweredError",
    "Up",
    "VirtualClock",
    "WallClock",
    "bounded",
    "conflate",
    "drop_oldest",
]
