"""Universe: which symbols are traded, by which rules.

Owns: the chosen symbols and their rules.
Hears: the exchange's rules (on request), requests for the universe, a venue that is back.
Says: ``UniverseChosen`` to all who need it, and to whoever asks.
Never: changes the symbols of a running trader; who is in and who is not, and why, is told once a start.
On restart: asks for the rules again; others go on with what they were told.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import msgspec

from config.settings import Settings
from qt_actors.decisions.universe import choose_universe
from qt_actors.kernel import Actor, TimerFired
from qt_actors.messages.market import RulesLoaded, UniverseChosen
from qt_actors.messages.requests import RulesLoadRequested, UniverseRequested
from qt_actors.messages.system import VenueLost, VenueReady
from qt_actors.ports import Mailbox

LOG = logging.getLogger("qt.universe")
RETRY_REAL_MS = 2000


class UniverseWiring(msgspec.Struct, frozen=True, kw_only=True):
    """What the universe needs from outside."""

    settings: Settings
    requested: tuple[str, ...] | None
    """Symbols the user named; None = all."""
    gateway: Mailbox
    listeners: tuple[Mailbox, ...]
    address_of: Callable[[str], Mailbox]


class Universe(Actor):
    """See the module's card."""

    def __init__(self, wiring: UniverseWiring) -> None:
        """Keep the wiring."""
        super().__init__()
        self._wiring = wiring
        self._chosen: UniverseChosen | None = None
        self._asking: set[str] = set()

    def on_start(self) -> None:
        """Ask; asked again until it is answered."""
        self._ask()

    def handle(self, message: object) -> None:
        """One case a message."""
        match message:
            case RulesLoaded():
                self._choose(message)
            case UniverseRequested(reply_to=reply_to):
                if self._chosen is None:
                    self._asking.add(reply_to)
                else:
                    self._wiring.address_of(reply_to).tell(self._chosen)
            case VenueReady() | TimerFired(key="retry") if self._chosen is None:
                self._ask()
            case VenueLost() if self._chosen is None:
                self.timer("retry", RETRY_REAL_MS, real=True)
            case _:
                pass

    def statistics(self) -> Mapping[str, object]:
        """Return what the tree view shows."""
        chosen = self._chosen
        return {"symbols": len(chosen.symbols), "refused": len(chosen.refused)} if chosen else {"symbols": 0}

    def _ask(self) -> None:
        self._wiring.gateway.tell(RulesLoadRequested(reply_to=self.path))
        self.timer("retry", 10 * RETRY_REAL_MS, real=True)

    def _choose(self, loaded: RulesLoaded) -> None:
        if self._chosen is not None:
            return
        wiring = self._wiring
        chosen = choose_universe(
            loaded.rules, loaded.quote_volume_24h_usd, wiring.requested, wiring.settings, self.now_ms()
        )
        if not chosen.symbols:
            LOG.error("no symbol may be traded: %s", "; ".join(f"{s} {why}" for s, why in chosen.refused.items())[:500])
            self.timer("retry", 10 * RETRY_REAL_MS, real=True)
            return
        self.cancel_timer("retry")
        self._chosen = chosen
        LOG.info("%d symbols are traded, %d are not", len(chosen.symbols), len(chosen.refused))
        for symbol, why in list(chosen.refused.items())[:10]:
            LOG.info("left out: %s, %s", symbol, why)
        for listener in (*wiring.listeners, *(wiring.address_of(path) for path in self._asking)):
            listener.tell(chosen)
        self._asking.clear()
