"""The exchange on a virtual clock, without sockets, and its time moved by HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import aiohttp
import pytest

from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.errors import ExchangeError
from qt_actors.exchange.server import ExchangeServer
from qt_actors.exchange.virtual import VirtualExchange
from tests.candle_folders import HOUR_MS, MINUTE_MS, START_MS, folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Ask = Callable[[str, str, dict[str, str]], Awaitable[Any]]

BAR = 15 * MINUTE_MS
DAY = 96
SYMBOLS = ("AUSDT", "BUSDT", "CUSDT")
BEGIN = START_MS + 2 * DAY * BAR
MONTH = 31 * DAY


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("month") / "candles", SYMBOLS, MONTH + 3 * DAY)


def config(candles: Path, **changes: Any) -> ExchangeConfig:
    settings = {"replay": str(candles), "start_ms": BEGIN, "detail": 2, "request_weight_max": 10**6}
    return ExchangeConfig(**{**settings, "orders_minute_max": 10**6, "orders_ten_seconds_max": 10**6, **changes})


async def trade(ask: Ask, hour: int) -> None:
    """What a simple trader does on the hour: enters with a stop and a resting target, leaves after a day."""
    symbol = SYMBOLS[hour % 3]
    own = [row for row in await ask("GET", "/fapi/v3/positionRisk", {"symbol": symbol}) if float(row["positionAmt"])]
    if own and hour % 24 == hour % 3:
        await ask("DELETE", "/fapi/v1/allOpenOrders", {"symbol": symbol})
        await ask("DELETE", "/fapi/v1/algoOpenOrders", {"symbol": symbol})
        side = "SELL" if float(own[0]["positionAmt"]) > 0 else "BUY"
        order = {"symbol": symbol, "side": side, "type": "MARKET", "quantity": own[0]["positionAmt"].lstrip("-")}
        await ask("POST", "/fapi/v1/order", {**order, "reduceOnly": "true"})
    elif not own:
        candle = (await ask("GET", "/fapi/v1/klines", {"symbol": symbol, "interval": "1h", "limit": "2"}))[0]
        up = float(candle[4]) > float(candle[1])
        entry = {"symbol": symbol, "side": "BUY" if up else "SELL", "type": "MARKET", "quantity": "3"}
        await ask("POST", "/fapi/v1/order", entry)
        last, exit_side = float(candle[4]), "SELL" if up else "BUY"
        stop, target = f"{last * (0.97 if up else 1.03):.2f}", f"{last * (1.02 if up else 0.98):.2f}"
        guard = {"symbol": symbol, "side": exit_side, "quantity": "3", "reduceOnly": "true"}
        await ask("POST", "/fapi/v1/algoOrder", {**guard, "algoType": "CONDITIONAL", "type": "STOP_MARKET",
                                                 "triggerPrice": stop, "workingType": "MARK_PRICE"})  # fmt: skip
        await ask("POST", "/fapi/v1/order", {**guard, "type": "LIMIT", "timeInForce": "GTC", "price": target})


async def ledger(ask: Ask) -> Any:
    fills = [await ask("GET", "/fapi/v1/userTrades", {"symbol": symbol, "limit": "1000"}) for symbol in SYMBOLS]
    return fills, await ask("GET", "/fapi/v1/income", {"limit": "1000"}), await ask("GET", "/fapi/v2/balance", {})


@contextlib.asynccontextmanager
async def serving(candles: Path) -> AsyncIterator[Ask]:
    server = ExchangeServer(config(candles, paused=True))
    port = await server.start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers={"X-MBX-APIKEY": "paper"}) as session:

        async def ask(method: str, path: str, params: dict[str, str]) -> Any:
            if path.startswith("/fapi/"):
                query = urlencode({**params, "timestamp": str(server.exchange.clock.now_ms())})
                signature = hmac.new(b"paper", query.encode(), hashlib.sha256).hexdigest()
                path = f"{path}?{query}&signature={signature}"
                params = {}
            async with session.request(method, path, params=params) as reply:
                return await reply.json()

        try:
            yield ask
        finally:
            await server.stop()


def over_loopback(candles: Path, check: Callable[[Ask], Awaitable[None]]) -> None:
    """Run a check against a served exchange whose time stands still."""

    async def run() -> None:
        async with serving(candles) as served:
            await check(served)

    asyncio.run(run())


def in_process(exchange: VirtualExchange) -> Ask:
    async def ask(method: str, path: str, params: dict[str, str]) -> Any:
        try:
            return exchange.request(method, path, **params)
        except ExchangeError as refused:
            return {"code": refused.code, "msg": refused.msg}

    return ask


def test_a_month_without_a_socket_gets_the_fills_of_the_same_month_over_loopback(candles: Path) -> None:
    async def check(served: Ask) -> None:
        alone = VirtualExchange(config(candles))
        alone.subscribe(*(f"{symbol.lower()}@kline_15m" for symbol in SYMBOLS))
        ask, closed, fills = in_process(alone), [], 0
        for hour in range(MONTH // 4):
            await trade(ask, hour)
            for told in alone.advance(BEGIN + (hour + 1) * HOUR_MS):
                fills += told["stream"] == "account" and told["data"]["e"] == "TRADE_LITE"
                if told["data"].get("e") == "kline" and told["data"]["k"]["x"]:
                    closed.append((told["data"]["k"]["t"], told["data"]["s"]))
        assert closed == [(BEGIN + bar * BAR, symbol) for bar in range(MONTH) for symbol in SYMBOLS]
        assert fills > 100
        for hour in range(MONTH // 4):
            await trade(served, hour)
            clock = await served("POST", "/qt/step", {"ms": str(HOUR_MS)})
            assert clock["market_ms"] == clock["now_ms"] == BEGIN + (hour + 1) * HOUR_MS
        assert await ledger(ask) == await ledger(served)

    over_loopback(candles, check)


def test_a_step_is_a_bar_and_time_stands_still_after_it(candles: Path) -> None:
    async def check(served: Ask) -> None:
        assert (await served("POST", "/qt/step", {"ms": "1000"}))["now_ms"] == BEGIN + 1000
        assert (await served("POST", "/qt/step", {}))["now_ms"] == BEGIN + BAR
        clock = await served("POST", "/qt/step", {"bars": "3"})
        assert (clock["now_ms"], clock["paused"]) == (BEGIN + 4 * BAR, True)
        assert (await served("GET", "/qt/clock", {}))["now_ms"] == BEGIN + 4 * BAR

    over_loopback(candles, check)


def test_seeking_forward_is_time_that_passes_and_back_needs_a_flat_account(candles: Path) -> None:
    async def check(served: Ask) -> None:
        order = {"symbol": "AUSDT", "side": "BUY", "type": "MARKET", "quantity": "3"}
        await served("POST", "/fapi/v1/order", order)
        before = await served("GET", "/fapi/v1/klines", {"symbol": "AUSDT", "interval": "15m", "limit": "3"})
        clock = await served("POST", "/qt/seek", {"to": str(BEGIN + DAY * BAR + 5)})
        assert clock["market_ms"] == BEGIN + DAY * BAR + 5
        kinds = [row["incomeType"] for row in await served("GET", "/fapi/v1/income", {})]
        assert kinds.count("FUNDING_FEE") == 3
        assert (await served("POST", "/qt/seek", {"to": str(BEGIN)}))["code"] == -4068
        await served("POST", "/fapi/v1/order", {**order, "side": "SELL", "reduceOnly": "true"})
        resting = {**order, "type": "LIMIT", "timeInForce": "GTC", "price": "30"}
        placed = await served("POST", "/fapi/v1/order", resting)
        assert (await served("POST", "/qt/seek", {"to": str(BEGIN)}))["code"] == -4067
        await served("DELETE", "/fapi/v1/order", {"symbol": "AUSDT", "orderId": str(placed["orderId"])})
        assert (await served("POST", "/qt/seek", {"to": str(BEGIN)}))["now_ms"] == BEGIN
        again = await served("GET", "/fapi/v1/klines", {"symbol": "AUSDT", "interval": "15m", "limit": "3"})
        assert again == before
        assert (await served("POST", "/fapi/v1/order", order))["status"] == "NEW"

    over_loopback(candles, check)


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/qt/seek", {}), ("/qt/seek", {"to": "5"}), ("/qt/seek", {"to": "x"}), ("/qt/step", {"bars": "0"}),
        ("/qt/step", {"ms": "-1"}), ("/qt/speed", {"value": "0"}), ("/qt/speed", {"value": "1e9"}), ("/qt/speed", {}),
    ],
)  # fmt: skip
def test_a_time_that_cannot_be_is_refused(candles: Path, path: str, params: dict[str, str]) -> None:
    async def check(served: Ask) -> None:
        assert (await served("POST", path, params))["code"] < 0
        assert (await served("GET", "/qt/clock", {}))["now_ms"] == BEGIN

    over_loopback(candles, check)


def test_speed_changes_while_it_runs_up_to_as_fast_as_it_can(candles: Path) -> None:
    async def check(served: Ask) -> None:
        assert (await served("POST", "/qt/speed", {"value": "1000000"}))["speed"] == 1_000_000
        await served("POST", "/qt/resume", {})
        while not (clock := await served("GET", "/qt/clock", {}))["ended"]:
            assert clock["now_ms"] - clock["market_ms"] < DAY * BAR, "time waits for the market"
            await asyncio.sleep(0)
        rows = await served("GET", "/fapi/v1/klines", {"symbol": "AUSDT", "interval": "15m", "limit": "2"})
        assert rows[-1][0] == START_MS + (MONTH + 3 * DAY - 1) * BAR

    over_loopback(candles, check)
