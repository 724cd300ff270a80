"""What must hold at an exchange engine at any moment, checked against its events, its queries and its own lists.

An `Audit` hears every event as it is emitted and is asked to `check` after a step. Everything is reckoned here a second
time from trades, income rows and events alone.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import Any

from qt_actors.exchange.engine import Engine
from qt_actors.exchange.figures import money
from qt_actors.exchange.state import Order
from tests.exchange_walk import RULES, SYMBOLS, Walk

ZERO = Decimal(0)


class Audit:
    """The second set of books of one walk."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        walk.hear = self.hear
        walk.restart()
        self.income: dict[str, Decimal] = defaultdict(Decimal)
        self.executed: dict[int, Decimal] = defaultdict(Decimal)
        self.paid: dict[int, Decimal] = defaultdict(Decimal)
        self.held: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
        self.cash = self.realized = self.commission = ZERO
        self.booked: dict[str, Decimal] = defaultdict(Decimal)
        self.told: dict[int, dict[str, Any]] = {}
        self.filled: dict[int, Decimal] = defaultdict(Decimal)
        self.wallets: dict[str, str] = {}
        self.rows: dict[tuple[str, str], dict[str, Any]] = {}
        self.outcomes: set[str] = set()
        self._trades = self._incomes = 0
        self._new: set[int] = set()

    # ---- events, as they come ------------------------------------------------------------------------------------

    def hear(self, event: dict[str, Any]) -> None:
        """Note what an event says; an opening order must fit its bracket before it fills."""
        if event["e"] == "ACCOUNT_UPDATE":
            self.wallets.update({row["a"]: row["wb"] for row in event["a"]["B"]})
            self.rows.update({(row["s"], row["ps"]): row for row in event["a"]["P"]})
        elif event["e"] == "ORDER_TRADE_UPDATE":
            self._hear_order(event["o"])
        if event["e"] in {"ORDER_TRADE_UPDATE", "ALGO_UPDATE"}:
            self.outcomes.add(event["o"]["X"])

    def _hear_order(self, body: dict[str, Any]) -> None:
        number = body["i"]
        self._new.add(number)
        if body["x"] in {"TRADE", "CALCULATED"}:
            self.filled[number] += Decimal(body["l"])
            before = self.held[body["s"], body["ps"]]
            signed = Decimal(body["l"]) if body["S"] == "BUY" else -Decimal(body["l"])
            self.held[body["s"], body["ps"]] = after = before + signed
            if body["R"] or body["x"] == "CALCULATED":
                assert abs(after) < abs(before), "a reducing order opened"
                assert before * after >= 0, "a reducing order flipped the position"
        assert Decimal(body["z"]) == self.filled[number], "z is not the sum of the fills told"
        assert Decimal(body["z"]) <= Decimal(body["q"])
        self.told[number] = body
        if body["x"] == "NEW":
            self._fits_its_bracket(self.walk.engine, number)

    @staticmethod
    def _fits_its_bracket(engine: Engine, number: int) -> None:
        core = engine._core
        new = core.state.orders[number]
        if new.reduces:
            return
        cap = RULES.symbols[new.symbol].max_notional(core.setting(new.symbol).leverage)
        after = worst(engine, new.symbol, new.position_side)
        assert after <= cap or after <= worst(engine, new.symbol, new.position_side, without=number), "over the bracket"

    # ---- the books, after a step ---------------------------------------------------------------------------------

    def check(self) -> None:
        """Assert everything that can be told from what changed since the last check."""
        self._read_lists()
        engine, state = self.walk.engine, self.walk.engine._core.state
        for asset, total in self.income.items():
            assert state.wallets[asset] == total, "the wallet is not the sum of its income"
            assert Decimal(self.wallets.get(asset, "0")) == total or asset not in self.wallets
        for number in self._new:
            self._check_order(state.orders[number])
        self._new.clear()
        for key, position in ((f"{p.symbol}|{p.side}", p) for p in state.positions.values()):
            assert position.qty == self.held[position.symbol, position.side], key
            assert bool(position.qty) or not (position.cost or position.isolated_wallet)
            assert position.side == "BOTH" or (position.qty >= 0) == (position.side == "LONG") or not position.qty
            told = self.rows.get((position.symbol, position.side))
            assert told is None or Decimal(told["pa"]) == position.qty
            assert told is None or Decimal(told["iw"]) == position.isolated_wallet or not position.qty
        assert self.cash == self.realized - sum((p.cost for p in state.positions.values()), ZERO), "money was made"
        assert (self.booked["REALIZED_PNL"], self.booked["COMMISSION"]) == (self.realized, -self.commission)
        self._check_resting(engine)

    def _read_lists(self) -> None:
        """Read the trades and income rows that are new."""
        state = self.walk.engine._core.state
        for trade in state.trades[self._trades :]:
            self.executed[trade.order_id] += trade.quantity
            self.paid[trade.order_id] += trade.quantity * trade.price
            self.cash -= trade.quantity * trade.price * (1 if trade.side == "BUY" else -1)
            self.realized += trade.realized
            self.commission += trade.commission
        for row in state.income[self._incomes :]:
            self.income[row.asset] += row.amount
            self.booked[row.kind] += row.amount
        self._trades, self._incomes = len(state.trades), len(state.income)

    def _check_order(self, order: Order) -> None:
        """Trades, events, state and the query of one order say the same."""
        told, number = self.told[order.order_id], order.order_id
        assert order.executed == self.executed[number] == Decimal(told["z"]), "trades do not add up to the order"
        assert order.quote == self.paid[number]
        assert order.status == told["X"]
        name = {"symbol": order.symbol, "orderId": str(number)}
        row = self.walk.engine.query_order(name, self.walk.now_ms)
        assert (row["status"], Decimal(row["executedQty"])) == (told["X"], Decimal(told["z"]))
        assert Decimal(row["cumQuote"]) == self.paid[number]
        assert abs(Decimal(row["avgPrice"]) - Decimal(told["ap"])) < Decimal("0.0001")
        assert money(order.average_price) == Decimal(told["ap"])

    @staticmethod
    def _check_resting(engine: Engine) -> None:
        core = engine._core
        for symbol in SYMBOLS:
            reducing: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
            for order in core.open_orders[symbol].values():
                assert order.remaining > 0
                if order.reduces:
                    reducing[order.position_side, order.side] += order.remaining
            for (side, way), quantity in reducing.items():
                held = core.position(symbol, side).qty
                assert quantity <= (held if way == "SELL" else -held), "resting reducing orders exceed the position"
            for side in core.position_sides:
                assert core.bound(symbol, side) == bound(engine, symbol, side)

    def check_margin(self, symbol: str) -> None:
        """After a quote of a symbol: no position of it is left under its maintenance margin, and no debt."""
        engine = self.walk.engine
        for position in engine._core.held_of(symbol):
            equity, maintenance = engine._margin.health(position)
            assert equity > maintenance > 0
            assert engine._margin.running_health(position) == (equity, maintenance)
        crossed = [p for p in engine._core.open_positions() if not engine._core.setting(p.symbol).isolated]
        waiting = engine._core.state.taken  # symbols that were traded and not quoted since
        assert crossed or waiting or engine._margin.wallet("USDT") >= 0, "a debt was left"


def bound(engine: Engine, symbol: str, side: str, without: int = 0) -> tuple[Decimal, Decimal]:
    """Notionals of the open bids and asks that may open or enlarge a position, summed anew."""
    bids = asks = ZERO
    for order in engine._core.open_orders[symbol].values():
        if order.position_side == side and not order.reduces and order.order_id != without:
            notional = order.remaining * order.assumed_price
            bids, asks = (bids + notional, asks) if order.side == "BUY" else (bids, asks + notional)
    return bids, asks


def worst(engine: Engine, symbol: str, side: str, without: int = 0) -> Decimal:
    """Largest notional that position and open orders can lead to."""
    core = engine._core
    present = core.position(symbol, side).qty * core.mark(symbol)
    bids, asks = bound(engine, symbol, side, without)
    return max(abs(present + bids), abs(present - asks))
