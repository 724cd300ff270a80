"""Faults for the deterministic runtime: crashes and hangs at a named message, or at random ones by seed.

Random faults are decided by a hash of (seed, kind, path, n-th message), not by a sequence of draws: leaving one out
leaves the others where they were, so a failing run can be shrunk fault by fault.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec


class InjectedCrash(Exception):  # noqa: N818 -- it is a crash
    """What an actor dies of when a fault says so."""


class Crash(msgspec.Struct, frozen=True):
    """The actor at `path` raises at its `nth` message (from 1, over all incarnations), before or after handling it."""

    path: str
    nth: int
    when: Literal["before", "after"] = "before"


class CrashStart(msgspec.Struct, frozen=True):
    """The `nth` start of `path` (from 1) fails before its `on_start` runs."""

    path: str
    nth: int


class Hang(msgspec.Struct, frozen=True):
    """The actor at `path` hangs in its `nth` message; after `wake_after_ms` it goes on with it (None: never)."""

    path: str
    nth: int
    wake_after_ms: int | None = None


class Chaos(msgspec.Struct, frozen=True):
    """Probabilities per message (`crash_start`: per start), for the paths that begin with `below`."""

    seed: int
    crash: float = 0.0
    crash_start: float = 0.0
    hang: float = 0.0
    wake_after_ms: int | None = 5_000
    below: str = ""

    def draw(self, kind: str, path: str, nth: int) -> float:
        """In [0, 1), the same for the same arguments in every process."""
        digest = hashlib.blake2b(f"{self.seed}|{kind}|{path}|{nth}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64

    def hits(self, kind: str, path: str, nth: int, rate: float) -> bool:
        """Whether the fault `kind` strikes here."""
        return rate > 0 and path.startswith(self.below) and self.draw(kind, path, nth) < rate


Fault = Crash | CrashStart | Hang | Chaos


class FaultPlan:
    """The faults in force, asked by the scheduler."""

    def __init__(self) -> None:
        self._crashes: dict[tuple[str, int, str], Crash] = {}
        self._starts: set[tuple[str, int]] = set()
        self._hangs: dict[tuple[str, int], Hang] = {}
        self._chaos: list[Chaos] = []

    def add(self, fault: Fault) -> None:
        """Put a fault in force."""
        match fault:
            case Crash(path, nth, when):
                self._crashes[path, nth, when] = fault
            case CrashStart(path, nth):
                self._starts.add((path, nth))
            case Hang(path, nth):
                self._hangs[path, nth] = fault
            case Chaos():
                self._chaos.append(fault)

    def clear(self) -> None:
        """Heal: no fault from now on."""
        self.__init__()  # type: ignore[misc]  # the empty plan is the initial one

    def crash(self, path: str, nth: int, when: str) -> bool:
        """Whether `path` crashes before or after its nth message."""
        if (path, nth, when) in self._crashes:
            return True
        return any(chaos.hits(f"crash {when}", path, nth, chaos.crash / 2) for chaos in self._chaos)

    def crash_start(self, path: str, nth: int) -> bool:
        """Whether the nth start of `path` fails."""
        return (path, nth) in self._starts or any(
            chaos.hits("start", path, nth, chaos.crash_start) for chaos in self._chaos
        )

    def hang(self, path: str, nth: int) -> Hang | None:
        """The hang that strikes `path` in its nth message."""
        planned = self._hangs.get((path, nth))
        if planned is not None:
            return planned
        for chaos in self._chaos:
            if chaos.hits("hang", path, nth, chaos.hang):
                return Hang(path, nth, chaos.wake_after_ms)
        return None
