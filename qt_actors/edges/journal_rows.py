"""From message to row: which statement, which values. Idempotent: what has an identity stands once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final

import msgspec

from qt_actors.messages.orders import ConditionalUpdated, Fill, Intent, IntentResolved, OrderUpdated
from qt_actors.messages.policy import Decision, DecisionsMade
from qt_actors.messages.positions import IncomeRow, LedgerSynced, OpenOrdersSeen, TradeChanged, TradeClosed
from qt_actors.messages.signals import ModelStateChanged
from qt_actors.messages.system import EquityMeasured, GovernorState, IncidentRepaired, IncidentSeen

Row = tuple[Any, ...]
Statement = tuple[str, Row]

GATE_FIELDS: Final = ("name", "passed", "value", "limit", "note", "transient")
VOTE_FIELDS: Final = ("model", "action", "confidence", "p_sell", "p_hold", "p_buy", "reason")
"""Names of the positions in the compact arrays of ``decisions.gates`` and ``decisions.votes``."""
DETAIL_CHARACTERS_MAX: Final = 500
_FINAL: Final = frozenset({"FILLED", "CANCELED", "EXPIRED", "EXPIRED_IN_MATCH", "REJECTED", "FINISHED"})
_MINUTE_MS: Final = 60_000

_encode = msgspec.json.Encoder().encode


def _json(value: Any) -> str:
    return _encode(value).decode()


def _text(value: Decimal) -> str:
    """Digits as they are, never in exponent form, so that SQL and people can read them."""
    return format(value, "f")


def _insert(table: str, columns: str, conflict: str) -> str:
    marks = ", ".join("?" * (columns.count(",") + 1))
    return f"INSERT INTO {table} ({columns}) VALUES ({marks}) ON CONFLICT {conflict}"  # noqa: S608 -- constants of this file


_DECISION_COLUMNS = (
    "symbol, close_time_ms, decision_id, decided_ms, action, verdict, gate, evaluations, confidence, p_win, edge_r, "
    "agree, active, quorum, regime, close, warmup, gates, votes, plan, trace"
)
# An older evaluation never replaces a newer one, and nothing replaces an admission.
_DECISION = _insert(
    "decisions",
    _DECISION_COLUMNS,
    """(close_time_ms, symbol) DO UPDATE SET
        evaluations = CASE
            WHEN excluded.evaluations > decisions.evaluations THEN excluded.evaluations
            WHEN excluded.decided_ms > decisions.decided_ms THEN decisions.evaluations + 1
            ELSE decisions.evaluations END,
        """
    + ", ".join(f"{c} = excluded.{c}" for c in _DECISION_COLUMNS.split(", ")[2:] if c != "evaluations")
    + """
    WHERE excluded.decided_ms >= decisions.decided_ms
        AND NOT (decisions.verdict = 'admitted' AND excluded.verdict <> 'admitted')""",
)


def _decision(decision: Decision) -> Statement:
    signal = decision.signal
    gates = [(g.name, int(g.passed), g.value, g.limit, g.note, int(g.transient)) for g in decision.gates]
    votes = [
        (v.model, v.action, *(round(x, 6) for x in (v.confidence, v.p_sell, v.p_hold, v.p_buy)), v.reason)
        for v in (signal.votes if signal else ())
    ]
    said: Row = (None,) * 9
    if signal is not None:
        said = (
            *(signal.confidence, signal.p_win, signal.edge_r, signal.agree, signal.active, signal.quorum),
            *(signal.regime, signal.close, signal.warmup),
        )
    return _DECISION, (
        *(decision.symbol, decision.close_time_ms, decision.decision_id, decision.decided_ms),
        *(decision.action, decision.verdict, decision.gate, decision.evaluations),
        *said,
        *(_json(gates), _json(votes), _json(decision.plan) if decision.plan else None, decision.trace),
    )


def _decisions(message: DecisionsMade) -> Iterator[Statement]:
    return map(_decision, message.decisions)


# An entry's client id is used once, whatever happened to it: WHERE leaves the row alone and the writer sees it. The
# other purposes only reduce: their id may be armed again (a close that was refused and is repeated).
INTENT = _insert(
    "intents",
    "client_id, decision_id, symbol, side, purpose, conditional, kind, quantity, price, created_ms",
    """(client_id) DO UPDATE SET
        quantity = excluded.quantity, price = excluded.price, created_ms = excluded.created_ms, kind = excluded.kind,
        outcome = NULL, exchange_id = NULL, resolved_ms = NULL, reason = ''
    WHERE intents.purpose <> 'entry' AND intents.created_ms <> excluded.created_ms""",
)


def intent_row(intent: Intent) -> Row:
    """Return the values of ``INTENT``."""
    return (
        *(intent.client_id, intent.decision_id, intent.symbol, intent.side, intent.purpose, int(intent.conditional)),
        *(intent.kind, _text(intent.quantity), None if intent.price is None else _text(intent.price)),
        intent.created_ms,
    )


_RESOLVED = """
    UPDATE intents SET outcome = ?, exchange_id = coalesce(?, exchange_id), resolved_ms = ?, reason = ?
    WHERE client_id = ?
"""


def _resolved(message: IntentResolved) -> Iterator[Statement]:
    reason = message.reason[:DETAIL_CHARACTERS_MAX]
    yield _RESOLVED, (message.outcome, message.exchange_id, message.time_ms, reason, message.client_id)


_ORDER_COLUMNS = (
    "symbol, conditional, exchange_id, client_id, side, kind, status, final, quantity, executed_quantity, "
    "average_price, trigger_price, reduce_only, child_id, first_ms, updated_ms, reason"
)
# Frames repeat and overtake each other: a final state stays, and of two frames of one moment the final one wins.
_ORDER = _insert(
    "orders",
    _ORDER_COLUMNS,
    "(symbol, conditional, exchange_id) DO UPDATE SET "
    + ", ".join(f"{c} = excluded.{c}" for c in _ORDER_COLUMNS.split(", ")[3:] if c not in {"first_ms", "child_id"})
    + """, child_id = coalesce(excluded.child_id, orders.child_id)
    WHERE excluded.updated_ms >= orders.updated_ms AND excluded.final >= orders.final
        AND CAST(excluded.executed_quantity AS REAL) >= CAST(orders.executed_quantity AS REAL)""",
)


def _order(message: OrderUpdated) -> Iterator[Statement]:
    yield (
        _ORDER,
        (
            *(message.symbol, 0, message.order_id, message.client_id, message.side),
            *(message.original_type, message.status, int(message.status in _FINAL)),
            *(_text(message.quantity), _text(message.executed_quantity), _text(message.average_price), None),
            *(int(message.reduce_only), None, message.time_ms, message.time_ms, message.expiry_reason),
        ),
    )
    if message.fill is not None:
        yield from _fill(message.fill)


def _conditional(message: ConditionalUpdated) -> Iterator[Statement]:
    yield (
        _ORDER,
        (
            *(message.symbol, 1, message.algo_id, message.client_id, message.side),
            *(message.kind, message.status, int(message.status in _FINAL)),
            *(_text(message.quantity), _text(message.executed_quantity), None, _text(message.trigger_price)),
            *(int(message.reduce_only), message.child_id, message.time_ms, message.time_ms, message.reason),
        ),
    )


# Ends that nobody heard: what no longer rests is gone, and an end that is told later says how.
_BACK: Final = """
    UPDATE orders SET final = 0, status = 'NEW', reason = '' WHERE status = 'GONE'
    AND symbol || ' ' || conditional || ' ' || exchange_id IN (SELECT value FROM json_each(?))
"""
_GONE: Final = """
    UPDATE orders SET final = 1, status = 'GONE', reason = 'its end was not heard' WHERE final = 0 AND updated_ms < ?
    AND symbol || ' ' || conditional || ' ' || exchange_id NOT IN (SELECT value FROM json_each(?))
"""


def _open_orders(message: OpenOrdersSeen) -> Iterator[Statement]:
    resting = _json([f"{o.symbol} {int(o.conditional)} {o.exchange_id}" for o in message.orders])
    yield _BACK, (resting,)
    for o in message.orders:
        status = "PARTIALLY_FILLED" if o.executed_quantity else "NEW"
        yield (
            _ORDER,
            (
                *(o.symbol, int(o.conditional), o.exchange_id, o.client_id, o.side, o.kind, status, 0),
                *(_text(o.quantity), _text(o.executed_quantity), None),
                *(None if o.trigger_price is None else _text(o.trigger_price), int(o.reduce_only), None),
                *(o.created_ms, o.created_ms, ""),
            ),
        )
    yield _GONE, (message.asked_ms, resting)


# The same fill comes by stream with its client id and by REST without.
_FILL = _insert(
    "fills",
    "symbol, trade_id, order_id, client_id, side, price, quantity, commission, commission_asset, realized_pnl, maker, "
    "time_ms",
    "(symbol, trade_id) DO UPDATE SET client_id = excluded.client_id WHERE fills.client_id = ''",
)


def _fill(fill: Fill) -> Iterator[Statement]:
    yield (
        _FILL,
        (
            *(fill.symbol, fill.trade_id, fill.order_id, fill.client_id, fill.side, _text(fill.price)),
            *(_text(fill.quantity), _text(fill.commission), fill.commission_asset, _text(fill.realized_pnl)),
            *(int(fill.maker), fill.time_ms),
        ),
    )


_INCOME = _insert("income", "kind, transaction_id, symbol, amount_usd, asset, time_ms, trade_id", "DO NOTHING")


def _income(row: IncomeRow) -> Statement:
    return _INCOME, (
        *(row.kind, row.transaction_id, row.symbol, _text(row.amount_usd), row.asset, row.time_ms, row.trade_id),
    )


def _ledger(message: LedgerSynced) -> Iterator[Statement]:
    return map(_income, message.income)


_TRADE = _insert(
    "trades",
    "decision_id, symbol, side, phase, opened_ms, changed_ms, state, adopted",
    """(decision_id) DO UPDATE SET phase = excluded.phase, opened_ms = excluded.opened_ms,
        changed_ms = excluded.changed_ms, state = excluded.state, adopted = excluded.adopted
    WHERE excluded.changed_ms >= trades.changed_ms""",
)


def _trade(message: TradeChanged) -> Iterator[Statement]:
    t = message.trade
    yield (
        _TRADE,
        (t.decision_id, t.symbol, t.side, t.phase, t.opened_ms, t.changed_ms, _json(t), int(t.adopted)),
    )


_RESULT_COLUMNS = (
    "closed_ms, quantity, entry_price, exit_price, exit_reason, exits, realized_usd, commission_usd, risk_usd, "
    "slippage_bps, mfe_pct, mae_pct, confidence, complete"
)
_CLOSED = _insert(
    "trades",
    "decision_id, symbol, side, phase, opened_ms, changed_ms, adopted, " + _RESULT_COLUMNS,
    "(decision_id) DO UPDATE SET phase = excluded.phase, changed_ms = max(trades.changed_ms, excluded.changed_ms), "
    + ", ".join(f"{c} = excluded.{c}" for c in _RESULT_COLUMNS.split(", ")),
)


def _closed(t: TradeClosed) -> Iterator[Statement]:
    yield (
        _CLOSED,
        (
            *(t.decision_id, t.symbol, t.side, "closed", t.opened_ms, t.closed_ms, int(t.adopted)),
            *(t.closed_ms, _text(t.quantity), _text(t.entry_price), _text(t.exit_price), t.exit_reason),
            *(_json(t.exits), _text(t.realized_usd), _text(t.commission_usd), _text(t.risk_usd)),
            *(t.slippage_bps, t.mfe_pct, t.mae_pct, t.confidence, int(t.complete)),
        ),
    )


_EQUITY = _insert(
    "equity",
    "now_ms, wallet_usd, equity_usd, unrealized_usd, daily_pnl_usd, gross_notional_usd",
    """(now_ms) DO UPDATE SET wallet_usd = excluded.wallet_usd, equity_usd = excluded.equity_usd,
        unrealized_usd = excluded.unrealized_usd, daily_pnl_usd = excluded.daily_pnl_usd,
        gross_notional_usd = excluded.gross_notional_usd""",
)


def _equity(e: EquityMeasured) -> Iterator[Statement]:
    money = (e.wallet_usd, e.equity_usd, e.unrealized_usd, e.daily_pnl_usd, e.gross_notional_usd)
    yield _EQUITY, (e.now_ms, *map(_text, money))


_GOVERNOR = _insert(
    "governor",
    "id, changed_ms, state",
    "(id) DO UPDATE SET changed_ms = excluded.changed_ms, state = excluded.state",
)


def _governor(state: GovernorState) -> Iterator[Statement]:
    yield _GOVERNOR, (1, state.changed_ms, _json(state))


# The same incident within a minute is counted, not repeated: a storm of them stays a few rows.
_INCIDENT = _insert(
    "incidents",
    "kind, subject, detail, repaired, minute, times, first_ms, last_ms",
    """(minute, kind, subject, detail, repaired) DO UPDATE SET
        times = incidents.times + 1, last_ms = excluded.last_ms""",
)


def _incident(i: IncidentSeen) -> Iterator[Statement]:
    detail = i.detail[:DETAIL_CHARACTERS_MAX]
    yield _INCIDENT, (i.kind, i.subject, detail, int(i.repaired), i.now_ms // _MINUTE_MS, 1, i.now_ms, i.now_ms)


_REPAIRED: Final = "UPDATE OR REPLACE incidents SET repaired = 1 WHERE kind = ? AND subject = ? AND repaired = 0"


def _incident_repaired(i: IncidentRepaired) -> Iterator[Statement]:
    yield _REPAIRED, (i.kind, i.subject)


_MODEL = _insert(
    "model_versions",
    "model, version, state, reason, first_ms, changed_ms",
    "(model, version) DO UPDATE SET state = excluded.state, reason = excluded.reason, changed_ms = excluded.changed_ms",
)


def statements(record: object, now_ms: int) -> Iterator[Statement]:
    """Yield the statements that write ``record``; ``now_ms`` stamps messages that carry no time.

    Raises:
        TypeError: the journal has no table for this message.
    """
    if isinstance(record, ModelStateChanged):
        yield _MODEL, (record.model, record.version, record.state, record.reason, now_ms, now_ms)
        return
    write = _WRITERS.get(type(record))
    if write is None:
        raise TypeError(f"the journal has no table for {type(record).__name__}")
    yield from write(record)


_WRITERS: Final[dict[type, Callable[[Any], Iterator[Statement]]]] = {
    DecisionsMade: _decisions,
    IntentResolved: _resolved,
    OrderUpdated: _order,
    ConditionalUpdated: _conditional,
    OpenOrdersSeen: _open_orders,
    Fill: _fill,
    LedgerSynced: _ledger,
    TradeChanged: _trade,
    TradeClosed: _closed,
    EquityMeasured: _equity,
    GovernorState: _governor,
    IncidentSeen: _incident,
    IncidentRepaired: _incident_repaired,
}
RECORDS: Final = (*_WRITERS, ModelStateChanged)
"""Every message that ``Journal.append`` takes."""
