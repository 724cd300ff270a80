"""The supervision tree as a person reads it: who is in trouble stands first and out."""

from __future__ import annotations

import json

import pytest

from tests.cli_board import NOW, an_actor


@pytest.mark.usefixtures("board")
def test_the_tree_shows_each_actor_under_its_supervisor(qt):
    first, blank, heads, *rows = qt("tree").stdout.splitlines()
    assert first == "1 actor: all up; 2 restarts since the start"
    assert blank == ""
    assert heads.split() == ["Actor", "State", "Up", "Restarts", "Waiting", "Busy", "Handled", "Figures"]
    assert rows[0].split() == ["root", "up", "3", "s", "1", "3", "–", "77", "rest", "for", "one"]
    assert rows[1].split() == ["executor", "up", "3", "s", "1", "3", "–", "77", "trades", "4"]
    assert rows[1].index("executor") > rows[0].index("root")
    assert json.loads(qt("tree", "--json").stdout)["actors"][1]["restarts"] == 1


@pytest.mark.usefixtures("board")
def test_figures_are_told_as_people_read_them_and_what_is_empty_not_at_all(qt, actors):
    figures = {"ready": True, "lost": "", "last_bar_ms": NOW, "period_ms": 60_000, "in_flight": 0, "share": 0.04444}
    actors[1] = an_actor("root/executor", statistics=figures)
    shown = qt("tree").stdout.splitlines()[-1]
    assert shown.endswith("ready yes, last bar 2023-11-14 22:13 UTC, period 60 s, in flight 0, share 0.0444")


@pytest.mark.usefixtures("board")
@pytest.mark.parametrize(
    ("changes", "state", "says"),
    [
        ({"busy_ms": 12_000, "last_message": "Votes"}, "hung", "! root/executor  hung: 12 s in Votes"),
        ({"busy_ms": 3_000, "last_message": "Votes"}, "busy", "! root/executor  busy: 3 s in Votes"),
        (
            {"state": "ended", "last_error": "ValueError: no", "last_error_ms": NOW, "up_ms": 0},
            "ended",
            "! root/executor  ended; last error at 2023-11-14 22:13:20 UTC: ValueError: no",
        ),
        (
            {"state": "backoff", "up_ms": 0},
            "restarting",
            "! root/executor  restarting",
        ),
    ],
)
def test_who_is_dead_or_hung_stands_first_and_is_counted(qt, actors, changes, state, says):
    actors[1] = an_actor("root/executor", **changes)
    first, trouble, *rest = qt("tree").stdout.splitlines()
    assert first == f"1 actor: 1 {state}; 2 restarts since the start"
    assert trouble.strip() == says
    assert rest[-1].split()[:2] == ["executor", state]


@pytest.mark.usefixtures("board")
def test_at_80_columns_the_tree_keeps_a_line_an_actor(qt, actors):
    actors[1] = an_actor("root/executor", statistics={f"figure_{i}": i for i in range(12)})
    lines = qt("tree", COLUMNS="80").stdout.splitlines()
    assert [line.split()[0] for line in lines[3:5]] == ["root", "executor"]
    assert lines[5:] == ["not at this width: Figures"]
