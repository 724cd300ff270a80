"""Asking a served exchange over HTTP: plainly, or signed with the tests' own key."""

from __future__ import annotations

import hashlib
import hmac
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import aiohttp
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from qt_actors.exchange.server import ServedExchange

KEY, SECRET = "accept-key", "accept-secret"


@asynccontextmanager
async def at(exchange: ServedExchange) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{exchange.port}", headers={"X-MBX-APIKEY": KEY}) as session:
        yield session


async def ask(
    session: aiohttp.ClientSession, method: str, path: str | URL, **how: Any
) -> tuple[int, Any, dict[str, str]]:
    async with session.request(method, path, **how) as reply:
        assert reply.content_type == "application/json"
        return reply.status, await reply.json(), dict(reply.headers)


async def signed(session: aiohttp.ClientSession, method: str, path: str, **params: str) -> tuple[int, Any]:
    now = (await ask(session, "GET", "/fapi/v1/time"))[1]["serverTime"]
    text = "&".join(f"{name}={quote(value, safe='')}" for name, value in {**params, "timestamp": str(now)}.items())
    signature = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
    url = URL(f"{path}?{text}&signature={signature}", encoded=True)  # goes out as it was signed
    status, reply, _ = await ask(session, method, url)
    return status, reply
