"""The gateway on the deterministic runtime; the exchange behind the port is played by the test."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

import pytest

from qt_actors.kernel import ChildSpec, Crash, Probe, SimRuntime, SupervisorSpec
from qt_actors.messages import orders
from qt_actors.messages.market import RulesLoaded
from qt_actors.messages.requests import AccountLoadRequested, BarsLoadRequested, LedgerLoadRequested, RulesLoadRequested
from qt_actors.messages.system import BudgetUsed, VenueLost, VenueReady
from qt_actors.venue.gateway import Gateway, GatewayWiring
from tests.hand_ports import HandExchange

NOW = 1_750_000_000_000
PATH = "root/gateway"
ASKER = "root/executor"
READY = VenueReady(clock_offset_ms=3)


class House:
    """A gateway between a port and two probes."""

    def __init__(self, *, ready: bool = True) -> None:
        self.runtime = SimRuntime(seed=1, start_ms=NOW)
        self.port = HandExchange()
        self.executor = Probe(self.runtime, ASKER)
        self.governor = Probe(self.runtime, "root/governor")
        wiring = GatewayWiring(
            exchange=self.port,
            address_of=self.runtime.address,
            subscribers=(self.runtime.address("root/governor"),),
        )
        self.runtime.start(SupervisorSpec("root", children=(ChildSpec("gateway", lambda: Gateway(wiring)),)))
        assert self.runtime.wait_ready()
        if ready:
            self.answer_connect(READY)
            assert self.governor.expect(VenueReady) == READY

    def tell(self, message: object, trace: str | None = None) -> None:
        self.runtime.address(PATH).tell(message, trace=trace)
        self.runtime.run_until_idle()

    def answer_connect(self, message: object) -> None:
        self.port.connects[-1].tell(message)
        self.runtime.run_until_idle()

    def answer(self, outcome: object, which: int = -1) -> None:
        _, reply_to, trace = self.port.submitted[which]
        reply_to.tell(outcome, trace=trace)
        self.runtime.run_until_idle()

    def statistics(self) -> Any:
        return next(state.statistics for state in self.runtime.tree() if state.path == PATH)


def an_order(client_id: str = "q-1", **changes: Any) -> orders.PlaceOrder:
    default: dict[str, Any] = {
        "reply_to": ASKER,
        "client_id": client_id,
        "symbol": "BTCUSDT",
        "side": "BUY",
        "quantity": D("0.01"),
        "reduce_only": False,
        "purpose": "entry",
    }
    return orders.PlaceOrder(**{**default, **changes})


def a_stop(client_id: str = "s-1", **changes: Any) -> orders.PlaceConditional:
    default: dict[str, Any] = {
        "reply_to": ASKER,
        "priority": "protect",
        "client_id": client_id,
        "symbol": "BTCUSDT",
        "side": "SELL",
        "kind": "STOP_MARKET",
        "quantity": D("0.01"),
        "purpose": "stop",
        "trigger_price": D(50_000),
    }
    return orders.PlaceConditional(**{**default, **changes})


def accepted(client_id: str = "q-1") -> orders.OrderAccepted:
    return orders.OrderAccepted(
        client_id=client_id,
        symbol="BTCUSDT",
        exchange_id=7,
        conditional=False,
        status="FILLED",
        executed_quantity=D("0.01"),
    )


@pytest.fixture
def house() -> House:
    return House()


def test_a_command_goes_to_the_exchange_and_its_outcome_to_whoever_asked_in_one_trace(house: House) -> None:
    house.tell(an_order(), trace="bar-1")
    assert [(c.client_id, trace) for c, _, trace in house.port.submitted] == [("q-1", "bar-1")]
    house.answer(accepted())
    assert house.executor.expect(orders.OrderAccepted) == accepted()
    assert house.executor.trace == "bar-1"
    house.executor.expect_none(for_ms=60_000)


def test_the_same_order_is_denied_while_it_is_under_way_and_sent_again_after_its_answer(house: House) -> None:
    house.tell(an_order())
    house.tell(an_order())
    denied = house.executor.expect(orders.OrderDenied)
    assert (denied.gate, denied.client_id, len(house.port.submitted)) == ("duplicate", "q-1", 1)
    house.answer(accepted())
    house.executor.expect(orders.OrderAccepted)
    house.tell(an_order())
    assert len(house.port.submitted) == 2


def test_look_ups_and_cancels_of_an_order_under_way_are_let_through(house: House) -> None:
    house.tell(an_order())
    house.tell(orders.LookUpOrder(reply_to=ASKER, client_id="q-1", symbol="BTCUSDT", conditional=False))
    house.tell(orders.CancelOrder(reply_to=ASKER, client_id="q-1", symbol="BTCUSDT", conditional=False))
    assert len(house.port.submitted) == 3
    house.executor.expect_none()


def test_an_entry_that_comes_too_late_is_denied_and_protection_never_expires(house: House) -> None:
    house.runtime.run_for(1000)
    house.tell(an_order(expires_ms=NOW + 999))
    assert house.executor.expect(orders.OrderDenied).gate == "expired"
    house.tell(an_order(expires_ms=NOW + 5000))
    house.tell(a_stop())
    assert len(house.port.submitted) == 2


def test_a_superseded_incarnation_cannot_trade(house: House) -> None:
    house.tell(an_order("new", fence=(1, 3)))
    house.tell(an_order("zombie", fence=(1, 2)))
    denied = house.executor.expect(orders.OrderDenied)
    assert (denied.client_id, denied.gate) == ("zombie", "fence")
    house.tell(an_order("older process", fence=(0, 9)))
    assert house.executor.expect(orders.OrderDenied).gate == "fence"
    house.tell(an_order("same", fence=(1, 3)))
    assert [c.client_id for c, _, _ in house.port.submitted] == ["new", "same"]


def test_the_kernel_knows_who_is_entitled_before_the_successor_has_said_a_word() -> None:
    class Trader(Gateway):
        """Anything with a path of its own."""

    runtime = SimRuntime(seed=2, start_ms=NOW, generation=4)
    port = HandExchange()
    wiring = GatewayWiring(exchange=port, address_of=runtime.address, subscribers=())
    other = GatewayWiring(exchange=HandExchange(), address_of=runtime.address, subscribers=())
    children = (ChildSpec("gateway", lambda: Gateway(wiring)), ChildSpec("trader", lambda: Trader(other)))
    runtime.start(SupervisorSpec("root", children=children))
    assert runtime.wait_ready()
    port.connects[-1].tell(READY)
    runtime.inject(Crash("root/trader", runtime.handled("root/trader") + 1))
    before = runtime.address("root/trader").fence
    runtime.address("root/trader").tell("crash")
    runtime.run_for(1000)
    after = runtime.address("root/trader").fence
    assert before < after
    for fence in (before, after):
        runtime.address(PATH).tell(an_order(f"{fence}", reply_to="root/trader", fence=fence))
    runtime.run_until_idle()
    assert [c.client_id for c, _, _ in port.submitted] == [f"{after}"]


def test_leverage_is_refused_in_the_words_its_sender_understands(house: House) -> None:
    house.answer_connect(VenueLost(reason="no route"))
    house.tell(orders.SetLeverage(reply_to=ASKER, symbol="BTCUSDT", leverage=10))
    refused = house.executor.expect(orders.LeverageRejected)
    assert (refused.code, refused.leverage) == (0, 10)
    assert "no route" in refused.reason


def test_before_the_venue_is_ready_no_risk_is_opened_but_protection_is_tried() -> None:
    house = House(ready=False)
    house.tell(an_order())
    assert house.executor.expect(orders.OrderDenied).gate == "venue"
    house.tell(a_stop())
    assert [c.client_id for c, _, _ in house.port.submitted] == ["s-1"]


def test_a_lost_venue_is_told_once_and_connected_again_with_growing_pauses(house: House) -> None:
    for _ in range(4):
        house.answer_connect(VenueLost(reason="refused"))
        attempts = len(house.port.connects)
        house.runtime.run_until(lambda n=attempts: len(house.port.connects) > n, 60_000)
    assert len(house.port.connects) == 5
    lost = [m for m in house.governor.heard if isinstance(m, VenueLost)]
    assert lost == [VenueLost(reason="refused")]
    house.answer_connect(READY)
    assert house.governor.heard[-1] == READY
    house.tell(an_order())
    assert len(house.port.submitted) == 1


def test_a_long_outage_is_over_a_few_seconds_after_the_exchange_is_back(house: House) -> None:
    for _ in range(12):
        house.answer_connect(VenueLost(reason="refused"))
        attempts = len(house.port.connects)
        house.runtime.run_until(lambda n=attempts: len(house.port.connects) > n, 12_000)
        assert len(house.port.connects) == attempts + 1


def test_protection_that_gets_through_while_the_venue_is_lost_has_it_asked_at_once(house: House) -> None:
    for _ in range(8):
        house.answer_connect(VenueLost(reason="refused"))
        attempts = len(house.port.connects)
        house.runtime.run_until(lambda n=attempts: len(house.port.connects) > n, 60_000)
    house.answer_connect(VenueLost(reason="refused"))
    house.tell(a_stop())
    house.tell(a_stop("s-2"))
    before = len(house.port.connects)
    unknown = orders.OrderOutcomeUnknown(client_id="s-1", symbol="BTCUSDT", conditional=True, reason="timeout")
    house.answer(unknown, which=0)
    assert len(house.port.connects) == before
    house.answer(accepted("s-2"))
    assert len(house.port.connects) == before + 1


def test_a_ban_is_waited_out(house: House) -> None:
    house.answer_connect(VenueLost(reason="banned", until_ms=NOW + 120_000))
    house.runtime.run_for(119_000)
    assert len(house.port.connects) == 1
    house.runtime.run_for(2_000)
    assert len(house.port.connects) == 2


def test_a_silent_port_is_asked_again() -> None:
    house = House(ready=False)
    house.runtime.run_for(61_000)
    assert len(house.port.connects) == 2


def test_loads_reach_the_port_and_answers_those_who_asked(house: House) -> None:
    house.tell(RulesLoadRequested(reply_to=ASKER))
    house.tell(BarsLoadRequested(symbols=("BTCUSDT",), interval="1h", since_ms=5, limit=9, reply_to=ASKER))
    house.tell(AccountLoadRequested(serial=4, reply_to=ASKER))
    house.tell(LedgerLoadRequested(since_ms=8, symbols=("ETHUSDT",), reply_to=ASKER))
    asked = [(name, arguments) for name, arguments, _ in house.port.loads]
    assert asked == [
        ("rules", ()),
        ("bars", (("BTCUSDT",), "1h", 5, 9)),
        ("account", (4,)),
        ("ledger", (8, ("ETHUSDT",))),
    ]
    loaded = RulesLoaded(rules=(), quote_volume_24h_usd={})
    house.port.loads[0][2].tell(loaded)
    assert house.executor.expect(RulesLoaded) == loaded


def test_while_the_venue_is_lost_a_load_is_answered_at_once(house: House) -> None:
    house.answer_connect(VenueLost(reason="down"))
    house.tell(AccountLoadRequested(serial=1, reply_to=ASKER))
    assert house.executor.expect(VenueLost).reason == "down"
    assert house.port.loads == []


def test_an_account_that_cannot_be_read_is_a_lost_venue_for_everybody(house: House) -> None:
    house.tell(AccountLoadRequested(serial=1, reply_to=ASKER))
    house.port.loads[-1][2].tell(VenueLost(reason="HTTP 502"))
    house.runtime.run_until_idle()
    assert house.executor.expect(VenueLost).reason == "HTTP 502"
    assert house.governor.fish(VenueLost).reason == "HTTP 502"
    house.tell(an_order())
    assert house.executor.expect(orders.OrderDenied).gate == "venue"


def test_an_answer_finds_its_way_even_when_the_gateway_was_restarted_meanwhile(house: House) -> None:
    house.tell(an_order())
    house.runtime.inject(Crash(PATH, house.runtime.handled(PATH) + 1))
    house.tell("poison")
    house.runtime.run_for(5_000)
    house.answer(accepted())
    assert house.executor.fish(orders.OrderAccepted).client_id == "q-1"
    assert len(house.port.connects) == 2, "starting is recovering"


def test_the_budget_used_is_told_every_few_seconds(house: House) -> None:
    house.runtime.run_for(10_500)
    told = [m for m in house.governor.heard if isinstance(m, BudgetUsed)]
    assert told == [BudgetUsed(weight_ratio=0.25, orders_ratio=0.0)] * 2
    assert house.statistics()["weight_used"] == 0.25


def test_every_outcome_is_told_to_those_who_count_them_too() -> None:
    runtime = SimRuntime(seed=3, start_ms=NOW)
    port = HandExchange()
    executor, counter = Probe(runtime, ASKER), Probe(runtime, "root/telemetry")
    wiring = GatewayWiring(
        exchange=port,
        address_of=runtime.address,
        subscribers=(),
        outcome_listeners=(runtime.address("root/telemetry"),),
    )
    runtime.start(SupervisorSpec("root", children=(ChildSpec("gateway", lambda: Gateway(wiring)),)))
    assert runtime.wait_ready()
    runtime.address(PATH).tell(an_order("early"))
    runtime.address(PATH).tell(a_stop())
    runtime.run_until_idle()
    port.submitted[-1][1].tell(accepted("s-1"))
    runtime.run_until_idle()
    for probe in (executor, counter):
        assert probe.expect(orders.OrderDenied).client_id == "early"
        assert probe.expect(orders.OrderAccepted).client_id == "s-1"
