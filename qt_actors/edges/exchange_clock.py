"""The trader's clock when the exchange keeps time: whatever speed it runs at, both read the same."""

from __future__ import annotations

from collections.abc import Callable

from qt_actors.kernel import Clock


class SharedClock(Clock):
    """Reads another clock; ``speed`` is how many market milliseconds pass in a real one."""

    def __init__(self, read_ms: Callable[[], int], speed: float) -> None:
        """Keep the reader; it is called from every thread."""
        self._read_ms = read_ms
        self.speed = speed

    def now_ms(self) -> int:
        """UTC, milliseconds since 1970, as the exchange has it."""
        return self._read_ms()
