"""From a signal to a decision: every gate asked, the size, the plan, the cost (SPEC 4 to 9). Admission comes after.

Every symbol and bar ends in exactly one decision: ``hold``, ``denied`` by the first gate that failed, or ``admitted``
with a plan: proposed to the governor, whose ``with_admission`` may still deny it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import msgspec

from config.settings import Settings
from qt_actors.decisions import gates
from qt_actors.decisions.barriers import barriers_of, edge_fraction
from qt_actors.decisions.costs import cost_gate, costs_of
from qt_actors.decisions.facts import BookFacts, SymbolFacts, sound_book
from qt_actors.decisions.plan import plan_entry
from qt_actors.decisions.policy import policy_of
from qt_actors.decisions.sizing import Account, Sized, exact, size
from qt_actors.decisions.texts import percent, usd
from qt_actors.messages.policy import Decision, EntryPlan, Gate, Verdict
from qt_actors.messages.signals import Signal, Signals

UNKNOWN_SYMBOL = SymbolFacts(rules=None, quote=None, stop_distance=None, performance=None)


def decision_id(symbol: str, close_time_ms: int) -> str:
    """Return the one id of this symbol's bar; client order ids derive from it."""
    return f"{symbol}-{close_time_ms}"


def _decision(signal: Signal, now_ms: int, asked: Sequence[Gate], plan: EntryPlan | None, trace: str) -> Decision:
    failed = next((g.name for g in asked if not g.passed), "")
    verdict: Verdict = "hold" if signal.action == "HOLD" else "denied" if failed or plan is None else "admitted"
    return Decision(
        decision_id=decision_id(signal.symbol, signal.close_time_ms),
        symbol=signal.symbol,
        close_time_ms=signal.close_time_ms,
        decided_ms=now_ms,
        action=signal.action,
        verdict=verdict,
        gate=failed if verdict == "denied" else "",
        gates=tuple(asked),
        signal=signal,
        plan=plan if verdict == "admitted" else None,
        trace=trace,
    )


def decide(
    signal: Signal, facts: SymbolFacts, book: BookFacts, settings: Settings, now_ms: int, *, trace: str = ""
) -> Decision:
    """Return the decision on one signal, with every gate that could be asked."""
    if signal.action == "HOLD":
        young = Gate(name="warmup", passed=False, value=signal.warmup, limit="enough closed bars")
        return _decision(signal, now_ms, (young,) if signal.warmup else (gates.consensus(signal),), None, trace)
    book = sound_book(book)
    if facts.quote is not None and not facts.quote.is_sound:
        facts = msgspec.structs.replace(facts, quote=None)
    spread = facts.quote.spread_bps if facts.quote else None
    case = gates.Case(
        signal=signal,
        side=signal.action,
        symbol=facts,
        book=book,
        policy=policy_of(signal, spread, facts.performance, book.market, book.directive, settings, book.models),
        barriers=barriers_of(signal.tp_pct, signal.sl_pct, facts.stop_distance, settings),
        settings=settings,
        now_ms=now_ms,
    )
    asked = [gates.warmup(case), gates.consensus(signal), *(ask(case) for ask in gates.ENTRY_GATES)]
    plan = _sized_and_costed(case, asked)
    return _decision(signal, now_ms, asked, plan, trace)


def _sized_and_costed(case: gates.Case, asked: list[Gate]) -> EntryPlan | None:
    """Size, price and cost the entry as far as its facts are known; the gates passed on the way are appended."""
    book, rules, quote, barriers = case.book, case.symbol.rules, case.symbol.quote, case.barriers
    known = {g.name: g.passed for g in asked}
    if not (
        known["figures"] and known["account"] and known["rules"] and quote and barriers and rules and book.directive
    ):
        return None
    edge = edge_fraction(case.signal.edge_r, barriers, case.symbol.stop_distance or 0.0)
    sized = size(
        case.side,
        case.signal.confidence,
        edge / barriers.stop_pct,
        exact(quote.touch(case.side)),
        barriers,
        case.policy,
        book.directive,
        Account(book.equity_usd or Decimal(0), book.available_usd or Decimal(0), book.gross_notional_usd or Decimal(0)),
        rules,
        case.settings,
    )
    if isinstance(sized, Gate):
        asked.append(sized)
        return None
    asked += [_size_gate(sized), _liquidation_gate(sized)]
    plan = plan_entry(
        case.signal, sized, rules, case.settings, decision_id(case.signal.symbol, case.signal.close_time_ms)
    )
    costs = costs_of(case.side, sized.quantity, quote, rules.funding_interval_hours, case.settings, book.taker_fee)
    if isinstance(plan, Gate):
        asked += [plan, cost_gate(costs, edge)]
        return None
    asked.append(cost_gate(costs, edge))
    return plan


def _size_gate(sized: Sized) -> Gate:
    return Gate(
        name="size",
        passed=True,
        value=f"{sized.quantity} = {usd(sized.notional_usd)}, risk {usd(sized.risk_usd)}",
        limit=f"wanted {usd(sized.notional_wanted_usd)}, risk {usd(sized.risk_wanted_usd)}",
        note=("clamped by " + ", ".join(sized.clamped_by)) if sized.clamped_by else "",
    )


def _liquidation_gate(sized: Sized) -> Gate:
    lowered = sized.leverage < sized.leverage_wanted
    return Gate(
        name="liquidation",
        passed=True,
        value=f"leverage {sized.leverage}×",
        limit=f"stop {percent(sized.barriers.stop_pct)} inside liquidation",
        note=f"lowered from {sized.leverage_wanted}× so that the stop comes first" if lowered else "",
    )


def may_pass_later(decision: Decision) -> bool:
    """Tell whether the same signal may pass later in its bar: all that failed may change."""
    return decision.verdict == "denied" and all(g.transient for g in decision.gates if not g.passed)


def best_first(decisions: Iterable[Decision]) -> tuple[Decision, ...]:
    """Return the proposed decisions, the largest expected edge first; ties by confidence, then by symbol."""

    def rank(decision: Decision) -> tuple[float, float, str]:
        signal = decision.signal
        return (-signal.edge_r, -signal.confidence, signal.symbol) if signal else (0.0, 0.0, decision.symbol)

    return tuple(sorted((d for d in decisions if d.verdict == "admitted" and d.plan), key=rank))


def decide_all(
    signals: Signals,
    facts: Mapping[str, SymbolFacts],
    book: BookFacts,
    settings: Settings,
    now_ms: int,
    *,
    trace: str = "",
) -> tuple[Decision, ...]:
    """Return one decision for every signal, in order; a symbol without facts is one of which nothing is known.

    Every decision sees the same book: which of several proposed entries fit together is admission's question.
    """
    return tuple(
        decide(s, facts.get(s.symbol, UNKNOWN_SYMBOL), book, settings, now_ms, trace=trace) for s in signals.signals
    )


def with_admission(decision: Decision, answers: Sequence[Gate], now_ms: int) -> Decision:
    """Return the decision after the governor's gates; an answer replaces the earlier one of its name."""
    again = {g.name for g in answers}
    asked = (*(g for g in decision.gates if g.name not in again), *answers)
    failed = next((g.name for g in answers if not g.passed), "")
    made: dict[str, object] = {"gates": asked, "decided_ms": now_ms}
    if failed:
        made |= {"verdict": "denied", "gate": failed, "plan": None}
    return msgspec.structs.replace(decision, **made)
