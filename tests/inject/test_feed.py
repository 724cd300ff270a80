"""The feed on the deterministic runtime: streams and gateway are played by the test."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qt_actors.feed.feed import Feed, FeedWiring
from qt_actors.kernel import ChildSpec, Crash, Probe, SimRuntime, SupervisorSpec
from qt_actors.messages.market import (
    BarsClosed,
    BarsLoaded,
    BarUpdate,
    HistoryReady,
    HistoryRequested,
    QuotesUpdated,
    StreamChanged,
    UniverseChosen,
)
from qt_actors.messages.requests import BarsLoadRequested, UniverseRequested
from qt_actors.messages.system import IncidentRepaired, IncidentSeen, Measured, VenueLost
from tests.hand_ports import HandStreams

HOUR = 3_600_000
BEGIN = 1_750_000_000_000 // HOUR * HOUR
HISTORY = 6
NOW = BEGIN + HISTORY * HOUR + 1_000
PATH = "root/feed"
SYMBOLS = ("BTCUSDT", "ETHUSDT")
REPAIR_MS, DEADLINE_MS = 400, 2_000


def values(symbol: str, n: int) -> list[float]:
    close = 100.0 + n + (0.25 if symbol == "ETHUSDT" else 0.0)
    return [close - 0.1, close + 1.0, close - 1.0, close, 5.0]


empty: dict[str, Any] = {
    "interval": "1h",
    "open_time_ms": np.zeros(0, dtype=np.int64),
    "ohlcv": np.zeros((0, 5)),
}
"""What REST answers when it has no such bar yet."""


def update(*rows: tuple[str, int]) -> BarUpdate:
    return BarUpdate(
        symbols=tuple(symbol for symbol, _ in rows),
        open_time_ms=np.array([BEGIN + n * HOUR for _, n in rows], dtype=np.int64),
        ohlcv=np.array([values(symbol, n) for symbol, n in rows]),
        heard_ms=NOW,
    )


class House:
    """A feed between a gateway and its listeners; REST knows every bar that has closed."""

    def __init__(self, *, rest: bool = True, **changes: Any) -> None:
        self.runtime = SimRuntime(seed=1, start_ms=NOW)
        self.streams = HandStreams()
        names = ("gateway", "universe", "features", "orchestrator", "recorder", "telemetry")
        self.probes = {name: Probe(self.runtime, f"root/{name}") for name in names}
        self.gateway, self.features = self.probes["gateway"], self.probes["features"]
        address = {name: self.runtime.address(f"root/{name}") for name in names}
        default: dict[str, Any] = {
            "gateway": address["gateway"],
            "universe": address["universe"],
            "streams": self.streams,
            "address_of": self.runtime.address,
            "history_listeners": (address["features"],),
            "bar_listeners": (address["features"], address["orchestrator"]),
            "quote_listeners": (address["orchestrator"],),
            "recorder": address["recorder"],
            "telemetry": address["telemetry"],
            "interval": "1h",
            "interval_ms": HOUR,
            "history_bars": HISTORY,
            "repair_real_ms": REPAIR_MS,
            "deadline_real_ms": DEADLINE_MS,
        }
        wiring = FeedWiring(**{**default, **changes})
        self.runtime.start(SupervisorSpec("root", children=(ChildSpec("feed", lambda: Feed(wiring)),)))
        assert self.runtime.wait_ready()
        self.runtime.run_until_idle()
        self.read = 0
        if rest:
            self.choose().serve()

    def choose(self) -> House:
        self.tell(UniverseChosen(symbols=SYMBOLS, rules=(), refused={}))
        return self

    def tell(self, *messages: object) -> None:
        for message in messages:
            self.runtime.address(PATH).tell(message)
        self.runtime.run_until_idle()

    def asks(self) -> list[BarsLoadRequested]:
        """What was asked since the last call."""
        new = [m for m in self.gateway.heard[self.read :] if isinstance(m, BarsLoadRequested)]
        self.read = len(self.gateway.heard)
        return new

    def serve(self, *asks: BarsLoadRequested, error: str = "") -> None:
        """Answer these, or what was asked since the last call, with all bars that have closed."""
        for ask in asks or self.asks():
            closed = (self.runtime.clock.now_ms() - BEGIN) // HOUR
            first = closed - ask.limit if ask.since_ms is None else (ask.since_ms - BEGIN) // HOUR
            numbers = [] if error else list(range(first, min(closed, first + ask.limit)))
            for symbol in ask.symbols:
                rows = [values(symbol, n) for n in numbers]
                loaded = BarsLoaded(
                    symbol=symbol,
                    interval="1h",
                    open_time_ms=np.array([BEGIN + n * HOUR for n in numbers], dtype=np.int64),
                    ohlcv=np.array(rows).reshape(-1, 5),
                    error=error,
                )
                self.tell(loaded)

    def run_to(self, n: int, *, after_ms: int = 1) -> None:
        """The clock stands ``after_ms`` behind the close of bar n."""
        self.runtime.run_for(BEGIN + (n + 1) * HOUR + after_ms - self.runtime.clock.now_ms())

    def bars(self, who: str = "orchestrator") -> list[int]:
        return [(m.open_time_ms - BEGIN) // HOUR for m in self.probes[who].heard if isinstance(m, BarsClosed)]


@pytest.fixture
def house() -> House:
    return House()


def test_it_asks_for_the_universe_and_opens_streams_before_it_asks_for_history() -> None:
    house = House(rest=False)
    assert house.probes["universe"].expect(UniverseRequested).reply_to == PATH
    house.choose()
    assert house.streams.calls == [("open_market", SYMBOLS, "1h", PATH)]
    (ask,) = house.asks()
    assert (ask.symbols, ask.since_ms, ask.limit) == (SYMBOLS, None, HISTORY)
    house.choose()
    assert len(house.streams.calls) == 1, "the same universe again changes nothing"


def test_the_history_comes_first_then_the_newest_bar_as_replayed_then_closed_bars(house: House) -> None:
    history = house.features.expect(HistoryReady)
    assert history.ohlcv.shape == (2, HISTORY, 5)
    replayed = house.features.expect(BarsClosed)
    assert (replayed.replayed, replayed.open_time_ms) == (True, BEGIN + (HISTORY - 1) * HOUR)
    house.run_to(HISTORY)
    house.tell(update(*((symbol, HISTORY) for symbol in SYMBOLS)))
    closed = house.features.expect(BarsClosed)
    assert (closed.replayed, closed.close_time_ms) == (False, BEGIN + (HISTORY + 1) * HOUR)
    assert closed.ohlcv.tolist() == [values(symbol, HISTORY) for symbol in SYMBOLS]


def test_a_bar_and_what_follows_from_it_are_one_trace(house: House) -> None:
    house.run_to(HISTORY)
    message = update(*((symbol, HISTORY) for symbol in SYMBOLS))
    house.runtime.address(PATH).tell(message, trace="bar-6")
    house.features.fish(BarsClosed, lambda m: not m.replayed)
    assert house.features.trace == "bar-6"


def test_a_symbol_the_stream_left_out_is_fetched_by_rest(house: House) -> None:
    house.run_to(HISTORY)
    house.tell(update(("BTCUSDT", HISTORY)))
    assert house.asks() == []
    house.runtime.run_for(REPAIR_MS + 1)
    (ask,) = house.asks()
    assert (ask.symbols, ask.since_ms, ask.limit) == (("ETHUSDT",), BEGIN + HISTORY * HOUR, 1)
    house.serve(ask)
    assert house.bars() == [HISTORY - 1, HISTORY]


def test_a_symbol_that_nobody_has_is_waited_for_no_longer_than_the_deadline(house: House) -> None:
    house.run_to(HISTORY)
    house.tell(update(("BTCUSDT", HISTORY)))
    house.runtime.run_for(DEADLINE_MS - 10)
    assert house.bars() == [HISTORY - 1]
    house.runtime.run_for(20)
    assert house.bars() == [HISTORY - 1, HISTORY]
    late = house.probes["orchestrator"].heard[-1]
    assert isinstance(late, BarsClosed)
    assert np.isnan(late.ohlcv[1]).all()
    house.tell(update(("ETHUSDT", HISTORY)))
    assert house.bars() == [HISTORY - 1, HISTORY]


def test_a_bar_that_comes_after_its_deadline_is_in_the_history_told_before_the_next_bar(house: House) -> None:
    house.run_to(HISTORY)
    house.tell(update(("BTCUSDT", HISTORY)))
    house.runtime.run_for(REPAIR_MS + 1)
    house.tell(*[BarsLoaded(**{**empty, "symbol": symbol}) for ask in house.asks() for symbol in ask.symbols])
    house.runtime.run_for(DEADLINE_MS)
    (again,) = house.asks()
    assert (again.symbols, again.since_ms, again.limit) == (("ETHUSDT",), BEGIN + HISTORY * HOUR, 1)
    house.serve(again)
    for n in (HISTORY + 1, HISTORY + 2):
        house.run_to(n)
        house.tell(update(*((symbol, n) for symbol in SYMBOLS)))
    told = [m for m in house.features.heard if isinstance(m, HistoryReady | BarsClosed)]
    assert [type(m) for m in told] == [HistoryReady, BarsClosed, BarsClosed, HistoryReady, BarsClosed, BarsClosed]
    amended = told[3]
    assert isinstance(amended, HistoryReady)
    assert int(amended.open_time_ms[-1]) == BEGIN + HISTORY * HOUR
    assert not np.isnan(amended.ohlcv).any()
    assert house.bars() == list(range(HISTORY - 1, HISTORY + 3)), "no bar is told twice"


def test_with_a_dead_stream_rest_alone_keeps_the_bars_coming(house: House) -> None:
    house.tell(StreamChanged(stream="market", connected=False, reason="closed"))
    for n in range(HISTORY, HISTORY + 4):
        house.run_to(n, after_ms=REPAIR_MS + 50)
        for _ in range(6):
            house.serve()
            house.runtime.run_for(100)
        house.runtime.run_for(REPAIR_MS)
        house.serve()
    assert house.bars() == list(range(HISTORY - 1, HISTORY + 4))
    assert any(isinstance(m, IncidentSeen) for m in house.probes["recorder"].heard)


def test_while_the_exchange_is_down_no_empty_bar_is_told_and_afterwards_none_is_missing(house: House) -> None:
    house.run_to(HISTORY + 4)
    for _ in range(20):
        house.asks()
        house.tell(VenueLost(reason="down"))
        house.runtime.run_for(30_000)
    assert house.bars() == [HISTORY - 1]
    for _ in range(20):
        house.serve()
        house.runtime.run_for(31_000)
    assert house.bars() == list(range(HISTORY - 1, HISTORY + 5))
    told = [m for m in house.features.heard if isinstance(m, BarsClosed)]
    assert not np.isnan(np.stack([m.ohlcv for m in told])).any()


def test_after_an_outage_of_the_stream_the_gap_is_filled_in_order(house: House) -> None:
    house.run_to(HISTORY + 9, after_ms=10)
    house.asks()
    house.tell(VenueLost(reason="nothing was answered meanwhile"))
    house.tell(update(*((symbol, HISTORY + 9) for symbol in SYMBOLS)))
    house.serve()
    assert house.bars() == list(range(HISTORY - 1, HISTORY + 10))


def test_while_the_exchange_is_lost_and_the_stream_goes_on_a_refusal_is_not_asked_again_at_once(house: House) -> None:
    house.gateway.answers(BarsLoadRequested, lambda _: VenueLost(reason="not connected"))
    house.run_to(HISTORY + 2)
    house.tell(update(("BTCUSDT", HISTORY + 2)))  # a bar is missing for certain: it is asked for, and that is refused
    house.asks()
    house.runtime.run_for(30_000)
    assert 1 <= len(house.asks()) <= 20, "asked by the timers, and by nothing else"
    house.tell(update(("BTCUSDT", HISTORY + 2)))
    assert len(house.asks()) == 1, "asked again with the next bar heard"


def test_a_stream_that_leaves_a_symbol_out_three_times_is_reopened_but_not_again_and_again(house: House) -> None:
    for n in range(HISTORY, HISTORY + 8):
        house.run_to(n)
        house.tell(update(("BTCUSDT", n)))
        house.runtime.run_for(REPAIR_MS + 1)
        house.serve()
    assert house.bars()[-1] == HISTORY + 7
    reopened = house.streams.named("reopen")
    assert reopened == [("market", "no bars of 1 symbols")] * 2


def test_the_back_fill_is_asked_again_for_what_failed_and_goes_on_without_what_keeps_failing() -> None:
    house = House(rest=False, backfill_real_ms=1_000, backfill_tries=3)
    house.choose()
    house.serve(error="timeout")
    house.runtime.run_for(1_001)
    (ask,) = house.asks()
    assert ask.symbols == SYMBOLS
    house.tell(
        BarsLoaded(
            symbol="BTCUSDT",
            interval="1h",
            open_time_ms=np.array([BEGIN + n * HOUR for n in range(HISTORY)], dtype=np.int64),
            ohlcv=np.array([values("BTCUSDT", n) for n in range(HISTORY)]),
        )
    )
    for _ in range(4):
        house.runtime.run_for(1_001)
        house.serve(error="timeout")
    history = house.features.expect(HistoryReady)
    assert np.isnan(history.ohlcv[1]).all()
    assert not np.isnan(history.ohlcv[0]).any()


def test_a_back_fill_that_nobody_answers_is_asked_for_until_somebody_does_whatever_the_stream_brings() -> None:
    house = House(rest=False, backfill_real_ms=1_000, backfill_tries=3)
    house.choose()
    for _ in range(20):
        house.serve(error="timeout")
        house.runtime.run_for(1_001)
    house.run_to(HISTORY)
    house.tell(update(*((symbol, HISTORY) for symbol in SYMBOLS)))
    assert not [m for m in house.features.heard if isinstance(m, HistoryReady)]
    house.serve()
    history = house.features.expect(HistoryReady)
    assert not np.isnan(history.ohlcv).any()
    assert history.open_time_ms.size == HISTORY


def test_whoever_asks_for_the_history_gets_all_that_has_been_told(house: House) -> None:
    asker = Probe(house.runtime, "root/learner")
    house.run_to(HISTORY)
    house.tell(update(*((symbol, HISTORY) for symbol in SYMBOLS)))
    house.tell(HistoryRequested(reply_to="root/learner"))
    history = asker.expect(HistoryReady)
    assert int(history.open_time_ms[-1]) == BEGIN + HISTORY * HOUR
    assert not history.ohlcv.flags.writeable


def test_a_listener_that_asked_early_hears_the_history_once() -> None:
    house = House(rest=False)
    house.features.tell(PATH, HistoryRequested(reply_to="root/features"))
    house.choose().serve()
    assert sum(isinstance(m, HistoryReady) for m in house.features.heard) == 1


def test_losses_of_streams_and_bars_repaired_are_measured() -> None:
    house = House(measure_real_ms=1_000)
    house.tell(StreamChanged(stream="market", connected=False, reason="closed"))
    house.run_to(HISTORY)
    house.tell(update(("BTCUSDT", HISTORY)))
    house.runtime.run_for(REPAIR_MS + 1)
    house.serve()
    house.runtime.run_for(1_100)
    heard = house.probes["telemetry"].heard
    assert StreamChanged(stream="market", connected=False, reason="closed") in heard
    assert [m.value for m in heard if isinstance(m, Measured) and m.metric == "qt_bars_repaired_total"] == [1]


def test_a_lost_stream_is_an_incident_until_it_is_back() -> None:
    house = House()
    house.tell(StreamChanged(stream="market", connected=False, reason="closed"))
    house.tell(StreamChanged(stream="market", connected=True))
    told = [m for m in house.probes["recorder"].heard if isinstance(m, IncidentSeen | IncidentRepaired)]
    assert [(type(m).__name__, m.kind) for m in told] == [
        ("IncidentSeen", "market stream lost"),
        ("IncidentRepaired", "market stream lost"),
    ]


def test_who_asks_too_early_is_answered_when_the_history_is_there() -> None:
    house = House(rest=False)
    asker = Probe(house.runtime, "root/learner")
    house.tell(HistoryRequested(reply_to="root/learner"))
    asker.expect_none()
    house.choose().serve()
    assert asker.expect(HistoryReady).open_time_ms.size == HISTORY


def test_quotes_pass_through_and_their_age_is_measured_in_real_time() -> None:
    house = House(speed=10.0)
    nothing = np.full(2, np.nan)
    times = np.array([NOW - 20_000, NOW - 30_000], dtype=np.int64)
    quotes = QuotesUpdated(
        now_ms=NOW,
        symbols=SYMBOLS,
        bid=nothing,
        ask=nothing,
        bid_quantity=nothing,
        ask_quantity=nothing,
        mark=nothing,
        funding_rate=nothing,
        next_funding_ms=times,
        heard_ms=times,
    )
    house.tell(quotes)
    assert house.probes["orchestrator"].heard[-1] is quotes
    measured = house.probes["telemetry"].expect(Measured, within_ms=10_000)
    assert (measured.metric, measured.labels, measured.value) == ("qt_stream_age_seconds", ("public",), 2.5)


def test_after_a_crash_the_feed_recovers_and_tells_the_newest_bar_as_replayed(house: House) -> None:
    house.runtime.inject(Crash(PATH, house.runtime.handled(PATH) + 1))
    house.tell("poison")
    house.runtime.run_for(2_000)
    house.asks()
    house.choose()
    house.serve()
    replayed = [m.replayed for m in house.features.heard if isinstance(m, BarsClosed)]
    assert replayed == [True, True]
    assert len(house.streams.named("open_market")) == 2


def test_of_a_thousand_bars_each_is_told_once_and_none_is_asked_for() -> None:
    house = House(measure_real_ms=10**10)
    for n in range(HISTORY, HISTORY + 1000):
        house.run_to(n)
        house.tell(update(*((symbol, n) for symbol in SYMBOLS)))
    assert house.bars() == list(range(HISTORY - 1, HISTORY + 1000))
    assert house.asks() == []
