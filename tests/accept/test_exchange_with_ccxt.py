"""ccxt's binanceusdm, unmodified, against the embedded exchange: only the addresses it asks are changed.

Its time difference is loaded first, as for any exchange whose clock is not this machine's.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.server import serve_in_thread
from tests.exchange_client import KEY, SECRET

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

ccxt = pytest.importorskip("ccxt")
BTC = "BTC/USDT:USDT"


def pointed_at(addresses: dict[str, Any], port: int) -> None:
    """Every address of a client, its path kept, on the served exchange."""
    for name, address in addresses.items():
        if isinstance(address, dict):
            pointed_at(address, port)
        elif isinstance(address, str):
            scheme = "ws" if address.startswith("ws") else "http"
            addresses[name] = f"{scheme}://127.0.0.1:{port}{urlsplit(address).path}"


@pytest.fixture
def port() -> Iterator[int]:
    exchange = serve_in_thread(
        ExchangeConfig(symbols=("BTCUSDT", "ETHUSDT"), seed=3, speed=60.0, api_key=KEY, api_secret=SECRET)
    )
    yield exchange.port
    exchange.stop()


@pytest.fixture
def client(port: int) -> Any:
    made = ccxt.binanceusdm({"apiKey": KEY, "secret": SECRET, "enableRateLimit": False})
    pointed_at(made.urls["api"], port)
    made.load_time_difference()
    made.options["adjustForTimeDifference"] = True
    made.load_markets()
    return made


def test_it_reads_markets_prices_candles_and_funding(client: Any) -> None:
    market = client.market(BTC)
    assert (market["linear"], market["precision"]["price"], market["limits"]["cost"]["min"]) == (True, 0.1, 100.0)
    assert client.fetch_status()["status"] == "ok"
    ticker = client.fetch_ticker(BTC)
    assert ticker["low"] <= ticker["last"] <= ticker["high"]
    assert set(client.fetch_tickers()) == set(client.fetch_bids_asks()) == {BTC, "ETH/USDT:USDT"}
    book = client.fetch_order_book(BTC, 5)
    assert len(book["bids"]) == len(book["asks"]) == 5
    assert book["bids"][0][0] < book["asks"][0][0]
    candles = client.fetch_ohlcv(BTC, "1h", limit=3)
    assert [after[0] - before[0] for before, after in pairwise(candles)] == [3_600_000] * 2
    for price in ("mark", "index", "premiumIndex"):
        assert [row[0] for row in client.fetch_ohlcv(BTC, "1h", limit=3, params={"price": price})] == [
            row[0] for row in candles
        ]
    trades = client.fetch_trades(BTC, limit=5)
    assert [trade["timestamp"] for trade in trades] == sorted(trade["timestamp"] for trade in trades)
    assert client.fetch_funding_rate(BTC)["fundingTimestamp"] > client.fetch_time()
    assert len(client.fetch_funding_rate_history(BTC, limit=3)) == 3
    assert client.fetch_open_interest(BTC)["openInterestAmount"] > 0
    assert client.fetch_market_leverage_tiers(BTC)[0]["maxLeverage"] >= 100


def test_it_trades_protects_and_closes(client: Any) -> None:
    assert client.fetch_balance()["USDT"]["total"] == 10_000
    client.set_leverage(10, BTC)
    client.set_margin_mode("isolated", BTC)
    assert (client.fetch_leverage(BTC)["longLeverage"], client.fetch_leverage(BTC)["marginMode"]) == (10, "isolated")
    last = client.fetch_ticker(BTC)["last"]
    resting = client.create_order(BTC, "limit", "buy", 0.01, round(last * 0.97, 1))
    assert [order["id"] for order in client.fetch_open_orders(BTC)] == [resting["id"]]
    changed = client.edit_order(resting["id"], BTC, "limit", "buy", 0.02, round(last * 0.97, 1))
    assert changed["amount"] == 0.02
    assert client.cancel_order(resting["id"], BTC)["status"] == "canceled"
    bought = client.create_order(BTC, "market", "buy", 0.01)
    assert (bought["status"], bought["filled"]) == ("closed", 0.01)
    assert client.fetch_order(bought["id"], BTC)["average"] > 0
    assert client.fetch_positions([BTC])[0]["contracts"] == 0.01
    client.add_margin(BTC, 5)
    assert client.fetch_margin_adjustment_history(BTC)[0]["amount"] == 5
    stop = client.create_order(BTC, "market", "sell", 0.01, None, {"stopLossPrice": round(last * 0.95, 1)})
    assert [order["id"] for order in client.fetch_open_orders(BTC, params={"trigger": True})] == [stop["id"]]
    assert client.fetch_open_orders(BTC) == []
    client.cancel_order(stop["id"], BTC, {"trigger": True})
    pair = [{"symbol": BTC, "type": "limit", "side": "buy", "amount": 0.01, "price": round(last * part, 1)}
            for part in (0.96, 0.965)]  # fmt: skip
    placed = client.create_orders(pair)
    gone = client.cancel_orders([order["id"] for order in placed], BTC)
    assert [order["status"] for order in gone] == ["canceled"] * 2
    client.create_order(BTC, "market", "sell", 0.01, None, {"reduceOnly": True})
    assert client.fetch_positions([BTC]) == []
    trades = client.fetch_my_trades(BTC)
    assert [trade["side"] for trade in trades] == ["buy", "sell"]
    fees = sum(trade["fee"]["cost"] for trade in trades)
    told = sum(
        float(row["info"]["income"]) for row in client.fetch_ledger() if row["info"]["incomeType"] == "COMMISSION"
    )
    assert told == pytest.approx(-fees)


def test_refusals_reach_it_with_their_codes(client: Any) -> None:
    last = client.fetch_ticker(BTC)["last"]
    with pytest.raises(ccxt.ExchangeError, match="-2019"):
        client.create_order(BTC, "market", "buy", 100)
    with pytest.raises(ccxt.OrderNotFound, match="-2011"):
        client.cancel_order("99999999", BTC)
    with pytest.raises(ccxt.ExchangeError, match="-5022"):
        client.create_order(BTC, "limit", "buy", 0.01, round(last * 1.01, 1), {"postOnly": True})
    client.secret = "wrong"
    with pytest.raises(ccxt.AuthenticationError, match="-1022"):
        client.fetch_balance()


async def hears(client: Any, watching: Awaitable[Any]) -> list[Any]:
    """What a user stream says of orders that are placed until it has said something."""
    task = asyncio.ensure_future(watching)
    for _ in range(40):
        await client.create_order(BTC, "market", "buy", 0.01)
        done, _ = await asyncio.wait({task}, timeout=0.5)
        if done:
            return list(task.result())
    return pytest.fail("the stream stayed silent")


def test_its_streams_and_its_websocket_orders_work_too(port: int) -> None:
    pro = pytest.importorskip("ccxt.pro")

    async def trade(client: Any) -> None:
        await client.load_time_difference()
        client.options["adjustForTimeDifference"] = True
        ticker, candles, book = await asyncio.gather(
            client.watch_ticker(BTC), client.watch_ohlcv(BTC, "1m"), client.watch_order_book(BTC)
        )
        assert ticker["low"] <= candles[-1][4] <= ticker["high"]
        assert book["bids"][0][0] < book["asks"][0][0]
        orders = await hears(client, client.watch_orders(BTC))
        assert {order["symbol"] for order in orders} == {BTC}
        assert (await hears(client, client.watch_my_trades(BTC)))[0]["amount"] == 0.01
        price = round(ticker["last"] * 0.97, 1)
        placed = await client.create_order_ws(BTC, "limit", "buy", 0.01, price)
        assert (await client.fetch_order_ws(placed["id"], BTC))["status"] == "open"
        assert (await client.edit_order_ws(placed["id"], BTC, "limit", "buy", 0.02, price))["amount"] == 0.02
        assert (await client.cancel_order_ws(placed["id"], BTC))["status"] == "canceled"
        held = (await client.fetch_positions_ws([BTC]))[0]["contracts"]
        assert held == (await client.fetch_positions([BTC]))[0]["contracts"] > 0
        assert (await client.fetch_balance_ws())["USDT"]["total"] == pytest.approx(10_000, rel=0.01)

    async def check() -> None:
        client = pro.binanceusdm({"apiKey": KEY, "secret": SECRET, "enableRateLimit": False})
        pointed_at(client.urls["api"], port)
        try:
            await asyncio.wait_for(trade(client), 60)
        finally:
            await client.close(clean_instance_data=True)  # its sessions, too

    asyncio.run(check())


def test_the_book_it_keeps_by_diffs_is_the_rest_book_level_by_level(port: int) -> None:
    pro = pytest.importorskip("ccxt.pro")

    async def follow(client: Any) -> None:
        for _ in range(30):  # it checks the chain of update ids itself
            book = await client.watch_order_book(BTC)
        await client.fetch(f"http://127.0.0.1:{port}/qt/pause", "POST")
        truth = await client.fapiPublicGetDepth({"symbol": "BTCUSDT", "limit": 1000})
        while book["nonce"] < int(truth["lastUpdateId"]) - 1:
            book = await client.watch_order_book(BTC)
        assert len(truth["bids"]) > 500
        for side in ("bids", "asks"):
            assert [tuple(level) for level in book[side]] == [(float(p), float(q)) for p, q in truth[side]]

    async def check() -> None:
        client = pro.binanceusdm({"enableRateLimit": False})
        pointed_at(client.urls["api"], port)
        try:
            await asyncio.wait_for(follow(client), 60)
        finally:
            await client.close(clean_instance_data=True)

    asyncio.run(check())
