"""`/futures/data`: statistics by period, of the last thirty days.

Taker volumes are the candles' own. The rest candles do not tell, and is a model: open interest is half of a day's
volume, as in `GET openInterest`; the share of longs is the takers' share of buys over the last day; the basis is the
traded price over the modelled index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qt_actors.exchange.candles import CLOSE, QUOTE_VOLUME, TAKER_VOLUME, VOLUME, Candles
from qt_actors.exchange.errors import ExchangeError, refusal
from qt_actors.exchange.intervals import DAY_MS, INTERVAL_MS, open_of
from qt_actors.exchange.kline_replies import candles_of, row_of, time_of
from qt_actors.exchange.market_replies import OPEN_INTEREST_SHARE
from qt_actors.exchange.params import limit_of, required
from qt_actors.exchange.price_klines import modelled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from qt_actors.exchange.market import Market

PERIODS: Final = frozenset({"5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d"})
KEPT_MS: Final = 30 * DAY_MS
CONTRACTS: Final = frozenset({"PERPETUAL", "CURRENT_QUARTER", "NEXT_QUARTER"})


def _periods(market: Market, row: int, params: Mapping[str, str], before_ms: int = 0) -> tuple[str, Candles, int]:
    """The period asked for, its candles with those of `before_ms` earlier, and how many of them are told.

    Only periods that have ended count. -1130 for a period that is not offered or times that are not kept.
    """
    period, limit = required(params, "period"), limit_of(params, 30, 500)
    if period not in PERIODS:
        raise refusal(-1130, "period")
    start, end = time_of(params, "startTime"), time_of(params, "endTime")
    if start is not None and start < market.now_ms - KEPT_MS:
        raise ExchangeError(-1130, "parameter 'startTime' is invalid.")
    if start is not None and end is not None and start > end:
        raise refusal(-1023)
    length = INTERVAL_MS[period]
    stop = open_of(period, min(end if end is not None else market.now_ms, market.now_ms))
    first = stop - limit * length if start is None else -(-start // length) * length
    first = max(first, market.now_ms - KEPT_MS)
    if start is not None:
        stop = min(stop, first + limit * length)
    found = candles_of(market, row, period, first - before_ms, stop)
    return period, found, int((found.opens >= first).sum())


def _rolling(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Sum of the last `width` values at each place."""
    total = np.cumsum(np.concatenate(([0.0], values)))
    return np.asarray(total[1:] - total[np.maximum(np.arange(values.size) + 1 - width, 0)])


def open_interest_history(market: Market, params: Mapping[str, str]) -> list[dict[str, Any]]:
    """`GET /futures/data/openInterestHist`."""
    row = row_of(market, params)
    period, candles, told = _periods(market, row, params, DAY_MS)
    value = OPEN_INTEREST_SHARE * _rolling(candles.data[QUOTE_VOLUME], DAY_MS // INTERVAL_MS[period])
    contracts = np.divide(value, candles.data[CLOSE], out=np.zeros_like(value), where=candles.data[CLOSE] > 0)
    rows = zip(candles.opens.tolist(), contracts.tolist(), value.tolist(), strict=True)
    return [
        {
            "symbol": market.symbols[row],
            "sumOpenInterest": f"{held:.8f}",
            "sumOpenInterestValue": f"{worth:.8f}",
            "timestamp": at,
        }
        for at, held, worth in list(rows)[candles.opens.size - told :]
    ]


def taker_ratio(market: Market, params: Mapping[str, str]) -> list[dict[str, Any]]:
    """`GET /futures/data/takerlongshortRatio`."""
    row = row_of(market, params)
    _, candles, _ = _periods(market, row, params)
    bought = candles.data[TAKER_VOLUME].tolist()
    sold = (candles.data[VOLUME] - candles.data[TAKER_VOLUME]).tolist()
    return [
        {
            "buySellRatio": f"{buys / sells if sells > 0 else 0.0:.4f}",
            "buyVol": f"{buys:.4f}",
            "sellVol": f"{sells:.4f}",
            "timestamp": at,
        }
        for at, buys, sells in zip(candles.opens.tolist(), bought, sold, strict=True)
    ]


def long_short_ratio(market: Market, params: Mapping[str, str]) -> list[dict[str, Any]]:
    """`GET /futures/data/topLongShortAccountRatio`, `topLongShortPositionRatio` and `globalLongShortAccountRatio`."""
    row = row_of(market, params)
    period, candles, told = _periods(market, row, params, DAY_MS)
    width = DAY_MS // INTERVAL_MS[period]
    volume, bought = _rolling(candles.data[VOLUME], width), _rolling(candles.data[TAKER_VOLUME], width)
    longs = np.divide(bought, volume, out=np.full_like(volume, 0.5), where=volume > 0).clip(0.0, 0.9999)
    return [
        {
            "symbol": market.symbols[row],
            "longShortRatio": f"{share / (1.0 - share):.4f}",
            "longAccount": f"{share:.4f}",
            "shortAccount": f"{1.0 - share:.4f}",
            "timestamp": at,
        }
        for at, share in list(zip(candles.opens.tolist(), longs.tolist(), strict=True))[candles.opens.size - told :]
    ]


def basis(market: Market, params: Mapping[str, str]) -> list[dict[str, Any]]:
    """`GET /futures/data/basis` of a pair; the market has perpetuals only."""
    row, contract = row_of(market, params, "pair"), required(params, "contractType")
    if contract not in CONTRACTS:
        raise refusal(-1130, "contractType")
    period, candles, _ = _periods(market, row, params)
    if contract != "PERPETUAL":
        return []
    indices = modelled(market, row, period, candles, "index")[CLOSE].tolist()
    return [
        {
            "indexPrice": f"{index:.8f}",
            "contractType": contract,
            "basisRate": f"{price / index - 1.0 if index > 0 else 0.0:.4f}",
            "futuresPrice": f"{price:.{market.price_digits[row]}f}",
            "annualizedBasisRate": "",
            "basis": f"{price - index:.8f}",
            "pair": market.symbols[row],
            "timestamp": at,
        }
        for at, index, price in zip(candles.opens.tolist(), indices, candles.data[CLOSE].tolist(), strict=True)
    ]
