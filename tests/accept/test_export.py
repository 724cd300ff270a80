"""Export keeps probabilities, at every batch size, or refuses; what is committed loads and may vote."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

pytest.importorskip("skl2onnx")
lightgbm = pytest.importorskip("lightgbm")

from skl2onnx import convert_sklearn, update_registered_converter  # noqa: E402 - after the checks above
from skl2onnx.common.data_types import FloatTensorType  # noqa: E402 - likewise
from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes  # noqa: E402 - likewise
from sklearn.calibration import CalibratedClassifierCV  # noqa: E402 - likewise

from exporters import onnx as exporter  # noqa: E402 - likewise
from models import lgbm, xgb  # noqa: E402 - likewise
from models.calibration import IDENTITY, VectorScaling  # noqa: E402 - likewise
from models.features import feature_hash, feature_names  # noqa: E402 - likewise
from models.registry import ARTIFACTS, CLASSES, MODEL_NAMES, load_manifest, verify  # noqa: E402 - likewise
from models.rows import FeatureRows  # noqa: E402 - likewise
from models.windows import CHANNELS  # noqa: E402 - likewise

COLUMNS = 12
SCALING = VectorScaling((0.8, 0.7, 0.8), (0.0, 0.2, 0.0))
HAVE_TORCH = importlib.util.find_spec("torch") is not None


def rows(count: int, seed: int) -> FeatureRows:
    """Rows with one missing value in twenty and a signal that trees find."""
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(count, COLUMNS)).astype(np.float32)
    push = features[:, 0] + features[:, 1] * features[:, 2] + 2 * draw.normal(size=count)
    features[draw.random(features.shape) < 0.05] = np.nan
    return FeatureRows(features, np.digitize(push, [-1, 1]).astype(np.int64), np.ones(count, np.float32))


TRAIN, VALIDATION, TEST = rows(4_000, 1), rows(2_000, 2), rows(6_000, 3)


@pytest.mark.parametrize("module", [xgb, lgbm], ids=["xgb", "lgbm"])
def test_exported_trees_with_calibration_answer_as_the_model_does_with_missing_values(module: object) -> None:
    settings = module.DEFAULTS._replace(trees_max=40)
    model = module.fit(TRAIN, VALIDATION, seed=1, threads=1, settings=settings)
    export = exporter.xgb if module is xgb else exporter.lgbm
    proto = export(model, COLUMNS, SCALING)
    name = "trees"
    parity = exporter.check_parity(proto, lambda x: SCALING.apply(module.predict(model, x)), TEST.features, name=name)
    assert parity.max_abs_dp < 1e-6
    assert parity.rows == 6_000
    assert [output.name for output in proto.graph.output] == ["probabilities"]
    assert all(opset.version <= exporter.TREE_OPSETS[opset.domain] for opset in proto.opset_import)
    assert len({opset.domain for opset in proto.opset_import}) == len(proto.opset_import)


def calibrated_lgbm_graph() -> tuple[object, onnx.ModelProto]:
    """A LightGBM under a scikit-learn calibrator and its graph: most labels right, all probabilities wrong."""
    clean = np.nan_to_num(TRAIN.features)
    model = CalibratedClassifierCV(
        lightgbm.LGBMClassifier(n_estimators=30, verbose=-1, n_jobs=1), method="sigmoid", cv=2
    )
    model.fit(clean, TRAIN.labels)
    update_registered_converter(
        lightgbm.LGBMClassifier,
        "LightGbmLGBMClassifier",
        calculate_linear_classifier_output_shapes,
        exporter.convert_lightgbm,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]},
    )
    proto = convert_sklearn(
        model,
        initial_types=[("input", FloatTensorType([None, COLUMNS]))],
        options={id(model): {"zipmap": False}},
        target_opset=exporter.TREE_OPSETS,
    )
    return model, exporter.append_calibration(proto, IDENTITY)


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_a_calibrated_lightgbm_pipeline_is_refused_though_its_labels_mostly_agree() -> None:
    model, proto = calibrated_lgbm_graph()
    clean = np.nan_to_num(TEST.features)
    said = exporter.session_of(proto.SerializeToString()).run(["probabilities"], {"input": clean})[0]
    assert (said.argmax(axis=1) == model.predict_proba(clean).argmax(axis=1)).mean() > 0.7
    with pytest.raises(exporter.ExportRefusedError, match=r"differ from the model's by up to 0\.\d+ \(allowed 1e-05\)"):
        exporter.check_parity(proto, model.predict_proba, clean, name="lgbm")


def test_a_graph_whose_batch_is_frozen_is_refused() -> None:
    """It answers at 222, the batch it was traced with, and nowhere else."""
    nodes = [
        helper.make_node("Slice", ["input", "from", "to"], ["first"]),
        helper.make_node("Reshape", ["first", "shape"], ["probabilities"]),
    ]
    constants = [
        helper.make_tensor("from", onnx.TensorProto.INT64, [2], [0, 0]),
        helper.make_tensor("to", onnx.TensorProto.INT64, [2], [222, 3]),
        helper.make_tensor("shape", onnx.TensorProto.INT64, [2], [222, 3]),
    ]
    graph = helper.make_graph(
        nodes,
        "frozen",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, ["batch", COLUMNS])],
        [helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["batch", 3])],
        constants,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    with pytest.raises(exporter.ExportRefusedError, match="frozen: the graph fails at batch 1 "):
        exporter.check_parity(proto, lambda x: x[:, :3], np.zeros((5_106, COLUMNS), np.float32), name="frozen")


def test_parity_on_too_few_rows_is_refused() -> None:
    with pytest.raises(exporter.ExportRefusedError, match="needs at least 5000 rows, got 10"):
        exporter.check_parity(onnx.ModelProto(), lambda x: x, TEST.features[:10], name="xgb")


@pytest.mark.skipif(not HAVE_TORCH, reason="torch is not installed (extra [train])")
@pytest.mark.parametrize("name", ["nhits", "patchtst"])
@pytest.mark.filterwarnings("ignore")
def test_exported_networks_with_calibration_answer_as_the_model_does(name: str) -> None:
    import torch

    from models.nhits import NHiTS, NHiTSSettings
    from models.patchtst import PatchTST, PatchTSTSettings

    torch.manual_seed(0)
    small = {"length": 32, "channels": 3, "horizon": 4}
    if name == "nhits":
        network, export = NHiTS(NHiTSSettings(**small, pools=(4, 1), rates=(4, 1), width=16)), exporter.nhits
    else:
        settings = PatchTSTSettings(**small, patch=8, stride=4, width=8, heads=2, inner=8, layers=2)
        network, export = PatchTST(settings), exporter.patchtst
    network.train()
    with torch.no_grad():
        network(torch.randn(500, 32, 3) * 2 + 1)  # running statistics of the batch norms away from their start
    proto = export(network.eval(), SCALING)
    windows = np.random.default_rng(0).normal(size=(5_000, 32, 3)).astype(np.float32)

    def reference(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return SCALING.apply(network(torch.from_numpy(x))[0].numpy())

    assert exporter.check_parity(proto, reference, windows, name=name).max_abs_dp < 2e-6
    session = exporter.session_of(proto.SerializeToString())
    said, forecast = session.run(["probabilities", "forecast"], {"input": windows[:7]})
    assert said.dtype == forecast.dtype == np.float32
    with torch.no_grad():
        assert np.abs(forecast - network(torch.from_numpy(windows[:7]))[1].numpy()).max() < 1e-5


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_a_committed_model_may_vote_and_answers_any_batch(name: str) -> None:
    path = ARTIFACTS / f"{name}.onnx"
    manifest = load_manifest(path.with_suffix(".json"))
    verify(manifest, path, interval="1h", feature_hash=feature_hash())
    assert manifest.name == name
    assert manifest.classes == CLASSES
    assert manifest.channels == (CHANNELS if manifest.kind == "window" else feature_names())
    assert path.stat().st_size < 3_000_000
    assert manifest.train.to_ms <= manifest.calibration.from_ms < manifest.calibration.to_ms <= manifest.test.from_ms
    assert manifest.parity.rows >= exporter.PARITY_ROWS_MIN
    assert manifest.parity.max_abs_dp <= exporter.PARITY_DP_MAX
    session = exporter.session_of(str(path))
    shape = (len(manifest.channels),) if manifest.kind == "features" else (manifest.window_bars, len(manifest.channels))
    for batch in exporter.PARITY_BATCHES:
        x = np.random.default_rng(batch).normal(size=(batch, *shape)).astype(np.float32)
        said = session.run(["probabilities"], {"input": x})[0]
        assert said.shape == (batch, 3)
        assert said.sum(axis=1) == pytest.approx(1.0, abs=1e-5)


def test_a_half_written_model_is_never_seen(tmp_path: Path) -> None:
    _, proto = calibrated_lgbm_graph()
    exporter.write(proto, tmp_path / "x.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["x.onnx"]
