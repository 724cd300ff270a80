"""What the paths answer that read the journal, as types (the others: ``answers``).

Times are ms UTC of the market's clock; ``_pct`` and shares are fractions; null = not known, never zero.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from qt_actors.messages.base import Action
from qt_actors.messages.policy import Verdict
from qt_actors.messages.signals import ModelVote

Flag = Literal[0, 1]


class Trade(TypedDict):
    """One closed trade: ``side`` of the order that opened it, ``position`` that was held.

    ``complete`` 0: fills are missing, so that its result counts in nothing.
    """

    decision_id: str
    symbol: str
    side: Literal["BUY", "SELL"]
    position: Literal["LONG", "SHORT"]
    phase: str
    opened_ms: int | None
    closed_ms: int
    quantity: float | None
    entry_price: float | None
    exit_price: float | None
    exit_reason: str | None
    exits: list[str] | None
    realized_usd: float | None
    commission_usd: float | None
    funding_usd: float | None
    net_usd: float | None
    risk_usd: float | None
    slippage_bps: float | None
    mfe_pct: float | None
    mae_pct: float | None
    confidence: float | None
    adopted: Flag | None
    complete: Flag | None


class Trades(TypedDict):
    """Closed trades, newest first."""

    trades: list[Trade]


class Judged(TypedDict):
    """One symbol's decision at one bar, every gate in the order in which it was asked."""

    symbol: str
    close_time_ms: int
    decision_id: str
    decided_ms: int
    action: Action
    verdict: Verdict
    gate: str
    evaluations: int
    confidence: float | None
    p_win: float | None
    edge_r: float | None
    agree: int | None
    active: int | None
    quorum: int | None
    regime: str | None
    close: float | None
    warmup: str | None
    gates: list[JudgedGate]
    votes: list[ModelVote]
    plan: dict[str, Any] | None
    trace: str
    sentence: str
    trade: dict[str, Any] | None
    orders: list[dict[str, Any]]


class JudgedGate(TypedDict):
    """One question that was asked: what was measured, against which limit."""

    name: str
    passed: Flag
    value: str
    limit: str
    note: str
    transient: Flag


class Decisions(TypedDict):
    """The decisions on one symbol, newest first."""

    symbol: str
    decisions: list[Judged]


class Sums(TypedDict):
    """Results added up; ``complete`` trades have all their fills, ``wins`` are of these."""

    trades: int
    complete: int
    wins: int
    realized_usd: float
    commission_usd: float
    funding_usd: float
    net_usd: float


class SumsByExit(Sums):
    """By the reason of the exit."""

    exit_reason: str | None


class SumsByDay(Sums):
    """By UTC day."""

    day: str


class SumsBySymbol(Sums):
    """By symbol."""

    symbol: str


class Booked(TypedDict):
    """The exchange's own ledger, one kind of entry added up."""

    kind: str
    asset: str
    entries: int
    amount_usd: float


class Results(TypedDict):
    """What closed trades brought; the ledger, as it was read ``ledger_age_s`` ago, knows of open ones, too."""

    now_ms: int
    losing_streak: int | None
    today: Sums
    total: Sums
    by_exit: list[SumsByExit]
    by_day: list[SumsByDay]
    by_symbol: list[SumsBySymbol]
    ledger: list[Booked]
    ledger_today: list[Booked]
    ledger_ms: int | None
    ledger_age_s: float | None


class Incident(TypedDict):
    """What went wrong or was worth a word (``news``, nothing to repair); ``times`` within one entry."""

    state: Literal["news", "repaired", "unrepaired"]
    kind: str
    subject: str
    detail: str
    repaired: Flag
    times: int
    first_ms: int
    last_ms: int


class Incidents(TypedDict):
    """Newest first."""

    incidents: list[Incident]


class Ending(TypedDict):
    """How many decisions of the newest bar ended alike."""

    close_time_ms: int
    verdict: Verdict
    reason: str
    decisions: int
    example: str


class Why(TypedDict):
    """Where the newest bar's decisions ended, and what stops all of them."""

    close_time_ms: int | None
    decisions: int
    admitted: int
    funnel: list[Ending]
    stops: list[str]
    not_traded: dict[str, str]


class Point(TypedDict):
    """The newest reading of one step of time, and the step's lowest and highest equity."""

    now_ms: int
    equity_usd: float
    wallet_usd: float
    daily_pnl_usd: float
    gross_notional_usd: float
    low_usd: float
    high_usd: float


class Curve(TypedDict):
    """The equity curve."""

    low_usd: float | None
    high_usd: float | None
    equity: list[Point]
