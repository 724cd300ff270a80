"""What every message is: frozen, keyword-only, compared by value."""

from __future__ import annotations

from typing import Literal

import msgspec

Side = Literal["BUY", "SELL"]
Action = Literal["BUY", "SELL", "HOLD"]

ACTIONS: tuple[Action, Action, Action] = ("SELL", "HOLD", "BUY")
"""Class order of every model's probabilities."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the vocabulary; numpy arrays inside are read-only, money and quantities are ``Decimal``, times ms UTC."""


def opposite(side: Side) -> Side:
    """Return the side that reduces a position opened with ``side``."""
    return "SELL" if side == "BUY" else "BUY"
