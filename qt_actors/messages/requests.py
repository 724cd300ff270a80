"""Requests to the gateway and to those who know: each is answered by a message of its own, to ``reply_to``.

The gateway answers every load with what the port tells (``ports.Exchange``), or with ``VenueLost``: then the request is
over and may be made again once ``VenueReady`` is heard.
"""

from __future__ import annotations

from qt_actors.messages.base import Message


class RulesLoadRequested(Message, frozen=True, kw_only=True):
    """Universe → gateway; answered ``RulesLoaded``."""

    reply_to: str


class BarsLoadRequested(Message, frozen=True, kw_only=True):
    """Feed → gateway; answered with one ``BarsLoaded`` a symbol: the newest ``limit``, or the first since a time."""

    symbols: tuple[str, ...]
    interval: str
    since_ms: int | None
    limit: int
    reply_to: str


class AccountLoadRequested(Message, frozen=True, kw_only=True):
    """Account → gateway; answered ``AccountSnapshot`` with this serial."""

    serial: int
    reply_to: str


class LedgerLoadRequested(Message, frozen=True, kw_only=True):
    """Account → gateway; answered with the ``Fill`` messages of these symbols, then ``LedgerSynced``."""

    since_ms: int
    symbols: tuple[str, ...]
    reply_to: str


class LedgerSyncRequested(Message, frozen=True, kw_only=True):
    """Ask the account to bring the journal's fills and income up to date now, as before a drain."""

    reason: str


class UniverseRequested(Message, frozen=True, kw_only=True):
    """Ask for the universe, as after a restart; answered ``UniverseChosen`` to ``reply_to`` as soon as there is one."""

    reply_to: str
