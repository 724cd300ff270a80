"""Features: one batch for all symbols and all models, from every closed bar.

Owns: the streaming indicator handles and the window ring of every symbol.
Hears: history (once, after a restart on request, and whenever a late bar has filled a hole in it), closed bars.
Says: feature batches to the models, the ensemble and the regime.
Never: looks at a bar that is still forming.
On restart: asks the feed for its history; handles cannot be saved and are opened again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from models.features import BARS_NEEDED, FeatureStream
from qt_actors.kernel import Actor
from qt_actors.messages.market import BarsClosed, Floats, HistoryReady, HistoryRequested
from qt_actors.messages.signals import FeatureBatch
from qt_actors.messages.system import Measured
from qt_actors.ports import Mailbox


class FeaturesWiring(msgspec.Struct, frozen=True, kw_only=True):
    """What the features need from outside."""

    feed: Mailbox
    listeners: tuple[Mailbox, ...]
    telemetry: Mailbox
    atr_interval_ms: int
    """Bar of the ATR that sets the stop (``QT_ATR_INTERVAL``)."""
    monotonic_s: Callable[[], float]


class Features(Actor):
    """See the module's card."""

    def __init__(self, wiring: FeaturesWiring) -> None:
        """Keep the wiring."""
        super().__init__()
        self._wiring = wiring
        self._stream: FeatureStream | None = None
        self._waiting: tuple[int, Floats] | None = None
        self._last_open_ms = -1
        self._interval_ms = 0

    def on_start(self) -> None:
        """Ask for history; the first start is answered when the feed has it."""
        self._wiring.feed.tell(HistoryRequested(reply_to=self.path))

    def handle(self, message: object) -> None:
        """One case a message."""
        match message:
            case HistoryReady():
                self._open(message)
            case BarsClosed():
                self._update(message)
            case _:
                pass

    def statistics(self) -> Mapping[str, object]:
        """Return what the tree view shows."""
        closed_ms = self._last_open_ms + self._interval_ms if self._last_open_ms >= 0 else 0
        return {"newest_bar_closed_ms": closed_ms, "bars_needed": BARS_NEEDED}

    def _open(self, history: HistoryReady) -> None:
        """Open all handles on everything but the newest bar, which comes (or came) as a closed bar of its own."""
        if history.open_time_ms.size < 2:  # a market that has just begun
            return
        self._interval_ms = history.interval_ms
        self._stream = FeatureStream(
            history.symbols,
            history.open_time_ms[:-1],
            history.ohlcv[:, :-1],
            interval_ms=history.interval_ms,
            stop_atr_interval_ms=self._wiring.atr_interval_ms,
        )
        self._last_open_ms = int(history.open_time_ms[-2])
        self._waiting = (int(history.open_time_ms[-1]), history.ohlcv[:, -1])

    def _update(self, bars: BarsClosed) -> None:
        if self._stream is None or bars.open_time_ms <= self._last_open_ms:
            return
        if self._waiting is not None and self._waiting[0] < bars.open_time_ms:
            self._stream.update(*self._waiting)
            self._last_open_ms = self._waiting[0]
        self._waiting = None
        if self._last_open_ms >= 0 and bars.open_time_ms - self._last_open_ms != self._interval_ms:
            self._stream = None
            self._wiring.feed.tell(HistoryRequested(reply_to=self.path))
            return
        started = self._wiring.monotonic_s()
        frame = self._stream.update(bars.open_time_ms, bars.ohlcv)
        windows = self._stream.windows()
        self._last_open_ms = bars.open_time_ms
        batch = FeatureBatch(
            symbols=bars.symbols,
            close_time_ms=bars.close_time_ms,
            interval_ms=bars.interval_ms,
            features=frame.features,
            windows=windows,
            have=frame.have,
            need=BARS_NEEDED,
            eligible=frame.eligible,
            close=frame.close,
            stop_distance=frame.stop_distance,
            adx=frame.adx,
            slope=frame.channel_slope,
            volatility=frame.volatility,
            volatility_rank=frame.volatility_rank,
        )
        for listener in self._wiring.listeners:
            listener.tell(batch)
        seconds = self._wiring.monotonic_s() - started
        self._wiring.telemetry.tell(Measured(metric="qt_features_seconds", value=seconds))
