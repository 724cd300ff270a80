"""Orders: commands to the gateway, their three noes, and what the exchange tells.

Denied = we refused, Rejected = the exchange refused, OutcomeUnknown = nobody knows: ask, never resend blindly.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from qt_actors.messages.base import Message, Side

OrderStatus = Literal["NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "EXPIRED", "EXPIRED_IN_MATCH", "REJECTED"]
ConditionalKind = Literal["STOP_MARKET", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"]
Purpose = Literal["stop", "entry", "target", "trail", "close", "take"]
"""Why an order exists, part of its client id; ``take`` is the target at market, its price already reached."""
Priority = Literal["protect", "reconcile", "entry", "research"]


class Command(Message, frozen=True, kw_only=True):
    """Base of what the gateway may be ordered to do; answered to ``reply_to`` (an actor's path)."""

    reply_to: str
    priority: Priority = "entry"
    expires_ms: int | None = None
    """After this exchange time the gateway denies instead of sending (entries only; protection never expires)."""
    fence: tuple[int, int] | None = None
    """Generation and incarnation of the sender; the gateway denies those of a superseded incarnation."""


class PlaceOrder(Command, frozen=True, kw_only=True):
    """POST /fapi/v1/order, market only: entries and closes."""

    client_id: str
    symbol: str
    side: Side
    quantity: Decimal
    reduce_only: bool
    purpose: Purpose


class PlaceConditional(Command, frozen=True, kw_only=True):
    """POST /fapi/v1/algoOrder: reduce-only stop, target or trailing stop, triggered by the mark price."""

    client_id: str
    symbol: str
    side: Side
    kind: ConditionalKind
    quantity: Decimal
    purpose: Purpose
    trigger_price: Decimal | None = None
    activate_price: Decimal | None = None
    callback_pct: Decimal | None = None


class CancelOrder(Command, frozen=True, kw_only=True):
    """DELETE /fapi/v1/order or /fapi/v1/algoOrder."""

    client_id: str
    symbol: str
    conditional: bool


class LookUpOrder(Command, frozen=True, kw_only=True):
    """Ask for an order by client id in its own family; answered ``OrderFound`` or ``OrderMissing``."""

    client_id: str
    symbol: str
    conditional: bool


class SetLeverage(Command, frozen=True, kw_only=True):
    """POST /fapi/v1/leverage."""

    symbol: str
    leverage: int


class OrderAccepted(Message, frozen=True, kw_only=True):
    """The exchange has the order (or its final state, for a market order)."""

    client_id: str
    symbol: str
    exchange_id: int
    conditional: bool
    status: str
    executed_quantity: Decimal
    elapsed_ms: float = 0.0


class OrderRejected(Message, frozen=True, kw_only=True):
    """The exchange refused: ``code`` is its error code."""

    client_id: str
    symbol: str
    conditional: bool
    code: int
    reason: str


class OrderDenied(Message, frozen=True, kw_only=True):
    """The gateway refused: budget spent, command expired, stale fence, gateway not ready."""

    client_id: str
    symbol: str
    conditional: bool
    gate: str
    reason: str


class OrderOutcomeUnknown(Message, frozen=True, kw_only=True):
    """Timeout, lost connection, 503 unknown, −1006/−1007: it may or may not be on the exchange."""

    client_id: str
    symbol: str
    conditional: bool
    reason: str


class OrderCancelled(Message, frozen=True, kw_only=True):
    """The cancel was acknowledged."""

    client_id: str
    symbol: str
    conditional: bool


class OrderFound(Message, frozen=True, kw_only=True):
    """Answer to a look-up."""

    client_id: str
    symbol: str
    conditional: bool
    exchange_id: int
    status: str
    executed_quantity: Decimal
    average_price: Decimal
    child_id: int | None = None
    """Conditional only: the regular order it became when it triggered."""


class OrderMissing(Message, frozen=True, kw_only=True):
    """Answer to a look-up: the exchange does not know it (believed only after it has stayed so)."""

    client_id: str
    symbol: str
    conditional: bool


class LeverageSet(Message, frozen=True, kw_only=True):
    """Leverage of the symbol is now this."""

    symbol: str
    leverage: int


class LeverageRejected(Message, frozen=True, kw_only=True):
    """The exchange refused the leverage, or nobody knows; no entry is sent on a guess."""

    symbol: str
    leverage: int
    code: int
    reason: str


class Fill(Message, frozen=True, kw_only=True):
    """One execution; (symbol, trade_id) is its identity."""

    symbol: str
    trade_id: int
    order_id: int
    client_id: str
    side: Side
    price: Decimal
    quantity: Decimal
    commission: Decimal
    commission_asset: str
    realized_pnl: Decimal
    maker: bool
    time_ms: int


class OrderUpdated(Message, frozen=True, kw_only=True):
    """ORDER_TRADE_UPDATE, repeated frames included."""

    client_id: str
    symbol: str
    order_id: int
    side: Side
    order_type: str
    original_type: str
    execution: str
    status: str
    quantity: Decimal
    executed_quantity: Decimal
    average_price: Decimal
    reduce_only: bool
    time_ms: int
    fill: Fill | None = None
    expiry_reason: str = ""


class ConditionalUpdated(Message, frozen=True, kw_only=True):
    """ALGO_UPDATE, repeated frames included."""

    client_id: str
    symbol: str
    algo_id: int
    side: Side
    kind: str
    status: str
    quantity: Decimal
    trigger_price: Decimal
    reduce_only: bool
    time_ms: int
    child_id: int | None = None
    executed_quantity: Decimal = Decimal(0)
    reason: str = ""


class Intent(Message, frozen=True, kw_only=True):
    """One order that is about to be sent, durable before it is."""

    client_id: str
    decision_id: str
    symbol: str
    side: Side
    purpose: Purpose
    conditional: bool
    kind: str
    quantity: Decimal
    price: Decimal | None
    created_ms: int


class RecordIntents(Message, frozen=True, kw_only=True):
    """Executor → recorder; answered ``IntentsRecorded`` to ``reply_to`` once they are on disk."""

    token: str
    intents: tuple[Intent, ...]
    reply_to: str


class IntentsRecorded(Message, frozen=True, kw_only=True):
    """They are on disk: now they may be sent."""

    token: str


class IntentsLost(Message, frozen=True, kw_only=True):
    """The journal could not write them: they must not be sent."""

    token: str
    reason: str


class IntentResolved(Message, frozen=True, kw_only=True):
    """Where an intent ended, told to the recorder."""

    client_id: str
    outcome: str
    exchange_id: int | None
    time_ms: int
    reason: str = ""


Answer = OrderAccepted | OrderRejected | OrderDenied | OrderCancelled
LookedUp = OrderOutcomeUnknown | OrderFound | OrderMissing
Told = OrderUpdated | ConditionalUpdated | Fill
