"""Served models against real onnxruntime, with small graphs built here."""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np
import pytest

from models import registry
from models.registry import Manifest, ModelFileError
from qt_actors.edges.onnx_model import CHUNK_ROWS, load_model

onnx = pytest.importorskip("onnx")
FEATURES = 5
BARS = 4


def graph(kind, final="softmax"):
    """A linear layer with a softmax, or with what a broken export would leave."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(7).normal(size=(FEATURES * (BARS if kind == "window" else 1), 3)).astype(np.float32)
    shape = ["N", BARS, FEATURES] if kind == "window" else ["N", FEATURES]
    nodes = [helper.make_node("Flatten", ["input"], ["flat"], axis=1), helper.make_node("MatMul", ["flat", "w"], ["z"])]
    if final == "softmax":
        nodes.append(helper.make_node("Softmax", ["z"], ["probabilities"], axis=1))
    else:
        nodes.append(helper.make_node("Identity", ["z"], ["probabilities"]))
    made = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString(), weights


def a_manifest(name, kind, content, **changes):
    span = registry.Span(from_ms=0, to_ms=1, rows=1)
    metrics = registry.Metrics(log_loss=1, base_log_loss=1, ece=0, direction_hit=0.5, deciles=(), rows=1)
    made = Manifest(
        name=name,
        version=f"{name}-1",
        kind=kind,
        interval="1h",
        feature_hash="f" * 64,
        window_bars=BARS if kind == "window" else 0,
        channels=tuple("abcde"),
        classes=("SELL", "HOLD", "BUY"),
        opset=17,
        sha256=hashlib.sha256(content).hexdigest(),
        data=registry.DataRange(first_ms=0, last_ms=1, bars=1, symbols=("BTCUSDT",)),
        train=span,
        calibration=span,
        test=span,
        metrics=metrics,
        margin_threshold=0.05,
        margin_quantiles=tuple(np.linspace(0, 1, 101).tolist()),
        parity=registry.Parity(rows=1, batches=(1,), max_abs_dp=0, share_above_1e5=0),
        created_ms=0,
        seed=0,
        parameters={},
    )
    return msgspec.structs.replace(made, **changes)


def write(folder, name="xgb", kind="features", final="softmax", **changes):
    content, weights = graph(kind, final)
    (folder / f"{name}.onnx").write_bytes(content)
    (folder / f"{name}.json").write_bytes(msgspec.json.encode(a_manifest(name, kind, content, **changes)))
    return weights


def load(folder, name="xgb", **changes):
    return load_model(name, folder, **{"interval": "1h", "feature_hash": "f" * 64, **changes})


@pytest.mark.parametrize(("name", "kind"), [("xgb", "features"), ("nhits", "window"), ("patchtst", "window")])
@pytest.mark.parametrize("count", [0, 1, CHUNK_ROWS, CHUNK_ROWS + 1, 222])
def test_every_row_gets_the_probabilities_of_its_own_input(tmp_path, name, kind, count):
    weights = write(tmp_path, name, kind)
    manifest, model = load(tmp_path, name)
    shape = (count, BARS, FEATURES) if kind == "window" else (count, FEATURES)
    rows = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    found = model.probabilities(rows[:, ::-1])
    z = np.exp(rows[:, ::-1].reshape(count, len(weights)) @ weights)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, z / z.sum(axis=1, keepdims=True), atol=1e-5)
    assert model.version == manifest.version


def test_a_truncated_file_is_named_with_the_command_that_makes_it(tmp_path):
    write(tmp_path)
    file = tmp_path / "xgb.onnx"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ModelFileError, match=r"xgb\.onnx: truncated, its sha256 .* or make it with: qt train"):
        load(tmp_path)


def test_a_file_that_is_no_graph_is_named_even_when_its_hash_is_right(tmp_path):
    content = b"no graph at all"
    (tmp_path / "xgb.onnx").write_bytes(content)
    (tmp_path / "xgb.json").write_bytes(msgspec.json.encode(a_manifest("xgb", "features", content)))
    with pytest.raises(ModelFileError, match=r"xgb\.onnx: onnxruntime cannot load it") as fault:
        load(tmp_path)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("missing", ["xgb.onnx", "xgb.json"])
def test_a_missing_file_is_named_with_the_command_that_makes_it(tmp_path, missing):
    write(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(ModelFileError, match=f"{missing}: missing.*qt train"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"interval": "15m"}, "QT_BAR_INTERVAL is 15m"), ({"feature_hash": "0" * 64}, "made for features")],
)
def test_a_model_of_another_interval_or_other_features_is_refused(tmp_path, changes, said):
    write(tmp_path)
    with pytest.raises(ModelFileError, match=said):
        load(tmp_path, **changes)


def test_a_manifest_of_another_model_is_refused(tmp_path):
    write(tmp_path)
    for end in ("onnx", "json"):
        (tmp_path / f"lgbm.{end}").write_bytes((tmp_path / f"xgb.{end}").read_bytes())
    with pytest.raises(ModelFileError, match="is the manifest of xgb, not of lgbm"):
        load(tmp_path, "lgbm")


def test_rows_of_another_shape_are_refused_before_they_are_run(tmp_path):
    write(tmp_path)
    _, model = load(tmp_path)
    with pytest.raises(ValueError, match=r"rows are \(4,\), it was trained on \(5,\)"):
        model.probabilities(np.zeros((3, 4), np.float32))


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_answers_that_are_no_probabilities_are_an_error_never_a_vote(tmp_path, value):
    write(tmp_path, final="none")
    _, model = load(tmp_path)
    with pytest.raises(RuntimeError, match="3 of 3 answers are no probabilities"):
        model.probabilities(np.full((3, FEATURES), value, np.float32))


def test_a_graph_with_other_names_is_refused(tmp_path):
    content, _ = graph("features")
    content = content.replace(b"probabilities", b"probabilitiez")
    (tmp_path / "xgb.onnx").write_bytes(content)
    (tmp_path / "xgb.json").write_bytes(msgspec.json.encode(a_manifest("xgb", "features", content)))
    with pytest.raises(ModelFileError, match="allowed are 'input' and 'probabilities'"):
        load(tmp_path)
