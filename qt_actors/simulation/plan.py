"""Which faults a seed brings: drawn once, as data, before anything runs."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Final

from qt_actors.simulation.weather import Fault, Kind

PER_HOUR: Final = 14.0
ACTORS: Final = (
    "ground/recorder", "ground/telemetry", "venue/gateway", "venue/account", "trading/position-monitor",
    "trading/executor", "judgement/governor", "judgement/orchestrator", "minds/ensemble", "minds/model-xgb",
    "minds/features", "minds/regime", "minds/universe", "feed/market-data",
)  # fmt: skip
CRITICAL: Final = ("trading/executor", "ground/recorder", "venue/gateway", "venue/account", "judgement/governor")

WINDOWS: Final[dict[Kind, tuple[float, int, int, float, float]]] = {
    # weight, shortest and longest ms, least and largest share
    "slow": (1.0, 5_000, 120_000, 0.2, 1.0),
    "reply lost": (1.0, 2_000, 90_000, 0.1, 0.8),
    "unknown executed": (1.0, 2_000, 60_000, 0.2, 1.0),
    "unknown not executed": (1.0, 2_000, 60_000, 0.2, 1.0),
    "refused": (0.7, 2_000, 60_000, 0.2, 1.0),
    "throttled": (0.7, 2_000, 60_000, 0.2, 1.0),
    "limited": (0.5, 1_000, 10_000, 0.2, 1.0),
    "banned": (0.2, 500, 2_000, 0.5, 1.0),
    "empty book": (0.7, 20_000, 600_000, 0.3, 1.0),
    "thin book": (0.7, 20_000, 600_000, 0.3, 1.0),
    "events lost": (1.0, 10_000, 600_000, 0.1, 0.7),
    "events doubled": (0.7, 10_000, 600_000, 0.2, 1.0),
    "events late": (1.0, 10_000, 600_000, 0.2, 1.0),
    "mute": (0.7, 10_000, 300_000, 1.0, 1.0),
    "market mute": (0.4, 5_000, 120_000, 1.0, 1.0),
    "away": (0.6, 5_000, 420_000, 1.0, 1.0),
    "journal full": (0.5, 1_000, 120_000, 1.0, 1.0),
    "journal locked": (0.5, 500, 20_000, 1.0, 1.0),
}
MOMENTS: Final[dict[Kind, float]] = {
    "disconnect": 0.7,
    "listen key lost": 0.5,
    "stop expired": 1.0,
    "orders cancelled": 0.7,
    "position added": 0.7,
    "position cut": 0.7,
    "position opened": 0.7,
    "crash": 4.0,
    "hang": 1.0,
    "kill": 2.0,
    "kill at write": 2.0,
    "clock jump": 0.4,
    "pause": 0.4,
    "halt": 0.4,
    "close all": 0.4,
}
LATER: Final[dict[Kind, float]] = {"thin book": 1.0, "start fails": 1.0, "close all": 0.5}
LATER_PER_HOUR: Final = 2.0
LATER_NUMBER: Final = 1001
"""Kinds that came later are drawn apart and numbered from here, so that older seeds keep what they had."""


def draw(seed: int, hours: float, rate: float = 1.0) -> tuple[Fault, ...]:
    """The faults of a seed, in order of time; ``rate`` times as many as usual."""
    usual: dict[Kind, float] = {**{kind: row[0] for kind, row in WINDOWS.items() if kind not in LATER}, **MOMENTS}
    first = _drawn(f"{seed}/plan", usual, hours, rate * PER_HOUR, 1)
    later = _drawn(f"{seed}/later", LATER, hours, rate * LATER_PER_HOUR, LATER_NUMBER)
    return tuple(sorted([*first, *later], key=lambda fault: fault.at_ms))


def _drawn(name: str, weights: Mapping[Kind, float], hours: float, per_hour: float, number: int) -> Iterator[Fault]:
    chance = random.Random(name)  # noqa: S311 -- a repeatable run, no secret
    kinds, shares = list(weights), list(weights.values())
    at_ms, end_ms = 20_000.0, hours * 3_600_000
    while per_hour > 0:
        at_ms += chance.expovariate(per_hour) * 3_600_000
        if at_ms >= end_ms:
            return
        yield _fault(number, chance.choices(kinds, shares)[0], int(at_ms), chance)
        number += 1


def _fault(number: int, kind: Kind, at_ms: int, chance: random.Random) -> Fault:
    if kind in WINDOWS:
        _, least_ms, most_ms, least, most = WINDOWS[kind]
        for_ms = int(least_ms * (most_ms / least_ms) ** chance.random())
        return Fault(number=number, kind=kind, at_ms=at_ms, for_ms=for_ms, share=round(chance.uniform(least, most), 2))
    path, after, for_ms = "", 0, 0
    match kind:
        case "start fails":
            path, after = chance.choice(CRITICAL if chance.random() < 0.6 else ACTORS), chance.choice((1, 1, 2, 4))
        case "crash" | "hang":
            path = chance.choice(CRITICAL if chance.random() < 0.6 else ACTORS)
            after = chance.randrange(1, 40)
            for_ms = chance.choice((3_000, 20_000, 60_000, 0)) if kind == "hang" else 0
        case "kill":
            after = chance.randrange(0, 400)
            for_ms = chance.choice((1_000, 2_000, 10_000, 60_000, 300_000))
        case "kill at write":
            after = chance.randrange(0, 12)
            for_ms = chance.choice((1_000, 2_000, 10_000))
        case "clock jump":
            after = chance.choice((-12_000, -3_000, -700, 700, 3_000, 12_000))
        case "pause" | "halt":
            for_ms = chance.randrange(60_000, 900_000)
        case _:
            pass
    return Fault(number=number, kind=kind, at_ms=at_ms, for_ms=for_ms, path=path, after=after)
