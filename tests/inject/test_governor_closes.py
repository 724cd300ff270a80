"""Closes that an operator asked for, on a real journal: a 202 holds, whatever dies right after it."""

from __future__ import annotations

import pytest

from qt_actors.messages.positions import ClosePosition
from qt_actors.messages.system import ClosesRequested, ControlTaken
from tests.builders import a_position
from tests.inject.test_governor import lost
from tests.inject.test_governor_memory import GOVERNOR, Process


@pytest.fixture
def processes(tmp_path):
    made = []

    def start():
        made.append(Process(tmp_path))
        return made[-1]

    yield start
    for process in made:
        process.runtime.stop()


def ask(process, *symbols):
    asked = ClosesRequested(symbols=symbols, reason="by operator: enough", by="test")
    return process.runtime.address(GOVERNOR).ask(asked, 1.0)


def held(*symbols):
    return {"positions": tuple(a_position(symbol=symbol) for symbol in symbols)}


def closes(process):
    return [m for m in process.probes["executor"].heard if isinstance(m, ClosePosition)]


def test_a_confirmed_close_is_told_to_the_executor_again_by_the_next_life_and_only_once(processes):
    first = processes()
    first.healthy(**held("BTCUSDT", "ETHUSDT"))
    assert ask(first, "BTCUSDT") == ControlTaken(
        control="close", fault="", entries=True, because=first.word().reason, note=""
    )
    assert closes(first) == [], "the operator's own word has reached the executor"
    second = processes()
    assert closes(second) == [], "the account is not known yet"
    for serial in (1, 2):
        second.healthy(serial=serial, **held("BTCUSDT", "ETHUSDT"))
    (again,) = closes(second)
    assert (again.symbol, again.reason, again.exit_reason) == ("BTCUSDT", "by operator: enough", "manual")


def test_what_the_account_shows_flat_is_not_closed_by_the_next_life(processes):
    first = processes()
    first.healthy(**held("BTCUSDT"))
    ask(first, "BTCUSDT")
    first.healthy(serial=2)
    second = processes()
    second.healthy(**held("BTCUSDT"))
    assert closes(second) == []


def test_the_next_trade_of_a_symbol_is_not_closed_for_the_last_ones_sake(processes):
    first = processes()
    first.healthy(**held("BTCUSDT"))
    ask(first, "BTCUSDT")
    first.tell(lost(-1))
    second = processes()
    second.healthy(**held("BTCUSDT"))
    assert closes(second) == []
