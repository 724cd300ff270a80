"""The book around a traded price: spread, size at the touch and the levels behind it, as a model.

A symbol's liquidity is two numbers of its last 24 hours: V, quote volume in USDT, and s, volatility of a day as a
fraction (Parkinson's, from highs and lows). With them, everything in USDT and as fractions of the price:

    spread            max(1 tick, 10 s / sqrt(V)), at most 50 bp
    density           D = 0.015 V / s            USDT for each unit of relative distance, far from the touch
    thinning          1 - exp(-d / (0.009 s))    share of D at distance d from the touch
    touch, on average D x max(0.001 s, spread)   its size at each print is exponentially distributed
    levels            on multiples of `cell` ticks (about one spread); 70 % of them hold something, with
                      |ln u|^2.5 / 3.32 times the average there (u uniform: many small ones, few large)
    life              a level is drawn anew every 4, 16 or 64 s, a third of the levels each

A level is a hash of (symbol, price, draw): the book stands still while the touch walks through it, so that diffs stay
small and a level's quantity stays what it was. A side has LEVELS_MAX levels; the book ends there.

Calibrated on 187 s of BTCUSDT's real book (2024-08-08 23:54 UTC: a REST snapshot of 1,000 levels a side, 3,557 diffs,
31,851 book tickers, 6,587 trades; V = 1.58e10 at the trades' rate, s = 0.022). Medians over both sides of 118 books,
BTC up to a distance from the middle, and the model's averages at that V and s:

    ==================  =====  =====  =====  =====  =====  =====  =====
    distance, bp        1      2      3      5      7.5    10     15
    real                8.3    17.3   31.6   60.7   104    147    226
    model               7.4    16.4   28.8   58.4   98     140    225
    ==================  =====  =====  =====  =====  =====  =====  =====

Real touch: mean 4.0 BTC, quartiles 0.9, 3.2, 5.6 (model 3.8; 1.1, 2.7, 5.3); spread one tick in 98 % of the tickers;
70 % of the ticks between 3 and 15 bp occupied; quartiles of a level over its mean 0.02, 0.12, 0.63 (model 0.01, 0.12,
0.68). Still as it was after 1, 5, 10, 30 s: 71, 41, 28, 11 % of the levels at 3 to 10 bp and 90, 71, 57, 30 % at 10 to
20 bp (model 89, 54, 40, 18 % everywhere). That D goes as V / s and the spread as s / sqrt(V) is the usual finding
over many markets (the spread is about one trade's move); one symbol's capture cannot show it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from qt_actors.exchange.hashes import mixed, unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qt_actors.exchange.touch import Steps

LEVELS_MAX: Final = 1000
SCAN_MAX: Final = 4096  # cells looked at for levels: a book so thin that most round to nothing ends there
VOLUME_MIN: Final = 1e4  # USDT; a dead symbol still has somebody quoting
VOLATILITY_RANGE: Final = (0.002, 2.0)
SPREAD_FACTOR: Final = 10.0
SPREAD_MAX: Final = 50e-4
DENSITY_FACTOR: Final = 0.015
THINNING_FACTOR: Final = 0.009
TOUCH_FACTOR: Final = 0.001
OCCUPIED: Final = 0.70
TAIL_POWER: Final = 2.5
TAIL_MEAN: Final = 3.3233509704478426  # of |ln u|^2.5: the gamma function at 3.5
LIVES_MS: Final = (4_000, 16_000, 64_000)
GRID: Final = 1.05  # parameters move in steps of 5 %, so that a book does not change with every bar
CELLS: Final = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class Liquidity:
    """Quote volume (USDT) and volatility (fraction) of the last day, float64, shape (symbols,), within the bounds."""

    volume: NDArray[np.float64]
    volatility: NDArray[np.float64]

    @classmethod
    def of(cls, volume: NDArray[np.float64], volatility: NDArray[np.float64]) -> Liquidity:
        """From measured ones; dead and unmeasured symbols get the least."""
        return cls(np.maximum(volume, VOLUME_MIN), np.clip(volatility, *VOLATILITY_RANGE))

    def spread(self) -> NDArray[np.float64]:
        """Relative spread."""
        return np.minimum(SPREAD_FACTOR * self.volatility / np.sqrt(self.volume), SPREAD_MAX)

    def density(self) -> NDArray[np.float64]:
        """USDT for each unit of relative distance, far from the touch."""
        return DENSITY_FACTOR * self.volume / self.volatility


@dataclass(frozen=True, slots=True)
class Depth:
    """What the model says of n symbols at their present prices, all of shape (n,).

    Attributes:
        spread: in ticks, at least 1, int64.
        touch: average size at the touch in quantity steps, float64.
        cell: ticks between two possible levels, int64.
        per_cell: average quantity steps of a level far from the touch, empty ones counted.
        near: distance in ticks over which the book thins towards the touch.
    """

    spread: NDArray[np.int64]
    touch: NDArray[np.float64]
    cell: NDArray[np.int64]
    per_cell: NDArray[np.float64]
    near: NDArray[np.float64]

    @classmethod
    def of(cls, prices: NDArray[np.float64], liquidity: Liquidity, steps: Steps) -> Depth:
        """The model at these prices, all arrays of shape (n,)."""
        tick = steps.tick / prices
        spread = np.maximum(1, np.rint(liquidity.spread() / tick)).astype(np.int64)
        density, step = liquidity.density(), steps.step * prices
        reach = np.maximum(TOUCH_FACTOR * liquidity.volatility, spread * tick)
        cell = _round_cell(spread)
        return cls(
            spread,
            density * reach / step,
            cell,
            _on_grid(density * tick * cell / step),
            _on_grid(THINNING_FACTOR * liquidity.volatility / tick),
        )


def _on_grid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(GRID ** np.rint(np.log(values) / np.log(GRID)), dtype=np.float64)


def _round_cell(spread: NDArray[np.int64]) -> NDArray[np.int64]:
    """The largest of 1, 2, 5, 10, 20, 50, ... that is not more than the spread."""
    power = 10 ** np.floor(np.log10(spread)).astype(np.int64)
    lead = spread // power
    return np.asarray(power * np.where(lead >= CELLS[2], CELLS[2], np.where(lead >= CELLS[1], CELLS[1], 1)))


def behind(
    key: int, cell: int, per_cell: float, near: float, touch: int, sign: int, time_ms: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The best `count` levels behind a touch: prices in ticks, best first, and quantity steps, both at least 1.

    Args:
        key: the symbol's hash key.
        cell: as in `Depth`, like the next two.
        per_cell: average quantity steps of a level.
        near: ticks over which the book thins.
        touch: the best price in ticks.
        sign: +1 for asks, -1 for bids.
        time_ms: the moment.
        count: how many at most; fewer come where the price would fall below one tick.
    """
    first = touch // cell + 1 if sign > 0 else -(-touch // cell) - 1
    left = SCAN_MAX if sign > 0 else min(SCAN_MAX, max(0, first))
    at_once = int(count / OCCUPIED * 1.1) + 24
    found = [(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))]
    have = 0
    while have < count and left > 0:
        cells = first + sign * np.arange(min(at_once, left), dtype=np.int64)
        ticks = cells * cell
        sizes = _sizes(key, cells, per_cell * -np.expm1(-np.abs(ticks - touch) / near), time_ms)
        there = sizes > 0
        found.append((ticks[there], sizes[there]))
        have += int(np.count_nonzero(there))
        first += sign * cells.size
        left -= cells.size
    ticks, sizes = (np.concatenate(part)[:count] for part in zip(*found, strict=True))
    return ticks, sizes


def level_at(key: int, cell: int, per_cell: float, near: float, touch: int, tick: int, time_ms: int) -> int:
    """Quantity steps of the level at one tick (a multiple of `cell`) behind a touch; arguments as of `behind`."""
    mean = np.array([per_cell * -np.expm1(-abs(tick - touch) / near)])
    return int(_sizes(key, np.array([tick // cell]), mean, time_ms)[0])


def _sizes(key: int, cells: NDArray[np.int64], mean: NDArray[np.float64], time_ms: int) -> NDArray[np.int64]:
    """Quantity steps of the levels at these cells, 0 for the empty ones."""
    place = mixed(cells.astype(np.uint64), key)
    life = np.array(LIVES_MS, dtype=np.uint64)[(place % np.uint64(3)).astype(np.int64)]
    draw = (np.uint64(time_ms) + (place >> np.uint64(8)) % life) // life
    chance = unit(mixed(place + draw, key))
    size = np.abs(np.log((chance + 2.0**-60) / OCCUPIED)) ** TAIL_POWER * (mean / (TAIL_MEAN * OCCUPIED))
    return np.where(chance < OCCUPIED, np.rint(size), 0.0).astype(np.int64)
