"""One WebSocket client as the hub sees it: its subscriptions, its frames, and the bound on what waits for it.

Frames are built once and written to every client as they are: a server's frames carry no mask, so the bytes of a
frame are the same for all. What is queued between two ticks leaves in one write.
"""

from __future__ import annotations

import asyncio
from typing import Final

BUFFER_BYTES_MAX: Final = 8 * 1024 * 1024  # a client that lets more than this wait is disconnected with 1008
STREAMS_MAX: Final = 1024
TEXT: Final = 0x1
CLOSE: Final = 0x8
POLICY_VIOLATION: Final = 1008


def ws_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """A final, unmasked WebSocket frame (RFC 6455 section 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65536:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + payload


def frame_payload(frame: bytes) -> bytes:
    """What `ws_frame` was made of."""
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]


def close_payload(code: int, reason: str) -> bytes:
    """Body of a close frame."""
    return code.to_bytes(2, "big") + reason.encode()[:120]


class Subscriber:
    """A connected client.

    Args:
        transport: where its frames go.
        route: public, market, private or legacy.
        combined: whether frames are wrapped as `{"stream": name, "data": payload}`.

    Attributes:
        streams: names it subscribed to, in order, also those that never deliver.
        events: the user-data events it wants; empty means all.
        closing: the code it is being disconnected with, None while it is served.
        ponged_s: event-loop time of its last pong.
    """

    __slots__ = ("_queue", "_transport", "_waiting", "closing", "combined", "events", "ponged_s", "route", "streams")

    def __init__(self, transport: asyncio.Transport, route: str, *, combined: bool) -> None:
        self.route = route
        self.combined = combined
        self.streams: dict[str, None] = {}
        self.events: frozenset[str] = frozenset()
        self.closing: int | None = None
        self.ponged_s = 0.0
        self._transport = transport
        self._queue: list[bytes] = []
        self._waiting = 0

    def queue(self, frame: bytes) -> None:
        """Let a frame leave with the next `flush`."""
        self._queue.append(frame)
        self._waiting += len(frame)

    def flush(self) -> bool:
        """Write what is queued; False when the client is gone or reads too slowly and has been told so (1008)."""
        if self.closing is not None or self._transport.is_closing():
            self._drop()
            return False
        if self._transport.get_write_buffer_size() + self._waiting > BUFFER_BYTES_MAX:
            self.close(POLICY_VIOLATION, "Client reads too slowly")
            return False
        if self._queue:
            self._transport.write(b"".join(self._queue))
            self._drop()
        return True

    def close(self, code: int, reason: str) -> None:
        """Send a close frame and stop serving; the connection is cut two seconds later if it is still there."""
        if self.closing is not None:
            return
        self.closing = code
        self._drop()
        if not self._transport.is_closing():
            self._transport.write(ws_frame(close_payload(code, reason), CLOSE))
            asyncio.get_running_loop().call_later(2.0, self._transport.abort)

    def cut(self) -> None:
        """Break the connection without a word."""
        self._drop()
        self._transport.abort()

    def _drop(self) -> None:
        self._queue.clear()
        self._waiting = 0
