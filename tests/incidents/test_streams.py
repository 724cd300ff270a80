"""Incidents of streams: connected and mute, a lost listen key, candles still forming, histories grown old."""

from __future__ import annotations

from decimal import Decimal as D

from qt_actors.messages.positions import ClosePosition
from tests.incidents.stage import BAR_MS, DAY_MS, ORDER, refusal

DOWN = refusal(-1001, "Internal error; unable to process your request.", 503)


def closes_of_the_exchange(stage, symbol="BTCUSDT"):
    """Close by the moment of closing, of every bar that has closed."""
    rows = stage.world.exchange.request("GET", "/fapi/v1/klines", symbol=symbol, interval="5m", limit=60)
    return {row[6]: float(row[4]) for row in rows if row[6] < stage.world.now_ms}


def test_market_streams_that_acknowledge_and_stay_mute_stop_entries_and_no_exit(begin):
    """20 · binance-futures-connector-python#261, cryptofeed#1128.

    Given subscribed streams, when they stay open and say nothing, then that is noticed, bars come by REST within the
    budget, entries are blocked and exits go on.
    """
    stage = begin(others=("ETHUSDT",), QT_COOLDOWN_SECONDS="0")
    held = stage.enter()
    stage.begin("market mute", 700)
    stage.calls = {"ETHUSDT": "BUY"}
    stage.pass_s(640)
    assert not stage.held("ETHUSDT")
    decided = stage.journal("decisions", symbol="ETHUSDT", limit=2)
    assert [(row["verdict"], row["gate"]) for row in decided] == [("denied", "quote")] * 2, "bars came, quotes did not"
    lines = {line.path: line.statistics for line in stage.life.runtime.tree()}
    assert lines["root/feed/market-data"]
    assert stage.life.edges.rest.budget().weight_ratio < 0.5
    assert stage.held() == held
    stage.life.tell("trading/executor", ClosePosition(symbol="BTCUSDT", reason="operator", exit_reason="manual"))
    stage.until(lambda: not stage.held(), within_s=2)
    stage.until(lambda: stage.held("ETHUSDT"), within_s=400)
    stage.ends_well()


def test_fills_that_a_lost_listen_key_swallowed_are_fetched_and_a_new_key_is_taken(begin):
    """21 · unicorn-binance-websocket-api#275, hummingbot#7679.

    Given the stream of the account, when its listen key expires or another client deletes it, then there is a new key,
    and the fills that were missed are fetched by REST.
    """
    stage = begin()
    held = stage.enter()
    keys = len(stage.sent("POST", "/fapi/v1/listenKey"))
    stage.world.exchange.exchange.listen_keys.delete()
    half = (held / 2).quantize(D("0.001"))
    sold = stage.ask("POST", ORDER, symbol="BTCUSDT", side="SELL", type="MARKET", quantity=half)
    stage.until(lambda: any(row["order_id"] == sold["orderId"] for row in stage.journal("fills")), within_s=30)
    (trade,) = stage.open_trades()
    assert (trade.filled, trade.exited) == (held, half)
    stage.until(lambda: len(stage.sent("POST", "/fapi/v1/listenKey")) > keys, within_s=60)
    stage.pass_s(75)
    before = len(stage.sent("GET", "/fapi/v1/userTrades"))
    again = stage.ask("POST", ORDER, symbol="BTCUSDT", side="SELL", type="MARKET", quantity=D("0.002"))
    stage.until(lambda: any(row["order_id"] == again["orderId"] for row in stage.journal("fills")), within_s=2)
    assert len(stage.sent("GET", "/fapi/v1/userTrades")) == before, "the new key does not hear"
    stage.ends_well()


def test_a_stream_that_stalls_inside_a_candle_never_makes_a_forming_candle_a_closed_one(begin):
    """22 · freqtrade#13397.

    Given a stream that stalls inside a candle, when bars of REST and stream are put together, then the candle that is
    still forming is never used as a closed one.
    """
    stage = begin(moves=(0.001, 0.012, -0.011, 0.013, -0.012, 0.01, 0.0))
    for _ in range(3):
        stage.pass_s(200)
        stage.begin("market mute", 220)  # over the close, from inside the candle to inside the next one
        stage.pass_s(250)
    stage.pass_s(150)
    real = closes_of_the_exchange(stage)
    decided = stage.journal("decisions", symbol="BTCUSDT", limit=10)
    assert len(decided) >= 4
    assert len({row["close_time_ms"] for row in decided}) == len(decided)
    for row in decided:
        assert row["decided_ms"] >= row["close_time_ms"]
        assert row["close"] == real[row["close_time_ms"] - 1]
    stage.ends_well()


def test_a_history_that_stays_old_after_hours_away_is_filled_or_says_that_it_is_blind(begin):
    """23 · freqtrade#11725.

    Given a reconnection after hours, when the history of one symbol stays old, then the symbol is said to be blind and
    is not traded; the next start fills it.
    """
    stage = begin(others=("ETHUSDT",), QT_COOLDOWN_SECONDS="0")
    stage.pass_s(40)
    stage.begin("away", 75 * 60)
    stage.life.wire.cut()
    stage.pass_s(75 * 60)
    old = stage.on("GET", "/fapi/v1/klines", only=lambda p: p["symbol"] == "ETHUSDT", before=DOWN)
    back_ms = stage.world.now_ms
    stage.calls = {"BTCUSDT": "BUY", "ETHUSDT": "BUY"}
    stage.until(lambda: stage.held("BTCUSDT"), within_s=700)
    stage.pass_s(320)
    assert not stage.held("ETHUSDT")
    blind = [row for row in stage.journal("decisions", symbol="ETHUSDT", limit=3) if row["close_time_ms"] > back_ms]
    assert blind
    assert {row["verdict"] for row in blind} == {"hold"}
    assert {vote["action"] for row in blind for vote in row["votes"]} == {None}, "a blind model voted"
    assert all(vote["reason"] for row in blind for vote in row["votes"]), "it does not say why"
    stage.off(old)
    stage.kill()
    stage.start()
    stage.until(lambda: stage.held("ETHUSDT"), within_s=700)
    real = closes_of_the_exchange(stage, "ETHUSDT")
    newest = stage.journal("decisions", symbol="ETHUSDT", limit=1)[0]
    assert newest["close"] == real[newest["close_time_ms"] - 1]
    stage.ends_well()


def test_fills_of_a_disconnect_are_known_before_the_next_decision(begin):
    """27 · Lean.Brokerages.Binance#249.

    Given fills during a disconnection, when the connection is back, then they are known before anything is decided.
    """
    stage = begin(moves=(0.0, 0.0, -0.02, -0.01), QT_COOLDOWN_SECONDS="0")
    held = stage.enter()
    stage.calls = {"BTCUSDT": "BUY"}
    stage.until(lambda: stage.world.now_ms > DAY_MS + 2 * BAR_MS + 60_000)
    stage.begin("away", 400)
    stage.life.wire.cut()
    stage.until(lambda: not stage.held(), within_s=300)
    assert len(stage.open_trades()) == 1, "nobody can have told the stop's fill"
    stage.until(lambda: len(stage.entries()) == 2)
    fills = [row for row in stage.journal("fills") if row["side"] == "SELL"]
    assert sum(D(row["quantity"]) for row in fills) == held
    (closed,) = stage.journal("trades")
    assert (closed["exit_reason"], closed["complete"]) == ("stop", 1)
    stage.pass_s(20)
    stage.ends_well()


def test_a_fill_of_an_instrument_that_is_not_loaded_is_neither_dropped_nor_a_phantom(begin):
    """28 · nautilus_trader#3775.

    Given a fill event, when its instrument has not been loaded yet, then it waits and is not dropped, and the position
    is the exchange's, no more and no less.
    """
    stage = begin(others=("ETHUSDT",))
    stage.enter()
    stage.kill()
    unloaded = stage.on("GET", "/fapi/v1/ticker/24hr", before=DOWN)
    stage.start()
    stage.pass_s(5)
    stage.ask("POST", ORDER, symbol="ETHUSDT", side="BUY", type="MARKET", quantity=D("0.5"))
    stage.ask("POST", ORDER, symbol="BTCUSDT", side="SELL", type="MARKET", quantity=D("0.01"))
    stage.pass_s(2)
    assert unloaded.met
    assert not stage.stops("ETHUSDT"), "the rules were to be unknown"
    assert sum(D(row["quantity"]) for row in stage.journal("fills") if row["symbol"] == "ETHUSDT") == D("0.5")
    stage.off(unloaded)
    stage.until(lambda: stage.stops("ETHUSDT") == [D("0.5")], within_s=60)
    books = {t.symbol: t.filled - t.exited for t in stage.open_trades()}
    assert books == {"BTCUSDT": stage.held(), "ETHUSDT": D("0.5")}
    stage.ends_well()
