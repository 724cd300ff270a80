"""Policy, gates and decisions."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from qt_actors.messages.base import Action, Message, Side
from qt_actors.messages.signals import Signal

Verdict = Literal["hold", "denied", "admitted"]
RiskLevel = Literal["NORMAL", "CAUTIOUS", "DEFENSIVE", "EMERGENCY"]


class Gate(Message, frozen=True, kw_only=True):
    """One question asked of a decision: what was measured, against which limit, and whether it passed."""

    name: str
    passed: bool
    value: str
    limit: str
    note: str = ""
    transient: bool = False
    """True when the same signal may pass later in its bar (cooldown, spread, a full book of positions)."""


class Directive(Message, frozen=True, kw_only=True):
    """The safety governor's word to all, the executor included (SPEC 7.1); told at every change and every snapshot."""

    now_ms: int
    allow_trades: bool
    allow_new_positions: bool
    leverage_multiplier: float
    size_multiplier: float
    risk_level: RiskLevel
    reason: str
    daily_pnl_usd: Decimal
    daily_loss_limit_usd: Decimal
    gross_notional_usd: Decimal
    gross_limit_usd: Decimal
    losing_streak: int
    equity_usd: Decimal
    reserved: tuple[str, ...] = ()
    """Symbols of entries admitted whose positions are not in the account yet."""
    last_entry_ms: int = 0
    """When the last entry was admitted; 0: never."""


class Policy(Message, frozen=True, kw_only=True):
    """The orchestrator's policy for one symbol at one moment (SPEC 6), with where each number came from."""

    min_confidence: float
    base: float
    adjustments: tuple[tuple[str, float], ...]
    risk_multiplier: float
    allow_trades: bool
    max_open_positions: int
    reasons: tuple[str, ...]


class EntryPlan(Message, frozen=True, kw_only=True):
    """One entry, sized and priced: what the executor places (DESIGN 5)."""

    decision_id: str
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    """Decision price: the touch the market order would take."""
    stop_price: Decimal
    target_price: Decimal
    target_quantity: Decimal
    trail_quantity: Decimal
    """Zero when the position is too small to be split: then the target closes all of it."""
    trail_callback_pct: Decimal
    leverage: int
    notional_usd: Decimal
    risk_usd: Decimal
    stop_pct: float
    confidence: float
    close_time_ms: int
    expires_ms: int
    clamped_by: str = ""


class Decision(Message, frozen=True, kw_only=True):
    """Where one symbol's bar ended: exactly one for every symbol and bar."""

    decision_id: str
    symbol: str
    close_time_ms: int
    decided_ms: int
    action: Action
    verdict: Verdict
    gate: str
    """Name of the gate that refused; empty when admitted or hold."""
    gates: tuple[Gate, ...]
    signal: Signal | None
    plan: EntryPlan | None = None
    evaluations: int = 1
    trace: str = ""


class DecisionsMade(Message, frozen=True, kw_only=True):
    """Orchestrator → recorder, web, telemetry: decisions new or changed since last told."""

    close_time_ms: int
    decisions: tuple[Decision, ...]


class EntriesProposed(Message, frozen=True, kw_only=True):
    """Orchestrator → governor: decisions that passed every gate but admission, best first."""

    decisions: tuple[Decision, ...]


class EntryAdmitted(Message, frozen=True, kw_only=True):
    """Governor → executor and orchestrator: this entry may be placed; its risk stays reserved until released."""

    decision: Decision


class EntryDenied(Message, frozen=True, kw_only=True):
    """Governor → orchestrator: admission refused; the decision carries the gate that says why."""

    decision: Decision


class ReservationReleased(Message, frozen=True, kw_only=True):
    """Executor → governor: an admitted entry ended without a position, or is now a position seen in the account."""

    decision_id: str
    symbol: str
    outcome: str
