"""The log lines of a trade: orders BUY and SELL, positions LONG and SHORT, prices without empty digits."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from qt_actors.decisions.alerts import alert_text
from qt_actors.decisions.trade_reports import closed_line, placed_line
from tests.cli_board import a_position, a_result, a_trade


def test_an_order_placed_is_a_sell_at_prices_without_empty_digits():
    trade = msgspec.structs.replace(a_trade(), decision_price=Decimal("2.7779000"), stop_price=Decimal("2.9023000"))
    assert placed_line(trade, "1-00") == ("ORDER PLACED BTCUSDT SELL 0.057 @ 2.7779 conf=0.81 stop=2.9023 trace=1-00")


def test_a_closed_trade_says_that_its_result_is_before_funding():
    closed = a_result("BTCUSDT", "12.50", side="SELL", opened_ms=0, closed_ms=5_400_000, exits=("target", "trail"))
    assert closed_line(closed) == (
        "TRADE CLOSED BTCUSDT SHORT 1 by target then by trail @ 110: +12.00 USDT after fees, before funding, held 1.5 h"
    )
    unknown = msgspec.structs.replace(closed, complete=False)
    assert closed_line(unknown).endswith("BTCUSDT SHORT 1 by target then by trail; its result is not known in full")


def test_a_trade_closed_for_want_of_its_stop_says_so():
    closed = a_result("BTCUSDT", "-2.50", exits=("unprotected",), exit_reason="unprotected")
    assert closed_line(closed).startswith("TRADE CLOSED BTCUSDT LONG 1 because its stop could not be kept @ ")


def test_an_alert_names_what_is_held():
    assert alert_text(a_trade(), a_position()).startswith("SHORT 0.057: +22.80 USDT unrealised")
