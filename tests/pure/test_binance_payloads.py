"""Binance's JSON as messages; the samples are the ones of its documentation."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal as D
from pathlib import Path

import msgspec
import numpy as np
import pytest

from qt_actors.edges import binance_events as events
from qt_actors.edges import binance_payloads as payloads
from qt_actors.edges.binance_payloads import HedgeModeError
from qt_actors.messages.orders import ConditionalUpdated, OrderUpdated
from qt_actors.messages.positions import BalanceChanged

HOUR = 3_600_000
OPEN = 1_795_300_000_000 // HOUR * HOUR

POSITION = {
    "symbol": "BTCUSDT",
    "positionSide": "BOTH",
    "positionAmt": "-0.010",
    "entryPrice": "60000.10",
    "breakEvenPrice": "59970.0",
    "markPrice": "60100.00000000",
    "unRealizedProfit": "-0.99900000",
    "liquidationPrice": "120000.5",
    "isolatedMargin": "0",
    "notional": "-601.00000000",
    "marginAsset": "USDT",
    "isolatedWallet": "0",
    "initialMargin": "30.05",
    "maintMargin": "2.40",
    "positionInitialMargin": "30.05",
    "openOrderInitialMargin": "0",
    "adl": 1,
    "bidNotional": "0",
    "askNotional": "0",
    "updateTime": 1795300000456,
}
ALGO = {
    "algoId": 1000000202490585,
    "clientAlgoId": "sl-1",
    "algoType": "CONDITIONAL",
    "orderType": "STOP_MARKET",
    "symbol": "BTCUSDT",
    "side": "SELL",
    "positionSide": "BOTH",
    "timeInForce": "GTC",
    "quantity": "0.010",
    "algoStatus": "NEW",
    "triggerPrice": "59000.00",
    "price": "0.00",
    "icebergQuantity": None,
    "selfTradePreventionMode": "EXPIRE_MAKER",
    "workingType": "MARK_PRICE",
    "priceMatch": "NONE",
    "closePosition": False,
    "priceProtect": True,
    "reduceOnly": True,
    "activatePrice": "",
    "callbackRate": "",
    "createTime": 1795300000456,
    "updateTime": 1795300000456,
    "triggerTime": 0,
    "goodTillDate": 0,
}
SYMBOL = {
    "symbol": "BTCUSDT",
    "contractType": "PERPETUAL",
    "quoteAsset": "USDT",
    "status": "TRADING",
    "onboardDate": 1569398400000,
    "pricePrecision": 2,
    "filters": [
        {"filterType": "PRICE_FILTER", "minPrice": "261.10", "maxPrice": "809484", "tickSize": "0.10"},
        {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
        {"filterType": "MARKET_LOT_SIZE", "minQty": "0.001", "maxQty": "120", "stepSize": "0.001"},
        {"filterType": "MIN_NOTIONAL", "notional": "100"},
        {"filterType": "PERCENT_PRICE", "multiplierUp": "1.0500", "multiplierDown": "0.9500", "multiplierDecimal": "4"},
        {"filterType": "MAX_NUM_ORDERS", "limit": 200},
    ],
}
BRACKETS = [
    {
        "symbol": "BTCUSDT",
        "brackets": [
            {
                "bracket": 1,
                "initialLeverage": 125,
                "notionalCap": 300000,
                "notionalFloor": 0,
                "maintMarginRatio": D("0.004"),
                "cum": D("0.0"),
            }
        ],
    }
]
INFO = {
    "rateLimits": [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2400},
        {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1200},
        {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300},
    ],
    "symbols": [
        SYMBOL,
        {**SYMBOL, "symbol": "BTCUSDT_261225", "contractType": "CURRENT_QUARTER"},
        {**SYMBOL, "symbol": "XAUUSDT", "contractType": "TRADIFI_PERPETUAL"},
        {**SYMBOL, "symbol": "BTCUSDC", "quoteAsset": "USDC"},
        {**SYMBOL, "symbol": "ETHUSDT"},
        {**SYMBOL, "symbol": "ODDUSDT", "filters": []},
    ],
}


def kline_row(open_ms: int, close: str = "101") -> list[object]:
    return [open_ms, "100", "102", "99", close, "12.5", open_ms + HOUR - 1, "1250", 7, "6", "600", "0"]


def frame(content: dict[str, object]) -> bytes:
    return json.dumps(content).encode()


def an_order_event(**changes: object) -> dict[str, object]:
    order = {
        "s": "BTCUSDT",
        "c": "q-1",
        "S": "BUY",
        "o": "MARKET",
        "f": "GTC",
        "q": "0.010",
        "p": "0",
        "ap": "60000.50",
        "sp": "0",
        "x": "TRADE",
        "X": "FILLED",
        "i": 4711,
        "l": "0.010",
        "z": "0.010",
        "L": "60000.50",
        "n": "0.30000250",
        "N": "USDT",
        "T": 1795300000456,
        "t": 12345,
        "m": False,
        "R": False,
        "wt": "CONTRACT_PRICE",
        "ot": "MARKET",
        "ps": "BOTH",
        "cp": False,
        "rp": "-1.25",
        "er": "0",
    }
    return {"e": "ORDER_TRADE_UPDATE", "E": 1795300000460, "T": 1795300000456, "o": {**order, **changes}}


def test_a_position_keeps_its_sign_and_every_digit() -> None:
    (position,) = payloads.positions([POSITION, {**POSITION, "symbol": "ETHUSDT", "positionAmt": "0"}])
    assert position.quantity == D("-0.010")
    assert str(position.entry_price) == "60000.10"
    assert position.notional_usd == D("601.00000000")
    assert position.liquidation_price == D("120000.5")


def test_a_position_of_hedge_mode_is_refused_because_two_sides_are_not_one_net_position() -> None:
    with pytest.raises(HedgeModeError, match="BTCUSDT is held SHORT"):
        payloads.positions([{**POSITION, "positionSide": "SHORT"}])


def test_a_conditional_order_without_activation_has_none_and_a_trailing_one_its_percent() -> None:
    trailing = {**ALGO, "orderType": "TRAILING_STOP_MARKET", "triggerPrice": "0.00", "callbackRate": "1.5"}
    stop, trail = payloads.open_conditionals([ALGO, {**trailing, "activatePrice": "61000.00"}])
    assert (stop.trigger_price, stop.activate_price, stop.callback_pct) == (D("59000.00"), None, None)
    assert (trail.trigger_price, trail.activate_price, trail.callback_pct) == (None, D("61000.00"), D("1.5"))
    assert stop.conditional
    assert stop.exchange_id == 1000000202490585


def test_a_row_without_a_field_it_needs_is_an_error_and_not_a_guess() -> None:
    with pytest.raises(msgspec.ValidationError, match="positionAmt"):
        payloads.positions([{key: value for key, value in POSITION.items() if key != "positionAmt"}])


def test_the_rules_of_every_contract_are_loaded_and_the_unreadable_named() -> None:
    tickers = [{"symbol": "BTCUSDT", "quoteVolume": "123.5"}, {"symbol": "XAUUSDT", "quoteVolume": "9"}]
    loaded, unreadable = payloads.rules(INFO, BRACKETS, [{"symbol": "ETHUSDT", "fundingIntervalHours": 4}], tickers)
    told = {rule.symbol: (rule.contract_type, rule.quote_asset) for rule in loaded.rules}
    assert told == {
        "BTCUSDT": ("PERPETUAL", "USDT"),
        "BTCUSDT_261225": ("CURRENT_QUARTER", "USDT"),
        "XAUUSDT": ("TRADIFI_PERPETUAL", "USDT"),
        "BTCUSDC": ("PERPETUAL", "USDC"),
        "ETHUSDT": ("PERPETUAL", "USDT"),
    }
    assert unreadable == ("ODDUSDT",)
    assert loaded.quote_volume_24h_usd == {"BTCUSDT": 123.5, "XAUUSDT": 9.0}
    btc, *_, eth = loaded.rules
    assert (btc.price_tick, btc.market_quantity_max, btc.notional_min) == (D("0.10"), D(120), D(100))
    assert (btc.funding_interval_hours, eth.funding_interval_hours) == (8, 4)
    assert btc.brackets[0].maintenance_ratio == D("0.004")
    assert eth.brackets == ()


def test_the_limits_in_force_are_read_and_a_missing_one_keeps_the_documented_value() -> None:
    assert payloads.limits(INFO).weight_per_minute == 2400
    told = {"rateLimits": [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000}]}
    assert payloads.limits(told).weight_per_minute == 6000
    assert payloads.limits(told).orders_per_10_s == 300


def test_the_forming_candle_is_dropped_by_its_close_time() -> None:
    rows = [kline_row(OPEN), kline_row(OPEN + HOUR), kline_row(OPEN + 2 * HOUR)]
    loaded = payloads.bars("BTCUSDT", "1h", rows, closed_before_ms=OPEN + 2 * HOUR)
    assert loaded.open_time_ms.tolist() == [OPEN, OPEN + HOUR]
    assert loaded.ohlcv[0].tolist() == [100.0, 102.0, 99.0, 101.0, 12.5]
    assert not loaded.ohlcv.flags.writeable


def test_rows_that_are_no_candle_are_left_out() -> None:
    rows = [kline_row(OPEN, close="NaN"), kline_row(OPEN + HOUR, close="-1"), kline_row(OPEN + 2 * HOUR)]
    loaded = payloads.bars("BTCUSDT", "1h", rows, closed_before_ms=OPEN + 9 * HOUR)
    assert loaded.open_time_ms.tolist() == [OPEN + 2 * HOUR]


def test_no_bars_are_an_empty_answer_of_the_right_shape() -> None:
    loaded = payloads.bars("BTCUSDT", "1h", [], closed_before_ms=OPEN)
    assert loaded.open_time_ms.shape == (0,)
    assert loaded.ohlcv.shape == (0, 5)


def test_an_income_row_keeps_its_identity() -> None:
    row = {
        "symbol": "BTCUSDT",
        "incomeType": "COMMISSION",
        "income": "-0.01000000",
        "asset": "USDT",
        "info": "COMMISSION",
        "time": 1570636800000,
        "tranId": 9689322392,
        "tradeId": "2059192",
    }
    (read,) = payloads.incomes([row])
    assert (read.kind, read.transaction_id, read.trade_id) == ("COMMISSION", 9689322392, "2059192")
    assert read.amount_usd == D("-0.01000000")


def test_a_trade_event_carries_its_fill_and_another_event_none() -> None:
    (update,) = events.user_messages("ORDER_TRADE_UPDATE", frame(an_order_event()))
    assert isinstance(update, OrderUpdated)
    assert update.fill is not None
    assert (update.fill.trade_id, update.fill.commission, update.fill.realized_pnl) == (
        12345,
        D("0.30000250"),
        D("-1.25"),
    )
    (new,) = events.user_messages("ORDER_TRADE_UPDATE", frame(an_order_event(x="NEW", X="NEW", l="0", t=0, z="0")))
    assert isinstance(new, OrderUpdated)
    assert new.fill is None


def test_a_fill_without_commission_keys_costs_nothing_and_a_liquidation_is_a_fill() -> None:
    event = an_order_event(x="CALCULATED", c="autoclose-17", er="5")
    for key in ("n", "N"):
        del event["o"][key]  # type: ignore[attr-defined] # the builder's inner dict
    (update,) = events.user_messages("ORDER_TRADE_UPDATE", frame(event))
    assert isinstance(update, OrderUpdated)
    assert update.fill is not None
    assert update.fill.commission == D(0)
    assert update.expiry_reason == "5"


def test_a_conditional_event_may_lack_what_is_only_known_after_the_trigger() -> None:
    body = {"caid": "sl-1", "aid": 7, "at": "CONDITIONAL", "o": "STOP_MARKET", "s": "BTCUSDT", "S": "SELL", "q": "0.01"}
    new = {"e": "ALGO_UPDATE", "T": 5, "E": 6, "o": {**body, "X": "NEW", "ai": "", "tp": "59000", "R": True}}
    done = {**new, "o": {**body, "X": "FINISHED", "ai": "974828356187", "aq": "0.01", "tp": "59000", "rm": "why"}}
    (first,) = events.user_messages("ALGO_UPDATE", frame(new))
    (last,) = events.user_messages("ALGO_UPDATE", frame(done))
    assert isinstance(first, ConditionalUpdated)
    assert isinstance(last, ConditionalUpdated)
    assert (first.child_id, first.executed_quantity, first.trigger_price) == (None, D(0), D(59000))
    assert (last.child_id, last.executed_quantity, last.reason) == (974828356187, D("0.01"), "why")


def test_only_the_usdt_wallet_is_told_and_an_unknown_event_is_nothing() -> None:
    balances = [{"a": "USDT", "wb": "122624.12345678", "cw": "100", "bc": "0"}, {"a": "BNB", "wb": "1", "cw": "1"}]
    update = {"e": "ACCOUNT_UPDATE", "E": 1, "T": 2, "a": {"m": "FUNDING_FEE", "B": balances, "P": []}}
    assert events.user_messages("ACCOUNT_UPDATE", frame(update)) == (
        BalanceChanged(wallet_usd=D("122624.12345678"), reason="FUNDING_FEE", time_ms=2),
    )
    assert events.user_messages("TRADE_LITE", frame({"e": "TRADE_LITE"})) == ()


def test_a_market_frame_is_read_whatever_its_whitespace() -> None:
    candle = {"t": OPEN, "T": OPEN + HOUR - 1, "o": "1.5", "h": "2", "l": "1", "c": "1.75", "v": "3", "x": True}
    content = {"stream": "btcusdt@kline_1h", "data": {"e": "kline", "E": 1, "s": "BTCUSDT", "k": candle}}
    for text in (json.dumps(content), json.dumps(content, separators=(",", ":"))):
        envelope = events.envelope(text.encode())
        kline = events.kline(envelope.data)
        assert (kline.k.o, kline.k.low, kline.k.x) == (1.5, 1.0, True)
    assert np.isfinite(events.mark(b'{"E":1,"s":"A","p":"1.5","r":"0.0001","T":2}').p)


def test_a_trade_id_may_come_as_a_number() -> None:
    row = {"incomeType": "COMMISSION", "income": "-1", "asset": "USDT", "time": 5, "tranId": 6, "tradeId": 2059192}
    assert payloads.incomes([row])[0].trade_id == "2059192"


@pytest.mark.real
def test_every_rule_the_real_exchange_ever_published_can_be_read(real_data: Path) -> None:
    files = sorted((real_data / "exchange_info").glob("*.json.gz"))
    decode = msgspec.json.Decoder(float_hook=D).decode
    (brackets,) = (real_data / "leverage_brackets").glob("mainnet_2025*.json.gz")
    tables = decode(gzip.decompress(brackets.read_bytes()))
    for file in files:
        loaded, unreadable = payloads.rules(decode(gzip.decompress(file.read_bytes())), tables, [], [])
        assert unreadable == ()
        assert len(loaded.rules) > 100
        btc = next(rule for rule in loaded.rules if rule.symbol == "BTCUSDT")
        assert btc.brackets[0].notional_floor == 0
        assert btc.price_tick > 0


@pytest.mark.real
def test_every_user_event_captured_from_the_real_exchange_can_be_read(real_data: Path) -> None:
    lines = (real_data / "message_samples" / "user_stream_captured.jsonl").read_text().splitlines()
    raw = [json.loads(line)["raw"] for line in lines]
    told = [m for event in raw if "e" in event for m in events.user_messages(event["e"], json.dumps(event).encode())]
    kinds = {type(message) for message in told}
    assert {OrderUpdated, ConditionalUpdated, BalanceChanged} <= kinds
    fills = [m.fill for m in told if isinstance(m, OrderUpdated) and m.fill]
    assert fills
    assert all(fill.price > 0 and fill.quantity > 0 for fill in fills)


def test_a_resting_order_has_its_limit_and_none_at_market() -> None:
    row = {
        "symbol": "XRPUSDT", "clientOrderId": "web_1", "orderId": 7, "side": "BUY", "type": "LIMIT", "origQty": "100",
        "executedQty": "0", "reduceOnly": False, "closePosition": False, "workingType": "CONTRACT_PRICE", "time": 1,
        "stopPrice": "0", "price": "1.9000",
    }  # fmt: skip
    limit, market = payloads.open_orders([row, {**row, "type": "MARKET", "price": "0"}])
    assert (limit.price, market.price) == (D("1.9000"), None)
