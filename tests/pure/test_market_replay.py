from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from qt_actors.exchange.candle_files import MarketDataError, read_candles, symbol_of
from qt_actors.exchange.candles import (
    CLOSE,
    HIGH,
    LOW,
    OPEN,
    QUOTE_VOLUME,
    TAKER_VOLUME,
    TRADES,
    aggregate,
    row_candles,
)
from qt_actors.exchange.config import ExchangeConfig, market_rules, rules_of, source_of
from qt_actors.exchange.funding_rates import FundingCalendar, rate_of_move, read_settlements
from qt_actors.exchange.replay import ReplayMarket, decimals_of
from qt_actors.exchange.rules import ExchangeRules
from tests.candle_folders import HOUR_MS, MINUTE_MS, START_MS, candles, folder

BAR = 15 * MINUTE_MS


def dump(frame: pl.DataFrame, *, header: bool, scale: int = 1) -> bytes:
    """A frame in the twelve columns of Binance's CSV."""
    full = frame.with_columns(
        (pl.col("open_time") * scale).alias("open_time"),
        ((pl.col("open_time") + BAR - 1) * scale).alias("close_time"),
        (pl.col("volume") * pl.col("close")).alias("quote_volume"),
        pl.lit(42).alias("count"),
        (pl.col("volume") / 4).alias("taker_buy_volume"),
        pl.lit(0.0).alias("taker_buy_quote_volume"),
        pl.lit(0).alias("ignore"),
    )
    return full.write_csv(include_header=header).encode()


def test_parquet_csv_and_zip_dumps_hold_the_same_candles(tmp_path: Path) -> None:
    frame = candles(96, seed=1)
    frame.write_parquet(tmp_path / "A.parquet")
    (tmp_path / "B.csv").write_bytes(dump(frame, header=True))
    (tmp_path / "C-15m-2025-01-01.csv").write_bytes(dump(frame, header=False))
    with zipfile.ZipFile(tmp_path / "D-15m-2025-01.zip", "w") as archive:
        archive.writestr("D-15m-2025-01.csv", dump(frame, header=False))
    (tmp_path / "E.csv").write_bytes(dump(frame, header=False, scale=1000))
    market = ReplayMarket(tmp_path)
    assert market.symbols == ("A", "B", "C", "D", "E")
    grid = market.read(START_MS, START_MS + 96 * BAR)
    for row in range(5):
        assert np.array_equal(grid.data[OPEN : CLOSE + 2, row], frame.select(pl.col(pl.Float64)).to_numpy().T)
    assert (grid.data[TRADES, 1:] == 42).all()
    assert np.allclose(grid.data[TAKER_VOLUME, 3], frame["volume"].to_numpy() / 4)
    assert np.allclose(grid.data[QUOTE_VOLUME, 2], (frame["volume"] * frame["close"]).to_numpy())


def test_several_dumps_of_a_symbol_join_and_doubled_rows_count_once(tmp_path: Path) -> None:
    frame = candles(96, seed=2)
    (tmp_path / "BTCUSDT-15m-2025-01-02.csv").write_bytes(dump(frame[40:], header=True))
    shuffled = pl.concat([frame[:50], frame[45:50]]).sample(fraction=1.0, shuffle=True, seed=1)
    (tmp_path / "BTCUSDT-15m-2025-01-01.csv").write_bytes(dump(shuffled, header=False))
    market = ReplayMarket(tmp_path)
    whole = row_candles(market.read(START_MS, START_MS + 96 * BAR), 0)
    assert np.array_equal(whole.data[CLOSE], frame["close"].to_numpy())


def test_a_missing_bar_is_a_gap_and_symbols_keep_their_own_range(tmp_path: Path) -> None:
    candles(200, seed=1).filter(pl.col("open_time") != START_MS + 7 * BAR).write_parquet(tmp_path / "A.parquet")
    candles(80, seed=2, start_ms=START_MS + 60 * BAR).write_parquet(tmp_path / "B.parquet")
    market = ReplayMarket(tmp_path)
    assert market.first_ms.tolist() == [START_MS, START_MS + 60 * BAR]
    assert market.end_of_ms.tolist() == [START_MS + 200 * BAR, START_MS + 140 * BAR]
    there = ~np.isnan(market.read(START_MS, START_MS + 200 * BAR).data[OPEN])
    assert np.flatnonzero(~there[0]).tolist() == [7]
    assert np.flatnonzero(there[1]).tolist() == list(range(60, 140))
    assert market.default_start_ms == START_MS + (60 + 40) * BAR, "the middle of what all have, on the hour"


def test_the_default_start_leaves_600_hours_of_history(tmp_path: Path) -> None:
    market = ReplayMarket(folder(tmp_path, ["A", "B"], 2000, interval_ms=HOUR_MS))
    assert market.default_start_ms == START_MS + 600 * HOUR_MS


def test_files_of_a_coarser_interval_are_split_and_put_together_again_are_the_file(tmp_path: Path) -> None:
    candles(96, seed=1).write_parquet(tmp_path / "A.parquet")
    hourly = candles(24, seed=2, interval_ms=HOUR_MS)
    hourly.write_parquet(tmp_path / "B.parquet")
    market = ReplayMarket(tmp_path)
    assert market.interval_ms == BAR
    split = row_candles(market.read(START_MS, START_MS + 96 * BAR), 1)
    inner = np.flatnonzero(np.arange(96) % 4)
    assert np.array_equal(split.data[OPEN, inner], split.data[CLOSE, inner - 1]), "no jump inside a bar of the file"
    assert (split.data[OPEN, inner] <= split.data[HIGH, inner]).all()
    assert (split.data[OPEN, inner] >= split.data[LOW, inner]).all()
    made = aggregate(split, "1h")
    assert np.array_equal(made.data[: CLOSE + 1], hourly.select("open", "high", "low", "close").to_numpy().T)
    assert np.allclose(made.data[CLOSE + 1], hourly["volume"].to_numpy())


def test_one_symbols_files_may_have_several_intervals_and_finer_ones_win_where_they_are(tmp_path: Path) -> None:
    hourly = candles(72, seed=2, interval_ms=HOUR_MS)
    fine = candles(96, seed=3, start_ms=START_MS + 24 * HOUR_MS)
    hourly.write_csv(tmp_path / "AUSDT-1h-2025-01.csv")
    fine.write_parquet(tmp_path / "AUSDT-15m-2025-01-02.parquet")
    market = ReplayMarket(tmp_path)
    assert (market.symbols, market.interval_ms) == (("AUSDT",), BAR)
    assert (market.first_ms[0], market.end_of_ms[0]) == (START_MS, START_MS + 72 * HOUR_MS)
    for low, high in ((0, 288), (90, 200), (97, 98)):
        grid = market.read(START_MS + low * BAR, START_MS + high * BAR)
        whole = market.read(START_MS, START_MS + 288 * BAR)
        assert np.array_equal(grid.data, whole.data[:, :, low:high])
    every = row_candles(whole, 0)
    assert np.array_equal(every.data[: CLOSE + 1, 96:192], fine.select("open", "high", "low", "close").to_numpy().T)
    made = aggregate(every, "1h")
    outside = [hour for hour in range(72) if not 24 <= hour < 48]
    truth = hourly.select("open", "high", "low", "close").to_numpy().T
    assert np.array_equal(made.data[: CLOSE + 1, outside], truth[:, outside])


def test_only_the_named_symbols_are_served(tmp_path: Path) -> None:
    folder(tmp_path, ["AUSDT", "BUSDT", "CUSDT"], 10)
    assert ReplayMarket(tmp_path, "cusdt, ausdt").symbols == ("CUSDT", "AUSDT")
    with pytest.raises(MarketDataError, match="no file for XUSDT"):
        ReplayMarket(tmp_path, ["AUSDT", "XUSDT"])


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("A.parquet", b"PAR1 nonsense", "cannot be read as candles"),
        ("A.csv", b"open_time,open\n1,2\n", "column high, low, close, volume is missing"),
        ("A.csv", b"", "cannot be read as candles"),
        ("A.csv", b"open_time,open,high,low,close,volume\n,1,2,1,1,5\n1735689600000,1,2,1,1,5\n", "open_time is empty"),
        ("A.csv", b"open_time,open,high,low,close,volume\n1735689600000,1,2,1,,5\n", "1 impossible candle(s)"),
        ("A.csv", b"1735689600000,1,2,1,x,5\n1735690500000,1,2,1,1,5\n", "not a number"),
        ("A.csv", b"1735689600000,1,2,3,1,5\n1735690500000,1,2,1,1,5\n", "1 impossible candle(s)"),
        ("A.csv", b"1735689600000,0,2,0,1,5\n", "1 impossible candle(s)"),
        ("A.csv", b"open_time,open,high,low,close,volume\n", "holds no candle"),
        ("A.csv", b"1735689600001,1,2,1,1,5\n1735690500001,1,2,1,1,5\n", "is no multiple of the interval 15m"),
        ("A.csv", b"1735689600000,1,2,1,1,5\n1735689601000,1,2,1,1,5\n", "candles are 1000 ms apart"),
        ("A.zip", b"PK no zip", "cannot be read as candles"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(tmp_path: Path, name: str, content: bytes, text: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MarketDataError) as caught:
        ReplayMarket(tmp_path)
    assert text in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_zip_with_two_files_is_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.csv", "1")
        archive.writestr("b.csv", "1")
    (tmp_path / "A.zip").write_bytes(stream.getvalue())
    with pytest.raises(MarketDataError, match="holds 2 CSV files"):
        read_candles(tmp_path / "A.zip")


def test_no_folder_and_an_empty_folder_are_one_line_each(tmp_path: Path) -> None:
    with pytest.raises(MarketDataError, match="no such folder"):
        ReplayMarket(tmp_path / "none")
    with pytest.raises(MarketDataError, match="no candle file"):
        ReplayMarket(tmp_path)


def test_symbols_come_from_file_names() -> None:
    names = ["BTCUSDT.parquet", "BTCUSDT-1m-2026-10.zip", "BTCUSDT_261225-1m-2026-10-01.csv", "1000pepeusdt.csv"]
    assert [symbol_of(Path(name)) for name in names] == ["BTCUSDT", "BTCUSDT", "BTCUSDT_261225", "1000PEPEUSDT"]


def test_price_decimals_are_the_fewest_that_hold_every_price() -> None:
    assert decimals_of(np.array([[100.0, 101.5], [3.25, 7.0]])) == 2
    assert decimals_of(np.array([[0.0123456, 0.01]])) == 7
    rare = np.full((5000, 4), 10.0)
    rare[4000, 2] = 10.125
    assert decimals_of(rare) == 3


def test_symbols_without_rules_get_rules_made_of_their_candles(tmp_path: Path) -> None:
    folder(tmp_path, ["BTCUSDT", "NOVELUSDT"], 400)
    rules = ExchangeRules.default()
    source = ReplayMarket(tmp_path)
    made = market_rules(rules, source)
    assert made.symbols["BTCUSDT"].tick == rules.symbols["BTCUSDT"].tick
    novel = made.symbols["NOVELUSDT"]
    assert float(novel.tick) == 0.01
    assert float(novel.step) == 0.001, "the volumes' decimals"
    assert novel.min_price < 100 < novel.max_price


def test_funding_files_give_settlements_and_over_their_holes_a_symbol_keeps_its_interval(tmp_path: Path) -> None:
    every4 = [START_MS + 4 * HOUR_MS * count + 7 for count in range(1, 5)]
    later = [START_MS + 100 * HOUR_MS]
    times = every4 + later
    pl.DataFrame(
        {"symbol": ["A"] * 5, "funding_time": times, "funding_rate": [0.0001, 0.0002, -0.0003, 0.0004, 0.0005]}
    ).write_parquet(tmp_path / "funding.parquet")
    calendar = FundingCalendar(["A", "B"], read_settlements(tmp_path / "funding.parquet", ["A", "B"]))
    assert calendar.next_after(0, START_MS) == (START_MS + 4 * HOUR_MS, 0.0001, 4 * HOUR_MS)
    assert calendar.next_after(0, START_MS + 4 * HOUR_MS) == (START_MS + 8 * HOUR_MS, 0.0002, 4 * HOUR_MS)
    assert calendar.next_after(0, START_MS + 17 * HOUR_MS) == (START_MS + 20 * HOUR_MS, None, 4 * HOUR_MS)
    assert calendar.next_after(1, START_MS) == (START_MS + 8 * HOUR_MS, None, 8 * HOUR_MS)
    told = calendar.settled(0, START_MS, START_MS + 25 * HOUR_MS)
    assert [(time - START_MS) // HOUR_MS for time, _ in told] == [0, 4, 8, 12, 16, 20, 24]


def test_a_bad_funding_file_is_one_line(tmp_path: Path) -> None:
    pl.DataFrame({"symbol": ["A"], "rate": [1.0]}).write_parquet(tmp_path / "f.parquet")
    with pytest.raises(MarketDataError, match="cannot be read as funding") as caught:
        read_settlements(tmp_path / "f.parquet", ["A"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("move", "rate"), [(0.0, 0.0001), (0.05, 0.0001), (0.1, 0.0005), (-0.1, -0.0005), (9.0, 0.02)])
def test_the_default_funding_rate_is_calm_and_leans_against_moves(move: float, rate: float) -> None:
    assert rate_of_move(move) == pytest.approx(rate)


def test_an_hourly_symbol_pays_an_eighth_an_hour() -> None:
    assert rate_of_move(0.1, HOUR_MS) == pytest.approx(0.0005 / 8, abs=1e-8)


def test_settings_choose_the_market_and_wrong_ones_are_one_line(tmp_path: Path) -> None:
    rules = ExchangeRules.default()
    assert source_of(ExchangeConfig(symbols="BTCUSDT,ethusdt"), rules).symbols == ("BTCUSDT", "ETHUSDT")
    with pytest.raises(MarketDataError, match="NONEUSDT are not among"):
        source_of(ExchangeConfig(symbols=("NONEUSDT",)), rules)
    (tmp_path / "info.json").write_text("[]")
    with pytest.raises(MarketDataError, match="exchangeInfo is a JSON object"):
        rules_of(ExchangeConfig(exchange_info=str(tmp_path / "info.json")))
    (tmp_path / "info.json").write_text("{")
    with pytest.raises(MarketDataError, match="cannot be read as exchangeInfo"):
        rules_of(ExchangeConfig(exchange_info=str(tmp_path / "info.json")))


@pytest.mark.real
def test_real_folders_open_with_every_symbol_and_no_gap(real_data: Path) -> None:
    market = ReplayMarket(real_data / "klines" / "1h", ["BTCUSDT", "ENAUSDT"])
    start = int(market.first_ms[1])
    grid = market.read(start, start + 500 * HOUR_MS)
    assert not np.isnan(grid.data).any()
    frame = pl.read_parquet(real_data / "klines" / "1h" / "BTCUSDT.parquet").filter(pl.col("open_time") >= start)
    assert np.array_equal(grid.data[CLOSE, 0], frame["close"][:500].to_numpy())


def test_a_folder_whose_candles_lie_one_deeper_names_where(tmp_path: Path) -> None:
    folder(tmp_path / "1m", ["BTCUSDT"], 20)
    with pytest.raises(MarketDataError, match=r"no candle file here; .*; there are some in 1m$"):
        ReplayMarket(tmp_path)
