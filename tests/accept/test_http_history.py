"""The HTTP API over a real socket: what the journal tells."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from qt_actors.messages import market, system
from tests.web_site import (
    BAR,
    NOW,
    ZERO,
    a_decision,
    a_result,
    decided,
)


def test_the_equity_curve_is_thinned_and_keeps_its_newest_point(site):
    worth = Decimal(10_000)
    site.journal.append(
        [
            system.EquityMeasured(
                now_ms=NOW - 10_000 * i,
                wallet_usd=worth,
                equity_usd=worth - i,
                unrealized_usd=ZERO,
                daily_pnl_usd=ZERO,
                gross_notional_usd=ZERO,
            )
            for i in range(5000)
        ]
    )
    points = site.get("/api/equity")["equity"]
    assert 600 <= len(points) <= 720
    assert points[-1]["equity_usd"] == 10_000
    assert [p["now_ms"] for p in points] == sorted(p["now_ms"] for p in points)
    assert len(site.get("/api/equity?hours=1")["equity"]) == 361


def test_thinning_the_equity_curve_hides_neither_its_lowest_nor_its_highest_reading(site):
    readings = {10: "9000.5", 2224: "11000.25"}  # neither is the newest reading of its step
    site.journal.append(
        [
            system.EquityMeasured(
                now_ms=NOW - 10_000 * i,
                wallet_usd=Decimal(10_000),
                equity_usd=Decimal(readings.get(i, "10000")),
                unrealized_usd=ZERO,
                daily_pnl_usd=ZERO,
                gross_notional_usd=ZERO,
            )
            for i in range(5000)
        ]
    )
    told = site.get("/api/equity")
    assert (told["low_usd"], told["high_usd"]) == (9000.5, 11000.25)
    assert {p["equity_usd"] for p in told["equity"]} == {10_000}
    assert [p["low_usd"] for p in told["equity"]].count(9000.5) == 1


def test_trades_come_newest_first_as_many_as_asked(site):
    site.journal.append([a_result(i) for i in range(60)])
    assert len(site.get("/api/trades")["trades"]) == 50
    first, second = site.get("/api/trades?limit=2")["trades"]
    assert (first["decision_id"], second["decision_id"]) == ("BTCUSDT-59", "BTCUSDT-58")
    assert (first["realized_usd"], first["exits"]) == (5.0, ["target", "trail"])
    assert site.get("/api/pnl")["by_day"][0]["realized_usd"] == 300.0


def test_a_closed_trade_tells_the_side_of_its_order_and_what_was_held(site):
    site.journal.append([a_result(1), msgspec.structs.replace(a_result(2), side="SELL")])
    told = [(t["side"], t["position"]) for t in site.get("/api/trades")["trades"]]
    assert told == [("SELL", "SHORT"), ("BUY", "LONG")]


def test_decisions_of_a_symbol_show_value_against_limit(site):
    site.journal.append([decided(a_decision())])
    told = site.get("/api/decisions/btcusdt")["decisions"][0]
    assert (told["verdict"], told["gate"]) == ("denied", "confidence")
    assert (told["gates"][0]["value"], told["gates"][0]["limit"]) == ("0.41", "0.55")


def test_why_sums_up_where_all_symbols_ended(site):
    names = [f"S{i}USDT" for i in range(7)]
    site.journal.append([decided(a_decision("BTCUSDT", "admitted", ""), *(a_decision(n) for n in names))])
    told = site.get("/api/why")
    assert (told["decisions"], told["admitted"], told["close_time_ms"]) == (8, 1, BAR)
    assert [(f["verdict"], f["reason"], f["decisions"]) for f in told["funnel"]] == [
        ("denied", "confidence", 7),
        ("admitted", "", 1),
    ]


def test_a_symbol_that_is_not_traded_is_404_with_the_reason(site):
    site.show(market.UniverseChosen(symbols=("BTCUSDT",), rules=(), refused={"DOGEUSDT": "volume 3 < 1000000"}))
    assert site.ask("/api/decisions/DOGEUSDT") == (404, {"error": "symbol DOGEUSDT: volume 3 < 1000000"})
    assert site.ask("/api/decisions/币安USDT") == (404, {"error": "symbol 币安USDT: not traded here"})
    assert site.get("/api/decisions/BTCUSDT")["decisions"] == []


def test_a_journal_that_cannot_be_read_is_503_in_one_line_and_the_rest_goes_on(site):
    site.journal._connection.execute("PRAGMA user_version = 99")
    status, told = site.ask("/api/trades")
    assert status == 503
    assert "version 99" in told["error"]
    site.get("/api/positions")
