"""The TA-Lib layer: one list of steps that runs in batch over a history and, bar by bar, on streaming handles.

A step is either a ``Series`` (an arithmetic expression over named arrays) or a ``Call`` (one TA-Lib function over
named arrays). In batch every name is a float64[T] of one symbol; when streaming it is a float64[S] of all symbols at
one bar. The expressions are elementwise, so both runs do the same arithmetic; the handles of TA-Lib 0.8
(``talib.stream``) return exactly what its batch functions return from the same first bar on. A handle cannot be saved:
after a restart it is opened again from the stored candles.

Prices are scaled by a power of two per symbol before they come here (``price_scale``). That changes no bit of any
scale-free result and keeps coins quoted at 0.0001 clear of TA-Lib's absolute epsilon (its STDDEV calls a variance
under 1e-14 zero).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import compress
from types import CodeType
from typing import Any

import msgspec
import numpy as np
import talib
import talib.stream
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Times = NDArray[np.int64]
Names = dict[str, Floats]

_FUNCTIONS: Mapping[str, object] = {
    "__builtins__": {},
    "cos": np.cos,
    "log": np.log,
    "maximum": np.maximum,
    "pi": math.pi,
    "sign": np.sign,
    "sin": np.sin,
    "where": np.where,
}
_PRICE_EXPONENT = 10
"""Scaled prices start between 2^10 and 2^11."""


class Series(msgspec.Struct, frozen=True):
    """A named elementwise expression over earlier names."""

    name: str
    formula: str


class Call(msgspec.Struct, frozen=True):
    """One TA-Lib function: ``outputs = function(*inputs, *parameters)``; inputs are earlier names."""

    outputs: tuple[str, ...]
    function: str
    inputs: tuple[str, ...]
    parameters: tuple[int | float, ...] = ()


Step = Series | Call
_HLC = ("high", "low", "close")
_OHLC = ("open", "high", "low", "close")

SYMBOL_STEPS: tuple[Step, ...] = (
    Series("money", "(high + low + close) / 3 * volume"),
    Series("signed_volume", "sign(close - previous_close) * volume"),
    Series("log_return", "log(close / previous_close)"),
    Series("span", "log(high / low)"),
    Call(("rsi_14",), "RSI", ("close",), (14,)),
    Call(("rsi_28",), "RSI", ("close",), (28,)),
    Call(("macd", "macd_signal", "macd_histogram"), "MACD", ("close",), (12, 26, 9)),
    Call(("stoch_rsi_k", "stoch_rsi_d"), "STOCHRSI", ("close",), (14, 14, 3, 0)),
    Call(("stoch_k", "stoch_d"), "STOCH", _HLC, (14, 3, 0, 3, 0)),
    Call(("williams_r",), "WILLR", _HLC, (14,)),
    Call(("cci_20",), "CCI", _HLC, (20,)),
    Call(("mfi_14",), "MFI", (*_HLC, "volume"), (14,)),
    Call(("sma_50",), "SMA", ("close",), (50,)),
    Call(("sma_200",), "SMA", ("close",), (200,)),
    Call(("ema_12",), "EMA", ("close",), (12,)),
    Call(("ema_20",), "EMA", ("close",), (20,)),
    Call(("ema_26",), "EMA", ("close",), (26,)),
    Call(("adx_14",), "ADX", _HLC, (14,)),
    Call(("plus_di_14",), "PLUS_DI", _HLC, (14,)),
    Call(("minus_di_14",), "MINUS_DI", _HLC, (14,)),
    Call(("sar",), "SAR", ("high", "low"), (0.02, 0.2)),
    Call(("bb_upper", "sma_20", "bb_lower"), "BBANDS", ("close",), (20, 2.0, 2.0)),
    Call(("atr_14",), "ATR", _HLC, (14,)),
    Call(("atr_20",), "ATR", _HLC, (20,)),
    Call(("deviation_50",), "STDDEV", ("close",), (50,)),
    *(Call((f"volatility_{n}",), "STDDEV", ("log_return",), (n,)) for n in (8, 24, 96, 168)),
    Call(("span_sum_24",), "SUM", ("span",), (24,)),
    *(Call((f"signed_volume_sum_{n}",), "SUM", ("signed_volume",), (n,)) for n in (20, 96)),
    *(Call((f"volume_sum_{n}",), "SUM", ("volume",), (n,)) for n in (20, 50, 96, 168)),
    *(Call((f"money_sum_{n}",), "SUM", ("money",), (n,)) for n in (20, 50)),
    Call(("doji",), "CDLDOJI", _OHLC),
    Call(("engulfing",), "CDLENGULFING", _OHLC),
    Call(("hammer",), "CDLHAMMER", _OHLC),
    Call(("shooting_star",), "CDLSHOOTINGSTAR", _OHLC),
    *(Call((f"high_{n}",), "MAX", ("high",), (n,)) for n in (20, 50, 100)),
    *(Call((f"low_{n}",), "MIN", ("low",), (n,)) for n in (20, 50, 100)),
    *(Call((f"slope_{n}",), "LINEARREG_SLOPE", ("close",), (n,)) for n in (20, 50)),
    *(Call((f"btc_correlation_{n}",), "CORREL", ("log_return", "btc_return"), (n,)) for n in (48, 168)),
    Call(("market_correlation_168",), "CORREL", ("log_return", "market_return"), (168,)),
    Series("volatility", "atr_14 / close"),
    Call(("volatility_rank_200",), "PERCENTRANK", ("volatility",), (200,)),
)
"""Run once per symbol over open, high, low, close, previous_close, volume, btc_return, market_return."""

MARKET_STEPS: tuple[Step, ...] = (
    *(Call((f"btc_volatility_{n}",), "STDDEV", ("btc_return",), (n,)) for n in (24, 168)),
    Call(("breadth_24",), "SMA", ("breadth",), (24,)),
    Call(("dispersion_24",), "SMA", ("dispersion",), (24,)),
)
"""Run once for the market over btc_return, market_return, breadth, dispersion."""


@cache
def _compiled(formula: str) -> CodeType:
    return compile(formula, formula, "eval")


def evaluate(formula: str, names: Names) -> Floats:
    """Value of an elementwise expression over equally long arrays: the table's own text is the code."""
    value: Floats = eval(_compiled(formula), dict(_FUNCTIONS), names)  # noqa: S307 - formulas are constants of this package, no input
    return value


def _feeding(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps whose outputs are inputs of calls, and what those need in turn."""
    wanted = {name for step in steps if isinstance(step, Call) for name in step.inputs}
    kept: list[Step] = []
    for step in reversed(steps):
        own, needs = (
            ((step.name,), _compiled(step.formula).co_names)
            if isinstance(step, Series)
            else (step.outputs, step.inputs)
        )
        if wanted.intersection(own):
            kept.append(step)
            wanted.update(needs)
    return tuple(reversed(kept))


OPENING_STEPS = _feeding(SYMBOL_STEPS)
"""What must run over a history before its handles can be opened."""


def price_scale(first_close: Floats) -> Floats:
    """Power of two that brings a first close to 1024..2048; 1 where it is not positive and finite."""
    usable = np.isfinite(first_close) & (first_close > 0)
    _, exponent = np.frexp(np.where(usable, first_close, 1.0))
    scale: Floats = np.where(usable, np.ldexp(1.0, _PRICE_EXPONENT + 1 - exponent), 1.0)
    return scale


def run_batch(steps: Sequence[Step], names: Names) -> None:
    """Add every step's outputs, float64[T] with NaN before its warm-up, to the float64[T] arrays in ``names``."""
    with np.errstate(divide="ignore", invalid="ignore"):
        for step in steps:
            if isinstance(step, Series):
                names[step.name] = evaluate(step.formula, names)
                continue
            values: Any = getattr(talib, step.function)(*(names[name] for name in step.inputs), *step.parameters)
            columns = (values,) if len(step.outputs) == 1 else values
            names.update((name, column.astype(np.float64)) for name, column in zip(step.outputs, columns, strict=True))


class Handles:
    """The streaming handles of ``steps`` for a fixed number of lanes (symbols), opened lane by lane."""

    def __init__(self, steps: Sequence[Step], lanes: int) -> None:
        self._steps = tuple(steps)
        self._opened = np.zeros(lanes, dtype=np.bool_)
        self._updates: list[list[Any]] = [[None] * lanes for step in self._steps if isinstance(step, Call)]

    @property
    def opened(self) -> NDArray[np.bool_]:
        """bool[S]: lanes that have their handles."""
        return self._opened

    @property
    def inputs(self) -> frozenset[str]:
        """Names that a history must hold for ``open``."""
        return frozenset(name for step in self._steps if isinstance(step, Call) for name in step.inputs)

    def open(self, histories: Mapping[int, Names]) -> None:
        """Open lanes from histories that ``run_batch`` has been over; raises TA-Lib's error if one is too short.

        All lanes of one step are opened together, so that its handles lie side by side in memory as updates meet them.
        """
        calls = (step for step in self._steps if isinstance(step, Call))
        for step, updates in zip(calls, self._updates, strict=True):
            function = getattr(talib.stream, step.function)
            for lane, names in histories.items():
                inputs = [names[name] for name in step.inputs]
                start = int(np.argmax(np.isfinite(np.sum(inputs, axis=0))))
                updates[lane] = function(*(values[start:] for values in inputs), *step.parameters).update
        self._opened[list(histories)] = True

    def close(self, lane: int) -> None:
        """Feed a lane no more until it is opened again."""
        self._opened[lane] = False

    def update(self, names: Names) -> None:
        """Feed one bar: ``names`` has float64[S] inputs and receives float64[S] outputs, NaN in lanes not open."""
        live = self._opened
        every = bool(live.all())
        lists: dict[str, list[float]] = {}
        updates = iter(self._updates)
        for step in self._steps:
            if isinstance(step, Series):
                names[step.name] = evaluate(step.formula, names)
                continue
            for name in step.inputs:
                if name not in lists:
                    lists[name] = (names[name] if every else names[name][live]).tolist()
            feeds = next(updates)
            columns = (lists[name] for name in step.inputs)
            values = list(map(operator.call, feeds if every else compress(feeds, live), *columns))
            table = np.array(values, dtype=np.float64).reshape(-1, len(step.outputs)).T
            if not every:
                whole = np.full((len(step.outputs), len(live)), np.nan)
                whole[:, live] = table
                table = whole
            names.update(zip(step.outputs, np.ascontiguousarray(table), strict=True))
