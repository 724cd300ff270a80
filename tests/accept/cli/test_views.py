"""Status, positions and results: of the running trader, of its journal alone, of neither."""

from __future__ import annotations

import http.server
import io
import json
import threading
from decimal import Decimal

import msgspec
import pytest
from rich.console import Console

from qt_actors.cli import screens
from qt_actors.messages import positions, signals, system
from tests.builders import a_stop
from tests.cli_board import (
    HOUR,
    NOW,
    a_directive,
    a_position,
    a_result,
    a_trade,
    an_account,
    call,
    funding,
    make_healthy,
    measured,
)


@pytest.mark.parametrize("words", [("status",), ("positions",), ("pnl",), ("why",), ("why", "BTCUSDT"), ("tree",)])
def test_without_trader_and_journal_every_view_says_so_and_leaves_with_1(qt, words):
    got = qt(*words)
    assert got.exit_code == 1
    assert got.stdout == ""
    assert "no trader" in got.stderr
    assert len(got.stderr.splitlines()) <= 2


def test_status_of_a_healthy_trader_names_the_paper_market_and_every_model(qt, board):
    make_healthy(board)
    got = qt("status")
    assert got.exit_code == 0, got.output
    for text in ("PAPER · synthetic market, seed 7", "healthy", "$10,012.34", "+$12.34", "N-HiTS", "allowed", "0.0 s"):
        assert text in got.stdout
    told = json.loads(qt("status", "--json").stdout)
    assert (told["running"], told["status"], told["risk"]["losing_streak"]) == (True, "healthy", 0)
    assert told["source"].startswith("http://127.0.0.1:")


def test_status_of_an_unhealthy_trader_says_why_and_leaves_with_1(qt, board):
    make_healthy(board)
    board.show(system.HealthReported(subsystem="journal", health=0, reason="disk is full", now_ms=NOW))
    got = qt("status")
    assert got.exit_code == 1
    assert "! journal: disk is full" in got.stdout


@pytest.mark.parametrize("word", ["halted", "paused"])
def test_status_of_a_trader_that_an_operator_stopped_says_by_whose_word_and_since_when(qt, board, word):
    make_healthy(board)
    state = system.GovernorState(
        day="2023-11-14",
        day_start_equity_usd=None,
        losing_streak=0,
        halted=word == "halted",
        halt_reason="the news",
        halted_ms=NOW,
        paused=word == "paused",
        pause_reason="the news",
        paused_ms=NOW,
        changed_ms=NOW,
    )
    board.show(state)
    board.show(a_directive(allow=False, reason=f"{word}: the news"))
    got = qt("status")
    assert got.exit_code == 0
    assert word in got.stdout.splitlines()[0]
    (line,) = [line for line in got.stdout.splitlines() if line.strip().startswith("Entries")]
    assert line.split() == f"Entries {word} since 2023-11-14 22:13 UTC · until resumed".split()
    assert f"  ! {word}: the news" in got.stdout.splitlines()


def test_status_names_resting_orders_of_others_that_can_open_a_position(qt, board):
    make_healthy(board)
    order = a_stop(symbol="XRPUSDT", client_id="web_1", kind="LIMIT", side="BUY", conditional=False, reduce_only=False)
    order = msgspec.structs.replace(order, quantity=Decimal(100), price=Decimal("1.9"), trigger_price=None)
    board.show(msgspec.structs.replace(an_account(), orders=(order,)))
    assert "1 opening order of others rests: XRPUSDT BUY 100 @ 1.9" in qt("status", COLUMNS="160").stdout


def test_status_tells_each_limit_in_force_and_whose_word_it_is(qt, board):
    make_healthy(board)
    for columns, others in (("80", ""), ("160", "QT_MAX_POSITIONS 10; RM_MAX_CONCURRENT_TRADES 10")):
        lines = qt("status", COLUMNS=columns).stdout.splitlines()
        (line,) = [line for line in lines if line.strip().startswith("open positions")]
        assert line.split() == f"open positions 6 profile SAFE {others}".split()


def test_status_says_when_fewer_models_must_agree(qt, board):
    make_healthy(board)
    assert "4 of 4 models vote, 3 must agree" in qt("status").stdout
    board.show(signals.ModelStateChanged(model="nhits", state="missing", reason="no file"))
    assert "3 of 4 models vote, 2 must agree; 3 when all vote" in qt("status").stdout


def test_status_without_a_trader_tells_what_the_last_run_left_and_leaves_with_1(qt, journal):
    journal.append(
        [
            signals.ModelStateChanged(model="nhits", state="warmup", reason="25/120"),
            measured(NOW, "-3.5"),
            positions.TradeChanged(trade=a_trade()),
        ]
    )
    got = qt("status")
    assert got.exit_code == 1
    for text in (
        "NOT RUNNING",
        "No trader runs. The figures are of market time 2023-11-14 22:13:20 UTC, written 20",
        "no trader answers",
        "$9,876.50",
        "−$3.50",
        "N-HiTS",
        "25/120",
    ):
        assert text in got.stdout
    told = json.loads(qt("status", "--json").stdout)
    assert (told["running"], told["active_positions"], told["market"]) == (False, 1, "synthetic seed 7")


def test_positions_come_from_the_trader_or_with_a_word_from_the_journal(qt, journal, board):
    assert qt("positions").stdout == "No position is open.\n"
    board.show(an_account(a_position()))
    live = qt("positions")
    assert live.stderr == ""
    for text in ("BTCUSDT", "SHORT", "87,400", "+$22.80"):
        assert text in live.stdout
    journal.append([positions.TradeChanged(trade=a_trade())])
    board.stop()
    left = qt("positions")
    assert left.exit_code == 0
    assert "from the journal" in left.stderr
    for text in ("0.037", "89,200", "1.5 %"):
        assert text in left.stdout


def test_results_say_how_old_the_ledger_is(qt, journal, board):
    paid = funding("SOLUSDT", "-0.30", NOW - 4_000)
    journal.append([a_result("BTCUSDT", "12.50"), paid])
    assert "Ledger not read since the start" in qt("pnl").stdout
    board.show(paid)
    assert "Ledger read 4 s ago, at 2023-11-14 22:13:16 UTC; newer charges are not in it." in qt("pnl").stdout
    told = json.loads(qt("pnl", "--json").stdout)
    assert (told["ledger_ms"], told["ledger_age_s"]) == (NOW - 4_000, 4.0)
    board.stop()
    journal.append([measured(NOW, "0")])
    assert "Ledger as the last run left it; its last figures are of 2023-11-14 22:13:20 UTC." in qt("pnl").stdout


@pytest.mark.parametrize("running", [True, False])
def test_profit_is_net_of_fees_and_funding_and_the_same_everywhere(qt, port, journal, board, running):
    eaten = a_result("SOLUSDT", "0.60", exit_reason="stop")  # fees leave 0.10, funding takes 0.30
    journal.append([a_result("BTCUSDT", "12.50"), a_result("ETHUSDT", "-2.00"), eaten])
    paid = (("SOLUSDT", "-0.30", NOW), ("SOLUSDT", "-7", NOW - 2), ("XRPUSDT", "4", NOW))
    journal.append([funding(*row) for row in paid])
    journal.append(
        [a_result("ADAUSDT", "5", complete=False, opened_ms=NOW - 3 * 24 * HOUR, closed_ms=NOW - 2 * 24 * HOUR)]
    )
    trades = {t["symbol"]: t["net_usd"] for t in call(port, "/api/trades")["trades"]}
    assert trades == {"BTCUSDT": 12.0, "ETHUSDT": -2.5, "SOLUSDT": -0.2, "ADAUSDT": 4.5}
    if not running:
        board.stop()
        journal.append([measured(NOW, "0")])
    got = qt("pnl")
    assert got.exit_code == 0
    rows = {line.strip().split("  ")[0]: line.split() for line in got.stdout.splitlines() if "$" in line}
    assert rows["Today (UTC)"][2:] == ["3", "1", "(33", "%)", "+$11.10", "−$1.50", "−$0.30", "+$9.30"]
    assert rows["In all"][2:] == ["4", "1", "(33", "%)", "+$16.10", "−$2.00", "−$0.30", "+$13.80"]
    assert "Of 1 trade not all fills are known" in got.stdout
    assert rows["2023-11-14"][-1] == "+$9.30"
    assert rows["stop"][-2:] == ["−$0.30", "−$0.20"]
    assert rows["BTCUSDT"][-1] == "+$12.00"
    assert "open trades too): −$3.30 today" in got.stdout
    told = json.loads(qt("pnl", "--json").stdout)
    assert told["total"]["net_usd"] == pytest.approx(sum(trades.values()))
    assert sum(r["net_usd"] for r in told["by_exit"]) == pytest.approx(told["total"]["net_usd"])


@pytest.mark.usefixtures("journal")
def test_another_program_on_the_port_is_not_taken_for_a_trader(qt, port):
    class Hello(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = b"hello"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", port), Hello) as other:
        threading.Thread(target=other.handle_request, daemon=True).start()
        got = qt("pnl")
    assert got.exit_code == 0
    assert "answers, but not as a trader does" in got.stderr


def test_bad_settings_are_wrong_usage(qt):
    got = qt("status", QT_HTTP_HOST="127.0.0.1", QT_CHECK_INTERVAL="soon")
    assert got.exit_code == 2
    assert got.stderr == "QT_CHECK_INTERVAL='soon' is not allowed: a whole number ≥ 1 and ≤ 3600\n"


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_on_a_terminal_of_any_width_nothing_is_cut_off(width):
    result = {"trades": 3, "complete": 3, "wins": 1, "realized_usd": -12345.67, "commission_usd": 1.5}
    row = {**result, "funding_usd": 0.25, "net_usd": -12346.92}
    told = {
        "today": row,
        "total": row,
        "by_exit": [{"exit_reason": "liquidation", **row}],
        "by_day": [{"day": "2023-11-14", **row}],
        "by_symbol": [{"symbol": "1000PEPEUSDT", **row}],
        "ledger": [],
        "ledger_today": [],
        "losing_streak": 2,
        "running": True,
        "ledger_ms": NOW,
        "ledger_age_s": 4.0,
    }
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(screens.pnl(told))
    shown = console.file.getvalue()
    assert max(map(len, shown.splitlines())) <= width
    assert "…" not in shown
    for text in ("1000PEPEUSDT", "liquidation", "2023-11-14", "−$12,345.67", "−$1.50", "+$0.25", "−$12,346.92"):
        assert text in shown
