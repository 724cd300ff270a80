"""Gateway, account, feed and universe with the real edges, on threads, against the exchange on its socket."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from config.settings import load
from qt_actors.edges.binance_client import Credentials
from qt_actors.edges.binance_rest import BinanceRest
from qt_actors.edges.binance_streams import BinanceStreams
from qt_actors.edges.endpoints import loopback
from qt_actors.edges.exchange_clock import SharedClock
from qt_actors.edges.loop import SocketLoop
from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.server import ServedExchange, serve_in_thread
from qt_actors.feed.feed import Feed, FeedWiring
from qt_actors.kernel import ChildSpec, Probe, SupervisorSpec, ThreadRuntime
from qt_actors.messages import orders
from qt_actors.messages.base import Message
from qt_actors.messages.market import BarsClosed, HistoryReady, QuotesUpdated, UniverseChosen
from qt_actors.messages.positions import AccountSnapshot, IncomeRow, LedgerSynced, SnapshotRequested
from qt_actors.messages.requests import LedgerSyncRequested
from qt_actors.messages.system import Drained, DrainRequested, VenueLost, VenueReady
from qt_actors.minds.universe import Universe, UniverseWiring
from qt_actors.venue.account import Account, AccountWiring
from qt_actors.venue.gateway import Gateway, GatewayWiring
from tests.candle_folders import folder
from tests.processes import control

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
QUARTER = 900_000
EXECUTOR = "root/executor"
WAIT_MS = 15_000
KEYS = Credentials("house-key", "house-secret")


class Past:
    """An empty journal."""

    last_income_ms = staticmethod(lambda: 0)
    open_trades = staticmethod(tuple)
    rows = staticmethod(lambda _question, _parameters: [])


class House:
    """The four actors on one exchange; executor, recorder and the rest are probes."""

    def __init__(self, served: ServedExchange, speed: float) -> None:
        self.served = served
        self.loop = SocketLoop()
        self.loop.start()
        self.skew_ms = 0
        clock = SharedClock(lambda: self.served.clock.now_ms() + self.skew_ms, speed)
        endpoints = loopback(f"http://127.0.0.1:{served.port}")
        self.rest = BinanceRest(endpoints, KEYS, clock, self.loop)
        self.streams = BinanceStreams(endpoints, clock, self.loop, self.rest)
        self.runtime = ThreadRuntime(clock)
        names = ("executor", "monitor", "recorder", "governor", "features", "telemetry", "everything")
        self.probes = {name: Probe(self.runtime, f"root/{name}") for name in names}
        self.executor, self.features = self.probes["executor"], self.probes["features"]
        self.read = 0
        self.runtime.start(self.tree(speed))
        assert self.runtime.wait_ready(10)
        self.probes["governor"].fish(VenueReady, within_ms=WAIT_MS)

    def tree(self, speed: float) -> SupervisorSpec:
        to = {name: self.runtime.address(f"root/{name}") for name in (*self.probes, "gateway", "account", "universe")}
        feed = self.runtime.address("root/feed")
        gateway = GatewayWiring(
            exchange=self.rest,
            address_of=self.runtime.address,
            subscribers=(to["governor"], to["account"], to["universe"]),
        )
        account = AccountWiring(
            gateway=to["gateway"],
            streams=self.streams,
            journal=Past,  # type: ignore[arg-type] # all it asks
            order_listeners=(to["executor"], to["everything"]),
            snapshot_listeners=(to["monitor"], to["everything"]),
            ledger_listeners=(to["recorder"],),
            recorder=to["recorder"],
        )
        universe = UniverseWiring(
            gateway=to["gateway"],
            listeners=(feed, to["executor"]),
            recorder=to["recorder"],
            settings=load(None, {}),
            requested=SYMBOLS,
        )
        wiring = FeedWiring(
            gateway=to["gateway"],
            universe=to["universe"],
            streams=self.streams,
            address_of=self.runtime.address,
            history_listeners=(to["features"],),
            bar_listeners=(to["features"],),
            quote_listeners=(to["monitor"],),
            recorder=to["recorder"],
            telemetry=to["telemetry"],
            interval="15m",
            interval_ms=QUARTER,
            speed=speed,
        )
        return SupervisorSpec(
            "root",
            children=(
                ChildSpec("gateway", lambda: Gateway(gateway)),
                ChildSpec("account", lambda: Account(account)),
                ChildSpec("universe", lambda: Universe(universe)),
                ChildSpec("feed", lambda: Feed(wiring)),
            ),
        )

    def order(self, command: type[orders.Command], /, **fields: Any) -> None:
        default = {"reply_to": EXECUTOR, "priority": "protect", "symbol": "SOLUSDT"}
        self.runtime.address("root/gateway").tell(command(**{**default, **fields}))

    def outcome(self, kind: type[Any]) -> Any:
        """The next answer of the gateway; events of the private stream are skipped."""
        return self.executor.fish(kind, within_ms=WAIT_MS)

    def snapshot(self) -> AccountSnapshot:
        """A round that began after this call: the first answer may be to an older question, the second is not."""
        monitor = self.probes["monitor"]
        told = sum(isinstance(m, AccountSnapshot) for m in monitor.heard)
        for _ in range(told - self.read):
            monitor.fish(AccountSnapshot)
        seen = None
        for _ in range(2):
            self.runtime.address("root/account").tell(SnapshotRequested(reason="test"))
            seen = monitor.fish(AccountSnapshot, within_ms=WAIT_MS)
        self.read = told + 2
        assert seen is not None
        return seen

    def drain(self) -> None:
        """Wait until the account has nothing under way, after one more round and ledger."""
        drainer = Probe(self.runtime, f"root/drainer-{self.read}-{len(self.executor.heard)}")
        drainer.tell("root/account", DrainRequested())
        drainer.fish(Drained, within_ms=WAIT_MS)

    def close(self) -> None:
        self.runtime.stop(10)
        self.streams.close()
        self.rest.close()
        assert self.loop.stop()


def exchange(tmp_path: Path, speed: float, port: int = 0) -> ServedExchange:
    config = ExchangeConfig(
        port=port, state_path=str(tmp_path / "state.json"), replay=str(folder(tmp_path / "candles", SYMBOLS, 1200)),
        start_ms=1_735_689_600_000 + 500 * QUARTER, speed=speed, api_key=KEYS.key, api_secret=KEYS.secret,
    )  # fmt: skip
    return serve_in_thread(config)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    served = exchange(tmp_path, 60.0)
    house = House(served, 60.0)
    yield house
    house.close()
    served.stop()


def buy(house: House, client_id: str = "entry-1", quantity: str = "1.00") -> None:
    house.order(
        orders.PlaceOrder, client_id=client_id, side="BUY", quantity=D(quantity), reduce_only=False, purpose="entry"
    )


def stop(house: House, client_id: str = "stop-1", trigger: str = "50.0") -> None:
    house.order(
        orders.PlaceConditional,
        client_id=client_id,
        side="SELL",
        kind="STOP_MARKET",
        quantity=D("1.00"),
        purpose="stop",
        trigger_price=D(trigger),
    )


def test_a_protected_entry_from_leverage_to_ledger_equals_the_exchanges_books(house: House) -> None:
    assert house.outcome(UniverseChosen).symbols[0] == "BTCUSDT"
    house.order(orders.SetLeverage, leverage=20)
    assert house.outcome(orders.LeverageSet).leverage == 20
    stop(house)
    resting = house.outcome(orders.OrderAccepted)
    assert (resting.conditional, resting.status) == (True, "NEW")
    assert resting.elapsed_ms > 0
    buy(house)
    filled = house.outcome(orders.OrderAccepted)
    assert (filled.status, filled.executed_quantity) == ("FILLED", D("1.00"))
    if not any(isinstance(m, orders.OrderUpdated) and m.status == "FILLED" for m in house.executor.heard):
        house.executor.fish(orders.OrderUpdated, lambda m: m.status == "FILLED", within_ms=WAIT_MS)
    told = [m.fill for m in house.executor.heard if isinstance(m, orders.OrderUpdated) and m.fill]
    seen = house.snapshot()
    (position,) = seen.positions
    assert (position.symbol, position.quantity) == ("SOLUSDT", D("1.00"))
    assert [order.client_id for order in seen.conditionals] == ["stop-1"]
    assert seen.wallet_usd == D(10_000) - sum(fill.commission for fill in told)
    house.drain()
    ledgers = [m for m in house.probes["recorder"].heard if isinstance(m, LedgerSynced)]
    rows: dict[tuple[str, int, str], IncomeRow] = {
        (row.kind, row.transaction_id, row.symbol): row for ledger in ledgers for row in ledger.income
    }
    assert sum(row.amount_usd for row in rows.values()) == ledgers[-1].wallet_usd == seen.wallet_usd


def test_the_last_word_holds_the_newest_charge_though_our_clock_is_behind_it(house: House) -> None:
    house.drain()
    control(f"http://127.0.0.1:{house.served.port}", "pause")
    buy(house)
    house.outcome(orders.OrderAccepted)
    house.skew_ms = -2_000
    house.drain()
    kinds = [row.kind for m in house.probes["recorder"].heard if isinstance(m, LedgerSynced) for row in m.income]
    assert "COMMISSION" in kinds


def test_what_was_sent_is_found_and_what_was_not_is_missing(house: House) -> None:
    stop(house)
    accepted = house.outcome(orders.OrderAccepted)
    house.order(orders.LookUpOrder, client_id="stop-1", conditional=True)
    found = house.outcome(orders.OrderFound)
    assert (found.exchange_id, found.status, found.child_id) == (accepted.exchange_id, "NEW", None)
    house.order(orders.LookUpOrder, client_id="stop-1", conditional=False)
    assert house.outcome(orders.OrderMissing).conditional is False
    buy(house)
    house.outcome(orders.OrderAccepted)
    house.order(orders.LookUpOrder, client_id="entry-1", conditional=False)
    assert house.outcome(orders.OrderFound).average_price > 0


def test_a_second_order_of_the_same_id_is_the_first_one(house: House) -> None:
    stop(house)
    first = house.outcome(orders.OrderAccepted)
    stop(house)
    again = house.outcome(orders.OrderAccepted)
    assert again.exchange_id == first.exchange_id
    assert len(house.snapshot().conditionals) == 1


def test_a_cancel_ends_in_what_became_of_the_order(house: House) -> None:
    stop(house)
    house.outcome(orders.OrderAccepted)
    for _ in range(2):
        house.order(orders.CancelOrder, client_id="stop-1", conditional=True)
        assert house.outcome(orders.OrderCancelled).client_id == "stop-1"
    buy(house)
    house.outcome(orders.OrderAccepted)
    house.order(orders.CancelOrder, client_id="entry-1", conditional=False)
    assert house.outcome(orders.OrderFound).status == "FILLED"
    house.order(orders.CancelOrder, client_id="never-sent", conditional=True)
    house.outcome(orders.OrderMissing)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"trigger_price": D(500)}, -2021),
        ({"trigger_price": D("50.0"), "client_id": "x" * 40}, -4015),
        ({"trigger_price": D("50.0"), "symbol": "NOSUCHUSDT"}, -1121),
    ],
)
def test_a_refusal_carries_the_exchanges_own_code(house: House, fields: dict[str, Any], code: int) -> None:
    default = {"client_id": "r-1", "side": "SELL", "kind": "STOP_MARKET", "quantity": D("1.0"), "purpose": "stop"}
    house.order(orders.PlaceConditional, **{**default, **fields})
    rejected = house.outcome(orders.OrderRejected)
    assert (rejected.code, rejected.conditional) == (code, True)
    house.order(orders.SetLeverage, leverage=1000)
    assert house.outcome(orders.LeverageRejected).code == -4028


def test_a_trailing_stop_rests_with_its_percent_and_activation(house: House) -> None:
    house.order(
        orders.PlaceConditional,
        client_id="trail-1",
        side="SELL",
        kind="TRAILING_STOP_MARKET",
        quantity=D("1.00"),
        purpose="trail",
        activate_price=D("150.0"),
        callback_pct=D("1.5"),
    )
    house.outcome(orders.OrderAccepted)
    (resting,) = house.snapshot().conditionals
    assert (resting.callback_pct, resting.activate_price, resting.reduce_only) == (D("1.5"), D(150), True)
    assert resting.working_type == "MARK_PRICE"


def test_a_meaningless_conditional_order_is_denied_before_it_is_sent(house: House) -> None:
    for number, fields in enumerate(({"kind": "STOP_MARKET"}, {"kind": "TRAILING_STOP_MARKET", "callback_pct": D(50)})):
        default = {"client_id": f"bad-{number}", "side": "SELL", "quantity": D("1.0"), "purpose": "stop"}
        house.order(orders.PlaceConditional, **{**default, **fields})
        assert house.outcome(orders.OrderDenied).gate == "arguments"


def test_a_fill_the_stream_did_not_tell_is_found_in_the_ledger(house: House) -> None:
    house.streams.reopen("private", "test")
    buy(house)
    house.outcome(orders.OrderAccepted)
    house.runtime.address("root/account").tell(LedgerSyncRequested(reason="test"))
    house.probes["recorder"].fish(
        LedgerSynced, lambda m: any(row.kind == "COMMISSION" for row in m.income), within_ms=WAIT_MS
    )
    told: Any = [m for m in house.executor.heard if isinstance(m, orders.Fill)]
    told += [m.fill for m in house.executor.heard if isinstance(m, orders.OrderUpdated) and m.fill]
    if not told:
        told = [house.executor.fish(orders.Fill, within_ms=WAIT_MS)]
    assert {fill.client_id for fill in told} == {"entry-1"}


def test_with_a_dead_private_stream_the_exit_is_told_before_the_snapshot_that_lacks_the_position(house: House) -> None:
    house.snapshot()
    house.streams.close()
    buy(house)
    house.outcome(orders.OrderAccepted)
    assert [position.symbol for position in house.snapshot().positions] == ["SOLUSDT"]
    house.order(
        orders.PlaceOrder, client_id="exit-1", side="SELL", quantity=D("1.00"), reduce_only=True, purpose="close"
    )
    house.outcome(orders.OrderAccepted)
    assert house.snapshot().positions == ()
    heard = house.probes["everything"].heard
    held = next(n for n, m in enumerate(heard) if isinstance(m, AccountSnapshot) and m.positions)
    exit_told = next(n for n, m in enumerate(heard) if isinstance(m, orders.Fill) and m.client_id == "exit-1")
    gone = next(n for n, m in enumerate(heard[held:], held) if isinstance(m, AccountSnapshot) and not m.positions)
    assert exit_told < gone
    fills = [m.trade_id for m in heard if isinstance(m, orders.Fill)]
    assert len(fills) == len(set(fills)) >= 2


def test_bars_ten_a_second_are_all_told_once_in_order_and_equal_the_files(tmp_path: Path) -> None:
    speed = 9000.0
    served = exchange(tmp_path, speed)
    house = House(served, speed)
    try:
        history = house.features.fish(HistoryReady, within_ms=WAIT_MS)
        bars = [house.features.fish(BarsClosed, within_ms=WAIT_MS) for _ in range(40)]
        quotes = house.probes["monitor"].fish(QuotesUpdated, within_ms=WAIT_MS)
    finally:
        house.close()
        served.stop()
    times = [bar.open_time_ms for bar in bars]
    assert times == list(range(times[0], times[0] + 40 * QUARTER, QUARTER))
    assert [bar.replayed for bar in bars] == [True] + [False] * 39
    assert int(history.open_time_ms[-1]) == times[0]
    assert history.ohlcv.shape[1] >= 300
    assert not np.isnan(history.ohlcv[:, -299:]).any()  # a symbol asked a bar later has a bar less of the past
    told = np.stack([bar.ohlcv for bar in bars], axis=1)
    assert not np.isnan(told).any()
    for row, symbol in enumerate(bars[0].symbols):
        file = written(tmp_path / "candles" / f"{symbol}.parquet", times)
        np.testing.assert_allclose(told[row, :, :4], file[:, :4], rtol=1e-12)
        np.testing.assert_allclose(told[row, :, 4], file[:, 4], atol=0.01)  # volumes are rounded to the lot size
    assert (quotes.bid < quotes.ask).all()
    assert (quotes.mark > 0).all()


def test_an_exchange_that_goes_away_and_comes_back_costs_no_bar_and_no_order(tmp_path: Path) -> None:
    speed = 4500.0
    served = exchange(tmp_path, speed)
    house = House(served, speed)
    try:
        stop(house)
        house.outcome(orders.OrderAccepted)
        first = house.features.fish(BarsClosed, within_ms=WAIT_MS)
        served.stop()
        house.runtime.address("root/account").tell(SnapshotRequested(reason="test"))
        house.probes["governor"].fish(VenueLost, within_ms=WAIT_MS)
        buy(house)
        nothing_sent_or_nobody_knows = (orders.OrderDenied, orders.OrderOutcomeUnknown)
        house.executor.fish(Message, lambda m: isinstance(m, nothing_sent_or_nobody_knows), within_ms=WAIT_MS)
        house.served = exchange(tmp_path, speed, served.port)
        house.probes["governor"].fish(VenueReady, within_ms=WAIT_MS)
        bars = [house.features.fish(BarsClosed, within_ms=WAIT_MS) for _ in range(12)]
        seen = house.snapshot()
    finally:
        house.close()
        house.served.stop()
    assert [bar.open_time_ms for bar in bars] == [first.open_time_ms + n * QUARTER for n in range(1, 13)]
    assert not np.isnan(np.stack([bar.ohlcv for bar in bars])).any()
    assert [order.client_id for order in seen.conditionals] == ["stop-1"]


def written(file: Path, times: list[int]) -> Any:
    """The candles of a file at these open times, float64[B, 5]."""
    import polars as pl

    rows = pl.read_parquet(file).filter(pl.col("open_time").is_in(times))
    return rows.select("open", "high", "low", "close", "volume").to_numpy()
