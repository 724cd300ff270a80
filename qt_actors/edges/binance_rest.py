"""The exchange's REST behind ``ports.Exchange``: requests go out on the socket loop, answers come as messages."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Coroutine, Iterable
from types import MappingProxyType
from typing import Any

import msgspec

from qt_actors.edges import binance_payloads as payloads
from qt_actors.edges.binance_client import Credentials
from qt_actors.edges.binance_errors import Failure
from qt_actors.edges.binance_orders import ORDER, perform, unknown
from qt_actors.edges.binance_requests import BudgetDenied, Clock, Means, Requests, Route
from qt_actors.edges.endpoints import Endpoints
from qt_actors.edges.loop import Loop
from qt_actors.messages.base import Message
from qt_actors.messages.orders import (
    Command,
    Fill,
    OrderAccepted,
    OrderOutcomeUnknown,
    PlaceConditional,
    PlaceOrder,
    Priority,
)
from qt_actors.messages.positions import AccountSnapshot, IncomeRow, LedgerSynced
from qt_actors.messages.system import BudgetUsed, VenueLost, VenueReady
from qt_actors.ports import Mailbox

log = logging.getLogger(__name__)

EXCHANGE_INFO = Route("futures_exchange_info", signed=False, timeout_s=15.0)
TICKERS = Route("futures_ticker", 40, signed=False)
FUNDING_INFO = Route("futures_v1_get_funding_info", 0, signed=False)
KLINES = Route("futures_klines", signed=False)
BRACKETS = Route("futures_leverage_bracket", 1)
POSITION_MODE = Route("futures_get_position_mode", 30)
ACCOUNT = Route("futures_account", 5, fixed=MappingProxyType({"version": 3}))
POSITIONS = Route("futures_position_information", 5)
OPEN_ORDERS = Route("futures_get_open_orders", 40)
OPEN_ALGO_ORDERS = Route("futures_get_open_algo_orders", 40)
INCOME = Route("futures_income_history", 30)
TRADES = Route("futures_account_trades", 5)
LISTEN_KEY = Route("futures_stream_get_listen_key", 1, signed=False)
KEEP_ALIVE = Route("futures_stream_keepalive", 1, signed=False)

BAR_REQUESTS_MAX = 8
BARS_MAX = 1500
PAGE_ROWS = 1000
PAGES_MAX = 100
WEEK_MS = 7 * 86_400_000
LEDGER_BACK_MS_MAX = 89 * 86_400_000
"""The exchange keeps three months."""
AHEAD_MS = 3_600_000
"""History is asked for up to this much later than now: our clock may be behind the exchange's newest row."""
ORDER_NAMES_MAX = 20_000
Lost = (Failure, BudgetDenied, payloads.HedgeModeError, msgspec.ValidationError, LookupError, TypeError, ValueError)
"""What a failed load may end in: the exchange's failure, or a reply that is not what is documented."""


class BinanceRest:
    """Implements ``ports.Exchange`` for loopback, testnet and live; every answer is told exactly once.

    Args:
        endpoints, credentials: where and who; None for public data only.
        clock: the trader's; loop: where the sockets live.
        means: by what requests leave.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        credentials: Credentials | None,
        clock: Clock,
        loop: Loop,
        means: Means | None = None,
    ) -> None:
        self._loop = loop
        self._credentials = credentials
        self._requests = Requests(endpoints, credentials, clock, self._on_failure, means)
        self._owner: Mailbox | None = None
        self._bar_slots = asyncio.Semaphore(BAR_REQUESTS_MAX)
        self._client_ids: dict[int, str] = {}
        self._placed: dict[str, None] = {}
        self._unseen = {"account", "ledger"}
        loop.at_stop(self._requests.close)

    def connect(self, reply_to: Mailbox) -> None:
        """Measure the clock, learn the limits, check credentials and position mode; ``VenueReady`` or ``VenueLost``.

        The same mailbox hears ``VenueLost`` later, when the exchange bans us or stops accepting the key.
        """
        self._owner = reply_to
        self._load(self._connect(), reply_to)

    def submit(self, command: Command, reply_to: Mailbox, *, trace: str) -> None:
        """Send one order command; tells exactly one outcome of ``messages.orders``."""
        self._loop.submit(self._perform(command, reply_to, trace))

    def load_rules(self, reply_to: Mailbox) -> None:
        """Tell ``RulesLoaded``, or ``VenueLost``."""
        self._load(self._rules(), reply_to)

    def load_account(self, serial: int, reply_to: Mailbox) -> None:
        """Tell an ``AccountSnapshot`` with this serial, or ``VenueLost``."""
        self._load(self._account(serial), reply_to)

    def load_ledger(self, since_ms: int, symbols: tuple[str, ...], reply_to: Mailbox) -> None:
        """Tell every ``Fill`` of these symbols since then, last ``LedgerSynced`` with all income; or ``VenueLost``."""
        self._load(self._ledger(since_ms, symbols), reply_to)

    def load_bars(
        self, symbols: tuple[str, ...], interval: str, since_ms: int | None, limit: int, reply_to: Mailbox
    ) -> None:
        """Tell one ``BarsLoaded`` a symbol: the newest ``limit`` closed bars, or the first ``limit`` since a time.

        Raises:
            ValueError: more than 1500 bars were asked for.
        """
        if not 1 <= limit <= BARS_MAX:
            raise ValueError(f"limit {limit}: the exchange gives 1 to {BARS_MAX} bars a request")
        for symbol in symbols:
            self._load(self._bars(symbol, interval, since_ms, limit), reply_to)

    def budget(self) -> BudgetUsed:
        """Share of the request limits used in the running windows; from any thread, at once."""
        weight, orders = self._requests.budget.ratios()
        return BudgetUsed(weight_ratio=weight, orders_ratio=orders)

    def close(self) -> None:
        """Drop connections."""
        self._loop.submit(self._requests.close())

    async def new_listen_key(self) -> str:
        """Key of the user-data stream, valid for an hour; the running one is returned and extended.

        Raises:
            Failure: there is none to be had.
        """
        return str(await self._requests.send(LISTEN_KEY, "reconcile", patient=True))

    async def extend_listen_key(self, key: str) -> None:
        """Another hour for this key.

        Raises:
            Failure: code -1125 when it has expired.
        """
        await self._requests.send(KEEP_ALIVE, "reconcile", patient=True, listenKey=key)

    def _load(self, work: Coroutine[Any, Any, Iterable[Message]], reply_to: Mailbox) -> None:
        self._loop.submit(self._tell_result(work, reply_to))

    async def _tell_result(self, work: Coroutine[Any, Any, Iterable[Message]], reply_to: Mailbox) -> None:
        try:
            messages = await work
        except Lost as error:
            messages = (self._lost(error),)
        for message in messages:
            reply_to.tell(message)

    def _lost(self, error: Exception) -> VenueLost:
        wait_s = self._wait_s(error)
        until_ms = self._requests.until_ms(wait_s) if wait_s else None
        known = isinstance(error, (Failure, BudgetDenied, payloads.HedgeModeError))
        reason = str(error) if known else f"unreadable reply ({type(error).__name__}: {error})"
        if isinstance(error, Failure):
            reason = f"{error.reason} ({error.code})" if error.code else error.reason
        return VenueLost(reason=self._redact(reason), until_ms=until_ms)

    def _wait_s(self, error: Exception) -> float:
        """Real seconds for which asking again is pointless, and after a 429 or 418 harmful."""
        budget = self._requests.budget
        if isinstance(error, BudgetDenied):
            return error.wait_s
        limited = isinstance(error, Failure) and error.outcome == "limited"
        return max(budget.banned_s(), budget.slowed_s() if limited else 0.0)

    def _redact(self, text: str) -> str:
        return self._credentials.redact(text) if self._credentials else text

    def _on_failure(self, failure: Failure) -> None:
        """A ban or a refused key concerns everybody, whichever request met it."""
        if failure.outcome in {"banned", "credentials"} and self._owner is not None:
            self._owner.tell(self._lost(failure))

    async def _perform(self, command: Command, reply_to: Mailbox, trace: str) -> None:
        started_s = time.perf_counter()
        try:
            outcome = await perform(self._requests.send, command, placed_before=_name(command) in self._placed)
        except asyncio.CancelledError:
            reply_to.tell(unknown(command, "the trader stopped before the answer"), trace=trace)
            raise
        except Exception as error:  # an outcome is owed whatever happens
            log.exception("%s ended in an error that is not of the exchange", type(command).__name__)
            outcome = unknown(command, self._redact(f"{type(error).__name__}"))
        if isinstance(outcome, OrderAccepted | OrderOutcomeUnknown) and (name := _name(command)):
            if len(self._placed) >= ORDER_NAMES_MAX:
                self._placed.pop(next(iter(self._placed)))
            self._placed[name] = None
        if isinstance(outcome, OrderAccepted):
            elapsed_ms = (time.perf_counter() - started_s) * 1000.0
            outcome = msgspec.structs.replace(outcome, elapsed_ms=elapsed_ms)
        reply_to.tell(outcome, trace=trace)

    async def _connect(self) -> tuple[Message, ...]:
        self._unseen = {"account", "ledger"}
        await self._requests.measure_clock()
        info = await self._requests.send(EXCHANGE_INFO, "protect")
        self._requests.budget.limit(payloads.limits(info))
        if self._credentials is not None:
            mode = await self._requests.send(POSITION_MODE, "protect")
            if mode.get("dualSidePosition"):
                raise payloads.HedgeModeError("the account is in hedge mode; set it to one-way")
        return (VenueReady(clock_offset_ms=round(self._requests.offset_ms)),)

    def _priority(self, what: str) -> Priority:
        """The first look after a connection is the protection's: until then nobody knows what stands bare."""
        return "protect" if what in self._unseen else "reconcile"

    async def _rules(self) -> tuple[Message, ...]:
        send = self._requests.send
        info = await send(EXCHANGE_INFO, "reconcile", patient=True)
        self._requests.budget.limit(payloads.limits(info))
        funding = await send(FUNDING_INFO, "reconcile", patient=True)
        tickers = await send(TICKERS, "reconcile", patient=True)
        brackets = await send(BRACKETS, "reconcile", patient=True) if self._credentials else ()
        loaded, unreadable = payloads.rules(info, brackets, funding, tickers)
        if unreadable:
            log.warning("rules of %d symbols cannot be read, they are left out: %s", len(unreadable), unreadable[:8])
        return (loaded,)

    async def _account(self, serial: int) -> tuple[Message, ...]:
        send, priority = self._requests.send, self._priority("account")
        requested_ms = int(self._requests.exchange_ms() - self._requests.uncertainty_ms)
        async with asyncio.TaskGroup() as round_:
            parts = [
                round_.create_task(_plain_failure(send(route, priority, patient=True)))
                for route in (ACCOUNT, POSITIONS, OPEN_ORDERS, OPEN_ALGO_ORDERS)
            ]
        account, positions, orders, conditionals = (_raised(part.result()) for part in parts)
        totals = payloads.read(account, payloads.AccountTotals)
        snapshot = AccountSnapshot(
            serial=serial,
            requested_ms=requested_ms,
            now_ms=int(self._requests.exchange_ms()),
            wallet_usd=totals.total_wallet_balance,
            equity_usd=totals.total_margin_balance,
            available_usd=totals.available_balance,
            positions=payloads.positions(positions),
            orders=payloads.open_orders(orders),
            conditionals=payloads.open_conditionals(conditionals),
        )
        self._unseen.discard("account")
        return (snapshot,)

    async def _ledger(self, since_ms: int, symbols: tuple[str, ...]) -> tuple[Message, ...]:
        now_ms = int(self._requests.exchange_ms())
        since_ms = max(since_ms, now_ms - LEDGER_BACK_MS_MAX)
        until_ms = now_ms + AHEAD_MS
        income = await self._income(since_ms, until_ms)
        fills = [fill for symbol in symbols for fill in await self._fills(symbol, since_ms, until_ms)]
        account = await self._requests.send(ACCOUNT, self._priority("ledger"), patient=True)
        totals = payloads.read(account, payloads.AccountTotals)
        synced = LedgerSynced(
            income=income,
            wallet_usd=totals.total_wallet_balance,
            equity_usd=totals.total_margin_balance,
            unrealized_usd=totals.total_unrealized_profit,
            now_ms=now_ms,
        )
        self._unseen.discard("ledger")
        return (*fills, synced)

    async def _income(self, since_ms: int, until_ms: int) -> tuple[IncomeRow, ...]:
        """All rows of a closed span, week by week (the longest the exchange allows), page by page."""
        rows: list[IncomeRow] = []
        for start_ms, end_ms in _weeks(since_ms, until_ms):
            for page in range(1, PAGES_MAX + 1):
                span = {"startTime": start_ms, "endTime": end_ms, "page": page, "limit": PAGE_ROWS}
                found = payloads.incomes(
                    await self._requests.send(INCOME, self._priority("ledger"), patient=True, **span)
                )
                rows += found
                if len(found) < PAGE_ROWS:
                    break
        return tuple(rows)

    async def _fills(self, symbol: str, since_ms: int, until_ms: int) -> list[Fill]:
        """Every execution of a symbol in a span: by time, and where a page is full by trade id from there on."""
        rows: dict[int, payloads.TradeRow] = {}
        for start_ms, end_ms in _weeks(since_ms, until_ms):
            query: dict[str, Any] = {"startTime": start_ms, "endTime": end_ms}
            for _ in range(PAGES_MAX):
                content = await self._requests.send(
                    TRADES, self._priority("ledger"), patient=True, symbol=symbol, limit=PAGE_ROWS, **query
                )
                found = payloads.read(content, list[payloads.TradeRow])
                rows.update((row.id, row) for row in found if row.time <= end_ms)
                if len(found) < PAGE_ROWS or found[-1].time > end_ms:
                    break
                query = {"fromId": found[-1].id + 1}
        return [payloads.fill(row, await self._client_id(row)) for _, row in sorted(rows.items())]

    async def _client_id(self, row: payloads.TradeRow) -> str:
        """The client id of a trade's order; empty when the exchange has forgotten the order."""
        known = self._client_ids.get(row.order_id)
        if known is None:
            try:
                content = await self._requests.send(
                    ORDER, self._priority("ledger"), patient=True, symbol=row.symbol, orderId=row.order_id
                )
                known = payloads.read(content, payloads.OrderReply).client_order_id
            except Failure as failure:
                if failure.outcome != "missing":
                    raise
                known = ""
            if len(self._client_ids) >= ORDER_NAMES_MAX:
                self._client_ids.pop(next(iter(self._client_ids)))
            self._client_ids[row.order_id] = known
        return known

    async def _bars(self, symbol: str, interval: str, since_ms: int | None, limit: int) -> tuple[Message, ...]:
        # Two more than asked for: the newest is the forming one, another may have closed within the clock's error.
        rows = min(limit + 2, BARS_MAX)
        query = {} if since_ms is None else {"startTime": since_ms}
        try:
            async with self._bar_slots:
                closed_before_ms = self._requests.exchange_ms() - self._requests.uncertainty_ms
                content = await self._requests.send(
                    KLINES,
                    "research",
                    patient=True,
                    weight=_klines_weight(rows),
                    symbol=symbol,
                    interval=interval,
                    limit=rows,
                    **query,
                )
            loaded = payloads.bars(symbol, interval, content, closed_before_ms)
        except Lost as error:
            empty = payloads.bars(symbol, interval, [], 0)
            return (msgspec.structs.replace(empty, error=self._lost(error).reason),)
        keep = slice(0, limit) if since_ms is not None else slice(-limit, None)
        return (msgspec.structs.replace(loaded, open_time_ms=loaded.open_time_ms[keep], ohlcv=loaded.ohlcv[keep]),)


def _name(command: Command) -> str:
    """Client id of an order to be placed; empty for every other command."""
    return command.client_id if isinstance(command, PlaceOrder | PlaceConditional) else ""


def _weeks(since_ms: int, until_ms: int) -> list[tuple[int, int]]:
    """Closed spans of at most seven days that cover [since, until]."""
    starts = itertools.takewhile(lambda ms: ms <= until_ms, itertools.count(since_ms, WEEK_MS))
    return [(start, min(start + WEEK_MS - 1, until_ms)) for start in starts]


def _klines_weight(limit: int) -> int:
    """What klines cost by their limit, the dearer of the documented and the measured figure."""
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10


async def _plain_failure(work: Coroutine[Any, Any, Any]) -> Any:
    """The result, or the failure as a value, so that one part's failure lets the others finish."""
    try:
        return await work
    except Lost as error:
        return error


def _raised(result: Any) -> Any:
    if isinstance(result, Exception):
        raise result
    return result
