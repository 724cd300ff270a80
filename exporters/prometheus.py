"""The trader's metrics: the only file that imports prometheus_client, one table of every name there is.

Names are ``qt_`` + noun + unit, counters end in ``_total``, units are base units (seconds, ratios, US dollars), labels
come from closed sets or are bounded by what trades (https://prometheus.io/docs/practices/naming/). A measurement that
is not in the table, is no number, or would open too many series is refused and counted, never raised: watching the
trader must not stop it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from typing import Final, Literal

import msgspec
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from qt_actors.messages.system import Measured

logger = logging.getLogger(__name__)

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
LABEL_SETS_MAX: Final = 256
"""Series of one metric whose labels are not a closed set: 222 symbols and some room."""
OTHER: Final = "other"
"""Stands for a label value outside its closed set."""

_MODELS = ("xgb", "lgbm", "nhits", "patchtst")
_STATES = ("active", "warmup", "quarantined", "missing")
_STREAMS = ("market", "public", "private")
_PURPOSES = ("entry", "stop", "target", "trail", "close", OTHER)
_EXITS = ("target", "trail", "stop", "policy", "unprotected", "manual", "liquidation", "external", OTHER)
_DEAD = (
    "crash", "abandoned", "circuit", "closed", "deadline", "unasked", "dropped", "stale", "fenced", "overflow",
    "no sender", OTHER,
)  # fmt: skip
_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_SLOW = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_LATE = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 90.0, 300.0, 900.0, 3600.0)
_BPS = tuple(x / 10_000 for x in (-20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20, 50, 100))


class Metric(msgspec.Struct, frozen=True):
    """One metric: ``labels`` maps each label to its closed set of values, or to None when it is bounded by count.

    ``from_start``: the series of closed sets exist at 0 before anything was measured; else they are absent or NaN.
    """

    kind: Literal["gauge", "counter", "histogram"]
    help: str
    labels: dict[str, tuple[str, ...] | None] = {}
    buckets: tuple[float, ...] = ()
    from_start: bool = True


METRICS: Final[dict[str, Metric]] = {
    # the process and its market
    "qt_up": Metric("gauge", "1 while the trader's telemetry runs."),
    "qt_run_info": Metric(
        "gauge", "1; the labels say what runs.", {"version": None, "mode": None, "market": None, "profile": None}
    ),
    "qt_system_health": Metric(
        "gauge", "Health of the sickest subsystem, 0 (dead) to 100; 100 when none has complained."
    ),
    "qt_subsystem_health": Metric("gauge", "Health of one subsystem, 0 (dead) to 100.", {"subsystem": None}),
    "qt_clock_offset_seconds": Metric("gauge", "Exchange clock minus ours.", from_start=False),
    "qt_venue_up": Metric("gauge", "1 while the exchange can be reached and accepts us."),
    "qt_request_weight_used_ratio": Metric("gauge", "Share of the exchange's request weight used in this minute."),
    "qt_request_orders_used_ratio": Metric("gauge", "Share of the exchange's order count used in this minute."),
    "qt_stream_connected": Metric("gauge", "1 while the stream is connected and speaks.", {"stream": _STREAMS}),
    "qt_stream_losses_total": Metric("counter", "Times a stream was lost or fell silent.", {"stream": _STREAMS}),
    "qt_stream_age_seconds": Metric(
        "gauge", "Real time since the newest event of the stream.", {"stream": _STREAMS}, from_start=False
    ),
    "qt_bars_repaired_total": Metric("counter", "Bars that the streams missed and REST supplied."),
    # from bar to decision
    "qt_cycle_seconds": Metric("histogram", "From a closed bar to the decisions on all symbols.", buckets=_SLOW),
    "qt_features_seconds": Metric("histogram", "Features of all symbols for one bar.", buckets=_FAST),
    "qt_model_inference_seconds": Metric(
        "histogram", "One model's run for all symbols of one bar.", {"model": _MODELS}, _FAST
    ),
    "qt_model_state": Metric("gauge", "1 for the state the model is in.", {"model": _MODELS, "state": _STATES}),
    "qt_votes_total": Metric(
        "counter", "Votes by model.", {"model": _MODELS, "vote": ("BUY", "SELL", "HOLD", "ABSTAIN")}
    ),
    "qt_ensemble_confidence": Metric("gauge", "Strongest confidence among the signals of the newest bar."),
    "qt_signals": Metric("gauge", "Signals of the newest bar.", {"action": ("BUY", "SELL", "HOLD")}),
    "qt_decisions_total": Metric(
        "counter",
        "Where decisions ended, counted again when a later evaluation changes the verdict or the gate.",
        {"verdict": ("hold", "denied", "admitted"), "gate": None},
    ),
    "qt_decision_lag_seconds": Metric(
        "histogram", "Real time from a bar's close to the first decision on it.", buckets=_LATE
    ),
    # orders, positions, money
    "qt_orders_total": Metric(
        "counter",
        "Order commands by purpose and outcome.",
        {"kind": _PURPOSES, "outcome": ("accepted", "rejected", "denied", "unknown", "cancelled")},
    ),
    "qt_order_ack_seconds": Metric("histogram", "From sending an order to the exchange's answer.", buckets=_FAST),
    "qt_positions_open": Metric("gauge", "Open positions."),
    "qt_position_unrealized_pnl_usd": Metric("gauge", "Unrealised result of an open position.", {"symbol": None}),
    "qt_position_notional_usd": Metric("gauge", "Notional of an open position, negative when short.", {"symbol": None}),
    "qt_orders_resting": Metric("gauge", "Orders resting on the exchange.", {"family": ("regular", "conditional")}),
    "qt_unprotected_position_seconds_total": Metric(
        "counter", "Time positions spent without full protection on the exchange, unknown counted; must stay 0."
    ),
    "qt_unprotected_positions": Metric("gauge", "Positions without full protection at the last look; must be 0."),
    "qt_wallet_usd": Metric("gauge", "Wallet balance.", from_start=False),
    "qt_available_usd": Metric("gauge", "Balance available for new positions.", from_start=False),
    "qt_equity_usd": Metric("gauge", "Wallet plus unrealised result.", from_start=False),
    "qt_daily_pnl_usd": Metric("gauge", "Result since 00:00 UTC, realised and unrealised."),
    "qt_daily_loss_limit_usd": Metric("gauge", "Loss of a day at which entries stop.", from_start=False),
    "qt_gross_notional_usd": Metric("gauge", "Sum of the absolute notionals of all positions."),
    "qt_gross_limit_usd": Metric("gauge", "Gross notional at which entries stop.", from_start=False),
    "qt_trades_total": Metric("counter", "Closed trades by the reason of the last exit.", {"exit": _EXITS}),
    "qt_trades_won_total": Metric("counter", "Closed trades with a gain after fees, before funding."),
    "qt_realized_pnl_usd": Metric("gauge", "Result of trades closed by this process, after fees, before funding."),
    "qt_commission_usd_total": Metric("counter", "Commission of the trades closed by this process."),
    "qt_trade_slippage_ratio": Metric(
        "histogram", "Entry price against the decision price, positive is worse.", buckets=_BPS
    ),
    # risk
    "qt_risk_level": Metric("gauge", "0 normal, 1 cautious, 2 defensive, 3 emergency."),
    "qt_entries_allowed": Metric("gauge", "1 while the governor allows new positions.", from_start=False),
    "qt_size_multiplier_ratio": Metric("gauge", "The governor's multiplier of position sizes.", from_start=False),
    "qt_losing_streak": Metric("gauge", "Losing trades in a row."),
    # actors and journal
    "qt_actor_restarts_total": Metric("counter", "Restarts of an actor.", {"actor": None}),
    "qt_actor_mailbox_depth": Metric("gauge", "Messages waiting for an actor.", {"actor": None}),
    "qt_actor_busy_seconds": Metric("gauge", "Time the actor has been at its current message.", {"actor": None}),
    "qt_actor_up": Metric("gauge", "1 while the actor is up.", {"actor": None}),
    "qt_dead_letters_total": Metric("counter", "Messages nobody handled to their end.", {"reason": _DEAD}),
    "qt_incidents_total": Metric("counter", "Incidents, repaired or not.", {"kind": None}),
    "qt_journal_commit_seconds": Metric(
        "histogram", "One commit of the journal.", {"kind": ("intents", "batch")}, _FAST
    ),
    "qt_journal_errors_total": Metric("counter", "Commits of the journal that failed."),
    "qt_http_requests_total": Metric(
        "counter",
        "HTTP requests by route and class of the answer.",
        {"route": None, "code": ("2xx", "3xx", "4xx", "5xx")},
    ),
    "qt_measurements_refused_total": Metric(
        "counter", "Measurements that could not be taken.", {"reason": ("name", "labels", "value", "series")}
    ),
}
"""Every metric of the trader, grouped as a reader asks; dashboards and alerts may use these names and no others."""

_Child = Counter | Gauge | Histogram
_Key = tuple[str, tuple[str, ...]]


class Metrics:
    """All metrics of one process, in a registry of their own; safe to read while they are written."""

    def __init__(self) -> None:
        """Make every metric of the table, and every series whose labels are known beforehand."""
        disable_created_metrics()  # type: ignore[no-untyped-call] # the library left it untyped
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._families: dict[str, _Child] = {name: _family(name, m, self._registry) for name, m in METRICS.items()}
        self._bound: dict[_Key, Callable[[float], None]] = {}
        self._series: dict[str, set[tuple[str, ...]]] = {name: set() for name in METRICS}
        self._totals: dict[_Key, float] = {}
        self._refused: set[str] = set()
        for name, metric in METRICS.items():
            family = self._families[name]
            if not metric.from_start and not metric.labels and isinstance(family, Gauge):
                family.set(math.nan)  # 0 would be a claim
            if metric.from_start and all(values is not None for values in metric.labels.values()):
                for labels in _product([values or () for values in metric.labels.values()]):
                    self._bind(name, labels)

    def observe(self, measured: Measured) -> None:
        """Take one measurement: a gauge is set, a counter raised by the value, a histogram observes it."""
        self.take(measured.metric, measured.value, *measured.labels)

    def take(self, name: str, value: float, *labels: str) -> None:
        """As ``observe``, without a message."""
        write = self._bound.get((name, labels)) or self._bind(name, labels)
        if write is None:
            return
        if not math.isfinite(value) or (value < 0 and METRICS[name].kind == "counter"):
            self._refuse("value", f"{name} {value}")
            return
        write(value)

    def reach(self, name: str, total: float, *labels: str) -> None:
        """Raise a counter to a total that somebody else counts; a smaller total than before changes nothing."""
        before = self._totals.get((name, labels), 0.0)
        if total > before:
            self._totals[name, labels] = total
            self.take(name, total - before, *labels)

    def add(self, name: str, amount: float) -> None:
        """Move a gauge without labels by an amount."""
        family = self._families[name]
        if isinstance(family, Gauge) and math.isfinite(amount):
            family.inc(amount)

    def keep(self, name: str, label_sets: Iterable[tuple[str, ...]]) -> None:
        """Drop the series of ``name`` with other labels than these: a closed position has no result any more."""
        for gone in self._series[name] - set(label_sets):
            self._families[name].remove(*gone)
            self._series[name].discard(gone)
            self._bound.pop((name, gone), None)

    def exposition(self) -> bytes:
        """Return the text that Prometheus scrapes, of type ``CONTENT_TYPE``."""
        return generate_latest(self._registry)

    def _bind(self, name: str, labels: tuple[str, ...]) -> Callable[[float], None] | None:
        metric = METRICS.get(name)
        if metric is None:
            self._refuse("name", name)
            return None
        if len(labels) != len(metric.labels):
            self._refuse("labels", f"{name} {labels}")
            return None
        known = tuple(
            text if values is None or text in values else OTHER
            for text, values in zip(labels, metric.labels.values(), strict=True)
        )
        if known not in self._series[name] and len(self._series[name]) >= LABEL_SETS_MAX:
            self._refuse("series", name)
            return None
        self._series[name].add(known)
        family = self._families[name]
        child = family.labels(*known) if known else family
        write: Callable[[float], None]
        if isinstance(child, Histogram):
            write = child.observe
        else:
            write = child.inc if isinstance(child, Counter) else child.set
        if known == labels:  # values outside a closed set are not remembered: there is no end of them
            self._bound[name, labels] = write
        return write

    def _refuse(self, reason: str, what: str) -> None:
        self._bound["qt_measurements_refused_total", (reason,)](1)
        if what not in self._refused and len(self._refused) < LABEL_SETS_MAX:
            self._refused.add(what)
            logger.warning("measurement refused (%s): %s", reason, what)


def _family(name: str, metric: Metric, registry: CollectorRegistry) -> _Child:
    labels = tuple(metric.labels)
    if metric.kind == "histogram":
        return Histogram(name, metric.help, labels, registry=registry, buckets=metric.buckets)
    return (Gauge if metric.kind == "gauge" else Counter)(name, metric.help, labels, registry=registry)


def _product(sets: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [()]
    for values in sets:
        rows = [(*row, value) for row in rows for value in values if value != OTHER]
    return rows
