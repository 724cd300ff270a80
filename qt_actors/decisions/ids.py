"""Client order ids derived from the decision, so that one decision can never become two positions.

``qt-BTCUSDT-tzqg80-e0``: symbol, bar close in base-36 seconds, purpose, attempt. The exchange allows 36 characters of
``[.A-Z:/a-z0-9_-]`` and enforces uniqueness among open orders only; looking an id up before sending it again is ours.
"""

from __future__ import annotations

import re
import zlib

import msgspec

from qt_actors.messages.orders import Purpose

PREFIX = "qt"
CLIENT_ID_CHARACTERS_MAX = 36
_LETTERS: dict[Purpose, str] = {"stop": "s", "entry": "e", "target": "t", "trail": "r", "close": "c", "take": "m"}
_PURPOSES: dict[str, Purpose] = {v: k for k, v in _LETTERS.items()}
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_PATTERN = re.compile(r"^qt-([A-Za-z0-9_]+)-([0-9a-z]+)-([serctm])([0-9a-z]+)$")


class ClientId(msgspec.Struct, frozen=True):
    """What a client id of ours says."""

    symbol: str
    close_time_ms: int
    purpose: Purpose
    attempt: int


def _base36(number: int) -> str:
    digits = ""
    while True:
        number, rest = divmod(number, 36)
        digits = _DIGITS[rest] + digits
        if not number:
            return digits


def _ascii(symbol: str) -> str:
    """Symbols outside ASCII exist since 2025-10-09; client ids do not allow them."""
    return symbol if symbol.isascii() else f"u{zlib.crc32(symbol.encode()):08x}"


def client_id(symbol: str, close_time_ms: int, purpose: Purpose, attempt: int = 0) -> str:
    """Return the id of the ``attempt``-th order of this purpose of the decision (symbol, bar close)."""
    made = f"{PREFIX}-{_ascii(symbol)}-{_base36(close_time_ms // 1000)}-{_LETTERS[purpose]}{_base36(attempt)}"
    if len(made) > CLIENT_ID_CHARACTERS_MAX:
        raise ValueError(f"client id {made} has {len(made)} characters, at most {CLIENT_ID_CHARACTERS_MAX} are allowed")
    return made


def parse(text: str) -> ClientId | None:
    """Read a client id; None when it is not one of ours."""
    match = _PATTERN.match(text)
    if match is None:
        return None
    symbol, seconds, letter, attempt = match.groups()
    return ClientId(symbol, int(seconds, 36) * 1000, _PURPOSES[letter], int(attempt, 36))


def attempt_of(text: str) -> int:
    """Which try of its kind an order of ours is; −1 when it is not ours."""
    said = parse(text)
    return said.attempt if said else -1


def purpose_in(text: str) -> Purpose | None:
    """Why an order of ours exists, None when it is not ours."""
    said = parse(text)
    return said.purpose if said else None


def decision_time_ms(decision_id: str) -> int:
    """Bar close (or adoption time) inside ``SYMBOL-milliseconds``."""
    return int(decision_id.rsplit("-", 1)[1])
