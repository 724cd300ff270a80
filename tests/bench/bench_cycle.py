"""Decision cycle: a closed bar of all symbols in, one decision a symbol out, against the work it cannot avoid.

The actors are the trader's own on threads (features, four models, regime, ensemble, orchestrator); the floor is
the same feature update and the same four ONNX runs, one after the other in one thread, in one process, interleaved.
Prints JSON: milliseconds p50/p99 and the ratio of medians. Run alone: ``python tests/bench/bench_cycle.py``.
"""

from __future__ import annotations

import json
import os
import queue
import resource
import statistics
import sys
import time
from decimal import Decimal as D
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from config.settings import load
from models.features import BARS_NEEDED, HISTORY_BARS, FeatureStream, feature_hash
from models.registry import ARTIFACTS
from qt_actors.edges.onnx_model import load_model
from qt_actors.judgement.orchestrator import Orchestrator, OrchestratorWiring
from qt_actors.kernel import ChildSpec, SupervisorSpec, ThreadRuntime
from qt_actors.messages.market import BarsClosed, HistoryReady, QuotesUpdated, UniverseChosen
from qt_actors.messages.policy import DecisionsMade, Directive, EntryDenied
from qt_actors.messages.positions import AccountSnapshot
from qt_actors.messages.signals import MODELS
from qt_actors.minds.ensemble import Ensemble, EnsembleWiring
from qt_actors.minds.features import Features, FeaturesWiring
from qt_actors.minds.model import ModelServer, ModelWiring
from qt_actors.minds.regime import RegimeReader, RegimeWiring
from tests.builders import some_rules

HOUR_MS = 3_600_000
CYCLES = 60
WARMUP = 5


class Silent:
    """A mailbox nobody reads."""

    path = "bench/silent"

    def tell(self, message, *, trace=None, deadline_ms=None):
        """Drop."""


class Listener(Silent):
    """Counts the decisions of a bar and wakes the bench when all are in."""

    path = "bench/listener"

    def __init__(self, symbols):
        self.done: queue.SimpleQueue[float] = queue.SimpleQueue()
        self._symbols, self._seen = symbols, 0

    def tell(self, message, *, trace=None, deadline_ms=None):
        if isinstance(message, DecisionsMade):
            self._seen += len(message.decisions)
            if self._seen >= self._symbols:
                self._seen = 0
                self.done.put(time.perf_counter())


class Governor(Silent):
    """Admits nothing: answers a proposal with a denial, as an account without room would."""

    path = "bench/governor"

    def __init__(self):
        self.orchestrator = None

    def tell(self, message, *, trace=None, deadline_ms=None):
        for decision in message.decisions:
            self.orchestrator.tell(EntryDenied(decision=decision))


def candles(symbols, bars):
    """Random walks float64[S, B, 5] with a common factor."""
    random = np.random.default_rng(7)
    steps = random.normal(0, 0.006, (1, bars)) + random.normal(0, 0.008, (symbols, bars))
    close = 100 * np.exp(np.cumsum(steps, axis=1))
    opens = np.concatenate([close[:, :1], close[:, :-1]], axis=1)
    high = np.maximum(opens, close) * (1 + random.uniform(0, 0.004, close.shape))
    low = np.minimum(opens, close) * (1 - random.uniform(0, 0.004, close.shape))
    return np.stack([opens, high, low, close, random.uniform(10, 20, close.shape)], axis=2)


def artifact(name):
    return load_model(name, ARTIFACTS, interval="1h", feature_hash=feature_hash())


class Unwritten:
    """A new journal."""

    def rows(self, _query, _parameters=None):
        return []


class Cycle:
    """The cycle's actors on threads."""

    def __init__(self, names, times, data):
        self.runtime = ThreadRuntime()
        self.listener, self.governor, silent = Listener(len(names)), Governor(), Silent()
        at = self.runtime.address
        self.governor.orchestrator = at("root/orchestrator")
        settings = load(None, {})
        models = {
            m: ModelWiring(
                name=m,
                load=lambda m=m: artifact(m),
                ensemble=at("root/ensemble"),
                recorder=silent,
                telemetry=silent,
                watchers=(),
                monotonic_s=self.runtime.monotonic_s,
            )
            for m in MODELS
        }
        makers = {
            "orchestrator": lambda: Orchestrator(
                OrchestratorWiring(
                    universe=silent,
                    settings=settings,
                    governor=self.governor,
                    journal=Unwritten,
                    listeners=(self.listener,),
                    quote_age_ms_max=10**12,
                    telemetry=silent,
                    monotonic_s=self.runtime.monotonic_s,
                )
            ),
            "ensemble": lambda: Ensemble(
                EnsembleWiring(settings=settings, listeners=(at("root/orchestrator"),), watchers=(), telemetry=silent)
            ),
            **{f"model-{m}": (lambda w=w: ModelServer(w)) for m, w in models.items()},
            "regime": lambda: RegimeReader(RegimeWiring(listeners=(at("root/ensemble"), at("root/orchestrator")))),
            "features": lambda: Features(
                FeaturesWiring(
                    feed=silent,
                    listeners=(
                        at("root/ensemble"),
                        at("root/orchestrator"),
                        at("root/regime"),
                        *(at(f"root/model-{m}") for m in MODELS),
                    ),
                    telemetry=silent,
                    atr_interval_ms=4 * HOUR_MS,
                    monotonic_s=self.runtime.monotonic_s,
                )
            ),
        }
        self.runtime.start(SupervisorSpec("root", children=tuple(ChildSpec(n, f) for n, f in makers.items())))
        assert self.runtime.wait_ready(60)
        at("root/orchestrator").tell(
            UniverseChosen(symbols=names, rules=tuple(some_rules(n) for n in names), refused={})
        )
        at("root/orchestrator").tell(word())
        at("root/orchestrator").tell(account())
        at("root/orchestrator").tell(quotes(names, data[:, -1, 3]))
        at("root/features").tell(HistoryReady(symbols=names, interval_ms=HOUR_MS, open_time_ms=times, ohlcv=data))

    def run(self, names, opened_ms, bars):
        """Return the seconds from the closed bar to the last decision."""
        bar = BarsClosed(
            symbols=names,
            interval_ms=HOUR_MS,
            open_time_ms=opened_ms,
            close_time_ms=opened_ms + HOUR_MS,
            ohlcv=bars,
        )
        started = time.perf_counter()
        self.runtime.address("root/orchestrator").tell(bar)
        self.runtime.address("root/features").tell(bar)
        return self.listener.done.get(timeout=30) - started


def word():
    return Directive(
        now_ms=0,
        allow_trades=True,
        allow_new_positions=True,
        leverage_multiplier=1.0,
        size_multiplier=1.0,
        risk_level="NORMAL",
        reason="",
        daily_pnl_usd=D(0),
        daily_loss_limit_usd=D(200),
        gross_notional_usd=D(0),
        gross_limit_usd=D(45_000),
        losing_streak=0,
        equity_usd=D(10_000),
    )


def account():
    return AccountSnapshot(
        serial=1,
        requested_ms=0,
        now_ms=0,
        wallet_usd=D(10_000),
        equity_usd=D(10_000),
        available_usd=D(10_000),
        positions=(),
        orders=(),
        conditionals=(),
    )


def quotes(names, prices):
    count = len(names)
    return QuotesUpdated(
        now_ms=0,
        symbols=names,
        bid=prices,
        ask=prices * 1.0001,
        bid_quantity=np.full(count, 1e4),
        ask_quantity=np.full(count, 1e4),
        mark=prices,
        funding_rate=np.full(count, 1e-4),
        next_funding_ms=np.zeros(count, np.int64),
        heard_ms=np.full(count, time.time_ns() // 1_000_000),
    )


def floor(stream, models, opened_ms, bars):
    """Return the seconds of the unavoidable work, done straight."""
    started = time.perf_counter()
    frame = stream.update(opened_ms, bars)
    windows = stream.windows()
    for manifest, model in models:
        model.probabilities(windows if manifest.kind == "window" else frame.features)
    return time.perf_counter() - started


def measure(count, cycles=CYCLES):
    names = ("BTCUSDT", *(f"S{i:03}USDT" for i in range(count - 1)))
    bars = HISTORY_BARS + 1
    data = candles(count, bars + cycles + WARMUP)
    first_ms = time.time_ns() // 1_000_000 // HOUR_MS * HOUR_MS - (bars + cycles + WARMUP) * HOUR_MS
    times = first_ms + HOUR_MS * np.arange(data.shape[1], dtype=np.int64)
    cycle = Cycle(names, times[:bars], data[:, :bars])
    stream = FeatureStream(names, times[:bars], data[:, :bars])
    models = [artifact(m) for m in MODELS]
    whole, least = [], []
    for i in range(bars, data.shape[1]):
        whole.append(cycle.run(names, int(times[i]), data[:, i]))
        least.append(floor(stream, models, int(times[i]), data[:, i]))
    cycle.runtime.stop(10)
    whole, least = (sorted(1000 * s for s in found[WARMUP:]) for found in (whole, least))
    ratio = statistics.median(whole) / statistics.median(least)
    return {
        "symbols": count,
        "cycle_ms_p50": round(statistics.median(whole), 1),
        "cycle_ms_p99": round(whole[int(len(whole) * 0.99)], 1),
        "floor_ms_p50": round(statistics.median(least), 1),
        "floor_ms_p99": round(least[int(len(least) * 0.99)], 1),
        "ratio_of_medians": round(ratio, 2),
    }


def main():
    assert BARS_NEEDED < HISTORY_BARS
    for count in (78, 222):
        print(json.dumps(measure(count)))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"peak_rss_mb_of_this_bench": round(peak_mb)}))


if __name__ == "__main__":
    main()
