"""What goes wrong, as data, and what is going wrong now: faults drawn from a seed, each with its own chance.

A fault that is left out changes nothing of how the others fall, so that a failing run can be shrunk fault by fault.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

from qt_actors.edges.binance_errors import ReplyError
from qt_actors.exchange.errors import UNKNOWN_503
from qt_actors.simulation.world import World

Kind = Literal[
    "slow",
    "reply lost",
    "unknown executed",
    "unknown not executed",
    "refused",
    "throttled",
    "limited",
    "banned",
    "empty book",
    "thin book",
    "events lost",
    "events doubled",
    "events late",
    "mute",
    "market mute",
    "disconnect",
    "listen key lost",
    "away",
    "stop expired",
    "orders cancelled",
    "position added",
    "position cut",
    "position opened",
    "crash",
    "hang",
    "start fails",
    "journal full",
    "journal locked",
    "kill",
    "kill at write",
    "clock jump",
    "pause",
    "halt",
    "close all",
]

REPLIES: Final[Mapping[str, tuple[int, int, str]]] = {
    "unknown executed": (503, 0, UNKNOWN_503),
    "unknown not executed": (503, 0, UNKNOWN_503),
    "refused": (400, -2019, "Margin is insufficient."),
    "throttled": (503, -1008, "Server is currently overloaded with other requests."),
    "limited": (429, -1003, "Too many requests; current limit is 2400 requests per minute."),
    "banned": (418, -1003, "Way too many requests."),
}
"""HTTP status, code and text of the answers that come instead."""
ONLY_ORDERS: Final = frozenset({"refused", "unknown executed", "unknown not executed"})
WAIT_S: Final = {"limited": 3.0, "banned": 20.0}
EXECUTED: Final = frozenset({"unknown executed", "reply lost"})
LATENCY_MS: Final = (20.0, 180.0)


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One fault.

    Attributes:
        number: names it within its run, and seeds its own chance.
        at_ms: virtual time since the start; for_ms: how long it lasts, 0 for a moment.
        share: of the requests or events it meets that it happens to.
        path: of the actor, or the point of a write; after: how many of its messages later, or writes of the journal.
    """

    number: int
    kind: Kind
    at_ms: int
    for_ms: int = 0
    share: float = 1.0
    path: str = ""
    after: int = 0


class Request(msgspec.Struct, frozen=True):
    """A request that has reached the exchange; ``sent_us``: when it left."""

    method: str
    path: str
    params: dict[str, Any]
    sent_us: int


class Verdict(msgspec.Struct, frozen=True):
    """What becomes of one request: its delays, and the error in place of carrying it out, or of its answer."""

    there_ms: float
    back_ms: float
    before: Exception | None = None
    after: Exception | None = None
    lost: bool = False


class Weather:
    """The faults in force.

    Args:
        world: whose time counts; seed: of latencies and of each fault's chance.

    Attributes:
        happened: how often each kind struck.
        observers: are told of every request that the exchange dealt with, and of its reply, None where it refused.
    """

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.happened: Counter[str] = Counter()
        self.observers: list[Callable[[Request, Any], None]] = []
        self.on_write: Callable[[str], str] = lambda _point: ""
        self._seed = seed
        self._random = random.Random(f"{seed}/latency")  # noqa: S311 -- a repeatable run, no secret
        self._active: dict[int, tuple[Fault, random.Random]] = {}

    def chance_of(self, fault: Fault) -> random.Random:
        """A fault's own chance."""
        return random.Random(f"{self._seed}/{fault.number}")  # noqa: S311 -- a repeatable run, no secret

    def begin(self, fault: Fault) -> None:
        """It acts from now on, for its time."""
        self._active[fault.number] = (fault, self.chance_of(fault))
        self.world.after(fault.for_ms, lambda: self._active.pop(fault.number, None))

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self._active.clear()

    def active(self, *kinds: str) -> bool:
        """Whether a fault of these kinds acts now."""
        return any(fault.kind in kinds for fault, _ in self._active.values())

    def latency_ms(self) -> float:
        """Of one way between trader and exchange."""
        return self._random.uniform(*LATENCY_MS)

    def away(self) -> bool:
        """Whether the exchange cannot be reached."""
        return self.active("away")

    def muted(self, which: str) -> bool:
        """Whether streams of a class say nothing."""
        return self.active("market mute" if which == "market" else "mute")

    def on_request(self, method: str, path: str, params: Mapping[str, Any]) -> Verdict:
        """What becomes of a request that is sent now."""
        del params
        there_ms, back_ms = self.latency_ms(), self.latency_ms()
        is_order = method != "GET" and "rder" in path
        for fault, chance in tuple(self._active.values()):
            if fault.kind == "slow" and chance.random() < fault.share:
                self.happened["slow"] += 1
                there_ms += chance.uniform(200, 4_000)
                back_ms += chance.uniform(200, 4_000)
        for fault, chance in tuple(self._active.values()):
            kind = fault.kind
            if kind not in REPLIES and kind != "reply lost":
                continue
            if (kind in ONLY_ORDERS and not is_order) or chance.random() >= fault.share:
                continue
            self.happened[kind] += 1
            if kind == "reply lost":
                return Verdict(there_ms, back_ms, lost=True)
            error = ReplyError(*REPLIES[kind], WAIT_S.get(kind))
            executed = kind in EXECUTED
            return Verdict(there_ms, back_ms, None if executed else error, error if executed else None)
        return Verdict(there_ms, back_ms)

    @contextmanager
    def at_the_desk(self, world: World, request: Request) -> Iterator[None]:
        """Let nothing, or only a part, be there to take for an entry, where a fault wants it so."""
        exchange, left = world.exchange.exchange, None
        params = request.params
        if (request.method, request.path) == ("POST", "/fapi/v1/order") and "reduceOnly" not in params:
            left = self._left_in_the_book(Decimal(params["quantity"]))
        if left is None:
            yield
            return
        book = {"symbol": params["symbol"], "side": params["side"]}
        exchange.operate("spoil", {"do": "thin_book", "left": str(left), **book})
        exchange.stands = True
        try:
            yield
        finally:
            exchange.stands = False
            exchange.operate("spoil", {"do": "full_book", **book})

    def _left_in_the_book(self, quantity: Decimal) -> Decimal | None:
        for fault, chance in self._active.values():
            if fault.kind in {"empty book", "thin book"} and chance.random() < fault.share:
                self.happened[fault.kind] += 1
                return quantity * Decimal(0 if fault.kind == "empty book" else chance.choice((0.25, 0.5, 0.75)))
        return None

    def carried_out(self, request: Request, reply: Any) -> None:
        """Tell the observers."""
        for observer in self.observers:
            observer(request, reply)

    def on_event(self) -> tuple[float, ...]:
        """After which delays an event of the account arrives: once, twice, late, or never."""
        delays = [self.latency_ms()]
        for fault, chance in tuple(self._active.values()):
            if fault.kind == "mute":
                self.happened[fault.kind] += 1
                return ()
            if not fault.kind.startswith("events") or chance.random() >= fault.share:
                continue
            self.happened[fault.kind] += 1
            match fault.kind:
                case "events lost":
                    return ()
                case "events doubled":
                    delays.append(self.latency_ms() + chance.uniform(0, 2_000))
                case _:
                    delays = [delay + chance.uniform(0, 5_000) for delay in delays]
        return tuple(delays)

    def before_write(self, point: str) -> str:
        """Why the journal cannot be written now, at this point of the trader's life; empty when it can."""
        killed = self.on_write(point)
        if killed:
            return killed
        for kind, text in (("journal full", "database or disk is full"), ("journal locked", "database is locked")):
            if self.active(kind):
                self.happened[kind] += 1
                return text
        return ""
