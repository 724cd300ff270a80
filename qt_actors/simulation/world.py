"""The world outside the trader: virtual time, what is due in it, and the exchange. It outlives every process."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.errors import ExchangeError
from qt_actors.exchange.virtual import ACCOUNT, VirtualExchange

NEVER_US: Final = 1 << 62


class Event:
    """Something due; ``cancelled`` ones do not happen."""

    __slots__ = ("act", "cancelled", "due_us", "number")

    def __init__(self, due_us: int, number: int, act: Callable[[], object]) -> None:
        self.due_us = due_us
        self.number = number
        self.act = act
        self.cancelled = False

    def __lt__(self, other: Event) -> bool:
        return (self.due_us, self.number) < (other.due_us, other.number)


class World:
    """Time, chance, and one exchange with one account.

    Args:
        seed: of the market, of latencies and of everything else that chance decides here.
        symbols: traded there; wallet: USDT to begin with.

    Attributes:
        now_us: virtual time since the start, microseconds.
        start_ms: market time of the start, ms UTC.
        listeners: take each frame the exchange says: (stream, payload).
        watchers: are called whenever the account may have changed.
    """

    def __init__(self, seed: int, symbols: tuple[str, ...], **market: Any) -> None:
        self.exchange = VirtualExchange(ExchangeConfig(symbols=symbols, seed=seed, **market))
        self.start_ms = self.exchange.now_ms
        self.now_us = 0
        self.random = random.Random(f"{seed}/world")  # noqa: S311 -- a repeatable run, no secret
        self.listeners: list[Callable[[str, dict[str, Any]], None]] = []
        self.requests = 0
        self._heap: list[Event] = []
        self._numbers = itertools.count()
        self._subscribed: set[str] = set()

    @property
    def now_ms(self) -> int:
        """Market time, ms UTC."""
        return self.start_ms + self.now_us // 1000

    def now_s(self) -> float:
        """Seconds of virtual time since 1970: what the wall clock is elsewhere."""
        return self.start_ms / 1000 + self.now_us / 1e6

    def after(self, delay_ms: float, act: Callable[[], object]) -> Event:
        """Plan ``act()``; equal times keep their order."""
        event = Event(self.now_us + max(0, round(delay_ms * 1000)), next(self._numbers), act)
        heapq.heappush(self._heap, event)
        return event

    def due_us(self) -> int:
        """When the next event is due; ``NEVER_US`` when none is."""
        while self._heap and self._heap[0].cancelled:
            heapq.heappop(self._heap)
        return self._heap[0].due_us if self._heap else NEVER_US

    def happen(self) -> None:
        """Let everything happen that is due now."""
        while self.due_us() <= self.now_us:
            heapq.heappop(self._heap).act()

    def subscribe(self, names: tuple[str, ...]) -> None:
        """Let these streams be told to the listeners."""
        new = [name for name in names if name not in self._subscribed]
        self._subscribed.update(new)
        self.exchange.subscribe(*new)

    def advance(self) -> None:
        """Bring the market to now, and tell what was said meanwhile."""
        for told in self.exchange.advance(self.now_ms):
            for listener in tuple(self.listeners):
                listener(told["stream"], told["data"])

    def request(self, method: str, path: str, params: dict[str, Any]) -> Any:
        """Let the exchange carry out a request now.

        Raises:
            ExchangeError: it refused.
        """
        self.requests += 1
        self.advance()
        try:
            return self.exchange.request(method, path, **params)
        finally:
            self.advance()


__all__ = ["ACCOUNT", "NEVER_US", "Event", "ExchangeError", "Path", "World"]
