"""Fitting and exporting joined: what ``qt train --data DIR --out DIR`` calls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exporters import onnx
from models import training
from models.calibration import VectorScaling
from models.fits import Candidate
from models.folds import FoldEdges
from models.registry import MODEL_NAMES, Manifest


def export(
    candidate: Candidate,
    scaling: VectorScaling,
    rows: NDArray[np.float32],
    path: Path,
    *,
    rows_min: int = onnx.PARITY_ROWS_MIN,
) -> training.Export:
    """Write one candidate with its calibration, if the graph answers as the candidate does on ``rows``."""
    if candidate.name in {"xgb", "lgbm"}:
        trees = onnx.xgb if candidate.name == "xgb" else onnx.lgbm
        proto = trees(candidate.native, rows.shape[1], scaling)
    else:
        network = onnx.nhits if candidate.name == "nhits" else onnx.patchtst
        proto = network(candidate.native, scaling)
    parity = onnx.check_parity(
        proto, lambda x: scaling.apply(candidate.answer(x)), rows, name=candidate.name, rows_min=rows_min
    )
    onnx.write(proto, path)
    return training.Export(parity, next(o.version for o in proto.opset_import if o.domain == ""))


def train(
    data_dirs: Sequence[Path],
    out_dir: Path,
    *,
    models: Sequence[str] = MODEL_NAMES,
    interval: str = "1h",
    seed: int = 7,
    threads: int = 1,
    edges: FoldEdges | None = None,
    funding_file: Path | None = None,
    progress: bool = True,
) -> dict[str, Manifest]:
    """``models.training.train`` with the ONNX exporter; see there for arguments and errors."""
    return training.train(
        data_dirs,
        out_dir,
        export=export,
        models=models,
        interval=interval,
        seed=seed,
        threads=threads,
        edges=edges,
        funding_file=funding_file,
        progress=progress,
    )
