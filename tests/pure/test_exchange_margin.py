"""Money of the embedded exchange: profit, fees, margin, funding, liquidation and settings against worked examples."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from qt_actors.exchange.engine import Engine, ExchangeRules, Quote
from qt_actors.exchange.margin import Leg, bankruptcy_price, liquidation_price
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


@pytest.mark.parametrize("side", ["BUY", "SELL"])
@pytest.mark.parametrize("margin_type", ["CROSSED", "ISOLATED"])
def test_a_position_is_liquidated_at_its_liquidation_price_and_not_before(side: str, margin_type: str) -> None:
    desk = Desk("4000")
    if margin_type == "ISOLATED":
        desk.engine.set_margin_type({"symbol": "BTCUSDT", "marginType": "ISOLATED"}, desk.now_ms)
    desk.order(side, "1")
    price = Decimal(risk(desk)["liquidationPrice"])
    assert (price < 60000) == (side == "BUY")
    towards = Decimal("0.01") if side == "BUY" else Decimal("-0.01")
    desk.quote(str(round(price, 1)), mark=str(price + towards))
    assert abs(desk.held()) == 1
    desk.quote(str(round(price, 1)), mark=str(price - towards))
    assert desk.held() == 0


def test_the_isolated_liquidation_price_is_the_documented_simplification() -> None:
    """LP = (EP Q - WB - cum) / (Q (1 - MMR)) for an isolated long; short alike with the signs turned."""
    rules = ExchangeRules.default().symbols["BTCUSDT"]
    long = Leg(Decimal(1), Decimal(60000), Decimal(60000), rules)
    short = Leg(Decimal(-1), Decimal(-60000), Decimal(60000), rules)
    wallet, rate = Decimal(3000), Decimal("0.004")
    zero = Decimal(0)
    assert liquidation_price([long], wallet, zero, zero) == (60000 - wallet) / (1 - rate)
    assert liquidation_price([short], wallet, zero, zero) == (60000 + wallet) / (1 + rate)
    assert bankruptcy_price(long, wallet, zero) == 57000


def test_liquidation_price_uses_the_bracket_of_the_price_it_finds() -> None:
    rules = ExchangeRules.default().symbols["BTCUSDT"]
    leg = Leg(Decimal(-100), Decimal(-6_000_000), Decimal(60000), rules)
    price = liquidation_price([leg], Decimal(12_000_000), Decimal(0), Decimal(0))
    there = Leg(leg.qty, leg.cost, price, rules)
    assert rules.bracket(abs(there.notional)) != rules.bracket(abs(leg.notional))
    assert abs(12_000_000 + there.unrealized - there.maintenance) < Decimal("0.000001")


def test_a_liquidation_cancels_orders_closes_at_calculated_fills_and_leaves_nothing_negative() -> None:
    desk = Desk("4000")
    desk.order("BUY", "1")
    desk.order("BUY", "0.1", "55000", newClientOrderId="bid")
    desk.algo("SELL", "STOP_MARKET", quantity="1", triggerPrice="50000", reduceOnly="true", clientAlgoId="late")
    desk.events.clear()
    desk.quote("56000")
    order_events = [e["o"] for e in desk.events if e["e"] == "ORDER_TRADE_UPDATE"]
    assert [(o["c"][:9], o["x"], o["er"]) for o in order_events] == [
        ("bid", "EXPIRED", "5"),
        ("autoclose", "CALCULATED", "0"),
    ]
    assert desk.kinds()[-1] == "ALGO_UPDATE EXPIRED"
    assert desk.held() == 0
    kinds = [row["incomeType"] for row in desk.engine.income({}, desk.now_ms)]
    assert kinds[-1] == "INSURANCE_CLEAR"
    assert desk.engine.wallet() == desk.engine.income_total() == 0
    assert len(desk.engine.force_orders({}, desk.now_ms)) == 1


def test_a_liquidation_that_leaves_money_takes_only_its_fee() -> None:
    """A mark below the liquidation price while the book still trades far above: 1.25 % of the notional is the fee."""
    desk = Desk("4000")
    desk.order("BUY", "1")
    desk.quote("59500", mark="56000")
    sold = Decimal("59499.9")
    left = 4000 - Decimal("60000.1") * Decimal("1.0005") + sold * Decimal("0.9995") - sold * Decimal("0.0125")
    assert desk.engine.wallet() == left


def test_the_insurance_fund_pays_what_a_liquidation_leaves_below_zero() -> None:
    """Sold just above the bankruptcy price of 56,030.1: the commission alone takes the wallet below zero."""
    desk = Desk("4000")
    desk.order("BUY", "1")
    desk.quote("56031")
    last = desk.engine.income({"incomeType": "INSURANCE_CLEAR"}, desk.now_ms)[-1]
    assert Decimal(last["income"]) > 25
    assert desk.engine.wallet() == desk.engine.income_total() == 0


def test_an_isolated_liquidation_leaves_the_rest_of_the_wallet_alone() -> None:
    desk = Desk("10000")
    desk.engine.set_margin_type({"symbol": "BTCUSDT", "marginType": "ISOLATED"}, desk.now_ms)
    desk.order("BUY", "1")
    wallet = Decimal(risk(desk)["isolatedWallet"])
    assert wallet == Decimal("60000.1") / 20
    before = desk.engine.wallet()
    desk.quote("50000")
    assert desk.held() == 0
    assert desk.engine.wallet() == before - wallet == desk.engine.income_total()


def test_a_cross_liquidation_starts_with_the_worst_and_stops_when_the_rest_is_carried() -> None:
    desk = Desk("4000")
    price, size = Decimal(3000), Decimal(50)
    bid, ask = price - Decimal("0.01"), price + Decimal("0.01")
    desk.engine.quote(Quote("ETHUSDT", desk.now_ms, price, price, price, bid, ask, size, size))
    desk.engine.place_order({"symbol": "ETHUSDT", "side": "BUY", "type": "MARKET", "quantity": "1"}, desk.now_ms)
    desk.order("BUY", "1")
    desk.quote("58500", mark="56200")
    held = {row["symbol"]: row["positionAmt"] for row in desk.engine.position_risk_v3({}, desk.now_ms)}
    assert held == {"ETHUSDT": "1.000"}
    assert desk.engine.wallet() > 0


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


def test_a_hedged_pair_is_liquidated_where_the_joint_formula_says() -> None:
    desk = Desk("3500")
    desk.engine.set_position_side({"dualSidePosition": "true"}, desk.now_ms)
    desk.order("BUY", "0.8", positionSide="LONG")
    desk.order("SELL", "0.3", positionSide="SHORT")
    price = Decimal(desk.engine.position_risk_v3({}, desk.now_ms)[0]["liquidationPrice"])
    desk.quote(str(round(price, 1)), mark=str(price + Decimal("0.01")))
    assert len(desk.engine.position_risk_v3({}, desk.now_ms)) == 2
    desk.quote(str(round(price, 1)), mark=str(price - Decimal("0.01")))
    assert len(desk.engine.position_risk_v3({}, desk.now_ms)) < 2


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


@pytest.mark.parametrize("margin_type", ["CROSSED", "ISOLATED"])
def test_a_liquidation_ends_when_what_the_book_took_makes_the_rest_safe(margin_type: str) -> None:
    """The mark is below the liquidation price while 2 of the 6 BTC find a bid at 59,000, and no other bid is good."""
    desk = Desk("19000")
    if margin_type == "ISOLATED":
        desk.engine.set_margin_type({"symbol": "BTCUSDT", "marginType": "ISOLATED"}, desk.now_ms)
    desk.order("BUY", "6")
    entry, margin = Decimal(risk(desk)["entryPrice"]), Decimal(risk(desk)["isolatedWallet"])
    mark = Decimal(risk(desk)["liquidationPrice"]) - 5
    desk.algo("SELL", "STOP_MARKET", quantity="1", triggerPrice="30000", reduceOnly="true")
    before = desk.engine.wallet()
    desk.events.clear()
    desk.touch("59000", "59000", "62000", mark=str(mark))
    closing = [event["o"] for event in desk.events if event["e"] == "ORDER_TRADE_UPDATE"]
    assert [(order["x"], order["X"], order["l"], order["er"]) for order in closing] == [
        ("CALCULATED", "PARTIALLY_FILLED", "2", "0"),
        ("EXPIRED", "EXPIRED", "0", "2"),
    ]
    assert desk.held() == 4
    loss = 2 * (59000 - entry) - 2 * 59000 * Decimal("0.0005")
    fee = 2 * 59000 * Decimal("0.0125")
    fee = min(fee, margin / 3 + loss) if margin else fee
    assert desk.engine.wallet() == before + loss - fee == desk.engine.income_total()
    after = risk(desk)
    backing = Decimal(after["isolatedWallet"]) or desk.engine.wallet()
    assert backing + 4 * (mark - entry) > Decimal(after["maintMargin"]) > 0
    assert len(desk.engine.open_algo_orders({}, desk.now_ms)) == 1


def test_a_margin_call_comes_once_before_a_liquidation_and_again_after_a_recovery() -> None:
    """Maintenance of 1 BTC at 0.4 % is some 226 of the balance left of 4,000: the call comes below 56,312."""
    desk = Desk("4000")
    desk.order("BUY", "1")
    wallet = desk.engine.wallet()
    desk.events.clear()
    for mark in ("56320", "56300", "56290"):
        desk.quote("56300", mark=mark)
    assert [event["e"] for event in desk.events] == ["MARGIN_CALL"]
    called = desk.events[0]
    assert Decimal(called["cw"]) == wallet
    assert called["p"] == [
        {"s": "BTCUSDT", "ps": "BOTH", "pa": "1", "mt": "CROSSED", "iw": "0", "mp": "56300", "up": "-3700.1",
         "mm": "225.2"},
    ]  # fmt: skip
    desk.engine = Engine.restore(desk.engine.save(), ExchangeRules.default(), desk.events.append)
    for mark in ("56290", "57000", "56300"):
        desk.quote("56300", mark=mark)
    assert [event["e"] for event in desk.events] == ["MARGIN_CALL"] * 2
    desk.quote("56100", mark="56100")
    assert desk.held() == 0


def test_a_margin_call_of_an_isolated_position_names_no_cross_wallet() -> None:
    desk = Desk("10000")
    desk.engine.set_margin_type({"symbol": "BTCUSDT", "marginType": "ISOLATED"}, desk.now_ms)
    desk.order("SELL", "1")
    desk.events.clear()
    desk.quote("62700")
    called = desk.events[-1]
    assert called["e"] == "MARGIN_CALL"
    assert "cw" not in called
    assert (called["p"][0]["mt"], called["p"][0]["iw"]) == ("ISOLATED", "2999.995")
