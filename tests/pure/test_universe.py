"""Which symbols are traded, and why the others are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qt_actors.decisions.universe import choose_universe

NOW = 1_700_000_000_000
DAY = 86_400_000


def chosen(facts, volumes, requested=None, rules=None, **variables):
    listed = rules or [facts.rules(s) for s in volumes]
    return choose_universe(listed, volumes, requested, facts.settings(**variables), NOW)


def test_bitcoin_comes_first_and_the_rest_by_volume_then_by_name(facts):
    made = chosen(facts, {"AUSDT": 5e6, "DUSDT": 9e6, "BTCUSDT": 6e6, "CUSDT": 5e6})
    assert made.symbols == ("BTCUSDT", "DUSDT", "AUSDT", "CUSDT")
    assert made.refused == {}


@pytest.mark.parametrize(
    ("changes", "volume", "reason"),
    [
        ({"status": "SETTLING"}, 9e6, "status SETTLING, not TRADING"),
        ({"brackets": ()}, 9e6, "the exchange gave no leverage table"),
        ({"onboard_ms": NOW - 3 * DAY}, 9e6, "listed 3.0 days ago, at least 7 wanted"),
        ({"onboard_ms": NOW + DAY}, 9e6, "listed 0.0 days ago, at least 7 wanted"),
        ({}, 0.0, "frozen: no volume in 24 h"),
        ({}, 999_999.0, "24 h volume $999,999.00, at least $1,000,000.00 wanted"),
        ({}, None, "24 h volume unknown"),
        ({}, float("nan"), "24 h volume unknown"),
    ],
)
def test_each_refusal_says_why(facts, changes, volume, reason):
    volumes = {} if volume is None else {"XUSDT": volume}
    made = chosen(facts, volumes, rules=[facts.rules("XUSDT", **changes)])
    assert made.symbols == ()
    assert made.refused == {"XUSDT": reason}


def test_symbols_asked_for_need_neither_age_nor_volume_but_must_trade(facts):
    rules = [
        facts.rules("NEWUSDT", onboard_ms=NOW),
        facts.rules("THINUSDT"),
        facts.rules("DEADUSDT"),
        facts.rules("HALTUSDT", status="PENDING_TRADING"),
        facts.rules("OTHERUSDT"),
    ]
    volumes = {"THINUSDT": 10.0, "DEADUSDT": 0.0, "OTHERUSDT": 1e9}
    made = chosen(facts, volumes, ("NEWUSDT", "THINUSDT", "DEADUSDT", "HALTUSDT", "NOPEUSDT"), rules)
    assert made.symbols == ("THINUSDT", "NEWUSDT")
    assert made.refused == {
        "NOPEUSDT": "not listed by the exchange",
        "DEADUSDT": "frozen: no volume in 24 h",
        "HALTUSDT": "status PENDING_TRADING, not TRADING",
    }


def test_other_contracts_are_not_traded_but_their_rules_are_kept_for_whoever_holds_one(facts):
    rules = [
        facts.rules("BTCUSDT"),
        facts.rules("BTCUSDC", quote_asset="USDC"),
        facts.rules("BTCUSDT_261225", contract_type="CURRENT_QUARTER"),
        facts.rules("HALTUSDT", status="SETTLING"),
    ]
    volumes = dict.fromkeys((r.symbol for r in rules), 9e9)
    everything = chosen(facts, volumes, None, rules)
    assert everything.symbols == ("BTCUSDT",)
    assert set(everything.refused) == {"HALTUSDT"}
    named = chosen(facts, volumes, ("BTCUSDC", "BTCUSDT_261225"), rules)
    assert named.symbols == ("BTCUSDT",)
    assert named.refused == {
        "BTCUSDC": "a PERPETUAL contract quoted in USDC, not a perpetual in USDT",
        "BTCUSDT_261225": "a CURRENT_QUARTER contract quoted in USDT, not a perpetual in USDT",
    }
    for made in (everything, named):
        assert {r.symbol for r in made.rules} == set(volumes)


def test_bitcoin_is_kept_as_reference_though_thin_or_not_asked_for(facts):
    assert chosen(facts, {"BTCUSDT": 5.0, "XUSDT": 9e6}).symbols == ("BTCUSDT", "XUSDT")
    assert chosen(facts, {"BTCUSDT": 9e6, "XUSDT": 9e6}, ("XUSDT",)).symbols == ("BTCUSDT", "XUSDT")


def test_bitcoin_that_does_not_trade_is_refused_like_any_other(facts):
    made = chosen(facts, {"BTCUSDT": 9e6}, rules=[facts.rules("BTCUSDT", status="CLOSE")])
    assert (made.symbols, made.refused) == ((), {"BTCUSDT": "status CLOSE, not TRADING"})


def test_beyond_the_limit_the_smallest_are_left_out_with_their_rank(facts):
    made = chosen(facts, {"AUSDT": 5e6, "BUSDT": 9e6, "CUSDT": 7e6}, QT_UNIVERSE_MAX=2)
    assert made.symbols == ("BUSDT", "CUSDT")
    assert made.refused == {"AUSDT": "rank 3 by volume, QT_UNIVERSE_MAX is 2"}


@given(
    volumes=st.dictionaries(st.from_regex(r"\A[A-Z]{2,5}USDT\Z"), st.floats(0, 1e10), max_size=30),
    most=st.integers(1, 40),
)
def test_every_listed_symbol_is_either_traded_or_refused(facts, volumes, most):
    made = chosen(facts, volumes, QT_UNIVERSE_MAX=most)
    assert len(made.symbols) <= most
    assert set(made.symbols) | set(made.refused) == set(volumes)
    assert not set(made.symbols) & set(made.refused)
    shuffled = choose_universe(
        [facts.rules(s) for s in sorted(volumes)], volumes, None, facts.settings(QT_UNIVERSE_MAX=most), NOW
    )
    assert shuffled == made
