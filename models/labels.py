"""Triple-barrier labels with the very stop and target that the trader places, and what either side would have earned.

Entry is the next bar's open. The stop lies w away (the stop distance, never wider than ``stop_max``), the target
``target_ratio`` × w, and after ``horizon_bars`` the trade is closed at the bar's close (Lopez de Prado 2018, chapter
3). Within one bar the stop counts as touched first, unless the bar already opened beyond the target; a bar that opens
beyond the stop fills at its open, a target fills at its price, never better.

Stop and target differ, so a long and a short of the same bar are two trades, not mirror images: both can win (the
price reaches the nearer target on each side), both can run out of time. A label says which *one* of them wins:

- BUY: the long reaches its target before its stop, and the short does not;
- SELL: the short does, and the long does not;
- HOLD: both or neither.

With a ratio up to 1 a long is stopped only where the short has passed its target, so the stop of a BUY call is a SELL
label (but for a single bar that spans both stops, which is HOLD). ``r_long`` and ``r_short`` hold the exact results
after costs, in stop distances, so that no expectancy need be read off the classes. One exit is assumed for the whole
position: the partial target and the trailing stop of SPEC 9.2 are not part of a label.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.indicators import Floats

SELL, HOLD, BUY = 0, 1, 2


class Barriers(NamedTuple):
    """What is placed and what it costs.

    Attributes:
        target_ratio: target over stop distance; 0.06 / 0.08 is SPEC 9.1 at confidence 0.45.
        stop_max: widest stop, fraction of price (QT_SL_PCT). horizon_bars: the time barrier.
        fee, slippage: fractions of notional for each of entry and exit; fee is the taker's 5 bp.
    """

    target_ratio: float = 0.75
    stop_max: float = 0.08
    horizon_bars: int = 48
    fee: float = 0.0005
    slippage: float = 0.0002


class Outcomes(NamedTuple):
    """Labels and results of every bar of one symbol.

    Attributes:
        known: bool[T], whether the row has a label; all else is meaningless where it has not.
        labels: int8[T]; r_long, r_short: float64[T], in stop distances after costs.
        last: int64[T], the bar by whose close both trades had ended.
        both: bool[T], HOLD rows in which both sides won.
    """

    known: NDArray[np.bool_]
    labels: NDArray[np.int8]
    r_long: Floats
    r_short: Floats
    last: NDArray[np.int64]
    both: NDArray[np.bool_]


class _Side(NamedTuple):
    won: NDArray[np.bool_]
    exit_bars: NDArray[np.int64]
    gross: Floats


def triple_barrier(
    ohlcv: Floats,
    real: NDArray[np.bool_],
    stop_distance: Floats,
    barriers: Barriers,
    funding: Floats | None = None,
) -> Outcomes:
    """Label every bar of one symbol.

    Args:
        ohlcv: float64[T, 5] without holes.
        real: bool[T], False in bars that were filled.
        stop_distance: float64[T], w at each bar's close.
        barriers: what is placed.
        funding: float64[T], rate that a long pays at each bar's open (0 where nothing settles); None = no funding.

    Returns:
        ``known`` is False where w is unknown or 0, in the last ``horizon_bars`` rows, and where a bar of the horizon
            is missing.
    """
    total, horizon = len(ohlcv), barriers.horizon_bars
    count = max(0, total - horizon)
    outcomes = Outcomes(
        known=np.zeros(total, dtype=np.bool_),
        labels=np.full(total, HOLD, dtype=np.int8),
        r_long=np.full(total, np.nan),
        r_short=np.full(total, np.nan),
        last=np.zeros(total, dtype=np.int64),
        both=np.zeros(total, dtype=np.bool_),
    )
    if not count:
        return outcomes
    stop = np.minimum(stop_distance[:count], barriers.stop_max)
    missing = np.concatenate([[0], np.cumsum(~real)])
    whole = missing[1 + horizon : 1 + horizon + count] == missing[1 : 1 + count]
    with np.errstate(invalid="ignore"):
        outcomes.known[:count] = whole & (stop > 0)
    rows = np.arange(count)
    paid = np.cumsum(np.zeros(total) if funding is None else funding)
    sides = [_trade(ohlcv, stop, barriers, side) for side in (1.0, -1.0)]
    for side, trade, out in zip((1.0, -1.0), sides, (outcomes.r_long, outcomes.r_short), strict=True):
        held = paid[rows + trade.exit_bars] - paid[rows + 1]
        net = trade.gross - 2 * (barriers.fee + barriers.slippage) - side * held
        out[:count] = np.where(outcomes.known[:count], net / np.where(stop > 0, stop, 1.0), np.nan)
    long, short = sides
    outcomes.labels[:count][long.won & ~short.won] = BUY
    outcomes.labels[:count][short.won & ~long.won] = SELL
    outcomes.both[:count] = long.won & short.won
    outcomes.last[:count] = rows + np.maximum(long.exit_bars, short.exit_bars)
    return outcomes


def _trade(ohlcv: Floats, stop: Floats, barriers: Barriers, side: float) -> _Side:
    """Follow a trade from the open after each of the first ``len(stop)`` bars: its gross return, exit 1..horizon."""
    count, horizon = len(stop), barriers.horizon_bars
    opens, closes = np.ascontiguousarray(ohlcv[:, 0]), np.ascontiguousarray(ohlcv[:, 3])
    # Seen from the trade's side, the best and the worst price of a bar, as signed returns against its entry.
    best, worst = (ohlcv[:, 1], ohlcv[:, 2]) if side > 0 else (ohlcv[:, 2], ohlcv[:, 1])
    best, worst = np.ascontiguousarray(best), np.ascontiguousarray(worst)
    entry = opens[1 : 1 + count]
    target = barriers.target_ratio * stop
    won = np.zeros(count, dtype=np.bool_)
    exit_bars = np.full(count, horizon, dtype=np.int64)
    gross = side * (closes[horizon : horizon + count] / entry - 1.0)
    alive = np.arange(count)
    for bars in range(1, horizon + 1):
        at = alive + bars
        first = side * (opens[at] / entry[alive] - 1.0)
        hit_target = side * (best[at] / entry[alive] - 1.0) >= target[alive]
        hit_stop = (side * (worst[at] / entry[alive] - 1.0) <= -stop[alive]) & (first < target[alive])
        hit_target &= ~hit_stop
        gross[alive[hit_target]] = target[alive[hit_target]]
        gross[alive[hit_stop]] = np.minimum(first, -stop[alive])[hit_stop]
        won[alive[hit_target]] = True
        done = hit_stop | hit_target
        exit_bars[alive[done]] = bars
        alive = alive[~done]
    return _Side(won, exit_bars, gross)


def average_uniqueness(first: NDArray[np.int64], last: NDArray[np.int64]) -> Floats:
    """Mean over a label's bars of 1 / (labels alive in that bar), float64[N] (Lopez de Prado 2018, chapter 4).

    Args:
        first: int64[N], the first bar that each label of one symbol depends on.
        last: int64[N], the last one, inclusive.
    """
    if not len(first):
        return np.empty(0)
    origin = int(first.min())
    length = int(last.max()) - origin + 1
    steps = np.bincount(first - origin, minlength=length + 1) - np.bincount(last - origin + 1, minlength=length + 1)
    alive = np.maximum(np.cumsum(steps)[:length], 1)
    shares = np.concatenate([[0.0], np.cumsum(1.0 / alive)])
    uniqueness: Floats = (shares[last - origin + 1] - shares[first - origin]) / (last - first + 1)
    return uniqueness
