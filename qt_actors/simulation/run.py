"""One run: a seed, some hours, the faults drawn from it; the trader lives, dies and lives again, a referee watches."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from config.settings import load
from qt_actors.edges.journal import JournalError
from qt_actors.edges.journal_queries import SqliteJournalReader
from qt_actors.edges.onnx_model import load_model
from qt_actors.kernel import Crash, Hang
from qt_actors.messages.positions import ClosePosition
from qt_actors.messages.system import Control, ControlRequested
from qt_actors.simulation import invariants
from qt_actors.simulation.hands import Hands
from qt_actors.simulation.life import KEY, SECRET, Life, Setup
from qt_actors.simulation.referee import Referee, Violation
from qt_actors.simulation.truth import books_of
from qt_actors.simulation.votes import seeded_votes
from qt_actors.simulation.weather import Fault, Weather
from qt_actors.simulation.world import World

log = logging.getLogger(__name__)

SYMBOLS: Final = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
HOUR_MS: Final = 3_600_000
TICK_MS: Final = 1_000
START_AGAIN_MS: Final = 2_000
SETTLE_MS: Final = 240_000
"""After the last fault: the books are compared when the trader has had this time in peace, without entries."""
LIMITS: Final = {
    "QT_ATR_INTERVAL": "1h",
    "ORCHESTRATOR_PROFILE": "NONE",
    "QT_MAX_DAILY_LOSS": "900",
    "QT_MAX_GROSS_NOTIONAL": "12000",
    "QT_MAX_POSITIONS": "3",
    "QT_MAX_HOLDING_BARS": "6",
}
"""Narrow enough to be met within an hour."""
Votes = Literal["random", "models"]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is run: everything follows from it."""

    seed: int
    hours: float
    votes: Votes = "random"
    interval: str = "5m"
    rate: float = 1.0
    """How many faults were drawn, against the usual; the faults themselves are here."""
    faults: tuple[Fault, ...] = ()


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run."""

    seed: int
    hours: float
    hash: str
    steps: int
    lives: int
    faults: dict[str, int]
    orders: dict[str, int]
    trades: int
    bare_seconds: float
    longest_bare_ms: dict[str, float]
    violations: tuple[Violation, ...]


class Run:
    """One run of a plan in a folder of its own; it ends early at the first violation.

    Args:
        plan: see there; folder: empty, for the journal.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.world = World(plan.seed, SYMBOLS)
        self.weather = Weather(self.world, plan.seed)
        self.hands = Hands(self.world)
        bars = {"QT_BAR_INTERVAL": plan.interval, "QT_DATA_DIR": folder}
        settings = load(None, {}, **{**LIMITS, **bars})
        self.referee = Referee(self.world, self.weather, self.hands, settings)
        self.referee.steps = lambda: self.steps
        self.referee.alive = lambda: self.life is not None
        loader: Any = load_model
        if plan.votes == "random":
            loader = seeded_votes(plan.seed, settings.interval_ms, lambda: self.world.now_ms)
        self.setup = Setup(seed=plan.seed, settings=settings, symbols=SYMBOLS, load_model=loader)
        self.life: Life | None = None
        self.lives = 0
        self.struck: Counter[str] = Counter()
        self._hashes: list[str] = []
        self._steps_before = 0
        self._doomed_ms: int | None = None
        self._doom_step = -1
        self._control: Control = "resume"

    @property
    def steps(self) -> int:
        """Steps of all lives so far."""
        return self._steps_before + (self.life.runtime.steps if self.life is not None else 0)

    def go(self) -> Result:
        """Run to the end; what it came to."""
        world = self.world
        world.after(0, self._tick)
        for fault in self.plan.faults:
            world.after(fault.at_ms, self._striking(fault))
        self._start()
        self._run_to(round(self.plan.hours * HOUR_MS * 1000))
        if not self.referee.violations:
            self._settle()
        return self.result()

    def _run_to(self, end_us: int) -> None:
        """Let world and trader go on up to a moment, or to the first violation."""
        world, referee = self.world, self.referee
        while not referee.violations:
            self._live_until(min(world.due_us(), end_us))
            world.happen()
            referee.look()
            if world.now_us >= end_us and world.due_us() > end_us:
                return

    def _live_until(self, until_us: int) -> None:
        """Let the trader live up to a moment, or until something is due before, or it is killed."""
        if self.life is None:
            self.world.now_us = until_us
            return
        self.life.run_until(until_us, lambda: self._is_doomed() or self.world.due_us() < until_us)
        if self._is_doomed() or self.life.runtime.failed.is_set():
            self._kill()

    def _settle(self) -> None:
        """Peace, no entries, then the books."""
        self.weather.clear()
        if self.life is not None:
            self.life.runtime.heal()
        self._say("pause")
        self._run_to(self.world.now_us + SETTLE_MS * 1000)
        if self.referee.violations:
            return
        if self.life is None:
            self.referee.fail("recovery", f"no trader runs after {SETTLE_MS} ms of peace")
            return
        reader = SqliteJournalReader(self.setup.journal)
        for fault in invariants.books_agree(books_of(self.world, reader, SYMBOLS, self.world.start_ms)):
            self.referee.fail("journal = exchange", fault)
        self._look_for_secrets()

    def _look_for_secrets(self) -> None:
        for path in sorted(self.setup.settings.data_dir.iterdir()):
            content = path.read_bytes()
            if KEY.encode() in content or SECRET.encode() in content:
                self.referee.fail("no secret in any output", f"{path.name} holds the API key or its secret")

    # lives

    def _start(self) -> None:
        try:
            life = Life(self.world, self.weather, self.setup)
        except JournalError as error:
            log.info("the trader cannot start: %s", error)
            self.world.after(START_AGAIN_MS, self._start)
            return
        self.life, self.lives = life, self.lives + 1

    def _is_doomed(self) -> bool:
        return self._doomed_ms is not None and self.life is not None and self.life.runtime.steps >= self._doom_step

    def _kill(self) -> None:
        assert self.life is not None  # noqa: S101 # only a living one is killed
        life, self._steps_before, again_ms = self.life, self.steps, self._doomed_ms or START_AGAIN_MS
        self._hashes.append(life.runtime.digest())
        self.life, self._doomed_ms = None, None
        self.weather.on_write = _nothing
        life.kill()
        self.world.after(again_ms, self._start)

    def _tick(self) -> None:
        self.world.advance()
        self.world.after(TICK_MS, self._tick)

    # faults

    def _striking(self, fault: Fault) -> Any:
        return lambda: self._strike(fault)

    def _strike(self, fault: Fault) -> None:
        if self._strike_world(fault) or (self.life is not None and self._strike_life(self.life, fault)):
            self.struck[fault.kind] += 1

    def _strike_world(self, fault: Fault) -> bool:
        hands, chance = self.hands, self.weather.chance_of(fault)
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
                return hands.open(chance, SYMBOLS)
            case "listen key lost":
                self.world.exchange.exchange.listen_keys.delete()
                return True
            case "crash" | "hang" | "kill" | "kill at write" | "clock jump" | "pause" | "halt" | "close all":
                return False
            case "disconnect":
                return False
            case _:
                self.weather.begin(fault)
                if fault.kind == "away" and self.life is not None:
                    self.life.wire.cut()
                return True

    def _strike_life(self, life: Life, fault: Fault) -> bool:
        runtime, path = life.runtime, f"root/{fault.path}"
        chance = self.weather.chance_of(fault)
        match fault.kind:
            case "crash":
                nth = runtime.handled(path) + fault.after
                runtime.inject(Crash(path, nth, chance.choice(("before", "after"))))
            case "hang":
                runtime.inject(Hang(path, runtime.handled(path) + fault.after, fault.for_ms or None))
                self.weather.begin(msgspec.structs.replace(fault, for_ms=60_000))
            case "kill":
                self._doomed_ms, self._doom_step = fault.for_ms, runtime.steps + fault.after
            case "kill at write":
                self._kill_at_write(fault)
            case "clock jump":
                runtime.clock.jump(fault.after)
            case "disconnect":
                life.wire.cut(chance.choice(("market", "public", "private", "")))
            case "pause" | "halt":
                self._say(fault.kind)
                self.world.after(fault.for_ms, lambda: self._say("resume"))
            case "close all":
                for symbol in SYMBOLS:
                    life.tell("trading/executor", ClosePosition(symbol=symbol, reason="operator", exit_reason="manual"))
            case _:
                return False
        return True

    def _kill_at_write(self, fault: Fault) -> None:
        """The process is gone at one of the next writes of the journal: written, and nobody has heard of it."""
        left = fault.after

        def write() -> None:
            nonlocal left
            left -= 1
            if left < 0 and self._doomed_ms is None:
                self._doomed_ms, self._doom_step = fault.for_ms, 0

        self.weather.on_write = write

    def _say(self, control: Control) -> None:
        if self.life is None:
            return
        self._control = control
        self.referee.halted_us = None if control == "resume" else self.world.now_us
        self.life.tell("judgement/governor", ControlRequested(control=control, reason="simulated", by="simulation"))

    # the end

    def digest(self) -> str:
        """Of every step of every life so far."""
        living = [self.life.runtime.digest()] if self.life is not None else []
        return hashlib.blake2b("|".join(self._hashes + living).encode(), digest_size=16).hexdigest()

    def result(self) -> Result:
        """What it came to; the trader is gone then."""
        trades = SqliteJournalReader(self.setup.journal).rows("trades", {"limit": 10_000})
        result = Result(
            seed=self.plan.seed,
            hours=self.plan.hours,
            hash=self.digest(),
            steps=self.steps,
            lives=self.lives,
            faults=dict(self.struck),
            orders=dict(self.referee.orders),
            trades=len(trades),
            bare_seconds=round(self.referee.bare_ms / 1000, 3),
            longest_bare_ms=self.referee.longest_bare_ms,
            violations=tuple(self.referee.violations),
        )
        if self.life is not None:
            self.life.kill()
            self.life = None
        return result


def _nothing() -> None:
    pass
