"""Numbers as a person reads them in a gate: ``2.06 %``, ``$1,234.50``, ``0.43``."""

from __future__ import annotations

from decimal import Decimal
from math import isfinite
from typing import Final

UNKNOWN = "unknown"
HELD: Final = {"BUY": "LONG", "SELL": "SHORT"}
"""What is held after an entry of that side: orders BUY and SELL, positions are LONG and SHORT."""
EXITED: Final = {
    "manual": "by hand",
    "external": "from outside",
    "unprotected": "because its stop could not be kept",
}


def percent(fraction: float | Decimal | None, digits: int = 2) -> str:
    """Return a fraction as percent."""
    if fraction is None or not isfinite(fraction):
        return UNKNOWN
    return f"{float(fraction) * 100:.{digits}f} %"


def usd(amount: float | Decimal | None) -> str:
    """Return an amount of USDT with two digits; the sign stands before the dollar."""
    if amount is None or not isfinite(amount):
        return UNKNOWN
    return f"{'-' if amount < 0 else ''}${abs(amount):,.2f}"


def number(value: float | Decimal | None, digits: int = 2) -> str:
    """Return a plain number."""
    return UNKNOWN if value is None or not isfinite(value) else f"{value:.{digits}f}"


def price(value: Decimal) -> str:
    """Return a price or quantity with every digit but the zeros at its end."""
    return f"{value.normalize():,f}" if value.is_finite() else UNKNOWN


def count(number: int, thing: str, things: str = "") -> str:
    """Return ``1 position``, ``2 positions``."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def exited(reason: str) -> str:
    """Return how a trade ended, to stand behind "closed"."""
    return EXITED.get(reason, f"by {reason}")


def seconds(span_ms: int | None) -> str:
    """Return a time span in whole seconds."""
    return UNKNOWN if span_ms is None else f"{span_ms // 1000} s"


def numbers_apart(value: float, limit: float) -> tuple[str, str]:
    """Return both with two digits, or with as many more as it takes to tell them apart."""
    for digits in range(2, 6):
        if value == limit or number(value, digits) != number(limit, digits):
            return number(value, digits), number(limit, digits)
    return number(value, 6), number(limit, 6)
