"""The referee: looks after every step of the world, asks the invariants, and keeps what it saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from config.settings import Settings
from qt_actors.messages.system import Control
from qt_actors.simulation import invariants
from qt_actors.simulation.hands import Hands
from qt_actors.simulation.truth import Truth, truth_of
from qt_actors.simulation.weather import Request, Weather
from qt_actors.simulation.world import World

HINDERS: Final = (
    "slow", "reply lost", "unknown executed", "unknown not executed", "refused", "throttled", "limited", "banned",
    "away", "hang",
)  # fmt: skip
"""While one of these acts, nobody could have placed a stop for certain."""
FAIR_BARE_MS_MAX: Final = 45_000
"""So long (of time in which nothing hindered it) a position may lack its stop after somebody else took it away: two
looks at the account, ten seconds apart, and the placing; twice that, because a crash may start it over."""
TOUCH_MS: Final = 1_500
STOP_GRACE_MS: Final = 11_000
"""An executor that hangs with the entry in its hands is fenced off after ten seconds."""
CLOSE_MS_MAX: Final = 90_000
"""Of time in which nothing hindered it: a refused close is tried again after a minute at most."""
COUNT_SLACK_MS: Final = 1_000
"""Of each time without a stop: what the stop's acknowledgement and its event are apart."""
LOOK_MS: Final = 5_000
MEANS_NO_ENTRIES: Final[Mapping[Control, str]] = {
    "halt": "halted means no entries",
    "pause": "paused means no entries",
}


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """An invariant that did not hold."""

    invariant: str
    detail: str
    at_ms: int
    step: int


class Bare(msgspec.Struct, kw_only=True):
    """A position without its whole stop, now."""

    why: str
    fair_ms: float = 0.0


class Referee:
    """Judges one run.

    Args:
        world, weather, hands: what is watched; settings: the limits.

    Attributes:
        violations: what did not hold; bare_ms: how long positions lacked a stop in all, longest first by cause.
        known_bare_ms: likewise, in this life of the trader.
    """

    def __init__(
        self, world: World, weather: Weather, hands: Hands, settings: Settings, holds: Mapping[Control, int]
    ) -> None:
        self.violations: list[Violation] = []
        self.orders: Counter[str] = Counter()
        self.longest_bare_ms: dict[str, float] = {}
        self.bare_ms = 0.0
        self.steps: Callable[[], int] = int
        self.alive: Callable[[], bool] = bool
        self.known_bare_ms = 0.0
        self._holds = holds
        self._closing: dict[str, float] = {}
        """Symbol → ms in which nothing hindered its close since that was asked for."""
        self._world, self._weather, self._hands, self._settings = world, weather, hands, settings
        self._entries: dict[str, set[int]] = {}
        self._bare: dict[str, Bare] = {}
        self._seen_us = 0
        self._looked_us = -(10**12)
        self._revision = -1
        self._day, self._day_start = -1, Decimal(0)
        weather.observers.append(self._carried_out)

    def look(self) -> None:
        """Compare what is true now with what must be."""
        world = self._world
        revision = world.exchange.exchange.engine.revision
        passed_ms, self._seen_us = (world.now_us - self._seen_us) / 1000, world.now_us
        self._age(passed_ms)
        if revision == self._revision and world.now_us - self._looked_us < LOOK_MS * 1000 and not self._bare:
            return
        self._revision, self._looked_us = revision, world.now_us
        self._judge(truth_of(world))

    def begin_life(self) -> None:
        """A new process: it can count from now on only, and a close that was not confirmed may be forgotten."""
        self.known_bare_ms = 0.0
        self._closing.clear()

    def expect_flat(self, symbol: str) -> None:
        """A close was asked for; nothing may block it."""
        if any(p.symbol == symbol for p in truth_of(self._world).positions):
            self._closing.setdefault(symbol, 0.0)

    def forgive_close(self, symbol: str) -> None:
        """The question itself became a dead letter, and whoever asked can see it."""
        self._closing.pop(symbol, None)

    def check_count(self, counted_s: float) -> None:
        """The trader's own count of seconds without a stop is no less than the truth."""
        if counted_s * 1000 < self.known_bare_ms:
            told = f"{counted_s:.1f} s counted, {self.known_bare_ms / 1000:.1f} s were without a stop in this life"
            self.fail("unprotected seconds are counted", told)

    def fail(self, invariant: str, detail: str) -> None:
        """Keep a violation."""
        found = Violation(invariant=invariant, detail=detail, at_ms=self._world.now_us // 1000, step=self.steps())
        self.violations.append(found)

    def _age(self, passed_ms: float) -> None:
        hindered = not self.alive() or self._weather.active(*HINDERS)
        for symbol, bare in self._bare.items():
            self.bare_ms += passed_ms
            self.known_bare_ms += passed_ms if self.alive() else 0.0
            if hindered:
                continue
            bare.fair_ms += passed_ms
            self.longest_bare_ms[bare.why] = max(self.longest_bare_ms.get(bare.why, 0.0), bare.fair_ms)
            if bare.fair_ms > FAIR_BARE_MS_MAX and bare.fair_ms - passed_ms <= FAIR_BARE_MS_MAX:
                self.fail("protection", f"{symbol} has lacked its stop for {bare.fair_ms:.0f} ms ({bare.why})")
        for symbol in () if hindered else tuple(self._closing):
            self._closing[symbol] += passed_ms
            if self._closing[symbol] > CLOSE_MS_MAX:
                self.fail("exits are never blocked", f"{symbol} is not closed {CLOSE_MS_MAX} ms after it was asked for")
                del self._closing[symbol]

    def _judge(self, truth: Truth) -> None:
        world = self._world
        day = world.now_ms // 86_400_000
        if day != self._day:
            self._day, self._day_start = day, truth.equity_usd
        held = {p.symbol: p for p in truth.positions}
        for symbol in [s for s in self._bare if s not in held]:
            self._end(symbol)
        for symbol in [s for s in self._closing if s not in held]:
            del self._closing[symbol]
        for symbol, position in held.items():
            missing = invariants.bare_quantity(position, truth.stops)
            if not missing:
                self._end(symbol)
            elif symbol not in self._bare:
                touched = self._hands.touched.get(symbol)
                caused = touched is not None and world.now_us - touched <= TOUCH_MS * 1000
                self._bare[symbol] = Bare(why="somebody else" if caused else "nobody else")
                if not caused:
                    what = f"{symbol} {position.quantity}: {missing} without a stop, and nobody else did it"
                    self.fail("protection", what)

    def _end(self, symbol: str) -> None:
        if self._bare.pop(symbol, None) is not None:
            self.known_bare_ms = max(0.0, self.known_bare_ms - COUNT_SLACK_MS)

    def _carried_out(self, request: Request, reply: Any) -> None:
        path, params = request.path, request.params
        if request.method != "POST" or not isinstance(reply, dict) or "rder" not in path:
            return
        name = str(params.get("newClientOrderId") or params.get("clientAlgoId") or "")
        kind = str(params["type"])
        self.orders[kind if "algo" in path else ("close" if "reduceOnly" in params else "entry")] += 1
        decision = invariants.decision_of(name)
        if decision is None or "algo" in path:
            return
        if Decimal(str(reply.get("executedQty", "0"))) > 0:
            self._entries.setdefault(decision, set()).add(int(reply["orderId"]))
            counts = {decision: len(self._entries[decision])}
            for fault in invariants.one_position_a_decision(counts):
                self.fail("one decision, one position", fault)
        self._entered(decision, request.sent_us)

    def _entered(self, decision: str, sent_us: int) -> None:
        world, settings = self._world, self._settings
        truth = truth_of(world)
        for word, since_us in self._holds.items():
            if sent_us - since_us > STOP_GRACE_MS * 1000:
                self.fail(MEANS_NO_ENTRIES[word], f"{decision} was sent {(sent_us - since_us) / 1e6:.3f} s after it")
        recent = [us for us in self._hands.touched.values() if world.now_us - us < 30_000_000]
        if not recent:  # what somebody else did moments ago, nobody could have known
            for fault in invariants.exposure_within(
                truth, Decimal(str(settings.gross_notional_usd_max)), settings.positions_max
            ):
                self.fail("exposure", fault)
            for fault in invariants.loss_within(truth, self._day_start, Decimal(str(settings.daily_loss_usd_max))):
                self.fail("loss at admission", fault)
