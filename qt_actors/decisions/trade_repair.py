"""What is done when something of a trade fails or is missing: again by rule, each rule with an end (DESIGN 5).

A stop or close that fails is a strike. Up to ``ATTEMPTS_MAX`` strikes, none an hour older than the next, are answered
at once; after them the executor's timer tries again, a close and a stop in turn, ever more slowly, for as long as the
position is there. A target or trail that fails is a miss; after as many it is given up for an hour: the stop protects.
"""

from __future__ import annotations

from decimal import Decimal

from qt_actors.decisions.ids import parse
from qt_actors.decisions.protection import adopt, emergency_stop_price, inside_liquidation
from qt_actors.decisions.trade_orders import close_order, conditional_order, taken_back
from qt_actors.decisions.trade_reports import closed_report
from qt_actors.decisions.trade_state import (
    ALREADY_PASSED,
    ATTEMPTS_MAX,
    ENDED,
    FORGIVEN_MS,
    HELD,
    UNPROTECTED,
    Step,
    given_up,
    is_bare,
    is_covered,
    missed,
    remaining,
    retry_real_ms,
    struck,
    target_left,
    with_changes,
)
from qt_actors.messages.market import SymbolRules
from qt_actors.messages.orders import Purpose
from qt_actors.messages.policy import ReservationReleased
from qt_actors.messages.positions import ProtectPosition, SnapshotRequested, TradeState


def place(trade: TradeState, now_ms: int, purpose: Purpose, quantity: Decimal, *, now: bool = False) -> Step:
    """Send one conditional order; ``now``: a trail that starts at the current price."""
    command = conditional_order(trade, purpose, quantity, activate=not now)
    sent = (*trade.stops_sent, (command.client_id, quantity)) if purpose == "stop" else trade.stops_sent
    pending = (*trade.pending, command.client_id)
    return Step(with_changes(trade, now_ms, pending=pending, stops_sent=sent), (command,))


def abandon(trade: TradeState, now_ms: int, reason: str, *, sure: bool = True) -> Step:
    """End a trade that never held anything; its stop, if any, is taken back.

    ``sure``: nothing can have filled; else the stop stays until the account shows that there is no position.
    """
    ended = with_changes(trade, now_ms, phase="abandoned", reason=reason, pending=(), stops_sent=())
    released = ReservationReleased(decision_id=trade.decision_id, symbol=trade.symbol, outcome=reason)
    if not sure:
        return Step(ended, (), (released, SnapshotRequested(reason=f"whether {trade.symbol} is flat")))
    step = stop_taken_back(ended, now_ms)
    return Step(step.trade, step.commands, (released,))


def stop_taken_back(trade: TradeState, now_ms: int) -> Step:
    """Cancel the stop that is left of a trade; until the answer it is under way."""
    cancels = taken_back(trade, trade.stop_id)
    return Step(with_changes(trade, now_ms, pending=tuple(c.client_id for c in cancels)), cancels)


def end(trade: TradeState, now_ms: int, *, seen: bool = False) -> Step:
    """End a trade whose fills say that it is flat; its stop stays until the account says so, too (``seen``).

    What somebody added unseen is covered by it meanwhile; left a moment too long, it only reduces.
    """
    stop_id = trade.stop_id if parse(trade.stop_id) else ""  # another's is not ours to take back
    ended = with_changes(trade, now_ms, phase="closed", stop_id=stop_id, pending=(), stops_sent=())
    exits, closed = taken_back(trade, trade.target_id, trade.trail_id), closed_report(trade, now_ms)
    if seen:
        step = stop_taken_back(ended, now_ms)
        return Step(step.trade, (*step.commands, *exits), (closed,))
    return Step(ended, exits, (closed, SnapshotRequested(reason=f"whether {trade.symbol} is flat")))


def close(trade: TradeState, reason: str, now_ms: int) -> Step:
    """Close what is left at market, reduce-only, and keep wanting it until it is done; the stop stays meanwhile.

    An entry that was not sent is given up; one that is under way is closed as soon as it has filled.
    """
    if trade.phase in ENDED:
        return Step(trade)
    if trade.phase == "stopping":
        return abandon(trade, now_ms, reason)
    wanted = with_changes(trade, now_ms, close_wanted=trade.close_wanted or reason)
    if trade.phase not in HELD or not remaining(trade):
        return Step(wanted if trade.phase == "entering" else trade)
    wanted = with_changes(wanted, now_ms, attempts=trade.attempts + 1, reason=reason)
    command = close_order(wanted, remaining(wanted), "close")
    pending = (*wanted.pending, command.client_id)
    return Step(with_changes(wanted, now_ms, phase="closing", close_id=command.client_id, pending=pending), (command,))


def close_by_policy(trade: TradeState, reason: str, now_ms: int) -> Step:
    """Close as ``close`` does, but leave a close that has already been tried and failed to its timer."""
    failed = bool(trade.close_wanted) and trade.strikes > 0 and now_ms - trade.strike_ms < FORGIVEN_MS
    return Step(trade) if failed else close(trade, reason, now_ms)


def close_unprotected(trade: TradeState, text: str, now_ms: int) -> Step:
    """Close what cannot be protected; a close that was wanted before keeps its reason."""
    return close(trade, trade.close_wanted or f"{UNPROTECTED}: {text}", now_ms)


def stop_failed(trade: TradeState, text: str, now_ms: int, *, passed: bool = False) -> Step:
    """Go on without the stop: place it again, or close at market when its price is passed or it cannot be kept."""
    if trade.phase in ENDED or is_covered(trade) or not remaining(trade):
        return Step(trade)  # another stop stands, or nothing is held
    trade = struck(trade, now_ms)
    if trade.strikes > ATTEMPTS_MAX + 1:
        return Step(trade)  # the timer's turn
    if passed or trade.strikes > ATTEMPTS_MAX:
        return close_unprotected(trade, text, now_ms)
    return place(trade, now_ms, "stop", remaining(trade))


def close_failed(trade: TradeState, text: str, now_ms: int) -> Step:
    """Ask what is left, and let no position stand without a stop; the close is tried again by the timer."""
    trade = with_changes(struck(trade, now_ms), now_ms, phase="open", close_id="")
    asked = (SnapshotRequested(reason=text),)
    if not is_bare(trade) or trade.strikes > ATTEMPTS_MAX:
        return Step(trade, (), asked)
    step = place(trade, now_ms, "stop", remaining(trade))
    return Step(step.trade, step.commands, asked)


def retry(trade: TradeState, now_ms: int) -> Step:
    """Try again what the timer was set for; past the limit a close and a stop in turn."""
    if retry_real_ms(trade) is None:
        return Step(trade)
    beyond = trade.strikes > ATTEMPTS_MAX
    if not is_bare(trade) or (beyond and trade.strikes % 2 == 0):
        return close_unprotected(trade, "failed too often", now_ms)
    again = with_changes(trade, now_ms, attempts=trade.attempts + 1)
    return place(again, now_ms, "stop", remaining(trade))


def exit_failed(trade: TradeState, purpose: Purpose | None, code: int, now_ms: int) -> Step:
    """Go on without a target or trail: again at once the first time, later when the position monitor asks for it."""
    trade = missed(trade, now_ms)
    resting = with_changes(trade, now_ms, phase="open") if trade.phase == "arming" else trade
    if given_up(trade, now_ms):
        return Step(resting)
    if code in ALREADY_PASSED and purpose != "take":
        if purpose == "trail":
            return place(trade, now_ms, "trail", min(trade.trail_quantity, remaining(trade)), now=True)
        return take(trade, now_ms)
    if trade.misses > 1 or purpose == "take":
        return Step(resting)
    quantity = target_left(trade) if purpose == "target" else min(trade.trail_quantity, remaining(trade))
    return place(trade, now_ms, purpose or "target", quantity, now=purpose == "trail" and trade.target_filled > 0)


def take(trade: TradeState, now_ms: int) -> Step:
    """Take the target's part at market: its price is already reached."""
    if target_left(trade) <= 0:
        return Step(trade)
    command = close_order(trade, target_left(trade), "take")
    taken = with_changes(trade, now_ms, target_id=command.client_id, pending=(*trade.pending, command.client_id))
    return Step(armed(taken, now_ms), (command,))


def armed(trade: TradeState, now_ms: int) -> TradeState:
    """Return the trade as open once target and trail both stand."""
    done = trade.target_id and (trade.trail_id or not trade.trail_quantity)
    return with_changes(trade, now_ms, phase="open") if trade.phase == "arming" and done else trade


def protect(
    trade: TradeState, now_ms: int, *, passed: bool, size: Decimal | None = None, some_stands: bool = False
) -> Step:
    """Place the stop that the exchange does not show in full size.

    Args:
        trade: what our book says; when it moved.
        now_ms: now.
        passed: the stop's price lies behind the mark already.
        size: of the position as the exchange shows it; a stop may be larger than our book, it only reduces.
        some_stands: the exchange shows a stop for a part; it is taken back when the whole one stands.
    """
    if trade.phase in ENDED or not remaining(trade):
        return Step(trade)
    if some_stands and trade.stop_id and not passed:
        again = with_changes(trade, now_ms, attempts=trade.attempts + 1)
        return place(again, now_ms, "stop", max(size or remaining(trade), remaining(trade)))
    if trade.strikes > ATTEMPTS_MAX and now_ms - trade.strike_ms < FORGIVEN_MS:  # the timer's turn, not a new failure
        return Step(with_changes(trade, now_ms, stop_id="") if trade.stop_id else trade)
    return stop_failed(with_changes(trade, now_ms, stop_id=""), "protection was missing", now_ms, passed=passed)


def restored(
    trade: TradeState | None, found: ProtectPosition, rules: SymbolRules | None, adopted_stop_pct: Decimal, now_ms: int
) -> Step:
    """Restore a missing stop; take a position that is not in our book into it, with a stop of ours if it has none."""
    if trade is None or trade.phase in ENDED:
        trade = adopt(found, rules, adopted_stop_pct, now_ms)
    elif not trade.stop_price:
        trade = with_changes(trade, now_ms, stop_price=emergency_stop_price(found, rules, adopted_stop_pct))
    else:
        trade = with_changes(trade, now_ms, stop_price=inside_liquidation(trade.stop_price, found, rules))
    if not found.missing_quantity:
        return Step(trade)
    beyond = found.mark_price - trade.stop_price
    size, passed = abs(found.quantity), beyond <= 0 if found.quantity > 0 else beyond >= 0
    return protect(trade, now_ms, size=size, passed=passed, some_stands=found.missing_quantity < size)


def rearm(trade: TradeState, now_ms: int, *, target: bool, trail: bool) -> Step:
    """Place the target or the trail that the exchange no longer shows."""
    if trade.phase not in HELD or trade.pending or not remaining(trade) or given_up(trade, now_ms):
        return Step(trade)
    step = Step(with_changes(trade, now_ms, attempts=trade.attempts + 1))
    if target and target_left(trade) > 0:
        step = place(with_changes(step.trade, now_ms, target_id=""), now_ms, "target", target_left(trade))
    if trail and trade.trail_quantity:
        quantity = min(trade.trail_quantity, remaining(trade))
        begun = trade.target_filled > 0
        more = place(with_changes(step.trade, now_ms, trail_id=""), now_ms, "trail", quantity, now=begun)
        step = Step(more.trade, (*step.commands, *more.commands))
    return step


def grown(trade: TradeState, quantity: Decimal, price: Decimal, now_ms: int, since_ms: int = 0) -> Step:
    """Take in what somebody else added to the position, and protect it with the rest: the new stop stands first.

    A close under way was sent for less; ``since_ms``: exchange time of the execution, 0 when nobody told it.
    """
    filled = trade.filled + quantity
    average = (trade.filled * trade.entry_price + quantity * price) / filled
    more = with_changes(trade, now_ms, filled=filled, quantity=max(trade.quantity, filled), entry_price=average)
    if is_covered(more):
        return Step(more)
    more = with_changes(more, now_ms, attempts=trade.attempts + 1, bare_from_ms=since_ms)
    if trade.phase not in {*HELD, "closing"} or not trade.stop_price:
        return Step(more)
    return place(more, now_ms, "stop", remaining(more))


def on_resized(trade: TradeState, size: Decimal, entry_price: Decimal, now_ms: int) -> Step:
    """Take the exchange's word on the size when no fill explains it; the trade's result is then not known."""
    if trade.phase == "closing" and not trade.pending:  # the close is over, and something is still there
        step = close_failed(trade, "the close left something", now_ms)
        if size == remaining(trade):
            return step
        more = on_resized(step.trade, size, entry_price, now_ms)
        return Step(more.trade, (*step.commands, *more.commands), step.events)
    if trade.phase not in HELD or not trade.filled or size == remaining(trade):
        return Step(trade)
    trade = with_changes(trade, now_ms, complete=False)
    if size > remaining(trade):
        step = grown(trade, size - remaining(trade), entry_price, now_ms)
        return Step(with_changes(step.trade, now_ms, entry_price=entry_price), step.commands)
    kinds = trade.exits if "external" in trade.exits else (*trade.exits, "external")
    return Step(with_changes(trade, now_ms, exited=trade.filled - size, exits=kinds))


def on_position_gone(trade: TradeState, now_ms: int) -> Step:
    """End a trade whose position the exchange no longer has; without its fills nobody knows its result.

    The account has said that it is flat: its stop is taken back, again with every such word, until it is gone.
    """
    if trade.phase in ENDED:
        return stop_taken_back(trade, now_ms) if trade.stop_id else Step(trade)
    if not trade.filled:
        return abandon(trade, now_ms, "no position and no fill")
    kinds = trade.exits if "external" in trade.exits else (*trade.exits, "external")
    return end(with_changes(trade, now_ms, exits=kinds, exited=trade.filled, complete=False), now_ms, seen=True)
