"""Signals that ask for an orderly stop: heard from the start of the tree to the last line."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

SAME_WISH_S: Final = 2.0


@contextmanager
def asked_to_stop() -> Iterator[threading.Event]:
    """Let SIGINT and SIGTERM set the event; asking again later ends the process at once.

    A process runner passes Ctrl-C on as a second signal right after the terminal's own: that one is the same wish.
    """
    stop = threading.Event()
    asked_s: list[float] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        now_s = time.monotonic()
        if asked_s and now_s - asked_s[0] > SAME_WISH_S:
            os._exit(128 + number)
        asked_s.append(now_s)
        stop.set()

    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
