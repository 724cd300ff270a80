"""The request budget: what may still be sent this minute, by priority, kept below the exchange's own limits.

Binance counts weight per IP address and orders per account, in clock windows of real time, and reports both in response
headers. This budget counts what it lets out itself, corrects itself upwards from every response,
and keeps a reserve that only protection may touch. What the exchange reports (a predecessor's spending, say) is set
against that exchange's own limits and no others: until they are known it is only kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec

from qt_actors.messages.orders import Priority

SHARES: Mapping[Priority, float] = MappingProxyType(
    {"protect": 0.95, "reconcile": 0.70, "entry": 0.60, "research": 0.50}
)
"""Fraction of each limit up to which a class may spend; a quarter is left to protection alone."""

WEIGHT_HEADER = "X-MBX-USED-WEIGHT-1M"
ORDER_HEADERS: Mapping[float, str] = MappingProxyType({10.0: "X-MBX-ORDER-COUNT-10S", 60.0: "X-MBX-ORDER-COUNT-1M"})


class Limits(msgspec.Struct, frozen=True):
    """The exchange's limits, as its ``rateLimits`` say."""

    weight_per_minute: int = 2400
    orders_per_10_s: int = 300
    orders_per_minute: int = 1200


class Window:
    """Count within one clock-aligned window of real time."""

    def __init__(self, length_s: float, limit: int) -> None:
        self.length_s = length_s
        self.limit = limit
        self._index = -1
        self._used = 0

    def used(self, now_s: float) -> int:
        """Count in the window that holds ``now_s``."""
        index = int(now_s // self.length_s)
        if index != self._index:
            self._index, self._used = index, 0
        return self._used

    def look(self, now_s: float) -> int:
        """As ``used``, changing nothing: for other threads."""
        return self._used if int(now_s // self.length_s) == self._index else 0

    def spend(self, amount: int, now_s: float) -> None:
        """Count what is about to be sent."""
        self._used = self.used(now_s) + amount

    def correct(self, reported: int, sent_s: float, now_s: float) -> None:
        """The exchange counted more (another process here): believe it, unless its answer is of last window."""
        if int(sent_s // self.length_s) == int(now_s // self.length_s):
            self._used = max(self.used(now_s), reported)

    def rest_s(self, now_s: float) -> float:
        """Seconds until the window turns."""
        return self.length_s - now_s % self.length_s


class Budget:
    """Not thread-safe: the socket loop's own, except ``ratios``.

    Args:
        wall_s: real time, seconds since 1970.
        limits: the exchange's; None while they are not known.
    """

    def __init__(self, wall_s: Callable[[], float], limits: Limits | None = None) -> None:
        self._known = limits is not None
        self._early: tuple[Mapping[str, str], float] | None = None
        limits = limits or Limits()
        self._wall_s = wall_s
        self._weight = Window(60.0, limits.weight_per_minute)
        self._orders = (Window(10.0, limits.orders_per_10_s), Window(60.0, limits.orders_per_minute))
        self._slow_until_s = 0.0
        self._banned_until_s = 0.0
        self.refused = 0

    def limit(self, limits: Limits) -> None:
        """Take over limits just read from the exchange, and what it reported before they were known."""
        self._weight.limit = limits.weight_per_minute
        self._orders[0].limit = limits.orders_per_10_s
        self._orders[1].limit = limits.orders_per_minute
        self._known = True
        if self._early is not None:
            self.heard(*self._early)
            self._early = None

    def wait_s(self, priority: Priority, weight: int, orders: int = 0) -> float:
        """Seconds until a request of this class and cost may be sent; 0 = now."""
        now = self._wall_s()
        if now < self._banned_until_s:
            return self._banned_until_s - now
        waits = [self._slow_until_s - now] if now < self._slow_until_s and priority != "protect" else [0.0]
        share = SHARES[priority]
        if weight and self._weight.used(now) + weight > self._weight.limit * share:
            waits.append(self._weight.rest_s(now))
        if orders:
            waits += [w.rest_s(now) for w in self._orders if w.used(now) + orders > w.limit * share]
        return max(waits)

    def spend(self, weight: int, orders: int = 0) -> float:
        """Count a request that is about to be sent; returns the moment, which ``heard`` wants back."""
        now = self._wall_s()
        self._weight.spend(weight, now)
        for window in self._orders if orders else ():
            window.spend(orders, now)
        return now

    def heard(self, headers: Mapping[str, str], sent_s: float) -> None:
        """Correct the counts from one response's own headers."""
        if not self._known:
            self._early = (headers, sent_s)
            return
        now = self._wall_s()
        _correct(self._weight, headers.get(WEIGHT_HEADER), sent_s, now)
        for window in self._orders:
            _correct(window, headers.get(ORDER_HEADERS[window.length_s]), sent_s, now)

    def slow_down(self, wait_s: float | None) -> None:
        """HTTP 429: everything but protection waits for ``Retry-After``, or for the next minute."""
        now = self._wall_s()
        rest_s = self._weight.rest_s(now)
        self._slow_until_s = max(self._slow_until_s, now + (rest_s if wait_s is None else wait_s))
        self.refused += 1

    def ban(self, seconds: float) -> None:
        """HTTP 418: nothing at all may be sent for so long."""
        self._banned_until_s = max(self._banned_until_s, self._wall_s() + seconds)
        self.refused += 1

    def slowed_s(self) -> float:
        """Seconds left for which a 429 holds everything but protection back, 0 without one."""
        return max(0.0, self._slow_until_s - self._wall_s())

    def banned_s(self) -> float:
        """Seconds left of a ban, 0 without one."""
        return max(0.0, self._banned_until_s - self._wall_s())

    def ratios(self) -> tuple[float, float]:
        """Used fraction of the weight limit, and of the tighter order limit; readable from any thread."""
        now = self._wall_s()
        orders = max(window.look(now) / window.limit for window in self._orders)
        return self._weight.look(now) / self._weight.limit, orders


def _correct(window: Window, reported: str | None, sent_s: float, now_s: float) -> None:
    if reported is not None and reported.isascii() and reported.isdigit():
        window.correct(int(reported), sent_s, now_s)
