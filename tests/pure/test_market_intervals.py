"""Closed candles of every interval, and listings, as the streams tell them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qt_actors.exchange.candles import CLOSE, VOLUME, aggregate, row_candles
from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.intervals import DAY_MS, INTERVAL_MS
from qt_actors.exchange.virtual import VirtualExchange
from tests.candle_folders import HOUR_MS, MINUTE_MS, START_MS, candles, folder

if TYPE_CHECKING:
    from pathlib import Path

BAR = 15 * MINUTE_MS


@pytest.mark.parametrize(
    ("base_ms", "days", "intervals"),
    [
        (MINUTE_MS, 3, [name for name, length in INTERVAL_MS.items() if length <= DAY_MS]),
        (HOUR_MS, 75, [name for name, length in INTERVAL_MS.items() if length >= HOUR_MS]),
        (DAY_MS, 130, ["1d", "3d", "1w", "1M"]),
    ],
)
@pytest.mark.parametrize("jump", [7_919_000, 40_000_003])
def test_every_closed_candle_of_every_interval_is_told_once_in_order_with_the_files_prices(
    tmp_path: Path, base_ms: int, days: int, intervals: list[str], jump: int
) -> None:
    bars = days * DAY_MS // base_ms
    path = folder(tmp_path / "candles", ["AUSDT", "BUSDT"], bars, interval_ms=base_ms)
    begin, end = START_MS + DAY_MS, START_MS + days * DAY_MS
    exchange = VirtualExchange(ExchangeConfig(replay=str(path), start_ms=begin, detail=1))
    exchange.subscribe(*(f"{symbol}@kline_{interval}" for symbol in ("ausdt", "busdt") for interval in intervals))
    told = defaultdict(list)
    while exchange.now_ms < end:
        for one in exchange.advance(min(end, exchange.now_ms + jump)):
            candle = one["data"]["k"]
            if candle["x"]:
                told[candle["s"], candle["i"]].append(candle)
    grid = exchange.exchange.market.source.read(START_MS, end)
    for row, symbol in enumerate(("AUSDT", "BUSDT")):
        for interval in intervals:
            truth = aggregate(row_candles(grid, row), interval)
            heard = told[symbol, interval]
            opens = [candle["t"] for candle in heard]
            closes = [candle["T"] + 1 for candle in heard]
            assert np.isin(opens, truth.opens).all()
            assert opens[1:] == closes[:-1], "none is missing"
            assert closes[-1] + (closes[-1] - opens[-1]) > end
            first = 0 if opens[0] >= begin else 1  # the one that ran when the exchange began has what came before, too
            for candle in heard[first:]:
                place = int(np.searchsorted(truth.opens, candle["t"]))
                assert [float(candle[key]) for key in "ohlc"] == truth.data[: CLOSE + 1, place].tolist()
                assert float(candle["v"]) == pytest.approx(truth.data[VOLUME, place], abs=1e-2)


def test_a_listing_and_a_delisting_are_told_and_nothing_of_a_symbol_outside_its_life(tmp_path: Path) -> None:
    path = folder(tmp_path / "candles", ["AUSDT"], 300)
    candles(40, seed=5, start_ms=START_MS + 150 * BAR).write_parquet(path / "BUSDT.parquet")
    exchange = VirtualExchange(ExchangeConfig(replay=str(path), start_ms=START_MS + 100 * BAR))
    exchange.subscribe("!contractInfo", "busdt@kline_15m", "busdt@markPrice@1s", "busdt@bookTicker", "!markPrice@arr")
    heard: list[dict[str, Any]] = []
    while not exchange.ended:
        for one in exchange.next_bar():
            heard += one["data"] if isinstance(one["data"], list) else [one["data"]]
    heard = [data for data in heard if data["s"] == "BUSDT"]
    born, gone = START_MS + 150 * BAR, START_MS + 190 * BAR
    told = [(data["E"], data["cs"]) for data in heard if data["e"] == "contractInfo"]
    assert told == [(born, "TRADING"), (gone, "SETTLING")]
    assert min(data["E"] for data in heard) >= born
    after = [data for data in heard if data["E"] > gone]
    assert {(data["e"], data["T"], data["r"]) for data in after} == {("markPriceUpdate", 0, "0.00000000")}
