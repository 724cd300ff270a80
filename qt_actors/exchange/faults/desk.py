"""The desk of a running exchange: which faults there are, what each has met so far, and which happen now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from qt_actors.exchange.faults.fault import (
    FRAME,
    MOMENT,
    REQUEST,
    SPOILERS,
    WINDOW,
    Facts,
    Fault,
    Tally,
    acts,
    begins,
    happens,
    meets,
)
from qt_actors.exchange.faults.reading import FAULTS_MAX, FaultsError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qt_actors.exchange.clock import ExchangeClock

MOMENTS_AT_ONCE: Final = 1000  # of one fault in one tick, when real time has jumped


class Live:
    """A fault at work."""

    __slots__ = ("added_ms", "began_ms", "fault", "number", "tally")

    def __init__(self, number: int, fault: Fault, added_ms: float) -> None:
        self.number = number
        self.fault = fault
        self.added_ms = added_ms
        self.began_ms: float | None = None
        self.tally = Tally()


class Hit(msgspec.Struct, frozen=True):
    """A fault that happens now; `count` is which of those it has met this is."""

    fault: Fault
    count: int


class Desk:
    """The faults of one exchange.

    Args:
        clock: whose real and exchange time count.
        faults: to begin with.
    """

    def __init__(self, clock: ExchangeClock, faults: Iterable[Fault] = ()) -> None:
        self._clock = clock
        self._live: list[Live] = []
        self._by_scope: dict[str, list[Live]] = {}
        self._next = 1
        self.add(faults)

    def add(self, faults: Iterable[Fault]) -> list[int]:
        """Put faults to work; their numbers.

        Raises:
            FaultsError: there are too many.
        """
        new = list(faults)
        if len(self._live) + len(new) > FAULTS_MAX:
            raise FaultsError(f"at most {FAULTS_MAX:,} faults are kept; clear some")
        added = self._clock.real_ms()
        numbers = range(self._next, self._next + len(new))
        self._live += [Live(number, fault, added) for number, fault in zip(numbers, new, strict=True)]
        self._next += len(new)
        self._sort()
        return list(numbers)

    def clear(self, number: int | None = None) -> int:
        """Take away all faults, or that one; how many went."""
        before = len(self._live)
        self._live = [] if number is None else [live for live in self._live if live.number != number]
        self._sort()
        return before - len(self._live)

    def listed(self) -> list[dict[str, Any]]:
        """Every fault with its number, whether it acts now, what it has met and how often it happened."""
        return [
            {
                "number": live.number,
                **msgspec.to_builtins(live.fault),
                "acts": self._acts(live),
                "met": live.tally.met,
                "happened": live.tally.happened,
            }
            for live in self._live
        ]

    def concerns(self, scope: str) -> bool:
        """Whether any fault is about that scope at all."""
        return bool(self._by_scope[scope])

    def hits(self, facts: Facts) -> list[Hit]:
        """The faults that happen to this request or frame, in the order they were given; at most one spoils it."""
        found: list[Hit] = []
        spoilt = False
        for live in self._by_scope[facts.scope]:
            spoils = live.fault.kind in SPOILERS
            if (spoils and spoilt) or not self._acts(live) or not meets(live.fault, facts):
                continue
            hit = self._asked(live)
            if hit is not None:
                found.append(hit)
                spoilt = spoilt or spoils
        return found

    def moments(self) -> list[Hit]:
        """The faults whose moment has come since the last call."""
        found = []
        real = self._clock.real_ms()
        for live in self._by_scope[MOMENT]:
            for _ in range(MOMENTS_AT_ONCE):
                if not self._acts(live) or live.began_ms is None or (live.tally.met and not live.fault.every_s):
                    break
                if real < live.began_ms + 1000 * live.fault.every_s * live.tally.met:
                    break
                if (hit := self._asked(live)) is not None:
                    found.append(hit)
        return found

    def lasting(self, kind: str) -> list[Fault]:
        """The faults of a kind that lasts, those that last now."""
        return [live.fault for live in self._by_scope[WINDOW] if live.fault.kind == kind and self._acts(live)]

    def _asked(self, live: Live) -> Hit | None:
        count, happened = live.tally
        now = happens(live.fault, live.tally)
        live.tally = Tally(count + 1, happened + now)
        return Hit(live.fault, count) if now else None

    def _acts(self, live: Live) -> bool:
        real = self._clock.real_ms()
        if live.began_ms is None:
            live.began_ms = begins(live.fault, live.added_ms, real, self._clock.now_ms())
        return acts(live.fault, live.began_ms, real)

    def _sort(self) -> None:
        self._by_scope = {
            scope: [live for live in self._live if scope in live.fault.scopes]
            for scope in (REQUEST, FRAME, MOMENT, WINDOW)
        }
