"""REST replies of Binance USDⓈ-M as messages of the trader .

Each function takes decoded JSON and raises ``msgspec.ValidationError`` when a field it needs is absent or of another
type; fields it does not know are ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
import numpy as np

from qt_actors.edges.weights import Limits
from qt_actors.messages.base import Side
from qt_actors.messages.market import BarsLoaded, Bracket, RulesLoaded, SymbolRules
from qt_actors.messages.orders import Fill
from qt_actors.messages.positions import IncomeRow, Position, RestingOrder

T = TypeVar("T")
ZERO = Decimal(0)


class OrderReply(msgspec.Struct, frozen=True, rename="camel"):
    """POST, DELETE and GET order; ``avg_price`` is absent from placements since 2026-07-14."""

    order_id: int
    symbol: str
    status: str
    client_order_id: str
    executed_qty: Decimal
    avg_price: Decimal = ZERO


class AlgoReply(msgspec.Struct, frozen=True, rename="camel"):
    """POST and GET algoOrder; the actual… fields tell what the triggered child did."""

    algo_id: int
    client_algo_id: str
    symbol: str
    algo_status: str
    actual_order_id: str = ""
    actual_price: str = ""
    actual_qty: str = ""


class AccountTotals(msgspec.Struct, frozen=True, rename="camel"):
    """GET v3/account, the totals in USDT (single-asset mode)."""

    total_wallet_balance: Decimal
    total_margin_balance: Decimal
    total_unrealized_profit: Decimal
    available_balance: Decimal


class PositionRow(msgspec.Struct, frozen=True, rename="camel"):
    """GET v3/positionRisk."""

    symbol: str
    position_side: str
    position_amt: Decimal
    entry_price: Decimal
    mark_price: Decimal
    un_realized_profit: Decimal
    liquidation_price: Decimal
    notional: Decimal
    initial_margin: Decimal
    update_time: int


class OrderRow(msgspec.Struct, frozen=True, rename="camel"):
    """GET openOrders."""

    symbol: str
    client_order_id: str
    order_id: int
    side: Side
    type: str
    orig_qty: Decimal
    executed_qty: Decimal
    reduce_only: bool
    close_position: bool
    working_type: str
    time: int
    stop_price: Decimal = ZERO
    price: Decimal = ZERO


class AlgoRow(msgspec.Struct, frozen=True, rename="camel"):
    """GET openAlgoOrders."""

    symbol: str
    client_algo_id: str
    algo_id: int
    side: Side
    order_type: str
    quantity: Decimal
    reduce_only: bool
    close_position: bool
    working_type: str
    create_time: int
    trigger_price: str = ""
    activate_price: str | None = None
    callback_rate: str | None = None


class TradeRow(msgspec.Struct, frozen=True, rename="camel"):
    """GET userTrades."""

    symbol: str
    id: int
    order_id: int
    side: Side
    price: Decimal
    qty: Decimal
    realized_pnl: Decimal
    commission: Decimal
    commission_asset: str
    time: int
    maker: bool


class LedgerRow(msgspec.Struct, frozen=True, rename="camel"):
    """GET income."""

    income_type: str
    income: Decimal
    asset: str
    time: int
    tran_id: int
    symbol: str = ""
    trade_id: str | int = ""
    """A number in some rows, a text in others, empty where there was no trade."""


class HedgeModeError(Exception):
    """The account holds LONG and SHORT separately; the trader knows one net position a symbol."""


def read(content: Any, kind: type[T]) -> T:
    """Typed value of decoded JSON.

    Raises:
        msgspec.ValidationError: it is not of that shape.
    """
    return msgspec.convert(content, kind, strict=False)


def positions(content: Any) -> tuple[Position, ...]:
    """Open positions of v3/positionRisk.

    Raises:
        HedgeModeError: a position is held on one side of hedge mode.
    """
    rows = [row for row in read(content, list[PositionRow]) if row.position_amt]
    for row in rows:
        if row.position_side != "BOTH":
            raise HedgeModeError(f"{row.symbol} is held {row.position_side} in hedge mode; set the account to one-way")
    return tuple(
        Position(
            symbol=row.symbol,
            quantity=row.position_amt,
            entry_price=row.entry_price,
            mark_price=row.mark_price,
            unrealized_pnl=row.un_realized_profit,
            liquidation_price=row.liquidation_price,
            notional_usd=abs(row.notional),
            initial_margin_usd=row.initial_margin,
            updated_ms=row.update_time,
        )
        for row in rows
    )


def open_orders(content: Any) -> tuple[RestingOrder, ...]:
    """Regular open orders."""
    return tuple(
        RestingOrder(
            symbol=row.symbol,
            client_id=row.client_order_id,
            exchange_id=row.order_id,
            side=row.side,
            kind=row.type,
            quantity=row.orig_qty,
            executed_quantity=row.executed_qty,
            trigger_price=row.stop_price or None,
            activate_price=None,
            callback_pct=None,
            reduce_only=row.reduce_only,
            close_position=row.close_position,
            conditional=False,
            working_type=row.working_type,
            created_ms=row.time,
            price=row.price or None,
        )
        for row in read(content, list[OrderRow])
    )


def open_conditionals(content: Any) -> tuple[RestingOrder, ...]:
    """Untriggered conditional orders; ``callback_pct`` is in percent, as the exchange writes it."""
    return tuple(
        RestingOrder(
            symbol=row.symbol,
            client_id=row.client_algo_id,
            exchange_id=row.algo_id,
            side=row.side,
            kind=row.order_type,
            quantity=row.quantity,
            executed_quantity=ZERO,
            trigger_price=number(row.trigger_price),
            activate_price=number(row.activate_price),
            callback_pct=number(row.callback_rate),
            reduce_only=row.reduce_only,
            close_position=row.close_position,
            conditional=True,
            working_type=row.working_type,
            created_ms=row.create_time,
        )
        for row in read(content, list[AlgoRow])
    )


def number(text: str | None) -> Decimal | None:
    """A price as the exchange writes it; None for an absent, empty or zero one."""
    return (Decimal(text) or None) if text else None


def incomes(content: Any) -> tuple[IncomeRow, ...]:
    """Rows of the income ledger."""
    return tuple(
        IncomeRow(
            kind=row.income_type,
            transaction_id=row.tran_id,
            symbol=row.symbol,
            amount_usd=row.income,
            asset=row.asset,
            time_ms=row.time,
            trade_id=str(row.trade_id),
        )
        for row in read(content, list[LedgerRow])
    )


def fill(row: TradeRow, client_id: str) -> Fill:
    """One execution; ``client_id`` comes from its order, the trade row has none."""
    return Fill(
        symbol=row.symbol,
        trade_id=row.id,
        order_id=row.order_id,
        client_id=client_id,
        side=row.side,
        price=row.price,
        quantity=row.qty,
        commission=row.commission,
        commission_asset=row.commission_asset,
        realized_pnl=row.realized_pnl,
        maker=row.maker,
        time_ms=row.time,
    )


def bars(symbol: str, interval: str, content: Any, closed_before_ms: float) -> BarsLoaded:
    """Klines that had closed before a moment, oldest first; rows that are no candle are left out.

    Args:
        symbol: whose.
        interval: as the exchange writes it.
        content: rows of 12: openTime, o, h, l, c, volume, closeTime, …
        closed_before_ms: exchange time before the request was sent: a later close was still forming.
    """
    rows = [row for row in read(content, list[tuple[Any, ...]]) if int(row[6]) < closed_before_ms]
    ohlcv = np.array([[float(value) for value in row[1:6]] for row in rows], dtype=np.float64).reshape(-1, 5)
    times = np.array([int(row[0]) for row in rows], dtype=np.int64)
    good = np.isfinite(ohlcv).all(axis=1) & (ohlcv[:, :4] > 0.0).all(axis=1) & (ohlcv[:, 4] >= 0.0)
    times, ohlcv = times[good], ohlcv[good]
    times.flags.writeable = ohlcv.flags.writeable = False
    return BarsLoaded(symbol=symbol, interval=interval, open_time_ms=times, ohlcv=ohlcv)


def limits(exchange_info: Mapping[str, Any]) -> Limits:
    """The request limits in force, from exchangeInfo; absent ones keep their documented value."""
    found = {
        (row["rateLimitType"], row["interval"], row["intervalNum"]): int(row["limit"])
        for row in exchange_info.get("rateLimits", ())
    }
    known = Limits()
    return Limits(
        weight_per_minute=found.get(("REQUEST_WEIGHT", "MINUTE", 1), known.weight_per_minute),
        orders_per_10_s=found.get(("ORDERS", "SECOND", 10), known.orders_per_10_s),
        orders_per_minute=found.get(("ORDERS", "MINUTE", 1), known.orders_per_minute),
    )


def rules(
    exchange_info: Mapping[str, Any], brackets: Iterable[Any], funding: Iterable[Any], tickers: Iterable[Any]
) -> tuple[RulesLoaded, tuple[str, ...]]:
    """Rules of every symbol, of whatever contract and quote, and the symbols whose row could not be read.

    Args:
        exchange_info: exchangeInfo.
        brackets: leverageBracket (empty without credentials).
        funding: fundingInfo, which lists only symbols whose interval is not 8 h.
        tickers: 24 h tickers.
    """
    tables = {row["symbol"]: row["brackets"] for row in brackets}
    hours = {row["symbol"]: int(row["fundingIntervalHours"]) for row in funding}
    found, unreadable = [], []
    for row in exchange_info["symbols"]:
        try:
            found.append(_symbol_rules(row, tables.get(row["symbol"], ()), hours.get(row["symbol"], 8)))
        except (KeyError, TypeError, ValueError, ArithmeticError):
            unreadable.append(str(row.get("symbol")))
    listed = {rule.symbol for rule in found}
    volumes = {row["symbol"]: float(row["quoteVolume"]) for row in tickers if row["symbol"] in listed}
    return RulesLoaded(rules=tuple(found), quote_volume_24h_usd=volumes), tuple(unreadable)


def _symbol_rules(row: Mapping[str, Any], table: Iterable[Any], funding_hours: int) -> SymbolRules:
    filters = {entry["filterType"]: entry for entry in row["filters"]}
    price, lot, market = filters["PRICE_FILTER"], filters["LOT_SIZE"], filters["MARKET_LOT_SIZE"]
    band = filters["PERCENT_PRICE"]
    return SymbolRules(
        symbol=row["symbol"],
        status=row["status"],
        onboard_ms=int(row["onboardDate"]),
        price_tick=Decimal(price["tickSize"]),
        price_min=Decimal(price["minPrice"]),
        price_max=Decimal(price["maxPrice"]),
        # Everything the trader sends executes at market, so both lot filters bind; the coarser one rules.
        quantity_step=max(Decimal(lot["stepSize"]), Decimal(market["stepSize"])),
        quantity_min=max(Decimal(lot["minQty"]), Decimal(market["minQty"])),
        market_quantity_max=min(Decimal(lot["maxQty"]), Decimal(market["maxQty"])),
        notional_min=Decimal(filters["MIN_NOTIONAL"]["notional"]),
        price_multiplier_up=Decimal(band["multiplierUp"]),
        price_multiplier_down=Decimal(band["multiplierDown"]),
        brackets=tuple(_bracket(entry) for entry in table),
        funding_interval_hours=funding_hours,
        contract_type=row["contractType"],
        quote_asset=row["quoteAsset"],
    )


def _bracket(row: Mapping[str, Any]) -> Bracket:
    return Bracket(
        notional_floor=Decimal(row["notionalFloor"]),
        notional_cap=Decimal(row["notionalCap"]),
        leverage_max=int(row["initialLeverage"]),
        maintenance_ratio=Decimal(row["maintMarginRatio"]),
        maintenance_amount=Decimal(row["cum"]),
    )
