"""Incidents of limits: request weight and bans, broken models, shifted features, what grows without an end."""

from __future__ import annotations

from decimal import Decimal as D

import msgspec
import numpy as np

from models.features import compute_batch, market_context
from models.registry import ARTIFACTS, load_manifest
from qt_actors.edges.binance_errors import ReplyError
from qt_actors.edges.onnx_model import load_model
from qt_actors.messages.orders import ConditionalUpdated, OrderUpdated
from tests.incidents.stage import ALGO, BAR_MS

LIMITED = ReplyError(429, -1003, "Too many requests.", 60.0)


def test_research_stops_first_protection_keeps_its_share_and_a_ban_is_obeyed(begin):
    """24 · OctoBot#2108, freqtrade#7187.

    Given many symbols, when the request weight is nearly used up, then 429, then 418 with a time, then research stops
    first, protection still has its reserve, and nothing at all is sent during the ban.
    """
    stage = begin()
    held = stage.enter()
    stage.until(lambda: to_the_close_ms(stage) < 40_000)
    stage.begin("market mute", 150)  # so that the next bar must be asked for
    stage.until(lambda: to_the_close_ms(stage) < 15_000)
    limit = stage.on("GET", "/fapi/v1/openOrders", times=1, before=LIMITED)
    stage.until(lambda: limit.met)
    stage.pass_s(1)
    limited = len(stage.weather.sent)
    (stop,) = [order for order in stage.truth.stops if order.kind == "STOP_MARKET"]
    stage.ask("DELETE", ALGO, symbol="BTCUSDT", clientAlgoId=stop.client_id)
    stage.until(lambda: stage.stops() == [held], within_s=1)
    stage.pass_s(55)
    asked = [s.path for s in stage.weather.sent[limited:]]
    assert "/fapi/v1/klines" not in asked, "research went on"
    assert asked.count("/fapi/v1/openOrders") <= 1, "more than one look at the account"
    stage.pass_s(30)
    assert {"/fapi/v1/klines", "/fapi/v1/openOrders"} <= {s.path for s in stage.weather.sent[limited:]}
    stage.calls = {"BTCUSDT": "BUY"}
    stage.until(lambda: to_the_close_ms(stage) < 30_000)
    until_ms = stage.world.now_ms + 90_000
    banned = ReplyError(418, -1003, f"Way too many requests; IP banned until {until_ms}.")
    ban = stage.on("*", "*", times=1, before=banned)
    stage.until(lambda: ban.met)
    stage.pass_s(1)
    silent = len(stage.weather.sent)
    stage.pass_s((until_ms - stage.world.now_ms) / 1000 - 1)
    assert len(stage.weather.sent) == silent
    gates = stage.journal("decisions", symbol="BTCUSDT", limit=1)[0]["gates"]
    assert "banned until" in next(gate["note"] for gate in gates if gate["name"] == "governor")
    stage.pass_s(30)
    assert len(stage.weather.sent) > silent
    stage.ends_well()


def to_the_close_ms(stage):
    """Until the running bar closes."""
    return BAR_MS - stage.world.now_ms % BAR_MS


def broken_models(folder):
    """xgb cut short, lgbm not there, both with a manifest that fits."""
    for name in ("xgb", "lgbm"):
        manifest = msgspec.structs.replace(load_manifest(ARTIFACTS / f"{name}.json"), interval="5m")
        (folder / f"{name}.json").write_bytes(msgspec.json.encode(manifest))
    (folder / "xgb.onnx").write_bytes((ARTIFACTS / "xgb.onnx").read_bytes()[:5_000])
    return lambda name, _, **settings: load_model(name, folder, **settings)


def test_models_whose_files_are_gone_or_half_written_abstain_and_a_start_without_history_votes_nothing(begin, tmp_path):
    """29 · freqtrade#8464, freqtrade#10801.

    Given a retraining, when a model's file vanishes or is half written, or a restart has no history, then that model
    abstains and the quorum is that of the others; zeros never vote.
    """
    (tmp_path / "models").mkdir()
    load = broken_models(tmp_path / "models")
    stage = begin(loaders={"xgb": load, "lgbm": load})
    stage.enter()
    entered = stage.journal("decisions", symbol="BTCUSDT", limit=1)[0]
    assert (entered["agree"], entered["active"], entered["quorum"]) == (2, 2, 2)
    votes = {vote["model"]: (vote["action"], vote["reason"]) for vote in entered["votes"]}
    assert votes["xgb"] == votes["lgbm"] == (None, "missing")
    assert votes["nhits"][0] == votes["patchtst"][0] == "BUY"
    told = {row["model"]: row["reason"] for row in stage.journal("models") if row["state"] == "missing"}
    assert "truncated" in told["xgb"]
    assert "missing" in told["lgbm"]
    stage.kill()
    no_history = stage.on("GET", "/fapi/v1/klines", before=ReplyError(503, -1001, "Internal error."))
    stage.start()
    stage.shown.clear()
    stage.calls = {"BTCUSDT": "SELL"}
    stage.pass_s(400)
    assert no_history.met
    assert not stage.shown, "a model was shown a history that is not there"
    assert len(stage.entries()) == 1
    stage.off(no_history)
    stage.until(lambda: stage.shown, within_s=310)
    stage.ends_well()


def test_what_the_models_see_live_is_the_training_table_of_that_bar_and_of_no_other(begin):
    """30 · freqtrade#7737, freqtrade#5494, qlib#770.

    Given training and live trading, when features are shifted by a candle, or know the future, then a test fails: what
    was seen at a bar's close is that bar's row of the training table, made of what had closed by then, in every bit.
    """
    stage = begin(moves=(0.001, 0.004, -0.003, 0.002))
    stage.pass_s(1_000)
    rows = stage.world.exchange.request("GET", "/fapi/v1/klines", symbol="BTCUSDT", interval="5m", limit=600)
    closed = [row for row in rows if row[6] < stage.world.now_ms]
    bars = np.array([[float(value) for value in row[1:6]] for row in closed])
    opens = np.array([row[0] for row in closed])
    times = sorted(at for at, axes in stage.shown if axes == 2)
    assert len(times) == 5
    for at in times:
        past = opens + BAR_MS <= at
        context = market_context(("BTCUSDT",), opens[past], bars[None, past, 3])
        table = compute_batch(bars[past], opens[past], context, interval_ms=BAR_MS).features
        (live,) = stage.shown[at, 2]
        np.testing.assert_allclose(live, table[-1], rtol=1e-3, atol=1e-3)
        assert np.abs(live - table[-2]).max() > 0.1


def test_unknown_orders_and_reconnections_without_end_leave_nothing_behind(begin):
    """31 · nautilus_trader#4533, freqtrade#13082.

    Given days of events of unknown orders, fallbacks and reconnections, when they go on, then nothing that an actor
    keeps grows with them.
    """
    stage = begin()
    stage.enter()
    for number in range(9_000):
        stage.life.tell("venue/account", unknown_order(number, stage.world.now_ms))
        if number % 100 == 0:
            stage.pass_s(1)
        if number % 1_000 == 0:
            stage.life.wire.cut()
    stage.pass_s(60)
    assert not list(stage.life.runtime.hoards())
    assert not list(stage.life.runtime.crowded(at_peace=True))
    assert not stage.letters
    stage.ends_well()


def unknown_order(number, now_ms):
    """Of another program on the account."""
    name = f"other-{number}"
    told = {"client_id": name, "symbol": "BTCUSDT", "side": "BUY", "status": "CANCELED", "reduce_only": False}
    if number % 2:
        return ConditionalUpdated(
            algo_id=10**9 + number,
            kind="STOP_MARKET",
            quantity=D("0.01"),
            trigger_price=D(70_000),
            time_ms=now_ms,
            **told,
        )
    return OrderUpdated(
        order_id=10**9 + number,
        order_type="LIMIT",
        original_type="LIMIT",
        execution="CANCELED",
        quantity=D("0.01"),
        executed_quantity=D(0),
        average_price=D(0),
        time_ms=now_ms,
        fill=None,
        **told,
    )
