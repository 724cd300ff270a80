"""Large positions are liquidated bracket by bracket; a winner is deleveraged when a fault says so."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from typing import Any

import pytest

from qt_actors.exchange.engine import ExchangeRules
from tests.exchange_desk import Desk

RULES = ExchangeRules.default().symbols["BTCUSDT"]
STEP = RULES.step


def risk(desk: Desk) -> dict[str, Any]:
    return desk.engine.position_risk_v3({"symbol": "BTCUSDT"}, desk.now_ms)[0]


def large(margin_type: str = "CROSSED") -> Desk:
    """300 BTC long, 18 million: in the fifth bracket, with its 5 % of margin and a little for the fees."""
    desk = Desk("920000")
    if margin_type == "ISOLATED":
        desk.engine.set_margin_type({"symbol": "BTCUSDT", "marginType": "ISOLATED"}, desk.now_ms)
    for _ in range(3):
        desk.order("BUY", "100")
        desk.quote("60000")
    assert RULES.bracket(desk.held() * 60000).number == 5
    desk.events.clear()
    return desk


def closings(desk: Desk) -> list[tuple[str, str, str, str]]:
    """Id's beginning, execution, quantity asked for, expiry reason of the last event of each liquidation order."""
    last: dict[int, tuple[str, str, str, str]] = {}
    for event in desk.events:
        if event["e"] == "ORDER_TRADE_UPDATE" and "autoclose" in event["o"]["c"]:
            order = event["o"]
            last[order["i"]] = order["c"].split("-")[0], order["X"], order["q"], order["er"]
    return list(last.values())


@pytest.mark.parametrize("margin_type", ["CROSSED", "ISOLATED"])
def test_a_large_position_gives_up_one_bracket_and_goes_on_when_that_is_enough(margin_type: str) -> None:
    desk = large(margin_type)
    desk.algo("SELL", "STOP_MARKET", quantity="1", triggerPrice="30000", reduceOnly="true")
    mark = Decimal(risk(desk)["liquidationPrice"]) - 1
    surplus = (300 * mark - 12_000_000) / mark
    part = (surplus / STEP).to_integral_value(ROUND_CEILING) * STEP
    before, margin = desk.engine.wallet(), Decimal(risk(desk)["isolatedWallet"])
    entry = Decimal(risk(desk)["entryPrice"])
    desk.events.clear()
    desk.quote(str(round(mark, 1)), mark=str(mark))
    assert closings(desk) == [("autoclose", "FILLED", str(part.normalize()), "0")]
    assert desk.held() == 300 - part
    assert RULES.bracket(desk.held() * mark).number == 4
    (closing,) = desk.engine.force_orders({}, desk.now_ms)
    got = Decimal(closing["avgPrice"]) * part
    loss = got - entry * part - got * Decimal("0.0005")
    fee = min(got * RULES.liquidation_fee, margin * part / 300 + loss if margin else before)
    assert abs(desk.engine.wallet() - (before + loss - fee)) < 1
    assert len(desk.engine.open_algo_orders({}, desk.now_ms)) == 1
    desk.events.clear()
    desk.quote(str(round(mark, 1)), mark=str(mark))
    assert closings(desk) == [], "what is left is carried"


def test_brackets_are_given_up_one_after_the_other_until_the_rest_is_carried() -> None:
    """The mark says 50,000 while the book still pays 60,000: 240 BTC are 12 million, 60 BTC 3 million."""
    desk = large()
    desk.touch("60000", "59999.9", "60000.1", mark="50000")
    assert closings(desk) == [("autoclose", "FILLED", "60", "0"), ("autoclose", "FILLED", "180", "0")]
    assert desk.held() == 60
    assert desk.engine.wallet() == desk.engine.income_total() > 0


def test_what_the_book_does_not_take_is_taken_over_at_the_bankruptcy_price() -> None:
    """2 BTC find a bid, the next one lies far below: the first order ends, the second closes all the rest."""
    desk = large()
    entry, wallet = Decimal(risk(desk)["entryPrice"]), desk.engine.wallet()
    desk.touch("57200", "57200", "62000", mark="57100")
    first, second = closings(desk)
    assert (first[1], first[3]) == ("EXPIRED", "2")
    assert second == ("autoclose", "FILLED", "298", "0")
    taken_over = Decimal([event["o"] for event in desk.events if event["e"] == "ORDER_TRADE_UPDATE"][-1]["L"])
    assert abs(taken_over - (entry - wallet / 300)) < 60, "some of the margin went into the first order's fee"
    assert desk.held() == 0
    assert desk.engine.wallet() == desk.engine.income_total() == 0


@pytest.mark.parametrize("side", ["BUY", "SELL"])
def test_a_deleveraged_position_is_closed_at_the_mark_price_without_a_fee(side: str) -> None:
    desk = Desk()
    desk.order(side, "0.3")
    exit_side, trigger, limit = ("SELL", "50000", "65000") if side == "BUY" else ("BUY", "70000", "55000")
    desk.algo(exit_side, "STOP_MARKET", closePosition="true", triggerPrice=trigger, clientAlgoId="tied")
    desk.order(exit_side, "0.3", limit, reduceOnly="true", newClientOrderId="rests")
    desk.quote("61000" if side == "BUY" else "59000", mark="60500")
    entry, wallet = Decimal(risk(desk)["entryPrice"]), desk.engine.wallet()
    desk.events.clear()
    desk.engine.spoil({"do": "deleverage", "symbol": ""}, desk.now_ms)
    assert desk.held() == 0
    sign = 1 if side == "BUY" else -1
    assert desk.engine.wallet() == wallet + sign * Decimal("0.3") * (60500 - entry)
    assert closings(desk) == [("adl_autoclose", "FILLED", "0.3", "0")]
    ends = [(e["o"].get("c") or e["o"]["caid"], e["o"]["X"]) for e in desk.events if e["e"] != "ACCOUNT_UPDATE"]
    assert ends[-2:] == [("rests", "EXPIRED"), ("tied", "EXPIRED")]
    assert len(desk.engine.force_orders({"autoCloseType": "ADL"}, desk.now_ms)) == 1


def test_deleveraging_of_one_symbol_leaves_the_others_alone() -> None:
    desk = Desk()
    desk.order("BUY", "0.1")
    desk.engine.spoil({"do": "deleverage", "symbol": "ETHUSDT"}, desk.now_ms)
    assert desk.held() == Decimal("0.1")
