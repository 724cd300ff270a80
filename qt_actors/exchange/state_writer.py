"""Writing the state often and fast: rows that can no longer change are encoded once and kept as bytes.

An exchange saves after every change a client could see; without this, the cost of a save would grow with the
account's whole history. The bytes are plain MessagePack of `State`, read back by `state.decode`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from qt_actors.exchange.state import AlgoOrder, Order, State

FINAL: Final = frozenset({"FILLED", "CANCELED", "EXPIRED", "EXPIRED_IN_MATCH", "REJECTED", "FINISHED"})
MAP_32: Final = b"\xdf"
ARRAY_32: Final = b"\xdd"


def _raw(kind: bytes, count: int, body: bytes | bytearray) -> msgspec.Raw:
    """A MessagePack map or array of `count` already encoded entries."""
    return msgspec.Raw(kind + count.to_bytes(4, "big") + body)


class _Rows:
    """A growing list of rows that never change; a list that was replaced is encoded anew."""

    def __init__(self) -> None:
        self._source: list[Any] = []
        self._count = 0
        self._body = bytearray()

    def encoded(self, rows: list[Any], encoder: msgspec.msgpack.Encoder) -> msgspec.Raw:
        if rows is not self._source:
            self._source, self._count, self._body = rows, 0, bytearray()
        for row in rows[self._count :]:
            self._body += encoder.encode(row)
        self._count = len(rows)
        return _raw(ARRAY_32, self._count, self._body)


class StateWriter:
    """Encodes one engine's state, again and again."""

    def __init__(self) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._done: dict[int, bytes] = {}
        self._trades = _Rows()
        self._income = _Rows()
        self._amendments = _Rows()

    def encode(self, state: State) -> bytes:
        """The state as MessagePack."""
        written: dict[str, Any] = {name: getattr(state, name) for name in state.__struct_fields__}
        known, self._done = self._done, {}
        written["orders"] = self._orders(state.orders, known)
        written["algo_orders"] = self._orders(state.algo_orders, known)
        written["trades"] = self._trades.encoded(state.trades, self._encoder)
        written["income"] = self._income.encoded(state.income, self._encoder)
        written["amendments"] = self._amendments.encoded(state.amendments, self._encoder)
        return self._encoder.encode(written)

    def _orders(self, orders: Mapping[int, Order] | Mapping[int, AlgoOrder], known: Mapping[int, bytes]) -> msgspec.Raw:
        """Orders by id (ids of both kinds never meet); finished ones from what is known."""
        parts = []
        for number, order in orders.items():
            part = known.get(number)
            if part is None:
                part = self._encoder.encode(number) + self._encoder.encode(order)
            if order.status in FINAL:
                self._done[number] = part
            parts.append(part)
        return _raw(MAP_32, len(parts), b"".join(parts))
