"""Funding: when each symbol settles and at which rate.

From a Parquet file (`symbol, funding_time` ms, `funding_rate`): its settlements, to the nearest minute. Where the file
has a hole of more than eight hours, after its end, and without a file, a symbol goes on at the interval of N hours that
it had last (8 when none is known), at multiples of N from 00:00 UTC, at

    F = (P + clamp(0.0001 - P, -0.0005, 0.0005)) / (8 / N), within +-0.02

Binance's formula since 2025-09-18 with interest 0.01 % per 8 h; the premium P, which candles do not tell, is taken as
1 % of the symbol's price change over the last eight hours, so that funding is 0.01 % in calm and leans against trends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from qt_actors.exchange.candle_files import MarketDataError
from qt_actors.exchange.intervals import HOUR_MS, MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

DEFAULT_INTERVAL_MS: Final = 8 * HOUR_MS
INTEREST: Final = 0.0001
CLAMP: Final = 0.0005
CAP: Final = 0.02
PREMIUM_OF_MOVE: Final = 0.01


@dataclass(frozen=True, slots=True)
class Settlements:
    """Settlements of one symbol in time order: int64 ms and fractions."""

    times: NDArray[np.int64]
    rates: NDArray[np.float64]


def rate_of_move(move: float, interval_ms: int = DEFAULT_INTERVAL_MS) -> float:
    """The default rate for a relative price change over the last eight hours (module docstring), to 8 decimals."""
    premium = PREMIUM_OF_MOVE * move
    rate = (premium + min(max(INTEREST - premium, -CLAMP), CLAMP)) * interval_ms / DEFAULT_INTERVAL_MS
    return round(min(max(rate, -CAP), CAP), 8)


def read_settlements(path: Path, symbols: Sequence[str]) -> dict[str, Settlements]:
    """The settlements of the named symbols in a funding file; symbols it does not know are left out.

    Raises:
        MarketDataError: the file cannot be read or misses a column.
    """
    try:
        frame = (
            pl.scan_parquet(path)
            .filter(pl.col("symbol").is_in(list(symbols)))
            .select(
                pl.col("symbol"),
                ((pl.col("funding_time") + MINUTE_MS // 2) // MINUTE_MS * MINUTE_MS).alias("time"),
                pl.col("funding_rate").cast(pl.Float64).alias("rate"),
            )
            .unique(["symbol", "time"], keep="last")
            .sort("symbol", "time")
            .collect()
        )
    except (OSError, pl.exceptions.PolarsError) as reason:
        raise MarketDataError(
            f"{path}: cannot be read as funding: {str(reason).splitlines()[0]}; "
            "needed is Parquet with symbol, funding_time (ms), funding_rate"
        ) from reason
    return {
        str(symbol): Settlements(part.get_column("time").to_numpy(), part.get_column("rate").to_numpy())
        for (symbol,), part in frame.partition_by("symbol", as_dict=True).items()
    }


class FundingCalendar:
    """Next settlements of the symbols.

    Args:
        symbols: in the market's order.
        known: settlements from a file, by symbol.
    """

    def __init__(self, symbols: Sequence[str], known: dict[str, Settlements]) -> None:
        none = Settlements(np.empty(0, dtype=np.int64), np.empty(0))
        self._known = [known.get(symbol, none) for symbol in symbols]

    def next_after(self, row: int, time_ms: int) -> tuple[int, float | None, int]:
        """The first settlement after `time_ms`: its time, its rate (None: by `rate_of_move`), the interval in ms."""
        known = self._known[row]
        place = int(np.searchsorted(known.times, time_ms, side="right"))
        usual = self._usual(known, place)
        default = (time_ms // usual + 1) * usual
        if place < known.times.size:
            at = int(known.times[place])
            length = at - int(known.times[place - 1]) if place else usual
            # One the file names, when it is due before the default or follows the one before without a hole.
            if at <= default or (place and length <= DEFAULT_INTERVAL_MS):
                return at, float(known.rates[place]), min(max(length, HOUR_MS), DEFAULT_INTERVAL_MS)
        return default, None, usual

    @staticmethod
    def _usual(known: Settlements, place: int) -> int:
        """Interval that a symbol kept before its settlement number `place` (before the first: its first), 1 to 8 h."""
        later = max(place - 1, 1)
        if later >= known.times.size:
            return DEFAULT_INTERVAL_MS
        hours = (int(known.times[later]) - int(known.times[later - 1])) / HOUR_MS
        return next((whole * HOUR_MS for whole in (1, 2, 4) if abs(hours - whole) < 1 / 60), DEFAULT_INTERVAL_MS)

    def settled(self, row: int, start_ms: int, end_ms: int) -> list[tuple[int, float | None]]:
        """Settlements in [start_ms, end_ms), oldest first (rate None: by `rate_of_move`)."""
        found: list[tuple[int, float | None]] = []
        at = start_ms - 1
        while True:
            at, rate, _ = self.next_after(row, at)
            if at >= end_ms:
                return found
            found.append((at, rate))
