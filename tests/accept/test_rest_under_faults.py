"""The REST edge against an exchange that fails in every known way: one outcome each, and the right one."""

from __future__ import annotations

import asyncio
import itertools
import logging
import queue
import time
from collections.abc import Iterator
from decimal import Decimal as D
from typing import Any

import msgspec
import pytest

from qt_actors.edges import binance_client, binance_orders, binance_rest
from qt_actors.edges.binance_client import Credentials
from qt_actors.edges.binance_rest import BinanceRest
from qt_actors.edges.endpoints import EndpointError, loopback
from qt_actors.edges.loop import LoopClosedError, SocketLoop
from qt_actors.kernel import WallClock
from qt_actors.messages import orders
from qt_actors.messages.market import BarsLoaded
from qt_actors.messages.positions import AccountSnapshot, LedgerSynced
from qt_actors.messages.system import VenueLost, VenueReady
from tests.scripted_exchange import HANG, TEAR, Reply, ScriptedExchange, refusal

KEYS = Credentials("key-0123456789abcdef", "secret-fedcba9876543210")
ORDER, ALGO = "/fapi/v1/order", "/fapi/v1/algoOrder"
UNKNOWN_503 = {"code": -1000, "msg": "Unknown error, please check your request or try again later."}
DONE = {"orderId": 7, "symbol": "BTCUSDT", "status": "FILLED", "clientOrderId": "q-1", "executedQty": "0.010"}
RESTING = {"algoId": 9, "clientAlgoId": "s-1", "symbol": "BTCUSDT", "algoStatus": "NEW"}
TOTALS = {
    "totalWalletBalance": "100.5",
    "totalMarginBalance": "101",
    "totalUnrealizedProfit": "0.5",
    "availableBalance": "90",
}


class Box:
    """A mailbox that keeps what it is told."""

    path = "box"

    def __init__(self) -> None:
        self.told: queue.Queue[Any] = queue.Queue()

    def tell(self, message: object, *, trace: str | None = None, deadline_ms: int | None = None) -> None:
        self.told.put(message)

    def get(self) -> Any:
        return self.told.get(timeout=15)


class House:
    """The edge, the exchange, and a mailbox."""

    def __init__(self) -> None:
        self.exchange = ScriptedExchange()
        self.exchange.script("GET", "/fapi/v1/time", Reply(body=lambda _: {"serverTime": int(time.time() * 1000)}))
        self.loop = SocketLoop()
        self.loop.start()
        self.rest = BinanceRest(loopback(self.exchange.url), KEYS, WallClock(), self.loop)
        self.box = Box()
        self.script = self.exchange.script

    def submit(self, command: orders.Command) -> Any:
        self.rest.submit(command, self.box, trace="t")
        return self.box.get()

    def nothing_more(self) -> bool:
        """True when no second outcome was told; everything under way is over by then."""
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.05), self.loop._loop).result(5)  # type: ignore[arg-type]
        return self.box.told.empty()

    def placements(self, path: str = ORDER) -> list[str]:
        return [r.params.get("newClientOrderId") or r.params["clientAlgoId"] for r in self.exchange.sent("POST", path)]


@pytest.fixture
def house() -> Iterator[House]:
    house = House()
    yield house
    assert house.loop.stop()
    house.exchange.stop()


def an_order(**changes: Any) -> orders.PlaceOrder:
    default: dict[str, Any] = {
        "reply_to": "box",
        "client_id": "q-1",
        "symbol": "BTCUSDT",
        "side": "BUY",
        "quantity": D("0.010"),
        "reduce_only": False,
        "purpose": "entry",
    }
    return orders.PlaceOrder(**{**default, **changes})


def a_stop(**changes: Any) -> orders.PlaceConditional:
    default: dict[str, Any] = {
        "reply_to": "box",
        "priority": "protect",
        "client_id": "s-1",
        "symbol": "BTCUSDT",
        "side": "SELL",
        "kind": "STOP_MARKET",
        "quantity": D("0.010"),
        "purpose": "stop",
        "trigger_price": D("59000.00"),
    }
    return orders.PlaceConditional(**{**default, **changes})


LOOK_UP = orders.LookUpOrder(reply_to="box", client_id="q-1", symbol="BTCUSDT", conditional=False)
CANCEL = orders.CancelOrder(reply_to="box", client_id="s-1", symbol="BTCUSDT", conditional=True)


def test_what_goes_over_the_wire_is_what_the_exchange_documents(house: House) -> None:
    house.script("POST", ALGO, Reply(body=RESTING))
    house.script("POST", ORDER, Reply(body=DONE))
    house.submit(a_stop(quantity=D("1E+2"), trigger_price=D("0.00001000")))
    house.submit(an_order(reduce_only=True))
    (stop,), (order,) = house.exchange.sent("POST", ALGO), house.exchange.sent("POST", ORDER)
    for request in (stop, order):
        assert request.headers["X-MBX-APIKEY"] == KEYS.key
        assert request.body.rsplit("&", 1)[1].startswith("signature=")
        assert abs(int(request.params["timestamp"]) - time.time() * 1000) < 5_000
        assert KEYS.secret not in request.body
    sent = {k: v for k, v in stop.params.items() if k not in {"timestamp", "signature", "recvWindow"}}
    assert sent == {
        "algoType": "CONDITIONAL",
        "type": "STOP_MARKET",
        "symbol": "BTCUSDT",
        "side": "SELL",
        "quantity": "100",
        "triggerPrice": "0.00001",
        "workingType": "MARK_PRICE",
        "reduceOnly": "true",
        "clientAlgoId": "s-1",
    }
    assert (order.params["reduceOnly"], order.params["type"]) == ("true", "MARKET")
    assert (order.params["newClientOrderId"], order.params["newOrderRespType"]) == ("q-1", "RESULT")


@pytest.mark.parametrize(
    "reply",
    [
        Reply(503, UNKNOWN_503),
        Reply(502, b"<html>Bad Gateway</html>"),
        Reply(503, b"<html>Service Unavailable</html>"),
        Reply(500, []),
        Reply(500, "null"),
        Reply(408, {"code": -1007, "msg": "Timeout waiting for response from backend server."}),
        Reply(400, {"code": -1006, "msg": "An unexpected response was received from the message bus."}),
        Reply(200, b"<html>"),
        Reply(200, {"surprise": 1}),
        Reply(200, {**DONE, "orderId": "not a number"}),
        Reply(200, TEAR),
        Reply(200, b"\xff\xfe"),
    ],
)
def test_an_unclear_answer_is_an_unknown_outcome_and_the_order_is_sent_once(house: House, reply: Reply) -> None:
    house.script("POST", ORDER, reply)
    outcome = house.submit(an_order())
    assert isinstance(outcome, orders.OrderOutcomeUnknown), outcome
    assert house.placements() == ["q-1"]
    assert house.nothing_more()


def test_an_answer_that_never_comes_is_an_unknown_outcome(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binance_orders, "PLACE", msgspec.structs.replace(binance_orders.PLACE, timeout_s=0.2))
    house.script("POST", ORDER, Reply(200, HANG))
    outcome = house.submit(an_order())
    assert isinstance(outcome, orders.OrderOutcomeUnknown)
    assert outcome.reason == "no answer in time"
    assert house.placements() == ["q-1"]


@pytest.mark.parametrize(
    "reply",
    [
        Reply(503, {"code": -1000, "msg": "Service Unavailable."}),
        refusal(-1001, "Internal error; unable to process your request. Please try again.", 503),
    ],
)
def test_what_was_not_executed_is_sent_again_once_under_the_same_id(house: House, reply: Reply) -> None:
    house.script("POST", ORDER, reply, Reply(body=DONE))
    assert isinstance(house.submit(an_order()), orders.OrderAccepted)
    assert house.placements() == ["q-1", "q-1"]


def test_what_stays_unavailable_is_rejected_after_two_tries(house: House) -> None:
    house.script("POST", ORDER, refusal(-1008, "throttled", 503))
    outcome = house.submit(an_order())
    assert (type(outcome), outcome.code) == (orders.OrderRejected, -1008)
    assert house.placements() == ["q-1", "q-1"]


def test_a_duplicate_of_what_we_sent_is_looked_up_and_accepted_only_when_it_is_found(house: House) -> None:
    house.script("POST", ALGO, refusal(-1001, "Internal error.", 503), refusal(-4116, "ClientOrderId is duplicated."))
    house.script("GET", ALGO, Reply(body=RESTING), Reply(body=RESTING), refusal(-2013))
    for _ in range(2):  # of a resend, and of an order of long ago
        found = house.submit(a_stop())
        assert (type(found), found.exchange_id, found.conditional) == (orders.OrderAccepted, 9, True)
    assert isinstance(house.submit(a_stop()), orders.OrderOutcomeUnknown)


def test_a_duplicate_of_what_we_never_sent_is_another_traders_order_and_no_stop_of_ours(house: House) -> None:
    house.script("POST", ALGO, refusal(-1003, "Too many requests", 429, Retry_After="300"))
    house.submit(a_stop(client_id="s-0"))
    assert isinstance(house.submit(a_stop(priority="entry")), orders.OrderDenied), "not sent: the minute is over"
    house.script("POST", ALGO, refusal(-4116, "ClientOrderId is duplicated."))
    house.script("GET", ALGO, Reply(body=RESTING))
    for _ in range(2):
        refused = house.submit(a_stop())
        assert (type(refused), refused.code) == (orders.OrderRejected, -4116)
    assert "order 9 (NEW) has this id and is not ours" in refused.reason


def test_a_clock_fault_of_an_order_is_healed_and_the_order_signed_again_under_the_same_id(house: House) -> None:
    house.script("POST", ORDER, refusal(-1021, "Timestamp outside of recvWindow."), Reply(body=DONE))
    ahead_ms = 60_000
    house.script("GET", "/fapi/v1/time", Reply(body=lambda _: {"serverTime": int(time.time() * 1000) + ahead_ms}))
    assert isinstance(house.submit(an_order()), orders.OrderAccepted)
    assert house.placements() == ["q-1", "q-1"]
    stamped = int(house.exchange.sent("POST", ORDER)[-1].params["timestamp"])
    assert abs(stamped - time.time() * 1000 - ahead_ms) < 5_000


def test_a_clock_fault_that_stays_rejects_the_order(house: House) -> None:
    house.script("POST", ORDER, refusal(-1021, "Timestamp outside of recvWindow."))
    assert house.submit(an_order()).code == -1021
    assert house.placements() == ["q-1", "q-1"]


def test_a_clock_fault_of_a_question_is_healed_and_the_question_asked_again(house: House) -> None:
    house.script("GET", ORDER, refusal(-1021), Reply(body=DONE))
    assert isinstance(house.submit(LOOK_UP), orders.OrderFound)
    assert len(house.exchange.sent("GET", "/fapi/v1/time")) >= 3


def test_an_unknown_cancel_is_asked_again_and_ends_in_the_orders_state(house: House) -> None:
    house.script("DELETE", ALGO, Reply(503, UNKNOWN_503), refusal(-2011, "Unknown order sent."))
    house.script("GET", ALGO, Reply(body={**RESTING, "algoStatus": "CANCELED"}))
    assert isinstance(house.submit(CANCEL), orders.OrderCancelled)
    triggered = {
        **RESTING,
        "algoStatus": "TRIGGERED",
        "actualOrderId": "4711",
        "actualQty": "0.010",
        "actualPrice": "58999.5",
    }
    house.script("DELETE", ALGO, refusal(-4117, "Stop order is triggering."))
    house.script("GET", ALGO, Reply(body=triggered))
    found = house.submit(CANCEL)
    assert (found.status, found.child_id, found.executed_quantity) == ("TRIGGERED", 4711, D("0.010"))
    assert found.average_price == D("58999.5")


def test_nothing_listens_means_nothing_was_sent(house: House) -> None:
    house.exchange.stop()
    outcome = house.submit(an_order())
    assert (type(outcome), outcome.gate) == (orders.OrderDenied, "connection")
    refused = house.submit(orders.SetLeverage(reply_to="box", symbol="BTCUSDT", leverage=5))
    assert isinstance(refused, orders.LeverageRejected)
    assert refused.reason.startswith("connection")


def test_after_429_entries_wait_and_protection_goes_on(house: House) -> None:
    house.script("POST", ORDER, refusal(-1003, "Too many requests", 429, Retry_After="300"), Reply(body=DONE))
    house.script("POST", ALGO, Reply(body=RESTING))
    assert house.submit(an_order()).code == -1003
    denied = house.submit(an_order())
    assert (type(denied), denied.gate) == (orders.OrderDenied, "request budget")
    assert isinstance(house.submit(a_stop()), orders.OrderAccepted)
    assert len(house.placements()) == 1


def test_after_418_everything_stops_and_the_owner_is_told_until_when(house: House) -> None:
    house.rest.connect(house.box)
    assert isinstance(house.box.get(), VenueReady)
    until_ms = int(time.time() * 1000) + 90_000
    house.script("POST", ORDER, refusal(-1003, f"Way too many requests; IP banned until {until_ms}.", 418))
    house.rest.submit(an_order(), house.box, trace="t")
    told = [house.box.get(), house.box.get()]
    (lost,) = [m for m in told if isinstance(m, VenueLost)]
    (rejected,) = [m for m in told if isinstance(m, orders.OrderRejected)]
    assert rejected.code == -1003
    assert lost.until_ms is not None
    assert abs(lost.until_ms - until_ms) < 3_000
    before = len(house.exchange.requests)
    assert isinstance(house.submit(a_stop()), orders.OrderDenied)
    house.rest.load_account(1, house.box)
    assert isinstance(house.box.get(), VenueLost)
    assert len(house.exchange.requests) == before


def test_the_weight_another_process_used_is_believed(house: House) -> None:
    house.rest.connect(house.box)
    assert isinstance(house.box.get(), VenueReady)
    house.script("GET", ORDER, Reply(body=DONE, X_MBX_USED_WEIGHT_1M="2300"))
    assert isinstance(house.submit(LOOK_UP), orders.OrderFound)
    assert house.rest.budget().weight_ratio == pytest.approx(2300 / 2400)
    denied = house.submit(LOOK_UP)
    assert (type(denied), denied.gate) == (orders.OrderDenied, "request budget")
    assert len(house.exchange.sent("GET", ORDER)) == 1


def test_a_trader_that_starts_behind_a_heavy_spender_learns_the_limits_before_it_heeds_them(house: House) -> None:
    spent = {"X_MBX_USED_WEIGHT_1M": "9000"}
    limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 24_000}
    moment = Reply(body=lambda _: Reply(body={"serverTime": int(time.time() * 1000)}, **spent))
    house.script("GET", "/fapi/v1/time", moment)
    house.script("GET", "/fapi/v1/exchangeInfo", Reply(body={"rateLimits": [limit], "symbols": []}, **spent))
    house.script("GET", "/fapi/v1/positionSide/dual", Reply(body={"dualSidePosition": False}, **spent))
    house.rest.connect(house.box)
    assert isinstance(house.box.get(), VenueReady)
    assert house.rest.budget().weight_ratio >= 9000 / 24_000
    house.script("GET", ORDER, Reply(body=DONE, **spent))
    assert isinstance(house.submit(LOOK_UP), orders.OrderFound)


def test_a_minute_that_a_predecessor_spent_costs_neither_protection_nor_the_first_look(house: House) -> None:
    spent = {"X_MBX_USED_WEIGHT_1M": "1900"}
    house.script("GET", "/fapi/v1/exchangeInfo", Reply(body={"rateLimits": [], "symbols": []}, **spent))
    house.script("GET", "/fapi/v3/account", Reply(body=TOTALS))
    for path in ("/fapi/v3/positionRisk", "/fapi/v1/openOrders", "/fapi/v1/openAlgoOrders"):
        house.script("GET", path, Reply(body=[]))
    house.script("POST", ALGO, Reply(body=RESTING))
    house.rest.connect(house.box)
    assert isinstance(house.box.get(), VenueReady)
    assert isinstance(house.submit(a_stop()), orders.OrderAccepted)
    house.rest.load_account(1, house.box)
    assert isinstance(house.box.get(), AccountSnapshot)


def test_a_429_at_the_start_is_waited_out_before_the_next_attempt(house: House) -> None:
    house.script("GET", "/fapi/v1/time", refusal(-1003, "Too many requests", 429, Retry_After="40"))
    house.rest.connect(house.box)
    lost = house.box.get()
    assert isinstance(lost, VenueLost)
    assert lost.until_ms is not None
    assert 30_000 < lost.until_ms - time.time() * 1000 <= 41_000
    assert len(house.exchange.sent("GET", "/fapi/v1/time")) == 1


def test_a_refused_key_is_a_lost_venue_and_the_secret_is_nowhere(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    leak = f"key {KEYS.key} and secret {KEYS.secret} are not allowed"
    house.script("GET", "/fapi/v1/positionSide/dual", refusal(-2015, leak, 401))
    house.script(
        "POST", ORDER, refusal(-2015, leak, 401), Reply(503, {"code": -1000, "msg": leak}), Reply(200, b"<html>")
    )
    house.script("GET", "/fapi/v1/klines", Reply(400, leak.encode()), refusal(-1, leak))
    shown: list[Any] = []
    house.rest.connect(house.box)
    lost = [house.box.get(), house.box.get()]
    assert {type(m) for m in lost} == {VenueLost}
    assert "***" in lost[0].reason
    shown += lost
    for _ in range(3):
        shown.append(house.submit(an_order()))
    while not house.box.told.empty():
        shown.append(house.box.get())
    for _ in range(2):
        house.rest.load_bars(("BTCUSDT",), "1h", None, 5, house.box)
        shown.append(house.box.get())
    shown += [house.rest, vars(house.rest), KEYS, caplog.text]
    text = repr(shown)
    assert KEYS.secret not in text
    assert KEYS.key not in text


def test_hedge_mode_is_refused_with_the_way_out(house: House) -> None:
    house.script("GET", "/fapi/v1/positionSide/dual", Reply(body={"dualSidePosition": True}))
    house.rest.connect(house.box)
    assert "one-way" in house.box.get().reason


def test_an_account_round_is_whole_or_no_round(house: House) -> None:
    house.script("GET", "/fapi/v3/account", Reply(body=TOTALS))
    house.script("GET", "/fapi/v3/positionRisk", Reply(body=[]))
    house.script("GET", "/fapi/v1/openOrders", Reply(body=[]))
    house.script("GET", "/fapi/v1/openAlgoOrders", refusal(-1000, "x", 500), refusal(-1000, "x", 500), Reply(body=[]))
    house.rest.load_account(1, house.box)
    assert isinstance(house.box.get(), VenueLost)
    before_ms = time.time() * 1000
    house.rest.load_account(2, house.box)
    snapshot = house.box.get()
    assert isinstance(snapshot, AccountSnapshot)
    assert (snapshot.serial, snapshot.wallet_usd, snapshot.available_usd) == (2, D("100.5"), D(90))
    assert before_ms - 100 <= snapshot.requested_ms <= snapshot.now_ms
    house.script("GET", "/fapi/v3/account", Reply(body={"totalWalletBalance": "1"}))
    house.rest.load_account(3, house.box)
    assert "unreadable" in house.box.get().reason


def test_a_long_ledger_is_read_page_by_page_and_trades_on_from_the_last_id(house: House) -> None:
    now_ms = int(time.time() * 1000)

    def income(request: Any) -> list[dict[str, Any]]:
        page = int(request.params["page"])
        rows = range((page - 1) * 1000, min(page * 1000, 2_300))
        row = {"incomeType": "COMMISSION", "income": "-1", "asset": "USDT", "symbol": "BTCUSDT", "time": now_ms - 5_000}
        return [{**row, "tranId": n, "tradeId": str(n)} for n in rows]

    def trades(request: Any) -> list[dict[str, Any]]:
        first = int(request.params.get("fromId", 0))
        trade = {"symbol": "BTCUSDT", "side": "BUY", "price": "1", "qty": "1", "realizedPnl": "0", "commission": "1"}
        rest = {"commissionAsset": "USDT", "maker": False, "time": now_ms - 5_000}
        return [{**trade, **rest, "id": n, "orderId": 7} for n in range(first, min(first + 1000, 1_500))]

    house.script("GET", "/fapi/v1/income", Reply(body=income))
    house.script("GET", "/fapi/v1/userTrades", Reply(body=trades))
    house.script("GET", "/fapi/v3/account", Reply(body=TOTALS))
    house.script("GET", ORDER, Reply(body=DONE))
    house.rest.load_ledger(now_ms - 60_000, ("BTCUSDT",), house.box)
    fills = [house.box.get() for _ in range(1_500)]
    assert [fill.trade_id for fill in fills] == list(range(1_500))
    assert {fill.client_id for fill in fills} == {"q-1"}
    ledger = house.box.get()
    assert isinstance(ledger, LedgerSynced)
    assert [row.transaction_id for row in ledger.income] == list(range(2_300))
    assert len(house.exchange.sent("GET", ORDER)) == 1, "an order's name is asked for once"


def test_bars_of_one_symbol_may_fail_and_the_others_come(house: House) -> None:
    hour, start = 3_600_000, 1_750_000_000_000 // 3_600_000 * 3_600_000

    def klines(request: Any) -> Any:
        if request.params["symbol"] == "BADUSDT":
            return refusal(-1121, "Invalid symbol.")
        row = ["1", "2", "0.5", "1.5", "10"]
        return [[start + n * hour, *row, start + (n + 1) * hour - 1, "1", 1, "1", "1", "0"] for n in range(3)]

    house.script("GET", "/fapi/v1/klines", Reply(body=klines))
    house.rest.load_bars(("BTCUSDT", "BADUSDT"), "1h", None, 2, house.box)
    told = {m.symbol: m for m in (house.box.get(), house.box.get())}
    assert all(isinstance(m, BarsLoaded) for m in told.values())
    assert told["BTCUSDT"].open_time_ms.tolist() == [start + hour, start + 2 * hour]
    assert told["BADUSDT"].error == "Invalid symbol. (-1121)"
    with pytest.raises(ValueError, match="1 to 1500"):
        house.rest.load_bars(("BTCUSDT",), "1h", None, 1501, house.box)


def test_the_client_reaches_no_other_host_whatever_is_asked_of_it(house: House) -> None:
    async def stray() -> list[str]:
        client = binance_client.new_client(loopback(house.exchange.url), KEYS)
        refused = []
        for call in (client.get_account(), client.futures_coin_ping(), client.get_margin_account()):
            try:
                await call
            except EndpointError as error:
                refused.append(str(error))
            except Exception:  # noqa: BLE001, S110 -- a spot call stays on the loopback and is refused there
                pass
        await binance_client.close_client(client)
        return refused

    refused = asyncio.run_coroutine_threadsafe(stray(), house.loop._loop).result(10)  # type: ignore[arg-type]
    assert len(refused) == 2
    assert all("set up for loopback" in text for text in refused)


def test_an_order_under_way_when_the_trader_stops_is_unknown(house: House) -> None:
    house.script("POST", ORDER, Reply(200, HANG))
    house.rest.submit(an_order(), house.box, trace="t")
    for _ in range(2_000):
        if house.placements():
            break
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.005), house.loop._loop).result(5)  # type: ignore[arg-type]
    assert house.loop.stop()
    assert isinstance(house.box.get(), orders.OrderOutcomeUnknown)
    with pytest.raises(LoopClosedError):
        house.rest.submit(an_order(), house.box, trace="t")


def test_weeks_cover_a_span_without_gap_or_overlap() -> None:
    spans = binance_rest._weeks(1_000, 1_000 + 20 * 86_400_000)
    assert spans[0][0] == 1_000
    assert spans[-1][1] == 1_000 + 20 * 86_400_000
    for (_, end), (start, _) in itertools.pairwise(spans):
        assert start == end + 1
