"""One run: a seed, some hours, the faults drawn from it; the trader lives, dies and lives again, a referee watches."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from config.settings import load
from qt_actors.edges.journal import JournalError
from qt_actors.edges.journal_queries import SqliteJournalReader
from qt_actors.edges.onnx_model import load_model
from qt_actors.kernel import DeadLetter, UnansweredError
from qt_actors.kernel.answers import Answer
from qt_actors.messages.positions import ClosePosition
from qt_actors.messages.system import DrainRequested
from qt_actors.simulation import invariants
from qt_actors.simulation.ear import Ear, only
from qt_actors.simulation.hands import Hands
from qt_actors.simulation.life import KEY, SECRET, Life, Setup
from qt_actors.simulation.operator import Operator
from qt_actors.simulation.referee import Referee, Violation
from qt_actors.simulation.strikes import Strikes
from qt_actors.simulation.truth import books_of
from qt_actors.simulation.votes import seeded_votes
from qt_actors.simulation.weather import Fault, Weather
from qt_actors.simulation.world import World

log = logging.getLogger(__name__)

SYMBOLS: Final = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
HOUR_MS: Final = 3_600_000
TICK_MS: Final = 1_000
START_AGAIN_MS: Final = 2_000
PEACE_MS: Final = 240_000
"""The books are compared when one life of the trader has had this time without a fault and without entries."""
SETTLE_MS_MAX: Final = 3_600_000
"""After the last fault, for the trader to come to peace."""
DRAIN_MS_MAX: Final = 60_000
BOOKS_MS: Final = 2_000
"""From the account's last word until it is on disk."""
BOOKS_TRIES: Final = 3
"""Whatever fills between the two looks of a comparison is no fault of the trader's."""
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
    writes: dict[str, int]
    """Points at which the journal was written, and of these those at which the process was killed."""
    checks: dict[str, int]
    """How often the invariants of a run's end were asked."""
    violations: tuple[Violation, ...]


class Doom(msgspec.Struct, frozen=True, kw_only=True):
    """The process is gone at a step of this life, and back after some time."""

    step: int
    away_ms: int


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
        self.operator = Operator(self.world, lambda: self.life)
        self.referee = Referee(self.world, self.weather, self.hands, settings, self.operator.holds)
        self.referee.steps = lambda: self.steps
        self.referee.alive = lambda: self.life is not None
        loader: Any = load_model
        if plan.votes == "random":
            loader = seeded_votes(plan.seed, settings.interval_ms, lambda: self.world.now_ms)
        self.setup = Setup(seed=plan.seed, settings=settings, symbols=SYMBOLS, load_model=loader)
        self.life: Life | None = None
        self.lives = 0
        self.strikes = Strikes(self)
        self.weather.on_write = self.strikes.note_write
        self.checks: Counter[str] = Counter()
        self._hashes: list[str] = []
        self._steps_before = 0
        self._doom: Doom | None = None

    @property
    def steps(self) -> int:
        """Steps of all lives so far."""
        return self._steps_before + (self.life.runtime.steps if self.life is not None else 0)

    def go(self) -> Result:
        """Run to the end; what it came to."""
        with only(Ear({"key": KEY, "secret": SECRET}, self._leaked)):
            return self._go()

    def _go(self) -> Result:
        world = self.world
        world.after(0, self._tick)
        for fault in self.plan.faults:
            world.after(fault.at_ms, partial(self.strikes.strike, fault))
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

    # the end of a run

    def _settle(self) -> None:
        """No faults and no entries; when one life has had peace for long enough, everything is compared."""
        self.strikes.end()
        self.weather.clear()
        self.doom(None)
        if self.life is not None:
            self.life.runtime.heal()
        self.operator.say("pause")
        if not self._comes_to_peace() or self.life is None:
            return
        for left in reversed(range(BOOKS_TRIES)):
            faults = self._books_of_a_drained_life(self.life)
            if not faults or self.referee.violations:
                break
            for fault in faults if not left else ():
                self.referee.fail("journal = exchange", fault)
        self.checks["books"] += 1
        self._look_at_the_end(self.life)

    def _comes_to_peace(self) -> bool:
        """Whether one life, without a word to be confirmed, has lasted for the time of peace."""
        began_us = self.world.now_us
        while not self.referee.violations:
            now_us, life = self.world.now_us, self.life
            is_confirmed = "pause" in self.operator.holds
            if life is not None and is_confirmed and now_us - max(began_us, life.began_us) >= PEACE_MS * 1000:
                return True
            if now_us - began_us > SETTLE_MS_MAX * 1000:
                missing = "no trader runs" if life is None else "no life lasts, or pause is never confirmed"
                self.referee.fail("recovery", f"{missing}, {SETTLE_MS_MAX} ms after the last fault")
            self._run_to(now_us + TICK_MS * 1000)
        return False

    def _books_of_a_drained_life(self, life: Life) -> tuple[str, ...]:
        """What differs after the account was asked for a last look."""
        answer = life.question("root/venue/account", DrainRequested())
        until_us = self.world.now_us + DRAIN_MS_MAX * 1000
        while not answer.settled and self.world.now_us < until_us and not self.referee.violations:
            self._run_to(self.world.now_us + 100_000)
        self._run_to(self.world.now_us + BOOKS_MS * 1000)
        if not _is_answered(answer):
            return ("the account was not drained",)
        reader = SqliteJournalReader(self.setup.journal)
        return invariants.books_agree(books_of(self.world, reader, SYMBOLS, self.world.start_ms))

    def _look_at_the_end(self, life: Life) -> None:
        runtime, fail = life.runtime, self.referee.fail
        for fault in (*runtime.crowded(at_peace=True), *runtime.hoards()):
            fail("mailboxes and caches are bounded", fault)
        self._look_for_lost_messages(life)
        if self.strikes.may_count(self.lives):
            self.checks["seconds unprotected"] += 1
            self.referee.check_count(life.unprotected_s())
        for path in sorted(self.setup.settings.data_dir.iterdir()):
            content = path.read_bytes()
            if KEY.encode() in content or SECRET.encode() in content:
                fail("no secret in any output", f"{path.name} holds the API key or its secret")

    def _look_for_lost_messages(self, life: Life) -> None:
        self.checks["messages of a life"] += 1
        for fault in (*life.runtime.lost(), *life.runtime.twice):
            self.referee.fail("every message is handled once or buried", fault)
        for fault in life.runtime.undead[:1]:
            self.referee.fail("who is superseded says nothing", fault)
        for fault in life.runtime.crowded(at_peace=False):
            self.referee.fail("mailboxes and caches are bounded", fault)

    def _leaked(self, name: str, line: str) -> None:
        self.referee.fail("no secret in any output", f"a log line holds the API {name}: {line}")

    # lives

    def _start(self) -> None:
        try:
            life = Life(self.world, self.weather, self.setup)
        except JournalError as error:
            log.info("the trader cannot start: %s", error)
            self.world.after(START_AGAIN_MS, self._start)
            return
        life.runtime.on_dead_letter(self._buried)
        self.life, self.lives = life, self.lives + 1
        self.referee.begin_life()

    def _buried(self, letter: DeadLetter) -> None:
        if isinstance(letter.message, ClosePosition):
            self.referee.forgive_close(letter.message.symbol)

    def doom(self, away_ms: int | None, *, steps: int = 0) -> None:
        """Let the process be gone after so many steps, and back ``away_ms`` later; None: let it live."""
        if away_ms is None or self.life is None:
            self._doom, self.weather.on_write = None, self.strikes.note_write
            return
        doom = Doom(step=self.life.runtime.steps + steps, away_ms=away_ms)
        if self._doom is None or doom.step < self._doom.step:
            self._doom = doom

    def _is_doomed(self) -> bool:
        return self._doom is not None and self.life is not None and self.life.runtime.steps >= self._doom.step

    def _kill(self) -> None:
        assert self.life is not None  # noqa: S101 # only a living one is killed
        life, self._steps_before = self.life, self.steps
        again_ms = self._doom.away_ms if self._doom is not None else START_AGAIN_MS
        self._hashes.append(life.runtime.digest())
        self._look_for_lost_messages(life)
        self.doom(None)
        self.life = None
        life.kill()
        self.world.after(again_ms, self._start)

    def _tick(self) -> None:
        self.world.advance()
        self.world.after(TICK_MS, self._tick)

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
            faults=dict(self.strikes.struck),
            orders=dict(self.referee.orders),
            trades=len(trades),
            bare_seconds=round(self.referee.bare_ms / 1000, 3),
            longest_bare_ms=self.referee.longest_bare_ms,
            writes=dict(self.strikes.writes),
            checks=dict(self.checks),
            violations=tuple(self.referee.violations),
        )
        if self.life is not None:
            self.life.kill()
            self.life = None
        return result


def _is_answered(answer: Answer) -> bool:
    try:
        return answer.settled and answer.get(timeout=0) is not None
    except UnansweredError:
        return False
