"""Incidents of the books: fills of another trade, a full disk, a kill at any moment, funding, a second instance."""

from __future__ import annotations

import fcntl
import subprocess
from decimal import Decimal as D

import msgspec
import pytest

from qt_actors.messages.orders import Fill
from tests.incidents.stage import ALGO, BAR_MS, DAY_MS, ORDER
from tests.processes import QT, environment

HOUR_MS = 3_600_000


def test_the_fill_of_an_old_stop_is_not_booked_on_the_trade_that_followed(begin):
    """4 · freqtrade#13399.

    Given a long that its stop has closed and a short opened at once, when the stop's fill is found by looking back, and
    told once more when the short is open, then it is booked on the long and not on the short.
    """
    stage = begin(moves=(0.0, -0.03), QT_COOLDOWN_SECONDS="0")
    held = stage.enter()
    stage.weather.event_delay_ms = None
    stage.calls = {"BTCUSDT": "SELL"}
    stage.until(lambda: stage.held() < 0)
    stage.weather.event_delay_ms = 0
    stage.until(lambda: [t.phase for t in stage.open_trades()] == ["open"], within_s=60)
    stage.calls = {}
    old = next(row for row in stage.journal("fills") if row["client_id"].endswith("-s0") and row["side"] == "SELL")
    stage.life.tell("trading/executor", msgspec.convert(old, Fill, strict=False))
    stage.pass_s(130)
    (long,) = stage.journal("trades")
    (short,) = stage.open_trades()
    assert (long["side"], D(long["quantity"]), long["exit_reason"], long["complete"]) == ("BUY", held, "stop", 1)
    assert (short.side, short.filled, short.exited, short.complete) == ("SELL", -stage.held(), D(0), True)
    stage.ends_well()


@pytest.mark.parametrize("trouble", ["journal full", "journal locked"])
def test_a_fill_that_cannot_be_written_is_written_later_and_meanwhile_protected_without_new_entries(begin, trouble):
    """8 · freqtrade#7184, freqtrade#6353.

    Given a fill on the exchange, when the journal is locked or its disk full at that moment, then the intent is there
    already, the write is made up for, the position has its stop, and entries pause.
    """
    stage = begin(others=("ETHUSDT",), QT_COOLDOWN_SECONDS="0")
    stage.calls = {"BTCUSDT": "BUY"}
    stage.until(stage.entries)
    stage.begin(trouble, 400)
    stage.until(stage.held, within_s=2)
    stage.calls = {"ETHUSDT": "BUY"}
    stage.pass_s(350)
    assert not stage.journal("fills")
    (entry,) = stage.entries()
    intents = [row["client_id"] for row in stage.journal("intents_of", decision_id=f"BTCUSDT-{DAY_MS + BAR_MS}")]
    assert entry.params["newClientOrderId"] in intents
    assert sum(stage.stops()) >= stage.held() > 0
    assert not stage.held("ETHUSDT")
    stage.until(lambda: stage.held("ETHUSDT"), within_s=400)
    assert stage.journal("fills")
    stage.ends_well()


MOMENTS = {
    "the stop is sent": lambda s: s.sent("POST", ALGO),
    "the stop has arrived": lambda s: s.stops(),
    "the entry is sent": lambda s: s.entries(),
    "the entry has filled": lambda s: s.held(),
    "the target is sent": lambda s: s.sent("POST", ALGO, type="TAKE_PROFIT_MARKET"),
    "everything stands": lambda s: len(s.truth.stops) == 3,
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_whenever_the_process_is_killed_the_next_one_takes_over_what_it_left(begin, moment):
    """9 · nautilus_trader#5000, freqtrade's own source.

    Given SIGKILL between sending, acknowledgement, journal and stop, when the trader is started again, then positions
    are adopted and covered within 10 s, and the orders that work are kept.
    """
    stage = begin()
    stage.calls = {"BTCUSDT": "BUY"}
    stage.until(lambda: MOMENTS[moment](stage))
    stage.calls = {}
    stage.kill()
    stage.pass_s(5)
    held, before = stage.held(), {order.client_id for order in stage.truth.stops}
    stage.start()
    stage.pass_s(10)
    assert stage.held() == held
    assert sum(stage.stops()) == held
    stage.pass_s(60)
    assert {t.symbol: t.filled for t in stage.open_trades()} == ({"BTCUSDT": held} if held else {})
    after = {order.client_id for order in stage.truth.stops}
    assert (before <= after and len(after) == 3) if held else not after
    assert len(stage.entries()) <= 1
    stage.ends_well()


def test_a_trader_that_comes_back_after_a_kill_takes_up_its_exits_again(begin):
    """13 · hummingbot-api#243, OctoBot#3190.

    Given open positions with target and stop, when the process is killed for want of memory, its orders are gone when
    it comes back, then the exits are there again and work; the position is never just left.
    """
    stage = begin(moves=(0.0, 0.0, 0.0, -0.03))
    stage.enter()
    stage.kill()
    stage.pass_s(60)
    stage.ask("DELETE", "/fapi/v1/algoOpenOrders", symbol="BTCUSDT")
    stage.pass_s(60)
    assert not stage.truth.stops
    stage.start()
    stage.until(lambda: sum(stage.stops()) == stage.held() > 0, within_s=10)
    stage.until(lambda: len(stage.truth.stops) == 3, within_s=60)
    stage.until(lambda: not stage.held())
    stage.pass_s(10)
    (trade,) = stage.journal("trades")
    assert trade["exit_reason"] == "stop"
    stage.ends_well()


def test_a_position_older_than_every_fill_that_is_asked_for_has_the_exchanges_size_and_no_start_is_refused(begin):
    """14 · nautilus_trader#3104, nautilus_trader#3067.

    Given a position older than the fills that are asked for, and a journal that does not know it, when the trader
    starts, then the exchange's quantity wins, the stop that stands is kept, and the start goes on.
    """
    stage = begin(others=("ETHUSDT",), bars=2_600, detail=1)
    held = stage.enter()
    stops = [order.client_id for order in stage.truth.stops if order.kind == "STOP_MARKET"]
    stage.kill()
    for path in stage.setup.settings.data_dir.iterdir():
        path.unlink()
    stage.leap(8 * 86_400)
    assert stage.held() == held
    stage.start()
    stage.until(stage.open_trades, within_s=30)
    (trade,) = stage.open_trades()
    assert (trade.adopted, trade.filled, trade.exited, [trade.stop_id]) == (True, held, 0, stops)
    stage.calls = {"ETHUSDT": "BUY"}
    stage.until(lambda: stage.held("ETHUSDT"), within_s=700)
    assert stage.held() == held
    assert stage.stops() == [held]


def test_fees_and_funding_of_a_position_that_grew_across_a_funding_time_are_the_exchanges_own(begin):
    """32 · freqtrade#13263, freqtrade#7291.

    Given a position that is increased shortly before and after a funding time, when fees are booked, then they equal
    the exchange's income records.
    """
    stage = begin(start_ms=DAY_MS + 8 * HOUR_MS - BAR_MS - 20_000)
    stage.enter()
    for seconds in (60, 300):
        stage.pass_s(seconds)
        stage.ask("POST", ORDER, symbol="BTCUSDT", side="BUY", type="MARKET", quantity=D("0.010"))
    stage.pass_s(30)
    stage.ask("POST", ORDER, symbol="BTCUSDT", side="SELL", type="MARKET", quantity=stage.held(), reduceOnly="true")
    stage.pass_s(80)
    income = stage.world.exchange.request("GET", "/fapi/v1/income", symbol="BTCUSDT", limit=1000)
    sums = {
        kind: sum(D(r["income"]) for r in income if r["incomeType"] == kind) for kind in ("COMMISSION", "FUNDING_FEE")
    }
    assert sums["FUNDING_FEE"] != 0
    (trade,) = stage.journal("trades")
    assert D(trade["commission_usd"]) == -sums["COMMISSION"]
    assert D(trade["funding_usd"]) == sums["FUNDING_FEE"]
    realized = sum(D(r["income"]) for r in income if r["incomeType"] == "REALIZED_PNL")
    assert D(trade["net_usd"]) == realized + sums["COMMISSION"] + sums["FUNDING_FEE"]
    stage.ends_well()


def test_a_second_trader_in_the_same_folder_refuses_to_start(tmp_path):
    """34 · passivbot docs/live.md.

    Given a trader, when a second one is started beside it, then the newer refuses. (On another machine nobody notices
    it yet: README, known limits.)
    """
    with (tmp_path / "lock").open("a") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        second = subprocess.run(
            [*QT, "run"], env=environment(tmp_path, 0), capture_output=True, text=True, timeout=60, check=False
        )
    assert second.returncode == 1
    (line,) = second.stderr.splitlines()
    assert line.startswith(f"another qt run uses {tmp_path}")
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
