"""A plain client of a failing exchange: signed requests, streams, and the route that orders faults."""

from __future__ import annotations

import hashlib
import hmac
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import aiohttp
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY, SECRET = "accept-key", "accept-secret"
ORDER, ALGO = "/fapi/v1/order", "/fapi/v1/algoOrder"
UNKNOWN = "Unknown error, please check your request or try again later."


class Client:
    """A plain client of one exchange: signed requests, streams, and the control route."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def ask(self, method: str, path: str, **params: str) -> tuple[int, Any, dict[str, str]]:
        """A signed request; its status, decoded body and headers."""
        params.setdefault("timestamp", str((await self.plain("GET", "/qt/clock"))["now_ms"]))
        text = urlencode(params)
        signature = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
        url = URL(f"{path}?{text}&signature={signature}", encoded=True)
        async with self.session.request(method, url) as reply:
            raw = await reply.read()
            body = json.loads(raw) if reply.content_type == "application/json" else raw
            return reply.status, body, dict(reply.headers)

    async def plain(self, method: str, path: str, **how: Any) -> Any:
        async with self.session.request(method, path, **how) as reply:
            return await reply.json()

    async def add(self, *faults: dict[str, Any]) -> list[int]:
        text = "\n".join(json.dumps(fault) for fault in faults)
        numbers: list[int] = (await self.plain("POST", "/qt/faults", data=text))["numbers"]
        return numbers

    async def clear(self) -> None:
        await self.plain("DELETE", "/qt/faults")

    async def buy(self, name: str, **more: str) -> tuple[int, Any, dict[str, str]]:
        wire = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.002", "newClientOrderId": name}
        return await self.ask("POST", ORDER, **{**wire, **more})

    async def stop(self, name: str) -> tuple[int, Any, dict[str, str]]:
        return await self.ask(
            "POST", ALGO, algoType="CONDITIONAL", symbol="BTCUSDT", side="SELL", type="STOP_MARKET",
            quantity="0.010", triggerPrice="1000", clientAlgoId=name, reduceOnly="true",
        )  # fmt: skip

    async def status(self, name: str) -> str:
        """What the exchange's books say of an order; "" when it knows none."""
        await self.clear()
        status, body, _ = await self.ask("GET", ORDER, symbol="BTCUSDT", origClientOrderId=name)
        return str(body["status"]) if status == 200 else ""

    @asynccontextmanager
    async def account(self) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """The user-data stream."""
        key = (await self.plain("POST", "/fapi/v1/listenKey"))["listenKey"]
        async with self.session.ws_connect(f"/private/ws/{key}") as stream:
            yield stream


async def hear(stream: aiohttp.ClientWebSocketResponse) -> Any:
    message = await stream.receive(10)
    assert message.type is aiohttp.WSMsgType.TEXT, message
    return json.loads(message.data)


async def events(stream: aiohttp.ClientWebSocketResponse, until: str) -> list[str]:
    """Names of events, an order's with its execution, up to and with the first of that name."""
    heard: list[str] = []
    while until not in heard:
        event = await hear(stream)
        heard.append(event["e"] + (f" {event['o']['x']}" if event["e"] == "ORDER_TRADE_UPDATE" else ""))
    return heard


async def is_silent(stream: aiohttp.ClientWebSocketResponse) -> bool:
    """Whether nothing but the answer to a ping comes for a while of the exchange's ticks."""
    try:
        await stream.receive(0.4)
    except TimeoutError:
        return True
    return False
