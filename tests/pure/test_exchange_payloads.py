"""Events and replies of the embedded exchange against captured payloads of the real one: keys and types."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.exchange_desk import Desk
from tests.exchange_samples import compare, reply_of


@pytest.fixture(scope="module")
def samples(real_data: Path) -> Path:
    return real_data / "message_samples"


@pytest.fixture(scope="module")
def captured(samples: Path) -> dict[str, dict[str, Any]]:
    """Events of the real private stream by what they show."""
    rows = [json.loads(line) for line in (samples / "user_stream_captured.jsonl").read_text().splitlines()]
    return {f"{row['captured']} {row['what']}": row["raw"] for row in rows}


def test_order_events_have_the_captured_shape(captured: dict[str, dict[str, Any]]) -> None:
    desk = Desk()
    desk.order("BUY", "0.1", "59900", newClientOrderId="a")
    new = desk.events[-1]
    wire = {"symbol": "BTCUSDT", "side": "BUY", "origClientOrderId": "a", "quantity": "0.1", "price": "59901"}
    desk.engine.modify_order(wire, desk.now_ms)
    amended = desk.events[-1]
    desk.quote("59890")
    lite, account, fill = desk.events[-3:]
    desk.order("BUY", "0.1", "59000", newClientOrderId="b")
    desk.engine.cancel_order({"symbol": "BTCUSDT", "origClientOrderId": "b"}, desk.now_ms)
    pairs = [
        (new, "2026-04 limit order accepted", set()),
        (amended, "2026-04 limit order amended (x=AMENDMENT, X=NEW)", {"M"}),
        (fill, "2026-04 maker fill 3/3", set()),
        (desk.events[-1], "2026-04 limit order cancelled", set()),
    ]
    for ours, what, newer in pairs:
        compare(ours, captured[what])
        compare(ours["o"], captured[what]["o"], newer=newer)
    compare(lite, captured["2026-04 maker fill 1/3"])
    compare(account["a"]["B"][0], captured["2026-04 maker fill 2/3"]["a"]["B"][0])
    compare(account["a"]["P"][0], captured["2026-04 maker fill 2/3"]["a"]["P"][0])
    compare(account["a"], captured["2026-04 maker fill 2/3"]["a"])


def test_a_market_fill_comes_in_the_captured_order(captured: dict[str, dict[str, Any]]) -> None:
    desk = Desk()
    desk.order("BUY", "0.1")
    real = [event["e"] for what, event in captured.items() if what.startswith("2024-11 open")]
    assert [event["e"] for event in desk.events] == real


def test_funding_event_has_the_captured_shape(captured: dict[str, dict[str, Any]]) -> None:
    desk = Desk()
    desk.order("BUY", "0.1")
    desk.engine.settle_funding("BTCUSDT", Decimal("0.0001"), desk.now_ms)
    what = "2026-04 funding fee (cross): position list empty, only balance change"
    compare(desk.events[-1]["a"], captured[what]["a"], newer={"S"})
    assert desk.events[-1]["a"]["P"] == []


def test_conditional_order_events_have_the_captured_shape(captured: dict[str, dict[str, Any]], samples: Path) -> None:
    desk = Desk()
    stop = {"quantity": "0.1", "triggerPrice": "59000"}
    desk.algo("SELL", "STOP_MARKET", **stop, clientAlgoId="a")
    theirs = captured["2026-09 conditional order placed: reported as ALGO_UPDATE, not ORDER_TRADE_UPDATE"]
    compare(desk.events[-1], theirs)
    compare(desk.events[-1]["o"], theirs["o"])
    desk.engine.cancel_algo_order({"clientAlgoId": "a"}, desk.now_ms)
    compare(desk.events[-1]["o"], captured["2026-09 conditional order cancelled: fewer fields"]["o"])
    desk.algo("SELL", "STOP_MARKET", **stop)
    desk.quote("59000")
    ours = {event["o"]["X"]: event["o"] for event in desk.events if event["e"] == "ALGO_UPDATE"}
    for status in ("TRIGGERING", "TRIGGERED", "FINISHED"):
        path = samples / "nautilus" / "ws_messages" / f"ws_futures_algo_update_{status.lower()}.json"
        compare(ours[status], json.loads(path.read_text())["data"]["o"], newer={"ia"})


def test_conditional_order_replies_have_the_recorded_shape(samples: Path) -> None:
    desk = Desk()
    stop = {"quantity": "0.1", "triggerPrice": "59000"}
    compare(
        desk.algo("SELL", "STOP_MARKET", **stop, clientAlgoId="a"),
        reply_of(samples, "Trading/PlaceConditionalOrder.txt"),
    )
    desk.quote("59000")
    row = desk.engine.query_algo_order({"clientAlgoId": "a"}, desk.now_ms)
    compare(row, reply_of(samples, "Trading/GetConditionalOrder.txt"), newer={"activatePrice", "callbackRate"})


def test_account_replies_have_the_recorded_shape(samples: Path) -> None:
    desk = Desk()
    desk.order("BUY", "0.1")
    engine, now = desk.engine, desk.now_ms
    config = engine.account_config({}, now)
    compare(config, reply_of(samples, "Account/GetAccountConfiguration.txt"))
    three, theirs = engine.account_v3({}, now), reply_of(samples, "Account/GetAccountInfoV3.txt")
    compare(three, theirs)
    compare(three["assets"][0], theirs["assets"][0])
    compare(three["positions"][0], theirs["positions"][0])
    two, theirs = engine.account_v2({}, now), reply_of(samples, "Account/GetAccountInfo.txt")
    compare(two, theirs, newer={"feeBurn"})
    compare(two["assets"][0], theirs["assets"][0])
    newer = {"breakEvenPrice", "isolatedWallet", "notional"}
    compare(two["positions"][0], theirs["positions"][0], newer=newer)
    compare(engine.balance({}, now)[0], reply_of(samples, "Account/GetBalances.txt")[0])
    wire = {"symbol": "BTCUSDT"}
    risk = engine.position_risk_v2(wire, now)[0]
    compare(risk, reply_of(samples, "Account/GetPositionInformation.txt")[0])
    bracket, theirs = engine.leverage_bracket(wire, now)[0], reply_of(samples, "Account/GetBrackets.txt")[0]
    compare(bracket, theirs, gone={"notionalCoef"})
    compare(bracket["brackets"][0], theirs["brackets"][0])
    status, theirs = engine.trading_status({}, now), reply_of(samples, "Account/GetTradingStatus.txt")
    compare(status, theirs)
    compare(engine.get_fee_burn({}, now), reply_of(samples, "Account/GetBnbBurnStatus.txt"))
    compare(engine.set_fee_burn({"feeBurn": "true"}, now), reply_of(samples, "Account/SetBnbBurnStatus.txt"))
    compare(engine.get_multi_assets({}, now), reply_of(samples, "Account/GetMultiAssetsMode.txt"))
    config = json.loads((samples / "nautilus/http_responses/http_futures_account_symbol_config.json").read_text())
    compare(engine.symbol_config(wire, now)[0], config[0])
    rates = reply_of(samples, "Account/GetUserCommissionRate.txt")
    compare(engine.commission_rate(wire, now), rates, newer={"rpiCommissionRate"})
    adl, theirs = engine.adl_quantile(wire, now)[0], reply_of(samples, "Account/GetPositionAdlQuantileEstimation.txt")
    compare(adl, theirs[0])
    reply = engine.set_leverage({**wire, "leverage": "21"}, now)
    compare(reply, reply_of(samples, "Account/ChangeInitialLeverage.txt"))


def test_history_replies_have_the_recorded_shape(samples: Path) -> None:
    desk = Desk()
    desk.order("BUY", "0.1", newClientOrderId="a")
    wire = {"symbol": "BTCUSDT", "origClientOrderId": "a"}
    row = desk.engine.query_order(wire, desk.now_ms)
    compare(row, reply_of(samples, "Trading/GetOrder.txt"), gone={"activatePrice", "priceRate"})
    trade = desk.engine.user_trades({"symbol": "BTCUSDT"}, desk.now_ms)[0]
    compare(trade, reply_of(samples, "Trading/GetUserTrades.txt")[0], newer={"pair", "baseQty", "marginAsset"})
    income = desk.engine.income({"incomeType": "COMMISSION"}, desk.now_ms)[0]
    assert set(income) == set(reply_of(samples, "Account/GetIncomeHistory.txt")[1])
    placed = desk.order("BUY", "0.1", "59000", newClientOrderId="b")
    change = {"symbol": "BTCUSDT", "side": "BUY", "origClientOrderId": "b", "quantity": "0.1", "price": "59001"}
    desk.engine.modify_order(change, desk.now_ms)
    named = {"symbol": "BTCUSDT", "origClientOrderId": "b"}
    amended, theirs = desk.engine.order_amendments(named, desk.now_ms)[0], "Trading/GetOrderEditHistory.txt"
    compare(amended, reply_of(samples, theirs)[0])
    compare(amended["amendment"], reply_of(samples, theirs)[0]["amendment"])
    armed = desk.engine.countdown_cancel_all({"symbol": "BTCUSDT", "countdownTime": "100000"}, desk.now_ms)
    compare(armed, reply_of(samples, "Trading/CancelAllOrdersAfterTimeout.txt"))
    cancelled = desk.engine.cancel_all_orders({"symbol": "BTCUSDT"}, desk.now_ms)
    compare(cancelled, reply_of(samples, "Trading/CancelAllOrders.txt"))
    gone = {"activatePrice", "priceRate"}
    compare(placed, reply_of(samples, "Trading/PlaceOrder.txt"), gone=gone | {"avgPrice", "cumQuote"})
