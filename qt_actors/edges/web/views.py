"""From snapshot to what a path answers: pure functions that return JSON-able dicts.

Numbers are for reading; the journal keeps every digit. Times are ms UTC of the market's clock, ``_pct`` are fractions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, cast

from config.settings import Settings
from qt_actors.decisions.cover import opening_orders
from qt_actors.decisions.limits import limits_of
from qt_actors.decisions.texts import HELD
from qt_actors.decisions.voting import quorum
from qt_actors.edges.web import answers, history
from qt_actors.edges.web.snapshot import Snapshot
from qt_actors.edges.web.standing import trading
from qt_actors.kernel import ActorState
from qt_actors.messages.market import QuotesUpdated
from qt_actors.messages.positions import Position, RestingOrder
from qt_actors.messages.system import VenueLost
from qt_actors.ports import JournalReader

Json = dict[str, Any]
DAY_MS: Final = 86_400_000
ACCOUNT_AGE_S_MAX: Final = 45.0
"""Four missed reconciliation rounds."""


def health(snapshot: Snapshot, states: Iterable[ActorState], uptime_s: float, now_ms: int) -> answers.Health:
    """Return the answer of ``/health``.

    ``status`` is starting, healthy, degraded, unhealthy or, of an otherwise healthy trader that an operator stopped,
    halted or paused; ``reasons`` say why, also why nothing is entered.
    """
    states = tuple(states)
    dead, sick = _dead(snapshot, states), _sick(snapshot, states, now_ms)
    ready = snapshot.account is not None and snapshot.signals is not None
    status: answers.Status = "unhealthy" if dead else "degraded" if sick else "healthy"
    if not ready and status != "unhealthy":
        status = "starting"
    stands = trading(snapshot)
    if status == "healthy" and (stands["state"] == "halted" or stands["state"] == "paused"):
        status = stands["state"]
    stopped = [] if stands["state"] in {"allowed", "not yet decided"} else [stands["reason"]]
    directive, account = snapshot.directive, snapshot.account
    ai = ai_status(snapshot)
    models = ai["models"]
    entries: answers.Entries = (
        "not yet decided" if directive is None else "allowed" if stands["state"] == "allowed" else "stopped"
    )
    return {
        "status": status,
        "reasons": [*dead, *sick, *([] if ready else [_awaited(snapshot)]), *stopped],
        "uptime": round(uptime_s, 1),
        "version": snapshot.run.version,
        "mode": snapshot.run.mode,
        "market": snapshot.run.market,
        "profile": snapshot.run.profile,
        "bar_interval": snapshot.run.bar_interval,
        "active_positions": len(account.positions) if account else 0,
        "opening_orders_of_others": list(opening_orders(account)),
        "daily_pnl": _number(directive.daily_pnl_usd) if directive and account else None,
        "equity": _number(account.equity_usd) if account else None,
        "symbols": len(snapshot.universe.symbols) if snapshot.universe else 0,
        "trading": stands,
        "entries": entries,
        "entries_reason": directive.reason if directive else "",
        "account_age_s": account_age_s(snapshot, now_ms),
        "models": {
            "active": ai["active"],
            "meant": ai["meant"],
            "quorum": ai["quorum"],
            "quorum_of_all": ai["quorum_of_all"],
        },
        "ai_status": {m["model"]: m["state"] for m in models},
        "ai_reasons": {m["model"]: m["reason"] for m in models if m["reason"]},
        "unprotected_seconds": snapshot.unprotected_s,
    }


def _awaited(snapshot: Snapshot) -> str:
    return "waiting for the account" if snapshot.account is None else "waiting for the first closed bar"


def _dead(snapshot: Snapshot, states: Iterable[ActorState]) -> list[str]:
    told = [f"{s.path} has ended: {s.last_error}" for s in states if s.state == "ended" and s.last_error]
    if isinstance(snapshot.venue, VenueLost):
        told.append(f"exchange: {snapshot.venue.reason}")
    told += [f"{h.subsystem}: {h.reason}" for h in snapshot.health.values() if h.health == 0]
    return told


def account_age_s(snapshot: Snapshot, now_ms: int) -> float | None:
    """Return the real seconds since the account was last reconciled, None before the first time."""
    if snapshot.account is None:
        return None
    return max(0, now_ms - snapshot.account.now_ms) / 1000 / snapshot.run.speed


def ledger_read(snapshot: Snapshot, now_ms: int) -> Json:
    """Return when the exchange's ledger was last read and how many real seconds ago: its newest rows may be missing."""
    read = snapshot.ledger_ms
    age_s = None if read is None else max(0, now_ms - read) / 1000 / snapshot.run.speed
    return {"ledger_ms": read, "ledger_age_s": age_s}


def _sick(snapshot: Snapshot, states: Iterable[ActorState], now_ms: int) -> list[str]:
    told = [f"{s.path} is being restarted: {s.last_error}" for s in states if s.state == "backoff"]
    age_s = account_age_s(snapshot, now_ms)
    if age_s is not None and age_s > ACCOUNT_AGE_S_MAX:
        told.append(f"the account was last seen {age_s:.0f} s ago; positions may have changed")
    told += [f"{h.subsystem}: {h.reason}" for h in snapshot.health.values() if 0 < h.health < 100]
    told += [f"stream {s.stream}: {s.reason or 'lost'}" for s in snapshot.streams.values() if not s.connected]
    for model in ai_status(snapshot)["models"]:
        if model["state"] != "active" and snapshot.signals is not None:
            what = "cannot vote" if model["state"] == "missing" else f"is {model['state']}"
            told.append(f"model {model['model']} {what}" + (f": {model['reason']}" if model["reason"] else ""))
    if snapshot.protection and snapshot.protection.unprotected_symbols:
        told.append(f"without full protection: {', '.join(snapshot.protection.unprotected_symbols)}")
    return told


def ai_status(snapshot: Snapshot) -> answers.AiStatus:
    """Return every model that is meant to vote, with its state and how it answered to the newest bar."""
    models: list[answers.Model] = []
    for name in snapshot.run.models:
        told, votes = snapshot.models.get(name), snapshot.votes.get(name)
        state = told.state if told else "warmup"
        reason = told.reason if told else "its actor has not started yet"
        if told and state != "active" and votes and votes.reason:
            reason = votes.reason.removeprefix("warmup ") if state == "warmup" else reason
        models.append(
            {
                "model": name,
                "state": state,
                "reason": reason,
                "version": told.version if told else "",
                "votes": votes,
            }
        )
    active = sum(m["state"] == "active" for m in models)
    needed, of_all = (quorum(n) if len(models) > 1 else 1 for n in (active, len(models)))
    return {"models": models, "active": active, "quorum": needed, "quorum_of_all": of_all, "meant": len(models)}


def live_signals(snapshot: Snapshot) -> answers.LiveSignals:
    """Return the signals of the newest bar, calls before holds, strongest first."""
    told = snapshot.signals
    if told is None:
        return {"close_time_ms": None, "market_regime": None, "signals": []}
    ranked = sorted(told.signals, key=lambda s: (s.action == "HOLD", -s.confidence, s.symbol))
    return {
        "close_time_ms": told.close_time_ms,
        "market_regime": snapshot.regimes.market if snapshot.regimes else None,
        "signals": ranked,
    }


def held(snapshot: Snapshot, now_ms: int) -> answers.Positions:
    """Return every open position with what protects it on the exchange."""
    account = snapshot.account
    if account is None:
        return {"now_ms": now_ms, "account_age_s": None, "positions": []}
    marks = _marks(snapshot.quotes)
    rows = [_position(p, snapshot, account.conditionals, marks, now_ms) for p in account.positions]
    ranked = sorted(rows, key=lambda r: -abs(r["notional_usd"]))
    return {"now_ms": now_ms, "account_age_s": account_age_s(snapshot, now_ms), "positions": ranked}


def _marks(quotes: QuotesUpdated | None) -> Mapping[str, float]:
    return {} if quotes is None else dict(zip(quotes.symbols, quotes.mark.tolist(), strict=True))


def _position(
    position: Position,
    snapshot: Snapshot,
    conditionals: tuple[RestingOrder, ...],
    marks: Mapping[str, float],
    now_ms: int,
) -> answers.Held:
    entry, quantity = float(position.entry_price), float(position.quantity)
    heard = marks.get(position.symbol)
    mark = heard if heard is not None and heard > 0 else float(position.mark_price)  # NaN is not > 0
    ours = [o for o in conditionals if o.symbol == position.symbol]
    stop, target = _first(ours, "STOP"), _first(ours, "TAKE_PROFIT")
    trail = _first(ours, "TRAILING_STOP_MARKET")
    trade = snapshot.trades.get(position.symbol)
    unprotected = snapshot.protection.unprotected_symbols if snapshot.protection else ()
    return {
        "symbol": position.symbol,
        "side": "LONG" if quantity > 0 else "SHORT",
        "quantity": abs(quantity),
        "entry_price": entry,
        "mark_price": mark,
        "notional_usd": abs(quantity) * mark,
        "unrealized_pnl_usd": quantity * (mark - entry),
        "unrealized_pnl_pct": (mark / entry - 1) * (1 if quantity > 0 else -1) if entry else None,
        "liquidation_price": _number(position.liquidation_price) or None,
        "margin_usd": _number(position.initial_margin_usd),
        "stop_price": _number(stop.trigger_price) if stop else None,
        "target_price": _number(target.trigger_price) if target else None,
        "trail_callback_pct": float(trail.callback_pct) / 100 if trail and trail.callback_pct else None,
        "trail_activate_price": _number(trail.activate_price) if trail else None,
        "protected": stop is not None and position.symbol not in unprotected,
        "opened_ms": trade.opened_ms if trade else None,
        "age_s": max(0, now_ms - trade.opened_ms) / 1000 if trade else None,
        "phase": trade.phase if trade else "unknown to the executor",
        "leverage": trade.leverage if trade else None,
        "confidence": trade.confidence if trade else None,
        "risk_usd": _number(trade.risk_usd) if trade else None,
        "adopted": trade.adopted if trade else None,
        "decision_id": trade.decision_id if trade else None,
    }


def _first(orders: list[RestingOrder], kind: str) -> RestingOrder | None:
    return next((o for o in orders if o.kind.startswith(kind)), None)


def risk(snapshot: Snapshot, settings: Settings) -> answers.Risk | answers.Unknown:
    """Return the governor's directive, the limits and how much of them is used, and what is halted or paused."""
    directive, state, account = snapshot.directive, snapshot.governor, snapshot.account
    if directive is None:
        return {"known": False, "reason": "the governor has not spoken yet"}
    loss = max(Decimal(0), -directive.daily_pnl_usd)
    start_usd = state.day_start_equity_usd if state and account else None
    seen = account is not None  # before, the governor's figures are zeros

    def figure(value: Decimal | None) -> float | None:
        return _number(value) if seen else None

    return {
        "known": True,
        "risk_level": directive.risk_level,
        "reason": directive.reason,
        "allow_trades": directive.allow_trades,
        "allow_new_positions": directive.allow_new_positions,
        "leverage_multiplier": directive.leverage_multiplier,
        "size_multiplier": directive.size_multiplier,
        "equity_usd": figure(directive.equity_usd),
        "available_usd": _number(account.available_usd) if account else None,
        "daily_pnl_usd": figure(directive.daily_pnl_usd),
        "daily_loss_limit_usd": figure(directive.daily_loss_limit_usd),
        "daily_loss_used": figure(_share(loss, directive.daily_loss_limit_usd)),
        "gross_notional_usd": figure(directive.gross_notional_usd),
        "gross_limit_usd": figure(directive.gross_limit_usd),
        "gross_used": figure(_share(directive.gross_notional_usd, directive.gross_limit_usd)),
        "limits": list(limits_of(settings, start_usd, directive.equity_usd if account else None)),
        "losing_streak": directive.losing_streak,
        "halted": state.halted or bool(state.day_lost) if state else None,
        "halt_reason": "; ".join(filter(None, (state.halt_reason, state.day_lost))) if state else None,
        "halted_ms": state.halted_ms or None if state else None,
        "paused": state.paused if state else None,
        "pause_reason": state.pause_reason if state else None,
        "paused_ms": state.paused_ms or None if state else None,
        "unprotected_seconds": snapshot.unprotected_s,
        "unprotected_symbols": list(snapshot.protection.unprotected_symbols) if snapshot.protection else [],
        "request_weight_used": snapshot.budget.weight_ratio if snapshot.budget else None,
        "market_regime": snapshot.regimes.market if snapshot.regimes else None,
    }


def conductor(snapshot: Snapshot) -> answers.Conductor | answers.UnknownPolicy:
    """Return the orchestrator's newest policy, every adjustment named."""
    told = snapshot.policy
    if told is None:
        return {"known": False, "profile": snapshot.run.profile, "reason": "the orchestrator has not spoken yet"}
    return {
        "known": True,
        "profile": snapshot.run.profile,
        "min_confidence": told.min_confidence,
        "base": told.base,
        "adjustments": dict(told.adjustments),
        "risk_multiplier": told.risk_multiplier,
        "allow_trades": told.allow_trades,
        "max_open_positions": told.max_open_positions,
        "reasons": list(told.reasons),
    }


def tree(states: Iterable[ActorState]) -> answers.Tree:
    """Return every actor of the supervision tree in start order."""
    return {"actors": list(states)}


def why(snapshot: Snapshot, funnel: list[Any]) -> history.Why:
    """Return where the newest bar's decisions ended, and what stops all of them at once."""
    stops = []
    directive = snapshot.directive
    if directive is not None and trading(snapshot)["state"] != "allowed":
        stops.append(f"governor: {directive.reason}")
    if isinstance(snapshot.venue, VenueLost):
        stops.append(f"exchange: {snapshot.venue.reason}")
    status = ai_status(snapshot)
    if status["active"] < status["quorum"]:
        stops.append(f"models: {status['active']} active, {status['quorum']} must agree")
    return {
        "close_time_ms": funnel[0]["close_time_ms"] if funnel else None,
        "decisions": sum(row["decisions"] for row in funnel),
        "admitted": sum(row["decisions"] for row in funnel if row["verdict"] == "admitted"),
        "funnel": funnel,
        "stops": stops,
        "not_traded": dict(snapshot.universe.refused) if snapshot.universe else {},
    }


def results(journal: JournalReader, now_ms: int, days: int) -> Json:
    """Return what closed trades brought (today, in all, by exit, day, symbol) and the exchange's ledger.

    ``net_usd`` is realised − commission + funding while the trade was open; the ledger knows of open trades, too.
    """
    day_ms = now_ms // DAY_MS * DAY_MS
    state = journal.governor_state()
    told = {
        "today": journal.rows("pnl_total", {"since_ms": day_ms}),
        "total": journal.rows("pnl_total"),
        "by_exit": journal.rows("pnl_by_exit"),
        "by_day": journal.rows("pnl_by_day", {"limit": days}),
        "by_symbol": journal.rows("pnl_by_symbol"),
        "ledger": journal.rows("income_by_kind"),
        "ledger_today": journal.rows("income_by_kind", {"since_ms": day_ms}),
    }
    answer: Json = {name: money(rows) for name, rows in told.items()}
    first = {name: answer[name][0] for name in ("today", "total")}
    streak = state.losing_streak if state else None
    return {"now_ms": now_ms, "losing_streak": streak, **answer, **first}


def curve(rows: list[Json]) -> history.Curve:
    """Return the equity curve with the lowest and the highest reading of all its steps, None without any."""
    return {
        "low_usd": min((row["low_usd"] for row in rows), default=None),
        "high_usd": max((row["high_usd"] for row in rows), default=None),
        "equity": cast("list[history.Point]", money(rows)),
    }


def closed(rows: list[Json]) -> list[Json]:
    """Return closed trades with what was held beside the side of the order that opened it."""
    return [{**row, "position": HELD[row["side"]]} for row in money(rows)]


def money(rows: list[Json]) -> list[Json]:
    """Return journal rows with their exact texts of money and quantity as numbers."""
    return [{k: _maybe_number(k, v) for k, v in row.items()} for row in rows]


def _maybe_number(key: str, value: Any) -> Any:
    money_like = key.endswith(("_usd", "_price", "quantity")) or key == "commission"
    return float(value) if money_like and isinstance(value, str) else value


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def _share(part: Decimal, whole: Decimal) -> Decimal | None:
    return part / whole if whole > 0 else None
