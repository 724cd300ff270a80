"""Executor: turns admitted entries into protected positions, and positions into closed trades.

Owns: the trades of our book, by symbol; the orders sent and not yet answered.
Hears: entries, the governor's word, closes, what lacks; replies and events; receipts; quotes; the wish to stop.
Says: intents to the recorder before any order, order commands to the gateway, every change of a trade to its watchers.
Never: sends an order whose intent is not on disk (but protects and closes even then), resends what may have arrived.
On restart: reads open trades from the journal, looks up every order without an answer, waits for the account's truth.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from decimal import Decimal

import msgspec

from qt_actors.decisions import trade_life, trade_repair
from qt_actors.decisions.excursions import excursions
from qt_actors.decisions.ids import purpose_in
from qt_actors.decisions.trade_reports import closed_line, placed_line
from qt_actors.decisions.trade_state import ENDED, Step, awaited, is_over, is_under_way, retry_real_ms
from qt_actors.kernel import Actor, TimerFired
from qt_actors.messages import orders, policy, positions
from qt_actors.messages.market import QuotesUpdated, SymbolRules, UniverseChosen
from qt_actors.messages.requests import UniverseRequested
from qt_actors.messages.system import Drained, DrainRequested, IncidentSeen
from qt_actors.ports import JournalReader, Mailbox
from qt_actors.trading.dispatch import Dispatch, Owner
from qt_actors.trading.refusals import Stops

LOG = logging.getLogger("qt.executor")
WISHES_MAX = 256
WISH_REAL_MS_MAX = 60_000
STOPPING = "the trader is stopping"


class ExecutorWiring(msgspec.Struct, frozen=True, kw_only=True):
    """What the executor needs from outside."""

    universe: Mailbox
    gateway: Mailbox
    recorder: Mailbox
    governor: Mailbox
    account: Mailbox
    watchers: tuple[Mailbox, ...]
    """Told of every ``TradeChanged``, ``TradeOpened``, ``TradeClosed``, and of ``TradesRecovered``."""
    journal: Callable[[], JournalReader]
    adopted_stop_pct: Decimal
    """Distance from the mark of the stop given to a position we did not open."""


class Executor(Actor):
    """See the module's card."""

    def __init__(self, wiring: ExecutorWiring) -> None:
        """Keep the wiring; recovery happens in ``on_start``."""
        super().__init__()
        self._wiring = wiring
        self._trades: dict[str, positions.TradeState] = {}
        self._rules: dict[str, SymbolRules] = {}
        self._dispatch: Dispatch
        self._entries = 0
        self._forbidden = "the governor has not spoken yet"
        """Why no entry may be sent now, by the governor's last word; what it admits later comes after a later one."""
        self._stops: Stops
        self._answer_drain: Callable[[object], None] | None = None
        self._retries: dict[str, int] = {}
        """Symbol → delay of its running retry timer, real ms."""
        self._unpriced: dict[str, positions.ProtectPosition] = {}
        """Protection asked for before the exchange's rules were known."""
        self._wishes: dict[str, positions.ClosePosition] = {}
        """Closes asked for of positions that are not in our book yet."""

    def on_start(self) -> None:
        """Recover the book; ask for whatever was under way when we went."""
        owner = Owner(
            path=self.path,
            fence=self.fence,
            now_ms=self.now_ms,
            timer=lambda key, delay_ms: self.timer(key, delay_ms, real=True),
            cancel_timer=self.cancel_timer,
        )
        self._dispatch = Dispatch(owner, self._wiring.gateway, self._wiring.recorder)
        self._stops = Stops(owner, self._tell_watchers, self._note)
        journal = self._wiring.journal()
        for trade in journal.open_trades():
            self._recover(trade)
        looks = journal.rows("equity_last") if self.incarnation == 1 else ()  # of a former process; one row a look
        self._tell_watchers(positions.TradesRecovered(looked_ms=max((row["now_ms"] for row in looks), default=0)))
        self._stops.begin()
        self._wiring.universe.tell(UniverseRequested(reply_to=self.path))
        self._wiring.account.tell(positions.SnapshotRequested(reason="executor started"))

    def _recover(self, trade: positions.TradeState) -> None:
        """Take a trade up again; an entry that was not sent yet is not sent any more, its admission was another's."""
        if trade.phase == "stopping":
            trade = msgspec.structs.replace(trade, expires_ms=0)
        self._trades[trade.symbol] = trade
        self._publish(positions.TradeChanged(trade=trade))
        unanswered = {*trade.pending, *awaited(trade)}
        for client_id in sorted(unanswered):
            self._dispatch.look_up_later(client_id, trade.symbol)
        if trade.phase == "stopping" and not unanswered:
            self._apply(trade_life.on_leverage_refused(trade, "interrupted before its entry was sent", self.now_ms()))
        self._mind_what_is_owed(trade)

    def handle(self, message: object) -> None:
        """One case a message."""
        match message:
            case policy.EntryAdmitted(decision=decision):
                self._enter(decision)
            case orders.LeverageSet() | orders.LeverageRejected():
                self._leverage(message)
            case orders.IntentsRecorded(token=token):
                self._intent_recorded(token)
            case orders.IntentsLost(token=token, reason=reason):
                self._intent_lost(token, reason)
            case orders.OrderAccepted() | orders.OrderRejected() | orders.OrderDenied() | orders.OrderCancelled():
                self._answered(message)
            case orders.OrderOutcomeUnknown() | orders.OrderFound() | orders.OrderMissing():
                self._looked_up(message)
            case orders.OrderUpdated() | orders.ConditionalUpdated() | orders.Fill():
                self._told(message)
            case QuotesUpdated():
                self._trades.update(excursions(self._trades, message))
            case TimerFired(key=key):
                what, _, of = key.partition(":")
                self._timer(what, of)
            case DrainRequested():
                self._forbidden, self._answer_drain = STOPPING, self.reply_later()
            case _:
                self._asked(message)
        if self._answer_drain is not None and not any(is_under_way(trade) for trade in self._trades.values()):
            self._answer_drain(Drained(path=self.path, account=None))
            self._answer_drain = None

    def _timer(self, what: str, of: str) -> None:
        match what:
            case "look":
                self._dispatch.look_up(of)
            case "answer":
                for lost in tuple(self._dispatch.overdue(of, self._trades)):
                    self.handle(lost)
            case "retry":
                self._retries.pop(of, None)
                self._step(of, trade_repair.retry)
            case "stops":
                self._stops.timer_fired(of)
            case _:
                self._wishes.pop(of, None)

    def _asked(self, message: object) -> None:
        """Hear the position monitor, the operator and the universe."""
        match message:
            case positions.ProtectPosition():
                self._protect(message)
            case positions.ClosePosition():
                self._close(message)
            case positions.PositionVanished(symbol=symbol):
                self._step(symbol, trade_repair.on_position_gone)
            case positions.PositionResized(symbol=symbol, quantity=size, entry_price=price):
                self._step(symbol, lambda t, now: trade_life.on_position_seen(t, size, price, now))
            case positions.RearmTrade(symbol=symbol, target=target, trail=trail):
                self._step(symbol, lambda t, now: trade_repair.rearm(t, now, target=target, trail=trail))
            case policy.Directive() if self._forbidden != STOPPING:
                self._forbidden = "" if message.allow_new_positions else f"entries were stopped: {message.reason}"
            case positions.CancelOrphan(symbol=symbol, client_id=client_id, conditional=conditional):
                self._dispatch.send(
                    orders.CancelOrder(
                        reply_to="", priority="reconcile", client_id=client_id, symbol=symbol, conditional=conditional
                    )
                )
            case UniverseChosen(rules=rules):
                self._rules, unpriced, self._unpriced = {r.symbol: r for r in rules}, self._unpriced, {}
                for asked in unpriced.values():
                    self._protect(asked)
            case _:
                pass

    def statistics(self) -> Mapping[str, object]:
        """Return what the tree view shows."""
        alive = [t for t in list(self._trades.values()) if t.phase not in ENDED]
        return {"trades": len(alive), "entries": self._entries}

    def _enter(self, decision: policy.Decision) -> None:
        """Begin the trade, unless the symbol is taken or this decision was ever acted upon: the journal remembers."""
        plan = decision.plan
        held = self._trades.get(decision.symbol)
        taken = held is not None and (not is_over(held) or held.decision_id == decision.decision_id)
        acted = {"decision_id": decision.decision_id}
        repeated = plan is None or taken or bool(self._wiring.journal().rows("intents_of", acted))
        if plan is None or repeated or self._forbidden:
            outcome = "a trade is already there" if repeated else self._forbidden
            released = policy.ReservationReleased(
                decision_id=decision.decision_id, symbol=decision.symbol, outcome=outcome
            )
            self._wiring.governor.tell(released)
            return
        self._entries += 1
        self._apply(trade_life.begin(plan, self.now_ms()))

    def _leverage(self, message: orders.LeverageSet | orders.LeverageRejected) -> None:
        if isinstance(message, orders.LeverageSet):
            self._step(message.symbol, trade_life.on_leverage_set)
            return
        reason = f"leverage {message.leverage} refused: {message.reason} ({message.code})"
        self._step(message.symbol, lambda t, now: trade_life.on_leverage_refused(t, reason, now))

    def _intent_recorded(self, token: str) -> None:
        """Send what is on disk now; an entry only if nothing has forbidden it meanwhile."""
        command = self._dispatch.waiting(token)
        if self._forbidden and isinstance(command, orders.PlaceOrder) and not command.reduce_only:
            self._dispatch.take_back(token)
            self._dispatch.resolve(command.client_id, "denied", None, self._forbidden)
            self._refused(command.symbol, command.client_id, 0, self._forbidden)
        else:
            self._dispatch.written(token)

    def _intent_lost(self, token: str, reason: str) -> None:
        """Entries are not sent without a journal; protection and exits are."""
        command = self._dispatch.take_back(token)
        if command is None:
            return
        trade = self._trades.get(command.symbol)
        if trade is not None and trade.phase in {"stopping", "entering"}:
            self._refused(command.symbol, command.client_id, 0, f"journal: {reason}")
        else:
            self._dispatch.send(command)

    def _answered(self, message: orders.Answer) -> None:
        client_id, symbol = message.client_id, message.symbol
        match message:
            case orders.OrderDenied() if self._dispatch.is_looking_up(client_id):
                self._dispatch.look_up_later(client_id, symbol)  # the look-up was denied, not the order
            case orders.OrderAccepted(exchange_id=exchange_id, status=status, executed_quantity=executed):
                self._resolve(message, "accepted", exchange_id)
                if purpose_in(client_id) == "stop":
                    self._stops.stood()
                forbidden = self._forbidden
                self._step(
                    symbol, lambda t, now: trade_life.on_accepted(t, client_id, status, executed, now, forbidden)
                )
                trade = self._trades.get(symbol)
                if trade is not None and client_id == trade.entry_id:
                    LOG.info(placed_line(trade, self.trace))
            case orders.OrderRejected(code=code, reason=reason):
                self._resolve(message, "rejected", None, f"{code} {reason}")
                self._note_refusal(message)
                self._refused(symbol, client_id, code, reason)
            case orders.OrderDenied(gate=gate, reason=reason):
                self._resolve(message, "denied", None, f"{gate}: {reason}")
                self._refused(symbol, client_id, 0, f"{gate}: {reason}")
            case orders.OrderCancelled():
                self._dispatch.forget(client_id)
                self._step(symbol, lambda t, now: trade_life.on_gone(t, client_id, now))

    def _looked_up(self, message: orders.LookedUp) -> None:
        client_id, symbol = message.client_id, message.symbol
        match message:
            case orders.OrderOutcomeUnknown():
                if self._is_pending(symbol, client_id):
                    self._dispatch.look_up_later(client_id, symbol)
                    self._step(symbol, lambda t, now: trade_life.on_unknown(t, client_id, now))
            case orders.OrderFound():
                self._resolve(message, "accepted", message.exchange_id)
                self._step(symbol, lambda t, now: trade_life.on_found(t, message, now, self._forbidden))
            case orders.OrderMissing():
                if not self._is_pending(symbol, client_id):
                    self._dispatch.forget(client_id)
                    self._step(symbol, lambda t, now: trade_life.on_gone(t, client_id, now))
                elif self._dispatch.missed(client_id):
                    self._resolve(message, "missing", None)
                    self._step(symbol, lambda t, now: trade_life.on_missing(t, client_id, now))

    def _told(self, message: orders.Told) -> None:
        trade = self._trades.get(message.symbol)
        match message:
            case orders.OrderUpdated():
                self._step(message.symbol, lambda t, now: trade_life.on_order(t, message, now))
            case orders.ConditionalUpdated():
                self._stops.heard(trade, message)
                self._step(message.symbol, lambda t, now: trade_life.on_conditional(t, message, now))
            case orders.Fill():
                self._step(message.symbol, lambda t, now: trade_life.on_fill(t, message, now))
        filled = message.fill if isinstance(message, orders.OrderUpdated) else message
        if isinstance(filled, orders.Fill) and (
            trade is None or trade.phase in ENDED or purpose_in(filled.client_id) is None
        ):
            reason = f"{filled.client_id or 'somebody'} filled {filled.symbol}, and no trade of our book has ordered it"
            self._wiring.account.tell(positions.SnapshotRequested(reason=reason))

    def _protect(self, message: positions.ProtectPosition) -> None:
        """Restore a stop or adopt; without the exchange's rules no price can be made: done when they are known."""
        now, trade = self.now_ms(), self._trades.get(message.symbol)
        unknown = trade is None or trade.phase in ENDED
        if not self._rules and message.missing_quantity:
            self._unpriced[message.symbol] = message
            return
        if not (unknown or message.missing_quantity):
            return
        if trade is not None and trade.phase == "stopping":
            self._apply(trade_repair.abandon(trade, now, "somebody else has opened a position"))
            trade, unknown = None, True
        rules, pct = self._rules.get(message.symbol), self._wiring.adopted_stop_pct
        step = trade_repair.restored(trade, message, rules, pct, now)
        self._stops.found(None if unknown else trade, step.trade, message)
        self._apply(step)
        if message.symbol in self._wishes:
            self._close(self._wishes.pop(message.symbol))

    def _close(self, message: positions.ClosePosition) -> None:
        """Close now; a position that is not in our book yet, as soon as the monitor has told of it."""
        trade, text = self._trades.get(message.symbol), f"{message.exit_reason}: {message.reason}"
        if trade is not None and trade.phase not in ENDED:
            fold = trade_repair.close_by_policy if message.exit_reason == "policy" else trade_repair.close
            self._step(message.symbol, lambda t, now: fold(t, text, now))
        elif message.exit_reason != "policy" and len(self._wishes) < WISHES_MAX:
            self._wishes[message.symbol] = message
            self.timer(f"wish:{message.symbol}", WISH_REAL_MS_MAX, real=True)
            for serial in ("first", "second"):
                reason = f"close asked for {message.symbol}, which is not in our book: {serial} look"
                self._wiring.account.tell(positions.SnapshotRequested(reason=reason))

    def _note_refusal(self, refused: orders.OrderRejected) -> None:
        """Keep what the exchange refused of what we placed; too many stops in a row make us ill."""
        if not self._is_pending(refused.symbol, refused.client_id):
            return  # a cancel was refused
        purpose = purpose_in(refused.client_id)
        self._note("order refused", refused.symbol, f"{purpose}: {refused.code} {refused.reason}", repaired=False)
        if purpose == "stop":
            self._stops.refused(refused.code, refused.reason)

    def _note(self, kind: str, symbol: str, detail: str, *, repaired: bool = True) -> None:
        incident = IncidentSeen(kind=kind, subject=symbol, detail=detail, repaired=repaired, now_ms=self.now_ms())
        self._wiring.recorder.tell(incident)

    def _refused(self, symbol: str, client_id: str, code: int, reason: str) -> None:
        self._step(symbol, lambda t, now: trade_life.on_refused(t, client_id, code, reason, now))

    def _resolve(
        self, answer: orders.Answer | orders.LookedUp, outcome: str, exchange_id: int | None, reason: str = ""
    ) -> None:
        """Note where an intent ended; a look-up is over."""
        self._dispatch.forget(answer.client_id)
        self._dispatch.resolve(answer.client_id, outcome, exchange_id, reason)

    def _is_pending(self, symbol: str, client_id: str) -> bool:
        trade = self._trades.get(symbol)
        return (
            trade is not None
            and trade.phase not in ENDED
            and (client_id in trade.pending or client_id in awaited(trade))
        )

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
        self._stops.changed(before, step.trade)
        for command in step.commands:
            if isinstance(command, orders.PlaceOrder | orders.PlaceConditional):
                self._dispatch.write_then_send(command, step.trade)
            else:
                if isinstance(command, orders.LookUpOrder):  # asked again, should this be denied or missed
                    self._dispatch.look_up_later(command.client_id, command.symbol)
                self._dispatch.send(command)
        self._mind_what_is_owed(step.trade)
        for event in step.events:
            match event:
                case policy.ReservationReleased():
                    self._wiring.governor.tell(event)
                case positions.SnapshotRequested():
                    self._wiring.account.tell(event)
                case _:
                    self._publish(event)

    def _mind_what_is_owed(self, trade: positions.TradeState) -> None:
        """Try a stop or a close that is owed and not under way again, ever more slowly, for as long as it takes."""
        delay_ms, symbol = retry_real_ms(trade), trade.symbol
        if delay_ms is not None and delay_ms < self._retries.get(symbol, delay_ms + 1):
            self._retries[symbol] = delay_ms  # a timer that runs is never put off
            self.timer(f"retry:{symbol}", delay_ms, real=True)

    def _publish(self, event: object) -> None:
        if isinstance(event, positions.TradeClosed):
            LOG.info(closed_line(event))
        self._wiring.recorder.tell(event)
        self._tell_watchers(event)

    def _tell_watchers(self, event: object | None) -> None:
        for watcher in self._wiring.watchers if event is not None else ():
            watcher.tell(event)
