"""Every REST reply that a recorded one exists of, asked over HTTP of a living account: the same keys and types.

`newer` keys came after the sample, `gone` ones went (placement replies lost avgPrice and cumQuote on 2026-07-14), or
belong to the conditional order that the sample happens to show. What differs for good: bookTicker's lastUpdateId is in
one collection of samples and not in the other, and a cancelled conditional order is told by `{algoId, clientAlgoId,
code, msg}` as documented, not whole as in the sample.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.server import serve_in_thread
from tests.exchange_client import KEY, SECRET, ask, at, signed
from tests.exchange_samples import compare, reply_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import aiohttp

    from qt_actors.exchange.server import ServedExchange

BTC = {"symbol": "BTCUSDT"}
PAIR = {"pair": "BTCUSDT"}
LIMIT = {**BTC, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.010"}
TRAILING = {"activatePrice", "priceRate"}
FIRED = {"actualQty", "actualType"}
REPLY_GONE = {"avgPrice", "cumQuote"}


class Sample(NamedTuple):
    """A recorded reply and the request that gives ours."""

    name: str
    method: str
    path: str
    params: dict[str, str]
    newer: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()


def sample(
    name: str,
    method: str,
    path: str,
    params: dict[str, str],
    newer: set[str] | None = None,
    gone: set[str] | None = None,
) -> Sample:
    return Sample(name, method, f"/fapi/{path}", params, frozenset(newer or ()), frozenset(gone or ()))


MARKET = (
    sample("ExchangeData/GetServerTime", "GET", "v1/time", {}),
    sample("ExchangeData/GetOrderBook", "GET", "v1/depth", BTC),
    sample("ExchangeData/GetRecentTrades", "GET", "v1/trades", BTC, {"isRPITrade"}),
    sample("ExchangeData/GetTradeHistory", "GET", "v1/historicalTrades", BTC, {"isRPITrade"}),
    sample("ExchangeData/GetAggregatedTradeHistory", "GET", "v1/aggTrades", BTC, {"nq"}),
    sample("ExchangeData/GetFundingRates", "GET", "v1/fundingRate", BTC, {"rateType"}),
    sample("ExchangeData/GetMarkPrice", "GET", "v1/premiumIndex", BTC),
    sample("ExchangeData/GetTicker", "GET", "v1/ticker/24hr", BTC),
    sample("ExchangeData/GetPrice", "GET", "v2/ticker/price", BTC),
    sample("ExchangeData/GetBookPrice", "GET", "v1/ticker/bookTicker", BTC, None, {"lastUpdateId"}),
    sample("ExchangeData/GetOpenInterest", "GET", "v1/openInterest", BTC),
    sample("ExchangeData/GetIndexPriceConstituents", "GET", "v1/constituents", BTC),
    sample("ExchangeData/GetAssetIndexes", "GET", "v1/assetIndex", {}),
)
KLINES = (
    ("GetKlines", "v1/klines", BTC),
    ("GetContinuousContractKlines", "v1/continuousKlines", {**PAIR, "contractType": "PERPETUAL"}),
    ("GetIndexPriceKlines", "v1/indexPriceKlines", PAIR),
    ("GetMarkPriceKlines", "v1/markPriceKlines", BTC),
    ("GetPremiumIndexKlines", "v1/premiumIndexKlines", BTC),
)
ACCOUNT = (
    sample("Account/GetOrderRateLimit", "GET", "v1/rateLimit/order", {}),
    sample("Account/GetMarginChangeHistory", "GET", "v1/positionMargin/history", BTC),
    sample("Account/GetPositionAdlQuantileEstimation", "GET", "v1/adlQuantile", BTC),
    sample("Account/GetUserCommissionRate", "GET", "v1/commissionRate", BTC, {"rpiCommissionRate"}),
    sample("Account/GetMultiAssetsMode", "GET", "v1/multiAssetsMargin", {}),
    sample("Account/SetBnbBurnStatus", "POST", "v1/feeBurn", {"feeBurn": "false"}),
    sample("Account/ModifyPositionMargin", "POST", "v1/positionMargin", {**BTC, "amount": "1", "type": "1"}),
    sample("Trading/GetPositions", "GET", "v2/positionRisk", BTC),
    sample("Trading/GetOrders", "GET", "v1/allOrders", BTC, {"pair", "cumBase"}, TRAILING),
    sample("Trading/GetUserTrades", "GET", "v1/userTrades", BTC, {"pair", "baseQty", "marginAsset"}),
    sample("Trading/GetOpenOrders", "GET", "v1/openOrders", BTC, None, TRAILING),
    sample("Trading/GetOpenOrder", "GET", "v1/openOrder", {**BTC, "origClientOrderId": "resting"}, None, TRAILING),
    sample("Trading/GetOpenConditionalOrders", "GET", "v1/openAlgoOrders", BTC, {"activatePrice", "callbackRate"}),
    sample("Trading/GetConditionalOrders", "GET", "v1/allAlgoOrders", BTC, {"activatePrice", "callbackRate"}, FIRED),
    sample("Trading/GetOrderEditHistory", "GET", "v1/orderAmendment", {**BTC, "origClientOrderId": "resting"}),
    sample("Trading/CancelAllConditionalOrders", "DELETE", "v1/algoOpenOrders", BTC),
)


@pytest.fixture(scope="module")
def served() -> Iterator[ServedExchange]:
    """An account that is isolated in BTCUSDT, long, with a changed resting order, a stop and some added margin."""
    exchange = serve_in_thread(ExchangeConfig(symbols=("BTCUSDT", "ETHUSDT"), seed=3, api_key=KEY, api_secret=SECRET))

    async def live() -> None:
        async with at(exchange) as session:
            price = await far_price(session)
            bought = {**BTC, "side": "BUY", "type": "MARKET", "quantity": "0.010"}
            stop = {**BTC, "algoType": "CONDITIONAL", "side": "SELL", "type": "STOP_MARKET", "quantity": "0.010"}
            change = {**BTC, "side": "BUY", "origClientOrderId": "resting", "quantity": "0.020", "price": price}
            for method, path, params in (
                ("POST", "v1/marginType", {**BTC, "marginType": "ISOLATED"}),
                ("POST", "v1/order", bought),
                ("POST", "v1/order", {**LIMIT, "price": price, "newClientOrderId": "resting"}),
                ("PUT", "v1/order", change),
                ("POST", "v1/algoOrder", {**stop, "triggerPrice": price}),
                ("POST", "v1/positionMargin", {**BTC, "amount": "5", "type": "1"}),
            ):
                status, reply = await signed(session, method, f"/fapi/{path}", **params)
                assert status == 200, reply

    asyncio.run(live())
    yield exchange
    exchange.stop()


async def far_price(session: aiohttp.ClientSession) -> str:
    price = float((await ask(session, "GET", "/fapi/v2/ticker/price?symbol=BTCUSDT"))[1]["price"])
    return f"{price * 0.97:.1f}"


def first(reply: Any) -> Any:
    return reply[0] if isinstance(reply, list) else reply


@pytest.mark.parametrize("one", [*MARKET, *ACCOUNT], ids=lambda one: one.name)
def test_a_reply_has_the_keys_and_types_of_the_recorded_one(
    served: ServedExchange, real_data: Path, one: Sample
) -> None:
    async def check() -> None:
        async with at(served) as session:
            if one in MARKET:
                wire = "&".join(f"{name}={value}" for name, value in one.params.items())
                status, reply, _ = await ask(session, one.method, f"{one.path}?{wire}")
            else:
                status, reply = await signed(session, one.method, one.path, **one.params)
            assert status == 200, reply
            theirs = reply_of(real_data / "message_samples", f"{one.name}.txt")
            assert isinstance(reply, list) == isinstance(theirs, list)
            compare(first(reply), first(theirs), newer=one.newer, gone=one.gone)

    asyncio.run(check())


@pytest.mark.parametrize(("name", "path", "params"), KLINES)
def test_a_candle_has_the_slots_and_types_of_the_recorded_one(
    served: ServedExchange, real_data: Path, name: str, path: str, params: dict[str, str]
) -> None:
    async def check() -> None:
        async with at(served) as session:
            wire = "&".join(f"{key}={value}" for key, value in {**params, "interval": "1m", "limit": "2"}.items())
            status, rows, _ = await ask(session, "GET", f"/fapi/{path}?{wire}")
            theirs = reply_of(real_data / "message_samples", f"ExchangeData/{name}.txt")[0]
            assert status == 200
            assert [type(slot) for slot in rows[0]] == [type(slot) for slot in theirs]

    asyncio.run(check())


def test_what_changes_orders_replies_as_recorded(served: ServedExchange, real_data: Path) -> None:
    folder = real_data / "message_samples"

    async def check() -> None:
        async with at(served) as session:
            price = await far_price(session)
            order = {**LIMIT, "price": price}
            orders = [{**order, "newClientOrderId": name} for name in ("one", "two")]
            bad = {**order, "reduceOnly": "true", "side": "BUY"}

            async def batch(method: str, elements: list[dict[str, str]]) -> Any:
                status, reply = await signed(session, method, "/fapi/v1/batchOrders", batchOrders=json.dumps(elements))
                assert status == 200, reply
                return reply

            placed = await batch("POST", [*orders, bad])
            theirs = reply_of(folder, "Trading/PlaceMultipleOrders.txt")
            compare(placed[0], theirs[0], gone=TRAILING | REPLY_GONE, newer={"closePosition"})
            assert placed[2] == theirs[1] == {"code": -2022, "msg": "ReduceOnly Order is rejected."}
            changes = [{**BTC, "side": "BUY", "origClientOrderId": "one", "quantity": "0.030", "price": price}]
            theirs = reply_of(folder, "Trading/EditMultipleOrders.txt")
            compare((await batch("PUT", changes))[0], theirs[0], gone={"avgPrice", "pair", "cumBase"})
            named = {**BTC, "origClientOrderId": "one"}
            change = {**changes[0], "quantity": "0.040"}
            edited = (await signed(session, "PUT", "/fapi/v1/order", **change))[1]
            compare(edited, reply_of(folder, "Trading/EditOrder.txt"), gone={"avgPrice", "pair", "cumBase"})
            cancelled = (await signed(session, "DELETE", "/fapi/v1/order", **named))[1]
            compare(cancelled, reply_of(folder, "Trading/CancelOrder.txt"), gone=TRAILING | {"cumQuote"})
            both = {**BTC, "origClientOrderIdList": '["two","none"]'}
            gone = (await signed(session, "DELETE", "/fapi/v1/batchOrders", **both))[1]
            theirs = reply_of(folder, "Trading/CancelMultipleOrders.txt")
            compare(gone[0], theirs[0], gone=TRAILING | {"cumQuote"})
            assert gone[1] == theirs[1]
            margin = {"symbol": "ETHUSDT", "marginType": "ISOLATED"}
            for name, path, params in (
                ("ChangeMarginType", "v1/marginType", margin),
                ("ChangeInitialLeverage", "v1/leverage", {**BTC, "leverage": "25"}),
            ):
                status, reply = await signed(session, "POST", f"/fapi/{path}", **params)
                assert status == 200, reply
                compare(reply, reply_of(folder, f"Account/{name}.txt"))

    asyncio.run(check())


def test_exchange_info_has_the_recorded_keys(served: ServedExchange, real_data: Path) -> None:
    """The sample lacks what came later and shows MAX_NUM_ALGO_ORDERS, which went on 2025-12-29."""
    theirs = reply_of(real_data / "message_samples", "ExchangeData/GetExchangeInfo.txt")

    async def check() -> None:
        async with at(served) as session:
            ours = (await ask(session, "GET", "/fapi/v1/exchangeInfo"))[1]
            assert set(ours) >= set(theirs)
            mine, real = ours["symbols"][0], theirs["symbols"][0]
            assert set(real) - set(mine) == {"settlePlan"}, "of 2020"
            kinds = {row["filterType"]: set(row) for row in mine["filters"]}
            for row in real["filters"]:
                if row["filterType"] != "MAX_NUM_ALGO_ORDERS":
                    assert kinds[row["filterType"]] >= set(row)
            assert "MAX_NUM_ALGO_ORDERS" not in kinds
            assert ours["assets"][0].keys() == theirs["assets"][0].keys()
            assert ours["rateLimits"][0].keys() == theirs["rateLimits"][0].keys()

    asyncio.run(check())
