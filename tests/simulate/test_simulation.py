"""The whole trader in virtual time, under faults: a handful of seeds of what ``qt simulate`` runs by the hundred."""

import json

import pytest
from typer.testing import CliRunner

from qt_actors.cli.app import app
from qt_actors.simulation.campaign import plan_of, play, replay_command
from qt_actors.simulation.plan import draw

HOURS = 0.5


@pytest.mark.parametrize("seed", range(1, 9))
def test_whatever_fails_nothing_that_must_hold_is_broken(seed):
    result = play(plan_of(seed, HOURS, rate=2.0))
    assert not result.violations
    assert result.orders["entry"] > 0, "nothing was traded, so nothing was tried"


def test_the_same_seed_is_the_same_run_step_by_step():
    first, second = (play(plan_of(7, HOURS, rate=3.0)) for _ in range(2))
    assert first == second
    assert first.lives > 1


def test_another_seed_is_another_run():
    assert play(plan_of(1, 0.2)).hash != play(plan_of(2, 0.2)).hash


def test_a_fault_left_out_leaves_the_others_where_they_were():
    every, fewer = plan_of(3, 2.0), plan_of(3, 2.0, keep=(2, 4))
    assert [fault for fault in every.faults if fault.number in {2, 4}] == list(fewer.faults)
    assert replay_command(fewer) == "qt simulate --seeds 1 --first-seed 3 --hours 2 --keep 2,4"


def test_a_plan_is_data_that_follows_from_its_seed():
    assert draw(5, 10.0) == draw(5, 10.0) != draw(6, 10.0)
    assert len({fault.kind for seed in range(40) for fault in draw(seed, 4.0)}) > 25


def test_the_command_reports_what_was_run_and_fails_on_wrong_usage():
    told = CliRunner().invoke(app, ["simulate", "--seeds", "1", "--hours", "0.2", "--json"])
    report = json.loads(told.stdout)
    assert told.exit_code == 0
    assert report["seeds"] == 1
    assert report["violations"] == []
    assert report["hours_per_second"] > 0
    assert CliRunner().invoke(app, ["simulate", "--hours", "0"]).exit_code == 2
