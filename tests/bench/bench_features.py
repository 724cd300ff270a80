"""CPU of features for serving: streaming handles against a TA-Lib loop over full histories; prints one JSON object.

Run: OMP_NUM_THREADS=1 python tests/bench/bench_features.py [rounds]. 222 symbols × 256 closed bars, interleaved;
medians of CPU milliseconds.

- ``stream``: one ``FeatureStream.update``, all features and regime inputs of all symbols;
- ``talib_loop``: the same TA-Lib functions in batch over 256 bars of every symbol in turn, no features made of them:
  the floor of any such loop;
- ``batch_loop``: that loop with the formulas, as training does it, for every symbol and bar;
- ``windows``: the networks' input of all symbols; ``open``: opening all handles at start.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from models.features import BARS_NEEDED, FeatureStream, compute_batch, feature_names, market_context
from models.indicators import SYMBOL_STEPS, Call, run_batch
from tests.random_candles import RandomCandles, random_candles

SYMBOLS = 222


def _cpu_ms(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return (time.process_time() - begin) * 1e3


def _talib_loop(candles: RandomCandles) -> None:
    """Every TA-Lib call of the table over full histories, symbol by symbol."""
    for bars in candles.ohlcv:
        names = {name: np.ascontiguousarray(bars[:, index]) for index, name in enumerate(("open", "high", "low"))}
        names |= {"close": np.ascontiguousarray(bars[:, 3]), "volume": np.ascontiguousarray(bars[:, 4])}
        names["previous_close"] = np.concatenate([names["close"][:1], names["close"][:-1]])
        names["btc_return"] = names["market_return"] = names["close"]
        run_batch(SYMBOL_STEPS, names)


def measure(rounds: int) -> dict[str, float | int]:
    """Interleave the ways, so that a busy host burdens them alike."""
    candles = random_candles(1, SYMBOLS, BARS_NEEDED + rounds)
    head = candles._replace(
        open_time_ms=candles.open_time_ms[:BARS_NEEDED], ohlcv=np.ascontiguousarray(candles.ohlcv[:, :BARS_NEEDED])
    )
    context = market_context(head.symbols, head.open_time_ms, head.ohlcv[..., 3])
    opening = _cpu_ms(lambda: FeatureStream(head.symbols, head.open_time_ms, head.ohlcv))
    stream = FeatureStream(head.symbols, head.open_time_ms, head.ohlcv)
    took: dict[str, list[float]] = {name: [] for name in ("stream", "windows", "talib_loop", "batch_loop")}
    for row in range(BARS_NEEDED, BARS_NEEDED + rounds):
        bar = (int(candles.open_time_ms[row]), candles.ohlcv[:, row])
        took["stream"].append(_cpu_ms(lambda bar=bar: stream.update(*bar)))  # type: ignore[misc]
        took["windows"].append(_cpu_ms(stream.windows))
        took["talib_loop"].append(_cpu_ms(lambda: _talib_loop(head)))
        took["batch_loop"].append(
            _cpu_ms(lambda: [compute_batch(bars, head.open_time_ms, context) for bars in head.ohlcv])
        )
    medians = {name: round(statistics.median(values), 2) for name, values in took.items()}
    return {
        "symbols": SYMBOLS,
        "features": len(feature_names()),
        "talib_calls": sum(isinstance(step, Call) for step in SYMBOL_STEPS),
        **{f"{name}_ms": value for name, value in medians.items()},
        "open_ms": round(opening, 1),
        "talib_loop_over_stream": round(medians["talib_loop"] / medians["stream"], 1),
        "batch_loop_over_stream": round(medians["batch_loop"] / medians["stream"], 1),
    }


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 20)))
