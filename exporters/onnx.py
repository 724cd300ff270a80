"""Fitted models as ONNX files: one exporter a model, calibration in the graph, a parity gate before the disk.

Every graph takes ``input`` (float32, dynamic batch) and answers ``probabilities`` (float32[N, 3], calibrated, SELL
HOLD BUY);
a network also answers ``forecast``. What the gate is there for, all measured: a LightGBM under a scikit-learn
calibrator exports with
the right labels and probabilities wrong by .22 to .34 in every row; torch's older exporter turns ``unfold(-1, ...)``
into wrong numbers;
scikit-learn's scalers flip splits in float32. So: bare trees, torch.export only, calibration as own nodes, and
probabilities compared.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
import onnxruntime
import xgboost
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
from skl2onnx import convert_sklearn, update_registered_converter
from skl2onnx.common.data_types import FloatTensorType
from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes

from models.calibration import PROBABILITY_MIN, VectorScaling
from models.registry import Parity

TREE_OPSETS = {"": 17, "ai.onnx.ml": 3}
NETWORK_OPSET = 18
PARITY_BATCHES = (1, 7, 222)
PARITY_ROWS_MIN = 5_000
PARITY_DP_MAX = 1e-5
"""Largest difference of any probability; honest graphs stay below 1e-6, broken ones are off by .2."""
_LOOP_ROWS = 1_400
"""Rows compared at batches 1 and 7; every row is compared at 222."""
_TREE_OPTIONS = {"nocl": [True, False], "zipmap": [True, False, "columns"]}


class ExportRefusedError(Exception):
    """The graph does not answer as the model does; nothing was written."""


def xgb(model: xgboost.XGBClassifier, columns: int, scaling: VectorScaling) -> onnx.ModelProto:
    """Graph of a fitted XGBoost classifier over float32[N, columns]; rounds after the best one are left out."""
    update_registered_converter(
        xgboost.XGBClassifier,
        "XGBoostXGBClassifier",
        calculate_linear_classifier_output_shapes,
        convert_xgboost,
        options=_TREE_OPTIONS,
    )
    return _trees(model, columns, scaling)


def lgbm(model: lightgbm.LGBMClassifier, columns: int, scaling: VectorScaling) -> onnx.ModelProto:
    """Graph of a fitted LightGBM classifier over float32[N, columns]; rounds after the best one are left out."""
    update_registered_converter(
        lightgbm.LGBMClassifier,
        "LightGbmLGBMClassifier",
        calculate_linear_classifier_output_shapes,
        convert_lightgbm,
        options=_TREE_OPTIONS,
    )
    return _trees(model, columns, scaling)


def nhits(network: Any, scaling: VectorScaling) -> onnx.ModelProto:
    """Graph of a fitted ``models.nhits.NHiTS`` in evaluation mode."""
    return _network(network, scaling)


def patchtst(network: Any, scaling: VectorScaling) -> onnx.ModelProto:
    """Graph of a fitted ``models.patchtst.PatchTST`` in evaluation mode."""
    return _network(network, scaling)


def _trees(model: Any, columns: int, scaling: VectorScaling) -> onnx.ModelProto:
    proto = convert_sklearn(
        model,
        initial_types=[("input", FloatTensorType([None, columns]))],
        options={id(model): {"zipmap": False}},
        target_opset=TREE_OPSETS,
    )
    return append_calibration(proto, scaling)


def _network(network: Any, scaling: VectorScaling) -> onnx.ModelProto:
    import torch  # noqa: PLC0415 - trees are exported on machines without torch

    settings = network.settings
    example = torch.zeros(3, settings.length, settings.channels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.export warns of its own deprecated internals
        program = torch.onnx.export(
            network.eval(),
            (example,),
            dynamo=True,
            input_names=["input"],
            output_names=["probabilities", "forecast"],
            dynamic_shapes={"window": {0: torch.export.Dim("batch", min=1, max=65_536)}},
            opset_version=NETWORK_OPSET,
            verbose=False,
        )
    return append_calibration(program.model_proto, scaling)


def append_calibration(proto: onnx.ModelProto, scaling: VectorScaling) -> onnx.ModelProto:
    """The same graph with Max, Log, Gemm, Softmax behind ``probabilities``; a tree's ``label`` output is dropped."""
    graph = proto.graph
    raw = "raw_probabilities"
    for node in graph.node:
        node.output[:] = [raw if name == "probabilities" else name for name in node.output]
        node.input[:] = [raw if name == "probabilities" else name for name in node.input]
    constants = {
        "calibration_min": np.array([PROBABILITY_MIN], dtype=np.float32),
        "calibration_scale": np.diag(scaling.scale).astype(np.float32),
        "calibration_bias": np.array(scaling.bias, dtype=np.float32),
    }
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    graph.node.extend(
        [
            helper.make_node("Max", [raw, "calibration_min"], ["calibration_clipped"]),
            helper.make_node("Log", ["calibration_clipped"], ["calibration_log"]),
            helper.make_node(
                "Gemm", ["calibration_log", "calibration_scale", "calibration_bias"], ["calibration_logits"]
            ),
            helper.make_node("Softmax", ["calibration_logits"], ["probabilities"], axis=1),
        ],
    )
    others = [output for output in graph.output if output.name not in {"probabilities", "label"}]
    answer = helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["batch", 3])
    del graph.output[:]
    graph.output.extend([answer, *others])
    newest: dict[str, int] = {}
    for opset in proto.opset_import:  # converters may leave several entries a domain, which the checker refuses
        newest[opset.domain] = max(newest.get(opset.domain, 0), opset.version)
    del proto.opset_import[:]
    proto.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in newest.items())
    _drop_dead_nodes(graph)
    onnx.checker.check_model(proto)
    return proto


def _drop_dead_nodes(graph: onnx.GraphProto) -> None:
    """Remove nodes none of whose outputs is used, such as the casts behind a tree's label."""
    while True:
        used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
        dead = [node for node in graph.node if not used.intersection(node.output)]
        if not dead:
            return
        for node in dead:
            graph.node.remove(node)


def check_parity(
    proto: onnx.ModelProto,
    reference: Callable[[NDArray[np.float32]], NDArray[np.floating]],
    rows: NDArray[np.float32],
    *,
    name: str,
    rows_min: int = PARITY_ROWS_MIN,
) -> Parity:
    """How closely the graph follows ``reference`` (calibrated [N, 3]) over ``rows``, at batches 1, 7 and 222.

    Raises ``ExportRefusedError`` if fewer than ``rows_min`` rows are given, an answer has another shape or is not
    finite, or any probability differs by more than ``PARITY_DP_MAX``.
    """
    if len(rows) < rows_min:
        raise ExportRefusedError(f"{name}: parity needs at least {rows_min} rows, got {len(rows)}; give more data")
    session = session_of(proto.SerializeToString())
    wanted = np.asarray(reference(rows), dtype=np.float64)
    worst = np.zeros(len(rows))
    for batch in PARITY_BATCHES:
        part = rows if batch == max(PARITY_BATCHES) else rows[:_LOOP_ROWS]
        for start in range(0, len(part), batch):
            block = slice(start, min(start + batch, len(part)))
            off = np.abs(_answer(session, part[block], name) - wanted[block]).max(axis=1)
            worst[block] = np.maximum(worst[block], off)
    parity = Parity(len(rows), PARITY_BATCHES, float(worst.max()), float((worst > 1e-5).mean()))
    if parity.max_abs_dp > PARITY_DP_MAX:
        raise ExportRefusedError(
            f"{name}: the graph's probabilities differ from the model's by up to {parity.max_abs_dp:.2g}"
            f" (allowed {PARITY_DP_MAX:g}) in {parity.share_above_1e5:.1%} of {parity.rows} rows; nothing was written",
        )
    return parity


def _answer(session: onnxruntime.InferenceSession, block: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    try:
        got = np.asarray(session.run(["probabilities"], {"input": block})[0])
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise ExportRefusedError(
            f"{name}: the graph fails at batch {len(block)} ({reason}); nothing was written"
        ) from error
    if got.shape != (len(block), 3) or not np.isfinite(got).all():
        raise ExportRefusedError(
            f"{name}: at batch {len(block)} the graph answers {got.shape},"
            f" finite [{len(block)}, 3] is wanted; nothing was written",
        )
    return got


def session_of(model: bytes | str) -> onnxruntime.InferenceSession:
    """A CPU session with one thread, as the trader serves it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def write(proto: onnx.ModelProto, path: Path) -> None:
    """Write the file whole or not at all."""
    part = path.with_suffix(".onnx.part")
    part.write_bytes(proto.SerializeToString())
    part.replace(path)
