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
them, and the streak, but never the day's loss.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import msgspec

from config.settings import Settings
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
UNTIL_NEXT_DAY: Final = "until the next UTC day: "
"""A halt whose reason begins so is lifted by the day's end; any other only by an operator."""


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """What the governor looks at; ``None`` is not known, and stops entries.

    Attributes:
        gross_notional_usd: open positions at mark plus reserved entries.
        transfers_usd: deposits less withdrawals since the UTC day began: neither a gain nor a loss.
        healthy: False when a vital part of the system is not; ``health_reason`` says which.
    """

    equity_usd: Decimal | None
    gross_notional_usd: Decimal | None
    healthy: bool | None
    health_reason: str = ""
    transfers_usd: Decimal = Decimal(0)


def utc_day(now_ms: int) -> str:
    """Return the UTC date of a time, ``2026-11-22``."""
    return datetime.fromtimestamp(now_ms / 1000, UTC).date().isoformat()


def first_state(equity_usd: Decimal, now_ms: int) -> GovernorState:
    """Return the state of an account seen for the first time."""
    return GovernorState(
        day=utc_day(now_ms),
        day_start_equity_usd=equity_usd,
        losing_streak=0,
        halted=False,
        halt_reason="",
        changed_ms=now_ms,
    )


def daily_loss_limit(day_start_equity_usd: Decimal, settings: Settings) -> Decimal:
    """Return what a day may lose: QT_MAX_DAILY_LOSS or the profile's share of the day's first equity, the tighter."""
    return min(exact(settings.daily_loss_usd_max), exact(settings.profile.daily_loss_max) * day_start_equity_usd)


def gross_limit(equity_usd: Decimal, settings: Settings) -> Decimal:
    """Return the most gross notional: QT_MAX_GROSS_NOTIONAL or the profile's multiple of equity, the tighter."""
    multiple = exact(settings.profile.gross_equity_multiple_max)
    return min(exact(settings.gross_notional_usd_max), multiple * equity_usd)


def daily_pnl(state: GovernorState, condition: Condition) -> Decimal | None:
    """Return the day's result, realised and unrealised, fees and funding included."""
    if condition.equity_usd is None:
        return None
    return condition.equity_usd - state.day_start_equity_usd - condition.transfers_usd


def after_day(state: GovernorState, equity_usd: Decimal, settings: Settings, now_ms: int) -> GovernorState:
    """Return the state of the new UTC day; the same state while the day lasts (or the clock went backwards)."""
    day = utc_day(now_ms)
    if day <= state.day:
        return state
    lifted = state.halted and state.halt_reason.startswith(UNTIL_NEXT_DAY)
    stopped = state.losing_streak >= settings.losing_streak_max
    return msgspec.structs.replace(
        state,
        day=day,
        day_start_equity_usd=equity_usd,
        losing_streak=max(0, settings.losing_streak_max - 2) if stopped else state.losing_streak,
        halted=state.halted and not lifted,
        halt_reason="" if lifted else state.halt_reason,
        changed_ms=now_ms,
    )


def after_trade(state: GovernorState, trade: TradeClosed) -> GovernorState:
    """Count a closed trade: a net loss lengthens the streak, a net gain ends it, an even one leaves it."""
    net = trade.realized_usd - trade.commission_usd
    streak = state.losing_streak + 1 if net < 0 else 0 if net > 0 else state.losing_streak
    if streak == state.losing_streak:
        return state
    return msgspec.structs.replace(state, losing_streak=streak, changed_ms=trade.closed_ms)


def after_condition(state: GovernorState, condition: Condition, settings: Settings, now_ms: int) -> GovernorState:
    """Turn the day if it is over, and hold a day's loss over its limit until the next one."""
    if condition.equity_usd is None:
        return state
    state = after_day(state, condition.equity_usd, settings, now_ms)
    pnl, limit = daily_pnl(state, condition), daily_loss_limit(state.day_start_equity_usd, settings)
    if state.halted or pnl is None or -pnl <= limit:
        return state
    reason = f"{UNTIL_NEXT_DAY}the day's loss {usd(-pnl)} went over {usd(limit)}"
    return msgspec.structs.replace(state, halted=True, halt_reason=reason, changed_ms=now_ms)


def after_control(state: GovernorState, control: Control, reason: str, now_ms: int) -> GovernorState:
    """Apply an operator's word. Resume ends pause, halt and streak, but not a halt by the day's loss."""
    replace = msgspec.structs.replace
    match control:
        case "pause":
            return replace(state, paused=True, changed_ms=now_ms)
        case "halt":
            return replace(state, halted=True, halt_reason=reason or "by an operator", changed_ms=now_ms)
        case "resume":
            kept = state.halted and state.halt_reason.startswith(UNTIL_NEXT_DAY)
            reason = state.halt_reason if kept else ""
            return replace(state, paused=False, halted=kept, halt_reason=reason, losing_streak=0, changed_ms=now_ms)


def _step(value: Decimal, steps: tuple[Decimal, Decimal]) -> int:
    """Return the level a share of a limit stands for."""
    return 3 if value > 1 else sum(value >= s for s in steps)


def _share(part: Decimal, whole: Decimal) -> Decimal:
    """Return part / whole; anything of nothing is too much."""
    return part / whole if whole > 0 else Decimal(2) if part > 0 else Decimal(0)


def _streak_level(streak: int, limit: int) -> int:
    """Return the level of a losing streak; a limit below four has fewer steps before it."""
    return 3 if streak >= limit else max(0, streak - (limit - 3)) if streak > 0 else 0


def _concerns(
    state: GovernorState, condition: Condition, pnl: Decimal, gross: Decimal, settings: Settings
) -> list[tuple[int, str]]:
    """Return (level, what) of everything the governor measures, unordered."""
    limit = daily_loss_limit(state.day_start_equity_usd, settings)
    most = gross_limit(condition.equity_usd or Decimal(0), settings)
    streak, streak_max = state.losing_streak, settings.losing_streak_max
    return [
        (3 if state.halted else 0, f"halted {state.halt_reason}"),
        (0 if condition.healthy else 3, condition.health_reason or "health not known"),
        (_step(_share(max(Decimal(0), -pnl), limit), LOSS_STEPS), f"day's loss {usd(-pnl)} of {usd(limit)}"),
        (_streak_level(streak, streak_max), f"{streak} losses in a row of {streak_max}"),
        (_step(_share(gross, most), GROSS_STEPS), f"gross {usd(gross)} of {usd(most)}"),
    ]


def directive_of(state: GovernorState | None, condition: Condition, settings: Settings, now_ms: int) -> Directive:
    """Return the governor's word now. ``state`` None (nothing was ever known of the account) stops entries."""
    zero = Decimal(0)
    equity, gross = condition.equity_usd, condition.gross_notional_usd
    pnl = daily_pnl(state, condition) if state else None
    if state is None or equity is None or gross is None or pnl is None:
        worst, reason = 3, "the account is not known yet"
    elif equity <= 0:
        worst, reason = 3, f"equity {usd(equity)}"
    else:
        concerns = _concerns(state, condition, pnl, gross, settings)
        worst = max(level for level, _ in concerns)
        reason = "; ".join(what for level, what in concerns if level == worst and level) or "all within limits"
    paused = state is not None and state.paused
    level = LEVELS[worst]
    allowed = worst < 3 and not paused
    return Directive(
        now_ms=now_ms,
        allow_trades=allowed,
        allow_new_positions=allowed,
        leverage_multiplier=LEVERAGE[level],
        size_multiplier=SIZE[level],
        risk_level=level,
        reason=f"paused; {reason}" if paused else reason,
        daily_pnl_usd=pnl or zero,
        daily_loss_limit_usd=daily_loss_limit(state.day_start_equity_usd, settings) if state else zero,
        gross_notional_usd=gross or zero,
        gross_limit_usd=gross_limit(equity or zero, settings),
        losing_streak=state.losing_streak if state else 0,
        equity_usd=equity or zero,
    )
