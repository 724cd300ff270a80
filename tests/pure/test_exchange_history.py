"""Histories and settings of the embedded exchange's account: windows, limits and what is told of the past."""

from __future__ import annotations

from decimal import Decimal
from functools import partial

import pytest

from qt_actors.exchange.engine import Engine, ExchangeRules
from tests.exchange_desk import Desk, refused

DAY_MS = 86_400_000
BTC = {"symbol": "BTCUSDT"}


def modify(desk: Desk, quantity: str, price: str) -> None:
    wire = {**BTC, "side": "BUY", "origClientOrderId": "a", "quantity": quantity, "price": price}
    desk.engine.modify_order(wire, desk.now_ms)


def test_amendments_are_told_newest_first_with_what_changed() -> None:
    desk = Desk()
    placed = desk.order("BUY", "0.100", "59000", newClientOrderId="a")
    modify(desk, "0.1", "59001.5")
    desk.now_ms += 5
    modify(desk, "0.2", "59001.5")
    told = desk.engine.order_amendments({**BTC, "orderId": str(placed["orderId"])}, desk.now_ms)
    assert [row["amendment"]["count"] for row in told] == [2, 1]
    assert told[0]["amendment"] == {
        "price": {"before": "59001.5", "after": "59001.5"},
        "origQty": {"before": "0.1", "after": "0.2"},
        "count": 2,
    }
    assert told[1]["amendment"]["price"] == {"before": "59000", "after": "59001.5"}
    assert told[0]["time"] - told[1]["time"] == 5
    by_name = {**BTC, "origClientOrderId": "a", "limit": "1"}
    assert desk.engine.order_amendments(by_name, desk.now_ms) == told[:1]
    before = {**BTC, "origClientOrderId": "a", "endTime": str(desk.now_ms - 1)}
    assert desk.engine.order_amendments(before, desk.now_ms) == told[1:]
    assert refused(lambda: desk.engine.order_amendments(BTC, desk.now_ms)) == -1102
    assert refused(lambda: desk.engine.order_amendments({**by_name, "limit": "101"}, desk.now_ms)) == -1130


def test_a_refused_amendment_is_no_amendment() -> None:
    desk = Desk()
    desk.order("BUY", "0.1", "59000", newClientOrderId="a")
    assert refused(partial(modify, desk, "0.1", "59000.01")) == -4014
    assert desk.engine.order_amendments({**BTC, "origClientOrderId": "a"}, desk.now_ms) == []


def test_margin_moved_by_the_user_is_told_within_thirty_days() -> None:
    desk = Desk()
    desk.engine.set_margin_type({**BTC, "marginType": "ISOLATED"}, desk.now_ms)
    desk.order("BUY", "0.1")
    for kind, amount in (("1", "50.5"), ("2", "20")):
        desk.engine.position_margin({**BTC, "amount": amount, "type": kind}, desk.now_ms)
    told = desk.engine.margin_history(BTC, desk.now_ms)
    assert [(row["type"], row["amount"], row["deltaType"]) for row in told] == [
        (1, "50.5", "USER_ADJUST"),
        (2, "20", "USER_ADJUST"),
    ]
    assert desk.engine.margin_history({**BTC, "type": "2"}, desk.now_ms) == told[1:]
    assert desk.engine.margin_history(BTC, desk.now_ms + 31 * DAY_MS) == []
    far = {**BTC, "startTime": "0", "endTime": str(31 * DAY_MS)}
    assert refused(lambda: desk.engine.margin_history(far, desk.now_ms)) == -4165
    assert refused(lambda: desk.engine.margin_history({**BTC, "type": "3"}, desk.now_ms)) == -1130


def test_histories_survive_a_restart_and_end_with_their_retention() -> None:
    desk = Desk()
    desk.order("BUY", "0.1", "59000", newClientOrderId="a")
    modify(desk, "0.1", "58000")
    desk.engine.set_fee_burn({"feeBurn": "true"}, desk.now_ms)
    again = Engine.restore(desk.engine.save(), ExchangeRules.default(), lambda _event: None)
    named = {**BTC, "origClientOrderId": "a"}
    assert len(again.order_amendments(named, desk.now_ms)) == 1
    assert again.get_fee_burn({}, desk.now_ms) == {"feeBurn": True}
    assert again.account_v2({}, desk.now_ms)["feeBurn"] is True
    late = desk.now_ms + 91 * DAY_MS
    again.advance(late)
    assert again.order_amendments(named, late) == []


@pytest.mark.parametrize(
    ("name", "wire", "code"),
    [
        ("user_trades", {"fromId": "1", "startTime": "1"}, -1128),
        ("user_trades", {"limit": "1001"}, -1130),
        ("user_trades", {"limit": "0"}, -1130),
        ("user_trades", {"startTime": "2", "endTime": "1"}, -1023),
        ("user_trades", {"startTime": "0", "endTime": str(7 * DAY_MS + 1)}, -4165),
        ("all_orders", {"startTime": "0", "endTime": str(7 * DAY_MS + 1)}, -4165),
        ("all_orders", {"symbol": "NONEUSDT"}, -1121),
        ("all_algo_orders", {"startTime": "0", "endTime": str(7 * DAY_MS + 1)}, -4165),
        ("force_orders", {"autoCloseType": "NONE"}, -1130),
        ("force_orders", {"symbol": "NONEUSDT"}, -1121),
        ("force_orders", {"limit": "101"}, -1130),
        ("income", {"incomeType": "NONSENSE"}, -1130),
        ("income", {"startTime": "2", "endTime": "1"}, -1023),
        ("set_fee_burn", {}, -1102),
        ("countdown_cancel_all", {"countdownTime": "-1"}, -1102),
        ("place_order", {"side": "BUY", "type": "MARKET", "quantity": "0.01", "priceMatch": "QUEUE"}, -5038),
        ("set_fee_burn", {"feeBurn": "maybe"}, -1130),
        ("trading_status", {"symbol": "NONEUSDT"}, -1121),
    ],
)
def test_a_wrong_question_about_the_past_has_its_code(name: str, wire: dict[str, str], code: int) -> None:
    desk = Desk()
    assert refused(lambda: getattr(desk.engine, name)({**BTC, **wire}, desk.now_ms)) == code


def test_trades_are_paged_from_a_time_on_and_then_by_id() -> None:
    desk = Desk()
    ids = []
    for _ in range(5):
        desk.order("BUY", "0.01")
        desk.now_ms += 10
        ids = [row["id"] for row in desk.engine.user_trades(BTC, desk.now_ms)]
    since = {**BTC, "startTime": str(desk.now_ms - 1000), "limit": "2"}
    first = [row["id"] for row in desk.engine.user_trades(since, desk.now_ms)]
    assert first == ids[:2], "the oldest first"
    rest = desk.engine.user_trades({**BTC, "fromId": str(first[-1] + 1), "limit": "10"}, desk.now_ms)
    assert [row["id"] for row in rest] == ids[2:]
    assert [row["id"] for row in desk.engine.user_trades({**BTC, "limit": "2"}, desk.now_ms)] == ids[3:]


def test_own_liquidations_are_told_by_kind() -> None:
    desk = Desk("1000")
    desk.engine.set_leverage({**BTC, "leverage": "100"}, desk.now_ms)
    desk.order("BUY", "1")
    desk.quote("59000")
    told = desk.engine.force_orders(BTC, desk.now_ms)
    assert told
    assert all(row["clientOrderId"].startswith("autoclose-") for row in told)
    assert desk.engine.force_orders({**BTC, "autoCloseType": "LIQUIDATION"}, desk.now_ms) == told
    assert desk.engine.force_orders({**BTC, "autoCloseType": "ADL"}, desk.now_ms) == []
    assert Decimal(told[0]["executedQty"]) > 0


def test_a_placement_reply_never_carries_the_average_price() -> None:
    desk = Desk()
    filled = desk.order("BUY", "0.1", newOrderRespType="RESULT")
    assert filled["status"] == "FILLED"
    assert not {"avgPrice", "cumQuote"} & set(filled)
    assert {"avgPrice", "cumQuote", "time"} <= set(
        desk.engine.query_order({**BTC, "orderId": str(filled["orderId"])}, desk.now_ms)
    )
