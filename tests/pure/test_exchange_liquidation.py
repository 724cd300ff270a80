"""Forced closing at the embedded exchange: margin calls, liquidation, delisting."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from qt_actors.exchange.engine import Engine, ExchangeRules, Quote
from qt_actors.exchange.margin import Leg, bankruptcy_price, liquidation_price
from tests.exchange_desk import Desk, refused


def risk(desk: Desk) -> dict[str, Any]:
    return desk.engine.position_risk_v3({"symbol": "BTCUSDT"}, desk.now_ms)[0]


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


def test_a_liquidation_ends_when_what_the_book_took_makes_the_rest_safe() -> None:
    """The mark is below the liquidation price while 2 of the 4 BTC find a bid at 59,000, and no other bid is good."""
    desk = Desk("12700")
    desk.order("BUY", "4")
    entry = Decimal(risk(desk)["entryPrice"])
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
    assert desk.held() == 2
    loss = 2 * (59000 - entry) - 2 * 59000 * Decimal("0.0005")
    fee = 2 * 59000 * Decimal("0.0125")
    assert desk.engine.wallet() == before + loss - fee == desk.engine.income_total()
    after = risk(desk)
    assert desk.engine.wallet() + 2 * (mark - entry) > Decimal(after["maintMargin"]) > 0
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


def test_a_delisted_symbol_leaves_no_order_and_no_position_however_large() -> None:
    """150 BTC are more than one market order may hold."""
    desk = Desk("10000000")
    for _ in range(2):
        desk.order("BUY", "75")
        desk.quote("60000")
    held = desk.held()
    desk.order("BUY", "1", "59000", newClientOrderId="bid")
    desk.algo("SELL", "STOP_MARKET", closePosition="true", triggerPrice="50000", clientAlgoId="stop")
    desk.quote("60100", mark="60050")
    before, entry = desk.engine.wallet(), Decimal(desk.engine.position_risk_v3({}, desk.now_ms)[0]["entryPrice"])
    desk.events.clear()
    desk.engine.delist("BTCUSDT", desk.now_ms)
    ends = [(e["o"]["x"], e["o"]["er"]) for e in desk.events if e["e"] == "ORDER_TRADE_UPDATE"]
    assert ends == [("EXPIRED", "7"), ("TRADE", "0")]
    assert [e["o"]["X"] for e in desk.events if e["e"] == "ALGO_UPDATE"] == ["EXPIRED"]
    closing = desk.events[-1]["o"]
    assert closing["c"].startswith("settlement_autoclose-")
    assert (closing["L"], Decimal(closing["l"]), desk.held()) == ("60050", held, 0)
    gain = held * (60050 - entry) - held * 60050 * Decimal("0.0005")
    assert abs(desk.engine.wallet() - before - gain) < Decimal("0.000001")


def test_a_stop_that_fills_beyond_bankruptcy_leaves_no_debt() -> None:
    """The price gaps through stop and liquidation at once; the stop fires first and sells beyond the wallet."""
    desk = Desk("4000")
    desk.order("BUY", "1")
    desk.algo("SELL", "STOP_MARKET", quantity="1", triggerPrice="58000", reduceOnly="true")
    desk.events.clear()
    desk.quote("55000")
    assert desk.held() == 0
    assert desk.engine.wallet() == desk.engine.income_total() == 0
    last = desk.engine.income({}, desk.now_ms)[-1]
    assert (last["incomeType"], Decimal(last["income"]) > 1000) == ("INSURANCE_CLEAR", True)
    assert (desk.events[-1]["a"]["m"], desk.events[-1]["a"]["P"]) == ("INSURANCE_CLEAR", [])


def test_pooled_assets_cover_a_debt_and_cannot_be_parted_or_withdrawn_while_they_do() -> None:
    desk = Desk("100")
    desk.engine.transfer("USDC", Decimal(1000), desk.now_ms)
    desk.engine.set_multi_assets({"multiAssetsMargin": "true"}, desk.now_ms)
    desk.order("BUY", "0.2")
    desk.quote("59000")
    desk.order("SELL", "0.2")
    desk.quote("59000")
    assert desk.engine.wallet() < -100
    assert refused(lambda: desk.engine.set_multi_assets({"multiAssetsMargin": "false"}, desk.now_ms)) == -4169
    assert refused(lambda: desk.engine.transfer("USDT", Decimal(-1), desk.now_ms)) == -2018
    desk.engine.transfer("USDT", Decimal(200), desk.now_ms)
    desk.engine.set_multi_assets({"multiAssetsMargin": "false"}, desk.now_ms)
