"""What do the models say together? SPEC 4.

A model that abstains is no vote: the weights are renormalised over the others. Direction comes from counting,
confidence from weighing; with four models the weights can never change the direction, any three outweigh the fourth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Final

import msgspec
import numpy as np

from config.settings import Settings
from qt_actors.decisions.barriers import LABEL_RATIO, edge_in_stops, percentages
from qt_actors.messages.base import ACTIONS, Action
from qt_actors.messages.signals import (
    LABELS,
    MODELS,
    FeatureBatch,
    ModelVote,
    Regime,
    RegimesRead,
    Signal,
    Signals,
    Votes,
)

WEIGHTS: Final[Mapping[str, float]] = {"xgb": 0.25, "lgbm": 0.25, "nhits": 0.30, "patchtst": 0.20}
"""SPEC 3."""
QUORUM_SHARE: Final = 0.75
QUORUM_MIN: Final = 2


class Staffing(msgspec.Struct, frozen=True, kw_only=True):
    """Who can vote: health 0 (no quorum can come about) to 100, models able, how many must agree, why not all."""

    health: int
    able: int
    quorum: int
    reason: str


def quorum(active: int) -> int:
    """Return how many of the active models must agree: max(2, floor(0.75 × active)); so 4 → 3, 3 → 2, 2 → 2."""
    return max(QUORUM_MIN, int(QUORUM_SHARE * active))


def quorum_of(active: int, settings: Settings) -> int:
    """Return how many must agree with ``AI_MODEL`` in force: a single model alone decides."""
    return quorum(active) if settings.ai_model == "ensemble" else 1


def meant(settings: Settings) -> tuple[str, ...]:
    """Return the models that are meant to vote."""
    return MODELS if settings.ai_model == "ensemble" else (settings.ai_model,)


def staffing(out: Mapping[str, str], settings: Settings) -> Staffing:
    """Return whether the models that can vote suffice; ``out`` says why a model cannot."""
    names = meant(settings)
    away = {m: why for m, why in out.items() if m in names}
    able = len(names) - len(away)
    needed, of_all = quorum_of(able, settings), quorum_of(len(names), settings)
    who = "; ".join(f"{m} {why}" for m, why in away.items())
    if able < needed:
        told = f"{able} of {len(names)} can vote and {needed} must agree, so nothing is entered ({who})"
        return Staffing(health=0, able=able, quorum=needed, reason=told)
    if away:
        told = f"{able} of {len(names)} can vote, {needed} instead of {of_all} must agree ({who})"
        return Staffing(health=round(100 * able / len(names)), able=able, quorum=needed, reason=told)
    return Staffing(health=100, able=able, quorum=needed, reason="")


def odds(vote: ModelVote, action: Action) -> tuple[float, float]:
    """Return (p_side, p_other) of a vote for the given side."""
    return (vote.p_buy, vote.p_sell) if action == "BUY" else (vote.p_sell, vote.p_buy)


def win_probability(vote: ModelVote, action: Action) -> float:
    """Return p_side / (p_side + p_other); 0 for HOLD or when neither side has any probability."""
    side, other = odds(vote, action)
    return side / (side + other) if action != "HOLD" and side + other > 0 else 0.0


def _conviction(vote: ModelVote, settings: Settings) -> float:
    """Return the vote's confidence on the configured scale (SPEC 3.2)."""
    if settings.confidence_scale == "conviction":
        return vote.confidence
    return vote.p_hold if vote.action == "HOLD" else win_probability(vote, vote.action or "HOLD")


def counted(votes: Sequence[ModelVote], settings: Settings) -> list[ModelVote]:
    """Return the votes that decide: all that do not abstain, or with ``AI_MODEL`` one model's, that model's alone."""
    return [v for v in votes if v.action is not None and settings.ai_model in {"ensemble", v.model}]


def verdict(active: Sequence[ModelVote], needed: int) -> tuple[Action, list[ModelVote]]:
    """Return the action with a quorum (HOLD when none has) and who agrees; on HOLD, who voted the commonest answer."""
    behind = {a: [v for v in active if v.action == a] for a in ACTIONS}
    for action in ("BUY", "SELL"):
        if len(behind[action]) >= needed:
            return action, behind[action]
    return "HOLD", max((behind["HOLD"], behind["BUY"], behind["SELL"]), key=len)


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    total = sum(weights)
    return sum(v * w for v, w in zip(values, weights, strict=True)) / total if total > 0 else 0.0


def signal_of(
    symbol: str,
    votes: Sequence[ModelVote],
    settings: Settings,
    *,
    close_time_ms: int,
    interval_ms: int,
    regime: Regime = "NORMAL",
    close: float = 0.0,
    volatility: float = 0.0,
    volatility_rank: float = 0.5,
    warmup: str = "",
    weights: Mapping[str, float] = WEIGHTS,
    label_ratio: float = LABEL_RATIO,
) -> Signal:
    """Return the signal of one symbol at one bar close; ``votes`` in SPEC order, abstentions included.

    Confidence is the weighted mean of the agreeing models' confidences, on the scale ``QT_CONFIDENCE_SCALE``; of a HOLD
    it is that of the models that voted HOLD, 0 when none did. ``AI_MODEL`` = one model: it alone counts, quorum 1.
    ``tp_pct`` and ``sl_pct`` are SPEC 9.1's percentages, whatever the stop mode: ``barriers_of`` says what is placed.
    """
    active = counted(votes, settings)
    needed = quorum_of(len(active), settings)
    action, agreeing = verdict(active, needed)
    speakers = agreeing if action != "HOLD" else [v for v in active if v.action == "HOLD"]
    shares = [weights[v.model] for v in speakers]
    confidence = _mean([_conviction(v, settings) for v in speakers], shares)
    tp_pct, sl_pct = percentages(confidence, settings)
    p_win = edge_r = 0.0
    if action != "HOLD":
        p_win = _mean([win_probability(v, action) for v in speakers], shares)
        edges = [edge_in_stops(*odds(v, action), tp_pct / sl_pct, label_ratio) for v in speakers]
        edge_r = _mean(edges, shares)
    return Signal(
        symbol=symbol,
        action=action,
        confidence=confidence,
        p_win=p_win,
        edge_r=edge_r,
        agree=len(agreeing),
        active=len(active),
        quorum=needed,
        regime=regime,
        tp_pct=tp_pct,
        sl_pct=sl_pct,
        close=close,
        volatility=volatility,
        volatility_rank=volatility_rank,
        votes=tuple(votes),
        close_time_ms=close_time_ms,
        expires_ms=close_time_ms + interval_ms,
        warmup=warmup,
    )


def _silent(model: str, reason: str) -> ModelVote:
    return ModelVote(model=model, action=None, confidence=0.0, p_sell=0.0, p_hold=0.0, p_buy=0.0, reason=reason)


def votes_read(votes: Votes, batch: FeatureBatch) -> list[ModelVote]:
    """Return one model's votes by symbol; answers of another bar or about other symbols are abstentions that say so."""
    if votes.close_time_ms != batch.close_time_ms:
        return [_silent(votes.model, "late")] * len(batch.symbols)
    if votes.symbols != batch.symbols:
        return [_silent(votes.model, "other symbols")] * len(batch.symbols)
    read = []
    rows = zip(
        votes.actions.tolist(), votes.confidence.tolist(), votes.probabilities.tolist(), votes.abstentions, strict=True
    )
    for index, confidence, (sell, hold, buy), reason in rows:
        if index < 0 or reason:
            read.append(_silent(votes.model, reason or "abstains"))
        elif not isfinite(confidence + sell + hold + buy):
            read.append(_silent(votes.model, "not a number"))
        else:
            read.append(
                ModelVote(
                    model=votes.model, action=ACTIONS[index], confidence=confidence, p_sell=sell, p_hold=hold, p_buy=buy
                )
            )
    return read


def signals_of(
    batch: FeatureBatch,
    votes: Sequence[Votes],
    regimes: RegimesRead | None,
    settings: Settings,
    now_ms: int,
    *,
    absent: Mapping[str, str] | None = None,
    label_ratio: float = LABEL_RATIO,
) -> Signals:
    """Return the signals of all symbols of a batch, HOLD included.

    ``votes`` are the answers that came in time; ``absent`` says why a model without one is silent ("quarantined",
    "missing"), otherwise it is "late". When the bar's signals would have expired already, every vote is an abstention.
    Regimes of another bar count as NORMAL. What is not known of a symbol (NaN) is 0 in its signal, and the gates that
    need it refuse.
    """
    reasons = absent or {}
    size = len(batch.symbols)
    by_model = {v.model: votes_read(v, batch) for v in votes}
    if now_ms >= batch.close_time_ms + batch.interval_ms:
        by_model = {m: [_silent(m, "expired")] * size for m in MODELS}
    columns = [by_model.get(m) or [_silent(m, reasons.get(m, "late"))] * size for m in MODELS]
    unread: Regime = "NORMAL"
    names: Sequence[Regime] = [unread] * size
    if regimes is not None and (regimes.close_time_ms, regimes.symbols) == (batch.close_time_ms, batch.symbols):
        names = regimes.regimes
    made = []
    for symbol, *row, regime, have, close, volatility, rank in zip(
        batch.symbols,
        *columns,
        names,
        batch.have.tolist(),
        np.nan_to_num(batch.close).tolist(),
        np.nan_to_num(batch.volatility).tolist(),
        np.nan_to_num(batch.volatility_rank, nan=0.5).tolist(),
        strict=True,
    ):
        made.append(
            signal_of(
                symbol,
                row,
                settings,
                close_time_ms=batch.close_time_ms,
                interval_ms=batch.interval_ms,
                regime=regime,
                close=close,
                volatility=volatility,
                volatility_rank=rank,
                warmup=f"{have}/{batch.need}" if have < batch.need else "",
                label_ratio=label_ratio,
            )
        )
    return Signals(close_time_ms=batch.close_time_ms, symbols=batch.symbols, signals=tuple(made))


def _vote_text(vote: ModelVote) -> str:
    label = LABELS[vote.model]
    return f"{label}:-({vote.reason})" if vote.action is None else f"{label}:{vote.action}/{vote.confidence:.2f}"


def log_line(signal: Signal) -> str:
    """Return SPEC 4.3's line: action, confidence, probability of winning, each model's vote, agreeing of active."""
    votes = " ".join(_vote_text(v) for v in signal.votes)
    chance = "-" if signal.action == "HOLD" else f"{signal.p_win:.2f}"
    return (
        f"[ENSEMBLE] {signal.symbol}: {signal.action} {signal.confidence * 100:.2f}% p={chance} | {votes}"
        f" | {signal.agree}/{signal.active} agree"
    )
