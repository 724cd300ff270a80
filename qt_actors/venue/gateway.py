"""Gateway: the one door to the exchange; nothing else in the tree holds credentials or sends a request.

Owns: the exchange port, whether it is ready, the commands in flight, the newest fence seen of every sender.
Hears: order commands, requests for loads, the port's answers.
Says: outcomes and loads to whoever asked; ``VenueReady`` and ``VenueLost`` to its subscribers; the budget used.
Never: sends a command that is late, of a superseded incarnation, or under way; opens risk while not ready.
On restart: connects again; answers to commands of its predecessor still find their way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from qt_actors.kernel import Actor, Address, TimerFired
from qt_actors.messages.base import Message
from qt_actors.messages.orders import (
    Command,
    OrderAccepted,
    OrderCancelled,
    OrderFound,
    OrderMissing,
    PlaceConditional,
    PlaceOrder,
)
from qt_actors.messages.requests import (
    AccountLoadRequested,
    BarsLoadRequested,
    LedgerLoadRequested,
    RulesLoadRequested,
)
from qt_actors.messages.system import VenueLost, VenueReady
from qt_actors.ports import Exchange, Mailbox
from qt_actors.venue.tickets import Answered, Loading, Ticket, denied, key_of

SERVED = OrderAccepted | OrderCancelled | OrderFound | OrderMissing
"""Answers that only an exchange which works again can give."""
Load = RulesLoadRequested | BarsLoadRequested | AccountLoadRequested | LedgerLoadRequested


class GatewayWiring(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway needs from outside."""

    exchange: Exchange
    address_of: Callable[[str], Address]
    """The runtime's: where answers go, and who is entitled to act there now."""
    subscribers: tuple[Mailbox, ...]
    """Told of ``VenueReady``, ``VenueLost``, ``BudgetUsed``."""
    outcome_listeners: tuple[Mailbox, ...] = ()
    """Told of every outcome of a command, besides whoever gave it."""
    retry_real_ms_min: int = 250
    retry_real_ms_max: int = 8_000
    """Positions may be bare when the exchange is back: it is asked often, with one cheap request."""
    budget_real_ms: int = 5_000
    connect_real_ms_max: int = 60_000


class Gateway(Actor):
    """See the module's card."""

    def __init__(self, wiring: GatewayWiring) -> None:
        """Keep the wiring."""
        super().__init__()
        self._wiring = wiring
        self._ready: VenueReady | None = None
        self._lost = VenueLost(reason="not connected yet")
        self._attempt, self._connecting = 0, False
        self._in_flight: dict[tuple[str, str], int] = {}
        self._fences: dict[str, tuple[int, int]] = {}
        self._denied = 0
        self._sent = 0

    def on_start(self) -> None:
        """Connect; the answer comes as a message."""
        self._connect()
        self.timer("budget", self._wiring.budget_real_ms, real=True)

    def handle(self, message: object) -> None:
        """One case a message."""
        match message:
            case Command():
                self._command(message)
            case Answered():
                self._answer(message)
            case RulesLoadRequested() | BarsLoadRequested() | AccountLoadRequested() | LedgerLoadRequested():
                self._load(message)
            case VenueReady():
                self._connected(message)
            case VenueLost():
                self._disconnected(message)
            case TimerFired(key="connect"):
                self._connect()
            case TimerFired(key="budget"):
                self._publish(self._wiring.exchange.budget())
                self.timer("budget", self._wiring.budget_real_ms, real=True)
            case _:
                pass

    def statistics(self) -> Mapping[str, object]:
        """Return what the tree view shows."""
        used = self._wiring.exchange.budget()
        return {
            "ready": self._ready is not None,
            "lost": "" if self._ready is not None else self._lost.reason,
            "sent": self._sent,
            "denied": self._denied,
            "in_flight": len(self._in_flight),
            "weight_used": round(used.weight_ratio, 3),
            "orders_used": round(used.orders_ratio, 3),
        }

    def _command(self, command: Command) -> None:
        key = key_of(command)
        refusal = self._refusal(command, key)
        reply_to = self._wiring.address_of(command.reply_to)
        if refusal is not None:
            self._denied += 1
            self._tell_outcome(reply_to, denied(command, *refusal))
            return
        self._sent += 1
        self._in_flight[key] = self._in_flight.get(key, 0) + 1
        self._wiring.exchange.submit(command, Ticket(self.me, key, command.reply_to), trace=self.trace)

    def _refusal(self, command: Command, key: tuple[str, str]) -> tuple[str, str] | None:
        """(gate, reason) why this command is not sent, or None."""
        if command.fence is not None:
            newest = max(self._fences.get(command.reply_to, command.fence), self._entitled(command.reply_to))
            self._fences[command.reply_to] = newest
            if command.fence < newest:
                return "fence", f"{command.reply_to} {command.fence} is superseded by {newest}"
        if command.expires_ms is not None and self.now_ms() > command.expires_ms:
            return "expired", f"{self.now_ms() - command.expires_ms} ms too late"
        if self._ready is None and command.priority != "protect":
            return "venue", self._lost.reason
        if isinstance(command, PlaceOrder | PlaceConditional) and key in self._in_flight:
            return "duplicate", f"{command.client_id} is already under way"
        return None

    def _entitled(self, path: str) -> tuple[int, int]:
        return self._wiring.address_of(path).fence

    def _answer(self, answer: Answered) -> None:
        left = self._in_flight.get(answer.key, 0) - 1
        if left > 0:
            self._in_flight[answer.key] = left
        else:
            self._in_flight.pop(answer.key, None)
        self._tell_outcome(self._wiring.address_of(answer.reply_to), answer.outcome)
        if self._ready is None and not self._connecting and isinstance(answer.outcome, SERVED):
            self._attempt = 0
            self._connect()

    def _tell_outcome(self, reply_to: Mailbox, outcome: object) -> None:
        for mailbox in (reply_to, *self._wiring.outcome_listeners):
            mailbox.tell(outcome)

    def _load(self, request: Load) -> None:
        reply_to = self._wiring.address_of(request.reply_to)
        if self._ready is None:
            reply_to.tell(self._lost)
            return
        exchange = self._wiring.exchange
        match request:
            case RulesLoadRequested():
                exchange.load_rules(reply_to)
            case BarsLoadRequested(symbols=symbols, interval=interval, since_ms=since_ms, limit=limit):
                exchange.load_bars(symbols, interval, since_ms, limit, reply_to)
            case AccountLoadRequested(serial=serial):
                exchange.load_account(serial, Loading(self.me, reply_to))
            case LedgerLoadRequested(since_ms=since_ms, symbols=symbols):
                exchange.load_ledger(since_ms, symbols, Loading(self.me, reply_to))

    def _connect(self) -> None:
        self._connecting = True
        self._wiring.exchange.connect(self.me)
        # Should the port stay silent, the next attempt comes all the same.
        self.timer("connect", self._wiring.connect_real_ms_max, real=True)

    def _connected(self, ready: VenueReady) -> None:
        self.cancel_timer("connect")
        self._attempt, self._connecting = 0, False
        self._ready = ready
        self._publish(ready)

    def _disconnected(self, lost: VenueLost) -> None:
        if self._ready is not None or lost != self._lost:
            self._publish(lost)
        self._ready, self._lost, self._connecting = None, lost, False
        delay_ms = min(self._wiring.retry_real_ms_min * 2**self._attempt, self._wiring.retry_real_ms_max)
        self._attempt = min(self._attempt + 1, 16)
        if lost.until_ms is not None and lost.until_ms > self.now_ms():
            self.timer("connect", lost.until_ms - self.now_ms() + delay_ms)
        else:
            self.timer("connect", delay_ms * (0.5 + self.random.random()), real=True)

    def _publish(self, message: Message) -> None:
        for subscriber in self._wiring.subscribers:
            subscriber.tell(message)
