"""Faults strike: what each kind does, to the world, to the living trader, to its process."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from qt_actors.kernel import Crash, CrashStart, Hang
from qt_actors.messages.positions import ClosePosition
from qt_actors.simulation.weather import Fault

if TYPE_CHECKING:
    from qt_actors.simulation.life import Life
    from qt_actors.simulation.run import Run
    from qt_actors.simulation.world import Event

HANG_MS: Final = 60_000
"""A hang counts as a hindrance for so long: noticed after ten seconds, replaced, caught up."""
OF_THE_PROCESS: Final = frozenset(
    {
        "disconnect", "crash", "hang", "start fails", "kill", "kill at write", "clock jump", "pause", "halt",
        "close all",
    }
)  # fmt: skip
WRITES: Final = (
    "intent entry", "intent stop", "intent target", "intent trail", "intent close", "GovernorState", "TradeChanged",
    "TradeClosed", "IntentResolved", "LedgerSynced", "DecisionsMade", "the rest", "open",
)  # fmt: skip
"""Points at which the journal is written (``life.SimJournal``)."""
ANY_WRITES_MAX: Final = 12
NAMED_WRITES_MAX: Final = 3
COUNTERS: Final = ("ground/telemetry", "trading/position-monitor")
"""Who counts the seconds unprotected; what crashes there is lost to the count."""


class Strikes:
    """Carries out the faults of a run.

    Attributes:
        struck: how many of each kind met something to strike.
        writes: how often the journal was written at each point, and the process killed there, before or after.
    """

    def __init__(self, run: Run) -> None:
        self.struck: Counter[str] = Counter()
        self.writes: Counter[str] = Counter()
        self._run = run
        self._planned: list[Event] = []
        self._spoilt_lives: set[int] = set()

    def strike(self, fault: Fault) -> None:
        """Let it happen now, if there is anything for it to happen to."""
        life = self._run.life
        if self._at_the_world(fault) or (life is not None and self._at_a_life(life, fault)):
            self.struck[fault.kind] += 1

    def end(self) -> None:
        """Take back what was still to come."""
        for event in self._planned:
            event.cancelled = True

    def may_count(self, life: int) -> bool:
        """Whether nothing of ours kept this life from counting."""
        return life not in self._spoilt_lives

    def _at_the_world(self, fault: Fault) -> bool:
        run = self._run
        hands, chance = run.hands, run.weather.chance_of(fault)
        if fault.kind in OF_THE_PROCESS:
            return False
        match fault.kind:
            case "stop expired":
                return hands.expire_stop(chance)
            case "orders cancelled":
                return hands.cancel_orders(chance)
            case "position added":
                return hands.add(chance)
            case "position cut":
                return hands.cut(chance)
            case "position opened":
                return hands.open(chance, run.setup.symbols)
            case "listen key lost":
                run.world.exchange.exchange.listen_keys.delete()
            case _:
                run.weather.begin(fault)
                if fault.kind == "away" and run.life is not None:
                    run.life.wire.cut()
        return True

    def _at_a_life(self, life: Life, fault: Fault) -> bool:
        run, runtime, path = self._run, life.runtime, f"root/{fault.path}"
        chance = run.weather.chance_of(fault)
        if fault.path in COUNTERS:
            self._spoilt_lives.add(run.lives)
        match fault.kind:
            case "crash":
                nth = runtime.handled(path) + fault.after
                runtime.inject(Crash(path, nth, chance.choice(("before", "after"))))
            case "hang":
                runtime.inject(Hang(path, runtime.handled(path) + fault.after, fault.for_ms or None))
                run.weather.begin(msgspec.structs.replace(fault, for_ms=HANG_MS))
            case "start fails":
                starts = next(line.restarts for line in runtime.tree() if line.path == path) + 1
                runtime.inject(Crash(path, runtime.handled(path) + 1))
                runtime.inject(*(CrashStart(path, starts + n) for n in range(1, fault.after + 1)))
                run.weather.begin(msgspec.structs.replace(fault, for_ms=HANG_MS))
            case "kill":
                run.doom(fault.for_ms, steps=fault.after)
            case "kill at write":
                self._kill_at_write(fault)
            case "clock jump":
                runtime.clock.jump(fault.after)
            case "disconnect":
                life.wire.cut(chance.choice(("market", "public", "private", "")))
            case "pause" | "halt":
                run.operator.say(fault.kind)
                self._planned.append(run.world.after(fault.for_ms, partial(run.operator.say, "resume")))
            case "close all":
                for symbol in run.setup.symbols:
                    run.referee.expect_flat(symbol)
                    life.tell("trading/executor", ClosePosition(symbol=symbol, reason="operator", exit_reason="manual"))
            case _:
                return False
        return True

    def _kill_at_write(self, fault: Fault) -> None:
        """The process is gone at one of the next writes: before it is written, or before anybody has heard of it."""
        chance = self._run.weather.chance_of(fault)
        wanted = fault.path or (chance.choice(WRITES) if chance.random() < 0.7 else "")
        left = min(fault.after, NAMED_WRITES_MAX if wanted else ANY_WRITES_MAX)
        before = chance.random() < 0.5

        def write(point: str) -> str:
            nonlocal left
            self.writes[point] += 1
            if wanted in {"", point}:
                left -= 1
            if left >= 0:
                return ""
            self.writes[f"{point}, killed {'before' if before else 'after'}"] += 1
            self._run.doom(fault.for_ms)
            self._run.weather.on_write = self.note_write
            return "killed" if before else ""

        self._run.weather.on_write = write

    def note_write(self, point: str) -> str:
        """Count a write; it goes on."""
        self.writes[point] += 1
        return ""
