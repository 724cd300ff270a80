"""Incidents of orders whose outcome nobody knows: lost, late, denied, cancelled and yet filled, sent twice."""

from __future__ import annotations

from decimal import Decimal as D

from qt_actors.messages.orders import OrderUpdated
from qt_actors.messages.positions import ClosePosition
from tests.incidents.stage import ALGO, ORDER, UNKNOWN, refusal

NO_ORDER = refusal(-2013, "Order does not exist.")
FIVE = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT")


def is_entry(params):
    return "reduceOnly" not in params


def outcome_of_entry(stage):
    rows = stage.journal("intents_of", decision_id=stage.open_trades()[0].decision_id)
    return [row["outcome"] for row in rows if row["purpose"] == "entry"]


def assert_one_protected_position(stage):
    (trade,) = stage.open_trades()
    assert trade.phase == "open"
    assert len(stage.entries()) == 1
    assert abs(stage.held()) == trade.filled > 0
    assert stage.stops() == [trade.filled]


def test_an_order_of_unknown_outcome_that_fills_later_is_asked_for_and_adopted_and_never_sent_twice(begin):
    """5 · hummingbot#6033, hummingbot#5801.

    Given an entry that was sent, when no answer comes, and it fills only after that, then its state is unknown, it is
    asked for by its client id, no second order is made, and the position is ours with its stop.
    """
    stage = begin()
    stage.on("POST", ORDER, only=is_entry, times=1, before=UNKNOWN, later_ms=3_000)
    stage.weather.event_delay_ms = None
    stage.calls = {"BTCUSDT": "BUY"}
    stage.until(stage.entries)
    stage.until(lambda: stage.sent("GET", ORDER), within_s=3)
    assert stage.held() == 0, "it was to fill later"
    stage.until(lambda: [t.phase for t in stage.open_trades()] == ["open"], within_s=30)
    assert_one_protected_position(stage)
    (entry,) = stage.entries()
    assert {s.params["origClientOrderId"] for s in stage.sent("GET", ORDER)} == {entry.params["newClientOrderId"]}
    stage.weather.event_delay_ms = 0
    stage.pass_s(310)
    assert_one_protected_position(stage)
    stage.ends_well()


def test_one_reply_of_five_that_times_out_is_no_failure_and_no_duplicate_in_the_next_cycle(begin):
    """6 · hummingbot#493.

    Given five orders of one cycle, when the reply to one of them times out, then it is not taken for failed, and the
    next cycles, which call the same again, send none twice.
    """
    stage = begin(others=FIVE[1:], QT_COOLDOWN_SECONDS="0")
    timeout = refusal(-1007, "Timeout waiting for response from backend server.", 408)
    lost = stage.on("POST", ORDER, only=lambda p: is_entry(p) and p["symbol"] == "BNBUSDT", times=1, after=timeout)
    stage.weather.event_delay_ms = 20_000
    stage.calls = dict.fromkeys(FIVE, "BUY")
    stage.until(lambda: len(stage.truth.positions) == 5 and all(stage.stops(s) for s in FIVE))
    assert lost.met == 1
    stage.pass_s(620)
    assert sorted(s.params["symbol"] for s in stage.entries()) == sorted(FIVE)
    assert sorted(t.symbol for t in stage.open_trades() if t.phase == "open") == sorted(FIVE)
    stage.ends_well()


def test_an_order_that_the_exchange_does_not_know_yet_is_asked_for_again_and_has_not_failed(begin):
    """7 · hummingbot#601.

    Given an order made a moment ago, when its status is "does not exist" (-2013), then that is waited out and asked
    again; the order has not failed.
    """
    stage = begin()
    stage.on("POST", ORDER, only=is_entry, times=1, after=UNKNOWN)
    denied = stage.on("GET", ORDER, times=3, before=NO_ORDER)
    stage.weather.event_delay_ms = 60_000
    stage.calls = {"BTCUSDT": "BUY"}
    stage.until(lambda: denied.met == 3)
    assert [t.phase for t in stage.open_trades()] == ["entering"]
    stage.until(lambda: stage.open_trades()[0].phase == "open", within_s=10)
    assert_one_protected_position(stage)
    assert outcome_of_entry(stage) == ["accepted"]
    stage.ends_well()


def test_an_order_told_as_cancelled_though_it_filled_loses_to_the_position(begin):
    """10 · freqtrade#13037, freqtrade#3647.

    Given an entry that has filled, when it is reported as cancelled with nothing filled, then the position that the
    account shows wins: it is in the book, with a stop.
    """
    stage = begin()
    stage.weather.event_delay_ms = None
    stage.on("POST", ORDER, only=is_entry, times=1, lost=True)
    stage.calls = {"BTCUSDT": "BUY"}
    stage.until(stage.held)
    stage.calls = {}
    (entry,) = stage.entries()
    told = OrderUpdated(
        client_id=entry.params["newClientOrderId"],
        symbol="BTCUSDT",
        order_id=1,
        side="BUY",
        order_type="MARKET",
        original_type="MARKET",
        execution="CANCELED",
        status="CANCELED",
        quantity=D(entry.params["quantity"]),
        executed_quantity=D(0),
        average_price=D(0),
        reduce_only=False,
        time_ms=stage.world.now_ms,
        fill=None,
    )
    stage.life.tell("venue/account", told)
    stage.pass_s(30)
    stage.weather.event_delay_ms = 0
    held = stage.held()
    assert held > 0
    assert [t.filled - t.exited for t in stage.open_trades()] == [held]
    assert sum(stage.stops()) == held
    stage.ends_well()


def test_a_filled_order_that_no_query_knows_is_found_in_the_position_before_it_counts_as_rejected(begin):
    """11 · nautilus_trader#3870, nautilus_trader#4958.

    Given a market order that filled within 150 ms, when every query for it says that there is none, then fills and
    position are looked at before it is taken for rejected.
    """
    stage = begin()
    stage.on("POST", ORDER, only=is_entry, times=1, after=UNKNOWN)
    stage.on("GET", ORDER, before=NO_ORDER)
    stage.weather.event_delay_ms = None
    stage.calls = {"BTCUSDT": "BUY"}
    stage.until(stage.held)
    stage.until(lambda: [t.phase for t in stage.open_trades()] == ["open"], within_s=40)
    assert len(stage.sent("GET", ORDER)) >= 6
    assert_one_protected_position(stage)
    stage.weather.event_delay_ms = 0
    stage.pass_s(310)
    assert_one_protected_position(stage)
    stage.ends_well()


def test_a_cancel_that_fails_in_an_outage_stays_open_and_nothing_is_stacked_on_it(begin):
    """12 · nautilus_trader#4152, nautilus_trader#3879.

    Given orders to be cancelled in an outage, when every cancel fails, then they stay unresolved: nothing new is placed
    on their symbol until they are known to be gone.
    """
    stage = begin(QT_COOLDOWN_SECONDS="0")
    stage.enter()
    outage = stage.on("DELETE", ALGO, before=UNKNOWN)
    stage.life.tell("trading/executor", ClosePosition(symbol="BTCUSDT", reason="operator", exit_reason="manual"))
    stage.until(lambda: not stage.held(), within_s=5)
    resting, placed = stage.truth.stops, len(stage.sent("POST", ALGO))
    assert len(resting) == 3
    stage.calls = {"BTCUSDT": "BUY"}
    stage.pass_s(700)
    assert stage.truth.stops == resting
    assert len(stage.sent("POST", ALGO)) == placed
    assert len(stage.entries()) == 1
    assert outage.met > 6
    stage.off(outage)
    stage.until(lambda: len(stage.entries()) == 2)
    stage.pass_s(30)
    assert len(stage.truth.stops) == 3
    assert not {o.client_id for o in resting} & {o.client_id for o in stage.truth.stops}
    stage.ends_well()


def test_a_clock_that_jumps_has_the_same_order_signed_again_under_the_same_id(begin):
    """25 · ccxt/binance-trade-bot#215, gekko#1855.

    Given a host clock that jumps by 2 s, when the exchange answers -1021, then the offset is measured again and the
    order is signed anew under the same client id.
    """
    stage = begin()
    stage.until(lambda: stage.life.runtime.tree() and stage.sent("GET", "/fapi/v3/positionRisk"))
    stage.calls = {"BTCUSDT": "BUY"}
    before = len(stage.sent("GET", "/fapi/v1/time"))
    stage.until(lambda: stage.sent("POST", "/fapi/v1/leverage"))
    stage.life.runtime.clock.jump(2_000)
    stage.until(lambda: [t.phase for t in stage.open_trades()] == ["open"], within_s=30)
    assert len(stage.sent("GET", "/fapi/v1/time")) > before
    first, *again = [s.params["clientAlgoId"] for s in stage.sent("POST", ALGO, type="STOP_MARKET")]
    assert again == [first], "the stop was to meet the jump and to be signed again"
    assert_one_protected_position(stage)
    stage.life.runtime.clock.jump(-2_000)
    stage.pass_s(60)
    stage.ends_well()


def test_an_entry_whose_fill_is_not_known_yet_keeps_the_next_cycles_from_entering_again(begin):
    """26 · passivbot#980.

    Given a cycle of 129 s, when the fill of the first entry has not been taken in by then, then no second entry is made
    on the position of before.
    """
    stage = begin(QT_COOLDOWN_SECONDS="0")
    stage.weather.event_delay_ms = 129_000
    stage.on("GET", "/fapi/v3/positionRisk", late_ms=9_000)
    stage.on("GET", ORDER, times=5, before=refusal(-1001, "Internal error; unable to process your request.", 503))
    stage.on("POST", ORDER, only=is_entry, lost=True)
    stage.calls = {"BTCUSDT": "BUY"}
    stage.until(stage.held)
    held = stage.held()
    stage.pass_s(620)
    assert stage.held() == held
    assert_one_protected_position(stage)
    stage.ends_well()


def test_an_exit_that_fills_in_part_is_followed_by_one_exit_at_a_time_and_never_sells_too_much(begin):
    """33 · freqtrade#13332.

    Given an exit that filled in part, when the cancels are refused and exits are asked for again and again, then one
    exit is under way at a time, and what is sold is no more than what was held.
    """
    stage = begin()
    held = stage.enter()
    stage.on("DELETE", ALGO, before=refusal(-2011, "Unknown order sent."))
    stage.weather.exit_left = [held / 2, D("0.001"), D("0.002")]
    wish = ClosePosition(symbol="BTCUSDT", reason="operator", exit_reason="manual")
    under_way = []

    def ask_again():
        stage.life.tell("trading/executor", wish)
        closes = [s.params["newClientOrderId"] for s in stage.sent("POST", ORDER, reduceOnly="true")]
        answered = {
            r.params["newClientOrderId"] for r, _ in stage.arrived if "reduceOnly" in r.params and r.path == ORDER
        }
        under_way.append(len(set(closes) - answered))
        assert stage.held() >= 0
        return not stage.held()

    stage.until(ask_again, within_s=60)
    assert max(under_way) == 1
    stage.pass_s(5)
    fills = [row for row in stage.journal("fills") if row["side"] == "SELL"]
    assert sum(D(row["quantity"]) for row in fills) == held
    assert len({row["client_id"] for row in fills}) >= 3
    stage.weather.rules.clear()
    stage.until(lambda: not stage.truth.stops, within_s=60)
    stage.ends_well()
