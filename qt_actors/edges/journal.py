"""The journal: one SQLite file in WAL mode, one writer (the recorder), any number of read-only readers.

Two ways to commit. An intent is durable (``synchronous=FULL``: one fsync) before ``write_intents`` returns, and so is
the governor's state. Everything else is NORMAL: a killed process loses nothing that was appended, a power failure may
lose the last moments, and the exchange still has them (https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from qt_actors.edges.journal_rows import INTENT, Row, intent_row, statements
from qt_actors.edges.journal_schema import (
    INCIDENTS_MAX,
    RETENTION,
    JournalError,
    fault_of_version,
    migrate,
    version_of,
)
from qt_actors.messages.orders import Intent
from qt_actors.messages.system import GovernorState, IncidentSeen

logger = logging.getLogger(__name__)

FILE_NAME: Final = "journal.sqlite3"
BUSY_TIMEOUT_MS: Final = 2000
WAL_BYTES_MAX: Final = 64 * 1024 * 1024
PRUNE_EVERY_MS: Final = 3_600_000


def open_writer(path: Path) -> sqlite3.Connection:
    """Open (and create or migrate) the journal for writing.

    Raises:
        JournalError: unreadable, locked, of a newer version, or its folder cannot be written.
    """
    connection = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None, check_same_thread=False
        )
        fault = fault_of_version(version_of(connection))
        if fault:
            raise JournalError(path, fault)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_MAX}")
        connection.execute("PRAGMA synchronous = FULL")
        migrate(connection)
    except (sqlite3.Error, OSError) as error:
        if connection is not None:
            connection.close()
        raise error if isinstance(error, JournalError) else JournalError(path, str(error)) from error
    return connection


def next_generation(path: Path, now_ms: int, mode: str, market: str, account: str = "") -> int:
    """Count this start of the process, durably: 1 in a new journal, then 2, 3, ... (the first half of every fence).

    ``account`` is the id that the exchange gave the account: whose journal this is. A predecessor that never came to
    ``end_session`` becomes an incident.

    Raises:
        JournalError: it could not be written; the trader must not start.
    """
    touched_s = _touched_s(path)
    with contextlib.closing(open_writer(path)) as connection:
        try:
            _note_unclean_end(connection, now_ms, touched_s)
            row = connection.execute(
                "INSERT INTO sessions (started_ms, mode, market, account) VALUES (?, ?, ?, ?) RETURNING generation",
                (now_ms, mode, market, account),
            ).fetchone()
        except sqlite3.Error as error:
            raise JournalError(path, str(error)) from error
        return int(row[0])


def end_session(path: Path, generation: int, now_ms: int) -> None:
    """Note that this start of the process ended in order.

    Raises:
        JournalError: it could not be written; the next start will call the end unclean.
    """
    with contextlib.closing(open_writer(path)) as connection:
        try:
            connection.execute("UPDATE sessions SET ended_ms = ? WHERE generation = ?", (now_ms, generation))
        except sqlite3.Error as error:
            raise JournalError(path, str(error)) from error


def _touched_s(path: Path) -> float:
    """Return when the journal was last written, wall clock; 0 for a new one. An empty log was made by a reader."""
    files = [p for end in ("", "-wal") if (p := path.with_name(path.name + end)).exists()]
    return max((p.stat().st_mtime for p in files if p.stat().st_size), default=0.0)


def _note_unclean_end(connection: sqlite3.Connection, now_ms: int, touched_s: float) -> None:
    """Write the incident of a predecessor that ended without a word."""
    last = connection.execute(
        "SELECT generation, max(started_ms, coalesce((SELECT max(now_ms) FROM equity), 0)) FROM sessions "
        "WHERE ended_ms IS NULL AND generation = (SELECT max(generation) FROM sessions)"
    ).fetchone()
    if last is None:
        return
    wall, market = (f"{datetime.fromtimestamp(s, UTC):%Y-%m-%d %H:%M:%S}" for s in (touched_s, last[1] / 1000))
    detail = f"run {last[0]} ended without a stop (kill, crash, power): last alive {wall} UTC, market time {market} UTC"
    logger.warning("%s", detail)
    seen = IncidentSeen(kind="unclean end", subject="trader", detail=detail, repaired=True, now_ms=now_ms)
    for statement, row in statements(seen, now_ms):
        connection.execute(statement, row)


class IntentConflictError(ValueError):
    """The journal works, but an intent says something else than the one already written under its client id."""


class SqliteJournal:
    """``ports.Journal`` on SQLite. One thread at a time; ``now_ms`` stamps what carries no time of its own."""

    def __init__(self, path: Path, now_ms: Callable[[], int]) -> None:
        """Open, create or migrate the file.

        Raises:
            JournalError: see ``open_writer``.
        """
        self.path = path
        self._now_ms = now_ms
        self._connection = open_writer(path)
        self._durable = True
        self._pruned_ms = 0

    def write_intents(self, intents: Iterable[Intent]) -> None:
        """Write all of them durably (fsync) before returning, or none; the same intent again is no fault.

        Raises:
            JournalError: nothing was written.
            IntentConflictError: nothing was written, because an entry's client id has been used before: one decision
                makes at most one position.
        """
        rows = [intent_row(i) for i in intents]
        with self._commit(durable=True):
            for row in rows:
                if not self._connection.execute(INTENT, row).rowcount:
                    self._accept_repeat(row)

    def _accept_repeat(self, row: Row) -> None:
        known = self._connection.execute(
            "SELECT client_id, decision_id, symbol, side, purpose, conditional, kind, quantity, price, created_ms "
            "FROM intents WHERE client_id = ?",
            row[:1],
        ).fetchone()
        if tuple(known) != row:
            raise IntentConflictError(f"client id {row[0]} was used before, at {known[-1]}; it is not sent again")

    def append(self, records: Iterable[object]) -> None:
        """Write messages (``journal_rows.RECORDS``) to their tables in one transaction, or none of them.

        Raises:
            JournalError: nothing was written; the same records may be appended again later.
            TypeError: a message that the journal has no table for.
        """
        now_ms = self._now_ms()
        batches: dict[str, list[Row]] = {}
        durable = False
        for record in records:
            durable = durable or isinstance(record, GovernorState)
            for statement, row in statements(record, now_ms):
                batches.setdefault(statement, []).append(row)
        with self._commit(durable=durable):
            for statement, rows in batches.items():
                self._connection.executemany(statement, rows)
        if now_ms - self._pruned_ms >= PRUNE_EVERY_MS:
            self._pruned_ms = now_ms
            with contextlib.suppress(JournalError):  # the records are written; what hinders here will show again there
                self.prune(now_ms)

    def prune(self, now_ms: int) -> None:
        """Delete what is past its retention (``journal_schema``).

        Raises:
            JournalError: nothing was deleted.
        """
        with self._commit(durable=False):
            for table, column, which, age_ms in RETENTION:
                self._connection.execute(f"DELETE FROM {table} WHERE {column} < ? AND {which}", (now_ms - age_ms,))  # noqa: S608 -- constants of the schema
            self._connection.execute(
                "DELETE FROM incidents WHERE id <= (SELECT max(id) FROM incidents) - ?", (INCIDENTS_MAX,)
            )

    @contextlib.contextmanager
    def _commit(self, *, durable: bool) -> Iterator[None]:
        """One transaction; every fault of SQLite leaves as a ``JournalError`` with nothing written."""
        connection = self._connection
        try:
            if durable != self._durable:
                connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._durable = durable
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("COMMIT")
        except BaseException as error:
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):  # a full disk may have rolled back already
                    connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise JournalError(self.path, str(error)) from error
            raise

    def close(self) -> None:
        """Fold the write-ahead log into the file and close; a second call does nothing."""
        with contextlib.suppress(sqlite3.Error):  # else the log stays beside the file: nothing is lost
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()


__all__ = [
    "FILE_NAME",
    "IntentConflictError",
    "JournalError",
    "SqliteJournal",
    "end_session",
    "next_generation",
    "open_writer",
]
