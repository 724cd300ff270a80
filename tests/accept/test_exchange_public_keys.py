"""Accounts with a public key: RSA and Ed25519 signatures over REST and the WebSocket API, python-binance's own."""

from __future__ import annotations

import asyncio
import base64
import json
from functools import cache
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from binance import AsyncClient, BinanceAPIException
from binance.base_client import BaseClient
from Crypto.PublicKey import ECC, RSA
from Crypto.Signature import eddsa
from typer.testing import CliRunner

from qt_actors.cli.app import app
from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.errors import ExchangeError
from qt_actors.exchange.server import serve_in_thread
from qt_actors.exchange.signing import check_signature
from qt_actors.exchange.ws_api import PATH
from tests.exchange_client import KEY, ask, at

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qt_actors.exchange.server import ServedExchange

KINDS = ["rsa", "ed25519"]


@cache
def pair(kind: str, owner: str = "ours") -> Any:  # noqa: ARG001 - another owner has another pair
    """A key pair; an RSA one takes a second to make."""
    return RSA.generate(2048) if kind == "rsa" else ECC.generate(curve="Ed25519")


def private_text(key: Any) -> str:
    return key.export_key().decode() if isinstance(key, RSA.RsaKey) else key.export_key(format="PEM")


def public_text(key: Any) -> str:
    if isinstance(key, RSA.RsaKey):
        return key.public_key().export_key().decode()
    return key.public_key().export_key(format="PEM")


@pytest.fixture(scope="module", params=KINDS)
def held(request: pytest.FixtureRequest) -> Iterator[tuple[str, Any, ServedExchange]]:
    """A kind, its key pair and an exchange that knows the public half."""
    key = pair(request.param)
    served = serve_in_thread(ExchangeConfig(symbols=("BTCUSDT",), seed=3, api_key=KEY, api_secret=public_text(key)))
    yield request.param, key, served
    served.stop()


def limit(price: float, name: str) -> dict[str, Any]:
    return {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.010",
            "price": f"{price * 0.97:.1f}", "newClientOrderId": name}  # fmt: skip


def test_python_binance_trades_with_its_private_key(
    held: tuple[str, Any, ServedExchange], monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, key, served = held
    host = f"127.0.0.1:{served.port}"
    monkeypatch.setattr(BaseClient, "FUTURES_URL", f"http://{host}/fapi")
    monkeypatch.setattr(BaseClient, "API_URL", f"http://{host}/api")
    monkeypatch.setattr(BaseClient, "WS_FUTURES_URL", f"ws://{host}{PATH}")

    async def check() -> None:
        client = await AsyncClient.create(KEY, private_key=private_text(key))
        stranger = await AsyncClient.create(KEY, private_key=private_text(pair(kind, "a stranger")))
        try:
            stranger.timestamp_offset = client.timestamp_offset
            price = float((await client.futures_mark_price(symbol="BTCUSDT"))["markPrice"])
            order = await client.futures_create_order(**limit(price, "over:rest/"))
            named = {"symbol": "BTCUSDT", "orderId": order["orderId"]}
            assert [row["orderId"] for row in await client.futures_get_open_orders(symbol="BTCUSDT")] == [
                order["orderId"]
            ]
            assert (await client.futures_cancel_order(**named))["status"] == "CANCELED"
            if kind != "rsa":  # its socket takes ten seconds to close
                assert (await client.ws_futures_create_order(**limit(price, "over-the-socket")))["status"] == "NEW"
            with pytest.raises(BinanceAPIException) as caught:
                await stranger.futures_account_balance()
            assert caught.value.code == -1022
        finally:
            for one in (client, stranger):
                await one.close_connection()
                await one.ws_future.close()

    asyncio.run(check())


def test_only_an_ed25519_key_logs_a_session_on_and_then_nothing_is_signed(
    held: tuple[str, Any, ServedExchange],
) -> None:
    kind, key, served = held

    async def check() -> None:
        async with at(served) as session, session.ws_connect(PATH) as stream, session.ws_connect(PATH) as other:
            now = (await ask(session, "GET", "/fapi/v1/time"))[1]["serverTime"]

            async def call(on: aiohttp.ClientWebSocketResponse, method: str, **params: Any) -> Any:
                await on.send_json({"id": 1, "method": method, "params": params})
                return json.loads((await on.receive(10)).data)

            def signed(text: str) -> str:
                return base64.b64encode(eddsa.new(key, "rfc8032").sign(text.encode())).decode() if kind != "rsa" else ""

            wire = {"apiKey": KEY, "timestamp": now}
            logon = {**wire, "signature": signed(f"apiKey={KEY}&timestamp={now}")}
            if kind == "rsa":
                assert (await call(stream, "session.logon", **logon))["error"]["code"] == -1020
                return
            wrong = {**wire, "signature": signed(f"apiKey={KEY}&timestamp={now + 1}")}
            assert (await call(stream, "session.logon", **wrong))["error"]["code"] == -1022
            assert (await call(stream, "session.logon", **{**logon, "apiKey": "x"}))["error"]["code"] == -2015
            assert (await call(stream, "account.balance", timestamp=now))["error"]["code"] == -2014
            said = (await call(stream, "session.logon", **logon))["result"]
            assert (said["apiKey"], said["authorizedSince"] >= said["connectedSince"]) == (KEY, True)
            assert (await call(stream, "account.balance", timestamp=now))["status"] == 200
            assert (await call(stream, "account.balance"))["error"]["code"] == -1102, (
                "a timestamp is wanted all the same"
            )
            assert (await call(stream, "account.balance", **wire))["error"]["code"] == -1102, (
                "a key wants its signature"
            )
            assert (await call(other, "account.balance", timestamp=now))["error"]["code"] == -2014
            assert (await call(stream, "session.logout"))["result"]["apiKey"] is None
            assert (await call(stream, "account.balance", timestamp=now))["error"]["code"] == -2014

    asyncio.run(check())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("signature", ["", "AAAA", "%%%", "é", "A" * 5000, "-----BEGIN"])
def test_a_signature_of_any_other_text_is_none(kind: str, signature: str) -> None:
    with pytest.raises(ExchangeError, match=r"-1022|-1102"):
        check_signature(f"a=1&signature={signature}", "", public_text(pair(kind)))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("paper", "begins with no"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "is no public key of RSA or Ed25519"),
        (private_text(pair("ed25519")), "is a private key"),
        (ECC.generate(curve="P-256").public_key().export_key(format="PEM"), "is no public key of RSA or Ed25519"),
    ],
)
def test_the_command_refuses_what_is_no_public_key_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "key.pem"
    path.write_text(text)
    result = CliRunner().invoke(app, ["exchange", "--api-public-key", str(path)])
    assert result.exit_code == 2
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1
