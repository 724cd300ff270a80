"""Payloads of the market streams, one function a kind; times are exchange time, numbers are Binance's strings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qt_actors.exchange.candles import CLOSE, HIGH, LOW, OPEN, QUOTE_VOLUME, TAKER_VOLUME, TRADES, VOLUME
from qt_actors.exchange.market_replies import IDS_PER_MS, day_figures, ladder, level_texts, price_text, touch_texts

if TYPE_CHECKING:
    from qt_actors.exchange.book_diffs import Side
    from qt_actors.exchange.forming import Forming
    from qt_actors.exchange.market import Market

NEVER_MS: Final = 4_133_404_800_000  # delivery date of a perpetual contract


def pair_of(market: Market, row: int) -> str:
    """The pair of a contract: its symbol, unless it is a dated one."""
    return str(market.rules[row].raw.get("pair", market.symbols[row]))


def kline(
    market: Market, forming: Forming, row: int, candle: list[float], *, closed: bool, continuous: bool
) -> dict[str, Any]:
    """`kline` or `continuous_kline` of a symbol's running or closing candle, `candle` its column of `forming.data`."""
    price, base = market.price_digits[row], market.rules[row].quantity_precision
    volume, taker, trades = candle[VOLUME], candle[TAKER_VOLUME], round(candle[TRADES])
    first = forming.open_ms * IDS_PER_MS
    body: dict[str, Any] = {"t": forming.open_ms, "T": forming.close_ms - 1}
    if not continuous:
        body["s"] = market.symbols[row]
    body |= {
        "i": forming.interval,
        "f": first if trades else -1,
        "L": first + trades - 1 if trades else -1,
        "o": f"{candle[OPEN]:.{price}f}",
        "c": f"{candle[CLOSE]:.{price}f}",
        "h": f"{candle[HIGH]:.{price}f}",
        "l": f"{candle[LOW]:.{price}f}",
        "v": f"{volume:.{base}f}",
        "n": trades,
        "x": closed,
        "q": f"{candle[QUOTE_VOLUME]:.{price + base}f}",
        "V": f"{taker:.{base}f}",
        "Q": f"{candle[QUOTE_VOLUME] * taker / volume if volume > 0 else 0.0:.{price + base}f}",
        "B": "0",
    }
    if continuous:
        pair, contract = pair_of(market, row), market.rules[row].contract_type
        return {"e": "continuous_kline", "E": market.now_ms, "ps": pair, "ct": contract, "k": body}
    return {"e": "kline", "E": market.now_ms, "s": market.symbols[row], "k": body}


def mark_price(market: Market, row: int) -> dict[str, Any]:
    """`markPriceUpdate`; the moving average of the mark is the index here. After a delisting there is no funding."""
    over = market.source.end_of_ms[row] <= market.now_ms
    return {
        "e": "markPriceUpdate",
        "E": market.now_ms,
        "s": market.symbols[row],
        "p": f"{market.mark[row]:.8f}",
        "ap": f"{market.index[row]:.8f}",
        "i": f"{market.index[row]:.8f}",
        "P": f"{market.index[row]:.8f}",
        "r": f"{0.0 if over else market.funding.rate[row]:.8f}",
        "T": 0 if over else int(market.funding.next_ms[row]),
        "st": 1,
    }


def book_ticker(market: Market, row: int) -> dict[str, Any]:
    """`bookTicker`."""
    bid, bid_qty, ask, ask_qty = touch_texts(market, row)
    return {
        "e": "bookTicker",
        "u": int(market.print_ids[row]),
        "s": market.symbols[row],
        "ps": pair_of(market, row),
        "b": bid,
        "B": bid_qty,
        "a": ask,
        "A": ask_qty,
        "T": int(market.print_ms[row]),
        "E": market.now_ms,
        "st": 1,
    }


def partial_depth(market: Market, row: int, levels: int, before: int) -> dict[str, Any]:
    """`depthUpdate` with the best levels of each side; `before` is the update id of the frame sent before."""
    bids, asks = ladder(market, row, levels)
    return _depth(market, row, before, bids, asks)


def diff_depth(market: Market, row: int, before: int, bids: Side, asks: Side) -> dict[str, Any]:
    """`depthUpdate` with the levels that changed since update id `before`."""
    return _depth(market, row, before, level_texts(market, row, *bids), level_texts(market, row, *asks))


def _depth(market: Market, row: int, before: int, bids: list[list[str]], asks: list[list[str]]) -> dict[str, Any]:
    return {
        "e": "depthUpdate",
        "E": market.now_ms,
        "T": int(market.print_ms[row]),
        "s": market.symbols[row],
        "ps": pair_of(market, row),
        "U": before + 1,
        "u": int(market.print_ids[row]),
        "pu": before,
        "b": bids,
        "a": asks,
        "st": 1,
    }


def agg_trade(market: Market, row: int, volume: float) -> dict[str, Any]:
    """`aggTrade`: what was printed since the frame before, at the newest price."""
    number = int(market.print_ms[row]) * IDS_PER_MS
    quantity = f"{volume:.{market.rules[row].quantity_precision}f}"
    return {
        "e": "aggTrade",
        "E": market.now_ms,
        "a": number,
        "s": market.symbols[row],
        "p": price_text(market, row, market.last[row]),
        "q": quantity,
        "nq": quantity,
        "f": number,
        "l": number,
        "T": int(market.print_ms[row]),
        "m": not bool(market.rising[row]),
        "st": 1,
    }


def trade(market: Market, row: int, volume: float) -> dict[str, Any]:
    """`trade` (undocumented): what was printed since the frame before, at the newest price."""
    return {
        "e": "trade",
        "E": market.now_ms,
        "T": int(market.print_ms[row]),
        "s": market.symbols[row],
        "t": int(market.print_ms[row]) * IDS_PER_MS,
        "p": price_text(market, row, market.last[row]),
        "q": f"{volume:.{market.rules[row].quantity_precision}f}",
        "X": "MARKET",
        "m": not bool(market.rising[row]),
        "st": 1,
    }


def force_order(order: dict[str, Any], time_ms: int) -> dict[str, Any]:
    """`forceOrder` of a liquidation, from the `o` of its ORDER_TRADE_UPDATE."""
    kept = {key: order[key] for key in ("s", "S", "o", "f", "q", "p", "ap")}
    return {
        "e": "forceOrder",
        "E": time_ms,
        "o": {**kept, "X": "FILLED", "l": order["l"], "z": order["z"], "T": order["T"]},
    }


def contract_info(market: Market, row: int, status: str) -> dict[str, Any]:
    """`contractInfo`: a symbol was listed or delisted."""
    rules = market.rules[row]
    return {
        "e": "contractInfo",
        "E": market.now_ms,
        "s": rules.symbol,
        "ps": pair_of(market, row),
        "ct": rules.contract_type,
        "dt": int(rules.raw.get("deliveryDate", NEVER_MS)),
        "ot": rules.onboard_ms,
        "cs": status,
        "bks": [
            {
                "bs": tier.number,
                "bnf": int(tier.floor),
                "bnc": int(tier.cap),
                "mmr": float(tier.maint_ratio),
                "cf": int(tier.cum) if tier.cum == int(tier.cum) else float(tier.cum),
                "mi": (rules.brackets[place + 1].leverage + 1) if place + 1 < len(rules.brackets) else 1,
                "ma": tier.leverage,
            }
            for place, tier in enumerate(rules.brackets)
        ],
        "st": 1,
    }


def day_ticker(market: Market, row: int) -> dict[str, Any]:
    """`24hrTicker`."""
    figures = day_figures(market, row)
    base = market.rules[row].quantity_precision
    change = figures["last"] - figures["open"]
    average = figures["quote"] / figures["volume"] if figures["volume"] > 0 else figures["last"]
    first = int(figures["since"]) * IDS_PER_MS
    return {
        "e": "24hrTicker",
        "E": market.now_ms,
        "s": market.symbols[row],
        "ps": pair_of(market, row),
        "p": price_text(market, row, change),
        "P": f"{100 * change / figures['open']:.3f}" if figures["open"] else "0.000",
        "w": price_text(market, row, average),
        "c": price_text(market, row, figures["last"]),
        "Q": f"{market.print_volume[row]:.{base}f}",
        "o": price_text(market, row, figures["open"]),
        "h": price_text(market, row, figures["high"]),
        "l": price_text(market, row, figures["low"]),
        "v": f"{figures['volume']:.{base}f}",
        "q": f"{figures['quote']:.2f}",
        "O": figures["since"],
        "C": market.now_ms,
        "F": first,
        "L": first + max(0, figures["trades"] - 1),
        "n": figures["trades"],
        "st": 1,
    }


def mini_ticker(market: Market, row: int) -> dict[str, Any]:
    """`24hrMiniTicker`."""
    figures = day_figures(market, row)
    return {
        "e": "24hrMiniTicker",
        "E": market.now_ms,
        "s": market.symbols[row],
        "ps": pair_of(market, row),
        "c": price_text(market, row, figures["last"]),
        "o": price_text(market, row, figures["open"]),
        "h": price_text(market, row, figures["high"]),
        "l": price_text(market, row, figures["low"]),
        "v": f"{figures['volume']:.{market.rules[row].quantity_precision}f}",
        "q": f"{figures['quote']:.2f}",
        "st": 1,
    }
