"""What can truthfully be said of the positions that stay when the trader leaves, and of orders that are not ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from qt_actors.decisions.ids import parse
from qt_actors.decisions.protection import covered_quantity
from qt_actors.decisions.texts import count, price
from qt_actors.messages.positions import AccountSnapshot, RestingOrder

NAMED_MAX: Final = 5
"""Orders of others that are named; the rest is counted."""


def cover_text(snapshot: AccountSnapshot | None) -> tuple[str, bool]:
    """Return one line on what stays open and what covers it, and whether all of it is well; None = not known."""
    if snapshot is None:
        return (
            "which positions stay open, and whether stops on the exchange cover them, is NOT known",
            False,
        )
    held, bare = snapshot.positions, []
    for position in held:
        size, have = abs(position.quantity), covered_quantity(position, snapshot.conditionals)
        if have < size:
            bare.append(f"{position.symbol} ({size - have:f} of {size:f})")
    if not held:
        return "no position is open", True
    stay = "1 position stays open" if len(held) == 1 else f"{len(held)} positions stay open"
    if bare:
        return f"{stay}, {len(bare)} NOT covered by a stop on the exchange: {', '.join(bare)}", False
    return f"{stay}, all covered by stops on the exchange: {', '.join(p.symbol for p in held)}", True


def opening_orders(snapshot: AccountSnapshot | None) -> tuple[str, ...]:
    """Return every resting order of others that can open a position: ``XRPUSDT BUY 100 @ 1.9``."""
    if snapshot is None:
        return ()
    resting = (*snapshot.orders, *snapshot.conditionals)
    return tuple(
        _order_text(o) for o in resting if parse(o.client_id) is None and not (o.reduce_only or o.close_position)
    )


def opening_text(orders: Sequence[str]) -> str:
    """Return what ``opening_orders`` found as one line; empty when it found nothing."""
    if not orders:
        return ""
    more = (f"{len(orders) - NAMED_MAX} more",) if len(orders) > NAMED_MAX else ()
    rest = "rests" if len(orders) == 1 else "rest"
    return f"{count(len(orders), 'opening order')} of others {rest}: {', '.join((*orders[:NAMED_MAX], *more))}"


def _order_text(order: RestingOrder) -> str:
    at = order.trigger_price or order.activate_price or order.price
    what = f"{order.symbol} {order.side} {price(order.quantity - order.executed_quantity)}"
    return what if at is None else f"{what} @ {price(at)}"
