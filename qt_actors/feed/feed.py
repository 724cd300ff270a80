"""Feed: closed bars of all symbols, each told once, in order, without holes as far as the exchange can fill them.

Owns: the grid of closed bars (512 of each symbol), the market streams.
Hears: the universe, bars and quotes of the streams, bars by REST, requests for history.
Says: the history once it is whole, then every closed bar of all symbols as one batch; the history again before the
    next bar when a late one has filled a hole in it; quotes.
Never: tells a bar twice, out of order, or before it has closed; waits longer than its deadline for a single symbol.
On restart: asks for the universe, opens the streams, fills the history again; the newest bar is told as replayed.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from qt_actors.feed.assembly import Assembly
from qt_actors.feed.wiring import FeedWiring
from qt_actors.kernel import Actor, TimerFired
from qt_actors.messages.base import Message
from qt_actors.messages.market import (
    BarsLoaded,
    BarUpdate,
    HistoryReady,
    HistoryRequested,
    QuotesUpdated,
    StreamChanged,
    UniverseChosen,
)
from qt_actors.messages.requests import BarsLoadRequested, UniverseRequested
from qt_actors.messages.system import IncidentRepaired, IncidentSeen, Measured, VenueLost
from qt_actors.ports import Mailbox

__all__ = ["Feed", "FeedWiring"]


class Feed(Actor):
    """See the module's card."""

    def __init__(self, wiring: FeedWiring) -> None:
        """Keep the wiring."""
        super().__init__()
        self._wiring = wiring
        self._assembly: Assembly | None = None
        self._next_ms = -1
        self._waiting = False
        self._misses = 0
        self._askers: dict[str, None] = {}
        self._heard_ms: dict[str, int] = {}
        self._may_reopen = True

    def on_start(self) -> None:
        """Ask what is traded; everything follows from the answer."""
        self._wiring.universe.tell(UniverseRequested(reply_to=self.path))
        self.timer("measure", self._wiring.measure_real_ms, real=True)

    def handle(self, message: object) -> None:
        """One case a message."""
        match message:
            case QuotesUpdated():
                self._heard_ms["public"] = int(message.heard_ms.max())
                _tell(self._wiring.quote_listeners, message)
            case HistoryRequested(reply_to=path):
                self._asked_for(path)
            case TimerFired(key="measure"):
                self._measure(self.now_ms())
            case UniverseChosen(symbols=symbols) if self._assembly is None or symbols != self._assembly.grid.symbols:
                self._begin(symbols)
            case _ if self._assembly is not None:
                self._hear(self._assembly, message)
                self._act(self._assembly)
            case _:
                pass

    def statistics(self) -> Mapping[str, object]:
        """Return what the tree view shows."""
        return {"state": "no universe yet"} if self._assembly is None else self._assembly.statistics()

    def _begin(self, symbols: tuple[str, ...]) -> None:
        """Streams first, history second: what closes in between is heard twice rather than never."""
        wiring = self._wiring
        self._assembly = Assembly(
            symbols,
            wiring.interval_ms,
            capacity=wiring.capacity,
            history_bars=wiring.history_bars,
            backfill_tries=wiring.backfill_tries,
        )
        wiring.streams.open_market(symbols, wiring.interval, self.me)
        self.timer("backfill", wiring.backfill_real_ms, real=True)
        self._act(self._assembly)

    def _hear(self, assembly: Assembly, message: object) -> None:
        now_ms = self.now_ms()
        match message:
            case BarUpdate(symbols=symbols, open_time_ms=times, ohlcv=ohlcv):
                self._heard_ms["market"] = now_ms
                assembly.hear(zip(symbols, times.tolist(), ohlcv.tolist(), strict=True), now_ms, streamed=True)
            case BarsLoaded(symbol=symbol, open_time_ms=times, ohlcv=ohlcv, error=error):
                rows = zip([symbol] * len(times), times.tolist(), ohlcv.tolist(), strict=True)
                assembly.hear(rows, now_ms, streamed=False)
                assembly.loaded(symbol, failed=bool(error))
            case StreamChanged(stream=stream, connected=connected, reason=reason):
                self._wiring.telemetry.tell(message)
                if connected:
                    self._wiring.recorder.tell(IncidentRepaired(kind=f"{stream} stream lost", subject=self.path))
                else:
                    self._incident(f"{stream} stream lost", reason, repaired=False)
            case VenueLost():
                assembly.repairs.lost()
                return  # asked again by bars and timers to come: at once it would be refused at once, without end
            case TimerFired(key=key):
                self._timer(assembly, key, now_ms)
            case _:
                return
        assembly.advance(now_ms)

    def _timer(self, assembly: Assembly, key: str, now_ms: int) -> None:
        wiring = self._wiring
        match key:
            case "due":
                assembly.due()
            case "repair":
                assembly.repair(now_ms)
            case "deadline":
                if not assembly.deadline(now_ms):
                    self._misses += 1
                    pause_ms = min(wiring.deadline_real_ms * 2 ** min(self._misses, 10), wiring.retry_real_ms_max)
                    self.timer("deadline", pause_ms, real=True)
            case "backfill":
                assembly.ask_backfill()
                self.timer("backfill", wiring.backfill_real_ms, real=True)
            case "reopen":
                self._may_reopen = True
            case _:
                pass

    def _act(self, assembly: Assembly) -> None:
        """Send what the assembly has to say, and let the timers follow the bar it waits for."""
        wiring = self._wiring
        told, asks = assembly.drain()
        for message in told:
            if isinstance(message, HistoryReady):
                self.cancel_timer("backfill")
                _tell(wiring.history_listeners, message)
                heard = {listener.path for listener in wiring.history_listeners}
                self._askers = {path: None for path in self._askers if path not in heard}
                self._answer(message)
            else:
                _tell(wiring.bar_listeners, message)
        for ask in asks:
            wanted = msgspec.structs.asdict(ask)
            wiring.gateway.tell(BarsLoadRequested(**wanted, interval=wiring.interval, reply_to=self.path))
        if assembly.ready:
            self._keep_time(assembly)
            self._check_stream(assembly)

    def _keep_time(self, assembly: Assembly) -> None:
        wiring, moved = self._wiring, assembly.grid.next_ms != self._next_ms
        if moved:
            self._next_ms, self._waiting, self._misses = assembly.grid.next_ms, False, 0
            self.cancel_timer("repair")
            self.cancel_timer("deadline")
            self.timer("due", max(0, assembly.due_ms - self.now_ms()))
        if assembly.waiting and not self._waiting:
            self._waiting = True
            self.timer("repair", wiring.repair_real_ms, real=True)
            self.timer("deadline", wiring.deadline_real_ms, real=True)

    def _check_stream(self, assembly: Assembly) -> None:
        """Three bars in a row that only REST had: the subscription is dead though its socket lives."""
        if self._may_reopen and (silent := assembly.grid.never_streamed()):
            self._may_reopen = False
            self.timer("reopen", self._wiring.reopen_real_ms, real=True)
            self._incident("market stream left bars out", ", ".join(silent[:8]), repaired=True)
            self._wiring.streams.reopen("market", f"no bars of {len(silent)} symbols")

    def _asked_for(self, path: str) -> None:
        self._askers[path] = None
        if self._assembly is not None and self._assembly.ready:
            self._answer(self._assembly.grid.history())

    def _answer(self, history: HistoryReady) -> None:
        for path in self._askers:
            self._wiring.address_of(path).tell(history)
        self._askers.clear()

    def _measure(self, now_ms: int) -> None:
        for stream, heard_ms in self._heard_ms.items():
            age_s = max(0, now_ms - heard_ms) / 1000.0 / self._wiring.speed
            self._wiring.telemetry.tell(Measured(metric="qt_stream_age_seconds", value=age_s, labels=(stream,)))
        if self._assembly is not None and (repaired := self._assembly.grid.take_repaired()):
            self._wiring.telemetry.tell(Measured(metric="qt_bars_repaired_total", value=repaired))
        self.timer("measure", self._wiring.measure_real_ms, real=True)

    def _incident(self, kind: str, detail: str, *, repaired: bool) -> None:
        self._wiring.recorder.tell(
            IncidentSeen(kind=kind, subject=self.path, detail=detail, repaired=repaired, now_ms=self.now_ms())
        )


def _tell(listeners: tuple[Mailbox, ...], message: Message) -> None:
    for listener in listeners:
        listener.tell(message)
