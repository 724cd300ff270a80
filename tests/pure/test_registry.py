"""Model files are named when they may not vote, and votes follow the manifest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from models.registry import (
    ABSTAIN,
    ARTIFACTS,
    BUY,
    CLASSES,
    HOLD,
    MODEL_NAMES,
    SELL,
    DataRange,
    DecileResult,
    Manifest,
    Metrics,
    ModelFileError,
    Parity,
    Span,
    actions_and_confidence,
    load_manifest,
    restoring,
    sha256_of,
    verify,
)


def a_manifest(**changes: object) -> Manifest:
    """A well-formed manifest whose calls begin at a margin of 0.02 and end at 0.12."""
    made = Manifest(
        name="xgb",
        version="xgb-20250901-00000000",
        kind="features",
        interval="1h",
        feature_hash="f" * 64,
        window_bars=0,
        channels=("rsi_14",),
        classes=CLASSES,
        opset=17,
        sha256="0" * 64,
        data=DataRange(0, 1, 2, ("BTCUSDT",)),
        train=Span(0, 1, 2),
        calibration=Span(1, 2, 3),
        test=Span(2, 3, 4),
        metrics=Metrics(1.0, 1.01, 0.02, 0.52, (DecileResult(10, 0.01, -0.02),), 100),
        margin_threshold=0.02,
        margin_quantiles=tuple(np.linspace(0.02, 0.12, 101).tolist()),
        parity=Parity(5_000, (1, 7, 222), 1e-7, 0.0),
        created_ms=0,
        seed=7,
        parameters={"depth": 3, "scale": (1.0, 2.0)},
    )
    return msgspec.structs.replace(made, **changes)


def written(folder: Path, manifest: Manifest, model: bytes = b"graph") -> tuple[Path, Path]:
    """The model's file and its manifest, whose sha256 fits."""
    onnx = folder / f"{manifest.name}.onnx"
    onnx.write_bytes(model)
    path = folder / f"{manifest.name}.json"
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, sha256=sha256_of(onnx))))
    return onnx, path


def test_a_manifest_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    onnx, path = written(tmp_path, a_manifest())
    loaded = load_manifest(path)
    assert msgspec.structs.replace(loaded, sha256="0" * 64) == a_manifest()
    verify(loaded, onnx, interval="1h", feature_hash="f" * 64)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "missing"),
        (b"", "damaged, no valid manifest"),
        (b"{", "damaged, no valid manifest"),
        (b"\xff\xfe", "damaged, no valid manifest"),
        (b'{"name":"xgb"}', "damaged, no valid manifest"),
        (b" " * 1_000_001, "1000001 bytes, a manifest has at most 1000000"),
    ],
)
def test_an_unusable_manifest_is_named_in_one_line_with_the_command_that_makes_it(
    tmp_path: Path, content: bytes | None, fault: str
) -> None:
    path = tmp_path / "lgbm.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        load_manifest(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: {fault}")
    assert line.endswith("make it with: qt train --data DIR --out DIR")
    assert "\n" not in line


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"classes": ("BUY", "HOLD", "SELL")}, "class order"),
        ({"margin_quantiles": (0.1, 0.2)}, "margin_quantiles must be 101"),
        ({"margin_quantiles": tuple(np.linspace(1, 0, 101).tolist())}, "margin_quantiles must be 101 ascending"),
        ({"margin_threshold": -0.1}, r"margin_threshold -0\.1, allowed 0 to below 1"),
    ],
)
def test_a_manifest_of_impossible_values_is_refused(tmp_path: Path, changes: dict[str, object], fault: str) -> None:
    _, path = written(tmp_path, a_manifest(**changes))
    with pytest.raises(ModelFileError, match=fault):
        load_manifest(path)


def test_a_manifest_with_an_unknown_field_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "xgb.json"
    path.write_bytes(msgspec.json.encode(msgspec.to_builtins(a_manifest()) | {"treshold": 1}))
    with pytest.raises(ModelFileError, match="treshold"):
        load_manifest(path)


GRAPH = b"\x08\x08\x3a\x05graph\x72\x07a piece"
"""Three fields as ONNX has them at its top: a number, the graph, a piece of text."""


@pytest.mark.parametrize(
    ("left", "word"),
    [
        (None, "missing"),
        (b"", "truncated"),
        (GRAPH[:1], "truncated"),
        (GRAPH[:5], "truncated"),
        (GRAPH[:-1], "truncated"),
        (GRAPH.replace(b"graph", b"grave"), "damaged or replaced"),
        (GRAPH + b"\x08\x01", "damaged or replaced"),
        (b"no model at all", "damaged or replaced"),
    ],
)
def test_a_missing_a_truncated_and_a_damaged_model_file_have_each_their_word(
    tmp_path: Path, left: bytes | None, word: str
) -> None:
    onnx, path = written(tmp_path, a_manifest(), GRAPH)
    manifest = load_manifest(path)
    onnx.unlink()
    if left is not None:
        onnx.write_bytes(left)
    with pytest.raises(ModelFileError) as caught:
        verify(manifest, onnx, interval="1h", feature_hash="f" * 64)
    assert caught.value.fault.startswith(f"{onnx}: {word}")
    assert caught.value.remedy == "restore it from a copy, or make it with: qt train --data DIR --out DIR"


def test_models_of_another_interval_or_other_features_have_each_their_own_remedy(tmp_path: Path) -> None:
    onnx, path = written(tmp_path, a_manifest())
    manifest = load_manifest(path)
    with pytest.raises(ModelFileError, match="trained on 1h bars, QT_BAR_INTERVAL is 15m") as other:
        verify(manifest, onnx, interval="15m", feature_hash="f" * 64)
    assert other.value.remedy.startswith(
        "where all models are of 1h bars set QT_BAR_INTERVAL=1h, else train this one with: qt train"
    )
    assert other.value.remedy.endswith("--interval 15m")
    with pytest.raises(ModelFileError, match="made for features ffffffffffff…, this build computes eeee") as foreign:
        verify(manifest, onnx, interval="1h", feature_hash="e" * 64)
    assert foreign.value.remedy.startswith("use the models that came with this version")


def test_a_shipped_file_is_restored_from_where_it_came_and_no_other_is() -> None:
    assert "git checkout models/artifacts" in restoring(ARTIFACTS / "xgb.onnx")
    assert "git" not in restoring(Path("/elsewhere/xgb.onnx"))


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_a_shipped_file_cut_anywhere_is_told_as_truncated(tmp_path: Path, name: str) -> None:
    manifest = load_manifest(ARTIFACTS / f"{name}.json")
    content = (ARTIFACTS / f"{name}.onnx").read_bytes()
    for left in (1, 1000, len(content) // 2, len(content) - 1):
        (tmp_path / "cut.onnx").write_bytes(content[:left])
        with pytest.raises(ModelFileError, match=r"cut\.onnx: truncated"):
            verify(manifest, tmp_path / "cut.onnx", interval="1h", feature_hash=manifest.feature_hash)


def test_a_model_votes_the_likelier_side_from_its_threshold_on() -> None:
    said = np.array([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.33, 0.33, 0.34], [0.32, 0.34, 0.34]], dtype=np.float32)
    actions, confidence = actions_and_confidence(said, a_manifest(margin_threshold=0.019))
    assert actions.dtype == np.int8
    assert confidence.dtype == np.float32
    assert actions.tolist() == [SELL, BUY, HOLD, BUY]
    assert confidence.tolist() == pytest.approx([1.0, 1.0, 0.0, 0.0], abs=1e-6)


def test_confidence_is_the_share_of_reference_calls_with_a_smaller_edge() -> None:
    margins = np.array([0.02 + 0.1 * share for share in (0.1, 0.45, 0.83, 2.0)])
    said = np.stack([(1 - margins) / 2, np.zeros(4), (1 + margins) / 2], axis=1).astype(np.float32)
    _, confidence = actions_and_confidence(said, a_manifest())
    assert confidence.tolist() == pytest.approx([0.1, 0.45, 0.83, 1.0], abs=1e-5)


def test_who_may_not_vote_abstains_and_never_holds() -> None:
    said = np.array([[0.5, 0.3, 0.2], [np.nan, 0.3, 0.5], [0.2, 0.3, 0.5]], dtype=np.float32)
    actions, confidence = actions_and_confidence(said, a_manifest(), abstain=np.array([True, False, False]))
    assert actions.tolist() == [ABSTAIN, ABSTAIN, BUY]
    assert confidence[:2].tolist() == [0.0, 0.0]


def test_equal_buy_and_sell_is_a_hold_even_at_threshold_zero() -> None:
    said = np.array([[0.4, 0.2, 0.4]], dtype=np.float32)
    assert actions_and_confidence(said, a_manifest(margin_threshold=0.0))[0].tolist() == [HOLD]


def test_the_registry_brings_no_training_library_into_the_trading_process() -> None:
    heavy = ("torch", "xgboost", "lightgbm", "sklearn", "scipy", "polars", "onnx", "onnxruntime")
    code = f"import sys, models.registry; print([m for m in {heavy} if m in sys.modules])"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"
