"""Stream names: what a name means, and on which route it is delivered.

Names are case-sensitive like the exchange's: symbols in lower case. A name that means nothing is no error anywhere
(every SUBSCRIBE is acknowledged); it just never delivers. So do streams of what this exchange has not: composite
and asset indices, trading sessions of stock markets.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from qt_actors.exchange.intervals import INTERVAL_MS

ALL_ROWS: Final = -1  # instead of a symbol's row: a stream over all of them

# kind -> (route, cadence in real ms)
KINDS: Final[dict[str, tuple[str, int]]] = {
    "kline": ("market", 250),
    "continuousKline": ("market", 250),
    "aggTrade": ("market", 100),
    "markPrice": ("market", 3000),
    "markPrice@1s": ("market", 1000),
    "ticker": ("market", 2000),
    "miniTicker": ("market", 2000),
    "forceOrder": ("market", 1000),
    "!markPrice@arr": ("market", 3000),
    "!markPrice@arr@1s": ("market", 1000),
    "!ticker@arr": ("market", 1000),
    "!miniTicker@arr": ("market", 1000),
    "!forceOrder@arr": ("market", 1000),
    "!contractInfo": ("market", 0),
    "bookTicker": ("public", 25),
    "trade": ("public", 25),
    "!bookTicker": ("public", 5000),
    "depth": ("public", 250),
    "depth@100ms": ("public", 100),
    "depth@500ms": ("public", 500),
    "rpiDepth@500ms": ("public", 500),
}

_ONE: Final = re.compile(r"([^@!]+)@(.+)", re.DOTALL)
_KLINE: Final = re.compile(r"kline_([0-9]+[mhdwM])")
_CONTINUOUS: Final = re.compile(r"continuousKline_([0-9]+[mhdwM])")
_PARTIAL: Final = re.compile(r"depth(5|10|20)(@100ms|@500ms)?")
_CONTRACTS: Final = ("TRADIFI_PERPETUAL", "PERPETUAL", "CURRENT_QUARTER", "NEXT_QUARTER")
_SIMPLE: Final = frozenset(
    kind for kind in KINDS if not kind.startswith("!") and kind not in {"kline", "continuousKline"}
)


class Feed(NamedTuple):
    """What a stream carries.

    Attributes:
        kind: of KINDS.
        argument: kline interval or number of levels.
        symbol: or the pair, where `contract` is given; empty for a stream over all symbols.
        contract: contract type of a continuous kline.
    """

    kind: str
    argument: str
    symbol: str
    contract: str = ""

    @property
    def route(self) -> str:
        """The route that delivers it."""
        return KINDS[self.kind][0]


def feed_of(name: str) -> Feed | None:
    """The feed a stream name means; None when no such stream exists."""
    if name.startswith("!"):
        return Feed(name, "", "") if name in KINDS else None
    parts = _ONE.fullmatch(name)
    if parts is None or parts[1] != parts[1].lower():
        return None
    symbol, what = parts[1].upper(), parts[2]
    if what in _SIMPLE:
        return Feed(what, "", symbol)
    if (found := _PARTIAL.fullmatch(what)) is not None:
        return Feed("depth" + (found[2] or ""), found[1], symbol)
    if (found := _KLINE.fullmatch(what)) is not None and found[1] in INTERVAL_MS:
        return Feed("kline", found[1], symbol)
    if (found := _CONTINUOUS.fullmatch(what)) is not None and found[1] in INTERVAL_MS:
        for contract in _CONTRACTS:
            if symbol.endswith(f"_{contract}"):
                return Feed("continuousKline", found[1], symbol.removesuffix(f"_{contract}"), contract)
    return None
