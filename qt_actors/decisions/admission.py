"""Does the book still survive the worst with this trade in it? The last question before an order (DESIGN 5).

Every position and every reserved entry is taken to be stopped out, beyond its stop by a gap, with fees and funding:
that sum must fit into what is left of the day's loss limit. What is not known of the book refuses the entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import msgspec

from config.settings import Settings
from qt_actors.decisions.governor import gross_limit
from qt_actors.decisions.leverage import bracket_of, maintenance_usd
from qt_actors.decisions.policy import positions_max
from qt_actors.decisions.sizing import MARGIN_SHARE
from qt_actors.decisions.texts import UNKNOWN, count, price, seconds, usd
from qt_actors.messages.base import Side
from qt_actors.messages.market import SymbolRules
from qt_actors.messages.policy import Decision, Directive, EntryPlan, Gate
from qt_actors.messages.positions import AccountSnapshot

GAP_STRESS: Final = Decimal("0.005")
"""A stop is taken to fill half a percent of notional beyond its trigger: triggered stops are market orders."""
FEES_STRESS: Final = Decimal("0.0005")
"""Taker fee of each side still to be paid, of notional (VIP 0)."""
FUNDING_STRESS: Final = Decimal("0.001")
"""Of notional until the end: ten settlements at the usual 0.01 %."""


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """An open position and the stop that covers it; ``quantity`` unsigned, ``stop_price`` None when there is none."""

    symbol: str
    side: Side
    quantity: Decimal
    mark_price: Decimal
    stop_price: Decimal | None

    @property
    def notional_usd(self) -> Decimal:
        """At the mark."""
        return self.quantity * self.mark_price


class Book(msgspec.Struct, frozen=True, kw_only=True):
    """Positions, reserved entries and the account, all from one moment; None = not known.

    Attributes:
        reserved: plans admitted that are neither positions in ``holdings`` nor released yet.
        last_entry_ms: when the last entry was admitted, 0 when there never was one.
    """

    directive: Directive | None
    available_usd: Decimal | None
    holdings: tuple[Holding, ...] | None
    reserved: tuple[EntryPlan, ...] = ()
    last_entry_ms: int | None = 0


def is_sound(snapshot: AccountSnapshot) -> bool:
    """Tell whether every figure is a number; one that is not makes the whole account not known."""
    figures = [snapshot.equity_usd, snapshot.available_usd]
    for held in snapshot.positions:
        figures += [held.quantity, held.mark_price, held.notional_usd, held.liquidation_price]
    for order in snapshot.conditionals:
        figures += [order.quantity, order.trigger_price or Decimal(0)]
    return all(figure.is_finite() for figure in figures)


def _stressed(distance: Decimal, notional: Decimal, sides: int) -> Decimal:
    return distance + notional * (GAP_STRESS + sides * FEES_STRESS + FUNDING_STRESS)


def holding_loss(holding: Holding) -> Decimal | None:
    """Return what a position would still lose against its present mark; None when no stop covers it."""
    if holding.stop_price is None:
        return None
    away = holding.mark_price - holding.stop_price if holding.side == "BUY" else holding.stop_price - holding.mark_price
    return _stressed(max(Decimal(0), away) * holding.quantity, holding.notional_usd, 1)


def plan_loss(plan: EntryPlan) -> Decimal:
    """Return what an entry would lose: to its stop, the gap, both fees, funding."""
    return _stressed(plan.quantity * abs(plan.price - plan.stop_price), plan.notional_usd, 2)


def worst_case_loss(book: Book, plan: EntryPlan) -> Decimal | None:
    """Return the loss of the whole book with the plan in it; None when it cannot be known."""
    if book.holdings is None:
        return None
    total = plan_loss(plan) + sum((plan_loss(p) for p in book.reserved), Decimal(0))
    for holding in book.holdings:
        loss = holding_loss(holding)
        if loss is None:
            return None
        total += loss
    return total


def maintenance_of(book: Book, plan: EntryPlan, rules: Mapping[str, SymbolRules]) -> Decimal | None:
    """Return the maintenance margin of the book with the plan in it; None when a leverage table is missing."""
    notionals = [(h.symbol, h.notional_usd) for h in book.holdings or ()]
    notionals += [(p.symbol, p.notional_usd) for p in (*book.reserved, plan)]
    total = Decimal(0)
    for symbol, notional in notionals:
        bracket = bracket_of(notional, rules[symbol].brackets) if symbol in rules else None
        if bracket is None:
            return None
        total += maintenance_usd(notional, bracket)
    return total


def _gate(name: str, value: str, limit: str, *, passed: bool, note: str = "") -> Gate:
    return Gate(name=name, passed=passed, value=value, limit=limit, note=note, transient=True)


def _governor(word: Directive | None) -> Gate:
    passed = word is not None and word.allow_trades and word.allow_new_positions
    note = word.reason if word else "no directive yet"
    return _gate("governor", word.risk_level if word else UNKNOWN, "new positions allowed", passed=passed, note=note)


def _expiry(plan: EntryPlan, now_ms: int) -> Gate:
    left = plan.expires_ms - now_ms
    return Gate(name="expiry", passed=left > 0, value=f"{seconds(left)} left", limit="> 0 s of the signal's bar left")


def _plan(plan: EntryPlan) -> Gate:
    """A loss is measured to the stop: one that is not there, or on the other side, would count as none."""
    figures = (plan.quantity, plan.price, plan.stop_price, plan.notional_usd)
    sound = all(f.is_finite() and f > 0 for f in figures) and plan.leverage >= 1
    losing = sound and (plan.stop_price < plan.price if plan.side == "BUY" else plan.stop_price > plan.price)
    value = f"{price(plan.quantity)} at {price(plan.price)}, stop {price(plan.stop_price)}, {plan.leverage}×"
    return Gate(name="plan", passed=losing, value=value, limit="a size, and a stop where it loses")


def _cooldown(book: Book, settings: Settings, now_ms: int) -> Gate:
    last, limit_ms = book.last_entry_ms, settings.cooldown_s * 1000
    elapsed = None if last is None else now_ms - last
    passed = last == 0 or (elapsed is not None and elapsed >= limit_ms)
    value = "no entry yet" if last == 0 else seconds(elapsed)
    return _gate("cooldown", value, f"≥ {settings.cooldown_s} s since the last entry", passed=passed)


def _position(book: Book, plan: EntryPlan) -> Gate:
    used = None if book.holdings is None else {h.symbol for h in book.holdings} | {p.symbol for p in book.reserved}
    passed = used is not None and plan.symbol not in used
    value = UNKNOWN if used is None else "none" if passed else "taken"
    return Gate(name="position", passed=passed, value=value, limit="none on the symbol", transient=used is None)


def _slots(book: Book, settings: Settings) -> Gate:
    used = None if book.holdings is None else {h.symbol for h in book.holdings} | {p.symbol for p in book.reserved}
    limit = positions_max(settings)
    passed = used is not None and len(used) < limit
    return _gate("slots", UNKNOWN if used is None else str(len(used)), f"< {limit} positions", passed=passed)


def _gross(book: Book, plan: EntryPlan, settings: Settings) -> Gate:
    if book.holdings is None or book.directive is None:
        return _gate("gross_limit", UNKNOWN, "known", passed=False)
    gross = plan.notional_usd + sum((h.notional_usd for h in book.holdings), Decimal(0))
    gross += sum((p.notional_usd for p in book.reserved), Decimal(0))
    limit = gross_limit(book.directive.equity_usd, settings)
    return _gate("gross_limit", usd(gross), f"≤ {usd(limit)}", passed=gross <= limit)


def _margin(book: Book, plan: EntryPlan) -> Gate:
    """Reserved entries may or may not have taken their margin already; it is taken off once more to be safe."""
    if book.available_usd is None:
        return _gate("margin", UNKNOWN, "known", passed=False)
    needed = sum((p.notional_usd / p.leverage for p in (*book.reserved, plan)), Decimal(0))
    limit = book.available_usd * MARGIN_SHARE
    return _gate("margin", usd(needed), f"≤ {usd(limit)} available", passed=needed <= limit)


def _protection(book: Book) -> Gate:
    bare = None if book.holdings is None else [h.symbol for h in book.holdings if h.stop_price is None]
    value = UNKNOWN if bare is None else "without stop: " + ", ".join(bare) if bare else "all covered"
    return _gate("protection", value, "every open position has its stop", passed=bare == [])


def _worst_case(book: Book, plan: EntryPlan) -> Gate:
    loss, word = worst_case_loss(book, plan), book.directive
    if loss is None or word is None:
        return _gate("worst_case_loss", UNKNOWN, "known", passed=False)
    # A gain is not there to be lost: it may be a deposit that the ledger has not told yet.
    left = word.daily_loss_limit_usd + min(Decimal(0), word.daily_pnl_usd)
    note = f"{count(len(book.holdings or ()), 'position')}, {len(book.reserved)} reserved, this {usd(plan_loss(plan))}"
    return _gate("worst_case_loss", usd(loss), f"≤ {usd(left)} left of the day", passed=loss <= left, note=note)


def _account_liquidation(book: Book, plan: EntryPlan, rules: Mapping[str, SymbolRules]) -> Gate:
    """With every stop filled at its worst, the account must still hold the maintenance margin of all of it (cross)."""
    loss, kept, word = worst_case_loss(book, plan), maintenance_of(book, plan, rules), book.directive
    if loss is None or kept is None or word is None:
        return _gate("account_liquidation", UNKNOWN, "known", passed=False)
    after = word.equity_usd - loss
    return _gate("account_liquidation", f"{usd(after)} left", f"> {usd(kept)} maintenance", passed=after > kept)


def admission_gates(
    decision: Decision, book: Book, rules: Mapping[str, SymbolRules], settings: Settings, now_ms: int
) -> tuple[Gate, ...]:
    """Return every admission gate of a proposed decision, in order; those asked before are asked again of this book.

    Raises:
        ValueError: the decision has no plan: only proposed decisions are admitted.
    """
    plan = decision.plan
    if plan is None:
        raise ValueError(f"decision {decision.decision_id} has no plan to admit")
    sound = _plan(plan)
    if not sound.passed:
        return (sound,)
    return (
        _expiry(plan, now_ms),
        sound,
        _governor(book.directive),
        _cooldown(book, settings, now_ms),
        _position(book, plan),
        _slots(book, settings),
        _gross(book, plan, settings),
        _margin(book, plan),
        _protection(book),
        _worst_case(book, plan),
        _account_liquidation(book, plan, rules),
    )


def last_gates(plan: EntryPlan, directive: Directive | None, fault: str, now_ms: int) -> tuple[Gate, ...]:
    """Return what is asked again when the admission is on disk (or not: ``fault``); a halt may have come between."""
    journal = _gate("journal", fault or "written", "the admission on disk", passed=not fault)
    return (_expiry(plan, now_ms), _governor(directive), journal)


def admit(decision: Decision, book: Book, rules: Mapping[str, SymbolRules], settings: Settings, now_ms: int) -> Gate:
    """Return the first admission gate that refuses, or the passed worst-case gate."""
    answers = admission_gates(decision, book, rules, settings, now_ms)
    worst = next(g for g in answers if g.name == "worst_case_loss")
    return next((g for g in answers if not g.passed), worst)
