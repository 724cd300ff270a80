"""One bar of all symbols, unrolled into the stream of price points that the market walks.

Mark and index price. Candles know one price; the rest is a model. The index follows the traded price with a time
constant of 15 s, the basis (traded minus index) is averaged over 30 s, and the mark is Binance's median of three:

    index x (1 + funding rate x time to funding / funding interval), index + averaged basis, traded price
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import numpy as np

from qt_actors.exchange.candles import FIELDS, OPEN, VOLUME
from qt_actors.exchange.depth import Depth, Liquidity
from qt_actors.exchange.hashes import uniforms
from qt_actors.exchange.paths import walk
from qt_actors.exchange.touch import Touch, touch_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qt_actors.exchange.touch import Steps

INDEX_TAU_MS: Final = 15_000.0
BASIS_TAU_MS: Final = 30_000.0
MARK_DECIMALS: Final = 8
MARK_UNIT: Final = Decimal(1).scaleb(-MARK_DECIMALS)


@dataclass(slots=True)
class Tape:
    """What the price models carry from bar to bar, float64, shape (symbols,); 0 where there is no price yet."""

    last: NDArray[np.float64]
    index: NDArray[np.float64]
    basis: NDArray[np.float64]
    time_ms: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Funding:
    """Next settlement of each symbol: time (int64 ms), running rate, interval (int64 ms)."""

    next_ms: NDArray[np.int64]
    rate: NDArray[np.float64]
    interval_ms: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Block:
    """Price points of one bar of all symbols, in time order, all arrays of shape (k,) but `amounts` and `depth`.

    Attributes:
        times: int64 ms UTC.
        rows: index of the symbol.
        last: traded price; mark, index: float64.
        amounts: volume, quote volume, trades and taker volume of each print, shape (4, k).
        rising: whether the print was bought.
        walked: whether the market came to the print through every price since the symbol's print before, which it does
            inside a candle; a candle's open, and every captured print, is where it is.
        touch: best bid and ask after the print.
        traded: rows of the symbols that have a bar, in order.
        depth: the model behind their touch, shape (traded,).
    """

    times: NDArray[np.int64]
    rows: NDArray[np.int64]
    last: NDArray[np.float64]
    mark: NDArray[np.float64]
    index: NDArray[np.float64]
    amounts: NDArray[np.float64]
    rising: NDArray[np.bool_]
    walked: NDArray[np.bool_]
    touch: Touch
    traded: NDArray[np.intp]
    depth: Depth


def unroll(
    bars: NDArray[np.float64],
    open_ms: int,
    interval_ms: int,
    keys: NDArray[np.uint64],
    decimals: NDArray[np.int64],
    steps: Steps,
    tape: Tape,
    funding: Funding,
    liquidity: Liquidity,
    detail: int,
) -> Block:
    """The points of the bars that open at `open_ms`; `tape` is moved to the end of the bar.

    Args:
        bars: shape (FIELDS, symbols), NaN where a symbol has none.
        open_ms: their open time.
        interval_ms: their length.
        keys: `hashes.symbol_key` of the symbols.
        decimals: price decimals of the symbols.
        steps: ticks and steps of the symbols.
        tape: state of the price models.
        funding: next settlements.
        liquidity: of the last 24 hours.
        detail: steps between two vertices of a path.
    """
    rows = np.flatnonzero(~np.isnan(bars[OPEN]))
    opens = np.full(rows.size, open_ms, dtype=np.int64)
    path = walk(keys[rows], opens, interval_ms, bars[:VOLUME, rows], decimals[rows], detail)
    before = np.where(tape.last[rows] > 0, tape.last[rows], path.prices[:, 0])
    change = np.diff(path.prices, axis=1, prepend=before[:, None])
    rising = direction(change)
    chosen = steps.some(rows)
    depth = Depth.of(bars[OPEN, rows], Liquidity(liquidity.volume[rows], liquidity.volatility[rows]), chosen)
    chance = uniforms(keys[rows], opens, 2 * path.prices.shape[1], salt=4)
    touch = touch_of(path.prices, rising, depth, chosen, chance)
    index, mark = index_and_mark(path.times, path.prices, path.there, rows, tape, funding)
    there = path.there
    tape.last[rows] = bars[VOLUME - 1, rows]
    amounts = bars[VOLUME:FIELDS, rows][:, :, None] * path.weights
    order = np.argsort(path.times[there], kind="stable")
    row_of = np.broadcast_to(rows[:, None], there.shape)
    walked = np.broadcast_to(np.arange(there.shape[1]) > 0, there.shape)
    return Block(
        path.times[there][order],
        row_of[there][order],
        path.prices[there][order],
        mark[there][order],
        index[there][order],
        amounts[:, there][:, order],
        rising[there][order],
        walked[there][order],
        Touch(
            touch.bid[there][order],
            touch.ask[there][order],
            touch.bid_qty[there][order],
            touch.ask_qty[there][order],
        ),
        rows,
        depth,
    )


def direction(change: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each print was bought: above the one before; at the same price as the last move went, else sold."""
    sign = np.sign(change)
    place = np.where(sign != 0, np.arange(sign.shape[1]), 0)
    place = np.maximum.accumulate(place, axis=1)
    return np.take_along_axis(sign, place, axis=1) > 0


def index_and_mark(
    times: NDArray[np.int64],
    prices: NDArray[np.float64],
    there: NDArray[np.bool_],
    rows: NDArray[np.intp],
    tape: Tape,
    funding: Funding,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Index and mark along the paths (module docstring), point by point over all symbols at once."""
    fresh = tape.index[rows] <= 0
    index = np.where(fresh, prices[:, 0], tape.index[rows])
    basis = np.where(fresh, 0.0, tape.basis[rows])
    before = np.where(fresh, times[:, 0], tape.time_ms[rows])
    indices, marks = np.empty_like(prices), np.empty_like(prices)
    for point in range(prices.shape[1]):
        now, last, live = times[:, point], prices[:, point], there[:, point]
        elapsed = np.where(live, np.maximum(now - before, 0), 0)
        index = index + (last - index) * -np.expm1(-elapsed / INDEX_TAU_MS)
        basis = basis + (last - index - basis) * -np.expm1(-elapsed / BASIS_TAU_MS)
        before = np.where(live, now, before)
        left = np.clip((funding.next_ms[rows] - now) / funding.interval_ms[rows], 0.0, 1.0)
        carried = index * (1.0 + funding.rate[rows] * left)
        low, high = np.minimum(carried, index + basis), np.maximum(carried, index + basis)
        indices[:, point], marks[:, point] = index, np.minimum(np.maximum(last, low), high)
    tape.index[rows], tape.basis[rows], tape.time_ms[rows] = index, basis, before
    return indices, marks
