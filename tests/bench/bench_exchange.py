"""The embedded exchange: orders and quotes in the process, bars walked, orders over HTTP, memory. Prints JSON lines.

Over HTTP the exchange has a process of its own: once python-binance's AsyncClient, unmodified, then bare aiohttp with
requests signed beforehand on one kept-alive socket, one after the other. Run: `python tests/bench/bench_exchange.py`.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import multiprocessing
import re
import resource
import statistics
import sys
import time
from decimal import Decimal
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
from binance import AsyncClient
from yarl import URL

from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.engine import Engine, ExchangeRules, Quote
from qt_actors.exchange.exchange import Exchange
from qt_actors.exchange.server import serve_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

RULES = ExchangeRules.default()
NOW_MS = 1_700_000_000_000
ROUNDS = 5
KEY, SECRET = "bench-key", "bench-secret"
UNIVERSE = Path(__file__).parents[3] / "shared" / "data" / "universe_2025-06-18" / "1m"
HOURS_WALKED = 4
LIMIT = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}
MARKET = {"symbol": "BTCUSDT", "type": "MARKET", "quantity": "0.01"}


def rate(act: Callable[[], object], count: int, per_call: int = 1) -> int:
    """Calls a second: the median of a few rounds, each of `count` calls that do `per_call` things."""
    rates = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(count):
            act()
        rates.append(count * per_call / (time.perf_counter() - began))
    return round(statistics.median(rates))


def tell(**figures: Any) -> None:
    print(json.dumps(figures), flush=True)


# ---- in the process --------------------------------------------------------------------------------------------------


def quotes() -> list[Quote]:
    """BTCUSDT around 60,000, never near the resting orders."""
    tick, size = Decimal("0.1"), Decimal(2)
    prices = [Decimal(60_000) + number * tick for number in range(50)]
    return [Quote("BTCUSDT", NOW_MS, at, at, at, at, at + tick, size, size, Decimal("0.5")) for at in prices]


def desk(resting: int, *, position: bool = False) -> Engine:
    """An engine with that many resting orders, half of them bids."""
    engine = Engine(RULES, wallet=Decimal(10_000_000), now_ms=NOW_MS, emit=lambda _event: None)
    engine.quote(quotes()[0])
    for number in range(resting):
        side, price = ("BUY", 59_000 - number) if number % 2 else ("SELL", 61_000 + number)
        engine.place_order({**LIMIT, "side": side, "price": str(price)}, NOW_MS)
    if position:
        engine.place_order({**MARKET, "side": "BUY"}, NOW_MS)
    return engine


def in_process() -> None:
    for resting in (0, 100):
        engine, book = desk(resting), quotes()[0]

        def round_trip(engine: Engine = engine, book: Quote = book) -> None:
            for side in ("BUY", "SELL"):
                engine.place_order({**MARKET, "side": side}, NOW_MS)
            engine.quote(book)

        def rest_and_cancel(engine: Engine = engine) -> None:
            placed = engine.place_order({**LIMIT, "price": "59500"}, NOW_MS)
            engine.cancel_order({"symbol": "BTCUSDT", "orderId": str(placed["orderId"])}, NOW_MS)

        tell(
            what="in-process orders/s", resting=resting,
            market_filled=rate(round_trip, 1000, 2), limit_placed_and_cancelled=rate(rest_and_cancel, 1000),
        )  # fmt: skip
        for position in (False, True):
            held, market = desk(resting, position=position), cycle(quotes())
            heard = rate(lambda held=held, market=market: held.quote(next(market)), 20_000)
            tell(what="in-process quotes/s", resting=resting, position=position, quotes=heard)


def walked() -> None:
    """Bars of all symbols walked as fast as they can, every price point handed to the engine."""
    replay = str(UNIVERSE) if UNIVERSE.is_dir() else None
    exchange = Exchange(ExchangeConfig(replay=replay, speed=60.0, paused=True))
    market, span = exchange.market, HOURS_WALKED * 3_600_000
    began = time.perf_counter()
    market.advance(market.now_ms + span, exchange)
    took = time.perf_counter() - began
    bars = len(market.symbols) * span // market.interval_ms
    tell(
        what="in-process bars/s", symbols=len(market.symbols), interval_s=market.interval_ms // 1000,
        points_per_bar=market.points_per_bar, bars=round(bars / took), times_real_time=round(span / 1000 / took),
        peak_rss_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    )  # fmt: skip


# ---- over HTTP -------------------------------------------------------------------------------------------------------


def serve(talk: Connection, replay: str | None) -> None:
    """An exchange in a process of its own: says its port, and its peak memory when asked to end."""
    limits = {"request_weight_max": 10**9, "orders_minute_max": 10**9, "orders_ten_seconds_max": 10**9}
    served = serve_in_thread(
        ExchangeConfig(replay=replay, api_key=KEY, api_secret=SECRET, wallet=Decimal(10**9), **limits)
    )
    talk.send(served.port)
    talk.recv()
    talk.send(int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text()).group(1)) // 1024)
    served.stop()


def far_below(price: str) -> str:
    """A bid that never fills, on a tick of any size up to 100."""
    return str(int(Decimal(price) * Decimal("0.96")) // 100 * 100)


async def by_python_binance(base: str, count: int) -> dict[str, float]:
    AsyncClient.API_URL, AsyncClient.FUTURES_URL = f"{base}/api", f"{base}/fapi"
    client = await AsyncClient.create(KEY, SECRET)
    try:
        price = far_below((await client.futures_symbol_ticker(symbol="BTCUSDT"))["price"])
        began = time.perf_counter()
        for _ in range(count):
            placed = await client.futures_create_order(**LIMIT, price=price)
            await client.futures_cancel_order(symbol="BTCUSDT", orderId=placed["orderId"])
        rested = 2 * count / (time.perf_counter() - began)
        began = time.perf_counter()
        for side in islice(cycle(("BUY", "SELL")), count):
            await client.futures_create_order(**MARKET, side=side)
        return {"place_or_cancel": round(rested), "market_filled": round(count / (time.perf_counter() - began))}
    finally:
        await client.close_connection()


def signed(path: str, params: dict[str, str], offset_ms: int) -> URL:
    stamped = {**params, "recvWindow": "60000", "timestamp": str(time.time_ns() // 1_000_000 + offset_ms)}
    text = "&".join(f"{name}={value}" for name, value in stamped.items())
    signature = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
    return URL(f"{path}?{text}&signature={signature}", encoded=True)


async def by_raw_load(base: str, count: int) -> dict[str, float]:
    connector = aiohttp.TCPConnector(limit=1)
    async with aiohttp.ClientSession(base, headers={"X-MBX-APIKEY": KEY}, connector=connector) as session:
        offset = (await (await session.get("/fapi/v1/time")).json())["serverTime"] - time.time_ns() // 1_000_000
        found = {}
        for name, method, path, wire in (
            ("market_filled", "POST", "/fapi/v1/order", MARKET),
            ("ping", "GET", "/fapi/v1/ping", None),
        ):
            sides = islice(cycle(("BUY", "SELL")), count)
            urls = [URL(path) if wire is None else signed(path, {**wire, "side": side}, offset) for side in sides]
            waits = []
            began = time.perf_counter()
            for url in urls:
                sent = time.perf_counter()
                async with session.request(method, url) as reply:
                    body = await reply.read()
                    assert reply.status == 200, body
                waits.append(time.perf_counter() - sent)
            found[name] = round(count / (time.perf_counter() - began))
            found[f"{name}_p99_ms"] = round(sorted(waits)[count * 99 // 100] * 1000, 2)
        return found


def over_http(count: int) -> None:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    replay = str(UNIVERSE) if UNIVERSE.is_dir() else None
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, replay), daemon=True)
    process.start()
    base = f"http://127.0.0.1:{ours.recv()}"
    tell(what="HTTP orders/s, python-binance AsyncClient", **asyncio.run(by_python_binance(base, count)))
    tell(what="HTTP requests/s, aiohttp on one socket", **asyncio.run(by_raw_load(base, 2 * count)))
    ours.send("end")
    tell(what="exchange process", peak_rss_mb=ours.recv(), replay=bool(replay))
    process.join(10)


if __name__ == "__main__":
    in_process()
    walked()
    over_http(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
