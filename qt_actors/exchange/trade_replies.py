"""Recent, historical and aggregated trades: the price points that the market has walked, by time or by id.

An id is ten times the moment of its print, so that ids rise over restarts and name the same trade in every reply.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qt_actors.exchange.blocks import direction
from qt_actors.exchange.candles import VOLUME
from qt_actors.exchange.errors import refusal
from qt_actors.exchange.intervals import DAY_MS, HOUR_MS
from qt_actors.exchange.kline_replies import row_of, time_of
from qt_actors.exchange.market_replies import IDS_PER_MS
from qt_actors.exchange.params import integer, limit_of
from qt_actors.exchange.paths import walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from qt_actors.exchange.market import Market

AGGREGATES_KEPT_DAYS: Final = 2
TRADES_KEPT_DAYS: Final = 30
POINTS_MAX: Final = 1_000_000  # looked at for one request; a symbol that has stood still for longer shows fewer trades
Print = tuple[int, float, float, bool]
"""Time, price, quantity, whether the buyer was the maker."""


def _prints(market: Market, row: int, start_ms: int, end_ms: int) -> list[Print]:
    """What a symbol printed in [start_ms, end_ms), oldest first, never later than now."""
    grid = market.interval_ms
    end = min(end_ms, market.now_ms + 1)
    first = max(start_ms, int(market.source.first_ms[row])) // grid * grid
    if end <= first:
        return []
    bars = market.history.candles(row, max(first - grid, 0), -(-end // grid) * grid)  # one more: it tells the direction
    if bars.opens.size == 0:
        return []
    keys = np.full(bars.opens.size, market.keys[row], dtype=np.uint64)
    digits = np.full(bars.opens.size, market.source.decimals[row], dtype=np.int64)
    path = walk(keys, bars.opens, grid, bars.data[:VOLUME], digits, market.detail)
    there = path.there
    times, prices = path.times[there], path.prices[there]
    volumes = (bars.data[VOLUME][:, None] * path.weights)[there]
    sold = ~direction(np.diff(prices, prepend=prices[:1])[None, :])[0]
    low, high = np.searchsorted(times, (start_ms, end))
    part = slice(int(low), int(high))
    return list(
        zip(times[part].tolist(), prices[part].tolist(), volumes[part].tolist(), sold[part].tolist(), strict=True)
    )


def _newest(market: Market, row: int, limit: int, end_ms: int) -> list[Print]:
    """The last `limit` prints before `end_ms`, looked for further and further back."""
    found: list[Print] = []
    for reach in _reaches(market, limit):
        found = _prints(market, row, end_ms - reach, end_ms)
        if len(found) >= limit or end_ms - reach <= int(market.source.first_ms[row]):
            break
    return found[-limit:]


def _oldest(market: Market, row: int, limit: int, start_ms: int, end_ms: int) -> list[Print]:
    """The first `limit` prints from `start_ms` on."""
    found: list[Print] = []
    for reach in _reaches(market, limit):
        found = _prints(market, row, start_ms, min(end_ms, start_ms + reach))
        if len(found) >= limit or start_ms + reach >= min(end_ms, market.now_ms + 1):
            break
    return found[:limit]


def _reaches(market: Market, limit: int) -> Iterator[int]:
    """Stretches of time to look at, each twice as long as the one before, while there are not too many points in it."""
    bars = max(1, limit // market.points_per_bar)
    yield bars * market.interval_ms
    while 2 * bars * market.points_per_bar <= POINTS_MAX:
        bars *= 2
        yield bars * market.interval_ms


def _moment_of(market: Market, from_id: int, kept_days: int) -> int:
    """When the trade of that id was, -4166 when that is longer ago than is kept."""
    moment = -(-from_id // IDS_PER_MS)
    _check_age(market, moment, kept_days)
    return min(moment, market.now_ms + 1)


def _check_age(market: Market, moment_ms: int, kept_days: int) -> None:
    if moment_ms < market.now_ms - kept_days * DAY_MS:
        raise refusal(-4166, kept_days)


def trades(market: Market, params: Mapping[str, str]) -> list[dict[str, Any]]:
    """`GET /fapi/v1/trades`: the newest."""
    row, limit = row_of(market, params), limit_of(params, 500, 1000)
    return [_trade(market, row, one) for one in _newest(market, row, limit, market.now_ms + 1)]


def historical_trades(market: Market, params: Mapping[str, str]) -> list[dict[str, Any]]:
    """`GET /fapi/v1/historicalTrades`: from an id on, or the newest; a month of them."""
    row, limit, from_id = row_of(market, params), limit_of(params, 100, 500), integer(params, "fromId")
    now = market.now_ms + 1
    if from_id is None:
        return [_trade(market, row, one) for one in _newest(market, row, limit, now)]
    start = _moment_of(market, from_id, TRADES_KEPT_DAYS)
    return [_trade(market, row, one) for one in _oldest(market, row, limit, start, now)]


def _trade(market: Market, row: int, print_: Print) -> dict[str, Any]:
    time_ms, at, volume, maker = print_
    base, price = market.rules[row].quantity_precision, market.price_digits[row]
    return {
        "id": time_ms * IDS_PER_MS,
        "price": f"{at:.{price}f}",
        "qty": f"{volume:.{base}f}",
        "quoteQty": f"{at * volume:.{price + base}f}",
        "time": time_ms,
        "isBuyerMaker": maker,
        "isRPITrade": False,
    }


def agg_trades(market: Market, params: Mapping[str, str]) -> list[dict[str, Any]]:
    """`GET /fapi/v1/aggTrades`: the first from an id or startTime on, else the newest; 48 hours of them.

    -1023 times in the wrong order, -1127 more than an hour between them, -4166 longer ago than is kept.
    """
    row, limit = row_of(market, params), limit_of(params, 500, 1000)
    start, end, from_id = time_of(params, "startTime"), time_of(params, "endTime"), integer(params, "fromId")
    if start is not None and end is not None:
        if start > end:
            raise refusal(-1023)
        if end - start > HOUR_MS:
            raise refusal(-1127, 1)
    stop = market.now_ms + 1 if end is None else min(end, market.now_ms) + 1
    if from_id is not None:
        start = max(start or 0, _moment_of(market, from_id, AGGREGATES_KEPT_DAYS))
    if start is not None:
        _check_age(market, start, AGGREGATES_KEPT_DAYS)
        found = _oldest(market, row, limit, start, stop)
    else:
        _check_age(market, stop, AGGREGATES_KEPT_DAYS)
        found = _newest(market, row, limit, stop)
    return [_aggregate(market, row, one) for one in found]


def _aggregate(market: Market, row: int, print_: Print) -> dict[str, Any]:
    time_ms, at, volume, maker = print_
    number = time_ms * IDS_PER_MS
    quantity = f"{volume:.{market.rules[row].quantity_precision}f}"
    price = f"{at:.{market.price_digits[row]}f}"
    return {"a": number, "p": price, "q": quantity, "nq": quantity, "f": number, "l": number, "T": time_ms, "m": maker}
