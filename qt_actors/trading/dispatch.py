"""Orders on their way: intent on disk before the order is sent, and look-ups of what was never answered.

Belongs to the executor and to one incarnation of it; what was on its way when that ended is looked up by the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from qt_actors.decisions.ids import parse
from qt_actors.messages import orders
from qt_actors.messages.positions import TradeState
from qt_actors.ports import Mailbox

LOOK_UP_DELAYS_MS: Final = (250, 500, 1000, 2000, 4000, 5000)
"""Real time between look-ups; together longer than recvWindow (10 s) plus a skew of 2 s, so that "not found" at the
end means the request can no longer arrive."""
ANSWER_REAL_MS_MAX: Final = 20_000
"""The gateway answers every command, at the latest when its request has timed out; beyond this the answer is lost."""
CONDITIONAL: Final = frozenset({"stop", "target", "trail"})
Placement = orders.PlaceOrder | orders.PlaceConditional


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """What the dispatch needs of the actor it belongs to."""

    path: str
    fence: tuple[int, int]
    now_ms: Callable[[], int]
    timer: Callable[[str, int], None]
    """Real-time timer by key; fires ``TimerFired(key)`` to the actor."""
    cancel_timer: Callable[[str], None]


class LookUp(msgspec.Struct, frozen=True):
    """How often an order was asked for, and how often the exchange did not know it."""

    symbol: str
    tries: int = 0
    misses: int = 0


class Dispatch:
    """Sends commands to the gateway in the right order, and asks for what stays unanswered."""

    def __init__(self, owner: Owner, gateway: Mailbox, recorder: Mailbox) -> None:
        """Keep where to send; nothing is under way."""
        self._owner = owner
        self._gateway = gateway
        self._recorder = recorder
        self._unwritten: dict[str, Placement] = {}
        self._asked: dict[str, LookUp] = {}
        self._unresolved: set[str] = set()

    @property
    def looking_up(self) -> int:
        """Orders whose outcome is unknown."""
        return len(self._asked)

    def send(self, command: orders.Command) -> None:
        """Send now, stamped with the sender's path and fence."""
        stamped = msgspec.structs.replace(command, reply_to=self._owner.path, fence=self._owner.fence)
        self._gateway.tell(stamped)
        match command:
            case orders.PlaceOrder() | orders.PlaceConditional():
                self._owner.timer(f"answer:{command.client_id}", ANSWER_REAL_MS_MAX)
            case orders.SetLeverage():
                self._owner.timer(f"answer:{command.symbol}", ANSWER_REAL_MS_MAX)
            case _:
                pass

    def overdue(
        self, key: str, trades: Mapping[str, TradeState]
    ) -> Iterator[orders.LookedUp | orders.LeverageRejected]:
        """Yield in the gateway's place what it should have said of an order (its id) or a leverage (its symbol)."""
        lost, trade = "the gateway never answered", trades.get(key)
        for waiting in trades.values():
            if key in waiting.pending:
                yield orders.OrderOutcomeUnknown(client_id=key, symbol=waiting.symbol, conditional=False, reason=lost)
        if trade is not None and trade.phase == "stopping" and not trade.pending and not trade.stop_id:
            yield orders.LeverageRejected(symbol=key, leverage=trade.leverage, code=0, reason=lost)

    def write_then_send(self, command: Placement, trade: TradeState) -> None:
        """Record the intent; the command goes out when the receipt is back."""
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
            created_ms=self._owner.now_ms(),
        )
        self._unwritten[command.client_id] = command
        self._unresolved.add(command.client_id)
        self._recorder.tell(orders.RecordIntents(token=command.client_id, intents=(intent,), reply_to=self._owner.path))

    def waiting(self, token: str) -> Placement | None:
        """Return the command whose intent is being written."""
        return self._unwritten.get(token)

    def written(self, token: str) -> None:
        """The intent is on disk: send."""
        command = self._unwritten.pop(token, None)
        if command is not None:
            self.send(command)

    def take_back(self, token: str) -> Placement | None:
        """Return the command and do not send it any more."""
        return self._unwritten.pop(token, None)

    def resolve(self, client_id: str, outcome: str, exchange_id: int | None = None, reason: str = "") -> None:
        """Tell the journal where an intent ended: the first answer counts, those to later cancels do not."""
        if client_id not in self._unresolved:
            return
        self._unresolved.discard(client_id)
        self._recorder.tell(
            orders.IntentResolved(
                client_id=client_id,
                outcome=outcome,
                exchange_id=exchange_id,
                time_ms=self._owner.now_ms(),
                reason=reason,
            )
        )

    def is_looking_up(self, client_id: str) -> bool:
        """Tell whether the order's outcome is being asked for."""
        return client_id in self._asked

    def look_up_later(self, client_id: str, symbol: str) -> None:
        """Ask for the order after the next delay; asking itself may fail without counting as a miss."""
        if client_id not in self._asked:
            self._unresolved.add(client_id)  # asked after a restart: its intent is still open in the journal
        asked = self._asked.get(client_id, LookUp(symbol))
        self._owner.timer(f"look:{client_id}", LOOK_UP_DELAYS_MS[min(asked.tries, len(LOOK_UP_DELAYS_MS) - 1)])
        self._asked[client_id] = LookUp(symbol, asked.tries + 1, asked.misses)

    def missed(self, client_id: str) -> bool:
        """Count a "not found"; True when it has stayed so long that it is believed."""
        asked = self._asked.get(client_id)
        if asked is None or asked.misses + 1 >= len(LOOK_UP_DELAYS_MS):
            return asked is not None
        self._asked[client_id] = LookUp(asked.symbol, asked.tries, asked.misses + 1)
        self.look_up_later(client_id, asked.symbol)
        return False

    def look_up(self, client_id: str) -> None:
        """Ask now."""
        if client_id not in self._asked:
            return
        said = parse(client_id)
        self.send(
            orders.LookUpOrder(
                reply_to="",
                priority="protect",
                client_id=client_id,
                symbol=self._asked[client_id].symbol,
                conditional=said is not None and said.purpose in CONDITIONAL,
            )
        )

    def forget(self, client_id: str) -> None:
        """Stop asking."""
        if self._asked.pop(client_id, None) is not None:
            self._owner.cancel_timer(f"look:{client_id}")
