"""Reply addresses the gateway hands to the port: an answer knows what it answers, and where it belongs."""

from __future__ import annotations

from qt_actors.messages.base import Message
from qt_actors.messages.orders import Command, LeverageRejected, OrderDenied, PlaceConditional, SetLeverage
from qt_actors.messages.system import VenueLost
from qt_actors.ports import Mailbox


class Answered(Message, frozen=True, kw_only=True):
    """Port → gateway: the one outcome of a command, with where it belongs."""

    key: tuple[str, str]
    reply_to: str
    outcome: object


class Ticket:
    """The mailbox a command's outcome is told to; correlates it even across the gateway's restart."""

    def __init__(self, gateway: Mailbox, key: tuple[str, str], reply_to: str) -> None:
        self._gateway = gateway
        self._key = key
        self._reply_to = reply_to

    @property
    def path(self) -> str:
        """The gateway's."""
        return self._gateway.path

    def tell(self, message: object, *, trace: str | None = None, deadline_ms: int | None = None) -> None:
        """Pass the outcome on to the gateway."""
        answer = Answered(key=self._key, reply_to=self._reply_to, outcome=message)
        self._gateway.tell(answer, trace=trace, deadline_ms=deadline_ms)


class Loading:
    """Answers of the account's loads: to whoever asked, and a failure to the gateway too, for it concerns everybody."""

    def __init__(self, gateway: Mailbox, reply_to: Mailbox) -> None:
        self._gateway = gateway
        self._reply_to = reply_to

    @property
    def path(self) -> str:
        """The asker's."""
        return self._reply_to.path

    def tell(self, message: object, *, trace: str | None = None, deadline_ms: int | None = None) -> None:
        """Pass on."""
        if isinstance(message, VenueLost):
            self._gateway.tell(message, trace=trace, deadline_ms=deadline_ms)
        self._reply_to.tell(message, trace=trace, deadline_ms=deadline_ms)


def key_of(command: Command) -> tuple[str, str]:
    """What a command is about: two of the same key are the same command."""
    name = getattr(command, "client_id", "") or getattr(command, "symbol", "")
    return type(command).__name__, name


def denied(command: Command, gate: str, reason: str) -> OrderDenied | LeverageRejected:
    """The gateway's refusal, in the shape the command's sender expects."""
    if isinstance(command, SetLeverage):
        return LeverageRejected(symbol=command.symbol, leverage=command.leverage, code=0, reason=f"{gate}: {reason}")
    return OrderDenied(
        client_id=getattr(command, "client_id", ""),
        symbol=getattr(command, "symbol", ""),
        conditional=isinstance(command, PlaceConditional) or getattr(command, "conditional", False),
        gate=gate,
        reason=reason,
    )
