"""The figures of the evaluation, on cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy")

from models import evaluation
from models.evaluation import Outcomes
from models.registry import BUY, HOLD, SELL

DAY_MS = 86_400_000


def followed(moves: np.ndarray, t0_ms: np.ndarray) -> Outcomes:
    """Outcomes whose long earns the move and whose short loses it."""
    labels = np.where(moves > 0.5, BUY, np.where(moves < -0.5, SELL, HOLD)).astype(np.int64)
    return Outcomes(labels, moves, -moves, moves, t0_ms)


def test_results_follow_the_sign_and_no_score_is_no_trade() -> None:
    facts = followed(np.array([1.0, 1.0, 1.0]), np.zeros(3, np.int64))
    assert evaluation.results(np.array([0.2, -0.2, 0.0]), facts).tolist() == [1.0, -1.0, 0.0]


def test_the_direction_hit_counts_only_rows_that_moved() -> None:
    labels = np.array([BUY, SELL, HOLD, BUY])
    assert evaluation.direction_hit(np.array([0.1, 0.1, 0.1, 0.3]), labels) == pytest.approx(2 / 3)
    assert evaluation.direction_hit(np.array([0.1]), np.array([HOLD])) == 0.0


def test_the_information_coefficient_across_symbols_does_not_see_the_markets_direction() -> None:
    draw = np.random.default_rng(0)
    times = np.repeat(np.arange(200) * DAY_MS, 20)
    market = np.repeat(draw.normal(size=200), 20)
    knows_market = followed(market + draw.normal(size=4_000) * 0.1, times)
    within, pooled = evaluation.information_coefficient(market, knows_market)
    assert abs(within) < 0.05
    assert pooled > 0.9
    own = draw.normal(size=4_000)
    within, _ = evaluation.information_coefficient(own, followed(market * 3 + own, times))
    assert within == pytest.approx(1.0)


def test_equal_scores_have_no_information() -> None:
    facts = followed(np.random.default_rng(1).normal(size=100), np.zeros(100, np.int64))
    assert evaluation.information_coefficient(np.ones(100), facts) == (0.0, 0.0)


def test_the_day_block_band_is_as_wide_as_days_are_few() -> None:
    draw = np.random.default_rng(2)
    days = np.repeat(np.arange(50), 100)
    values = draw.normal(size=50)[days] + draw.normal(size=5_000) * 0.01
    band = evaluation.day_block_band(values, days * DAY_MS)
    assert band.low < values.mean() < band.high
    assert band.mean == pytest.approx(values.mean())
    assert (band.high - band.low) / 2 == pytest.approx(1.96 * values.std() / np.sqrt(50), rel=0.2)
    assert evaluation.day_block_band(values[:0], days[:0]) == (0.0, 0.0, 0.0, 0)


def test_metrics_sort_deciles_from_the_weakest_margin() -> None:
    draw = np.random.default_rng(3)
    margin = draw.uniform(-0.2, 0.2, 10_000)
    said = np.stack([(1 - margin) / 2, np.zeros(10_000), (1 + margin) / 2], axis=1)
    facts = followed(np.where(draw.random(10_000) < 0.5 + margin, 1.0, -1.0), np.arange(10_000) * 3_600_000)
    found = evaluation.metrics(said, np.full(3, 1 / 3), facts)
    assert [decile.calls for decile in found.deciles] == [1_000] * 10
    margins = [decile.mean_margin for decile in found.deciles]
    assert margins == sorted(margins)
    assert found.deciles[-1].mean_r > found.deciles[0].mean_r + 0.2
    assert found.log_loss < found.base_log_loss


def test_the_class_mix_takes_no_side() -> None:
    assert evaluation.class_mix(np.array([SELL, SELL, SELL, BUY, HOLD])).tolist() == pytest.approx([0.4, 0.2, 0.4])
