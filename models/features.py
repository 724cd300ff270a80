"""Features of closed bars: in batch over a symbol's history for training, streaming over all symbols for serving.

Both evaluate the one table of ``feature_table``. Started at the same bar they agree in every bit. Started later,
the recursive ones (Wilder's means, EMAs, and above all the 4h ATR that is the scale) differ by what is left of their
memory: measured against years of history, 0.004 standard deviations rms and at most 0.1 with ``BARS_NEEDED`` bars,
4e-5 and 0.0007 with ``HISTORY_BARS``.

Holes: a missing bar counts as a flat one at the last close with no volume, so that lags stay in step with the clock.
The symbol has no features at that bar, nor while more than ``FILLED_MAX`` of its last ``BARS_NEEDED`` bars are such.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.bars import CLOSE, HOUR_MS, OHLC, VOLUME, check_grid, fill_gaps, usable_bars
from models.feature_batch import (
    VOLUME_LAG,
    BatchFeatures,
    bar_names,
    batch_features,
    calendar,
    compute_batch,
    regime_inputs,
    table_columns,
)
from models.feature_table import (
    BARS_NEEDED,
    FEATURE_ATR_BARS,
    FEATURE_NAMES,
    FILLED_MAX,
    HISTORY_BARS,
    feature_hash,
    feature_names,
)
from models.indicators import OPENING_STEPS, SYMBOL_STEPS, Floats, Handles, Names, Times, price_scale, run_batch
from models.market import HORIZONS, MarketContext, MarketStream, market_context, market_names
from models.stop_distance import StopDistances
from models.windows import WindowBuffer

__all__ = [
    "BARS_NEEDED",
    "FEATURE_NAMES",
    "HISTORY_BARS",
    "BatchFeatures",
    "FeatureFrame",
    "FeatureStream",
    "MarketContext",
    "batch_features",
    "compute_batch",
    "feature_hash",
    "feature_names",
    "fill_gaps",
    "market_context",
]


class FeatureFrame(msgspec.Struct, frozen=True, kw_only=True):
    """Features of all symbols at one bar close; the arrays are read-only.

    Attributes:
        features: float32[S, F], NaN in rows that are not eligible.
        have: int64[S], closed bars at hand, at most ``BARS_NEEDED``; eligible: bool[S], the row may be scored.
        close: float64[S], NaN where the bar is missing; stop_distance: float64[S], fraction of price.
        adx, channel_slope, volatility, volatility_rank: float64[S] as in ``BatchFeatures``.
    """

    symbols: tuple[str, ...]
    close_time_ms: int
    features: NDArray[np.float32]
    have: NDArray[np.int64]
    eligible: NDArray[np.bool_]
    close: Floats
    stop_distance: Floats
    adx: Floats
    channel_slope: Floats
    volatility: Floats
    volatility_rank: Floats


class FeatureStream:
    """Features of S symbols, bar by bar, from TA-Lib's streaming handles; all else is vectorised over the symbols.

    Not picklable and not thread-safe: one owner, rebuilt from candles after a restart.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        open_time_ms: Times,
        ohlcv: Floats,
        *,
        interval_ms: int = HOUR_MS,
        stop_atr_interval_ms: int | None = None,
    ) -> None:
        """Open from history; the next ``update`` is the bar after its last.

        Args:
            symbols: in the order of the arrays.
            open_time_ms: int64[B], a regular grid. ``BARS_NEEDED`` - 1 bars make the next one eligible;
                ``HISTORY_BARS`` are better and cost no more to fetch.
            ohlcv: float64[S, B, 5], NaN rows where a symbol has no bar.
            interval_ms: of the bars.
            stop_atr_interval_ms: of the ATR behind ``FeatureFrame.stop_distance``; ``FEATURE_ATR_BARS`` bars by
                default.

        Raises:
            ValueError: shapes or times do not fit, or the ATR interval is no multiple of the bar interval.
        """
        self.symbols = tuple(symbols)
        lanes = len(self.symbols)
        if ohlcv.shape != (lanes, len(open_time_ms), 5):
            raise ValueError(
                f"history has shape {ohlcv.shape}, expected {(lanes, len(open_time_ms), 5)}: symbols × bars × OHLCV"
            )
        check_grid(open_time_ms, interval_ms)
        feature_atr_ms = FEATURE_ATR_BARS * interval_ms
        self._interval_ms = interval_ms
        self._last_open_ms = int(open_time_ms[-1])
        self._handles = Handles(SYMBOL_STEPS, lanes)
        self._scales = StopDistances(lanes, interval_ms, feature_atr_ms)
        own_stop = stop_atr_interval_ms not in (None, feature_atr_ms)
        self._stops = (
            StopDistances(lanes, interval_ms, stop_atr_interval_ms) if own_stop and stop_atr_interval_ms else None
        )
        self._price_scale = np.ones(lanes)
        self._have = np.zeros(lanes, dtype=np.int64)
        self._feature_w = np.full(lanes, np.nan)
        self._buffer = WindowBuffer(lanes)
        raw = np.where(usable_bars(ohlcv)[..., None], ohlcv, np.nan)
        context = market_context(self.symbols, open_time_ms, raw[..., CLOSE])
        self._market = MarketStream(self.symbols, context, raw[..., CLOSE])
        self._shared = {name: context.names[name][-BARS_NEEDED:] for name in ("btc_return", "market_return")}
        self._load(raw, context, open_time_ms)

    def _load(self, raw: Floats, context: MarketContext, open_time_ms: Times) -> None:
        """Fill the ring and open every symbol that has enough bars."""
        histories: dict[int, Names] = {}
        filled = np.full_like(raw, np.nan)
        real = np.isfinite(raw[..., CLOSE])
        for lane in range(len(self.symbols)):
            if not real[lane].any():
                continue
            first = int(np.argmax(real[lane]))
            filled[lane, first:], _ = fill_gaps(raw[lane, first:])
            self._have[lane] = len(open_time_ms) - first
            self._price_scale[lane] = price_scale(filled[lane, first : first + 1, CLOSE])[0]
            if self._have[lane] >= BARS_NEEDED - 1:
                times = open_time_ms[first:]
                histories[lane] = self._open(lane, filled[lane, first:], times, context.at(times))
        self._handles.open(histories)
        for bar in range(max(0, len(open_time_ms) - BARS_NEEDED), len(open_time_ms)):
            self._buffer.append(filled[:, bar], real[:, bar], float(context.names["market_index"][bar]))

    def _open(self, lane: int, ohlcv: Floats, open_time_ms: Times, market: Names) -> Names:
        """Start a symbol's stop distances; return what its handles are to be opened from."""
        names = bar_names(ohlcv, market)
        run_batch(OPENING_STEPS, names)
        self._scales.open(lane, names, open_time_ms)
        if self._stops is not None:
            self._stops.open(lane, names, open_time_ms)
        return {name: names[name] for name in self._handles.inputs}

    @property
    def last_open_ms(self) -> int:
        """Open time of the newest bar."""
        return self._last_open_ms

    def windows(self) -> NDArray[np.float32]:
        """Windows float32[S, WINDOW_BARS, C] ending in the newest bar, NaN rows for symbols without a scale."""
        return self._buffer.windows(self._feature_w)

    def update(self, open_time_ms: int, bars: Floats) -> FeatureFrame:
        """Feed the next closed bar of all symbols.

        Args:
            open_time_ms: of this bar. If bars were skipped for all symbols, they are taken as missing.
            bars: float64[S, 5], NaN rows (or unusable ones) where a symbol's bar is missing.

        Raises:
            ValueError: the bar is not newer, off the grid, of the wrong shape, or more than ``BARS_NEEDED`` bars ahead.
        """
        if bars.shape != (len(self.symbols), 5):
            raise ValueError(f"bar has shape {bars.shape}, expected {(len(self.symbols), 5)}: symbols × OHLCV")
        steps, rest = divmod(open_time_ms - self._last_open_ms, self._interval_ms)
        if rest or steps < 1:
            raise ValueError(
                f"bar of {open_time_ms} cannot follow {self._last_open_ms}; "
                f"the next is {self._last_open_ms + self._interval_ms}"
            )
        if steps > BARS_NEEDED:
            raise ValueError(
                f"bar of {open_time_ms} is {steps} bars ahead, at most {BARS_NEEDED} are bridged; "
                "open a new stream from history"
            )
        missing = np.full_like(bars, np.nan)
        for _ in range(steps - 1):
            self._advance(missing)
        return self._advance(bars)

    def replace(self, symbol: str, ohlcv: Floats) -> None:
        """Correct one symbol's past after a repair: float64[B, 5] ending in the newest bar; its handles open again.

        At most the last ``BARS_NEEDED`` bars are used. Raises ValueError for an unknown symbol or a history without a
        whole first bar.
        """
        if symbol not in self.symbols:
            raise ValueError(f"{symbol}: not among the {len(self.symbols)} symbols of this stream")
        lane = self.symbols.index(symbol)
        kept = ohlcv[-min(len(self._shared["btc_return"]), BARS_NEEDED) :]
        filled, real = fill_gaps(kept)
        if not real[0]:
            raise ValueError(
                f"{symbol}: the first of {len(kept)} corrected bars is missing or unusable; begin with a whole bar"
            )
        self._buffer.replace(lane, filled, real)
        self._have[lane] = len(kept)
        self._price_scale[lane] = price_scale(filled[:1, CLOSE])[0]
        self._handles.close(lane)
        if len(kept) >= BARS_NEEDED - 1:
            self._open_from_buffer(lane, len(kept))

    def _open_from_buffer(self, lane: int, count: int) -> None:
        times = self._last_open_ms + self._interval_ms * np.arange(1 - count, 1)
        shared = {name: values[-count:] for name, values in self._shared.items()}
        self._handles.open({lane: self._open(lane, self._buffer.ohlcv[lane, -count:], times, shared)})

    def _advance(self, bars: Floats) -> FeatureFrame:
        real = usable_bars(bars)
        before = self._buffer.ohlcv[:, -1]
        known = np.isfinite(before[:, CLOSE])
        filled = np.where(real[:, None], bars, np.where(np.arange(5) == VOLUME, 0.0, before[:, CLOSE, None]))
        filled[~known & ~real] = np.nan
        for lane in np.flatnonzero((self._have >= BARS_NEEDED - 1) & ~self._handles.opened).tolist():
            self._open_from_buffer(lane, int(self._have[lane]))
        market = self._market.update(np.where(real, bars[:, CLOSE], np.nan))
        self._have += known | real
        self._price_scale = np.where(known, self._price_scale, price_scale(filled[:, CLOSE]))
        names = self._names(filled, before, market)
        self._buffer.append(filled, real, self._market.index)
        for bars_back in HORIZONS:
            names[f"move_{bars_back}"] = self._move(bars_back)
        self._shared = {name: np.append(values, market[name])[-BARS_NEEDED:] for name, values in self._shared.items()}
        self._last_open_ms += self._interval_ms
        return self._frame(names, filled, real)

    def _move(self, bars_back: int) -> Floats:
        close = self._buffer.ohlcv[:, :, CLOSE]
        if close.shape[1] <= bars_back:
            return np.full(len(close), np.nan)
        with np.errstate(invalid="ignore"):
            move: Floats = np.log(close[:, -1] / close[:, -1 - bars_back])
        return move

    def _names(self, filled: Floats, before: Floats, market: dict[str, float]) -> Names:
        """Every name of the table as float64[S], handles fed."""
        open_time_ms = self._last_open_ms + self._interval_ms
        names: Names = market_names(market, len(self.symbols))
        names.update((name, filled[:, column] * self._price_scale) for column, name in enumerate(OHLC))
        names["volume"] = filled[:, VOLUME].copy()
        names["previous_close"] = before[:, CLOSE] * self._price_scale
        volumes = self._buffer.ohlcv[:, :, VOLUME]
        enough = volumes.shape[1] >= VOLUME_LAG
        names["volume_14_ago"] = volumes[:, -VOLUME_LAG].copy() if enough else np.full(len(volumes), np.nan)
        names.update(calendar(np.full(len(self.symbols), open_time_ms + self._interval_ms)))
        with np.errstate(divide="ignore", invalid="ignore"):
            self._handles.update(names)
            names["w"] = self._scales.update(names, open_time_ms)
            names["stop"] = names["w"] if self._stops is None else self._stops.update(names, open_time_ms)
        return names

    def _frame(self, names: Names, filled: Floats, real: NDArray[np.bool_]) -> FeatureFrame:
        allowed = real & (self._have >= BARS_NEEDED) & self._handles.opened
        allowed &= (~self._buffer.real).sum(axis=1) <= FILLED_MAX
        allowed &= np.isfinite(names["stop"])
        features, eligible = table_columns(names, allowed)
        self._feature_w = np.where(eligible, names["w"], np.nan)
        arrays = {
            "features": features,
            "have": np.minimum(self._have, BARS_NEEDED),
            "eligible": eligible,
            "close": np.where(real, filled[:, CLOSE], np.nan),
            "stop_distance": names["stop"].copy(),
            **regime_inputs(names),
        }
        for array in arrays.values():
            array.setflags(write=False)
        return FeatureFrame(symbols=self.symbols, close_time_ms=self._last_open_ms + self._interval_ms, **arrays)
