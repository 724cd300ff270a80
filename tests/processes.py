"""The trader and its exchange as real processes, and what can be asked of them and of a run's journal."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from decimal import Decimal as D

QT = [sys.executable, "-m", "qt_actors"]
DEADLINE_S = 90.0
RUNNING: list[subprocess.Popen[bytes]] = []


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


def signed(base, path, secret="paper", **parameters):  # noqa: S107 # play money
    query = "".join(f"{name}={value}&" for name, value in parameters.items())
    query += f"timestamp={get(base + '/fapi/v1/time')['serverTime']}&recvWindow=60000"
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


def lacking(base, journal):
    """The newest income rows of the exchange that the journal does not have."""
    known = {
        (kind, int(number), symbol)
        for kind, number, symbol in journal.rows("SELECT kind, transaction_id, symbol FROM income")
    }
    rows = signed(base, "/fapi/v1/income", limit=1000)
    return [row for row in rows if (row["incomeType"], int(row["tranId"]), row["symbol"]) not in known]


def assert_books_agree(base, journal):
    """Positions, orders, wallet and fees in the journal are the exchange's, to the last digit."""
    account = signed(base, "/fapi/v3/account")
    income = journal.total("SELECT amount_usd FROM income")
    assert income == D(account["totalWalletBalance"]), f"the journal lacks {lacking(base, journal)}"
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
    resting = {(o["symbol"], 1, int(o["algoId"])) for o in stops}
    resting |= {(o["symbol"], 0, int(o["orderId"])) for o in signed(base, "/fapi/v1/openOrders")}
    assert set(journal.rows("SELECT symbol, conditional, exchange_id FROM orders WHERE final = 0")) == resting
    for symbol, quantity in held.items():
        side = "SELL" if quantity > 0 else "BUY"
        covering = [o for o in stops if o["symbol"] == symbol and o["orderType"] == "STOP_MARKET" and o["side"] == side]
        assert sum(D(o["quantity"]) for o in covering) >= abs(quantity)


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


def get_pause(base):
    return control(base, "pause")


def control(base, what):
    request = urllib.request.Request(f"{base}/qt/{what}", method="POST")
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


def risk_of(base):
    """The risk view, once the account is known."""
    told = get(f"{base}/api/risk")
    return told if told["known"] and told["equity_usd"] else None
