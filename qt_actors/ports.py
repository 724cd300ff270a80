"""What actors need from outside, as Protocols; ``edges`` says how.

A port never blocks: requests go out, answers come back as messages to an address.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qt_actors.messages.orders import Command, Fill, Intent
from qt_actors.messages.positions import AccountSnapshot, IncomeRow, TradeState
from qt_actors.messages.system import BudgetUsed, GovernorState


class Mailbox(Protocol):
    """Where messages are told; the kernel's ``Address`` is one."""

    @property
    def path(self) -> str:
        """Path in the tree."""
        ...

    def tell(self, message: object, *, trace: str | None = None, deadline_ms: int | None = None) -> None:
        """Put the message into the mailbox; never blocks."""
        ...


class Exchange(Protocol):
    """Signed and public REST of the exchange (``edges.binance_rest``); answers are told to ``reply_to``."""

    def connect(self, reply_to: Mailbox) -> None:
        """Measure the clock, check credentials; tells ``VenueReady`` or ``VenueLost``."""
        ...

    def submit(self, command: Command, reply_to: Mailbox, *, trace: str) -> None:
        """Send one order command; tells exactly one of the outcomes in ``messages.orders``."""
        ...

    def load_rules(self, reply_to: Mailbox) -> None:
        """Tell ``RulesLoaded``, or ``VenueLost``."""
        ...

    def load_account(self, serial: int, reply_to: Mailbox) -> None:
        """Tell an ``AccountSnapshot`` with this serial, or ``VenueLost``; all its parts from one round of requests."""
        ...

    def load_ledger(self, since_ms: int, symbols: tuple[str, ...], reply_to: Mailbox) -> None:
        """Tell ``LedgerSynced`` with all income rows since then and every ``Fill``, or ``VenueLost``."""
        ...

    def load_bars(
        self, symbols: tuple[str, ...], interval: str, since_ms: int | None, limit: int, reply_to: Mailbox
    ) -> None:
        """Tell one ``BarsLoaded`` a symbol: the newest ``limit`` bars (the first since a time), no forming one."""
        ...

    def budget(self) -> BudgetUsed:
        """Share of the exchange's request limits used; at once, from any thread."""
        ...

    def close(self) -> None:
        """Drop connections."""
        ...


class Streams(Protocol):
    """WebSocket streams (``edges.binance_streams``); reconnect by themselves, tell ``StreamChanged``."""

    def open_market(self, symbols: tuple[str, ...], interval: str, listener: Mailbox) -> None:
        """Closed and forming bars, marks and quotes of these symbols, as batches told to ``listener``."""
        ...

    def open_account(self, listener: Mailbox) -> None:
        """User data: ``OrderUpdated``, ``ConditionalUpdated``, ``BalanceChanged`` told to ``listener``."""
        ...

    def reopen(self, stream: str, reason: str) -> None:
        """Drop the connections of a class (``market``, ``public``, ``private``); they come back by themselves."""
        ...

    def hurry(self) -> None:
        """The exchange answers again: connections that wait for their next attempt make it now."""
        ...

    def close(self) -> None:
        """Close every socket."""
        ...


class Model(Protocol):
    """One served model (``edges.onnx_model``)."""

    @property
    def version(self) -> str:
        """Version of the artifact."""
        ...

    def probabilities(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Calibrated float32[N, 3] (SELL, HOLD, BUY) of float32[N, F] or float32[N, L, C]."""
        ...


class Journal(Protocol):
    """The journal's writer (``edges.journal``); owned by the recorder alone."""

    def write_intents(self, intents: Iterable[Intent]) -> None:
        """Write durably (fsync) before returning.

        Raises:
            JournalError: nothing was written.
        """
        ...

    def append(self, records: Iterable[object]) -> None:
        """Write messages to their tables in one transaction; what has an identity is written once."""
        ...

    def close(self) -> None:
        """Flush and close."""
        ...


class JournalReader(Protocol):
    """What the journal tells at start and on a question; a read-only connection of its own."""

    def open_trades(self) -> tuple[TradeState, ...]:
        """Trades not yet closed, as last written."""
        ...

    def open_intents(self) -> tuple[Intent, ...]:
        """Intents without a resolution: they may or may not be on the exchange."""
        ...

    def governor_state(self) -> GovernorState | None:
        """Last written, or None in a new journal."""
        ...

    def last_income_ms(self) -> int:
        """Time of the newest income row, 0 in a new journal."""
        ...

    def rows(self, query: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Rows of one of the journal's named questions (``edges.journal_queries``)."""
        ...


__all__ = [
    "AccountSnapshot",
    "Exchange",
    "Fill",
    "IncomeRow",
    "Journal",
    "JournalReader",
    "Mailbox",
    "Model",
    "Streams",
]
