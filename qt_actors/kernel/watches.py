"""Who wants to hear `Up` and `Down` of whom; a watch belongs to one incarnation of the watcher."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from qt_actors.kernel.errors import KernelError
from qt_actors.kernel.messages import Down, Envelope, Up

if TYPE_CHECKING:
    from collections.abc import Callable

    from qt_actors.kernel.incarnation import Incarnation


WATCHED_MAX = 1024  # by one incarnation


class Watches:
    """Thread-safe. Notices go through the user lane, so that they arrive after what the watched one said before."""

    def __init__(self, next_number: Callable[[], int]) -> None:
        self._next_number = next_number
        self._lock = threading.Lock()
        self._watchers: dict[str, dict[Incarnation, None]] = {}
        self._outside: dict[str, Up | Down] = {}

    def add(self, watcher: Incarnation, path: str, latest: Up | Down | None) -> None:
        """Tell `watcher` what `path` is now (`latest`; None: it is outside the tree), and each change from now on."""
        if len(watcher.watched) >= WATCHED_MAX and path not in watcher.watched:
            msg = f"{watcher.path} watches {WATCHED_MAX} others, {path} is one too many"
            raise KernelError(msg)
        with self._lock:
            self._watchers.setdefault(path, {})[watcher] = None
            watcher.watched.add(path)
            self._notify(watcher, self._outside.get(path) or latest or Down(path, 0, "not started"))

    def drop(self, watcher: Incarnation) -> None:
        """The watcher has ended."""
        with self._lock:
            for path in watcher.watched:
                self._watchers[path].pop(watcher, None)

    def tell(self, change: Up | Down, *, outside: bool = False) -> None:
        """Tell all watchers of `change.path`; `outside`: it stands for an actor that is not in the tree (a probe)."""
        with self._lock:
            if outside:
                self._outside[change.path] = change
            for watcher in self._watchers.get(change.path, ()):
                self._notify(watcher, change)

    def _notify(self, watcher: Incarnation, message: Up | Down) -> None:
        number = self._next_number()
        envelope = Envelope(message, number, number, 0, message.path, incarnation=watcher.number)
        watcher.mailbox.offer_own(envelope)
