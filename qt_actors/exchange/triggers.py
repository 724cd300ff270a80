"""When a conditional order fires. Pure: order and prices in, verdict out.

Rules: https://developers.binance.com/docs/derivatives/usds-margined-futures/trade/rest-api/New-Algo-Order
"""

from __future__ import annotations

from decimal import Decimal

from qt_actors.exchange.quotes import Quote
from qt_actors.exchange.state import AlgoOrder


def working_price(algo: AlgoOrder, quote: Quote) -> Decimal:
    """The price the order watches: mark or last."""
    return quote.mark if algo.working_type == "MARK_PRICE" else quote.last


def fires_above(algo: AlgoOrder) -> bool:
    """Whether a rising price fires it: buy stops and sell take-profits."""
    return (algo.side == "BUY") != algo.type.startswith("TAKE_PROFIT")


def is_passed(algo: AlgoOrder, price: Decimal) -> bool:
    """Whether a stop or take-profit's trigger price is reached."""
    return price >= algo.trigger_price if fires_above(algo) else price <= algo.trigger_price


def is_protected(quote: Quote, limit: Decimal) -> bool:
    """Whether mark and last stand further apart than the symbol's triggerProtect (a fraction of mark)."""
    return abs(quote.mark - quote.last) > limit * quote.mark


def track(algo: AlgoOrder, price: Decimal) -> None:
    """Follow the price with a trailing order: its extreme since placement and whether it is active."""
    if algo.side == "BUY":
        algo.extreme = min(algo.extreme, price)
        algo.activated = algo.activated or algo.activate_price is None or algo.extreme <= algo.activate_price
    else:
        algo.extreme = max(algo.extreme, price)
        algo.activated = algo.activated or algo.activate_price is None or algo.extreme >= algo.activate_price


def has_turned(algo: AlgoOrder, price: Decimal) -> bool:
    """Whether an active trailing order's price has come back from the extreme by the callback rate."""
    if not algo.activated or algo.callback_rate is None:
        return False
    there = turning_price(algo.side, algo.extreme, algo.callback_rate)
    return price >= there if algo.side == "BUY" else price <= there


def turning_price(side: str, extreme: Decimal, callback_rate: Decimal) -> Decimal:
    """The price that lies the callback rate (percent) back from the extreme."""
    return extreme * (1 + callback_rate / 100 * (1 if side == "BUY" else -1))


def next_price(algo: AlgoOrder) -> Decimal:
    """The working price at which it does something next: fires or, a trailing one, is activated first."""
    if algo.callback_rate is None:
        return algo.trigger_price
    if algo.activate_price is not None and not algo.activated:
        return algo.activate_price
    return turning_price(algo.side, algo.extreme, algo.callback_rate)
