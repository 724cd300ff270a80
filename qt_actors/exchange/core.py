"""What every part of the engine shares: the state, its indices, the rules, the market and the way out for events."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, TypeVar

from qt_actors.exchange.errors import refusal
from qt_actors.exchange.figures import ZERO
from qt_actors.exchange.quotes import Quote
from qt_actors.exchange.rules import ExchangeRules, SymbolRules
from qt_actors.exchange.state import AlgoOrder, Order, Position, State, SymbolSetting

DEFAULT_LEVERAGE: Final = 20
ALGO_ID_BASE: Final = 1_000_000_000_000_000
ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
ONE_WAY, HEDGED = ("BOTH",), ("LONG", "SHORT")
NEVER_MS: Final = 1 << 62
Filed = TypeVar("Filed")
REWIND_MS: Final = 60_000


def generated_client_id(number: int) -> str:
    """The 22-character id the exchange gives an order whose client named none; a function of the number alone."""
    digest = int.from_bytes(hashlib.sha256(str(number).encode()).digest()[:17], "big")
    letters = []
    for _ in range(22):
        digest, place = divmod(digest, 62)
        letters.append(ALPHABET[place])
    return "".join(letters)


def in_symbol_order(filed: Mapping[str, Filed]) -> list[tuple[str, Filed]]:
    """What is filed by symbol, in an order that a restart does not change: not that of who was filed first."""
    return sorted(filed.items(), key=lambda entry: entry[0])


class Core:
    """Owns the state and the indices derived from it; money moves in `Account`, orders in `Orders` and `AlgoOrders`."""

    def __init__(self, state: State, rules: ExchangeRules, emit: Callable[[dict[str, Any]], None]) -> None:
        self.state = state
        self.rules = rules
        self._emit = emit
        self.open_orders: dict[str, dict[int, Order]] = defaultdict(dict)
        self.open_algos: dict[str, dict[int, AlgoOrder]] = defaultdict(dict)
        self.children: dict[str, dict[int, AlgoOrder]] = defaultdict(dict)
        """Triggered conditional orders whose child order still rests, by symbol and child order id."""
        self.client_ids: dict[tuple[str, str], int] = {}
        """Latest order id by (symbol, client order id)."""
        self.client_algo_ids: dict[str, int] = {}
        self.active: set[str] = set()
        """Symbols whose next quote must be looked at: a position, an open order of either kind, or taken depth."""
        self.next_expiry_ms = NEVER_MS
        self._queues: dict[str, tuple[list[Order], list[Order]]] = {}
        self._bound: dict[tuple[str, str, str], Decimal] = {}
        self._index()

    def index_ids(self) -> None:
        """Client ids of the orders there are; the latest order of an id is the one it names."""
        self.client_ids = {(o.symbol, o.client_order_id): o.order_id for o in self.state.orders.values()}
        self.client_algo_ids = {algo.client_algo_id: algo.algo_id for algo in self.state.algo_orders.values()}

    def _index(self) -> None:
        self.index_ids()
        for order in self.state.orders.values():
            if order.is_open:
                self.file_open(order)
        for algo in self.state.algo_orders.values():
            if algo.is_open:
                self.open_algos[algo.symbol][algo.algo_id] = algo
                self.expires(algo.good_till_ms)
            elif algo.status == "TRIGGERED":
                self.children[algo.symbol][algo.child_id] = algo
        symbols = {position.symbol for position in self.state.positions.values()}
        for symbol in symbols | set(self.open_orders) | set(self.open_algos) | set(self.state.taken):
            self.refresh_active(symbol)

    @property
    def now(self) -> int:
        """Time of the operation under way (ms UTC)."""
        return self.state.now_ms

    def at(self, now_ms: int) -> None:
        """Set the time of the operation under way.

        It never steps back by less than a minute (quotes and requests may cross); a longer way back is a market that
        was started over, and is followed.
        """
        if now_ms > self.state.now_ms or now_ms < self.state.now_ms - REWIND_MS:
            self.state.now_ms = now_ms

    def changed(self) -> None:
        """A client could see a difference from here on."""
        self.state.revision += 1

    def emit(self, event: dict[str, Any]) -> None:
        """Send one user-data event."""
        self.state.revision += 1
        self._emit(event)

    def new_id(self) -> int:
        """The next number of the shared sequence."""
        number = self.state.next_id
        self.state.next_id += 1
        return number

    def rules_of(self, symbol: str) -> SymbolRules:
        """Rules of a symbol, or -1121."""
        rules = self.rules.symbols.get(symbol)
        if rules is None:
            raise refusal(-1121)
        return rules

    def quote_of(self, symbol: str) -> Quote:
        """Market of a symbol, or -1122 while none has been heard."""
        quote = self.state.quotes.get(symbol)
        if quote is None:
            raise refusal(-1122)
        return quote

    def mark(self, symbol: str) -> Decimal:
        """Mark price, zero while no market has been heard."""
        quote = self.state.quotes.get(symbol)
        return quote.mark if quote else ZERO

    def setting(self, symbol: str) -> SymbolSetting:
        """Leverage and margin type of a symbol; reading one never creates it."""
        found = self.state.settings.get(symbol)
        if found is None:
            return SymbolSetting(leverage=min(DEFAULT_LEVERAGE, self.rules_of(symbol).max_leverage()))
        return found

    def own_setting(self, symbol: str) -> SymbolSetting:
        """The stored setting of a symbol, to be changed."""
        return self.state.settings.setdefault(symbol, self.setting(symbol))

    def position(self, symbol: str, side: str) -> Position:
        """The position row; an unopened one is flat and not stored."""
        return self.state.positions.get(f"{symbol}|{side}") or Position(symbol=symbol, side=side)

    def own_position(self, symbol: str, side: str) -> Position:
        """The stored position row, to be changed."""
        return self.state.positions.setdefault(f"{symbol}|{side}", Position(symbol=symbol, side=side))

    @property
    def position_sides(self) -> tuple[str, ...]:
        """BOTH, or LONG and SHORT in hedge mode."""
        return HEDGED if self.state.hedge_mode else ONE_WAY

    def positions_of(self, symbol: str) -> list[Position]:
        """Rows of a symbol in the account's mode: BOTH, or LONG and SHORT."""
        return [self.position(symbol, side) for side in self.position_sides]

    def held_of(self, symbol: str) -> list[Position]:
        """Positions of a symbol that are not flat."""
        rows = (self.state.positions.get(f"{symbol}|{side}") for side in self.position_sides)
        return [position for position in rows if position is not None and position.qty]

    def open_positions(self) -> list[Position]:
        """All positions that are not flat."""
        return [position for position in self.state.positions.values() if position.qty]

    def refresh_active(self, symbol: str) -> None:
        """Note whether the next quote of that symbol matters."""
        live = (
            self.open_orders.get(symbol)
            or self.open_algos.get(symbol)
            or symbol in self.state.taken
            or any(self.position(symbol, side).qty for side in ("BOTH", "LONG", "SHORT"))
        )
        (self.active.add if live else self.active.discard)(symbol)

    def expires(self, at_ms: int) -> None:
        """Make sure that `advance` looks again at that time (0 means never)."""
        if at_ms:
            self.next_expiry_ms = min(self.next_expiry_ms, at_ms)

    def file_order(self, order: Order) -> None:
        """Remember a new order."""
        self.state.orders[order.order_id] = order
        self.client_ids[order.symbol, order.client_order_id] = order.order_id

    def file_open(self, order: Order) -> None:
        """Put an order among the open ones."""
        self.open_orders[order.symbol][order.order_id] = order
        self.bind(order)
        if order.type == "LIMIT":
            self.reorder(order.symbol)
        self.active.add(order.symbol)
        self.expires(order.ends_ms)

    def close_order(self, order: Order, status: str) -> None:
        """Take an order from the open ones."""
        order.status, order.update_ms = status, self.now
        if self.open_orders[order.symbol].pop(order.order_id, None) is not None:
            self.bind(order, -order.remaining)
            if order.type == "LIMIT":
                self.reorder(order.symbol)
            self.refresh_active(order.symbol)

    def bind(self, order: Order, quantity: Decimal | None = None) -> None:
        """Let that quantity more (negative: less; none: all that remains) of an open limit order bind margin."""
        if order.type == "LIMIT" and not order.reduces:
            key = order.symbol, order.position_side, order.side
            notional = (order.remaining if quantity is None else quantity) * order.assumed_price
            self._bound[key] = self._bound.get(key, ZERO) + notional

    def bound(self, symbol: str, side: str) -> tuple[Decimal, Decimal]:
        """Notionals that open bids and asks of a position side bind, at their assumed prices; reducing ones bind none.

        Kept as running sums, which is exact: no sum of price x quantity comes near the 28 digits of a Decimal.
        """
        return self._bound.get((symbol, side, "BUY"), ZERO), self._bound.get((symbol, side, "SELL"), ZERO)

    def reorder(self, symbol: str) -> None:
        """The symbol's open orders, or their prices or places, are others now."""
        self._queues.pop(symbol, None)

    def queues(self, symbol: str) -> tuple[list[Order], list[Order]]:
        """The symbol's resting bids and asks, each in the order in which the market reaches them."""
        found = self._queues.get(symbol)
        if found is None:
            orders = self.open_orders.get(symbol, {}).values()
            bids = sorted((o for o in orders if o.side == "BUY"), key=lambda o: (-o.price, o.priority))
            asks = sorted((o for o in orders if o.side == "SELL"), key=lambda o: (o.price, o.priority))
            found = self._queues[symbol] = bids, asks
        return found

    def close_algo(self, algo: AlgoOrder, status: str) -> None:
        """Take a conditional order from the waiting ones."""
        algo.status, algo.update_ms = status, self.now
        if self.open_algos[algo.symbol].pop(algo.algo_id, None) is not None:
            self.refresh_active(algo.symbol)
