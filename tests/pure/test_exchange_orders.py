"""Regular orders of the embedded exchange: filters, fills, time in force, ids, reduce-only."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path

import pytest

from qt_actors.exchange.engine import Engine, ExchangeRules, Quote
from qt_actors.exchange.quotes import thickness
from tests.exchange_desk import Desk, changed_rules, refused


@pytest.mark.parametrize(
    ("code", "wire"),
    [
        (-1102, {"symbol": ""}),
        (-1121, {"symbol": "NOSUCHUSDT"}),
        (-1122, {"symbol": "ETHUSDT"}),
        (-1117, {"side": "HOLD"}),
        (-1102, {"type": ""}),
        (-1116, {"type": "ICEBERG"}),
        (-4120, {"type": "STOP_MARKET", "stopPrice": "59000"}),
        (-4120, {"type": "TRAILING_STOP_MARKET"}),
        (-1102, {"timeInForce": ""}),
        (-1115, {"timeInForce": "FOREVER"}),
        (-1102, {"quantity": ""}),
        (-1100, {"quantity": "1e-3"}),
        (-1100, {"quantity": "٣"}),
        (-4003, {"quantity": "0"}),
        (-4003, {"quantity": "-1"}),
        (-1111, {"quantity": "0.0015"}),
        (-4005, {"quantity": "1000.001"}),
        (-4001, {"price": "0"}),
        (-1111, {"price": "60000.001"}),
        (-4014, {"price": "60000.05"}),
        (-4013, {"price": "500"}),
        (-4002, {"price": "9000000"}),
        (-4016, {"price": "63000.1"}),
        (-4024, {"side": "SELL", "price": "56999.9"}),
        (-4164, {"quantity": "0.001", "price": "59000"}),
        (-4015, {"newClientOrderId": "x" * 37}),
        (-4015, {"newClientOrderId": "no spaces"}),
        (-4061, {"positionSide": "LONG"}),
        (-4060, {"positionSide": "UP"}),
        (-2022, {"reduceOnly": "true"}),
        (-4062, {"reduceOnly": "perhaps"}),
        (-1136, {"newOrderRespType": "FULL"}),
        (-5037, {"priceMatch": "OPPONENT_10"}),
        (-1106, {"priceMatch": "QUEUE"}),
        (-5039, {"selfTradePreventionMode": "PLEASE"}),
        (-1102, {"timeInForce": "GTD"}),
        (-5040, {"timeInForce": "GTD", "goodTillDate": "1700000000000"}),
        (-5022, {"timeInForce": "GTX", "price": "60000.1"}),
        (-5021, {"timeInForce": "FOK", "quantity": "0.6", "price": "59999"}),
        (-4136, {"closePosition": "true"}),
        (-2019, {"quantity": "4"}),
    ],
)
def test_a_bad_limit_order_is_refused_with_its_own_code_and_changes_nothing(code: int, wire: dict[str, str]) -> None:
    desk = Desk()
    good = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}
    before = desk.engine.save()

    assert refused(lambda: desk.engine.place_order({**good, "price": "59000", **wire}, desk.now_ms)) == code

    assert desk.engine.save() == before
    assert not desk.events


@pytest.mark.parametrize(
    ("code", "wire"),
    [
        (-1106, {"price": "60000"}),
        (-1106, {"timeInForce": "GTC"}),
        (-4005, {"quantity": "120.001"}),
        (-2027, {"quantity": "119"}),
        (-4164, {"quantity": "0.001"}),
    ],
)
def test_a_bad_market_order_is_refused_with_its_own_code(code: int, wire: dict[str, str]) -> None:
    desk = Desk("100000000")
    desk.engine.set_leverage({"symbol": "BTCUSDT", "leverage": "100"}, desk.now_ms)
    good = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
    assert refused(lambda: desk.engine.place_order({**good, **wire}, desk.now_ms)) == code


@pytest.mark.parametrize(
    ("code", "filters"),
    [
        (-4004, {"LOT_SIZE": {"minQty": "0.02"}}),
        (-4023, {"LOT_SIZE": {"stepSize": "0.02"}}),
        (-4105, {"POSITION_RISK_CONTROL": {"positionControlSide": "BOTH"}}),
        (-4106, {"POSITION_RISK_CONTROL": {"positionControlSide": "BUY"}}),
        (-2025, {"MAX_NUM_ORDERS": {"limit": "0"}}),
        (-4141, {"symbol": {"status": "SETTLING"}}),
        (-4140, {"symbol": {"status": "PRE_SETTLE"}}),
    ],
)
def test_rules_of_another_symbol_are_obeyed_too(code: int, filters: dict[str, dict[str, str]]) -> None:
    desk = Desk(rules=changed_rules(**filters))
    assert refused(lambda: desk.order("BUY", "0.01", "59000")) == code


def test_a_market_order_tells_its_fill_in_the_captured_order_of_events() -> None:
    desk = Desk()
    reply = desk.order("BUY", "0.5", newClientOrderId="in-1", newOrderRespType="RESULT")

    assert desk.kinds() == ["TRADE_LITE", "ORDER_TRADE_UPDATE NEW", "ACCOUNT_UPDATE", "ORDER_TRADE_UPDATE TRADE"]
    fill = desk.events[-1]["o"]
    assert (fill["X"], fill["L"], fill["l"], fill["n"], fill["m"]) == ("FILLED", "60000.1", "0.5", "15.00002500", False)
    assert (reply["status"], reply["executedQty"]) == ("FILLED", "0.500")
    assert not {"avgPrice", "cumQuote"} & reply.keys()
    row = desk.engine.query_order({"symbol": "BTCUSDT", "origClientOrderId": "in-1"}, desk.now_ms)
    assert (row["avgPrice"], row["cumQuote"]) == ("60000.10000", "30000.05")


def test_an_acknowledgement_answers_new_even_though_the_order_is_filled() -> None:
    desk = Desk()
    reply = desk.order("BUY", "0.5")
    assert (reply["status"], reply["executedQty"]) == ("NEW", "0.000")
    assert desk.held() == Decimal("0.5")


def test_a_large_market_order_walks_the_depth_and_the_touch_does_not_refill_before_the_next_quote() -> None:
    desk = Desk("10000000")
    desk.order("BUY", "5")
    fills = [event["o"] for event in desk.events if event.get("o", {}).get("x") == "TRADE"]
    assert [(fill["L"], fill["l"]) for fill in fills] == [("60000.1", "3"), ("60006.3", "2")]
    desk.order("BUY", "1")
    assert desk.events[-1]["o"]["L"] == "60006.3"
    desk.quote("60000")
    desk.order("BUY", "1")
    assert desk.events[-1]["o"]["L"] == "60000.1"


def test_a_market_order_larger_than_the_allowed_depth_ends_expired_partly_filled() -> None:
    desk = Desk("10000000000")
    desk.engine.set_leverage({"symbol": "BTCUSDT", "leverage": "1"}, desk.now_ms)
    price = Decimal(60000)
    thin = Quote("BTCUSDT", desk.now_ms, price, price, price, price - 1, price + 1, Decimal("0.001"), Decimal("0.001"))
    desk.engine.quote(thin)
    reply = desk.order("BUY", "120", newOrderRespType="RESULT")
    last = desk.events[-1]["o"]
    assert reply["status"] == last["X"] == "EXPIRED"
    assert last["er"] == "9"
    assert Decimal(0) < Decimal(last["z"]) < Decimal(120)
    assert all(
        Decimal(event["o"]["L"]) <= price * Decimal("1.05")
        for event in desk.events
        if event["e"] == "ORDER_TRADE_UPDATE"
    )


def test_a_market_order_is_refused_when_the_touch_is_outside_the_price_band() -> None:
    desk = Desk()
    desk.quote("60000", mark="50000")
    assert refused(lambda: desk.order("BUY", "0.01")) == -4131


def test_a_resting_limit_fills_as_maker_when_the_book_comes_to_it_and_not_before() -> None:
    desk = Desk()
    desk.order("BUY", "0.5", "59900", newClientOrderId="rest")
    desk.quote("59900")
    assert desk.held() == 0
    desk.events.clear()
    desk.quote("59899.9")
    assert desk.kinds() == ["TRADE_LITE", "ACCOUNT_UPDATE", "ORDER_TRADE_UPDATE TRADE"]
    fill = desk.events[-1]["o"]
    assert (fill["L"], fill["m"], fill["n"]) == ("59900", True, "5.99000000")


def test_a_trade_through_a_resting_order_fills_one_touch_quantity_a_quote() -> None:
    desk = Desk("1000000")
    desk.order("BUY", "5", "59900")
    desk.quote("59899", spread="10")
    assert desk.held() == 3
    row = desk.engine.open_orders({}, desk.now_ms)[0]
    assert (row["status"], row["executedQty"], row["avgPrice"]) == ("PARTIALLY_FILLED", "3.000", "59900.00000")
    desk.quote("59899", spread="10")
    assert desk.held() == 5
    assert desk.engine.open_orders({}, desk.now_ms) == []


def test_the_better_price_then_the_older_order_fills_first() -> None:
    desk = Desk("1000000")
    for name, price in (("old", "59900"), ("new", "59900"), ("best", "59901")):
        desk.order("BUY", "2", price, newClientOrderId=name)
    desk.events.clear()
    desk.quote("59899", spread="10")
    fills = [(event["c"], event["l"]) for event in desk.events if event["e"] == "TRADE_LITE"]
    assert fills == [("best", "2.000"), ("old", "1.000")]


def test_immediate_or_cancel_expires_its_remainder_and_a_rejected_fill_or_kill_leaves_no_trace() -> None:
    desk = Desk("1000000")
    reply = desk.order("BUY", "4", "60000.1", timeInForce="IOC", newOrderRespType="RESULT")
    assert (reply["status"], reply["executedQty"]) == ("EXPIRED", "3.000")
    assert desk.events[-1]["o"]["er"] == "2"
    desk.quote("60000")
    assert refused(lambda: desk.order("BUY", "4", "60000.1", timeInForce="FOK", newClientOrderId="fok")) == -5021
    assert (
        refused(lambda: desk.engine.query_order({"symbol": "BTCUSDT", "origClientOrderId": "fok"}, desk.now_ms))
        == -2013
    )


def test_good_till_date_expires_when_its_time_comes() -> None:
    desk = Desk()
    until = desk.now_ms + 700_000
    desk.order("BUY", "0.5", "59900", timeInForce="GTD", goodTillDate=str(until))
    desk.engine.advance(until - 1000)
    assert len(desk.engine.open_orders({}, until)) == 1
    desk.engine.advance(until)
    assert desk.engine.open_orders({}, until) == []
    assert (desk.events[-1]["o"]["x"], desk.events[-1]["o"]["gtd"]) == ("EXPIRED", until - until % 1000)


def test_a_client_id_is_unique_among_open_orders_only_and_finds_the_latest() -> None:
    desk = Desk()
    first = desk.order("BUY", "0.1", "59900", newClientOrderId="one")
    assert refused(lambda: desk.order("BUY", "0.1", "59000", newClientOrderId="one")) == -4116
    desk.engine.cancel_order({"symbol": "BTCUSDT", "origClientOrderId": "one"}, desk.now_ms)
    second = desk.order("BUY", "0.1", "59000", newClientOrderId="one")
    found = desk.engine.query_order({"symbol": "btcusdt", "origClientOrderId": "one"}, desk.now_ms)
    assert first["orderId"] < second["orderId"] == found["orderId"]


def test_cancelling_twice_and_asking_for_a_closed_order_are_told_apart() -> None:
    desk = Desk()
    number = {"symbol": "BTCUSDT", "orderId": str(desk.order("BUY", "0.1", "59900")["orderId"])}
    assert desk.engine.open_order(number, desk.now_ms)["status"] == "NEW"
    assert desk.engine.cancel_order(number, desk.now_ms)["status"] == "CANCELED"
    assert refused(lambda: desk.engine.cancel_order(number, desk.now_ms)) == -2011
    assert refused(lambda: desk.engine.open_order(number, desk.now_ms)) == -2013
    assert desk.engine.query_order(number, desk.now_ms)["status"] == "CANCELED"
    assert refused(lambda: desk.engine.query_order({"symbol": "BTCUSDT"}, desk.now_ms)) == -1102


def test_a_reduce_only_order_larger_than_the_position_is_cut_to_it() -> None:
    desk = Desk()
    desk.order("BUY", "0.2")
    reply = desk.order("SELL", "0.5", reduceOnly="true", newOrderRespType="RESULT")
    assert (reply["status"], reply["origQty"]) == ("FILLED", "0.200")
    assert desk.held() == 0
    assert refused(lambda: desk.order("SELL", "0.5", reduceOnly="true")) == -2022


def test_resting_reduce_only_orders_shrink_and_expire_with_the_position() -> None:
    desk = Desk()
    desk.order("BUY", "0.4")
    desk.order("SELL", "0.2", "61000", reduceOnly="true", newClientOrderId="near")
    desk.order("SELL", "0.2", "62000", reduceOnly="true", newClientOrderId="far")
    assert refused(lambda: desk.order("SELL", "0.1", "61500", reduceOnly="true")) == -2022
    desk.events.clear()
    desk.order("SELL", "0.3")
    ends = [
        (e["o"]["c"], e["o"]["x"], e["o"]["q"], e["o"]["er"])
        for e in desk.events
        if e["e"] == "ORDER_TRADE_UPDATE" and e["o"]["er"] == "4"
    ]
    assert ends == [("near", "AMENDMENT", "0.1", "4"), ("far", "EXPIRED", "0.2", "4")]
    desk.quote("61000.2")
    assert desk.held() == 0


def test_an_order_at_the_touch_waits_for_what_is_displayed_before_it_to_trade() -> None:
    """2 BTC stand at the bid: trades of 1.5 reach nobody of ours, the next 0.7 leave 0.2."""
    desk = Desk()
    desk.order("BUY", "0.3", "59999.9")
    desk.touch("59999.9", "59999.9", "60000.1", volume="1.5")
    assert desk.held() == 0
    desk.touch("59999.9", "59999.9", "60000.1", volume="0.7")
    assert desk.held() == Decimal("0.2")
    desk.touch("60000.1", "59999.9", "60000.1", volume="50")
    assert desk.held() == Decimal("0.2")
    desk.touch("59999.9", "59999.9", "60000.1", volume="0.05")
    assert desk.held() == Decimal("0.25")


def test_own_orders_at_one_price_are_served_in_the_order_they_came() -> None:
    desk = Desk("1000000")
    desk.order("BUY", "1", "59999.9", newClientOrderId="old")
    desk.order("BUY", "1", "59999.9", newClientOrderId="new")
    desk.events.clear()
    desk.touch("59999.9", "59999.9", "60000.1", volume="3.4")
    desk.touch("59999.9", "59999.9", "60000.1", volume="0.1")
    fills = [(event["c"], event["l"]) for event in desk.events if event["e"] == "TRADE_LITE"]
    assert fills == [("old", "1.000"), ("new", "0.400"), ("new", "0.100")]


def test_nobody_is_ahead_inside_the_spread_and_an_amended_order_queues_anew() -> None:
    desk = Desk()
    desk.quote("60000", spread="20")
    placed = desk.order("BUY", "0.1", "59995")
    desk.touch("59995", "59990", "60010", volume="0.04")
    assert desk.held() == Decimal("0.04")
    wire = {"symbol": "BTCUSDT", "side": "BUY", "orderId": str(placed["orderId"]), "quantity": "0.1"}
    desk.engine.modify_order({**wire, "price": "59990"}, desk.now_ms)
    desk.touch("59990", "59990", "60010", volume="2")
    assert desk.held() == Decimal("0.04")
    desk.touch("59990", "59990", "60010", volume="0.05")
    assert desk.held() == Decimal("0.09")


def test_a_trade_beyond_a_resting_order_gives_it_no_more_than_what_was_traded() -> None:
    desk = Desk("1000000")
    desk.order("SELL", "5", "60100")
    desk.touch("60101", "60090", "60110", volume="1.2")
    assert desk.held() == Decimal("-1.2")


def test_a_place_in_the_queue_survives_a_restart() -> None:
    desk = Desk()
    desk.order("BUY", "0.3", "59999.9")
    desk.touch("59999.9", "59999.9", "60000.1", volume="1.5")
    desk.engine = Engine.restore(desk.engine.save(), ExchangeRules.default(), desk.events.append)
    desk.touch("59999.9", "59999.9", "60000.1", volume="0.7")
    assert desk.held() == Decimal("0.2")


def test_what_the_book_displays_at_a_price_is_what_its_levels_hold() -> None:
    price = Decimal(60000)
    half = Decimal("0.1")
    quote = Quote("BTCUSDT", 1, price, price, price, price - half, price + half, Decimal(2), Decimal(3))
    for taker, rests in (("BUY", "SELL"), ("SELL", "BUY")):
        for at, size in list(quote.levels(taker))[:40]:
            assert quote.displayed(rests, at) == size
            assert quote.displayed(rests, at + half) == 0


REACHES = (1, 2, 3, 5, 7, 10)


def depth_within(bids: dict[Decimal, Decimal], asks: dict[Decimal, Decimal], best: tuple[Decimal, Decimal], bp: int):
    bid, ask = best
    share = Decimal(bp) / 10_000
    held = sum(size for at, size in bids.items() if at >= bid * (1 - share))
    return float(held + sum(size for at, size in asks.items() if at <= ask * (1 + share)))


def test_the_depth_model_follows_the_captured_book(real_data: Path) -> None:
    """Depth up to some basis points from the touch, in touch quantities: model and captured median within a third."""
    sides: tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]] = ({}, {})
    seen: list[list[float]] = []
    with gzip.open(real_data / "ws_capture" / "btcusdt_usdm_2024-08-08.gz", "rt") as lines:
        for number, line in enumerate(lines):
            message = json.loads(line.partition(" ")[2])
            snapshot = "lastUpdateId" in message
            if not snapshot and not (seen or sides[0]):
                continue
            body = message if snapshot else message["data"]
            rows = (body["bids"], body["asks"]) if snapshot else (body.get("b"), body.get("a"))
            if isinstance(rows[0], list):
                for book, changes in zip(sides, rows, strict=True):
                    book.update((Decimal(at), Decimal(size)) for at, size in changes)
            if number % 200 == 0:
                bids, asks = ({at: size for at, size in book.items() if size} for book in sides)
                best = max(bids), min(asks)
                near = bids[best[0]] + asks[best[1]]
                if best[0] < best[1]:
                    seen.append([depth_within(bids, asks, best, reach) / float(near) for reach in REACHES])
    medians = [sorted(column)[len(column) // 2] for column in zip(*seen, strict=True)]
    for reach, captured in zip(REACHES, medians, strict=True):
        modelled = sum(thickness(level) for level in range(reach + 1))
        assert captured / 1.34 < modelled < captured * 1.34, (reach, captured, modelled)
