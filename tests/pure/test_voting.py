"""The ensemble's vote: quorum, confidence, probability, and the line a person reads."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qt_actors.decisions.voting import log_line, quorum, signal_of, signals_of
from qt_actors.messages.base import ACTIONS
from qt_actors.messages.signals import MODELS, FeatureBatch, RegimesRead, Votes

HOUR = 3_600_000
CLOSE = 1_700_000_000_000


def spoken(settings, *votes, **context):
    return signal_of("BTCUSDT", votes, settings, close_time_ms=CLOSE, interval_ms=HOUR, **context)


def four(facts, answers: str, confidences=(0.6, 0.7, 0.8, 0.9)):
    """Votes from letters: B, S, H, and - for an abstention."""
    words = {"B": "BUY", "S": "SELL", "H": "HOLD", "-": None}
    return [facts.vote(m, words[a], c) for m, a, c in zip(MODELS, answers, confidences, strict=True)]


@pytest.mark.parametrize(("active", "needed"), [(0, 2), (1, 2), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (8, 6)])
def test_quorum_is_three_quarters_of_the_active_and_at_least_two(active, needed):
    assert quorum(active) == needed


@pytest.mark.parametrize(
    ("answers", "action", "agree", "active"),
    [
        ("BBBB", "BUY", 4, 4),
        ("BBBS", "BUY", 3, 4),
        ("BBBH", "BUY", 3, 4),
        ("BBSS", "HOLD", 2, 4),
        ("BBHH", "HOLD", 2, 4),
        ("SHSB", "HOLD", 2, 4),
        ("SB-S", "SELL", 2, 3),
        ("SBH-", "HOLD", 1, 3),
        ("BB--", "BUY", 2, 2),
        ("BS--", "HOLD", 1, 2),
        ("BH--", "HOLD", 1, 2),
        ("B---", "HOLD", 1, 1),
        ("----", "HOLD", 0, 0),
        ("HHHH", "HOLD", 4, 4),
        ("HHHB", "HOLD", 3, 4),
    ],
)
def test_who_agrees_decides(facts, answers, action, agree, active):
    signal = spoken(facts.settings(), *four(facts, answers))
    assert (signal.action, signal.agree, signal.active) == (action, agree, active)


def test_confidence_is_the_weighted_mean_of_the_agreeing_models_only(facts):
    votes = four(facts, "SB-S", (0.67, 0.89, 0.0, 0.99))
    signal = spoken(facts.settings(), *votes)
    assert signal.confidence == pytest.approx((0.25 * 0.67 + 0.20 * 0.99) / 0.45)


def test_the_log_line_is_the_one_of_the_specification(facts):
    votes = [
        facts.vote("xgb", "SELL", 0.67, edge=0.08, hold=0.0),
        facts.vote("lgbm", "BUY", 0.89),
        facts.vote("nhits", None),
        facts.vote("patchtst", "SELL", 0.99, edge=0.08, hold=0.0),
    ]
    assert log_line(spoken(facts.settings(), *votes)) == (
        "[ENSEMBLE] BTCUSDT: SELL 81.22% p=0.54 | XGB:SELL/0.67 LGBM:BUY/0.89 NHITS:-(warmup 25/120) PTST:SELL/0.99"
        " | 2/3 agree"
    )


def test_a_hold_has_no_probability_of_winning_and_says_so(facts):
    signal = spoken(facts.settings(), *four(facts, "BBSS"))
    assert (signal.p_win, signal.edge_r, signal.confidence) == (0.0, 0.0, 0.0)
    assert " HOLD 0.00% p=- | " in log_line(signal)


def test_the_probability_of_winning_leaves_the_undecided_out(facts):
    votes = [facts.vote(m, "BUY", edge=0.2, hold=0.5) for m in MODELS]
    assert spoken(facts.settings(), *votes).p_win == pytest.approx(0.35 / 0.5)


def test_the_edge_is_that_of_the_agreeing_models(facts):
    votes = [*(facts.vote(m, "BUY", 0.45, edge=0.2) for m in MODELS[:3]), facts.vote("patchtst", "SELL", 0.45)]
    signal = spoken(facts.settings(), *votes)
    assert signal.edge_r == pytest.approx(0.2 * 1.75 / 2)


def test_one_model_named_decides_alone(facts):
    votes = four(facts, "BSSS")
    signal = spoken(facts.settings(AI_MODEL="xgb"), *votes)
    assert (signal.action, signal.agree, signal.active, signal.quorum) == ("BUY", 1, 1, 1)
    assert signal.confidence == pytest.approx(0.6)


def test_one_model_named_that_abstains_is_a_hold(facts):
    assert spoken(facts.settings(AI_MODEL="nhits"), *four(facts, "BB-B")).action == "HOLD"


def test_on_the_probability_scale_confidence_is_the_probability(facts):
    signal = spoken(facts.settings(QT_CONFIDENCE_SCALE="probability"), *four(facts, "BBBS"))
    assert signal.confidence == pytest.approx(signal.p_win)


def test_a_signal_expires_one_bar_after_its_close(facts):
    signal = spoken(facts.settings(), *four(facts, "BBBB"))
    assert signal.expires_ms == CLOSE + HOUR


@given(
    answers=st.text("BSH-", min_size=4, max_size=4),
    confidences=st.tuples(*[st.floats(0, 1, allow_subnormal=False)] * 4),
)
def test_confidence_lies_between_the_agreeing_and_a_side_always_has_its_quorum(facts, answers, confidences):
    votes = four(facts, answers, confidences)
    signal = spoken(facts.settings(), *votes)
    agreeing = [v.confidence for v in votes if v.action == signal.action]
    if signal.action == "HOLD":
        sides = [sum(v.action == a for v in votes) for a in ("BUY", "SELL")]
        assert max(sides) < signal.quorum
    else:
        assert len(agreeing) == signal.agree >= quorum(signal.active)
        assert min(agreeing) - 1e-9 <= signal.confidence <= max(agreeing) + 1e-9


@given(
    answers=st.text("BSH", min_size=4, max_size=4),
    weights=st.lists(st.floats(0.01, 1.0), min_size=4, max_size=4),
)
def test_weights_change_the_confidence_never_the_action(facts, answers, weights):
    votes = four(facts, answers)
    weighed = spoken(facts.settings(), *votes, weights=dict(zip(MODELS, weights, strict=True)))
    assert weighed.action == spoken(facts.settings(), *votes).action


def batch_of(size: int) -> FeatureBatch:
    column = np.full(size, 0.02)
    return FeatureBatch(
        symbols=tuple(f"S{i}USDT" for i in range(size)),
        close_time_ms=CLOSE,
        interval_ms=HOUR,
        features=np.zeros((size, 1), np.float32),
        windows=np.zeros((size, 1, 1), np.float32),
        have=np.arange(size, dtype=np.int64) + 100,
        need=120,
        eligible=np.arange(size) >= 20,
        close=np.full(size, 100.0),
        stop_distance=column,
        adx=column,
        slope=column,
        volatility=column,
        volatility_rank=column,
    )


def votes_of(batch: FeatureBatch, model: str, seed: int) -> Votes:
    size, draw = len(batch.symbols), np.random.default_rng(seed)
    chances = draw.dirichlet((2, 2, 2), size).astype(np.float32)
    silent = draw.random(size) < 0.2
    actions = np.where(silent, -1, draw.integers(0, 3, size)).astype(np.int8)
    return Votes(
        model=model,
        close_time_ms=batch.close_time_ms,
        symbols=batch.symbols,
        probabilities=chances,
        actions=actions,
        confidence=draw.random(size).astype(np.float32),
        abstentions=tuple("out of distribution" if s else "" for s in silent),
        elapsed_ms=1.0,
    )


def regimes_of(batch: FeatureBatch) -> RegimesRead:
    size = len(batch.symbols)
    return RegimesRead(close_time_ms=CLOSE, symbols=batch.symbols, regimes=("TRENDING",) * size, market="NORMAL")


def test_a_batch_says_of_each_symbol_what_its_votes_say(facts):
    batch, settings = batch_of(222), facts.settings()
    votes = [votes_of(batch, m, i) for i, m in enumerate(MODELS)]
    told = signals_of(batch, votes, regimes_of(batch), settings, CLOSE + 1)
    assert told.symbols == batch.symbols
    assert {s.action for s in told.signals} == set(ACTIONS)
    for row, signal in enumerate(told.signals):
        alone = spoken(settings, *signal.votes, regime="TRENDING", close=100.0, volatility=0.02, volatility_rank=0.02)
        same = msgspec.structs.replace(alone, symbol=signal.symbol, warmup=signal.warmup)
        assert signal == same
        for vote, model in zip(signal.votes, votes, strict=True):
            assert vote.action == (None if model.actions[row] < 0 else ACTIONS[model.actions[row]])


def test_a_symbol_without_enough_bars_says_how_many_it_has(facts):
    batch = batch_of(30)
    told = signals_of(batch, [], regimes_of(batch), facts.settings(), CLOSE + 1)
    assert [told.signals[i].warmup for i in (0, 19, 20)] == ["100/120", "119/120", ""]


def silence(facts, votes, *, now_ms=CLOSE + 1, absent=None):
    """What the first symbol's signal says of the first model."""
    told = signals_of(batch_of(3), votes, None, facts.settings(), now_ms, absent=absent)
    vote = told.signals[0].votes[0]
    return vote.action, vote.reason


def test_a_model_that_does_not_answer_is_late_or_what_the_supervisor_says(facts):
    assert silence(facts, []) == (None, "late")
    assert silence(facts, [], absent={"xgb": "quarantined"}) == (None, "quarantined")


def test_an_answer_to_another_bar_or_about_other_symbols_is_no_vote(facts):
    answer = votes_of(batch_of(3), "xgb", 1)
    other_bar = msgspec.structs.replace(answer, close_time_ms=CLOSE - HOUR)
    other_symbols = msgspec.structs.replace(answer, symbols=("A", "B", "C"))
    assert silence(facts, [other_bar]) == (None, "late")
    assert silence(facts, [other_symbols]) == (None, "other symbols")


def test_a_model_that_abstains_says_why_or_at_least_that_it_does(facts):
    answer = votes_of(batch_of(3), "xgb", 1)
    silent = msgspec.structs.replace(
        answer, actions=np.full(3, -1, np.int8), abstentions=("out of distribution", "", "")
    )
    assert silence(facts, [silent]) == (None, "out of distribution")
    assert silence(facts, [msgspec.structs.replace(silent, abstentions=("", "", ""))]) == (None, "abstains")
    objecting = msgspec.structs.replace(silent, actions=np.full(3, 2, np.int8))
    assert silence(facts, [objecting]) == (None, "out of distribution")


def test_a_vote_that_is_not_a_number_is_no_vote(facts):
    batch = batch_of(3)
    answer = votes_of(batch, "xgb", 1)
    broken = msgspec.structs.replace(
        answer,
        actions=np.full(3, 2, np.int8),
        abstentions=("", "", ""),
        probabilities=np.full((3, 3), np.nan, np.float32),
    )
    assert silence(facts, [broken]) == (None, "not a number")


def test_votes_on_an_expired_bar_are_no_votes(facts):
    assert silence(facts, [votes_of(batch_of(3), "xgb", 1)], now_ms=CLOSE + HOUR) == (None, "expired")


def test_values_that_are_not_known_are_zero_so_that_every_signal_can_be_written_down(facts):
    batch = batch_of(3)
    unknown = np.full(3, np.nan)
    holed = msgspec.structs.replace(batch, close=unknown, volatility=unknown, volatility_rank=unknown)
    signal = signals_of(holed, [], None, facts.settings(), CLOSE + 1).signals[0]
    assert (signal.close, signal.volatility, signal.volatility_rank) == (0.0, 0.0, 0.5)
