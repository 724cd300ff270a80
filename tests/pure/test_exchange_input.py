"""Bad input to the embedded exchange: whatever the wire brings, an answer in JSON or a refusal with a code."""

from __future__ import annotations

import inspect
import json
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from qt_actors.exchange.endpoints import Endpoints
from qt_actors.exchange.engine import Engine, ExchangeError, ExchangeRules, Quote

RULES = ExchangeRules.default()
NOW_MS = 1_700_000_000_000
ENDPOINTS = sorted(
    name
    for name, method in inspect.getmembers(Endpoints, inspect.isfunction)
    if not name.startswith("_") and {"wire", "_wire"} & set(inspect.signature(method).parameters)
)
NAMES = """symbol side type quantity price timeInForce positionSide reduceOnly newClientOrderId orderId
origClientOrderId algoType triggerPrice callbackRate activatePrice closePosition workingType priceProtect clientAlgoId
algoId batchOrders orderIdList origClientOrderIdList startTime endTime limit page fromId incomeType leverage marginType
amount feeBurn autoCloseType dualSidePosition multiAssetsMargin countdownTime
goodTillDate priceMatch selfTradePreventionMode modifyId"""
TELLING = """BTCUSDT BUY SELL LIMIT MARKET STOP_MARKET TRAILING_STOP_MARKET STOP CONDITIONAL GTC IOC GTD true false LONG
BOTH 0 1 -1 2 0.01 59000 61000 60000 99999999999999999999 0.00000000000000000001 1700000000000 ISOLATED CROSSED
LIQUIDATION ADL
[] [1] [null] {} [{}] [[]] [{"symbol":null}] [1e999] QUEUE_20 OPPONENT NONE 999999999999999999"""
VALUES = st.one_of(st.sampled_from(TELLING.split()), st.text(max_size=40))
GOOD = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01", "algoType": "CONDITIONAL"}
CALLS = st.lists(
    st.tuples(st.sampled_from(ENDPOINTS), st.dictionaries(st.sampled_from(NAMES.split()), VALUES)), max_size=12
)


def code_of(engine: Engine, name: str, wire: dict[str, str]) -> int:
    """0 and a reply that JSON can carry, or the code of the refusal."""
    try:
        json.dumps(getattr(engine, name)(wire, NOW_MS), allow_nan=False)
    except ExchangeError as error:
        return error.code
    return 0


@given(CALLS)
@settings(max_examples=300, deadline=None)
def test_any_input_is_answered_in_json_or_refused_with_a_code(calls: list[tuple[str, dict[str, str]]]) -> None:
    events: list[dict[str, Any]] = []
    engine = Engine(RULES, now_ms=NOW_MS, emit=events.append)
    price = Decimal(60000)
    engine.quote(Quote("BTCUSDT", NOW_MS, price, price, price, price, price + Decimal("0.1"), Decimal(2), Decimal(3)))
    for name, wire in calls:
        assert code_of(engine, name, GOOD | wire) <= 0
        assert engine.wallet() == engine.income_total()
    json.dumps(events, allow_nan=False)
    assert Engine.restore(engine.save(), RULES, lambda _event: None).save() == engine.save()


def test_every_endpoint_of_the_surface_is_among_those_fuzzed() -> None:
    assert len(ENDPOINTS) >= 43
