"""Contract cards of the account and its histories, by python-binance 1.0.37, unmodified."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from binance.exceptions import BinanceAPIException

from tests.accept.contract.cards import SYMBOL, flat, play, price_below, refusal_of

if TYPE_CHECKING:
    from binance import AsyncClient

    from tests.accept.contract.conftest import Venue

QUANTITY = "0.010"


async def isolated(client: AsyncClient, kind: str = "ISOLATED") -> None:
    """The margin type, whatever it was."""
    try:
        await client.futures_change_margin_type(symbol=SYMBOL, marginType=kind)
    except BinanceAPIException as refused:
        if refused.code != -4046:
            raise


def test_card_20_a_changed_order_keeps_its_id_and_remembers_its_changes(venue: Venue) -> None:
    async def card(client: AsyncClient) -> None:
        await flat(client)
        price, lower = await price_below(client, 0.97), await price_below(client, 0.96)
        placed = await client.futures_create_order(
            symbol=SYMBOL, side="BUY", type="LIMIT", timeInForce="GTC", quantity=QUANTITY, price=price
        )
        named = {"symbol": SYMBOL, "orderId": placed["orderId"]}
        change = {**named, "side": "BUY", "quantity": "0.020", "price": lower}
        changed = await client.futures_modify_order(**change)
        assert changed["orderId"] == placed["orderId"]
        assert Decimal(changed["price"]) == Decimal(lower)
        assert await refusal_of(client.futures_modify_order(**change)) == -5027
        told = await client.futures_v1_get_order_amendment(**named)
        assert len(told) == 1
        assert {key: Decimal(value) for key, value in told[0]["amendment"]["origQty"].items()} == {
            "before": Decimal(QUANTITY),
            "after": Decimal("0.020"),
        }
        await flat(client)

    play(venue, card)


def test_card_21_margin_moves_in_and_out_of_an_isolated_position(venue: Venue) -> None:
    async def card(client: AsyncClient) -> None:
        await flat(client)
        await isolated(client)
        move = {"symbol": SYMBOL, "amount": "5"}
        assert await refusal_of(client.futures_change_position_margin(**move, type=1)) in {-4054, -4046}
        await client.futures_create_order(symbol=SYMBOL, side="BUY", type="MARKET", quantity=QUANTITY)
        before = await client.futures_position_information(symbol=SYMBOL)
        assert (await client.futures_change_position_margin(**move, type=1))["code"] == 200
        after = await client.futures_position_information(symbol=SYMBOL)
        assert Decimal(after[0]["isolatedWallet"]) - Decimal(before[0]["isolatedWallet"]) == 5
        assert await refusal_of(client.futures_change_margin_type(symbol=SYMBOL, marginType="CROSSED")) == -4048
        told = await client.futures_position_margin_history(symbol=SYMBOL, type=1)
        assert Decimal(told[-1]["amount"]) == 5
        await flat(client)
        await isolated(client, "CROSSED")

    play(venue, card)


def test_card_22_position_mode_is_changed_only_when_nothing_is_open(venue: Venue) -> None:
    async def card(client: AsyncClient) -> None:
        await flat(client)
        mode = client.futures_change_position_mode
        assert await refusal_of(mode(dualSidePosition="false")) == -4059
        await mode(dualSidePosition="true")
        order = {"symbol": SYMBOL, "side": "BUY", "type": "MARKET", "quantity": QUANTITY}
        assert await refusal_of(client.futures_create_order(**order)) == -4061
        await client.futures_create_order(**order, positionSide="LONG")
        assert await refusal_of(mode(dualSidePosition="false")) == -4068
        await client.futures_create_order(
            symbol=SYMBOL, side="SELL", type="MARKET", quantity=QUANTITY, positionSide="LONG"
        )
        await mode(dualSidePosition="false")
        assert (await client.futures_get_position_mode()) == {"dualSidePosition": False}

    play(venue, card)


def test_card_23_fees_of_trades_are_rows_of_income(venue: Venue) -> None:
    async def card(client: AsyncClient) -> None:
        await flat(client)
        bought = await client.futures_create_order(symbol=SYMBOL, side="BUY", type="MARKET", quantity=QUANTITY)
        await flat(client)
        trades = await client.futures_account_trades(symbol=SYMBOL, orderId=bought["orderId"])
        rows = await client.futures_income_history(symbol=SYMBOL, incomeType="COMMISSION", limit=1000)
        booked = {row["tradeId"]: Decimal(row["income"]) for row in rows}
        for trade in trades:
            assert booked[str(trade["id"])] == -Decimal(trade["commission"])
        paged = await client.futures_account_trades(symbol=SYMBOL, fromId=trades[0]["id"], limit=1)
        assert paged == trades[:1]

    play(venue, card)


def test_card_24_candles_of_untraded_prices_share_the_traded_ones_times(venue: Venue) -> None:
    async def card(client: AsyncClient) -> None:
        ask: dict[str, Any] = {"interval": "5m", "limit": 4}
        traded = (await client.futures_klines(symbol=SYMBOL, **ask))[:-1]
        for rows in (
            await client.futures_mark_price_klines(symbol=SYMBOL, **ask),
            await client.futures_index_price_klines(pair=SYMBOL, **ask),
            await client.futures_premium_index_klines(symbol=SYMBOL, **ask),
        ):
            opens = [row[0] for row in rows]
            assert set(opens) & {row[0] for row in traded}
            assert all(Decimal(low) <= Decimal(close) <= Decimal(high) for _, _, high, low, close, *_ in rows)

    play(venue, card)


def test_card_25_aggregate_trades_go_on_from_an_id(venue: Venue) -> None:
    async def card(client: AsyncClient) -> None:
        newest = await client.futures_aggregate_trades(symbol=SYMBOL, limit=20)
        again = await client.futures_aggregate_trades(symbol=SYMBOL, fromId=newest[0]["a"], limit=5)
        assert [row["a"] for row in again] == [row["a"] for row in newest[:5]]
        wrong = client.futures_aggregate_trades(symbol=SYMBOL, startTime=1_600_000_000_000)
        assert await refusal_of(wrong) == -4166

    play(venue, card)


def test_card_26_a_switch_cancels_what_is_left_open(venue: Venue) -> None:
    async def card(client: AsyncClient) -> None:
        await flat(client)
        price = await price_below(client, 0.97)
        await client.futures_create_order(
            symbol=SYMBOL, side="BUY", type="LIMIT", timeInForce="GTC", quantity=QUANTITY, price=price
        )
        armed = await client.futures_countdown_cancel_all(symbol=SYMBOL, countdownTime=100)
        assert armed == {"symbol": SYMBOL, "countdownTime": "100"}
        for _ in range(200):
            if not await client.futures_get_open_orders(symbol=SYMBOL):
                break
        else:
            pytest.fail("the order is still open")

    play(venue, card)


def test_card_27_orders_over_the_websocket_api_are_the_same_orders(venue: Venue) -> None:
    async def card(client: AsyncClient) -> None:
        await flat(client)
        price = await price_below(client, 0.97)
        placed = await client.ws_futures_create_order(
            symbol=SYMBOL, side="BUY", type="LIMIT", timeInForce="GTC", quantity=QUANTITY, price=price
        )
        named = {"symbol": SYMBOL, "orderId": placed["orderId"]}
        assert (await client.futures_get_order(**named))["status"] == "NEW"
        assert (await client.ws_futures_cancel_order(**named))["status"] == "CANCELED"
        with pytest.raises(BinanceAPIException, match="-2011"):
            await client.ws_futures_cancel_order(**named)
        await client.ws_future.close()

    play(venue, card)
