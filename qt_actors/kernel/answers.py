"""The edge's way to ask: one answer, awaited with a deadline. Actors never wait."""

from __future__ import annotations

import queue

import pykka

from qt_actors.kernel.errors import UnansweredError


class Answer(pykka.ThreadingFuture[object]):
    """A future that remembers whether its asker still waits, so that nobody works for somebody who left."""

    def __init__(self) -> None:
        super().__init__()
        self.given_up = False
        self.deferred = False

    @property
    def settled(self) -> bool:
        """True once it holds a value or an error."""
        return self._result is not None

    def give(self, value: object) -> bool:
        """Answer; False when it was answered before."""
        try:
            self.set(value)
        except queue.Full:
            return False
        return True

    def fail(self, why: str) -> None:
        """Let the asker have `UnansweredError(why)`, unless it was answered before."""
        error = UnansweredError(why)
        try:
            self.set_exception((UnansweredError, error, None))
        except queue.Full:
            return
