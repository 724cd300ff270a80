"""Other hands on the account: what they add, cut, turn round, open or leave bare is covered within seconds."""

from __future__ import annotations

import random

import pytest

from qt_actors.simulation.campaign import play
from qt_actors.simulation.run import Plan
from qt_actors.simulation.weather import Fault, Kind

HANDS: dict[Kind, float] = {
    "position added": 5,
    "position cut": 5,
    "position opened": 2,
    "orders cancelled": 2,
    "stop expired": 2,
    "close all": 0.5,
}
FIRST_ENTRY_MS = 310_000
UP_MS_MAX = 3_000
"""Virtual time: a look at the account, another to be sure of it, a pause for clocks that differ, and the placing."""
DOWN_MS_MAX = 15_000
"""Of the time the trader runs: its start, and the ledger that explains what it has missed, which may take 10 s."""


def by_hand(seed: int, hours: float, every_ms: int, kinds: dict[Kind, float]) -> Plan:
    """Interventions from the first entry on; looks at the account are rationed, a few every ten seconds."""
    chance, faults, at_ms = random.Random(f"{seed}/hands"), [], FIRST_ENTRY_MS  # noqa: S311 # a repeatable run
    while (at_ms := at_ms + 15_000 + int(chance.expovariate(1 / every_ms))) < hours * 3_600_000:
        kind = chance.choices(list(kinds), list(kinds.values()))[0]
        down = {"for_ms": chance.choice((1_000, 5_000, 30_000)), "after": chance.randrange(400)}
        faults.append(Fault(number=len(faults) + 1, kind=kind, at_ms=at_ms, **(down if kind == "kill" else {})))
    return Plan(seed=seed, hours=hours, interval="5m", faults=tuple(faults))


def held_up(plan: Plan, bare_ms_max: int) -> None:
    """Play it: every invariant of the referee holds, the books and the count of bare seconds included."""
    result = play(plan)
    print(f"seed {plan.seed}: {sum(result.faults.values())} interventions, longest {result.longest_bare_ms}")
    assert not result.violations
    assert result.longest_bare_ms["somebody else"] < bare_ms_max, f"seed {plan.seed}"


@pytest.mark.parametrize("seed", [5, 10, 11])
def test_what_others_do_while_the_trader_runs_is_covered_within_seconds(seed):
    held_up(by_hand(seed, 0.3, 15_000, HANDS), UP_MS_MAX)


@pytest.mark.parametrize("seed", [3, 4])
def test_what_others_do_while_it_is_down_is_covered_soon_after_its_start(seed):
    held_up(by_hand(seed, 0.3, 5_000, {**HANDS, "kill": 3}), DOWN_MS_MAX)
