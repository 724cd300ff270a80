"""Facts of a good trade, for the tests of decisions: all passes, and a test changes the one thing it is about."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from config.settings import Settings, load
from qt_actors.decisions.admission import Book, Holding
from qt_actors.decisions.barriers import Barriers
from qt_actors.decisions.facts import BookFacts, Quote, SymbolFacts
from qt_actors.decisions.gates import Case
from qt_actors.decisions.performance import UNTRIED
from qt_actors.messages.market import Bracket, SymbolRules
from qt_actors.messages.policy import Decision, Directive, EntryPlan, Policy
from qt_actors.messages.positions import TradeClosed, TradeState
from qt_actors.messages.signals import ModelVote, Signal

HOUR_MS = 3_600_000
CLOSE_MS = 1_700_000_000_000
NOW_MS = CLOSE_MS + 60_000
BRACKETS = (
    Bracket(
        notional_floor=Decimal(0),
        notional_cap=Decimal(50_000),
        leverage_max=125,
        maintenance_ratio=Decimal("0.004"),
        maintenance_amount=Decimal(0),
    ),
    Bracket(
        notional_floor=Decimal(50_000),
        notional_cap=Decimal(600_000),
        leverage_max=20,
        maintenance_ratio=Decimal("0.02"),
        maintenance_amount=Decimal(800),
    ),
)


def _make(default: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {**default, **changes}


class Facts:
    """Builders; every keyword replaces one fact. Equity 8,930, BTC at 87,400, a stop of 1.5 × 1,200 (SPEC 8)."""

    close_ms, now_ms, hour_ms = CLOSE_MS, NOW_MS, HOUR_MS

    def settings(self, profile: str = "AGGRESSIVE", **variables: object) -> Settings:
        return load(None, {}, ORCHESTRATOR_PROFILE=profile, **variables)

    def rules(self, symbol: str = "BTCUSDT", **changes: Any) -> SymbolRules:
        default = {
            "symbol": symbol,
            "status": "TRADING",
            "onboard_ms": 0,
            "price_tick": Decimal("0.1"),
            "price_min": Decimal("0.1"),
            "price_max": Decimal(4_000_000),
            "quantity_step": Decimal("0.0001"),
            "quantity_min": Decimal("0.0001"),
            "market_quantity_max": Decimal(120),
            "notional_min": Decimal(5),
            "price_multiplier_up": Decimal("1.05"),
            "price_multiplier_down": Decimal("0.95"),
            "brackets": BRACKETS,
        }
        return SymbolRules(**_make(default, changes))

    def quote(self, **changes: Any) -> Quote:
        default = {
            "bid": 87_399.9,
            "ask": 87_400.0,
            "bid_quantity": 4.0,
            "ask_quantity": 5.0,
            "mark": 87_400.5,
            "funding_rate": 0.0001,
            "heard_ms": NOW_MS - 500,
        }
        return Quote(**_make(default, changes))

    def vote(
        self, model: str, action: str | None, confidence: float = 0.83, edge: float = 0.2, hold: float = 0.1
    ) -> ModelVote:
        """A vote whose side is likelier by ``edge``; ``action`` None abstains, warming up."""
        if action is None:
            return ModelVote(
                model=model, action=None, confidence=0.0, p_sell=0.0, p_hold=0.0, p_buy=0.0, reason="warmup 25/120"
            )
        high, low = (1 - hold + edge) / 2, (1 - hold - edge) / 2
        sell, buy = (high, low) if action == "SELL" else (low, high)
        return ModelVote(model=model, action=action, confidence=confidence, p_sell=sell, p_hold=hold, p_buy=buy)

    def signal(self, action: str = "BUY", **changes: Any) -> Signal:
        default = {
            "symbol": "BTCUSDT",
            "action": action,
            "confidence": 0.83,
            "p_win": 0.6,
            "edge_r": 0.2,
            "agree": 3,
            "active": 4,
            "quorum": 3,
            "regime": "NORMAL",
            "tp_pct": 0.06 * 1.38,
            "sl_pct": 0.08 * (1 - 0.25 * 0.38),
            "close": 87_400.0,
            "volatility": 0.0137,
            "volatility_rank": 0.5,
            "votes": (*(self.vote(m, action) for m in ("xgb", "lgbm", "nhits")), self.vote("patchtst", None)),
            "close_time_ms": CLOSE_MS,
            "expires_ms": CLOSE_MS + HOUR_MS,
        }
        return Signal(**_make(default, changes))

    def directive(self, **changes: Any) -> Directive:
        default = {
            "now_ms": NOW_MS,
            "allow_trades": True,
            "allow_new_positions": True,
            "leverage_multiplier": 1.0,
            "size_multiplier": 1.0,
            "risk_level": "NORMAL",
            "reason": "all within limits",
            "daily_pnl_usd": Decimal(0),
            "daily_loss_limit_usd": Decimal("446.50"),
            "gross_notional_usd": Decimal(0),
            "gross_limit_usd": Decimal(45_000),
            "losing_streak": 0,
            "equity_usd": Decimal(8930),
        }
        return Directive(**_make(default, changes))

    def symbol(self, **changes: Any) -> SymbolFacts:
        default = {
            "rules": self.rules(),
            "quote": self.quote(),
            "stop_distance": 1.5 * 1200 / 87_400,
            "performance": UNTRIED,
        }
        return SymbolFacts(**_make(default, changes))

    def book(self, **changes: Any) -> BookFacts:
        default = {
            "directive": self.directive(),
            "equity_usd": Decimal(8930),
            "available_usd": Decimal(8930),
            "gross_notional_usd": Decimal(0),
            "held": frozenset(),
            "pending": frozenset(),
            "last_entry_ms": 0,
        }
        return BookFacts(**_make(default, changes))

    def policy(self, **changes: Any) -> Policy:
        default = {
            "min_confidence": 0.45,
            "base": 0.45,
            "adjustments": (),
            "risk_multiplier": 1.2,
            "allow_trades": True,
            "max_open_positions": 10,
            "reasons": ("base 0.45",),
        }
        return Policy(**_make(default, changes))

    def case(self, **changes: Any) -> Case:
        stop = 1.5 * 1200 / 87_400
        default = {
            "signal": self.signal(),
            "side": "BUY",
            "symbol": self.symbol(),
            "book": self.book(),
            "policy": self.policy(),
            "barriers": Barriers(stop, stop * 1.14),
            "settings": self.settings(),
            "now_ms": NOW_MS,
        }
        return Case(**_make(default, changes))

    def plan(self, **changes: Any) -> EntryPlan:
        default = {
            "decision_id": f"BTCUSDT-{CLOSE_MS}",
            "symbol": "BTCUSDT",
            "side": "BUY",
            "quantity": Decimal("0.05"),
            "price": Decimal(87_400),
            "stop_price": Decimal(85_600),
            "target_price": Decimal(89_400),
            "target_quantity": Decimal("0.025"),
            "trail_quantity": Decimal("0.025"),
            "trail_callback_pct": Decimal("2.0"),
            "leverage": 30,
            "notional_usd": Decimal(4370),
            "risk_usd": Decimal(90),
            "stop_pct": 0.0206,
            "confidence": 0.83,
            "close_time_ms": CLOSE_MS,
            "expires_ms": CLOSE_MS + HOUR_MS,
        }
        return EntryPlan(**_make(default, changes))

    def proposed(self, plan: EntryPlan | None = None) -> Decision:
        plan = plan or self.plan()
        return Decision(
            decision_id=plan.decision_id,
            symbol=plan.symbol,
            close_time_ms=plan.close_time_ms,
            decided_ms=NOW_MS,
            action=plan.side,
            verdict="admitted",
            gate="",
            gates=(),
            signal=self.signal(plan.side, symbol=plan.symbol),
            plan=plan,
        )

    def holding(self, symbol: str = "ETHUSDT", side: str = "BUY", **changes: Any) -> Holding:
        default = {
            "symbol": symbol,
            "side": side,
            "quantity": Decimal(1),
            "mark_price": Decimal(3000),
            "stop_price": Decimal(2940) if side == "BUY" else Decimal(3060),
        }
        return Holding(**_make(default, changes))

    def holdings_book(self, **changes: Any) -> Book:
        default = {"directive": self.directive(), "available_usd": Decimal(8930), "holdings": ()}
        return Book(**_make(default, changes))

    def closed(self, net_usd: str = "-50", **changes: Any) -> TradeClosed:
        default = {
            "decision_id": f"BTCUSDT-{CLOSE_MS}",
            "symbol": "BTCUSDT",
            "side": "BUY",
            "quantity": Decimal("0.05"),
            "entry_price": Decimal(87_400),
            "exit_price": Decimal(86_400),
            "opened_ms": CLOSE_MS,
            "closed_ms": NOW_MS,
            "exit_reason": "stop",
            "exits": ("stop",),
            "realized_usd": Decimal(net_usd) + 4,
            "commission_usd": Decimal(4),
            "risk_usd": Decimal(100),
            "slippage_bps": 0.5,
            "mfe_pct": 0.01,
            "mae_pct": 0.02,
            "confidence": 0.83,
        }
        return TradeClosed(**_make(default, changes))

    def trade(self, **changes: Any) -> TradeState:
        zero = Decimal(0)
        default = {
            "decision_id": f"BTCUSDT-{CLOSE_MS - HOUR_MS}",
            "symbol": "BTCUSDT",
            "side": "BUY",
            "phase": "open",
            "quantity": Decimal("0.05"),
            "filled": Decimal("0.05"),
            "exited": zero,
            "entry_price": Decimal(87_400),
            "decision_price": Decimal(87_400),
            "stop_id": "s",
            "stop_price": Decimal(85_600),
            "stop_quantity": Decimal("0.05"),
            "entry_id": "e",
            "target_id": "t",
            "target_price": Decimal(89_400),
            "target_quantity": Decimal("0.025"),
            "trail_id": "r",
            "trail_quantity": Decimal("0.025"),
            "trail_callback_pct": Decimal(2),
            "close_id": "",
            "leverage": 10,
            "confidence": 0.83,
            "risk_usd": Decimal(90),
            "opened_ms": CLOSE_MS - HOUR_MS,
            "expires_ms": CLOSE_MS,
            "changed_ms": CLOSE_MS,
        }
        return TradeState(**_make(default, changes))

    def without(self, record: Any, field: str) -> Any:
        """The same record with one fact not known."""
        return msgspec.structs.replace(record, **{field: None})


@pytest.fixture(scope="session")
def facts() -> Facts:
    """Builders of facts; they keep no state, so one for all tests."""
    return Facts()
