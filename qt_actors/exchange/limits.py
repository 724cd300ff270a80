"""Request weights and order counts: windows, headers and the refusals past them.

Windows are UTC minutes and ten-second stretches of the wall clock, whatever the market's speed, because they protect
the server and clients pace themselves by the wall. Funding history and /futures/data count requests in buckets of their
own, over five minutes, that no header tells. Past the weight limit the answer is 429 with -1003, past an order
limit 429 with -1015. A client that goes on for another quarter of the limit within the minute is banned (418) for two
minutes, twice as long each further time, three days at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qt_actors.exchange.errors import ExchangeError

if TYPE_CHECKING:
    from collections.abc import Callable

WEIGHT_PER_MINUTE: Final = 2400
ORDERS_PER_MINUTE: Final = 1200
ORDERS_PER_TEN_SECONDS: Final = 300
BUCKETS: Final = {"funding": 500, "data": 1000}
"""Requests in five minutes."""
BAN_AFTER_EXCESS: Final = 600
BAN_MS: Final = 120_000
BAN_MS_MAX: Final = 3 * 86_400_000


class _Window:
    """A count that begins anew in every stretch of the wall clock."""

    def __init__(self, length_ms: int) -> None:
        self._length_ms = length_ms
        self._stretch = -1
        self.count = 0

    def add(self, amount: int, now_ms: int) -> int:
        stretch = now_ms // self._length_ms
        if stretch != self._stretch:
            self._stretch, self.count = stretch, 0
        self.count += amount
        return self.count

    @property
    def ends_ms(self) -> int:
        """When the present stretch ends."""
        return (self._stretch + 1) * self._length_ms


class Limits:
    """Counts of the one client address and the one account this exchange has.

    Args:
        wall_ms: reads the wall clock.
        weight_max, orders_minute_max, orders_ten_seconds_max: the limits.
    """

    def __init__(
        self,
        wall_ms: Callable[[], float],
        weight_max: int = WEIGHT_PER_MINUTE,
        orders_minute_max: int = ORDERS_PER_MINUTE,
        orders_ten_seconds_max: int = ORDERS_PER_TEN_SECONDS,
    ) -> None:
        self._wall_ms = wall_ms
        self._weight_max = weight_max
        self._orders_minute_max = orders_minute_max
        self._orders_ten_max = orders_ten_seconds_max
        self._weight = _Window(60_000)
        self._orders_minute = _Window(60_000)
        self._orders_ten = _Window(10_000)
        self._buckets = {name: _Window(300_000) for name in BUCKETS}
        self._banned_until_ms = 0
        self._next_ban_ms = BAN_MS
        self._free_ms = 0

    def count_weight(self, weight: int) -> None:
        """Count a request; 418 while banned, 429 with -1003 past the limit."""
        now = self._admitted()
        used = self._weight.add(weight, now)
        if used > self._weight_max + BAN_AFTER_EXCESS:
            self._banned_until_ms = now + self._next_ban_ms
            self._next_ban_ms = min(2 * self._next_ban_ms, BAN_MS_MAX)
            raise self._ban()
        if used > self._weight_max:
            self._free_ms = self._weight.ends_ms
            raise ExchangeError(
                -1003,
                f"Too many requests; current limit of IP(127.0.0.1) is {self._weight_max} requests per minute. "
                "Please use the websocket for live updates to avoid polling the API.",
                429,
            )

    def count_bucket(self, name: str) -> None:
        """Count a request in a bucket of its own; 418 while banned, 429 with -1003 past its limit."""
        bucket = self._buckets[name]
        if bucket.add(1, self._admitted()) > BUCKETS[name]:
            self._free_ms = bucket.ends_ms
            raise ExchangeError(
                -1003, f"Too many requests; current limit of IP(127.0.0.1) is {BUCKETS[name]} requests per 5 MINUTE.",
                429,
            )  # fmt: skip

    def _admitted(self) -> int:
        """The wall clock in ms, or the refusal of a banned address."""
        now = int(self._wall_ms())
        if now < self._banned_until_ms:
            raise self._ban()
        return now

    def count_orders(self, in_ten_seconds: int, in_minute: int) -> None:
        """Count an order request on both windows; 429 with -1015 past either limit, and then nothing is counted."""
        now = int(self._wall_ms())
        for window, count, most, unit in (
            (self._orders_ten, in_ten_seconds, self._orders_ten_max, "10 SECOND"),
            (self._orders_minute, in_minute, self._orders_minute_max, "1 MINUTE"),
        ):
            if window.add(0, now) + count > most:
                self._free_ms = window.ends_ms
                raise ExchangeError(-1015, f"Too many new orders; current limit is {most} orders per {unit}.", 429)
        self._orders_ten.add(in_ten_seconds, now)
        self._orders_minute.add(in_minute, now)

    def wall_ms(self) -> int:
        """The clock that the windows go by."""
        return int(self._wall_ms())

    def counts(self) -> dict[tuple[str, str], int]:
        """The counters by type and interval of the limit: (REQUEST_WEIGHT, MINUTE), (ORDERS, SECOND), ..."""
        now = int(self._wall_ms())
        return {
            ("REQUEST_WEIGHT", "MINUTE"): self._weight.add(0, now),
            ("ORDERS", "MINUTE"): self._orders_minute.add(0, now),
            ("ORDERS", "SECOND"): self._orders_ten.add(0, now),
        }

    def headers(self, *, orders: bool) -> dict[str, str]:
        """The counters as reply headers."""
        counts = self.counts()
        told = {"X-MBX-USED-WEIGHT-1M": str(counts["REQUEST_WEIGHT", "MINUTE"])}
        if orders:
            told["X-MBX-ORDER-COUNT-10S"] = str(counts["ORDERS", "SECOND"])
            told["X-MBX-ORDER-COUNT-1M"] = str(counts["ORDERS", "MINUTE"])
        return told

    def retry_after_s(self) -> int:
        """Seconds until the ban ends, or the window whose limit refused last."""
        now = int(self._wall_ms())
        return max(1, -(-(max(self._banned_until_ms, self._free_ms) - now) // 1000))

    def _ban(self) -> ExchangeError:
        return ExchangeError(
            -1003,
            f"Way too many requests; IP(127.0.0.1) banned until {self._banned_until_ms}. "
            "Please use the websocket for live updates to avoid bans.",
            418,
        )
