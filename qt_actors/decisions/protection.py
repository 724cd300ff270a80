"""Is every position covered? What must be restored, adopted, cancelled? Pure answers on one account snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal

import msgspec

from qt_actors.decisions.admission import Holding
from qt_actors.decisions.ids import client_id, parse, purpose_in
from qt_actors.decisions.leverage import LIQUIDATION_SHARE
from qt_actors.decisions.trade_state import ENDED, HELD, is_ours, is_over, purpose_of, remaining, target_left
from qt_actors.messages.base import Side, opposite
from qt_actors.messages.market import SymbolRules
from qt_actors.messages.positions import (
    AccountSnapshot,
    CancelOrphan,
    Position,
    PositionResized,
    PositionVanished,
    ProtectPosition,
    RearmTrade,
    RestingOrder,
    TradeState,
)

OWNING = HELD | {"closing"}
SIGNIFICANT_DIGITS = 4
"""Of a price whose tick is not known: few enough to lie on any symbol's tick."""


class Findings(msgspec.Struct, frozen=True):
    """What one snapshot shows against what we believe."""

    unprotected: tuple[ProtectPosition, ...] = ()
    """All of them, those that may not be acted upon yet included."""
    unknown: tuple[ProtectPosition, ...] = ()
    """Covered positions that are not in our book."""
    waiting: frozenset[str] = frozenset()
    """Symbols whose trade changed too lately, or has an entry, a stop or a close under way: not to be protected yet."""
    unsettled: frozenset[str] = frozenset()
    """Symbols whose trade this snapshot cannot judge: what an earlier one showed is neither confirmed nor gone."""
    unarmed: tuple[RearmTrade, ...] = ()
    resized: tuple[PositionResized, ...] = ()
    orphans: tuple[CancelOrphan, ...] = ()
    vanished: tuple[PositionVanished, ...] = ()
    """Trades open (or of doubted entry) in our book and flat, or turned round, on the exchange."""
    left: tuple[PositionVanished, ...] = ()
    """Trades ended in our book whose stop is not known to be gone; asked for after they had opened, the snapshot shows
    them flat, so it was taken after their end."""


def held_side(quantity: Decimal) -> Side:
    """Return the side that opened a position of this signed quantity."""
    return "BUY" if quantity > 0 else "SELL"


def covers(order: RestingOrder, position: Position) -> bool:
    """Tell whether the order is a full-price stop of the right side, reducing, and inside liquidation.

    A target or an inactive trailing stop protects nothing; a stop beyond the liquidation price neither.
    """
    if not order.conditional or order.kind != "STOP_MARKET" or order.symbol != position.symbol:
        return False
    if not (order.reduce_only or order.close_position) or order.side != opposite(held_side(position.quantity)):
        return False
    trigger, liquidation = order.trigger_price, position.liquidation_price
    if trigger is None:
        return False
    if liquidation <= 0:
        return True
    return trigger > liquidation if position.quantity > 0 else trigger < liquidation


def covered_quantity(position: Position, conditionals: tuple[RestingOrder, ...]) -> Decimal:
    """Return how much of the position its stops would close; never more than the position."""
    size = abs(position.quantity)
    stops = [o for o in conditionals if covers(o, position)]
    if any(o.close_position for o in stops):
        return size
    return min(size, sum((o.quantity for o in stops), Decimal(0)))


def holdings_of(snapshot: AccountSnapshot) -> tuple[Holding, ...]:
    """Return the positions as admission counts them; a stop counts when it covers all of its position."""
    made = []
    for position in snapshot.positions:
        whole = covered_quantity(position, snapshot.conditionals) >= abs(position.quantity)
        stops = [o.trigger_price for o in snapshot.conditionals if covers(o, position) and o.trigger_price is not None]
        farthest = (min(stops) if position.quantity > 0 else max(stops)) if whole and stops else None
        made.append(
            Holding(
                symbol=position.symbol,
                side=held_side(position.quantity),
                quantity=abs(position.quantity),
                mark_price=position.mark_price,
                stop_price=farthest,
            )
        )
    return tuple(made)


def examine(
    snapshot: AccountSnapshot,
    trades: Mapping[str, TradeState],
    patience_ms: int = 15_000,
    stop_patience_ms: int = 2_000,
) -> Findings:
    """Compare one snapshot with the trades in our book (by symbol).

    A trade that changed after the snapshot was asked for is not judged by it, nor one that waits for an answer, unless
    it has waited for longer than ``patience_ms`` (market time). A stop that is missing waits for another stop or a
    close under way for ``stop_patience_ms`` only, and for no target: two that reduce do no harm, none does.
    """
    asked_ms = snapshot.requested_ms
    settled = {
        s: t
        for s, t in trades.items()
        if t.changed_ms < asked_ms and (not t.pending or t.changed_ms < asked_ms - patience_ms)
    }
    held = {p.symbol: p for p in snapshot.positions}
    mine = {s: t for s, t in settled.items() if (t.phase in OWNING and t.filled > t.exited) or _is_doubted(t)}
    gone = {s: t for s, t in trades.items() if t.phase in ENDED and not is_over(t)}
    same = {s: t for s, t in mine.items() if s in held and held_side(held[s].quantity) == t.side}
    unprotected: list[ProtectPosition] = []
    unknown: list[ProtectPosition] = []
    for position in snapshot.positions:
        missing = abs(position.quantity) - covered_quantity(position, snapshot.conditionals)
        trade = trades.get(position.symbol)
        ours = trade is not None and trade.phase not in ENDED
        if missing > 0 or not ours:
            found = _found(position, missing, snapshot.conditionals, adopted=not ours)
            (unprotected if missing > 0 else unknown).append(found)
    sizes = {s: abs(held[s].quantity) for s in same}
    return Findings(
        unprotected=tuple(unprotected),
        unknown=tuple(unknown),
        waiting=frozenset(s for s, t in trades.items() if not _may_protect(t, asked_ms, patience_ms, stop_patience_ms)),
        unsettled=frozenset(trades) - frozenset(settled),
        unarmed=tuple(u for s, t in same.items() if sizes[s] == remaining(t) and (u := _unarmed(snapshot, t))),
        resized=tuple(
            PositionResized(symbol=s, quantity=sizes[s], entry_price=held[s].entry_price)
            for s, t in same.items()
            if sizes[s] != remaining(t) or _is_doubted(t) or (t.phase == "closing" and not t.pending)
        ),
        orphans=_orphans(snapshot, trades, frozenset(held)),
        vanished=tuple(PositionVanished(symbol=s) for s in mine if s not in same),
        left=tuple(PositionVanished(symbol=s) for s, t in gone.items() if t.opened_ms < asked_ms and s not in held),
    )


def newly_bare(snapshot: AccountSnapshot, found: Findings, looked_ms: int | None) -> tuple[ProtectPosition, ...]:
    """Return the bare positions outside our book that have changed since the last look: no echo of what was then."""
    changed = {p.symbol for p in snapshot.positions if looked_ms is not None and p.updated_ms > looked_ms}
    return tuple(f for f in found.unprotected if f.adopted and f.symbol in changed)


def _is_doubted(trade: TradeState) -> bool:
    return trade.phase == "entering" and trade.entry_doubted


def _may_protect(trade: TradeState, asked_ms: int, patience_ms: int, stop_patience_ms: int) -> bool:
    """Tell whether a stop that the snapshot does not show may be placed."""
    under_way = {purpose_of(trade, i) for i in trade.pending}
    wait_ms = patience_ms if "entry" in under_way else stop_patience_ms if under_way & {"stop", "close"} else 0
    return trade.changed_ms < asked_ms - wait_ms


def _unarmed(snapshot: AccountSnapshot, trade: TradeState) -> RearmTrade | None:
    """Return which of the trade's target and trail, neither done, the exchange does not show; None when both stand."""
    there = {o.client_id for o in (*snapshot.conditionals, *snapshot.orders)}
    target = target_left(trade) > 0 and trade.target_id not in there
    trail = trade.trail_quantity > 0 and "trail" not in trade.exits and trade.trail_id not in there
    if trade.phase not in HELD or not (target or trail):
        return None
    return RearmTrade(symbol=trade.symbol, target=target, trail=trail)


def _found(
    position: Position, missing: Decimal, conditionals: tuple[RestingOrder, ...], *, adopted: bool
) -> ProtectPosition:
    return ProtectPosition(
        symbol=position.symbol,
        quantity=position.quantity,
        entry_price=position.entry_price,
        mark_price=position.mark_price,
        liquidation_price=position.liquidation_price,
        missing_quantity=missing,
        adopted=adopted,
        stop=max(
            (o for o in conditionals if covers(o, position) and (not missing or parse(o.client_id))),
            key=lambda o: (o.close_position, o.quantity),
            default=None,
        ),
    )


def _orphans(
    snapshot: AccountSnapshot, trades: Mapping[str, TradeState], held: frozenset[str]
) -> tuple[CancelOrphan, ...]:
    """Orders of ours that belong to no living trade; foreign orders stay, and those of a position to be adopted.

    An adopted one may need the stops that were there before until its own stands for all of it; then its trade's other
    stops are surplus, too.
    """
    found = []
    whole = {p.symbol for p in snapshot.positions if _stands_alone(trades.get(p.symbol), p, snapshot.conditionals)}
    for order in (*snapshot.conditionals, *snapshot.orders):
        trade = trades.get(order.symbol)
        if parse(order.client_id) is None or (order.symbol in held and (trade is None or trade.phase in ENDED)):
            continue
        if trade is not None and (trade.changed_ms >= snapshot.requested_ms):
            continue
        if trade is not None and trade.adopted and trade.phase not in ENDED and order.symbol not in whole:
            continue
        surplus = order.symbol in whole and trade is not None and _is_surplus(trade, order.client_id)
        if trade is None or trade.phase in ENDED or not is_ours(trade, order.client_id) or surplus:
            found.append(CancelOrphan(symbol=order.symbol, client_id=order.client_id, conditional=order.conditional))
    return tuple(found)


def _is_surplus(trade: TradeState, order_id: str) -> bool:
    return purpose_in(order_id) == "stop" and order_id not in {trade.stop_id, *trade.pending}


def _stands_alone(trade: TradeState | None, position: Position, conditionals: tuple[RestingOrder, ...]) -> bool:
    own = tuple(o for o in conditionals if trade is not None and o.client_id == trade.stop_id)
    return covered_quantity(position, own) == abs(position.quantity)


def emergency_stop_price(position: ProtectPosition, rules: SymbolRules | None, stop_pct: Decimal) -> Decimal:
    """Return a stop for a position we did not open: ``stop_pct`` from the mark, well inside liquidation."""
    away = position.mark_price * stop_pct
    price = position.mark_price - away if position.quantity > 0 else position.mark_price + away
    return _on_tick(_drawn_in(price, position), rules)


def inside_liquidation(price: Decimal, position: ProtectPosition, rules: SymbolRules | None) -> Decimal:
    """Return the stop price, drawn nearer to the mark where liquidation would come before it."""
    drawn = _drawn_in(price, position)
    return price if drawn == price else _on_tick(drawn, rules)


def _drawn_in(price: Decimal, position: ProtectPosition) -> Decimal:
    if position.liquidation_price <= 0:
        return price
    edge = position.mark_price + (position.liquidation_price - position.mark_price) * LIQUIDATION_SHARE
    return max(price, edge) if position.quantity > 0 else min(price, edge)


def _on_tick(price: Decimal, rules: SymbolRules | None) -> Decimal:
    tick = rules.price_tick if rules else Decimal(1).scaleb(price.adjusted() - SIGNIFICANT_DIGITS + 1)
    return (price / tick).quantize(Decimal(1), ROUND_HALF_UP) * tick


def adopt(position: ProtectPosition, rules: SymbolRules | None, stop_pct: Decimal, now_ms: int) -> TradeState:
    """Return a trade for a position we find and did not open; a stop that stands is kept."""
    now_s, stop = now_ms // 1000 * 1000, position.stop
    stop_price = stop.trigger_price if stop and stop.trigger_price else emergency_stop_price(position, rules, stop_pct)
    zero, size = Decimal(0), abs(position.quantity)
    return TradeState(
        decision_id=f"{position.symbol}-{now_s}",
        symbol=position.symbol,
        side=held_side(position.quantity),
        phase="open",
        quantity=size,
        filled=size,
        exited=zero,
        entry_price=position.entry_price,
        decision_price=position.entry_price,
        stop_id=stop.client_id if stop else "",
        stop_price=stop_price,
        stop_quantity=stop.quantity if stop and position.missing_quantity else size,
        entry_id=client_id(position.symbol, now_s, "entry"),
        target_id="",
        target_price=zero,
        target_quantity=zero,
        trail_id="",
        trail_quantity=zero,
        trail_callback_pct=zero,
        close_id="",
        leverage=0,
        confidence=0.0,
        risk_usd=zero,
        opened_ms=now_ms,
        expires_ms=now_ms,
        changed_ms=now_ms,
        adopted=True,
        reason="adopted: found on the exchange",
    )
