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
    """Whether an active trailing order's price has come back from the extreme by the callback rate (percent)."""
    if not algo.activated or algo.callback_rate is None:
        return False
    rate = algo.callback_rate / 100
    return price >= algo.extreme * (1 + rate) if algo.side == "BUY" else price <= algo.extreme * (1 - rate)
