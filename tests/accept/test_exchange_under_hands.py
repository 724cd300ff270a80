"""Hands on a served exchange: times far away, pauses in the middle of a walk, and requests that break off."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import hmac
import socket
from typing import TYPE_CHECKING

import pytest
from yarl import URL

from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.errors import UNKNOWN_503
from qt_actors.exchange.server import serve_in_thread
from tests.exchange_client import KEY, SECRET, ask, at, signed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qt_actors.exchange.server import ServedExchange

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
YEAR_MS = 365 * 86_400_000


@pytest.fixture
def served() -> Iterator[ServedExchange]:
    exchange = serve_in_thread(
        ExchangeConfig(symbols=("BTCUSDT", "ETHUSDT"), seed=3, paused=True, api_key=KEY, api_secret=SECRET)
    )
    yield exchange
    exchange.stop()


def test_a_pause_ends_a_walk_far_ahead_and_the_clock_is_told_while_it_goes_on(served: ServedExchange) -> None:
    async def check() -> None:
        async with at(served) as session:
            began = (await ask(session, "GET", "/qt/clock"))[1]["market_ms"]
            far = began + 20 * YEAR_MS
            walks = [
                asyncio.create_task(ask(session, "POST", f"/qt/seek?to={far}")),
                asyncio.create_task(ask(session, "POST", "/qt/step?bars=700000")),
            ]
            while (await ask(session, "GET", "/qt/clock"))[1]["market_ms"] == began:
                pass
            assert (await ask(session, "POST", "/qt/pause"))[1]["paused"] is True
            ended = [(await walk)[1] for walk in walks]
            assert all(began < one["now_ms"] < far for one in ended), "they are where the pause met them"
            now = (await ask(session, "GET", "/qt/clock"))[1]["now_ms"]
            assert (await ask(session, "POST", "/qt/step?ms=5000"))[1]["now_ms"] == now + 5000, "and the next one goes"

    asyncio.run(check())


def test_a_moment_nobody_can_mean_is_refused_at_once(served: ServedExchange) -> None:
    async def check() -> None:
        async with at(served) as session:
            began = (await ask(session, "GET", "/qt/clock"))[1]["market_ms"]
            assert (await ask(session, "POST", f"/qt/seek?to={began * 1000}"))[1]["code"] == -1130, "microseconds"
            assert (await ask(session, "POST", "/qt/speed"))[1]["code"] == -1102
            assert (await ask(session, "GET", "/qt/clock"))[1]["market_ms"] == began

    asyncio.run(check())


def test_a_body_that_is_not_what_it_says_or_breaks_off_is_refused_and_fills_no_log(
    served: ServedExchange, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_connection(("127.0.0.1", served.port), 5) as line:
        line.sendall(b"POST /fapi/v1/order HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nsymbol=BTC")
        line.shutdown(socket.SHUT_WR)
        while line.recv(65536):
            pass

    async def check() -> None:
        async with at(served) as session:
            path = "/fapi/v1/order/test"
            status, reply, _ = await ask(
                session, "POST", path, data=b"no gzip", headers={**FORM, "Content-Encoding": "gzip"}, compress=False
            )
            assert (status, reply["code"]) == (400, -1100)
            now = (await ask(session, "GET", "/fapi/v1/time"))[1]["serverTime"]
            text = f"symbol=BTCUSDT&side=BUY&type=MARKET&quantity=0.010&timestamp={now}".encode()
            proof = hmac.new(SECRET.encode(), text, hashlib.sha256).hexdigest().encode()
            body = gzip.compress(text + b"&signature=" + proof)
            status, reply, _ = await ask(
                session, "POST", path, data=body, headers={**FORM, "Content-Encoding": "gzip"}, compress=False
            )
            assert (status, reply.get("symbol")) == (200, "BTCUSDT"), "one that is gzip is read"

    asyncio.run(check())
    assert not [record for record in caplog.records if record.exc_info]


def test_a_parameter_sent_twice_is_refused_rather_than_guessed(served: ServedExchange) -> None:
    async def check() -> None:
        async with at(served) as session:
            now = (await ask(session, "GET", "/fapi/v1/time"))[1]["serverTime"]
            text = f"symbol=BTCUSDT&side=BUY&side=SELL&type=MARKET&quantity=0.010&timestamp={now}"
            proof = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
            url = URL(f"/fapi/v1/order?{text}&signature={proof}", encoded=True)
            status, reply, _ = await ask(session, "POST", url)
            assert (status, reply) == (400, {"code": -1101, "msg": "Duplicate values for a parameter detected."})

    asyncio.run(check())


def test_while_the_disk_keeps_nothing_everyone_is_told_so_and_then_it_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exchange = serve_in_thread(
        ExchangeConfig(symbols=("BTCUSDT",), seed=3, api_key=KEY, api_secret=SECRET, state_path=str(tmp_path / "state"))
    )
    market = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.010"}
    file = exchange._server.exchange._file
    assert file is not None

    async def check() -> None:
        async with at(exchange) as session, session.ws_connect("/ws-fapi/v1") as stream:
            (tmp_path / "state.new").mkdir()  # no snapshot can be written there,
            file.torn = True  # and the log lacks something
            assert await signed(session, "POST", "/fapi/v1/order", **market) == (503, {"msg": UNKNOWN_503})
            assert (await signed(session, "GET", "/fapi/v3/balance"))[0] == 503
            for path in ("pause", "step?ms=5", "seek?to=1767229200000", "speed?value=2"):
                assert (await ask(session, "POST", f"/qt/{path}"))[:2] == (503, {"msg": UNKNOWN_503}), path
            await stream.send_json({"id": 1, "method": "ticker.price", "params": {"symbol": "BTCUSDT"}})
            assert (await stream.receive_json())["status"] == 503
            (tmp_path / "state.new").rmdir()
            assert (await signed(session, "POST", "/fapi/v1/order", **market))[0] == 200
            assert (await ask(session, "POST", "/qt/pause"))[1]["paused"] is True

    asyncio.run(check())
    assert not [record for record in caplog.records if record.exc_info], "one line, no trace"
    exchange.stop()
