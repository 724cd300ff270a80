"""Messages that nobody handled: kept (the newest), counted (all), told to whoever subscribed."""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from typing import TYPE_CHECKING

from qt_actors.kernel.incarnation import here

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qt_actors.kernel.messages import DeadLetter

logger = logging.getLogger(__name__)


COUNTED_MAX = 1024  # kinds of letters counted apart; further ones count as class "other"


class DeadLetters:
    """Thread-safe; subscribers are called on the thread that produced the letter and must be quick."""

    def __init__(self, kept_max: int = 1000) -> None:
        self._lock = threading.Lock()
        self._kept: deque[DeadLetter] = deque(maxlen=kept_max)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._subscribers: list[Callable[[DeadLetter], None]] = []

    def subscribe(self, callback: Callable[[DeadLetter], None]) -> None:
        """Call `callback(letter)` for each letter from now on."""
        with self._lock:
            self._subscribers.append(callback)

    def add(self, letter: DeadLetter) -> None:
        """Keep, count, tell. A failing subscriber is logged and harms nobody."""
        with self._lock:
            self._kept.append(letter)
            kind = (type(letter.message).__name__, letter.reason)
            if kind not in self._counts and len(self._counts) >= COUNTED_MAX:
                kind = ("other", letter.reason)
            self._counts[kind] += 1
            subscribers = tuple(self._subscribers)
        own, here.own = here.own, None  # what subscribers tell is nobody's, least of all a fenced zombie's
        try:
            for callback in subscribers:
                try:
                    callback(letter)
                except Exception:
                    logger.exception("a dead letter subscriber failed on %s", type(letter.message).__name__)
        finally:
            here.own = own

    def counts(self) -> Mapping[tuple[str, str], int]:
        """How many per (message class, reason), since the start."""
        with self._lock:
            return dict(self._counts)

    def kept(self) -> tuple[DeadLetter, ...]:
        """The newest letters, oldest first."""
        with self._lock:
            return tuple(self._kept)
