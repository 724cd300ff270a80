"""Exchange time: an anchor plus real elapsed time times a speed, and the rule that judges a request's timestamp.

The clock counts from a monotonic source, so that a step of the wall clock moves nothing. It may be paused, and held:
when the machine cannot walk every price point in time, time itself waits (`hold`) rather than a point being skipped.

Timestamp rule (`refusal`). Every time the exchange's time could be read gave a client the offset
`exchange time - wall clock`; the clock remembers the smallest and the largest of these offsets since its start.
A timestamp is accepted when some offset in that range explains it:

    wall + offset_min - recvWindow <= timestamp < wall + offset_max + 1000 ms

At speed 1, never paused and never held, the range is one point and this is Binance's own rule
(`timestamp < serverTime + 1000 && serverTime - timestamp <= recvWindow`). At any other speed a client that
synchronised its offset once, whenever that was since the start, goes on being accepted although it paces its clock by
the wall, and so does a client that shares this clock (`/qt/clock`) or, there only, one that sends the plain wall clock.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FUTURE_TOLERANCE_MS = 1000  # Binance: timestamp < serverTime + 1000
SPEED_MAX = 1_000_000.0


def wall_ms() -> float:
    """Unix time in ms, as a float so that speeds below one still move."""
    return time.time() * 1000.0


def monotonic_ms() -> float:
    """Monotonic time in ms."""
    return time.monotonic() * 1000.0


def _checked(speed: float) -> float:
    if not 0.0 < speed <= SPEED_MAX:
        raise ValueError(f"speed: {speed} is not allowed; give a number above 0 and up to {SPEED_MAX:,.0f}")
    return float(speed)


class ExchangeClock:
    """Exchange time in ms UTC at a speed.

    Args:
        start_ms: exchange time of the first reading, ms UTC.
        speed: exchange milliseconds per real millisecond, > 0.
        wall: reads the wall clock in ms (tests give their own).
        monotonic: reads a monotonic clock in ms.

    Raises:
        ValueError: speed is not in (0, 1,000,000].
    """

    def __init__(
        self,
        start_ms: int,
        speed: float = 1.0,
        *,
        wall: Callable[[], float] = wall_ms,
        monotonic: Callable[[], float] = monotonic_ms,
    ) -> None:
        self.speed = _checked(speed)
        self.paused = False
        self.held_ms = 0
        self.skew_ms = 0  # a fault: how far told and judged time is ahead of the market's
        self._wall = wall
        self._monotonic = monotonic
        self._anchor_exchange = float(start_ms)
        self._anchor_monotonic = monotonic()
        offset = self._anchor_exchange - wall()
        self._offset_min = offset
        self._offset_max = offset
        self._real_time = self.speed == 1.0

    def now_ms(self) -> int:
        """Exchange time, ms UTC."""
        return int(self._now())

    def told_ms(self) -> int:
        """What clients are told when they ask for the time."""
        return self.now_ms() + self.skew_ms

    def real_ms(self) -> float:
        """Monotonic real time in ms: what stream cadences are counted in."""
        return self._monotonic()

    def pause(self) -> None:
        """Stop exchange time where it is; a second call changes nothing."""
        if not self.paused:
            self._anchor_at(self._now())
            self.paused = True
            self._real_time = False

    def resume(self) -> None:
        """Let exchange time go on from where it stopped; a second call changes nothing."""
        if self.paused:
            self._anchor_at(self._anchor_exchange)
            self.paused = False

    def hold(self, at_ms: int) -> None:
        """Set exchange time back to `at_ms`, the last moment the market has walked; the difference counts as held."""
        now = self._now()
        if at_ms < now:
            self.held_ms += int(now - at_ms)
            self._real_time = False
            self._anchor_at(float(at_ms))

    def move_to(self, at_ms: int) -> None:
        """Set exchange time, as when somebody seeks; a paused clock stays paused."""
        self._real_time = False
        self._anchor_at(float(at_ms))

    def run_at(self, speed: float) -> None:
        """Let exchange time run at another speed from now on.

        Raises:
            ValueError: speed is not in (0, 1,000,000].
        """
        self._anchor_at(self._now())
        self.speed = _checked(speed)
        self._real_time = False

    def jump(self, by_ms: int) -> None:
        """Move exchange time; timestamps of the time before are not accepted on that account any more."""
        self._anchor_at(self._now() + by_ms)
        self._offset_min = self._offset_max = self._anchor_exchange - self._wall()

    def describe(self) -> dict[str, int | float | bool]:
        """The reply of `/qt/clock`: `now = anchor_exchange_ms + (unix now - anchor_unix_ms) * speed`, unless paused.

        The anchor is a fresh one with every call, on a whole unix ms: at 3600 times speed the fraction is seconds.
        """
        wall = self._wall()
        unix = int(wall)
        behind = 0.0 if self.paused else (wall - unix) * self.speed
        return {
            "anchor_exchange_ms": round(self._now() - behind),
            "anchor_unix_ms": unix,
            "speed": self.speed,
            "paused": self.paused,
            "held_ms": self.held_ms,
            "now_ms": self.now_ms(),
        }

    def refusal(self, timestamp_ms: int, recv_window_ms: int) -> str | None:
        """Why a request's timestamp is refused with -1021, or None when it is accepted (rule: module docstring)."""
        now, wall = self._now(), self._wall()
        self._widen(now - wall)
        timestamp_ms -= self.skew_ms
        earliest = latest = now
        if not self._real_time:
            earliest, latest = wall + self._offset_min, wall + self._offset_max
        if self.speed != 1.0 and -recv_window_ms <= timestamp_ms - wall < FUTURE_TOLERANCE_MS:
            return None
        if timestamp_ms >= latest + FUTURE_TOLERANCE_MS:
            return "Timestamp for this request was 1000ms ahead of the server's time."
        if timestamp_ms < earliest - recv_window_ms:
            return "Timestamp for this request is outside of the recvWindow."
        return None

    def _now(self) -> float:
        if self.paused:
            return self._anchor_exchange
        return self._anchor_exchange + (self._monotonic() - self._anchor_monotonic) * self.speed

    def _anchor_at(self, exchange_ms: float) -> None:
        self._widen(self._now() - self._wall())
        self._anchor_exchange = exchange_ms
        self._anchor_monotonic = self._monotonic()
        self._widen(exchange_ms - self._wall())

    def _widen(self, offset: float) -> None:
        self._offset_min = min(self._offset_min, offset)
        self._offset_max = max(self._offset_max, offset)
