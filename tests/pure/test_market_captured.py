"""Captured frames as a market: what was captured is what the streams, REST and the matching engine tell again."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from qt_actors.exchange.candle_files import MarketDataError
from qt_actors.exchange.captured import CapturedMarket
from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.virtual import VirtualExchange

CAPTURE = "btcusdt_usdm_2024-08-08.gz"
BEGIN = 1_700_000_000_000 // 60_000 * 60_000


def frame(kind: str, time_ms: int, **fields: Any) -> str:
    data = {"e": kind, "E": BEGIN + time_ms + 1, "T": BEGIN + time_ms, "s": "BTCUSDT", **fields}
    return f"17 {json.dumps({'stream': 'x', 'data': data})}\n"


def told_trade(time_ms: int, price: str, quantity: str, *, sold: bool) -> str:
    return frame("trade", time_ms, t=1, p=price, q=quantity, X="MARKET", m=sold)


def ticker(time_ms: int, bid: tuple[str, str], ask: tuple[str, str]) -> str:
    return frame("bookTicker", time_ms, u=1, b=bid[0], B=bid[1], a=ask[0], A=ask[1])


def diff(time_ms: int, ids: tuple[int, int, int], bids: list[list[str]], asks: list[list[str]]) -> str:
    return frame("depthUpdate", time_ms, U=ids[0], u=ids[1], pu=ids[2], b=bids, a=asks)


LINES = [
    '{"lastUpdateId": 10, "bids": [["100.0", "5"], ["99.5", "7"]], "asks": [["100.1", "2"], ["100.4", "9"]]}\n',
    ticker(1_000, ("100.0", "5"), ("100.1", "2")),
    told_trade(1_500, "100.1", "0.5", sold=False),
    diff(2_000, (8, 9, 7), [["98.0", "77"]], []),
    diff(3_000, (11, 12, 9), [["99.5", "0.000"], ["99.0", "4"]], [["100.3", "1"]]),
    ticker(3_000, ("100.0", "3"), ("100.1", "0.3")),
    told_trade(3_000, "100.0", "0.25", sold=True),
    told_trade(3_000, "100.0", "0.5", sold=True),
    ticker(65_000, ("100.2", "1"), ("100.3", "1")),
    told_trade(66_000, "100.2", "2", sold=True),
]  # fmt: skip


@pytest.fixture
def exchange(tmp_path: Path) -> VirtualExchange:
    path = tmp_path / "capture.jsonl.gz"
    path.write_bytes(gzip.compress("".join(LINES).encode()))
    return VirtualExchange(ExchangeConfig(replay=str(path)))


def told(exchange: VirtualExchange, time_ms: int, kind: str) -> list[Any]:
    return [one["data"] for one in exchange.advance(BEGIN + time_ms) if one["data"]["e"] == kind]


def test_the_touch_and_the_book_are_those_that_were_captured(exchange: VirtualExchange) -> None:
    exchange.advance(BEGIN + 2_999)
    book = exchange.request("GET", "/fapi/v1/depth", symbol="BTCUSDT", limit=5)
    assert book["bids"] == [["100.00", "5.000"], ["99.50", "7.000"]], "a diff before the snapshot is not applied"
    assert book["asks"] == [["100.10", "2.000"], ["100.40", "9.000"]]
    exchange.advance(BEGIN + 3_000)
    book = exchange.request("GET", "/fapi/v1/depth", symbol="BTCUSDT", limit=5)
    assert book["bids"] == [["100.00", "3.000"], ["99.00", "4.000"]]
    assert book["asks"] == [["100.10", "0.300"], ["100.30", "1.000"], ["100.40", "9.000"]]


def test_trades_make_the_prints_and_the_candles(exchange: VirtualExchange) -> None:
    exchange.subscribe("btcusdt@aggTrade", "btcusdt@kline_1m")
    (second,) = told(exchange, 3_500, "aggTrade")
    assert (second["p"], second["q"], second["m"]) == ("100.00", "0.750", True)
    closed = [one["k"] for one in told(exchange, 60_000, "kline") if one["k"]["x"]]
    assert [(one["o"], one["h"], one["l"], one["c"], one["v"], one["V"]) for one in closed] == [
        ("100.10", "100.10", "100.00", "100.00", "1.250", "0.500")
    ]


def test_a_taker_eats_through_the_captured_levels(exchange: VirtualExchange) -> None:
    exchange.advance(BEGIN + 3_100)
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "1.5"}
    exchange.request("POST", "/fapi/v1/order", **order)
    fills = exchange.request("GET", "/fapi/v1/userTrades", symbol="BTCUSDT")
    assert [(fill["price"], fill["qty"]) for fill in fills] == [
        ("100.10", "0.300"), ("100.30", "1.000"), ("100.40", "0.200")
    ]  # fmt: skip


def test_going_back_in_a_capture_starts_its_book_over(exchange: VirtualExchange) -> None:
    exchange.advance(BEGIN + 3_100)
    exchange.request("GET", "/fapi/v1/depth", symbol="BTCUSDT", limit=5)
    exchange.exchange.start_over(BEGIN + 2_000)
    book = exchange.request("GET", "/fapi/v1/depth", symbol="BTCUSDT", limit=5)
    assert book["bids"] == [["100.00", "5.000"], ["99.50", "7.000"]]


@pytest.mark.parametrize("text", ["", "no frame\n", '{"e":"trade"}\n', "{\n", ticker(1, ("1", "1"), ("2", "1"))])
def test_a_file_without_a_market_in_it_is_one_line_that_names_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "capture.jsonl"
    path.write_text(text)
    with pytest.raises(MarketDataError) as caught:
        CapturedMarket(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_captured_minutes_of_bitcoin_replay_with_its_own_last_book_and_best_prices(real_data: Path) -> None:
    path = real_data / "ws_capture" / CAPTURE
    frames = [json.loads(line.split(b" ", 1)[1]) for line in gzip.decompress(path.read_bytes()).splitlines()]
    exchange = VirtualExchange(ExchangeConfig(replay=str(path)))
    exchange.subscribe("btcusdt@depth@100ms", "btcusdt@bookTicker", "btcusdt@aggTrade")
    volume = 0.0
    end = max(one["data"]["T"] for one in frames if "data" in one)
    for moment in range(exchange.now_ms + 2_000, end + 2_000, 2_000):
        volume += sum(float(one["data"]["q"]) for one in exchange.advance(moment) if one["data"]["e"] == "aggTrade")
    last = [one["data"] for one in frames if one.get("data", {}).get("e") == "bookTicker"][-1]
    best = exchange.request("GET", "/fapi/v1/ticker/bookTicker", symbol="BTCUSDT")
    assert (best["bidPrice"], best["bidQty"], best["askPrice"], best["askQty"]) == (
        last["b"], last["B"], last["a"], last["A"]
    )  # fmt: skip
    traded = sum(float(one["data"]["q"]) for one in frames if one.get("data", {}).get("e") == "trade")
    assert volume == pytest.approx(traded, abs=0.1)
    book: dict[str, str] = dict(next(one for one in frames if "lastUpdateId" in one)["bids"])
    for one in frames:
        if one.get("data", {}).get("e") == "depthUpdate" and one["data"]["u"] >= 5123107852948:
            book.update(dict(one["data"]["b"]))
    behind = sorted((float(price), float(size)) for price, size in book.items() if float(size))[::-1]
    told_bids = exchange.request("GET", "/fapi/v1/depth", symbol="BTCUSDT", limit=1000)["bids"]
    below = [level for level in behind if level[0] < float(best["bidPrice"])][:999]
    assert [(float(price), float(size)) for price, size in told_bids[1:]] == below
