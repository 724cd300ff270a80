"""Margin, liquidation, funding and fees of the embedded exchange against arithmetic written down here a second time.

The formulas are those of Binance's FAQ ("How to calculate liquidation price of USDⓈ-M futures contracts", "Leverage and
margin") as the reference has them; brackets are the real ones where the data folder is there, else the shipped ones.
"""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qt_actors.exchange.engine import ExchangeRules
from qt_actors.exchange.margin import Leg, liquidation_price
from qt_actors.exchange.rules import Bracket, SymbolRules
from tests.exchange_desk import Desk

D = Decimal
SHIPPED = ExchangeRules.default()


def one_tier(symbol: str, ratio: str, cum: str) -> SymbolRules:
    tier = Bracket(number=1, leverage=20, floor=D(0), cap=D(10) ** 12, maint_ratio=D(ratio), cum=D(cum))
    return msgspec.structs.replace(SHIPPED.symbols[symbol], brackets=(tier,))


def maintenance_by_slices(notional: Decimal, rows: list[dict[str, Any]]) -> Decimal:
    """Maintenance margin as a progressive tax: every slice of the notional at its own tier's ratio, no `cum`."""
    total = D(0)
    for row in rows:
        low, high = D(str(row["notionalFloor"])), D(str(row["notionalCap"]))
        total += max(D(0), min(notional, high) - low) * D(str(row["maintMarginRatio"]))
    return total


def test_the_published_example_of_two_cross_positions() -> None:
    """Binance's own figures: wallet 1,535,443.01; ETHUSDT is liquidated at 1,153.26, BTCUSDT at 26,316.89."""
    wallet = D("1535443.01")
    ether = Leg(D("3683.979"), D("3683.979") * D("1456.84"), D("1335.18"), one_tier("ETHUSDT", "0.10", "135365"))
    bitcoin = Leg(D("109.488"), D("109.488") * D("32481.980"), D("31967.27"), one_tier("BTCUSDT", "0.025", "16300"))
    assert round(ether.maintenance, 2) == D("356512.51")
    assert round(bitcoin.maintenance, 2) == D("71200.81")
    assert round(ether.unrealized, 2) == D("-448192.89")
    assert round(bitcoin.unrealized, 2) == D("-56354.57")
    assert round(liquidation_price([ether], wallet, bitcoin.maintenance, bitcoin.unrealized), 2) == D("1153.26")
    assert round(liquidation_price([bitcoin], wallet, ether.maintenance, ether.unrealized), 2) == D("26316.89")


class Real:
    """Rules and leverage brackets of the newest captured main net."""

    def __init__(self, folder: Path) -> None:
        brackets = self.newest(folder / "leverage_brackets")
        self.rules = ExchangeRules.from_exchange_info(self.newest(folder / "exchange_info"), brackets)
        self.tables = {row["symbol"]: sorted(row["brackets"], key=lambda tier: tier["bracket"]) for row in brackets}

    @staticmethod
    def newest(folder: Path) -> Any:
        return json.loads(gzip.decompress(max(folder.glob("mainnet_*.json.gz")).read_bytes()))


@pytest.fixture(scope="module")
def real(real_data: Path) -> Real:
    return Real(real_data)


def test_maintenance_of_every_real_bracket_is_the_sum_of_its_slices(real: Real) -> None:
    seen = 0
    for symbol, rows in real.tables.items():
        if symbol not in real.rules.symbols:
            continue
        for row in rows:
            notional = (D(str(row["notionalFloor"])) + D(str(row["notionalCap"]))) / 2
            leg = Leg(D(1), notional, notional, real.rules.symbols[symbol])
            assert abs(leg.maintenance - maintenance_by_slices(notional, rows)) < D("0.01"), (symbol, row)
            seen += 1
    assert seen > 3000


SIDES = {"BUY": 1, "SELL": -1}


@settings(max_examples=60, deadline=None)
@given(
    side=st.sampled_from(sorted(SIDES)),
    quantity=st.integers(2, 60_000),
    leverage=st.sampled_from([1, 5, 20]),
    isolated=st.booleans(),
    drift_bp=st.integers(-150, 150),
)
def test_a_position_reports_the_margins_and_the_liquidation_price_of_the_formulas(
    real: Real,
    side: str,
    quantity: int,
    leverage: int,
    *,
    isolated: bool,
    drift_bp: int,
) -> None:
    desk, rows = Desk("100000000", real.rules), real.tables["BTCUSDT"]
    if isolated:
        desk.engine.set_margin_type({"symbol": "BTCUSDT", "marginType": "ISOLATED"}, desk.now_ms)
    desk.engine.set_leverage({"symbol": "BTCUSDT", "leverage": str(leverage)}, desk.now_ms)
    desk.order(side, str(D(quantity) / 1000))
    fills = desk.engine.user_trades({"symbol": "BTCUSDT"}, desk.now_ms)
    mark = D(60000) + D(6) * drift_bp
    desk.quote(str(mark))
    row = desk.engine.position_risk_v3({"symbol": "BTCUSDT"}, desk.now_ms)[0]

    held = sum((D(fill["qty"]) for fill in fills), D(0))
    spent = sum((D(fill["qty"]) * D(fill["price"]) for fill in fills), D(0))
    fee = sum((D(fill["qty"]) * D(fill["price"]) * D("0.0005") for fill in fills), D(0))
    profit = SIDES[side] * (held * mark - spent)
    assert abs(D(row["positionAmt"])) == held
    assert abs(D(row["entryPrice"]) - spent / held) < D("0.0000001")
    assert abs(D(row["unRealizedProfit"]) - profit) < D("0.00000002")
    assert abs(D(row["initialMargin"]) - held * mark / leverage) < D("0.00000002")
    assert abs(D(row["maintMargin"]) - maintenance_by_slices(held * mark, rows)) < D("0.01")
    assert desk.engine.wallet() == 100_000_000 - sum((D(fill["commission"]) for fill in fills), D(0))
    assert abs(sum((D(fill["commission"]) for fill in fills), D(0)) - fee) <= D("0.00000001") * len(fills)

    wallet = D(row["isolatedWallet"]) if isolated else desk.engine.wallet()
    if isolated:
        assert abs(wallet - spent / leverage) <= D("0.00000001") * len(fills)
    price = D(row["liquidationPrice"])
    if price:
        left = wallet + SIDES[side] * (held * price - spent)
        assert abs(left - maintenance_by_slices(held * price, rows)) < D("0.01") + held * D("0.00000002")
    else:
        assert side == "BUY"
        assert wallet - spent >= 0, "a long that even a price of zero does not exhaust"


@pytest.mark.parametrize(
    ("side", "rate", "paid"), [("BUY", "0.0001", 1), ("BUY", "-0.0003", 1), ("SELL", "0.0001", -1)]
)
def test_funding_is_notional_at_mark_times_rate_and_longs_pay_a_positive_one(side: str, rate: str, paid: int) -> None:
    desk = Desk()
    desk.order(side, "0.25")
    desk.quote("60100", mark="60050.5")
    before = desk.engine.wallet()
    desk.engine.settle_funding("BTCUSDT", D(rate), desk.now_ms)
    assert desk.engine.wallet() - before == -paid * D("0.25") * D("60050.5") * D(rate)
    row = desk.engine.income({"incomeType": "FUNDING_FEE"}, desk.now_ms)[-1]
    assert D(row["income"]) == desk.engine.wallet() - before


def test_makers_pay_two_hundredths_of_a_percent_and_takers_five() -> None:
    desk = Desk()
    desk.order("BUY", "0.1")
    desk.order("BUY", "0.1", "59900")
    desk.quote("59899")
    taker, maker = desk.engine.user_trades({"symbol": "BTCUSDT"}, desk.now_ms)
    assert (taker["maker"], D(taker["commission"])) == (False, D("0.1") * D("60000.1") * D("0.0005"))
    assert (maker["maker"], D(maker["commission"])) == (True, D("0.1") * D("59900") * D("0.0002"))


@given(long=st.integers(1, 900), short=st.integers(1, 900), wallet=st.integers(3_000, 50_000))
@settings(max_examples=60, deadline=None)
def test_a_hedged_pair_is_liquidated_where_both_legs_together_exhaust_the_wallet(
    long: int, short: int, wallet: int
) -> None:
    rules = SHIPPED.symbols["BTCUSDT"]
    legs = [
        Leg(D(long) / 1000, D(long) * 60, D(60000), rules),
        Leg(-D(short) / 1000, -D(short) * 60, D(60000), rules),
    ]
    price = liquidation_price(legs, D(wallet), D(0), D(0))
    if price:
        left = wallet + (D(long) - D(short)) / 1000 * (price - 60000)
        bound = sum((abs(leg.qty) * price * rules.bracket(abs(leg.qty) * price).maint_ratio for leg in legs), D(0))
        cum = sum((rules.bracket(abs(leg.qty) * price).cum for leg in legs), D(0))
        assert abs(left - (bound - cum)) < D("0.000001")
    else:
        assert long >= short
