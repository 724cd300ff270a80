"""Captured frames as a market source: trades, best prices and books as they were, event by event.

A file holds one frame a line, as a combined or a raw stream sent it, plain or gzipped; what stands before the first
brace (a time of receipt) is ignored. Read are `trade` or `aggTrade`, `bookTicker`, `depthUpdate` (diffs), and the reply
of GET depth, which starts the book where the file is of one symbol. Everything else is left out. Events count by their
own time T, and every millisecond with an event is a price point; candles are those of the trades, of one minute.

Not in such files, and modelled as for candles: mark and index price, funding, and the trades that REST tells.
"""

from __future__ import annotations

import gzip
from bisect import bisect_right
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson

from qt_actors.exchange.candle_files import FILE_BYTES_MAX, MarketDataError
from qt_actors.exchange.candles import FIELDS, Candles, Grid, aggregate, empty_grid
from qt_actors.exchange.figures import decimals as decimals_of
from qt_actors.exchange.intervals import MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

SUFFIXES: Final = (".gz", ".jsonl")
KINDS: Final = frozenset({"trade", "aggTrade", "bookTicker", "depthUpdate"})
# Columns of a symbol's points.
LAST, BID, ASK, BID_QTY, ASK_QTY, VOLUME, QUOTE, TRADES, TAKER, BOUGHT = range(10)
COLUMNS: Final = 10


@dataclass(slots=True)
class _Tape:
    """What was captured of one symbol."""

    frames: list[dict[str, Any]] = field(default_factory=list)
    snapshot: dict[str, Any] | None = None
    times: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    points: NDArray[np.float64] = field(default_factory=lambda: np.empty((COLUMNS, 0)))
    diffs: list[dict[str, Any]] = field(default_factory=list)
    diff_times: list[int] = field(default_factory=list)


class CapturedMarket:
    """Captured frames as a market source (protocol `history.MarketSource`), which also knows its points and books.

    Args:
        path: the file.

    Raises:
        MarketDataError: it cannot be read, or holds no trade and no best price.
    """

    def __init__(self, path: Path) -> None:
        self.name = f"captured:{path}"
        self.identity = f"captured:{path.resolve()}"
        tapes = {symbol: tape for symbol, tape in _read(path).items() if _unroll(tape)}
        if not tapes:
            raise MarketDataError(f"{path}: no trade and bookTicker or depthUpdate of a symbol here")
        self.symbols = tuple(tapes)
        self._tapes = list(tapes.values())
        self.interval_ms = MINUTE_MS
        self.decimals = np.array([_decimals(tape) for tape in self._tapes], dtype=np.int64)
        self.first_ms = np.array([int(tape.times[0]) // MINUTE_MS * MINUTE_MS for tape in self._tapes], dtype=np.int64)
        ends = [(int(tape.times[-1]) // MINUTE_MS + 1) * MINUTE_MS for tape in self._tapes]
        self.end_of_ms = np.array(ends, dtype=np.int64)
        self.end_ms = max(ends)
        self.default_start_ms = max(int(tape.times[0]) for tape in self._tapes)
        self._candles = [_minutes(tape) for tape in self._tapes]
        self._books = [_Book(tape) for tape in self._tapes]

    def read(self, start_ms: int, end_ms: int, rows: Sequence[int] | None = None) -> Grid:
        """The grid of one-minute candles, made of the trades."""
        chosen = range(len(self.symbols)) if rows is None else rows
        grid = empty_grid(start_ms, MINUTE_MS, len(chosen), max(0, (end_ms - start_ms) // MINUTE_MS))
        for place, row in enumerate(chosen):
            candles = self._candles[row]
            column = (candles.opens - start_ms) // MINUTE_MS
            inside = (column >= 0) & (column < grid.bars)
            grid.data[:, place, column[inside]] = candles.data[:, inside]
        return grid

    def points(self, row: int, open_ms: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Times and columns (LAST ... BOUGHT) of a symbol's points in the minute from `open_ms`."""
        tape = self._tapes[row]
        low, high = np.searchsorted(tape.times, (open_ms, open_ms + MINUTE_MS))
        return tape.times[low:high], tape.points[:, low:high]

    def levels(self, row: int, sign: int, time_ms: int) -> list[tuple[str, str]]:
        """Levels of asks (sign +1) or bids (-1) as captured up to a time, best first."""
        return self._books[row].levels(sign, time_ms)


class _Book:
    """A symbol's book along its diffs; cheap forwards, started over for a time that lies before."""

    def __init__(self, tape: _Tape) -> None:
        self._tape = tape
        self._sides: dict[int, dict[str, str]] = {1: {}, -1: {}}
        self._sorted: dict[int, list[tuple[str, str]]] = {}
        self._applied = -1

    def levels(self, sign: int, time_ms: int) -> list[tuple[str, str]]:
        wanted = bisect_right(self._tape.diff_times, time_ms)
        if self._applied < 0 or wanted < self._applied:
            start = self._tape.snapshot or {"bids": [], "asks": []}
            self._sides = {-1: dict(start["bids"]), 1: dict(start["asks"])}
            self._applied = 0
            self._sorted.clear()
        for diff in self._tape.diffs[self._applied : wanted]:
            self._sorted.clear()
            for side, changes in ((-1, diff["b"]), (1, diff["a"])):
                levels = self._sides[side]
                for price, quantity in changes:
                    if float(quantity):
                        levels[price] = quantity
                    else:
                        levels.pop(price, None)
        self._applied = wanted
        if sign not in self._sorted:
            self._sorted[sign] = sorted(self._sides[sign].items(), key=lambda level: sign * float(level[0]))
        return self._sorted[sign]


def _read(path: Path) -> dict[str, _Tape]:
    tapes: dict[str, _Tape] = {}
    snapshot: dict[str, Any] | None = None
    try:
        raw = path.read_bytes()
        with_size = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        if len(with_size) > FILE_BYTES_MAX:
            raise MarketDataError(f"{path}: {len(with_size):,} bytes; at most {FILE_BYTES_MAX:,} are read")
        for line in with_size.splitlines():
            begin = line.find(b"{")
            if begin < 0:
                continue
            told = orjson.loads(line[begin:])
            frame = told.get("data", told)
            if "lastUpdateId" in frame:
                snapshot = frame
            elif frame.get("e") in KINDS:
                tapes.setdefault(str(frame["s"]), _Tape()).frames.append(frame)
    except (OSError, ValueError, EOFError, KeyError, AttributeError) as reason:
        if isinstance(reason, MarketDataError):
            raise
        raise MarketDataError(f"{path}: cannot be read as captured frames, one a line: {reason}") from reason
    if snapshot is not None and len(tapes) == 1:
        next(iter(tapes.values())).snapshot = snapshot
    return tapes


def _unroll(tape: _Tape) -> bool:
    """Fill in the tape's points, one a millisecond with an event; False where a price or a touch is never known."""
    tape.frames.sort(key=lambda frame: int(frame["T"]))
    begun = tape.snapshot["lastUpdateId"] if tape.snapshot is not None else 0
    tape.diffs = [frame for frame in tape.frames if frame["e"] == "depthUpdate" and frame["u"] >= begun]
    tape.diff_times = [int(frame["T"]) for frame in tape.diffs]
    touched = any(frame["e"] == "bookTicker" for frame in tape.frames)
    book = _Book(tape)
    now = np.zeros(COLUMNS)
    times: list[int] = []
    rows: list[NDArray[np.float64]] = []
    for frame in tape.frames:
        time_ms, kind = int(frame["T"]), frame["e"]
        if not times or times[-1] != time_ms:
            now[VOLUME : TAKER + 1] = 0.0
        if kind == "bookTicker":
            now[[BID, ASK, BID_QTY, ASK_QTY]] = [float(frame[key]) for key in ("b", "a", "B", "A")]
        elif kind == "depthUpdate":
            if not touched:
                _touch(now, book, time_ms)
        else:
            _trade(now, frame)
        if now[LAST] > 0 and now[BID] > 0 and now[ASK] > now[BID]:
            if times and times[-1] == time_ms:
                rows[-1] = now.copy()
            else:
                times.append(time_ms)
                rows.append(now.copy())
    tape.frames.clear()
    tape.times = np.array(times, dtype=np.int64)
    tape.points = np.array(rows).T if rows else tape.points
    return bool(times)


def _trade(now: NDArray[np.float64], frame: dict[str, Any]) -> None:
    price, quantity, bought = float(frame["p"]), float(frame["q"]), not frame["m"]
    now[LAST], now[BOUGHT] = price, bought
    now[VOLUME] += quantity
    now[QUOTE] += price * quantity
    now[TRADES] += frame.get("l", 0) - frame.get("f", 0) + 1
    now[TAKER] += quantity * bought


def _touch(now: NDArray[np.float64], book: _Book, time_ms: int) -> None:
    """The best prices of the book, where no ticker tells them."""
    for sign, price, quantity in ((-1, BID, BID_QTY), (1, ASK, ASK_QTY)):
        best = book.levels(sign, time_ms)
        if best:
            now[price], now[quantity] = float(best[0][0]), float(best[0][1])


def _decimals(tape: _Tape) -> int:
    return max(decimals_of(Decimal(repr(price))) for price in set(tape.points[LAST].tolist()))


def _minutes(tape: _Tape) -> Candles:
    """One-minute candles of the points that traded."""
    traded = tape.points[VOLUME] > 0
    data = np.empty((FIELDS, int(traded.sum())))
    data[:4] = tape.points[LAST, traded]
    data[4:] = tape.points[VOLUME : TAKER + 1, traded]
    return aggregate(Candles(tape.times[traded], data), "1m")
