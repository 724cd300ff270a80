"""A web server on a real socket, of a trader whose actors are not there; and what they would have told it."""

from __future__ import annotations

import http.client
import json
from decimal import Decimal
from urllib.parse import quote

import numpy as np

from config.settings import load
from exporters.prometheus import Metrics
from qt_actors.edges.journal import FILE_NAME, SqliteJournal
from qt_actors.edges.journal_queries import SqliteJournalReader
from qt_actors.edges.web.server import web_server
from qt_actors.edges.web.snapshot import RunInfo
from qt_actors.kernel import ActorState
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
        control = "close" if isinstance(message, system.ClosesRequested) else message.control
        held = control != "resume"
        because = f"entries halted by operator: {message.reason}" if held else "all within limits"
        return system.ControlTaken(control=control, fault=self.fault, entries=not held, because=because)


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
        told = (
            json.loads(body)
            if body and answer.headers["Content-Type"].startswith("application/json")
            else body.decode()
        )
        return answer.status, told

    def headers(self, path, method="GET"):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        connection.request(method, path)
        found = connection.getresponse().headers
        connection.close()
        return found

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
