"""What can be asked of the journal, by name, on a read-only connection that lives for one question.

Questions are the only way to read: every SQL text stands here, so a screen, the HTTP API and a test that ask for the
same thing get the same answer. Sums of money are exact (``exact_sum`` adds Decimals); money leaves as text.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from qt_actors.edges.journal_rows import GATE_FIELDS, VOTE_FIELDS
from qt_actors.edges.journal_schema import JournalError, fault_of_version, version_of
from qt_actors.messages.orders import Intent
from qt_actors.messages.positions import TradeState
from qt_actors.messages.system import NEWS, GovernorState

ROWS_MAX: Final = 10_000
"""No answer is longer, whatever was asked."""
BUSY_TIMEOUT_MS: Final = 2000


class Question(msgspec.Struct, frozen=True):
    """One named question: SQL, what its parameters are when not given (``...`` = required), and its JSON columns."""

    sql: str
    parameters: Mapping[str, Any] = {}
    arrays: Mapping[str, tuple[str, ...]] = {}
    """Columns of compact arrays with the names of their positions."""
    json: tuple[str, ...] = ()


_ARRAYS = {"gates": GATE_FIELDS, "votes": VOTE_FIELDS}
_RESULTS = (
    # Funding belongs to the trade that held the symbol when it was paid. Net: realised − commission + funding.
    "WITH paid AS (SELECT *, coalesce((SELECT exact_sum(amount_usd) FROM income WHERE kind = 'FUNDING_FEE' "
    "AND income.symbol = trades.symbol AND time_ms > opened_ms AND time_ms <= closed_ms), '0') AS funding_usd "
    "FROM trades WHERE closed_ms IS NOT NULL), "
    "results AS (SELECT *, exact_net(realized_usd, commission_usd, funding_usd) AS net_usd FROM paid) SELECT "
)
_TRADE = f"""{_RESULTS} decision_id, symbol, side, phase, opened_ms, closed_ms, quantity, entry_price, exit_price,
    exit_reason, exits, realized_usd, commission_usd, funding_usd, net_usd, risk_usd, slippage_bps, mfe_pct, mae_pct,
    confidence, adopted, complete FROM results """
_NEWS = ", ".join(f"'{kind}'" for kind in sorted(NEWS))
_SUMS = (
    "count(*) AS trades, coalesce(sum(complete), 0) AS complete, "
    "coalesce(sum(complete AND CAST(net_usd AS REAL) > 0), 0) AS wins, "
) + ", ".join(
    f"coalesce(exact_sum({figure}), '0') AS {figure}"
    for figure in ("realized_usd", "commission_usd", "funding_usd", "net_usd")
)


def _summed(by: str, order: str) -> Question:
    """Return the question for results by an expression: the same figures, whatever they are told by."""
    sql = f"{_RESULTS} {by}, {_SUMS} FROM results GROUP BY 1 ORDER BY {order} LIMIT :limit"
    return Question(sql, {"limit": ROWS_MAX})


QUESTIONS: Final[dict[str, Question]] = {
    "trades": Question(
        _TRADE + "ORDER BY closed_ms DESC, decision_id LIMIT :limit",
        {"limit": 50},
        json=("exits",),
    ),
    "trades_since": Question(
        _TRADE + "WHERE closed_ms >= :since_ms ORDER BY closed_ms DESC, decision_id LIMIT :limit",
        {"since_ms": ..., "limit": 1000},
        json=("exits",),
    ),
    "trades_voted": Question(
        # open ones, too; a decision's id is its symbol and bar
        "SELECT t.*, coalesce(d.votes, '[]') AS votes FROM trades t LEFT JOIN decisions d ON d.symbol = t.symbol AND "
        "d.close_time_ms = CAST(substr(t.decision_id, length(t.symbol) + 2) AS INTEGER) WHERE t.phase <> 'abandoned' "
        "ORDER BY coalesce(t.closed_ms, t.changed_ms) DESC, t.decision_id LIMIT :limit",
        {"limit": 500},
        {"votes": VOTE_FIELDS},
        ("exits",),
    ),
    "trades_open": Question(
        "SELECT * FROM trades WHERE phase NOT IN ('closed', 'abandoned') ORDER BY opened_ms", json=("state", "exits")
    ),
    "trade_of": Question(
        # open, ended or given up; figures of the result are NULL until it is closed
        f"{_RESULTS} t.symbol, t.side, t.phase, t.opened_ms, t.state, r.closed_ms, r.quantity, r.entry_price, "
        "r.exit_price, r.exit_reason, r.net_usd, r.complete FROM trades t LEFT JOIN results r USING (decision_id) "
        "WHERE t.decision_id = :decision_id",
        {"decision_id": ...},
        json=("state",),
    ),
    "decisions": Question(
        # through the last bars: the table is kept in their order, so that a bar is written to one place
        "SELECT * FROM decisions WHERE symbol = :symbol AND close_time_ms IN "
        "(SELECT DISTINCT close_time_ms FROM decisions ORDER BY close_time_ms DESC LIMIT :limit) "
        "ORDER BY close_time_ms DESC",
        {"symbol": ..., "limit": 5},
        _ARRAYS,
        ("plan",),
    ),
    "decisions_of_bar": Question(
        "SELECT * FROM decisions WHERE close_time_ms = :close_time_ms ORDER BY symbol",
        {"close_time_ms": ...},
        _ARRAYS,
        ("plan",),
    ),
    "bars": Question(
        "SELECT close_time_ms, count(*) AS decisions, sum(verdict = 'admitted') AS admitted, "
        "sum(verdict = 'denied') AS denied, sum(verdict = 'hold') AS hold FROM decisions "
        "GROUP BY close_time_ms ORDER BY close_time_ms DESC LIMIT :limit",
        {"limit": 24},
    ),
    "funnel": Question(
        "SELECT close_time_ms, verdict, CASE WHEN verdict <> 'hold' OR gate <> '' THEN gate "
        "WHEN coalesce(warmup, '') <> '' THEN 'warming up' WHEN coalesce(active, 0) = 0 THEN 'no model votes' "
        "WHEN agree < quorum THEN 'models disagree' ELSE 'models say hold' END AS reason, "
        "count(*) AS decisions, min(symbol) AS example FROM decisions "
        "WHERE close_time_ms > (SELECT max(close_time_ms) FROM decisions) - :window_ms "
        "GROUP BY close_time_ms, verdict, reason ORDER BY close_time_ms DESC, decisions DESC, reason",
        {"window_ms": 1},
    ),
    "equity": Question(
        # one row a step: its newest reading, and its lowest and highest, so that thinning hides no trough
        "SELECT now_ms, equity_usd, wallet_usd, daily_pnl_usd, gross_notional_usd, low_usd, high_usd FROM "
        "(SELECT max(now_ms) AS last_ms, min(CAST(equity_usd AS REAL)) AS low_usd, "
        "max(CAST(equity_usd AS REAL)) AS high_usd FROM equity WHERE now_ms >= :since_ms "
        "GROUP BY now_ms / :step_ms ORDER BY last_ms DESC LIMIT :limit) "
        "JOIN equity ON now_ms = last_ms ORDER BY now_ms",
        {"since_ms": 0, "step_ms": 60_000, "limit": 1440},
    ),
    "equity_span": Question(
        "SELECT coalesce(max(now_ms) - min(now_ms), 0) AS span_ms FROM equity WHERE now_ms >= :since_ms",
        {"since_ms": 0},
    ),
    "equity_last": Question("SELECT * FROM equity ORDER BY now_ms DESC LIMIT 1"),
    "income_beside_trading": Question(
        "SELECT * FROM income WHERE time_ms > :since_ms AND kind NOT IN ('COMMISSION', 'FUNDING_FEE', 'REALIZED_PNL') "
        "ORDER BY time_ms",
        {"since_ms": ...},
    ),
    "income": Question("SELECT * FROM income ORDER BY time_ms DESC, transaction_id DESC LIMIT :limit", {"limit": 100}),
    "income_by_kind": Question(
        "SELECT kind, asset, count(*) AS entries, exact_sum(amount_usd) AS amount_usd FROM income "
        "WHERE time_ms >= :since_ms GROUP BY kind, asset ORDER BY kind, asset",
        {"since_ms": 0},
    ),
    "pnl_total": Question(f"{_RESULTS} {_SUMS} FROM results WHERE closed_ms >= :since_ms", {"since_ms": 0}),
    "pnl_by_day": _summed("date(closed_ms / 1000, 'unixepoch') AS day", "day DESC"),
    "pnl_by_symbol": _summed("symbol", "CAST(exact_sum(net_usd) AS REAL) DESC, symbol"),
    "pnl_by_exit": _summed("exit_reason", "trades DESC, exit_reason"),
    "fill_totals": Question(
        "SELECT count(*) AS fills, exact_sum(realized_pnl) AS realized_usd, commission_asset, "
        "exact_sum(commission) AS commission FROM fills WHERE time_ms >= :since_ms GROUP BY commission_asset",
        {"since_ms": 0},
    ),
    "fills": Question("SELECT * FROM fills ORDER BY time_ms DESC, trade_id DESC LIMIT :limit", {"limit": 100}),
    "orders": Question("SELECT * FROM orders ORDER BY updated_ms DESC, exchange_id DESC LIMIT :limit", {"limit": 100}),
    "orders_open": Question("SELECT * FROM orders WHERE final = 0 ORDER BY symbol, conditional, exchange_id"),
    "intents_of": Question(
        "SELECT * FROM intents WHERE decision_id = :decision_id ORDER BY created_ms, client_id", {"decision_id": ...}
    ),
    "charges_without_fill": Question(
        "SELECT symbol, CAST(trade_id AS INTEGER) AS trade_id, time_ms FROM income WHERE kind = 'COMMISSION' "
        "AND time_ms >= :since_ms AND trade_id <> '' AND NOT EXISTS (SELECT 1 FROM fills WHERE "
        "fills.symbol = income.symbol AND fills.trade_id = CAST(income.trade_id AS INTEGER)) ORDER BY time_ms",
        {"since_ms": ...},
    ),
    "incidents": Question(
        f"SELECT CASE WHEN kind IN ({_NEWS}) THEN 'news' WHEN repaired THEN 'repaired' ELSE 'unrepaired' END AS state, "  # noqa: S608 -- constants
        f"kind, subject, detail, repaired OR kind IN ({_NEWS}) AS repaired, times, first_ms, last_ms FROM incidents "
        "ORDER BY last_ms DESC, id DESC LIMIT :limit",
        {"limit": 50},
    ),
    "models": Question("SELECT * FROM model_versions ORDER BY model, changed_ms DESC"),
    "sessions": Question("SELECT * FROM sessions ORDER BY generation DESC LIMIT :limit", {"limit": 10}),
}


class ExactSum:
    """SQL aggregate: the sum of Decimals kept as text, to the last digit."""

    def __init__(self) -> None:
        self._sum = Decimal(0)

    def step(self, value: str | None) -> None:
        """Add one value."""
        if value is not None:
            self._sum += Decimal(value)

    def finalize(self) -> str:
        """Return the sum as text."""
        return format(self._sum, "f")


def _net(realized_usd: str, commission_usd: str, funding_usd: str) -> str:
    return format(Decimal(realized_usd) - Decimal(commission_usd) + Decimal(funding_usd), "f")


@contextlib.contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the journal read-only for one question; every fault leaves as ``JournalError``."""
    if not path.is_file():
        raise JournalError(path, "there is none yet: no trader has run with this QT_DATA_DIR")
    try:
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None
        )
    except sqlite3.Error as error:
        raise JournalError(path, str(error)) from error
    with contextlib.closing(connection):
        try:
            fault = fault_of_version(version_of(connection))
            if fault:
                raise JournalError(path, fault)
            connection.row_factory = sqlite3.Row
            connection.create_function("exact_net", 3, _net, deterministic=True)
            connection.create_aggregate("exact_sum", 1, ExactSum)  # type: ignore[arg-type] # typeshed wants str in and int out; SQLite takes any type
            yield connection
        except sqlite3.Error as error:
            raise JournalError(path, str(error)) from error


def _told(row: sqlite3.Row, question: Question) -> dict[str, Any]:
    """Return one row as a dict, its JSON columns decoded and named."""
    told = dict(row)
    for column, fields in question.arrays.items():
        told[column] = [dict(zip(fields, values, strict=True)) for values in msgspec.json.decode(told[column])]
    for column in question.json:
        told[column] = msgspec.json.decode(told[column]) if told[column] is not None else None
    return told


class SqliteJournalReader:
    """``ports.JournalReader`` on SQLite; usable from any thread, also while no trader runs."""

    def __init__(self, path: Path) -> None:
        """Remember where; nothing is opened before the first question."""
        self.path = path

    def open_trades(self) -> tuple[TradeState, ...]:
        """Trades not yet closed, as last written."""
        return tuple(msgspec.convert(r["state"], TradeState) for r in self.rows("trades_open") if r["state"])

    def open_intents(self) -> tuple[Intent, ...]:
        """Intents without a resolution, oldest first: they may or may not be on the exchange."""
        with _connected(self.path) as connection:
            rows = connection.execute("SELECT * FROM intents WHERE outcome IS NULL ORDER BY created_ms, client_id")
            return tuple(
                msgspec.convert({f: r[f] for f in Intent.__struct_fields__}, Intent, strict=False) for r in rows
            )

    def governor_state(self) -> GovernorState | None:
        """Last written, or None in a new journal."""
        with _connected(self.path) as connection:
            row = connection.execute("SELECT state FROM governor").fetchone()
            return None if row is None else msgspec.json.decode(row["state"], type=GovernorState)

    def last_income_ms(self) -> int:
        """Time of the newest income row, 0 in a new journal."""
        with _connected(self.path) as connection:
            return int(connection.execute("SELECT coalesce(max(time_ms), 0) FROM income").fetchone()[0])

    def rows(self, query: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return the answer to one of ``QUESTIONS``, at most ``ROWS_MAX`` rows.

        Raises:
            KeyError: no such question; ValueError: a parameter is missing or unknown; JournalError: cannot be read.
        """
        question = QUESTIONS.get(query)
        if question is None:
            raise KeyError(f"the journal knows no question {query!r}; it knows {', '.join(sorted(QUESTIONS))}")
        given = dict(parameters or {})
        unknown = sorted(set(given) - set(question.parameters))
        asked = {**question.parameters, **given}
        missing = sorted(name for name, value in asked.items() if value is ...)
        if unknown or missing:
            raise ValueError(f"journal question {query!r}: unknown parameters {unknown}, missing parameters {missing}")
        with _connected(self.path) as connection:
            return [_told(r, question) for r in connection.execute(question.sql, asked).fetchmany(ROWS_MAX)]
