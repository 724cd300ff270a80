"""The account on the deterministic runtime: the gateway is a probe, the private stream is the test's word."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

from qt_actors.decisions import trade_life
from qt_actors.kernel import ChildSpec, Probe, SimRuntime, SupervisorSpec
from qt_actors.messages.orders import Fill, OrderUpdated
from qt_actors.messages.positions import (
    AccountSnapshot,
    IncomeRow,
    LedgerSynced,
    SnapshotRequested,
    TradeState,
)
from qt_actors.messages.requests import AccountLoadRequested
from qt_actors.messages.system import IncidentSeen, VenueReady
from qt_actors.venue.account import Account, AccountWiring
from tests.builders import a_plan, a_position, a_snapshot, a_stop
from tests.hand_ports import HandStreams

NOW = 1_750_000_000_000
PATH = "root/account"
DAY = 86_400_000
READY = VenueReady(clock_offset_ms=0)


class Past:
    """The journal's last word; ``charges`` are those without a fill: (symbol, trade id, time)."""

    def __init__(self, last_income_ms: int, trades: tuple[TradeState, ...]) -> None:
        self.last = last_income_ms
        self.trades = trades
        self.charges: list[tuple[str, int, int]] = []

    def last_income_ms(self) -> int:
        return self.last

    def open_trades(self) -> tuple[TradeState, ...]:
        return self.trades

    def rows(self, question: str, parameters: dict[str, int]) -> list[dict[str, object]]:
        assert question == "charges_without_fill"
        names = ("symbol", "trade_id", "time_ms")
        return [dict(zip(names, row, strict=True)) for row in self.charges if row[2] >= parameters["since_ms"]]


class House:
    """An account between a gateway and its listeners."""

    def __init__(
        self,
        last_income_ms: int = NOW - DAY,
        *,
        answers: bool = True,
        started: bool = True,
        trades: tuple[TradeState, ...] = (),
        charges: tuple[tuple[str, int, int], ...] = (),
    ) -> None:
        self.past = Past(last_income_ms, trades)
        self.past.charges.extend(charges)
        self.runtime = SimRuntime(seed=1, start_ms=NOW)
        self.streams = HandStreams()
        names = ("gateway", "executor", "monitor", "recorder", "both")
        self.probes = {name: Probe(self.runtime, f"root/{name}") for name in names}
        self.gateway, self.executor = self.probes["gateway"], self.probes["executor"]
        self.held, self.stops = D("0.01"), (a_stop(),)
        if answers:
            self.gateway.answers(AccountLoadRequested, lambda m: self.snapshot(m.serial))
        address = {name: self.runtime.address(f"root/{name}") for name in names}
        wiring = AccountWiring(
            gateway=address["gateway"],
            streams=self.streams,
            journal=lambda: self.past,  # type: ignore[arg-type,return-value] # all it asks
            order_listeners=(address["executor"], address["both"]),
            snapshot_listeners=(address["monitor"], address["both"]),
            ledger_listeners=(address["recorder"],),
            recorder=address["recorder"],
        )
        self.runtime.start(SupervisorSpec("root", children=(ChildSpec("account", lambda: Account(wiring)),)))
        assert self.runtime.wait_ready()
        self.runtime.run_until_idle()
        if started and answers:
            self.tell(synced())

    def snapshot(self, serial: int) -> AccountSnapshot:
        """What the exchange shows now: ``held`` of BTCUSDT."""
        positions = (a_position(quantity=self.held),) if self.held else ()
        return a_snapshot(serial=serial, positions=positions, conditionals=self.stops)

    def ask_a_round(self) -> None:
        self.tell(SnapshotRequested(reason="test"))

    def order(self) -> list[str]:
        """Fills and snapshots in the order in which the listeners were told them."""
        kinds = (Fill, AccountSnapshot)
        return [type(m).__name__ for m in self.probes["both"].heard if isinstance(m, kinds)]

    def tell(self, *messages: object) -> None:
        for message in messages:
            self.runtime.address(PATH).tell(message)
        self.runtime.run_until_idle()

    def asked(self, kind: type[Any]) -> list[Any]:
        return [m for m in self.gateway.heard if isinstance(m, kind)]

    def snapshots(self) -> list[int]:
        return [m.serial for m in self.probes["monitor"].heard if isinstance(m, AccountSnapshot)]

    def incidents(self) -> list[str]:
        return [m.detail for m in self.probes["recorder"].heard if isinstance(m, IncidentSeen)]


def a_trade(symbol: str = "BTCUSDT", opened_ms: int = NOW) -> TradeState:
    """A trade that the journal has open."""
    return trade_life.begin(a_plan(symbol=symbol), opened_ms).trade


def a_fill(trade_id: int = 1, **changes: Any) -> Fill:
    default: dict[str, Any] = {
        "symbol": "BTCUSDT",
        "trade_id": trade_id,
        "order_id": 9,
        "client_id": "q-1",
        "side": "BUY",
        "price": D(100_000),
        "quantity": D("0.01"),
        "commission": D("0.5"),
        "commission_asset": "USDT",
        "realized_pnl": D(0),
        "maker": False,
        "time_ms": NOW + 2000,
    }
    return Fill(**{**default, **changes})


def an_update(fill: Fill | None) -> OrderUpdated:
    return OrderUpdated(
        client_id="q-1",
        symbol="BTCUSDT",
        order_id=9,
        side="BUY",
        order_type="MARKET",
        original_type="MARKET",
        execution="TRADE" if fill else "NEW",
        status="FILLED" if fill else "NEW",
        quantity=D("0.01"),
        executed_quantity=D("0.01"),
        average_price=D(100_000),
        reduce_only=False,
        time_ms=NOW,
        fill=fill,
    )


def commission(trade_id: int, time_ms: int = NOW, symbol: str = "BTCUSDT") -> IncomeRow:
    return IncomeRow(
        kind="COMMISSION",
        transaction_id=1000 + trade_id,
        symbol=symbol,
        amount_usd=D("-0.5"),
        asset="USDT",
        time_ms=time_ms,
        trade_id=str(trade_id),
    )


def synced(*income: IncomeRow) -> LedgerSynced:
    return LedgerSynced(income=income, wallet_usd=D(1), equity_usd=D(1), unrealized_usd=D(0), now_ms=NOW)
