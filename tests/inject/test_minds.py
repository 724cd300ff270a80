"""Ensemble, model server, features and regime on the deterministic runtime."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from config.settings import load
from models.features import BARS_NEEDED, feature_hash, feature_names
from models.registry import ARTIFACTS, ModelFileError
from qt_actors.edges.onnx_model import load_model
from qt_actors.kernel import ChildSpec, Probe, SimRuntime, SupervisorSpec
from qt_actors.messages.market import BarsClosed, HistoryReady, HistoryRequested
from qt_actors.messages.signals import (
    MODELS,
    FeatureBatch,
    ModelStateChanged,
    RegimesRead,
    Signals,
    Votes,
)
from qt_actors.minds.ensemble import VOTE_DEADLINE_MS, Ensemble, EnsembleWiring
from qt_actors.minds.features import Features, FeaturesWiring
from qt_actors.minds.model import FAULTS_MAX, ModelServer, ModelWiring
from qt_actors.minds.regime import RegimeReader, RegimeWiring

HOUR_MS = 3_600_000
START_MS = 1_750_000_000_000 // HOUR_MS * HOUR_MS
SYMBOLS = ("BTCUSDT", "ETHUSDT")


def candles(bars, seed=1):
    """Random walks float64[S, B, 5] that look like candles."""
    random = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(random.normal(0, 0.01, (len(SYMBOLS), bars)), axis=1))
    opens = np.concatenate([close[:, :1], close[:, :-1]], axis=1)
    high = np.maximum(opens, close) * (1 + random.uniform(0, 0.004, close.shape))
    low = np.minimum(opens, close) * (1 - random.uniform(0, 0.004, close.shape))
    return np.stack([opens, high, low, close, random.uniform(10, 20, close.shape)], axis=2)


def times(bars):
    return START_MS + HOUR_MS * np.arange(bars, dtype=np.int64)


def a_batch(close_ms=START_MS, have=300):
    count = len(SYMBOLS)
    ones = np.ones(count)
    random = np.random.default_rng(3)
    return FeatureBatch(
        symbols=SYMBOLS,
        close_time_ms=close_ms,
        interval_ms=HOUR_MS,
        features=random.normal(0, 1, (count, len(feature_names()))).astype(np.float32),
        windows=random.normal(0, 1, (count, 128, 5)).astype(np.float32),
        have=np.full(count, have),
        need=BARS_NEEDED,
        eligible=np.full(count, have >= BARS_NEEDED),
        close=ones * 100,
        stop_distance=ones * 0.02,
        adx=ones * 20,
        slope=ones * 0,
        volatility=ones * 0.01,
        volatility_rank=ones * 0.5,
    )


def votes_of(model, close_ms=START_MS, action=2, confidence=0.8):
    count = len(SYMBOLS)
    return Votes(
        model=model,
        close_time_ms=close_ms,
        symbols=SYMBOLS,
        probabilities=np.tile(np.array([0.2, 0.2, 0.6], np.float32), (count, 1)),
        actions=np.full(count, action, np.int8),
        confidence=np.full(count, confidence, np.float32),
        abstentions=("",) * count,
        elapsed_ms=1.0,
    )


class House:
    """One actor of the minds between probes."""

    def __init__(self, name, make, *neighbours):
        self.runtime = SimRuntime(seed=1, start_ms=START_MS)
        self.probes = {n: Probe(self.runtime, f"root/{n}") for n in neighbours}
        self.path = f"root/{name}"
        self.runtime.start(SupervisorSpec("root", children=(ChildSpec(name, lambda: make(self.runtime.address)),)))
        assert self.runtime.wait_ready()
        self.runtime.run_until_idle()

    def tell(self, *messages):
        for message in messages:
            self.runtime.address(self.path).tell(message)
        self.runtime.run_for(0)

    def statistics(self):
        return next(state.statistics for state in self.runtime.tree() if state.path == self.path)

    def heard(self, name, kind):
        return [m for m in self.probes[name].heard if isinstance(m, kind)]


@pytest.fixture
def ensemble():
    def make(address):
        wiring = EnsembleWiring(
            settings=load(None, {}),
            listeners=(address("root/orchestrator"),),
            telemetry=address("root/telemetry"),
            watchers=(address("root/governor"),),
        )
        return Ensemble(wiring)

    house = House("ensemble", make, "orchestrator", "telemetry", "governor")
    yield house
    house.runtime.stop()


def regimes(close_ms=START_MS):
    return RegimesRead(close_time_ms=close_ms, symbols=SYMBOLS, regimes=("NORMAL", "TRENDING"), market="NORMAL")


def test_all_votes_in_make_signals_at_once(ensemble):
    ensemble.tell(a_batch(), regimes(), *[votes_of(m) for m in MODELS])
    (told,) = ensemble.heard("orchestrator", Signals)
    assert [(s.symbol, s.action, s.agree, s.regime) for s in told.signals] == [
        ("BTCUSDT", "BUY", 4, "NORMAL"),
        ("ETHUSDT", "BUY", 4, "TRENDING"),
    ]


def test_a_late_model_is_skipped_at_the_deadline_and_the_quorum_adapts(ensemble):
    ensemble.tell(a_batch(), regimes(), *[votes_of(m) for m in MODELS[:3]])
    assert not ensemble.heard("orchestrator", Signals)
    ensemble.runtime.run_for(VOTE_DEADLINE_MS)
    (told,) = ensemble.heard("orchestrator", Signals)
    assert {(s.active, s.quorum, s.agree) for s in told.signals} == {(3, 2, 3)}
    assert any("late" in v.reason for v in told.signals[0].votes if v.model == MODELS[3])


def test_a_new_bar_concludes_the_one_before_it(ensemble):
    ensemble.tell(a_batch(), regimes(), votes_of("xgb"), a_batch(START_MS + HOUR_MS))
    (told,) = ensemble.heard("orchestrator", Signals)
    assert told.close_time_ms == START_MS
    assert {s.action for s in told.signals} == {"HOLD"}


def test_votes_of_another_bar_are_not_counted(ensemble):
    ensemble.tell(a_batch(), regimes(), *[votes_of(m, START_MS - HOUR_MS) for m in MODELS])
    assert not ensemble.heard("orchestrator", Signals)


def test_a_missing_model_is_named_so_and_no_vote(ensemble):
    ensemble.tell(ModelStateChanged(model="patchtst", state="missing", reason="no file"))
    ensemble.tell(a_batch(), regimes(), *[votes_of(m) for m in MODELS[:3]])
    ensemble.runtime.run_for(VOTE_DEADLINE_MS)
    vote = next(v for v in ensemble.heard("orchestrator", Signals)[0].signals[0].votes if v.model == "patchtst")
    assert (vote.action, vote.reason) == (None, "missing")


class Serving:
    """A model server between probes; ``load`` is what the test gives."""

    def __init__(self, load_artifact):
        def make(address):
            wiring = ModelWiring(
                name="xgb",
                load=load_artifact,
                ensemble=address("root/ensemble"),
                recorder=address("root/recorder"),
                telemetry=address("root/telemetry"),
                watchers=(address("root/web"),),
                monotonic_s=self.monotonic_s,
            )
            return ModelServer(wiring)

        self.house = House("model-xgb", make, "ensemble", "recorder", "telemetry", "web")

    def monotonic_s(self):
        return 0.0

    def state(self):
        return self.house.heard("web", ModelStateChanged)[-1]

    def votes(self):
        return self.house.heard("ensemble", Votes)[-1]


def shipped(name="xgb"):
    return load_model(name, ARTIFACTS, interval="1h", feature_hash=feature_hash())


@pytest.mark.parametrize("name", MODELS)
def test_every_shipped_model_votes_on_a_whole_batch_in_one_run(name):
    serving = Serving(lambda: shipped(name))
    serving.house.tell(a_batch())
    votes = serving.votes()
    assert votes.probabilities.shape == (len(SYMBOLS), 3)
    assert np.allclose(votes.probabilities.sum(axis=1), 1, atol=1e-4)
    assert set(votes.actions.tolist()) <= {0, 1, 2}
    assert not votes.probabilities.flags.writeable
    assert serving.state().state == "active"


def test_a_young_symbol_gets_an_abstention_that_says_how_far_it_is():
    serving = Serving(shipped)
    serving.house.tell(a_batch(have=25))
    assert serving.votes().abstentions == (f"warmup 25/{BARS_NEEDED}",) * len(SYMBOLS)
    assert set(serving.votes().actions.tolist()) == {-1}
    assert serving.state().state == "warmup"


def test_an_unusable_file_is_named_and_the_model_abstains_without_crashing():
    def broken():
        raise ModelFileError("models/artifacts/xgb.onnx: truncated; make it with: qt train --data DIR --out DIR")

    serving = Serving(broken)
    assert serving.state().state == "missing"
    assert "xgb.onnx" in serving.state().reason
    serving.house.tell(a_batch())
    assert serving.votes().abstentions == ("missing",) * len(SYMBOLS)


class Failing:
    """A model whose every run fails."""

    version = "x"

    def probabilities(self, rows):
        raise RuntimeError(f"no answer for {len(rows)} rows")


def test_a_model_that_keeps_failing_is_quarantined():
    serving = Serving(lambda: (shipped()[0], Failing()))
    serving.house.tell(*[a_batch(START_MS + HOUR_MS * i) for i in range(FAULTS_MAX)])
    assert serving.state().state == "quarantined"
    serving.house.tell(a_batch(START_MS + HOUR_MS * FAULTS_MAX))
    assert serving.votes().abstentions == ("quarantined",) * len(SYMBOLS)


@pytest.fixture
def features():
    def make(address):
        return Features(
            FeaturesWiring(
                feed=address("root/feed"),
                listeners=(address("root/ensemble"),),
                telemetry=address("root/telemetry"),
                atr_interval_ms=4 * HOUR_MS,
                monotonic_s=lambda: 0.0,
            )
        )

    house = House("features", make, "feed", "ensemble", "telemetry")
    yield house
    house.runtime.stop()


def history(bars, total=400):
    return HistoryReady(symbols=SYMBOLS, interval_ms=HOUR_MS, open_time_ms=times(bars), ohlcv=candles(total)[:, :bars])


def bar(index, total=400):
    opened = int(times(index + 1)[-1])
    return BarsClosed(
        symbols=SYMBOLS,
        interval_ms=HOUR_MS,
        open_time_ms=opened,
        close_time_ms=opened + HOUR_MS,
        ohlcv=candles(total)[:, index],
    )


def test_features_ask_for_history_and_answer_each_bar_once(features):
    assert features.heard("feed", HistoryRequested)
    features.tell(history(300), bar(299), bar(299), bar(300))
    batches = features.heard("ensemble", FeatureBatch)
    assert [b.close_time_ms for b in batches] == [START_MS + HOUR_MS * 300, START_MS + HOUR_MS * 301]
    assert all(b.eligible.all() for b in batches)


def test_features_name_the_newest_bar_by_its_close(features):
    assert features.statistics()["newest_bar_closed_ms"] == 0
    features.tell(history(300), bar(299))
    assert features.statistics()["newest_bar_closed_ms"] == START_MS + HOUR_MS * 300


def test_features_after_a_restart_equal_those_without_one(features):
    features.tell(history(300), bar(299), bar(300), bar(301))
    straight = features.heard("ensemble", FeatureBatch)[-1]
    features.tell(history(301), bar(301))
    again = features.heard("ensemble", FeatureBatch)[-1]
    assert again.close_time_ms == straight.close_time_ms
    assert np.array_equal(again.windows, straight.windows)
    np.testing.assert_allclose(again.features, straight.features, rtol=1e-4, atol=1e-5)


def test_a_late_bar_told_with_the_history_is_in_the_next_bars_features_and_decides_nothing_twice(features):
    lacking = msgspec.structs.replace(bar(300), ohlcv=bar(300).ohlcv.copy())
    lacking.ohlcv[0] = np.nan
    features.tell(history(300), bar(299), lacking, history(301), bar(301), bar(302))
    late = features.heard("ensemble", FeatureBatch)
    assert [(b.close_time_ms - START_MS) // HOUR_MS for b in late] == [300, 301, 302, 303]
    assert not late[1].eligible[0]
    features.tell(history(301), bar(300), bar(301), bar(302))
    whole = features.heard("ensemble", FeatureBatch)[4:]
    assert [b.close_time_ms for b in whole] == [b.close_time_ms for b in late[1:]]
    for told, true in zip(late[2:], whole[1:], strict=True):
        assert np.array_equal(told.features, true.features)
        assert np.array_equal(told.windows, true.windows)


def test_a_hole_in_the_bars_makes_features_ask_for_history_again(features):
    features.tell(history(300), bar(299))
    before = len(features.heard("feed", HistoryRequested))
    features.tell(bar(302))
    assert len(features.heard("feed", HistoryRequested)) == before + 1
    assert len(features.heard("ensemble", FeatureBatch)) == 1


def test_the_regime_is_read_for_every_symbol_and_the_market():
    house = House("regime", lambda a: RegimeReader(RegimeWiring(listeners=(a("root/ensemble"),))), "ensemble")
    trending = msgspec.structs.replace(a_batch(), adx=np.array([45.0, 45.0]), slope=np.array([5.0, -5.0]))
    house.tell(trending, trending, trending)
    told = house.heard("ensemble", RegimesRead)[-1]
    assert told.regimes == ("TRENDING", "TRENDING")
    assert told.market == "TRENDING"
    house.runtime.stop()
