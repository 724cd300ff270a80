"""REST market data without candles: prices, books, tickers, funding, recent trades. Pure reads of the market."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qt_actors.exchange.candles import (
    HIGH,
    LOW,
    OPEN,
    QUOTE_VOLUME,
    TRADES,
    VOLUME,
)
from qt_actors.exchange.errors import ExchangeError, refusal
from qt_actors.exchange.funding_rates import CAP, DEFAULT_INTERVAL_MS, INTEREST
from qt_actors.exchange.intervals import DAY_MS, HOUR_MS
from qt_actors.exchange.kline_replies import row_of, time_of
from qt_actors.exchange.params import integer, limit_of, text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from numpy.typing import NDArray

    from qt_actors.exchange.market import Market

DEPTH_LIMITS: Final = frozenset({5, 10, 20, 50, 100, 500, 1000})
OPEN_INTEREST_SHARE: Final = 0.5  # of a day's volume: a market's usual size, candles do not tell it
IDS_PER_MS: Final = 10  # print ids are derived from time, so that they rise over restarts


def rows_of(market: Market, params: Mapping[str, str]) -> tuple[list[int], bool]:
    """The rows a request with an optional symbol means, and whether it named one."""
    if text(params, "symbol"):
        return [row_of(market, params)], True
    return np.flatnonzero(market.listed()).tolist(), False


def one_or_all(entries: list[dict[str, Any]], named: bool) -> dict[str, Any] | list[dict[str, Any]]:
    """A bare object when a symbol was named, else the list."""
    return entries[0] if named else entries


def price_text(market: Market, row: int, price: float) -> str:
    """A traded price as Binance pads it."""
    return f"{price:.{market.price_digits[row]}f}"


def touch_texts(market: Market, row: int) -> tuple[str, str, str, str]:
    """Bid, bid quantity, ask, ask quantity."""
    rules, price = market.rules[row], market.price_digits[row]
    return (
        f"{int(market.bid[row]) * rules.tick:.{price}f}",
        f"{int(market.bid_qty[row]) * rules.step:.{rules.quantity_precision}f}",
        f"{int(market.ask[row]) * rules.tick:.{price}f}",
        f"{int(market.ask_qty[row]) * rules.step:.{rules.quantity_precision}f}",
    )


def level_texts(market: Market, row: int, ticks: NDArray[np.int64], sizes: NDArray[np.int64]) -> list[list[str]]:
    """Levels given in ticks and quantity steps as Binance writes them."""
    rules, price, base = market.rules[row], market.price_digits[row], market.rules[row].quantity_precision
    return list(map(list, zip(_scaled(ticks, rules.tick, price), _scaled(sizes, rules.step, base), strict=True)))


def _scaled(counts: NDArray[np.int64], unit: Decimal, digits: int) -> list[str]:
    """Whole numbers of a unit with that many decimals; in integers, for a book has thousands of them."""
    whole = unit.scaleb(digits)
    if whole != int(whole):
        return [f"{count * unit:.{digits}f}" for count in counts.tolist()]
    values = (counts * int(whole)).tolist()
    if not digits:
        return [str(value) for value in values]
    base = 10**digits
    return [f"{value // base}.{value % base:0{digits}d}" for value in values]


def ladder(market: Market, row: int, levels: int) -> tuple[list[list[str]], list[list[str]]]:
    """Bids and asks, best first, as the matching engine meets them."""
    bids, asks = (level_texts(market, row, *market.side(row, sign, levels)) for sign in (-1, 1))
    return bids, asks


def depth(market: Market, params: Mapping[str, str]) -> dict[str, Any]:
    """`GET /fapi/v1/depth`; -4021 for a limit that is not offered."""
    row = row_of(market, params)
    limit = integer(params, "limit") or 500
    if limit not in DEPTH_LIMITS:
        raise ExchangeError(-4021, f"{limit} is not valid depth limit")
    bids, asks = ladder(market, row, limit)
    for told in market.told_books.get(row, ()):
        told.show()
    return {
        "lastUpdateId": int(market.print_ids[row]) + 1,
        "E": market.now_ms,
        "T": int(market.print_ms[row]),
        "bids": bids,
        "asks": asks,
    }


def rpi_depth(market: Market, params: Mapping[str, str]) -> dict[str, Any]:
    """`GET /fapi/v1/rpiDepth`: the book with the orders of retail price improvement, of which there are none here."""
    if params.get("limit") not in {None, "", "1000"}:
        raise ExchangeError(-4021, f"{params['limit']} is not valid depth limit")
    return depth(market, {**params, "limit": "1000"})


def book_ticker(market: Market, params: Mapping[str, str]) -> dict[str, Any] | list[dict[str, Any]]:
    """`GET /fapi/v1/ticker/bookTicker`."""
    rows, named = rows_of(market, params)
    entries = []
    for row in rows:
        bid, bid_qty, ask, ask_qty = touch_texts(market, row)
        entries.append(
            {
                "symbol": market.symbols[row],
                "bidPrice": bid,
                "bidQty": bid_qty,
                "askPrice": ask,
                "askQty": ask_qty,
                "time": int(market.print_ms[row]),
            }
        )
    return one_or_all(entries, named)


def price_ticker(market: Market, params: Mapping[str, str]) -> dict[str, Any] | list[dict[str, Any]]:
    """`GET /fapi/v1/ticker/price` and v2."""
    rows, named = rows_of(market, params)
    entries = [
        {
            "symbol": market.symbols[row],
            "price": price_text(market, row, market.last[row]),
            "time": int(market.print_ms[row]),
        }
        for row in rows
    ]
    return one_or_all(entries, named)


def premium_index(market: Market, params: Mapping[str, str]) -> dict[str, Any] | list[dict[str, Any]]:
    """`GET /fapi/v1/premiumIndex`; lastFundingRate is the last settled one, never a look ahead."""
    rows, named = rows_of(market, params)
    entries = [
        {
            "symbol": market.symbols[row],
            "markPrice": f"{market.mark[row]:.8f}",
            "indexPrice": f"{market.index[row]:.8f}",
            "estimatedSettlePrice": f"{market.index[row]:.8f}",
            "lastFundingRate": f"{market.funding.rate[row]:.8f}",
            "interestRate": f"{INTEREST:.8f}",
            "nextFundingTime": int(market.funding.next_ms[row]),
            "time": market.now_ms,
        }
        for row in rows
    ]
    return one_or_all(entries, named)


def funding_info(market: Market, _params: Mapping[str, str]) -> list[dict[str, Any]]:
    """`GET /fapi/v1/fundingInfo`: the symbols whose interval is not eight hours."""
    odd = np.flatnonzero(market.listed() & (market.funding.interval_ms != DEFAULT_INTERVAL_MS))
    return [
        {
            "symbol": market.symbols[row],
            "adjustedFundingRateCap": f"{CAP:.8f}",
            "adjustedFundingRateFloor": f"{-CAP:.8f}",
            "fundingIntervalHours": int(market.funding.interval_ms[row]) // HOUR_MS,
            "disclaimer": False,
            "updateTime": None,
        }
        for row in odd.tolist()
    ]


def funding_rates(market: Market, params: Mapping[str, str]) -> list[dict[str, Any]]:
    """`GET /fapi/v1/fundingRate`: settlements in time order; the latest where no time is given."""
    start, end = time_of(params, "startTime"), time_of(params, "endTime")
    if start is not None and end is not None and start > end:
        raise refusal(-1023)
    limit = limit_of(params, 100 if start is not None or end is not None else 200, 1000)
    rows, _ = rows_of(market, params)
    last = min(end if end is not None else market.now_ms, market.now_ms) + 1
    first = start if start is not None else last - limit * DEFAULT_INTERVAL_MS
    found: list[tuple[int, int, float]] = []
    for row in rows:
        begin = max(first, int(market.source.first_ms[row]))
        for at, rate in market.calendar.settled(row, begin, min(last, begin + 1000 * DEFAULT_INTERVAL_MS)):
            found.append((at, row, market.rate_at(row, at) if rate is None else rate))
    found.sort()
    chosen = found[:limit] if start is not None else found[-limit:]
    return [
        {
            "symbol": market.symbols[row],
            "fundingRate": f"{rate:.8f}",
            "fundingTime": at,
            "markPrice": f"{price:.8f}" if (price := market.price_at(row, at)) > 0 else "",
            "rateType": "FUNDING_RATE",
        }
        for at, row, rate in chosen
    ]


def open_interest(market: Market, params: Mapping[str, str]) -> dict[str, Any]:
    """`GET /fapi/v1/openInterest`: half of the last day's volume (a model; candles do not tell it)."""
    row = row_of(market, params)
    day = float(market.history.volume_24h(market.open_ms())[row])
    contracts = OPEN_INTEREST_SHARE * day / market.last[row] if market.last[row] > 0 else 0.0
    return {
        "openInterest": f"{contracts:.{market.rules[row].quantity_precision}f}",
        "symbol": market.symbols[row],
        "time": market.now_ms,
    }


def day_figures(market: Market, row: int) -> dict[str, Any]:
    """The rolling 24 hours of a symbol: floats `open high low last volume quote trades`, `since` in ms."""
    column = market.history.column(market.open_ms())
    first = max(0, column - DAY_MS // market.interval_ms)
    bars = market.history.grid.data[:, row, first:column]
    bars = bars[:, ~np.isnan(bars[OPEN])]
    last = float(market.last[row])
    figures = {
        "open": float(bars[OPEN, 0]) if bars.size else last,
        "high": float(bars[HIGH].max()) if bars.size else last,
        "low": float(bars[LOW].min()) if bars.size else last,
        "last": last,
        "volume": float(bars[VOLUME].sum()),
        "quote": float(bars[QUOTE_VOLUME].sum()),
        "trades": int(bars[TRADES].sum()),
        "since": market.now_ms - DAY_MS,
    }
    if market.base.there[row]:
        running = market.base.data[:, row]
        figures["high"] = max(figures["high"], float(running[HIGH]))
        figures["low"] = min(figures["low"], float(running[LOW]))
        figures["volume"] += float(running[VOLUME])
        figures["quote"] += float(running[QUOTE_VOLUME])
        figures["trades"] += int(running[TRADES])
    return figures


def day_ticker(market: Market, params: Mapping[str, str]) -> dict[str, Any] | list[dict[str, Any]]:
    """`GET /fapi/v1/ticker/24hr`."""
    rows, named = rows_of(market, params)
    return one_or_all([_day_entry(market, row) for row in rows], named)


def _day_entry(market: Market, row: int) -> dict[str, Any]:
    figures = day_figures(market, row)
    base = market.rules[row].quantity_precision
    change = figures["last"] - figures["open"]
    average = figures["quote"] / figures["volume"] if figures["volume"] > 0 else figures["last"]
    ids = int(figures["since"]) * IDS_PER_MS
    return {
        "symbol": market.symbols[row],
        "priceChange": price_text(market, row, change),
        "priceChangePercent": f"{100 * change / figures['open']:.3f}" if figures["open"] else "0.000",
        "weightedAvgPrice": price_text(market, row, average),
        "lastPrice": price_text(market, row, figures["last"]),
        "lastQty": f"{market.print_volume[row]:.{base}f}",
        "openPrice": price_text(market, row, figures["open"]),
        "highPrice": price_text(market, row, figures["high"]),
        "lowPrice": price_text(market, row, figures["low"]),
        "volume": f"{figures['volume']:.{base}f}",
        "quoteVolume": f"{figures['quote']:.2f}",
        "openTime": figures["since"],
        "closeTime": market.now_ms,
        "firstId": ids,
        "lastId": ids + max(0, figures["trades"] - 1),
        "count": figures["trades"],
    }
