from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qt_actors.exchange.clock import ExchangeClock
from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.connections import ending
from qt_actors.exchange.exchange import Exchange
from qt_actors.exchange.intervals import INTERVAL_MS
from qt_actors.exchange.market_replies import depth
from qt_actors.exchange.stream_names import KINDS, Feed, feed_of
from qt_actors.exchange.streams import control_reply, is_stream_path
from qt_actors.exchange.subscribers import BUFFER_BYTES_MAX, STREAMS_MAX, Subscriber, ws_frame
from tests.candle_folders import MINUTE_MS, START_MS, folder

if TYPE_CHECKING:
    from pathlib import Path

BAR = 15 * MINUTE_MS
BEGIN = START_MS + 96 * BAR


class Wire(asyncio.Transport):
    """A peer that keeps what it gets, and may stop reading."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[tuple[int, bytes]] = []
        self.unread = 0
        self.aborted = False

    def write(self, data: Any) -> None:
        raw = bytes(data)
        while raw:
            size, head = raw[1] & 0x7F, 2
            if size == 126:
                size, head = int.from_bytes(raw[2:4], "big"), 4
            elif size == 127:
                size, head = int.from_bytes(raw[2:10], "big"), 10
            self.frames.append((raw[0] & 0x0F, raw[head : head + size]))
            raw = raw[head + size :]

    def is_closing(self) -> bool:
        return self.aborted

    def get_write_buffer_size(self) -> int:
        return self.unread

    def abort(self) -> None:
        self.aborted = True

    def heard(self) -> list[Any]:
        told = [json.loads(payload) for opcode, payload in self.frames if opcode == 1]
        self.frames.clear()
        return told


class Stand:
    """An exchange whose time a test moves, with one connected client after another."""

    def __init__(self, path: Path) -> None:
        self.real = 0.0
        config = ExchangeConfig(replay=str(path), start_ms=BEGIN, speed=1000.0, detail=1)
        self.exchange = Exchange(
            config,
            lambda start, speed: ExchangeClock(start, speed, wall=lambda: self.real, monotonic=lambda: self.real),
        )

    def go(self, exchange_ms: int) -> None:
        self.real += exchange_ms / 1000.0
        assert self.exchange.step()
        self.exchange.hub.tick(self.real)
        self.exchange.commit()

    def client(self, route: str, *names: str, combined: bool = False) -> Wire:
        wire = Wire()
        subscriber = Subscriber(wire, route, combined=combined)
        self.exchange.hub.join(subscriber)
        for name in names:
            self.exchange.hub.subscribe(subscriber, name)
        return wire


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Stand:
    """One exchange for many random walks; its time goes on from one to the next."""
    return Stand(folder(tmp_path_factory.mktemp("walks") / "candles", ["AUSDT", "BUSDT"], 3000))


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    return Stand(folder(tmp_path / "candles", ["AUSDT", "BUSDT"], 400))


def test_names_mean_feeds_only_when_written_as_the_exchange_writes_them() -> None:
    assert feed_of("btcusdt@kline_1h") == Feed("kline", "1h", "BTCUSDT")
    assert feed_of("btcusdt_perpetual@continuousKline_1m") == Feed("continuousKline", "1m", "BTCUSDT", "PERPETUAL")
    assert feed_of("btcusdt@depth5@100ms") == Feed("depth@100ms", "5", "BTCUSDT")
    assert feed_of("btcusdt@rpiDepth@500ms") == Feed("rpiDepth@500ms", "", "BTCUSDT")
    assert feed_of("!markPrice@arr@1s") == Feed("!markPrice@arr@1s", "", "")
    for name in ("BTCUSDT@kline_1h", "btcusdt@kline_7m", "btcusdt@depth7", "btcusdt@depth@250ms", "!none", "x", "",
                 "btcusdt_yearly@continuousKline_1m", "btcusdt@KLINE_1h", "btcusdt@rpiDepth"):  # fmt: skip
        assert feed_of(name) is None


def test_every_closed_candle_is_sent_once_in_order_however_far_time_jumps(stand: Stand) -> None:
    wire = stand.client("market", "ausdt@kline_15m", "busdt@kline_1h", "ausdt_perpetual@continuousKline_15m")
    for jump in (BAR // 3, 5 * BAR, BAR - 1, 40 * BAR, 1, 20 * BAR):
        stand.go(jump)
    told = wire.heard()
    bars = (stand.exchange.market.now_ms - BEGIN) // BAR
    closed = [
        frame["k"]["t"] for frame in told if frame["e"] == "kline" and frame["k"]["i"] == "15m" and frame["k"]["x"]
    ]
    assert closed == [BEGIN + bar * BAR for bar in range(bars)]
    hours = [frame["k"]["t"] for frame in told if frame["e"] == "kline" and frame["k"]["i"] == "1h" and frame["k"]["x"]]
    assert hours == [BEGIN + hour * 4 * BAR for hour in range(bars // 4)]
    other = [frame["k"]["t"] for frame in told if frame["e"] == "continuous_kline" and frame["k"]["x"]]
    assert other == closed
    assert all(frame["E"] == frame["k"]["T"] + 1 for frame in told if frame["k"]["x"])


def test_running_candles_come_at_most_every_250_ms_of_real_time(stand: Stand) -> None:
    wire = stand.client("market", "ausdt@kline_1d")
    for _ in range(100):
        stand.go(20_000)  # 20 ms of real time each
    frames = wire.heard()
    assert 5 <= len(frames) <= 9, "two seconds"
    assert not any(frame["k"]["x"] for frame in frames)
    assert [frame["E"] for frame in frames] == sorted({frame["E"] for frame in frames})


def test_nothing_is_sent_while_nothing_was_printed(stand: Stand) -> None:
    wire = stand.client("public", "ausdt@bookTicker")
    stand.go(1)
    stand.go(200_000)
    before = len(wire.heard())
    assert before >= 1
    stand.exchange.clock.pause()
    stand.real += 10_000
    stand.exchange.hub.tick(stand.real)
    stand.exchange.commit()
    assert wire.heard() == []


def test_mark_prices_come_every_one_or_three_seconds_printed_or_not(stand: Stand) -> None:
    quick, slow = stand.client("market", "ausdt@markPrice@1s"), stand.client("market", "ausdt@markPrice")
    whole = stand.client("market", "!markPrice@arr@1s")
    for _ in range(60):
        stand.go(100_000)
    assert len(quick.heard()) in {6, 7}
    assert len(slow.heard()) in {2, 3}
    assert all({row["s"] for row in frame} == {"AUSDT", "BUSDT"} for frame in whole.heard())


def test_a_stream_on_the_wrong_route_or_of_no_symbol_is_silent(stand: Stand) -> None:
    wrong = stand.client("public", "ausdt@kline_15m", "ausdt@markPrice@1s")
    legacy = stand.client("legacy", "ausdt@kline_15m", "ausdt@bookTicker")
    unknown = stand.client("market", "xusdt@kline_15m", "AUSDT@kline_15m")
    for _ in range(4):
        stand.go(2 * BAR)
    assert wrong.heard() == []
    assert unknown.heard() == []
    assert {frame["e"] for frame in legacy.heard()} == {"bookTicker"}


EVERY_STREAM = [
    *(f"ausdt@kline_{interval}" for interval in INTERVAL_MS),
    *(f"ausdt_perpetual@continuousKline_{interval}" for interval in ("1m", "1M")),
    *(f"ausdt@depth{levels}{pace}" for levels in ("", "5", "10", "20") for pace in ("", "@100ms", "@500ms")),
    *(f"ausdt@{kind}" for kind in KINDS if kind[0] != "!" and kind not in {"kline", "continuousKline"}),
    *(kind for kind in KINDS if kind[0] == "!"),
]


def everything_happens(stand: Stand) -> None:
    """Prints, closes, a liquidation and a listing."""
    for _ in range(8):
        stand.exchange.hub.user_event(liquidation("AUSDT", "1"))
        stand.exchange.hub.contract_changed(0, "TRADING")
        stand.go(3 * BAR)


@pytest.mark.parametrize("name", EVERY_STREAM)
def test_every_stream_delivers_on_its_route_and_nowhere_else(stand: Stand, name: str) -> None:
    feed = feed_of(name)
    assert feed is not None
    heard = {route: stand.client(route, name) for route in ("public", "market", "private", "legacy")}
    shouted = stand.client(feed.route, name.upper())
    everything_happens(stand)
    told = {route for route, wire in heard.items() if wire.heard()}
    assert told == {feed.route} | ({"legacy"} if feed.route == "public" else set())
    assert shouted.heard() == []


def test_combined_clients_get_the_name_around_the_same_payload(stand: Stand) -> None:
    plain, wrapped = stand.client("market", "ausdt@kline_15m"), stand.client("market", "ausdt@kline_15m", combined=True)
    stand.go(BAR)
    bare, told = plain.heard(), wrapped.heard()
    assert bare
    assert [frame["data"] for frame in told] == bare
    assert {frame["stream"] for frame in told} == {"ausdt@kline_15m"}


def test_a_stream_of_another_contract_of_the_pair_is_silent(stand: Stand) -> None:
    wire = stand.client("market", "ausdt_current_quarter@continuousKline_15m")
    stand.go(3 * BAR)
    assert wire.heard() == []


def local_book(snapshot: Any, frames: list[Any]) -> dict[str, dict[str, str]]:
    """Binance's own recipe: drop what ends before the snapshot, the first kept encloses it, each continues the last."""
    book = {"b": dict(snapshot["bids"]), "a": dict(snapshot["asks"])}
    last = None
    for frame in frames:
        if frame["u"] < snapshot["lastUpdateId"]:
            continue
        if last is None:
            assert frame["U"] <= snapshot["lastUpdateId"] <= frame["u"]
        else:
            assert frame["pu"] == last
        last = frame["u"]
        for side, levels in book.items():
            for price, size in frame[side]:
                if float(size):
                    levels[price] = size
                else:
                    levels.pop(price, None)
    return book


@given(
    jumps=st.lists(st.integers(1, 400_000), min_size=4, max_size=14),
    asked=st.integers(0, 13),
    stream=st.sampled_from(["ausdt@depth", "ausdt@depth@100ms", "ausdt@depth@500ms", "ausdt@rpiDepth@500ms"]),
)
@settings(max_examples=25, deadline=None)
def test_diffs_rebuild_the_rest_book_exactly_whenever_the_snapshot_was_taken(
    several: Stand, jumps: list[int], asked: int, stream: str
) -> None:
    wire = several.client("public", stream)
    market, frames = several.exchange.market, []
    request = {"symbol": "AUSDT", "limit": "1000"}
    snapshot = depth(market, request)
    for number, jump in enumerate(jumps):
        several.go(jump)
        frames += wire.heard()
        if number == asked:
            snapshot = depth(market, request)
    several.go(500_000)
    frames += wire.heard()
    now = depth(market, request)
    book = local_book(snapshot, frames)
    assert sorted(book["b"].items(), key=lambda level: -float(level[0])) == [tuple(level) for level in now["bids"]]
    assert sorted(book["a"].items(), key=lambda level: float(level[0])) == [tuple(level) for level in now["asks"]]
    assert len(now["bids"]) > 100
    assert float(now["bids"][0][0]) < float(now["asks"][0][0])


def test_partial_books_are_the_best_levels_of_the_rest_book(stand: Stand) -> None:
    wires = {levels: stand.client("public", f"busdt@depth{levels}@100ms") for levels in (5, 10, 20)}
    for _ in range(5):
        stand.go(200_000)
        now = depth(stand.exchange.market, {"symbol": "BUSDT", "limit": "20"})
        for levels, wire in wires.items():
            for frame in wire.heard():
                assert (frame["b"], frame["a"]) == (now["bids"][:levels], now["asks"][:levels])


def liquidation(symbol: str, quantity: str) -> dict[str, Any]:
    order = {"s": symbol, "c": "autoclose-17", "S": "SELL", "o": "LIMIT", "f": "IOC", "q": quantity, "p": "90",
             "ap": "91", "x": "CALCULATED", "X": "FILLED", "l": quantity, "z": quantity, "T": 5}  # fmt: skip
    return {"e": "ORDER_TRADE_UPDATE", "E": 6, "T": 5, "o": order}


def test_of_a_symbols_liquidations_the_largest_is_told_once_a_second(stand: Stand) -> None:
    one, every = stand.client("market", "ausdt@forceOrder"), stand.client("market", "!forceOrder@arr")
    stand.go(1)
    for event in (
        liquidation("AUSDT", "2"),
        liquidation("AUSDT", "7"),
        liquidation("AUSDT", "3"),
        liquidation("BUSDT", "1"),
    ):
        stand.exchange.hub.user_event(event)
    stand.go(1_000_000)
    stand.go(1_000_000)
    told = one.heard()
    event = liquidation("AUSDT", "7")["o"]
    body = {key: event[key] for key in ("s", "S", "o", "f", "q", "p", "ap", "X", "l", "z", "T")}
    assert told == [{"e": "forceOrder", "E": 6, "o": body}]
    assert [frame["o"]["s"] for frame in every.heard()] == ["AUSDT", "BUSDT"]


def test_trades_tell_all_the_volume_that_was_printed(stand: Stand) -> None:
    wire = stand.client("market", "ausdt@aggTrade")
    stand.go(1)
    first = float(stand.exchange.market.traded[0])
    wire.heard()
    for _ in range(50):
        stand.go(120_000)
    told = sum(float(frame["q"]) for frame in wire.heard())
    assert told == pytest.approx(float(stand.exchange.market.traded[0]) - first, rel=1e-3)


def test_all_symbol_tickers_hold_only_what_changed(stand: Stand) -> None:
    wire = stand.client("market", "!miniTicker@arr", "!ticker@arr", "ausdt@ticker", "busdt@miniTicker")
    stand.go(BAR)
    stand.exchange.clock.pause()
    stand.real += 60_000
    stand.exchange.hub.tick(stand.real)
    stand.exchange.commit()
    frames = wire.heard()
    assert sum(isinstance(frame, list) for frame in frames) == 2
    assert {frame["e"] for frame in frames if isinstance(frame, dict)} == {"24hrTicker", "24hrMiniTicker"}
    assert {row["s"] for frame in frames if isinstance(frame, list) for row in frame} == {"AUSDT", "BUSDT"}


def test_who_leaves_or_unsubscribes_hears_no_more(stand: Stand) -> None:
    wire = Wire()
    subscriber = Subscriber(wire, "market", combined=False)
    hub = stand.exchange.hub
    hub.join(subscriber)
    hub.subscribe(subscriber, "ausdt@kline_15m")
    hub.unsubscribe(subscriber, "ausdt@kline_15m")
    hub.unsubscribe(subscriber, "never@heard")
    stand.go(2 * BAR)
    assert wire.heard() == []
    hub.subscribe(subscriber, "ausdt@kline_15m")
    wire.aborted = True
    stand.go(2 * BAR)
    assert hub.clients == ()


def test_an_interval_nobody_listens_to_is_no_longer_kept_and_comes_back_complete(stand: Stand) -> None:
    subscriber = Subscriber(Wire(), "market", combined=False)
    hub, market = stand.exchange.hub, stand.exchange.market
    hub.join(subscriber)
    for name in ("ausdt@kline_4h", "busdt@kline_4h", "ausdt@kline_15m"):
        hub.subscribe(subscriber, name)
    stand.go(3 * BAR)
    kept = market.forming("4h")
    hub.leave(subscriber)
    again = market.forming("4h")
    assert again is not kept
    assert (again.data == pytest.approx(kept.data)) is True
    assert market.forming("15m") is market.base


def test_a_client_that_does_not_read_is_told_1008_and_dropped(stand: Stand) -> None:
    async def slow() -> Wire:
        wire = stand.client("market", "ausdt@kline_15m")
        other = stand.client("market", "ausdt@kline_15m")
        wire.unread = BUFFER_BYTES_MAX
        stand.go(2 * BAR)
        assert len(other.heard()) >= 2, "others are served on"
        return wire

    wire = asyncio.run(slow())
    assert [(opcode, int.from_bytes(payload[:2], "big")) for opcode, payload in wire.frames] == [(8, 1008)]
    assert len(stand.exchange.hub.clients) == 1


def test_account_events_go_to_live_keys_filtered_as_asked(stand: Stand) -> None:
    hub = stand.exchange.hub
    wires = []
    for events in (frozenset(), frozenset({"ACCOUNT_UPDATE"})):
        wire = Wire()
        subscriber = Subscriber(wire, "private", combined=bool(events))
        subscriber.events = events
        hub.join(subscriber)
        hub.attach(subscriber, "K")
        wires.append(wire)
    hub.user_event({"e": "TRADE_LITE", "E": 1})
    hub.user_event({"e": "ACCOUNT_UPDATE", "E": 2})
    hub.expire("K", 3)
    hub.user_event({"e": "ACCOUNT_UPDATE", "E": 4})
    hub.flush()
    assert [frame["E"] for frame in wires[0].heard()] == [1, 2, 3], "then silence"
    assert wires[1].heard() == [{"stream": "K", "data": {"e": "ACCOUNT_UPDATE", "E": 2}}]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("{", 3), ("[]", 2), ('{"method":"NONE","id":1}', 2), ('{"method":"SUBSCRIBE","params":"x","id":1}', 2),
        ('{"method":"SUBSCRIBE","params":[1],"id":1}', 2), ('{"method":"SUBSCRIBE","params":[],"id":[]}', 2),
        (b"\xff", 3), ('{"method":"SET_PROPERTY","params":["x"],"id":1}', 2),
    ],
)  # fmt: skip
def test_broken_control_frames_get_an_error_frame(stand: Stand, sent: str | bytes, code: int) -> None:
    client = Subscriber(Wire(), "market", combined=False)
    assert control_reply(sent, client, stand.exchange)["error"]["code"] == code


def test_control_frames_subscribe_list_and_set_properties(stand: Stand) -> None:
    client = Subscriber(Wire(), "market", combined=False)

    def say(method: str, *names: object) -> object:
        reply = control_reply(json.dumps({"method": method, "params": names, "id": 5}), client, stand.exchange)
        assert reply["id"] == 5
        return reply["result"]

    assert say("SUBSCRIBE", "ausdt@kline_1m", "NONSENSE") is None
    assert say("LIST_SUBSCRIPTIONS") == ["ausdt@kline_1m", "NONSENSE"]
    assert say("UNSUBSCRIBE", "NONSENSE", "never") is None
    assert say("LIST_SUBSCRIPTIONS") == ["ausdt@kline_1m"]
    assert say("GET_PROPERTY", "combined") is False
    assert say("SET_PROPERTY", "combined", True) is None
    assert client.combined


def test_the_1025th_stream_is_too_many(stand: Stand) -> None:
    client = Subscriber(Wire(), "market", combined=False)
    names = [f"x{number}@kline_1m" for number in range(STREAMS_MAX + 1)]
    assert (
        control_reply(json.dumps({"method": "SUBSCRIBE", "params": names[:-1], "id": 1}), client, stand.exchange)[
            "result"
        ]
        is None
    )
    reply = control_reply(json.dumps({"method": "SUBSCRIBE", "params": names[-1:], "id": 2}), client, stand.exchange)
    assert reply["error"]["code"] == 4


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_frames_carry_their_length_in_the_three_ways_of_the_protocol(size: int) -> None:
    wire = Wire()
    wire.write(ws_frame(b"x" * size))
    assert wire.frames == [(1, b"x" * size)]


@pytest.mark.parametrize(
    ("age_s", "silent_s", "code"),
    [(180, 180, None), (86_399, 600, None), (1_000, 601, 1008), (86_400, 1, 1001), (90_000, 700, 1008)],
)
def test_a_connection_ends_ten_minutes_after_its_last_pong_and_after_a_day(
    age_s: float, silent_s: float, code: int | None
) -> None:
    end = ending(age_s, silent_s)
    assert (None if end is None else end[0]) == code


def test_stream_paths_are_told_from_rest_paths() -> None:
    assert all(is_stream_path(path) for path in ("/ws", "/market/stream", "/private/ws/KEY"))
    assert not any(is_stream_path(path) for path in ("/fapi/v1/ping", "/", "/wsx"))
