"""Entries admitted whose positions are not in the account yet: when does each end? Until then its risk is counted.

A reservation ends when its trade ends, when a snapshot asked for after its fill shows the position, or, as the last
resort, when its signal has long expired, the executor holds no trade of it and the account shows none of its orders.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from qt_actors.decisions.ids import parse
from qt_actors.decisions.trade_state import ENDED
from qt_actors.messages.policy import EntryPlan, ReservationReleased
from qt_actors.messages.positions import AccountSnapshot, TradeState


class Underway(msgspec.Struct, frozen=True, kw_only=True):
    """One reserved entry.

    Attributes:
        held: the executor has a trade of it.
        filled_serial: newest snapshot heard of when its fill was told; None before.
        late: its signal expired, and the time that any answer may take has passed since.
    """

    plan: EntryPlan
    held: bool = False
    filled_serial: int | None = None
    late: bool = False


Reserved = Mapping[str, Underway]
"""By decision."""


def recovered(plans: Iterable[EntryPlan], trades: Iterable[TradeState]) -> Reserved:
    """Return what is under way after a restart, from the plans and the open trades in the journal."""
    book: Reserved = {plan.decision_id: Underway(plan=plan) for plan in plans}
    for trade in trades:
        book = after_trade_change(book, trade, -1)
    return book


def after_trade_change(book: Reserved, trade: TradeState, serial: int) -> Reserved:
    """Follow the executor's trade: ended it reserves nothing, filled it waits for the account to show it."""
    entry = book.get(trade.decision_id)
    if entry is None:
        return book
    if trade.phase in ENDED:
        return _without(book, trade.decision_id)
    entry = msgspec.structs.replace(entry, held=True)
    filled = trade.phase not in {"stopping", "entering"}
    return {**book, trade.decision_id: _filled(entry, serial) if filled else entry}


def after_release(book: Reserved, released: ReservationReleased, serial: int) -> Reserved:
    """Take the executor's word: it became a position, or came to nothing."""
    entry = book.get(released.decision_id)
    if entry is None:
        return book
    if released.outcome != "opened":
        return _without(book, released.decision_id)
    return {**book, released.decision_id: _filled(entry, serial)}


def after_snapshot(book: Reserved, snapshot: AccountSnapshot) -> tuple[Reserved, tuple[EntryPlan, ...]]:
    """Return what is still under way, and the plans given up as lost.

    The snapshot after the newest one known at the fill may have been asked for before it; the next one was not.
    """
    held = {p.symbol for p in snapshot.positions}
    working = {o.symbol for o in (*snapshot.orders, *snapshot.conditionals) if parse(o.client_id) is not None}
    kept: dict[str, Underway] = {}
    lost: list[EntryPlan] = []
    for decision_id, entry in book.items():
        symbol, since = entry.plan.symbol, entry.filled_serial
        shown = since is not None and snapshot.serial > since + 1 and symbol in held
        if not shown and entry.late and not entry.held and (symbol in held or symbol not in working):
            lost.append(entry.plan)
        elif not shown:
            kept[decision_id] = entry
    return kept, tuple(lost)


def after_waiting(book: Reserved, decision_id: str) -> Reserved:
    """Note that the signal expired long ago."""
    entry = book.get(decision_id)
    return book if entry is None else {**book, decision_id: msgspec.structs.replace(entry, late=True)}


def _filled(entry: Underway, serial: int) -> Underway:
    return entry if entry.filled_serial is not None else msgspec.structs.replace(entry, filled_serial=serial)


def _without(book: Reserved, decision_id: str) -> Reserved:
    return {d: e for d, e in book.items() if d != decision_id}
