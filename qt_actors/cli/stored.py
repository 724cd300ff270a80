"""What the journal tells when no trader runs, in the shapes of the HTTP API, so that one screen shows both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from qt_actors.cli.source import Json, numbers
from qt_actors.decisions.texts import HELD

if TYPE_CHECKING:
    from qt_actors.edges.journal_queries import SqliteJournalReader


def status(journal: SqliteJournalReader) -> Json:
    """Return what the last run left: its market, equity, positions, the governor's state and the models'."""
    files = [p for end in ("", "-wal") if (p := journal.path.with_name(journal.path.name + end)).exists()]
    written_s = max((p.stat().st_mtime for p in files if p.stat().st_size), default=0.0)  # before reading touches them
    session = next(iter(journal.rows("sessions", {"limit": 1})), {})
    equity = next(iter(journal.rows("equity_last")), None)
    governor = journal.governor_state()
    models = {row["model"]: row for row in reversed(journal.rows("models"))}
    return {
        "status": "not running",
        "mode": session.get("mode"),
        "market": session.get("market"),
        "last_start_ms": session.get("started_ms"),
        "starts": session.get("generation", 0),
        "last_seen_ms": equity["now_ms"] if equity else None,
        "written_s": written_s,
        "equity": numbers(equity)["equity_usd"] if equity else None,
        "daily_pnl": numbers(equity)["daily_pnl_usd"] if equity else None,
        "active_positions": len(journal.open_trades()),
        "governor": msgspec.to_builtins(governor) if governor else None,
        "ai_status": {name: row["state"] for name, row in models.items()},
        "ai_reasons": {name: row["reason"] for name, row in models.items() if row["reason"]},
    }


def positions(journal: SqliteJournalReader) -> Json:
    """Return the trades that were open when the last run ended; the exchange may know more by now."""
    return {"positions": [_position(t) for t in journal.rows("trades_open") if t["state"]]}


def _position(row: Json) -> Json:
    state: dict[str, Any] = row["state"]
    held = float(state["filled"]) - float(state["exited"])
    return {
        "symbol": row["symbol"],
        "side": HELD[row["side"]],
        "quantity": held,
        "entry_price": float(state["entry_price"]),
        "stop_price": float(state["stop_price"]) if state["stop_id"] else None,
        "target_price": float(state["target_price"]) if state["target_id"] else None,
        "trail_callback_pct": float(state["trail_callback_pct"]) / 100 if state["trail_id"] else None,
        "phase": row["phase"],
        "opened_ms": row["opened_ms"],
        "confidence": state["confidence"],
        "risk_usd": float(state["risk_usd"]),
        "decision_id": row["decision_id"],
    }


def pnl(journal: SqliteJournalReader, days: int) -> Json:
    """Return what ``/api/pnl`` answers, as of the last measurement."""
    from qt_actors.edges.web.views import results  # noqa: PLC0415 # not needed while a trader runs

    last = next(iter(journal.rows("equity_last")), None) or next(iter(journal.rows("trades", {"limit": 1})), {})
    return results(journal, last.get("now_ms", last.get("closed_ms", 0)), days)


def why(journal: SqliteJournalReader) -> Json:
    """Return where the decisions of the last recorded bar ended."""
    funnel = journal.rows("funnel")
    return {
        "close_time_ms": funnel[0]["close_time_ms"] if funnel else None,
        "decisions": sum(r["decisions"] for r in funnel),
        "admitted": sum(r["decisions"] for r in funnel if r["verdict"] == "admitted"),
        "funnel": funnel,
        "stops": ["no trader runs"],
        "not_traded": {},
    }


def decisions(journal: SqliteJournalReader, symbol: str, bars: int) -> Json | None:
    """Return what ``/api/decisions/SYMBOL`` answers; None when nothing was decided on it."""
    from qt_actors.edges.web.decision_views import decided  # noqa: PLC0415 # not needed while a trader runs

    rows = journal.rows("decisions", {"symbol": symbol, "limit": bars})
    return {"symbol": symbol, "decisions": decided(journal, rows)} if rows else None


def symbols(journal: SqliteJournalReader) -> set[str]:
    """Return the symbols of the newest bar that was decided on."""
    newest = next(iter(journal.rows("bars", {"limit": 1})), None)
    asked = {"close_time_ms": newest["close_time_ms"]} if newest else None
    return {row["symbol"] for row in journal.rows("decisions_of_bar", asked)} if asked else set()
