"""Ports played by hand: they write down what they were asked, and the test answers when it likes."""

from __future__ import annotations

from typing import Any

from qt_actors.messages.orders import Command
from qt_actors.messages.system import BudgetUsed
from qt_actors.ports import Mailbox


class HandExchange:
    """``ports.Exchange``: the commands, the loads, and where each answer goes."""

    def __init__(self) -> None:
        self.connects: list[Mailbox] = []
        self.submitted: list[tuple[Command, Mailbox, str]] = []
        self.loads: list[tuple[str, tuple[Any, ...], Mailbox]] = []
        self.closed = False

    def connect(self, reply_to: Mailbox) -> None:
        self.connects.append(reply_to)

    def submit(self, command: Command, reply_to: Mailbox, *, trace: str) -> None:
        self.submitted.append((command, reply_to, trace))

    def load_rules(self, reply_to: Mailbox) -> None:
        self.loads.append(("rules", (), reply_to))

    def load_account(self, serial: int, reply_to: Mailbox) -> None:
        self.loads.append(("account", (serial,), reply_to))

    def load_ledger(self, since_ms: int, symbols: tuple[str, ...], reply_to: Mailbox) -> None:
        self.loads.append(("ledger", (since_ms, symbols), reply_to))

    def load_bars(
        self, symbols: tuple[str, ...], interval: str, since_ms: int | None, limit: int, reply_to: Mailbox
    ) -> None:
        self.loads.append(("bars", (symbols, interval, since_ms, limit), reply_to))

    def budget(self) -> BudgetUsed:
        return BudgetUsed(weight_ratio=0.25, orders_ratio=0.0)

    def close(self) -> None:
        self.closed = True


class HandStreams:
    """``ports.Streams``: the calls, as (name, arguments), listeners by their path."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def open_market(self, symbols: tuple[str, ...], interval: str, listener: Mailbox) -> None:
        self.calls.append(("open_market", symbols, interval, listener.path))

    def open_account(self, listener: Mailbox) -> None:
        self.calls.append(("open_account", listener.path))

    def reopen(self, stream: str, reason: str) -> None:
        self.calls.append(("reopen", stream, reason))

    def hurry(self) -> None:
        self.calls.append(("hurry",))

    def close(self) -> None:
        self.calls.append(("close",))

    def named(self, name: str) -> list[tuple[Any, ...]]:
        """Arguments of every call of this name."""
        return [call[1:] for call in self.calls if call[0] == name]
