"""What is really so on the exchange, and what the journal says: the facts that the invariants judge."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import msgspec

from qt_actors.edges import binance_payloads as payloads
from qt_actors.edges.journal_queries import ROWS_MAX, SqliteJournalReader
from qt_actors.messages.orders import Fill
from qt_actors.messages.positions import IncomeRow, Position, RestingOrder
from qt_actors.simulation.world import World

PAGE: Final = 1000


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """The account as the exchange has it at one moment."""

    now_ms: int
    wallet_usd: Decimal
    equity_usd: Decimal
    positions: tuple[Position, ...]
    stops: tuple[RestingOrder, ...]
    """Every conditional order that waits, whatever its kind."""


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """Two books of the same account: the exchange's and the journal's."""

    wallet_usd: Decimal
    told_wallet_usd: Decimal
    fills: frozenset[tuple[Any, ...]]
    told_fills: frozenset[tuple[Any, ...]]
    income: frozenset[tuple[Any, ...]]
    told_income: frozenset[tuple[Any, ...]]
    held: dict[str, Decimal]
    told_held: dict[str, Decimal]


def truth_of(world: World) -> Truth:
    """The account now."""
    ask = world.exchange.request
    totals = payloads.read(ask("GET", "/fapi/v3/account"), payloads.AccountTotals)
    return Truth(
        now_ms=world.now_ms,
        wallet_usd=totals.total_wallet_balance,
        equity_usd=totals.total_margin_balance,
        positions=payloads.positions(ask("GET", "/fapi/v3/positionRisk")),
        stops=payloads.open_conditionals(ask("GET", "/fapi/v1/openAlgoOrders")),
    )


def books_of(world: World, journal: SqliteJournalReader, symbols: tuple[str, ...], since_ms: int) -> Books:
    """Both books; what happened before the account was first looked at is in neither."""
    truth = truth_of(world)
    income = [row for row in _income(world) if row.time_ms >= since_ms]
    with_journal = {t.symbol: (t.filled - t.exited) * (1 if t.side == "BUY" else -1) for t in journal.open_trades()}
    told = journal.rows("income", {"limit": ROWS_MAX})
    return Books(
        wallet_usd=truth.wallet_usd,
        told_wallet_usd=sum((Decimal(r["amount_usd"]) for r in told), Decimal(0)),
        fills=frozenset(_fill(fill) for symbol in symbols for fill in _fills(world, symbol)),
        told_fills=frozenset(
            (r["symbol"], r["trade_id"], Decimal(r["quantity"]), Decimal(r["price"]), Decimal(r["commission"]))
            for r in journal.rows("fills", {"limit": ROWS_MAX})
        ),
        income=frozenset((r.kind, r.transaction_id, r.symbol, r.amount_usd) for r in income),
        told_income=frozenset((r["kind"], r["transaction_id"], r["symbol"], Decimal(r["amount_usd"])) for r in told),
        held={p.symbol: p.quantity for p in truth.positions},
        told_held={symbol: quantity for symbol, quantity in with_journal.items() if quantity},
    )


def _fill(fill: Fill) -> tuple[Any, ...]:
    return fill.symbol, fill.trade_id, fill.quantity, fill.price, fill.commission


def _fills(world: World, symbol: str) -> list[Fill]:
    rows: list[payloads.TradeRow] = []
    query: dict[str, Any] = {"fromId": 0}
    while True:
        content = world.exchange.request("GET", "/fapi/v1/userTrades", symbol=symbol, limit=PAGE, **query)
        page = payloads.read(content, list[payloads.TradeRow])
        rows += page
        if len(page) < PAGE:
            return [payloads.fill(row, "") for row in rows]
        query = {"fromId": page[-1].id + 1}


def _income(world: World) -> list[IncomeRow]:
    rows: list[IncomeRow] = []
    for page in range(1, 1000):
        span = {"startTime": world.start_ms, "endTime": world.now_ms, "page": page, "limit": PAGE}
        found = payloads.incomes(world.exchange.request("GET", "/fapi/v1/income", **span))
        rows += found
        if len(found) < PAGE:
            break
    return rows
