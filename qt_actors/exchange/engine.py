"""The embedded exchange's trading engine: one account on a USDⓈ-M futures market, no clock, no chance, no network.

Orders and quotes go in, Binance-shaped replies and user-data events come out; the same inputs give the same outputs.
Its endpoints are in endpoints.py. State changes first, the event that tells of it follows at once, before anything
else changes. Within one quote: resting orders fill, then conditional orders fire (oldest first), then liquidation is
judged. Inside a candle the price passes through everything between two quotes (`way`).

Where the real exchange is not known or is simplified: other participants are a depth model (`quotes.Quote.levels`) and
a place in the queue behind what it displays (`matching`); a stop held back by priceProtect goes on waiting; a reducing
order larger than the position is cut to it, and a resting one that shrinks is told as AMENDMENT with er 4; multi-assets
mode counts every asset at par; fees are those of VIP 0 in the margin asset, without BNB; only a fault deleverages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from qt_actors.exchange import state
from qt_actors.exchange.account import Account
from qt_actors.exchange.algo_orders import AlgoOrders
from qt_actors.exchange.core import NEVER_MS, Core, in_symbol_order
from qt_actors.exchange.endpoints import Endpoints
from qt_actors.exchange.errors import ExchangeError, refusal
from qt_actors.exchange.exposure import Margin
from qt_actors.exchange.faults.orders import spoil
from qt_actors.exchange.figures import ZERO, money
from qt_actors.exchange.liquidation import Liquidation
from qt_actors.exchange.matching import Matching
from qt_actors.exchange.orders import Orders
from qt_actors.exchange.queries import Queries
from qt_actors.exchange.quotes import Quote
from qt_actors.exchange.reports import Reports
from qt_actors.exchange.rules import ExchangeRules
from qt_actors.exchange.settings import Settings
from qt_actors.exchange.state import State
from qt_actors.exchange.state_writer import StateWriter
from qt_actors.exchange.way import Way, Waymarks

__all__ = ["Engine", "ExchangeError", "ExchangeRules", "Quote"]

Emit = Callable[[dict[str, Any]], None]
FORGET_EVERY_MS: Final = 3_600_000


class Engine(Endpoints):
    """One account's exchange. Not thread-safe; `emit` is called synchronously and must not call back."""

    def __init__(self, rules: ExchangeRules, *, wallet: Decimal = Decimal(10_000), now_ms: int, emit: Emit) -> None:
        self._build(State(now_ms=now_ms, forgot_ms=now_ms), rules, emit)
        self._account.post("TRANSFER", "USDT", money(wallet))

    def _build(self, remembered: State, rules: ExchangeRules, emit: Emit) -> None:
        core = self._core = Core(remembered, rules, emit)
        self._margin = Margin(core)
        self._account = Account(core, self._margin)
        self._matching = Matching(core, self._account)
        self._orders = Orders(core, self._margin, self._matching)
        self._algos = AlgoOrders(core, self._orders, self._matching)
        self._liquidation = Liquidation(core, self._margin, self._account, self._matching, self._algos)
        self._reactions = (self._matching.touch_resting, self._algos.watch, self._liquidation.watch)
        self._waymarks = Waymarks(core, self._margin)
        self._settings = Settings(core, self._margin, self._account)
        self._reports = Reports(core, self._margin, self._settings)
        self._queries = Queries(core, self._orders, self._algos)
        self._writer = StateWriter()
        for at_ms in remembered.countdowns.values():
            core.expires(at_ms)

    @property
    def revision(self) -> int:
        """Grows with every change a client could see."""
        return self._core.state.revision

    @property
    def active(self) -> frozenset[str] | set[str]:
        """Symbols whose next quote can change something: a position, an open order, or depth that was taken."""
        return self._core.active

    def save(self) -> bytes:
        """The complete state."""
        return self._writer.encode(self._core.state)

    @classmethod
    def restore(cls, data: bytes, rules: ExchangeRules, emit: Emit) -> Engine:
        """The engine as it was saved; emits nothing.

        Raises:
            StateError: the bytes are not a state of this version, or hold a symbol the rules do not know.
        """
        remembered = state.decode(data)
        used = {order.symbol for order in remembered.orders.values()}
        used |= {position.symbol for position in remembered.positions.values()}
        used |= {algo.symbol for algo in remembered.algo_orders.values()}
        unknown = sorted(used - set(rules.symbols))
        if unknown:
            raise state.StateError(f"exchange state: symbols {', '.join(unknown)} are not in the exchange's rules")
        engine = cls.__new__(cls)
        engine._build(remembered, rules, emit)  # noqa: SLF001 - the class's own second constructor
        return engine

    def income_total(self, asset: str = "USDT") -> Decimal:
        """Sum of all income ever of an asset: equals its wallet, exactly."""
        remembered = self._core.state
        rows = (row.amount for row in remembered.income if row.asset == asset)
        return remembered.income_dropped.get(asset, ZERO) + sum(rows, ZERO)

    def wallet(self, asset: str = "USDT") -> Decimal:
        """Wallet balance of an asset."""
        return self._core.state.wallets.get(asset, ZERO)

    def transfer(self, asset: str, amount: Decimal, now_ms: int) -> None:
        """Deposit (positive) or withdraw; emits ACCOUNT_UPDATE. -2018 when more is asked for than may be taken out."""
        self._core.at(now_ms)
        if amount < 0 and -amount > min(self.wallet(asset), self._margin.balance(asset).withdrawable):
            raise refusal(-2018)
        self._account.transfer(asset, money(amount))

    def quote(self, quote: Quote) -> None:
        """The market of one symbol moved; where it walked, what lies on its way is met first (`way`)."""
        core = self._core
        symbol = quote.symbol
        before = core.state.quotes.get(symbol)
        core.state.quotes[symbol] = quote
        if symbol not in core.active:
            return
        core.at(quote.time_ms)
        if core.state.taken.pop(symbol, None) is not None:
            core.refresh_active(symbol)
        if quote.walked and before is not None:
            way = Way(before, quote, core.rules_of(symbol))
            while (stop := self._waymarks.next(way)) is not None:
                self._meet(way.go(stop))
                core.state.quotes[symbol] = quote
            quote = way.arrive()
        self._meet(quote)

    def _meet(self, quote: Quote) -> None:
        """What a symbol's market does to the account as it stands now."""
        core = self._core
        core.state.quotes[quote.symbol] = quote
        for act in self._reactions:
            before = core.state.revision
            act(quote)
            if core.state.revision != before:
                self._algos.settle(quote.symbol)

    def settle_funding(self, symbol: str, rate: Decimal, now_ms: int) -> None:
        """The symbol's funding time is here: positions pay or receive notional at mark x rate."""
        self._core.at(now_ms)
        for position in self._core.held_of(symbol):
            self._account.settle_funding(position, rate)
        if symbol in self._core.active:
            self._liquidation.judge(symbol)
            self._algos.settle(symbol)

    def delist(self, symbol: str, now_ms: int) -> None:
        """Trading in a symbol ends: orders expire, positions are closed at the mark price."""
        self._core.at(now_ms)
        self._liquidation.delist(symbol)
        self._algos.settle(symbol)

    def advance(self, now_ms: int) -> None:
        """Time passed: good-till-date orders expire, dead-man switches fire, retention forgets."""
        core = self._core
        core.at(now_ms)
        if now_ms >= core.next_expiry_ms:
            core.next_expiry_ms = NEVER_MS
            for _, orders in in_symbol_order(core.open_orders):
                for order in list(orders.values()):
                    self._expire_if_due(order)
            for _, algos in in_symbol_order(core.open_algos):
                for algo in list(algos.values()):
                    if algo.good_till_ms and algo.good_till_ms <= now_ms:
                        self._algos.expire(algo)
                    else:
                        core.expires(algo.good_till_ms)
            for symbol, at_ms in list(core.state.countdowns.items()):
                if at_ms <= now_ms:
                    del core.state.countdowns[symbol]
                    self.cancel_all_orders({"symbol": symbol}, now_ms)
                else:
                    core.expires(at_ms)
        if abs(now_ms - core.state.forgot_ms) >= FORGET_EVERY_MS:
            core.state.forgot_ms = now_ms
            self._queries.forget()

    def spoil(self, wire: Mapping[str, str], now_ms: int) -> None:
        """What a fault does to orders (`faults.orders`)."""
        self._core.at(now_ms)
        spoil(self._core, self._matching, self._algos, self._liquidation, wire)

    def _expire_if_due(self, order: state.Order) -> None:
        if order.ends_ms <= self._core.now:
            self._matching.expire(order, "EXPIRED", "0")
            self._algos.settle(order.symbol)
        else:
            self._core.expires(order.ends_ms)
