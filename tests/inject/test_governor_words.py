"""What the governor's log says of a change, as a person reads it."""

from __future__ import annotations

import logging

import pytest

from tests.inject.test_governor import House, lost


@pytest.fixture
def house():
    made = House()
    yield made
    made.runtime.stop()


def warned(caplog):
    return [r.getMessage() for r in caplog.records if r.levelname == "WARNING" and r.name == "qt.governor"]


def test_a_pause_is_logged_as_what_was_paused_and_not_as_a_warning_of_a_normal_risk(house, caplog):
    with caplog.at_level(logging.INFO, "qt.governor"):
        house.ask("pause", "lunch")
        house.healthy()
    assert "entries paused by operator: lunch (risk NORMAL)" in warned(caplog)
    assert not [line for line in warned(caplog) if line.startswith("NORMAL")]


def test_a_streak_that_stops_entries_is_logged_with_its_end(house, caplog):
    with caplog.at_level(logging.INFO, "qt.governor"):
        house.healthy()
        house.tell(*[lost(-1, number) for number in range(5)])
    assert warned(caplog)[-1] == "5 losses in a row of 5, until 00:00 UTC or an operator's resume (risk EMERGENCY)"
