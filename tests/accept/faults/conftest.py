"""One failing exchange, and how a check is run on it: faults are cleared before and after."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.server import serve_in_thread
from tests.fault_client import KEY, SECRET, Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qt_actors.exchange.server import ServedExchange


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
