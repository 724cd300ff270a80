"""Whether an order's numbers pass the symbol's filters. Pure: each check raises the filter's own error code."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from qt_actors.exchange.errors import refusal
from qt_actors.exchange.figures import decimals, is_multiple, plain
from qt_actors.exchange.rules import SymbolRules

SIDES: Final = frozenset({"BUY", "SELL"})
POSITION_SIDES: Final = frozenset({"BOTH", "LONG", "SHORT"})
STP_MODES: Final = frozenset({"NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"})
RESPONSE_TYPES: Final = frozenset({"ACK", "RESULT"})
PRICE_MATCHES: Final = frozenset({"NONE", "OPPONENT", "OPPONENT_5", "QUEUE", "QUEUE_5", "QUEUE_10", "QUEUE_20"})
GOOD_TILL_AHEAD_MS: Final = 600_000
GOOD_TILL_LAST_MS: Final = 253402300799000


def check_price(rules: SymbolRules, price: Decimal) -> None:
    """PRICE_FILTER: -4001, -1111, -4013, -4002, -4014."""
    if price <= 0:
        raise refusal(-4001)
    if decimals(price) > rules.price_precision:
        raise refusal(-1111)
    if price < rules.min_price:
        raise refusal(-4013)
    if rules.max_price and price > rules.max_price:
        raise refusal(-4002)
    if not is_multiple(price - rules.min_price, rules.tick) and not is_multiple(price, rules.tick):
        raise refusal(-4014)


def check_band(rules: SymbolRules, side: str, price: Decimal, mark: Decimal) -> None:
    """PERCENT_PRICE of a limit price: -4016 for a buy above mark x up, -4024 for a sell below mark x down."""
    places = rules.price_precision
    if side == "BUY" and price > mark * rules.multiplier_up:
        raise refusal(-4016, plain(round(mark * rules.multiplier_up, places)))
    if side == "SELL" and price < mark * rules.multiplier_down:
        raise refusal(-4024, plain(round(mark * rules.multiplier_down, places)))


def check_stop_band(rules: SymbolRules, side: str, price: Decimal, trigger: Decimal) -> None:
    """PERCENT_PRICE of a stop-limit's price around its trigger: -4183 above, -4184 below."""
    if side == "BUY" and price > trigger * rules.multiplier_up:
        raise refusal(-4183, plain(round(trigger * rules.multiplier_up, rules.price_precision)))
    if side == "SELL" and price < trigger * rules.multiplier_down:
        raise refusal(-4184, plain(round(trigger * rules.multiplier_down, rules.price_precision)))


def check_touch(rules: SymbolRules, side: str, touch: Decimal, mark: Decimal) -> None:
    """PERCENT_PRICE of a market order's best counter price: -4131."""
    too_high = side == "BUY" and touch > mark * rules.multiplier_up
    too_low = side == "SELL" and touch < mark * rules.multiplier_down
    if too_high or too_low:
        raise refusal(-4131)


def check_quantity(rules: SymbolRules, quantity: Decimal, *, market: bool) -> None:
    """LOT_SIZE, or MARKET_LOT_SIZE: -4003, -1111, -4004, -4005, -4023."""
    least, most, step = (
        (rules.market_min_qty, rules.market_max_qty, rules.market_step)
        if market
        else (rules.min_qty, rules.max_qty, rules.step)
    )
    if quantity <= 0:
        raise refusal(-4003)
    if decimals(quantity) > rules.quantity_precision:
        raise refusal(-1111)
    if quantity < least:
        raise refusal(-4004)
    if quantity > most:
        raise refusal(-4005)
    if not is_multiple(quantity, step):
        raise refusal(-4023)


def check_notional(rules: SymbolRules, quantity: Decimal, price: Decimal) -> None:
    """MIN_NOTIONAL: -4164."""
    if quantity * price < rules.min_notional:
        raise refusal(-4164, plain(rules.min_notional))


def check_status(rules: SymbolRules, side: str, *, reduces: bool) -> None:
    """Symbol status and POSITION_RISK_CONTROL: -4141, -4140, -4105, -4106, -4107."""
    if rules.status in {"CLOSE", "DELIVERED", "SETTLING", "PENDING_TRADING"}:
        raise refusal(-4141)
    if rules.status != "TRADING" and not reduces:
        raise refusal(-4140)
    if reduces:
        return
    if rules.position_control == "BOTH":
        raise refusal(-4105)
    if rules.position_control == side:
        raise refusal(-4106 if side == "BUY" else -4107)


def check_good_till(good_till_ms: int, now_ms: int) -> None:
    """Refuse a goodTillDate that is not more than 600 s ahead (-5040)."""
    if not now_ms + GOOD_TILL_AHEAD_MS < good_till_ms < GOOD_TILL_LAST_MS:
        raise refusal(-5040)
