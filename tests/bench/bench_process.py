"""The whole trader as a process: seconds to the first decision, CPU share and peak memory at 78 and 222 symbols.

Candles are random walks in a folder of Parquet files, replayed at a minute a second by the embedded exchange in the
same process. Prints JSON a run. Run alone: ``python tests/bench/bench_process.py``.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import polars as pl

HOUR_MS = 3_600_000
BARS = 800
SECONDS = 30.0


def candles(folder, symbols):
    """Write SYMBOL.parquet files of random walks with a common factor."""
    random = np.random.default_rng(11)
    times = 1_750_000_000_000 // HOUR_MS * HOUR_MS + HOUR_MS * np.arange(BARS)
    market = random.normal(0, 0.005, BARS)
    for index in range(symbols):
        name = "BTCUSDT" if index == 0 else f"B{index:03}USDT"
        close = np.round(100 * np.exp(np.cumsum(market + random.normal(0, 0.007, BARS))), 3)
        opens = np.concatenate([close[:1], close[:-1]])
        frame = pl.DataFrame(
            {
                "open_time": times,
                "open": opens,
                "high": np.round(np.maximum(opens, close) * 1.002, 3),
                "low": np.round(np.minimum(opens, close) * 0.998, 3),
                "close": close,
                "volume": np.round(random.uniform(5e4, 9e4, BARS), 0),
            }
        )
        frame.write_parquet(folder / f"{name}.parquet")


def peak_mb(pid):
    """Peak resident memory so far, MB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found.group(1)) / 1024 if found else float("nan")


def cpu_s(pid):
    """User and system seconds so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def decided(journal):
    """Whether the journal holds a decision."""
    try:
        with sqlite3.connect(f"file:{journal}?mode=ro", uri=True) as connection:
            return connection.execute("SELECT count(*) FROM decisions").fetchone()[0] > 0
    except sqlite3.OperationalError:
        return False


def measure(symbols):
    """Run the trader on ``symbols`` symbols for half a minute."""
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        (base / "candles").mkdir()
        candles(base / "candles", symbols)
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("QT_", "RM_"))}
        env = {**clean, "QT_DATA_DIR": str(base / "data"), "QT_HTTP_PORT": "0", "QT_MIN_VOLUME_24H": "0"}
        command = [sys.executable, "-m", "qt_actors", "run", "--replay", str(base / "candles"), "--speed", "60"]
        started = time.monotonic()
        with (base / "log").open("w") as log:
            process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
        tick, first_s = threading.Event(), float("nan")
        while time.monotonic() - started < SECONDS:
            if not first_s > 0 and decided(base / "data" / "journal.sqlite3"):
                first_s = time.monotonic() - started
            tick.wait(0.05)
        found = {
            "symbols": symbols,
            "first_decision_s": round(first_s, 1),
            "cpu_share_of_one_core": round(cpu_s(process.pid) / SECONDS, 2),
            "peak_rss_mb": round(peak_mb(process.pid)),
        }
        process.send_signal(signal.SIGINT)
        stopping = time.monotonic()
        process.wait(30)
        found["stop_s"] = round(time.monotonic() - stopping, 1)
        return found


if __name__ == "__main__":
    for count in (78, 222):
        print(json.dumps(measure(count)), flush=True)
