"""The life of one trade, as a fold: state and event in, state and commands out (DESIGN 5).

Order of things: leverage → reduce-only stop, acknowledged → market entry → target and trailing stop → exits → flat.
A stop that ends before its entry has filled makes the entry's fill close at once. Replies and stream events may come in
any order and more than once; client ids say which order of which trade they speak of. What fails is ``trade_repair``'s.
"""

from __future__ import annotations

from decimal import Decimal

from qt_actors.decisions.ids import attempt_of, parse
from qt_actors.decisions.trade_orders import cancel, entry_order, leverage_order, look_up_order, taken_back
from qt_actors.decisions.trade_repair import (
    abandon,
    armed,
    close,
    close_failed,
    close_unprotected,
    end,
    exit_failed,
    grown,
    on_resized,
    place,
    stop_failed,
    stop_taken_back,
)
from qt_actors.decisions.trade_reports import opened_report
from qt_actors.decisions.trade_state import (
    ALREADY_PASSED,
    ENDED,
    ENDED_BY_ITSELF,
    EXECUTING,
    FINAL,
    HELD,
    LOST,
    RESTING,
    WOULD_TRIGGER,
    ZERO,
    Step,
    exit_kind,
    is_counted,
    is_earlier_close,
    purpose_of,
    quantity_sent,
    remaining,
    with_changes,
    with_counted,
    without,
)
from qt_actors.messages.orders import CancelOrder, ConditionalUpdated, Fill, OrderFound, OrderUpdated, Purpose
from qt_actors.messages.policy import EntryPlan, ReservationReleased
from qt_actors.messages.positions import SnapshotRequested, TradeState


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


def on_leverage_set(trade: TradeState, now_ms: int) -> Step:
    """Leverage stands: place the stop."""
    if trade.phase != "stopping" or trade.pending or trade.stop_id:
        return Step(trade)
    return place(trade, now_ms, "stop", trade.quantity)


def on_leverage_refused(trade: TradeState, reason: str, now_ms: int) -> Step:
    """No leverage, no trade: nothing has been placed."""
    return abandon(trade, now_ms, reason) if trade.phase == "stopping" else Step(trade)


def on_accepted(
    trade: TradeState, client_id: str, status: str, executed: Decimal, now_ms: int, forbidden: str = ""
) -> Step:
    """Take the exchange's acknowledgement (or a look-up that found the order); ``forbidden``: why no entry may go."""
    purpose = purpose_of(trade, client_id)
    if trade.phase in ENDED:
        return _late(trade, client_id, status, now_ms)
    if purpose is None:
        return Step(trade)
    expected = client_id in trade.pending
    if not expected and purpose in {"stop", "target", "trail"} and not _stands(trade, client_id):
        return Step(trade)  # its end was heard of before its beginning
    quantity = quantity_sent(trade, client_id)
    trade = without(trade, client_id, now_ms)
    match purpose:
        case "stop":
            return _stop_accepted(trade, client_id, status, quantity, now_ms, forbidden)
        case "target" | "trail" if status == RESTING:
            return _exit_rests(trade, client_id, purpose, now_ms)
        case "target" | "trail" if expected and status in LOST and remaining(trade) > 0:
            return exit_failed(trade, purpose, 0, now_ms)
        case "target" | "take":
            return Step(armed(with_changes(trade, now_ms, target_id=client_id), now_ms))
        case "trail":
            return Step(armed(with_changes(trade, now_ms, trail_id=client_id), now_ms))
        case "close" if is_earlier_close(trade, client_id):
            return Step(trade)
        case "close" if status in FINAL and status != "FILLED" and trade.phase == "closing" and remaining(trade) > 0:
            return close_failed(trade, f"close ended {status}", now_ms)
        case "entry" if executed > trade.filled or status in FINAL:
            # Placement replies carry no price since 2026-07-14: ask, unless the stream was faster.
            return Step(trade, (look_up_order(trade, client_id),) if trade.phase == "entering" else ())
        case _:
            return Step(trade)


def _late(trade: TradeState, client_id: str, status: str, now_ms: int) -> Step:
    """Take an answer after the trade's end: what rests is taken back, the stop of a closed one as ``end`` says."""
    if status != RESTING:
        return on_gone(trade, client_id, now_ms)
    purpose = purpose_of(trade, client_id)
    if client_id == trade.stop_id or purpose not in {"stop", "target", "trail"}:
        return Step(without(trade, client_id, now_ms) if client_id in trade.pending else trade)
    if purpose != "stop" or trade.stop_id:
        return Step(trade, (cancel(trade, client_id),))
    left = with_changes(trade, now_ms, stop_id=client_id)
    if trade.phase == "closed":
        return Step(left, (), (SnapshotRequested(reason=f"whether {trade.symbol} is flat"),))
    return stop_taken_back(left, now_ms)


def on_gone(trade: TradeState, client_id: str, now_ms: int) -> Step:
    """Note that the stop which outlasted its trade is cancelled, triggered or not known any more."""
    ours = trade.phase in ENDED and client_id == trade.stop_id
    return Step(with_changes(trade, now_ms, stop_id="", pending=()) if ours else trade)


def _stands(trade: TradeState, client_id: str) -> bool:
    return client_id in {trade.stop_id, trade.target_id, trade.trail_id}


def _exit_rests(trade: TradeState, client_id: str, purpose: Purpose, now_ms: int) -> Step:
    """A target or trail stands; another one of its kind that stood before is taken back."""
    field = "target_id" if purpose == "target" else "trail_id"
    old = getattr(trade, field)
    commands = taken_back(trade, old) if old != client_id else ()
    return Step(armed(with_changes(trade, now_ms, **{field: client_id}), now_ms), commands)


def _stop_accepted(
    trade: TradeState, client_id: str, status: str, quantity: Decimal, now_ms: int, forbidden: str
) -> Step:
    if trade.phase == "stopping" and status != RESTING:
        return abandon(trade, now_ms, f"stop refused: it ended {status} before its entry")
    if status in EXECUTING:  # it has triggered: the fills will tell
        return Step(with_changes(trade, now_ms, stop_id=client_id, stop_quantity=quantity))
    if status != RESTING:
        gone = with_changes(trade, now_ms, stop_id="") if trade.stop_id == client_id else trade
        return stop_failed(gone, f"the stop ended {status}", now_ms)
    old = trade.stop_id if trade.stop_id != client_id else ""
    if old and attempt_of(old) > attempt_of(client_id):  # acknowledged out of order: the later one knows the size
        return Step(trade, taken_back(trade, client_id))
    trade = with_changes(trade, now_ms, stop_id=client_id, stop_quantity=quantity)
    if trade.phase != "stopping":
        return Step(trade, taken_back(trade, old))
    if now_ms > trade.expires_ms or forbidden:
        return abandon(trade, now_ms, forbidden or "the signal expired before its entry could be sent")
    command = entry_order(trade)
    entering = with_changes(trade, now_ms, phase="entering", entry_id=command.client_id, pending=(command.client_id,))
    return Step(entering, (command,))


def on_unknown(trade: TradeState, client_id: str, now_ms: int) -> Step:
    """Nobody knows whether a stop arrived: while that is asked, a second one protects. Two reduce, neither opens."""
    waits = client_id not in trade.pending or purpose_of(trade, client_id) != "stop"
    if waits or trade.phase not in {*HELD, "closing"}:
        return Step(trade)
    return stop_failed(trade, "whether the stop arrived is not known", now_ms)


def on_refused(trade: TradeState, client_id: str, code: int, reason: str, now_ms: int) -> Step:
    """Take a no: ours or an order that never arrived (code 0), the exchange's, or ``ENDED_BY_ITSELF``."""
    purpose = purpose_of(trade, client_id)
    entry_never_was = purpose == "entry" and trade.phase == "entering"
    if client_id not in trade.pending and not entry_never_was:
        return Step(trade)  # answer to a cancel, or a repeat
    trade = without(trade, client_id, now_ms)
    text = f"{purpose} refused: {reason}" + (f" ({code})" if code < 0 else "")
    if trade.phase in ENDED:
        return Step(trade)
    if purpose == "stop" and trade.phase == "stopping":
        return abandon(trade, now_ms, text)
    if purpose == "entry":
        return _entry_done(trade, now_ms, text, sure=True)
    if not code:  # we could not send it: the timer and the position monitor see to what is missing
        reopened = {"phase": "open", "close_id": "", "attempts": trade.attempts + 1} if purpose == "close" else {}
        asked = (SnapshotRequested(reason=text),) if remaining(trade) else ()
        return Step(with_changes(trade, now_ms, **reopened), (), asked)
    if purpose == "close":
        return close_failed(trade, text, now_ms)
    if not remaining(trade):
        return Step(trade)
    if purpose == "stop":
        return stop_failed(trade, text, now_ms, passed=code in ALREADY_PASSED)
    return exit_failed(trade, purpose, code, now_ms)


def on_missing(trade: TradeState, client_id: str, now_ms: int) -> Step:
    """Believe that an order never arrived; of an entry only the account is believed, and its stop stays until then."""
    if trade.phase != "entering" or client_id != trade.entry_id:
        return on_refused(trade, client_id, 0, "the exchange never got it", now_ms)
    doubted = with_changes(without(trade, client_id, now_ms), now_ms, entry_doubted=True)
    return Step(doubted, (), (SnapshotRequested(reason=f"the exchange does not know the entry {client_id}"),))


def on_position_seen(trade: TradeState, size: Decimal, price: Decimal, now_ms: int) -> Step:
    """Take the exchange's word on a position of another size than ours, or of an entry it said not to know."""
    if trade.phase == "entering":
        return on_entry_found(trade, "FILLED", size, price, now_ms) if trade.entry_doubted else Step(trade)
    return on_resized(trade, size, price, now_ms)


def on_found(trade: TradeState, found: OrderFound, now_ms: int, forbidden: str) -> Step:
    """Take a look-up that found the order; an entry's answer carries its price.

    Who has to ask may have missed executions, too: no stop of what is held is taken back before the account is seen.
    """
    if found.client_id == trade.entry_id:
        return on_entry_found(trade, found.status, found.executed_quantity, found.average_price, now_ms)
    step = on_accepted(trade, found.client_id, found.status, found.executed_quantity, now_ms, forbidden)
    if not remaining(trade) or trade.phase in ENDED:
        return step
    kept = tuple(c for c in step.commands if not isinstance(c, CancelOrder) or purpose_of(trade, c.client_id) != "stop")
    return Step(step.trade, kept, step.events)


def on_entry_found(trade: TradeState, status: str, executed: Decimal, price: Decimal, now_ms: int) -> Step:
    """Take what a look-up says of the entry; cumulative, so repeats change nothing."""
    if trade.phase != "entering":
        return Step(trade)
    trade = without(trade, trade.entry_id, now_ms)
    if executed > trade.filled:
        trade = with_changes(trade, now_ms, filled=executed, entry_price=price)
    return _entry_done(trade, now_ms, f"entry ended {status}") if status in FINAL else Step(trade)


def on_order(trade: TradeState, event: OrderUpdated, now_ms: int) -> Step:
    """Take one ORDER_TRADE_UPDATE of the trade's symbol."""
    purpose = purpose_of(trade, event.client_id)
    if purpose == "entry":
        if trade.phase == "entering" and event.executed_quantity > trade.filled:
            trade = with_changes(trade, now_ms, filled=event.executed_quantity, entry_price=event.average_price)
        if event.fill is not None:
            trade = _charged(trade, event.fill, now_ms)
        if event.status in FINAL and trade.phase == "entering":
            return _entry_done(without(trade, event.client_id, now_ms), now_ms, f"entry ended {event.status}")
        return Step(trade)
    step = on_fill(trade, event.fill, now_ms) if event.fill is not None else Step(trade)
    whole = event.status == "FILLED" and purpose != "close"  # what was added meanwhile outlasts a close that filled
    whole = whole or is_earlier_close(trade, event.client_id)
    ended_early = event.status in FINAL and not whole and remaining(step.trade) > 0
    return _exit_ended(step.trade, purpose, event.status, now_ms) if ended_early and not step.commands else step


def _exit_ended(trade: TradeState, purpose: Purpose | None, status: str, now_ms: int) -> Step:
    """Go on when a triggered order ended partly unfilled: its price is behind us, the rest goes at market."""
    text = f"the triggered {purpose} ended {status}"
    match purpose:
        case "close" if trade.phase == "closing":
            return close_failed(trade, text, now_ms)
        case "stop" if trade.phase in HELD:
            return stop_failed(with_changes(trade, now_ms, stop_id=""), text, now_ms, passed=True)
        case "trail" if trade.phase in HELD:
            return close(with_changes(trade, now_ms, trail_id=""), text, now_ms)
        case "target" if trade.phase in HELD:
            return exit_failed(with_changes(trade, now_ms, target_id=""), "target", WOULD_TRIGGER, now_ms)
        case "take" if trade.phase in HELD:
            return exit_failed(with_changes(trade, now_ms, target_id=""), "take", 0, now_ms)
        case _:
            return Step(trade)


def _charged(trade: TradeState, fill: Fill, now_ms: int) -> TradeState:
    """Count what an execution of the entry cost, once."""
    if is_counted(trade, fill.trade_id) or trade.phase in ENDED:
        return trade
    return with_changes(
        with_counted(trade, fill.trade_id, now_ms), now_ms, commission_usd=trade.commission_usd + fill.commission
    )


def on_fill(trade: TradeState, fill: Fill, now_ms: int) -> Step:
    """Count an execution, once: our exits, manual ones, liquidations, what others add; not what other trades do."""
    if fill.client_id == trade.entry_id and fill.client_id:
        known = is_counted(trade, fill.trade_id)
        asked = trade.phase == "entering" and not known  # the ledger knew before the stream
        return Step(_charged(trade, fill, now_ms), (look_up_order(trade, fill.client_id),) if asked else ())
    ours = purpose_of(trade, fill.client_id) is not None
    of_another = not ours and (fill.time_ms < trade.opened_ms or parse(fill.client_id) is not None)
    if of_another or is_counted(trade, fill.trade_id) or trade.phase in ENDED or not trade.filled:
        return Step(trade)
    if fill.side == trade.side:
        more = with_changes(trade, now_ms, commission_usd=trade.commission_usd + fill.commission)
        return grown(with_counted(more, fill.trade_id, now_ms), fill.quantity, fill.price, now_ms, fill.time_ms)
    return _reduced(with_counted(trade, fill.trade_id, now_ms), fill, now_ms)


def _reduced(trade: TradeState, fill: Fill, now_ms: int) -> Step:
    kind = exit_kind(trade, fill.client_id)
    gain = float(fill.price / trade.entry_price - 1) * (1 if trade.side == "BUY" else -1) if trade.entry_price else 0.0
    trade = with_changes(
        trade,
        now_ms,
        mfe_pct=max(trade.mfe_pct, gain),
        mae_pct=min(trade.mae_pct, gain),
        exited=min(trade.filled, trade.exited + fill.quantity),
        exit_notional=trade.exit_notional + min(fill.quantity, remaining(trade)) * fill.price,
        realized_usd=trade.realized_usd + fill.realized_pnl,
        commission_usd=trade.commission_usd + fill.commission,
        target_filled=trade.target_filled + (fill.quantity if kind == "target" else ZERO),
        exits=trade.exits if kind in trade.exits else (*trade.exits, kind),
    )
    if remaining(trade) > 0:
        return Step(trade)
    return end(with_changes(trade, now_ms, stop_id="") if fill.client_id == trade.stop_id else trade, now_ms)


def on_conditional(trade: TradeState, event: ConditionalUpdated, now_ms: int) -> Step:
    """Take one ALGO_UPDATE: a protective order that ended by itself is replaced, or the trade is closed."""
    if trade.phase in ENDED:
        return Step(trade) if event.status == RESTING else on_gone(trade, event.client_id, now_ms)
    if event.status not in LOST:
        return Step(trade)
    if event.client_id in trade.pending:  # the reply that it was taken is still on its way
        code = WOULD_TRIGGER if event.status == "REJECTED" else ENDED_BY_ITSELF
        return on_refused(trade, event.client_id, code, f"it ended {event.status}", now_ms)
    if event.client_id == trade.stop_id:
        trade = with_changes(trade, now_ms, stop_id="", bare_from_ms=event.time_ms)
        if trade.phase == "stopping":
            return abandon(trade, now_ms, f"the stop ended {event.status} before its entry")
        if trade.phase == "entering" or not remaining(trade):
            return Step(trade)  # the entry's end decides
        text = f"the stop ended {event.status} {event.reason}".strip()
        return stop_failed(trade, text, now_ms, passed=event.status == "REJECTED")
    if event.client_id in {trade.target_id, trade.trail_id} and remaining(trade) > 0:
        purpose: Purpose = "target" if event.client_id == trade.target_id else "trail"
        gone = {"target_id": ""} if purpose == "target" else {"trail_id": ""}
        return exit_failed(with_changes(trade, now_ms, **gone), purpose, 0, now_ms)
    return Step(trade)


def _entry_done(trade: TradeState, now_ms: int, reason: str, *, sure: bool = False) -> Step:
    if not trade.filled:
        return abandon(trade, now_ms, reason, sure=sure)
    opened = opened_report(trade, now_ms)
    events = (opened, ReservationReleased(decision_id=trade.decision_id, symbol=trade.symbol, outcome="opened"))
    if trade.filled < trade.quantity:  # a partial fill is not split again
        trade = with_changes(trade, now_ms, target_quantity=trade.filled, trail_quantity=ZERO)
    trade = with_changes(trade, now_ms, phase="arming", opened_ms=now_ms)
    if not trade.stop_id or trade.close_wanted:
        step = close_unprotected(trade, "it was gone when the entry filled", now_ms)
        return Step(step.trade, step.commands, events)
    first = place(trade, now_ms, "target", trade.target_quantity)
    if not trade.trail_quantity:
        return Step(first.trade, first.commands, events)
    second = place(first.trade, now_ms, "trail", trade.trail_quantity)
    return Step(second.trade, (*first.commands, *second.commands), events)
