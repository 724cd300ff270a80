"""Listen keys: the account's one key, its 60 minutes and its end. Time is real time, as clients renew by the wall."""

from __future__ import annotations

import secrets
import string
from typing import TYPE_CHECKING, Final

from qt_actors.exchange.errors import ExchangeError

if TYPE_CHECKING:
    from collections.abc import Callable

LIFETIME_MS: Final = 3_600_000
_LETTERS: Final = string.ascii_letters + string.digits


class ListenKeys:
    """One key at a time, as the exchange gives an account.

    Args:
        real_ms: reads a monotonic clock.
        key: one to begin with, which has its 60 minutes from now; empty for none.
    """

    def __init__(self, real_ms: Callable[[], float], key: str = "") -> None:
        self._real_ms = real_ms
        self._key = key
        self._until_ms = real_ms() + LIFETIME_MS

    @property
    def key(self) -> str:
        """The key given last, empty when it was deleted or has been seen to run out."""
        return self._key

    def create(self) -> str:
        """The live key, extended, or a new one of 64 characters."""
        if not self.is_live(self._key):
            self._key = "".join(secrets.choice(_LETTERS) for _ in range(64))
        self._until_ms = self._real_ms() + LIFETIME_MS
        return self._key

    def extend(self) -> str:
        """The live key, extended; -1125 without one."""
        if not self.is_live(self._key):
            raise ExchangeError(-1125, "This listenKey does not exist.")
        return self.create()

    def delete(self) -> str | None:
        """End the live key and return it, None without one."""
        key, self._key = self._key, ""
        return key or None

    def is_live(self, key: str) -> bool:
        """Whether this key delivers."""
        return bool(key) and key == self._key and self._real_ms() < self._until_ms

    def expired(self) -> str | None:
        """The key that has run out since the last look, once."""
        if self._key and self._real_ms() >= self._until_ms:
            return self.delete()
        return None
