"""How the exchange rounds and writes numbers: Decimal in, Binance's strings out."""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from typing import Final

ZERO: Final = Decimal(0)
MONEY: Final = Decimal("0.00000001")


def money(amount: Decimal) -> Decimal:
    """An amount that is booked: 8 decimals, half to even, so that sums of booked amounts are exact."""
    return amount.quantize(MONEY, ROUND_HALF_EVEN)


def floor_money(amount: Decimal) -> Decimal:
    """An amount that is only shown (margins): 8 decimals, cut off as Binance does."""
    return amount.quantize(MONEY, ROUND_DOWN)


def plain(value: Decimal) -> str:
    """Shortest form without exponent or trailing zeros: `0.1`, `2313`, `0`."""
    return format(value.normalize(), "f") if value else "0"


def amount(value: Decimal) -> str:
    """Money in events: `0` or 8 decimals, as in captured frames (`-1.77340000`)."""
    return f"{value:.8f}" if value else "0"


def fixed(value: Decimal, places: int) -> str:
    """Exactly `places` decimals, as REST replies pad prices and quantities."""
    return f"{value:.{places}f}" if value else f"{ZERO:.{places}f}"


def shown(value: Decimal) -> str:
    """Money in REST replies: 8 decimals always, cut off."""
    cut = floor_money(value)
    return f"{cut:.8f}" if cut else "0.00000000"


def is_multiple(value: Decimal, step: Decimal) -> bool:
    """Whether value is a whole number of steps (a zero step allows anything)."""
    return not step or not value % step


def decimals(value: Decimal) -> int:
    """Significant decimals: 1.50 has one."""
    fraction = format(value, "f").partition(".")[2]
    return len(fraction.rstrip("0"))
