"""Money of the embedded exchange: profit, fees, margin, funding, liquidation and settings against worked examples."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from qt_actors.exchange.engine import Quote
from tests.exchange_desk import Desk, refused


def risk(desk: Desk) -> dict[str, Any]:
    return desk.engine.position_risk_v3({"symbol": "BTCUSDT"}, desk.now_ms)[0]


def usdt(desk: Desk) -> dict[str, Any]:
    row: dict[str, Any] = desk.engine.account_v3({}, desk.now_ms)["assets"][0]
    return row


def test_a_round_trip_books_the_figures_captured_from_the_real_exchange() -> None:
    desk = Desk()
    desk.quote("91739.8")
    desk.order("BUY", "0.002")
    opened = desk.events[-2]["a"]["P"][0]
    assert (opened["ep"], opened["bep"], opened["cr"]) == ("91739.9", "91785.76995", "0")
    desk.quote("90853.3")
    desk.order("SELL", "0.002", reduceOnly="true")
    closed, fill = desk.events[-2]["a"]["P"][0], desk.events[-1]["o"]
    assert (closed["pa"], closed["ep"], closed["cr"]) == ("0", "0", "-1.77340000")
    assert (fill["rp"], fill["n"]) == ("-1.77340000", "0.09085320")
    assert desk.engine.wallet() == 10000 - Decimal("0.0917399") - Decimal("0.0908532") - Decimal("1.7734")


def test_adding_averages_the_entry_reducing_keeps_it_and_flipping_starts_anew() -> None:
    desk = Desk("100000")
    desk.order("BUY", "1")
    desk.quote("61000")
    desk.order("BUY", "1")
    assert risk(desk)["entryPrice"] == "60500.1"
    desk.order("SELL", "0.5")
    assert risk(desk)["entryPrice"] == "60500.1"
    desk.quote("61000")
    desk.order("SELL", "2")
    assert (risk(desk)["positionAmt"], risk(desk)["entryPrice"]) == ("-0.500", "60999.9")


def test_income_rows_name_what_happened_and_sum_to_the_wallet() -> None:
    desk = Desk()
    desk.order("BUY", "0.1")
    desk.engine.settle_funding("BTCUSDT", Decimal("0.0001"), desk.now_ms)
    desk.quote("61000")
    desk.order("SELL", "0.1")
    rows = desk.engine.income({}, desk.now_ms)
    kinds = ["TRANSFER", "COMMISSION", "FUNDING_FEE", "COMMISSION", "REALIZED_PNL"]
    assert [row["incomeType"] for row in rows] == kinds
    assert rows[2]["income"] == "-0.60000000"
    assert len({row["tranId"] for row in rows}) == 5
    assert sum(Decimal(row["income"]) for row in rows) == desk.engine.wallet() == desk.engine.income_total()


def test_margins_of_a_position_match_the_documented_example() -> None:
    """ADAUSDT long 30 at 0.385 marked 0.4104759 at 20x: the example of GET v3/positionRisk."""
    desk = Desk()
    for price in ("0.385", "0.4104759"):
        value = Decimal(price)
        book = Quote(
            "ADAUSDT", desk.now_ms, value, value, value, Decimal("0.3849"), Decimal("0.3850"), *[Decimal(99)] * 2
        )
        desk.engine.quote(book)
        if price == "0.385":
            wire = {"symbol": "ADAUSDT", "side": "BUY", "type": "MARKET", "quantity": "30"}
            desk.engine.place_order(wire, desk.now_ms)
    row = desk.engine.position_risk_v3({"symbol": "ADAUSDT"}, desk.now_ms)[0]
    expected = {
        "positionAmt": "30",
        "entryPrice": "0.385",
        "markPrice": "0.41047590",
        "unRealizedProfit": "0.76427700",
        "notional": "12.31427700",
        "initialMargin": "0.61571385",
        "positionInitialMargin": "0.61571385",
        "openOrderInitialMargin": "0",
    }
    assert {key: row[key] for key in expected} == expected
    assert "leverage" not in row
    assert "marginType" not in row


def test_open_orders_bind_margin_for_the_worst_they_can_lead_to() -> None:
    desk = Desk()
    desk.order("BUY", "0.5", "59000")
    assert usdt(desk)["openOrderInitialMargin"] == "1475.00000000"
    desk.order("SELL", "0.5", "61000")
    assert usdt(desk)["openOrderInitialMargin"] == "1525.00000000"
    assert usdt(desk)["availableBalance"] == "8475.00000000"
    assert refused(lambda: desk.order("BUY", "3.4", "59000")) == -2019
    desk.engine.cancel_all_orders({"symbol": "BTCUSDT"}, desk.now_ms)
    assert usdt(desk)["availableBalance"] == "10000.00000000"


def test_an_order_that_reduces_needs_no_margin() -> None:
    desk = Desk("1505")
    desk.order("BUY", "0.49")
    assert Decimal(usdt(desk)["availableBalance"]) < 25
    assert refused(lambda: desk.order("BUY", "0.1")) == -2019
    desk.order("SELL", "0.49")
    assert desk.held() == 0


@pytest.mark.parametrize(("wallet", "fits"), [("3314", False), ("3316", True)])
def test_an_order_costs_its_margin_and_what_it_loses_against_the_mark_at_once(wallet: str, fits: bool) -> None:
    """Buying 1 at 60,300 with the mark at 60,000: 60,300 / 20 + 300 = 3,315."""
    desk = Desk(wallet)
    if fits:
        assert desk.order("BUY", "1", "60300")["status"] == "NEW"
    else:
        assert refused(lambda: desk.order("BUY", "1", "60300")) == -2019


def test_profit_that_is_not_realised_can_be_bound_but_not_taken_out() -> None:
    desk = Desk()
    desk.order("BUY", "0.1")
    desk.quote("61000")
    assert usdt(desk)["availableBalance"] == "9791.98999500"
    assert usdt(desk)["maxWithdrawAmount"] == "9691.99999500"


def test_funding_moves_the_isolated_wallet_and_names_the_symbol() -> None:
    desk = Desk()
    desk.engine.set_margin_type({"symbol": "BTCUSDT", "marginType": "ISOLATED"}, desk.now_ms)
    desk.order("SELL", "0.1")
    before = Decimal(risk(desk)["isolatedWallet"])
    desk.events.clear()
    desk.engine.settle_funding("BTCUSDT", Decimal("0.0001"), desk.now_ms)
    body = desk.events[0]["a"]
    assert (body["m"], body["S"], body["B"][0]["bc"], len(body["P"])) == ("FUNDING_FEE", "BTCUSDT", "0.60000000", 1)
    assert Decimal(risk(desk)["isolatedWallet"]) == before + Decimal("0.6")
    desk.order("BUY", "0.1")
    desk.events.clear()
    desk.engine.settle_funding("BTCUSDT", Decimal("0.0001"), desk.now_ms)
    assert desk.events == []


def test_isolated_margin_can_be_added_and_taken_within_bounds() -> None:
    desk = Desk()
    wire = {"symbol": "BTCUSDT", "amount": "100", "type": "1"}
    margin = partial(desk.engine.position_margin, now_ms=desk.now_ms)
    assert refused(lambda: margin(wire)) == -4049
    desk.engine.set_margin_type({"symbol": "BTCUSDT", "marginType": "ISOLATED"}, desk.now_ms)
    assert refused(lambda: margin(wire)) == -4054
    desk.order("BUY", "0.1")
    assert margin(wire) == {"amount": 100.0, "code": 200, "msg": "Successfully modify position margin.", "type": 1}
    assert desk.events[-1]["a"]["m"] == "MARGIN_TRANSFER"
    assert risk(desk)["isolatedWallet"] == "400.00050000"
    assert refused(lambda: margin({**wire, "amount": "100000"})) == -4050
    assert refused(lambda: margin({**wire, "amount": "300", "type": "2"})) == -4051
    assert refused(lambda: margin({**wire, "amount": "0"})) == -4055
    margin({**wire, "amount": "99", "type": "2"})
    assert risk(desk)["isolatedWallet"] == "301.00050000"
    assert desk.engine.wallet() == desk.engine.income_total()


def test_leverage_is_bounded_by_brackets_position_and_balance() -> None:
    desk = Desk()
    leverage = partial(desk.engine.set_leverage, now_ms=desk.now_ms)
    reply = leverage({"symbol": "BTCUSDT", "leverage": "100"})
    assert reply == {"symbol": "BTCUSDT", "leverage": 100, "maxNotionalValue": "800000"}
    assert desk.events[-1]["ac"] == {"s": "BTCUSDT", "l": 100}
    seen = len(desk.events)
    leverage({"symbol": "BTCUSDT", "leverage": "100"})
    assert len(desk.events) == seen
    for value in ("0", "151", "-1"):
        assert refused(partial(leverage, {"symbol": "BTCUSDT", "leverage": value})) == -4028
    desk.order("BUY", "10")
    assert refused(lambda: leverage({"symbol": "BTCUSDT", "leverage": "150"})) == -2027
    assert refused(lambda: leverage({"symbol": "BTCUSDT", "leverage": "20"})) == -2028


def test_an_isolated_position_keeps_its_leverage_from_being_lowered() -> None:
    desk = Desk()
    desk.engine.set_margin_type({"symbol": "BTCUSDT", "marginType": "ISOLATED"}, desk.now_ms)
    desk.order("BUY", "0.01")
    assert refused(lambda: desk.engine.set_leverage({"symbol": "BTCUSDT", "leverage": "5"}, desk.now_ms)) == -4161


def test_margin_type_changes_only_on_an_empty_symbol() -> None:
    desk = Desk()
    change = partial(desk.engine.set_margin_type, now_ms=desk.now_ms)
    isolated, crossed = ({"symbol": "BTCUSDT", "marginType": kind} for kind in ("ISOLATED", "CROSSED"))
    assert refused(lambda: change(crossed)) == -4046
    desk.order("BUY", "0.1", "59000")
    assert refused(lambda: change(isolated)) == -4047
    desk.engine.cancel_all_orders({"symbol": "BTCUSDT"}, desk.now_ms)
    desk.order("BUY", "0.1")
    assert refused(lambda: change(isolated)) == -4048
    desk.order("SELL", "0.1")
    assert change(isolated) == {"code": 200, "msg": "success"}
    assert desk.engine.symbol_config({"symbol": "BTCUSDT"}, desk.now_ms)[0]["marginType"] == "ISOLATED"


def test_hedge_mode_holds_both_sides_and_closes_each_by_its_own() -> None:
    desk = Desk("100000")
    mode = partial(desk.engine.set_position_side, now_ms=desk.now_ms)
    assert refused(lambda: mode({"dualSidePosition": "false"})) == -4059
    mode({"dualSidePosition": "true"})
    assert refused(lambda: desk.order("BUY", "1")) == -4061
    assert refused(lambda: desk.order("BUY", "1", positionSide="LONG", reduceOnly="true")) == -1106
    assert refused(lambda: desk.order("SELL", "1", positionSide="LONG")) == -2022
    desk.order("BUY", "1", positionSide="LONG")
    desk.order("SELL", "0.5", positionSide="SHORT")
    rows = desk.engine.position_risk_v3({}, desk.now_ms)
    assert [(row["positionSide"], row["positionAmt"]) for row in rows] == [("LONG", "1.000"), ("SHORT", "-0.500")]
    assert rows[0]["liquidationPrice"] == rows[1]["liquidationPrice"]
    assert refused(lambda: mode({"dualSidePosition": "false"})) == -4068
    desk.algo("SELL", "STOP_MARKET", positionSide="LONG", closePosition="true", triggerPrice="59000")
    desk.quote("59000")
    rows = desk.engine.position_risk_v3({}, desk.now_ms)
    assert [(row["positionSide"], row["positionAmt"]) for row in rows] == [("SHORT", "-0.500")]


def test_multi_assets_mode_pools_the_wallets() -> None:
    desk = Desk("1000")
    desk.engine.transfer("USDC", Decimal(500), desk.now_ms)
    assert desk.events[-1]["a"]["m"] == "DEPOSIT"
    assert usdt(desk)["availableBalance"] == "1000.00000000"
    desk.engine.set_multi_assets({"multiAssetsMargin": "true"}, desk.now_ms)
    assert (usdt(desk)["availableBalance"], usdt(desk)["walletBalance"]) == ("1500.00000000", "1000.00000000")
    assert refused(lambda: desk.engine.set_multi_assets({"multiAssetsMargin": "true"}, desk.now_ms)) == -4171
    wire = {"symbol": "BTCUSDT", "marginType": "ISOLATED"}
    assert refused(lambda: desk.engine.set_margin_type(wire, desk.now_ms)) == -4168
    assert refused(lambda: desk.engine.transfer("USDC", Decimal(-2000), desk.now_ms)) == -2018
