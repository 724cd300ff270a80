"""What the web shows: one immutable snapshot of the trader, folded from the messages that its actor hears.

A request reads the snapshot that stands at its moment; no actor is asked, and a slow client delays nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from qt_actors.messages import market, positions, system
from qt_actors.messages.policy import Directive, Policy
from qt_actors.messages.signals import ModelStateChanged, RegimesRead, Signals, Votes

ENDED = frozenset({"closed", "abandoned"})


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What runs, named so everywhere."""

    version: str
    mode: str
    market: str
    """``synthetic seed 7``, ``replay DIR``, ``Binance testnet``."""
    profile: str
    bar_interval: str
    models: tuple[str, ...]
    """Names of the models that are meant to vote (``AI_MODEL``)."""
    speed: float = 1.0
    """Of the market's clock: ages are told in real time."""


class VoteCount(msgspec.Struct, frozen=True, kw_only=True):
    """How one model answered to the newest bar."""

    close_time_ms: int
    elapsed_ms: float
    buy: int
    sell: int
    hold: int
    abstained: int
    reason: str
    """The commonest reason to abstain."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The trader at one moment; None = not heard yet."""

    run: RunInfo
    account: positions.AccountSnapshot | None = None
    ledger_ms: int | None = None
    """When the exchange's ledger was last read, ms UTC of the market's clock."""
    trades: Mapping[str, positions.TradeState] = {}
    signals: Signals | None = None
    regimes: RegimesRead | None = None
    votes: Mapping[str, VoteCount] = {}
    models: Mapping[str, ModelStateChanged] = {}
    directive: Directive | None = None
    entries_since_ms: int = 0
    """When the governor last allowed entries or stopped them."""
    policy: Policy | None = None
    governor: system.GovernorState | None = None
    protection: positions.ProtectionMeasured | None = None
    unprotected_s: float = 0.0
    health: Mapping[str, system.HealthReported] = {}
    streams: Mapping[str, market.StreamChanged] = {}
    venue: system.VenueReady | system.VenueLost | None = None
    budget: system.BudgetUsed | None = None
    quotes: market.QuotesUpdated | None = None
    universe: market.UniverseChosen | None = None


def fold(before: Snapshot, message: object) -> Snapshot:
    """Return the snapshot after ``message``; one that shows nothing leaves it as it is."""
    if isinstance(message, positions.LedgerSynced):  # of its rows the journal tells
        return msgspec.structs.replace(before, ledger_ms=message.now_ms)
    changes: dict[str, Any] = _keyed(before, message) or _plain(before, message)
    return msgspec.structs.replace(before, **changes) if changes else before


def _plain(before: Snapshot, message: object) -> dict[str, Any]:
    """Messages of which the newest stands."""
    match message:
        case positions.AccountSnapshot():
            return {"account": message}
        case Signals():
            return {"signals": message}
        case RegimesRead():
            return {"regimes": message}
        case Directive():
            last, allowed = before.directive, message.allow_new_positions
            turned = last is None or last.allow_new_positions != allowed
            return {"directive": message, **({"entries_since_ms": message.now_ms} if turned else {})}
        case Policy():
            return {"policy": message}
        case system.GovernorState():
            return {"governor": message}
        case positions.ProtectionMeasured(unprotected_seconds=seconds):
            return {"protection": message, "unprotected_s": before.unprotected_s + seconds}
        case system.VenueReady() | system.VenueLost():
            return {"venue": message}
        case system.BudgetUsed():
            return {"budget": message}
        case market.QuotesUpdated():
            return {"quotes": message}
        case market.UniverseChosen():
            return {"universe": message}
        case _:
            return {}


def _keyed(before: Snapshot, message: object) -> dict[str, Any]:
    """Messages of which the newest of each symbol, model or subsystem stands."""
    match message:
        case positions.TradeChanged(trade=trade):
            living = {s: t for s, t in before.trades.items() if s != trade.symbol}
            return {"trades": living if trade.phase in ENDED else {**living, trade.symbol: trade}}
        case Votes():
            return {"votes": {**before.votes, message.model: _count(message)}}
        case ModelStateChanged(model=model):
            return {"models": {**before.models, model: message}}
        case system.HealthReported(subsystem=subsystem):
            return {"health": {**before.health, subsystem: message}}
        case market.StreamChanged(stream=stream):
            return {"streams": {**before.streams, stream: message}}
        case _:
            return {}


def _count(votes: Votes) -> VoteCount:
    abstained, sell, hold, buy = np.bincount(votes.actions.astype(np.int64) + 1, minlength=4).tolist()
    reasons = [r for r in votes.abstentions if r]
    return VoteCount(
        close_time_ms=votes.close_time_ms,
        elapsed_ms=votes.elapsed_ms,
        buy=buy,
        sell=sell,
        hold=hold,
        abstained=abstained,
        reason=max(set(reasons), key=reasons.count) if reasons else "",
    )
