"""One asyncio loop on one daemon thread: every socket of the trader lives here, no actor ever waits on one."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
import traceback
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol, Self

log = logging.getLogger(__name__)

CLOSE_LOOKS, CLOSE_LOOK_S = 20, 0.05


class LoopClosedError(RuntimeError):
    """Work was given to a loop that is not running."""


class Loop(Protocol):
    """What the edges ask of the loop they live on: ``SocketLoop``, or one in virtual time."""

    def submit(self, work: Coroutine[Any, Any, Any]) -> object:
        """Run a coroutine."""
        ...

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a plain function soon."""
        ...

    def at_stop(self, close: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Await ``close()`` when it stops."""
        ...

    def stop(self) -> object:
        """End everything."""
        ...


class SocketLoop:
    """Start once, submit from any thread, stop once; a context manager for short lives."""

    def __init__(self, name: str = "sockets") -> None:
        self._name = name
        self._closers: list[Callable[[], Coroutine[Any, Any, object]]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; returns when its loop runs. A second call changes nothing."""
        if self._thread is None:
            running = threading.Event()
            self._loop = _new_loop()
            self._loop.call_soon(running.set)
            self._thread = threading.Thread(target=self._run, args=(self._loop,), name=self._name, daemon=True)
            self._thread.start()
            running.wait()

    def submit(self, work: Coroutine[Any, Any, Any]) -> concurrent.futures.Future[Any]:
        """Run a coroutine on the loop. An error nobody expected is logged by type and place, without its text.

        Raises:
            LoopClosedError: the loop is not running; the coroutine was closed.
        """
        loop = self._loop
        if loop is None or loop.is_closed():
            work.close()
            msg = f"the {self._name} loop is not running"
            raise LoopClosedError(msg)
        future = asyncio.run_coroutine_threadsafe(work, loop)
        future.add_done_callback(_log_failure)
        return future

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a plain function on the loop soon.

        Raises:
            LoopClosedError: the loop is not running.
        """
        loop = self._loop
        if loop is None or loop.is_closed():
            msg = f"the {self._name} loop is not running"
            raise LoopClosedError(msg)
        loop.call_soon_threadsafe(function, *arguments)

    def at_stop(self, close: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Await ``close()`` on the loop when it stops, after everything else was cancelled."""
        self._closers.append(close)

    def stop(self, timeout_s: float = 3.0) -> bool:
        """Cancel what runs, close what is open, end the thread; False when it did not end in time."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return True
        if not loop.is_closed():
            loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout_s)
        return not thread.is_alive()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            loop.run_until_complete(_wind_up(self._closers))
            loop.run_until_complete(loop.shutdown_asyncgens())
            asyncio.set_event_loop(None)
            _close(loop)


async def _wind_up(closers: Iterable[Callable[[], Coroutine[Any, Any, object]]]) -> None:
    """Cancel every other task, wait until each has had its last word, then close what they used."""
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.gather(*(close() for close in closers), return_exceptions=True)


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Close the loop once its transports are closed; a connection that will not end in time is left to the process."""
    for _ in range(CLOSE_LOOKS):
        loop.run_until_complete(asyncio.sleep(CLOSE_LOOK_S))
        try:
            loop.close()
        except OSError:  # uvloop: handles are still closing
            continue
        return
    log.warning("a connection did not close in %.1f s", CLOSE_LOOKS * CLOSE_LOOK_S)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 -- optional: present where uvicorn[standard] is, absent on some platforms
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _log_failure(future: concurrent.futures.Future[Any]) -> None:
    if future.cancelled():
        return
    error = future.exception()
    if error is None or isinstance(error, asyncio.CancelledError):
        return
    # The text of a network library's error may hold a signed URL or a header: only type and place are safe to show.
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in reversed(frames[-4:]))
    log.error("socket work failed: %s at %s", type(error).__name__, where)
