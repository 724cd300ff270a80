"""The market as a whole: bitcoin, the mean return of the universe, its breadth and dispersion, from closes alone.

The mean is over the symbols that have a bar now and had one a bar before, so it uses at any time only what was listed
and heard then. Single returns are clipped at 20 % so that one collapsing coin does not become "the market". Where
bitcoin has no bar yet, or is not in the universe, the market mean stands in for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.indicators import MARKET_STEPS, Floats, Handles, Names, Times, run_batch

BTC = "BTCUSDT"
RETURN_CLIP = 0.2
HORIZONS = (1, 4, 12, 24, 48, 96, 168)
"""Bars back over which returns are features; the longest fits the 256 bars of history with room."""
_BATCH_BARS = max(HORIZONS) + 1


class CrossSection(NamedTuple):
    """float64[T] each: mean log return, share of rising symbols (0.5 if there is none), deviation across symbols."""

    market_return: Floats
    breadth: Floats
    dispersion: Floats


def cross_section(log_return: Floats) -> CrossSection:
    """Read [T, S] one-bar log returns, NaN where a symbol has none."""
    known = np.isfinite(log_return)
    count = known.sum(axis=1)
    some = np.maximum(count, 1)
    clipped = np.where(known, np.clip(log_return, -RETURN_CLIP, RETURN_CLIP), 0.0)
    mean = clipped.sum(axis=1) / some
    rising = (known & (clipped > 0)).sum(axis=1)
    spread = np.where(known, clipped - mean[:, None], 0.0)
    return CrossSection(
        market_return=mean,
        breadth=np.where(count > 0, rising / some, 0.5),
        dispersion=np.sqrt((spread * spread).sum(axis=1) / some),
    )


class MarketContext(NamedTuple):
    """What all symbols share, on one regular grid of times.

    Attributes:
        open_time_ms: int64[M]; names: float64[M] arrays: btc_return, btc_index, market_return, market_index (cumulated
            log returns), breadth, dispersion, the outputs of ``MARKET_STEPS`` and ``btc_move_k``, ``market_move_k``
            for every k of ``HORIZONS``.
    """

    open_time_ms: Times
    names: Names

    def at(self, open_time_ms: Times) -> Names:
        """The arrays of a contiguous part of the grid; ``ValueError`` if it lies outside."""
        start = int(np.searchsorted(self.open_time_ms, open_time_ms[0]))
        stop = start + len(open_time_ms)
        if not np.array_equal(self.open_time_ms[start:stop], open_time_ms):
            raise ValueError(
                f"market context covers {self.open_time_ms[0]}..{self.open_time_ms[-1]}, "
                f"not {open_time_ms[0]}..{open_time_ms[-1]}; "
                "build it over the times of all symbols"
            )
        return {name: values[start:stop] for name, values in self.names.items()}


def market_context(symbols: Sequence[str], open_time_ms: Times, close: Floats) -> MarketContext:
    """Context from float64[S, M] closes on the grid int64[M], NaN where a symbol has no bar."""
    log_return = np.full((close.shape[1], close.shape[0]), np.nan)
    log_return[1:] = np.ascontiguousarray(np.log(close[:, 1:] / close[:, :-1]).T)
    cross = cross_section(log_return)
    btc_return = cross.market_return.copy()
    if BTC in symbols:
        btc = close[list(symbols).index(BTC)]
        real = np.isfinite(btc)
        if real.any():
            first = int(np.argmax(real))
            last_real = np.maximum.accumulate(np.where(real, np.arange(len(btc)), first))
            filled = btc[last_real]
            btc_return[first + 1 :] = np.log(filled[first + 1 :] / filled[first:-1])
    names: Names = {
        "market_return": cross.market_return,
        "breadth": cross.breadth,
        "dispersion": cross.dispersion,
        "btc_return": btc_return,
        "btc_index": np.cumsum(btc_return),
        "market_index": np.cumsum(cross.market_return),
    }
    run_batch(MARKET_STEPS, names)
    for bars in HORIZONS:
        for series in ("btc", "market"):
            index = names[f"{series}_index"]
            move = np.full(len(index), np.nan)
            move[bars:] = index[bars:] - index[:-bars]
            names[f"{series}_move_{bars}"] = move
    return MarketContext(open_time_ms, names)


class MarketStream:
    """``market_context`` bar by bar: the same arithmetic from the same first bar, so the same bits."""

    def __init__(self, symbols: Sequence[str], context: MarketContext, close: Floats) -> None:
        """Continue ``context``; ``close`` is float64[S, M], the closes it was made of."""
        self._btc = list(symbols).index(BTC) if BTC in symbols else -1
        self._raw_close = close[:, -1].copy()
        self._btc_close = np.nan
        if self._btc >= 0 and np.isfinite(close[self._btc]).any():
            history = close[self._btc]
            self._btc_close = float(history[np.isfinite(history)][-1])
        self._index = np.stack([context.names["btc_index"], context.names["market_index"]])[:, -_BATCH_BARS:]
        self._handles = Handles(MARKET_STEPS, 1)
        self._history = {name: context.names[name] for name in ("btc_return", "breadth", "dispersion")}
        self._open_handles()

    def _open_handles(self) -> None:
        if len(self._history["breadth"]) >= _BATCH_BARS:
            self._handles.open({0: self._history})
            self._history = {}

    @property
    def index(self) -> float:
        """Cumulated market log return at the last bar."""
        return float(self._index[1, -1])

    def update(self, close: Floats) -> dict[str, float]:
        """One bar: float64[S] closes, NaN where missing; the same names as ``MarketContext`` with one value each."""
        with np.errstate(invalid="ignore", divide="ignore"):
            cross = cross_section(np.log(close / self._raw_close)[None, :])
        self._raw_close = close.copy()
        btc_return = self._btc_return(close, float(cross.market_return[0]))
        latest = self._index[:, -1] + (btc_return, cross.market_return[0])
        self._index = np.concatenate([self._index, latest[:, None]], axis=1)[:, -_BATCH_BARS:]
        names: Names = {
            "market_return": cross.market_return,
            "breadth": cross.breadth,
            "dispersion": cross.dispersion,
            "btc_return": np.array([btc_return]),
            "btc_index": latest[:1],
            "market_index": latest[1:],
        }
        if self._history:
            self._history = {name: np.append(values, names[name]) for name, values in self._history.items()}
            run_batch(MARKET_STEPS, whole := dict(self._history))
            names.update({name: values[-1:] for name, values in whole.items() if name not in names})
            self._open_handles()
        else:
            self._handles.update(names)
        for bars in HORIZONS:
            known = self._index.shape[1] > bars
            moves = self._index[:, -1] - self._index[:, -1 - bars] if known else np.full(2, np.nan)
            names[f"btc_move_{bars}"], names[f"market_move_{bars}"] = moves[:1], moves[1:]
        return {name: float(values[0]) for name, values in names.items()}

    def _btc_return(self, close: Floats, otherwise: float) -> float:
        """Bitcoin's log return against its last known close, 0 in a missed bar, the market's before it has one."""
        if self._btc < 0:
            return otherwise
        now, before = float(close[self._btc]), self._btc_close
        if np.isfinite(now):
            self._btc_close = now
        if not np.isfinite(before):
            return otherwise
        # The array form runs the same loop as the batch, to the last bit.
        return float(np.log(np.array([now / before]))[0]) if np.isfinite(now) else 0.0


def market_names(values: dict[str, float], lanes: int) -> dict[str, NDArray[np.float64]]:
    """Spread the market's values at one bar over ``lanes`` symbols."""
    return {name: np.full(lanes, value) for name, value in values.items()}
