"""python-binance's AsyncClient, pointed at one network, its replies and failures made plain.

It signs and sends; what is added here: every URL it knows is redirected, a request to any other host is refused, a
reply is decoded with exact decimals, an error carries no URL and no header, and the headers heard are those of this
reply (``client.response`` is shared and racy). Construct it inside the loop's thread.
"""

from __future__ import annotations

import contextvars
import time
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import aiohttp
import msgspec
from binance.async_client import AsyncClient
from binance.base_client import BaseClient

from qt_actors.edges.binance_errors import ReplyError, UnreadableError
from qt_actors.edges.endpoints import EndpointError, Endpoints

CONNECT_TIMEOUT_S = 4.0
REQUEST_TIMEOUT_S = 15.0
"""Upper bound of any request; routes have shorter ones of their own."""
CONNECTIONS_MAX = 16
NOWHERE = "https://not-used.invalid"
"""Stands in for every product of Binance's that the trader does not trade."""

_NOTHING: Mapping[str, str] = MappingProxyType({})
_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_heard: contextvars.ContextVar[Mapping[str, str]] = contextvars.ContextVar("heard", default=_NOTHING)


class Credentials:
    """An API key and its secret; shown as ``***`` wherever it is printed."""

    __slots__ = ("key", "secret")

    def __init__(self, key: str, secret: str) -> None:
        self.key = key
        self.secret = secret

    def __repr__(self) -> str:
        return "Credentials(***)"

    def __reduce__(self) -> str:
        msg = "credentials are never written down"
        raise TypeError(msg)

    def redact(self, text: str) -> str:
        """The text with both values replaced."""
        for value in (self.key, self.secret):
            text = text.replace(value, "***") if value else text
        return text


class _Client(AsyncClient):  # type: ignore[misc] # python-binance publishes no types
    """AsyncClient whose class-level URLs are set by ``new_client``."""

    ENDPOINTS: Endpoints

    def __repr__(self) -> str:
        return f"<client of {self.FUTURES_URL}>"

    async def _request(self, method: str, uri: str, *arguments: Any, **named: Any) -> Any:
        if not self.ENDPOINTS.allows(uri):
            host = uri.split("?", 1)[0]
            raise EndpointError(f"request to {host} refused: the trader is set up for {self.ENDPOINTS.network}")
        _heard.set(_NOTHING)
        return await super()._request(method, uri, *arguments, **named)

    async def _handle_response(self, response: aiohttp.ClientResponse) -> Any:
        body = await response.read()
        _heard.set(response.headers)
        if not 200 <= response.status < 300:
            raise _reply_error(response, body)
        if not body:
            return {}
        try:
            return _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, ArithmeticError):
            raise UnreadableError(f"HTTP {response.status} with a body that is not JSON") from None


def new_client(endpoints: Endpoints, credentials: Credentials | None) -> Any:
    """A client that can reach these endpoints and nothing else.

    Returns:
        An ``AsyncClient``; close it with ``await close_client(client)``.
    """
    urls = {name: NOWHERE for name in dir(BaseClient) if name.endswith("_URL")}
    spot, futures = f"{endpoints.spot}/api", f"{endpoints.rest}/fapi"
    urls |= {"API_URL": spot, "API_TESTNET_URL": spot, "API_DEMO_URL": spot}
    urls |= {"FUTURES_URL": futures, "FUTURES_TESTNET_URL": futures, "FUTURES_DEMO_URL": futures}
    client_type = type("Client", (_Client,), {**urls, "ENDPOINTS": endpoints})
    outside = endpoints.network != "loopback"
    client = client_type(
        credentials.key if credentials else None,
        credentials.secret if credentials else None,
        requests_params={"timeout": aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)},
        session_params={"connector": aiohttp.TCPConnector(limit=CONNECTIONS_MAX), "trust_env": outside},
    )
    for name in urls:
        url = getattr(client, name)
        if url != NOWHERE and not endpoints.allows(f"{url}/"):
            raise EndpointError(f"{name} is {url}: the trader is set up for {endpoints.network}")
    return client


async def close_client(client: Any) -> None:
    """Close the HTTP session (the client's own WebSocket parts are never opened)."""
    await client.session.close()


def stamp(client: Any, now_ms: float) -> None:
    """Let the next signed request, sent without awaiting anything in between, carry this time."""
    client.timestamp_offset = now_ms - time.time() * 1000.0


def heard_headers() -> Mapping[str, str]:
    """Headers of the reply to the current task's last request; empty when there was no reply."""
    return _heard.get()


def _reply_error(response: aiohttp.ClientResponse, body: bytes) -> ReplyError:
    """The error reply as type, code and text; the code is 0 when the body is not Binance's JSON."""
    try:
        content = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, ArithmeticError):
        content = None
    code, text = 0, ""
    if isinstance(content, dict):
        try:
            code = int(content.get("code") or 0)
        except (TypeError, ValueError):
            code = 0
        text = " ".join(str(content.get("msg") or "").split())[:300]
    wait = response.headers.get("Retry-After", "")
    return ReplyError(response.status, code, text, float(wait) if wait.isascii() and wait.isdigit() else None)
