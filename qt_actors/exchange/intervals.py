"""Kline intervals: their lengths and the bucket a moment belongs to.

Weeks begin on Monday and months on the first, 00:00 UTC, as on Binance; everything else is a multiple of its length
since the epoch.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
WEEK_MS: Final = 7 * DAY_MS
_MONDAY_MS: Final = 4 * DAY_MS  # 1970-01-05, the first Monday after the epoch

# Nominal lengths; a month's real length depends on the month (`close_of`).
INTERVAL_MS: Final[dict[str, int]] = {
    "1m": MINUTE_MS,
    "3m": 3 * MINUTE_MS,
    "5m": 5 * MINUTE_MS,
    "15m": 15 * MINUTE_MS,
    "30m": 30 * MINUTE_MS,
    "1h": HOUR_MS,
    "2h": 2 * HOUR_MS,
    "4h": 4 * HOUR_MS,
    "6h": 6 * HOUR_MS,
    "8h": 8 * HOUR_MS,
    "12h": 12 * HOUR_MS,
    "1d": DAY_MS,
    "3d": 3 * DAY_MS,
    "1w": WEEK_MS,
    "1M": 30 * DAY_MS,
}


def open_of(interval: str, time_ms: int) -> int:
    """Open time of the candle of `interval` (a key of INTERVAL_MS) that holds `time_ms`."""
    if interval == "1M":
        moment = datetime.fromtimestamp(time_ms / 1000, UTC)
        return int(datetime(moment.year, moment.month, 1, tzinfo=UTC).timestamp() * 1000)
    length = INTERVAL_MS[interval]
    if interval == "1w":
        return (time_ms - _MONDAY_MS) // length * length + _MONDAY_MS
    return time_ms // length * length


def close_of(interval: str, open_ms: int) -> int:
    """First ms after the candle of `interval` that opens at `open_ms` (Binance's closeTime plus one)."""
    if interval == "1M":
        return open_of(interval, open_ms + 32 * DAY_MS)
    return open_ms + INTERVAL_MS[interval]


def opens_of(interval: str, times_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """`open_of` for a whole array of times."""
    if interval == "1M":
        return times_ms.astype("datetime64[ms]").astype("datetime64[M]").astype("datetime64[ms]").astype(np.int64)
    length = INTERVAL_MS[interval]
    offset = _MONDAY_MS if interval == "1w" else 0
    return (times_ms - offset) // length * length + offset


def name_of(interval_ms: int) -> str | None:
    """The name of an interval of this length ("15m"), or None when Binance knows none."""
    return next((name for name, length in INTERVAL_MS.items() if length == interval_ms and name != "1M"), None)
