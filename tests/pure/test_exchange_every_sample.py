"""Every recorded message is compared with ours, here or in the test that is named, or it is said why it is not ours.

What samples lack and ours have came after them; what ours lack went, or was only ever in the documents' examples.
"""

from __future__ import annotations

import json
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest

from qt_actors.exchange import stream_frames
from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.routes import ROUTES
from qt_actors.exchange.virtual import VirtualExchange
from tests.candle_folders import HOUR_MS, START_MS, folder
from tests.exchange_desk import Desk
from tests.exchange_samples import reply_of, shape

TESTS: Final = Path(__file__).parents[1]
ENDPOINTS: Final = "binance_net/Endpoints/UsdFutures"
SUBSCRIPTIONS: Final = "binance_net/Subscriptions/UsdFutures"
EVENTS: Final = "nautilus/derived_docs/user_data_json"
FRAMES: Final = "nautilus/ws_messages"
REPLIES: Final = "nautilus/http_responses"

NEWER: Final = {
    "ma", "bep",  # ACCOUNT_UPDATE positions, since 2023 and 2026
    "er", "pm", "gtd", "M",  # ORDER_TRADE_UPDATE, since 2023 to 2026
    "N", "n",  # there with every event as captured in 2026
    "ia", "rm",
    "updateTime", "pair", "cumBase", "closePosition", "priceProtect", "priceMatch", "selfTradePreventionMode",
    "goodTillDate", "listenKey", "baseQty", "rpiCommissionRate", "isolatedWallet", "notional", "breakEvenPrice",
    "nq", "isRPITrade", "feeBurn", "st", "ps", "time", "activatePrice", "callbackRate", "maxMoveOrderLimit",
    "permissionSets", "markPrice", "rateType", "cumQty",
}  # fmt: skip
GONE: Final = {
    "AP", "cr",  # as captured: of trailing orders alone
    "W", "rm",  # documents only
    "settlePlan",  # of 2020
    "time",  # of an order that is placed: documents only
    "ap", "aq", "act",  # of a conditional order before it fires: documents only
    "V", "wt", "pm", "cp", "pP",  # of a cancelled conditional order: as captured in 2026-09
    "avgPrice", "cumQuote",  # of placements and changes until 2026-07-14
    "activatePrice", "priceRate",  # of conditional orders, which are not among the regular ones since 2025-12-09
}  # fmt: skip

TEXT_THERE: Final = {
    "timestamp",  # of statistics: a number on the wire, a text in the documents' example
    "isAutoAddMargin",  # of symbolConfig: a boolean on the wire, a text in one of the two samples
}

NOT_OURS: Final[dict[str, str]] = {
    "README.txt": "no message",
    f"{ENDPOINTS}/Account/GetDownload*": "files of the website, made within days",
    f"{ENDPOINTS}/Trading/*Convert*": "converting assets belongs to the wallet",
    f"{ENDPOINTS}/Trading/Get*AlgoOrders.txt": "TWAP and VP orders of another host (/sapi)",
    f"{ENDPOINTS}/Trading/GetAlgoSubOrders.txt": "the same",
    f"{ENDPOINTS}/Trading/CancelAlgoOrder.txt": "the same",
    f"{ENDPOINTS}/Trading/PlaceTimeWeighted*": "the same",
    f"{ENDPOINTS}/Trading/PlaceVolumeParticipation*": "the same",
    f"{ENDPOINTS}/Trading/CancelConditionalOrder.txt": "documented, and ours: {algoId, clientAlgoId, code, msg}",
    "binance_net/Socket/UsdFutures/Trading/CancelConditionalOrder.txt": "the same",
    f"{ENDPOINTS}/ExchangeData/GetInsuranceFundBalances.txt": "no other trader ever draws on the fund",
    f"{ENDPOINTS}/ExchangeData/GetCompositeIndexInfo.txt": "there are no composite indices",
    f"{REPLIES}/http_futures_market_index_info.json": "the same",
    f"{SUBSCRIPTIONS}/CompositIndex.txt": "the same",
    f"{SUBSCRIPTIONS}/AssetIndex.txt": "asset indices stand still here and are told by REST alone",
    f"{SUBSCRIPTIONS}/ConditionalTrigger.txt": "deprecated on 2025-12-15: ALGO_UPDATE tells why",
    f"{SUBSCRIPTIONS}/GridUpdate.txt": "the website's grid bots",
    f"{SUBSCRIPTIONS}/StrategyUpdate.txt": "the same",
    f"{SUBSCRIPTIONS}/Concurrent.txt": "two kline requests whose replies cross; the frames are cut short",
    f"{EVENTS}/order_update_delivery.json": "a COIN-M contract",
    f"{EVENTS}/order_update_calculated_pending.json": "made up by its authors; ours is told when it is filled",
    f"{FRAMES}/ws_futures_order_update_liquidation_zero_qty.json": "the same",
    "nautilus/derived_docs/http_json/open_algo_orders.json": "cut short by its authors, with `type` for orderType",
    f"{FRAMES}/ws_futures_order_update_new_*_price_match.json": "a conditional type as an order: before 2025-12-09",
    f"{REPLIES}/http_futures_market_blvt_nav_kline.json": "leveraged tokens, which ended in 2023",
    f"{REPLIES}/http_futures_wallet_commission_rate_btcusdt_quarterly.json": "one account's rates are all alike",
    f"{REPLIES}/http_futures_wallet_commission_rate_ethusdt.json": "the same",
}

ELSEWHERE: Final[dict[str, str]] = {
    f"{ENDPOINTS}/ExchangeData/*": "accept/test_exchange_samples.py pure/test_exchange_market_data.py",
    f"{ENDPOINTS}/*": "accept/test_exchange_samples.py pure/test_exchange_payloads.py",
    "binance_net/Socket/*": "accept/test_exchange_ws_api.py",
    f"{SUBSCRIPTIONS}/*": "pure/test_market_samples.py",
    "nautilus/derived_docs/market_data_json/*": "pure/test_market_samples.py",
    f"{FRAMES}/*": "pure/test_market_samples.py pure/test_exchange_payloads.py",
    f"{REPLIES}/*": "pure/test_market_samples.py pure/test_exchange_payloads.py",
    "user_stream_captured.jsonl": "pure/test_exchange_payloads.py",
}
SHORTENED: Final = ("http_futures_market_", "ws_futures_algo_update_")  # tests name what follows


def body_of(event: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = event.get("o", event.get("a", event))
    return body


class Story(Desk):
    """An account that has met everything there is an event of."""

    def last(self, kind: str, **facts: Any) -> dict[str, Any]:
        """The newest event of that kind whose body has these values."""
        found = [event for event in self.events if event["e"] == kind and facts.items() <= body_of(event).items()]
        assert found, f"no {kind} with {facts}"
        return found[-1]


def liquidated() -> Story:
    desk = Story("4000")
    desk.order("BUY", "1")
    desk.quote("56000")
    return desk


def triggered() -> Story:
    """A stop-limit whose child was cancelled, and a trailing stop that fired."""
    desk = Story()
    desk.algo("SELL", "STOP", quantity="0.1", price="61000", triggerPrice="59500", clientAlgoId="limit")
    desk.quote("59500")
    desk.engine.cancel_order({"symbol": "BTCUSDT", "origClientOrderId": "limit"}, desk.now_ms)
    desk.algo("SELL", "TRAILING_STOP_MARKET", quantity="0.1", callbackRate="0.1")
    desk.quote("59000")
    return desk


def hedged() -> Story:
    desk = Story("100000")
    desk.engine.set_multi_assets({"multiAssetsMargin": "true"}, desk.now_ms)
    desk.engine.set_position_side({"dualSidePosition": "true"}, desk.now_ms)
    desk.order("BUY", "0.1", positionSide="LONG")
    desk.order("BUY", "5", "59000", positionSide="LONG", newClientOrderId="resting")
    desk.quote("59000", volume="3")
    desk.engine.set_leverage({"symbol": "BTCUSDT", "leverage": "25"}, desk.now_ms)
    return desk


def called() -> Story:
    desk = Story("4000")
    desk.order("BUY", "1")
    desk.quote(str(round(Decimal(desk.engine.position_risk_v3({}, desk.now_ms)[0]["liquidationPrice"]) + 30, 1)))
    return desk


def settled() -> Story:
    desk = Story()
    desk.order("BUY", "0.1")
    desk.engine.delist("BTCUSDT", desk.now_ms)
    return desk


def deleveraged() -> Story:
    desk = Story()
    desk.order("SELL", "0.1")
    desk.quote("50000")
    desk.engine.spoil({"do": "deleverage", "symbol": "BTCUSDT"}, desk.now_ms)
    return desk


def simple() -> Story:
    desk = Story()
    desk.order("BUY", "0.2", newClientOrderId="market")
    desk.order("SELL", "0.1", "62000", reduceOnly="true", newClientOrderId="less")
    desk.quote("62001")
    desk.order("BUY", "0.1", priceMatch="QUEUE", type="LIMIT", timeInForce="GTC", newClientOrderId="matched")
    desk.algo("SELL", "TAKE_PROFIT", quantity="0.1", triggerPrice="65000", price="65000", clientAlgoId="take")
    desk.engine.cancel_algo_order({"clientAlgoId": "take"}, desk.now_ms)
    return desk


UPDATE: Final = "ORDER_TRADE_UPDATE"
FIRED: Final = ("triggering", "triggered", "finished")
TOLD: Final[tuple[tuple[str, Any, str, dict[str, Any]], ...]] = (
    (f"{EVENTS}/account_update.json", hedged, "ACCOUNT_UPDATE", {"m": "ORDER"}),
    (f"{SUBSCRIPTIONS}/AccountUpdate.txt", hedged, "ACCOUNT_UPDATE", {"m": "ORDER"}),
    (f"{EVENTS}/account_update_bnfcr.json", simple, "ACCOUNT_UPDATE", {"m": "ORDER"}),
    (f"{EVENTS}/algo_update_new.json", simple, "ALGO_UPDATE", {"X": "NEW"}),
    (f"{EVENTS}/algo_update_canceled.json", simple, "ALGO_UPDATE", {"X": "CANCELED"}),
    (f"{SUBSCRIPTIONS}/AlgoOrderUpdate.txt", simple, "ALGO_UPDATE", {"X": "CANCELED"}),
    (f"{FRAMES}/ws_futures_algo_update_finished_canceled.json", triggered, "ALGO_UPDATE", {"X": "FINISHED", "aq": "0"}),
    *(
        (f"{FRAMES}/ws_futures_algo_update_{status}.json", triggered, "ALGO_UPDATE", {"X": status.upper()})
        for status in FIRED
    ),
    (f"{EVENTS}/order_update_new.json", triggered, UPDATE, {"ot": "TRAILING_STOP_MARKET", "x": "NEW"}),
    (f"{SUBSCRIPTIONS}/OrderUpdate.txt", triggered, UPDATE, {"ot": "TRAILING_STOP_MARKET", "x": "NEW"}),
    (f"{EVENTS}/order_update_trade.json", simple, UPDATE, {"c": "less", "x": "TRADE"}),
    (f"{EVENTS}/order_update_trade_partial.json", hedged, UPDATE, {"c": "resting", "X": "PARTIALLY_FILLED"}),
    (f"{EVENTS}/order_update_calculated.json", liquidated, UPDATE, {"x": "CALCULATED"}),
    (f"{EVENTS}/order_update_insurance.json", liquidated, UPDATE, {"x": "CALCULATED"}),
    (f"{FRAMES}/ws_futures_order_update_liquidation.json", liquidated, UPDATE, {"x": "CALCULATED"}),
    (f"{EVENTS}/order_update_settlement.json", settled, UPDATE, {"x": "TRADE"}),
    (f"{FRAMES}/ws_futures_order_update_settlement.json", settled, UPDATE, {"x": "TRADE"}),
    (f"{EVENTS}/order_update_adl.json", deleveraged, UPDATE, {"X": "FILLED"}),
    (f"{FRAMES}/ws_futures_order_update_adl.json", deleveraged, UPDATE, {"X": "FILLED"}),
    (f"{FRAMES}/ws_futures_order_update_adl_filled.json", deleveraged, UPDATE, {"X": "FILLED"}),
    (f"{FRAMES}/ws_futures_order_update_new_price_match.json", simple, UPDATE, {"c": "matched", "x": "NEW"}),
    (f"{FRAMES}/ws_futures_order_update_new_reduce_only_qty.json", simple, UPDATE, {"c": "less", "x": "NEW"}),
    (f"{FRAMES}/ws_futures_order_update_trade_reduce_only_qty.json", simple, UPDATE, {"c": "less", "x": "TRADE"}),
    (f"{EVENTS}/trade_lite.json", simple, "TRADE_LITE", {}),
    (f"{SUBSCRIPTIONS}/TradeUpdate.txt", simple, "TRADE_LITE", {}),
    (f"{FRAMES}/ws_futures_trade_lite.json", simple, "TRADE_LITE", {}),
    (f"{SUBSCRIPTIONS}/Leverage.txt", hedged, "ACCOUNT_CONFIG_UPDATE", {"ac": {"s": "BTCUSDT", "l": 25}}),
    (f"{SUBSCRIPTIONS}/MultiAssetMode.txt", hedged, "ACCOUNT_CONFIG_UPDATE", {"ai": {"j": True}}),
    (f"{SUBSCRIPTIONS}/MarginUpdate.txt", called, "MARGIN_CALL", {}),
)


def sample(samples: Path, name: str) -> Any:
    """The message in a sample, of its envelope and of a list of them the first."""
    if name.startswith(ENDPOINTS):
        told = reply_of(samples, name.removeprefix(f"{ENDPOINTS}/"))
    else:
        text = (samples / name).read_text(encoding="utf-8-sig")
        told = json.loads(text if name.endswith(".json") else text[text.index("\n=") + 2 :])
    told = told.get("data", told) if isinstance(told, dict) and "stream" in told else told
    return told[0] if isinstance(told, list) else told


def agree(ours: Any, theirs: Any, where: str) -> None:
    """The same keys and types all the way down, but for what came and what went."""
    if isinstance(ours, list) and isinstance(theirs, list):
        if ours and theirs:
            agree(ours[0], theirs[0], f"{where}[]")
        return
    if isinstance(ours, str) and isinstance(theirs, str):
        return
    mine, real = shape(ours), shape(theirs)
    assert set(mine) - set(real) <= NEWER, f"{where}: only ours"
    assert set(real) - set(mine) <= GONE, f"{where}: only theirs"
    for key in set(mine) & set(real) - TEXT_THERE:
        assert mine[key] == real[key] or real[key] == "null", f"{where}.{key}"
        if isinstance(theirs[key], (dict, list)):
            agree(ours[key], theirs[key], f"{where}.{key}")


@pytest.mark.parametrize(("name", "story", "kind", "facts"), TOLD, ids=[row[0] for row in TOLD])
def test_an_event_has_the_keys_and_types_of_the_sample(
    real_data: Path, name: str, story: Any, kind: str, facts: dict[str, Any]
) -> None:
    event = story().last(kind, **facts)
    theirs = sample(real_data / "message_samples", name)
    assert event["e"] == theirs["e"]
    agree(event, theirs, kind)


ASKED: Final[tuple[tuple[str, str, dict[str, str]], ...]] = (
    (f"{ENDPOINTS}/Account/ModifyPositionMode.txt", "set_position_side", {"dualSidePosition": "true"}),
    (f"{ENDPOINTS}/Account/SetMultiAssetsMode.txt", "set_multi_assets", {"multiAssetsMargin": "true"}),
    ("nautilus/derived_docs/http_json/account_info_v2.json", "account_v2", {}),
    ("nautilus/derived_docs/http_json/balance.json", "balance", {}),
    ("nautilus/derived_docs/http_json/position_risk.json", "position_risk_v2", {}),
    (f"{REPLIES}/http_futures_account_positions_one_way.json", "position_risk_v2", {}),
    (f"{REPLIES}/http_futures_account_orders.json", "all_orders", {}),
    (f"{REPLIES}/http_futures_account_trades.json", "user_trades", {"symbol": "BTCUSDT"}),
    (f"{REPLIES}/http_futures_account_position_side_dual.json", "get_position_side", {}),
    (f"{REPLIES}/http_futures_wallet_commission_rate_btcusdt.json", "commission_rate", {"symbol": "BTCUSDT"}),
)


@pytest.mark.parametrize(("name", "method", "wire"), ASKED, ids=[row[0] for row in ASKED])
def test_a_reply_has_the_keys_and_types_of_the_sample(
    real_data: Path, name: str, method: str, wire: dict[str, str]
) -> None:
    desk = Story()
    if not method.startswith("set"):
        desk.order("BUY", "0.1")
    reply = getattr(desk.engine, method)(wire, desk.now_ms)
    agree(reply[0] if isinstance(reply, list) else reply, sample(real_data / "message_samples", name), method)


BTC: Final = {"symbol": "BTCUSDT"}
STATISTICS: Final = {**BTC, "pair": "BTCUSDT", "period": "1h"}
RATIOS: Final = {
    "global_long_short_account_ratio": "globalLongShortAccountRatio",
    "top_long_short_account_ratio": "topLongShortAccountRatio",
    "top_long_short_position_ratio": "topLongShortPositionRatio",
    "taker_long_short_ratio": "takerlongshortRatio",
    "open_interest_historical": "openInterestHist",
}
ROUTED: Final[tuple[tuple[str, str, str, dict[str, str]], ...]] = (
    *((f"{REPLIES}/http_futures_market_{name}.json", "GET", f"/futures/data/{path}", STATISTICS)
      for name, path in RATIOS.items()),
    (f"{REPLIES}/http_futures_market_asset_index.json", "GET", "/fapi/v1/assetIndex", {}),
    (f"{REPLIES}/http_futures_market_exchange_info.json", "GET", "/fapi/v1/exchangeInfo", {}),
    (f"{REPLIES}/http_futures_market_funding_rate.json", "GET", "/fapi/v1/fundingRate", BTC),
    (f"{ENDPOINTS}/Account/GetSymbolConfiguration.txt", "GET", "/fapi/v1/symbolConfig", BTC),
    (f"{ENDPOINTS}/Account/StartUserStream.txt", "POST", "/fapi/v1/listenKey", {}),
    (f"{ENDPOINTS}/Account/KeepAliveUserStream.txt", "PUT", "/fapi/v1/listenKey", {}),
    (f"{ENDPOINTS}/Account/StopUserStream.txt", "DELETE", "/fapi/v1/listenKey", {}),
)  # fmt: skip
STREAMED: Final = {
    "nautilus/derived_docs/market_data_json/depth_update_stream.json": ("public", "btcusdt@depth@100ms"),
    f"{FRAMES}/ws_futures_depth_diff_update.json": ("public", "btcusdt@depth@100ms"),
    f"{FRAMES}/ws_futures_book_ticker.json": ("public", "btcusdt@bookTicker"),
    f"{FRAMES}/ws_futures_ticker_24hr.json": ("market", "btcusdt@ticker"),
}


@pytest.fixture(scope="module")
def exchange() -> VirtualExchange:
    """A market that has run for a while, heard on the streams that there are samples of."""
    one = VirtualExchange(ExchangeConfig(symbols="BTCUSDT"))
    one.exchange.listen_keys.create()
    return one


@pytest.mark.parametrize(("name", "method", "path", "params"), ROUTED, ids=[row[0] for row in ROUTED])
def test_a_route_answers_with_the_keys_and_types_of_the_sample(
    real_data: Path, exchange: VirtualExchange, name: str, method: str, path: str, params: dict[str, str]
) -> None:
    reply = ROUTES[method, path].answer(exchange.exchange, dict(params))
    agree(reply[0] if isinstance(reply, list) else reply, sample(real_data / "message_samples", name), path)


@pytest.mark.parametrize("name", STREAMED)
def test_a_stream_tells_the_keys_and_types_of_the_sample(real_data: Path, exchange: VirtualExchange, name: str) -> None:
    exchange.subscribe(STREAMED[name][1])
    heard = [one["data"] for one in exchange.next_bar() if one["stream"] == STREAMED[name][1]]
    agree(heard[-1], sample(real_data / "message_samples", name), name)


FORCED: Final = f"{ENDPOINTS}/Trading/GetForcedOrders.txt"
FORCED_FRAME: Final = "nautilus/derived_docs/market_data_json/liquidation_stream.json"
BOTH_SIDES: Final = f"{REPLIES}/http_futures_account_positions_hedge.json"
ADJUSTED: Final = f"{ENDPOINTS}/ExchangeData/GetFundingInfo.txt"
CHANGES: Final = (
    ("nautilus/derived_docs/http_json/order_response.json", "place_order"),
    ("binance_net/Socket/UsdFutures/Trading/EditOrder.txt", "modify_order"),
    ("binance_net/Socket/UsdFutures/Trading/CancelOrder.txt", "cancel_order"),
)


def test_a_forced_order_is_told_like_the_recorded_one(real_data: Path) -> None:
    desk = liquidated()
    samples = real_data / "message_samples"
    agree(desk.engine.force_orders({}, desk.now_ms)[0], sample(samples, FORCED), FORCED)
    event = desk.last(UPDATE, x="CALCULATED")
    agree(stream_frames.force_order(event["o"], event["E"]), sample(samples, FORCED_FRAME), FORCED_FRAME)


def test_both_sides_of_a_hedged_position_are_told_like_the_recorded_one(real_data: Path) -> None:
    desk = hedged()
    rows = desk.engine.position_risk_v2(BTC, desk.now_ms)
    assert [row["positionSide"] for row in rows] == ["LONG", "SHORT"]
    agree(rows[0], sample(real_data / "message_samples", BOTH_SIDES), BOTH_SIDES)


def test_a_symbol_of_another_funding_interval_is_told_like_the_recorded_one(real_data: Path, tmp_path: Path) -> None:
    times = [START_MS + hour * HOUR_MS for hour in range(0, 96, 4)]
    rates = {"symbol": ["AUSDT"] * len(times), "funding_time": times, "funding_rate": [0.0001] * len(times)}
    pl.DataFrame(rates).write_parquet(tmp_path / "funding.parquet")
    candles = folder(tmp_path / "candles", ["AUSDT", "BUSDT"], 300)
    config = ExchangeConfig(
        replay=str(candles), start_ms=START_MS + 48 * HOUR_MS, funding=str(tmp_path / "funding.parquet")
    )
    told = VirtualExchange(config).request("GET", "/fapi/v1/fundingInfo")
    assert [(row["symbol"], row["fundingIntervalHours"]) for row in told] == [("AUSDT", 4)]
    agree(told[0], sample(real_data / "message_samples", ADJUSTED), ADJUSTED)


def test_what_changes_orders_is_answered_like_the_samples(real_data: Path) -> None:
    desk = Story()
    named = {**BTC, "side": "BUY", "origClientOrderId": "a"}
    replies = {
        "place_order": desk.order("BUY", "0.1", "59000", newClientOrderId="a"),
        "modify_order": desk.engine.modify_order({**named, "quantity": "0.2", "price": "59001"}, desk.now_ms),
        "cancel_order": desk.engine.cancel_order(named, desk.now_ms),
    }
    for name, method in CHANGES:
        theirs = sample(real_data / "message_samples", name)
        agree(replies[method], theirs.get("result", theirs), method)


def test_every_sample_is_compared_or_it_is_said_why_not(real_data: Path) -> None:
    folder = real_data / "message_samples"
    here = {str(row[0]) for row in (*TOLD, *ASKED, *ROUTED, *CHANGES)} | set(STREAMED)
    here |= {FORCED, FORCED_FRAME, BOTH_SIDES, ADJUSTED}
    open_ones = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or name in here or any(fnmatchcase(name, one) for one in NOT_OURS):
            continue
        word = path.stem
        for prefix in SHORTENED:
            word = word.removeprefix(prefix)
        tests = [one for pattern, ones in ELSEWHERE.items() if fnmatchcase(name, pattern) for one in ones.split()]
        if not any(word in (TESTS / one).read_text() for one in tests):
            open_ones.append(name)
    assert open_ones == []
    assert not [name for name in here if not (folder / name).is_file()]
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    assert not [one for one in NOT_OURS if not any(fnmatchcase(name, one) for name in names)]
