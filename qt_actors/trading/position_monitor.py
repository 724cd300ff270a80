"""Position monitor: proves every 10 s that every position is covered, and says what must be done where it is not.

Owns: what the last snapshot showed, the time spent unprotected, the newest signal of every held symbol.
Hears: account snapshots (every 10 s and on request), changes of trades, signals.
Says: ``ProtectPosition``, ``PositionVanished``, ``PositionResized``, ``RearmTrade``, ``CancelOrphan``,
``ClosePosition`` to the executor; measurements; alerts.
Never: places an order; acts before the executor has told all its trades, or on a mismatch that a second snapshot does
not confirm. One is enough for the stop of a trade that its fills have ended, and for a position outside our book that
is bare and has changed since the last look.
On restart: forgets its findings; the next two snapshots tell them again. Trades are told again by the executor.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

import msgspec

from config.settings import Settings
from qt_actors.decisions import coverage
from qt_actors.decisions.alerts import alert_text, result_steps
from qt_actors.decisions.exits import mind_changed, policy_exit
from qt_actors.decisions.protection import Findings, examine, newly_bare
from qt_actors.decisions.texts import HELD
from qt_actors.decisions.trade_state import ENDED
from qt_actors.kernel import Actor, TimerFired
from qt_actors.messages.positions import (
    AccountSnapshot,
    CancelOrphan,
    ClosePosition,
    PositionResized,
    PositionVanished,
    ProtectionMeasured,
    ProtectPosition,
    RearmTrade,
    SnapshotRequested,
    TradeChanged,
    TradesRecovered,
    TradeState,
)
from qt_actors.messages.requests import LedgerSyncRequested
from qt_actors.messages.signals import Signal, Signals
from qt_actors.messages.system import IncidentSeen
from qt_actors.ports import Mailbox

LOG = logging.getLogger("qt.positions")
LOOK_AGAIN_REAL_MS: Final = 1_000
"""After a snapshot too old for what it shows: clocks differ, an order is under way."""
Correction = ProtectPosition | PositionVanished | PositionResized | RearmTrade | CancelOrphan


class PositionMonitorWiring(msgspec.Struct, frozen=True, kw_only=True):
    """What the monitor needs from outside."""

    executor: Mailbox
    account: Mailbox
    recorder: Mailbox
    telemetry: Mailbox
    watchers: tuple[Mailbox, ...]
    """Told of ``MindChanged`` and ``ProtectionMeasured``."""
    settings: Settings
    patience_ms: int = 15_000
    """Market time for which an order without an answer is waited for before its trade is judged without it."""
    stop_patience_ms: int = 2_000
    """The same where a stop is missing."""


class PositionMonitor(Actor):
    """See the module's card."""

    def __init__(self, wiring: PositionMonitorWiring) -> None:
        """Keep the wiring."""
        super().__init__()
        self._wiring = wiring
        self._trades: dict[str, TradeState] = {}
        self._book_known = False
        self._signals: dict[str, Signal] = {}
        self._found: dict[str, str] = {}
        """What the last snapshot that could judge showed to be corrected and nobody was told, with its symbol."""
        self._covers: dict[str, coverage.Cover] = {}
        self._steps: dict[str, int] = {}
        """Decision → how far its result has been told."""
        self._flipped: set[tuple[str, int]] = set()
        self._unprotected_ms = 0
        self._looked_ms: int | None = None
        """Exchange time at which the last snapshot was asked for."""

    def handle(self, message: object) -> None:
        """One case a message."""
        match message:
            case AccountSnapshot():
                self._covers, spent_ms = coverage.after_snapshot(self._covers, message)
                self._measured(spent_ms, message.requested_ms)
                self._compare(message)
                self._alert(message)
                self._rethink()
            case TradeChanged(trade=trade):
                self._trades[trade.symbol] = trade
                self._covers, spent_ms = coverage.after_trade(self._covers, trade)
                if spent_ms:
                    self._measured(spent_ms, trade.changed_ms)
            case TradesRecovered(looked_ms=looked_ms):
                self._book_known = True
                self._covers = coverage.after_recovery(self._covers, min(looked_ms, self.now_ms()))
            case TimerFired(key="look"):
                self._wiring.account.tell(SnapshotRequested(reason="to judge what could not be judged yet"))
            case Signals(signals=signals):
                self._signals = {s.symbol: s for s in signals}
                self._rethink()
            case _:
                pass

    def statistics(self) -> Mapping[str, object]:
        """Return what the tree view shows."""
        bare = coverage.bare_symbols(self._covers)
        return {"unprotected": len(bare), "unprotected_s": self._unprotected_ms / 1000}

    def _compare(self, snapshot: AccountSnapshot) -> None:
        """Order what two snapshots in a row show to be wrong, or one for certain; ask for the second one at once."""
        if not self._book_known:
            return
        found = examine(snapshot, self._trades, self._wiring.patience_ms, self._wiring.stop_patience_ms)
        keys = {key: correction for correction in _corrections(found) if (key := _key(correction))}
        for flat in found.left:
            self._wiring.executor.tell(flat)
        new = newly_bare(snapshot, found, self._looked_ms)
        self._looked_ms = snapshot.requested_ms
        confirmed = {key: correction for key, correction in keys.items() if key in self._found or correction in new}
        told = {key: correction for key, correction in confirmed.items() if correction.symbol not in found.waiting}
        for correction in told.values():
            self._wiring.executor.tell(correction)
        fresh = [correction for key, correction in keys.items() if key not in self._found and key not in told]
        kept = {key: symbol for key, symbol in self._found.items() if symbol in found.unsettled}
        kept |= {key: correction.symbol for key, correction in keys.items()}
        self._found = {key: symbol for key, symbol in kept.items() if key not in told}
        if len(told) < len(confirmed):
            self.timer("look", LOOK_AGAIN_REAL_MS, real=True)
        if any(isinstance(f, PositionVanished | PositionResized) for f in fresh):
            self._wiring.account.tell(LedgerSyncRequested(reason="to explain a mismatch by its fills"))
        if fresh:
            self._wiring.account.tell(SnapshotRequested(reason="to confirm a mismatch"))

    def _measured(self, spent_ms: int, now_ms: int) -> None:
        self._unprotected_ms += spent_ms
        told = ProtectionMeasured(
            now_ms=now_ms,
            unprotected_seconds=spent_ms / 1000,
            unprotected_symbols=coverage.bare_symbols(self._covers),
        )
        for listener in (self._wiring.telemetry, *self._wiring.watchers):
            listener.tell(told)

    def _alert(self, snapshot: AccountSnapshot) -> None:
        """Tell each step of a position's result once, on the way up and on the way down."""
        steps = {}
        for position in snapshot.positions:
            trade = self._trades.get(position.symbol)
            if trade is None or trade.phase in ENDED:
                continue
            passed, told = result_steps(trade, position), self._steps.get(trade.decision_id, 0)
            steps[trade.decision_id] = (
                told if passed == 0 else passed if passed * told <= 0 else max(told, passed, key=abs)
            )
            if steps[trade.decision_id] != told:
                text = alert_text(trade, position)
                LOG.info("%s %s", trade.symbol, text)
                self._tell_incident("pnl alert", trade.symbol, text)
        self._steps = steps

    def _rethink(self) -> None:
        """Time barrier and changed minds."""
        now = self.now_ms()
        for trade in self._trades.values():
            if trade.phase in ENDED:
                continue
            signal = self._signals.get(trade.symbol)
            reason = policy_exit(trade, signal, now, self._wiring.settings)
            if reason:
                self._wiring.executor.tell(ClosePosition(symbol=trade.symbol, reason=reason, exit_reason="policy"))
            elif signal is not None:
                self._warn(trade, signal)

    def _warn(self, trade: TradeState, signal: Signal) -> None:
        key = (trade.symbol, signal.close_time_ms)
        changed = mind_changed(trade, signal, self.now_ms())
        if changed is None or key in self._flipped:
            return
        self._flipped = {k for k in self._flipped if k[1] == signal.close_time_ms} | {key}
        for watcher in self._wiring.watchers:
            watcher.tell(changed)
        text = f"holds {HELD[trade.side]}, the ensemble now says {signal.action} {signal.confidence:.0%}"
        self._tell_incident("mind changed", trade.symbol, text)

    def _tell_incident(self, kind: str, symbol: str, detail: str) -> None:
        incident = IncidentSeen(kind=kind, subject=symbol, detail=detail, repaired=False, now_ms=self.now_ms())
        self._wiring.recorder.tell(incident)


def _corrections(found: Findings) -> tuple[Correction, ...]:
    """Everything that is to be put right; fills first explain a size, a position is taken in before it is protected."""
    return (*found.vanished, *found.resized, *found.unknown, *found.unprotected, *found.unarmed, *found.orphans)


def _key(correction: Correction) -> str:
    """Two snapshots agree when what they show has the same key."""
    match correction:
        case PositionResized(symbol=symbol, quantity=quantity):
            return f"resized {symbol} {quantity}"
        case CancelOrphan(client_id=client_id):
            return f"orphan {client_id}"
        case ProtectPosition(symbol=symbol, adopted=adopted):
            return f"protect {symbol} {adopted}"
        case RearmTrade(symbol=symbol, target=target, trail=trail):
            return f"rearm {symbol} {target} {trail}"
        case PositionVanished(symbol=symbol):
            return f"vanished {symbol}"
