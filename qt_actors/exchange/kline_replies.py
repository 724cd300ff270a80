"""Candles as REST answers them: the kline family over the window, the files behind it and the running bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qt_actors.exchange.candles import (
    CLOSE,
    HIGH,
    LOW,
    OPEN,
    QUOTE_VOLUME,
    TAKER_VOLUME,
    TRADES,
    VOLUME,
    Candles,
    aggregate,
    between,
    join,
)
from qt_actors.exchange.errors import ExchangeError, refusal
from qt_actors.exchange.intervals import INTERVAL_MS, close_of, open_of
from qt_actors.exchange.params import integer, limit_of, required
from qt_actors.exchange.paths import refine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qt_actors.exchange.market import Market

LIMIT_DEFAULT: Final = 500
LIMIT_MAX: Final = 1500
TIME_MAX_MS: Final = 4_102_444_800_000  # the year 2100


def interval_of(params: Mapping[str, str]) -> str:
    """The mandatory kline interval, or -1120."""
    interval = required(params, "interval")
    if interval not in INTERVAL_MS:
        raise ExchangeError(-1120, "Invalid interval.")
    return interval


def row_of(market: Market, params: Mapping[str, str], name: str = "symbol") -> int:
    """The market's row of a mandatory symbol (any case), or -1121."""
    row = market.row_of.get(required(params, name).upper())
    if row is None:
        raise refusal(-1121)
    return row


def time_of(params: Mapping[str, str], name: str) -> int | None:
    """An optional time in ms, brought into the range a calendar has."""
    moment = integer(params, name)
    return None if moment is None else min(max(moment, 0), TIME_MAX_MS)


def candles_of(market: Market, row: int, interval: str, start_ms: int, end_ms: int) -> Candles:
    """A symbol's candles that open in [start_ms, end_ms), the forming one included."""
    start = open_of(interval, max(start_ms, 0))
    end = min(end_ms, market.now_ms + 1)
    if end <= start:
        return Candles(np.empty(0, dtype=np.int64), np.empty((8, 0)))
    grid, running = market.interval_ms, market.open_ms()
    last = close_of(interval, open_of(interval, end - 1))  # all of the last candle's parts
    # A candle's own bars only: what lies before the first whole grid bar belongs to the candle before.
    closed = market.history.candles(row, start // grid * grid, min(last, running))
    length = INTERVAL_MS[interval]
    if length < grid:
        key, digits = int(market.keys[row]), int(market.source.decimals[row])
        fine = refine(key, digits, closed, grid, interval, market.detail, length)
        fine = join(fine, _fine_running(market, row, interval, length)) if last > running else fine
        return between(fine, start, end)
    if last > running:
        closed = join(closed, aggregate(market.prints(row), market.base.interval))
    return between(aggregate(closed, interval), start, end)


def _fine_running(market: Market, row: int, interval: str, length: int) -> Candles:
    """Candles finer than the grid of the running bar so far, flat where nothing was printed."""
    made = aggregate(market.prints(row), interval)
    if made.opens.size == 0:
        return made
    opens = np.arange(market.open_ms(), market.now_ms + 1, length, dtype=np.int64)
    data = np.zeros((8, opens.size))
    place = np.searchsorted(opens, made.opens)
    data[:, place] = made.data
    last = np.maximum.accumulate(np.where(np.isin(opens, made.opens), np.arange(opens.size), 0))
    flat = last != np.arange(opens.size)
    data[: CLOSE + 1, flat] = data[CLOSE, last[flat]]
    return Candles(opens, data)


def asked_candles(market: Market, row: int, params: Mapping[str, str]) -> tuple[str, Candles]:
    """The candles a kline request means: the first `limit` from startTime on, or the newest up to endTime.

    Raises:
        ExchangeError: -1120 interval, -1130 limit or times that end before they begin.
    """
    interval = interval_of(params)
    limit = limit_of(params, LIMIT_DEFAULT, LIMIT_MAX)
    start, end = time_of(params, "startTime"), time_of(params, "endTime")
    if start is not None and end is not None and start > end:
        raise refusal(-1023)
    length = INTERVAL_MS[interval]
    longest = length + 86_400_000 * (interval == "1M")
    stop = min(end if end is not None else market.now_ms, market.now_ms) + 1
    if start is not None:
        first = open_of(interval, max(start, int(market.source.first_ms[row])))
        if first < start:
            first = close_of(interval, first)
        stop = min(stop, first + (limit + 1) * longest)
        found = candles_of(market, row, interval, first, stop)
        return interval, Candles(found.opens[:limit], found.data[:, :limit])
    # Gaps make the stretch hold fewer candles than its length says: look further back until there are enough.
    reach, found = limit, candles_of(market, row, interval, stop - limit * longest, stop)
    while found.opens.size < limit and stop - reach * longest > int(market.source.first_ms[row]):
        reach *= 2
        found = candles_of(market, row, interval, stop - reach * longest, stop)
    return interval, Candles(found.opens[-limit:], found.data[:, -limit:])


def kline_rows(market: Market, row: int, interval: str, candles: Candles) -> list[list[Any]]:
    """Candles in the twelve slots of `GET klines`."""
    price, base = market.price_digits[row], market.rules[row].quantity_precision
    quote = price + base
    rows: list[list[Any]] = []
    for open_ms, candle in zip(candles.opens.tolist(), candles.data.T.tolist(), strict=True):
        volume, taker = candle[VOLUME], candle[TAKER_VOLUME]
        taker_quote = candle[QUOTE_VOLUME] * taker / volume if volume > 0 else 0.0
        rows.append(
            [
                open_ms,
                f"{candle[OPEN]:.{price}f}",
                f"{candle[HIGH]:.{price}f}",
                f"{candle[LOW]:.{price}f}",
                f"{candle[CLOSE]:.{price}f}",
                f"{volume:.{base}f}",
                close_of(interval, open_ms) - 1,
                f"{candle[QUOTE_VOLUME]:.{quote}f}",
                round(candle[TRADES]),
                f"{taker:.{base}f}",
                f"{taker_quote:.{quote}f}",
                "0",
            ]
        )
    return rows


def klines(market: Market, params: Mapping[str, str]) -> list[list[Any]]:
    """`GET /fapi/v1/klines`."""
    row = row_of(market, params)
    return kline_rows(market, row, *asked_candles(market, row, params))


def continuous_klines(market: Market, params: Mapping[str, str]) -> list[list[Any]]:
    """`GET /fapi/v1/continuousKlines`; the market has perpetuals only, any other contract type has no candles."""
    row = row_of(market, params, "pair")
    contract = required(params, "contractType")
    if contract not in {"PERPETUAL", "CURRENT_QUARTER", "NEXT_QUARTER", "TRADIFI_PERPETUAL"}:
        raise refusal(-1130, "contractType")
    interval, candles = asked_candles(market, row, params)
    return kline_rows(market, row, interval, candles) if contract == "PERPETUAL" else []
