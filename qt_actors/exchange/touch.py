"""Best bid and ask around a traded price: a model of spread and depth by a symbol's liquidity.

Liquidity is the quote volume of the last 24 hours, V. With V in USDT:

    spread = max(1 tick, price x 0.05 bp x (1e10 / V) ^ 0.55)      1e10: 0.05 bp, 1e8: 0.6 bp, 1e6: 8 bp; at most 50 bp
    size at the touch = 0.5 x sqrt(V) USDT on average             1e10: 50,000, 1e8: 5,000, 1e6: 500
    each side's size varies by a hash of the point between 0.4 and 1.6 times that, on the symbol's quantity step

A print above the one before it was bought, so it is the ask and the bid lies a spread below; otherwise it is the bid
and the ask lies a spread above. What lies behind the touch is `quotes.Quote.levels`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from qt_actors.exchange.rules import SymbolRules

SPREAD_BASE: Final = 0.05e-4  # of the price, at V = 1e10
SPREAD_POWER: Final = 0.55
SPREAD_MAX: Final = 50e-4
TOUCH_FACTOR: Final = 0.5
VOLUME_REFERENCE: Final = 1e10
VOLUME_MIN: Final = 1e4  # a dead symbol still has somebody quoting


@dataclass(frozen=True, slots=True)
class Steps:
    """Price ticks and quantity steps of the symbols, float64 or int64, shape (symbols,)."""

    tick: NDArray[np.float64]
    step: NDArray[np.float64]
    least: NDArray[np.int64]

    @classmethod
    def of(cls, rules: Sequence[SymbolRules]) -> Steps:
        """From the rules of the symbols, in their order."""
        return cls(
            np.array([float(rule.tick) for rule in rules]),
            np.array([float(rule.step) for rule in rules]),
            np.array([max(1, int(rule.min_qty / rule.step)) for rule in rules], dtype=np.int64),
        )


@dataclass(frozen=True, slots=True)
class Touch:
    """Best prices in ticks and their sizes in steps, int64, all of one shape."""

    bid: NDArray[np.int64]
    ask: NDArray[np.int64]
    bid_qty: NDArray[np.int64]
    ask_qty: NDArray[np.int64]


def spread_fraction(volume_24h: NDArray[np.float64]) -> NDArray[np.float64]:
    """Relative spread of symbols by the quote volume of their last 24 hours (USDT)."""
    volume = np.maximum(volume_24h, VOLUME_MIN)
    return np.minimum(SPREAD_BASE * (VOLUME_REFERENCE / volume) ** SPREAD_POWER, SPREAD_MAX)


def touch_of(
    prices: NDArray[np.float64],
    rising: NDArray[np.bool_],
    volume_24h: NDArray[np.float64],
    steps: Steps,
    chance: NDArray[np.float64],
) -> Touch:
    """The touch at each point of n paths.

    Args:
        prices: traded prices, shape (n, p).
        rising: whether the print was bought, shape (n, p).
        volume_24h: quote volume of the last 24 hours, USDT, shape (n,).
        steps: of the n symbols.
        chance: uniforms in [0, 1), shape (n, 2 p).
    """
    tick = steps.tick[:, None]
    at = prices / tick
    spread = np.maximum(1, np.rint(at * spread_fraction(volume_24h)[:, None])).astype(np.int64)
    # A hair of tolerance: a price that lies on the grid stays on it whatever its float says.
    below, above = np.floor(at + 1e-6).astype(np.int64), np.ceil(at - 1e-6).astype(np.int64)
    bid = np.maximum(1, np.where(rising, above - spread, below))
    ask = np.where(rising, np.maximum(above, 2), bid + spread)
    size = TOUCH_FACTOR * np.sqrt(np.maximum(volume_24h, VOLUME_MIN))[:, None] / prices / steps.step[:, None]
    points = prices.shape[1]
    least = steps.least[:, None]
    bid_qty = np.maximum(least, np.rint(size * (0.4 + 1.2 * chance[:, :points]))).astype(np.int64)
    ask_qty = np.maximum(least, np.rint(size * (0.4 + 1.2 * chance[:, points:]))).astype(np.int64)
    return Touch(bid, np.maximum(ask, bid + 1), bid_qty, ask_qty)
