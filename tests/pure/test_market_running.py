from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from qt_actors.exchange.candles import CLOSE, HIGH, LOW, OPEN, VOLUME, aggregate, row_candles
from qt_actors.exchange.config import market_rules
from qt_actors.exchange.errors import ExchangeError
from qt_actors.exchange.funding_rates import FundingCalendar, Settlements
from qt_actors.exchange.history import AHEAD_BARS
from qt_actors.exchange.kline_replies import klines
from qt_actors.exchange.market import Market, detail_for
from qt_actors.exchange.replay import ReplayMarket
from qt_actors.exchange.rules import ExchangeRules
from tests.candle_folders import HOUR_MS, MINUTE_MS, START_MS, candles, folder

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from qt_actors.exchange.forming import Forming
    from qt_actors.exchange.quotes import Quote

BAR = 15 * MINUTE_MS


@dataclass
class Ledger:
    """Writes down all that a market tells."""

    quotes: list[Quote] = field(default_factory=list)
    closes: list[tuple[str, int, NDArray[np.bool_], NDArray[np.float64]]] = field(default_factory=list)
    fundings: list[tuple[str, float, int]] = field(default_factory=list)
    order: list[int] = field(default_factory=list)

    def watched(self) -> None:
        """Every symbol."""

    def quoted(self, quotes: list[Quote]) -> None:
        self.quotes += quotes
        self.order += [quote.time_ms for quote in quotes]

    def closed(self, forming: Forming) -> None:
        self.closes.append((forming.interval, forming.open_ms, forming.there.copy(), forming.data.copy()))
        self.order.append(forming.close_ms)

    def settled(self, symbol: str, rate: float, time_ms: int) -> None:
        self.fundings.append((symbol, rate, time_ms))
        self.order.append(time_ms)


def opened(
    path: Path,
    start_ms: int,
    *,
    detail: int = 1,
    carry: bytes | None = None,
    known: dict[str, Settlements] | None = None,
) -> Market:
    source = ReplayMarket(path)
    rules = market_rules(ExchangeRules.default(), source)
    calendar = FundingCalendar(source.symbols, known or {})
    return Market(source, list(rules.symbols.values()), start_ms, calendar, detail=detail, carry=carry)


@pytest.mark.parametrize("step_ms", [7_000, BAR, 5 * HOUR_MS + 13])
def test_every_point_every_close_and_every_settlement_is_told_once_whatever_the_step(
    tmp_path: Path, step_ms: int
) -> None:
    folder(tmp_path, ["AUSDT", "BUSDT"], 400)
    begin, end = START_MS + 100 * BAR, START_MS + 180 * BAR
    whole, stepped = Ledger(), Ledger()
    opened(tmp_path, begin, detail=2).advance(end, whole)
    market = opened(tmp_path, begin, detail=2)
    while market.now_ms < end:
        market.advance(min(market.now_ms + step_ms, end), stepped)
    assert stepped.quotes == whole.quotes
    assert len(whole.quotes) == 80 * 2 * 7 + 2 - 2, "80 bars of 7 points, the next bar's open in, the first bar's out"
    assert [close[:2] for close in stepped.closes] == [close[:2] for close in whole.closes]
    assert stepped.fundings == whole.fundings
    assert whole.order == sorted(whole.order), "in time order"
    assert len(whole.fundings) == 2 * len(
        [bar for bar in range(101, 181) if (START_MS + bar * BAR) % (8 * HOUR_MS) == 0]
    )


def test_closed_candles_are_the_files_candles_for_every_interval(tmp_path: Path) -> None:
    folder(tmp_path, ["AUSDT", "BUSDT"], 700)
    begin = START_MS + 102 * BAR
    market, ledger = opened(tmp_path, begin), Ledger()
    for interval in ("15m", "1h", "4h", "1d"):
        market.forming(interval)
    market.advance(begin + 5 * 96 * BAR, ledger)
    grid = market.source.read(START_MS, START_MS + 700 * BAR)
    for interval in ("15m", "1h", "4h", "1d"):
        told = [close for close in ledger.closes if close[0] == interval]
        assert len(told) >= 4
        for row in (0, 1):
            truth = aggregate(row_candles(grid, row), interval)
            for _, open_ms, there, data in told:
                place = int(np.searchsorted(truth.opens, open_ms))
                assert there[row]
                assert np.array_equal(data[: CLOSE + 1, row], truth.data[: CLOSE + 1, place])
                assert np.allclose(data[VOLUME:, row], truth.data[VOLUME:, place])


def test_stretches_beyond_the_window_are_loaded_without_losing_a_bar(tmp_path: Path) -> None:
    bars = 3 * AHEAD_BARS + 50
    folder(tmp_path, ["AUSDT"], bars)
    market, ledger = opened(tmp_path, START_MS + BAR), Ledger()
    market.advance(START_MS + bars * BAR, ledger)
    opens = [close[1] for close in ledger.closes]
    assert opens == [START_MS + bar * BAR for bar in range(1, bars)]


def test_gaps_late_listing_and_delisting_make_no_candles_and_no_points(tmp_path: Path) -> None:
    candles(96, seed=1).filter(~pl.col("open_time").is_in([START_MS + 30 * BAR])).write_parquet(tmp_path / "A.parquet")
    candles(20, seed=2, start_ms=START_MS + 40 * BAR).write_parquet(tmp_path / "B.parquet")
    market, ledger = opened(tmp_path, START_MS + BAR), Ledger()
    market.advance(START_MS + 96 * BAR, ledger)
    by_row = [[close[1] for close in ledger.closes if close[2][row]] for row in (0, 1)]
    assert by_row[0] == [START_MS + bar * BAR for bar in range(1, 96) if bar != 30]
    assert by_row[1] == [START_MS + bar * BAR for bar in range(40, 60)]
    assert {quote.symbol for quote in ledger.quotes if quote.time_ms < START_MS + 40 * BAR} == {"A"}
    assert not market.listed()[1]


def test_quotes_lie_on_the_grid_with_the_touch_around_the_print(tmp_path: Path) -> None:
    folder(tmp_path, ["AUSDT", "BTCUSDT"], 200)
    market, ledger = opened(tmp_path, START_MS + 96 * BAR, detail=5), Ledger()
    market.advance(START_MS + 120 * BAR, ledger)
    assert len(ledger.quotes) > 500
    for quote in ledger.quotes:
        rules = market.rules[market.row_of[quote.symbol]]
        assert quote.bid < quote.ask
        assert quote.bid % rules.tick == 0
        assert quote.ask % rules.tick == 0
        assert quote.bid_qty >= rules.min_qty
        assert quote.bid_qty % rules.step == 0
        assert quote.ask_qty % rules.step == 0
        assert quote.bid - rules.tick < quote.last < quote.ask + rules.tick
        assert abs(quote.mark - quote.last) < quote.last / 50


def test_the_mark_follows_more_slowly_than_the_print(tmp_path: Path) -> None:
    folder(tmp_path, ["AUSDT"], 200)
    market, ledger = opened(tmp_path, START_MS + 96 * BAR, detail=200), Ledger()
    market.advance(START_MS + 110 * BAR, ledger)
    last = np.array([float(quote.last) for quote in ledger.quotes])
    mark = np.array([float(quote.mark) for quote in ledger.quotes])
    index = np.array([float(quote.index) for quote in ledger.quotes])
    assert np.abs(np.diff(index)).sum() < 0.8 * np.abs(np.diff(last)).sum()
    assert np.abs(np.diff(mark)).sum() < np.abs(np.diff(last)).sum()


def test_a_candle_asked_for_while_it_runs_is_complete_from_its_beginning(tmp_path: Path) -> None:
    folder(tmp_path, ["AUSDT"], 200)
    begin = START_MS + 96 * BAR
    early, late = opened(tmp_path, begin), opened(tmp_path, begin)
    early.forming("1h")
    early.forming("1d")
    for market in (early, late):
        market.advance(begin + 9 * BAR + 400_000, Ledger())
    for interval in ("1h", "1d"):
        assert np.allclose(early.forming(interval).data, late.forming(interval).data)


def test_candles_finer_than_the_files_close_every_minute_flat_where_nothing_happened(tmp_path: Path) -> None:
    folder(tmp_path, ["AUSDT"], 200)
    begin = START_MS + 96 * BAR
    market, ledger = opened(tmp_path, begin, detail=2), Ledger()
    market.forming("1m")
    market.advance(begin + 4 * BAR, ledger)
    minutes = [close for close in ledger.closes if close[0] == "1m"]
    assert [close[1] for close in minutes] == [begin + minute * MINUTE_MS for minute in range(60)]
    asked = klines(market, {"symbol": "AUSDT", "interval": "1m", "startTime": str(begin), "limit": "60"})
    for close, row in zip(minutes, asked, strict=True):
        data = close[3][:, 0]
        assert [float(text) for text in row[1:5]] == [data[OPEN], data[HIGH], data[LOW], data[CLOSE]]
        assert float(row[5]) == pytest.approx(data[VOLUME], abs=1e-3)


def test_klines_by_rest_equal_the_file_and_end_with_the_forming_candle(tmp_path: Path) -> None:
    folder(tmp_path, ["AUSDT"], 900)
    market = opened(tmp_path, START_MS + 800 * BAR)
    market.advance(START_MS + 810 * BAR + 60_000, Ledger())
    truth = aggregate(row_candles(market.source.read(START_MS, START_MS + 900 * BAR), 0), "1h")
    rows = klines(market, {"symbol": "ausdt", "interval": "1h", "limit": "150"})
    assert len(rows) == 150
    assert rows[-1][0] <= market.now_ms < rows[-1][6]
    for row in rows[:-1]:
        place = int(np.searchsorted(truth.opens, row[0]))
        assert [float(text) for text in row[1:5]] == truth.data[: CLOSE + 1, place].tolist()
        assert float(row[5]) == pytest.approx(truth.data[VOLUME, place], abs=1e-3)
    first = klines(market, {"symbol": "AUSDT", "interval": "1h", "startTime": "0", "limit": "2"})
    assert [row[0] for row in first] == [START_MS, START_MS + HOUR_MS]
    older = klines(market, {"symbol": "AUSDT", "interval": "15m", "endTime": str(START_MS + 3 * BAR), "limit": "1500"})
    assert [row[0] for row in older] == [START_MS + bar * BAR for bar in range(4)]
    none = klines(market, {"symbol": "AUSDT", "interval": "1h", "startTime": str(market.now_ms + HOUR_MS)})
    assert none == []


def test_gaps_in_the_file_do_not_make_a_reply_shorter(tmp_path: Path) -> None:
    keep = [START_MS + bar * BAR for bar in range(900) if bar % 3]
    candles(900, seed=5).filter(pl.col("open_time").is_in(keep)).write_parquet(tmp_path / "AUSDT.parquet")
    market = opened(tmp_path, START_MS + 890 * BAR)
    rows = klines(market, {"symbol": "AUSDT", "interval": "15m", "limit": "500"})
    assert len(rows) == 500
    assert all(row[0] in set(keep) for row in rows)


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"interval": "1h"}, -1102),
        ({"symbol": "AUSDT"}, -1102),
        ({"symbol": "NONE", "interval": "1h"}, -1121),
        ({"symbol": "AUSDT", "interval": "1s"}, -1120),
        ({"symbol": "AUSDT", "interval": "1h", "limit": "1501"}, -1130),
        ({"symbol": "AUSDT", "interval": "1h", "limit": "0"}, -1130),
        ({"symbol": "AUSDT", "interval": "1h", "limit": "x"}, -1100),
        ({"symbol": "AUSDT", "interval": "1h", "startTime": "5", "endTime": "4"}, -1023),
        ({"symbol": "AUSDT", "interval": "1h", "startTime": "1e9"}, -1100),
    ],
)
def test_bad_kline_requests_get_their_own_code(tmp_path: Path, params: dict[str, str], code: int) -> None:
    market = opened(folder(tmp_path, ["AUSDT"], 200), START_MS + 96 * BAR)
    with pytest.raises(ExchangeError) as caught:
        klines(market, params)
    assert caught.value.code == code


@pytest.mark.parametrize("interval", ["1m", "1h", "3d", "1w", "1M"])
@pytest.mark.parametrize(
    "edge", [{"startTime": "999999999999999999"}, {"endTime": "999999999999999999"}, {"startTime": "-9"}]
)
def test_times_beyond_any_calendar_are_answered(tmp_path: Path, interval: str, edge: dict[str, str]) -> None:
    market = opened(folder(tmp_path, ["AUSDT"], 200), START_MS + 96 * BAR)
    rows = klines(market, {"symbol": "AUSDT", "interval": interval, "limit": "5", **edge})
    assert len(rows) <= 5


def test_a_market_resumed_in_the_middle_of_a_bar_goes_on_exactly(tmp_path: Path) -> None:
    folder(tmp_path, ["AUSDT", "BUSDT"], 300)
    begin, middle, end = START_MS + 100 * BAR, START_MS + 120 * BAR + 400_000, START_MS + 140 * BAR
    first, second, resumed = opened(tmp_path, begin, detail=20), Ledger(), Ledger()
    first.advance(middle, Ledger())
    carry = first.carry()
    first.advance(end, second)
    opened(tmp_path, middle, detail=20, carry=carry).advance(end, resumed)
    assert resumed.quotes == second.quotes
    assert len(second.quotes) > 100
    assert resumed.fundings == second.fundings


def test_funding_comes_from_the_file_at_its_times(tmp_path: Path) -> None:
    folder(tmp_path, ["AUSDT"], 300)
    times = np.array([START_MS + hour * HOUR_MS for hour in (26, 27, 31)], dtype=np.int64)
    known = {"AUSDT": Settlements(times, np.array([0.001, -0.002, 0.003]))}
    market, ledger = opened(tmp_path, START_MS + 25 * HOUR_MS, known=known), Ledger()
    assert int(market.funding.next_ms[0]) == int(times[0])
    market.advance(START_MS + 33 * HOUR_MS, ledger)
    assert ledger.fundings[:3] == [
        ("AUSDT", rate, int(at)) for at, rate in zip(times, (0.001, -0.002, 0.003), strict=True)
    ]
    assert ledger.fundings[3][2] == START_MS + 32 * HOUR_MS


def test_detail_leaves_room_for_the_speed() -> None:
    assert detail_for(78, BAR, 3600.0) == 1
    assert detail_for(78, BAR, 1.0) > 100
    assert detail_for(1, MINUTE_MS, 0.001) == (60 - 1) // 3
    assert detail_for(10, 24 * HOUR_MS, 1.0) == 300
