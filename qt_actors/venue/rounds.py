"""One kind of question to the exchange, asked again and again: at most one under way, and not too often."""

from __future__ import annotations


class Rounds:
    """A wish that comes while a round runs is for the next one: its facts may be newer than the running round's.

    Args:
        at_once: how many rounds may follow each other before a pause; ``refill`` allows one more. None: no limit.
    """

    def __init__(self, at_once: int | None = None) -> None:
        self.running = False
        self.wanted = True
        self._at_once = at_once
        self._allowed = at_once

    @property
    def idle(self) -> bool:
        """Nothing under way, nothing wanted."""
        return not self.running and not self.wanted

    def begin(self) -> bool:
        """True when a round begins now."""
        if self.running or not self.wanted or self._allowed == 0:
            return False
        self.running, self.wanted = True, False
        if self._allowed is not None:
            self._allowed -= 1
        return True

    def end(self) -> None:
        """The running round was answered."""
        self.running = False

    def lose(self) -> None:
        """The running round will not be answered: it is wanted again, and did not count."""
        if self.running:
            self.running, self.wanted = False, True
            self.refill()

    def refill(self) -> None:
        """Allow one more, up to the limit."""
        if self._allowed is not None and self._at_once is not None:
            self._allowed = min(self._allowed + 1, self._at_once)
