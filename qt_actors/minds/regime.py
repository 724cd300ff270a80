"""Regime: trending, ranging or normal, per symbol and for the market.

Owns: the last regimes, for hysteresis.
Hears: feature batches.
Says: regimes to the ensemble.
Never: waits: every batch is answered at once.
On restart: starts without memory; hysteresis is back after the next bar.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from qt_actors.decisions.regime import market_regime, next_regimes
from qt_actors.kernel import Actor
from qt_actors.messages.signals import FeatureBatch, Regime, RegimesRead
from qt_actors.ports import Mailbox


class RegimeWiring(msgspec.Struct, frozen=True, kw_only=True):
    """What the regime reader needs from outside."""

    listeners: tuple[Mailbox, ...]


class RegimeReader(Actor):
    """See the module's card."""

    def __init__(self, wiring: RegimeWiring) -> None:
        """Keep the wiring."""
        super().__init__()
        self._wiring = wiring
        self._last: dict[str, Regime] = {}
        self._market: Regime = "NORMAL"

    def handle(self, message: object) -> None:
        """One case a message."""
        match message:
            case FeatureBatch():
                self._read(message)
            case _:
                pass

    def statistics(self) -> Mapping[str, object]:
        """Return what the tree view shows."""
        return {"market": self._market}

    def _read(self, batch: FeatureBatch) -> None:
        previous = tuple(self._last.get(s, "NORMAL") for s in batch.symbols)
        regimes = next_regimes(batch.adx, batch.slope, batch.volatility_rank, previous)
        self._last = dict(zip(batch.symbols, regimes, strict=True))
        self._market = market_regime(regimes, self._market)
        told = RegimesRead(
            close_time_ms=batch.close_time_ms, symbols=batch.symbols, regimes=regimes, market=self._market
        )
        for listener in self._wiring.listeners:
            listener.tell(told)
