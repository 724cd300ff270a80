"""Incidents of stops and targets: refused, moved away, left behind, too many, too large, already passed."""

from __future__ import annotations

from decimal import Decimal as D

import pytest

from tests.incidents.stage import ALGO, ORDER, UNKNOWN, refusal

MOVED = refusal(-4120, "Order type not supported for this endpoint. Please use the Algo Order API endpoints instead.")
GONE = refusal(-5000, "Path /fapi/v1/algoOrder, Method POST is invalid", 404)
NO_ORDER, NO_CANCEL = refusal(-2013, "Order does not exist."), refusal(-2011, "Unknown order sent.")
PASSED = refusal(-2021, "Order would immediately trigger.")


def is_stop(params):
    return params.get("type") == "STOP_MARKET"


def take_the_stop_away(stage):
    (stop,) = [order for order in stage.truth.stops if order.kind == "STOP_MARKET"]
    stage.ask("DELETE", ALGO, symbol="BTCUSDT", clientAlgoId=stop.client_id)


def add_by_hand(stage, quantity, name):
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": quantity, "newClientOrderId": name}
    stage.ask("POST", ORDER, **order)


def test_a_stop_that_its_endpoint_refuses_closes_the_position_within_two_seconds_and_stops_entries(begin):
    """1 · freqtrade#12610, nautilus_trader#3287, LumiBot#61.

    Given a position, when its stop is refused with -4120 because the endpoint moved, then it is closed at market within
    2 s, the call is not repeated in a loop, entries are blocked, the operator is told.
    """
    stage = begin()
    stage.enter()
    moved = stage.on("POST", ALGO, only=is_stop, before=MOVED)
    take_the_stop_away(stage)
    stage.until(lambda: not stage.held(), within_s=2)
    stage.calls = {"BTCUSDT": "BUY"}
    decided = len(stage.journal("decisions", symbol="BTCUSDT"))
    stage.until(lambda: len(stage.journal("decisions", symbol="BTCUSDT")) > decided, within_s=310)
    assert not stage.open_trades()
    assert len(stage.entries()) == 1
    assert moved.met <= 6
    assert stage.journal("decisions", symbol="BTCUSDT", limit=1)[0]["gate"] == "governor"
    assert "-4120" in stage.incidents()
    stage.pass_s(1_500)
    assert len(stage.entries()) == 1, "an entry went out without a stop"
    assert moved.met < 12, "the refused call is made again and again"
    stage.ends_well()


def test_a_stop_that_the_exchange_denies_knowing_for_half_an_hour_gets_one_extra_at_most(begin):
    """2 · freqtrade#12681.

    Given a live conditional stop, when look-up and cancel answer -2013 and -2011 for 30 minutes, then there is never
    more than one extra stop, and it goes when the exchange knows it again.
    """
    stage = begin()
    stage.enter()
    blind = [stage.on("GET", ALGO, before=NO_ORDER), stage.on("DELETE", ALGO, before=NO_CANCEL)]
    add_by_hand(stage, "0.010", "by-hand-1")  # the larger stop replaces the first
    for _ in range(30):
        stage.pass_s(60)
        assert len(stage.stops()) <= 2
        assert sum(stage.stops()) >= stage.held()
    assert len(stage.sent("POST", ALGO, type="STOP_MARKET")) == 2
    stage.off(*blind)
    stage.until(lambda: stage.stops() == [stage.held()], within_s=60)
    stage.ends_well()


def test_stops_do_not_pile_up_when_their_cancels_fail(begin):
    """3 · freqtrade#7838.

    Given a stop that is replaced every cycle, when the cancels of the old ones fail, then a position never has more
    than two stops, and the exchange's limit of orders is never near.
    """
    stage = begin()
    stage.enter()
    failing = stage.on("DELETE", ALGO, before=UNKNOWN)
    for number in range(6):
        add_by_hand(stage, "0.010", f"by-hand-{number}")
        stage.pass_s(60)
        assert sum(stage.stops()) >= stage.held()
    stage.off(failing)
    stage.pass_s(60)
    assert len(stage.stops()) <= 2


def test_what_the_target_took_is_never_sold_again_by_the_stop(begin):
    """15 · jesse#510.

    Given a position, when its target takes a part, then the stop closes exactly the rest, also when it was placed for
    the whole.
    """
    stage = begin(moves=(0.0, 0.04, 0.0, -0.03, -0.03), QT_PARTIAL_TP="0.5")
    whole = stage.enter()
    trail_refused = stage.on("POST", ALGO, only=lambda p: p["type"] == "TRAILING_STOP_MARKET", before=MOVED)
    (trail,) = [order for order in stage.truth.stops if order.kind == "TRAILING_STOP_MARKET"]
    stage.ask("DELETE", ALGO, symbol="BTCUSDT", clientAlgoId=trail.client_id)
    stage.until(lambda: stage.held() < whole)
    rest = stage.held()
    assert D(0) < rest < whole
    assert sum(stage.stops()) >= rest
    stage.until(lambda: stage.held() != rest)
    assert stage.held() == 0, "more was sold than was held"
    stage.pass_s(30)
    (trade,) = stage.journal("trades")
    assert trade["exits"] == ["target", "stop"]
    assert trail_refused.met <= 7
    sold = sum(D(row["quantity"]) for row in stage.journal("fills") if row["side"] == "SELL")
    assert sold == whole
    stage.ends_well()


def test_a_stop_whose_price_is_passed_is_a_market_close_and_no_wider_stop(begin):
    """16 · freqtrade#4051, freqtrade#1557, Binance's own FAQ.

    Given a stop that must be placed, when its price is already crossed (-2021), then the position is closed at once,
    reduce-only, at market; no stop is placed farther away.
    """
    stage = begin()
    held = stage.enter()
    passed = stage.on("POST", ALGO, only=is_stop, before=PASSED)
    placed = len(stage.sent("POST", ALGO, type="STOP_MARKET"))
    take_the_stop_away(stage)
    stage.until(lambda: not stage.held(), within_s=1)
    assert passed.met == 1
    (close,) = stage.sent("POST", ORDER, reduceOnly="true")
    assert (close.params["side"], D(close.params["quantity"])) == ("SELL", held)
    stops = stage.sent("POST", ALGO, type="STOP_MARKET")
    assert len(stops) == placed + 1
    assert len({stop.params["triggerPrice"] for stop in stops}) == 1
    stage.ends_well()


def test_an_exchange_without_conditional_orders_is_found_out_before_anything_is_filled(begin):
    """17 · OctoBot#3532.

    Given a strategy that needs a stop and a target, when the exchange lacks the call, then that shows at the start and
    not after the fill.
    """
    stage = begin()
    stage.on("*", ALGO, before=GONE)
    stage.on("GET", "/fapi/v1/openAlgoOrders", before=GONE)
    stage.calls = {"BTCUSDT": "BUY"}
    stage.pass_s(1_000)
    assert not stage.held()
    assert not stage.entries()
    decided = stage.journal("decisions", symbol="BTCUSDT", limit=3)
    assert [row["verdict"] for row in decided] == ["denied"] * 3
    assert "the account is not known yet" in {gate["note"] for gate in decided[0]["gates"] if not gate["passed"]}


def test_a_stop_left_behind_by_its_target_never_opens_the_reverse_and_is_swept(begin):
    """18 · freqtrade#11608.

    Given a position that its target (and the trailing rest) has closed, when its stop remains and the price comes to
    it, then nothing is opened the other way, and the stop is swept.
    """
    stage = begin(moves=(0.0, 0.04, -0.03, -0.03, -0.01))
    stage.enter()
    stuck = stage.on("DELETE", ALGO, before=UNKNOWN)
    stage.until(lambda: not stage.held(), within_s=1_200)
    assert len(stage.stops()) == 1
    for _ in range(60):
        stage.pass_s(15)
        assert stage.held() == 0
    assert stuck.met > 1
    assert not stage.stops(), "the price never came to the stop"
    stage.off(stuck)
    stage.until(lambda: not stage.truth.stops, within_s=60)
    assert [row["phase"] for row in stage.journal("trades")] == ["closed"]
    stage.ends_well()


def test_somebody_who_keeps_cancelling_the_stops_ends_the_trade_with_its_reason_and_the_entries(begin):
    """Found by hand: all algo orders of the account cancelled every 0.2 s.

    Given a position, when each stop is cancelled as soon as it stands, then it is closed for want of a stop, which the
    journal says, and no entry goes out in the five minutes that follow, although stops are accepted.
    """
    stage = begin()
    stage.enter()
    stage.pass_s(60)
    for _ in range(125):
        stage.ask("DELETE", "/fapi/v1/algoOpenOrders", symbol="BTCUSDT")
        stage.pass_s(0.2)
    assert not stage.held()
    (trade,) = stage.journal("trades")
    assert trade["exit_reason"] == "unprotected"
    assert "stop could not be kept BTCUSDT" in stage.incidents()
    stage.calls, decided = {"BTCUSDT": "BUY"}, len(stage.journal("decisions", symbol="BTCUSDT"))
    stage.until(lambda: len(stage.journal("decisions", symbol="BTCUSDT")) > decided, within_s=310)
    assert stage.journal("decisions", symbol="BTCUSDT", limit=1)[0]["gate"] == "governor"
    assert len(stage.entries()) == 1, "an entry went out although stops do not stay"
    stage.ends_well()


def test_a_stop_cancelled_while_the_trader_was_dead_counts_no_hour_in_which_it_was_seen_to_stand(begin):
    """Found by hand: 11,770 s "unprotected since the start", five seconds after a start.

    Given a position of an hour, when its stop is cancelled while no process lives, then the next one counts from the
    last look of the former until a stop stands again.
    """
    stage = begin()
    stage.enter()
    stage.pass_s(3_600)
    stage.kill()
    take_the_stop_away(stage)
    stage.pass_s(40)
    stage.start()
    stage.until(lambda: stage.stops() == [stage.held()], within_s=30)
    stage.pass_s(30)
    assert stage.life.unprotected_s() == pytest.approx(40, abs=20)  # a look every ten seconds
    stage.ends_well()


def test_a_position_that_the_exchange_takes_away_ends_its_trade_with_the_reason_and_no_more_exits(begin):
    """19 · freqtrade#7107, freqtrade#8300.

    Given a position, when it is deleveraged and only the account stream tells, then the trade is closed with that
    reason, and no exit is tried again and again.
    """
    stage = begin()
    stage.enter()
    stage.world.exchange.exchange.operate("spoil", {"do": "deleverage", "symbol": "BTCUSDT"})
    stage.world.advance()
    stage.pass_s(120)
    (trade,) = stage.journal("trades")
    assert (trade["exit_reason"], trade["complete"]) == ("liquidation", 1)
    assert not stage.sent("POST", ORDER, reduceOnly="true")
    assert not stage.truth.stops
    stage.ends_well()
