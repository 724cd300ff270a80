"""The process is killed at every point at which the journal is written, before and after the write."""

from collections import Counter

import msgspec
import pytest

from qt_actors.simulation.campaign import plan_of, play
from qt_actors.simulation.strikes import WRITES
from qt_actors.simulation.weather import Fault

EVERY_MS = 200_000
HOURS = 1.0


def kills(seed):
    """Kills at each point in turn; the journal is opened anew when its writer crashes, trades close when told to."""
    at_ms, number = 60_000, 1
    while at_ms < HOURS * 3_600_000 - EVERY_MS:
        point = WRITES[(number + 5 * seed) % len(WRITES)]
        yield Fault(number=number, kind="kill at write", at_ms=at_ms, for_ms=1_000, path=point)
        if point == "open":
            yield Fault(number=500 + number, kind="crash", at_ms=at_ms + 100, path="ground/recorder", after=1)
        if point in {"intent close", "TradeClosed"}:
            yield Fault(number=500 + number, kind="close all", at_ms=at_ms + EVERY_MS // 2)
        at_ms, number = at_ms + EVERY_MS, number + 1


@pytest.mark.slow
def test_killed_at_every_write_point_the_trader_is_right_again():
    killed = Counter()
    for seed in (1, 2, 3, 4):
        result = play(msgspec.structs.replace(plan_of(seed, HOURS, rate=0), faults=tuple(kills(seed))))
        assert not result.violations
        killed.update({name: count for name, count in result.writes.items() if ", killed " in name})
    points = {name.partition(", killed ")[0] for name in killed}
    assert points >= set(WRITES), f"never killed at {set(WRITES) - points}"
    assert {name.partition(", killed ")[2] for name in killed} == {"before", "after"}
