"""Answers that are late, lost, torn or wrong: what a client meets, and what the exchange's books say meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from typing import Any

import aiohttp
import pytest

from tests.fault_client import KEY, ORDER, SECRET, UNKNOWN, Client, events, hear, is_silent


@pytest.mark.parametrize(
    ("fault", "status", "body", "executed"),
    [
        ({"kind": "unknown_executed"}, 503, {"msg": UNKNOWN}, True),
        ({"kind": "unknown_not_executed"}, 503, {"msg": UNKNOWN}, False),
        ({"kind": "unavailable"}, 503, {"msg": "Service Unavailable."}, False),
        ({"kind": "internal_error"}, 503, -1001, False),
        ({"kind": "throttled"}, 503, -1008, False),
        ({"kind": "bad_reply", "executed": True}, 400, -1006, True),
        ({"kind": "backend_timeout", "executed": True}, 408, -1007, True),
        ({"kind": "backend_timeout"}, 408, -1007, False),
        ({"kind": "bad_timestamp"}, 400, -1021, False),
        ({"kind": "too_many_orders", "retry_after_s": 3}, 429, -1015, False),
        ({"kind": "refuse", "code": -4120, "text": "moved"}, 400, {"code": -4120, "msg": "moved"}, False),
    ],
)
def test_an_answer_goes_wrong_and_the_books_know_whether_the_order_was_carried_out(
    run: Any, fault: dict[str, Any], status: int, body: Any, executed: bool
) -> None:
    async def check(client: Client) -> None:
        name = f"a-{abs(hash(json.dumps(fault)))}"[:30]
        await client.add({**fault, "method": "POST", "path": ORDER, "times": 1})
        got, said, headers = await client.buy(name)
        assert (got, said if isinstance(body, dict) else said["code"]) == (status, body)
        assert headers.get("Retry-After") == (str(fault["retry_after_s"]) if "retry_after_s" in fault else None)
        assert (await client.status(name)) == ("FILLED" if executed else "")
        assert (await client.buy(name + "x"))[0] == 200

    run(check)


def test_a_ban_names_its_end_and_a_gateway_answers_with_a_page(run: Any) -> None:
    async def check(client: Client) -> None:
        await client.add({"kind": "banned", "retry_after_s": 60, "times": 1}, {"kind": "bad_gateway", "times": 1})
        status, said, headers = await client.ask("GET", "/fapi/v3/balance")
        assert (status, said["code"], headers["Retry-After"]) == (418, -1003, "60")
        assert "banned until 1" in said["msg"]
        status, page, headers = await client.ask("GET", "/fapi/v3/balance")
        assert (status, headers["Content-Type"]) == (502, "text/html")
        assert b"Bad Gateway" in page

    run(check)


@pytest.mark.parametrize(
    ("fault", "wrong", "executed"),
    [
        ({"kind": "drop"}, aiohttp.ServerDisconnectedError, False),
        ({"kind": "drop", "executed": True}, aiohttp.ServerDisconnectedError, True),
        ({"kind": "partial_reply", "share": 0.5}, aiohttp.ClientPayloadError, True),
        ({"kind": "partial_reply", "share": 1}, aiohttp.ClientPayloadError, True),
    ],
)
def test_an_answer_is_lost_or_torn(run: Any, fault: dict[str, Any], wrong: type[Exception], executed: bool) -> None:
    async def check(client: Client) -> None:
        name = f"t-{fault['kind']}-{fault.get('share')}-{executed}"
        await client.add({**fault, "method": "POST", "path": ORDER, "times": 1})
        with pytest.raises(wrong):
            await client.buy(name)
        assert (await client.status(name)) == ("FILLED" if executed else "")

    run(check)


def test_a_request_that_arrives_twice_is_carried_out_twice(run: Any) -> None:
    """Client ids are unique among open orders only: two market orders fill, of two resting ones one is refused."""

    async def check(client: Client) -> None:
        async def filled(name: str) -> int:
            trades = (await client.ask("GET", "/fapi/v1/userTrades", symbol="BTCUSDT", limit="20"))[1]
            orders = (await client.ask("GET", "/fapi/v1/allOrders", symbol="BTCUSDT", limit="20"))[1]
            ids = {order["orderId"] for order in orders if order["clientOrderId"] == name}
            return len(ids & {trade["orderId"] for trade in trades})

        once = {"kind": "duplicate_request", "method": "POST", "path": ORDER, "times": 1}
        await client.add(once)
        status, first, _ = await client.buy("twice")
        assert (status, await filled("twice")) == (200, 2)
        assert (await client.ask("GET", ORDER, symbol="BTCUSDT", orderId=str(first["orderId"])))[0] == 200
        limit = {"type": "LIMIT", "timeInForce": "GTC", "price": "60000"}
        await client.add({**once, "executed": True})
        assert (await client.buy("rests", **limit))[1]["code"] == -4116, "the second answer, though one order rests"
        assert (await client.status("rests")) == "NEW"
        await client.add(once)
        assert (await client.buy("rests-too", **limit))[0] == 200
        assert (await client.buy("alone"))[0] == 200
        assert await filled("alone") == 1
        await client.ask("DELETE", "/fapi/v1/allOpenOrders", symbol="BTCUSDT")

    run(check)


def test_a_winner_is_deleveraged(run: Any) -> None:
    async def check(client: Client) -> None:
        await client.buy("long")
        async with client.account() as stream:
            await client.add({"kind": "deleverage", "symbol": "BTCUSDT"})
            told = await hear(stream)
            while told["e"] != "ORDER_TRADE_UPDATE":
                told = await hear(stream)
        assert (told["o"]["c"].split("-")[0], told["o"]["x"]) == ("adl_autoclose", "CALCULATED")
        positions = (await client.ask("GET", "/fapi/v3/positionRisk", symbol="BTCUSDT"))[1]
        assert not any(float(row["positionAmt"]) for row in positions)

    run(check)


def test_latency_comes_before_or_after_the_order(run: Any) -> None:
    async def check(client: Client) -> None:
        async with client.account() as stream:
            await client.add({"kind": "latency", "ms": 600, "executed": True, "method": "POST", "path": ORDER})
            order = asyncio.create_task(client.buy("late-reply"))
            assert "ORDER_TRADE_UPDATE TRADE" in await events(stream, "ACCOUNT_UPDATE") + await events(
                stream, "ORDER_TRADE_UPDATE TRADE"
            )
            assert not order.done()
            assert (await order)[0] == 200
            await client.clear()
            await client.add({"kind": "latency", "ms": 300, "method": "POST", "path": ORDER})
            order = asyncio.create_task(client.buy("late-request"))
            assert await is_silent(stream) is False
            assert (await order)[0] == 200

    run(check)


def test_an_empty_book_lets_a_market_order_end_expired(run: Any) -> None:
    async def check(client: Client) -> None:
        await client.add({"kind": "no_liquidity", "path": ORDER, "times": 1})
        status, said, _ = await client.buy("nobody", newOrderRespType="RESULT")
        assert (status, said["status"], said["executedQty"]) == (200, "EXPIRED", "0.000")
        assert (await client.buy("somebody", newOrderRespType="RESULT"))[1]["status"] == "FILLED"
        await client.add({"kind": "no_liquidity", "times": 1})
        assert (await client.buy("nowhere", symbol="NONEUSDT"))[1]["code"] == -1121

    run(check)


def test_the_exchange_ends_accepted_orders_of_both_families_by_itself(run: Any) -> None:
    async def check(client: Client) -> None:
        async with client.account() as stream:
            await client.add({"kind": "expire_order", "ms": 0, "symbol": "BTCUSDT"})
            assert (await client.stop("taken"))[1]["algoStatus"] == "NEW"
            assert [(await hear(stream))["o"]["X"] for _ in range(2)] == ["NEW", "EXPIRED"]
            limit = {"type": "LIMIT", "timeInForce": "GTC", "price": "60000"}
            assert (await client.buy("rests", **limit))[1]["status"] == "NEW"
            assert (await client.status("rests")) == "EXPIRED"
            assert (await client.stop("kept"))[0] == 200
            assert (await client.buy("kept", **limit))[0] == 200
            await client.add({"kind": "expire_open", "side": "SELL"})
            while (await hear(stream))["o"].get("caid") != "kept":
                pass
            ended = await hear(stream)
            while ended["e"] != "ALGO_UPDATE":
                ended = await hear(stream)
            assert (ended["o"]["caid"], ended["o"]["X"]) == ("kept", "EXPIRED")
            assert (await client.status("kept")) == "NEW"
            await client.ask("DELETE", "/fapi/v1/allOpenOrders", symbol="BTCUSDT")

    run(check)


def test_the_websocket_api_meets_the_same_faults_by_the_route_of_the_same_meaning(run: Any) -> None:
    async def check(client: Client) -> None:
        async def place(api: aiohttp.ClientWebSocketResponse, name: str) -> Any:
            params = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.002", "apiKey": KEY,
                      "newClientOrderId": name}  # fmt: skip
            params["timestamp"] = (await client.plain("GET", "/qt/clock"))["now_ms"]
            text = "&".join(f"{key}={value}" for key, value in sorted(params.items()))
            signature = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
            await api.send_json({"id": name, "method": "order.place", "params": {**params, "signature": signature}})
            return await api.receive(10)

        here = {"method": "POST", "path": ORDER, "times": 1}
        async with client.session.ws_connect("/ws-fapi/v1") as api:
            assert json.loads((await place(api, "w-1")).data)["status"] == 200
            await client.add({"kind": "unknown_executed", **here})
            said = json.loads((await place(api, "w-2")).data)
            assert (said["id"], said["status"], said["error"]["msg"]) == ("w-2", 503, UNKNOWN)
            assert (await client.status("w-2")) == "FILLED"
            await client.add({"kind": "backend_timeout", **here})
            said = json.loads((await place(api, "w-3")).data)
            assert (said["status"], said["error"]["code"]) == (408, -1007)
            await client.add({"kind": "no_liquidity", "times": 1})
            assert json.loads((await place(api, "w-4")).data)["status"] == 200
            assert (await client.status("w-4")) == "EXPIRED"
            assert (await client.status("w-3")) == ""
            await api.send_str("[")
            assert json.loads((await api.receive(10)).data)["error"]["code"] == -1135
            await client.add({"kind": "duplicate_request", "executed": True, **here})
            first = (await client.ask("GET", ORDER, symbol="BTCUSDT", origClientOrderId="w-4"))[1]["orderId"]
            second = json.loads((await place(api, "w-6")).data)["result"]["orderId"]
            orders = (await client.ask("GET", "/fapi/v1/allOrders", symbol="BTCUSDT", orderId=str(first)))[1]
            assert [row["orderId"] for row in orders if row["clientOrderId"] == "w-6"][1:] == [second]
            await client.add({"kind": "drop", "executed": True, **here})
            assert (await place(api, "w-5")).type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}
            assert (await client.status("w-5")) == "FILLED"

    run(check)
