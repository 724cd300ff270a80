"""Closes that an operator asked for: the executor is told of each once in a life of the governor, until it is done."""

from __future__ import annotations

from qt_actors.decisions import closes
from qt_actors.messages.positions import AccountSnapshot, ClosePosition
from qt_actors.messages.system import ClosesRequested, GovernorState
from qt_actors.ports import Mailbox


class Closing:
    """Which closes the executor has been told of in this life."""

    def __init__(self, executor: Mailbox) -> None:
        """Keep whom to tell; nothing was told yet."""
        self._executor = executor
        self._told: set[str] = set()

    def asked(self, state: GovernorState, message: ClosesRequested) -> GovernorState:
        """Keep closes that the executor has heard from the operator."""
        self._told.update(message.symbols)
        return closes.after_request(state, message)

    def seen(self, state: GovernorState, snapshot: AccountSnapshot) -> GovernorState:
        """Forget what is flat; tell the executor what an earlier life was asked for and is not."""
        state = closes.after_look(state, {p.symbol for p in snapshot.positions})
        for symbol in state.closing.keys() - self._told:
            self._executor.tell(ClosePosition(symbol=symbol, reason=state.closing[symbol], exit_reason="manual"))
        self._told = set(state.closing)
        return state
