"""What survives the process: a snapshot of account and market, and a log of what happened since.

The engine and the market are deterministic, so the log holds only what came from outside (accepted operations with
their moment) and how far time had come. A change is appended before any client hears of it: some ten microseconds,
however long the account's history. The snapshot is replaced as a whole (written beside, renamed) every so often, and
the log begins anew; a log that names another snapshot, or breaks off in the middle of a record, counts as far as it is
whole. Nothing is flushed to the medium: the state survives its process, not a power cut in the same second. One
process at a time keeps a state: it holds the lock of `<name>.lock`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from typing import IO, TYPE_CHECKING, Final, TypeVar

import msgspec

from qt_actors.exchange.candle_files import MarketDataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VERSION: Final = 1
LOG_BYTES_MAX: Final = 16 * 1024 * 1024  # a longer log asks for a snapshot
_LENGTH: Final = struct.Struct("<I")
Found = TypeVar("Found")


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at one moment.

    Attributes:
        number: counts the snapshots of a file.
        account: random id given to the account when it was made; empty in files older than such ids.
        market: identity of the market it belongs to.
        now_ms: exchange time.
        seed, detail: how its price paths were walked.
        carry: the market's own state (`Market.carry`).
        engine: the engine's own bytes.
        listen_key: the account's live listen key, empty without one.
    """

    version: int = VERSION
    number: int
    account: str = ""
    market: str
    now_ms: int
    seed: int
    detail: int
    carry: bytes
    engine: bytes
    listen_key: str = ""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One log record: a moment that was reached, and the operation that changed something then ("" for none)."""

    now_ms: int
    method: str = ""
    params: dict[str, str] = {}


class Owner(msgspec.Struct, frozen=True):
    """Whose a snapshot is: its account's id and the identity of its market."""

    account: str = ""
    market: str = ""


def owner_of(path: Path) -> Owner | None:
    """Whose account a state file holds; None when there is no file.

    Raises:
        MarketDataError: it is no saved exchange state.
    """
    raw = _read(path)
    return None if raw is None else _decoded(path, raw, Owner)


class StateFile:
    """A snapshot file and its log (`<name>.log` beside it).

    Args:
        path: of the snapshot.
        market: identity of the market; a snapshot of another one is refused.

    Raises:
        MarketDataError: the folder does not exist or cannot be written, or another process keeps a state there.

    Attributes:
        torn: whether the log lacks something, so that only a new snapshot holds everything.
        log_bytes: length of the log.
    """

    def __init__(self, path: Path, market: str) -> None:
        if not path.parent.is_dir():
            raise MarketDataError(
                f"{path}: the folder {path.parent} does not exist; make it or name another state file"
            )
        self._lock = _locked(path)
        self._path = path
        self._log_path = path.with_name(path.name + ".log")
        self._market = market
        self._number = 0
        self._log: IO[bytes] | None = None
        self.log_bytes = 0
        self.torn = False

    def load(self) -> tuple[Snapshot, list[Entry]] | None:
        """The snapshot and what happened since; None when there is none.

        Raises:
            MarketDataError: the file is damaged, of another version, or of another market.
        """
        raw = _read(self._path)
        if raw is None:
            return None
        found = _decoded(self._path, raw, Snapshot)
        if found.version != VERSION:
            raise MarketDataError(
                f"{self._path}: saved by version {found.version}, this is {VERSION}; move it away to begin anew"
            )
        if found.market != self._market:
            raise MarketDataError(
                f"{self._path}: holds an account of the market {found.market}, not of {self._market}; "
                "start that market, or name another state file"
            )
        self._number = found.number
        return found, list(self._entries(found.number))

    def store(self, snapshot: Snapshot) -> None:
        """Replace the snapshot and begin its log; when the disk refuses, the old snapshot and its log go on."""
        beside = self._path.with_name(self._path.name + ".new")
        try:
            beside.write_bytes(msgspec.msgpack.encode(msgspec.structs.replace(snapshot, number=self._number + 1)))
        except OSError:
            beside.unlink(missing_ok=True)
            raise
        self.torn = True
        self._close_log()
        beside.replace(self._path)
        self._number += 1
        self._log = self._log_path.open("wb", buffering=0)
        self._write(_LENGTH.pack(self._number))
        self.log_bytes, self.torn = 0, False

    def append(self, entry: Entry) -> None:
        """Add to the log; call `store` first, and again once an entry could not be added.

        Raises:
            OSError: the disk refuses.
        """
        encoded = msgspec.msgpack.encode(entry)
        torn, self.torn = self.torn, True
        self._write(_LENGTH.pack(len(encoded)) + encoded)
        self.torn = torn
        self.log_bytes += len(encoded)

    def _write(self, record: bytes) -> None:
        """All of it, or an error: a full disk takes a part and says nothing."""
        if self._log is None or self._log.write(record) != len(record):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._log_path))

    def close(self) -> None:
        """Close the log and let another process have the state."""
        self._close_log()
        if not self._lock.closed:
            _lock_path(self._path).unlink(missing_ok=True)
            self._lock.close()

    def _close_log(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None

    def _entries(self, number: int) -> Iterator[Entry]:
        try:
            raw = self._log_path.read_bytes()
        except OSError:
            return
        if len(raw) < _LENGTH.size or _LENGTH.unpack_from(raw)[0] != number:
            return  # the log of an older snapshot: everything in it is in the new one
        place = _LENGTH.size
        while place + _LENGTH.size <= len(raw):
            size = _LENGTH.unpack_from(raw, place)[0]
            record = raw[place + _LENGTH.size : place + _LENGTH.size + size]
            try:
                yield msgspec.msgpack.decode(record, type=Entry)
            except msgspec.MsgspecError:
                return  # broken off when the process was killed: nobody had heard of it yet
            place += _LENGTH.size + size


def _locked(path: Path) -> IO[bytes]:
    """The lock of a state file, held as long as it is open; the system lets go of it with the process."""
    lock = _lock_path(path)
    while True:
        try:
            held = lock.open("ab")
        except OSError as reason:
            raise MarketDataError(f"{lock}: cannot be written: {reason.strerror}") from reason
        try:
            fcntl.lockf(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as reason:
            held.close()
            raise MarketDataError(
                f"{path}: another exchange keeps its account there; stop it, or name another state file"
            ) from reason
        if lock.exists() and os.path.samestat(lock.stat(), os.fstat(held.fileno())):
            return held
        held.close()  # its last holder took it away meanwhile


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as reason:
        line = f"{path}: cannot be read as saved exchange state: {reason.strerror}; move it away to begin anew"
        raise MarketDataError(line) from reason


def _decoded(path: Path, raw: bytes, kind: type[Found]) -> Found:
    try:
        return msgspec.msgpack.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as reason:
        line = f"{path}: is no saved exchange state, or damaged; bring back a copy, or move it away to begin anew"
        raise MarketDataError(line) from reason
