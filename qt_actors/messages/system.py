"""Running, stopping, failing, and what oversight sees."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from qt_actors.messages.base import Message
from qt_actors.messages.policy import EntryPlan
from qt_actors.messages.positions import AccountSnapshot

Control = Literal["pause", "resume", "halt"]
NEWS = frozenset({"mind changed", "operator", "pnl alert"})
"""Kinds of ``IncidentSeen`` that are worth keeping and ask for no repair."""


class ControlRequested(Message, frozen=True, kw_only=True):
    """An operator's word: pause (no entries), resume, halt (no entries until resumed by hand, survives a restart)."""

    control: Control
    reason: str
    by: str


class ClosesRequested(Message, frozen=True, kw_only=True):
    """An operator wants these positions flat, and has told the executor; the governor keeps it over a restart."""

    symbols: tuple[str, ...]
    reason: str
    by: str


class ControlTaken(Message, frozen=True, kw_only=True):
    """Governor's answer to ``ControlRequested`` and ``ClosesRequested``: the word holds.

    Attributes:
        fault: why it is not on disk, so that a restart would forget it; empty when it is.
        entries: whether entries are allowed now, with the reason in ``because``.
    """

    control: Control | Literal["close"]
    fault: str
    entries: bool
    because: str
    note: str = ""
    """What else the word has changed: a losing streak that was forgotten."""


class VenueReady(Message, frozen=True, kw_only=True):
    """Gateway: clock measured, credentials accepted; requests may be sent."""

    clock_offset_ms: int


class VenueLost(Message, frozen=True, kw_only=True):
    """Gateway: the exchange cannot be reached, or has banned or refused us; entries are off until ``VenueReady``."""

    reason: str
    until_ms: int | None = None


class BudgetUsed(Message, frozen=True, kw_only=True):
    """Gateway: share of the exchange's request limits used in the running minute."""

    weight_ratio: float
    orders_ratio: float


class HealthReported(Message, frozen=True, kw_only=True):
    """One subsystem's health, 0 (dead) to 100, with the reason when below 100."""

    subsystem: str
    health: int
    reason: str
    now_ms: int


class IncidentSeen(Message, frozen=True, kw_only=True):
    """Something went wrong and was or was not repaired, or is ``NEWS``; recorded as evidence."""

    kind: str
    subject: str
    detail: str
    repaired: bool
    now_ms: int


class IncidentRepaired(Message, frozen=True, kw_only=True):
    """What was told as not repaired, of this kind and subject, is well again."""

    kind: str
    subject: str


class Measured(Message, frozen=True, kw_only=True):
    """One measurement for telemetry: a name from ``exporters.prometheus``'s table, label values, and a value."""

    metric: str
    value: float
    labels: tuple[str, ...] = ()


class EquityMeasured(Message, frozen=True, kw_only=True):
    """Governor → recorder: the account's worth and the day's result."""

    now_ms: int
    wallet_usd: Decimal
    equity_usd: Decimal
    unrealized_usd: Decimal
    daily_pnl_usd: Decimal
    gross_notional_usd: Decimal


class GovernorState(Message, frozen=True, kw_only=True):
    """What the governor must not forget: written at every change, read back at start."""

    day: str
    """UTC date, ``2026-11-22``; empty until the account was seen for the first time."""
    day_start_equity_usd: Decimal | None
    losing_streak: int
    halted: bool
    """By an operator, until an operator's resume."""
    halt_reason: str
    changed_ms: int
    halted_ms: int = 0
    """Since when; likewise ``paused_ms``. 0: not, or not known."""
    paused: bool = False
    pause_reason: str = ""
    paused_ms: int = 0
    day_opened_ms: int = 0
    """Exchange time of the reading that the day began with; what was transferred before is in it. 0: not known."""
    day_lost: str = ""
    """How the day's loss went over its limit: no entries until the next UTC day."""
    lost_ms: int = 0
    """Exchange time of the reading that showed it, while a transfer may still explain it; else 0."""
    lost_equity_usd: Decimal | None = None
    """The lowest equity read since ``lost_ms``."""
    counted: tuple[str, ...] = ()
    """Decisions whose closed trades are in the streak already, newest last."""
    streak_since_ms: int = 0
    """Trades closed before count no more: an operator has ended their streak."""
    reserved: tuple[EntryPlan, ...] = ()
    """Admitted entries whose positions are not in the account yet."""
    last_entry_ms: int = 0
    """When the last entry was admitted; 0: never."""
    closing: dict[str, str] = msgspec.field(default_factory=dict)
    """Symbol → why: positions that an operator wants flat and that are not yet."""
    revision: int = 0
    """Names this state in ``StateWritten``."""


class StateWritten(Message, frozen=True, kw_only=True):
    """Recorder → governor: its state of this revision is durably on disk, or ``fault`` says why it is not."""

    revision: int
    fault: str = ""


class DrainRequested(Message, frozen=True, kw_only=True):
    """Stop taking new work; what is in flight is finished or left protected."""


class Drained(Message, frozen=True, kw_only=True):
    """Answer to ``DrainRequested``, with the account as the exchange told it after the request."""

    path: str
    account: AccountSnapshot | None


class MarketPaused(Message, frozen=True, kw_only=True):
    """To the embedded exchange: stop exchange time, so that the last reconciliation is of a market that stands."""


class MarketResumed(Message, frozen=True, kw_only=True):
    """To the embedded exchange: let exchange time go on."""
