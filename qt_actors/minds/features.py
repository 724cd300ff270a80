"""Features: one batch for all symbols and all models, from every closed bar.

Owns: the streaming indicator handles and the window ring of every symbol.
Hears: history (once, and after a restart on request), closed bars.
Says: feature batches to the models, the ensemble and the regime.
Never: looks at a bar that is still forming.
On restart: asks the feed for its history; handles cannot be saved and are opened again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec
import numpy as np

from models.features import BARS_NEEDED, FeatureStream
from models.windows import WindowBuffer
from qt_actors.kernel import Actor
from qt_actors.messages.market import BarsClosed, HistoryReady, HistoryRequested
from qt_actors.messages.signals import FeatureBatch
from qt_actors.messages.system import Measured
from qt_actors.ports import Mailbox


class FeaturesWiring(msgspec.Struct, frozen=True, kw_only=True):
    """What the features need from outside."""

    feed: Mailbox
    listeners: tuple[Mailbox, ...]
    telemetry: Mailbox


class Features(Actor):
    """See the module's card."""

    def __init__(self, wiring: FeaturesWiring) -> None:
        """Keep the wiring."""
        super().__init__()
        self._wiring = wiring
        self._stream: FeatureStream | None = None
        self._windows: WindowBuffer | None = None
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
        return {"last_bar_ms": self._last_open_ms, "bars_needed": BARS_NEEDED}
