"""Web: keeps the HTTP server running and its board up to date.

Owns: nothing but the port; what is shown lives on the board.
Hears: account, ledger, trades, signals, votes, regimes, policy, the governor's word and state, models, protection,
    health, streams, venue, budgets, quotes, universe.
Says: nothing; an operator's word goes from the server straight to governor and executor.
Never: is asked by a request; lets a slow client delay an actor.
On restart: starts the server again if it has stopped; the board keeps what was known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from qt_actors.kernel import Actor
from qt_actors.messages import market, policy, positions, signals, system


class WebPort(Protocol):
    """The server with its board (``edges.web.server.WebServer``)."""

    @property
    def port(self) -> int:
        """Where it listens."""
        ...

    def start(self) -> None:
        """Serve; does nothing while it serves. Raises OSError when the port cannot be had."""
        ...

    def show(self, message: object) -> None:
        """Show a message on the board."""
        ...

    def stop(self) -> None:
        """Stop serving."""
        ...


class WebWiring(msgspec.Struct, frozen=True, kw_only=True):
    """What the web needs from outside."""

    server: WebPort


class Web(Actor):
    """See the module's card."""

    def __init__(self, wiring: WebWiring) -> None:
        """Keep the wiring; the server starts in ``on_start``."""
        super().__init__()
        self._wiring = wiring
        self._shown = 0

    def on_start(self) -> None:
        """Serve."""
        self._wiring.server.start()

    def on_stop(self) -> None:
        """Free the port."""
        self._wiring.server.stop()

    def handle(self, message: object) -> None:
        """One case a message."""
        match message:
            case (
                positions.AccountSnapshot()
                | positions.LedgerSynced()
                | positions.TradeChanged()
                | positions.ProtectionMeasured()
                | signals.Signals()
                | signals.Votes()
                | signals.RegimesRead()
                | signals.ModelStateChanged()
                | policy.Directive()
                | policy.Policy()
                | system.GovernorState()
                | system.HealthReported()
                | system.VenueReady()
                | system.VenueLost()
                | system.BudgetUsed()
                | market.QuotesUpdated()
                | market.StreamChanged()
                | market.UniverseChosen()
            ):
                self._shown += 1
                self._wiring.server.show(message)
            case _:
                pass

    def statistics(self) -> Mapping[str, object]:
        """Return what the tree view shows."""
        return {"port": self._wiring.server.port, "shown": self._shown}
