"""What the contract cards share: how one is played, and the table it is played on."""

from __future__ import annotations

import asyncio
from decimal import ROUND_DOWN, Decimal
from typing import TYPE_CHECKING, Any

import pytest
from binance.exceptions import BinanceAPIException

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from binance import AsyncClient

    from tests.accept.contract.conftest import Venue

SYMBOL = "BTCUSDT"


def play(venue: Venue, card: Callable[[AsyncClient], Awaitable[None]]) -> None:
    async def run() -> None:
        async with venue.client() as client:
            await asyncio.wait_for(card(client), 60)

    asyncio.run(run())


async def refusal_of(call: Awaitable[Any]) -> int:
    with pytest.raises(BinanceAPIException) as caught:
        await call
    return int(caught.value.code)


async def price_below(client: AsyncClient, fraction: float) -> str:
    """A price below the bid, on the tick."""
    info = await client.futures_exchange_info()
    symbol = next(one for one in info["symbols"] if one["symbol"] == SYMBOL)
    tick = Decimal(next(one["tickSize"] for one in symbol["filters"] if one["filterType"] == "PRICE_FILTER"))
    bid = Decimal((await client.futures_orderbook_ticker(symbol=SYMBOL))["bidPrice"])
    return str((bid * Decimal(str(fraction)) / tick).to_integral_value(ROUND_DOWN) * tick)


async def flat(client: AsyncClient) -> None:
    """No orders, no position."""
    await client.futures_cancel_all_open_orders(symbol=SYMBOL)
    await client.futures_cancel_all_algo_open_orders(symbol=SYMBOL)
    for position in await client.futures_position_information(symbol=SYMBOL):
        amount = Decimal(position["positionAmt"])
        if amount:
            side = "SELL" if amount > 0 else "BUY"
            await client.futures_create_order(
                symbol=SYMBOL, side=side, type="MARKET", quantity=str(abs(amount)), reduceOnly="true"
            )
