"""The trader as its users run it: real processes, the exchange on a port of its own, signals, kill -9, journals.

The market is the seeded synthetic one, or real candles where they are at hand.
"""

from __future__ import annotations

import itertools
import json
import re
import signal
import time
import urllib.request
from decimal import Decimal as D

import pytest

from tests.processes import (
    DEADLINE_S,
    Journal,
    Process,
    assert_books_agree,
    assert_every_entry_had_its_stop_first,
    control,
    environment,
    free_port,
    get,
    get_pause,
    positions_of,
    risk_of,
    spend_weight,
    start_trader,
    wait_until,
    weight_used,
)


@pytest.mark.slow
def test_kill_9_with_positions_open_loses_nothing_and_doubles_nothing(exchange, tmp_path):
    journal = Journal(tmp_path / "data")
    first = start_trader(exchange, tmp_path)
    wait_until(lambda: journal.rows("SELECT 1 FROM trades WHERE phase = 'open'"), DEADLINE_S, first.log.read_text)
    first.stop(signal.SIGKILL)
    before = {row[0] for row in journal.rows("SELECT client_id FROM intents")}
    held = positions_of(exchange)
    spent = spend_weight(exchange)
    port = free_port()
    started = time.monotonic()
    second = start_trader(exchange, tmp_path, port)
    took_s = trading_on(journal, second, port, started)
    assert weight_used(exchange) >= spent, "it was deaf until the minute of its predecessor's spending was over"
    get_pause(exchange)
    assert second.stop() == 0
    assert_books_agree(exchange, journal)
    sent = [row[0] for row in journal.rows("SELECT client_id FROM intents")]
    assert len(sent) == len(set(sent))
    assert before <= set(sent)
    entered = [row[0] for row in journal.rows("SELECT client_id FROM fills WHERE client_id LIKE '%-e0'")]
    decisions = {row[0] for row in journal.rows("SELECT decision_id FROM intents WHERE purpose = 'entry'")}
    assert len(set(entered)) <= len(decisions)
    assert_every_entry_had_its_stop_first(journal)
    assert held
    assert re.search(r"stays? open, all covered by stops on the exchange|no position is open", second.log.read_text())
    print(f"{len(held)} positions, seconds after the start: {took_s}")


def trading_on(journal, trader, port, started):
    """Wait until the restarted trader has reconciled, may enter, and has decided a new bar; seconds of each."""
    (last,) = journal.rows("SELECT max(close_time_ms) FROM decisions")[0]
    seen = {
        "reconciled": lambda: journal.rows(
            "SELECT 1 FROM equity WHERE now_ms > (SELECT max(started_ms) FROM sessions WHERE generation = 2)"
        ),
        "may enter": lambda: get(f"http://127.0.0.1:{port}/health")["entries"] == "allowed",
        "decided": lambda: journal.rows("SELECT 1 FROM decisions WHERE close_time_ms > ?", last),
    }
    trader.wait_for("all actors are up", 60)
    took_s = {}
    for what, look in seen.items():
        wait_until(look, 60, trader.log.read_text)
        took_s[what] = round(time.monotonic() - started, 1)
    return took_s


@pytest.mark.slow
def test_trades_that_end_while_the_trader_is_away_are_booked_from_their_fills(exchange, tmp_path):
    journal = Journal(tmp_path / "data")
    first = start_trader(exchange, tmp_path)
    wait_until(lambda: journal.rows("SELECT 1 FROM trades WHERE phase = 'open'"), DEADLINE_S, first.log.read_text)
    first.stop(signal.SIGKILL)
    held = positions_of(exchange)
    while not (ended := held - positions_of(exchange)):
        control(exchange, "step?ms=14400000")
    control(exchange, "resume")
    opened = journal.rows("SELECT decision_id, symbol FROM trades WHERE phase NOT IN ('closed', 'abandoned')")
    before = [decision_id for decision_id, symbol in opened if symbol in ended]
    port = free_port()
    second = start_trader(exchange, tmp_path, port)
    trading_on(journal, second, port, time.monotonic())
    get_pause(exchange)
    assert second.stop() == 0
    for decision_id in before:
        ((phase, reason, price, exits),) = journal.rows(
            "SELECT phase, exit_reason, exit_price, exits FROM trades WHERE decision_id = ?", decision_id
        )
        assert phase == "closed"
        assert reason in {"stop", "target", "trail"}
        assert "external" not in exits
        assert D(price) > 0
    assert_books_agree(exchange, journal)


@pytest.mark.slow
def test_a_run_decides_every_symbol_and_bar_once_and_ends_equal_to_the_exchange(exchange, tmp_path):
    journal = Journal(tmp_path / "data")
    port = free_port()
    trader = start_trader(exchange, tmp_path, port)
    wait_until(
        lambda: (
            len(journal.rows("SELECT DISTINCT close_time_ms FROM decisions")) >= 12
            and len(journal.rows("SELECT 1 FROM trades WHERE phase = 'closed'")) >= 1
        ),
        DEADLINE_S,
        trader.log.read_text,
    )
    metrics = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()  # loopback
    assert "qt_unprotected_position_seconds_total 0.0" in metrics
    get_pause(exchange)
    stopping = time.monotonic()
    assert trader.stop() == 0
    assert time.monotonic() - stopping < 5.5
    ended = journal.rows("SELECT 1 FROM sessions WHERE ended_ms IS NOT NULL")
    assert bool(ended) == ("stopped in order" in trader.log.read_text())
    bars = journal.rows("SELECT close_time_ms, count(*), count(DISTINCT symbol) FROM decisions GROUP BY 1 ORDER BY 1")
    assert {(n, symbols) for _, n, symbols in bars} == {(12, 12)}
    assert all(b[0] - a[0] == 3_600_000 for a, b in itertools.pairwise(bars))
    assert_every_entry_had_its_stop_first(journal)
    assert_books_agree(exchange, journal)


@pytest.mark.slow
def test_a_halt_given_as_the_first_thing_survives_kill_9_right_after_its_202(exchange, tmp_path):
    port, token = free_port(), {"QT_API_TOKEN": "operator-operator"}
    base = f"http://127.0.0.1:{port}"

    def say(control):
        order = urllib.request.Request(
            f"{base}/api/control/{control}", method="POST", headers={"Authorization": "Bearer operator-operator"}
        )
        try:
            with urllib.request.urlopen(order, timeout=10) as reply:
                return reply.status, json.load(reply)
        except OSError:
            return None  # not there yet

    first = start_trader(exchange, tmp_path, port, **token)
    status, said = wait_until(lambda: say("halt"), DEADLINE_S, first.log.read_text)
    first.stop(signal.SIGKILL)
    assert (status, said["entries"]) == (202, "stopped")
    second = start_trader(exchange, tmp_path, port, **token)
    second.wait_for("all actors are up")
    risk = wait_until(lambda: risk_of(base), DEADLINE_S, second.log.read_text)
    assert (risk["halted"], risk["allow_new_positions"]) == (True, False)
    assert risk["reason"].startswith("entries halted by operator: ")
    ((detail,),) = Journal(tmp_path / "data").rows("SELECT detail FROM incidents WHERE kind = 'unclean end'")
    assert detail.startswith("run 1 ended without a stop")
    assert Journal(tmp_path / "data").entries() == []
    assert say("resume")[0] == 202
    wait_until(lambda: risk_of(base)["allow_new_positions"], DEADLINE_S, second.log.read_text)
    second.stop()


@pytest.mark.slow
@pytest.mark.real
def test_real_candles_of_all_symbols_are_decided_bar_by_bar_at_an_hour_a_second(tmp_path, real_data):
    journal = Journal(tmp_path / "data")
    folder = real_data / "klines" / "15m"
    symbols = len(list(folder.glob("*.parquet")))
    env = environment(tmp_path / "data", free_port())
    trader = Process(["run", "--replay", str(folder), "--speed", "3600", "--duration", "30"], env, tmp_path)
    assert trader.popen.wait(90) == 0, trader.log.read_text()[-3000:]
    bars = journal.rows("SELECT close_time_ms, count(*), count(DISTINCT symbol) FROM decisions GROUP BY 1 ORDER BY 1")
    assert len(bars) >= 20
    assert {(n, distinct) for _, n, distinct in bars} == {(symbols, symbols)}
    assert all(b[0] - a[0] == 3_600_000 for a, b in itertools.pairwise(bars))
    (wallet,) = journal.rows("SELECT wallet_usd FROM equity ORDER BY now_ms DESC LIMIT 1")[0]
    assert journal.total("SELECT amount_usd FROM income") == D(wallet)
    if journal.entries():
        assert_every_entry_had_its_stop_first(journal)
