"""How long was a position without its stop? Counted from proofs; what is not known counts as unprotected (SPEC 9.3).

A proof is an acknowledged stop told by the executor, or a snapshot that shows the position covered. A later snapshot in
which a stop stands that is older than the last proof proves the whole time between them, so that silence, an exchange
out of reach or a restart cost nothing when the stop was there all along, and everything since the last proof when not.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from qt_actors.decisions.protection import covered_quantity, covers
from qt_actors.decisions.trade_state import ENDED, is_covered, remaining
from qt_actors.messages.positions import AccountSnapshot, Position, RestingOrder, TradeState


class Cover(msgspec.Struct, frozen=True):
    """What is known of one position's protection; exchange times in ms.

    Attributes:
        proven_ms: the newest time at which a stop is known to have covered it, or at which it began.
        stop_id: the stop the executor spoke of last.
        bare_ms: up to when its time without a stop has been counted; None while it is covered.
        doubted: one snapshot shows it bare, which may be the moment between two requests of a round.
    """

    proven_ms: int
    stop_id: str = ""
    bare_ms: int | None = None
    doubted: bool = False


Covers = Mapping[str, Cover]
UNFORESEEN = (("policy",), ("unprotected",), ("manual",), ("external",))
"""Ends of a trade in which no order that rested on the exchange had a part."""


def after_trade(covers_now: Covers, trade: TradeState) -> tuple[dict[str, Cover], int]:
    """Take a change of a trade; return the covers by symbol and the ms without a stop that ended with it."""
    made, symbol, now = dict(covers_now), trade.symbol, trade.changed_ms
    if not trade.filled:
        return made, 0  # it says nothing of what may be held there
    before = made.pop(symbol, None)
    since = _bare_since(before, trade) if before else None
    if trade.phase in ENDED or remaining(trade) <= 0:
        return made, max(0, now - since) if since is not None else 0
    if not is_covered(trade):
        proven = before.proven_ms if before else now
        lost = max(proven, min(trade.bare_from_ms or now, now))
        made[symbol] = Cover(proven, bare_ms=since if since is not None else lost)
        return made, 0
    if before is not None and before.stop_id == trade.stop_id:
        made[symbol] = before
        return made, 0
    made[symbol] = Cover(now, trade.stop_id)
    return made, max(0, now - since) if since is not None else 0


def _bare_since(cover: Cover, trade: TradeState) -> int | None:
    """Since when the position counts as bare; a doubt that no second look settles counts, unless its stop ended it."""
    doubted = cover.doubted and (trade.phase not in ENDED or trade.exits[-1:] in UNFORESEEN)
    return cover.proven_ms if cover.bare_ms is None and doubted else cover.bare_ms


def after_recovery(covers_now: Covers, looked_ms: int) -> dict[str, Cover]:
    """Take that a former life has looked up to then: what it left as covered was so until that moment."""
    return {
        symbol: cover
        if cover.doubted or cover.bare_ms is not None
        else msgspec.structs.replace(cover, proven_ms=max(cover.proven_ms, looked_ms))
        for symbol, cover in covers_now.items()
    }


def after_snapshot(covers_now: Covers, snapshot: AccountSnapshot) -> tuple[dict[str, Cover], int]:
    """Take a snapshot; return the covers by symbol and the ms without a stop that it shows beyond those counted."""
    asked_ms = snapshot.requested_ms
    held = {p.symbol for p in snapshot.positions}
    made = {s: c for s, c in covers_now.items() if s not in held and max(c.proven_ms, c.bare_ms or 0) >= asked_ms}
    spent = sum(
        asked_ms - c.bare_ms for s, c in covers_now.items() if s not in held and s not in made and c.bare_ms is not None
    )
    for position in snapshot.positions:
        before = covers_now.get(position.symbol) or Cover(min(position.updated_ms or asked_ms, asked_ms))
        if max(before.proven_ms, before.bare_ms or 0) > asked_ms:
            made[position.symbol] = before  # it has changed since the snapshot was asked for
            continue
        made[position.symbol], more = _judged(before, covered_since(position, snapshot.conditionals), asked_ms)
        spent += more
    return made, spent


def _judged(before: Cover, since_ms: int | None, asked_ms: int) -> tuple[Cover, int]:
    replace = msgspec.structs.replace
    if since_ms is not None:
        start = before.proven_ms if before.bare_ms is None else before.bare_ms
        return replace(before, proven_ms=asked_ms, bare_ms=None, doubted=False), max(0, min(since_ms, asked_ms) - start)
    if before.bare_ms is None and not before.doubted:
        return replace(before, doubted=True), 0
    start = before.proven_ms if before.bare_ms is None else before.bare_ms
    return replace(before, bare_ms=asked_ms, doubted=False), asked_ms - start


def covered_since(position: Position, conditionals: tuple[RestingOrder, ...]) -> int | None:
    """Return since when (ms) stops that stand now cover all of the position; None when they do not."""
    size, stops = abs(position.quantity), sorted((o for o in conditionals if covers(o, position)), key=_created)
    for count, stop in enumerate(stops, 1):
        if covered_quantity(position, tuple(stops[:count])) >= size:
            return stop.created_ms
    return None


def _created(order: RestingOrder) -> int:
    return order.created_ms


def bare_symbols(covers_now: Covers) -> tuple[str, ...]:
    """Return the symbols known to be without a full stop now."""
    return tuple(sorted(s for s, c in covers_now.items() if c.bare_ms is not None))
