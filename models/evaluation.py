"""What a model is worth on bars it never saw: calibration, direction, results after costs, baselines.

Pure functions of probabilities and outcomes. Results are in R, one stop distance, after fees and slippage, from the
next bar's open, as
``models.labels`` makes them; rows overlap, so every band comes from resampling whole days of all symbols together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.calibration import expected_calibration_error, log_loss
from models.registry import ABSTAIN, BUY, HOLD, SELL, DecileResult, Metrics

Floats = NDArray[np.float64]
DAY_MS = 86_400_000
SHARES = (1.0, 0.5, 0.2, 0.1)
"""Strongest shares of the rows by |p_buy - p_sell| for which results are told."""
WEIGHTS = {"xgb": 0.25, "lgbm": 0.25, "nhits": 0.30, "patchtst": 0.20}


class Outcomes(NamedTuple):
    """What followed each of N rows.

    Attributes:
        labels: int[N]; r_long, r_short: float[N], result in R of a long or short from the next open, after costs.
        moves: float[N], log return over the label's horizon in stop distances, for the information coefficient.
        t0_ms: int64[N], close of the row's bar.
    """

    labels: NDArray[np.int64]
    r_long: Floats
    r_short: Floats
    moves: Floats
    t0_ms: NDArray[np.int64]

    def at(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Outcomes:
        """The rows at ``index``."""
        return Outcomes(
            self.labels[index], self.r_long[index], self.r_short[index], self.moves[index], self.t0_ms[index]
        )


class Band(NamedTuple):
    """A mean with the 2.5 and 97.5 % points of its day-block bootstrap."""

    mean: float
    low: float
    high: float
    rows: int


def results(scores: Floats, outcomes: Outcomes) -> Floats:
    """Result in R of following the sign of each score (0 = no trade = 0)."""
    return np.where(scores > 0, outcomes.r_long, np.where(scores < 0, outcomes.r_short, 0.0))


def strongest(scores: Floats, share: float) -> NDArray[np.int64]:
    """Indices of the ``share`` of rows of largest |score|, strongest first."""
    count = max(round(len(scores) * share), 1)
    return np.argsort(-np.abs(scores), kind="stable")[:count]


def day_block_band(values: Floats, t0_ms: NDArray[np.int64], *, draws: int = 1000, seed: int = 0) -> Band:
    """Mean of ``values`` with a 95 % band from resampling whole UTC days with replacement."""
    if not len(values):
        return Band(0.0, 0.0, 0.0, 0)
    _, day = np.unique(t0_ms // DAY_MS, return_inverse=True)
    sums, counts = np.bincount(day, weights=values), np.bincount(day)
    picks = np.random.default_rng(seed).integers(0, len(sums), size=(draws, len(sums)))
    means = sums[picks].sum(axis=1) / counts[picks].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Band(float(values.mean()), float(low), float(high), len(values))


def information_coefficient(scores: Floats, outcomes: Outcomes, rows_min: int = 10) -> tuple[float, float]:
    """Mean rank correlation of score and move across symbols at one time, and over all rows pooled.

    Times of fewer than ``rows_min`` rows do not count. The first figure knows nothing of the market's direction, the
    second mostly that.
    """
    order = np.argsort(outcomes.t0_ms, kind="stable")
    starts = np.flatnonzero(np.diff(outcomes.t0_ms[order], prepend=-1))
    within = [
        _correlation(_ranks(scores[part]), _ranks(outcomes.moves[part]))
        for part in np.split(order, starts[1:])
        if len(part) >= rows_min
    ]
    pooled = _correlation(_ranks(scores), _ranks(outcomes.moves))
    return (float(np.mean(within)) if within else 0.0), pooled


def _ranks(values: Floats) -> Floats:
    """Ranks from 0, equal values sharing their mean rank."""
    _, group, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count + 1) / 2)[group])


def _correlation(a: Floats, b: Floats) -> float:
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else 0.0


def direction_hit(scores: Floats, labels: NDArray[np.int64]) -> float:
    """Share of right signs among the rows labelled SELL or BUY; 0 if there are none, a score of 0 is wrong."""
    moved = labels != HOLD
    right = np.where(labels == BUY, scores > 0, scores < 0)[moved]
    return float(right.mean()) if len(right) else 0.0


def metrics(probabilities: Floats, base: Floats, outcomes: Outcomes) -> Metrics:
    """The manifest's figures for calibrated [N, 3]; ``base`` [3] is the class mix of the calibration span."""
    margin = probabilities[:, BUY] - probabilities[:, SELL]
    gained = results(margin, outcomes)
    weakest_first = np.argsort(np.abs(margin), kind="stable")
    deciles = tuple(
        DecileResult(len(part), float(np.abs(margin[part]).mean()), float(gained[part].mean()))
        for part in np.array_split(weakest_first, 10)
        if len(part)
    )
    return Metrics(
        log_loss=log_loss(probabilities, outcomes.labels),
        base_log_loss=log_loss(np.tile(base, (len(outcomes.labels), 1)), outcomes.labels),
        ece=expected_calibration_error(probabilities, outcomes.labels),
        direction_hit=direction_hit(margin, outcomes.labels),
        deciles=deciles,
        rows=len(outcomes.labels),
    )


def class_mix(labels: NDArray[np.int64]) -> Floats:
    """Shares of SELL, HOLD, BUY with SELL and BUY taken as equally likely: the least that a model must beat.

    The plain shares of one quarter hold its market's direction and are easily beaten: a model fitted on shuffled labels
    was .0165 nats better than those of 2024-04..06 on the half-year after.
    """
    hold = float(np.mean(labels == HOLD))
    return np.array([(1 - hold) / 2, hold, (1 - hold) / 2])


class Ensemble(NamedTuple):
    """The weighted vote of SPEC 4 over N rows, all weighted over the agreeing models and 0 where HOLD.

    Attributes:
        actions: int8[N]; confidence: float64[N]; margin: float64[N], p of the voted side less p of the other.
    """

    actions: NDArray[np.int8]
    confidence: Floats
    margin: Floats


def ensemble(
    votes: Mapping[str, tuple[NDArray[np.int8], NDArray[np.float32]]], margins: Mapping[str, Floats]
) -> Ensemble:
    """At least max(2, floor(.75 · active)) of the active models agree on a direction, else HOLD (SPEC 4.2, 4.3).

    Args:
        votes: by model, its actions int8[N] (``ABSTAIN`` = no vote) and confidences float32[N].
        margins: by model, p_buy - p_sell, float64[N].
    """
    actions = np.stack([votes[name][0] for name in votes])
    confidence = np.stack([votes[name][1] for name in votes]).astype(np.float64)
    weights = np.array([[WEIGHTS[name]] for name in votes])
    active = (actions != ABSTAIN).sum(axis=0)
    quorum = np.maximum(2, np.floor(0.75 * active))
    out = np.full(actions.shape[1], HOLD, dtype=np.int8)
    strength, edge = np.zeros(actions.shape[1]), np.zeros(actions.shape[1])
    apart = np.nan_to_num(np.stack([margins[name] for name in votes]))
    for side in (SELL, BUY):
        agree = actions == side
        wins = agree.sum(axis=0) >= quorum
        share = weights * agree / np.maximum((weights * agree).sum(axis=0), 1e-12)
        out[wins], strength[wins] = side, (share * confidence).sum(axis=0)[wins]
        edge[wins] = (share * apart).sum(axis=0)[wins] * (1.0 if side == BUY else -1.0)
    return Ensemble(out, strength, edge)
