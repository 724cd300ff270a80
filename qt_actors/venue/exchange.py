"""Embedded exchange: keeps the paper exchange running while the trader runs.

Owns: the served exchange (its own thread and event loop; the account's state is in its file).
Hears: pause and resume of the market.
Says: nothing; its clients are on the socket.
Never: answers for the exchange; the trader reaches it over loopback like any other.
On restart: serves again on the same port, from the saved state; the gateway reconnects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from qt_actors.kernel import Actor
from qt_actors.messages.system import MarketPaused, MarketResumed


class Served(Protocol):
    """A running exchange."""

    port: int

    def pause(self) -> None:
        """Stop exchange time."""
        ...

    def resume(self) -> None:
        """Let it go on."""
        ...

    def stop(self) -> None:
        """Save and close."""
        ...


class EmbeddedExchangeWiring(msgspec.Struct, frozen=True, kw_only=True):
    """What it needs from outside."""

    serve: Callable[[], Served]
    """Starts the exchange, or hands out the one that was started to learn its port."""


class EmbeddedExchange(Actor):
    """See the module's card."""

    def __init__(self, wiring: EmbeddedExchangeWiring) -> None:
        """Keep the wiring."""
        super().__init__()
        self._wiring = wiring
        self._served: Served | None = None

    def on_start(self) -> None:
        """Serve."""
        self._served = self._wiring.serve()

    def on_stop(self) -> None:
        """Save and close."""
        if self._served is not None:
            self._served.stop()

    def handle(self, message: object) -> None:
        """One case a message."""
        match message:
            case MarketPaused() if self._served is not None:
                self._served.pause()
            case MarketResumed() if self._served is not None:
                self._served.resume()
            case _:
                pass

    def statistics(self) -> Mapping[str, object]:
        """Return what the tree view shows."""
        return {"port": self._served.port if self._served else 0}
