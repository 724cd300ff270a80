"""The trader's edges against the embedded exchange when it fails: what they tell, and what the exchange's books say.

Unlike the scripted exchange, this one keeps books: an order that was carried out behind a lost answer is there.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from decimal import Decimal as D
from typing import Any

import msgspec
import pytest

from qt_actors.edges.binance_client import Credentials
from qt_actors.edges.binance_rest import BinanceRest
from qt_actors.edges.binance_socket import SocketLimits
from qt_actors.edges.binance_streams import BinanceStreams, StreamLimits
from qt_actors.edges.endpoints import loopback
from qt_actors.edges.exchange_clock import SharedClock
from qt_actors.edges.loop import SocketLoop
from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.faults.fault import Fault
from qt_actors.exchange.server import ServedExchange, serve_in_thread
from qt_actors.messages import orders
from qt_actors.messages.market import QuotesUpdated, StreamChanged
from qt_actors.messages.orders import OrderUpdated
from qt_actors.messages.positions import AccountSnapshot

KEYS = Credentials("edge-key", "edge-secret")
ORDER, ALGO = "/fapi/v1/order", "/fapi/v1/algoOrder"
WAIT_S = 15.0


class Box:
    """A mailbox that keeps what it is told."""

    path = "box"

    def __init__(self) -> None:
        self.told: queue.Queue[Any] = queue.Queue()

    def tell(self, message: object, *, trace: str | None = None, deadline_ms: int | None = None) -> None:
        self.told.put(message)

    def get(self, kind: type[Any] = object, where: Callable[[Any], bool] = lambda _: True) -> Any:
        while True:
            message = self.told.get(timeout=WAIT_S)
            if isinstance(message, kind) and where(message):
                return message


class House:
    """Both edges on one failing exchange."""

    def __init__(self, *faults: Fault) -> None:
        config = ExchangeConfig(symbols="BTCUSDT,ETHUSDT", speed=1.0, api_key=KEYS.key, api_secret=KEYS.secret)
        self.served: ServedExchange = serve_in_thread(config)
        self.loop = SocketLoop()
        self.loop.start()
        endpoints = loopback(f"http://127.0.0.1:{self.served.port}")
        clock = SharedClock(self.served.clock.now_ms, 1.0)
        self.rest = BinanceRest(endpoints, KEYS, clock, self.loop)
        quick = SocketLimits(retry_s_min=0.01, retry_s_max=0.05, look_s=0.05)
        self.streams = BinanceStreams(endpoints, clock, self.loop, self.rest, StreamLimits(socket=quick))
        self.box = Box()
        self.desk = self.served._server.exchange.desk
        self.add(*faults)

    def add(self, *faults: Fault) -> None:
        """Let these happen from now on."""
        self.served._call(self._adding(faults))

    async def _adding(self, faults: tuple[Fault, ...]) -> None:
        self.desk.add(faults)

    def submit(self, command: orders.Command) -> Any:
        self.rest.submit(command, self.box, trace="t")
        return self.box.get()

    def look_up(self, client_id: str, *, conditional: bool = False) -> Any:
        return self.submit(
            orders.LookUpOrder(reply_to="box", client_id=client_id, symbol="BTCUSDT", conditional=conditional)
        )

    def snapshot(self) -> AccountSnapshot:
        self.rest.load_account(1, self.box)
        seen: AccountSnapshot = self.box.get(AccountSnapshot)
        return seen

    def happened(self) -> int:
        return sum(row["happened"] for row in self.desk.listed())

    def close(self) -> None:
        self.streams.close()
        self.rest.close()
        assert self.loop.stop()
        self.served.stop()


@pytest.fixture
def make() -> Iterator[Callable[..., House]]:
    houses: list[House] = []

    def made(*faults: Fault) -> House:
        houses.append(House(*faults))
        return houses[-1]

    yield made
    for house in houses:
        house.close()


def buy(client_id: str = "q-1") -> orders.PlaceOrder:
    return orders.PlaceOrder(
        reply_to="box", client_id=client_id, symbol="BTCUSDT", side="BUY", quantity=D("0.002"), reduce_only=False,
        purpose="entry",
    )  # fmt: skip


def stop(client_id: str = "s-1") -> orders.PlaceConditional:
    return orders.PlaceConditional(
        reply_to="box", priority="protect", client_id=client_id, symbol="BTCUSDT", side="SELL", kind="STOP_MARKET",
        quantity=D("0.002"), purpose="stop", trigger_price=D("50000.0"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "carried_out"),
    [
        (Fault(kind="unknown_executed", path=ORDER), True),
        (Fault(kind="unknown_not_executed", path=ORDER), False),
        (Fault(kind="bad_reply", path=ORDER, executed=True), True),
        (Fault(kind="backend_timeout", path=ORDER), False),
        (Fault(kind="bad_gateway", path=ORDER, executed=True), True),
        (Fault(kind="partial_reply", path=ORDER, share=0.7), True),
        (Fault(kind="drop", path=ORDER, executed=True), True),
        (Fault(kind="drop", path=ORDER), False),
    ],
)
def test_an_unknown_outcome_is_told_and_the_look_up_finds_what_the_books_have(
    make: Callable[..., House], fault: Fault, carried_out: bool
) -> None:
    house = make(msgspec.structs.replace(fault, method="POST", times=1))
    assert isinstance(house.submit(buy()), orders.OrderOutcomeUnknown)
    found = house.look_up("q-1")
    if carried_out:
        assert (type(found), found.status, found.executed_quantity) == (orders.OrderFound, "FILLED", D("0.002"))
    else:
        assert isinstance(found, orders.OrderMissing)
    held = sum((position.quantity for position in house.snapshot().positions), D(0))
    assert held == (D("0.002") if carried_out else 0)


@pytest.mark.parametrize("kind", ["unavailable", "internal_error", "throttled"])
def test_a_failure_known_to_be_none_is_sent_again_and_the_order_is_there_once(
    make: Callable[..., House], kind: str
) -> None:
    house = make(Fault(kind=kind, method="POST", path=ALGO, times=1))
    assert isinstance(house.submit(stop()), orders.OrderAccepted)
    assert house.happened() == 1
    assert [order.client_id for order in house.snapshot().conditionals] == ["s-1"]


def test_a_stop_behind_a_lost_answer_is_found_and_a_second_of_its_name_is_the_first(make: Callable[..., House]) -> None:
    house = make(Fault(kind="unknown_executed", method="POST", path=ALGO, times=1))
    assert isinstance(house.submit(stop()), orders.OrderOutcomeUnknown)
    first = house.look_up("s-1", conditional=True)
    assert (type(first), first.status) == (orders.OrderFound, "NEW")
    again = house.submit(stop())
    assert (type(again), again.exchange_id) == (orders.OrderAccepted, first.exchange_id)
    assert len(house.snapshot().conditionals) == 1


def test_moved_endpoints_reject_and_nothing_is_sent_twice(make: Callable[..., House]) -> None:
    house = make(Fault(kind="refuse", code=-4120, text="moved", method="POST", path=ALGO))
    refused = house.submit(stop())
    assert (type(refused), refused.code, house.happened()) == (orders.OrderRejected, -4120, 1)


def test_an_order_that_a_clock_ahead_of_ours_refuses_is_signed_again_and_there_once(make: Callable[..., House]) -> None:
    house = make()
    assert isinstance(house.look_up("none"), orders.OrderMissing)
    house.add(Fault(kind="skew", ms=7_200_000))
    placed = 0
    while not house.rest._requests.offset_ms:  # the fault begins with the exchange's next tick
        placed += 1
        assert isinstance(house.submit(stop(f"s-{placed}")), orders.OrderAccepted)
    assert house.rest._requests.offset_ms == pytest.approx(7_200_000, abs=2_000)
    assert [order.client_id for order in house.snapshot().conditionals].count(f"s-{placed}") == 1
    assert len(house.snapshot().conditionals) == placed


def test_an_order_that_finds_no_book_ends_expired_and_is_told_so(make: Callable[..., House]) -> None:
    house = make(Fault(kind="no_liquidity", times=1))
    outcome = house.submit(buy())
    assert (outcome.status, outcome.executed_quantity) == ("EXPIRED", D(0))
    assert house.snapshot().positions == ()


def test_a_snapshot_of_torn_replies_is_no_snapshot(make: Callable[..., House]) -> None:
    house = make(Fault(kind="partial_reply", method="GET", path="/fapi/v*/account", times=2))
    house.rest.load_account(1, house.box)
    assert not isinstance(house.box.get(), AccountSnapshot)
    house.desk.clear()
    assert house.snapshot().wallet_usd == D(10_000)


@pytest.mark.parametrize("kind", ["mute", "dead", "disconnect"])
def test_market_streams_that_fall_silent_or_break_are_lost_and_come_back(make: Callable[..., House], kind: str) -> None:
    house = make()
    house.streams.open_market(("BTCUSDT", "ETHUSDT"), "1h", house.box)
    house.box.get(StreamChanged, lambda m: m.connected and m.stream == "market")
    house.box.get(QuotesUpdated)
    house.add(Fault(kind=kind, route="market"))
    lost = house.box.get(StreamChanged, lambda m: not m.connected)
    assert lost.stream == "market"
    assert house.box.get(StreamChanged, lambda m: m.stream == "market").connected
    house.box.get(QuotesUpdated)


def test_a_lost_listen_key_is_replaced_and_fills_are_heard_again(make: Callable[..., House]) -> None:
    house = make()
    house.streams.open_account(house.box)
    assert house.box.get(StreamChanged).connected
    house.add(Fault(kind="listen_key_loss"))
    assert not house.box.get(StreamChanged).connected
    assert house.box.get(StreamChanged).connected
    house.rest.submit(buy("heard"), house.box, trace="t")
    fill = house.box.get(OrderUpdated, lambda m: m.fill is not None)
    assert fill.client_id == "heard"


def test_doubled_and_swapped_user_events_reach_the_owner_as_they_came(make: Callable[..., House]) -> None:
    house = make()
    house.streams.open_account(house.box)
    house.box.get(StreamChanged)
    house.add(Fault(kind="duplicate", event="ORDER_TRADE_UPDATE", execution="TRADE", times=1))
    house.rest.submit(buy("twice"), house.box, trace="t")
    fills = [house.box.get(OrderUpdated, lambda m: m.fill is not None).fill for _ in range(2)]
    assert fills[0] == fills[1]
    house.desk.clear()
    house.add(Fault(kind="reorder", event="ORDER_TRADE_UPDATE", execution="NEW", times=1))
    house.rest.submit(buy("swapped"), house.box, trace="t")
    told = [house.box.get(OrderUpdated, lambda m: m.client_id == "swapped") for _ in range(2)]
    assert {one.status for one in told} == {"NEW", "FILLED"}
