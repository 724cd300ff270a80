"""The trader's clock when the exchange keeps time: whatever speed it runs at, both read the same."""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable

from qt_actors.kernel import Clock

READ_TIMEOUT_S = 3.0
REFRESH_S = 1.0


class SharedClock(Clock):
    """Reads another clock; ``speed`` is how many market milliseconds pass in a real one."""

    def __init__(self, read_ms: Callable[[], int], speed: float) -> None:
        """Keep the reader; it is called from every thread."""
        self._read_ms = read_ms
        self.speed = speed

    def now_ms(self) -> int:
        """UTC, milliseconds since 1970, as the exchange has it."""
        return self._read_ms()


class RemoteClock(Clock):
    """Follows the clock of an embedded exchange that runs elsewhere, by its ``/qt/clock``.

    Between two readings it goes on by itself at the exchange's speed; while the exchange cannot be reached, too.
    """

    def __init__(self, base_url: str) -> None:
        """Read once, then every second in a thread of its own.

        Raises:
            OSError: nothing answers there, or not as an embedded exchange does.
        """
        self._url = f"{base_url.rstrip('/')}/qt/clock"
        self.market = ""
        self.account = ""
        """Id of the account that the exchange has; it changes when another exchange begins to answer there."""
        self.speed = 1.0
        self._anchor = (0, 0.0, False)
        self._read()
        self._closed = threading.Event()
        threading.Thread(target=self._follow, name="exchange clock", daemon=True).start()

    def now_ms(self) -> int:
        """UTC, milliseconds since 1970, as the exchange has it."""
        at_ms, read_s, paused = self._anchor
        return at_ms if paused else at_ms + int((time.monotonic() - read_s) * 1000 * self.speed)

    def close(self) -> None:
        """Stop following."""
        self._closed.set()

    def _read(self) -> None:
        before = time.monotonic()
        try:
            with urllib.request.urlopen(self._url, timeout=READ_TIMEOUT_S) as reply:  # noqa: S310 # checked http(s) by the caller
                said = json.load(reply)
            after = time.monotonic()
            self.speed, self.market, self.account = float(said["speed"]), str(said["market"]), str(said["account"])
            self._anchor = (int(said["now_ms"]), (before + after) / 2, bool(said["paused"]))
        except (KeyError, TypeError, ValueError, http.client.HTTPException) as error:
            raise OSError(f"{self._url} does not answer as an embedded exchange ({error!r})") from error

    def _follow(self) -> None:
        while not self._closed.wait(REFRESH_S):
            try:
                self._read()
            except OSError:
                continue
