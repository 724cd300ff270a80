"""Position monitor: proves from the exchange's own word that every position is covered.

Owns: the last snapshot's findings, the time spent unprotected, the newest signal of every held symbol.
Hears: account snapshots (every 10 s and on request), changes of trades, signals, stream events of protective orders.
Says: ``ProtectPosition``, ``PositionVanished``, ``CancelOrphan``, ``ClosePosition`` to the executor; measurements.
Never: places an order; acts on a mismatch that a second snapshot does not confirm.
On restart: forgets its findings; the next two snapshots tell them again. Trades are told again by the executor.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from config.settings import Settings
from qt_actors.decisions.exits import mind_changed, policy_exit
from qt_actors.decisions.protection import Findings, examine
from qt_actors.decisions.trade_state import ENDED
from qt_actors.kernel import Actor
from qt_actors.messages.positions import (
    AccountSnapshot,
    ClosePosition,
    PositionVanished,
    ProtectionMeasured,
    SnapshotRequested,
    TradeChanged,
    TradeState,
)
from qt_actors.messages.signals import Signal, Signals
from qt_actors.messages.system import IncidentSeen
from qt_actors.ports import Mailbox


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


class PositionMonitor(Actor):
    """See the module's card."""

    def __init__(self, wiring: PositionMonitorWiring) -> None:
        """Keep the wiring."""
        super().__init__()
        self._wiring = wiring
        self._trades: dict[str, TradeState] = {}
        self._signals: dict[str, Signal] = {}
        self._suspects: dict[str, int] = {}
        """Symbol → exchange time at which a snapshot first showed it unprotected."""
        self._missing: set[str] = set()
        self._flipped: set[tuple[str, int]] = set()
        self._unprotected_ms = 0

    def handle(self, message: object) -> None:
        """One case a message."""
        match message:
            case AccountSnapshot():
                self._compare(message)
            case TradeChanged(trade=trade):
                self._trades[trade.symbol] = trade
            case Signals(signals=signals):
                self._signals = {s.symbol: s for s in signals}
                self._rethink()
            case _:
                pass

    def statistics(self) -> Mapping[str, object]:
        """Return what the tree view shows."""
        return {"suspects": len(self._suspects), "unprotected_s": self._unprotected_ms / 1000}

    def _compare(self, snapshot: AccountSnapshot) -> None:
        found = examine(snapshot, self._trades, self._wiring.patience_ms)
        again = self._measure(found, snapshot)
        for symbol in found.vanished:
            if symbol in self._missing:
                self._wiring.executor.tell(PositionVanished(symbol=symbol))
            again = again or symbol not in self._missing
        self._missing = set(found.vanished)
        for order in (*found.orphans, *found.unarmed):
            self._wiring.executor.tell(order)
        if again:
            self._wiring.account.tell(SnapshotRequested(reason="to confirm a mismatch"))
        self._rethink()

    def _measure(self, found: Findings, snapshot: AccountSnapshot) -> bool:
        """Act on what two snapshots in a row show unprotected; return whether a new suspect needs a second look."""
        now = snapshot.requested_ms
        spent, confirmed, suspects = 0, [], {}
        for missing in found.unprotected:
            since = self._suspects.get(missing.symbol)
            suspects[missing.symbol] = now
            if since is None:
                continue
            spent += now - since
            confirmed.append(missing.symbol)
            if missing.symbol not in found.waiting:
                self._wiring.executor.tell(missing)
        fresh = set(suspects) - set(self._suspects)
        self._suspects = suspects
        self._unprotected_ms += spent
        told = ProtectionMeasured(now_ms=now, unprotected_seconds=spent / 1000, unprotected_symbols=tuple(confirmed))
        self._wiring.telemetry.tell(told)
        return bool(fresh)

    def _rethink(self) -> None:
        """Time barrier and changed minds."""
        now = self.now_ms()
        for trade in self._trades.values():
            if trade.phase in ENDED:
                continue
            signal = self._signals.get(trade.symbol)
            reason = policy_exit(trade, signal, now, self._wiring.settings)
            if reason and trade.phase == "open":
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
        self._wiring.recorder.tell(
            IncidentSeen(
                kind="mind changed",
                subject=trade.symbol,
                detail=f"holds {trade.side}, the ensemble now says {signal.action} {signal.confidence:.0%}",
                repaired=False,
                now_ms=self.now_ms(),
            )
        )
