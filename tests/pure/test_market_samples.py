"""Market payloads against samples of the real exchange: the same keys, the same JSON types."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from qt_actors.exchange import kline_replies, market_replies, price_klines, stream_frames, trade_replies
from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.exchange import Exchange

if TYPE_CHECKING:
    from pathlib import Path

    from qt_actors.exchange.market import Market

# Newer than the samples (reference: 2025 and 2026 changes), or in the samples of one venue only.
NEWER = {"nq", "ap", "isRPITrade", "rateType", "st", "ps", "time"}
SYMBOL = {"symbol": "BTCUSDT"}


@pytest.fixture(scope="module")
def market() -> Market:
    return Exchange(ExchangeConfig(symbols="BTCUSDT", speed=1.0)).market


def shape(value: Any) -> Any:
    """Keys and JSON types, of a list its first element's."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def differences(ours: Any, theirs: Any, where: str = "") -> list[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        odd = [f"{where}.{key} is not in the sample" for key in ours.keys() - theirs.keys() - NEWER]
        odd += [f"{where}.{key} is missing" for key in theirs.keys() - ours.keys() - NEWER]
        return odd + [
            line
            for key in ours.keys() & theirs.keys()
            for line in differences(ours[key], theirs[key], f"{where}.{key}")
        ]
    if isinstance(ours, list) and isinstance(theirs, list):
        return differences(ours[0], theirs[0], f"{where}[]") if ours and theirs else []
    return [] if ours == theirs else [f"{where} is {ours}, in the sample {theirs}"]


def test_stream_payloads_have_the_keys_and_types_of_the_real_ones(real_data: Path, market: Market) -> None:
    samples = real_data / "message_samples" / "nautilus"
    forming = market.forming("1m")
    candle = forming.data[:, 0].tolist()
    made = {
        "derived_docs/market_data_json/kline_stream_open.json": stream_frames.kline(
            market, forming, 0, candle, closed=False, continuous=False
        ),
        "derived_docs/market_data_json/kline_stream_closed.json": stream_frames.kline(
            market, forming, 0, candle, closed=True, continuous=False
        ),
        "derived_docs/market_data_json/mark_price_stream.json": stream_frames.mark_price(market, 0),
        "derived_docs/market_data_json/book_ticker_stream.json": stream_frames.book_ticker(market, 0),
        "ws_messages/ws_futures_depth_update.json": stream_frames.partial_depth(market, 0, 5, 1),
        "derived_docs/market_data_json/agg_trade_stream.json": stream_frames.agg_trade(market, 0, 1.0),
        "derived_docs/market_data_json/ticker_stream.json": stream_frames.day_ticker(market, 0),
    }
    for name, ours in made.items():
        theirs = json.loads((samples / name).read_text())
        assert differences(shape(ours), shape(theirs)) == [], name


def pushed(samples: Path, name: str) -> Any:
    """The event of a subscription fixture: what stands after the line that begins with "="."""
    text = (samples / "binance_net" / "Subscriptions" / "UsdFutures" / f"{name}.txt").read_text()
    told = json.loads(text[text.index("\n=") + 2 :])["data"]
    return told[0] if isinstance(told, list) else told


def test_stream_payloads_have_the_keys_of_what_another_library_was_sent(real_data: Path, market: Market) -> None:
    forming = market.forming("1m")
    candle = forming.data[:, 0].tolist()
    texts = {"s": "BTCUSDT", "S": "SELL", "o": "LIMIT", "f": "IOC", "q": "1", "p": "9", "ap": "9", "l": "1", "z": "1"}
    liquidated = {**texts, "T": 5, "c": "autoclose-1", "X": "FILLED", "x": "CALCULATED"}
    made = {
        "ContKlines": stream_frames.kline(market, forming, 0, candle, closed=False, continuous=True),
        "MiniTicker": stream_frames.mini_ticker(market, 0),
        "Ticker": stream_frames.day_ticker(market, 0),
        "MarkPrice": stream_frames.mark_price(market, 0),
        "BookTicker": stream_frames.book_ticker(market, 0),
        "AggTrades": stream_frames.agg_trade(market, 0, 1.0),
        "PartialBook": stream_frames.partial_depth(market, 0, 5, 1),
        "Book": stream_frames.diff_depth(market, 0, 1, market.side(0, -1, 5), market.side(0, 1, 5)),
        "Liquidations": stream_frames.force_order(liquidated, 6),
        "SymbolUpdates": stream_frames.contract_info(market, 0, "TRADING"),
    }
    for name, ours in made.items():
        theirs = pushed(real_data / "message_samples", name)
        assert differences(shape(ours), shape(theirs)) == [], name


def test_captured_frames_have_the_shapes_of_ours(real_data: Path, market: Market) -> None:
    raw = (real_data / "ws_capture" / "btcusdt_usdm_2024-08-08.gz").read_bytes()
    captured: dict[str, Any] = {}
    for line in gzip.decompress(raw).splitlines()[:200]:
        told = json.loads(line.split(b" ", 1)[1])
        frame = told.get("data", told)
        captured.setdefault(frame.get("e", "depth"), frame)
    made = {
        "depthUpdate": stream_frames.diff_depth(market, 0, 1, market.side(0, -1, 5), market.side(0, 1, 5)),
        "bookTicker": stream_frames.book_ticker(market, 0),
        "trade": stream_frames.trade(market, 0, 1.0),
        "depth": market_replies.depth(market, {**SYMBOL, "limit": "5"}),
    }
    assert set(captured) == set(made)
    for kind, ours in made.items():
        assert differences(shape(ours), shape(captured[kind])) == [], kind
    for side in ("b", "a"):
        levels = captured["depthUpdate"][side]
        assert [float(price) for price, _ in levels] == sorted(float(price) for price, _ in levels), "by price"


def test_rest_replies_have_the_keys_and_types_of_the_real_ones(real_data: Path, market: Market) -> None:
    samples = real_data / "message_samples" / "nautilus" / "http_responses"
    candles = {**SYMBOL, "interval": "1h", "limit": "3"}
    made = {
        "klines": kline_replies.klines(market, candles),
        "continuous_klines": kline_replies.continuous_klines(
            market, {**candles, "pair": "BTCUSDT", "contractType": "PERPETUAL"}
        ),
        "mark_price_klines": price_klines.mark_price_klines(market, candles),
        "index_price_klines": price_klines.index_price_klines(market, {**candles, "pair": "BTCUSDT"}),
        "depth": market_replies.depth(market, {**SYMBOL, "limit": "5"}),
        "book_ticker": market_replies.book_ticker(market, SYMBOL),
        "ticker_price": market_replies.price_ticker(market, SYMBOL),
        "ticker_24hr": market_replies.day_ticker(market, SYMBOL),
        "premium_index": market_replies.premium_index(market, SYMBOL),
        "open_interest": market_replies.open_interest(market, SYMBOL),
        "trades": trade_replies.trades(market, SYMBOL),
        "agg_trades": trade_replies.agg_trades(market, SYMBOL),
        "historical_trades": trade_replies.historical_trades(market, SYMBOL),
    }
    for name, ours in made.items():
        theirs = json.loads((samples / f"http_futures_market_{name}.json").read_text())
        assert differences(shape(ours), shape(theirs)) == [], name
    rate = market_replies.funding_rates(market, SYMBOL)
    assert set(rate[0]) == {"symbol", "fundingRate", "fundingTime", "markPrice", "rateType"}
