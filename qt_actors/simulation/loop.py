"""An asyncio loop in the world's time: the edges' coroutines run on it, unchanged, and no socket is on it."""

from __future__ import annotations

import asyncio
import logging
from asyncio.events import _set_running_loop
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from types import CoroutineType
from typing import Any

from qt_actors.simulation.world import Event, World

log = logging.getLogger(__name__)

ROUNDS_MAX = 20


class _Timer(asyncio.TimerHandle):
    """A handle that takes its event out of the world when it is cancelled."""

    event: Event | None = None

    def cancel(self) -> None:
        """Forget it."""
        super().cancel()
        if self.event is not None:
            self.event.cancelled = True


class VirtualLoop:
    """What asyncio's tasks, timeouts and locks ask of a loop; ``edges.loop.Loop`` for those who give it work.

    A killed process's loop runs nothing any more, whatever is still planned on it.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._me: Any = self  # asyncio asks for no more than is here
        self._ready: deque[asyncio.Handle] = deque()
        self._is_planned = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self.dead = False

    # for the edges

    def submit(self, work: Coroutine[Any, Any, Any]) -> object:
        """Run a coroutine, at this moment but not within the caller."""
        if self.dead:
            _forget(work)
            return None
        return self.create_task(work)

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a plain function, likewise."""
        self.call_soon(function, *arguments)

    def at_stop(self, close: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """There is nothing to close."""

    def stop(self) -> None:
        """Unwind what runs, with nothing said to anybody (the wire is cut before); run nothing any more."""
        for _ in range(ROUNDS_MAX):
            self._run()  # who has not begun begins: a coroutine that never runs leaves others that nobody awaits
            for task in tuple(self._tasks):
                task.cancel()
            self._run()
            if not self._tasks:
                break
        self.dead = True

    # for asyncio

    def time(self) -> float:
        """Seconds of virtual time."""
        return self._world.now_us / 1e6

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:
        """Run at this moment, after what was called before."""
        handle = asyncio.Handle(callback, args, self._me, context)
        if not self.dead:
            self._ready.append(handle)
            if not self._is_planned:
                self._is_planned = True
                self._world.after(0, self._run)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run in so many seconds."""
        handle = _Timer(self.time() + delay, callback, args, self._me, context)
        handle.event = self._world.after(delay * 1000, lambda: self._fire(handle))
        return handle

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run at that time."""
        return self.call_later(when - self.time(), callback, *args, context=context)

    def create_task(
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None, **_: Any
    ) -> asyncio.Task[Any]:
        """Run a coroutine."""
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self._me, name=name, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def create_future(self) -> asyncio.Future[Any]:
        """An open future."""
        return asyncio.Future(loop=self._me)

    def get_debug(self) -> bool:
        """Never."""
        return False

    def is_running(self) -> bool:
        """Until it is stopped."""
        return not self.dead

    def is_closed(self) -> bool:
        """Once it is stopped."""
        return self.dead

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Log what nobody awaited."""
        if not self.dead:
            log.error("socket work failed: %s", context.get("exception") or context.get("message"))

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("socket work failed", exc_info=task.exception())

    def _fire(self, handle: asyncio.TimerHandle) -> None:
        if not self.dead:
            self._ready.append(handle)
            self._run()

    def _run(self) -> None:
        self._is_planned = True  # what is called for meanwhile runs in this round
        _set_running_loop(self._me)
        try:
            while self._ready and not self.dead:
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()  # noqa: SLF001 -- what a loop does with its handles
        finally:
            _set_running_loop(None)
            self._is_planned = False


def _forget(work: Coroutine[Any, Any, Any]) -> None:
    """Close what never began, with the work that it was given to await."""
    frame = work.cr_frame if isinstance(work, CoroutineType) else None
    for given in tuple(frame.f_locals.values()) if frame is not None else ():
        if isinstance(given, CoroutineType):
            _forget(given)
    work.close()
