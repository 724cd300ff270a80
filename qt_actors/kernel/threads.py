"""The live runtime: one daemon thread per actor, one for all timers."""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pykka

from qt_actors.kernel.actor import Inbox
from qt_actors.kernel.answers import Answer
from qt_actors.kernel.clocks import Clock, WallClock
from qt_actors.kernel.errors import Fenced
from qt_actors.kernel.incarnation import Incarnation, here
from qt_actors.kernel.node import summary
from qt_actors.kernel.runtime import Runtime
from qt_actors.kernel.timers import Entry, Schedule
from qt_actors.kernel.watchman import Guard, Watchman

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)


class ThreadRuntime(Runtime):
    """Runs actors on threads.

    Args:
        clock: market time; supervision (backoff, deadlines, hangs) always counts real time.
        seed: of the actors' chance.
        generation: grows with each start of the process (kept in the journal); first half of every fence.
        timer_floor_ms: on a clock faster than real time no timer fires sooner than this (real ms), or than its own
            delay if that is shorter still: a 10 s cycle at speed 3600 fires every 100 ms, not every 2.8 ms.
        abandoned_max: more stuck threads than this and the process is beyond repair.
        guard: what else puts it beyond repair, and when the process is ended by force.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        seed: int = 0,
        generation: int = 1,
        timer_floor_ms: int = 100,
        abandoned_max: int = 3,
        guard: Guard = Guard(),  # noqa: B008 -- frozen
    ) -> None:
        super().__init__(clock or WallClock(), seed=seed, generation=generation, abandoned_max=abandoned_max)
        self._timer_floor_ms = timer_floor_ms
        self._wakeups: dict[Incarnation, SimpleQueue[None]] = {}
        self._threads: dict[Incarnation, threading.Thread] = {}
        self._schedule = Schedule()
        self._planned = threading.Condition()
        self._timekeeper: threading.Thread | None = None
        self._closed = False
        self._watchman = Watchman(self, guard)
        self._ready = threading.Event()
        self._stopped = threading.Event()

    def monotonic_s(self) -> float:
        """Seconds of real time."""
        return time.monotonic()

    def wait_ready(self, timeout_s: float) -> bool:
        """True as soon as all actors have started once; False when the tree failed or the time is up."""
        return self._ready.wait(timeout_s) and not self.failed.is_set()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until the tree has ended (stopped, or failed and then stopped in order); True when it has."""
        return self._stopped.wait(timeout_s)

    def stop(self, timeout_s: float) -> bool:
        """Stop in reverse order, each actor after what was already queued for it; then abandon who is left.

        Returns True when everybody ended in order and in time.
        """
        self._only_outside("stop")
        deadline_s = self._stop_by_s = self.monotonic_s() + timeout_s
        self.stopping = True
        root = self._nodes[self._root].live if self._root is not None else None
        if root is not None:
            self.request_stop(root.path, root.number)
        in_time = self._root is None or self._stopped.wait(timeout_s)
        self._leave()
        self._close_all()
        self._watchman.close()
        with self._planned:
            self._closed = True
            self._planned.notify()
        ending = [thread for own, thread in tuple(self._threads.items()) if own not in self._abandoned]
        for thread in (*ending, self._timekeeper):
            if thread is not None:
                thread.join(max(0.01, deadline_s - self.monotonic_s()))
        return in_time and not self._abandoned

    def new_answer(self) -> Answer:
        """An empty answer."""
        return Answer()

    def await_answer(self, answer: Answer, path: str, timeout_s: float) -> object:
        """Wait for it, at the edge."""
        try:
            return answer.get(timeout=timeout_s)
        except pykka.Timeout:
            answer.given_up = True
            msg = f"{path} did not answer within {timeout_s} s"
            raise TimeoutError(msg) from None

    def await_item(self, items: SimpleQueue[Any], timeout_s: float) -> Any:
        """Wait for it in real time."""
        return items.get(timeout=timeout_s) if timeout_s > 0 else items.get_nowait()

    def _open(self) -> None:
        self._timekeeper = threading.Thread(target=self._watch_the_clock, name="timers", daemon=True)
        self._timekeeper.start()
        self._watchman.start()

    def _enlist(self, own: Incarnation) -> None:
        wakeup = self._wakeups[own] = SimpleQueue()
        own.mailbox.adopt(own, wakeup)

    def _launch(self, own: Incarnation) -> None:
        thread = threading.Thread(target=self._live, args=(own,), name=f"{own.path}#{own.number}", daemon=True)
        self._threads[own] = thread
        try:
            thread.start()
        except RuntimeError as error:  # the machine has no thread left: a failed start like any other
            own.failure = error
            self._ended(own)
            self._forget(own)

    def _live(self, own: Incarnation) -> None:
        """The whole life of an incarnation on its thread."""
        here.own = own
        own.thread_id = threading.get_ident()
        try:
            self._create(own)._actor_loop()  # noqa: SLF001 -- pykka's own loop, with the hooks that Actor overrides
        except Fenced:
            logger.info("%s#%d was superseded and has ended", own.path, own.number)
        except BaseException as error:  # noqa: BLE001 -- whatever it was, it is the end of this incarnation only
            own.failure = error
        here.own = None
        self._forget(own)
        self._ended(own)

    def _forget(self, own: Incarnation) -> None:
        self._wakeups.pop(own, None)
        self._threads.pop(own, None)

    def _wake(self, own: Incarnation) -> None:
        wakeup = self._wakeups.get(own)
        if wakeup is not None:
            wakeup.put(None)

    def _inbox(self, own: Incarnation) -> Inbox:
        return Inbox(own, self._wakeups[own].get)

    def _plan(self, delay_s: float, fire: Callable[[Entry], None]) -> Entry:
        due_s = self.monotonic_s() + delay_s
        with self._planned:
            entry = self._schedule.add(due_s, fire)
            if self._schedule.next_due_s() == due_s:
                self._planned.notify()
        return entry

    def _unplan(self, entry: Entry) -> None:
        with self._planned:
            self._schedule.cancel(entry)

    def _clock_delay_s(self, delay_ms: float) -> float:
        return max(delay_ms / self.clock.speed, min(delay_ms, self._timer_floor_ms)) / 1000

    def _watch_the_clock(self) -> None:
        while True:
            with self._planned:
                while True:
                    if self._closed:
                        return
                    entry = self._schedule.pop_due(self.monotonic_s())
                    if entry is not None:
                        break
                    due_s = self._schedule.next_due_s()
                    self._planned.wait(None if due_s is None else max(0.0, due_s - self.monotonic_s()))
            try:
                entry.fire(entry)
            except Exception as error:
                logger.exception("a timer failed to fire")
                self.beyond_repair(f"a timer failed to fire: {summary(error)}")

    # For the watchman

    def timers_fault(self, late_ms: int) -> str:
        """What keeps timers from firing; empty when nothing does."""
        keeper = self._timekeeper
        if keeper is None or self._closed:
            return ""
        if not keeper.is_alive():
            return "the thread of the timers has ended"
        if not self._planned.acquire(timeout=late_ms / 1000):
            return f"the timers have been locked for {late_ms} ms"
        try:
            due_s = self._schedule.next_due_s()
        finally:
            self._planned.release()
        late_s = 0.0 if due_s is None else self.monotonic_s() - due_s
        return f"the timers are {late_s * 1000:.0f} ms late" if late_s * 1000 > late_ms else ""

    def root_silent_ms(self) -> int:
        """For how long the root owes a sign of life."""
        return 0 if self._root is None else self.silent_ms(self._root)

    def zombies(self, after_ms: int) -> tuple[str, ...]:
        """Superseded incarnations that still run `after_ms` later."""
        before_s = self.monotonic_s() - after_ms / 1000
        return tuple(f"{own.path}#{own.number}" for own in tuple(self._abandoned) if own.fenced_s <= before_s)

    def _where(self, own: Incarnation) -> str:
        frame = sys._current_frames().get(own.thread_id or 0)  # noqa: SLF001 -- the documented way to see a stuck thread
        if frame is None:
            return ""
        stack = traceback.extract_stack(frame)
        logger.error("%s#%d is stuck here:\n%s", own.path, own.number, "".join(traceback.format_list(stack)))
        last = stack[-1]
        return f" in {last.name} ({last.filename.rsplit('/', 1)[-1]}:{last.lineno})"

    def _root_up(self) -> None:
        self._ready.set()

    def _root_down(self) -> None:
        self._ready.set()
        self._stopped.set()
