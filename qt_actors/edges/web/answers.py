"""What every path answers, as types: the views are checked against them, the API's description is made from them.

Times are ms UTC of the market's clock; ``_pct`` and shares are fractions; null = not known (yet), never zero.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypedDict

import msgspec

from qt_actors.decisions.limits import Limit
from qt_actors.edges.web.snapshot import VoteCount
from qt_actors.kernel import ActorState
from qt_actors.messages.policy import RiskLevel
from qt_actors.messages.signals import ModelState, Regime, Signal
from qt_actors.messages.system import Control

Side = Literal["LONG", "SHORT"]
Status = Literal["starting", "healthy", "degraded", "unhealthy", "halted", "paused"]
Standing = Literal["not yet decided", "allowed", "stopped", "paused", "halted"]
Entries = Literal["not yet decided", "allowed", "stopped"]


REASON_CHARACTERS_MAX: Final = 200
REASON_PATTERN: Final = r"^[^\x00-\x1f\x7f]*$"


class GivenReason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An operator's reason, as the body of a control."""

    reason: Annotated[str, msgspec.Meta(max_length=REASON_CHARACTERS_MAX, pattern=REASON_PATTERN)] = ""


class Refusal(TypedDict):
    """Every refusal: one line that says what is wrong and, where it can, what to do."""

    error: str


class Voters(TypedDict):
    """How many models are meant to vote, how many do; how many must agree now, and when all of them vote."""

    active: int
    meant: int
    quorum: int
    quorum_of_all: int


class Trading(TypedDict):
    """Whether it enters: ``halted`` and ``paused`` by an operator, ``stopped`` by the governor; since when."""

    state: Standing
    reason: str
    since_ms: int | None


class Health(TypedDict):
    """Whether the trader is well and may trade; ``reasons`` say why not. Stopped entries are no illness."""

    status: Status
    reasons: list[str]
    uptime: float
    version: str
    mode: str
    market: str
    profile: str
    bar_interval: str
    active_positions: int
    opening_orders_of_others: list[str]
    daily_pnl: float | None
    equity: float | None
    symbols: int
    trading: Trading
    entries: Entries
    entries_reason: str
    account_age_s: float | None
    models: Voters
    ai_status: dict[str, ModelState]
    ai_reasons: dict[str, str]
    unprotected_seconds: float


class Model(TypedDict):
    """One model and how it answered to the newest bar."""

    model: str
    state: ModelState
    reason: str
    version: str
    votes: VoteCount | None


class AiStatus(Voters):
    """And each of them."""

    models: list[Model]


class LiveSignals(TypedDict):
    """The newest bar's signals; calls before holds, strongest first."""

    close_time_ms: int | None
    market_regime: Regime | None
    signals: list[Signal]


class Held(TypedDict):
    """One open position with what protects it on the exchange; null is what the executor does not know."""

    symbol: str
    side: Side
    quantity: float
    entry_price: float
    mark_price: float
    notional_usd: float
    unrealized_pnl_usd: float
    unrealized_pnl_pct: float | None
    liquidation_price: float | None
    margin_usd: float | None
    stop_price: float | None
    target_price: float | None
    trail_callback_pct: float | None
    trail_activate_price: float | None
    protected: bool
    opened_ms: int | None
    age_s: float | None
    phase: str
    leverage: int | None
    confidence: float | None
    risk_usd: float | None
    adopted: bool | None
    decision_id: str | None


class Positions(TypedDict):
    """Open positions, largest first; ``account_age_s`` real seconds since the account was read, null = never."""

    now_ms: int
    account_age_s: float | None
    positions: list[Held]


class Unknown(TypedDict):
    """Nothing has been heard yet."""

    known: Literal[False]
    reason: str


class Risk(TypedDict):
    """The safety governor's word, and how much of every limit is used."""

    known: Literal[True]
    risk_level: RiskLevel
    reason: str
    allow_trades: bool
    allow_new_positions: bool
    leverage_multiplier: float
    size_multiplier: float
    equity_usd: float | None
    available_usd: float | None
    daily_pnl_usd: float | None
    daily_loss_limit_usd: float | None
    daily_loss_used: float | None
    gross_notional_usd: float | None
    gross_limit_usd: float | None
    gross_used: float | None
    limits: list[Limit]
    losing_streak: int
    halted: bool | None
    halt_reason: str | None
    halted_ms: int | None
    paused: bool | None
    pause_reason: str | None
    paused_ms: int | None
    unprotected_seconds: float
    unprotected_symbols: list[str]
    request_weight_used: float | None
    market_regime: Regime | None


class UnknownPolicy(Unknown):
    """The orchestrator has not spoken yet."""

    profile: str


class Conductor(TypedDict):
    """The orchestrator's newest policy; ``adjustments`` lead from ``base`` to ``min_confidence``."""

    known: Literal[True]
    profile: str
    min_confidence: float
    base: float
    adjustments: dict[str, float]
    risk_multiplier: float
    allow_trades: bool
    max_open_positions: int
    reasons: list[str]


class Subsystem(TypedDict):
    """One subsystem's state; ``health`` 0 to 100."""

    status: Literal["active", "starting", "not built"]
    health: int | None
    detail: str


class Directives(TypedDict):
    """What the subsystems are told."""

    allow_new_trades: bool
    allow_new_positions: bool
    scale_position_sizes: float
    universe_mode: str
    execution_preference: str | None
    portfolio_action: str


class OsReport(TypedDict):
    """The coordination report (SPEC 12) of what is built so far."""

    timestamp: int
    system_risk_mode: RiskLevel
    system_health: int | None
    subsystems: dict[str, Subsystem]
    trading: Trading
    conflicts: list[str]
    emergency_actions: list[str]
    global_directives: Directives


class Tree(TypedDict):
    """Every supervisor and actor, in start order."""

    actors: list[ActorState]


class Outcome(TypedDict):
    """What follows for entries from an operator's word that holds and is on disk; ``note``: what else it changed."""

    entries: Literal["allowed", "stopped"]
    because: str
    note: str


class Steered(Outcome):
    """An operator's word that was taken."""

    accepted: Control
    reason: str


class Closing(TypedDict):
    """The positions whose close was passed on."""

    accepted: Literal["close"]
    symbols: list[str]
    reason: str


class ClosingAll(Closing, Outcome):
    """And what follows for entries."""
