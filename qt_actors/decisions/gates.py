"""The questions asked of every signal that wants to become an entry, in order, as data.

Each answers with what was measured, against which limit, and a gate that cannot decide says no. All are asked, so that
a person sees everything that stands in the way; the first that fails names the decision.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Final

import msgspec

from config.settings import Settings
from qt_actors.decisions.barriers import Barriers
from qt_actors.decisions.facts import BookFacts, SymbolFacts, rules_are_sound
from qt_actors.decisions.funding import FUNDING_8H_MAX, paid_per_8h
from qt_actors.decisions.policy import SPREAD_WIDE_ADD, spread_adjustment
from qt_actors.decisions.texts import UNKNOWN, numbers_apart, percent, seconds, usd
from qt_actors.messages.base import Side
from qt_actors.messages.policy import Gate, Policy
from qt_actors.messages.signals import Signal

SPREAD_BPS_MAX: Final = 50.0
"""Beyond half a percent the quote is no market, whatever the edge."""
MARK_GAP_MAX: Final = 0.01
"""Stops trigger on the mark; a mark 1 % from the book would fire them at prices that are not there."""
DRIFT_STOPS_MAX: Final = 0.5
"""The edge was computed at the bar's close; half a stop later it is another trade."""


class Case(msgspec.Struct, frozen=True):
    """One signal with everything its gates look at."""

    signal: Signal
    side: Side
    symbol: SymbolFacts
    book: BookFacts
    policy: Policy
    barriers: Barriers | None
    settings: Settings
    now_ms: int


def warmup(case: Case) -> Gate:
    """Has the symbol enough closed bars?"""
    have = case.signal.warmup
    return Gate(name="warmup", passed=not have, value=have or "complete", limit="enough closed bars")


def figures(case: Case) -> Gate:
    """Is every figure of the signal a number?"""
    signal = case.signal
    said = {
        "confidence": signal.confidence,
        "p_win": signal.p_win,
        "edge": signal.edge_r,
        "target": signal.tp_pct,
        "stop": signal.sl_pct,
        "close": signal.close,
        "volatility": signal.volatility,
        "volatility rank": signal.volatility_rank,
    }
    broken = [name for name, value in said.items() if not isfinite(value)]
    value = f"{', '.join(broken)} {UNKNOWN}" if broken else "all known"
    return Gate(name="figures", passed=not broken, value=value, limit="numbers")


def freshness(case: Case) -> Gate:
    """Is the signal younger than one bar? One from the future is none either, until the clocks agree again."""
    signal = case.signal
    life = signal.expires_ms - signal.close_time_ms
    age = case.now_ms - signal.close_time_ms
    return Gate(
        name="freshness",
        passed=0 <= age < life,
        value=seconds(age),
        limit=f"0 s to {seconds(life)} after the close",
        transient=age < 0,
    )


def consensus(signal: Signal) -> Gate:
    """Do enough of the active models agree on a side?"""
    return Gate(
        name="consensus",
        passed=signal.action != "HOLD" and signal.agree >= signal.quorum,
        value=f"{signal.agree}/{signal.active} {signal.action}",
        limit=f"≥ {signal.quorum} for BUY or SELL",
    )


def confidence(case: Case) -> Gate:
    """Is the confidence at least the policy's minimum? Only a wide spread can improve within the bar."""
    policy, have = case.policy, case.signal.confidence
    quote = case.symbol.quote
    wide = spread_adjustment(quote.spread_bps if quote else None)
    value, limit = numbers_apart(have, policy.min_confidence)
    return Gate(
        name="confidence",
        passed=have >= policy.min_confidence,
        value=value,
        limit=f"≥ {limit}",
        note="; ".join(policy.reasons),
        transient=bool(wide) and have >= policy.min_confidence - SPREAD_WIDE_ADD,
    )


def governor(case: Case) -> Gate:
    """Does the safety governor allow new positions?"""
    word = case.book.directive
    passed = word is not None and word.allow_trades and word.allow_new_positions
    return Gate(
        name="governor",
        passed=passed,
        value=word.risk_level if word else UNKNOWN,
        limit="new positions allowed",
        note=word.reason if word else "no directive yet",
        transient=True,
    )


def policy(case: Case) -> Gate:
    """Does the policy allow trades? It adds to the governor's word that the symbol's record must be known."""
    allowed = case.policy.allow_trades
    return Gate(
        name="policy",
        passed=allowed,
        value="allowed" if allowed else "not allowed",
        limit="trades allowed",
        note="" if allowed else case.policy.reasons[-1],
        transient=True,
    )


def cooldown(case: Case) -> Gate:
    """Has QT_COOLDOWN_SECONDS passed since the last entry of any symbol (SPEC 10.1)?"""
    last, limit_ms = case.book.last_entry_ms, case.settings.cooldown_s * 1000
    elapsed = None if last is None else case.now_ms - last
    return Gate(
        name="cooldown",
        passed=last == 0 or (elapsed is not None and elapsed >= limit_ms),
        value="no entry yet" if last == 0 else seconds(elapsed),
        limit=f"≥ {case.settings.cooldown_s} s since the last entry",
        transient=True,
    )


def position(case: Case) -> Gate:
    """Is the symbol free of positions and of entries under way?"""
    held, pending, name = case.book.held, case.book.pending, case.signal.symbol
    if held is None or pending is None:
        return Gate(name="position", passed=False, value=UNKNOWN, limit="none on the symbol", transient=True)
    value = "open position" if name in held else "entry under way" if name in pending else "none"
    return Gate(name="position", passed=value == "none", value=value, limit="none on the symbol")


def slots(case: Case) -> Gate:
    """Is there room for one more position, entries under way included?"""
    held, pending, limit = case.book.held, case.book.pending, case.policy.max_open_positions
    used = None if held is None or pending is None else len(held | pending)
    return Gate(
        name="slots",
        passed=used is not None and used < limit,
        value=UNKNOWN if used is None else str(used),
        limit=f"< {limit} positions",
        transient=True,
    )


def account(case: Case) -> Gate:
    """Are equity, available margin and exposure known, and is there any equity?"""
    book = case.book
    missing = [
        name
        for name, value in (
            ("equity", book.equity_usd),
            ("available margin", book.available_usd),
            ("gross notional", book.gross_notional_usd),
        )
        if value is None
    ]
    equity = book.equity_usd
    return Gate(
        name="account",
        passed=not missing and equity is not None and equity > 0,
        value=f"{', '.join(missing)} {UNKNOWN}" if missing else f"equity {usd(equity)}",
        limit="known, equity > $0.00",
        transient=True,
    )


def rules(case: Case) -> Gate:
    """Are the exchange's filters and leverage table known, and is the symbol trading?"""
    known = case.symbol.rules
    status = known.status if known else UNKNOWN
    usable = known is not None and rules_are_sound(known)
    note = "" if usable or known is None else "tick, step or leverage table missing or no number"
    return Gate(name="rules", passed=usable and status == "TRADING", value=status, limit="TRADING", note=note)


def quote(case: Case) -> Gate:
    """Is there a quote, with size on both sides, heard recently?"""
    known, limit_ms = case.symbol.quote, case.book.quote_age_ms_max
    limit = f"bid and ask at most {seconds(limit_ms)} old"
    if known is None:
        return Gate(name="quote", passed=False, value="no quote", limit=limit, transient=True)
    age = case.now_ms - known.heard_ms
    sized = known.bid_quantity > 0 and known.ask_quantity > 0
    value = f"{seconds(max(0, age))} old" if sized else "empty book"
    return Gate(name="quote", passed=sized and age <= limit_ms, value=value, limit=limit, transient=True)


def spread(case: Case) -> Gate:
    """Is the spread that of a market?"""
    bps = case.symbol.quote.spread_bps if case.symbol.quote else None
    passed = bps is not None and bps <= SPREAD_BPS_MAX
    value = UNKNOWN if bps is None else f"{bps:.1f} bps"
    return Gate(name="spread", passed=passed, value=value, limit=f"≤ {SPREAD_BPS_MAX:g} bps", transient=True)


def mark_gap(case: Case) -> Gate:
    """Is the mark price, on which stops trigger, near the book?"""
    known = case.symbol.quote
    gap = abs(known.mark / known.mid - 1) if known else None
    passed = gap is not None and gap <= MARK_GAP_MAX
    return Gate(
        name="mark_gap", passed=passed, value=percent(gap), limit=f"≤ {percent(MARK_GAP_MAX)} from mid", transient=True
    )


def stop(case: Case) -> Gate:
    """Is the stop distance known?"""
    placed = case.barriers
    return Gate(
        name="stop",
        passed=placed is not None,
        value=percent(placed.stop_pct if placed else None),
        limit="known, at most sl_pct " + percent(case.signal.sl_pct),
    )


def drift(case: Case) -> Gate:
    """Is the price still near the close that the signal was computed on?"""
    known, close, placed = case.symbol.quote, case.signal.close, case.barriers
    moved = abs(known.touch(case.side) / close - 1) if known and close > 0 else None
    limit = DRIFT_STOPS_MAX * placed.stop_pct if placed else None
    passed = moved is not None and limit is not None and moved <= limit
    return Gate(
        name="drift",
        passed=passed,
        value=percent(moved),
        limit=f"≤ {percent(limit)} from the bar's close",
        transient=True,
    )


def funding(case: Case) -> Gate:
    """Does this side pay at most 1 % per 8 h?"""
    known, filters = case.symbol.quote, case.symbol.rules
    paid = None
    if known and filters and filters.funding_interval_hours > 0 and isfinite(known.funding_rate):
        paid = paid_per_8h(case.side, known.funding_rate, filters.funding_interval_hours)
    return Gate(
        name="funding",
        passed=paid is not None and paid <= FUNDING_8H_MAX,
        value=percent(paid, 4),
        limit=f"≤ {percent(FUNDING_8H_MAX)} paid per 8 h",
    )


ENTRY_GATES: Final[tuple[Callable[[Case], Gate], ...]] = (
    # signal: is there one, and is it strong enough?
    figures,
    freshness,
    confidence,
    # safety and lifecycle: may we trade at all, and this symbol?
    governor,
    policy,
    cooldown,
    position,
    slots,
    account,
    # market: is there one to trade in?
    rules,
    quote,
    spread,
    mark_gap,
    stop,
    drift,
    funding,
)
"""Asked in this order after ``warmup`` and ``consensus``, the safe first. Sizing, price filter and cost follow, then
admission by the governor, which sees the whole book."""

GATE_NAMES: Final = (
    "warmup",
    "consensus",
    *(g.__name__ for g in ENTRY_GATES),
    "kelly",
    "risk",
    "gross_limit",
    "size_limit",
    "risk_cap",
    "liquidation",
    "margin",
    "size",
    "price_filter",
    "cost",
    "expiry",
    "plan",
    "protection",
    "worst_case_loss",
    "account_liquidation",
    "journal",
)
"""Closed set of every gate's name, for metrics."""
