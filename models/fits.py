"""The four fits under one shape: rows of a data set in, a candidate with its uncalibrated answers out.

Torch is imported only when a network is fitted, so that trees train and are tested where torch is not installed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models import lgbm, xgb
from models.dataset import Dataset
from models.rows import FeatureRows, WindowRows

Rows = NDArray[np.int64]
Parameters = dict[str, float | int | str | tuple[float, ...]]
FORECAST_BARS = 24
"""Horizon of the networks' auxiliary forecast, in bars."""
FORECAST_CLIP = 10.0
"""Paths are clipped to so many stop distances, so that one crash does not own a gradient."""


class Candidate(NamedTuple):
    """A fitted, uncalibrated model.

    Attributes:
        native: the library's own object, what the exporter takes.
        inputs: row numbers to the graph's input, float32[n, F] or float32[n, L, C].
        answer: such an input to raw probabilities float32[n, 3].
        parameters: settings and what the fit made of them, for the manifest.
    """

    name: str
    kind: Literal["features", "window"]
    native: Any
    inputs: Callable[[Rows], NDArray[np.float32]]
    answer: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    parameters: Parameters

    def raw(self, rows: Rows, batch: int = 4096) -> NDArray[np.float32]:
        """Uncalibrated float32[len(rows), 3]."""
        parts = [self.answer(self.inputs(rows[start : start + batch])) for start in range(0, len(rows), batch)]
        return np.concatenate(parts).astype(np.float32, copy=False)


class Job(NamedTuple):
    """What one fit needs to know.

    Attributes:
        train, validation: row numbers of the data set, purged against each other.
        checkpoint: where a network keeps its checkpoint; None = nowhere.
        tick: hears the validation log-loss of every round.
    """

    dataset: Dataset
    train: Rows
    validation: Rows
    seed: int
    threads: int
    checkpoint: Path | None
    tick: Callable[[float], None]
    settings: Any = None
    """A model's own settings instead of its defaults: a tuple of (sizes, loop) for a network."""


def _evened(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    evened: NDArray[np.float32] = (weights / weights.mean()).astype(np.float32)
    return evened


def _features(dataset: Dataset, rows: Rows) -> FeatureRows:
    return FeatureRows(dataset.features[rows], dataset.labels[rows].astype(np.int64), _evened(dataset.weights[rows]))


def _windows(dataset: Dataset, rows: Rows) -> WindowRows:
    moves = dataset.future_moves(rows, FORECAST_BARS)
    return WindowRows(
        lambda index: dataset.windows(rows[index]),
        dataset.labels[rows].astype(np.int64),
        _evened(dataset.weights[rows]),
        np.clip(moves, -FORECAST_CLIP, FORECAST_CLIP).astype(np.float32),
    )


def fit_xgb(job: Job) -> Candidate:
    """XGBoost over the indicators."""
    settings = job.settings or xgb.XGBSettings()
    model = xgb.fit(
        _features(job.dataset, job.train),
        _features(job.dataset, job.validation),
        seed=job.seed,
        threads=job.threads,
        settings=settings,
        tick=job.tick,
    )
    found: Parameters = {**settings._asdict(), "trees": int(model.best_iteration) + 1}
    features = job.dataset.features
    return Candidate("xgb", "features", model, lambda rows: features[rows], lambda x: xgb.predict(model, x), found)


def fit_lgbm(job: Job) -> Candidate:
    """LightGBM over the indicators."""
    settings = job.settings or lgbm.LGBMSettings()
    model = lgbm.fit(
        _features(job.dataset, job.train),
        _features(job.dataset, job.validation),
        seed=job.seed,
        threads=job.threads,
        settings=settings,
        tick=job.tick,
    )
    found: Parameters = {**settings._asdict(), "trees": int(model.best_iteration_)}
    features = job.dataset.features
    return Candidate("lgbm", "features", model, lambda rows: features[rows], lambda x: lgbm.predict(model, x), found)


def fit_nhits(job: Job) -> Candidate:
    """N-HiTS over the windows."""
    from models import nhits, train_network  # noqa: PLC0415 - torch, see the module's docstring

    sizes, loop = job.settings or (nhits.NHiTSSettings(horizon=FORECAST_BARS), train_network.LoopSettings())
    return _fit_network("nhits", lambda: nhits.NHiTS(sizes), sizes, loop, job)


def fit_patchtst(job: Job) -> Candidate:
    """PatchTST over the windows."""
    from models import patchtst, train_network  # noqa: PLC0415 - torch, see the module's docstring

    sizes, loop = job.settings or (
        patchtst.PatchTSTSettings(horizon=FORECAST_BARS),
        train_network.LoopSettings(round_rows=16_384, rounds_max=18, patience=6),  # a row costs ten of N-HiTS
    )
    return _fit_network("patchtst", lambda: patchtst.PatchTST(sizes), sizes, loop, job)


def _fit_network(name: str, build: Callable[[], Any], sizes: Any, loop: Any, job: Job) -> Candidate:
    import torch  # noqa: PLC0415 - see the module's docstring

    from models import train_network  # noqa: PLC0415 - likewise

    torch.set_num_threads(job.threads)
    fitted = train_network.fit(
        build,
        sizes.quantiles,
        _windows(job.dataset, job.train),
        _windows(job.dataset, job.validation),
        seed=job.seed,
        loop=loop,
        checkpoint=job.checkpoint,
        tick=job.tick,
    )

    def answer(windows: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            said: NDArray[np.float32] = fitted.network(torch.from_numpy(windows))[0].numpy()
        return said

    found: Parameters = {
        **sizes._asdict(),
        **loop._asdict(),
        "weights": sum(p.numel() for p in fitted.network.parameters()),
        "rounds": fitted.rounds,
        "best_round": fitted.best_round,
        "validation_log_loss": fitted.validation_log_loss,
    }
    return Candidate(name, "window", fitted.network, job.dataset.windows, answer, found)


FITS: dict[str, Callable[[Job], Candidate]] = {
    "xgb": fit_xgb,
    "lgbm": fit_lgbm,
    "nhits": fit_nhits,
    "patchtst": fit_patchtst,
}
"""By model name, in the ensemble's order."""
