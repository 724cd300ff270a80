from __future__ import annotations

import hashlib
import hmac
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qt_actors.exchange.clock import ExchangeClock
from qt_actors.exchange.errors import ExchangeError
from qt_actors.exchange.limits import Limits
from qt_actors.exchange.listen_keys import LIFETIME_MS, ListenKeys
from qt_actors.exchange.signing import check_key, check_signature, check_time

SECRET = "a secret"


def signed(text: str) -> str:
    return hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()


def refused(code: int) -> pytest.RaisesExc[ExchangeError]:
    return pytest.raises(ExchangeError, match=f"^{code}:")


class Wall:
    def __init__(self) -> None:
        self.ms = 1_800_000_000_000.0

    def read(self) -> float:
        return self.ms


@given(params=st.dictionaries(st.sampled_from("abcdef"), st.text(max_size=8), max_size=6), as_sent=st.booleans())
def test_whatever_was_signed_as_sent_or_as_meant_is_accepted(params: dict[str, str], *, as_sent: bool) -> None:
    wire = "&".join(f"{name}={quote(value, safe='')}" for name, value in params.items())
    plain = "&".join(f"{name}={value}" for name, value in params.items())
    separator = "&" if wire else ""
    check_signature(f"{wire}{separator}signature={signed(wire if as_sent else plain)}", "", SECRET)


def test_query_and_body_are_signed_one_after_the_other() -> None:
    signature = signed("a=1b=2")
    check_signature("a=1", f"b=2&signature={signature}", SECRET)
    check_signature(f"a=1&signature={signature.upper()}", "b=2", SECRET)


def test_python_binance_encodes_the_symbol_and_signs_it_encoded_but_nothing_else() -> None:
    symbol = quote("币安人生USDT")
    check_signature(
        f"newClientOrderId=a%2Fb&symbol={symbol}&signature={signed(f'newClientOrderId=a/b&symbol={symbol}')}",
        "",
        SECRET,
    )


def test_a_wrong_or_missing_signature_has_its_code() -> None:
    with refused(-1022):
        check_signature("a=1&signature=" + signed("a=2"), "", SECRET)
    with refused(-1022):
        check_signature("a=1&signature=\u00e9", "", SECRET)
    with refused(-1102):
        check_signature("a=1", "b=2", SECRET)


@pytest.mark.parametrize(
    ("sent", "code"), [(None, -2014), ("", -2014), ("x" * 300, -2014), ("\u00e9", -2014), ("other", -2015)]
)
def test_keys_that_are_none_or_not_ours_have_their_codes(sent: str | None, code: int) -> None:
    with refused(code) as caught:
        check_key(sent, "ours")
    assert caught.value.http_status == 401


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, -1102),
        ({"timestamp": "abc"}, -1100),
        ({"timestamp": "1.5"}, -1100),
        ({"timestamp": "0"}, -1021),
        ({"timestamp": "1000000", "recvWindow": "60001"}, -1131),
        ({"timestamp": "1000000", "recvWindow": "-1"}, -1131),
        ({"timestamp": "1000000", "recvWindow": "x"}, -1100),
        ({"timestamp": "990000", "recvWindow": "9999"}, -1021),
        ({"timestamp": "1001000"}, -1021),
    ],
)
def test_times_that_are_none_or_too_far_have_their_codes(params: dict[str, str], code: int) -> None:
    clock = ExchangeClock(1_000_000, 1.0, wall=lambda: 5e11, monotonic=lambda: 0.0)
    with refused(code):
        check_time(params, clock)
    check_time({"timestamp": "990000", "recvWindow": "10000"}, clock)


def test_weight_counts_within_the_utc_minute_and_past_the_limit_is_429() -> None:
    wall = Wall()
    limits = Limits(wall.read, weight_max=10)
    limits.count_weight(10)
    assert limits.headers(orders=False) == {"X-MBX-USED-WEIGHT-1M": "10"}
    with refused(-1003) as caught:
        limits.count_weight(1)
    assert caught.value.http_status == 429
    assert 1 <= limits.retry_after_s() <= 60
    wall.ms = (wall.ms // 60_000 + 1) * 60_000
    limits.count_weight(1)
    assert limits.headers(orders=False) == {"X-MBX-USED-WEIGHT-1M": "1"}


def test_going_on_after_429_is_a_ban_that_grows() -> None:
    wall = Wall()
    limits = Limits(wall.read, weight_max=10)
    with refused(-1003) as caught:
        limits.count_weight(5000)
    assert caught.value.http_status == 418
    until = int(caught.value.msg.split("banned until ")[1].split(".")[0])
    assert until == wall.ms + 120_000
    wall.ms = until - 1
    with refused(-1003) as caught:
        limits.count_weight(0)
    assert caught.value.http_status == 418
    assert limits.retry_after_s() == 1
    wall.ms = until + 60_000
    limits.count_weight(1)
    with refused(-1003) as caught:
        limits.count_weight(5000)
    assert int(caught.value.msg.split("banned until ")[1].split(".")[0]) == wall.ms + 240_000


def test_funding_requests_fill_a_bucket_of_their_own_for_five_minutes() -> None:
    wall = Wall()
    limits = Limits(wall.read)
    for _ in range(500):
        limits.count_bucket("funding")
    with refused(-1003) as caught:
        limits.count_bucket("funding")
    assert caught.value.http_status == 429
    limits.count_bucket("data")
    assert limits.headers(orders=False) == {"X-MBX-USED-WEIGHT-1M": "0"}
    wall.ms = (wall.ms // 300_000 + 1) * 300_000
    limits.count_bucket("funding")


def test_orders_count_on_both_windows_and_a_refused_one_counts_on_none() -> None:
    wall = Wall()
    limits = Limits(wall.read, orders_minute_max=8, orders_ten_seconds_max=6)
    limits.count_orders(5, 1)
    limits.count_orders(1, 1)
    assert limits.headers(orders=True)["X-MBX-ORDER-COUNT-10S"] == "6"
    with refused(-1015) as caught:
        limits.count_orders(1, 1)
    assert caught.value.http_status == 429
    assert limits.headers(orders=True)["X-MBX-ORDER-COUNT-1M"] == "2"
    assert 1 <= limits.retry_after_s() <= 10
    wall.ms += 10_000
    limits.count_orders(6, 6)
    wall.ms += 10_000
    with refused(-1015):
        limits.count_orders(1, 1)


def test_an_account_has_one_listen_key_that_lives_sixty_minutes_from_the_last_renewal() -> None:
    wall = Wall()
    keys = ListenKeys(wall.read)
    with refused(-1125):
        keys.extend()
    key = keys.create()
    assert len(key) == 64
    wall.ms += LIFETIME_MS - 1
    assert keys.create() == key
    wall.ms += LIFETIME_MS - 1
    assert keys.extend() == key
    assert keys.expired() is None
    wall.ms += LIFETIME_MS
    assert not keys.is_live(key)
    assert keys.expired() == key
    assert keys.expired() is None
    assert keys.create() != key
    assert keys.delete() is not None
    assert keys.delete() is None
