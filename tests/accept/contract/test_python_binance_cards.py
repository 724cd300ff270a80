"""Contract cards: what python-binance 1.0.37, unmodified, sees of a USDⓈ-M exchange."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from binance import AsyncClient, BinanceSocketManager
from binance.enums import FuturesType

from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.server import serve_in_thread
from tests.accept.contract.cards import SYMBOL, flat, play, price_below, refusal_of
from tests.accept.contract.conftest import KEY, SECRET, Venue, point_at
from tests.candle_folders import HOUR_MS, START_MS, folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


@asynccontextmanager
async def user_stream(client: AsyncClient) -> AsyncIterator[asyncio.Queue[dict[str, Any]]]:
    """Everything the account's stream says, drained at once, as python-binance's 100-message queue wants."""
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def drain(socket: Any) -> None:
        while True:
            await heard.put(await socket.recv())

    async with BinanceSocketManager(client).futures_user_socket() as socket:
        task = asyncio.create_task(drain(socket))
        yield heard
        task.cancel()


async def until(heard: asyncio.Queue[dict[str, Any]], wanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """All events up to and including the first wanted one."""
    events = []
    while not events or not wanted(events[-1]):
        events.append(await asyncio.wait_for(heard.get(), 10))
    return events


def test_card_01_both_times_and_both_pings_answer(venue: Venue) -> None:
    async def card(client: AsyncClient) -> None:
        assert await client.ping() == {}
        assert await client.futures_ping() == {}
        assert set(await client.futures_time()) == {"serverTime"}

    play(venue, card)


def test_card_02_exchange_info_has_the_filters_orders_are_cut_by(venue: Venue) -> None:
    async def card(client: AsyncClient) -> None:
        info = await client.futures_exchange_info()
        assert info["futuresType"] == "U_MARGINED"
        assert {limit["rateLimitType"] for limit in info["rateLimits"]} == {"REQUEST_WEIGHT", "ORDERS"}
        symbol = next(one for one in info["symbols"] if one["symbol"] == SYMBOL)
        assert symbol["contractType"] == "PERPETUAL"
        assert symbol["status"] == "TRADING"
        filters = {one["filterType"]: one for one in symbol["filters"]}
        assert {
            "PRICE_FILTER",
            "LOT_SIZE",
            "MARKET_LOT_SIZE",
            "MIN_NOTIONAL",
            "PERCENT_PRICE",
            "MAX_NUM_ORDERS",
        } <= set(filters)
        assert "MAX_NUM_ALGO_ORDERS" not in filters

    play(venue, card)


def test_card_03_klines_are_contiguous_and_the_last_one_is_forming(venue: Venue) -> None:
    async def card(client: AsyncClient) -> None:
        rows = await client.futures_klines(symbol=SYMBOL, interval="1h", limit=600)
        assert len(rows) == 600
        assert all(len(row) == 12 for row in rows)
        opens = [row[0] for row in rows]
        assert all(later - earlier == HOUR_MS for earlier, later in pairwise(opens))
        now = (await client.futures_time())["serverTime"]
        assert rows[-2][6] < now
        assert [type(value) for value in rows[0]] == [int, str, str, str, str, str, int, str, int, str, str, str]
        for _, opening, high, low, close, *_ in rows:
            assert Decimal(low) <= min(Decimal(opening), Decimal(close)) <= Decimal(high)
        minutes = await client.futures_klines(symbol=SYMBOL, interval="1m", limit=60)
        assert len(minutes) == 60
        again = await client.futures_continuous_klines(pair=SYMBOL, contractType="PERPETUAL", interval="1h", limit=5)
        assert again[0] in rows
        generated = await client.futures_historical_klines(SYMBOL, "1h", opens[5], end_str=opens[50])
        assert generated[:40] == rows[5:45]

    play(venue, card)


def test_card_04_mark_price_funding_and_open_interest(venue: Venue) -> None:
    async def card(client: AsyncClient) -> None:
        mark = await client.futures_mark_price(symbol=SYMBOL)
        assert {"markPrice", "indexPrice", "lastFundingRate", "nextFundingTime", "interestRate", "time"} <= set(mark)
        assert mark["nextFundingTime"] > mark["time"]
        assert len(await client.futures_mark_price()) > 1
        rates = await client.futures_funding_rate(symbol=SYMBOL, limit=5)
        assert len(rates) == 5
        times = [rate["fundingTime"] for rate in rates]
        assert times == sorted(times)
        assert float((await client.futures_open_interest(symbol=SYMBOL))["openInterest"]) > 0

    play(venue, card)


def test_card_05_book_tickers_and_trades_fit_together(venue: Venue) -> None:
    async def card(client: AsyncClient) -> None:
        ticker = await client.futures_orderbook_ticker(symbol=SYMBOL)
        assert Decimal(ticker["bidPrice"]) < Decimal(ticker["askPrice"])
        book = await client.futures_order_book(symbol=SYMBOL, limit=20)
        bids, asks = ([Decimal(price) for price, _ in book[side]] for side in ("bids", "asks"))
        assert len(bids) == len(asks) == 20
        assert bids == sorted(bids, reverse=True)
        assert asks == sorted(asks)
        assert bids[0] < asks[0]
        day = await client.futures_ticker(symbol=SYMBOL)
        assert Decimal(day["lowPrice"]) <= Decimal(day["lastPrice"]) <= Decimal(day["highPrice"])
        assert {"symbol", "price", "time"} == set(await client.futures_symbol_ticker(symbol=SYMBOL))
        assert len(await client.futures_recent_trades(symbol=SYMBOL, limit=10)) == 10
        assert len(await client.futures_aggregate_trades(symbol=SYMBOL, limit=10)) == 10

    play(venue, card)


def test_card_06_leverage_margin_type_and_brackets(venue: Venue) -> None:
    async def card(client: AsyncClient) -> None:
        await flat(client)
        assert (await client.futures_change_leverage(symbol=SYMBOL, leverage=7))["leverage"] == 7
        config = await client.futures_symbol_config(symbol=SYMBOL)
        assert config[0]["leverage"] == 7
        assert await refusal_of(client.futures_change_leverage(symbol=SYMBOL, leverage=500)) == -4028
        current = config[0]["marginType"]
        assert await refusal_of(client.futures_change_margin_type(symbol=SYMBOL, marginType=current)) == -4046
        brackets = await client.futures_leverage_bracket(symbol=SYMBOL)
        rows = (brackets[0] if isinstance(brackets, list) else brackets)["brackets"]
        assert rows[0]["notionalFloor"] == 0
        assert (await client.futures_get_position_mode())["dualSidePosition"] is False

    play(venue, card)


def test_card_07_account_balance_and_positions_agree(venue: Venue) -> None:
    async def card(client: AsyncClient) -> None:
        balance = next(one for one in await client.futures_account_balance() if one["asset"] == "USDT")
        account = await client.futures_account()
        asset = next(one for one in account["assets"] if one["asset"] == "USDT")
        assert asset["walletBalance"] == balance["balance"]
        assert account["canTrade"] is True
        newest = await client.futures_account(version=3)
        assert newest["totalWalletBalance"] == account["totalWalletBalance"]
        assert all("leverage" not in one for one in await client.futures_position_information())

    play(venue, card)


def test_card_08_a_market_order_fills_and_its_reply_has_no_average_price(venue: Venue) -> None:
    async def card(client: AsyncClient) -> None:
        await flat(client)
        reply = await client.futures_create_order(
            symbol=SYMBOL, side="BUY", type="MARKET", quantity="0.010", newOrderRespType="RESULT"
        )
        assert reply["status"] == "FILLED"
        assert reply["executedQty"] == "0.010"
        assert not {"avgPrice", "cumQuote"} & set(reply)
        order = await client.futures_get_order(symbol=SYMBOL, orderId=reply["orderId"])
        assert Decimal(order["avgPrice"]) > 0
        trades = await client.futures_account_trades(symbol=SYMBOL, orderId=reply["orderId"])
        assert sum(Decimal(trade["qty"]) for trade in trades) == Decimal("0.010")
        position = (await client.futures_position_information(symbol=SYMBOL))[0]
        assert Decimal(position["positionAmt"]) == Decimal("0.010")
        await flat(client)
        assert not [
            one for one in await client.futures_position_information(symbol=SYMBOL) if float(one["positionAmt"])
        ]

    play(venue, card)


def test_card_09_a_limit_order_rests_is_found_and_is_cancelled(venue: Venue) -> None:
    async def card(client: AsyncClient) -> None:
        price = await price_below(client, 0.97)
        placed = await client.futures_create_order(
            symbol=SYMBOL,
            side="BUY",
            type="LIMIT",
            timeInForce="GTC",
            quantity="0.010",
            price=price,
            newClientOrderId="card-9",
        )
        assert placed["status"] == "NEW"
        assert (await client.futures_get_order(symbol=SYMBOL, origClientOrderId="card-9"))["orderId"] == placed[
            "orderId"
        ]
        assert [one["clientOrderId"] for one in await client.futures_get_open_orders(symbol=SYMBOL)] == ["card-9"]
        again = client.futures_create_order(
            symbol=SYMBOL,
            side="BUY",
            type="LIMIT",
            timeInForce="GTC",
            quantity="0.010",
            price=price,
            newClientOrderId="card-9",
        )
        assert await refusal_of(again) == -4116
        lower = await price_below(client, 0.96)
        moved = await client.futures_modify_order(
            symbol=SYMBOL, orderId=placed["orderId"], side="BUY", quantity="0.011", price=lower
        )
        assert Decimal(moved["price"]) == Decimal(lower)
        gone = await client.futures_cancel_order(symbol=SYMBOL, origClientOrderId="card-9")
        assert gone["status"] == "CANCELED"
        assert await refusal_of(client.futures_cancel_order(symbol=SYMBOL, origClientOrderId="card-9")) == -2011
        assert await refusal_of(client.futures_get_order(symbol=SYMBOL, origClientOrderId="never")) == -2013
        assert await client.futures_get_open_orders(symbol=SYMBOL) == []

    play(venue, card)


def test_card_10_a_stop_lives_on_the_algo_endpoints_only(venue: Venue) -> None:
    async def card(client: AsyncClient) -> None:
        await flat(client)
        trigger = await price_below(client, 0.9)
        stop = {"symbol": SYMBOL, "side": "SELL", "type": "STOP_MARKET", "quantity": "0.010", "triggerPrice": trigger}
        placed = await client.futures_create_algo_order(
            **stop, reduceOnly="true", workingType="MARK_PRICE", clientAlgoId="card-10"
        )
        assert placed["algoStatus"] == "NEW"
        assert placed["clientAlgoId"] == "card-10"
        assert (await client.futures_get_algo_order(clientAlgoId="card-10"))["algoId"] == placed["algoId"]
        assert [one["algoId"] for one in await client.futures_get_open_algo_orders(symbol=SYMBOL)] == [placed["algoId"]]
        assert await client.futures_get_open_orders(symbol=SYMBOL) == []
        await client.futures_cancel_all_open_orders(symbol=SYMBOL)
        assert len(await client.futures_get_open_algo_orders(symbol=SYMBOL)) == 1
        gone = await client.futures_cancel_algo_order(clientAlgoId="card-10")
        assert gone["code"] == "200"
        routed = await client.futures_create_order(
            symbol=SYMBOL, side="SELL", type="STOP_MARKET", quantity="0.010", stopPrice=trigger, reduceOnly="true"
        )
        assert Decimal(routed["triggerPrice"]) == Decimal(trigger)
        assert routed["clientAlgoId"].startswith("x-Cb7ytekJ")
        await client.futures_cancel_algo_order(algoId=routed["algoId"])
        old = client._request_futures_api("post", "order", True, data={**stop, "stopPrice": trigger})
        assert await refusal_of(old) == -4120
        above = await price_below(client, 1.05)
        assert await refusal_of(client.futures_create_algo_order(**{**stop, "triggerPrice": above})) == -2021
        whole = {"symbol": SYMBOL, "side": "SELL", "type": "STOP_MARKET", "closePosition": "true"}
        assert await refusal_of(client.futures_create_algo_order(**whole, triggerPrice=trigger)) == -4509

    play(venue, card)


def test_card_11_batches_answer_element_by_element(venue: Venue) -> None:
    async def card(client: AsyncClient) -> None:
        price = await price_below(client, 0.97)
        good = {
            "symbol": SYMBOL,
            "side": "BUY",
            "type": "LIMIT",
            "timeInForce": "GTC",
            "quantity": "0.010",
            "price": price,
        }
        replies = await client.futures_place_batch_order(batchOrders=[good, {**good, "quantity": "0"}])
        assert replies[0]["status"] == "NEW"
        assert replies[1]["code"] == -4003
        gone = await client.futures_cancel_orders(symbol=SYMBOL, orderidlist=[replies[0]["orderId"], 1])
        assert gone[0]["status"] == "CANCELED"
        assert gone[1]["code"] == -2011

    play(venue, card)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"quantity": "0.0105"}, -1111),
        ({"quantity": "5000"}, -4005),
        ({"price": "100000.05"}, -4014),
        ({"symbol": "SOLUSDT", "type": "MARKET", "quantity": "0.01", "price": "", "timeInForce": ""}, -4164),
        ({"symbol": "NONEUSDT"}, -1121),
        ({"side": "HOLD"}, -1117),
        ({"type": "ICEBERG"}, -1116),
        ({"timeInForce": "NEVER"}, -1115),
        ({"newClientOrderId": "x" * 37}, -4015),
        ({"quantity": ""}, -1102),
    ],
)
def test_card_12_orders_that_break_a_filter_get_its_code(venue: Venue, changes: dict[str, str], code: int) -> None:
    async def card(client: AsyncClient) -> None:
        price = await price_below(client, 0.97)
        order = {
            "symbol": SYMBOL,
            "side": "BUY",
            "type": "LIMIT",
            "timeInForce": "GTC",
            "quantity": "0.010",
            "price": price,
        }
        wrong = {name: value for name, value in {**order, **changes}.items() if value}
        # Straight to the endpoint: create_order would invent a client id and route by type.
        assert await refusal_of(client._request_futures_api("post", "order", True, data=wrong)) == code

    play(venue, card)


def test_card_13_wrong_keys_signatures_and_clocks_are_refused(venue: Venue) -> None:
    async def cards() -> None:
        async with venue.client(secret="wrong") as client:
            assert await refusal_of(client.futures_account_balance()) == -1022
        async with venue.client(key="x" * 64) as client:
            assert await refusal_of(client.futures_account_balance()) in {-2014, -2015}
        async with venue.client() as client:
            client.timestamp_offset += 10**10
            assert await refusal_of(client.futures_account_balance()) == -1021
            client.timestamp_offset -= 3 * 10**10
            assert await refusal_of(client.futures_account_balance()) == -1021

    asyncio.run(cards())


def test_card_14_replies_count_weight_and_orders(venue: Venue) -> None:
    async def card(client: AsyncClient) -> None:
        await client.futures_ping()
        before = int(client.response.headers["X-MBX-USED-WEIGHT-1M"])
        await client.futures_account_balance()
        after = int(client.response.headers["X-MBX-USED-WEIGHT-1M"])
        assert after == before + 5 or after < before, "the minute may have turned"
        price = await price_below(client, 0.97)
        await client.futures_create_order(
            symbol=SYMBOL, side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.010", price=price
        )
        assert int(client.response.headers["X-MBX-ORDER-COUNT-10S"]) >= 1
        assert int(client.response.headers["X-MBX-ORDER-COUNT-1M"]) >= 1
        await client.futures_cancel_all_open_orders(symbol=SYMBOL)

    play(venue, card)


def test_card_15_the_account_stream_tells_of_a_fill_before_and_after(venue: Venue) -> None:
    async def card(client: AsyncClient) -> None:
        await flat(client)
        async with user_stream(client) as heard:
            reply = await client.futures_create_order(
                symbol=SYMBOL, side="BUY", type="MARKET", quantity="0.010", newClientOrderId="card-15"
            )
            events = await until(heard, lambda one: one["e"] == "ORDER_TRADE_UPDATE" and one["o"]["X"] == "FILLED")
            mine = [one["o"] for one in events if one["e"] == "ORDER_TRADE_UPDATE" and one["o"]["c"] == "card-15"]
            assert mine[0]["x"] == "NEW"
            assert {one["x"] for one in mine[1:]} == {"TRADE"}
            assert all(one["i"] == reply["orderId"] for one in mine)
            assert sum(Decimal(one["l"]) for one in mine) == Decimal("0.010")
            kinds = [one["e"] for one in events]
            if "ACCOUNT_UPDATE" not in kinds:
                events += await until(heard, lambda one: one["e"] == "ACCOUNT_UPDATE")
            update = next(one for one in events if one["e"] == "ACCOUNT_UPDATE")
            assert update["a"]["m"] == "ORDER"
            assert update["a"]["P"][0]["pa"] in {"0.010", "0.01"}
            trigger = await price_below(client, 0.9)
            await client.futures_create_algo_order(
                symbol=SYMBOL, side="SELL", type="STOP_MARKET", quantity="0.010", triggerPrice=trigger,
                reduceOnly="true", clientAlgoId="card-15s",
            )  # fmt: skip
            events = await until(heard, lambda one: one["e"] == "ALGO_UPDATE")
            assert (events[-1]["o"]["caid"], events[-1]["o"]["X"]) == ("card-15s", "NEW")
            await flat(client)
            await until(heard, lambda one: one["e"] == "ALGO_UPDATE" and one["o"]["X"] == "CANCELED")

    play(venue, card)


def test_card_16_listen_keys_are_one_and_can_be_ended(venue: Venue) -> None:
    async def card(client: AsyncClient) -> None:
        key = await client.futures_stream_get_listen_key()
        assert len(key) == 64
        assert await client.futures_stream_get_listen_key() == key
        await client.futures_stream_keepalive(key)
        await client.futures_stream_close(key)
        assert await refusal_of(client.futures_stream_keepalive(key)) == -1125

    play(venue, card)


def test_card_17_market_sockets_deliver_what_they_are_asked_for(venue: Venue) -> None:
    async def card(client: AsyncClient) -> None:
        manager = BinanceSocketManager(client)
        sockets = {
            "continuous_kline": manager.kline_futures_socket(SYMBOL, "1m", FuturesType.USD_M),
            "markPriceUpdate": manager.symbol_mark_price_socket(SYMBOL),
            "aggTrade": manager.aggtrade_futures_socket(SYMBOL),
            "bookTicker": manager.symbol_ticker_futures_socket(SYMBOL),
            "depthUpdate": manager.futures_depth_socket(SYMBOL),
        }
        for event, socket in sockets.items():
            async with socket as stream:
                message = await asyncio.wait_for(stream.recv(), 20)
                payload = message.get("data", message)
                assert payload["e"] == event
        async with manager.all_mark_price_socket() as stream:
            message = await asyncio.wait_for(stream.recv(), 20)
            assert {row["e"] for row in message["data"]} == {"markPriceUpdate"}

    play(venue, card)


def test_card_18_the_blocking_client_does_the_same(venue: Venue) -> None:
    loop = asyncio.new_event_loop()  # the blocking client takes the thread's loop and leaves it open
    asyncio.set_event_loop(loop)
    client = venue.blocking_client()
    try:
        info = client.futures_exchange_info()
        assert any(one["symbol"] == SYMBOL for one in info["symbols"])
        bid = Decimal(client.futures_orderbook_ticker(symbol=SYMBOL)["bidPrice"])
        placed = client.futures_create_order(
            symbol=SYMBOL,
            side="BUY",
            type="LIMIT",
            timeInForce="GTC",
            quantity="0.010",
            price=str(int(bid * Decimal("0.97"))),
        )
        assert client.futures_cancel_order(symbol=SYMBOL, orderId=placed["orderId"])["status"] == "CANCELED"
        stop = client.futures_create_algo_order(
            symbol=SYMBOL,
            side="SELL",
            type="STOP_MARKET",
            quantity="0.010",
            triggerPrice=str(int(bid * Decimal("0.9"))),
        )
        assert client.futures_cancel_algo_order(algoId=stop["algoId"])["code"] == "200"
        assert client.futures_account_balance()[0]["asset"]
    finally:
        client.close_connection()
        asyncio.set_event_loop(None)
        loop.close()


def test_card_19_at_a_hundred_hours_a_second_no_closed_candle_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Embedded only: eight symbols of 15m candles; every hour of every symbol, once and in order."""
    symbols = [f"S{number}USDT" for number in range(8)]
    hours = 100
    candles = folder(tmp_path / "candles", symbols, 4000)
    begin = START_MS + HOUR_MS
    exchange = serve_in_thread(
        ExchangeConfig(
            replay=str(candles), start_ms=begin, speed=360_000.0, paused=True, api_key=KEY, api_secret=SECRET
        )
    )
    point_at(exchange.port, monkeypatch)
    names = [f"{symbol.lower()}@kline_1h" for symbol in symbols]

    async def card() -> dict[str, list[tuple[int, str, str, str, str]]]:
        client = await AsyncClient.create(KEY, SECRET)
        told: dict[str, list[tuple[int, str, str, str, str]]] = {symbol: [] for symbol in symbols}
        async with BinanceSocketManager(client, max_queue_size=100_000).futures_multiplex_socket(names) as stream:
            exchange.resume()
            while not all(len(rows) >= hours for rows in told.values()):
                candle = (await asyncio.wait_for(stream.recv(), 20))["data"]["k"]
                if candle["x"]:
                    told[candle["s"]].append(tuple(candle[field] for field in "tohlc"))
        for symbol, rows in told.items():
            rest = await client.futures_klines(symbol=symbol, interval="1h", startTime=begin, limit=len(rows))
            assert rows == [tuple(row[:5]) for row in rest]
        await client.close_connection()
        return told

    try:
        told = asyncio.run(card())
    finally:
        exchange.stop()
    for rows in told.values():
        assert [row[0] for row in rows] == [begin + hour * HOUR_MS for hour in range(len(rows))]
