"""Is every position covered? What must be restored, adopted, cancelled? Pure answers on one account snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal

import msgspec

from qt_actors.decisions.admission import Holding
from qt_actors.decisions.ids import client_id, parse
from qt_actors.decisions.leverage import LIQUIDATION_SHARE
from qt_actors.decisions.trade_state import ENDED, is_ours
from qt_actors.messages.base import Side, opposite
from qt_actors.messages.market import SymbolRules
from qt_actors.messages.positions import (
    AccountSnapshot,
    CancelOrphan,
    Position,
    ProtectPosition,
    RearmTrade,
    RestingOrder,
    TradeState,
)

SIGNIFICANT_DIGITS = 4
"""Of a price whose tick is not known: few enough to lie on any symbol's tick."""


class Findings(msgspec.Struct, frozen=True):
    """What one snapshot shows against what we believe."""

    unprotected: tuple[ProtectPosition, ...]
    """All of them, for the measurement."""
    waiting: frozenset[str]
    """Symbols whose trade changed too lately, or waits for an answer, to be acted upon by this snapshot."""
    unarmed: tuple[RearmTrade, ...]
    orphans: tuple[CancelOrphan, ...]
    vanished: tuple[str, ...]
    """Symbols whose trade is open in our book and flat on the exchange."""
    covered: Mapping[str, RestingOrder]
    """The stop that covers each protected position."""


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


def examine(snapshot: AccountSnapshot, trades: Mapping[str, TradeState], patience_ms: int = 15_000) -> Findings:
    """Compare one snapshot with the trades in our book (by symbol).

    A trade that changed after the snapshot was asked for is not judged by it, nor one that waits for an answer, unless
    it has waited for longer than ``patience_ms`` (market time).
    """
    old_ms = snapshot.requested_ms - patience_ms
    settled = {
        s: t
        for s, t in trades.items()
        if t.changed_ms < snapshot.requested_ms and (not t.pending or t.changed_ms < old_ms)
    }
    fresh = frozenset(s for s, t in trades.items() if s not in settled and t.phase not in ENDED)
    unprotected, covered = [], {}
    for position in snapshot.positions:
        size = abs(position.quantity)
        have = covered_quantity(position, snapshot.conditionals)
        if have >= size:
            covered[position.symbol] = next(o for o in snapshot.conditionals if covers(o, position))
        else:
            unprotected.append(_missing(position, size - have, adopted=position.symbol not in trades))
    held = {p.symbol for p in snapshot.positions}
    vanished = tuple(
        s for s, t in settled.items() if t.phase in {"arming", "open", "closing"} and s not in held and t.filled > 0
    )
    unarmed = tuple(_unarmed(snapshot, t) for s, t in settled.items() if s in held and t.phase in {"arming", "open"})
    return Findings(
        unprotected=tuple(unprotected),
        waiting=fresh,
        unarmed=tuple(u for u in unarmed if u.target or u.trail),
        orphans=_orphans(snapshot, trades, held),
        vanished=vanished,
        covered=covered,
    )


def _unarmed(snapshot: AccountSnapshot, trade: TradeState) -> RearmTrade:
    """Return which of the trade's target and trail, neither done, the exchange does not show."""
    there = {o.client_id for o in (*snapshot.conditionals, *snapshot.orders)}
    target = trade.target_quantity > 0 and "target" not in trade.exits and trade.target_id not in there
    trail = trade.trail_quantity > 0 and "trail" not in trade.exits and trade.trail_id not in there
    return RearmTrade(symbol=trade.symbol, target=target, trail=trail)


def _missing(position: Position, quantity: Decimal, *, adopted: bool) -> ProtectPosition:
    return ProtectPosition(
        symbol=position.symbol,
        quantity=position.quantity,
        entry_price=position.entry_price,
        mark_price=position.mark_price,
        liquidation_price=position.liquidation_price,
        missing_quantity=quantity,
        adopted=adopted,
    )


def _orphans(snapshot: AccountSnapshot, trades: Mapping[str, TradeState], held: set[str]) -> tuple[CancelOrphan, ...]:
    """Orders of ours that belong to no living trade; foreign orders, and those of a position to be adopted, stay."""
    found = []
    for order in (*snapshot.conditionals, *snapshot.orders):
        trade = trades.get(order.symbol)
        if parse(order.client_id) is None or (order.symbol in held and (trade is None or trade.phase in ENDED)):
            continue
        if trade is not None and (trade.changed_ms >= snapshot.requested_ms or trade.adopted):
            continue
        if trade is None or trade.phase in ENDED or not is_ours(trade, order.client_id):
            found.append(CancelOrphan(symbol=order.symbol, client_id=order.client_id, conditional=order.conditional))
    return tuple(found)


def emergency_stop_price(position: ProtectPosition, rules: SymbolRules | None, stop_pct: Decimal) -> Decimal:
    """Return a stop for a position we did not open: ``stop_pct`` from the mark, well inside liquidation."""
    mark, long = position.mark_price, position.quantity > 0
    price = mark * (1 - stop_pct) if long else mark * (1 + stop_pct)
    if position.liquidation_price > 0:
        edge = mark + (position.liquidation_price - mark) * LIQUIDATION_SHARE
        price = max(price, edge) if long else min(price, edge)
    tick = rules.price_tick if rules else Decimal(1).scaleb(price.adjusted() - SIGNIFICANT_DIGITS + 1)
    return (price / tick).quantize(Decimal(1), ROUND_HALF_UP) * tick


def adopt(
    position: ProtectPosition, stop: RestingOrder | None, rules: SymbolRules | None, stop_pct: Decimal, now_ms: int
) -> TradeState:
    """Return a trade for a position we find and did not open; an existing covering stop is kept."""
    now_s = now_ms // 1000 * 1000
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
        stop_quantity=size,
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
