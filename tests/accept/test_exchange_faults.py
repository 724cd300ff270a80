"""Faults on a listening exchange: what a client meets, and what the exchange's books say meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import aiohttp
import pytest
from yarl import URL

from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.faults.fault import Fault
from qt_actors.exchange.server import serve_in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from qt_actors.exchange.server import ServedExchange

KEY, SECRET = "accept-key", "accept-secret"
ORDER, ALGO = "/fapi/v1/order", "/fapi/v1/algoOrder"
UNKNOWN = "Unknown error, please check your request or try again later."


class Client:
    """A plain client of one exchange: signed requests, streams, and the control route."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def ask(self, method: str, path: str, **params: str) -> tuple[int, Any, dict[str, str]]:
        """A signed request; its status, decoded body and headers."""
        params.setdefault("timestamp", str((await self.plain("GET", "/qt/clock"))["now_ms"]))
        text = urlencode(params)
        signature = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
        url = URL(f"{path}?{text}&signature={signature}", encoded=True)
        async with self.session.request(method, url) as reply:
            raw = await reply.read()
            body = json.loads(raw) if reply.content_type == "application/json" else raw
            return reply.status, body, dict(reply.headers)

    async def plain(self, method: str, path: str, **how: Any) -> Any:
        async with self.session.request(method, path, **how) as reply:
            return await reply.json()

    async def add(self, *faults: dict[str, Any]) -> list[int]:
        text = "\n".join(json.dumps(fault) for fault in faults)
        numbers: list[int] = (await self.plain("POST", "/qt/faults", data=text))["numbers"]
        return numbers

    async def clear(self) -> None:
        await self.plain("DELETE", "/qt/faults")

    async def buy(self, name: str, **more: str) -> tuple[int, Any, dict[str, str]]:
        wire = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.002", "newClientOrderId": name}
        return await self.ask("POST", ORDER, **{**wire, **more})

    async def stop(self, name: str) -> tuple[int, Any, dict[str, str]]:
        return await self.ask(
            "POST", ALGO, algoType="CONDITIONAL", symbol="BTCUSDT", side="SELL", type="STOP_MARKET",
            quantity="0.010", triggerPrice="1000", clientAlgoId=name, reduceOnly="true",
        )  # fmt: skip

    async def status(self, name: str) -> str:
        """What the exchange's books say of an order; "" when it knows none."""
        await self.clear()
        status, body, _ = await self.ask("GET", ORDER, symbol="BTCUSDT", origClientOrderId=name)
        return str(body["status"]) if status == 200 else ""

    @asynccontextmanager
    async def account(self) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """The user-data stream."""
        key = (await self.plain("POST", "/fapi/v1/listenKey"))["listenKey"]
        async with self.session.ws_connect(f"/private/ws/{key}") as stream:
            yield stream


async def hear(stream: aiohttp.ClientWebSocketResponse) -> Any:
    message = await stream.receive(10)
    assert message.type is aiohttp.WSMsgType.TEXT, message
    return json.loads(message.data)


async def events(stream: aiohttp.ClientWebSocketResponse, until: str) -> list[str]:
    """Names of events, an order's with its execution, up to and with the first of that name."""
    heard: list[str] = []
    while until not in heard:
        event = await hear(stream)
        heard.append(event["e"] + (f" {event['o']['x']}" if event["e"] == "ORDER_TRADE_UPDATE" else ""))
    return heard


async def is_silent(stream: aiohttp.ClientWebSocketResponse) -> bool:
    """Whether nothing but the answer to a ping comes for a while of the exchange's ticks."""
    try:
        await stream.receive(0.4)
    except TimeoutError:
        return True
    return False


@pytest.fixture(scope="module")
def served() -> Iterator[ServedExchange]:
    config = ExchangeConfig(symbols=("BTCUSDT", "ETHUSDT"), seed=3, speed=60.0, api_key=KEY, api_secret=SECRET)
    exchange = serve_in_thread(config)
    yield exchange
    exchange.stop()


@pytest.fixture
def run(served: ServedExchange) -> Callable[[Callable[[Client], Any]], None]:
    async def with_client(check: Callable[[Client], Any]) -> None:
        url, key = f"http://127.0.0.1:{served.port}", {"X-MBX-APIKEY": KEY}
        async with aiohttp.ClientSession(url, headers=key) as session:
            client = Client(session)
            await client.clear()
            await check(client)
            await client.clear()

    return lambda check: asyncio.run(with_client(check))


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


def test_user_events_are_lost_doubled_swapped_and_late(run: Any) -> None:
    async def check(client: Client) -> None:
        async with client.account() as stream:
            usual = ["TRADE_LITE", "ORDER_TRADE_UPDATE NEW", "ACCOUNT_UPDATE", "ORDER_TRADE_UPDATE TRADE"]
            await client.buy("plain")
            assert await events(stream, "ORDER_TRADE_UPDATE TRADE") == usual
            await client.add({"kind": "drop", "event": "ACCOUNT_UPDATE", "times": 1})
            await client.buy("lost")
            assert await events(stream, "ORDER_TRADE_UPDATE TRADE") == [usual[0], usual[1], usual[3]]
            await client.add({"kind": "duplicate", "event": "TRADE_LITE", "times": 1})
            await client.buy("twice")
            assert await events(stream, "ORDER_TRADE_UPDATE TRADE") == [usual[0], *usual]
            await client.add({"kind": "reorder", "event": "ORDER_TRADE_UPDATE", "execution": "NEW", "times": 1})
            await client.buy("swapped")
            assert await events(stream, "ORDER_TRADE_UPDATE TRADE") == [usual[0], usual[2], usual[1], usual[3]]
            await client.add({"kind": "reorder", "execution": "TRADE", "event": "*UPDATE", "times": 1})
            await client.buy("alone")
            assert (await events(stream, "ORDER_TRADE_UPDATE TRADE"))[-1] == usual[3]  # after a second at the latest
            await client.add({"kind": "delayed_fill", "ms": 300})
            reply = asyncio.create_task(client.buy("slow"))
            assert await events(stream, "ORDER_TRADE_UPDATE NEW") == [usual[1]]
            assert (await reply)[0] == 200
            assert await events(stream, "ORDER_TRADE_UPDATE TRADE") == [usual[0], usual[2], usual[3]]

    run(check)


def test_a_mute_stream_says_nothing_a_dead_one_acknowledges_and_a_new_one_lives(run: Any) -> None:
    async def check(client: Client) -> None:
        subscribe = {"method": "SUBSCRIBE", "params": ["btcusdt@bookTicker"], "id": 5}
        for kind, answers in (("mute", False), ("dead", True)):
            async with client.session.ws_connect("/public/ws") as stream:
                await client.add({"kind": kind, "route": "public", "times": 1, "stream": "*"})
                await stream.send_json(subscribe)
                assert (await hear(stream))["id"] == 5
                assert await is_silent(stream)
                await stream.send_json(subscribe)
                assert await is_silent(stream) is not answers
                await stream.ping()
            async with client.session.ws_connect("/public/ws/btcusdt@bookTicker") as again:
                assert (await hear(again))["e"] == "bookTicker"

    run(check)


def test_connections_are_cut_at_a_moment_by_route_or_at_a_frame(run: Any) -> None:
    async def check(client: Client) -> None:
        async with client.account() as private, client.session.ws_connect("/market/ws/btcusdt@markPrice@1s") as market:
            await client.add({"kind": "disconnect", "route": "private"})
            assert (await private.receive(10)).type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}
            assert (await hear(market))["e"] == "markPriceUpdate"
            await client.add({"kind": "disconnect", "event": "markPriceUpdate", "times": 1})
            assert (await market.receive(10)).type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}

    run(check)


def test_a_listen_key_is_lost_aloud_or_quietly(run: Any) -> None:
    async def check(client: Client) -> None:
        async with client.account() as stream:
            await client.add({"kind": "listen_key_loss"})
            assert (await hear(stream))["e"] == "listenKeyExpired"
            assert (await client.plain("PUT", "/fapi/v1/listenKey"))["code"] == -1125
        async with client.account() as stream:
            await client.add({"kind": "listen_key_loss", "quiet": True})
            while (await client.plain("PUT", "/fapi/v1/listenKey")).get("code") != -1125:
                pass
            await client.buy("unheard")
            assert await is_silent(stream)

    run(check)


def test_skew_refuses_who_keeps_the_old_time_and_takes_who_asks_again(run: Any) -> None:
    async def check(client: Client) -> None:
        await client.add({"kind": "skew", "ms": 90_000_000})
        told = ahead = 0
        while ahead < 80_000_000:
            told = (await client.plain("GET", "/fapi/v1/time"))["serverTime"]
            ahead = told - (await client.plain("GET", "/qt/clock"))["now_ms"]
        status, said, _ = await client.ask("GET", "/fapi/v3/balance", recvWindow="60000")
        assert (status, said["code"]) == (400, -1021)
        assert (await client.ask("GET", "/fapi/v3/balance", timestamp=str(told)))[0] == 200

    run(check)


def test_the_clock_jumps_ahead_with_its_market_and_back_without_it(run: Any) -> None:
    async def check(client: Client) -> None:
        async def now() -> tuple[int, int]:
            clock = await client.plain("GET", "/qt/clock")
            return clock["now_ms"], clock["market_ms"]

        hour = 3_600_000
        at, _ = await now()
        await client.add({"kind": "clock_jump", "ms": 2 * hour})
        while (await now())[0] < at + 2 * hour:
            pass
        ahead, market = await now()
        assert ahead - 60_000 < market <= ahead
        old = str(ahead - 2 * hour)
        assert (await client.ask("GET", "/fapi/v3/balance", timestamp=old))[1]["code"] == -1021
        await client.add({"kind": "clock_jump", "ms": -hour // 2})
        while (await now())[0] > ahead:
            pass
        back, stood = await now()
        assert stood >= market > back
        assert (await client.buy("meanwhile"))[0] == 200
        await client.add({"kind": "clock_jump", "ms": hour})
        while (await now())[1] < market + hour // 2:
            pass

    run(check)


def test_maintenance_refuses_cuts_and_says_so_and_then_is_over(run: Any) -> None:
    async def check(client: Client) -> None:
        async with client.account() as stream:
            assert (await client.plain("GET", "/sapi/v1/system/status"))["status"] == 0
            (number,) = await client.add({"kind": "maintenance"})
            assert (await stream.receive(10)).type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}
            status, said, _ = await client.buy("closed")
            assert (status, said["code"]) == (503, -1016)
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await client.session.ws_connect("/public/ws")
            assert await client.plain("GET", "/sapi/v1/system/status") == {"status": 1, "msg": "system_maintenance"}
            assert (await client.plain("DELETE", f"/qt/faults?number={number}")) == {"cleared": 1}
            assert (await client.buy("open-again"))[0] == 200

    run(check)


def test_before_2026_04_23_unrouted_streams_deliver_everything_and_that_day_they_end(run: Any) -> None:
    async def check(client: Client) -> None:
        await client.add({"kind": "before_2026_04_23"})
        key = (await client.plain("POST", "/fapi/v1/listenKey"))["listenKey"]
        mark = "/ws/btcusdt@markPrice@1s"
        while True:  # the exchange looks at its faults at every tick
            stream = await client.session.ws_connect(mark)
            if not await is_silent(stream) or not await is_silent(stream) or not await is_silent(stream):
                break
            await stream.close()
        async with client.session.ws_connect(f"/ws/{key}") as account:
            await client.buy("heard-unrouted")
            assert (await hear(account))["e"] == "TRADE_LITE"
            await client.clear()
            while (await account.receive(10)).type is aiohttp.WSMsgType.TEXT:
                pass
        while (await stream.receive(10)).type is aiohttp.WSMsgType.TEXT:
            pass
        async with client.session.ws_connect(mark) as stream:
            assert await is_silent(stream)

    run(check)


def test_the_control_route_lists_adds_and_tells_what_is_wrong(run: Any) -> None:
    async def check(client: Client) -> None:
        (number,) = await client.add({"kind": "latency", "ms": 5, "stream": "nothing"})
        (row,) = await client.plain("GET", "/qt/faults")
        assert row == {
            "number": number, "kind": "latency", "ms": 5, "stream": "nothing", "acts": True, "met": 0, "happened": 0,
        }  # fmt: skip
        said = await client.plain("POST", "/qt/faults", data='{"kind": "nothing"}')
        assert said["msg"].startswith("body:1: kind: 'nothing' is none; allowed: random, latency")
        for wrong in (b"\xff", b"x" * 300_000, b"[1]"):
            assert "code" in await client.plain("POST", "/qt/faults", data=wrong)
        assert "code" in await client.plain("DELETE", "/qt/faults?number=x")
        assert "code" in await client.plain("PUT", "/qt/faults")
        assert len(await client.plain("GET", "/qt/faults")) == 1

    run(check)


def test_faults_of_the_settings_act_from_the_start_and_two_runs_of_a_seed_are_alike() -> None:
    async def answers(port: int) -> list[int]:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            seen = []
            for _ in range(60):
                async with session.get("/fapi/v1/ping") as reply:
                    seen.append(reply.status)
            return seen

    def once() -> list[int]:
        config = ExchangeConfig(
            symbols="BTCUSDT", faults=(Fault(kind="unavailable", probability=0.3, seed=11, path="/fapi/v1/ping"),)
        )
        exchange = serve_in_thread(config)
        try:
            return asyncio.run(answers(exchange.port))
        finally:
            exchange.stop()

    first = once()
    assert set(first) == {200, 503}
    assert once() == first


def test_the_command_refuses_a_wrong_file_with_its_line_and_says_where_faults_are_told(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from qt_actors.cli.app import app

    (tmp_path / "faults").write_text('{"kind": "drop"}\n{"kind": "drop", "ms": 4}\n')
    refused = CliRunner().invoke(app, ["exchange", "--faults", str(tmp_path / "faults")])
    assert refused.exit_code == 2
    assert refused.output.startswith(f"{tmp_path}/faults:2: ms: not a field of drop; it takes after_s,")
    told = CliRunner().invoke(app, ["exchange", "--help"])
    assert "qt_actors.exchange.faults" in told.output


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
            await client.add({"kind": "drop", "executed": True, **here})
            assert (await place(api, "w-5")).type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}
            assert (await client.status("w-5")) == "FILLED"

    run(check)


def test_before_2025_12_09_conditional_orders_are_orders_and_that_day_they_move(run: Any) -> None:
    async def check(client: Client) -> None:
        async def order(name: str, **more: str) -> tuple[int, Any, dict[str, str]]:
            stop = {"side": "SELL", "type": "STOP_MARKET", "stopPrice": "1000", "reduceOnly": "true", **more}
            return await client.buy(name, **stop)

        async def open_names(path: str, name: str) -> list[str]:
            return [row[name] for row in (await client.ask("GET", path, symbol="BTCUSDT"))[1]]

        await client.ask("DELETE", "/fapi/v1/algoOpenOrders", symbol="BTCUSDT")
        assert (await order("refused"))[1]["code"] == -4120
        await client.add({"kind": "before_2025_12_09"})
        async with client.account() as stream:
            status, placed, _ = await order("then-1")
            assert (status, placed["status"], placed["type"], placed["stopPrice"][:4]) == (
                200,
                "NEW",
                "STOP_MARKET",
                "1000",
            )
            told = (await hear(stream))["o"]
            assert (told["c"], told["x"], told["X"], told["i"]) == ("then-1", "NEW", "NEW", placed["orderId"])
            assert await open_names("/fapi/v1/openOrders", "clientOrderId") == ["then-1"]
            by_number = await client.ask("GET", ORDER, symbol="BTCUSDT", orderId=str(placed["orderId"]))
            assert (by_number[1]["clientOrderId"], by_number[1]["status"]) == ("then-1", "NEW")
            assert (await client.stop("today"))[0] == 404
            ended = await client.ask("DELETE", ORDER, symbol="BTCUSDT", origClientOrderId="then-1")
            assert ended[1]["status"] == (await hear(stream))["o"]["X"] == "CANCELED"
            assert (await client.ask("DELETE", ORDER, symbol="BTCUSDT", origClientOrderId="then-1"))[1]["code"] == -2011

            last = float((await client.plain("GET", "/fapi/v1/ticker/price?symbol=BTCUSDT"))["price"])
            _, fired, _ = await order("then-2", side="BUY", stopPrice=f"{1.0001 * last:.1f}", reduceOnly="false")
            seen = []
            while ("TRADE", "FILLED") not in [one[1:] for one in seen]:
                event = await hear(stream)
                if event["e"] == "ORDER_TRADE_UPDATE" and event["o"]["c"] == "then-2":
                    seen.append((event["o"]["i"], event["o"]["x"], event["o"]["X"]))
            assert [one[1] for one in seen] == ["NEW", "EXPIRED", "NEW", "TRADE"]
            assert {one[0] for one in seen} == {fired["orderId"]}
            by_number = await client.ask("GET", ORDER, symbol="BTCUSDT", orderId=str(fired["orderId"]))
            assert (by_number[1]["status"], by_number[1]["type"]) == ("FILLED", "MARKET")
            batch = json.dumps([{"symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET", "quantity": "0.010",
                                 "stopPrice": "1000", "newClientOrderId": "then-3", "reduceOnly": "true"},
                                {"symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET"}])  # fmt: skip
            both = (await client.ask("POST", "/fapi/v1/batchOrders", batchOrders=batch))[1]
            assert (both[0]["clientOrderId"], both[1]["code"]) == ("then-3", -1102)
        await client.clear()
        assert (await order("refused"))[1]["code"] == -4120
        assert await open_names("/fapi/v1/openOrders", "clientOrderId") == []
        assert await open_names("/fapi/v1/openAlgoOrders", "clientAlgoId") == ["then-3"]
        await client.ask("DELETE", "/fapi/v1/algoOpenOrders", symbol="BTCUSDT")

    run(check)
