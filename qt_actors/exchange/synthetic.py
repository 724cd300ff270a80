"""The synthetic market: seeded 15-minute candles of many symbols with the statistics of real ones.

Model, per 15-minute step. BTC is the common factor: r_f = drift + sigma_f(t) e + jumps. Another symbol is
r_i = beta_i r_f + sigma_i(t) e_i + jumps + the change of a transitory part (half-life 12 h) that is taken back later,
which makes the slight mean reversion of real alt-coins. Log volatility is a sum of three AR(1) parts with half-lives
of 1 h, 1 day and 15 days, half of them shared by all symbols, plus the market's regime (quiet, rising, falling,
stressed; days long, each with its drift and volatility), plus the hours of the day as measured. A jump excites the
fast part. Highs and lows are the exact extremes of a Brownian bridge between open and close. Volume follows
volatility, the bar's own range, and a slow part of its own. A weak pull (half-life one year) keeps prices in reach
of where they began.

Medians over symbols of 1h bars: 16 real ones of 2022 to 2025, 45 synthetic ones over 20,000 h and three seeds (bands
are held by tests/pure/test_market_synthetic.py):

    =======================================  ==============  ==============
    .                                        real            synthetic
    =======================================  ==============  ==============
    hourly volatility, percent (BTC)         1.02 (0.56)     1.05 (0.58)
    kurtosis                                 24.6            15.3
    moves beyond 5 sd, per 10,000            37              34
    autocorrelation of returns, lag 1        -0.011          -0.002
    same of absolute returns, lag 1          0.26            0.28
    lag 6 / 24 / 168                         0.17/0.16/0.10  0.18/0.16/0.08
    variance ratio 4 h / 24 h / 72 h         0.99/0.95/0.89  0.98/0.97/0.93
    same of BTC, 72 h                        1.02            1.07
    range over absolute return               2.16            2.17
    correlation with BTC, beta               0.67, 1.24      0.71, 1.25
    correlation of log volume, log range     0.75            0.79
    autocorr. of log volume, lag 1 / 24      0.86/0.68       0.85/0.61
    =======================================  ==============  ==============

Deterministic: chunk k of 512 bars is a function of seed, symbols, origin and the generator's state at its start.
States are kept, so any stretch can be made again; a market resumed years after its origin walks there once.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from qt_actors.exchange.candles import CLOSE, HIGH, LOW, OPEN, VOLUME, Grid, empty_grid, fill_estimates
from qt_actors.exchange.figures import decimals as decimals_of
from qt_actors.exchange.intervals import HOUR_MS, INTERVAL_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from qt_actors.exchange.rules import SymbolRules

STEP_MS: Final = INTERVAL_MS["15m"]
STEPS_PER_HOUR: Final = HOUR_MS // STEP_MS
CHUNK: Final = 512
CHUNKS_KEPT: Final = 4
HISTORY_MS: Final = 840 * HOUR_MS
DEFAULT_START_MS: Final = 1_767_225_600_000  # 2026-01-01T00:00Z
FOREVER_MS: Final = 253_402_300_799_000

FACTOR_SIGMA: Final = 0.0056  # BTC, one hour
HALF_LIVES_H: Final = (1.0, 24.0, 360.0)
LOG_VOL_VARIANCE: Final = (0.16, 0.06, 0.14)
SHARED: Final = 0.5  # part of that variance which all symbols have in common
JUMPS_PER_HOUR: Final = 1 / 300
OWN_JUMPS_PER_HOUR: Final = 1 / 500
JUMP_SIGMAS: Final = 5.0  # standard deviation of a jump, in hourly sigmas
JUMP_EXCITES: Final = 0.7
TRANSITORY_SHARE: Final = 0.34  # of an alt-coin's own variance
TRANSITORY_HALF_LIFE_H: Final = 12.0
PULL_HALF_LIFE_H: Final = 8766.0
RANGE_SCALE: Final = 1.2  # highs and lows reach a little further than a diffusion's
VOLUME_OF_VOL: Final = 1.05
VOLUME_OF_RANGE: Final = 0.5
VOLUME_OWN_SD: Final = 0.4
VOLUME_HALF_LIFE_H: Final = 200.0
VOLUME_NOISE_SD: Final = 0.35
FACTOR_VOLUME_24H: Final = 1.2e10  # USDT
VOLUME_MIN_24H: Final = 5e6

# Where well-known symbols begin, USDT; any other in the middle of its price filter.
HOME_PRICES: Final = {
    "BTCUSDT": 100_000.0, "ETHUSDT": 4_000.0, "SOLUSDT": 200.0, "XRPUSDT": 2.5, "BNBUSDT": 800.0, "DOGEUSDT": 0.2,
    "ADAUSDT": 0.8, "LINKUSDT": 20.0, "AVAXUSDT": 25.0, "LTCUSDT": 110.0, "TRXUSDT": 0.33, "DOTUSDT": 4.0,
    "BCHUSDT": 550.0, "UNIUSDT": 10.0, "AAVEUSDT": 300.0, "NEARUSDT": 2.5, "SUIUSDT": 3.5, "APTUSDT": 4.5,
    "ARBUSDT": 0.5, "OPUSDT": 0.7, "ATOMUSDT": 4.5, "ETCUSDT": 20.0, "FILUSDT": 2.4, "XLMUSDT": 0.38,
    "1000PEPEUSDT": 0.01, "1000SHIBUSDT": 0.012, "1000BONKUSDT": 0.02, "WIFUSDT": 0.8, "ENAUSDT": 0.65,
    "ONDOUSDT": 0.9, "TIAUSDT": 1.7, "SEIUSDT": 0.3, "INJUSDT": 13.0, "CRVUSDT": 0.8, "WLDUSDT": 0.9,
    "FETUSDT": 0.6, "RENDERUSDT": 3.5, "HBARUSDT": 0.23, "TONUSDT": 3.2, "JUPUSDT": 0.5, "ORDIUSDT": 8.5,
    "LDOUSDT": 1.2, "GALAUSDT": 0.016, "ALGOUSDT": 0.24, "TAOUSDT": 330.0,
}  # fmt: skip

# Regimes: log volatility, drift in hourly sigmas, mean length in hours.
REGIME_VOL: Final = np.array([-0.40, -0.05, 0.10, 0.55])
REGIME_DRIFT: Final = np.array([0.0, 0.02, -0.02, -0.01])
REGIME_HOURS: Final = np.array([140.0, 160.0, 130.0, 60.0])
REGIME_NEXT: Final = np.array(
    [[0.0, 0.45, 0.35, 0.20], [0.55, 0.0, 0.30, 0.15], [0.45, 0.25, 0.0, 0.30], [0.30, 0.35, 0.35, 0.0]]
)
# Mean absolute hourly move by UTC hour over its mean, 16 symbols, 2022 to 2025.
HOURS: Final = np.array(
    [1.18, 1.15, 0.99, 0.88, 0.84, 0.87, 0.90, 0.89, 0.95, 0.88, 0.85, 0.86,
     1.01, 1.20, 1.29, 1.21, 1.14, 1.10, 1.03, 1.01, 0.97, 0.96, 0.98, 0.87]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the symbols are like, float64, shape (symbols,)."""

    beta: NDArray[np.float64]
    sigma: NDArray[np.float64]
    home: NDArray[np.float64]
    volume: NDArray[np.float64]
    tick: NDArray[np.float64]
    step: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _State:
    """The generator between two chunks: log prices, last closes, log-volatility parts (3, symbols + 1), and so on."""

    price: NDArray[np.float64]
    close: NDArray[np.float64]
    parts: NDArray[np.float64]
    transitory: NDArray[np.float64]
    volume: NDArray[np.float64]
    regime: int


class SyntheticMarket:
    """A seeded market source (protocol `history.MarketSource`).

    Args:
        seed: any whole number >= 0.
        rules: of the symbols to make, in order; the more liquid first. BTCUSDT, if among them, is the factor.
        start_ms: when trading starts; its hour minus 840 h is where the market begins.
    """

    def __init__(self, seed: int, rules: Sequence[SymbolRules], start_ms: int | None = None) -> None:
        self.name = f"synthetic:{seed}"
        self.symbols = tuple(rule.symbol for rule in rules)
        self.interval_ms = STEP_MS
        self.default_start_ms = DEFAULT_START_MS if start_ms is None else start_ms
        self.origin_ms = self.default_start_ms // HOUR_MS * HOUR_MS - HISTORY_MS
        count = len(rules)
        self.decimals = np.array([max(0, decimals_of(rule.tick)) for rule in rules], dtype=np.int64)
        self.first_ms = np.full(count, self.origin_ms, dtype=np.int64)
        self.end_of_ms = np.full(count, FOREVER_MS, dtype=np.int64)
        self.end_ms = FOREVER_MS
        self.identity = f"{self.name} of {count} symbols since {self.origin_ms}"
        self._seed = seed
        rng = self._rng(0)
        self._shape = _shape(rules, rng)
        self._states = [_first_state(self._shape, rng)]
        self._lock = threading.Lock()
        self._made: OrderedDict[int, NDArray[np.float64]] = OrderedDict()

    def read(self, start_ms: int, end_ms: int, rows: Sequence[int] | None = None) -> Grid:
        """The grid from `start_ms` to `end_ms` of all symbols, or of those in `rows`; empty before the origin."""
        with self._lock:  # the next stretch is read on another thread
            return self._read(start_ms, end_ms, rows)

    def _read(self, start_ms: int, end_ms: int, rows: Sequence[int] | None) -> Grid:
        chosen = list(range(len(self.symbols)) if rows is None else rows)
        grid = empty_grid(start_ms, STEP_MS, len(chosen), max(0, (end_ms - start_ms) // STEP_MS))
        first = (start_ms - self.origin_ms) // STEP_MS
        for number in range(max(0, first // CHUNK), max(0, -(-(first + grid.bars) // CHUNK))):
            chunk = self._chunk(number)
            low, high = max(first, number * CHUNK), min(first + grid.bars, (number + 1) * CHUNK)
            grid.data[:, :, low - first : high - first] = chunk[:, chosen, low - number * CHUNK : high - number * CHUNK]
        return grid

    def _chunk(self, number: int) -> NDArray[np.float64]:
        """Bars of a chunk, shape (FIELDS, symbols, CHUNK)."""
        if number in self._made:
            self._made.move_to_end(number)
            return self._made[number]
        while len(self._states) <= number:
            self._states.append(self._make(len(self._states) - 1)[1])
        bars, after = self._make(number)
        if len(self._states) == number + 1:
            self._states.append(after)
        self._made[number] = bars
        if len(self._made) > CHUNKS_KEPT:
            self._made.popitem(last=False)
        return bars

    def _make(self, number: int) -> tuple[NDArray[np.float64], _State]:
        opens = self.origin_ms + (number * CHUNK + np.arange(CHUNK)) * STEP_MS
        return _chunk(self._shape, self._states[number], self._rng(number + 1), opens)

    def _rng(self, part: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(np.random.SeedSequence([self._seed, part])))


def _shape(rules: Sequence[SymbolRules], rng: np.random.Generator) -> _Shape:
    """Betas, volatilities, starting prices and volumes; wilder and thinner further down the list."""
    count = len(rules)
    rank = np.arange(count)
    factor = np.array([rule.symbol == "BTCUSDT" for rule in rules])
    beta = 1.25 + 0.2 * rng.standard_normal(count)
    beta = np.where(factor, 1.0, np.clip(beta, 0.7, 2.0))
    sigma = (0.0042 + 0.0038 * (1 - np.exp(-rank / 12))) * np.exp(0.2 * rng.standard_normal(count))
    low = np.array([float(rule.min_price) for rule in rules])
    high = np.array([float(rule.max_price) for rule in rules])
    tick = np.array([float(rule.tick) for rule in rules])
    known = np.array([HOME_PRICES.get(rule.symbol, np.nan) for rule in rules])
    # A price filter spans the price about evenly on a log scale; any price has at least 1000 ticks.
    home = np.log(np.maximum(np.where(np.isnan(known), np.sqrt(low * high), known), 1000 * tick))
    volume = np.maximum(FACTOR_VOLUME_24H / (1 + rank) ** 1.15, VOLUME_MIN_24H) / (24 * STEPS_PER_HOUR)
    step = np.array([float(rule.step) for rule in rules])
    return _Shape(beta, np.where(factor, 0.0, sigma), home, volume, tick, step)


def _first_state(shape: _Shape, rng: np.random.Generator) -> _State:
    count = shape.beta.size
    price = shape.home + 0.1 * rng.standard_normal(count)
    parts = rng.standard_normal((3, count + 1)) * np.sqrt(np.array(LOG_VOL_VARIANCE))[:, None]
    close = np.rint(np.exp(price) / shape.tick) * shape.tick
    own = VOLUME_OWN_SD * rng.standard_normal(count)
    return _State(price, close, parts, np.zeros(count), own, int(rng.integers(4)))


def _chunk(
    shape: _Shape, state: _State, rng: np.random.Generator, opens: NDArray[np.int64]
) -> tuple[NDArray[np.float64], _State]:
    """One chunk of bars and the state after it."""
    count = shape.beta.size
    regime, states = _regimes(state.regime, rng)
    jumps, own_jumps = _jumps(rng, count)
    parts, log_vol, factor_vol = _log_volatility(state.parts, rng, jumps, own_jumps)
    season = np.log(HOURS[(opens // HOUR_MS) % 24]) + REGIME_VOL[states]
    factor_sigma = FACTOR_SIGMA / np.sqrt(STEPS_PER_HOUR) * np.exp(factor_vol + season)
    sigma = shape.sigma / np.sqrt(STEPS_PER_HOUR) * np.exp(log_vol + season[:, None])
    drift = REGIME_DRIFT[states] * FACTOR_SIGMA / STEPS_PER_HOUR
    factor = drift + factor_sigma * rng.standard_normal(CHUNK) + jumps * FACTOR_SIGMA * JUMP_SIGMAS
    fresh = sigma * rng.standard_normal((CHUNK, count))
    passing, transitory = _transitory(state.transitory, fresh)
    pull = (state.price - shape.home) * np.log(2) / (PULL_HALF_LIFE_H * STEPS_PER_HOUR)
    own = np.sqrt(1 - TRANSITORY_SHARE) * fresh + passing + own_jumps * shape.sigma * JUMP_SIGMAS
    moves = shape.beta * factor[:, None] + own - pull
    total = np.sqrt((shape.beta * factor_sigma[:, None]) ** 2 + sigma**2)
    path = state.price + np.cumsum(moves, axis=0)
    volume_parts, own_volume = _volume_parts(state.volume, rng)
    typical = np.sqrt((shape.beta * FACTOR_SIGMA) ** 2 + shape.sigma**2) / np.sqrt(STEPS_PER_HOUR)
    bars, close = _bars(shape, state, path, moves, total, rng)
    span = np.log(bars[HIGH] / bars[LOW]).T
    louder = VOLUME_OF_VOL * np.log(total / typical) + VOLUME_OF_RANGE * np.log((span + 0.1 * total) / (1.6 * total))
    quote = shape.volume * np.exp(louder + volume_parts + VOLUME_NOISE_SD * rng.standard_normal((CHUNK, count)))
    middle = (bars[HIGH] + bars[LOW] + bars[CLOSE]) / 3.0
    bars[VOLUME] = np.maximum(np.rint(quote.T / middle / shape.step[:, None]), 1.0) * shape.step[:, None]
    fill_estimates(bars)
    return bars, _State(path[-1], close, parts, transitory, own_volume, regime)


def _regimes(regime: int, rng: np.random.Generator) -> tuple[int, NDArray[np.int64]]:
    """The regime after the chunk and at every step of it."""
    leave, which = rng.random(CHUNK), rng.random(CHUNK)
    states = np.empty(CHUNK, dtype=np.int64)
    for step in range(CHUNK):
        if leave[step] < 1 / (REGIME_HOURS[regime] * STEPS_PER_HOUR):
            regime = int(np.searchsorted(np.cumsum(REGIME_NEXT[regime]), which[step]))
        states[step] = regime
    return regime, states


def _jumps(rng: np.random.Generator, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Jumps of the factor (CHUNK,) and of the symbols (CHUNK, symbols) in units of their own spread; mostly 0."""
    common = (rng.random(CHUNK) < JUMPS_PER_HOUR / STEPS_PER_HOUR) * rng.standard_normal(CHUNK)
    own = (rng.random((CHUNK, count)) < OWN_JUMPS_PER_HOUR / STEPS_PER_HOUR) * rng.standard_normal((CHUNK, count))
    return common, own


def _log_volatility(
    parts: NDArray[np.float64], rng: np.random.Generator, jumps: NDArray[np.float64], own_jumps: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """AR(1) parts: their state after the chunk, the symbols' log volatility (CHUNK, symbols), the factor's (CHUNK,).

    The last column of `parts` is the factor's; every symbol has a share of it. Centred so that the mean of the
    squared volatility is one.
    """
    keep = 0.5 ** (1 / (np.array(HALF_LIVES_H) * STEPS_PER_HOUR))
    scale = np.sqrt(np.array(LOG_VOL_VARIANCE) * (1 - keep**2))
    shocks = rng.standard_normal((CHUNK, *parts.shape)) * scale[:, None]
    shocks[:, 0, -1] += JUMP_EXCITES * np.abs(jumps)
    shocks[:, 0, :-1] += JUMP_EXCITES * np.abs(own_jumps)
    summed = np.empty((CHUNK, parts.shape[1]))
    keep = keep[:, None]
    for step in range(CHUNK):
        parts = keep * parts + shocks[step]
        summed[step] = parts.sum(axis=0)
    total = sum(LOG_VOL_VARIANCE)
    factor = summed[:, -1]
    mixed = np.sqrt(SHARED) * factor[:, None] + np.sqrt(1 - SHARED) * summed[:, :-1]
    return parts, mixed - total, factor - total


def _transitory(
    level: NDArray[np.float64], fresh: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Changes of the part of the price that is taken back, (CHUNK, symbols), and its level after the chunk."""
    keep = 0.5 ** (1 / (TRANSITORY_HALF_LIFE_H * STEPS_PER_HOUR))
    changes = np.empty_like(fresh)
    # The part that fades takes the share that the lasting part leaves: sqrt(1 - s) + x = 1 at the moment itself.
    share = 1 - np.sqrt(1 - TRANSITORY_SHARE)
    for step in range(CHUNK):
        after = keep * level + share * fresh[step]
        changes[step] = after - level
        level = after
    return changes, level


def _volume_parts(
    level: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The volume's own slow part in logs, (CHUNK, symbols), and its level after the chunk."""
    keep = 0.5 ** (1 / (VOLUME_HALF_LIFE_H * STEPS_PER_HOUR))
    shocks = VOLUME_OWN_SD * np.sqrt(1 - keep**2) * rng.standard_normal((CHUNK, level.size))
    parts = np.empty_like(shocks)
    for step in range(CHUNK):
        level = keep * level + shocks[step]
        parts[step] = level
    return parts, level


def _bars(
    shape: _Shape,
    state: _State,
    path: NDArray[np.float64],
    moves: NDArray[np.float64],
    total: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Candles on the tick grid, (FIELDS, symbols, CHUNK) with volumes NaN yet, and the last closes.

    The extremes of a Brownian bridge from 0 to r with variance s^2 are (r +- sqrt(r^2 - 2 s^2 ln U)) / 2.
    """
    reach = 2 * (RANGE_SCALE * total) ** 2
    up = (moves + np.sqrt(moves**2 - reach * np.log(1 - rng.random(moves.shape)))) / 2
    down = (moves - np.sqrt(moves**2 - reach * np.log(1 - rng.random(moves.shape)))) / 2
    before = path - moves
    tick = shape.tick
    closes = np.maximum(np.rint(np.exp(path) / tick), 1) * tick
    opens = np.concatenate((state.close[None, :], closes[:-1]))
    highs = np.maximum(np.rint(np.exp(before + up) / tick) * tick, np.maximum(opens, closes))
    lows = np.minimum(np.maximum(np.rint(np.exp(before + down) / tick), 1) * tick, np.minimum(opens, closes))
    bars = np.full((8, moves.shape[1], CHUNK), np.nan)
    bars[OPEN], bars[HIGH], bars[LOW], bars[CLOSE] = opens.T, highs.T, lows.T, closes.T
    return bars, closes[-1]
