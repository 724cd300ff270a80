"""The exchange's saved state: the account and the market's time in one file, replaced as a whole.

The file is written beside itself and renamed, so a reader and a killed process see the old or the new one, never half.
It is not flushed to the medium: a paper account survives its process, not a power cut in the same second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from qt_actors.exchange.candle_files import MarketDataError

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 1


class Saved(msgspec.Struct, frozen=True):
    """What is kept: which market, where it was, and the engine's own bytes."""

    version: int
    market: str
    now_ms: int
    engine: bytes


def load(path: Path, market: str) -> Saved | None:
    """The saved state, None when there is no file.

    Raises:
        MarketDataError: the file is damaged, of another version, or of another market.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as reason:
        raise MarketDataError(f"{path}: cannot be read as saved exchange state: {reason}") from reason
    try:
        saved = msgspec.msgpack.decode(raw, type=Saved)
    except msgspec.MsgspecError as reason:
        raise MarketDataError(f"{path}: is no saved exchange state ({reason}); move it away to begin anew") from reason
    if saved.version != VERSION:
        raise MarketDataError(
            f"{path}: saved by version {saved.version}, this is {VERSION}; move it away to begin anew"
        )
    if saved.market != market:
        raise MarketDataError(
            f"{path}: holds an account of the market {saved.market}, not of {market}; "
            "start that market, or name another state file"
        )
    return saved


def store(path: Path, saved: Saved) -> None:
    """Replace the file."""
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(msgspec.msgpack.encode(saved))
    beside.replace(path)
