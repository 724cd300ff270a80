"""Order commands: what is sent for each, and the one outcome that is told (DESIGN 5: an unknown is looked up)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import msgspec

from qt_actors.edges.binance_errors import Failure
from qt_actors.edges.binance_payloads import ZERO, AlgoReply, OrderReply, number, read
from qt_actors.edges.binance_requests import BudgetDenied, Route
from qt_actors.messages.base import Message
from qt_actors.messages.orders import (
    CancelOrder,
    Command,
    LeverageRejected,
    LeverageSet,
    LookUpOrder,
    OrderAccepted,
    OrderCancelled,
    OrderDenied,
    OrderFound,
    OrderMissing,
    OrderOutcomeUnknown,
    OrderRejected,
    PlaceConditional,
    PlaceOrder,
    SetLeverage,
)

Send = Callable[..., Awaitable[Any]]

_ORDER_TIMEOUT_S = 6.0
_RESULT = MappingProxyType({"type": "MARKET", "newOrderRespType": "RESULT"})
_CONDITIONAL = MappingProxyType({"algoType": "CONDITIONAL", "workingType": "MARK_PRICE", "reduceOnly": "true"})
PLACE = Route("futures_create_order", 0, 1, repeatable=False, timeout_s=_ORDER_TIMEOUT_S, fixed=_RESULT)
PLACE_ALGO = Route("futures_create_algo_order", 0, 1, repeatable=False, timeout_s=_ORDER_TIMEOUT_S, fixed=_CONDITIONAL)
CANCEL = Route("futures_cancel_order", timeout_s=_ORDER_TIMEOUT_S)
CANCEL_ALGO = Route("futures_cancel_algo_order", timeout_s=_ORDER_TIMEOUT_S)
ORDER = Route("futures_get_order", timeout_s=_ORDER_TIMEOUT_S)
ALGO_ORDER = Route("futures_get_algo_order", timeout_s=_ORDER_TIMEOUT_S)
LEVERAGE = Route("futures_change_leverage", timeout_s=_ORDER_TIMEOUT_S)

CALLBACK_MIN, CALLBACK_MAX = Decimal("0.1"), Decimal(20)
"""A trailing stop's distance in percent, as the exchange speaks of it."""


async def perform(send: Send, command: Command, *, placed_before: bool = False) -> Message:
    """Carry out one command and return its outcome; raises nothing that is known of the exchange.

    ``placed_before``: this process has sent an order of this client id already; a duplicate may be that one.
    """
    match command:
        case PlaceOrder():
            return await _place(send, command, PLACE, _order_arguments(command), placed_before=placed_before)
        case PlaceConditional():
            if (fault := _conditional_fault(command)) is not None:
                return denied(command, "arguments", fault)
            return await _place(send, command, PLACE_ALGO, _conditional_arguments(command), placed_before=placed_before)
        case CancelOrder():
            return await _cancel(send, command)
        case LookUpOrder():
            return await _look_up(send, command)
        case SetLeverage():
            return await _set_leverage(send, command)
        case _:
            return denied(command, "arguments", f"{type(command).__name__} is no command of the exchange")


def denied(command: Command, gate: str, reason: str) -> OrderDenied | LeverageRejected:
    """Our own refusal of a command, whatever its kind."""
    if isinstance(command, SetLeverage):
        return LeverageRejected(symbol=command.symbol, leverage=command.leverage, code=0, reason=f"{gate}: {reason}")
    return OrderDenied(**_identity(command), gate=gate, reason=reason)


def unknown(command: Command, reason: str) -> OrderOutcomeUnknown | LeverageRejected:
    """Nobody knows what became of a command."""
    if isinstance(command, SetLeverage):
        return LeverageRejected(symbol=command.symbol, leverage=command.leverage, code=0, reason=f"unknown: {reason}")
    return OrderOutcomeUnknown(**_identity(command), reason=reason)


def _identity(command: Any) -> dict[str, Any]:
    conditional = isinstance(command, PlaceConditional) or getattr(command, "conditional", False)
    client_id, symbol = getattr(command, "client_id", ""), getattr(command, "symbol", "")
    return {"client_id": client_id, "symbol": symbol, "conditional": conditional}


def _order_arguments(command: PlaceOrder) -> dict[str, str]:
    arguments = {
        "symbol": command.symbol,
        "side": command.side,
        "quantity": plain(command.quantity),
        "newClientOrderId": command.client_id,
    }
    return {**arguments, "reduceOnly": "true"} if command.reduce_only else arguments


def _conditional_arguments(command: PlaceConditional) -> dict[str, str]:
    arguments = {
        "symbol": command.symbol,
        "side": command.side,
        "type": command.kind,
        "quantity": plain(command.quantity),
        "clientAlgoId": command.client_id,
    }
    if command.trigger_price is not None:
        arguments["triggerPrice"] = plain(command.trigger_price)
    if command.activate_price is not None:
        arguments["activatePrice"] = plain(command.activate_price)
    if command.callback_pct is not None:
        arguments["callbackRate"] = plain(command.callback_pct)
    return arguments


def _conditional_fault(command: PlaceConditional) -> str | None:
    """What makes the command meaningless; such an order would rest and never protect."""
    if command.kind != "TRAILING_STOP_MARKET":
        return None if command.trigger_price is not None else f"{command.kind} needs a trigger price"
    if command.callback_pct is None or not CALLBACK_MIN <= command.callback_pct <= CALLBACK_MAX:
        return f"callback_pct {command.callback_pct}: allowed is {CALLBACK_MIN} to {CALLBACK_MAX} percent"
    return None


def plain(value: Decimal) -> str:
    """A number as the exchange wants it: no exponent, no padding."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


async def _place(
    send: Send,
    command: PlaceOrder | PlaceConditional,
    route: Route,
    arguments: dict[str, str],
    *,
    placed_before: bool,
) -> Message:
    try:
        reply = await send(route, command.priority, **arguments)
        return _accepted(command, reply)
    except msgspec.ValidationError as error:
        return unknown(command, f"unreadable reply: {error}")
    except BudgetDenied as refusal:
        return denied(command, "request budget", str(refusal))
    except Failure as failure:
        if failure.outcome == "duplicate":
            return await _duplicate(send, command, failure, ours=placed_before or failure.tries > 1)
        return _failed(command, failure)


def _accepted(command: PlaceOrder | PlaceConditional, content: Any) -> OrderAccepted:
    if isinstance(command, PlaceConditional):
        algo = read(content, AlgoReply)
        return OrderAccepted(
            **_identity(command), exchange_id=algo.algo_id, status=algo.algo_status, executed_quantity=ZERO
        )
    order = read(content, OrderReply)
    return OrderAccepted(
        **_identity(command), exchange_id=order.order_id, status=order.status, executed_quantity=order.executed_qty
    )


async def _duplicate(send: Send, command: PlaceOrder | PlaceConditional, failure: Failure, *, ours: bool) -> Message:
    """-4116: an open order has this id already: ask for it. Only one that we sent ourselves counts as accepted.

    Ids follow from decisions, so a second trader on the account makes the same ones: its order is not our stop.
    """
    found = await _look_up(send, command)
    if not isinstance(found, OrderFound):
        return unknown(command, "-4116 duplicate client id, and the look-up did not find it")
    if not ours:
        reason = f"order {found.exchange_id} ({found.status}) has this id and is not ours; a second trader here?"
        return OrderRejected(**_identity(command), code=failure.code, reason=reason)
    return OrderAccepted(
        **_identity(command),
        exchange_id=found.exchange_id,
        status=found.status,
        executed_quantity=found.executed_quantity,
    )


def _failed(command: Command, failure: Failure) -> Message:
    """The outcome of a failure that nothing more can be learned about."""
    if failure.outcome == "unknown":
        return unknown(command, failure.reason)
    if not failure.sent:
        return denied(command, "connection" if failure.outcome == "retry" else "request budget", failure.reason)
    if isinstance(command, SetLeverage):
        return LeverageRejected(
            symbol=command.symbol, leverage=command.leverage, code=failure.code, reason=failure.reason
        )
    return OrderRejected(**_identity(command), code=failure.code, reason=failure.reason)


async def _cancel(send: Send, command: CancelOrder) -> Message:
    try:
        if command.conditional:
            await send(CANCEL_ALGO, command.priority, clientAlgoId=command.client_id)
        else:
            await send(CANCEL, command.priority, symbol=command.symbol, origClientOrderId=command.client_id)
    except BudgetDenied as refusal:
        return denied(command, "request budget", str(refusal))
    except Failure as failure:
        if failure.outcome != "missing":
            return _failed(command, failure)
        found = await _look_up(send, command)
        if not (isinstance(found, OrderFound) and found.status == "CANCELED"):
            return found
    return OrderCancelled(**_identity(command))


async def _look_up(send: Send, command: Any) -> Message:
    identity = _identity(command)
    try:
        if identity["conditional"]:
            return _algo_found(identity, await send(ALGO_ORDER, command.priority, clientAlgoId=command.client_id))
        content = await send(ORDER, command.priority, symbol=command.symbol, origClientOrderId=command.client_id)
        order = read(content, OrderReply)
    except msgspec.ValidationError as error:
        return unknown(command, f"unreadable reply: {error}")
    except BudgetDenied as refusal:
        return denied(command, "request budget", str(refusal))
    except Failure as failure:
        return OrderMissing(**identity) if failure.outcome == "missing" else unknown(command, failure.reason)
    return OrderFound(
        **identity,
        exchange_id=order.order_id,
        status=order.status,
        executed_quantity=order.executed_qty,
        average_price=order.avg_price,
    )


def _algo_found(identity: dict[str, Any], content: Any) -> OrderFound:
    algo = read(content, AlgoReply)
    return OrderFound(
        **identity,
        exchange_id=algo.algo_id,
        status=algo.algo_status,
        executed_quantity=number(algo.actual_qty) or ZERO,
        average_price=number(algo.actual_price) or ZERO,
        child_id=int(algo.actual_order_id) if algo.actual_order_id else None,
    )


async def _set_leverage(send: Send, command: SetLeverage) -> Message:
    try:
        await send(LEVERAGE, command.priority, symbol=command.symbol, leverage=command.leverage)
    except BudgetDenied as refusal:
        return denied(command, "request budget", str(refusal))
    except Failure as failure:
        if failure.outcome != "unchanged":
            return _failed(command, failure)
    return LeverageSet(symbol=command.symbol, leverage=command.leverage)
