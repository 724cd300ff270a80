from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qt_actors.decisions.ids import ClientId, client_id, parse

PURPOSES = st.sampled_from(["stop", "entry", "target", "trail", "close"])
SYMBOLS = st.from_regex(r"\A[0-9A-Z]{2,12}USDT\Z")


@given(SYMBOLS, st.integers(1_500_000_000, 2_100_000_000), PURPOSES, st.integers(0, 50))
def test_a_client_id_says_its_symbol_bar_purpose_and_attempt(symbol, seconds, purpose, attempt):
    made = client_id(symbol, seconds * 1000, purpose, attempt)
    assert parse(made) == ClientId(symbol, seconds * 1000, purpose, attempt)
    assert re.fullmatch(r"[\.A-Z\:/a-z0-9_-]{1,36}", made)


def test_symbols_outside_ascii_get_an_id_the_exchange_allows():
    made = client_id("币安人生USDT", 1_760_000_000_000, "stop")
    assert made.isascii()
    assert len(made) <= 36
    assert parse(made).purpose == "stop"


@pytest.mark.parametrize(
    "foreign", ["", "autoclose-1", "x-Cb7ytekJ0123", "qt-BTCUSDT-zz", "qt-BTCUSDT-0-x0", "web_abc"]
)
def test_foreign_ids_are_not_taken_for_ours(foreign):
    assert parse(foreign) is None


def test_an_id_too_long_for_the_exchange_is_refused_where_it_is_made():
    with pytest.raises(ValueError, match="at most 36"):
        client_id("A" * 30, 1_760_000_000_000, "stop")
