"""What the views of the command line are shown: builders of what a trader would have told, with their defaults."""

from __future__ import annotations

import json
import urllib.request
from decimal import Decimal

import msgspec

from qt_actors.kernel import ActorState
from qt_actors.messages import orders, policy, positions, signals, system

NOW = 1_700_000_000_000
BAR = 1_699_999_199_999
HOUR = 3_600_000
ZERO = Decimal(0)
MODELS = ("xgb", "lgbm", "nhits", "patchtst")


def an_actor(path, kind="actor", **changes):
    made = ActorState(
        path=path,
        kind=kind,
        detail="rest_for_one" if kind == "supervisor" else "Executor",
        state="up",
        incarnation=2,
        restarts=1,
        mailbox_depth=3,
        handled=77,
        busy_ms=0,
        last_message="Fill",
        last_error="",
        statistics={"trades": 4},
        up_ms=3_000,
    )
    return msgspec.structs.replace(made, **changes)


def a_signal(symbol):
    votes = (
        signals.ModelVote(model="xgb", action="SELL", confidence=0.7, p_sell=0.5, p_hold=0.3, p_buy=0.2),
        signals.ModelVote(
            model="nhits", action=None, confidence=0.0, p_sell=0, p_hold=0, p_buy=0, reason="warmup 25/120"
        ),
    )
    return signals.Signal(
        symbol=symbol,
        action="SELL",
        confidence=0.8122,
        p_win=0.54,
        edge_r=0.1,
        agree=3,
        active=3,
        quorum=2,
        regime="RANGING",
        tp_pct=0.06,
        sl_pct=0.08,
        close=100.0,
        volatility=0.01,
        volatility_rank=0.5,
        votes=votes,
        close_time_ms=BAR,
        expires_ms=BAR + HOUR,
    )


def a_decision(symbol, verdict="denied", gate="spread"):
    gates = (
        policy.Gate(name="confidence", passed=True, value="0.81", limit="≥ 0.55"),
        policy.Gate(name="spread", passed=verdict == "admitted", value="31.0 bps", limit="≤ 25 bps", transient=True),
    )
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


def some_decisions():
    made = (a_decision("BTCUSDT"), a_decision("ETHUSDT"), a_decision("SOLUSDT", "admitted", ""))
    return policy.DecisionsMade(close_time_ms=BAR, decisions=made)


def an_account(*held):
    return positions.AccountSnapshot(
        serial=1,
        requested_ms=NOW,
        now_ms=NOW,
        wallet_usd=Decimal(10_000),
        equity_usd=Decimal("10012.34"),
        available_usd=Decimal(9000),
        positions=held,
        orders=(),
        conditionals=(),
    )


def a_position():
    return positions.Position(
        symbol="BTCUSDT",
        quantity=Decimal("-0.057"),
        entry_price=Decimal(87_400),
        mark_price=Decimal(87_000),
        unrealized_pnl=Decimal("22.8"),
        liquidation_price=Decimal(99_000),
        notional_usd=Decimal(4959),
        initial_margin_usd=Decimal(500),
        updated_ms=NOW,
    )


def a_directive(*, allow=True, reason="all limits kept"):
    return policy.Directive(
        now_ms=NOW,
        allow_trades=allow,
        allow_new_positions=allow,
        leverage_multiplier=1.0,
        size_multiplier=1.0,
        risk_level="NORMAL",
        reason=reason,
        daily_pnl_usd=Decimal("12.34"),
        daily_loss_limit_usd=Decimal(200),
        gross_notional_usd=Decimal(4959),
        gross_limit_usd=Decimal(45_000),
        losing_streak=0,
        equity_usd=Decimal("10012.34"),
    )


def make_healthy(board):
    for model in MODELS:
        board.show(signals.ModelStateChanged(model=model, state="active"))
    board.show(an_account())
    board.show(signals.Signals(close_time_ms=BAR, symbols=("BTCUSDT",), signals=(a_signal("BTCUSDT"),)))
    board.show(a_directive())


def a_trade():
    return positions.TradeState(
        decision_id=f"BTCUSDT-{BAR}",
        symbol="BTCUSDT",
        side="SELL",
        phase="open",
        quantity=Decimal("0.057"),
        filled=Decimal("0.057"),
        exited=Decimal("0.020"),
        entry_price=Decimal(87_400),
        decision_price=Decimal(87_400),
        stop_id="s",
        stop_price=Decimal(89_200),
        stop_quantity=Decimal("0.057"),
        entry_id="e",
        target_id="",
        target_price=Decimal(85_000),
        target_quantity=ZERO,
        trail_id="r",
        trail_quantity=ZERO,
        trail_callback_pct=Decimal("1.5"),
        close_id="",
        leverage=10,
        confidence=0.81,
        risk_usd=Decimal(100),
        opened_ms=NOW,
        expires_ms=NOW,
        changed_ms=NOW,
    )


def funding(symbol, amount, time_ms):
    row = positions.IncomeRow(
        kind="FUNDING_FEE",
        transaction_id=time_ms,
        symbol=symbol,
        amount_usd=Decimal(amount),
        asset="USDT",
        time_ms=time_ms,
    )
    return positions.LedgerSynced(income=(row,), wallet_usd=ZERO, equity_usd=ZERO, unrealized_usd=ZERO, now_ms=time_ms)


def measured(now_ms, daily):
    return system.EquityMeasured(
        now_ms=now_ms,
        wallet_usd=ZERO,
        equity_usd=Decimal("9876.5"),
        unrealized_usd=ZERO,
        daily_pnl_usd=Decimal(daily),
        gross_notional_usd=ZERO,
    )


def a_result(symbol, realized, **changes):
    made = positions.TradeClosed(
        decision_id=f"{symbol}-{BAR}",
        symbol=symbol,
        side="BUY",
        quantity=Decimal(1),
        entry_price=Decimal(100),
        exit_price=Decimal(110),
        opened_ms=NOW - 1,
        closed_ms=NOW,
        exit_reason="trail",
        exits=("trail",),
        realized_usd=Decimal(realized),
        commission_usd=Decimal("0.50"),
        risk_usd=Decimal(5),
        slippage_bps=0,
        mfe_pct=0,
        mae_pct=0,
        confidence=0.8,
    )
    return msgspec.structs.replace(made, **changes)


def an_intent(decision_id, ending, side, purpose):
    return orders.Intent(
        client_id=f"qt-{ending}",
        decision_id=decision_id,
        symbol=decision_id.partition("-")[0],
        side=side,
        purpose=purpose,
        conditional=purpose != "entry",
        kind="MARKET" if purpose == "entry" else "STOP_MARKET",
        quantity=Decimal("0.50"),
        price=Decimal("100.0"),
        created_ms=NOW,
    )


def call(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as reply:
        return json.load(reply)
