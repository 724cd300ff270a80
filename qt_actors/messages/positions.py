"""Positions, the account, and trades from entry to exit."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from qt_actors.messages.base import Message, Side

ExitReason = Literal["target", "trail", "stop", "policy", "unprotected", "manual", "liquidation", "external"]
"""``unprotected``: closed at market, because its stop could not be kept."""
TradePhase = Literal["stopping", "entering", "arming", "open", "closing", "closed", "abandoned"]


class Position(Message, frozen=True, kw_only=True):
    """One open position, as the exchange sees it; ``quantity`` is signed, never zero."""

    symbol: str
    quantity: Decimal
    entry_price: Decimal
    mark_price: Decimal
    unrealized_pnl: Decimal
    liquidation_price: Decimal
    notional_usd: Decimal
    initial_margin_usd: Decimal
    updated_ms: int


class RestingOrder(Message, frozen=True, kw_only=True):
    """One open order or untriggered conditional order on the exchange."""

    symbol: str
    client_id: str
    exchange_id: int
    side: Side
    kind: str
    quantity: Decimal
    executed_quantity: Decimal
    trigger_price: Decimal | None
    activate_price: Decimal | None
    callback_pct: Decimal | None
    reduce_only: bool
    close_position: bool
    conditional: bool
    working_type: str
    created_ms: int
    price: Decimal | None = None
    """Its limit; None: at market."""


class AccountSnapshot(Message, frozen=True, kw_only=True):
    """The account as one reconciliation round found it; every part is from the same round.

    ``serial`` rises with every round; ``requested_ms`` is the exchange time before the first request of the round.
    """

    serial: int
    requested_ms: int
    now_ms: int
    wallet_usd: Decimal
    equity_usd: Decimal
    available_usd: Decimal
    positions: tuple[Position, ...]
    orders: tuple[RestingOrder, ...]
    conditionals: tuple[RestingOrder, ...]


class SnapshotRequested(Message, frozen=True, kw_only=True):
    """Ask the account for a reconciliation round now; answered by the next ``AccountSnapshot`` to all subscribers."""

    reason: str


class IncomeRow(Message, frozen=True, kw_only=True):
    """One row of the exchange's income ledger; (kind, transaction_id, symbol) is its identity."""

    kind: str
    transaction_id: int
    symbol: str
    amount_usd: Decimal
    asset: str
    time_ms: int
    trade_id: str = ""


class OpenOrdersSeen(Message, frozen=True, kw_only=True):
    """Account → recorder, when they have changed: every order that rests on the exchange, asked for at ``asked_ms``."""

    orders: tuple[RestingOrder, ...]
    asked_ms: int


class LedgerSynced(Message, frozen=True, kw_only=True):
    """Account → recorder, governor, web: new fills and income rows; repeated rows are told apart by their identity."""

    income: tuple[IncomeRow, ...]
    wallet_usd: Decimal
    equity_usd: Decimal
    unrealized_usd: Decimal
    now_ms: int


class BalanceChanged(Message, frozen=True, kw_only=True):
    """ACCOUNT_UPDATE: the wallet after an event and why it changed."""

    wallet_usd: Decimal
    reason: str
    time_ms: int


class ProtectPosition(Message, frozen=True, kw_only=True):
    """Position monitor → executor: this position lacks a full, right-side, reduce-only stop: place one now."""

    symbol: str
    quantity: Decimal
    entry_price: Decimal
    mark_price: Decimal
    liquidation_price: Decimal
    missing_quantity: Decimal
    """What no stop covers; zero for a covered position that is only to be taken into our book."""
    adopted: bool
    stop: RestingOrder | None = None
    """The largest one that covers it, in part too if it is ours."""


class PositionResized(Message, frozen=True, kw_only=True):
    """Position monitor → executor: two snapshots show another size than our book, and no fill explains it."""

    symbol: str
    quantity: Decimal
    """Without sign."""
    entry_price: Decimal


class TradesRecovered(Message, frozen=True, kw_only=True):
    """Executor → its watchers after a start: every open trade has been told, what is not in them is unknown to us."""

    looked_ms: int = 0
    """Up to when a former process is known to have looked at the account: its stops stood then as it has said."""


class ClosePosition(Message, frozen=True, kw_only=True):
    """Close at market, reduce-only, now; asked by a policy, an operator, or a stop that was already passed."""

    symbol: str
    reason: str
    exit_reason: ExitReason
    reply_to: str = ""


class CancelOrphan(Message, frozen=True, kw_only=True):
    """Position monitor → executor: this order of ours has no position or trade left; cancel it."""

    symbol: str
    client_id: str
    conditional: bool


class TradeOpened(Message, frozen=True, kw_only=True):
    """An entry filled and is protected."""

    decision_id: str
    symbol: str
    side: Side
    quantity: Decimal
    entry_price: Decimal
    decision_price: Decimal
    stop_price: Decimal
    target_price: Decimal
    confidence: float
    leverage: int
    risk_usd: Decimal
    opened_ms: int
    adopted: bool = False


class TradeClosed(Message, frozen=True, kw_only=True):
    """A trade from first fill to flat, with everything learned from it."""

    decision_id: str
    symbol: str
    side: Side
    quantity: Decimal
    entry_price: Decimal
    exit_price: Decimal
    opened_ms: int
    closed_ms: int
    exit_reason: ExitReason
    exits: tuple[str, ...]
    """Every kind of exit seen, in order: a target and then a trail is two."""
    realized_usd: Decimal
    commission_usd: Decimal
    risk_usd: Decimal
    slippage_bps: float
    mfe_pct: float
    mae_pct: float
    confidence: float
    adopted: bool = False
    complete: bool = True
    """False when executions of it were never told: then nobody knows its result, and it counts nowhere."""


class TradeState(Message, frozen=True, kw_only=True):
    """What the executor keeps of one trade; written to the journal at every change, read back at start."""

    decision_id: str
    symbol: str
    side: Side
    phase: TradePhase
    quantity: Decimal
    filled: Decimal
    exited: Decimal
    entry_price: Decimal
    decision_price: Decimal
    stop_id: str
    """Of the stop that stands; it outlasts the trade until it is known to be gone."""
    stop_price: Decimal
    stop_quantity: Decimal
    """Of the stop that stands."""
    entry_id: str
    target_id: str
    target_price: Decimal
    target_quantity: Decimal
    trail_id: str
    trail_quantity: Decimal
    trail_callback_pct: Decimal
    close_id: str
    leverage: int
    confidence: float
    risk_usd: Decimal
    opened_ms: int
    expires_ms: int
    changed_ms: int
    last_trade_id: int = 0
    """Every execution up to this trade id is counted; ids rise within a symbol."""
    counted: tuple[int, ...] = ()
    """Trade ids counted beyond it, rising, at most ``COUNTED_MAX``."""
    target_filled: Decimal = Decimal(0)
    exit_notional: Decimal = Decimal(0)
    realized_usd: Decimal = Decimal(0)
    commission_usd: Decimal = Decimal(0)
    exits: tuple[str, ...] = ()
    mfe_pct: float = 0.0
    mae_pct: float = 0.0
    attempts: int = 0
    """Orders of this trade placed again so far; part of their client ids."""
    strikes: int = 0
    """Stops and closes that failed, each within an hour of the one before."""
    strike_ms: int = 0
    misses: int = 0
    """Targets and trails that failed, counted likewise."""
    miss_ms: int = 0
    bare_from_ms: int = 0
    """Exchange time at which the stop last ceased to cover all: it ended, or somebody added to the position."""
    stops_sent: tuple[tuple[str, Decimal], ...] = ()
    """Client id and quantity of the stops sent and not yet acknowledged or refused."""
    entry_doubted: bool = False
    """The exchange says that it does not know the entry: whether there is a position decides."""
    close_wanted: str = ""
    """Why the trade is to be closed, until it is: a close that fails is tried again."""
    complete: bool = True
    pending: tuple[str, ...] = ()
    """Client ids sent and not yet answered."""
    adopted: bool = False
    reason: str = ""


class TradeChanged(Message, frozen=True, kw_only=True):
    """Executor → recorder, position monitor, web: the new state of one trade."""

    trade: TradeState


class MindChanged(Message, frozen=True, kw_only=True):
    """Position monitor: the newest signal points against an open position."""

    symbol: str
    position_side: Side
    action: Side
    confidence: float


class ProtectionMeasured(Message, frozen=True, kw_only=True):
    """Position monitor: market seconds that positions spent without full protection since the last measurement.

    ``unprotected_symbols``: those without it now.
    """

    now_ms: int
    unprotected_seconds: float
    unprotected_symbols: tuple[str, ...]


class PositionVanished(Message, frozen=True, kw_only=True):
    """Position monitor → executor: this trade's position is not there; what its fills did not tell is unknown.

    Two snapshots show it, or one made after its fills had ended the trade.
    """

    symbol: str


class RearmTrade(Message, frozen=True, kw_only=True):
    """Position monitor → executor: the exchange no longer shows this trade's target or trail."""

    symbol: str
    target: bool
    trail: bool
