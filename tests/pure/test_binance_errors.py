"""What is known after each way a request can fail; endpoints that cannot be mixed up; secrets that cannot leak."""

from __future__ import annotations

import copy
import pickle

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from qt_actors.edges.binance_client import Credentials
from qt_actors.edges.binance_errors import Failure, ReplyError, UnreadableError, classify
from qt_actors.edges.endpoints import LIVE, TESTNET, EndpointError, Endpoints, loopback, network_of

UNKNOWN_503 = "Unknown error, please check your request or try again later."


@pytest.mark.parametrize(
    ("status", "code", "text", "outcome"),
    [
        (503, 0, UNKNOWN_503, "unknown"),
        (503, -1000, UNKNOWN_503, "unknown"),
        (503, 0, "Service Unavailable.", "retry"),
        (503, -1001, "Internal error; unable to process your request. Please try again.", "retry"),
        (503, -1008, "Request throttled by system-level protection.", "retry"),
        (503, 0, "", "unknown"),
        (400, -1006, "", "unknown"),
        (408, -1007, "Timeout waiting for response from backend server.", "unknown"),
        (400, -1007, "", "unknown"),
        (500, 0, "", "unknown"),
        (502, 0, "", "unknown"),
        (408, 0, "", "unknown"),
        (400, -1021, "", "clock"),
        (400, -5028, "", "clock"),
        (400, -1022, "", "credentials"),
        (401, -2015, "", "credentials"),
        (429, -1003, "Too many requests", "limited"),
        (429, -1015, "Too many new orders", "limited"),
        (429, 0, "", "limited"),
        (418, -1003, "IP banned until 1795300000000", "banned"),
        (403, 0, "", "limited"),
        (400, -2011, "Unknown order sent.", "missing"),
        (400, -2013, "Order does not exist.", "missing"),
        (400, -4117, "Stop order is triggering.", "missing"),
        (400, -4116, "ClientOrderId is duplicated.", "duplicate"),
        (400, -4046, "No need to change margin type.", "unchanged"),
        (400, -2021, "Order would immediately trigger.", "rejected"),
        (400, -2019, "Margin is insufficient.", "rejected"),
        (400, -4509, "", "rejected"),
        (400, -999999, "a code of tomorrow", "rejected"),
        (404, 0, "", "rejected"),
    ],
)
def test_an_error_reply_says_what_is_known(status: int, code: int, text: str, outcome: str) -> None:
    assert classify(ReplyError(status, code, text)).outcome == outcome


def test_a_ban_tells_when_it_ends_and_a_limit_how_long_to_wait() -> None:
    assert classify(ReplyError(418, -1003, "IP(1.2.3.4) banned until 1795300000000.")).banned_until_ms == 1795300000000
    assert classify(ReplyError(429, -1003, "", wait_s=17.0)).wait_s == 17.0
    assert classify(ReplyError(429, -1003, "", wait_s=1e12)).wait_s == 3 * 86_400


def test_what_never_left_this_machine_may_be_sent_again_and_everything_else_is_unknown() -> None:
    key = ConnectionKey("h", 1, False, True, None, None, None)
    refused = classify(aiohttp.ClientConnectorError(key, ConnectionRefusedError()))
    assert (refused.outcome, refused.sent) == ("retry", False)
    assert classify(aiohttp.ConnectionTimeoutError()).outcome == "retry"
    surprises = (TimeoutError(), aiohttp.ServerDisconnectedError(), ConnectionResetError(), KeyError("x"))
    for error in (*surprises, UnreadableError("no JSON"), aiohttp.ClientPayloadError()):
        failure = classify(error)
        assert (failure.outcome, failure.sent) == ("unknown", True)


def test_a_classified_failure_stays_what_it_is() -> None:
    failure = Failure("banned", -1003, "banned")
    assert classify(failure) is failure


@pytest.mark.parametrize(
    ("network", "rest"),
    [
        ("loopback", "https://fapi.binance.com"),
        ("testnet", "https://fapi.binance.com"),
        ("live", "https://demo-fapi.binance.com"),
        ("live", "http://127.0.0.1:9000"),
        ("live", "http://fapi.binance.com"),
        ("loopback", "http://127.0.0.1:9000/fapi"),
        ("loopback", "127.0.0.1:9000"),
        ("loopback", "http://FAPI.BINANCE.COM."),
        ("loopback", "http://user@127.0.0.1:9000"),
    ],
)
def test_endpoints_of_one_network_cannot_name_a_host_of_another(network: str, rest: str) -> None:
    with pytest.raises(EndpointError):
        Endpoints(network, rest, rest, "ws://127.0.0.1:9000")  # type: ignore[arg-type] # a parametrised literal


def test_each_network_allows_its_own_urls_only() -> None:
    here = loopback("http://127.0.0.1:9000/")
    assert here.streams == "ws://127.0.0.1:9000"
    assert here.allows("http://127.0.0.1:9000/fapi/v1/order")
    for url in (
        "https://fapi.binance.com/fapi/v1/order",
        "http://127.0.0.1:90001/fapi/v1/order",
        "http://127.0.0.1:9000/x",
    ):
        assert not here.allows(url)
    assert not TESTNET.allows("https://fapi.binance.com/fapi/v1/order")
    assert LIVE.allows("https://fapi.binance.com/fapi/v1/order")
    assert network_of("exchange") == "loopback"


def test_credentials_show_themselves_nowhere() -> None:
    credentials = Credentials("key-abc", "secret-xyz")
    shown = f"{credentials} {credentials!r} {[credentials]} {vars(type(credentials)).get('key')}"
    assert "abc" not in shown
    assert "xyz" not in shown
    assert credentials.redact("GET ?apiKey=key-abc&s=secret-xyz") == "GET ?apiKey=***&s=***"
    for write in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="never written"):
            write(credentials)
