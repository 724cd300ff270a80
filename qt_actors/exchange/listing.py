"""Symbols that are listed and delisted while the market runs: rules whose status follows the candles.

A symbol is PENDING_TRADING before its first candle, TRADING while it has candles, and SETTLING after its last one,
whatever the rules file says of the day it was taken.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from qt_actors.exchange.rules import ExchangeRules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from qt_actors.exchange.history import MarketSource
    from qt_actors.exchange.rules import SymbolRules

PHASES: Final = ("PENDING_TRADING", "TRADING", "SETTLING")
TRADING: Final = 1
SETTLING: Final = 2


class ListedRules(ExchangeRules):
    """The rules of a market's symbols, in its order, with the status of the moment."""

    def __init__(self, symbols: Mapping[str, SymbolRules]) -> None:
        super().__init__(symbols)
        self._live = dict(symbols)
        self.symbols = MappingProxyType(self._live)

    def set_status(self, symbol: str, status: str) -> None:
        """From now on the symbol has this status, in the engine and in exchangeInfo."""
        rules = self._live[symbol]
        if rules.status != status:
            self._live[symbol] = msgspec.structs.replace(rules, status=status, raw={**rules.raw, "status": status})


def phases(source: MarketSource, now_ms: int) -> NDArray[np.int64]:
    """Index into PHASES of every symbol at a moment."""
    return (source.first_ms <= now_ms).astype(np.int64) + (source.end_of_ms <= now_ms)
