"""A clock that jumps, maintenance, the exchange of before, and how faults are ordered."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.faults.fault import Fault
from qt_actors.exchange.server import serve_in_thread
from tests.fault_client import ORDER, Client, hear

if TYPE_CHECKING:
    from pathlib import Path


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
