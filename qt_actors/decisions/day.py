"""The day's result: the account's worth, less what the UTC day began with, less what was transferred since.

The account is read every few seconds, the ledger that tells a transfer from a loss about once a minute. So a reading
that breaks the day's limit stops entries at once, and becomes final when the ledger has passed it: then it is a loss,
or transfers that lie before it explain it. Only transfers that a reading surely contains are taken off it.

A day is of the exchange's clock, not of ours. After a gap it begins with the last reading before the gap when that was
better: what was lost while nobody looked belongs to the new day.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import msgspec

from config.settings import Settings
from qt_actors.decisions.sizing import exact
from qt_actors.decisions.texts import usd
from qt_actors.messages.positions import AccountSnapshot, IncomeRow
from qt_actors.messages.system import GovernorState

TRANSFERS: Final = frozenset(
    {
        "TRANSFER",
        "INTERNAL_TRANSFER",
        "CROSS_COLLATERAL_TRANSFER",
        "COIN_SWAP_DEPOSIT",
        "COIN_SWAP_WITHDRAW",
        "STRATEGY_UMFUTURES_TRANSFER",
        "WELCOME_BONUS",
    }
)
"""Income types that are no result (Binance, GET /fapi/v1/income); any other, and any not known here, is one."""
ASSET: Final = "USDT"
"""The only asset that the account's totals count in single-asset mode."""
CARRIED_MS_MAX: Final = 86_400_000
"""A reading older than this says nothing of the day that begins now."""
LEDGER_LAG_MS: Final = 10_000
"""Rows may appear in the ledger a little later than their own time."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What the account was worth in USDT, positions at mark, between two times of the exchange's clock."""

    equity_usd: Decimal
    asked_ms: int
    told_ms: int


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """What the governor looks at; ``None`` is not known, and stops entries.

    Attributes:
        reading: the newest.
        before: the last one, when the account was not known in between (a restart, a lost exchange).
        gross_notional_usd: open positions at mark plus reserved entries.
        healthy: False when a vital part of the system is not; ``health_reason`` says which.
        transfers: rows of the ledger since the day began; other kinds of rows are ignored.
        ledger_ms: exchange time up to which the ledger is known.
    """

    reading: Reading | None
    gross_notional_usd: Decimal | None
    healthy: bool | None
    health_reason: str = ""
    before: Reading | None = None
    transfers: tuple[IncomeRow, ...] = ()
    ledger_ms: int = 0


def reading_of(snapshot: AccountSnapshot) -> Reading:
    """Return the snapshot's reading."""
    return Reading(equity_usd=snapshot.equity_usd, asked_ms=snapshot.requested_ms, told_ms=snapshot.now_ms)


def is_transfer(row: IncomeRow) -> bool:
    """Tell whether the row moved money in or out, so that it is no result."""
    return row.kind in TRANSFERS and row.asset == ASSET


def transferred(rows: Iterable[IncomeRow], after_ms: int, until_ms: int) -> Decimal:
    """Return deposits less withdrawals in USDT, later than ``after_ms`` and not later than ``until_ms``."""
    return sum((r.amount_usd for r in rows if is_transfer(r) and after_ms < r.time_ms <= until_ms), Decimal(0))


def utc_day(now_ms: int) -> str:
    """Return the UTC date of a time, ``2026-11-22``."""
    return datetime.fromtimestamp(now_ms / 1000, UTC).date().isoformat()


def _moved(state: GovernorState, rows: Iterable[IncomeRow], until_ms: int) -> Decimal:
    """Return what was transferred since the day began; nothing when it is not known when that was."""
    return transferred(rows, state.day_opened_ms, until_ms) if state.day_opened_ms else Decimal(0)


def daily_pnl(state: GovernorState, condition: Condition) -> Decimal | None:
    """Return the day's result, realised and unrealised, fees and funding included."""
    reading, start = condition.reading, state.day_start_equity_usd
    if reading is None or start is None:
        return None
    return reading.equity_usd - start - _moved(state, condition.transfers, reading.asked_ms)


def loss_limit_of(start_usd: Decimal, settings: Settings) -> Decimal:
    """Return what a day may lose: QT_MAX_DAILY_LOSS or the profile's share of what it began with, the tighter."""
    return min(exact(settings.daily_loss_usd_max), exact(settings.profile.daily_loss_max) * max(Decimal(0), start_usd))


def daily_loss_limit(state: GovernorState, condition: Condition, settings: Settings) -> Decimal:
    """Return what this day may lose; what was withdrawn is no longer there to be lost, a deposit does not widen it."""
    reading = condition.reading
    moved = _moved(state, condition.transfers, reading.asked_ms) if reading else Decimal(0)
    return loss_limit_of((state.day_start_equity_usd or Decimal(0)) + min(Decimal(0), moved), settings)


def after_day(state: GovernorState, condition: Condition, settings: Settings, now_ms: int) -> GovernorState:
    """Return the state of the new UTC day; the same state while the day lasts (or the clock went backwards)."""
    reading = condition.reading
    day = utc_day(reading.told_ms) if reading else ""
    if reading is None or day <= state.day:
        return state
    opening = _opening(reading, condition) if state.day else reading
    stopped = state.losing_streak >= settings.losing_streak_max
    return msgspec.structs.replace(
        state,
        day=day,
        day_start_equity_usd=opening.equity_usd,
        day_opened_ms=opening.told_ms,
        losing_streak=max(0, settings.losing_streak_max - 2) if stopped and state.day else state.losing_streak,
        day_lost="",
        lost_ms=0,
        lost_equity_usd=None,
        changed_ms=now_ms,
    )


def _opening(reading: Reading, condition: Condition) -> Reading:
    """Return the reading that the new day begins with."""
    before = condition.before
    if before is None or not 0 <= reading.told_ms - before.told_ms <= CARRIED_MS_MAX:
        return reading
    carried = before.equity_usd + transferred(condition.transfers, before.told_ms, reading.asked_ms)
    return before if carried > reading.equity_usd else reading


def after_condition(state: GovernorState, condition: Condition, settings: Settings, now_ms: int) -> GovernorState:
    """Turn the day if it is over, and hold a day's loss over its limit until the next one."""
    reading = condition.reading
    if reading is None:
        return state
    state = _explained(after_day(state, condition, settings, now_ms), condition, settings, now_ms)
    pnl, limit = daily_pnl(state, condition), daily_loss_limit(state, condition, settings)
    if pnl is None or -pnl <= limit:
        return state
    replace = msgspec.structs.replace
    if not state.day_lost:
        reason = f"until 00:00 UTC: the day's loss {usd(-pnl)} went over {usd(limit)}"
        seen = {"lost_ms": reading.asked_ms, "lost_equity_usd": reading.equity_usd}
        return replace(state, day_lost=reason, changed_ms=now_ms, **seen)
    if state.lost_equity_usd is not None and reading.equity_usd < state.lost_equity_usd:
        return replace(state, lost_equity_usd=reading.equity_usd, changed_ms=now_ms)
    return state


def _explained(state: GovernorState, condition: Condition, settings: Settings, now_ms: int) -> GovernorState:
    """Once the ledger has passed the reading over the limit: it was a loss, or transfers before it were all of it."""
    start, lowest = state.day_start_equity_usd, state.lost_equity_usd
    if start is None or lowest is None or condition.ledger_ms < state.lost_ms + LEDGER_LAG_MS:
        return state
    moved = _moved(state, condition.transfers, state.lost_ms)
    kept = start + moved - lowest > loss_limit_of(start + min(Decimal(0), moved), settings)
    return msgspec.structs.replace(
        state, day_lost=state.day_lost if kept else "", lost_ms=0, lost_equity_usd=None, changed_ms=now_ms
    )
