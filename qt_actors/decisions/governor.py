"""May we trade? The safety governor's word (SPEC 7.1). Exits are never its business: nothing here can stop one.

| level     | day's loss of its limit | losses in a row | gross of its limit | size | leverage | entries |
|-----------|-------------------------|-----------------|--------------------|------|----------|---------|
| NORMAL    | below 50 %              | up to max − 3   | below 80 %         | 1    | 1        | yes     |
| CAUTIOUS  | from 50 %               | max − 2         | from 80 %          | 0.5  | 0.75     | yes     |
| DEFENSIVE | from 75 %               | max − 1         | from 95 %          | 0.25 | 0.5      | yes     |
| EMERGENCY | over the limit          | max             | over the limit     | 0    | 0        | no      |

EMERGENCY also: unhealthy, halted, or anything not known. The worst column decides. Paused: the level stays, no entries.

A day is a UTC day. A day's loss over the limit stops entries until the next one, even if the loss shrinks again. A
streak that stopped entries lets the day pass and comes back two short of its limit (CAUTIOUS), else it could never end:
no trade, no winner. A shorter streak, a halt and a pause survive the day's end and a restart; an operator's resume ends
them, and the streak, but never the day's loss. An operator's word holds from when it is heard, account known or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from config.settings import Settings
from qt_actors.decisions.day import Condition, daily_loss_limit, daily_pnl
from qt_actors.decisions.sizing import exact
from qt_actors.decisions.texts import usd
from qt_actors.messages.policy import Directive, RiskLevel
from qt_actors.messages.positions import TradeClosed
from qt_actors.messages.system import Control, GovernorState

LEVELS: Final[tuple[RiskLevel, ...]] = ("NORMAL", "CAUTIOUS", "DEFENSIVE", "EMERGENCY")
LOSS_STEPS: Final = (Decimal("0.5"), Decimal("0.75"))
GROSS_STEPS: Final = (Decimal("0.8"), Decimal("0.95"))
SIZE: Final[dict[RiskLevel, float]] = {"NORMAL": 1.0, "CAUTIOUS": 0.5, "DEFENSIVE": 0.25, "EMERGENCY": 0.0}
LEVERAGE: Final[dict[RiskLevel, float]] = {"NORMAL": 1.0, "CAUTIOUS": 0.75, "DEFENSIVE": 0.5, "EMERGENCY": 0.0}
NO_REASON: Final = "no reason given"
COUNTED_MAX: Final = 64
"""Closed trades remembered by name, so that one told twice counts once."""


def first_state(now_ms: int) -> GovernorState:
    """Return the state of a trader that knows nothing of its account yet."""
    return GovernorState(
        day="",
        day_start_equity_usd=None,
        losing_streak=0,
        halted=False,
        halt_reason="",
        changed_ms=now_ms,
        streak_since_ms=now_ms,
    )


def gross_limit(equity_usd: Decimal, settings: Settings) -> Decimal:
    """Return the most gross notional: QT_MAX_GROSS_NOTIONAL or the profile's multiple of equity, the tighter."""
    multiple = exact(settings.profile.gross_equity_multiple_max)
    return min(exact(settings.gross_notional_usd_max), multiple * equity_usd)


def after_trade(state: GovernorState, trade: TradeClosed) -> GovernorState:
    """Count a closed trade once: a net loss lengthens the streak, a net gain ends it, even or unknown leaves it."""
    net = trade.realized_usd - trade.commission_usd if trade.complete else Decimal(0)
    return _counted(state, trade.decision_id, net, trade.closed_ms)


def after_results(state: GovernorState, rows: Iterable[Mapping[str, Any]]) -> GovernorState:
    """Count the journal's closed trades, newest first, as far as they were not heard of before the restart."""
    for row in reversed(list(rows)):
        net = Decimal(row["realized_usd"]) - Decimal(row["commission_usd"]) if row["complete"] else Decimal(0)
        state = _counted(state, row["decision_id"], net, row["closed_ms"])
    return state


def _counted(state: GovernorState, decision_id: str, net_usd: Decimal, closed_ms: int) -> GovernorState:
    if decision_id in state.counted:
        return state
    streak = state.losing_streak + 1 if net_usd < 0 else 0 if net_usd > 0 else state.losing_streak
    counted = (*state.counted, decision_id)[-COUNTED_MAX:]
    return msgspec.structs.replace(state, losing_streak=streak, counted=counted, changed_ms=closed_ms)


def after_control(state: GovernorState, control: Control, reason: str, now_ms: int) -> GovernorState:
    """Apply an operator's word. Resume ends pause, halt and streak, but not what the day's loss stopped.

    Said again, the newest reason counts and the first moment.
    """
    reason = reason or NO_REASON
    replace = msgspec.structs.replace
    match control:
        case "pause":
            since_ms = state.paused_ms if state.paused else now_ms
            return replace(state, paused=True, pause_reason=reason, paused_ms=since_ms, changed_ms=now_ms)
        case "halt":
            since_ms = state.halted_ms if state.halted else now_ms
            return replace(state, halted=True, halt_reason=reason, halted_ms=since_ms, changed_ms=now_ms)
        case "resume":
            ended = first_state(now_ms)
            fields = ("paused", "pause_reason", "paused_ms", "halted", "halt_reason", "halted_ms", "losing_streak")
            return replace(state, streak_since_ms=now_ms, changed_ms=now_ms, **{f: getattr(ended, f) for f in fields})


def control_note(state: GovernorState, control: Control) -> str:
    """Return what an operator's word changes beside what it says; ``state`` is the one before it."""
    if control != "resume" or not state.losing_streak:
        return ""
    return f"the losing streak of {state.losing_streak} begins again at zero"


def operator_text(what: str, reason: str) -> str:
    """Return an operator's stop as a sentence: ``entries paused by operator: fire drill``."""
    return f"entries {what} by operator: {reason}"


def _step(value: Decimal, steps: tuple[Decimal, Decimal]) -> int:
    """Return the level a share of a limit stands for."""
    return 3 if value > 1 else sum(value >= s for s in steps)


def _share(part: Decimal, whole: Decimal) -> Decimal:
    """Return part / whole; anything of nothing is too much."""
    return part / whole if whole > 0 else Decimal(2) if part > 0 else Decimal(0)


def _streak_level(streak: int, limit: int) -> int:
    """Return the level of a losing streak; a limit below four has fewer steps before it."""
    return 3 if streak >= limit else max(0, streak - (limit - 3)) if streak > 0 else 0


def _streak_text(streak: int, limit: int) -> str:
    """Return the losing streak; one that stops entries says when they come back."""
    until = ", until 00:00 UTC or an operator's resume" if streak >= limit else ""
    return f"{streak} losses in a row of {limit}{until}"


def _concerns(state: GovernorState, condition: Condition, settings: Settings) -> list[tuple[int, str]]:
    """Return (level, what) of everything the governor looks at, unordered."""
    return [
        (3 if state.halted else 0, operator_text("halted", state.halt_reason)),
        (3 if state.day_lost else 0, f"entries stopped {state.day_lost}"),
        (0 if condition.healthy else 3, condition.health_reason or "health not known"),
        *_measured(state, condition, settings),
    ]


def _measured(state: GovernorState, condition: Condition, settings: Settings) -> list[tuple[int, str]]:
    """Return (level, what) of everything the account tells."""
    pnl, reading, gross = daily_pnl(state, condition), condition.reading, condition.gross_notional_usd
    if pnl is None or reading is None or gross is None:
        return [(3, "the account is not known yet")]
    if reading.equity_usd <= 0:
        return [(3, f"equity {usd(reading.equity_usd)}")]
    limit, most = daily_loss_limit(state, condition, settings), gross_limit(reading.equity_usd, settings)
    streak, streak_max = state.losing_streak, settings.losing_streak_max
    return [
        (_step(_share(max(Decimal(0), -pnl), limit), LOSS_STEPS), f"day's loss {usd(-pnl)} of {usd(limit)}"),
        (_streak_level(streak, streak_max), _streak_text(streak, streak_max)),
        (_step(_share(gross, most), GROSS_STEPS), f"gross {usd(gross)} of {usd(most)}"),
    ]


def directive_of(state: GovernorState, condition: Condition, settings: Settings, now_ms: int) -> Directive:
    """Return the governor's word now; what is not known of the account stops entries."""
    zero = Decimal(0)
    equity = condition.reading.equity_usd if condition.reading else zero
    concerns = _concerns(state, condition, settings)
    worst = max(level for level, _ in concerns)
    reason = (
        "; ".join(
            told
            for told in (
                operator_text("paused", state.pause_reason) if state.paused else "",
                *(what for level, what in concerns if level == worst and level),
            )
            if told
        )
        or "all within limits"
    )
    level = LEVELS[worst]
    allowed = worst < len(LEVELS) - 1 and not state.paused
    return Directive(
        now_ms=now_ms,
        allow_trades=allowed,
        allow_new_positions=allowed,
        leverage_multiplier=LEVERAGE[level],
        size_multiplier=SIZE[level],
        risk_level=level,
        reason=reason,
        daily_pnl_usd=daily_pnl(state, condition) or zero,
        daily_loss_limit_usd=daily_loss_limit(state, condition, settings),
        gross_notional_usd=condition.gross_notional_usd or zero,
        gross_limit_usd=gross_limit(equity, settings),
        losing_streak=state.losing_streak,
        equity_usd=equity,
        reserved=tuple(plan.symbol for plan in state.reserved),
        last_entry_ms=state.last_entry_ms,
    )
