"""What is said, and to whom, when models cannot vote."""

from __future__ import annotations

import logging

import pytest

from qt_actors.messages.signals import MODELS, ModelStateChanged
from qt_actors.messages.system import HealthReported
from tests.inject.test_minds import HOUR_MS, START_MS, a_batch, ensemble, regimes, votes_of

__all__ = ["ensemble"]


def told(house):
    return [(m.subsystem, m.health, m.reason) for m in house.heard("governor", HealthReported)]


def state(model, what):
    return ModelStateChanged(model=model, state=what, reason="xgb.onnx: truncated; make it anew")


def test_a_smaller_quorum_is_warned_of_from_what_to_what_and_told(ensemble, caplog):
    with caplog.at_level(logging.INFO, "qt.ensemble"):
        ensemble.tell(state("xgb", "missing"))
        ensemble.tell(state("xgb", "missing"))
    reason = "3 of 4 can vote, 2 instead of 3 must agree (xgb cannot vote: xgb.onnx: truncated)"
    assert told(ensemble)[1:] == [("models", 75, reason)]
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [("WARNING", f"quorum 3 → 2: {reason}")]
    ensemble.tell(state("xgb", "active"))
    assert told(ensemble)[-1] == ("models", 100, "")


@pytest.mark.parametrize(("what", "said"), [("missing", "cannot vote"), ("quarantined", "quarantined")])
def test_too_few_models_for_a_quorum_are_told_as_dead_with_who_and_why(ensemble, what, said):
    for model in MODELS[:3]:
        ensemble.tell(state(model, what))
    who = "; ".join(f"{m} {said}: xgb.onnx: truncated" for m in MODELS[:3])
    assert told(ensemble)[-1] == ("models", 0, f"1 of 4 can vote and 2 must agree, so nothing is entered ({who})")
    ensemble.tell(state("xgb", "warmup"))
    assert told(ensemble)[-1][1] == 50


def test_models_that_did_not_answer_to_a_bar_cannot_vote_until_they_answer_again(ensemble):
    ensemble.tell(a_batch(), regimes(), votes_of("xgb"), a_batch(START_MS + HOUR_MS))
    assert told(ensemble)[-1][1] == 0
    assert "lgbm late; nhits late; patchtst late" in told(ensemble)[-1][2]
    ensemble.tell(regimes(START_MS + HOUR_MS), *(votes_of(m, START_MS + HOUR_MS) for m in MODELS))
    assert told(ensemble)[-1] == ("models", 100, "")


def test_a_governor_that_starts_anew_hears_at_once_that_models_are_out(ensemble):
    for model in MODELS:
        ensemble.tell(state(model, "missing"))
    before = told(ensemble)
    ensemble.probes["governor"].down("crashed")
    ensemble.probes["governor"].up()
    ensemble.runtime.run_for(0)
    assert told(ensemble) == [*before, before[-1]]
