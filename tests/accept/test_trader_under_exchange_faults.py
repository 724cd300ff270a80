"""The trader as a process on an exchange that fails all the time: nothing bare, nothing twice, well again by itself."""

from __future__ import annotations

import json
import re
import time
import urllib.request

import pytest

from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.faults.reading import faults_of
from qt_actors.exchange.server import serve_in_thread
from tests.processes import (
    D,
    Journal,
    assert_books_agree,
    assert_every_entry_had_its_stop_first,
    free_port,
    get,
    get_pause,
    start_trader,
    wait_until,
)

SYMBOLS = "BTCUSDT,ETHUSDT,BNBUSDT,SOLUSDT,XRPUSDT,ADAUSDT,DOGEUSDT,LINKUSDT,AVAXUSDT,LTCUSDT,DOTUSDT,NEARUSDT"
PLACING = {"method": "POST", "path": "/fapi/v1/*rder", "seed": 11}
FAULTS = [
    *({"kind": kind, "probability": 0.12, **PLACING} for kind in ("unknown_executed", "unknown_not_executed")),
    *({"kind": kind, "probability": 0.08, **PLACING} for kind in ("internal_error", "partial_reply", "drop")),
    {"kind": "drop", "executed": True, "probability": 0.08, **PLACING},
    {"kind": "latency", "ms": 20, "jitter_ms": 800, "executed": True, "probability": 0.2, **PLACING},
    {"kind": "expire_order", "ms": 100, "probability": 0.05, "seed": 11, "path": "/fapi/v1/algoOrder"},
    {"kind": "no_liquidity", "probability": 0.1, "seed": 11},
    {"kind": "delayed_fill", "ms": 500, "jitter_ms": 2000, "probability": 0.2, "seed": 11},
    *({"kind": kind, "stream": "user", "probability": 0.1, "seed": 11} for kind in ("drop", "duplicate", "reorder")),
    {"kind": "disconnect", "every_s": 7, "probability": 0.5, "seed": 11},
    {"kind": "dead", "every_s": 11, "probability": 0.5, "seed": 11},
    {"kind": "listen_key_loss", "every_s": 13, "probability": 0.5, "seed": 11},
    {"kind": "expire_open", "every_s": 45, "probability": 0.7, "seed": 11},
]

BARE_S_MAX = 8.0
"""A stop that ends unheard is seen missing by the account's next two rounds and placed again at most 2 s later; here a
round is asked for every second, its requests fail like all others."""


def bare(served):
    """Symbols whose position is larger than what its stops cover, at one moment of the exchange's own thread."""

    async def look():
        now, engine = served.clock.now_ms(), served.engine
        held = {row["symbol"]: D(row["positionAmt"]) for row in engine.position_risk_v3({}, now)}
        stops = [row for row in engine.open_algo_orders({}, now) if row["orderType"] == "STOP_MARKET"]
        covered = {(row["symbol"], row["side"]): D(0) for row in stops}
        for row in stops:
            covered[row["symbol"], row["side"]] += D(row["quantity"])
        return {s for s, amount in held.items() if abs(amount) > covered.get((s, "SELL" if amount > 0 else "BUY"), 0)}

    return served._call(look())


@pytest.fixture
def served():
    config = ExchangeConfig(
        symbols=SYMBOLS, speed=600.0, faults=faults_of("\n".join(json.dumps(fault) for fault in FAULTS), "test"),
        request_weight_max=24_000, orders_minute_max=12_000, orders_ten_seconds_max=3_000,
    )  # fmt: skip
    exchange = serve_in_thread(config)
    yield exchange
    exchange.stop()


@pytest.mark.slow
def test_random_faults_leave_nothing_bare_enter_nothing_twice_and_the_books_equal(served, tmp_path):
    base, http_port = f"http://127.0.0.1:{served.port}", free_port()
    trader = start_trader(
        base, tmp_path, http_port, QT_MAX_HOLDING_BARS="3", QT_MAX_LOSING_STREAK="100", QT_CONFIDENCE_THRESHOLD="0.05"
    )
    journal = Journal(tmp_path / "data")
    since, longest_s = {}, 0.0

    def has_seen_enough():
        nonlocal longest_s
        now, without = time.monotonic(), bare(served)
        for symbol in without:
            longest_s = max(longest_s, now - since.setdefault(symbol, now))
        for symbol in since.keys() - without:
            del since[symbol]
        happened = {row["kind"]: row["happened"] for row in get(f"{base}/qt/faults") if row["happened"]}
        return len(happened) >= 8 and "expire_open" in happened and len(journal.entries()) >= 6

    wait_until(has_seen_enough, 180, trader.log.read_text)
    print(f"longest without its stop: {longest_s:.1f} s")
    assert longest_s < BARE_S_MAX

    urllib.request.urlopen(urllib.request.Request(f"{base}/qt/faults", method="DELETE"), timeout=10).close()
    (last,) = journal.rows("SELECT max(close_time_ms) FROM decisions")[0]
    wait_until(lambda: get(f"http://127.0.0.1:{http_port}/health")["status"] == "healthy", 90, trader.log.read_text)
    wait_until(lambda: journal.rows("SELECT 1 FROM decisions WHERE close_time_ms > ?", last), 60, trader.log.read_text)
    get_pause(base)
    assert trader.stop() == 0
    assert_books_agree(base, journal)
    assert_every_entry_had_its_stop_first(journal)
    entered = [re.sub(r"[0-9]+$", "", row[0]) for row in journal.rows(
        "SELECT DISTINCT client_id FROM fills WHERE client_id GLOB '*-e[0-9]*'"
    )]  # fmt: skip
    assert entered
    assert len(entered) == len(set(entered)), "a decision was entered twice"
    assert "Traceback" not in trader.log.read_text()
