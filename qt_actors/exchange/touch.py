"""Best bid and ask along price paths, by the model of `depth`.

A print above the one before it was bought, so it is the ask and the bid lies a spread below; otherwise it is the bid
and the ask lies a spread above. What lies behind the touch is `depth.behind`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from qt_actors.exchange.depth import Depth
    from qt_actors.exchange.rules import SymbolRules


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

    def some(self, rows: NDArray[np.intp]) -> Steps:
        """Those of some symbols."""
        return Steps(self.tick[rows], self.step[rows], self.least[rows])


@dataclass(frozen=True, slots=True)
class Touch:
    """Best prices in ticks and their sizes in steps, int64, all of one shape."""

    bid: NDArray[np.int64]
    ask: NDArray[np.int64]
    bid_qty: NDArray[np.int64]
    ask_qty: NDArray[np.int64]


def touch_of(
    prices: NDArray[np.float64], rising: NDArray[np.bool_], depth: Depth, steps: Steps, chance: NDArray[np.float64]
) -> Touch:
    """The touch at each point of n paths.

    Args:
        prices: traded prices, shape (n, p).
        rising: whether the print was bought, shape (n, p).
        depth: the model of the n symbols.
        steps: of the n symbols.
        chance: uniforms in [0, 1), shape (n, 2 p).
    """
    at, spread = prices / steps.tick[:, None], depth.spread[:, None]
    # A hair of tolerance: a price that lies on the grid stays on it whatever its float says.
    below, above = np.floor(at + 1e-6).astype(np.int64), np.ceil(at - 1e-6).astype(np.int64)
    bid = np.maximum(1, np.where(rising, above - spread, below))
    ask = np.where(rising, np.maximum(above, 2), bid + spread)
    sizes = np.rint(depth.touch[:, None] * -np.log1p(-chance)).astype(np.int64)
    sizes = np.maximum(sizes, steps.least[:, None])
    points = prices.shape[1]
    return Touch(bid, np.maximum(ask, bid + 1), sizes[:, :points], sizes[:, points:])
