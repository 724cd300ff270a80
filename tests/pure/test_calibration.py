"""Calibration, threshold and confidence scale."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy")

from models.calibration import (
    IDENTITY,
    VectorScaling,
    expected_calibration_error,
    fit_call_scale,
    fit_vector_scaling,
    log_loss,
    softmax,
)
from models.registry import BUY, SELL


def drawn(rows: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """True probabilities [N, 3] of a weak signal, and labels drawn from them."""
    draw = np.random.default_rng(seed)
    signal = draw.normal(0, 0.5, rows)
    true = softmax(np.stack([-signal, np.full(rows, 0.3), signal], axis=1))
    labels = (draw.random(rows)[:, None] > np.cumsum(true, axis=1)).sum(axis=1)
    return true, labels


def distorted(true: np.ndarray, scale: tuple[float, float, float], bias: tuple[float, float, float]) -> np.ndarray:
    """Probabilities that ``VectorScaling(scale, bias)`` turns back into ``true``, up to a constant a row."""
    return softmax((np.log(true) - np.asarray(bias)) / np.asarray(scale))


def test_a_known_overconfidence_and_hold_bias_is_found_and_undone() -> None:
    true, labels = drawn(200_000)
    raw = distorted(true, (0.5, 0.5, 0.5), (0.0, 0.4, 0.0))
    scaling = fit_vector_scaling(raw, labels)
    assert scaling.scale[SELL] == scaling.scale[BUY] == pytest.approx(0.5, abs=0.03)
    assert scaling.bias[1] == pytest.approx(0.4, abs=0.03)
    assert expected_calibration_error(raw, labels) > 0.05
    assert expected_calibration_error(scaling.apply(raw), labels) < 0.005


def test_free_vector_scaling_finds_a_bias_towards_one_side_and_the_symmetric_one_refuses_to() -> None:
    true, labels = drawn(200_000)
    raw = distorted(true, (1.0, 1.0, 1.0), (0.3, 0.0, -0.2))
    free = fit_vector_scaling(raw, labels, symmetric=False)
    assert free.bias[0] - free.bias[2] == pytest.approx(0.5, abs=0.03)
    tied = fit_vector_scaling(raw, labels)
    assert tied.bias[SELL] == tied.bias[BUY] == 0.0


def test_calibration_of_honest_probabilities_changes_next_to_nothing() -> None:
    true, labels = drawn(200_000)
    scaled = fit_vector_scaling(true, labels).apply(true)
    assert np.abs(scaled - true).max() < 0.02
    assert log_loss(scaled, labels) <= log_loss(true, labels)


def test_weights_decide_what_calibration_fits() -> None:
    true, labels = drawn(40_000)
    raw = distorted(true, (0.5, 0.5, 0.5), (0.0, 0.0, 0.0))
    mixed = np.concatenate([raw, true])
    twice = np.concatenate([labels, labels])
    only_first = np.concatenate([np.ones(len(raw)), np.zeros(len(true))])
    assert fit_vector_scaling(mixed, twice, only_first).scale[SELL] == pytest.approx(0.5, abs=0.05)
    assert fit_vector_scaling(mixed, twice, 1 - only_first).scale[SELL] == pytest.approx(1.0, abs=0.07)


def test_calibration_without_a_class_is_refused() -> None:
    with pytest.raises(ValueError, match=r"all three classes 0, 1, 2; found \[0, 2\] in 4 rows"):
        fit_vector_scaling(np.full((4, 3), 1 / 3), np.array([0, 2, 0, 2]))


def test_the_calibration_error_is_zero_for_certain_truth_and_large_for_certain_error() -> None:
    labels = np.arange(3_000) % 3
    certain = np.eye(3)[labels]
    assert expected_calibration_error(certain, labels) == 0.0
    assert expected_calibration_error(np.eye(3)[(labels + 1) % 3], labels) == pytest.approx(2 / 3, abs=0.01)


def test_the_calibration_error_of_a_fixed_offset_is_that_offset() -> None:
    draw = np.random.default_rng(0)
    labels = draw.choice(3, size=400_000, p=[0.25, 0.5, 0.25])
    said = np.tile([0.35, 0.4, 0.25], (len(labels), 1))
    assert expected_calibration_error(said, labels) == pytest.approx((0.1 + 0.1 + 0.0) / 3, abs=0.004)


def test_the_call_scale_calls_the_stated_share_and_ranks_calls_evenly() -> None:
    true, _ = drawn(50_000)
    scale = fit_call_scale(true, call_share=0.5)
    strength = np.abs(true[:, BUY] - true[:, SELL])
    assert (strength >= scale.threshold).mean() == pytest.approx(0.5, abs=0.001)
    assert len(scale.quantiles) == 101
    assert scale.quantiles[0] == pytest.approx(scale.threshold, abs=1e-4)
    assert scale.quantiles[-1] == strength.max()
    calls = strength[strength >= scale.threshold]
    assert (calls < scale.quantiles[83]).mean() == pytest.approx(0.83, abs=0.001)


def test_probabilities_of_zero_survive_the_logarithm() -> None:
    out = VectorScaling((0.7, 0.8, 0.7), (0.0, 0.1, 0.0)).apply(np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))
    assert np.isfinite(out).all()
    assert IDENTITY.apply(np.array([[0.2, 0.3, 0.5]]))[0] == pytest.approx([0.2, 0.3, 0.5])
