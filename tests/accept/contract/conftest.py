"""Where the contract cards are played: the embedded exchange, or Binance's testnet with keys.

With QT_CONTRACT_TESTNET=1 and the keys in BINANCE_TESTNET_API_KEY and BINANCE_TESTNET_SECRET_KEY the same cards are
played on the testnet (the last one, which needs known candles, always on an exchange of its own).
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from binance import AsyncClient, Client
from binance.base_client import BaseClient
from binance.ws.streams import BinanceSocketManager

from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.server import serve_in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from qt_actors.exchange.server import ServedExchange

KEY, SECRET = "contract-key", "contract-secret"


@dataclass(frozen=True)
class Venue:
    """Makes python-binance's own, unmodified clients for one venue."""

    key: str
    secret: str
    testnet: bool
    served: ServedExchange | None = None

    @asynccontextmanager
    async def client(self, key: str | None = None, secret: str | None = None) -> AsyncIterator[AsyncClient]:
        client = await AsyncClient.create(key or self.key, secret or self.secret, testnet=self.testnet)
        try:
            yield client
        finally:
            await client.close_connection()

    def blocking_client(self) -> Client:
        client = Client(self.key, self.secret, testnet=self.testnet)
        client.timestamp_offset = client.futures_time()["serverTime"] - _wall_ms()
        return client


def _wall_ms() -> int:
    import time

    return int(time.time() * 1000)


def point_at(port: int, patch: pytest.MonkeyPatch) -> None:
    """Python-binance's URL attributes, set as its users do for a venue of their own."""
    for suffix in ("", "_TESTNET", "_DEMO"):
        api, futures = f"API{suffix}_URL", f"FUTURES{suffix}_URL"
        patch.setattr(BaseClient, api, f"http://127.0.0.1:{port}/api")
        patch.setattr(BaseClient, futures, f"http://127.0.0.1:{port}/fapi")
        patch.setattr(BinanceSocketManager, f"FSTREAM{suffix}_URL", f"ws://127.0.0.1:{port}/")
    for suffix in ("", "_TESTNET"):
        patch.setattr(BaseClient, f"WS_FUTURES{suffix}_URL", f"ws://127.0.0.1:{port}/ws-fapi/v1")
    patch.setattr(BaseClient, "FUTURES_DATA_URL", f"http://127.0.0.1:{port}/futures/data")


@pytest.fixture(scope="package")
def served() -> Iterator[ServedExchange]:
    """One synthetic exchange for all cards, a minute a second."""
    exchange = serve_in_thread(
        ExchangeConfig(
            symbols=("BTCUSDT", "ETHUSDT", "SOLUSDT"), seed=11, speed=60.0, api_key=KEY, api_secret=SECRET,
            request_weight_max=100_000,
        )
    )  # fmt: skip
    yield exchange
    exchange.stop()


@pytest.fixture
def venue(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Venue:
    """The venue the cards are played on."""
    if os.environ.get("QT_CONTRACT_TESTNET") == "1":
        return Venue(os.environ["BINANCE_TESTNET_API_KEY"], os.environ["BINANCE_TESTNET_SECRET_KEY"], testnet=True)
    served: ServedExchange = request.getfixturevalue("served")
    point_at(served.port, monkeypatch)
    return Venue(KEY, SECRET, testnet=False, served=served)
