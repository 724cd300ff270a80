"""What the feed needs from outside: its neighbours, the streams, its times and limits."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from qt_actors.ports import Mailbox, Streams


class FeedWiring(msgspec.Struct, frozen=True, kw_only=True):
    """What the feed needs from outside.

    Attributes:
        bar_listeners: told of every closed bar; history_listeners: of the history, once it is whole.
        address_of: the runtime's, for those who ask for the history.
        interval, interval_ms: of the trader's bar; speed: exchange ms in a real one, to state ages in real time.
        history_bars: back-filled; capacity: kept.
        repair_real_ms: after the first bar of a set, or its due time, missing ones are asked for by REST.
        deadline_real_ms: after that the set is told without them.
        backfill_real_ms, backfill_tries: how long and how often answers to the back-fill are waited for.
        reopen_real_ms: least time between two reopenings of a stream that leaves bars out.
        retry_real_ms_max: longest pause between questions for a bar that nobody has.
    """

    gateway: Mailbox
    universe: Mailbox
    streams: Streams
    address_of: Callable[[str], Mailbox]
    history_listeners: tuple[Mailbox, ...]
    bar_listeners: tuple[Mailbox, ...]
    quote_listeners: tuple[Mailbox, ...]
    recorder: Mailbox
    telemetry: Mailbox
    interval: str
    interval_ms: int
    speed: float = 1.0
    history_bars: int = 300
    capacity: int = 512
    repair_real_ms: int = 400
    deadline_real_ms: int = 2_000
    backfill_real_ms: int = 10_000
    backfill_tries: int = 6
    reopen_real_ms: int = 600_000
    retry_real_ms_max: int = 30_000
    measure_real_ms: int = 5_000
