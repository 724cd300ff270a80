from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import pytest

from qt_actors.exchange.candle_files import MarketDataError
from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.entry import run
from qt_actors.exchange.routes import ROUTES, Access
from qt_actors.exchange.server import serve_in_thread
from tests.candle_folders import START_MS, folder
from tests.exchange_client import KEY, SECRET, ask, at, signed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qt_actors.exchange.server import ServedExchange


@pytest.fixture(scope="module")
def served() -> Iterator[ServedExchange]:
    """A synthetic exchange at an hour a second."""
    exchange = serve_in_thread(
        ExchangeConfig(
            symbols=("BTCUSDT", "ETHUSDT"), seed=3, speed=3600.0, api_key=KEY, api_secret=SECRET,
            request_weight_max=10**9, orders_minute_max=10**6, orders_ten_seconds_max=10**6,
        )
    )  # fmt: skip
    yield exchange
    exchange.stop()


async def hear(stream: aiohttp.ClientWebSocketResponse) -> Any:
    message = await stream.receive(10)
    assert message.type is aiohttp.WSMsgType.TEXT, message
    return json.loads(message.data)


async def say(stream: aiohttp.ClientWebSocketResponse, method: str, *names: object) -> Any:
    """Send a control frame and skip what streams until its answer."""
    await stream.send_json({"method": method, "params": list(names), "id": 77})
    while True:
        frame = await hear(stream)
        if "id" in frame:
            return frame


def test_every_route_answers_json_in_binance_s_shape_to_an_empty_request(served: ServedExchange) -> None:
    async def check() -> None:
        async with at(served) as session:
            for (method, path), route in ROUTES.items():
                if path.startswith("/qt/"):
                    continue
                status, reply, headers = await ask(session, method, path)
                assert ("X-MBX-USED-WEIGHT-1M" in headers) == (not route.bucket), path
                if route.access is Access.SIGNED:
                    assert (status, reply["code"]) == (400, -1102), path
                else:
                    assert status == 200 or (status == 400 and {"code", "msg"} == set(reply)), path

    asyncio.run(check())


def test_every_signed_read_answers_when_it_is_signed(served: ServedExchange) -> None:
    async def check() -> None:
        async with at(served) as session:
            for (method, path), route in ROUTES.items():
                if method == "GET" and route.access is Access.SIGNED:
                    status, reply = await signed(session, method, path, symbol="BTCUSDT")
                    assert status == 200 or reply["code"] == -1102, (path, reply)

    asyncio.run(check())


def test_limits_of_the_account_are_told_and_what_clients_touch_on_their_way_is_there(served: ServedExchange) -> None:
    async def check() -> None:
        async with at(served) as session:
            status, limits = await signed(session, "GET", "/fapi/v1/rateLimit/order")
            assert status == 200
            assert [(row["interval"], row["intervalNum"], row["limit"]) for row in limits] == [
                ("SECOND", 10, 10**6), ("MINUTE", 1, 10**6),
            ]  # fmt: skip
            assert (await signed(session, "GET", "/sapi/v1/capital/config/getall"))[1][0]["coin"] == "USDT"
            assert (await signed(session, "POST", "/fapi/v1/stock/contract"))[1] == {"code": 200, "msg": "success"}
            untimed = "symbol=BTCUSDT&signature=" + "0" * 64
            refused = (await ask(session, "GET", f"/fapi/v1/openOrders?{untimed}"))[1]
            assert (refused["code"], "timestamp" in refused["msg"]) == (-1102, True), "before the signature is judged"

    asyncio.run(check())


def test_unknown_paths_and_methods_are_told_so(served: ServedExchange) -> None:
    async def check() -> None:
        async with at(served) as session:
            for method, path in (
                ("GET", "/fapi/v1/nothing"),
                ("PATCH", "/fapi/v1/order"),
                ("GET", "/"),
                ("GET", "/%ff%00"),
            ):
                status, reply, _ = await ask(session, method, path)
                assert (status, reply["code"]) == (404, -5000)

    asyncio.run(check())


def test_keys_and_signatures_are_checked_before_anything_else(served: ServedExchange) -> None:
    async def check() -> None:
        async with at(served) as session:
            path = "/fapi/v1/order"
            assert (await ask(session, "POST", path, headers={"X-MBX-APIKEY": ""}))[:2] == (
                401, {"code": -2014, "msg": "API-key format invalid."},
            )  # fmt: skip
            assert (await ask(session, "POST", path, headers={"X-MBX-APIKEY": "other"}))[1]["code"] == -2015
            assert (await ask(session, "POST", path, data={"symbol": "BTCUSDT"}))[1]["code"] == -1102
            wrong = {"symbol": "BTCUSDT", "timestamp": "1", "signature": "00"}
            assert (await ask(session, "POST", path, data=wrong))[1]["code"] == -1022
            assert (
                await ask(session, "GET", "/fapi/v1/historicalTrades?symbol=BTCUSDT", headers={"X-MBX-APIKEY": "x"})
            )[0] == 401

    asyncio.run(check())


def test_one_connection_subscribes_lists_and_unsubscribes(served: ServedExchange) -> None:
    async def check() -> None:
        async with at(served) as session, session.ws_connect("/market/ws") as stream:
            assert await say(stream, "SUBSCRIBE", "btcusdt@kline_15m", "NONSENSE") == {"result": None, "id": 77}
            frames = [await hear(stream) for _ in range(6)]
            assert {frame["e"] for frame in frames} == {"kline"}
            assert (await say(stream, "LIST_SUBSCRIPTIONS"))["result"] == ["btcusdt@kline_15m", "NONSENSE"]
            await say(stream, "UNSUBSCRIBE", "btcusdt@kline_15m")
            assert (await say(stream, "LIST_SUBSCRIPTIONS"))["result"] == ["NONSENSE"]
            await say(stream, "SET_PROPERTY", "combined", True)
            await say(stream, "SUBSCRIBE", "ethusdt@markPrice@1s")
            frame = await hear(stream)
            assert frame["stream"] == "ethusdt@markPrice@1s"

    asyncio.run(check())


@pytest.mark.parametrize(
    ("path", "event"),
    [
        ("/market/ws/btcusdt@kline_1h", "kline"),
        ("/market/ws/btcusdt@kline_1h/ethusdt@kline_1h", "kline"),
        ("/market/stream?streams=btcusdt@kline_1h/ethusdt@kline_1h", "kline"),
        ("/public/ws/btcusdt@bookTicker", "bookTicker"),
        ("/public/stream?streams=!bookTicker", "bookTicker"),
        ("/ws/btcusdt@bookTicker", "bookTicker"),
        ("/stream?streams=btcusdt@depth5@100ms", "depthUpdate"),
    ],
)
def test_streams_can_be_named_in_the_path(served: ServedExchange, path: str, event: str) -> None:
    async def check() -> None:
        async with at(served) as session, session.ws_connect(path) as stream:
            frame = await hear(stream)
            assert ("stream" in frame) == ("streams=" in path)
            assert frame.get("data", frame)["e"] == event

    asyncio.run(check())


def test_the_account_is_heard_by_listen_key_in_every_form(served: ServedExchange) -> None:
    async def check() -> None:
        async with at(served) as session:
            key = (await ask(session, "POST", "/fapi/v1/listenKey"))[1]["listenKey"]
            forms = (f"/private/ws/{key}", f"/private/ws?listenKey={key}", f"/private/stream?listenKey={key}",
                     f"/private/ws?listenKey={key}&events=ACCOUNT_UPDATE")  # fmt: skip
            streams = [await session.ws_connect(form) for form in forms]
            silent = [
                await session.ws_connect(form)
                for form in ("/private/ws/" + "x" * 64, f"/ws/{key}", f"/market/ws/{key}")
            ]
            order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.010"}
            assert (await signed(session, "POST", "/fapi/v1/order", **order))[0] == 200
            first = [await hear(stream) for stream in streams]
            assert [frame.get("data", frame)["e"] for frame in first] == ["TRADE_LITE"] * 3 + ["ACCOUNT_UPDATE"]
            assert first[2]["stream"] == key
            await ask(session, "DELETE", "/fapi/v1/listenKey")
            frame: dict[str, Any] = {}
            while frame.get("e") != "listenKeyExpired":
                frame = await hear(streams[0])
            for stream in silent:
                assert (await say(stream, "LIST_SUBSCRIPTIONS"))["id"] == 77, "alive, and had nothing to say before"
            for stream in (*streams, *silent):
                await stream.close()

    asyncio.run(check())


def test_too_many_control_frames_end_the_connection_with_1008(served: ServedExchange) -> None:
    async def check() -> None:
        async with at(served) as session, session.ws_connect("/market/ws") as stream:
            for number in range(40):
                await stream.send_json({"method": "LIST_SUBSCRIPTIONS", "id": number})
            answered = 0
            while (message := await stream.receive(10)).type is aiohttp.WSMsgType.TEXT:
                answered += 1
            assert answered == 15
            assert message.type is aiohttp.WSMsgType.CLOSE
            assert message.data == 1008

    asyncio.run(check())


def test_the_1025th_stream_ends_the_connection_with_1008(served: ServedExchange) -> None:
    async def check() -> None:
        async with at(served) as session, session.ws_connect("/market/ws") as stream:
            for part in range(6):
                await say(stream, "SUBSCRIBE", *(f"s{part}x{number}@kline_1m" for number in range(170)))
            reply = await say(stream, "SUBSCRIBE", *(f"more{number}@kline_1m" for number in range(10)))
            assert reply["error"]["code"] == 4
            message = await stream.receive(10)
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1008)

    asyncio.run(check())


def test_pings_are_answered_and_plain_requests_on_stream_paths_refused(served: ServedExchange) -> None:
    async def check() -> None:
        async with at(served) as session:
            async with session.ws_connect("/market/ws", autoping=False) as stream:
                await stream.ping(b"12345")
                message = await stream.receive(10)
                assert (message.type, message.data) == (aiohttp.WSMsgType.PONG, b"12345")
                await stream.send_bytes(b"\xff\xfe")
                assert (await hear(stream))["error"]["code"] == 3
            assert (await ask(session, "GET", "/market/ws"))[0] == 404
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await session.ws_connect("/market/none")

    asyncio.run(check())


def test_limits_answer_429_then_418_with_the_time_to_wait() -> None:
    exchange = serve_in_thread(
        ExchangeConfig(
            symbols="BTCUSDT", api_key=KEY, api_secret=SECRET, request_weight_max=1000, orders_ten_seconds_max=2
        )
    )

    async def check() -> None:
        async with at(exchange) as session:
            order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.010"}
            told = [await signed(session, "POST", "/fapi/v1/order", **order) for _ in range(5)]
            assert (429, -1015) in [(status, reply.get("code")) for status, reply in told]
            seen: list[int] = []
            while 418 not in seen:
                status, reply, headers = await ask(
                    session, "GET", "/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=1500"
                )
                seen.append(status)
                if status != 200:
                    assert reply["code"] == -1003
                    assert int(headers["Retry-After"]) >= 1
            assert 429 in seen

    asyncio.run(check())
    exchange.stop()


def test_time_is_told_paused_and_resumed_by_its_own_paths(served: ServedExchange) -> None:
    async def check() -> None:
        async with at(served) as session:
            told = (await ask(session, "GET", "/qt/clock"))[1]
            assert {"anchor_exchange_ms", "anchor_unix_ms", "speed", "paused", "market"} <= set(told)
            assert (told["speed"], told["paused"], told["market"]) == (3600.0, False, "synthetic:3")
            assert told["account"] == served.account
            assert (await ask(session, "POST", "/qt/pause"))[1]["paused"] is True
            first, second = [(await ask(session, "GET", "/fapi/v1/time"))[1]["serverTime"] for _ in range(2)]
            assert first == second
            assert (await ask(session, "POST", "/qt/resume"))[1]["paused"] is False

    asyncio.run(check())


def test_bad_settings_are_told_in_one_line_with_exit_code_2(tmp_path: Path) -> None:
    lines: list[str] = []
    assert run(ExchangeConfig(replay=str(tmp_path / "none")), complain=lines.append) == 2
    (tmp_path / "rules.json").write_text('{"symbols": [{"symbol": "A"}]}')
    assert run(ExchangeConfig(exchange_info=str(tmp_path / "rules.json")), complain=lines.append) == 2
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert run(ExchangeConfig(symbols="BTCUSDT", port=taken.getsockname()[1]), complain=lines.append) == 1
    assert len(lines) == 3
    assert not any("\n" in line for line in lines)
    with pytest.raises(MarketDataError):
        serve_in_thread(ExchangeConfig(replay=str(tmp_path / "none")))


def test_an_embedded_exchange_leaves_no_thread_and_comes_back_with_its_account(tmp_path: Path) -> None:
    candles = folder(tmp_path / "candles", ["BTCUSDT"], 400)
    config = ExchangeConfig(
        replay=str(candles), start_ms=START_MS + 86_400_000, speed=60.0, api_key=KEY, api_secret=SECRET,
        state_path=str(tmp_path / "state"),
    )  # fmt: skip

    async def buy(exchange: ServedExchange) -> Any:
        async with at(exchange) as session:
            await signed(session, "POST", "/fapi/v1/order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="1")
            return (await signed(session, "GET", "/fapi/v3/positionRisk"))[1]

    async def look(exchange: ServedExchange) -> Any:
        async with at(exchange) as session:
            return (await signed(session, "GET", "/fapi/v3/positionRisk"))[1]

    exchange = serve_in_thread(config)
    before = asyncio.run(buy(exchange))
    exchange.stop()
    exchange.stop()
    now = exchange.market.now_ms
    again = serve_in_thread(config)
    after = asyncio.run(look(again))
    again.stop()
    assert [(one["positionAmt"], one["entryPrice"]) for one in after] == [
        (one["positionAmt"], one["entryPrice"]) for one in before
    ]
    assert again.market.now_ms >= now


SERVE = """
import sys, msgspec
from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.entry import run
raise SystemExit(run(msgspec.json.decode(sys.argv[1], type=ExchangeConfig), lambda line: print(line, flush=True)))
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_has_forgotten_nothing_that_anybody_was_told(tmp_path: Path, ending: signal.Signals) -> None:
    config = ExchangeConfig(
        symbols="BTCUSDT,ETHUSDT", speed=600.0, api_key=KEY, api_secret=SECRET, state_path=str(tmp_path / "state")
    )

    def start() -> tuple[subprocess.Popen[str], int]:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, msgspec.json.encode(config).decode()],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert process.stdout is not None
        line = process.stdout.readline()
        return process, int(line.split("http://127.0.0.1:")[1].split()[0])

    async def trade(port: int) -> list[dict[str, Any]]:
        told = []
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers={"X-MBX-APIKEY": KEY}) as session:
            for number in range(20):
                order = {
                    "symbol": "ETHUSDT",
                    "side": "SELL" if number % 3 else "BUY",
                    "type": "MARKET",
                    "quantity": "0.100",
                }
                told.append((await signed(session, "POST", "/fapi/v1/order", **order))[1])
        return told

    async def remembered(port: int) -> tuple[list[Any], list[Any], list[Any]]:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers={"X-MBX-APIKEY": KEY}) as session:
            orders = (await signed(session, "GET", "/fapi/v1/allOrders", symbol="ETHUSDT"))[1]
            balance = (await signed(session, "GET", "/fapi/v3/balance"))[1]
            income = (await signed(session, "GET", "/fapi/v1/income", limit="1000"))[1]
            return orders, balance, income

    process, port = start()
    told = asyncio.run(trade(port))
    process.send_signal(ending)
    assert process.wait(10) == (-ending if ending is signal.SIGKILL else 0)
    process.stdout.close()
    process, port = start()
    orders, balance, income = asyncio.run(remembered(port))
    process.send_signal(signal.SIGTERM)
    process.wait(10)
    process.stdout.close()
    assert [order["orderId"] for order in orders] == [order["orderId"] for order in told]
    assert all(order["status"] == "FILLED" for order in orders)
    usdt = next(row for row in balance if row["asset"] == "USDT")
    assert float(usdt["balance"]) == pytest.approx(sum(float(row["income"]) for row in income), abs=1e-8)
