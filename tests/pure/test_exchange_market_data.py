"""What the embedded exchange's market data say of each other: one trade, one price, one candle, wherever one asks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from qt_actors.exchange import data_replies, kline_replies, market_replies, price_klines, trade_replies
from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.errors import ExchangeError
from qt_actors.exchange.exchange import Exchange
from tests.candle_folders import START_MS, candles

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from qt_actors.exchange.forming import Forming
    from qt_actors.exchange.market import Market
    from qt_actors.exchange.quotes import Quote

BTC = {"symbol": "BTCUSDT"}
PAIR = {"pair": "BTCUSDT"}
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000


class Ear:
    """Hears every price point of the market."""

    def __init__(self) -> None:
        self.quotes: list[Quote] = []

    def watched(self) -> Collection[str] | None:
        return None

    def quoted(self, quotes: list[Quote]) -> None:
        self.quotes += [quote for quote in quotes if quote.symbol == "BTCUSDT"]

    def closed(self, forming: Forming) -> None:
        pass

    def settled(self, symbol: str, rate: float, time_ms: int) -> None:
        pass


@pytest.fixture(scope="module")
def walked() -> tuple[Market, list[Quote]]:
    """A market that has walked twenty minutes past a funding time, and what was heard."""
    market = Exchange(ExchangeConfig(symbols=("BTCUSDT", "ETHUSDT"), seed=5, speed=1.0, detail=250)).market
    ear = Ear()
    market.advance(market.now_ms + 20 * MINUTE_MS + 12_345, ear)
    return market, ear.quotes


def code_of(act: Callable[[], Any]) -> int:
    with pytest.raises(ExchangeError) as caught:
        act()
    return caught.value.code


@pytest.mark.parametrize("kind", ["mark", "index"])
def test_price_candles_hold_what_the_running_price_was(walked: tuple[Market, list[Quote]], kind: str) -> None:
    market, quotes = walked
    ask = price_klines.mark_price_klines if kind == "mark" else price_klines.index_price_klines
    rows = ask(market, {**BTC, **PAIR, "interval": "1m", "limit": "15"})
    assert len(rows) == 15
    for opened, *prices, _, closes, _, count, _, _, _ in rows:
        heard = [float(getattr(quote, kind)) for quote in quotes if opened <= quote.time_ms <= closes]
        expected = (heard[0], max(heard), min(heard), heard[-1])
        assert [float(price) for price in prices] == pytest.approx(expected, abs=1e-3), opened
        assert count == (60 if closes <= market.now_ms else 13)


def test_premium_candles_are_the_traded_price_over_the_index(walked: tuple[Market, list[Quote]]) -> None:
    market, quotes = walked
    last = price_klines.premium_index_klines(market, {**BTC, "interval": "5m", "limit": "3"})[-2]
    heard = [float(q.last / q.index - 1) for q in quotes if last[0] <= q.time_ms <= last[6]]
    assert [float(price) for price in last[1:5]] == pytest.approx(
        (heard[0], max(heard), min(heard), heard[-1]), abs=1e-7
    )
    assert max(heard) > 0 > min(heard)


def test_price_candles_have_the_times_of_the_traded_ones_at_every_interval(walked: tuple[Market, list[Quote]]) -> None:
    market, _ = walked
    for interval in ("1m", "3m", "1h", "4h", "1d", "1w"):
        ask = {**BTC, **PAIR, "interval": interval, "limit": "5"}
        traded = [(row[0], row[6]) for row in kline_replies.klines(market, ask)]
        assert len(traded) == 5
        for reply in (
            price_klines.mark_price_klines,
            price_klines.index_price_klines,
            price_klines.premium_index_klines,
        ):
            assert [(row[0], row[6]) for row in reply(market, ask)] == traded
    assert code_of(lambda: price_klines.index_price_klines(market, {**BTC, "interval": "1m"})) == -1102
    assert code_of(lambda: price_klines.mark_price_klines(market, {**BTC, "interval": "1s"})) == -1120


def test_trades_are_what_was_printed_and_keep_their_ids(walked: tuple[Market, list[Quote]]) -> None:
    market, quotes = walked
    told = trade_replies.trades(market, {**BTC, "limit": "200"})
    heard = quotes[-200:]
    assert [(row["time"], float(row["price"])) for row in told] == [(q.time_ms, float(q.last)) for q in heard]
    middle = told[100]
    again = trade_replies.historical_trades(market, {**BTC, "fromId": str(middle["id"]), "limit": "50"})
    assert again == told[100:150]
    aggregated = trade_replies.agg_trades(market, {**BTC, "fromId": str(middle["id"]), "limit": "50"})
    assert [(row["a"], row["p"], row["q"], row["m"]) for row in aggregated] == [
        (row["id"], row["price"], row["qty"], row["isBuyerMaker"]) for row in again
    ]
    assert len(trade_replies.historical_trades(market, BTC)) == 100
    later = trade_replies.historical_trades(market, {**BTC, "fromId": str(told[-1]["id"] + 1)})
    assert later == [], "not printed yet"


def test_trades_reach_back_over_frozen_and_early_bars(walked: tuple[Market, list[Quote]]) -> None:
    market, _ = walked
    assert len(trade_replies.trades(market, {**BTC, "limit": "1000"})) == 1000
    start = market.now_ms - 30 * HOUR_MS
    first = trade_replies.agg_trades(market, {**BTC, "startTime": str(start), "limit": "1000"})
    assert len(first) == 1000
    assert start <= first[0]["T"] < start + 2 * MINUTE_MS
    window = {**BTC, "startTime": str(start), "endTime": str(start + 90_000)}
    inside = trade_replies.agg_trades(market, window)
    assert inside == [row for row in first if row["T"] <= start + 90_000]
    before = trade_replies.agg_trades(market, {**BTC, "endTime": str(start + 90_000), "limit": "3"})
    assert before == inside[-3:]


def test_a_symbol_that_stands_still_prints_once_a_bar(tmp_path: Path) -> None:
    still = candles(300, seed=1, interval_ms=MINUTE_MS).with_columns(
        pl.lit(100.0).alias("open"), pl.lit(100.0).alias("high"), pl.lit(100.0).alias("low"),
        pl.lit(100.0).alias("close"), pl.lit(0.0).alias("volume"),
    )  # fmt: skip
    still.write_parquet(tmp_path / "BTCUSDT.parquet")
    start = START_MS + 200 * MINUTE_MS
    market = Exchange(ExchangeConfig(replay=str(tmp_path), start_ms=start, speed=1.0, detail=9)).market
    told = trade_replies.trades(market, {**BTC, "limit": "1000"})
    assert [row["time"] for row in told] == [START_MS + bar * MINUTE_MS for bar in range(201)]
    assert {(row["price"], row["isBuyerMaker"]) for row in told} == {("100.00", True)}


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        ({"startTime": "10", "endTime": "9"}, -1023),
        ({"startTime": "0", "endTime": str(HOUR_MS + 1)}, -1127),
        ({"startTime": "0"}, -4166),
        ({"fromId": "1"}, -4166),
        ({"limit": "1001"}, -1130),
        ({"symbol": "NONE"}, -1121),
    ],
)
def test_wrong_questions_about_trades_have_their_codes(
    walked: tuple[Market, list[Quote]], wire: dict[str, str], code: int
) -> None:
    assert code_of(lambda: trade_replies.agg_trades(walked[0], {**BTC, **wire})) == code


def test_statistics_agree_with_the_candles_they_are_made_of(walked: tuple[Market, list[Quote]]) -> None:
    market, _ = walked
    ask = {**BTC, **PAIR, "period": "1h", "limit": "6", "contractType": "PERPETUAL"}
    rows = kline_replies.klines(market, {**BTC, "interval": "1h", "limit": "7"})[:-1]
    taker = data_replies.taker_ratio(market, ask)
    assert [row["timestamp"] for row in taker] == [row[0] for row in rows]
    assert [float(row["buyVol"]) + float(row["sellVol"]) for row in taker] == pytest.approx(
        [float(row[5]) for row in rows], abs=1e-3
    )
    for reply in (data_replies.open_interest_history, data_replies.long_short_ratio, data_replies.basis):
        assert [row["timestamp"] for row in reply(market, ask)] == [row["timestamp"] for row in taker]
    running = float(market_replies.open_interest(market, BTC)["openInterest"])
    held = float(data_replies.open_interest_history(market, ask)[-1]["sumOpenInterest"])
    assert held == pytest.approx(running, rel=0.1)
    for share in data_replies.long_short_ratio(market, ask):
        assert float(share["longAccount"]) + float(share["shortAccount"]) == pytest.approx(1.0, abs=2e-4)
    for row in data_replies.basis(market, ask):
        assert float(row["futuresPrice"]) - float(row["indexPrice"]) == pytest.approx(float(row["basis"]), abs=1e-6)
    assert data_replies.basis(market, {**ask, "contractType": "NEXT_QUARTER"}) == []


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        ({"period": "1m"}, -1130),
        ({"period": ""}, -1102),
        ({"limit": "501"}, -1130),
        ({"startTime": "1"}, -1130),
        ({"symbol": ""}, -1102),
    ],
)
def test_wrong_questions_about_statistics_have_their_codes(
    walked: tuple[Market, list[Quote]], wire: dict[str, str], code: int
) -> None:
    ask = {**BTC, "period": "1h", **wire}
    assert code_of(lambda: data_replies.open_interest_history(walked[0], ask)) == code


def test_statistics_have_the_recorded_keys(walked: tuple[Market, list[Quote]], real_data: Path) -> None:
    """Their timestamps are numbers on the wire, strings in the samples, which are the documents' examples."""
    ask = {**BTC, **PAIR, "period": "1h", "contractType": "PERPETUAL"}
    folder = real_data / "message_samples" / "binance_net" / "Endpoints" / "UsdFutures" / "ExchangeData"
    for name, reply in (
        ("GetOpenInterestHistory", data_replies.open_interest_history),
        ("GetTakerBuySellVolumeRatio", data_replies.taker_ratio),
        ("GetTopLongShortAccountRatio", data_replies.long_short_ratio),
        ("GetTopLongShortPositionRatio", data_replies.long_short_ratio),
        ("GetGlobalLongShortAccountRatio", data_replies.long_short_ratio),
        ("GetBasis", data_replies.basis),
    ):
        text = (folder / f"{name}.txt").read_text(encoding="utf-8-sig")
        theirs = json.loads("\n".join(text.splitlines()[3:]))[0]
        ours = reply(walked[0], ask)[0]
        assert set(ours) == set(theirs), name
        assert all(isinstance(value, str) for key, value in ours.items() if key != "timestamp"), name
