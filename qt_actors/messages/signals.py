"""From features to signals."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qt_actors.messages.base import Action, Message
from qt_actors.messages.market import Floats

Regime = Literal["TRENDING", "RANGING", "NORMAL"]
ModelState = Literal["active", "warmup", "quarantined", "missing"]
MODELS = ("xgb", "lgbm", "nhits", "patchtst")
"""Closed set of the model names, in the order of SPEC 3."""
LABELS = {"xgb": "XGB", "lgbm": "LGBM", "nhits": "NHITS", "patchtst": "PTST"}
"""Short names in the ensemble's log line."""


class FeatureBatch(Message, frozen=True, kw_only=True):
    """Everything computed from one bar close, once for all symbols and models.

    Attributes:
        features: float32[S, F]; windows: float32[S, L, C]; rows of ineligible symbols are NaN.
        have: int64[S], closed bars at hand; need: bars wanted before a model may vote.
        close, stop_distance (fraction of price), adx, slope, volatility (ATR/price), volatility_rank (0-1): float64[S].
    """

    symbols: tuple[str, ...]
    close_time_ms: int
    interval_ms: int
    features: NDArray[np.float32]
    windows: NDArray[np.float32]
    have: NDArray[np.int64]
    need: int
    eligible: NDArray[np.bool_]
    close: Floats
    stop_distance: Floats
    adx: Floats
    slope: Floats
    volatility: Floats
    volatility_rank: Floats


class RegimesRead(Message, frozen=True, kw_only=True):
    """Regime of every symbol and of the market at one bar close."""

    close_time_ms: int
    symbols: tuple[str, ...]
    regimes: tuple[Regime, ...]
    market: Regime


class Votes(Message, frozen=True, kw_only=True):
    """One model's answer to a ``FeatureBatch``.

    Attributes:
        probabilities: float32[S, 3] in the order SELL, HOLD, BUY; NaN where the model abstains.
        actions: int8[S], index into ``ACTIONS``; -1 where it abstains.
        confidence: float32[S]; share of the model's reference calls with a smaller edge.
        abstentions: reason by symbol index, empty string = it votes.
    """

    model: str
    close_time_ms: int
    symbols: tuple[str, ...]
    probabilities: NDArray[np.float32]
    actions: NDArray[np.int8]
    confidence: NDArray[np.float32]
    abstentions: tuple[str, ...]
    elapsed_ms: float


class ModelStateChanged(Message, frozen=True, kw_only=True):
    """A model became active, is warming up, was quarantined or its file is unusable."""

    model: str
    state: ModelState
    reason: str = ""
    version: str = ""


class ModelVote(Message, frozen=True, kw_only=True):
    """One model's vote on one symbol, as a person reads it; ``action`` None = it abstained, ``reason`` says why."""

    model: str
    action: Action | None
    confidence: float
    p_sell: float
    p_hold: float
    p_buy: float
    reason: str = ""


class Signal(Message, frozen=True, kw_only=True):
    """What the ensemble says of one symbol at one bar close (SPEC 4.4)."""

    symbol: str
    action: Action
    confidence: float
    p_win: float
    """Calibrated p_side / (p_side + p_other) of the voted side, weighted over the agreeing models."""
    edge_r: float
    """Expected result in stop distances before costs (``decisions.barriers.edge_in_stops``), weighted likewise."""
    agree: int
    active: int
    quorum: int
    regime: Regime
    tp_pct: float
    sl_pct: float
    close: float
    volatility: float
    volatility_rank: float
    votes: tuple[ModelVote, ...]
    close_time_ms: int
    expires_ms: int
    warmup: str = ""
    """``25/120`` while the symbol is too young."""


class Signals(Message, frozen=True, kw_only=True):
    """All signals of one bar close, one per symbol, HOLD included."""

    close_time_ms: int
    symbols: tuple[str, ...]
    signals: tuple[Signal, ...]
