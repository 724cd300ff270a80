"""One served model: an ONNX file verified against its manifest, one onnxruntime session on one thread.

One thread a session is robust when cores are short (four sessions still run side by side), and nothing of torch,
xgboost or lightgbm is imported. PatchTST runs in chunks: its intermediates for 222 symbols fall out of the cache and
take 310 MB in one batch, 41 MB in chunks of 16 at 0.8 of the time; the other models are fastest in one batch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import (
    EPFail,
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    NoSuchFile,
    RuntimeException,
)
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NotImplementedByRuntime

from models.registry import Manifest, ModelFileError, checked, restoring

CHUNK_ROWS: Final = 16
SUM_TOLERANCE: Final = 1e-3
_FAULTS: Final = (
    EPFail,
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    NoSuchFile,
    NotImplementedByRuntime,
    RuntimeException,
)
"""What onnxruntime raises; its exceptions share no base below Exception."""
_ERRORS_ONLY: Final = 3
"""onnxruntime's log level; its warnings about unused initializers are noise."""


class OnnxModel:
    """``ports.Model`` on onnxruntime; safe for one thread at a time."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        """Load the graph; ``load_model`` verifies the file first.

        Raises:
            ModelFileError: onnxruntime cannot load it, or its inputs and outputs are not those of a model of ours.
        """
        self._manifest = manifest
        self._chunk_rows = CHUNK_ROWS if manifest.kind == "window" and manifest.name == "patchtst" else 0
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except _FAULTS as error:
            raise ModelFileError(f"{path}: onnxruntime cannot load it ({_line(error)})", restoring(path)) from error
        inputs = [i.name for i in self._session.get_inputs()]
        outputs = [o.name for o in self._session.get_outputs()]
        if inputs != ["input"] or "probabilities" not in outputs:
            raise ModelFileError(
                f"{path}: inputs {inputs} and outputs {outputs}; allowed are 'input' and 'probabilities'",
                restoring(path),
            )

    @property
    def version(self) -> str:
        """Version of the artifact."""
        return self._manifest.version

    def probabilities(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Calibrated float32[N, 3] (SELL, HOLD, BUY) of float32[N, F] or float32[N, L, C], as the manifest says.

        Raises:
            ValueError: rows of another shape than the model was trained on.
            RuntimeError: onnxruntime failed, or an answer is no probability (not finite, negative, sum not 1).
        """
        manifest = self._manifest
        wanted: tuple[int, ...] = (len(manifest.channels),)
        if manifest.kind == "window":
            wanted = (manifest.window_bars, *wanted)
        if rows.shape[1:] != wanted:
            raise ValueError(f"model {manifest.name}: rows are {rows.shape[1:]}, it was trained on {wanted}")
        if not len(rows):
            return np.empty((0, 3), np.float32)
        rows = np.ascontiguousarray(rows, np.float32)
        step = self._chunk_rows or len(rows)
        found = np.concatenate([self._run(rows[i : i + step]) for i in range(0, len(rows), step)])
        self._check(found, len(rows))
        return found

    def _run(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            answer: Any = self._session.run(["probabilities"], {"input": rows})[0]
        except _FAULTS as error:
            raise RuntimeError(f"model {self._manifest.name}: {_line(error)}") from error
        return np.asarray(answer, np.float32)

    def _check(self, found: NDArray[np.float32], rows: int) -> None:
        name = self._manifest.name
        if found.shape != (rows, 3):
            raise RuntimeError(f"model {name}: answered {found.shape} to {rows} rows, allowed is ({rows}, 3)")
        off = ~(np.isfinite(found).all(axis=1) & (found >= 0).all(axis=1))
        off |= ~(np.abs(found.sum(axis=1, dtype=np.float64) - 1) <= SUM_TOLERANCE)
        if off.any():
            row = int(np.flatnonzero(off)[0])
            raise RuntimeError(
                f"model {name}: {int(off.sum())} of {rows} answers are no probabilities, first {found[row].tolist()}"
            )


def load_model(name: str, folder: Path, *, interval: str, feature_hash: str) -> tuple[Manifest, OnnxModel]:
    """Load ``NAME.onnx`` with its manifest ``NAME.json``, verified for bars of ``interval`` and these features.

    Raises:
        ModelFileError: one line that names the file, the fault, and the command that makes it.
    """
    manifest, path = checked(name, folder, interval=interval, feature_hash=feature_hash)
    return manifest, OnnxModel(path, manifest)


def _line(error: BaseException) -> str:
    """First line of what onnxruntime says, without its code."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
