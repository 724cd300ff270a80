"""What a step of a trade's life is made of: the vocabulary of ``trade_life`` and ``trade_repair``."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from qt_actors.decisions.ids import parse, purpose_in
from qt_actors.messages.base import Message
from qt_actors.messages.orders import Command, ConditionalUpdated, Purpose
from qt_actors.messages.positions import ExitReason, TradeState

ATTEMPTS_MAX: Final = 5
"""Failures within ``FORGIVEN_MS`` of each other that are answered by placing the order again; then the rule changes."""
FORGIVEN_MS: Final = 3_600_000
"""Market time without a failure after which the count begins anew: the order has stood."""
RETRY_REAL_MS_MIN: Final = 1_000
RETRY_REAL_MS_MAX: Final = 60_000
COUNTED_MAX: Final = 256
WOULD_TRIGGER: Final = -2021
ALREADY_PASSED: Final = frozenset({WOULD_TRIGGER, -4142})
"""Exchange codes for "would trigger at once": the price is already beyond the trigger."""
ENDED_BY_ITSELF: Final = 1
"""In place of an exchange code: the order was taken and is gone."""
FINAL: Final = frozenset({"FILLED", "CANCELED", "EXPIRED", "EXPIRED_IN_MATCH", "REJECTED"})
LOST: Final = frozenset({"CANCELED", "EXPIRED", "REJECTED"})
RESTING: Final = "NEW"
EXECUTING: Final = frozenset({"TRIGGERING", "TRIGGERED", "FINISHED"})
ENDED: Final = frozenset({"closed", "abandoned"})
MOVING: Final = frozenset({"stopping", "entering", "closing"})
HELD: Final = frozenset({"arming", "open"})
"""Phases with a position and no close under way."""
UNPROTECTED: Final = "unprotected"
"""Begins the reason of a close for want of a stop; ``manual`` and ``policy`` begin those that were asked for."""
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


def target_left(trade: TradeState) -> Decimal:
    """Return what the target has still to take."""
    return min(trade.target_quantity - trade.target_filled, remaining(trade))


def without(trade: TradeState, client_id: str, now_ms: int) -> TradeState:
    """Return the trade with this order no longer pending."""
    pending = tuple(i for i in trade.pending if i != client_id)
    sent = tuple(s for s in trade.stops_sent if s[0] != client_id)
    return with_changes(trade, now_ms, pending=pending, stops_sent=sent)


def quantity_sent(trade: TradeState, stop_id: str) -> Decimal:
    """Return for how much a stop was placed that is now acknowledged."""
    return dict(trade.stops_sent).get(stop_id, trade.stop_quantity)


def struck(trade: TradeState, now_ms: int) -> TradeState:
    """Count the failure of a stop or a close; the next order of its kind gets an id of its own."""
    before = trade.strikes if now_ms - trade.strike_ms < FORGIVEN_MS else 0
    return with_changes(trade, now_ms, strikes=before + 1, strike_ms=now_ms, attempts=trade.attempts + 1)


def missed(trade: TradeState, now_ms: int) -> TradeState:
    """Count the failure of a target or a trail."""
    before = trade.misses if now_ms - trade.miss_ms < FORGIVEN_MS else 0
    return with_changes(trade, now_ms, misses=before + 1, miss_ms=now_ms, attempts=trade.attempts + 1)


def given_up(trade: TradeState, now_ms: int) -> bool:
    """Tell whether target and trail have failed too often to be tried again this hour; the stop does without them."""
    return trade.misses > ATTEMPTS_MAX and now_ms - trade.miss_ms < FORGIVEN_MS


def is_counted(trade: TradeState, trade_id: int) -> bool:
    """Tell whether this execution is in the trade already: stream and ledger both tell it, some more than once."""
    return trade_id <= trade.last_trade_id or trade_id in trade.counted


def with_counted(trade: TradeState, trade_id: int, now_ms: int) -> TradeState:
    """Remember an execution as counted."""
    ids = sorted((*trade.counted, trade_id))
    floor = max(trade.last_trade_id, *ids[:-COUNTED_MAX]) if len(ids) > COUNTED_MAX else trade.last_trade_id
    return with_changes(trade, now_ms, counted=tuple(ids[-COUNTED_MAX:]), last_trade_id=floor)


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
    return purpose_in(client_id)


def exit_kind(trade: TradeState, client_id: str) -> ExitReason:
    """Return what an execution that reduces the position is: one of the trade's exits, or somebody else's doing."""
    if client_id.startswith(("autoclose-", "adl_autoclose")):
        return "liquidation"
    match purpose_of(trade, client_id), trade.reason.partition(":")[0]:
        case ("stop" | "target" | "trail") as kind, _:
            return kind
        case "take", _:
            return "target"
        case "close", ("manual" | "unprotected") as kind:
            return kind
        case "close", _:
            return "policy"
        case _:
            return "external"


def is_earlier_close(trade: TradeState, client_id: str) -> bool:
    """Tell whether this is a close that another one has followed: its end says nothing of that one."""
    return purpose_of(trade, client_id) == "close" and client_id != trade.close_id


def is_loss_of_stop(trade: TradeState, event: ConditionalUpdated) -> bool:
    """Tell whether the event ends the stop of something we hold, its acknowledgement still on its way or not."""
    ours = event.client_id in {trade.stop_id, *trade.pending} and purpose_of(trade, event.client_id) == "stop"
    return ours and event.status in LOST and trade.phase not in ENDED and remaining(trade) > 0


def is_covered(trade: TradeState) -> bool:
    """Tell whether the stop that stands is as large as what we hold."""
    return bool(trade.stop_id) and trade.stop_quantity >= remaining(trade)


def is_bare(trade: TradeState) -> bool:
    """Tell whether we hold something without a whole stop, without one under way, and without a close under way."""
    stop_on_its_way = any(purpose_of(trade, i) == "stop" for i in trade.pending)
    return trade.phase in HELD and remaining(trade) > 0 and not is_covered(trade) and not stop_on_its_way


def is_over(trade: TradeState) -> bool:
    """Tell whether the trade has ended and has left no stop that could meet the next one of its symbol."""
    return trade.phase in ENDED and not trade.stop_id


def retry_real_ms(trade: TradeState) -> int | None:
    """Return after how much real time the trade's stop or close is to be tried again; None when nothing is owed."""
    owed = is_bare(trade) or (trade.close_wanted and trade.phase in HELD and remaining(trade) > 0)
    if not owed:
        return None
    doublings = min(max(0, trade.strikes - ATTEMPTS_MAX), 16)
    return int(min(RETRY_REAL_MS_MIN * 2**doublings, RETRY_REAL_MS_MAX))


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


def is_under_way(trade: TradeState) -> bool:
    """Tell whether an order of the trade is on its way, or its end not heard of yet."""
    return trade.phase in MOVING or bool(trade.pending)
