"""Where a market source lets the price walk and where it jumps, seen from an account's stops."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.virtual import VirtualExchange
from tests.candle_folders import MINUTE_MS, START_MS, candles

if TYPE_CHECKING:
    from pathlib import Path

BAR = 15 * MINUTE_MS
QUIET = 200


def last_fill(exchange: VirtualExchange, symbol: str = "AUSDT") -> Decimal:
    return Decimal(exchange.request("GET", "/fapi/v1/userTrades", symbol=symbol)[-1]["price"])


def protected(exchange: VirtualExchange, trigger: str, symbol: str = "AUSDT", **more: Any) -> None:
    """A long position of one and its stop."""
    wire = {"symbol": symbol, "quantity": "1"}
    exchange.request("POST", "/fapi/v1/order", side="BUY", type="MARKET", **wire)
    exchange.request(
        "POST", "/fapi/v1/algoOrder", algoType="CONDITIONAL", side="SELL", type="STOP_MARKET", triggerPrice=trigger,
        reduceOnly="true", **wire, **more,
    )  # fmt: skip


@pytest.fixture
def exchange(tmp_path: Path) -> VirtualExchange:
    """A long quiet market around 100, a bar that falls from 100 to 90, one that opens at 80."""
    quiet = candles(QUIET, seed=1)
    last = quiet["open_time"][-1]
    flat = quiet.with_columns(*(pl.lit(100.01).alias(name) for name in ("open", "high", "low", "close")))
    falls = pl.DataFrame(
        {
            "open_time": [last + BAR, last + 2 * BAR, last + 3 * BAR],
            "open": [100.0, 80.0, 82.0],
            "high": [101.0, 84.0, 82.0],
            "low": [90.0, 78.0, 82.0],
            "close": [91.0, 82.0, 82.0],
            "volume": [500.0, 500.0, 500.0],
        }
    )
    pl.concat([flat, falls]).write_parquet(tmp_path / "AUSDT.parquet")
    start = START_MS + QUIET * BAR - 1_000
    return VirtualExchange(ExchangeConfig(replay=str(tmp_path), start_ms=start, detail=1))


@pytest.mark.parametrize("working", ["CONTRACT_PRICE", "MARK_PRICE"])
def test_a_stop_inside_a_candle_fills_at_its_trigger_though_the_path_has_four_points(
    exchange: VirtualExchange, working: str
) -> None:
    protected(exchange, "96.50", workingType=working)
    exchange.next_bar()
    exchange.next_bar()
    assert abs(last_fill(exchange) - Decimal("96.50")) < Decimal("0.25"), "and not at the low of 90"


def test_a_stop_between_the_last_close_and_the_open_fills_at_the_open(exchange: VirtualExchange) -> None:
    protected(exchange, "88.00")
    exchange.next_bar()
    exchange.next_bar()
    exchange.advance(exchange.now_ms + 1)
    assert abs(last_fill(exchange) - 80) < Decimal("0.25")


def test_between_captured_prints_nobody_knows_what_was_traded(tmp_path: Path) -> None:
    """Mark and last jump from 60,000 to 59,000: the stop at 59,800 sells at the bid that was seen."""
    begin = START_MS

    def frame(kind: str, time_ms: int, **fields: Any) -> str:
        data = {"e": kind, "E": begin + time_ms, "T": begin + time_ms, "s": "BTCUSDT", **fields}
        return f"17 {json.dumps({'stream': 'x', 'data': data})}\n"

    def seen(time_ms: int, bid: str, ask: str) -> str:
        ticker = frame("bookTicker", time_ms, u=1, b=bid, B="50", a=ask, A="50")
        return ticker + frame("trade", time_ms + 1, t=1, p=bid, q="1", X="MARKET", m=True)

    lines = [seen(1_000, "60000.0", "60000.1"), seen(70_000, "59000.0", "59000.1"), seen(80_000, "59000.0", "59000.1")]
    path = tmp_path / "capture.jsonl.gz"
    path.write_bytes(gzip.compress("".join(lines).encode()))
    exchange = VirtualExchange(ExchangeConfig(replay=str(path)))
    exchange.advance(begin + 2_000)
    protected(exchange, "59800", "BTCUSDT")
    exchange.advance(begin + 75_000)
    assert last_fill(exchange, "BTCUSDT") == 59000
