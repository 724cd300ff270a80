"""Training end to end on synthetic candles: files that load and vote, spans that do not leak, nothing half-done."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path

import numpy as np
import pytest

for needed in ("polars", "skl2onnx", "lightgbm", "xgboost"):
    pytest.importorskip(needed)

import polars as pl  # noqa: E402 - after the checks above

from exporters import onnx as exporter  # noqa: E402 - likewise
from exporters import train as exports  # noqa: E402 - likewise
from models import evaluation, scoreboard, training  # noqa: E402 - likewise
from models.features import feature_hash  # noqa: E402 - likewise
from models.registry import ABSTAIN, BUY, HOLD, SELL, actions_and_confidence, load_manifest, verify  # noqa: E402 - likewise

HOUR_MS = 3_600_000
START_MS = 1_672_531_200_000  # 2023-01-01
SYMBOLS = ("BTCUSDT", "ETHUSDT", "XRPUSDT", "ADAUSDT")
BARS = 13_000
HAVE_TORCH = importlib.util.find_spec("torch") is not None


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hourly candles of four symbols that follow a slow common trend, so that there is something to learn."""
    folder = tmp_path_factory.mktemp("candles")
    draw = np.random.default_rng(11)
    trend = np.repeat(draw.choice([-1.0, 1.0], BARS // 120 + 1), 120)[:BARS] * 0.0015
    for symbol in SYMBOLS:
        returns = trend + draw.normal(0, 0.006, BARS)
        close = 100 * np.exp(np.cumsum(returns))
        opened = np.concatenate([[100.0], close[:-1]])
        reach = np.abs(draw.normal(0, 0.003, (2, BARS)))
        pl.DataFrame(
            {
                "open_time": START_MS + HOUR_MS * np.arange(BARS),
                "open": opened,
                "high": np.maximum(opened, close) * (1 + reach[0]),
                "low": np.minimum(opened, close) * (1 - reach[1]),
                "close": close,
                "volume": draw.uniform(10, 20, BARS),
            },
        ).write_parquet(folder / f"{symbol}.parquet")
    return folder


EXPORT = partial(exports.export, rows_min=500)
"""Four symbols have no 5 000 unseen rows."""


@pytest.fixture(scope="module")
def trained(candles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tree models of those candles are."""
    out = tmp_path_factory.mktemp("models")
    training.train([candles], out, export=EXPORT, models=("xgb", "lgbm"), seed=3, progress=False)
    return out


@pytest.mark.parametrize("name", ["xgb", "lgbm"])
def test_what_training_wrote_loads_verifies_and_votes(trained: Path, name: str) -> None:
    manifest = load_manifest(trained / f"{name}.json")
    verify(manifest, trained / f"{name}.onnx", interval="1h", feature_hash=feature_hash())
    assert manifest.seed == 3
    assert manifest.data.symbols == tuple(sorted(SYMBOLS))
    assert manifest.parity.max_abs_dp <= exporter.PARITY_DP_MAX
    assert manifest.metrics.rows == manifest.test.rows > 500
    session = exporter.session_of(str(trained / f"{name}.onnx"))
    x = np.random.default_rng(0).normal(size=(222, len(manifest.channels))).astype(np.float32)
    said = session.run(["probabilities"], {"input": x})[0]
    actions, confidence = actions_and_confidence(said, manifest)
    assert set(actions.tolist()) <= {SELL, HOLD, BUY}
    assert ((confidence >= 0) & (confidence <= 1)).all()


def test_training_leaves_no_staging_behind(trained: Path) -> None:
    assert sorted(path.name for path in trained.iterdir()) == ["lgbm.json", "lgbm.onnx", "xgb.json", "xgb.onnx"]


def test_training_learns_a_trend_that_is_there(trained: Path) -> None:
    for name in ("xgb", "lgbm"):
        metrics = load_manifest(trained / f"{name}.json").metrics
        assert metrics.log_loss < metrics.base_log_loss
        assert metrics.direction_hit > 0.6


def test_the_same_seed_trains_the_same_model(trained: Path, candles: Path, tmp_path: Path) -> None:
    again = training.train([candles], tmp_path, export=EXPORT, models=("lgbm",), seed=3, progress=False)["lgbm"]
    first = load_manifest(trained / "lgbm.json")
    assert again.metrics == first.metrics
    assert again.margin_quantiles == first.margin_quantiles


def test_a_refused_export_leaves_the_models_that_were_there_alone(candles: Path, tmp_path: Path) -> None:
    (tmp_path / "lgbm.onnx").write_bytes(b"champion")
    with pytest.raises(exporter.ExportRefusedError, match="needs at least 5000 rows"):
        exports.train([candles], tmp_path, models=("lgbm",), progress=False)
    assert (tmp_path / "lgbm.onnx").read_bytes() == b"champion"
    assert not (tmp_path / "lgbm.json").exists()


def test_an_unknown_model_and_too_little_data_are_refused_in_one_line(candles: Path, tmp_path: Path) -> None:
    with pytest.raises(training.TrainingError, match=r"models \['tft'\]: unknown; allowed: xgb, lgbm, nhits, patchtst"):
        exports.train([candles], tmp_path, models=("tft",), progress=False)
    few = tmp_path / "few"
    few.mkdir()
    pl.read_parquet(candles / "BTCUSDT.parquet").head(700).write_parquet(few / "BTCUSDT.parquet")
    with pytest.raises(training.TrainingError, match=r"span: .* each class needs at least 20; give more history"):
        exports.train([few], tmp_path / "out", models=("lgbm",), progress=False)


def test_spans_follow_each_other_and_no_label_reaches_across() -> None:
    draw = np.random.default_rng(0)
    t0 = np.sort(START_MS + draw.integers(0, 900 * 24, 20_000) * HOUR_MS)
    t1 = t0 + draw.integers(1, 49, len(t0)) * HOUR_MS
    edges = training.default_edges(int(t0[0]), int(t0[-1]) + HOUR_MS)
    parts = training.split(t0, t1, edges)
    embargo = training.EMBARGO_MS
    assert t1[parts.train].max() < edges.calibration_ms - embargo
    assert t0[parts.calibration].min() >= edges.calibration_ms
    assert t1[parts.calibration].max() < edges.test_ms - embargo
    assert t0[parts.test].min() >= edges.test_ms
    for a, b in zip(t0[parts.validation], t1[parts.validation], strict=True):
        overlapping = (t1[parts.train] > a - embargo) & (t0[parts.train] < b + embargo)
        assert not overlapping.any()
    assert 0.05 < len(parts.validation) / len(parts.train) < 0.35


def test_default_spans_of_the_full_history_are_the_last_quarter_and_five_months() -> None:
    edges = training.default_edges(1_567_900_000_000, 1_756_684_800_000)  # to 2025-09-01
    assert [str(np.datetime64(t, "ms"))[:10] for t in edges[:3]] == ["2025-01-01", "2025-04-01", "2025-09-01"]


def test_the_scoreboard_judges_models_ensemble_and_baselines_on_the_same_rows(trained: Path, candles: Path) -> None:
    board = scoreboard.evaluate([candles], trained, models=("xgb", "lgbm"))
    named = {line.name: line for line in board.lines}
    assert {"xgb", "lgbm", "mean of the models", "always long", "coin", "logistic, 10 features"} <= set(named)
    manifest = load_manifest(trained / "xgb.json")
    assert board.rows == manifest.metrics.rows
    assert named["xgb"].log_loss == pytest.approx(manifest.metrics.log_loss, abs=1e-6)
    assert named["xgb"].strongest[2].mean > named["coin"].strongest[2].mean + 0.1
    assert named["momentum 24 h"].strongest[0].mean + named["reversal 24 h"].strongest[0].mean < 0  # both pay costs
    assert abs(named["coin"].direction_hit - 0.5) < 0.05
    assert board.vote_correlation["xgb-lgbm"] > 0.5
    counts = [passed.signals_per_bar for passed in board.ensemble]
    assert counts[:-1] == sorted(counts[:-1], reverse=True)
    assert counts[-1] <= counts[0]
    assert counts[0] <= len(SYMBOLS)
    assert "| xgb |" in scoreboard.markdown(board)


def test_the_ensemble_needs_its_quorum_and_counts_no_abstention() -> None:
    sides = {
        "xgb": [BUY, BUY, BUY, SELL, ABSTAIN],
        "lgbm": [BUY, BUY, SELL, SELL, ABSTAIN],
        "nhits": [BUY, HOLD, SELL, ABSTAIN, ABSTAIN],
        "patchtst": [HOLD, SELL, BUY, HOLD, BUY],
    }
    votes = {name: (np.array(row, dtype=np.int8), np.full(5, 0.5, dtype=np.float32)) for name, row in sides.items()}
    margins = {name: np.array([0.1, 0.1, 0.1, -0.2, np.nan]) for name in sides}
    voted = evaluation.ensemble(votes, margins)
    assert voted.actions.tolist() == [BUY, HOLD, HOLD, SELL, HOLD]
    assert voted.margin.tolist() == pytest.approx([0.1, 0.0, 0.0, 0.2, 0.0])
    assert voted.confidence.tolist() == pytest.approx([0.5, 0.0, 0.0, 0.5, 0.0])


@pytest.mark.skipif(not HAVE_TORCH, reason="torch is not installed (extra [train])")
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["nhits", "patchtst"])
def test_networks_train_to_files_that_load_and_vote(candles: Path, tmp_path: Path, name: str) -> None:
    from models import nhits, patchtst, train_network

    sizes = nhits.NHiTSSettings(width=8) if name == "nhits" else patchtst.PatchTSTSettings(width=8, inner=8, layers=1)
    loop = train_network.LoopSettings(round_rows=512, rounds_max=2)
    made = training.train(
        [candles], tmp_path, export=EXPORT, models=(name,), settings={name: (sizes, loop)}, progress=False
    )[name]
    verify(
        load_manifest(tmp_path / f"{name}.json"), tmp_path / f"{name}.onnx", interval="1h", feature_hash=feature_hash()
    )
    assert made.kind == "window"
    session = exporter.session_of(str(tmp_path / f"{name}.onnx"))
    x = np.zeros((7, made.window_bars, len(made.channels)), dtype=np.float32)
    assert session.run(["probabilities"], {"input": x})[0].shape == (7, 3)
