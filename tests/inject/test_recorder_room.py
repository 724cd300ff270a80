"""A disk that fills up stops entries before the journal fails, and whoever starts anew hears of it."""

from __future__ import annotations

import pytest

from qt_actors.ground.recorder import ROOM_BYTES_MIN, ROOM_MS
from qt_actors.messages.system import HealthReported
from tests.inject.test_recorder import decisions, house

__all__ = ["house"]


def told(house):
    return [(m.subsystem, m.health) for m in house.governor.heard if isinstance(m, HealthReported)]


def see(house, free):
    house.free = free
    house.runtime.run_for(ROOM_MS + 1)


def test_a_disk_without_room_is_told_once_and_has_room_again_only_with_twice_as_much(house):
    see(house, ROOM_BYTES_MIN)
    assert told(house) == []
    see(house, ROOM_BYTES_MIN - 1)
    see(house, ROOM_BYTES_MIN + 1)
    assert told(house) == [("disk", 0)]
    see(house, 2 * ROOM_BYTES_MIN)
    assert told(house) == [("disk", 0), ("disk", 100)]


def test_room_that_cannot_be_told_counts_as_none(house):
    def gone():
        raise FileNotFoundError(2, "No such file or directory")

    house.look = gone
    house.runtime.run_for(ROOM_MS + 1)
    sick = house.governor.expect(HealthReported)
    assert (sick.subsystem, sick.health, sick.reason) == (
        "disk", 0, "its room cannot be told: No such file or directory",
    )  # fmt: skip


@pytest.mark.parametrize("ill", ["disk", "journal"])
def test_a_governor_that_starts_anew_hears_at_once_what_is_ill(house, ill):
    if ill == "disk":
        see(house, 0)
    else:
        house.fill_disk()
        house.recorder.tell(decisions(500))
        house.runtime.run_for(0)
    assert told(house) == [(ill, 0)]
    house.governor.down("crashed")
    house.governor.up()
    house.runtime.run_for(0)
    assert told(house) == [(ill, 0), (ill, 0)]
