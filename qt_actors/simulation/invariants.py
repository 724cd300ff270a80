"""What must always be true, whatever fails: named pure checks over exchange, journal and tree.

Each returns what is wrong, one line a fault; nothing when all is well.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from qt_actors.decisions.ids import parse
from qt_actors.messages.positions import Position, RestingOrder
from qt_actors.simulation.truth import Books, Truth

MARK_SLACK: Final = Decimal("1.02")
"""Limits are checked at admission with the prices of that moment; the order fills a moment later."""


def bare_quantity(position: Position, stops: tuple[RestingOrder, ...]) -> Decimal:
    """How much of a position no acknowledged, right-side, reduce-only stop inside liquidation would close."""
    covered, long = Decimal(0), position.quantity > 0
    for stop in stops:
        trigger = stop.trigger_price
        if stop.symbol != position.symbol or stop.kind != "STOP_MARKET" or trigger is None:
            continue
        if stop.side != ("SELL" if long else "BUY") or not (stop.reduce_only or stop.close_position):
            continue
        edge = position.liquidation_price
        if edge > 0 and not (trigger > edge if long else trigger < edge):
            continue
        covered += abs(position.quantity) if stop.close_position else stop.quantity
    return max(Decimal(0), abs(position.quantity) - covered)


def one_position_a_decision(entries: Mapping[str, int]) -> tuple[str, ...]:
    """``entries``: orders executed by client id of the decision's entries, attempts taken together."""
    return tuple(f"{decision}: {count} entries were executed" for decision, count in entries.items() if count > 1)


def decision_of(client_id: str) -> str | None:
    """The decision whose entry an order is; None for every other order."""
    named = parse(client_id)
    return f"{named.symbol}-{named.close_time_ms}" if named is not None and named.purpose == "entry" else None


def exposure_within(truth: Truth, gross_usd_max: Decimal, positions_max: int) -> tuple[str, ...]:
    """Gross notional and number of positions, right after an entry of ours."""
    gross = sum((p.notional_usd for p in truth.positions), Decimal(0))
    found = []
    if gross > gross_usd_max * MARK_SLACK:
        found.append(f"gross notional {gross:.2f} is over the limit of {gross_usd_max}")
    if len(truth.positions) > positions_max:
        found.append(f"{len(truth.positions)} positions, at most {positions_max} are allowed")
    return tuple(found)


def loss_within(truth: Truth, day_start_usd: Decimal, daily_loss_usd_max: Decimal) -> tuple[str, ...]:
    """The loss if every stop were hit now, right after an entry of ours, against what is left of the day."""
    worst = Decimal(0)
    for position in truth.positions:
        stops = [s for s in truth.stops if not bare_quantity(position, (s,)) and s.trigger_price is not None]
        for stop in stops[:1]:
            assert stop.trigger_price is not None  # noqa: S101 # chosen so
            worst += max(Decimal(0), (position.mark_price - stop.trigger_price) * position.quantity)
    left = daily_loss_usd_max + truth.equity_usd - day_start_usd
    if worst > max(left, Decimal(0)) * MARK_SLACK:
        return (f"an entry was made with {worst:.2f} at risk and {left:.2f} of the day's limit left",)
    return ()


def books_agree(books: Books) -> tuple[str, ...]:
    """Fills, income, wallet and positions, after reconciliation."""
    found = []
    for what, real, told in (("fills", books.fills, books.told_fills), ("income", books.income, books.told_income)):
        if real - told:
            found.append(f"{what} that the journal lacks: {sorted(real - told, key=str)[:3]}")
        if told - real:
            found.append(f"{what} that never were: {sorted(told - real, key=str)[:3]}")
    if books.wallet_usd != books.told_wallet_usd:
        found.append(f"the wallet holds {books.wallet_usd}, the journal's income sums up to {books.told_wallet_usd}")
    if books.held != books.told_held:
        found.append(f"held {books.held}, by the journal {books.told_held}")
    return tuple(found)
