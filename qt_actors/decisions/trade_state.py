"""What a step of a trade's life is made of: the vocabulary of ``trade_life``."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from qt_actors.decisions.ids import parse
from qt_actors.messages.base import Message
from qt_actors.messages.orders import Command, Purpose
from qt_actors.messages.positions import TradeState

ATTEMPTS_MAX: Final = 5
"""Times the exchange may refuse a trade's protective orders before it is closed at market instead."""
ALREADY_PASSED: Final = frozenset({-2021, -4142})
"""Exchange codes for "would trigger at once": the price is already beyond the trigger."""
FINAL: Final = frozenset({"FILLED", "CANCELED", "EXPIRED", "EXPIRED_IN_MATCH", "REJECTED"})
LOST: Final = frozenset({"CANCELED", "EXPIRED", "REJECTED"})
RESTING: Final = "NEW"
EXECUTING: Final = frozenset({"TRIGGERING", "TRIGGERED", "FINISHED"})
ENDED: Final = frozenset({"closed", "abandoned"})
ZERO: Final = Decimal(0)


class Step(msgspec.Struct, frozen=True):
    """A trade after an event, what to send, and what to tell the others."""

    trade: TradeState
    commands: tuple[Command, ...] = ()
    events: tuple[Message, ...] = ()


def with_changes(trade: TradeState, now_ms: int, **changes: object) -> TradeState:
    """Return the trade with some fields changed, and when."""
    return msgspec.structs.replace(trade, changed_ms=now_ms, **changes)


def remaining(trade: TradeState) -> Decimal:
    """Return the quantity still held."""
    return trade.filled - trade.exited


def is_ours(trade: TradeState, client_id: str, purpose: Purpose | None = None) -> bool:
    """Tell whether the client id is of this trade (and of this purpose)."""
    if client_id in {trade.stop_id, trade.target_id, trade.trail_id, trade.entry_id, trade.close_id, *trade.pending}:
        said = parse(client_id)
        return purpose is None or said is None or said.purpose == purpose
    said = parse(client_id)
    return (
        said is not None
        and said.close_time_ms == int(trade.decision_id.rsplit("-", 1)[1]) // 1000 * 1000
        and (purpose is None or said.purpose == purpose)
    )


def purpose_of(trade: TradeState, client_id: str) -> Purpose | None:
    """Return why the order exists, or None when it is not of this trade."""
    if not client_id or not is_ours(trade, client_id):
        return None
    if client_id == trade.stop_id:
        return "stop"
    said = parse(client_id)
    return said.purpose if said else None


def is_bare(trade: TradeState) -> bool:
    """Tell whether we hold something without a stop, without one under way, and without a close under way."""
    stop_on_its_way = any(purpose_of(trade, i) == "stop" for i in trade.pending)
    return trade.phase in {"arming", "open"} and remaining(trade) > 0 and not trade.stop_id and not stop_on_its_way


def awaited(trade: TradeState) -> tuple[str, ...]:
    """Return the orders that were acknowledged and whose end must still be heard of."""
    match trade.phase:
        case "entering":
            return (trade.entry_id,)
        case "stopping" if trade.stop_id:
            return (trade.stop_id,)
        case "closing":
            return (trade.close_id,)
        case _:
            return ()
