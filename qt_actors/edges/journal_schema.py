"""The journal's tables and how they came to be: forward-only migrations, counted by SQLite's ``user_version``.

Money and quantities are TEXT, written by ``Decimal`` digit for digit; times are integer ms UTC; lists are compact JSON
arrays whose fields ``edges.journal_rows`` names. Every table is STRICT: a wrong type is an error, not a surprise.

Kept for ever: intents, orders, fills, income, trades, governor, sessions, model versions (a busy year is about 50 MB).
Kept for a time (``RETENTION``): decisions that were not admitted (about 1 kB each with twelve gates and four votes; 222
symbols on 1h bars make 5 MB a day, 180 days stay under 1 GB), equity (one row a cycle), incidents (also at most
``INCIDENTS_MAX``).
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

DAY_MS: Final = 86_400_000
RETENTION: Final = (
    ("decisions", "close_time_ms", "verdict <> 'admitted'", 180 * DAY_MS),
    ("equity", "now_ms", "1", 180 * DAY_MS),
    ("incidents", "last_ms", "1", 180 * DAY_MS),
)
"""(table, time column, which rows, age from which they are deleted in ms)."""
INCIDENTS_MAX: Final = 50_000

_ADVICE: Final = (
    ("full", "free some space on that disk"),
    ("locked", "another program holds it: end the other trader or the tool that has it open"),
    ("readonly", "make the file and its folder writable"),
    ("unable to open", "check that the folder exists and is writable"),
    ("not a database", "move the file away (it is not a journal) or choose another QT_DATA_DIR"),
    ("malformed", "move the file away and restore a copy; the exchange still knows positions, orders and fills"),
    ("disk i/o", "check the disk"),
    ("no such", "it is of an older version or damaged: qt run brings an older one up to date"),
)


class JournalError(OSError):
    """The journal could not be opened, read or written; one line: which file, what, what to do."""

    def __init__(self, path: Path, fault: str) -> None:
        """Say it in one line, with advice where there is some."""
        advice = next((text for sign, text in _ADVICE if sign in fault.lower()), "")
        super().__init__(f"journal {path}: {fault}" + (f"; {advice}" if advice else ""))


_VERSION_1: Final = (
    """
    CREATE TABLE meta (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE sessions (
        generation INTEGER PRIMARY KEY,
        started_ms INTEGER NOT NULL,
        mode TEXT NOT NULL,
        market TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE decisions (
        symbol TEXT NOT NULL,
        close_time_ms INTEGER NOT NULL,
        decision_id TEXT NOT NULL,
        decided_ms INTEGER NOT NULL,
        action TEXT NOT NULL,
        verdict TEXT NOT NULL CHECK (verdict IN ('hold', 'denied', 'admitted')),
        gate TEXT NOT NULL,
        evaluations INTEGER NOT NULL,
        confidence REAL,
        p_win REAL,
        edge_r REAL,
        agree INTEGER,
        active INTEGER,
        quorum INTEGER,
        regime TEXT,
        close REAL,
        warmup TEXT,
        gates TEXT NOT NULL,
        votes TEXT NOT NULL,
        plan TEXT,
        trace TEXT NOT NULL,
        PRIMARY KEY (close_time_ms, symbol)
    ) STRICT
    """,
    """
    CREATE TABLE intents (
        client_id TEXT PRIMARY KEY,
        decision_id TEXT NOT NULL,
        symbol TEXT NOT NULL,
        side TEXT NOT NULL,
        purpose TEXT NOT NULL,
        conditional INTEGER NOT NULL,
        kind TEXT NOT NULL,
        quantity TEXT NOT NULL,
        price TEXT,
        created_ms INTEGER NOT NULL,
        outcome TEXT,
        exchange_id INTEGER,
        resolved_ms INTEGER,
        reason TEXT NOT NULL DEFAULT ''
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX intents_open ON intents (created_ms) WHERE outcome IS NULL",
    "CREATE INDEX intents_by_decision ON intents (decision_id)",
    """
    CREATE TABLE orders (
        symbol TEXT NOT NULL,
        conditional INTEGER NOT NULL,
        exchange_id INTEGER NOT NULL,
        client_id TEXT NOT NULL,
        side TEXT NOT NULL,
        kind TEXT NOT NULL,
        status TEXT NOT NULL,
        final INTEGER NOT NULL,
        quantity TEXT NOT NULL,
        executed_quantity TEXT NOT NULL,
        average_price TEXT,
        trigger_price TEXT,
        reduce_only INTEGER NOT NULL,
        child_id INTEGER,
        first_ms INTEGER NOT NULL,
        updated_ms INTEGER NOT NULL,
        reason TEXT NOT NULL,
        PRIMARY KEY (symbol, conditional, exchange_id)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX orders_by_client_id ON orders (client_id)",
    "CREATE INDEX orders_by_time ON orders (updated_ms)",
    """
    CREATE TABLE fills (
        symbol TEXT NOT NULL,
        trade_id INTEGER NOT NULL,
        order_id INTEGER NOT NULL,
        client_id TEXT NOT NULL,
        side TEXT NOT NULL,
        price TEXT NOT NULL,
        quantity TEXT NOT NULL,
        commission TEXT NOT NULL,
        commission_asset TEXT NOT NULL,
        realized_pnl TEXT NOT NULL,
        maker INTEGER NOT NULL,
        time_ms INTEGER NOT NULL,
        PRIMARY KEY (symbol, trade_id)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX fills_by_time ON fills (time_ms)",
    """
    CREATE TABLE trades (
        decision_id TEXT PRIMARY KEY,
        symbol TEXT NOT NULL,
        side TEXT NOT NULL,
        phase TEXT NOT NULL,
        opened_ms INTEGER NOT NULL,
        changed_ms INTEGER NOT NULL,
        state TEXT,
        closed_ms INTEGER,
        quantity TEXT,
        entry_price TEXT,
        exit_price TEXT,
        exit_reason TEXT,
        exits TEXT,
        realized_usd TEXT,
        commission_usd TEXT,
        risk_usd TEXT,
        slippage_bps REAL,
        mfe_pct REAL,
        mae_pct REAL,
        confidence REAL,
        adopted INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX trades_open ON trades (opened_ms) WHERE phase NOT IN ('closed', 'abandoned')",
    "CREATE INDEX trades_closed ON trades (closed_ms) WHERE closed_ms IS NOT NULL",
    """
    CREATE TABLE equity (
        now_ms INTEGER PRIMARY KEY,
        wallet_usd TEXT NOT NULL,
        equity_usd TEXT NOT NULL,
        unrealized_usd TEXT NOT NULL,
        daily_pnl_usd TEXT NOT NULL,
        gross_notional_usd TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE income (
        kind TEXT NOT NULL,
        transaction_id INTEGER NOT NULL,
        symbol TEXT NOT NULL,
        amount_usd TEXT NOT NULL,
        asset TEXT NOT NULL,
        time_ms INTEGER NOT NULL,
        trade_id TEXT NOT NULL,
        PRIMARY KEY (kind, transaction_id, symbol)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX income_by_time ON income (time_ms)",
    """
    CREATE TABLE governor (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        changed_ms INTEGER NOT NULL,
        state TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE incidents (
        id INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        subject TEXT NOT NULL,
        detail TEXT NOT NULL,
        repaired INTEGER NOT NULL,
        minute INTEGER NOT NULL,
        times INTEGER NOT NULL,
        first_ms INTEGER NOT NULL,
        last_ms INTEGER NOT NULL,
        UNIQUE (minute, kind, subject, detail, repaired)
    ) STRICT
    """,
    "CREATE INDEX incidents_by_time ON incidents (last_ms)",
    """
    CREATE TABLE model_versions (
        model TEXT NOT NULL,
        version TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL,
        first_ms INTEGER NOT NULL,
        changed_ms INTEGER NOT NULL,
        PRIMARY KEY (model, version)
    ) STRICT, WITHOUT ROWID
    """,
)
_VERSION_2: Final = (
    "ALTER TABLE sessions ADD COLUMN account TEXT NOT NULL DEFAULT ''",
    "CREATE INDEX funding ON income (symbol, time_ms) WHERE kind = 'FUNDING_FEE'",
    "DROP TABLE meta",
)
_VERSION_3: Final = ("ALTER TABLE trades ADD COLUMN complete INTEGER NOT NULL DEFAULT 1",)
_VERSION_4: Final = (
    "ALTER TABLE sessions ADD COLUMN ended_ms INTEGER",
    "UPDATE sessions SET ended_ms = started_ms",  # how those ended is not known: no incident
)

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (_VERSION_1, _VERSION_2, _VERSION_3, _VERSION_4)
"""Statements that bring version n to n + 1; a published one is never edited, the next is appended."""
SCHEMA_VERSION: Final = len(MIGRATIONS)


def version_of(connection: sqlite3.Connection) -> int:
    """Return the schema version of an open journal, 0 for an empty file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def fault_of_version(version: int) -> str:
    """Return why a journal of this version cannot be used, empty when it can (older ones are migrated)."""
    if version <= SCHEMA_VERSION:
        return ""
    return (
        f"its schema is version {version}, this trader knows up to {SCHEMA_VERSION}; "
        "run the newer trader that wrote it, or choose another QT_DATA_DIR"
    )


def migrate(connection: sqlite3.Connection, steps: tuple[tuple[str, ...], ...] = MIGRATIONS) -> int:
    """Bring the open journal to the end of ``steps``, each in one transaction; returns the version found.

    The caller has made sure that the version is not newer (``fault_of_version``).
    """
    found = version_of(connection)
    for step in range(found, len(steps)):
        connection.execute("BEGIN IMMEDIATE")
        try:
            if version_of(connection) == step:  # another process may have done it while this one waited for the lock
                for statement in steps[step]:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {step + 1}")
            connection.execute("COMMIT")
        except sqlite3.Error:
            if connection.in_transaction:  # a full disk has rolled back already
                connection.execute("ROLLBACK")
            raise
    return found
