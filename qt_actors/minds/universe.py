"""Universe: which symbols are traded, and by which of the exchange's rules.

Owns: the universe chosen.
Hears: rules and volumes from the gateway, the venue's coming back, requests of those who were restarted.
Says: the universe, once, to all who work on its symbols.
Never: changes it while the trader runs: every array in the house is in its order.
On restart: asks for the rules again; the same rules and settings choose the same symbols.
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
from qt_actors.messages.system import IncidentSeen, VenueLost, VenueReady
from qt_actors.ports import Mailbox

log = logging.getLogger("qt.universe")

ANSWER_REAL_MS_MAX = 30_000


class UniverseWiring(msgspec.Struct, frozen=True, kw_only=True):
    """What the universe needs from outside; ``requested`` None means every symbol that is fit."""

    gateway: Mailbox
    listeners: tuple[Mailbox, ...]
    recorder: Mailbox
    settings: Settings
    requested: tuple[str, ...] | None
    retry_real_ms_min: int = 500
    retry_real_ms_max: int = 30_000


class Universe(Actor):
    """See the module's card."""

    def __init__(self, wiring: UniverseWiring) -> None:
        """Keep the wiring."""
        super().__init__()
        self._wiring = wiring
        self._chosen: UniverseChosen | None = None
        self._askers: list[Callable[[object], None]] = []
        self._attempt = 0
        self._listed = 0

    def on_start(self) -> None:
        """Ask for the rules."""
        self._ask()

    def handle(self, message: object) -> None:
        """One case a message."""
        match message:
            case RulesLoaded() if self._chosen is None:
                self._choose(message)
            case UniverseRequested() if self._chosen is not None:
                self.reply(self._chosen)
            case UniverseRequested(reply_to=path) if path not in {listener.path for listener in self._wiring.listeners}:
                self._askers.append(self.reply_later())
            case VenueReady() | TimerFired(key="ask") if self._chosen is None:
                self._ask()
            case VenueLost() if self._chosen is None:
                self._ask_later()
            case _:
                pass

    def statistics(self) -> Mapping[str, object]:
        """Return what the tree view shows."""
        chosen = self._chosen
        if chosen is None:
            return {"symbols": 0, "attempts": self._attempt}
        return {"symbols": len(chosen.symbols), "refused": len(chosen.refused), "listed": self._listed}

    def _choose(self, loaded: RulesLoaded) -> None:
        wiring = self._wiring
        self._listed = len(loaded.rules)
        chosen = choose_universe(
            loaded.rules, loaded.quote_volume_24h_usd, wiring.requested, wiring.settings, self.now_ms()
        )
        if not chosen.symbols:
            self._nothing(chosen)
            return
        self._chosen = chosen
        self.cancel_timer("ask")
        log.info("%d of %d symbols are traded, %d refused", len(chosen.symbols), self._listed, len(chosen.refused))
        for listener in wiring.listeners:
            listener.tell(chosen)
        for answer in self._askers:
            answer(chosen)
        self._askers.clear()

    def _nothing(self, chosen: UniverseChosen) -> None:
        """No symbol is fit: say why, and look again later."""
        reasons = "; ".join(f"{symbol}: {reason}" for symbol, reason in sorted(chosen.refused.items())[:5])
        detail = f"none of {self._listed} listed symbols may be traded ({reasons or 'the exchange lists none'})"
        log.error("%s", detail)
        self._wiring.recorder.tell(
            IncidentSeen(kind="empty universe", subject=self.path, detail=detail, repaired=False, now_ms=self.now_ms())
        )
        self._ask_later()

    def _ask(self) -> None:
        self._wiring.gateway.tell(RulesLoadRequested(reply_to=self.path))
        self.timer("ask", ANSWER_REAL_MS_MAX, real=True)

    def _ask_later(self) -> None:
        wiring = self._wiring
        delay_ms = min(wiring.retry_real_ms_min * 2**self._attempt, wiring.retry_real_ms_max)
        self._attempt = min(self._attempt + 1, 16)
        self.timer("ask", delay_ms * (0.5 + self.random.random()), real=True)
