"""``qt predict``: what the models say of a symbol's newest bar in a folder of candles. Nothing is traded.

The same features, models and ensemble as in trading, on the last bar of the symbol.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from config.settings import INTERVALS_MS, Settings
from models.candles import CandleError, CandleSet, load_candles
from models.features import BARS_NEEDED, FeatureFrame, FeatureStream, feature_hash
from models.indicators import Floats, Times
from models.registry import ARTIFACTS, Manifest, ModelFileError, actions_and_confidence
from qt_actors.cli.symbols import nearest
from qt_actors.decisions.barriers import barriers_of
from qt_actors.decisions.regime import market_regime, next_regimes
from qt_actors.decisions.voting import log_line, signals_of
from qt_actors.edges.onnx_model import OnnxModel, load_model
from qt_actors.messages.signals import MODELS, FeatureBatch, Regime, RegimesRead, Votes

HISTORY_BARS: Final = 1000
"""Bars behind the predicted one; indicators with a long memory have settled after these."""
REGIME_BARS: Final = 24
"""Bars over which the regime's hysteresis settles."""


class PredictError(Exception):
    """No prediction can be made; one line a reason: what, where, what to do."""


def prediction_of(names: Sequence[str], folder: Path, settings: Settings) -> dict[str, Any]:
    """Return the ensemble's signal on a symbol's newest bar in ``folder``, with every model's vote, JSON-able.

    ``names`` are spellings of the symbol; the first that has candles is taken.

    Raises:
        PredictError: no candles, no such symbol, too few bars for any model, or no model file that serves.
    """
    try:
        candles = load_candles(folder, settings.bar_interval)
    except CandleError as error:
        raise PredictError(str(error)) from None
    symbol = next((name for name in names if name in candles.by_symbol), None)
    if symbol is None:
        asked = next(iter(names), "that")
        raise PredictError(f"{folder}: no usable candles of {asked}{nearest(asked, list(candles.by_symbol))}")
    symbols, times, ohlcv = _grid(candles, symbol)
    batch, regimes, regime = _read(symbols, times, ohlcv, settings)
    votes, absent = _votes(batch, settings)
    if not votes:
        raise PredictError("\n".join(absent.values()))
    signals = signals_of(batch, votes, regimes, settings, batch.close_time_ms, absent=dict.fromkeys(absent, "missing"))
    own = symbols.index(symbol)
    signal = signals.signals[own]
    placed = barriers_of(signal.tp_pct, signal.sl_pct, float(batch.stop_distance[own]), settings)
    return {
        "symbol": symbol,
        "data": str(folder),
        "bar_interval": settings.bar_interval,
        "bar_open_ms": int(times[-1]),
        **{k: v for k, v in msgspec.structs.asdict(signal).items() if k not in {"symbol", "votes"}},
        "target_pct": placed and placed.target_pct,
        "stop_pct": placed and placed.stop_pct,
        "market_regime": regime,
        "votes": [msgspec.structs.asdict(v) for v in signal.votes],
        "models_missing": absent,
        "market_symbols": len(symbols),
        "line": log_line(signal),
    }


def _grid(candles: CandleSet, symbol: str) -> tuple[tuple[str, ...], Times, Floats]:
    """Return all symbols on one grid that ends in the symbol's newest bar: names, int64[B], float64[S, B, 5]."""
    step = candles.interval_ms
    own = candles.by_symbol[symbol].open_time_ms
    bars = min(HISTORY_BARS + 1, int((own[-1] - own[0]) // step) + 1)
    if bars < 2:
        raise PredictError(f"{symbol}: {bars} bar of {step // 60_000} minutes, at least 2 are needed")
    times = np.arange(own[-1] - (bars - 1) * step, own[-1] + step, step, dtype=np.int64)
    rows = {name: _on(times, step, found.open_time_ms, found.ohlcv) for name, found in candles.by_symbol.items()}
    seen = {name: row for name, row in rows.items() if np.isfinite(row).any()}
    return tuple(seen), times, np.stack(list(seen.values()))


def _on(times: Times, step: int, own: Times, ohlcv: Floats) -> Floats:
    out = np.full((len(times), 5), np.nan)
    index = (own - times[0]) // step
    inside = (index >= 0) & (index < len(times))
    out[index[inside]] = ohlcv[inside]
    return out


def _read(
    symbols: tuple[str, ...], times: Times, ohlcv: Floats, settings: Settings
) -> tuple[FeatureBatch, RegimesRead, Regime]:
    """Stream the last bars through the features, as trading does, and read the regimes."""
    last = min(REGIME_BARS, len(times) - 1)
    interval_ms = settings.interval_ms
    stream = FeatureStream(
        symbols,
        times[:-last],
        ohlcv[:, :-last],
        interval_ms=interval_ms,
        stop_atr_interval_ms=INTERVALS_MS[settings.atr_interval],
    )
    unread: Regime = "NORMAL"
    regimes = (unread,) * len(symbols)
    frame: FeatureFrame | None = None
    for bar in range(len(times) - last, len(times)):
        frame = stream.update(int(times[bar]), ohlcv[:, bar])
        regimes = next_regimes(frame.adx, frame.channel_slope, frame.volatility_rank, regimes)
    assert frame is not None  # noqa: S101 # _grid gives two bars at least
    batch = FeatureBatch(
        symbols=symbols,
        close_time_ms=frame.close_time_ms,
        interval_ms=interval_ms,
        features=frame.features,
        windows=stream.windows(),
        have=frame.have,
        need=BARS_NEEDED,
        eligible=frame.eligible,
        close=frame.close,
        stop_distance=frame.stop_distance,
        adx=frame.adx,
        slope=frame.channel_slope,
        volatility=frame.volatility,
        volatility_rank=frame.volatility_rank,
    )
    market = market_regime(regimes)
    told = RegimesRead(close_time_ms=batch.close_time_ms, symbols=symbols, regimes=regimes, market=market)
    return batch, told, market


def _votes(batch: FeatureBatch, settings: Settings) -> tuple[list[Votes], dict[str, str]]:
    """Return the votes of the models that serve, and why the others do not."""
    votes, absent = [], {}
    for name in MODELS if settings.ai_model == "ensemble" else (settings.ai_model,):
        try:
            manifest, model = load_model(
                name,
                settings.models_dir or ARTIFACTS,
                interval=settings.bar_interval,
                feature_hash=feature_hash(),
            )
        except ModelFileError as error:
            absent[name] = str(error)
        else:
            votes.append(_vote(name, manifest, model, batch))
    return votes, absent


def _vote(name: str, manifest: Manifest, model: OnnxModel, batch: FeatureBatch) -> Votes:
    count = len(batch.symbols)
    rows = np.flatnonzero(batch.eligible)
    probabilities = np.full((count, 3), np.nan, np.float32)
    source = batch.windows if manifest.kind == "window" else batch.features
    probabilities[rows] = model.probabilities(source[rows])
    actions, confidence = actions_and_confidence(probabilities, manifest)
    abstentions = tuple(
        "" if eligible else f"warmup {have}/{batch.need}" if have < batch.need else "no whole bar"
        for eligible, have in zip(batch.eligible.tolist(), batch.have.tolist(), strict=True)
    )
    return Votes(
        model=name,
        close_time_ms=batch.close_time_ms,
        symbols=batch.symbols,
        probabilities=probabilities,
        actions=actions,
        confidence=confidence,
        abstentions=abstentions,
        elapsed_ms=0.0,
    )
