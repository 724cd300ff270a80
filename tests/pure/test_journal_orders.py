"""The journal's orders against what rests on the exchange: ends and beginnings that nobody heard."""

from __future__ import annotations

import msgspec
import pytest

from qt_actors.decisions import trade_life
from qt_actors.edges.journal import FILE_NAME, SqliteJournal
from qt_actors.edges.journal_queries import SqliteJournalReader
from qt_actors.messages.positions import OpenOrdersSeen
from tests.builders import NOW, a_plan, a_stop, algo_update


@pytest.fixture
def journal(tmp_path):
    journal = SqliteJournal(tmp_path / FILE_NAME, lambda: NOW)
    yield journal
    journal.close()


@pytest.fixture
def reader(tmp_path):
    return SqliteJournalReader(tmp_path / FILE_NAME)


def test_orders_that_ended_unheard_are_gone_and_come_back_or_end_as_told_later(journal, reader):
    def states():
        return {row["exchange_id"]: (row["status"], bool(row["final"])) for row in reader.rows("orders")}

    one, two = a_stop(exchange_id=1, created_ms=NOW), a_stop(exchange_id=2, created_ms=NOW, client_id="web_2")
    journal.append([OpenOrdersSeen(orders=(one, two), asked_ms=NOW + 1)])
    assert states() == {1: ("NEW", False), 2: ("NEW", False)}
    journal.append([OpenOrdersSeen(orders=(one,), asked_ms=NOW)])
    assert states()[2] == ("NEW", False), "told after the question: it may be younger than the answer"
    journal.append([OpenOrdersSeen(orders=(), asked_ms=NOW + 9)])
    assert states() == {1: ("GONE", True), 2: ("GONE", True)}
    journal.append([OpenOrdersSeen(orders=(one,), asked_ms=NOW + 10)])
    assert states() == {1: ("NEW", False), 2: ("GONE", True)}
    trade = trade_life.begin(a_plan(), NOW).trade
    journal.append([msgspec.structs.replace(algo_update(trade, "web_2", "CANCELED"), algo_id=2, time_ms=NOW + 5)])
    assert states()[2] == ("CANCELED", True)
