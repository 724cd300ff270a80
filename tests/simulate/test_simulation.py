"""The whole trader in virtual time, under faults: a handful of seeds of what ``qt simulate`` runs by the hundred."""

import json
import os
import subprocess
import sys

import msgspec
import pytest
from typer.testing import CliRunner

from qt_actors.cli.app import app
from qt_actors.simulation import referee
from qt_actors.simulation.campaign import plan_of, play, replay_command, shrink
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


def hash_in_a_process(hash_seed):
    """The hash of a campaign, in a process of its own whose sets and dicts of strings have another order."""
    command = "from qt_actors.cli.app import app; app()"
    arguments = ["simulate", "--seeds", "2", "--first-seed", "5", "--hours", "0.2", "--rate", "4", "--json"]
    told = subprocess.run(
        [sys.executable, "-c", command, *arguments],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(told.stdout)["hash"]


def test_the_same_seeds_have_the_same_hash_in_every_process():
    assert hash_in_a_process("1") == hash_in_a_process("2")


def test_a_failing_run_is_shrunk_to_the_faults_that_make_it_fail(monkeypatch):
    monkeypatch.setattr(referee, "FAIR_BARE_MS_MAX", 0)  # no trader can place a stop in no time
    runs = ((plan, play(plan).violations) for plan in (plan_of(seed, 0.2, rate=8.0) for seed in range(1, 20)))
    plan, found = next((plan, found) for plan, found in runs if found)
    shorter = shrink(plan, found[0])
    assert 0 < len(shorter.faults) < len(plan.faults) / 2
    assert play(shorter).violations[0].invariant == found[0].invariant == "protection"
    for spare in shorter.faults:
        kept = tuple(fault for fault in shorter.faults if fault is not spare)
        assert not play(msgspec.structs.replace(shorter, faults=kept)).violations
    numbers = ",".join(str(fault.number) for fault in shorter.faults)
    assert replay_command(shorter).endswith(f"--keep {numbers}")


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
