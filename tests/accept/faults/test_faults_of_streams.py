"""Frames and connections that fail, and a listen key that is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

from tests.fault_client import Client, events, hear, is_silent


def test_user_events_are_lost_doubled_swapped_and_late(run: Any) -> None:
    async def check(client: Client) -> None:
        async with client.account() as stream:
            usual = ["TRADE_LITE", "ORDER_TRADE_UPDATE NEW", "ACCOUNT_UPDATE", "ORDER_TRADE_UPDATE TRADE"]
            await client.buy("plain")
            assert await events(stream, "ORDER_TRADE_UPDATE TRADE") == usual
            await client.add({"kind": "drop", "event": "ACCOUNT_UPDATE", "times": 1})
            await client.buy("lost")
            assert await events(stream, "ORDER_TRADE_UPDATE TRADE") == [usual[0], usual[1], usual[3]]
            await client.add({"kind": "duplicate", "event": "TRADE_LITE", "times": 1})
            await client.buy("twice")
            assert await events(stream, "ORDER_TRADE_UPDATE TRADE") == [usual[0], *usual]
            await client.add({"kind": "reorder", "event": "ORDER_TRADE_UPDATE", "execution": "NEW", "times": 1})
            await client.buy("swapped")
            assert await events(stream, "ORDER_TRADE_UPDATE TRADE") == [usual[0], usual[2], usual[1], usual[3]]
            await client.add({"kind": "reorder", "execution": "TRADE", "event": "*UPDATE", "times": 1})
            await client.buy("alone")
            assert (await events(stream, "ORDER_TRADE_UPDATE TRADE"))[-1] == usual[3]  # after a second at the latest
            await client.add({"kind": "delayed_fill", "ms": 300})
            reply = asyncio.create_task(client.buy("slow"))
            assert await events(stream, "ORDER_TRADE_UPDATE NEW") == [usual[1]]
            assert (await reply)[0] == 200
            assert await events(stream, "ORDER_TRADE_UPDATE TRADE") == [usual[0], usual[2], usual[3]]

    run(check)


def test_a_mute_stream_says_nothing_a_dead_one_acknowledges_and_a_new_one_lives(run: Any) -> None:
    async def check(client: Client) -> None:
        subscribe = {"method": "SUBSCRIBE", "params": ["btcusdt@bookTicker"], "id": 5}
        for kind, answers in (("mute", False), ("dead", True)):
            async with client.session.ws_connect("/public/ws") as stream:
                await client.add({"kind": kind, "route": "public", "times": 1, "stream": "*"})
                await stream.send_json(subscribe)
                assert (await hear(stream))["id"] == 5
                assert await is_silent(stream)
                await stream.send_json(subscribe)
                assert await is_silent(stream) is not answers
                await stream.ping()
            async with client.session.ws_connect("/public/ws/btcusdt@bookTicker") as again:
                assert (await hear(again))["e"] == "bookTicker"

    run(check)


def test_connections_are_cut_at_a_moment_by_route_or_at_a_frame(run: Any) -> None:
    async def check(client: Client) -> None:
        async with client.account() as private, client.session.ws_connect("/market/ws/btcusdt@markPrice@1s") as market:
            await client.add({"kind": "disconnect", "route": "private"})
            assert (await private.receive(10)).type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}
            assert (await hear(market))["e"] == "markPriceUpdate"
            await client.add({"kind": "disconnect", "event": "markPriceUpdate", "times": 1})
            assert (await market.receive(10)).type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}

    run(check)


def test_a_listen_key_is_lost_aloud_or_quietly(run: Any) -> None:
    async def check(client: Client) -> None:
        async with client.account() as stream:
            await client.add({"kind": "listen_key_loss"})
            assert (await hear(stream))["e"] == "listenKeyExpired"
            assert (await client.plain("PUT", "/fapi/v1/listenKey"))["code"] == -1125
        async with client.account() as stream:
            await client.add({"kind": "listen_key_loss", "quiet": True})
            while (await client.plain("PUT", "/fapi/v1/listenKey")).get("code") != -1125:
                pass
            await client.buy("unheard")
            assert await is_silent(stream)

    run(check)


def test_before_2026_04_23_unrouted_streams_deliver_everything_and_that_day_they_end(run: Any) -> None:
    async def check(client: Client) -> None:
        await client.add({"kind": "before_2026_04_23"})
        key = (await client.plain("POST", "/fapi/v1/listenKey"))["listenKey"]
        mark = "/ws/btcusdt@markPrice@1s"
        while True:  # the exchange looks at its faults at every tick
            stream = await client.session.ws_connect(mark)
            if not await is_silent(stream) or not await is_silent(stream) or not await is_silent(stream):
                break
            await stream.close()
        async with client.session.ws_connect(f"/ws/{key}") as account:
            await client.buy("heard-unrouted")
            assert (await hear(account))["e"] == "TRADE_LITE"
            await client.clear()
            while (await account.receive(10)).type is aiohttp.WSMsgType.TEXT:
                pass
        while (await stream.receive(10)).type is aiohttp.WSMsgType.TEXT:
            pass
        async with client.session.ws_connect(mark) as stream:
            assert await is_silent(stream)

    run(check)
