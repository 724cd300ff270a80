"""The life of one trade, as a fold: state and event in, state and commands out (DESIGN 5).

Order of things: leverage → reduce-only stop, acknowledged → market entry → target and trailing stop → exits → flat.
A stop that ends before its entry has filled makes the entry's fill close at once. Replies and stream events may come in
any order and more than once; client ids say which order of which trade they speak of.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from qt_actors.decisions.ids import parse
from qt_actors.decisions.trade_orders import (
    cancel,
    close_order,
    conditional_order,
    entry_order,
    leverage_order,
    look_up_order,
)
from qt_actors.decisions.trade_reports import closed_report, opened_report
from qt_actors.decisions.trade_state import (
    ALREADY_PASSED,
    ATTEMPTS_MAX,
    ENDED,
    EXECUTING,
    FINAL,
    LOST,
    RESTING,
    ZERO,
    Step,
    purpose_of,
    remaining,
    with_changes,
)
from qt_actors.messages.orders import (
    CancelOrder,
    Command,
    ConditionalUpdated,
    Fill,
    OrderUpdated,
    Purpose,
)
from qt_actors.messages.policy import EntryPlan, ReservationReleased
from qt_actors.messages.positions import ExitReason, SnapshotRequested, TradeState


def begin(plan: EntryPlan, now_ms: int) -> Step:
    """Start a trade from an admitted plan: the leverage first, nothing that needs margin yet."""
    trade = TradeState(
        decision_id=plan.decision_id,
        symbol=plan.symbol,
        side=plan.side,
        phase="stopping",
        quantity=plan.quantity,
        filled=ZERO,
        exited=ZERO,
        entry_price=ZERO,
        decision_price=plan.price,
        stop_id="",
        stop_price=plan.stop_price,
        stop_quantity=plan.quantity,
        entry_id="",
        target_id="",
        target_price=plan.target_price,
        target_quantity=plan.target_quantity,
        trail_id="",
        trail_quantity=plan.trail_quantity,
        trail_callback_pct=plan.trail_callback_pct,
        close_id="",
        leverage=plan.leverage,
        confidence=plan.confidence,
        risk_usd=plan.risk_usd,
        opened_ms=now_ms,
        expires_ms=plan.expires_ms,
        changed_ms=now_ms,
    )
    return Step(trade, (leverage_order(trade),))


def _place(trade: TradeState, now_ms: int, purpose: Purpose, quantity: Decimal, *, now: bool = False) -> Step:
    """Send one conditional order; ``now``: a trail that starts at the current price."""
    command = conditional_order(trade, purpose, quantity, activate=not now)
    return Step(with_changes(trade, now_ms, pending=(*trade.pending, command.client_id)), (command,))


def _abandon(trade: TradeState, now_ms: int, reason: str) -> Step:
    """End a trade that never held anything; its stop, if any, is taken back."""
    commands = tuple(cancel(trade, i) for i in (trade.stop_id,) if i)
    ended = with_changes(trade, now_ms, phase="abandoned", reason=reason, pending=())
    return Step(
        ended, commands, (ReservationReleased(decision_id=trade.decision_id, symbol=trade.symbol, outcome=reason),)
    )


def on_leverage_set(trade: TradeState, now_ms: int) -> Step:
    """Leverage stands: place the stop."""
    if trade.phase != "stopping" or trade.pending or trade.stop_id:
        return Step(trade)
    return _place(trade, now_ms, "stop", trade.quantity)


def on_leverage_refused(trade: TradeState, reason: str, now_ms: int) -> Step:
    """No leverage, no trade: nothing has been placed."""
    return _abandon(trade, now_ms, reason) if trade.phase == "stopping" else Step(trade)


def on_accepted(trade: TradeState, client_id: str, status: str, executed: Decimal, now_ms: int) -> Step:
    """Take the exchange's acknowledgement (or a look-up that found the order)."""
    purpose = purpose_of(trade, client_id)
    if purpose is None or trade.phase in ENDED:
        late = trade.phase in ENDED and purpose in {"stop", "target", "trail"} and status == RESTING
        return Step(trade, (cancel(trade, client_id),) if late else ())
    trade = with_changes(trade, now_ms, pending=tuple(i for i in trade.pending if i != client_id), strikes=0)
    match purpose:
        case "stop":
            return _stop_accepted(trade, client_id, status, now_ms)
        case "target" if status == RESTING:
            return _armed(with_changes(trade, now_ms, target_id=client_id), now_ms)
        case "trail" if status == RESTING:
            return _armed(with_changes(trade, now_ms, trail_id=client_id), now_ms)
        case "take":
            return _armed(with_changes(trade, now_ms, target_id=client_id), now_ms)
        case "close" if status in FINAL and status != "FILLED" and trade.phase == "closing" and remaining(trade) > 0:
            return _close_failed(trade, f"close ended {status}", now_ms)
        case "entry" if executed > trade.filled or status in FINAL:
            # Placement replies carry no price since 2026-07-14: ask, unless the stream was faster.
            return Step(trade, (look_up_order(trade, client_id),) if trade.phase == "entering" else ())
        case _:
            return Step(trade)


def _stop_accepted(trade: TradeState, client_id: str, status: str, now_ms: int) -> Step:
    if status in EXECUTING and trade.phase != "stopping":
        return Step(with_changes(trade, now_ms, stop_id=client_id))  # it has triggered: the fills will tell
    if status != RESTING:
        return on_refused(
            msgspec.structs.replace(trade, pending=(*trade.pending, client_id)), client_id, 0, status, now_ms
        )
    old = trade.stop_id if trade.stop_id != client_id else ""
    trade = with_changes(trade, now_ms, stop_id=client_id)
    if trade.phase != "stopping":
        return Step(trade, (cancel(trade, old),) if old else ())
    if now_ms > trade.expires_ms:
        return _abandon(trade, now_ms, "the signal expired before its entry could be sent")
    command = entry_order(trade)
    entering = with_changes(trade, now_ms, phase="entering", entry_id=command.client_id, pending=(command.client_id,))
    return Step(entering, (command,))


def _armed(trade: TradeState, now_ms: int) -> Step:
    done = trade.target_id and (trade.trail_id or not trade.trail_quantity)
    return Step(with_changes(trade, now_ms, phase="open") if trade.phase == "arming" and done else trade)


def on_refused(trade: TradeState, client_id: str, code: int, reason: str, now_ms: int) -> Step:
    """Take a no: ours (code 0), the exchange's, or an order that never arrived."""
    purpose = purpose_of(trade, client_id)
    entry_never_was = purpose == "entry" and trade.phase == "entering"
    if client_id not in trade.pending and not entry_never_was:
        return Step(trade)  # answer to a cancel, or a repeat
    trade = with_changes(trade, now_ms, pending=tuple(i for i in trade.pending if i != client_id))
    text = f"{purpose} refused: {reason}" + (f" ({code})" if code else "")
    if trade.phase in ENDED:
        return Step(trade)
    if purpose == "stop" and trade.phase == "stopping":
        return _abandon(trade, now_ms, text)
    if purpose == "entry":
        return _entry_done(trade, now_ms, text)
    if purpose == "close":
        return _close_failed(trade, text, now_ms)
    if not remaining(trade):
        return Step(trade)
    if not code:  # we could not send it: what stands is compared with the exchange, and what is missing placed again
        return Step(trade, (), (SnapshotRequested(reason=text),))
    return _again(trade, purpose, code, text, now_ms)


def _again(trade: TradeState, purpose: Purpose | None, code: int, text: str, now_ms: int) -> Step:
    """Place a refused protective order again by rule, or close at market when there is no rule left."""
    strikes = trade.strikes + (1 if code else 0)
    trade = with_changes(trade, now_ms, attempts=trade.attempts + 1, strikes=strikes)
    if purpose == "stop":
        if trade.stop_id:
            return Step(trade)  # the old stop still stands
        if code in ALREADY_PASSED or strikes > ATTEMPTS_MAX:
            return close(trade, text, now_ms)
        return _place(trade, now_ms, "stop", remaining(trade))
    if strikes > ATTEMPTS_MAX:
        return Step(with_changes(trade, now_ms, phase="open") if trade.phase == "arming" else trade)
    if purpose == "trail":
        return _place(trade, now_ms, "trail", min(trade.trail_quantity, remaining(trade)), now=code in ALREADY_PASSED)
    if purpose == "take" or code in ALREADY_PASSED:
        return _take(trade, now_ms)
    return _place(trade, now_ms, "target", min(trade.target_quantity, remaining(trade)))


def _take(trade: TradeState, now_ms: int) -> Step:
    """Take the target's part at market: its price is already reached."""
    command = close_order(trade, min(trade.target_quantity, remaining(trade)), "take")
    taken = with_changes(trade, now_ms, target_id=command.client_id, pending=(*trade.pending, command.client_id))
    return Step(_armed(taken, now_ms).trade, (command,))


def _close_failed(trade: TradeState, text: str, now_ms: int) -> Step:
    """Ask what is left; meanwhile the position must not stand without a stop."""
    attempts, strikes = trade.attempts + 1, trade.strikes + 1
    trade = with_changes(trade, now_ms, phase="open", close_id="", attempts=attempts, strikes=strikes)
    asked = (SnapshotRequested(reason=text),)
    if trade.stop_id or strikes > 2 * ATTEMPTS_MAX:
        return Step(trade, (), asked)
    step = _place(trade, now_ms, "stop", remaining(trade))
    return Step(step.trade, step.commands, asked)


def on_entry_found(trade: TradeState, status: str, executed: Decimal, price: Decimal, now_ms: int) -> Step:
    """Take what a look-up says of the entry; cumulative, so repeats change nothing."""
    if trade.phase != "entering":
        return Step(trade)
    trade = with_changes(trade, now_ms, pending=tuple(i for i in trade.pending if i != trade.entry_id))
    if executed > trade.filled:
        trade = with_changes(trade, now_ms, filled=executed, entry_price=price)
    return _entry_done(trade, now_ms, f"entry ended {status}") if status in FINAL else Step(trade)


def on_order(trade: TradeState, event: OrderUpdated, now_ms: int) -> Step:
    """Take one ORDER_TRADE_UPDATE of the trade's symbol."""
    purpose = purpose_of(trade, event.client_id)
    if purpose == "entry":
        if event.executed_quantity > trade.filled:
            trade = with_changes(trade, now_ms, filled=event.executed_quantity, entry_price=event.average_price)
        if event.fill is not None and event.fill.trade_id > trade.last_trade_id:
            fee = trade.commission_usd + event.fill.commission
            trade = with_changes(trade, now_ms, commission_usd=fee, last_trade_id=event.fill.trade_id)
        if event.status in FINAL and trade.phase == "entering":
            left = tuple(i for i in trade.pending if i != event.client_id)
            return _entry_done(with_changes(trade, now_ms, pending=left), now_ms, f"entry ended {event.status}")
        return Step(trade)
    step = on_exit_fill(trade, event.fill, now_ms) if event.fill is not None else Step(trade)
    ended_early = event.status in FINAL and event.status != "FILLED" and remaining(step.trade) > 0
    return _exit_ended(step.trade, purpose, event.status, now_ms) if ended_early and not step.commands else step


def _exit_ended(trade: TradeState, purpose: Purpose | None, status: str, now_ms: int) -> Step:
    """Go on when a triggered order ended partly unfilled: its price is behind us, the rest goes at market."""
    text = f"the triggered {purpose} ended {status}"
    match purpose:
        case "close" if trade.phase == "closing":
            return _close_failed(trade, text, now_ms)
        case "stop" | "trail" if trade.phase in {"arming", "open"}:
            gone = {"stop_id": ""} if purpose == "stop" else {"trail_id": ""}
            return close(with_changes(trade, now_ms, **gone), text, now_ms)
        case "target" | "take" if trade.phase in {"arming", "open"}:
            return _take(with_changes(trade, now_ms, attempts=trade.attempts + 1), now_ms)
        case _:
            return Step(trade)


def on_exit_fill(trade: TradeState, fill: Fill, now_ms: int) -> Step:
    """Count an execution that reduces the trade, once; manual ones and liquidations included, other trades' not."""
    if fill.client_id == trade.entry_id and trade.phase == "entering":
        return Step(trade, (look_up_order(trade, fill.client_id),))  # the ledger knew before the stream
    ours = purpose_of(trade, fill.client_id) is not None
    of_another = not ours and (fill.time_ms < trade.opened_ms or parse(fill.client_id) is not None)
    known = fill.trade_id <= trade.last_trade_id or fill.side == trade.side
    if known or of_another or trade.phase in ENDED or not trade.filled:
        return Step(trade)
    kind = _exit_kind(trade, fill.client_id)
    gain = float(fill.price / trade.entry_price - 1) * (1 if trade.side == "BUY" else -1) if trade.entry_price else 0.0
    trade = with_changes(
        trade,
        now_ms,
        mfe_pct=max(trade.mfe_pct, gain),
        mae_pct=min(trade.mae_pct, gain),
        exited=min(trade.filled, trade.exited + fill.quantity),
        exit_notional=trade.exit_notional + fill.quantity * fill.price,
        realized_usd=trade.realized_usd + fill.realized_pnl,
        commission_usd=trade.commission_usd + fill.commission,
        last_trade_id=fill.trade_id,
        exits=trade.exits if kind in trade.exits else (*trade.exits, kind),
    )
    return _closed(trade, now_ms) if remaining(trade) <= 0 else Step(trade)


def _exit_kind(trade: TradeState, client_id: str) -> ExitReason:
    if client_id.startswith(("autoclose-", "adl_autoclose")):
        return "liquidation"
    match purpose_of(trade, client_id):
        case "stop" | "target" | "trail" as kind:
            return kind
        case "take":
            return "target"
        case "close":
            return "manual" if trade.reason.startswith("manual") else "policy"
        case _:
            return "external"


def on_conditional(trade: TradeState, event: ConditionalUpdated, now_ms: int) -> Step:
    """Take one ALGO_UPDATE: a protective order that ended by itself is replaced, or the trade is closed."""
    if trade.phase in ENDED or event.status not in LOST:
        return Step(trade)
    if event.client_id == trade.stop_id:
        trade = with_changes(trade, now_ms, stop_id="")
        if trade.phase == "stopping":
            return _abandon(trade, now_ms, f"the stop ended {event.status} before its entry")
        if trade.phase == "entering" or not remaining(trade):
            return Step(trade)  # the entry's end decides
        code = -2021 if event.status == "REJECTED" else 0
        return _again(trade, "stop", code, f"the stop ended {event.status} {event.reason}".strip(), now_ms)
    if event.client_id in {trade.target_id, trade.trail_id} and remaining(trade) > 0:
        purpose: Purpose = "target" if event.client_id == trade.target_id else "trail"
        gone = {"target_id": ""} if purpose == "target" else {"trail_id": ""}
        trade = with_changes(trade, now_ms, **gone)
        return _again(trade, purpose, 0, f"the {purpose} ended {event.status}", now_ms)
    return Step(trade)


def _entry_done(trade: TradeState, now_ms: int, reason: str) -> Step:
    if not trade.filled:
        return _abandon(trade, now_ms, reason)
    opened = opened_report(trade, now_ms)
    released = ReservationReleased(decision_id=trade.decision_id, symbol=trade.symbol, outcome="opened")
    if trade.filled < trade.quantity:  # a partial fill is not split again
        trade = with_changes(trade, now_ms, target_quantity=trade.filled, trail_quantity=ZERO)
    trade = with_changes(trade, now_ms, phase="arming", opened_ms=now_ms)
    if not trade.stop_id:
        step = close(trade, "the stop was gone when the entry filled", now_ms)
        return Step(step.trade, step.commands, (opened, released))
    first = _place(trade, now_ms, "target", trade.target_quantity)
    if not trade.trail_quantity:
        return Step(first.trade, first.commands, (opened, released))
    second = _place(first.trade, now_ms, "trail", trade.trail_quantity)
    return Step(second.trade, (*first.commands, *second.commands), (opened, released))


def close(trade: TradeState, reason: str, now_ms: int) -> Step:
    """Close what is left at market, reduce-only; the stop stays until the position is flat."""
    if trade.phase in {"closing", "stopping", "entering", *ENDED} or not remaining(trade):
        return Step(trade)
    trade = with_changes(trade, now_ms, attempts=trade.attempts + 1, reason=reason)
    command = close_order(trade, remaining(trade), "close")
    closing = with_changes(
        trade, now_ms, phase="closing", close_id=command.client_id, pending=(*trade.pending, command.client_id)
    )
    return Step(closing, (command,))


def protect(trade: TradeState, now_ms: int, *, passed: bool) -> Step:
    """Place the stop that the exchange no longer shows; ``passed``: its price lies behind the mark already."""
    if trade.phase in ENDED or not remaining(trade):
        return Step(trade)
    gone = with_changes(trade, now_ms, stop_id="")
    return _again(gone, "stop", -2021 if passed else 0, "protection was missing", now_ms)


def rearm(trade: TradeState, now_ms: int, *, target: bool, trail: bool) -> Step:
    """Place the target or the trail that the exchange no longer shows."""
    if trade.phase not in {"arming", "open"} or trade.pending or not remaining(trade):
        return Step(trade)
    trade = with_changes(trade, now_ms, attempts=trade.attempts + 1)
    commands: tuple[Command, ...] = ()
    if target and trade.target_quantity:
        quantity = min(trade.target_quantity, remaining(trade))
        step = _place(with_changes(trade, now_ms, target_id=""), now_ms, "target", quantity)
        trade, commands = step.trade, step.commands
    if trail and trade.trail_quantity:
        passed = "target" in trade.exits
        quantity = min(trade.trail_quantity, remaining(trade))
        step = _place(with_changes(trade, now_ms, trail_id=""), now_ms, "trail", quantity, now=passed)
        trade, commands = step.trade, (*commands, *step.commands)
    return Step(trade, commands)


def on_position_gone(trade: TradeState, now_ms: int) -> Step:
    """End a trade whose position the exchange no longer has and whose fills cannot be told apart."""
    if trade.phase in ENDED:
        return Step(trade)
    if not trade.filled:
        return _abandon(trade, now_ms, "no position and no fill")
    kinds = trade.exits or ("external",)
    return _closed(with_changes(trade, now_ms, exits=kinds, exited=trade.filled), now_ms)


def _closed(trade: TradeState, now_ms: int) -> Step:
    live = (trade.stop_id, trade.target_id, trade.trail_id)
    conditionals: tuple[CancelOrder, ...] = tuple(cancel(trade, i) for i in live if i)
    ended = with_changes(trade, now_ms, phase="closed", pending=())
    return Step(ended, conditionals, (closed_report(trade, now_ms),))
