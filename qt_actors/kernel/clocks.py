"""The runtime's clock: wall, scaled (paper replay) or virtual (simulation, backtest). Actors see it as `now_ms()`."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod


class Clock(ABC):
    """Market time: UTC milliseconds, passing `speed` times as fast as real time."""

    speed: float = 1.0

    @abstractmethod
    def now_ms(self) -> int:
        """UTC, milliseconds since 1970."""


class WallClock(Clock):
    """The machine's own clock."""

    def now_ms(self) -> int:
        """UTC, milliseconds since 1970."""
        return time.time_ns() // 1_000_000


class ScaledClock(Clock):
    """Starts at `start_ms` and runs `speed` times as fast as real time; never jumps when the wall clock does."""

    def __init__(self, start_ms: int, speed: float) -> None:
        if not speed > 0:
            msg = f"clock speed {speed}: allowed is any number above 0"
            raise ValueError(msg)
        self.speed = speed
        self._start_ms = start_ms
        self._origin_ns = time.monotonic_ns()

    def now_ms(self) -> int:
        """UTC, milliseconds since 1970."""
        return self._start_ms + int((time.monotonic_ns() - self._origin_ns) * self.speed) // 1_000_000


class VirtualClock(Clock):
    """Stands still until the scheduler moves it. Counts microseconds inside so that short delays keep their order."""

    def __init__(self, start_ms: int = 0) -> None:
        self._start_us = start_ms * 1000
        self._now_us = self._start_us

    def now_ms(self) -> int:
        """UTC, milliseconds since 1970."""
        return self._now_us // 1000

    def elapsed_s(self) -> float:
        """Seconds since the clock was made: what `monotonic` is to real time."""
        return (self._now_us - self._start_us) / 1e6

    def jump(self, ms: int) -> None:
        """What a step of the machine's clock does: `now_ms` moves, `elapsed_s` does not."""
        self._start_us += ms * 1000
        self._now_us += ms * 1000

    def advance_to_s(self, elapsed_s: float) -> None:
        """Move forward to `elapsed_s` seconds after the start; never back."""
        self._now_us = max(self._now_us, self._start_us + round(elapsed_s * 1e6))
