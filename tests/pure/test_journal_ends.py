"""Every start of the process says how its predecessor ended."""

from __future__ import annotations

import os
import sqlite3
from decimal import Decimal

import pytest

from qt_actors.edges import journal_schema
from qt_actors.edges.journal import FILE_NAME, SqliteJournal, end_session, next_generation
from qt_actors.edges.journal_queries import SqliteJournalReader
from qt_actors.messages.system import NEWS, EquityMeasured, IncidentSeen

NOW = 1_700_000_000_000
WALL_S = 1_760_000_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / FILE_NAME


def start(path, now_ms=NOW):
    return next_generation(path, now_ms, "paper", "synthetic seed 7", "a1b2")


def alive(path, now_ms):
    zero = Decimal(0)
    money = dict.fromkeys(("wallet_usd", "equity_usd", "unrealized_usd", "daily_pnl_usd", "gross_notional_usd"), zero)
    journal = SqliteJournal(path, lambda: now_ms)
    journal.append([EquityMeasured(now_ms=now_ms, **money)])
    journal.close()


def incidents(path):
    return SqliteJournalReader(path).rows("incidents")


def test_a_start_after_a_kill_records_when_the_trader_was_last_alive_and_in_which_run(path):
    start(path)
    alive(path, NOW + 3_600_000)
    os.utime(path, (WALL_S, WALL_S))
    assert start(path, NOW + 7_200_000) == 2
    (seen,) = incidents(path)
    assert (seen["kind"], seen["state"], seen["last_ms"]) == ("unclean end", "repaired", NOW + 7_200_000)
    assert seen["detail"] == (
        "run 1 ended without a stop (kill, crash, power): "
        "last alive 2025-10-09 08:53:20 UTC, market time 2023-11-14 23:13:20 UTC"
    )


def test_a_start_after_an_orderly_end_and_a_first_one_record_nothing(path):
    end_session(path, start(path), NOW + 1)
    start(path)
    assert incidents(path) == []


def test_only_the_run_right_before_is_reported(path):
    start(path)
    end_session(path, start(path), NOW + 1)
    before = len(incidents(path))
    end_session(path, start(path), NOW + 2)
    assert len(incidents(path)) == before == 1


def test_a_run_of_an_older_schema_is_not_called_unclean(path):
    connection = sqlite3.connect(path, isolation_level=None)
    journal_schema.migrate(connection, journal_schema.MIGRATIONS[:3])
    connection.execute("INSERT INTO sessions (started_ms, mode, market) VALUES (?, 'paper', 'x')", (NOW,))
    connection.close()
    assert start(path) == 2
    assert incidents(path) == []


@pytest.mark.parametrize(
    ("kind", "repaired", "shown"),
    [*((kind, False, ("news", 1)) for kind in sorted(NEWS)),
     ("dead_letter", False, ("unrepaired", 0)), ("lost entry", True, ("repaired", 1))],
)  # fmt: skip
def test_news_asks_for_no_repair_and_what_went_wrong_says_whether_it_was_repaired(path, kind, repaired, shown):
    journal = SqliteJournal(path, lambda: NOW)
    journal.append([IncidentSeen(kind=kind, subject="BTCUSDT", detail="x", repaired=repaired, now_ms=NOW)])
    journal.close()
    (row,) = incidents(path)
    assert (row["state"], row["repaired"]) == shown
