"""From folders of candles to model files: fit, calibrate, judge, export, on spans that follow each other in time.

::

    |------------- train (some months set aside to stop early) -------------|embargo|- calibrate -|embargo|-- test --|

Calibration, threshold and confidence scale see the calibration span only; the test span sees nothing but the finished
model.
The exporter is handed in (``exporters`` may import ``models``, never the reverse). Files are staged beside their
place and moved when
all are there, so a run that dies leaves what was before, and networks go on from their checkpoint.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from models import evaluation
from models.calibration import CallScale, VectorScaling, fit_call_scale, fit_vector_scaling
from models.dataset import Dataset, build_dataset
from models.fits import FITS, Candidate, Job, Rows
from models.folds import FoldEdges, walk_forward
from models.registry import CLASSES, MODEL_NAMES, DataRange, Manifest, Metrics, Parity, Span, sha256_of
from models.windows import CHANNELS, WINDOW_BARS

DAY_MS = 86_400_000
CALIBRATION_DAYS, TEST_DAYS = 90, 153
"""Default lengths of the last two spans; shorter data gives them the same share of five years."""
FULL_SPAN_DAYS = 5 * 365
EMBARGO_MS = 2 * DAY_MS
"""Kept free between spans, beside the purge of every label that reaches over an edge."""
PARITY_ROWS = 10_000
CLASS_ROWS_MIN = 20


class TrainingError(Exception):
    """Training cannot go on; one line says why and what to do."""


class Export(NamedTuple):
    """What the exporter says of the file it wrote."""

    parity: Parity
    opset: int


Exporter = Callable[[Candidate, VectorScaling, NDArray[np.float32], Path], Export]
"""(candidate, calibration, rows to compare on, path) to a parity-checked file, or an exception and no file."""


def default_edges(first_ms: int, end_ms: int) -> FoldEdges:
    """The last 153 days to test and the 90 before to calibrate, scaled down with data shorter than five years."""
    share = min(1.0, (end_ms - first_ms) / (FULL_SPAN_DAYS * DAY_MS))
    test_ms = end_ms - int(TEST_DAYS * DAY_MS * share)
    return FoldEdges(test_ms - int(CALIBRATION_DAYS * DAY_MS * share), test_ms, end_ms)


class Split(NamedTuple):
    """Row numbers of the data set by use; no label reaches from one part into another."""

    train: Rows
    validation: Rows
    calibration: Rows
    test: Rows


def split(t0_ms: Rows, t1_ms: Rows, edges: FoldEdges, embargo_ms: int = EMBARGO_MS) -> Split:
    """Rows by time over all symbols alike: ``folds.walk_forward``, and its training span split once more.

    Every February and August of it is set aside to stop the fits early, purged and embargoed on both sides: months
    from every regime say better when to stop than the last quarter alone would.
    """
    fold = walk_forward(t0_ms, t1_ms, [edges], embargo_ms)[0]
    aside = _aside(t0_ms) & _aside(t1_ms)
    near = _aside(t0_ms - embargo_ms) | _aside(t0_ms) | _aside(t1_ms) | _aside(t1_ms + embargo_ms)
    return Split(fold.train[~near[fold.train]], fold.train[aside[fold.train]], fold.calibration, fold.test)


def _aside(time_ms: Rows) -> NDArray[np.bool_]:
    months = time_ms.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
    return np.asarray(months % 6 == 1)  # counted from January 1970


def train(
    data_dirs: Sequence[Path],
    out_dir: Path,
    *,
    export: Exporter,
    models: Sequence[str] = MODEL_NAMES,
    interval: str = "1h",
    seed: int = 7,
    threads: int = 1,
    edges: FoldEdges | None = None,
    funding_file: Path | None = None,
    settings: dict[str, object] | None = None,
    progress: bool = True,
) -> dict[str, Manifest]:
    """Fit, calibrate, judge and export ``models``: ``NAME.onnx`` and ``NAME.json`` in ``out_dir``.

    Args:
        data_dirs: folders of ``SYMBOL.parquet`` or Binance CSV; finer bars are aggregated to ``interval``.
        out_dir: made if absent; holds ``.staging`` with checkpoints while the run lasts.
        export: writes one file, see ``Exporter``.
        models: any of ``MODEL_NAMES``.
        interval: of the bars.
        seed: of everything random.
        threads: for each fit; more than 1 only where cores are idle.
        edges: of the spans; None = ``default_edges`` of the data.
        funding_file: settlements, see ``build_dataset``; they bear on the results in R only.
        settings: by model, its own settings instead of its defaults.
        progress: bars on standard error.

    Raises:
        TrainingError: unknown model or too little data; and what the exporter raises when it refuses.
    """
    unknown = sorted(set(models) - set(MODEL_NAMES))
    if unknown or not models:
        raise TrainingError(f"models {unknown}: unknown; allowed: {', '.join(MODEL_NAMES)}")
    dataset = build_dataset(data_dirs, interval=interval, funding_file=funding_file)
    spans = edges or default_edges(int(dataset.t0_ms.min()), int(dataset.open_time_ms.max()) + dataset.interval_ms)
    parts = split(dataset.t0_ms, dataset.t1_ms, spans)
    _check(dataset, parts)
    staging = out_dir / ".staging"
    staging.mkdir(parents=True, exist_ok=True)
    manifests: dict[str, Manifest] = {}
    for name in models:
        checkpoint = staging / f"{name}-{_data_digest(dataset, parts)}.checkpoint"
        with tqdm(desc=name, unit=" rounds", mininterval=1.0, disable=not progress) as bar:
            own = (settings or {}).get(name)
            job = Job(dataset, parts.train, parts.validation, seed, threads, checkpoint, _ticking(bar), own)
            candidate = FITS[name](job)
        manifests[name] = _finish(candidate, dataset, parts, spans, export, staging / f"{name}.onnx", interval, seed)
    for name in models:  # the manifest last: until it is moved, the file is refused for its sha256
        (staging / f"{name}.onnx").replace(out_dir / f"{name}.onnx")
        (staging / f"{name}.json").replace(out_dir / f"{name}.json")
    shutil.rmtree(staging)
    return manifests


def _ticking(bar: tqdm) -> Callable[[float], None]:
    def tick(loss: float) -> None:
        bar.update()
        bar.set_postfix(validation=f"{loss:.5f}", refresh=False)

    return tick


def _data_digest(dataset: Dataset, parts: Split) -> str:
    """Names the rows a network is fitted on, so that a checkpoint is never continued on others."""
    told = [dataset.feature_hash, dataset.symbols, dataset.interval_ms, len(dataset.labels)]
    told += [(len(rows), int(rows[0]), int(rows[-1])) for rows in parts]
    return hashlib.sha256(repr(told).encode()).hexdigest()[:12]


def _check(dataset: Dataset, parts: Split) -> None:
    """Refuse data in which a span is empty or lacks a class."""
    for name, rows in zip(Split._fields, parts, strict=True):
        seen = np.bincount(dataset.labels[rows].astype(np.int64), minlength=3)
        if seen.min() < CLASS_ROWS_MIN:
            counts = ", ".join(f"{label} {count}" for label, count in zip(CLASSES, seen, strict=True))
            raise TrainingError(
                f"{name} span: {counts} rows; each class needs at least {CLASS_ROWS_MIN};"
                " give more history or more symbols",
            )


def _finish(
    candidate: Candidate,
    dataset: Dataset,
    parts: Split,
    edges: FoldEdges,
    export: Exporter,
    path: Path,
    interval: str,
    seed: int,
) -> Manifest:
    """Calibrate, judge and write one candidate's file and manifest at ``path``."""
    raw = candidate.raw(parts.calibration)
    labels = dataset.labels[parts.calibration].astype(np.int64)
    scaling = fit_vector_scaling(
        raw, labels
    )  # every row as it is served: weights favour labels that end soon, so not HOLD
    scale = fit_call_scale(scaling.apply(raw))
    tested = scaling.apply(candidate.raw(parts.test))
    figures = evaluation.metrics(tested, evaluation.class_mix(labels), outcomes(dataset, parts.test))
    compared = _spread(np.concatenate([parts.calibration, parts.test]), PARITY_ROWS)
    exported = export(candidate, scaling, candidate.inputs(compared), path)
    manifest = _manifest(
        candidate, dataset, parts, edges, scaling, scale, figures, exported, path, interval=interval, seed=seed
    )
    path.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
    return manifest


def outcomes(dataset: Dataset, rows: Rows) -> evaluation.Outcomes:
    """What followed ``rows`` of the data set, as the evaluation takes it."""
    return evaluation.Outcomes(
        dataset.labels[rows].astype(np.int64),
        dataset.r_long[rows].astype(np.float64),
        dataset.r_short[rows].astype(np.float64),
        dataset.future_moves(rows, IC_BARS)[:, -1].astype(np.float64),
        dataset.t0_ms[rows],
    )


IC_BARS = 24
"""Horizon of the move that scores are correlated with."""


def _spread(rows: Rows, count: int) -> Rows:
    """At most ``count`` of ``rows``, evenly spread."""
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64)]


def _data_range(dataset: Dataset) -> DataRange:
    times = dataset.open_time_ms
    return DataRange(int(times.min()), int(times.max()), len(times), dataset.symbols)


def _span(from_ms: int, to_ms: int, rows: Rows) -> Span:
    return Span(from_ms, to_ms, len(rows))


def _manifest(
    candidate: Candidate,
    dataset: Dataset,
    parts: Split,
    edges: FoldEdges,
    scaling: VectorScaling,
    scale: CallScale,
    figures: Metrics,
    exported: Export,
    path: Path,
    *,
    interval: str,
    seed: int,
) -> Manifest:
    sha256 = sha256_of(path)
    created_ms = time.time_ns() // 1_000_000
    day = np.datetime_as_string(np.datetime64(created_ms, "ms"), unit="D").replace("-", "")
    window = candidate.kind == "window"
    return Manifest(
        name=candidate.name,
        version=f"{candidate.name}-{day}-{sha256[:8]}",
        kind=candidate.kind,
        interval=interval,
        feature_hash=dataset.feature_hash,
        window_bars=WINDOW_BARS if window else 0,
        channels=tuple(CHANNELS if window else dataset.feature_names),
        classes=CLASSES,
        opset=exported.opset,
        sha256=sha256,
        data=_data_range(dataset),
        train=_span(int(dataset.t0_ms[parts.train].min()), edges.calibration_ms, parts.train),
        calibration=_span(edges.calibration_ms, edges.test_ms, parts.calibration),
        test=_span(edges.test_ms, edges.end_ms, parts.test),
        metrics=figures,
        margin_threshold=scale.threshold,
        margin_quantiles=scale.quantiles,
        parity=exported.parity,
        created_ms=created_ms,
        seed=seed,
        parameters={
            **candidate.parameters,
            "validation_rows": len(parts.validation),
            "calibration_scale": scaling.scale,
            "calibration_bias": scaling.bias,
        },
    )
