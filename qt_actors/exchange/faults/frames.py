"""Acting on stream frames: lost, doubled, late, out of order, and connections that are cut or fall silent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qt_actors.exchange.faults.fault import FRAME, Facts, delay_ms

if TYPE_CHECKING:
    from qt_actors.exchange.clock import ExchangeClock
    from qt_actors.exchange.faults.desk import Desk, Hit
    from qt_actors.exchange.subscribers import Subscriber

SWAP_WITHIN_MS: Final = 1000.0


class _Line:
    """What faults have done to one connection."""

    __slots__ = ("behind", "late", "muted", "silent")

    def __init__(self) -> None:
        self.silent = False
        self.muted = False
        self.behind: list[tuple[float, bytes]] = []
        self.late: list[tuple[float, bytes]] = []


class Frames:
    """Stands between the hub and its clients.

    Args:
        desk: says which faults happen.
        clock: whose real time delays are counted in.
    """

    def __init__(self, desk: Desk, clock: ExchangeClock) -> None:
        self._desk = desk
        self._clock = clock
        self._lines: dict[Subscriber, _Line] = {}

    def deliver(self, client: Subscriber, frame: bytes, stream: str, payload: Any) -> None:
        """Queue a frame for a client as the faults want it."""
        line = self._lines.get(client)
        if self._desk.concerns(FRAME):
            hits = self._desk.hits(facts_of(client.route, stream, payload))
            if hits:
                line = self._lines.setdefault(client, _Line())
                self._spoil(client, line, frame, hits)
                return
        if line is None:
            client.queue(frame)
        elif not line.silent:
            self._queue(client, line, frame)

    def silence(self, client: Subscriber, *, muted: bool) -> None:
        """Let a connection hear no more; a muted one does not hear answers to its control frames either."""
        line = self._lines.setdefault(client, _Line())
        line.silent = True
        line.muted = line.muted or muted
        line.behind.clear()
        line.late.clear()

    def is_muted(self, client: Subscriber) -> bool:
        """Whether not even control frames are answered."""
        line = self._lines.get(client)
        return line is not None and line.muted

    def release(self, connected: tuple[Subscriber, ...]) -> None:
        """Queue what was held back long enough; forget who is gone."""
        if not self._lines:
            return
        for client in self._lines.keys() - set(connected):
            del self._lines[client]
        now = self._clock.real_ms()
        for client, line in self._lines.items():
            for held in (line.late, line.behind):
                due = [frame for at, frame in held if at <= now]
                held[:] = [(at, frame) for at, frame in held if at > now]
                for frame in due:
                    client.queue(frame)

    def _spoil(self, client: Subscriber, line: _Line, frame: bytes, hits: list[Hit]) -> None:
        kinds = {hit.fault.kind for hit in hits}
        if "disconnect" in kinds:
            client.cut()
        if kinds & {"mute", "dead"}:
            self.silence(client, muted="mute" in kinds)
        if line.silent or kinds & {"drop", "disconnect"}:
            return
        copies = 2 if "duplicate" in kinds else 1
        delays = [delay_ms(h.fault, h.count) for h in hits if h.fault.kind in {"latency", "delayed_fill"}]
        for _ in range(copies):
            if delays:
                latest = line.late[-1][0] if line.late else 0.0
                line.late.append((max(latest, self._clock.real_ms() + sum(delays)), frame))
            elif "reorder" in kinds:
                line.behind.append((self._clock.real_ms() + SWAP_WITHIN_MS, frame))
            else:
                self._queue(client, line, frame)

    @staticmethod
    def _queue(client: Subscriber, line: _Line, frame: bytes) -> None:
        """Queue a frame, and behind it those that waited for it to go first."""
        client.queue(frame)
        for _, held in line.behind:
            client.queue(held)
        line.behind.clear()


def facts_of(route: str, stream: str, payload: Any) -> Facts:
    """What a frame shows."""
    user = "@" not in stream and not stream.startswith("!")
    if not isinstance(payload, dict):
        return Facts(scope=FRAME, route=route, stream=stream)
    event = payload.get("e", "")
    order = payload["o"] if isinstance(payload.get("o"), dict) else payload
    account = payload["a"] if isinstance(payload.get("a"), dict) else {}
    execution = order.get("X", "") if event == "ALGO_UPDATE" else order.get("x", account.get("m", ""))
    touched = [row["s"] for row in account.get("P", ())]
    return Facts(
        scope=FRAME,
        route=route,
        stream="user" if user else stream,
        event=event,
        execution=execution if isinstance(execution, str) else "",
        symbol=touched[0] if touched else str(order.get("s") or order.get("ps") or ""),
        side=order["S"] if isinstance(order.get("S"), str) else "",
        type=order["o"] if isinstance(order.get("o"), str) else "",
    )
