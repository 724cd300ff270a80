"""From files to rows: what is read, repaired, refused, labelled, weighed and split."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.candles import CandleError, Candles, CandleSet, load_candles
from models.dataset import BASE_FUNDING_8H, Dataset, build_dataset
from models.features import BARS_NEEDED, feature_hash, feature_names
from models.folds import FoldEdges, expanding_edges, walk_forward
from models.labels import Barriers
from models.windows import CHANNELS, WINDOW_BARS
from tests.random_candles import HOUR_MS, RandomCandles, random_candles

QUARTER_MS = HOUR_MS // 4
COLUMNS = ("open", "high", "low", "close", "volume")


def _frame(candles: RandomCandles, lane: int) -> pl.DataFrame:
    columns = {name: candles.ohlcv[lane, :, index] for index, name in enumerate(COLUMNS)}
    return pl.DataFrame({"open_time": candles.open_time_ms, **columns})


def _write(folder: Path, candles: RandomCandles) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for lane, symbol in enumerate(candles.symbols):
        _frame(candles, lane).write_parquet(folder / f"{symbol}.parquet")


def _quarters(frame: pl.DataFrame) -> pl.DataFrame:
    """Four 15m bars an hour that add up to the hour: the first opens, the second and third touch high and low."""
    parts = []
    for quarter in range(4):
        first, last = pl.col("open") if quarter == 0 else pl.col("close"), pl.col("close")
        high = pl.col("high") if quarter == 1 else pl.max_horizontal(first, last)
        low = pl.col("low") if quarter == 2 else pl.min_horizontal(first, last)
        parts.append(
            frame.select(
                pl.col("open_time") + quarter * QUARTER_MS,
                first.alias("open"),
                high.alias("high"),
                low.alias("low"),
                last.alias("close"),
                pl.col("volume") / 4,
            )
        )
    return pl.concat(parts).sort("open_time")


def test_parquet_csv_with_and_without_header_and_zip_are_the_same_candles(tmp_path: Path) -> None:
    candles = random_candles(1, symbols=4)
    _frame(candles, 0).write_parquet(tmp_path / "BTCUSDT.parquet")
    _frame(candles, 1).write_csv(tmp_path / "COIN1USDT-1h-2023-11.csv")
    micro = _frame(candles, 2).with_columns(pl.col("open_time") * 1000, pl.lit(0).alias("close_time"))
    micro.write_csv(tmp_path / "COIN2USDT-1h.csv", include_header=False)
    plain = tmp_path / "inner.csv"
    _frame(candles, 3).write_csv(plain)
    with zipfile.ZipFile(tmp_path / "COIN3USDT-1h-2023-11.zip", "w") as archive:
        archive.write(plain, "COIN3USDT-1h-2023-11.csv")
    loaded = load_candles(tmp_path)
    assert tuple(loaded.by_symbol) == candles.symbols
    assert loaded.notes == ()
    for own, bars in zip(loaded.by_symbol.values(), candles.ohlcv, strict=True):
        np.testing.assert_array_equal(own.open_time_ms, candles.open_time_ms)
        np.testing.assert_allclose(own.ohlcv, bars, rtol=1e-12)


def test_finer_bars_are_aggregated_and_only_whole_hours_count(tmp_path: Path) -> None:
    candles = random_candles(2, symbols=2)
    quarters = _quarters(_frame(candles, 0))
    quarters.filter(pl.col("open_time") != candles.open_time_ms[7] + QUARTER_MS).head(-2).write_parquet(
        tmp_path / "BTCUSDT.parquet"
    )
    own = load_candles(tmp_path).by_symbol["BTCUSDT"]
    assert len(own.ohlcv) == len(candles.open_time_ms) - 1
    assert np.isnan(own.ohlcv[7]).all()
    kept = np.delete(np.arange(len(own.ohlcv)), 7)
    np.testing.assert_allclose(own.ohlcv[kept], candles.ohlcv[0, kept], rtol=1e-12)


def test_sources_of_a_symbol_are_merged_and_the_coarsest_wins(tmp_path: Path) -> None:
    candles = random_candles(3, symbols=1)
    hours = _frame(candles, 0)
    (tmp_path / "1h").mkdir()
    (tmp_path / "15m").mkdir()
    hours.head(300).write_parquet(tmp_path / "1h" / "BTCUSDT.parquet")
    doubled = hours.tail(200).with_columns(*(pl.col(name) * 2 for name in COLUMNS))
    _quarters(doubled).write_parquet(tmp_path / "15m" / "BTCUSDT.parquet")
    loaded = load_candles([tmp_path / "15m", tmp_path / "1h"])
    own = loaded.by_symbol["BTCUSDT"]
    np.testing.assert_allclose(own.ohlcv[:300], candles.ohlcv[0, :300], rtol=1e-12)
    np.testing.assert_allclose(own.ohlcv[300:], 2 * candles.ohlcv[0, 300:], rtol=1e-12)
    assert any("100 bars whose sources differ" in note for note in loaded.notes)


def test_bad_files_and_rows_are_refused_or_repaired_by_name(tmp_path: Path) -> None:
    candles = random_candles(4, symbols=3)
    good = _frame(candles, 0)
    rows = pl.arange(pl.len())
    broken = good.with_columns(
        pl.when(rows == 20).then(None).otherwise(pl.col("close")).alias("close"),
        pl.when(rows == 21).then(-1.0).otherwise(pl.col("low")).alias("low"),
        pl.when(rows == 22).then(float("nan")).otherwise(pl.col("volume")).alias("volume"),
        pl.when(rows == 23).then(pl.col("low") / 2).otherwise(pl.col("high")).alias("high"),
    )
    pl.concat([broken, good[30:33]]).reverse().write_parquet(tmp_path / "BTCUSDT.parquet")
    good.drop("volume").write_parquet(tmp_path / "MARKUSDT.parquet")
    good.with_columns(pl.col("open_time") * 24).write_parquet(tmp_path / "DAILYUSDT.parquet")
    good.with_columns(*(pl.lit(1.0).alias(name) for name in COLUMNS)).write_parquet(tmp_path / "FLATUSDT.parquet")
    (tmp_path / "TORNUSDT.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "EMPTYUSDT.csv").write_text("")
    good.head(1).write_parquet(tmp_path / "ONEUSDT.parquet")
    good.with_columns(pl.lit("many").alias("close")).write_csv(tmp_path / "WORDSUSDT.csv")
    (tmp_path / "README.parquet").write_bytes(b"")
    loaded = load_candles(tmp_path)
    assert tuple(loaded.by_symbol) == ("BTCUSDT",)
    own = loaded.by_symbol["BTCUSDT"].ohlcv
    assert np.flatnonzero(np.isnan(own[:, 3])).tolist() == [20, 21, 22, 23]
    said = {Path(note.split(": ")[0]).name: note for note in loaded.notes if ".parquet" in note or ".csv" in note}
    assert "3 doubled bars" in said["BTCUSDT.parquet"]
    assert any("4 rows dropped" in note for note in loaded.notes)
    assert "no column volume" in said["MARKUSDT.parquet"]
    assert "apart" in said["DAILYUSDT.parquet"]
    assert "never changes" in said["FLATUSDT.parquet"]
    assert "cannot be read" in said["TORNUSDT.parquet"]
    assert "cannot be read" in said["EMPTYUSDT.csv"]
    assert "1 usable bars" in said["ONEUSDT.parquet"]
    assert "not numeric" in said["WORDSUSDT.csv"]
    assert all("\n" not in note for note in loaded.notes)


def test_nothing_usable_is_one_line_that_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(CandleError, match=r"no such folder"):
        load_candles(tmp_path / "absent")
    with pytest.raises(CandleError, match=r"no usable 1h candles; expected SYMBOL.parquet"):
        load_candles(tmp_path)
    with pytest.raises(CandleError, match=r"allowed: 1m, 5m"):
        load_candles(tmp_path, "7h")
    _write(tmp_path, random_candles(5, symbols=2, bars=280))
    with pytest.raises(ValueError, match=r"none of 2 symbols has a labelled bar: each needs 304 bars"):
        build_dataset(tmp_path)
    with pytest.raises(ValueError, match="at least 1 bar"):
        build_dataset(tmp_path, stride=0)


@pytest.fixture(scope="module")
def candles() -> RandomCandles:
    return random_candles(6, symbols=4, bars=900)


@pytest.fixture(scope="module")
def dataset(candles: RandomCandles, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("candles")
    _write(folder, candles)
    return build_dataset(folder)


def test_rows_are_every_fourth_bar_of_each_symbol_sorted_by_time(dataset: Dataset, candles: RandomCandles) -> None:
    horizon = Barriers().horizon_bars
    assert (np.diff(dataset.t0_ms) >= 0).all()
    for index in range(4):
        own = dataset.t0_ms[dataset.symbol == index]
        wanted = candles.open_time_ms[BARS_NEEDED - 1 : 900 - horizon]
        wanted = wanted[wanted // HOUR_MS % 4 == index % 4] + HOUR_MS
        np.testing.assert_array_equal(own, wanted)
    assert dataset.symbols == candles.symbols
    assert dataset.feature_names == feature_names()
    assert dataset.feature_hash == feature_hash()
    assert dataset.features.shape == (len(dataset.labels), len(feature_names()))
    assert np.isfinite(dataset.features).all()
    assert (dataset.open_time_ms[dataset.row] + HOUR_MS == dataset.t0_ms).all()


def test_labels_live_from_the_next_bar_to_at_most_the_horizon(dataset: Dataset) -> None:
    lived = dataset.t1_ms - dataset.t0_ms
    assert lived.min() >= HOUR_MS
    assert lived.max() <= Barriers().horizon_bars * HOUR_MS
    assert set(np.unique(dataset.labels)) == {0, 1, 2}
    # No label beats its own target, whatever it is called.
    assert max(dataset.r_long.max(), dataset.r_short.max()) <= 0.75
    assert (dataset.r_long[dataset.labels == 2] > dataset.r_short[dataset.labels == 2]).all()


def test_windows_and_future_moves_belong_to_their_row(dataset: Dataset, candles: RandomCandles) -> None:
    rows = np.arange(0, len(dataset.labels), 7)
    windows = dataset.windows(rows)
    assert windows.shape == (len(rows), WINDOW_BARS, len(CHANNELS))
    assert np.isfinite(windows).all()
    ahead = dataset.future_moves(rows, 60)
    for at, row in enumerate(rows):
        close = candles.ohlcv[dataset.symbol[row], :, 3]
        here = int((dataset.t0_ms[row] - HOUR_MS - candles.open_time_ms[0]) // HOUR_MS)
        known = min(60, 899 - here)
        expected = np.log(close[here + 1 : here + 1 + known] / close[here]) / dataset.stop_distance[row]
        np.testing.assert_allclose(ahead[at, :known], expected, rtol=1e-5, atol=1e-7)
        assert np.isnan(ahead[at, known:]).all()


def test_weights_have_mean_one_and_overlapping_rows_count_less(candles: RandomCandles, tmp_path: Path) -> None:
    _write(tmp_path, candles)
    dense, thin = build_dataset(tmp_path, stride=1), build_dataset(tmp_path, stride=48)
    assert dense.weights.mean() == pytest.approx(1.0, abs=1e-6)
    assert len(dense.labels) > 40 * len(thin.labels)
    assert dense.weights.std() > 0.1
    assert (thin.weights > 0).all()


def test_a_row_weighs_less_when_more_symbols_give_rows_at_its_time() -> None:
    candles = random_candles(7, symbols=12, bars=1300)
    ohlcv = candles.ohlcv.copy()
    ohlcv[2:, :600] = np.nan
    grown = build_dataset(_set(candles._replace(ohlcv=ohlcv)))
    pair = build_dataset(CandleSet(HOUR_MS, dict(list(_set(candles).by_symbol.items())[:2]), ()))
    rows = grown.symbol < 2
    np.testing.assert_array_equal(grown.t0_ms[rows], pair.t0_ms)
    ratio = grown.weights[rows] / pair.weights
    early, late = pair.t0_ms < candles.open_time_ms[800], pair.t0_ms > candles.open_time_ms[900]
    # Of n symbols each carries 1 / (1 + (n - 1) / 2) of an observation: 1 / 1.5 of two, 1 / 6.5 of twelve.
    np.testing.assert_allclose(ratio[late] / ratio[early].mean(), 1.5 / 6.5, rtol=1e-4)
    np.testing.assert_allclose(ratio[early], ratio[early].mean(), rtol=1e-4)


def test_the_market_of_a_row_is_made_of_the_symbols_that_had_a_bar_then(candles: RandomCandles) -> None:
    ohlcv = candles.ohlcv.copy()
    ohlcv[3, :500] = np.nan
    with_young = _set(candles._replace(ohlcv=ohlcv))
    without = CandleSet(HOUR_MS, dict(list(_set(candles).by_symbol.items())[:3]), ())
    a, b = build_dataset(with_young, stride=1), build_dataset(without, stride=1)
    before = candles.open_time_ms[500]
    rows_a, rows_b = (a.symbol == 1) & (a.t0_ms <= before), (b.symbol == 1) & (b.t0_ms <= before)
    np.testing.assert_array_equal(a.features[rows_a], b.features[rows_b])
    assert rows_a.sum() > 200
    assert not np.array_equal(a.features[a.symbol == 1], b.features[b.symbol == 1])


def _set(candles: RandomCandles) -> CandleSet:
    by_symbol = {}
    for symbol, bars in zip(candles.symbols, candles.ohlcv, strict=True):
        first = int(np.argmax(np.isfinite(bars[:, 3])))
        by_symbol[symbol] = (candles.open_time_ms[first:], bars[first:])
    return CandleSet(HOUR_MS, {symbol: Candles(times, bars) for symbol, (times, bars) in by_symbol.items()}, ())


def test_funding_on_file_is_charged_at_its_hour_and_the_base_rate_elsewhere(
    candles: RandomCandles, tmp_path: Path
) -> None:
    start = int(candles.open_time_ms[0]) // (8 * HOUR_MS) * (8 * HOUR_MS)
    times = start + 8 * HOUR_MS * np.arange(60) + 5  # the exchange reports them some ms late
    pl.DataFrame({"symbol": ["BTCUSDT"] * 60, "funding_time": times, "funding_rate": [0.01] * 60}).write_parquet(
        tmp_path / "funding.parquet"
    )
    plain = build_dataset(_set(candles), stride=1)
    charged = build_dataset(_set(candles), stride=1, funding_file=tmp_path / "funding.parquet")
    rows = (plain.symbol == 0) & (plain.t1_ms < times[-1])
    stop = np.minimum(plain.stop_distance, Barriers().stop_max)
    extra = (plain.r_long - charged.r_long)[rows] * stop[rows]
    settled = np.array(
        [
            ((times // HOUR_MS * HOUR_MS > t0) & (times < t1)).sum()
            for t0, t1 in zip(plain.t0_ms[rows], plain.t1_ms[rows], strict=True)
        ]
    )
    # t1 is the later end of long and short; the long pays no more than that.
    assert (extra <= 0.01 * settled + 1e-6).all()
    assert (extra >= -BASE_FUNDING_8H * 48 / 8 - 1e-6).all()
    assert extra.max() > 0.0095
    others = plain.symbol != 0
    np.testing.assert_array_equal(plain.r_long[others], charged.r_long[others])


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    embargo=st.integers(0, 40),
    lengths=st.tuples(st.integers(20, 200), st.integers(20, 200)),
)
def test_no_label_of_an_earlier_span_reaches_into_a_later_one(
    seed: int, embargo: int, lengths: tuple[int, int]
) -> None:
    rng = np.random.default_rng(seed)
    t0 = np.sort(rng.integers(0, 2000, 500))
    t1 = t0 + rng.integers(1, 48, 500)
    edges = expanding_edges(800, 2000, test_ms=lengths[0], calibration_ms=lengths[1])
    for edge, fold in zip(edges, walk_forward(t0, t1, edges, embargo), strict=True):
        assert not len(fold.train) or t1[fold.train].max() < edge.calibration_ms - embargo
        assert not len(fold.calibration) or t1[fold.calibration].max() < edge.test_ms - embargo
        assert not len(fold.calibration) or t0[fold.calibration].min() >= edge.calibration_ms
        assert ((t0[fold.test] >= edge.test_ms) & (t0[fold.test] < edge.end_ms)).all()
        lost = (t0 < edge.calibration_ms) & (t1 < edge.calibration_ms - embargo)
        assert len(fold.train) == lost.sum()
    tests = [edge.end_ms for edge in edges[:-1]]
    assert tests == [edge.test_ms for edge in edges[1:]]
    assert edges[-1].end_ms <= 2000


def test_edges_out_of_order_are_refused() -> None:
    t = np.arange(10)
    with pytest.raises(ValueError, match="must follow each other"):
        walk_forward(t, t + 1, [FoldEdges(5, 4, 9)], 0)
    with pytest.raises(ValueError, match="at least 0"):
        walk_forward(t, t + 1, [FoldEdges(3, 4, 9)], -1)
    with pytest.raises(ValueError, match="above 0"):
        expanding_edges(0, 10, test_ms=0, calibration_ms=1)
