"""When does policy end a trade before its barriers do? Exits know no cooldown, no gate and no governor."""

from __future__ import annotations

from typing import Final

from config.settings import Settings
from qt_actors.decisions.policy import REGIME_ADD, base_confidence
from qt_actors.messages.base import Side, opposite
from qt_actors.messages.positions import MindChanged, TradeState
from qt_actors.messages.signals import Signal

HELD: Final = frozenset({"arming", "open"})
"""Phases with a position and no close under way."""


def exit_confidence(signal: Signal, settings: Settings) -> float:
    """Return the confidence an opposite signal needs: what an entry would need in this regime, its costs aside."""
    return base_confidence(settings)[0] + REGIME_ADD[signal.regime]


def is_opposite(side: Side, signal: Signal) -> bool:
    """Tell whether the signal (with its quorum) points against a position opened with ``side``."""
    return signal.action == opposite(side)


def policy_exit(
    trade: TradeState,
    signal: Signal | None,
    now_ms: int,
    settings: Settings,
    min_confidence: float | None = None,
) -> str | None:
    """Return why the trade is to be closed at market now, None to let it run.

    Two reasons: it has been held ``QT_MAX_HOLDING_BARS`` bars, the time barrier of its labels; or a fresh signal of a
    later bar, with quorum and at least ``min_confidence`` (default: an entry's), points the other way. An adopted
    position is somebody else's decision: it is protected, never closed by policy.
    """
    if trade.phase not in HELD or trade.adopted or trade.filled <= trade.exited:
        return None
    held_ms, limit_ms = now_ms - trade.opened_ms, settings.holding_bars_max * settings.interval_ms
    if held_ms >= limit_ms:
        return f"time: held {held_ms // settings.interval_ms} bars, at most {settings.holding_bars_max}"
    if signal is None or signal.symbol != trade.symbol or not is_opposite(trade.side, signal):
        return None
    fresh = trade.opened_ms <= signal.close_time_ms <= now_ms < signal.expires_ms
    needed = exit_confidence(signal, settings) if min_confidence is None else min_confidence
    if fresh and signal.confidence >= needed:
        return f"signal: {signal.action} {signal.confidence:.2f} against {trade.side}, at least {needed:.2f}"
    return None


def mind_changed(trade: TradeState, signal: Signal, now_ms: int) -> MindChanged | None:
    """Return the warning that the models now point against an open position, whatever their confidence."""
    if trade.phase not in HELD or trade.symbol != signal.symbol or now_ms >= signal.expires_ms:
        return None
    if signal.action == "HOLD" or not is_opposite(trade.side, signal):
        return None
    return MindChanged(
        symbol=trade.symbol, position_side=trade.side, action=signal.action, confidence=signal.confidence
    )
