"""What a stream of contract changes tells, and what control frames are no requests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.exchange import Exchange
from qt_actors.exchange.streams import control_reply
from qt_actors.exchange.subscribers import Subscriber
from qt_actors.exchange.virtual import VirtualExchange
from tests.candle_folders import MINUTE_MS, START_MS, candles, folder

if TYPE_CHECKING:
    from pathlib import Path

BAR = 15 * MINUTE_MS


def test_who_listens_for_listings_hears_of_listings_alone(tmp_path: Path) -> None:
    path = folder(tmp_path / "candles", ["AUSDT"], 300)
    candles(40, seed=5, start_ms=START_MS + 150 * BAR).write_parquet(path / "BUSDT.parquet")
    exchange = VirtualExchange(ExchangeConfig(replay=str(path), start_ms=START_MS + 100 * BAR))
    exchange.subscribe("!contractInfo")
    heard: list[Any] = []
    while not exchange.ended:
        heard += [one["data"] for one in exchange.next_bar()]
    assert [(one["e"], one["s"], one["cs"]) for one in heard] == [
        ("contractInfo", "BUSDT", "TRADING"), ("contractInfo", "BUSDT", "SETTLING"),
        ("contractInfo", "AUSDT", "SETTLING"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "names", "number", "code"),
    [
        ("SUBSCRIBE", ["btcusdt@kline_1m"], -5, 2),
        ("SUBSCRIBE", ["btcusdt@kline_1m"], True, 2),
        ("SUBSCRIBE", ["btcusdt@kline_1m"], 1.5, 2),
        ("SET_PROPERTY", ["combined", 1], 1, 2),
        ("SET_PROPERTY", ["combined", "true"], 1, 2),
        ("SET_PROPERTY", ["combined"], 1, 2),
        ("SET_PROPERTY", ["combined", True], 1, None),
        ("SUBSCRIBE", ["btcusdt@kline_1m"], 0, None),
        ("SUBSCRIBE", ["btcusdt@kline_1m"], "abc", None),
    ],
)
def test_a_control_frame_is_answered_with_a_code_or_done(
    method: str, names: list[Any], number: Any, code: int | None
) -> None:
    exchange = Exchange(ExchangeConfig(symbols="BTCUSDT"))
    client = Subscriber(asyncio.Transport(), "market", combined=False)
    reply = control_reply(orjson.dumps({"method": method, "params": names, "id": number}), client, exchange)
    assert reply.get("error", {}).get("code") == code
    assert bool(client.streams) == (code is None and method == "SUBSCRIBE")
    assert client.combined == (code is None and method == "SET_PROPERTY")
