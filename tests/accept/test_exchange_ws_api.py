"""The WebSocket API of the embedded exchange, by hand and by python-binance: envelopes, signatures, refusals."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from binance import AsyncClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.server import serve_in_thread
from qt_actors.exchange.ws_api import METHODS
from tests.exchange_client import KEY, SECRET, ask, at, signed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qt_actors.exchange.server import ServedExchange

PATH = "/ws-fapi/v1"
BUY = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.010"}


@pytest.fixture(scope="module")
def served() -> Iterator[ServedExchange]:
    exchange = serve_in_thread(
        ExchangeConfig(
            symbols=("BTCUSDT", "ETHUSDT"), seed=3, api_key=KEY, api_secret=SECRET,
            request_weight_max=10**9, orders_minute_max=10**6, orders_ten_seconds_max=10**6,
        )
    )  # fmt: skip
    yield exchange
    exchange.stop()


def sign(params: dict[str, Any]) -> dict[str, Any]:
    text = "&".join(f"{name}={value}" for name, value in sorted(params.items()))
    return {**params, "signature": hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()}


async def call(stream: aiohttp.ClientWebSocketResponse, method: str, number: Any = 1, **params: Any) -> Any:
    await stream.send_json({"id": number, "method": method, "params": params})
    message = await stream.receive(10)
    assert message.type is aiohttp.WSMsgType.TEXT, message
    return json.loads(message.data)


async def far_price(session: aiohttp.ClientSession) -> str:
    price = float((await ask(session, "GET", "/fapi/v2/ticker/price?symbol=BTCUSDT"))[1]["price"])
    return f"{price * 0.97:.1f}"


async def now(session: aiohttp.ClientSession) -> int:
    return (await ask(session, "GET", "/fapi/v1/time"))[1]["serverTime"]


def test_an_order_lives_and_dies_over_the_socket_as_over_rest(served: ServedExchange) -> None:
    async def check() -> None:
        async with at(served) as session, session.ws_connect(PATH) as stream:
            price = await far_price(session)
            keyed = {"apiKey": KEY, "timestamp": await now(session)}
            placed = await call(stream, "order.place", "|1|", **sign({**BUY, "price": price, **keyed}))
            assert (placed["id"], placed["status"], placed["result"]["status"]) == ("|1|", 200, "NEW")
            assert [(row["rateLimitType"], row["interval"], row["count"]) for row in placed["rateLimits"]][:2] == [
                ("ORDERS", "SECOND", 1), ("ORDERS", "MINUTE", 1),
            ]  # fmt: skip
            named = {"symbol": "BTCUSDT", "orderId": placed["result"]["orderId"], **keyed}
            seen = await call(stream, "order.status", 2**40, **sign(named))
            assert (seen["id"], seen["result"]["origQty"]) == (2**40, "0.010")
            assert [row["rateLimitType"] for row in seen["rateLimits"]] == ["REQUEST_WEIGHT"]
            assert (await signed(session, "GET", "/fapi/v1/openOrders", symbol="BTCUSDT"))[1][0]["orderId"] == (
                placed["result"]["orderId"]
            )
            changed = {**named, "side": "BUY", "quantity": "0.020", "price": price}
            assert (await call(stream, "order.modify", **sign(changed)))["result"]["origQty"] == "0.020"
            quiet = await call(stream, "order.cancel", None, **sign({**named, "returnRateLimits": "false"}))
            assert (quiet["id"], quiet["result"]["status"], "rateLimits" in quiet) == (None, "CANCELED", False)
            gone = await call(stream, "order.cancel", **sign(named))
            assert (gone["status"], gone["error"]) == (400, {"code": -2011, "msg": "Unknown order sent."})

    asyncio.run(check())


def test_replies_have_the_shape_of_the_recorded_ones(served: ServedExchange, real_data: Path) -> None:
    samples = real_data / "message_samples" / "binance_net" / "Socket" / "UsdFutures"

    def recorded(name: str) -> Any:
        return json.loads((samples / f"{name}.txt").read_text(encoding="utf-8-sig").split("\n=", 1)[1])

    async def check() -> None:
        async with at(served) as session, session.ws_connect(PATH) as stream:
            keyed = {"apiKey": KEY, "timestamp": await now(session)}
            order = {**BUY, "price": await far_price(session), **keyed}
            stop = {"symbol": "BTCUSDT", "side": "SELL", "algoType": "CONDITIONAL", "type": "STOP_MARKET",
                    "quantity": "0.010", "triggerPrice": order["price"], **keyed}  # fmt: skip
            bought = sign({**keyed, "symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.010"})
            await call(stream, "order.place", **bought)
            gone = {"avgPrice", "cumQuote", "activatePrice", "priceRate"}
            for method, params, name, expected in (
                ("order.place", sign(order), "Trading/PlaceOrder", gone),
                ("algoOrder.place", sign(stop), "Trading/PlaceConditionalOrder", set()),
                ("v2/account.balance", sign(keyed), "Account/GetBalances", set()),
                ("v2/account.status", sign(keyed), "Account/GetAccountInfo", set()),
                ("v2/account.position", sign(keyed), "Trading/GetPositions", set()),
                ("depth", {"symbol": "BTCUSDT"}, "ExchangeData/GetOrderBook", set()),
                ("ticker.price", {"symbol": "BTCUSDT"}, "ExchangeData/GetPrice", set()),
                ("ticker.price", {}, "ExchangeData/GetPrices", set()),
                ("ticker.book", {"symbol": "BTCUSDT"}, "ExchangeData/GetBookPrice", set()),
                ("ticker.book", {}, "ExchangeData/GetBookPrices", set()),
            ):
                ours, theirs = await call(stream, method, **params), recorded(name)
                assert set(ours) == set(theirs), method
                mine, real = ours["result"], theirs["result"]
                if isinstance(real, list):
                    mine, real = mine[0], real[0]
                newer = {"activatePrice", "callbackRate"} if method.startswith("algo") else set()
                assert set(real) - set(mine) <= expected, method
                assert set(mine) - set(real) == newer, method
                assert {key for key in mine if key in real and type(mine[key]) is not type(real[key])} == set(), method
                kinds = [(row["rateLimitType"], row["interval"], row["intervalNum"]) for row in theirs["rateLimits"]]
                if not method.startswith("algo"):  # their sample of it came before it counted as an order
                    assert [(r["rateLimitType"], r["interval"], r["intervalNum"]) for r in ours["rateLimits"]] == kinds

    asyncio.run(check())


def test_a_listen_key_is_started_pinged_and_stopped(served: ServedExchange) -> None:
    async def check() -> None:
        async with at(served) as session, session.ws_connect(PATH) as stream:
            key = (await call(stream, "userDataStream.start", apiKey=KEY))["result"]["listenKey"]
            assert (await call(stream, "userDataStream.ping", apiKey=KEY))["result"] == {"listenKey": key}
            async with session.ws_connect(f"/private/ws/{key}") as account:
                keyed = {"apiKey": KEY, "timestamp": await now(session)}
                bought = {**keyed, "symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.010"}
                await call(stream, "order.place", **sign(bought))
                assert (await account.receive_json())["e"] == "TRADE_LITE"
            assert (await call(stream, "userDataStream.stop", apiKey=KEY))["result"] == {}
            assert (await call(stream, "userDataStream.ping", apiKey=KEY))["error"]["code"] == -1125

    asyncio.run(check())


def test_what_is_wrong_with_a_request_has_its_code_and_the_socket_lives_on(served: ServedExchange) -> None:
    async def check() -> None:
        async with at(served) as session, session.ws_connect(PATH) as stream:
            keyed = {"apiKey": KEY, "timestamp": await now(session)}
            for method, params, status, code in (
                ("order.place", sign({**keyed, **BUY, "type": "STOP"}), 400, -4120),
                ("order.place", {**BUY, **keyed}, 400, -1102),
                ("order.place", {**sign({**BUY, **keyed}), "quantity": "9"}, 400, -1022),
                ("order.place", sign({**BUY, "timestamp": keyed["timestamp"]}), 401, -2014),
                ("order.place", sign({**BUY, **keyed, "apiKey": "other"}), 401, -2015),
                ("order.place", sign({**BUY, **keyed, "timestamp": 1}), 400, -1021),
                ("order.place", sign({**BUY, "apiKey": KEY}), 400, -1102),
                ("order.place", {**BUY, "price": [1]}, 400, -1130),
                ("order.place", {**BUY, "price": {"a": 1}}, 400, -1130),
                ("order.place", {**BUY, "\ud800": "1"}, 400, -1130),
                ("depth", {"symbol": "NONE"}, 400, -1121),
                ("depth", {"symbol": "BTCUSDT", "limit": 7}, 400, -4021),
                ("order.nothing", {}, 400, -1020),
                ("session.logon", sign(keyed), 400, -1020),
            ):
                reply = await call(stream, method, "x", **params)
                assert (reply["id"], reply["status"], reply["error"]["code"]) == ("x", status, code), (method, params)
            for raw, code in (
                ("{", -1135), ("[]", -1135), ("null", -1135), ('"x"', -1135), ("[" * 100_000, -1135), ("{}", -1102),
                ('{"method": "depth", "params": []}', -1102), ('{"method": 1}', -1102), ('{"id": {}}', -1100),
                ('{"id": 1.5}', -1100), ('{"id": "' + "x" * 37 + '"}', -1100), ('{"id": "\\ud800"}', -1100),
            ):  # fmt: skip
                await stream.send_str(raw)
                reply = json.loads((await stream.receive(10)).data)
                assert (reply["id"], reply["status"], reply["error"]["code"]) == (None, 400, code), raw
            await stream.send_bytes(b"\xff\xfe")
            assert json.loads((await stream.receive(10)).data)["error"]["code"] == -1135
            assert (await call(stream, "session.status"))["result"]["apiKey"] is None

    asyncio.run(check())


def test_numbers_and_booleans_are_signed_as_they_were_written(served: ServedExchange) -> None:
    async def check() -> None:
        async with at(served) as session, session.ws_connect(PATH) as stream:
            at_ms = await now(session)
            text = (
                f"apiKey={KEY}&quantity=0.0100&reduceOnly=true&side=SELL&symbol=BTCUSDT&timestamp={at_ms}&type=MARKET"
            )
            signature = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
            raw = (
                f'{{"id": 5, "method": "order.place", "params": {{"apiKey": "{KEY}", "quantity": 0.0100, '
                f'"reduceOnly": true, "side": "SELL", "symbol": "BTCUSDT", "timestamp": {at_ms}, "type": "MARKET", '
                f'"price": null, "signature": "{signature}"}}}}'
            )
            await stream.send_str(raw)
            reply = json.loads((await stream.receive(10)).data)
            assert reply.get("error", {"code": 0})["code"] in {0, -2022}, "signed right: sold, or nothing to reduce"

    asyncio.run(check())


def test_limits_are_shared_with_rest_and_told_in_the_error() -> None:
    exchange = serve_in_thread(ExchangeConfig(symbols="BTCUSDT", api_key=KEY, api_secret=SECRET, request_weight_max=40))

    async def check() -> None:
        async with at(exchange) as session, session.ws_connect(PATH) as stream:
            first = await call(stream, "ticker.price", symbol="BTCUSDT")
            told = first["rateLimits"][0]["count"]
            assert told >= 6, "five for the handshake"
            _, _, headers = await ask(session, "GET", "/fapi/v1/ping")
            assert int(headers["X-MBX-USED-WEIGHT-1M"]) in {told + 1, 1}
            reply = first
            while reply["status"] == 200:
                reply = await call(stream, "depth", symbol="BTCUSDT", limit=1000)
            assert (reply["status"], reply["error"]["code"]) == (429, -1003)
            assert reply["error"]["data"]["retryAfter"] > reply["error"]["data"]["serverTime"]

    try:
        asyncio.run(check())
    finally:
        exchange.stop()


def test_a_connection_may_ask_for_no_rate_limits_and_a_request_for_them_again(served: ServedExchange) -> None:
    async def check() -> None:
        async with at(served) as session, session.ws_connect(f"{PATH}?returnRateLimits=false") as stream:
            assert "rateLimits" not in await call(stream, "ticker.price", symbol="BTCUSDT")
            assert "rateLimits" not in await call(stream, "order.nothing")
            assert "rateLimits" in await call(stream, "ticker.price", symbol="BTCUSDT", returnRateLimits=True)
            assert (await call(stream, "session.status"))["result"]["returnRateLimits"] is False

    asyncio.run(check())


def test_more_than_five_pings_a_second_end_the_connection(served: ServedExchange) -> None:
    async def check() -> None:
        async with at(served) as session, session.ws_connect(PATH, autoping=False) as stream:
            for _ in range(7):
                await stream.ping(b"1")
            kinds = [(await stream.receive(10)) for _ in range(6)]
            assert [message.type for message in kinds[:5]] == [aiohttp.WSMsgType.PONG] * 5
            assert (kinds[5].type, kinds[5].data) == (aiohttp.WSMsgType.CLOSE, 1008)

    asyncio.run(check())


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["BTCUSDT", "BUY", "LIMIT", "GTC", "0.01", "CONDITIONAL", "false"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip
NAMES = [
    "symbol",
    "side",
    "type",
    "quantity",
    "price",
    "timeInForce",
    "limit",
    "orderId",
    "algoId",
    "algoType",
    "triggerPrice",
    "returnRateLimits",
]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(sorted(METHODS)) | st.text(max_size=5),
    params=st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=5) | VALUES,
    number=VALUES,
    proven=st.booleans(),
)
def test_no_request_makes_it_stumble(
    served: ServedExchange, method: str, params: Any, number: Any, *, proven: bool
) -> None:
    """Any JSON, signed or not: one frame back, with a status below 500, and the socket lives on."""

    async def check() -> None:
        async with at(served) as session, session.ws_connect(PATH) as stream:
            sent = params
            if proven and isinstance(params, dict):
                sent = sign({**params, "apiKey": KEY, "timestamp": await now(session)})
            await stream.send_json({"id": number, "method": method, "params": sent})
            reply = json.loads((await stream.receive(10)).data)
            assert reply["status"] < 500, reply
            assert ("error" in reply) == (reply["status"] != 200)
            assert (await call(stream, "ticker.price", "after"))["id"] == "after"

    asyncio.run(check())


def test_python_binance_trades_over_it_unmodified(served: ServedExchange, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, path in (("API_URL", "/api"), ("FUTURES_URL", "/fapi")):
        monkeypatch.setattr(f"binance.base_client.BaseClient.{name}", f"http://127.0.0.1:{served.port}{path}")
    monkeypatch.setattr("binance.base_client.BaseClient.WS_FUTURES_URL", f"ws://127.0.0.1:{served.port}{PATH}")

    async def check() -> None:
        client = await AsyncClient.create(KEY, SECRET)
        try:
            book = await client.ws_futures_get_order_book(symbol="BTCUSDT", limit=5)
            assert len(book["bids"]) == 5
            price = f"{float(book['bids'][0][0]) * 0.97:.1f}"
            placed = await client.ws_futures_create_order(**BUY, price=price)
            named = {"symbol": "BTCUSDT", "orderId": placed["orderId"]}
            assert (await client.ws_futures_get_order(**named))["status"] == "NEW"
            changed = await client.ws_futures_edit_order(**named, side="BUY", quantity="0.020", price=price)
            assert changed["origQty"] == "0.020"
            for read in (  # while an order rests: v2 tells positions of symbols in use only
                client.ws_futures_v2_account_balance, client.ws_futures_account_balance,
                client.ws_futures_v2_account_status, client.ws_futures_account_status,
                client.ws_futures_v2_account_position, client.ws_futures_account_position,
                client.ws_futures_get_all_tickers, client.ws_futures_get_order_book_ticker,
            ):  # fmt: skip
                assert await read()
            assert (await client.ws_futures_cancel_order(**named))["status"] == "CANCELED"
            stop = await client.ws_futures_create_order(
                symbol="BTCUSDT", side="SELL", type="STOP_MARKET", quantity="0.010", stopPrice=price
            )
            assert stop["algoStatus"] == "NEW"
            assert (await client.ws_futures_cancel_algo_order(algoId=stop["algoId"]))["code"] == "200"
        finally:
            await client.close_connection()
            await client.ws_future.close()

    asyncio.run(check())
