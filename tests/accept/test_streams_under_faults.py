"""The stream edge against connections that close, tear, fall silent, grow old or speak nonsense."""

from __future__ import annotations

import asyncio
import json
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from qt_actors.edges.binance_errors import Failure
from qt_actors.edges.binance_socket import SocketLimits
from qt_actors.edges.binance_streams import BinanceStreams, StreamLimits
from qt_actors.edges.endpoints import loopback
from qt_actors.edges.loop import SocketLoop
from qt_actors.kernel import MailboxFullError, WallClock
from qt_actors.messages.market import BarUpdate, QuotesUpdated, StreamChanged
from qt_actors.messages.orders import OrderUpdated
from qt_actors.messages.positions import BalanceChanged
from tests.scripted_exchange import WAIT_S, Line, ScriptedExchange

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
HOUR = 3_600_000
OPEN = 1_750_000_000_000 // HOUR * HOUR


class Box:
    """A mailbox that keeps what it is told; ``full`` makes it refuse."""

    path = "box"

    def __init__(self) -> None:
        self.told: queue.Queue[Any] = queue.Queue()
        self.full = False

    def tell(self, message: object, *, trace: str | None = None, deadline_ms: int | None = None) -> None:
        if self.full:
            raise MailboxFullError("box: mailbox full")
        self.told.put(message)

    def get(self, kind: type[Any], where: Callable[[Any], bool] = lambda _: True) -> Any:
        while True:
            message = self.told.get(timeout=WAIT_S)
            if isinstance(message, kind) and where(message):
                return message

    def all(self, kind: type[Any]) -> list[Any]:
        return [m for m in tuple(self.told.queue) if isinstance(m, kind)]


class Keys:
    """Listen keys, numbered."""

    def __init__(self) -> None:
        self.given = 0
        self.extended: queue.Queue[str] = queue.Queue()
        self.failure: Failure | None = None
        self.failing, self.refused = threading.Event(), threading.Event()

    async def new_listen_key(self) -> str:
        if self.failing.is_set():
            self.refused.set()
            raise Failure("unavailable", -1016, "maintenance", sent=True)
        self.given += 1
        return f"secret-listen-key-{self.given}"

    async def extend_listen_key(self, key: str) -> None:
        self.extended.put(key)
        if self.failure is not None:
            raise self.failure


class House:
    """Streams on a scripted exchange."""

    def __init__(self, **limits: Any) -> None:
        socket = limits.pop("socket", {})
        quick = {"retry_s_min": 0.01, "retry_s_max": 0.05, "look_s": 0.02, "frame_gap_s": 0.02}
        patient = {"mark_silence_s": 60.0, "kline_silence_s": 60.0, "book_silence_s": 60.0, "quote_gap_s": 0.05}
        self.limits = StreamLimits(**{**patient, **limits}, socket=SocketLimits(**{**quick, **socket}))
        self.exchange = ScriptedExchange()
        self.loop = SocketLoop()
        self.loop.start()
        self.keys = Keys()
        self.box = Box()
        self.streams = BinanceStreams(loopback(self.exchange.url), WallClock(), self.loop, self.keys, self.limits)

    def market(self, symbols: tuple[str, ...] = SYMBOLS) -> tuple[Line, Line]:
        """The two connections of a market, subscribed."""
        self.streams.open_market(symbols, "1h", self.box)
        market, public = self.exchange.line("market"), self.exchange.line("public")
        market.subscribed()
        public.subscribed()
        return market, public

    def account(self) -> Line:
        self.streams.open_account(self.box)
        line = self.exchange.line("private")
        self.box.get(StreamChanged)
        return line

    def settle(self) -> None:
        """The loop has handled everything that reached it."""
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.02), self.loop._loop).result(5)  # type: ignore[arg-type]

    def close(self) -> None:
        assert self.loop.stop()
        self.exchange.stop()


@pytest.fixture
def make() -> Iterator[Callable[..., House]]:
    houses: list[House] = []

    def made(**limits: Any) -> House:
        houses.append(House(**limits))
        return houses[-1]

    yield made
    for house in houses:
        house.close()


def kline(symbol: str, n: int, close: float = 101.0, *, closed: bool = True) -> dict[str, Any]:
    open_ms = OPEN + n * HOUR
    k = {"t": open_ms, "T": open_ms + HOUR - 1, "s": symbol, "i": "1h", "f": 1, "L": 2, "n": 2, "x": closed}
    prices = {"o": "100", "h": "102", "l": "99", "c": str(close), "v": "5"}
    data = {"e": "kline", "E": open_ms + HOUR, "s": symbol, "k": {**k, **prices}}
    return {"stream": f"{symbol.lower()}@kline_1h", "data": data}


def mark(symbol: str = "BTCUSDT", price: str = "100.5") -> dict[str, Any]:
    data = {"e": "markPriceUpdate", "E": 7, "s": symbol, "p": price, "i": "1", "P": "1", "r": "0.0001", "T": 99}
    return {"stream": f"{symbol.lower()}@markPrice@1s", "data": data}


def book(symbol: str = "BTCUSDT", bid: str = "100.4") -> dict[str, Any]:
    data = {"e": "bookTicker", "u": 1, "s": symbol, "b": bid, "B": "3", "a": "100.6", "A": "4", "T": 6, "E": 7}
    return {"stream": f"{symbol.lower()}@bookTicker", "data": data}


def balance(wallet: str) -> dict[str, Any]:
    return {
        "e": "ACCOUNT_UPDATE",
        "E": 1,
        "T": 2,
        "a": {"m": "ORDER", "B": [{"a": "USDT", "wb": wallet, "cw": wallet}]},
    }


def test_each_stream_goes_to_its_route_in_lower_case(make: Callable[..., House]) -> None:
    house = make()
    house.streams.open_market(("BTCUSDT",), "1h", house.box)
    market, public = house.exchange.line("market"), house.exchange.line("public")
    assert market.subscribed() == ["btcusdt@kline_1h", "btcusdt@markPrice@1s"]
    assert public.subscribed() == ["btcusdt@bookTicker"]
    with pytest.raises(ValueError, match="no symbols"):
        house.streams.open_market((), "1h", house.box)


def test_many_symbols_are_subscribed_in_frames_of_two_hundred_on_as_many_connections_as_needed(
    make: Callable[..., House],
) -> None:
    house = make()
    symbols = tuple(f"S{n}USDT" for n in range(510))
    house.streams.open_market(symbols, "1h", house.box)
    first, second = house.exchange.line("market"), house.exchange.line("market")
    sizes = sorted([[len(line.subscribed()) for _ in range(n)] for line, n in ((first, 1), (second, 1))])
    assert sizes == [[20], [200]]
    big = first if first.heard.qsize() or not second.heard.qsize() else second
    assert [len(big.subscribed()) for _ in range(4)] == [200] * 4


def test_the_closed_candles_of_a_set_come_as_one_batch_with_the_quotes_before_it(make: Callable[..., House]) -> None:
    house = make(bar_wait_s=30.0, quote_gap_s=30.0)
    market, public = house.market()
    public.send(book())
    house.box.get(StreamChanged, lambda m: m.stream == "public")
    market.send(mark(), kline("SOLUSDT", 0, 103.0), kline("BTCUSDT", 0, 101.0), kline("BTCUSDT", 1, closed=False))
    house.settle()
    assert house.box.all(BarUpdate) == []
    market.send(kline("ETHUSDT", 0, 102.0))
    quotes = house.box.get(QuotesUpdated)
    bars = house.box.get(BarUpdate)
    assert bars.symbols == SYMBOLS
    assert bars.open_time_ms.tolist() == [OPEN] * 3
    assert bars.ohlcv[:, 3].tolist() == [101.0, 102.0, 103.0]
    assert (quotes.bid[0], quotes.ask[0], quotes.mark[0]) == (100.4, 100.6, 100.5)
    assert (int(quotes.heard_ms[0]), int(quotes.next_funding_ms[0])) == (7, 99)
    assert np.isnan(quotes.bid[1])
    assert not bars.ohlcv.flags.writeable
    assert not quotes.bid.flags.writeable


def test_an_incomplete_set_is_told_after_a_moment_in_order_of_time(make: Callable[..., House]) -> None:
    house = make(bar_wait_s=0.05)
    market, _ = house.market()
    market.send(kline("ETHUSDT", 1), kline("BTCUSDT", 0))
    bars = house.box.get(BarUpdate)
    assert list(zip(bars.symbols, bars.open_time_ms.tolist(), strict=True)) == [
        ("BTCUSDT", OPEN),
        ("ETHUSDT", OPEN + HOUR),
    ]


def test_of_many_quotes_the_newest_is_told(make: Callable[..., House]) -> None:
    house = make()
    _, public = house.market()
    public.send(*(book(bid=str(100 + n / 100)) for n in range(50)))
    newest = house.box.get(QuotesUpdated, lambda m: m.bid[0] == 100.49)
    assert newest.bid_quantity[0] == 3.0
    house.settle()
    assert len(house.box.all(QuotesUpdated)) < 10


@pytest.mark.parametrize(
    "nonsense",
    ["", "no json", "[]", '{"stream":"btcusdt@kline_1h","data":{"k":{}}}', '{"stream":5}', '{"data":{}}', "null", "{}"],
)
def test_nonsense_is_survived_and_the_next_frame_is_heard(make: Callable[..., House], nonsense: str) -> None:
    house = make(bar_wait_s=0.01)
    market, _ = house.market()
    market.send(nonsense, {"stream": "btcusdt@brandNew", "data": {"e": "brandNew"}}, kline("BTCUSDT", 0))
    assert house.box.get(BarUpdate).symbols == ("BTCUSDT",)
    assert house.exchange.handshakes == 2


def test_a_refused_subscription_is_logged(make: Callable[..., House], caplog: pytest.LogCaptureFixture) -> None:
    house = make()
    market, _ = house.market()
    with caplog.at_level(logging.WARNING):
        market.send({"error": {"code": 4, "msg": "Too many subscriptions"}, "id": 1}, mark())
        house.box.get(StreamChanged, lambda m: m.stream == "market")
    assert "Too many subscriptions" in caplog.text


@pytest.mark.parametrize("end", ["close", "tear"])
def test_a_lost_connection_is_told_and_comes_back_subscribed(make: Callable[..., House], end: str) -> None:
    house = make()
    market, _ = house.market()
    market.send(mark())
    assert house.box.get(StreamChanged).connected
    getattr(market, end)()
    lost = house.box.get(StreamChanged)
    assert (lost.stream, lost.connected) == ("market", False)
    again = house.exchange.line("market")
    assert len(again.subscribed()) == 6
    again.send(mark())
    assert house.box.get(StreamChanged).connected


def test_an_outage_of_many_attempts_is_outlived(make: Callable[..., House]) -> None:
    house = make()
    market, _ = house.market()
    market.send(mark())
    house.exchange.refuse_streams = 12
    market.tear()
    again = house.exchange.line("market")
    again.subscribed()
    again.send(mark())
    changes = [house.box.get(StreamChanged).connected for _ in range(3)]
    assert changes == [True, False, True]
    assert house.exchange.handshakes >= 15


@pytest.mark.parametrize(("mute", "talking"), [("kline", mark()), ("mark", kline("BTCUSDT", 0, closed=False))])
def test_a_connection_that_is_mute_on_one_kind_is_replaced(
    make: Callable[..., House], mute: str, talking: dict[str, Any]
) -> None:
    house = make(**{f"{mute}_silence_s": 0.3}, socket={"look_s": 0.05})
    symbols = tuple(f"S{n}USDT" for n in range(600))  # so many that the floor for few symbols does not count
    house.streams.open_market((*SYMBOLS, *symbols[:480]), "1h", house.box)
    market = house.exchange.line("market")
    market.send(talking)
    lost = house.box.get(StreamChanged, lambda m: not m.connected)
    assert f"no {mute} frame" in lost.reason
    assert house.exchange.line("market") is not market


def test_acknowledgements_and_pings_are_no_sign_of_life(make: Callable[..., House]) -> None:
    house = make(mark_silence_s=0.3, socket={"look_s": 0.05})
    market, _ = house.market()
    for n in range(100):
        if market.ended.is_set():
            break
        market.send({"result": None, "id": n})
        market.ended.wait(0.02)
    assert market.ended.is_set()
    house.exchange.line("market").subscribed()


def test_an_old_connection_is_relieved_without_a_gap(make: Callable[..., House]) -> None:
    house = make(bar_wait_s=0.01, socket={"rotate_after_s": 0.4})
    old, _ = house.market()
    old.send(mark())
    assert house.box.get(StreamChanged).connected
    new = house.exchange.line("market")
    new.subscribed()
    assert not old.ended.is_set()
    old.send(kline("BTCUSDT", 0))
    assert house.box.get(BarUpdate).symbols == ("BTCUSDT",)
    new.send(mark())
    assert old.ended.wait(WAIT_S)
    new.send(kline("BTCUSDT", 1))
    assert house.box.get(BarUpdate).open_time_ms.tolist() == [OPEN + HOUR]
    assert [m for m in house.box.all(StreamChanged) if m.stream == "market"] == []


def test_user_events_come_in_their_order_and_unknown_ones_not_at_all(make: Callable[..., House]) -> None:
    house = make()
    line = house.account()
    assert line.path == "/private/ws?listenKey=secret-listen-key-1"
    order = {"s": "BTCUSDT", "c": "q", "S": "BUY", "o": "MARKET", "q": "1", "x": "NEW", "X": "NEW", "i": 1, "l": "0"}
    event = {"e": "ORDER_TRADE_UPDATE", "E": 1, "T": 1, "o": {**order, "z": "0", "T": 5}}
    line.send(balance("1"), event, {"e": "TRADE_LITE", "E": 1}, {"e": "ORDER_TRADE_UPDATE", "o": 5}, balance("2"))
    told = [house.box.told.get(timeout=WAIT_S) for _ in range(3)]
    assert [type(m) for m in told] == [BalanceChanged, OrderUpdated, BalanceChanged]
    assert house.streams.malformed == 1


def test_an_expired_listen_key_is_replaced_by_a_new_one(make: Callable[..., House]) -> None:
    house = make()
    line = house.account()
    line.send({"e": "listenKeyExpired", "E": 1, "listenKey": "secret-listen-key-1"})
    assert not house.box.get(StreamChanged).connected
    assert house.exchange.line("private").path.endswith("secret-listen-key-2")
    assert house.box.get(StreamChanged).connected


def test_the_listen_key_is_extended_in_time_and_replaced_when_that_fails_for_good(make: Callable[..., House]) -> None:
    house = make(listen_key_s=0.1, listen_key_retry_s=0.05)
    house.account()
    assert house.keys.extended.get(timeout=WAIT_S) == "secret-listen-key-1"
    house.keys.failure = Failure("unknown", 0, "no answer in time")
    house.keys.extended.get(timeout=WAIT_S)
    house.keys.extended.get(timeout=WAIT_S)
    assert house.keys.given == 1, "a hiccup is no reason for a new key"
    house.keys.failure = Failure("rejected", -1125, "This listenKey does not exist.")
    assert house.exchange.line("private").path.endswith("secret-listen-key-2")


def test_the_listen_key_shows_in_no_log(make: Callable[..., House], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    house = make()
    line = house.account()
    house.exchange.refuse_streams = 2
    line.tear()
    house.exchange.line("private")
    reasons = [m.reason for m in house.box.all(StreamChanged)]
    assert "secret-listen-key" not in caplog.text
    assert "secret-listen-key" not in json.dumps(reasons)


def test_a_full_mailbox_costs_its_message_and_not_the_connection(make: Callable[..., House]) -> None:
    house = make()
    line = house.account()
    house.box.full = True
    line.send(balance("1"))
    house.settle()
    house.box.full = False
    line.send(balance("2"))
    assert house.box.get(BalanceChanged).wallet_usd == 2
    assert house.streams.refused == 1


def test_opening_again_replaces_the_connections_and_reopen_drops_one_class(make: Callable[..., House]) -> None:
    house = make()
    market, public = house.market()
    other, other_public = house.market(("BTCUSDT",))
    assert market.ended.wait(WAIT_S)
    assert public.ended.wait(WAIT_S)
    house.streams.reopen("market", "test")
    assert house.exchange.line("market").subscribed() == ["btcusdt@kline_1h", "btcusdt@markPrice@1s"]
    assert other.ended.wait(WAIT_S)
    assert not other_public.ended.is_set()
    house.streams.close()
    assert other_public.ended.wait(WAIT_S)


def test_without_a_key_there_is_no_account_stream() -> None:
    streams = BinanceStreams(loopback("http://127.0.0.1:1"), WallClock(), SocketLoop())
    with pytest.raises(ValueError, match="API key"):
        streams.open_account(Box())


def test_a_connection_that_pauses_before_its_next_attempt_makes_it_at_once_when_hurried() -> None:
    house = House(socket={"retry_s_min": 10 * WAIT_S, "retry_s_max": 10 * WAIT_S})
    house.keys.failing.set()
    house.streams.open_account(house.box)
    assert house.keys.refused.wait(WAIT_S)
    house.keys.failing.clear()
    house.settle()
    house.streams.hurry()
    house.exchange.line("private")
    house.close()
