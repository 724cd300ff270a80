"""Many runs, and what they came to; a failing one told with the command that replays it, and made shorter."""

from __future__ import annotations

import hashlib
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from qt_actors.simulation.plan import draw
from qt_actors.simulation.referee import Violation
from qt_actors.simulation.run import HOUR_MS, Plan, Result, Run, Votes
from qt_actors.simulation.weather import Fault

SHRINK_RUNS_MAX: Final = 200
TAIL_MS: Final = 600_000
"""A shorter run still goes on for so long after its violation's moment."""


class Report(msgspec.Struct, kw_only=True):
    """What a campaign came to."""

    hash: str = ""
    """Of every step of every run, in order: the same seeds and build make the same, on any machine."""
    seeds: int = 0
    hours: float = 0.0
    lives: int = 0
    steps: int = 0
    faults: Counter[str] = msgspec.field(default_factory=Counter)
    orders: Counter[str] = msgspec.field(default_factory=Counter)
    trades: int = 0
    bare_seconds: float = 0.0
    longest_bare_ms: dict[str, float] = msgspec.field(default_factory=dict)
    writes: Counter[str] = msgspec.field(default_factory=Counter)
    checks: Counter[str] = msgspec.field(default_factory=Counter)
    violations: list[dict[str, Any]] = msgspec.field(default_factory=list)
    wall_seconds: float = 0.0
    hours_per_second: float = 0.0

    def take(self, plan: Plan, result: Result) -> None:
        """Count one run."""
        self.hash = hashlib.blake2b(f"{self.hash}|{result.hash}".encode(), digest_size=16).hexdigest()
        self.seeds += 1
        self.hours += result.hours
        self.lives += result.lives
        self.steps += result.steps
        self.faults.update(result.faults)
        self.orders.update(result.orders)
        self.writes.update(result.writes)
        self.checks.update(result.checks)
        self.trades += result.trades
        self.bare_seconds = round(self.bare_seconds + result.bare_seconds, 3)
        for why, ms in result.longest_bare_ms.items():
            self.longest_bare_ms[why] = max(ms, self.longest_bare_ms.get(why, 0.0))
        for violation in result.violations:
            told = {"seed": result.seed, **msgspec.to_builtins(violation), "replay": replay_command(plan)}
            self.violations.append(told)


def plan_of(seed: int, hours: float, *, votes: Votes = "random", rate: float = 1.0, keep: Iterable[int] = ()) -> Plan:
    """The plan of a seed; ``keep``: only the faults of these numbers, none of them named: all."""
    kept = frozenset(keep)
    faults = tuple(fault for fault in draw(seed, hours, rate) if not kept or fault.number in kept)
    interval = "5m" if votes == "random" else "1h"
    return Plan(seed=seed, hours=hours, votes=votes, rate=rate, faults=faults, interval=interval)


def play(plan: Plan) -> Result:
    """Run a plan in a folder that is gone afterwards; an error of the run itself is a violation."""
    with tempfile.TemporaryDirectory(prefix="qt-simulate-") as folder:
        run = Run(plan, Path(folder))
        try:
            return run.go()
        except Exception as error:  # noqa: BLE001 -- whatever it is, its seed must be told
            where = traceback.extract_tb(error.__traceback__)[-1]
            detail = f"{type(error).__name__}: {error} at {Path(where.filename).name}:{where.lineno}"
            run.referee.fail("the run itself", detail)
            return run.result()


def campaign(plans: Iterable[Plan], told: Callable[[Plan, Result], None]) -> Report:
    """Play them one after another; ``told`` hears of each."""
    report, began_s = Report(), time.monotonic()
    for plan in plans:
        result = play(plan)
        report.take(plan, result)
        told(plan, result)
    report.wall_seconds = round(time.monotonic() - began_s, 3)
    report.hours_per_second = round(report.hours / max(report.wall_seconds, 1e-9), 3)
    return report


def replay_command(plan: Plan) -> str:
    """The one command that runs a plan again."""
    words = ["qt simulate --seeds 1", f"--first-seed {plan.seed}", f"--hours {plan.hours:g}"]
    if plan.votes != "random":
        words.append(f"--votes {plan.votes}")
    if plan.rate != 1.0:
        words.append(f"--rate {plan.rate:g}")
    if plan.faults != draw(plan.seed, plan.hours, plan.rate):
        words.append(f"--keep {','.join(str(fault.number) for fault in plan.faults) or '0'}")
    return " ".join(words)


def shrink(plan: Plan, violation: Violation) -> Plan:
    """A shorter plan that still breaks the same invariant: later faults cut, then halves, then one by one."""
    runs = 0

    def fails(faults: tuple[Fault, ...], hours: float) -> bool:
        nonlocal runs
        runs += 1
        found = play(msgspec.structs.replace(plan, faults=faults, hours=hours)).violations
        return any(v.invariant == violation.invariant for v in found)

    best = tuple(f for f in plan.faults if f.at_ms <= violation.at_ms)
    hours = min(plan.hours, round((violation.at_ms + TAIL_MS) / HOUR_MS, 2))
    if not fails(best, hours):
        best, hours = plan.faults, plan.hours
    for size in _sizes(len(best)):
        start = 0
        while start < len(best) and runs < SHRINK_RUNS_MAX:
            fewer = best[:start] + best[start + size :]
            if fails(fewer, hours):
                best = fewer
            else:
                start += size
    return msgspec.structs.replace(plan, faults=best, hours=hours)


def _sizes(count: int) -> Iterator[int]:
    size = count // 2
    while size >= 1:
        yield size
        size //= 2


def summary(report: Report) -> str:
    """The report for people."""
    longest = ", ".join(f"{ms / 1000:.1f} s after {why}" for why, ms in report.longest_bare_ms.items()) or "never"
    speed = f"{report.hours:g} market hours in {report.wall_seconds:.1f} s, {report.hours_per_second:.2f} a second"
    lines = (
        f"{report.seeds} seeds, {speed}; {report.lives} lives, {report.steps:,} steps",
        f"faults: {_listed(report.faults)}",
        f"orders: {_listed(report.orders)}; {report.trades} trades closed",
        f"a position without its whole stop: {report.bare_seconds:.1f} s in all, longest unhindered {longest}",
        f"killed at a write of the journal: {_listed(report.writes, ', killed')}",
        f"compared: {_listed(report.checks)}",
        f"violations: {len(report.violations)}; hash of all steps {report.hash}",
    )
    return "\n".join(lines)


def _listed(counts: Mapping[str, int], part: str = "") -> str:
    """The counts whose names have that part."""
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()) if part in name) or "none"
