"""Telemetry: what happens, as metrics.

Owns: the process's metrics; what it last saw of streams, subsystems, actors and dead letters.
Hears: measurements; decisions, signals, votes, model states; the account, trades, order outcomes, protection; the
    governor's directive; budgets, streams, quotes, health, incidents.
Says: nothing; the web reads the metrics.
Never: stops or slows anybody: what it cannot take it counts as refused.
On restart: goes on with the same metrics; counters never go back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import numpy as np

from exporters.prometheus import Metrics
from qt_actors.decisions.ids import parse
from qt_actors.kernel import Actor, ActorState, TimerFired
from qt_actors.messages import market, orders, policy, positions, signals, system
from qt_actors.messages.base import ACTIONS

SAMPLE_MS: Final = 2000
RISK_LEVELS: Final = {"NORMAL": 0, "CAUTIOUS": 1, "DEFENSIVE": 2, "EMERGENCY": 3}
MODEL_STATES: Final = ("active", "warmup", "quarantined", "missing")
OUTCOMES: Final[dict[type, str]] = {
    orders.OrderAccepted: "accepted",
    orders.OrderRejected: "rejected",
    orders.OrderDenied: "denied",
    orders.OrderOutcomeUnknown: "unknown",
    orders.OrderCancelled: "cancelled",
}


class TelemetryWiring(msgspec.Struct, frozen=True, kw_only=True):
    """What telemetry needs from outside."""

    metrics: Metrics
    tree: Callable[[], tuple[ActorState, ...]]
    dead_letters: Callable[[], Mapping[tuple[str, str], int]]
    """Dead letters so far by (message class, reason)."""
    run_info: tuple[str, str, str, str]
    """Version, mode, market, profile."""
    speed: float = 1.0
    """Of the market's clock: ages and lags are told in real time."""


class Telemetry(Actor):
    """See the module's card."""

    def __init__(self, wiring: TelemetryWiring) -> None:
        """Keep the wiring."""
        super().__init__()
        self._wiring = wiring
        self._take = wiring.metrics.take
        self._health: dict[str, int] = {}
        self._decided: dict[str, tuple[int, str, str]] = {}
        self._heard_ms: dict[str, int] = {}
        self._connected: dict[str, bool] = {}
        self._measured = 0

    def on_start(self) -> None:
        """Begin to sample the tree."""
        self._take("qt_up", 1)
        self._take("qt_run_info", 1, *self._wiring.run_info)
        self._take("qt_system_health", 100)  # until a subsystem says otherwise
        self.timer("sample", SAMPLE_MS, real=True)

    def on_stop(self) -> None:
        """The process is going."""
        self._take("qt_up", 0)

    def handle(self, message: object) -> None:
        """One case a message."""
        match message:
            case system.Measured():
                self._measured += 1
                self._wiring.metrics.observe(message)
            case TimerFired(key="sample"):
                self._sample()
                self.timer("sample", SAMPLE_MS, real=True)
            case policy.DecisionsMade() | signals.Votes() | signals.Signals() | signals.ModelStateChanged():
                self._minds(message)
            case positions.AccountSnapshot() | positions.TradeClosed() | positions.ProtectionMeasured():
                self._book(message)
            case policy.Directive():
                self._directive(message)
            case market.StreamChanged() | market.QuotesUpdated():
                self._stream(message)
            case (
                system.BudgetUsed()
                | system.VenueReady()
                | system.VenueLost()
                | system.HealthReported()
                | system.IncidentSeen()
            ):
                self._system(message)
            case _ if type(message) in OUTCOMES:
                self._outcome(message)
            case _:
                pass

    def statistics(self) -> Mapping[str, object]:
        """Return what the tree view shows."""
        return {"measured": self._measured, "health": min(self._health.values(), default=100)}

    def _minds(
        self, message: policy.DecisionsMade | signals.Votes | signals.Signals | signals.ModelStateChanged
    ) -> None:
        match message:
            case policy.DecisionsMade(decisions=decisions):
                for decision in decisions:
                    self._decision(decision)
            case signals.Votes(model=model, actions=actions):
                counts = np.bincount(actions.astype(np.int64) + 1, minlength=4).tolist()
                for vote, count in zip(("ABSTAIN", *ACTIONS), counts, strict=True):
                    self._take("qt_votes_total", count, model, vote)
            case signals.Signals(signals=found):
                for action in ACTIONS:
                    self._take("qt_signals", sum(s.action == action for s in found), action)
            case signals.ModelStateChanged(model=model, state=state):
                for each in MODEL_STATES:
                    self._take("qt_model_state", each == state, model, each)

    def _decision(self, decision: policy.Decision) -> None:
        """Count a decision once for each place it ended at; repeats with the same verdict and gate count once."""
        known = self._decided.get(decision.symbol)
        now = (decision.close_time_ms, decision.verdict, decision.gate)
        if known == now:
            return
        self._decided[decision.symbol] = now
        self._take("qt_decisions_total", 1, decision.verdict, decision.gate)
        if known is None or known[0] != decision.close_time_ms:
            lag_ms = decision.decided_ms - decision.close_time_ms
            self._take("qt_decision_lag_seconds", max(0, lag_ms) / 1000 / self._wiring.speed)

    def _book(self, message: positions.AccountSnapshot | positions.TradeClosed | positions.ProtectionMeasured) -> None:
        match message:
            case positions.AccountSnapshot():
                self._account(message)
            case positions.TradeClosed():
                result = float(message.realized_usd - message.commission_usd)
                self._take("qt_trades_total", 1, message.exit_reason)
                self._take("qt_trades_won_total", message.complete and result > 0)
                self._wiring.metrics.add("qt_realized_pnl_usd", result)
                self._take("qt_commission_usd_total", max(0.0, float(message.commission_usd)))
                self._take("qt_trade_slippage_ratio", message.slippage_bps / 10_000)
            case positions.ProtectionMeasured():
                self._take("qt_unprotected_position_seconds_total", message.unprotected_seconds)
                self._take("qt_unprotected_positions", len(message.unprotected_symbols))

    def _account(self, account: positions.AccountSnapshot) -> None:
        self._take("qt_wallet_usd", float(account.wallet_usd))
        self._take("qt_equity_usd", float(account.equity_usd))
        self._take("qt_available_usd", float(account.available_usd))
        self._take("qt_positions_open", len(account.positions))
        self._take("qt_orders_resting", len(account.orders), "regular")
        self._take("qt_orders_resting", len(account.conditionals), "conditional")
        held = [(p.symbol,) for p in account.positions]
        for name in ("qt_position_unrealized_pnl_usd", "qt_position_notional_usd"):
            self._wiring.metrics.keep(name, held)
        for position in account.positions:
            signed = float(position.notional_usd) * (1 if position.quantity > 0 else -1)
            self._take("qt_position_unrealized_pnl_usd", float(position.unrealized_pnl), position.symbol)
            self._take("qt_position_notional_usd", signed, position.symbol)

    def _directive(self, directive: policy.Directive) -> None:
        self._take("qt_risk_level", RISK_LEVELS[directive.risk_level])
        self._take("qt_entries_allowed", directive.allow_trades and directive.allow_new_positions)
        self._take("qt_size_multiplier_ratio", directive.size_multiplier)
        self._take("qt_losing_streak", directive.losing_streak)
        self._take("qt_daily_pnl_usd", float(directive.daily_pnl_usd))
        self._take("qt_daily_loss_limit_usd", float(directive.daily_loss_limit_usd))
        self._take("qt_gross_notional_usd", float(directive.gross_notional_usd))
        self._take("qt_gross_limit_usd", float(directive.gross_limit_usd))

    def _stream(self, message: market.StreamChanged | market.QuotesUpdated) -> None:
        match message:
            case market.StreamChanged(stream=stream, connected=connected):
                self._take("qt_stream_connected", connected, stream)
                if self._connected.get(stream, False) and not connected:
                    self._take("qt_stream_losses_total", 1, stream)
                self._connected[stream] = connected
            case market.QuotesUpdated(heard_ms=heard_ms):
                self._heard_ms["public"] = int(heard_ms.max(initial=0))
                self._ages()

    def _ages(self) -> None:
        """Age goes on growing while nothing is heard."""
        now_ms = self.now_ms()
        for stream, heard_ms in self._heard_ms.items():
            self._take("qt_stream_age_seconds", max(0, now_ms - heard_ms) / 1000 / self._wiring.speed, stream)

    def _system(
        self,
        message: system.BudgetUsed | system.VenueReady | system.VenueLost | system.HealthReported | system.IncidentSeen,
    ) -> None:
        match message:
            case system.BudgetUsed():
                self._take("qt_request_weight_used_ratio", message.weight_ratio)
                self._take("qt_request_orders_used_ratio", message.orders_ratio)
            case system.VenueReady():
                self._take("qt_venue_up", 1)
                self._take("qt_clock_offset_seconds", message.clock_offset_ms / 1000)
            case system.VenueLost():
                self._take("qt_venue_up", 0)
            case system.HealthReported(subsystem=subsystem, health=health):
                self._health[subsystem] = health
                self._take("qt_subsystem_health", health, subsystem)
                self._take("qt_system_health", min(self._health.values()))
            case system.IncidentSeen(kind=kind):
                self._take("qt_incidents_total", 1, kind)

    def _outcome(self, message: object) -> None:
        said = parse(str(getattr(message, "client_id", "")))
        self._take("qt_orders_total", 1, said.purpose if said else "other", OUTCOMES[type(message)])
        if isinstance(message, orders.OrderAccepted) and message.elapsed_ms > 0:
            self._take("qt_order_ack_seconds", message.elapsed_ms / 1000)

    def _sample(self) -> None:
        """Read the tree and the dead letters."""
        for state in self._wiring.tree():
            self._take("qt_actor_mailbox_depth", state.mailbox_depth, state.path)
            self._take("qt_actor_busy_seconds", state.busy_ms / 1000, state.path)
            self._take("qt_actor_up", state.state == "up", state.path)
            self._wiring.metrics.reach("qt_actor_restarts_total", state.restarts, state.path)
        totals: Counter[str] = Counter()
        for (_, reason), count in self._wiring.dead_letters().items():
            totals[reason] += count
        for reason, count in totals.items():
            self._wiring.metrics.reach("qt_dead_letters_total", count, reason)
        self._ages()
