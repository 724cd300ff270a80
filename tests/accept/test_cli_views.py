"""The views of the command line, against a served board, against a journal alone, and against neither."""

from __future__ import annotations

import http.server
import io
import json
import socket
import threading
import urllib.request
from decimal import Decimal

import msgspec
import numpy as np
import polars as pl
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from config.settings import load
from exporters.prometheus import Metrics
from qt_actors.cli import screens, views
from qt_actors.edges.journal import FILE_NAME, SqliteJournal, next_generation
from qt_actors.edges.journal_queries import SqliteJournalReader
from qt_actors.edges.web.server import web_server
from qt_actors.edges.web.snapshot import RunInfo
from qt_actors.kernel import ActorState
from qt_actors.messages import policy, positions, signals, system

NOW = 1_700_000_000_000
BAR = 1_699_999_199_999
HOUR = 3_600_000
ZERO = Decimal(0)
MODELS = ("xgb", "lgbm", "nhits", "patchtst")

app = typer.Typer()
views.register(app)


class Nobody:
    """A mailbox nobody is told through: views only read."""

    path = "root/nobody"

    def tell(self, message, **_):
        raise AssertionError(message)


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture
def qt(tmp_path, port, monkeypatch):
    monkeypatch.chdir(tmp_path)  # no .env of the developer

    def call(*words, **environ):
        return CliRunner().invoke(
            app, words, env={"QT_DATA_DIR": str(tmp_path / "var"), "QT_HTTP_PORT": str(port), **environ}
        )

    return call


@pytest.fixture
def journal(tmp_path):
    (tmp_path / "var").mkdir()
    path = tmp_path / "var" / FILE_NAME
    next_generation(path, NOW, "paper", "synthetic seed 7")
    journal = SqliteJournal(path, lambda: NOW)
    yield journal
    journal.close()


@pytest.fixture
def board(tmp_path, port, journal):
    """The web of a running trader."""
    actors = [an_actor("root", "supervisor"), an_actor("root/executor")]
    server = web_server(
        load(None, {"QT_DATA_DIR": str(tmp_path / "var"), "QT_HTTP_PORT": str(port)}),
        RunInfo(
            version="0.1.0", mode="paper", market="synthetic seed 7", profile="SAFE", bar_interval="1h", models=MODELS
        ),
        tree=lambda: tuple(actors),
        journal=SqliteJournalReader(journal.path),
        metrics=Metrics(),
        now_ms=lambda: NOW,
        governor=Nobody(),
        executor=Nobody(),
    )
    server.start()
    yield server
    server.stop()


def an_actor(path, kind="actor"):
    return ActorState(
        path=path,
        kind=kind,
        detail="rest_for_one" if kind == "supervisor" else "Executor",
        state="up",
        incarnation=2,
        restarts=1,
        mailbox_depth=3,
        handled=77,
        busy_ms=0,
        last_message="Fill",
        last_error="",
        statistics={"trades": 4},
    )


def a_signal(symbol):
    votes = (
        signals.ModelVote(model="xgb", action="SELL", confidence=0.7, p_sell=0.5, p_hold=0.3, p_buy=0.2),
        signals.ModelVote(
            model="nhits", action=None, confidence=0.0, p_sell=0, p_hold=0, p_buy=0, reason="warmup 25/120"
        ),
    )
    return signals.Signal(
        symbol=symbol,
        action="SELL",
        confidence=0.8122,
        p_win=0.54,
        edge_r=0.1,
        agree=3,
        active=3,
        quorum=2,
        regime="RANGING",
        tp_pct=0.06,
        sl_pct=0.08,
        close=100.0,
        volatility=0.01,
        volatility_rank=0.5,
        votes=votes,
        close_time_ms=BAR,
        expires_ms=BAR + HOUR,
    )


def a_decision(symbol, verdict="denied", gate="spread"):
    gates = (
        policy.Gate(name="confidence", passed=True, value="81.22 %", limit="55.00 %"),
        policy.Gate(name="spread", passed=verdict == "admitted", value="31 bps", limit="25 bps", transient=True),
    )
    return policy.Decision(
        decision_id=f"{symbol}-{BAR}",
        symbol=symbol,
        close_time_ms=BAR,
        decided_ms=NOW,
        action="SELL",
        verdict=verdict,
        gate=gate,
        gates=gates,
        signal=a_signal(symbol),
    )


def some_decisions():
    made = (a_decision("BTCUSDT"), a_decision("ETHUSDT"), a_decision("SOLUSDT", "admitted", ""))
    return policy.DecisionsMade(close_time_ms=BAR, decisions=made)


def an_account(*held):
    return positions.AccountSnapshot(
        serial=1,
        requested_ms=NOW,
        now_ms=NOW,
        wallet_usd=Decimal(10_000),
        equity_usd=Decimal("10012.34"),
        available_usd=Decimal(9000),
        positions=held,
        orders=(),
        conditionals=(),
    )


def a_position():
    return positions.Position(
        symbol="BTCUSDT",
        quantity=Decimal("-0.057"),
        entry_price=Decimal(87_400),
        mark_price=Decimal(87_000),
        unrealized_pnl=Decimal("22.8"),
        liquidation_price=Decimal(99_000),
        notional_usd=Decimal(4959),
        initial_margin_usd=Decimal(500),
        updated_ms=NOW,
    )


def a_directive():
    return policy.Directive(
        now_ms=NOW,
        allow_trades=True,
        allow_new_positions=True,
        leverage_multiplier=1.0,
        size_multiplier=1.0,
        risk_level="NORMAL",
        reason="all limits kept",
        daily_pnl_usd=Decimal("12.34"),
        daily_loss_limit_usd=Decimal(200),
        gross_notional_usd=Decimal(4959),
        gross_limit_usd=Decimal(45_000),
        losing_streak=0,
        equity_usd=Decimal("10012.34"),
    )


def make_healthy(board):
    for model in MODELS:
        board.show(signals.ModelStateChanged(model=model, state="active"))
    board.show(an_account())
    board.show(signals.Signals(close_time_ms=BAR, symbols=("BTCUSDT",), signals=(a_signal("BTCUSDT"),)))
    board.show(a_directive())


def a_trade():
    return positions.TradeState(
        decision_id=f"BTCUSDT-{BAR}",
        symbol="BTCUSDT",
        side="SELL",
        phase="open",
        quantity=Decimal("0.057"),
        filled=Decimal("0.057"),
        exited=Decimal("0.020"),
        entry_price=Decimal(87_400),
        decision_price=Decimal(87_400),
        stop_id="s",
        stop_price=Decimal(89_200),
        stop_quantity=Decimal("0.057"),
        entry_id="e",
        target_id="",
        target_price=Decimal(85_000),
        target_quantity=ZERO,
        trail_id="r",
        trail_quantity=ZERO,
        trail_callback_pct=Decimal("1.5"),
        close_id="",
        leverage=10,
        confidence=0.81,
        risk_usd=Decimal(100),
        opened_ms=NOW,
        expires_ms=NOW,
        changed_ms=NOW,
    )


def call(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as reply:
        return json.load(reply)


def funding(symbol, amount, time_ms):
    row = positions.IncomeRow(
        kind="FUNDING_FEE",
        transaction_id=time_ms,
        symbol=symbol,
        amount_usd=Decimal(amount),
        asset="USDT",
        time_ms=time_ms,
    )
    return positions.LedgerSynced(income=(row,), wallet_usd=ZERO, equity_usd=ZERO, unrealized_usd=ZERO, now_ms=time_ms)


def measured(now_ms, daily):
    return system.EquityMeasured(
        now_ms=now_ms,
        wallet_usd=ZERO,
        equity_usd=Decimal("9876.5"),
        unrealized_usd=ZERO,
        daily_pnl_usd=Decimal(daily),
        gross_notional_usd=ZERO,
    )


def a_result(symbol, realized, **changes):
    made = positions.TradeClosed(
        decision_id=f"{symbol}-{BAR}",
        symbol=symbol,
        side="BUY",
        quantity=Decimal(1),
        entry_price=Decimal(100),
        exit_price=Decimal(110),
        opened_ms=NOW - 1,
        closed_ms=NOW,
        exit_reason="trail",
        exits=("trail",),
        realized_usd=Decimal(realized),
        commission_usd=Decimal("0.50"),
        risk_usd=Decimal(5),
        slippage_bps=0,
        mfe_pct=0,
        mae_pct=0,
        confidence=0.8,
    )
    return msgspec.structs.replace(made, **changes)


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
    assert "Of 1 trades the fills are not all known" in got.stdout
    assert rows["2023-11-14"][-1] == "+$9.30"
    assert rows["stop"][-2:] == ["−$0.30", "−$0.20"]
    assert rows["BTCUSDT"][-1] == "+$12.00"
    assert "open trades too): −$3.30 today" in got.stdout
    told = json.loads(qt("pnl", "--json").stdout)
    assert told["total"]["net_usd"] == pytest.approx(sum(trades.values()))
    assert sum(r["net_usd"] for r in told["by_exit"]) == pytest.approx(told["total"]["net_usd"])


@pytest.mark.parametrize("running", [True, False])
def test_why_without_a_symbol_sums_up_where_all_decisions_ended(qt, journal, board, running):
    journal.append([some_decisions()])
    if not running:
        board.stop()
    got = qt("why")
    assert got.exit_code == 0
    for text in ("3 symbols at the bar closed 2023-11-14 22:00:00 UTC, 1 admitted", "denied", "spread", "e.g. BTCUSDT"):
        assert text in got.stdout
    told = json.loads(qt("why", "--json").stdout)
    assert [f["decisions"] for f in told["funnel"]] == [2, 1]


@pytest.mark.parametrize("running", [True, False])
def test_why_a_symbol_shows_every_gate_with_value_and_limit(qt, journal, board, running):
    journal.append([some_decisions()])
    if not running:
        board.stop()
    got = qt("why", "btcusdt")
    assert got.exit_code == 0
    lines = got.stdout.splitlines()
    assert "denied by spread" in lines[0]
    assert "N-HiTS – (warmup 25/120)" in got.stdout
    refused = next(line for line in lines if "✗" in line)
    assert refused.split() == ["✗", "spread", "31", "bps", "25", "bps", "(may", "pass", "later)"]
    told = json.loads(qt("why", "btcusdt", "--json").stdout)
    assert told["decisions"][0]["gates"][1]["limit"] == "25 bps"


@pytest.mark.parametrize("running", [True, False])
def test_why_a_symbol_nobody_decides_on_is_one_line_and_1(qt, board, running):
    if not running:
        board.stop()
    got = qt("why", "NOSUCHUSDT")
    assert got.exit_code == 1
    assert got.stderr.startswith("symbol NOSUCHUSDT: ")


@pytest.mark.usefixtures("board")
def test_the_tree_shows_each_actor_under_its_supervisor(qt):
    lines = qt("tree").stdout.splitlines()
    assert lines[1].split()[:2] == ["root", "rest_for_one"]
    assert lines[2].startswith("  executor")
    assert "trades 4" in lines[2]
    assert json.loads(qt("tree", "--json").stdout)["actors"][1]["restarts"] == 1


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


@pytest.fixture(scope="module")
def candles(tmp_path_factory):
    """A folder of hourly random walks: two symbols of 700 bars, one too young to be scored."""
    folder = tmp_path_factory.mktemp("candles")
    rng = np.random.default_rng(11)
    for symbol, bars in (("BTCUSDT", 700), ("ETHUSDT", 700), ("NEWUSDT", 40)):
        close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, bars)))
        opened = np.concatenate([[100.0], close[:-1]])
        high = np.maximum(opened, close) * (1 + rng.random(bars) * 0.004)
        low = np.minimum(opened, close) * (1 - rng.random(bars) * 0.004)
        first = NOW // HOUR * HOUR + (700 - bars) * HOUR
        frame = pl.DataFrame(
            {
                "open_time": first + np.arange(bars) * HOUR,
                "open": opened,
                "high": high,
                "low": low,
                "close": close,
                "volume": rng.random(bars) * 1000,
            }
        )
        frame.write_parquet(folder / f"{symbol}.parquet")
    return folder


def test_predict_says_what_the_models_make_of_the_newest_bar(qt, candles):
    got = qt("predict", "btcusdt", "--data", str(candles), "--json")
    assert got.exit_code == 0, got.stderr
    told = json.loads(got.stdout)
    assert told["bar_open_ms"] == NOW // HOUR * HOUR + 699 * HOUR
    assert told["close_time_ms"] == told["bar_open_ms"] + HOUR
    assert told["line"].startswith("[ENSEMBLE] BTCUSDT: ")
    assert [v["model"] for v in told["votes"]] == list(MODELS)
    for vote in told["votes"]:
        if vote["action"] is not None:
            assert vote["p_sell"] + vote["p_hold"] + vote["p_buy"] == pytest.approx(1, abs=1e-3)
    assert told["market_symbols"] == 3
    screen = qt("predict", "btcusdt", "--data", str(candles))
    assert screen.stdout.strip() == told["line"]


def test_predict_on_a_symbol_too_young_says_how_far_it_is(qt, candles):
    told = json.loads(qt("predict", "NEWUSDT", "--data", str(candles), "--json").stdout)
    assert told["action"] == "HOLD"
    assert told["warmup"].startswith("40/")


def test_predict_without_models_names_every_file_and_the_command_that_makes_it(qt, candles, tmp_path):
    (tmp_path / "no models").mkdir()
    got = qt("predict", "BTCUSDT", "--data", str(candles), QT_MODELS_DIR=str(tmp_path / "no models"))
    assert got.exit_code == 1
    lines = got.stderr.splitlines()
    assert [line.split(":")[1].rsplit("/", 1)[1] for line in lines] == [f"{m}.json" for m in MODELS]
    assert all("qt train" in line for line in lines)


def test_predict_of_an_unknown_symbol_or_folder_says_what_there_is(qt, candles, tmp_path):
    got = qt("predict", "NOUSDT", "--data", str(candles))
    assert got.exit_code == 1
    assert "no usable candles of NOUSDT; there are BTCUSDT, ETHUSDT, NEWUSDT" in got.stderr
    got = qt("predict", "BTCUSDT", "--data", str(tmp_path / "nowhere"))
    assert got.exit_code == 2
    assert "no such folder" in got.stderr


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
    }
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(screens.pnl(told))
    shown = console.file.getvalue()
    assert max(map(len, shown.splitlines())) <= width
    assert "…" not in shown
    for text in ("1000PEPEUSDT", "liquidation", "2023-11-14", "−$12,345.67", "−$1.50", "+$0.25", "−$12,346.92"):
        assert text in shown
