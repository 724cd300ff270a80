"""Executor: turns admitted entries into protected positions, and positions into closed trades.

Owns: the trades of our book, by symbol; the orders sent and not yet answered.
Hears: entries admitted, closes asked, protection missing; the exchange's replies and events; journal receipts; quotes.
Says: intents to the recorder before any order, order commands to the gateway, every change of a trade to its watchers.
Never: sends an order whose intent is not on disk (but protects and closes even then), resends what may have arrived.
On restart: reads open trades from the journal, looks up every order without an answer, waits for the account's truth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from qt_actors.decisions import trade_life
from qt_actors.decisions.protection import adopt, emergency_stop_price
from qt_actors.decisions.trade_life import ENDED, Step
from qt_actors.kernel import Actor, TimerFired
from qt_actors.messages import orders, policy, positions
from qt_actors.messages.market import QuotesUpdated, SymbolRules, UniverseChosen
from qt_actors.messages.system import IncidentSeen
from qt_actors.ports import JournalReader, Mailbox
from qt_actors.decisions.excursions import excursions

LOOK_UP_DELAYS_MS: Final = (250, 500, 1000, 2000, 4000, 5000)
"""Real time between look-ups; together longer than recvWindow (10 s) plus a skew of 2 s, so that "not found" at the
end means the request can no longer arrive."""


class ExecutorWiring(msgspec.Struct, frozen=True, kw_only=True):
    """What the executor needs from outside."""

    gateway: Mailbox
    recorder: Mailbox
    governor: Mailbox
    account: Mailbox
    watchers: tuple[Mailbox, ...]
    """Told of every ``TradeChanged``, ``TradeOpened``, ``TradeClosed``."""
    journal: Callable[[], JournalReader]
    adopted_stop_pct: float


class Executor(Actor):
    """See the module's card."""

    def __init__(self, wiring: ExecutorWiring) -> None:
        """Keep the wiring; recovery happens in ``on_start``."""
        super().__init__()
        self._wiring = wiring
        self._trades: dict[str, positions.TradeState] = {}
        self._rules: dict[str, SymbolRules] = {}
        self._unwritten: dict[str, tuple[orders.Command, ...]] = {}
        self._misses: dict[str, tuple[str, bool, int]] = {}
        self._entries = 0

    def on_start(self) -> None:
        """Recover the book; ask for whatever was under way when we went."""
        for trade in self._wiring.journal().open_trades():
            self._trades[trade.symbol] = trade
            self._publish(positions.TradeChanged(trade=trade))
            for client_id in trade.pending:
                self._look_up_later(client_id, trade.symbol)
            if trade.phase == "stopping" and not trade.pending and not trade.stop_id:
                self._apply(trade_life.on_leverage_refused(trade, "interrupted before anything was sent", self.now_ms()))
        self._wiring.account.tell(positions.SnapshotRequested(reason="executor started"))

    def handle(self, message: object) -> None:
        """One case a message."""
        match message:
            case policy.EntryAdmitted(decision=decision):
                self._enter(decision)
            case orders.LeverageSet() | orders.LeverageRejected():
                self._leverage(message)
            case orders.IntentsRecorded(token=token):
                self._send(self._unwritten.pop(token, ()))
            case orders.IntentsLost(token=token, reason=reason):
                self._intents_lost(token, reason)
            case orders.OrderAccepted() | orders.OrderRejected() | orders.OrderDenied() | orders.OrderCancelled():
                self._answered(message)
            case orders.OrderOutcomeUnknown() | orders.OrderFound() | orders.OrderMissing():
                self._looked_up(message)
            case orders.OrderUpdated() | orders.ConditionalUpdated() | orders.Fill():
                self._told(message)
            case positions.ProtectPosition():
                self._protect(message)
            case positions.ClosePosition(symbol=symbol, reason=reason, exit_reason=kind):
                self._step(symbol, lambda t, now: trade_life.close(t, f"{kind}: {reason}", now))
            case positions.PositionVanished(symbol=symbol):
                self._step(symbol, trade_life.on_position_gone)
            case positions.CancelOrphan():
                self._cancel_orphan(message)
            case QuotesUpdated():
                self._trades.update(excursions(self._trades, message))
            case UniverseChosen(rules=rules):
                self._rules = {r.symbol: r for r in rules}
            case TimerFired(key=key) if key.startswith("look:"):
                self._look_up(key.removeprefix("look:"))
            case _:
                pass

    def statistics(self) -> Mapping[str, object]:
        """Return what the tree view shows."""
        alive = [t for t in list(self._trades.values()) if t.phase not in ENDED]
        return {"trades": len(alive), "entries": self._entries, "looking_up": len(self._misses)}

    def _enter(self, decision: policy.Decision) -> None:
        plan = decision.plan
        held = self._trades.get(decision.symbol)
        if plan is None or (held is not None and held.phase not in ENDED):
            self._wiring.governor.tell(
                policy.ReservationReleased(
                    decision_id=decision.decision_id, symbol=decision.symbol, outcome="a trade is already there"
                )
            )
            return
        self._entries += 1
        self._apply(trade_life.begin(plan, self.now_ms()))

    def _leverage(self, message: orders.LeverageSet | orders.LeverageRejected) -> None:
        if isinstance(message, orders.LeverageSet):
            self._step(message.symbol, trade_life.on_leverage_set)
        else:
            reason = f"leverage {message.leverage} refused: {message.reason} ({message.code})"
            self._step(message.symbol, lambda t, now: trade_life.on_leverage_refused(t, reason, now))

    def _intents_lost(self, token: str, reason: str) -> None:
        """Entries are not sent without a journal; protection and exits are."""
        for command in self._unwritten.pop(token, ()):
            trade = self._trades.get(getattr(command, "symbol", ""))
            opening = trade is not None and trade.phase in {"stopping", "entering"}
            if opening and isinstance(command, orders.PlaceOrder | orders.PlaceConditional):
                self._refused(command.symbol, command.client_id, 0, f"journal: {reason}")
            else:
                self._send((command,))

    def _answered(
        self,
        message: orders.OrderAccepted | orders.OrderRejected | orders.OrderDenied | orders.OrderCancelled,
    ) -> None:
        client_id, symbol = message.client_id, message.symbol
        if isinstance(message, orders.OrderDenied) and client_id in self._misses:
            self._look_up_later(client_id, symbol)  # the look-up was denied, not the order
            return
        self._forget_look_up(client_id)
        match message:
            case orders.OrderAccepted(exchange_id=exchange_id, status=status, executed_quantity=executed):
                self._resolve(client_id, "accepted", exchange_id)
                self._step(symbol, lambda t, now: trade_life.on_accepted(t, client_id, status, executed, now))
            case orders.OrderRejected(code=code, reason=reason):
                self._resolve(client_id, "rejected", None, f"{code} {reason}")
                self._refused(symbol, client_id, code, reason)
            case orders.OrderDenied(gate=gate, reason=reason):
                self._resolve(client_id, "denied", None, f"{gate}: {reason}")
                self._refused(symbol, client_id, 0, f"{gate}: {reason}")
            case orders.OrderCancelled():
                self._resolve(client_id, "cancelled", None)

    def _looked_up(self, message: orders.OrderOutcomeUnknown | orders.OrderFound | orders.OrderMissing) -> None:
        client_id, symbol = message.client_id, message.symbol
        match message:
            case orders.OrderOutcomeUnknown():
                if self._is_pending(symbol, client_id):
                    self._look_up_later(client_id, symbol)
            case orders.OrderFound(conditional=True, exchange_id=exchange_id, status=status, executed_quantity=done):
                self._forget_look_up(client_id)
                self._resolve(client_id, "accepted", exchange_id)
                self._step(symbol, lambda t, now: trade_life.on_accepted(t, client_id, status, done, now))
            case orders.OrderFound(exchange_id=exchange_id, status=status, executed_quantity=done, average_price=price):
                self._forget_look_up(client_id)
                self._resolve(client_id, "accepted", exchange_id)
                self._step(symbol, lambda t, now: self._order_found(t, client_id, (status, done, price), now))
            case orders.OrderMissing() if self._is_pending(symbol, client_id):
                _, conditional, misses = self._misses.get(client_id, (symbol, message.conditional, 0))
                if misses + 1 < len(LOOK_UP_DELAYS_MS):
                    self._misses[client_id] = (symbol, conditional, misses + 1)
                    self._look_up_later(client_id, symbol)
                    return
                self._forget_look_up(client_id)
                self._resolve(client_id, "missing", None)
                self._refused(symbol, client_id, 0, "the exchange never got it")
            case _:
                self._forget_look_up(client_id)

    def _order_found(
        self, trade: positions.TradeState, client_id: str, found: tuple[str, orders.Decimal, orders.Decimal], now: int
    ) -> Step:
        status, done, price = found
        if client_id == trade.entry_id:
            return trade_life.on_entry_found(trade, status, done, price, now)
        return trade_life.on_accepted(trade, client_id, status, done, now)

    def _told(self, message: orders.OrderUpdated | orders.ConditionalUpdated | orders.Fill) -> None:
        match message:
            case orders.OrderUpdated(symbol=symbol):
                self._step(symbol, lambda t, now: trade_life.on_order(t, message, now))
            case orders.ConditionalUpdated(symbol=symbol):
                self._step(symbol, lambda t, now: trade_life.on_conditional(t, message, now))
            case orders.Fill(symbol=symbol):
                self._step(symbol, lambda t, now: trade_life.on_exit_fill(t, message, now))

    def _protect(self, message: positions.ProtectPosition) -> None:
        """Restore a missing stop; adopt a position that is not in our book."""
        now, trade = self.now_ms(), self._trades.get(message.symbol)
        self._wiring.recorder.tell(
            IncidentSeen(
                kind="adopted position" if trade is None else "missing protection",
                subject=message.symbol,
                detail=f"{message.quantity} held, {message.missing_quantity} without a stop",
                repaired=True,
                now_ms=now,
            )
        )
        rules, pct = self._rules.get(message.symbol), orders.Decimal(str(self._wiring.adopted_stop_pct))
        if trade is None or trade.phase in ENDED:
            trade = adopt(message, None, rules, pct, now)
        elif not trade.stop_price:
            price = emergency_stop_price(message, rules, pct)
            trade = msgspec.structs.replace(trade, stop_price=price, changed_ms=now)
        long = message.quantity > 0
        passed = message.mark_price <= trade.stop_price if long else message.mark_price >= trade.stop_price
        self._apply(trade_life.protect(trade, now, passed=passed))

    def _cancel_orphan(self, message: positions.CancelOrphan) -> None:
        command = orders.CancelOrder(
            reply_to="",
            priority="reconcile",
            client_id=message.client_id,
            symbol=message.symbol,
            conditional=message.conditional,
        )
        self._send((command,))

    def _refused(self, symbol: str, client_id: str, code: int, reason: str) -> None:
        self._step(symbol, lambda t, now: trade_life.on_refused(t, client_id, code, reason, now))

    def _step(self, symbol: str, fold: Callable[[positions.TradeState, int], Step]) -> None:
        trade = self._trades.get(symbol)
        if trade is not None:
            self._apply(fold(trade, self.now_ms()))

    def _apply(self, step: Step) -> None:
        """Keep the new state, tell it, then order: state and intents are on disk before anything is sent."""
        before = self._trades.get(step.trade.symbol)
        self._trades[step.trade.symbol] = step.trade
        if step.trade != before:
            self._publish(positions.TradeChanged(trade=step.trade))
        placed = tuple(c for c in step.commands if isinstance(c, orders.PlaceOrder | orders.PlaceConditional))
        self._send(tuple(c for c in step.commands if c not in placed))
        for command in placed:
            self._write_then_send(command, step.trade)
        for event in step.events:
            match event:
                case policy.ReservationReleased():
                    self._wiring.governor.tell(event)
                case positions.SnapshotRequested():
                    self._wiring.account.tell(event)
                case _:
                    self._publish(event)

    def _write_then_send(
        self, command: orders.PlaceOrder | orders.PlaceConditional, trade: positions.TradeState
    ) -> None:
        conditional = isinstance(command, orders.PlaceConditional)
        intent = orders.Intent(
            client_id=command.client_id,
            decision_id=trade.decision_id,
            symbol=command.symbol,
            side=command.side,
            purpose=command.purpose,
            conditional=conditional,
            kind=command.kind if isinstance(command, orders.PlaceConditional) else "MARKET",
            quantity=command.quantity,
            price=command.trigger_price if isinstance(command, orders.PlaceConditional) else trade.decision_price,
            created_ms=self.now_ms(),
        )
        self._unwritten[command.client_id] = (command,)
        self._wiring.recorder.tell(
            orders.RecordIntents(token=command.client_id, intents=(intent,), reply_to=self.path)
        )

    def _send(self, commands: tuple[orders.Command, ...]) -> None:
        for command in commands:
            stamped = msgspec.structs.replace(command, reply_to=self.path, fence=self.fence)
            self._wiring.gateway.tell(stamped)

    def _publish(self, event: object) -> None:
        self._wiring.recorder.tell(event)
        for watcher in self._wiring.watchers:
            watcher.tell(event)

    def _resolve(self, client_id: str, outcome: str, exchange_id: int | None, reason: str = "") -> None:
        self._wiring.recorder.tell(
            orders.IntentResolved(
                client_id=client_id, outcome=outcome, exchange_id=exchange_id, time_ms=self.now_ms(), reason=reason
            )
        )

    def _is_pending(self, symbol: str, client_id: str) -> bool:
        trade = self._trades.get(symbol)
        return trade is not None and client_id in trade.pending

    def _look_up_later(self, client_id: str, symbol: str) -> None:
        said = trade_life.parse(client_id)
        conditional = said is not None and said.purpose in {"stop", "target", "trail"}
        _, conditional, misses = self._misses.setdefault(client_id, (symbol, conditional, 0))
        self.timer(f"look:{client_id}", LOOK_UP_DELAYS_MS[min(misses, len(LOOK_UP_DELAYS_MS) - 1)], real=True)

    def _look_up(self, client_id: str) -> None:
        if client_id not in self._misses:
            return
        symbol, conditional, _ = self._misses[client_id]
        self._send(
            (
                orders.LookUpOrder(
                    reply_to="", priority="protect", client_id=client_id, symbol=symbol, conditional=conditional
                ),
            )
        )

    def _forget_look_up(self, client_id: str) -> None:
        if self._misses.pop(client_id, None) is not None:
            self.cancel_timer(f"look:{client_id}")
