"""From a model's raw probabilities to honest ones, and from those to a threshold and a confidence scale.

All of it is fitted on the calibration span alone, which lies after the training span and neither trained nor stopped
the model.
The calibrator is symmetric vector scaling: z = log p · (s_dir, s_hold, s_dir) + (0, b_hold, 0), then softmax
(Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2, with SELL and BUY tied). Free scales and
biases for
SELL and BUY would learn the market's drift over the calibration quarter, one draw of a market direction, and vote it
ever after.
It goes into the ONNX graph as Max, Log, Gemm, Softmax, so what is served is what was measured.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from models.registry import BUY, HOLD, REFERENCE_POINTS, SELL

Floats = NDArray[np.float64]
PROBABILITY_MIN = 1e-7
"""Raw probabilities are raised to this before the logarithm, here and in the graph."""
ECE_BINS = 15
CALL_SHARE = 0.5
"""Share of the calibration rows that a model calls: the threshold is the median margin there.
One fixed quantile for all models: a threshold searched for the best result on one quarter would be that quarter's noise
(90 days are about 40 independent bets of the market), and what a call must earn to pay its costs is the cost gate's
question."""


class VectorScaling(NamedTuple):
    """softmax(log p · diag(scale) + bias); both have one entry a class, in the order SELL, HOLD, BUY."""

    scale: tuple[float, float, float]
    bias: tuple[float, float, float]

    def apply(self, probabilities: NDArray[np.floating]) -> Floats:
        """Calibrated float64[N, 3] from raw [N, 3]."""
        logits = np.log(np.maximum(probabilities.astype(np.float64), PROBABILITY_MIN))
        return softmax(logits * np.asarray(self.scale) + np.asarray(self.bias))


IDENTITY = VectorScaling((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


def softmax(logits: Floats) -> Floats:
    """Rows of [N, K] turned into probabilities, without overflow."""
    exps = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exps / exps.sum(axis=1, keepdims=True))


def log_loss(probabilities: NDArray[np.floating], labels: NDArray[np.integer], weights: Floats | None = None) -> float:
    """Mean negative log-likelihood in nats of int labels [N] under [N, 3], weighted if weights [N] are given."""
    chosen = np.maximum(probabilities[np.arange(len(labels)), labels], PROBABILITY_MIN).astype(np.float64)
    return float(np.average(-np.log(chosen), weights=weights))


def fit_vector_scaling(
    probabilities: NDArray[np.floating],
    labels: NDArray[np.integer],
    weights: Floats | None = None,
    *,
    symmetric: bool = True,
) -> VectorScaling:
    """The scaling of least log-loss, with the scales kept within [0, 10].

    Args:
        probabilities: raw [N, 3] of the calibration span.
        labels: int [N], 0 SELL, 1 HOLD, 2 BUY; all three must occur (ValueError otherwise).
        weights: float64[N], how much each row counts; None = evenly.
        symmetric: tie SELL and BUY (see above); free, they have a scale each and a bias of their own.
    """
    seen = set(np.unique(labels).tolist())
    if seen != {SELL, HOLD, BUY}:
        msg = f"calibration needs rows of all three classes 0, 1, 2; found {sorted(seen)} in {len(labels)} rows"
        raise ValueError(msg)

    # x holds what is free; its parts are spread over the classes by these matrices
    to_scale, to_bias = (_TIED_SCALE, _TIED_BIAS) if symmetric else (np.eye(3), _FREE_BIAS)
    scales = to_scale.shape[1]
    logs = np.log(np.maximum(probabilities.astype(np.float64), PROBABILITY_MIN))
    hits = np.eye(3)[labels]
    even = np.full(len(labels), 1.0 / len(labels)) if weights is None else weights / weights.sum()

    def loss(x: Floats) -> tuple[float, Floats]:
        p = softmax(logs * (to_scale @ x[:scales]) + to_bias @ x[scales:])
        error = (p - hits) * even[:, None]
        slope = np.concatenate([to_scale.T @ (error * logs).sum(axis=0), to_bias.T @ error.sum(axis=0)])
        return float(-even @ np.log(np.maximum((p * hits).sum(axis=1), PROBABILITY_MIN))), slope

    biases = to_bias.shape[1]
    bounds = [(0.0, 10.0)] * scales + [(-5.0, 5.0)] * biases
    start = np.array([1.0] * scales + [0.0] * biases)
    best = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    scale, bias = (to_scale @ best[:scales]).tolist(), (to_bias @ best[scales:]).tolist()
    return VectorScaling(tuple(scale), tuple(bias))


_TIED_SCALE = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
_TIED_BIAS = np.array([[0.0], [1.0], [0.0]])
_FREE_BIAS = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])


def expected_calibration_error(
    probabilities: NDArray[np.floating],
    labels: NDArray[np.integer],
    bins: int = ECE_BINS,
) -> float:
    """Class-wise ECE: mean over the classes of sum over equal-mass bins of (rows in bin / N) · |frequency - mean p|.

    Source: Nixon et al. 2019, "Measuring Calibration in Deep Learning" (static, adaptive bins). [N, 3] and int [N] in.
    """
    errors = []
    for label in range(probabilities.shape[1]):
        order = np.argsort(probabilities[:, label], kind="stable")
        gaps = [
            abs(float((labels[part] == label).mean() - probabilities[part, label].mean())) * len(part) / len(labels)
            for part in np.array_split(order, bins)
            if len(part)
        ]
        errors.append(sum(gaps))
    return float(np.mean(errors))


class CallScale(NamedTuple):
    """From which margin on a model calls, and how strong a call of some margin is among its calls."""

    threshold: float
    quantiles: tuple[float, ...]


def fit_call_scale(probabilities: NDArray[np.floating], call_share: float = CALL_SHARE) -> CallScale:
    """Threshold and percentiles of |p_buy - p_sell| from the calibrated [N, 3] of the calibration span.

    The threshold leaves ``call_share`` of the rows as calls; those are the reference calls whose percentiles 0..100
    make the
    confidence scale: a call stronger than 83 % of them has confidence 0.83.
    """
    strength = np.abs(probabilities[:, BUY] - probabilities[:, SELL]).astype(np.float64)
    threshold = float(np.quantile(strength, 1.0 - call_share))
    calls = strength[strength >= threshold]
    quantiles = np.quantile(calls, np.linspace(0.0, 1.0, REFERENCE_POINTS))
    return CallScale(threshold, tuple(float(q) for q in np.maximum.accumulate(quantiles)))
