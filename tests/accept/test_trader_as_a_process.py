"""The trader as its users run it: real processes, the exchange on a port of its own, signals, kill -9, journals.

The market is the seeded synthetic one, or real candles where they are at hand.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import itertools
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from decimal import Decimal as D
from pathlib import Path

import pytest

from qt_actors.edges.journal import next_generation

QT = [sys.executable, "-m", "qt_actors"]
DEADLINE_S = 90.0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(data_dir, port, **more):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("QT_", "RM_", "BINANCE_"))}
    return {
        **clean,
        "QT_DATA_DIR": str(data_dir),
        "QT_HTTP_PORT": str(port),
        "ORCHESTRATOR_PROFILE": "AGGRESSIVE",
        "QT_CONFIDENCE_THRESHOLD": "0.2",
        **more,
    }


RUNNING: list[subprocess.Popen[bytes]] = []


@pytest.fixture(autouse=True)
def nobody_is_left_running():
    yield
    while RUNNING:
        left = RUNNING.pop()
        left.kill()
        left.wait()


class Process:
    """A `qt` command whose lines can be waited for."""

    def __init__(self, arguments, env, folder):
        self.log = folder / f"{arguments[0]}-{time.monotonic_ns()}.log"
        with self.log.open("w") as out:
            self.popen = subprocess.Popen([*QT, *arguments], env=env, stdout=out, stderr=subprocess.STDOUT)
        RUNNING.append(self.popen)

    def wait_for(self, pattern, timeout_s=DEADLINE_S):
        """Return the match of a line in the log, as soon as it stands there."""
        return wait_until(lambda: re.search(pattern, self.log.read_text()), timeout_s, self.log.read_text)

    def stop(self, number=signal.SIGINT, timeout_s=20):
        self.popen.send_signal(number)
        return self.popen.wait(timeout_s)


def wait_until(look, timeout_s, explain=str):
    """Look until there is something to see; the processes under test are the events."""
    ends = time.monotonic() + timeout_s
    tick = threading.Event()
    while time.monotonic() < ends:
        found = look()
        if found:
            return found
        tick.wait(0.1)
    raise AssertionError(f"not seen within {timeout_s} s:\n{explain()[-4000:]}")


def get(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as reply:
        return json.load(reply)


def signed(base, path, secret="paper"):  # noqa: S107 # play money
    query = f"timestamp={get(base + '/fapi/v1/time')['serverTime']}&recvWindow=60000"
    mark = hmac.new(secret.encode(), query.encode(), hashlib.sha256).hexdigest()
    return get(f"{base}{path}?{query}&signature={mark}", **{"X-MBX-APIKEY": "paper"})


class Journal:
    """Questions asked of a run's journal."""

    def __init__(self, data_dir):
        self.path = data_dir / "journal.sqlite3"

    def rows(self, sql, *arguments):
        if not self.path.exists():
            return []
        with contextlib.closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=10)) as connection:
            try:
                return connection.execute(sql, arguments).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):
                    return []  # the trader is just making it
                raise

    def total(self, sql, *arguments):
        return sum((D(row[0]) for row in self.rows(sql, *arguments)), D(0))

    def entries(self):
        return self.rows("SELECT client_id, created_ms FROM intents WHERE purpose = 'entry'")


@pytest.fixture
def exchange(tmp_path):
    """An exchange of its own: 12 synthetic symbols, half an hour a second."""
    port = free_port()
    symbols = "BTCUSDT,ETHUSDT,BNBUSDT,SOLUSDT,XRPUSDT,ADAUSDT,DOGEUSDT,LINKUSDT,AVAXUSDT,LTCUSDT,DOTUSDT,NEARUSDT"
    process = Process(
        ["exchange", "--port", str(port), "--speed", "1800", "--symbols", symbols],
        environment(tmp_path / "unused", 0),
        tmp_path,
    )
    base = f"http://127.0.0.1:{port}"

    def is_up():
        try:
            return get(f"{base}/fapi/v1/ping") == {}
        except OSError:
            return False

    wait_until(is_up, 60, process.log.read_text)
    return base


def start_trader(base, folder, http_port=0, **env):
    return Process(
        ["run", "--exchange-url", base], environment(folder / "data", http_port or free_port(), **env), folder
    )


def assert_every_entry_had_its_stop_first(journal):
    stops = {
        row[0][: row[0].rindex("-")]: row[1]
        for row in journal.rows(
            "SELECT client_id, resolved_ms FROM intents WHERE purpose = 'stop' AND outcome = 'accepted' "
            "ORDER BY resolved_ms DESC"
        )
    }
    entries = journal.entries()
    assert entries
    for client_id, created_ms in entries:
        assert stops[client_id[: client_id.rindex("-")]] <= created_ms


def assert_books_agree(base, journal):
    """Positions, orders, wallet and fees in the journal are the exchange's, to the last digit."""
    account = signed(base, "/fapi/v3/account")
    income = journal.total("SELECT amount_usd FROM income")
    assert income == D(account["totalWalletBalance"])
    fees = journal.total("SELECT commission FROM fills")
    assert fees == -journal.total("SELECT amount_usd FROM income WHERE kind = 'COMMISSION'")
    realised = journal.total("SELECT realized_pnl FROM fills")
    assert realised == journal.total("SELECT amount_usd FROM income WHERE kind = 'REALIZED_PNL'")
    held = {p["symbol"]: D(p["positionAmt"]) for p in account["positions"] if D(p["positionAmt"])}
    ours = {}
    for symbol, text in journal.rows("SELECT symbol, state FROM trades WHERE phase NOT IN ('closed', 'abandoned')"):
        state = json.loads(text)
        left = D(state["filled"]) - D(state["exited"])
        if left:
            ours[symbol] = left if state["side"] == "BUY" else -left
    assert ours == held
    stops = signed(base, "/fapi/v1/openAlgoOrders")
    for symbol, quantity in held.items():
        side = "SELL" if quantity > 0 else "BUY"
        covering = [o for o in stops if o["symbol"] == symbol and o["orderType"] == "STOP_MARKET" and o["side"] == side]
        assert sum(D(o["quantity"]) for o in covering) >= abs(quantity)


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


def positions_of(base):
    return {p["symbol"] for p in signed(base, "/fapi/v3/account")["positions"] if D(p["positionAmt"])}


def weight_used(base):
    """Weight counted in the running minute of real time, by the exchange's own word."""
    with urllib.request.urlopen(f"{base}/fapi/v1/ping", timeout=10) as reply:
        return int(reply.headers["X-MBX-USED-WEIGHT-1M"])


def spend_weight(base):
    """Leave a trader that believes in 2400 a minute no more than nothing, in a minute with half of it left to go."""
    wait_until(lambda: time.time() % 60 < 30, 60)
    while weight_used(base) < 2600:
        signed(base, "/fapi/v1/openOrders")
    return 2600


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


def get_pause(base):
    return control(base, "pause")


def control(base, what):
    request = urllib.request.Request(f"{base}/qt/{what}", method="POST")
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


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
    assert risk["reason"].startswith("halted by an operator")
    assert Journal(tmp_path / "data").entries() == []
    assert say("resume")[0] == 202
    wait_until(lambda: risk_of(base)["allow_new_positions"], DEADLINE_S, second.log.read_text)
    second.stop()


def risk_of(base):
    """The risk view, once the account is known."""
    told = get(f"{base}/api/risk")
    return told if told["known"] and told["equity_usd"] else None


@pytest.mark.slow
def test_the_paper_account_of_the_embedded_exchange_comes_back_from_its_own_state(tmp_path):
    journal, env = Journal(tmp_path / "data"), environment(tmp_path / "data", free_port())
    first = Process(["run", "--speed", "1800"], env, tmp_path)
    wait_until(lambda: journal.rows("SELECT 1 FROM trades WHERE phase = 'open'"), DEADLINE_S, first.log.read_text)
    first.stop(signal.SIGKILL)
    (open_before,) = {row[0] for row in journal.rows("SELECT count(*) FROM trades WHERE phase = 'open'")}
    second = Process(["run", "--speed", "1800", "--duration", "8"], env, tmp_path)
    assert second.popen.wait(60) == 0
    text = second.log.read_text()
    assert "Traceback" not in text
    assert not journal.rows("SELECT 1 FROM incidents WHERE kind = 'adopted position'"), text
    equal = journal.total("SELECT amount_usd FROM income")
    (wallet,) = journal.rows("SELECT wallet_usd FROM equity ORDER BY now_ms DESC LIMIT 1")[0]
    assert open_before >= 1
    assert equal == D(wallet)


def an_exchange(port, folder, *more):
    process = Process(
        ["exchange", "--port", str(port), "--symbols", "BTCUSDT", *more], environment(folder / "unused", 0), folder
    )
    process.wait_for("exchange http://", 60)
    return process


def test_an_exchange_elsewhere_is_known_by_its_account_and_not_by_its_address(tmp_path):
    journal, port, state = Journal(tmp_path / "data"), free_port(), str(tmp_path / "state")
    env = environment(tmp_path / "data", free_port())

    def trade(base):
        done = subprocess.run(
            [*QT, "run", "--exchange-url", base, "--duration", "1"],
            env=env, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stderr, len(journal.rows("SELECT 1 FROM sessions"))

    first = an_exchange(port, tmp_path, "--state", state)
    for starts, base in enumerate(("http://127.0.0.1:{}", "http://LOCALHOST:{}/", "HTTP://localhost:{}"), 1):
        said, counted = trade(base.format(port))
        assert counted == starts
        assert "put aside" not in said
    assert first.stop() == 0
    other = an_exchange(port, tmp_path)
    said, counted = trade(f"http://localhost:{port}")
    assert counted == 1
    assert "the exchange there has another account now" in said
    assert other.stop() == 0
    an_exchange(port, tmp_path, "--state", state)
    said, counted = trade(f"http://127.0.0.1:{port}")
    assert counted == 4, "the first account's journal came back"
    assert "goes on; it was in" in said


def test_an_exchange_that_is_started_anew_under_a_running_trader_stops_it(tmp_path):
    port = free_port()
    first = an_exchange(port, tmp_path)
    trader = Process(
        ["run", "--exchange-url", f"http://127.0.0.1:{port}"], environment(tmp_path / "data", free_port()), tmp_path
    )
    trader.wait_for("all actors are up", 60)
    assert first.stop() == 0
    an_exchange(port, tmp_path)
    trader.wait_for("the exchange has another account now", 30)
    assert trader.popen.wait(20) == 1


def test_a_bad_variable_is_one_line_and_exit_code_2(tmp_path):
    bad = {"QT_TP_PCT": "lots", "QT_MAX_POSITION": "3"}
    done = subprocess.run(
        [*QT, "run"], env=environment(tmp_path, 0, **bad), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "QT_MAX_POSITION is not a variable of this trader; did you mean QT_MAX_POSITIONS?",
        "QT_TP_PCT='lots' is not allowed: a number > 0 and ≤ 0.5",
    ]


def test_a_port_that_is_taken_is_one_line_and_nothing_is_said_to_have_stopped(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run(
            [*QT, "run"], env=environment(tmp_path, taken.getsockname()[1]),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "HTTP port" in done.stderr.splitlines()[-1]
    assert "stopped" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"\xff\xfe\x00", ".env cannot be read: it is not UTF-8"),
        (b"QT_TP_PCT=0.1\nmy key\n", ".env line 2 is not NAME"),
    ],
)
def test_a_bad_env_file_is_one_line_without_its_content(tmp_path, content, line):
    (tmp_path / ".env").write_bytes(content)
    env = environment(tmp_path / "data", 0, PYTHONPATH=str(Path(__file__).parents[2]))
    done = subprocess.run([*QT, "run"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(line)
    assert len(done.stderr.splitlines()) == 1
    assert "my key" not in done.stderr


@pytest.mark.parametrize("token", ["x", "fifteen-letters", "a space in the middle", "ü" * 16])
def test_a_weak_token_stops_the_start_and_is_not_repeated(tmp_path, token):
    done = subprocess.run(
        [*QT, "run"], env=environment(tmp_path, 0, QT_API_TOKEN=token),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == (
        "QT_API_TOKEN=*** is not allowed: 16 or more printable ASCII characters, none of them a space\n"
    )


@pytest.mark.parametrize(("redirected", "code"), [(">&-", 0), ("> /dev/full", 1), ("| head -1", 0)])
def test_an_output_that_cannot_be_written_is_no_traceback(tmp_path, redirected, code):
    next_generation(tmp_path / "journal.sqlite3", 1, "paper", "synthetic seed 1")
    done = subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -m qt_actors pnl {redirected}"],
        env=environment(tmp_path, 1, PYTHONIOENCODING="ascii"),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1 + code


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["run", "--mode", "live"], "--mode live is refused"),
        (["run", "--mode", "testnet"], "--mode testnet needs BINANCE_TESTNET_API_KEY"),
        (["run", "--replay", "/nowhere"], "no such folder"),
        (["run", "--exchange-url", "http://127.0.0.1:1"], "no embedded exchange answers there"),
        (["run", "--exchange-url", "https://fapi.binance.com"], "belongs to live"),
        (["run", "--from", "yesterday"], "is not a time"),
        (["run", "--symbols", "NOPEUSDT"], "NOPEUSDT"),
        (["run", "--speed", "-1"], "speed"),
        (["run", "--speed", "nan"], "--speed nan is not allowed"),
        (["run", "--seed", "-1"], "--seed -1 is not allowed"),
        (["run", "--seed", "99999999999999999999999"], "is not allowed; give a whole number"),
        (["run", "--from", "99999999999999999999"], "is not allowed; give a time"),
        (["run", "--symbols", ","], "none is named"),
        (["run", "--exchange-url", ""], "allowed is http://host"),
        (["run", "--exchange-url", "http://localhost:none"], "no embedded exchange answers there"),
        (["run", "--brackets", "b.json"], "go with --exchange-info"),
        (["exchange", "--speed", "0"], "--speed 0.0 is not allowed"),
        (["exchange", "--wallet", "inf"], "--wallet Infinity is not allowed"),
        (["exchange", "--from", "0"], "--from 0 is not allowed"),
        (["exchange", "--replay", "/nowhere"], "no such folder"),
        (["why", " "], "is no symbol"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_line_without_a_traceback(tmp_path, arguments, line):
    done = subprocess.run(
        [*QT, *arguments], env=environment(tmp_path, 0), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode in {1, 2}
    assert line in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["missing", "truncated", "interval"])
def test_an_unusable_model_file_is_named_and_the_others_trade_on(tmp_path, harm):
    models = tmp_path / "models"
    shutil.copytree(Path(__file__).parents[2] / "models" / "artifacts", models)
    if harm == "missing":
        (models / "xgb.onnx").unlink()
    elif harm == "truncated":
        (models / "xgb.onnx").write_bytes((models / "xgb.onnx").read_bytes()[:1000])
    else:
        manifest = json.loads((models / "xgb.json").read_text())
        (models / "xgb.json").write_text(json.dumps({**manifest, "interval": "15m"}))
    port = free_port()
    trader = Process(
        ["run", "--speed", "600", "--symbols", "BTCUSDT,ETHUSDT,SOLUSDT"],
        environment(tmp_path / "data", port, QT_MODELS_DIR=str(models)),
        tmp_path,
    )
    journal = Journal(tmp_path / "data")
    wait_until(lambda: journal.rows("SELECT 1 FROM decisions WHERE active = 3"), 60, trader.log.read_text)
    health = get(f"http://127.0.0.1:{port}/health")
    assert health["status"] == "degraded"
    assert health["ai_status"]["xgb"] == "missing"
    assert "xgb" in health["ai_reasons"]["xgb"]
    assert trader.stop() == 0


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
