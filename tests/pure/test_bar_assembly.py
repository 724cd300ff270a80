"""Single bars in any order become whole sets, each told once and in order."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qt_actors.feed.assembly import Assembly
from qt_actors.feed.grid import QUIET_AFTER, BarGrid
from qt_actors.feed.repairs import PROBES, Ask
from qt_actors.messages.market import BarsClosed, HistoryReady

HOUR = 3_600_000
START = 1_750_000_000_000 // HOUR * HOUR
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


def bar(row: int, open_ms: int) -> tuple[float, float, float, float, float]:
    """The true bar of a symbol: no two are alike."""
    close = 100.0 * (row + 1) + (open_ms - START) / HOUR
    return (close - 0.5, close + 1.0, close - 1.0, close, 10.0 + row)


class Market:
    """The truth, and an assembly that hears about it; ``told`` collects what comes out."""

    def __init__(self, symbols: tuple[str, ...] = SYMBOLS, history: int = 5, capacity: int = 64) -> None:
        self.assembly = Assembly(symbols, HOUR, capacity=capacity, history_bars=history, backfill_tries=3)
        self.symbols = symbols
        self.history = history
        self.now_ms = START + history * HOUR
        self.told: list[HistoryReady | BarsClosed] = []
        self.asks: list[Ask] = []
        self.drain()

    def drain(self) -> None:
        told, asks = self.assembly.drain()
        self.told += told
        self.asks += asks

    def stream(self, *rows: tuple[int, int]) -> None:
        """(row, number of the bar) as the stream tells them."""
        heard = [(self.symbols[row], START + n * HOUR, bar(row, START + n * HOUR)) for row, n in rows]
        self.assembly.hear(heard, self.now_ms, streamed=True)
        self.assembly.advance(self.now_ms)
        self.drain()

    def close_bar(self, n: int, rows: tuple[int, ...] | None = None) -> None:
        """The clock reaches the end of bar n; the stream tells these rows."""
        self.now_ms = START + (n + 1) * HOUR
        self.stream(*((row, n) for row in (range(len(self.symbols)) if rows is None else rows)))

    def answer(self, ask: Ask, *, failed: bool = False, lacks: tuple[tuple[str, int], ...] = ()) -> None:
        """REST answers an ask with all that has closed, but what it ``lacks``."""
        last = (self.now_ms - START) // HOUR
        for symbol in ask.symbols:
            row = self.symbols.index(symbol)
            first = last - ask.limit if ask.since_ms is None else (ask.since_ms - START) // HOUR
            numbers = [n for n in range(max(0, first), min(last, first + ask.limit)) if (symbol, n) not in lacks]
            heard = [(symbol, START + n * HOUR, bar(row, START + n * HOUR)) for n in numbers]
            self.assembly.hear([] if failed else heard, self.now_ms, streamed=False)
            self.assembly.loaded(symbol, failed=failed)
            self.assembly.advance(self.now_ms)
            self.drain()

    def fill(self) -> Market:
        """Answer the back-fill."""
        self.answer(self.asks.pop(0))
        return self

    @property
    def bars(self) -> list[BarsClosed]:
        return [message for message in self.told if isinstance(message, BarsClosed)]


def number(closed: BarsClosed) -> int:
    return (closed.open_time_ms - START) // HOUR


def test_the_history_is_told_once_then_its_newest_bar_as_replayed() -> None:
    market = Market().fill()
    history, replayed = market.told
    assert isinstance(history, HistoryReady)
    assert history.open_time_ms.tolist() == [START + n * HOUR for n in range(5)]
    assert history.ohlcv.shape == (3, 5, 5)
    assert history.ohlcv[1, 4].tolist() == list(bar(1, START + 4 * HOUR))
    assert isinstance(replayed, BarsClosed)
    assert (number(replayed), replayed.replayed, replayed.close_time_ms) == (4, True, START + 5 * HOUR)
    assert not replayed.ohlcv.flags.writeable


def test_a_bar_is_told_when_its_last_symbol_has_closed_it() -> None:
    market = Market().fill()
    market.close_bar(5, (0, 2))
    assert len(market.bars) == 1
    assert market.assembly.waiting
    market.stream((1, 5))
    assert [number(b) for b in market.bars] == [4, 5]
    assert not market.bars[1].replayed
    assert not market.assembly.waiting


def test_the_tree_names_the_newest_bar_by_its_close_as_log_and_decisions_do() -> None:
    market = Market()
    assert market.assembly.statistics()["newest_bar_closed_ms"] == 0
    market.fill().close_bar(5)
    assert market.assembly.statistics()["newest_bar_closed_ms"] == market.bars[-1].close_time_ms == START + 6 * HOUR


def test_a_bar_heard_again_is_counted_and_told_no_second_time() -> None:
    market = Market().fill()
    market.close_bar(5)
    market.close_bar(5)
    market.stream((0, 3))
    assert [number(b) for b in market.bars] == [4, 5]
    assert market.assembly.grid.counts["duplicate"] == 4


def test_bars_out_of_order_wait_for_their_turn() -> None:
    market = Market().fill()
    market.now_ms = START + 8 * HOUR
    market.stream((0, 7), (1, 7), (2, 7), (0, 6), (1, 6), (2, 6))
    assert len(market.bars) == 1
    market.stream((0, 5), (1, 5), (2, 5))
    assert [number(b) for b in market.bars] == [4, 5, 6, 7]


def test_a_gap_is_asked_for_at_once_and_in_one_request() -> None:
    market = Market().fill()
    market.now_ms = START + 9 * HOUR
    market.stream((0, 8), (1, 8), (2, 8))
    (ask,) = market.asks
    assert ask == Ask(SYMBOLS, START + 5 * HOUR, 4)
    market.answer(ask)
    assert [number(b) for b in market.bars] == [4, 5, 6, 7, 8]
    assert not np.isnan(np.stack([b.ohlcv for b in market.bars])).any()


def test_after_the_deadline_a_bar_is_told_with_a_hole_and_a_late_one_repairs_the_history_only() -> None:
    market = Market().fill()
    market.close_bar(5, (0, 2))
    market.assembly.repair(market.now_ms)
    market.drain()
    (ask,) = market.asks
    assert ask.symbols == ("ETHUSDT",)
    market.answer(ask, failed=True)
    assert market.assembly.deadline(market.now_ms)
    market.drain()
    assert np.isnan(market.bars[1].ohlcv[1]).all()
    market.stream((1, 5))
    assert [number(b) for b in market.bars] == [4, 5]
    assert market.assembly.grid.counts["late"] == 1
    assert market.assembly.grid.history().ohlcv[1, -1].tolist() == list(bar(1, START + 5 * HOUR))


def test_a_symbol_that_fell_silent_is_not_waited_for_until_it_speaks_again() -> None:
    market = Market().fill()
    for n in range(5, 5 + QUIET_AFTER):
        market.close_bar(n, (0, 1))
        assert market.assembly.deadline(market.now_ms)
        market.drain()
    told = len(market.bars)
    market.close_bar(5 + QUIET_AFTER, (0, 1))
    assert len(market.bars) == told + 1
    market.close_bar(6 + QUIET_AFTER, (2,))
    market.stream((0, 6 + QUIET_AFTER), (1, 6 + QUIET_AFTER))
    market.close_bar(7 + QUIET_AFTER, (0, 1))
    assert number(market.bars[-1]) == 6 + QUIET_AFTER, "it is awaited again"


def test_a_bar_nobody_has_is_never_told_and_only_a_few_are_asked() -> None:
    symbols = tuple(f"S{n}USDT" for n in range(20))
    market = Market(symbols).fill()
    market.now_ms = START + 6 * HOUR
    market.assembly.due()
    market.assembly.repair(market.now_ms)
    market.drain()
    ask = market.asks.pop()
    assert len(ask.symbols) == PROBES
    assert not market.assembly.deadline(market.now_ms)
    market.drain()
    assert market.asks == [], "nothing is asked twice before it was answered"
    market.answer(ask, failed=True)
    assert not market.assembly.deadline(market.now_ms)
    market.drain()
    assert len(market.bars) == 1
    market.answer(market.asks.pop())
    market.assembly.repair(market.now_ms)
    market.drain()
    market.answer(market.asks.pop())
    assert [number(b) for b in market.bars] == [4, 5]
    assert not np.isnan(market.bars[1].ohlcv).any()


def test_three_bars_that_only_rest_had_mean_that_the_subscription_is_dead() -> None:
    market = Market().fill()
    for n in range(5, 8):
        market.close_bar(n, (0, 1))
        market.assembly.repair(market.now_ms)
        market.drain()
        market.answer(market.asks.pop())
    assert market.assembly.grid.never_streamed() == ("SOLUSDT",)
    assert market.assembly.grid.never_streamed() == ()


def test_holes_of_the_back_fill_make_one_more_round() -> None:
    market = Market()
    ask = market.asks.pop(0)
    market.answer(ask, lacks=(("ETHUSDT", 2),))
    (again,) = market.asks
    assert again == Ask(("ETHUSDT",), START + 2 * HOUR, 5)
    assert market.told == []
    market.answer(again)
    history = market.told[0]
    assert isinstance(history, HistoryReady)
    assert not np.isnan(history.ohlcv).any()


def test_bars_that_close_during_the_back_fill_are_not_lost() -> None:
    market = Market()
    ask = market.asks.pop(0)
    market.answer(Ask(("BTCUSDT", "ETHUSDT"), None, 5))
    market.close_bar(5)
    market.close_bar(6)
    market.answer(Ask(("SOLUSDT",), None, 5))
    while market.asks:
        market.answer(market.asks.pop())
    history = market.told[0]
    assert ask.symbols == SYMBOLS
    assert isinstance(history, HistoryReady)
    assert int(history.open_time_ms[-1]) == START + 6 * HOUR
    assert not np.isnan(history.ohlcv[:, 2:]).any()


def test_a_young_symbol_has_a_short_history_and_a_delisted_one_holds_nobody_up() -> None:
    market = Market()
    old = [("SOLUSDT", START - n * HOUR, bar(2, START - n * HOUR)) for n in range(10, 30)]
    market.assembly.hear(old, market.now_ms, streamed=False)
    market.assembly.loaded("SOLUSDT", failed=False)
    young = tuple(("ETHUSDT", n) for n in range(3))
    market.answer(Ask(("BTCUSDT", "ETHUSDT"), None, 5), lacks=young)
    history = market.told[0]
    assert isinstance(history, HistoryReady)
    assert int(history.open_time_ms[-1]) == START + 4 * HOUR
    assert np.isnan(history.ohlcv[1, :-2]).all()
    assert not np.isnan(history.ohlcv[1, -2:]).any()
    market.close_bar(5, (0, 1))
    assert [number(b) for b in market.bars] == [4, 5]


@pytest.mark.parametrize(
    ("wrong", "heard"),
    [
        ((1.0, 2.0, 0.5, math.nan, 1.0), "no bar"),
        ((1.0, math.inf, 0.5, 1.5, 1.0), "no bar"),
        ((1.0, 2.0, 1.2, 1.5, 1.0), "no bar"),
        ((1.0, 2.0, -0.5, 1.5, 1.0), "no bar"),
        ((1.0, 2.0, 0.5, 1.5, -1.0), "no bar"),
    ],
)
def test_what_no_market_can_print_is_no_bar(wrong: tuple[float, ...], heard: str) -> None:
    grid = BarGrid(SYMBOLS, HOUR)
    assert grid.hear(0, START, wrong, START + HOUR, streamed=True) == heard


def test_a_bar_off_the_grid_or_of_the_future_is_refused() -> None:
    grid = BarGrid(SYMBOLS, HOUR)
    assert grid.hear(0, START + 1, bar(0, START), START + HOUR, streamed=True) == "off grid"
    assert grid.hear(0, START + HOUR, bar(0, START), START + HOUR, streamed=True) == "future"
    assert grid.hear(0, START - 600 * HOUR, bar(0, START), START + HOUR, streamed=True) == "ancient"


def test_the_ring_keeps_its_newest_bars() -> None:
    market = Market(history=5, capacity=8).fill()
    for n in range(5, 30):
        market.close_bar(n)
    history = market.assembly.grid.history()
    assert history.open_time_ms.tolist() == [START + n * HOUR for n in range(22, 30)]
    assert [list(b) for b in history.ohlcv[2]] == [list(bar(2, START + n * HOUR)) for n in range(22, 30)]


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_whatever_the_stream_does_every_bar_is_told_once_in_order_and_whole(data: st.DataObject) -> None:
    """Frames are lost, doubled and shuffled; REST answers late or fails now and then; the clock runs on."""
    market = Market().fill()
    last = 5 + data.draw(st.integers(1, 12), label="bars")
    for n in range(5, last):
        market.now_ms = START + (n + 1) * HOUR
        heard = data.draw(st.lists(st.tuples(st.integers(0, 2), st.integers(5, n)), max_size=8), label=f"stream {n}")
        for row in heard:
            market.stream(row)
        for event in data.draw(st.lists(st.sampled_from("adr"), max_size=4), label=f"events {n}"):
            if event == "a" and market.asks:
                market.answer(market.asks.pop(0), failed=data.draw(st.booleans(), label="failed"))
            elif event == "r":
                market.assembly.repair(market.now_ms)
            elif event == "d":
                market.assembly.due()
                market.assembly.deadline(market.now_ms)
            market.drain()
    for _ in range(60):
        market.assembly.due()
        market.assembly.repair(market.now_ms)
        market.drain()
        while market.asks:
            market.answer(market.asks.pop(0))
        if number(market.bars[-1]) == last - 1:
            break
        market.assembly.deadline(market.now_ms)
        market.drain()
    assert [number(b) for b in market.bars] == list(range(4, last))
    for closed in market.bars:
        for row in range(3):
            told = closed.ohlcv[row].tolist()
            assert told == list(bar(row, closed.open_time_ms)) or np.isnan(told).all()
    history = market.assembly.grid.history()
    assert history.open_time_ms.tolist() == [START + n * HOUR for n in range(last)]
