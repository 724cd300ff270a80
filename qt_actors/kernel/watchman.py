"""Who watches the watchers of the live runtime: timers, root supervisor, threads; and the last resort.

Supervisors notice hung actors by timers. This thread needs no timer, no actor and no lock for long, so it notices when
the timers themselves stand still, the root no longer listens, or threads leak. It repairs nothing: the tree is reported
beyond repair, `main` stops it and exits, the process runner starts it again; and if `main` cannot, this exits.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from qt_actors.kernel.threads import ThreadRuntime

logger = logging.getLogger(__name__)

EXIT_CODE = 70  # EX_SOFTWARE of sysexits.h: an internal error


class Guard(msgspec.Struct, frozen=True):
    """What a threaded runtime watches itself by; real milliseconds.

    `timers_late_ms`: a timer this late means that no timer fires any more. `root_silent_ms`: as `hang_after_ms`, for
    the root, which has no supervisor. `zombie_ms`: superseded incarnations that still run after that count against the
    runtime's `abandoned_max`, however they were superseded. `threads_max`: of the whole process. `exit_after_ms`: that
    long after the tree was found beyond repair the process ends with code 70, finished or not; None: never.
    """

    every_ms: int = 1_000
    timers_late_ms: int = 10_000
    root_silent_ms: int = 30_000
    zombie_ms: int = 10_000
    threads_max: int = 400
    exit_after_ms: int | None = None


class Watchman:
    """One daemon thread beside the tree."""

    def __init__(self, runtime: ThreadRuntime, guard: Guard) -> None:
        self._runtime = runtime
        self._guard = guard
        self._closed = threading.Event()

    def start(self) -> None:
        """Begin to look, every `every_ms`."""
        threading.Thread(target=self._watch, name="watchman", daemon=True).start()

    def close(self) -> None:
        """Look no more; what has failed before still ends the process in time."""
        self._closed.set()

    def fault(self) -> str:
        """What is wrong now; empty when nothing is."""
        guard, runtime = self._guard, self._runtime
        late = runtime.timers_fault(guard.timers_late_ms)
        if late:
            return late
        silent_ms = runtime.root_silent_ms()
        if silent_ms > guard.root_silent_ms:
            return f"the root supervisor has given no sign of life for {silent_ms} ms"
        zombies = runtime.zombies(guard.zombie_ms)
        if len(zombies) > runtime.abandoned_max:
            names = ", ".join(zombies)
            return f"{len(zombies)} superseded actors still run ({names}), allowed are {runtime.abandoned_max}"
        threads = threading.active_count()
        if threads > guard.threads_max:
            return f"{threads} threads run, allowed are {guard.threads_max}: something leaks them"
        return ""

    def _watch(self) -> None:
        every_s, failed = self._guard.every_ms / 1000, self._runtime.failed
        looked_s = time.monotonic()
        while not failed.is_set() and not self._closed.wait(every_s):
            stood_still = time.monotonic() - looked_s > 2 * every_s + 1  # SIGSTOP, no CPU: everything is late, once
            looked_s = time.monotonic()
            fault = "" if stood_still else self.fault()
            if fault:
                logger.critical("beyond repair: %s", fault)
                self._runtime.beyond_repair(fault)
        if failed.is_set() and self._guard.exit_after_ms is not None:
            self._exit(self._guard.exit_after_ms / 1000)

    def _exit(self, after_s: float) -> None:
        time.sleep(after_s)
        logger.critical("still here %g s after %s; the process ends now", after_s, self._runtime.failed.reason)
        os._exit(EXIT_CODE)
