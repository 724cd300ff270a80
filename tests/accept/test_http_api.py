"""The HTTP API over a real socket: what a client, a browser and a scraper get."""

from __future__ import annotations

import http.client
import json
import re
import stat
from decimal import Decimal
from urllib.parse import quote

import msgspec
import numpy as np
import pytest

from config.settings import load
from exporters.prometheus import Metrics
from qt_actors.edges.journal import FILE_NAME, SqliteJournal
from qt_actors.edges.journal_queries import SqliteJournalReader
from qt_actors.edges.web.app import STATIC
from qt_actors.edges.web.server import WebPortError, web_server
from qt_actors.edges.web.snapshot import RunInfo
from qt_actors.kernel import ActorState, MailboxFullError, UnansweredError
from qt_actors.messages import market, policy, positions, signals, system

NOW = 1_700_000_000_000
BAR = 1_699_999_199_999
HOUR = 3_600_000
ZERO = Decimal(0)
MODELS = ("xgb", "lgbm", "nhits", "patchtst")


class Postbox:
    """A mailbox that remembers."""

    def __init__(self, path):
        self.path = path
        self.told = []

    def tell(self, message, **_):
        self.told.append(message)


class Governor(Postbox):
    """Takes every operator's word; ``fault`` and ``error`` say what is wrong with it."""

    fault, error = "", None

    def ask(self, message, timeout_s):
        self.told.append(message)
        if self.error is not None:
            raise self.error
        held = message.control != "resume"
        because = f"halted {message.reason}" if held else "all within limits"
        return system.ControlTaken(control=message.control, fault=self.fault, entries=not held, because=because)


class Site:
    """A web server of a trader whose actors are not there."""

    def __init__(self, folder, **environ):
        self.settings = load(None, {"QT_DATA_DIR": str(folder), "QT_HTTP_PORT": "0", **environ})
        self.journal = SqliteJournal(folder / FILE_NAME, lambda: NOW)
        self.governor, self.executor = Governor("root/governor"), Postbox("root/executor")
        self.states = [an_actor()]
        run = RunInfo(
            version="0.1.0", mode="paper", market="synthetic seed 7", profile="SAFE", bar_interval="1h", models=MODELS
        )
        self.server = web_server(
            self.settings,
            run,
            tree=lambda: tuple(self.states),
            journal=SqliteJournalReader(folder / FILE_NAME),
            metrics=Metrics(),
            now_ms=lambda: NOW,
            governor=self.governor,
            executor=self.executor,
        )
        self.server.start()

    def ask(self, path, method="GET", token=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        headers = {} if token is None else {"Authorization": token}
        connection.request(method, quote(path, safe="/?=&%"), headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        told = json.loads(body) if answer.headers["Content-Type"].startswith("application/json") else body.decode()
        return answer.status, told

    def get(self, path):
        status, told = self.ask(path)
        assert status == 200, told
        return told

    def show(self, *messages):
        for message in messages:
            self.server.show(message)

    def close(self):
        self.server.stop()
        self.journal.close()


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    yield site
    site.close()


def an_actor(state="up", last_error=""):
    return ActorState(
        path="root/trading/executor",
        kind="actor",
        detail="Executor",
        state=state,
        incarnation=1,
        restarts=0,
        mailbox_depth=0,
        handled=5,
        busy_ms=0,
        last_message="Fill",
        last_error=last_error,
        statistics={"trades": 1, "share": float("nan")},
    )


def an_account(*held, conditionals=()):
    return positions.AccountSnapshot(
        serial=1,
        requested_ms=NOW,
        now_ms=NOW,
        wallet_usd=Decimal(10_000),
        equity_usd=Decimal("9990.5"),
        available_usd=Decimal(9000),
        positions=held,
        orders=(),
        conditionals=conditionals,
    )


def a_position(symbol="BTCUSDT", quantity="0.5"):
    return positions.Position(
        symbol=symbol,
        quantity=Decimal(quantity),
        entry_price=Decimal(100),
        mark_price=Decimal(101),
        unrealized_pnl=Decimal("0.5"),
        liquidation_price=Decimal(80),
        notional_usd=Decimal("50.5"),
        initial_margin_usd=Decimal(5),
        updated_ms=NOW,
    )


def a_resting(kind, trigger, symbol="BTCUSDT", callback=None):
    return positions.RestingOrder(
        symbol=symbol,
        client_id="qt-x",
        exchange_id=1,
        side="SELL",
        kind=kind,
        quantity=Decimal("0.5"),
        executed_quantity=ZERO,
        trigger_price=Decimal(trigger),
        activate_price=None,
        callback_pct=callback,
        reduce_only=True,
        close_position=False,
        conditional=True,
        working_type="MARK_PRICE",
        created_ms=NOW,
    )


def a_signal(symbol="BTCUSDT", action="SELL", confidence=0.81):
    votes = tuple(
        signals.ModelVote(model=m, action="SELL", confidence=0.7, p_sell=0.5, p_hold=0.3, p_buy=0.2) for m in MODELS
    )
    return signals.Signal(
        symbol=symbol,
        action=action,
        confidence=confidence,
        p_win=0.54,
        edge_r=float("nan"),
        agree=4,
        active=4,
        quorum=3,
        regime="NORMAL",
        tp_pct=0.06,
        sl_pct=0.08,
        close=100.0,
        volatility=0.01,
        volatility_rank=0.5,
        votes=votes,
        close_time_ms=BAR,
        expires_ms=BAR + HOUR,
    )


def some_signals():
    found = (a_signal("AUSDT", "HOLD", 0.9), a_signal("BTCUSDT", "SELL", 0.6), a_signal("ETHUSDT", "BUY", 0.8))
    return signals.Signals(close_time_ms=BAR, symbols=tuple(s.symbol for s in found), signals=found)


def a_directive(*, allow=True, reason="all limits kept"):
    return policy.Directive(
        now_ms=NOW,
        allow_trades=allow,
        allow_new_positions=allow,
        leverage_multiplier=1.0,
        size_multiplier=1.0,
        risk_level="NORMAL" if allow else "EMERGENCY",
        reason=reason,
        daily_pnl_usd=Decimal(-50),
        daily_loss_limit_usd=Decimal(200),
        gross_notional_usd=Decimal(4500),
        gross_limit_usd=Decimal(45_000),
        losing_streak=1,
        equity_usd=Decimal("9990.5"),
    )


def quotes(mark):
    floats = np.array([mark])
    return market.QuotesUpdated(
        now_ms=NOW,
        symbols=("BTCUSDT",),
        bid=floats,
        ask=floats,
        bid_quantity=floats,
        ask_quantity=floats,
        mark=floats,
        funding_rate=floats,
        next_funding_ms=np.array([0]),
        heard_ms=np.array([NOW]),
    )


def a_decision(symbol="BTCUSDT", verdict="denied", gate="confidence"):
    gates = (policy.Gate(name="confidence", passed=verdict == "admitted", value="0.41", limit="0.55"),)
    return policy.Decision(
        decision_id=f"{symbol}-{BAR}",
        symbol=symbol,
        close_time_ms=BAR,
        decided_ms=NOW,
        action="SELL",
        verdict=verdict,
        gate=gate,
        gates=gates,
        signal=a_signal(symbol),
    )


def decided(*decisions):
    return policy.DecisionsMade(close_time_ms=BAR, decisions=decisions)


def a_result(i=0):
    return positions.TradeClosed(
        decision_id=f"BTCUSDT-{i}",
        symbol="BTCUSDT",
        side="BUY",
        quantity=Decimal("0.5"),
        entry_price=Decimal(100),
        exit_price=Decimal(110),
        opened_ms=NOW,
        closed_ms=NOW + i,
        exit_reason="trail",
        exits=("target", "trail"),
        realized_usd=Decimal("5.00"),
        commission_usd=Decimal("0.04"),
        risk_usd=Decimal(5),
        slippage_bps=0.5,
        mfe_pct=0.1,
        mae_pct=0.0,
        confidence=0.8,
    )


def all_active():
    return [signals.ModelStateChanged(model=m, state="active", version=f"{m}-1") for m in MODELS]


def make_healthy(site):
    site.show(*all_active(), an_account(), some_signals(), a_directive(), system.VenueReady(clock_offset_ms=3))


EMPTY_PATHS = (
    "/health",
    "/api/signals/live",
    "/api/positions",
    "/api/trades",
    "/api/ai/status",
    "/api/risk",
    "/api/policy",
    "/api/os/report",
    "/api/tree",
    "/api/why",
    "/api/pnl",
    "/api/equity",
    "/api/incidents",
    "/metrics",
    "/",
    "/docs",
    "/openapi.json",
)


def test_every_path_answers_before_anything_has_happened(site):
    for path in EMPTY_PATHS:
        site.get(path)


def test_health_begins_starting_says_what_it_waits_for_and_becomes_healthy(site):
    told = site.get("/health")
    assert (told["status"], told["reasons"]) == ("starting", ["waiting for the account"])
    assert told["ai_status"] == dict.fromkeys(MODELS, "warmup")
    make_healthy(site)
    told = site.get("/health")
    assert (told["status"], told["reasons"]) == ("healthy", [])
    assert told["ai_status"] == dict.fromkeys(MODELS, "active")
    assert (told["active_positions"], told["daily_pnl"], told["mode"]) == (0, -50.0, "paper")
    assert told["market"] == "synthetic seed 7"
    assert told["uptime"] >= 0


def test_the_coordination_report_tells_what_exists_and_names_what_does_not(site):
    told = site.get("/api/os/report")
    assert (told["system_risk_mode"], told["system_health"]) == ("EMERGENCY", None)
    assert not told["global_directives"]["allow_new_trades"]
    site.states = [an_actor("up", "")]
    make_healthy(site)
    site.show(market.UniverseChosen(symbols=("BTCUSDT",), rules=(), refused={}))
    told = site.get("/api/os/report")
    assert (told["system_risk_mode"], told["system_health"]) == ("NORMAL", 100)
    assert told["global_directives"]["allow_new_positions"]
    assert told["subsystems"]["profit_amplification"]["status"] == "not built"
    site.show(system.VenueLost(reason="banned until noon"))
    told = site.get("/api/os/report")
    assert told["subsystems"]["execution_layer"] == {"status": "active", "health": 0, "detail": "banned until noon"}
    assert told["system_health"] == 80


@pytest.mark.parametrize(
    ("message", "status", "reason"),
    [
        (system.VenueLost(reason="banned until noon"), "unhealthy", "exchange: banned until noon"),
        (
            system.HealthReported(subsystem="journal", health=0, reason="disk is full", now_ms=NOW),
            "unhealthy",
            "journal: disk is full",
        ),
        (
            system.HealthReported(subsystem="feed", health=60, reason="2 gaps", now_ms=NOW),
            "degraded",
            "feed: 2 gaps",
        ),
        (
            signals.ModelStateChanged(model="xgb", state="missing", reason="xgb.onnx: missing; qt train"),
            "degraded",
            "model xgb is missing: xgb.onnx: missing; qt train",
        ),
        (
            positions.ProtectionMeasured(now_ms=NOW, unprotected_seconds=2, unprotected_symbols=("BTCUSDT",)),
            "degraded",
            "without full protection: BTCUSDT",
        ),
        (
            market.StreamChanged(stream="private", connected=False, reason="silent"),
            "degraded",
            "stream private: silent",
        ),
    ],
)
def test_health_names_what_is_wrong_and_unhealthy_is_503(site, message, status, reason):
    make_healthy(site)
    site.show(message)
    code, told = site.ask("/health")
    assert (told["status"], told["reasons"]) == (status, [reason])
    assert code == (503 if status == "unhealthy" else 200)


def test_a_restarting_actor_degrades_and_one_that_ended_is_unhealthy(site):
    make_healthy(site)
    site.states = [an_actor("backoff", "ValueError: x")]
    assert site.ask("/health")[1]["reasons"] == ["root/trading/executor is being restarted: ValueError: x"]
    site.states = [an_actor("ended", "ValueError: x")]
    assert site.ask("/health")[0] == 503


def test_an_account_not_seen_for_long_degrades_and_its_positions_say_how_old_they_are(site):
    make_healthy(site)
    site.show(msgspec.structs.replace(an_account(a_position()), now_ms=NOW - 60_000))
    assert site.get("/health")["reasons"] == ["the account was last seen 60 s ago; positions may have changed"]
    assert site.get("/api/positions")["account_age_s"] == 60


def test_the_equity_curve_is_thinned_and_keeps_its_newest_point(site):
    worth = Decimal(10_000)
    site.journal.append(
        [
            system.EquityMeasured(
                now_ms=NOW - 10_000 * i,
                wallet_usd=worth,
                equity_usd=worth - i,
                unrealized_usd=ZERO,
                daily_pnl_usd=ZERO,
                gross_notional_usd=ZERO,
            )
            for i in range(5000)
        ]
    )
    points = site.get("/api/equity")["equity"]
    assert 600 <= len(points) <= 720
    assert points[-1]["equity_usd"] == 10_000
    assert [p["now_ms"] for p in points] == sorted(p["now_ms"] for p in points)
    assert len(site.get("/api/equity?hours=1")["equity"]) == 361


def test_entries_that_are_stopped_are_told_with_the_reason_and_are_no_illness(site):
    make_healthy(site)
    site.show(a_directive(allow=False, reason="daily loss 205 over 200"))
    told = site.get("/health")
    assert (told["status"], told["entries"]) == ("healthy", "stopped")
    assert told["entries_reason"] == "daily loss 205 over 200"
    assert site.get("/api/why")["stops"] == ["governor: daily loss 205 over 200"]


def test_positions_show_what_rests_on_the_exchange_at_the_newest_mark(site):
    orders = (a_resting("STOP_MARKET", "95"), a_resting("TAKE_PROFIT_MARKET", "120"))
    trail = a_resting("TRAILING_STOP_MARKET", "0", callback=Decimal("1.5"))
    site.show(an_account(a_position(), a_position("ETHUSDT", "-2"), conditionals=(*orders, trail)), quotes(104.0))
    short, long = sorted(site.get("/api/positions")["positions"], key=lambda p: p["symbol"], reverse=True)
    assert (long["side"], long["stop_price"], long["target_price"]) == ("LONG", 95.0, 120.0)
    assert (long["mark_price"], long["unrealized_pnl_usd"], long["protected"]) == (104.0, 2.0, True)
    assert long["trail_callback_pct"] == 0.015
    assert (short["side"], short["stop_price"], short["protected"]) == ("SHORT", None, False)
    assert short["unrealized_pnl_usd"] == -2.0


def test_signals_come_with_calls_before_holds_strongest_first_and_no_number_is_null(site):
    site.show(some_signals())
    told = site.get("/api/signals/live")
    assert [s["symbol"] for s in told["signals"]] == ["ETHUSDT", "BTCUSDT", "AUSDT"]
    assert told["signals"][0]["edge_r"] is None
    assert [v["model"] for v in told["signals"][0]["votes"]] == list(MODELS)


def test_a_warming_model_says_how_far_it_is(site):
    votes = signals.Votes(
        model="nhits",
        close_time_ms=BAR,
        symbols=("A", "B", "C"),
        probabilities=np.zeros((3, 3), np.float32),
        actions=np.array([-1, -1, -1], np.int8),
        confidence=np.zeros(3, np.float32),
        abstentions=("warmup 25/120", "warmup 25/120", "no whole bar"),
        elapsed_ms=1.0,
    )
    site.show(signals.ModelStateChanged(model="nhits", state="warmup", reason="no bars yet"), votes)
    told = site.get("/api/ai/status")["models"][2]
    assert (told["state"], told["reason"], told["votes"]["abstained"]) == ("warmup", "25/120", 3)
    assert site.get("/health")["ai_reasons"]["nhits"] == "25/120"


def test_risk_shows_how_much_of_each_limit_is_used(site):
    site.show(a_directive())
    told = site.get("/api/risk")
    assert (told["daily_loss_used"], told["gross_used"]) == (0.25, 0.1)


@pytest.mark.parametrize(
    ("halt_reason", "day_lost", "shown"),
    [("drill", "", "drill"), ("", "lost", "lost"), ("drill", "lost", "drill; lost")],
)
def test_risk_tells_both_halts_the_operators_and_the_days(site, halt_reason, day_lost, shown):
    state = system.GovernorState(
        day="2023-11-14",
        day_start_equity_usd=Decimal(1),
        losing_streak=0,
        halted=bool(halt_reason),
        halt_reason=halt_reason,
        changed_ms=NOW,
        day_lost=day_lost,
    )
    site.show(a_directive(allow=False), state)
    told = site.get("/api/risk")
    assert (told["halted"], told["halt_reason"]) == (True, shown)


def test_policy_shows_every_adjustment(site):
    site.show(
        policy.Policy(
            min_confidence=0.49,
            base=0.55,
            adjustments=(("regime", -0.06),),
            risk_multiplier=1.2,
            allow_trades=True,
            max_open_positions=6,
            reasons=("trending",),
        )
    )
    told = site.get("/api/policy")
    assert (told["min_confidence"], told["adjustments"], told["profile"]) == (0.49, {"regime": -0.06}, "SAFE")


def test_trades_come_newest_first_as_many_as_asked(site):
    site.journal.append([a_result(i) for i in range(60)])
    assert len(site.get("/api/trades")["trades"]) == 50
    first, second = site.get("/api/trades?limit=2")["trades"]
    assert (first["decision_id"], second["decision_id"]) == ("BTCUSDT-59", "BTCUSDT-58")
    assert (first["realized_usd"], first["exits"]) == (5.0, ["target", "trail"])
    assert site.get("/api/pnl")["by_day"][0]["realized_usd"] == 300.0


def test_decisions_of_a_symbol_show_value_against_limit(site):
    site.journal.append([decided(a_decision())])
    told = site.get("/api/decisions/btcusdt")["decisions"][0]
    assert (told["verdict"], told["gate"]) == ("denied", "confidence")
    assert (told["gates"][0]["value"], told["gates"][0]["limit"]) == ("0.41", "0.55")


def test_why_sums_up_where_all_symbols_ended(site):
    names = [f"S{i}USDT" for i in range(7)]
    site.journal.append([decided(a_decision("BTCUSDT", "admitted", ""), *(a_decision(n) for n in names))])
    told = site.get("/api/why")
    assert (told["decisions"], told["admitted"], told["close_time_ms"]) == (8, 1, BAR)
    assert [(f["verdict"], f["reason"], f["decisions"]) for f in told["funnel"]] == [
        ("denied", "confidence", 7),
        ("admitted", "", 1),
    ]


def test_a_symbol_that_is_not_traded_is_404_with_the_reason(site):
    site.show(market.UniverseChosen(symbols=("BTCUSDT",), rules=(), refused={"DOGEUSDT": "volume 3 < 1000000"}))
    assert site.ask("/api/decisions/DOGEUSDT") == (404, {"error": "symbol DOGEUSDT: volume 3 < 1000000"})
    assert site.ask("/api/decisions/币安USDT") == (404, {"error": "symbol 币安USDT: not traded here"})
    assert site.get("/api/decisions/BTCUSDT")["decisions"] == []


def test_a_bad_parameter_is_422_and_one_line_with_name_and_value(site):
    said = {
        "/api/trades?limit=0": "limit='0': Input should be greater than or equal to 1",
        "/api/trades?limit=many": "limit='many'",
        "/api/trades?limit=999999": "less than or equal to 1000",
        "/api/equity?hours=-1": "hours='-1'",
        "/api/decisions/BTCUSDT?limit=201": "less than or equal to 200",
    }
    for path, line in said.items():
        status, told = site.ask(path)
        assert status == 422
        assert line in told["error"]
        assert "\n" not in told["error"]


def test_an_unknown_path_is_404_in_one_line(site):
    assert site.ask("/api/nonsense") == (404, {"error": "no such path; see /docs"})


def test_a_journal_that_cannot_be_read_is_503_in_one_line_and_the_rest_goes_on(site):
    site.journal._connection.execute("PRAGMA user_version = 99")
    status, told = site.ask("/api/trades")
    assert status == 503
    assert "version 99" in told["error"]
    site.get("/api/positions")


def test_the_tree_shows_every_actor_and_a_figure_that_is_no_number_is_null(site):
    (actor,) = site.get("/api/tree")["actors"]
    assert (actor["path"], actor["state"]) == ("root/trading/executor", "up")
    assert actor["statistics"] == {"trades": 1, "share": None}


CONTROL_PATHS = (
    "/api/control/pause",
    "/api/control/resume",
    "/api/control/halt",
    "/api/positions/BTCUSDT/close",
    "/api/positions/close-all",
)


def test_control_without_the_right_token_is_401_and_nobody_is_told(site, tmp_path):
    right = (tmp_path / "api-token").read_text().strip()
    wrong = (None, "", "Bearer", "Bearer wrong", f"Basic {right}", f"Bearer {right}x", right)
    site.show(an_account(a_position()))
    for path in CONTROL_PATHS:
        for header in wrong:
            status, told = site.ask(path, "POST", header)
            assert status == 401, (path, header)
            assert "Bearer" in told["error"]
            assert right not in told["error"]
    assert site.governor.told == site.executor.told == []


def test_the_token_made_at_the_start_is_readable_by_its_owner_alone_and_works(site, tmp_path):
    file = tmp_path / "api-token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    right = f"Bearer {file.read_text().strip()}"
    for control in ("pause", "resume", "halt"):
        status, told = site.ask(f"/api/control/{control}?reason=drill", "POST", right)
        assert (status, told["accepted"]) == (202, control)
    assert [(m.control, m.reason, m.by) for m in site.governor.told] == [
        (c, "drill", "http") for c in ("pause", "resume", "halt")
    ]


def test_202_says_what_follows_from_the_word(site, tmp_path):
    right = f"Bearer {(tmp_path / 'api-token').read_text().strip()}"
    assert site.ask("/api/control/halt?reason=drill", "POST", right) == (
        202,
        {"accepted": "halt", "reason": "drill", "entries": "stopped", "because": "halted drill"},
    )
    assert site.ask("/api/control/resume", "POST", right)[1]["entries"] == "allowed"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError("no answer within 5 s"), "halt is not confirmed"),
        (UnansweredError("its handler crashed"), "halt is not confirmed"),
        (MailboxFullError("mailbox full"), "halt was not passed on"),
        (None, "not on disk, a restart would forget it: disk full"),
    ],
)
def test_a_word_that_is_not_taken_and_on_disk_is_503_with_what_is_missing(site, tmp_path, error, said):
    right = f"Bearer {(tmp_path / 'api-token').read_text().strip()}"
    site.governor.error, site.governor.fault = error, "disk full"
    status, told = site.ask("/api/control/halt", "POST", right)
    assert status == 503
    assert said in told["error"]


def test_close_all_closes_even_when_the_governor_does_not_answer_and_says_that_entries_go_on(site, tmp_path):
    right = f"Bearer {(tmp_path / 'api-token').read_text().strip()}"
    site.show(an_account(a_position()))
    site.governor.error = TimeoutError("no answer within 5 s")
    status, told = site.ask("/api/positions/close-all", "POST", right)
    assert (status, [m.symbol for m in site.executor.told]) == (503, ["BTCUSDT"])
    assert told["error"].startswith("closing ['BTCUSDT'], but pause is not confirmed")


def test_close_all_before_the_account_is_known_pauses_and_says_that_nothing_was_closed(site, tmp_path):
    right = f"Bearer {(tmp_path / 'api-token').read_text().strip()}"
    status, told = site.ask("/api/positions/close-all", "POST", right)
    assert (status, [m.control for m in site.governor.told]) == (503, ["pause"])
    assert "nothing was closed" in told["error"]


def test_closing_tells_the_executor_of_open_positions_only(site, tmp_path):
    right = f"Bearer {(tmp_path / 'api-token').read_text().strip()}"
    assert site.ask("/api/positions/BTCUSDT/close", "POST", right) == (
        404,
        {"error": "symbol BTCUSDT: no open position"},
    )
    site.show(an_account(a_position(), a_position("ETHUSDT", "-2")))
    assert site.ask("/api/positions/btcusdt/close", "POST", right)[0] == 202
    assert site.ask("/api/positions/close-all", "POST", right)[1]["symbols"] == ["BTCUSDT", "ETHUSDT"]
    assert [(m.symbol, m.exit_reason) for m in site.executor.told] == [
        ("BTCUSDT", "manual"),
        ("BTCUSDT", "manual"),
        ("ETHUSDT", "manual"),
    ]


def test_a_word_that_is_no_control_is_refused_with_what_is_allowed(site, tmp_path):
    right = f"Bearer {(tmp_path / 'api-token').read_text().strip()}"
    status, told = site.ask("/api/control/explode", "POST", right)
    assert status == 422
    assert "'pause', 'resume' or 'halt'" in told["error"]


def test_a_configured_token_is_used_and_none_is_written(tmp_path):
    site = Site(tmp_path, QT_API_TOKEN="my-own-strong-token")
    assert site.ask("/api/control/pause", "POST", "Bearer my-own-strong-token")[0] == 202
    assert not (tmp_path / "api-token").exists()
    site.close()


def test_metrics_are_scraped_with_requests_counted_by_route_and_class(site):
    site.ask("/api/decisions/NOUSDT")
    site.ask("/no/such/path/at/all")
    text = site.get("/metrics")
    assert "qt_unprotected_position_seconds_total 0.0" in text
    assert 'qt_http_requests_total{code="4xx",route="/api/decisions/{symbol}"} 1.0' in text
    assert 'qt_http_requests_total{code="4xx",route="unknown"} 1.0' in text


def test_every_path_of_the_specification_is_in_the_openapi_document(site):
    paths = site.get("/openapi.json")["paths"]
    wanted = {
        "/health",
        "/api/signals/live",
        "/api/positions",
        "/api/trades",
        "/api/ai/status",
        "/api/risk",
        "/api/policy",
        "/api/tree",
        "/api/decisions/{symbol}",
        "/api/control/{control}",
        "/metrics",
    }
    assert wanted <= set(paths)
    assert all(told["description"] for methods in paths.values() for told in methods.values())


@pytest.mark.parametrize("name", ["index.html", "docs.html"])
def test_pages_load_nothing_from_elsewhere(name):
    text = (STATIC / name).read_text()
    foreign = [u for u in re.findall(r"https?://[^\s'\"<>]+", text) if not u.startswith("http://www.w3.org/2000/svg")]
    assert foreign == []
    assert len(text) < 60_000


def test_every_path_the_page_asks_for_is_served(site):
    text = (STATIC / "index.html").read_text()
    paths = set(re.findall(r'"(/(?:health|api|metrics|docs)[^"]*)"', text))
    posts = {p for p in paths if p.startswith("/api/control") or p.endswith("close-all")}
    assert len(paths - posts) > 8
    for path in paths - posts:
        site.get(path)
    for path in posts:
        assert site.ask(path, "POST")[0] == 401


def test_a_port_in_use_is_one_line_with_what_to_do(site, tmp_path):
    taken = load(None, {"QT_DATA_DIR": str(tmp_path / "b"), "QT_HTTP_PORT": str(site.server.port)})
    other = web_server(
        taken,
        RunInfo(version="", mode="paper", market="", profile="", bar_interval="1h", models=()),
        tree=tuple,
        journal=SqliteJournalReader(tmp_path / FILE_NAME),
        metrics=Metrics(),
        now_ms=lambda: NOW,
        governor=Postbox("g"),
        executor=Postbox("e"),
    )
    with pytest.raises(WebPortError, match=rf"HTTP port {site.server.port} on 127.0.0.1: .*in use; .*QT_HTTP_PORT"):
        other.bind()


def test_a_stopped_server_frees_its_port_and_starts_again(site):
    site.get("/health")
    site.server.stop()
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection("127.0.0.1", site.server.port or 1, timeout=1).request("GET", "/health")
    site.server.start()
    site.get("/health")
