"""The hub: which client hears which stream, and when.

Cadence is kept in real time, so that a market running at 3600 times speed floods nobody: a kline at most every
250 ms, a book ticker every tick, a mark price every 1 or 3 s, for each symbol, and only when something was printed
since. Never thinned out are: a candle that closes (`x: true`), which goes to every subscriber exactly once, in order;
changes of a book (a diff tells all since the one before); contract changes; user data. Of liquidations the largest of
a symbol goes out once a second, as on the exchange. Each payload is encoded once, whatever the number of clients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson

from qt_actors.exchange import stream_frames
from qt_actors.exchange.book_diffs import ToldBook
from qt_actors.exchange.stream_names import ALL_ROWS, KINDS, Feed, feed_of
from qt_actors.exchange.subscribers import Subscriber, ws_frame

if TYPE_CHECKING:
    from qt_actors.exchange.forming import Forming
    from qt_actors.exchange.market import Market

KLINES: Final = ("kline", "continuousKline")
FORCED: Final = ("forceOrder", "!forceOrder@arr")
CONTRACTS: Final = "!contractInfo"
LIQUIDATION_IDS: Final = ("autoclose-", "adl_autoclose")
_SIMPLE: Final = {
    "bookTicker": stream_frames.book_ticker,
    "markPrice": stream_frames.mark_price,
    "ticker": stream_frames.day_ticker,
    "miniTicker": stream_frames.mini_ticker,
}


UNROUTED: Final = frozenset({"public"})  # since 2026-04-23

Deliver = Callable[[Subscriber, bytes, str, Any], None]
"""Takes a client, its frame, the stream's name and the payload."""

Told = Callable[[dict[str, Any]], Iterable[dict[str, Any]]]


def _as_it_is(event: dict[str, Any]) -> Iterable[dict[str, Any]]:
    return (event,)


def _queue(client: Subscriber, frame: bytes, _stream: str, _payload: Any) -> None:
    client.queue(frame)


class Topic:
    """One delivering stream: its clients and what was sent last."""

    __slots__ = ("book", "clients", "name", "row", "sent_id", "sent_traded")

    def __init__(self, name: str, row: int, sent_id: int, sent_traded: float, book: ToldBook | None) -> None:
        self.name = name
        self.row = row
        self.clients: dict[Subscriber, None] = {}
        self.sent_id = sent_id
        self.sent_traded = sent_traded
        self.book = book


class Hub:
    """Subscriptions of all clients to one market, and to one account.

    Args:
        market: what is told.

    Attributes:
        frames: payloads built so far.
        deliver: hands a frame to a client; faults put theirs in its place.
        told: makes of an account event what clients hear; faults put theirs in its place.
        unrouted: the routes whose streams the legacy URLs deliver.
    """

    def __init__(self, market: Market) -> None:
        self._market = market
        self._groups: dict[tuple[str, str], dict[int, Topic]] = {}
        self._due: dict[tuple[str, str], float] = {}
        self._clients: dict[Subscriber, None] = {}
        self._private: dict[str, dict[Subscriber, None]] = {}
        self._forced: dict[str, dict[int, dict[str, Any]]] = {kind: {} for kind in FORCED}
        self.frames = 0
        self.deliver: Deliver = _queue
        self.told: Told = _as_it_is
        self.unrouted = UNROUTED

    @property
    def clients(self) -> tuple[Subscriber, ...]:
        """Everyone connected."""
        return tuple(self._clients)

    # ---- subscriptions -------------------------------------------------------------------------------------------

    def join(self, client: Subscriber) -> None:
        """A client has connected."""
        self._clients[client] = None

    def leave(self, client: Subscriber) -> None:
        """A client is gone: forget it everywhere."""
        self._clients.pop(client, None)
        for name in tuple(client.streams):
            self.unsubscribe(client, name)
        for members in self._private.values():
            members.pop(client, None)

    def subscribe(self, client: Subscriber, name: str) -> None:
        """Note a subscription; it delivers when the stream exists, on this route, for a symbol of this market."""
        client.streams[name] = None
        feed = feed_of(name)
        if feed is None or not (
            feed.route == client.route or (client.route == "legacy" and feed.route in self.unrouted)
        ):
            return
        row = self._row(feed)
        if row is None:
            return
        if feed.kind in KLINES:
            self._market.forming(feed.argument)  # is kept from now on
        group = self._groups.setdefault((feed.kind, feed.argument), {})
        topic = group.get(row) or self._topic(name, feed, row)
        group[row] = topic
        topic.clients[client] = None

    def _row(self, feed: Feed) -> int | None:
        """The market's row of a feed, ALL_ROWS for one over all symbols, None where it has no such symbol."""
        if not feed.symbol:
            return ALL_ROWS
        row = self._market.row_of.get(feed.symbol)
        return row if row is None or feed.contract in {"", self._market.rules[row].contract_type} else None

    def _topic(self, name: str, feed: Feed, row: int) -> Topic:
        """A stream begins: what is periodic is sent at once, what tells changes (books, trades) from now on."""
        market, tells_changes = self._market, "epth" in feed.kind or feed.kind in {"aggTrade", "trade"}
        book = ToldBook(market, row) if "epth" in feed.kind and not feed.argument else None
        if book is not None:
            market.told_books.setdefault(row, []).append(book)
        sent_id = int(market.print_ids[row]) if tells_changes else -1
        return Topic(name, row, sent_id, float(market.traded[row]), book)

    def unsubscribe(self, client: Subscriber, name: str) -> None:
        """Forget a subscription; unknown ones are fine."""
        client.streams.pop(name, None)
        feed = feed_of(name)
        if feed is None:
            return
        key, row = (feed.kind, feed.argument), self._row(feed)
        topic = None if row is None else self._groups.get(key, {}).get(row)
        if topic is not None:
            topic.clients.pop(client, None)
            if not topic.clients:
                del self._groups[key][topic.row]
                if topic.book is not None:
                    self._market.told_books[topic.row].remove(topic.book)
                if not self._groups[key]:
                    del self._groups[key]
                    if feed.kind in KLINES and not any((kind, feed.argument) in self._groups for kind in KLINES):
                        self._market.drop_forming(feed.argument)

    def follow(self, market: Market) -> None:
        """Tell of another market of the same symbols from now on; everyone stays subscribed."""
        self._market = market
        for (kind, argument), group in self._groups.items():
            if kind in KLINES:
                market.forming(argument)
            for row, topic in group.items():
                group[row] = self._topic(topic.name, Feed(kind, argument, ""), row)
                group[row].clients = topic.clients

    def attach(self, client: Subscriber, listen_key: str) -> None:
        """Let a client hear the account of a listen key."""
        self._private.setdefault(listen_key, {})[client] = None

    def expire(self, listen_key: str, time_ms: int, *, quiet: bool = False) -> None:
        """Tell a listen key's clients, unless quiet, that it is gone; then their sockets stay open and silent."""
        members = self._private.pop(listen_key, {})
        if not quiet:
            self._tell(members, listen_key, {"e": "listenKeyExpired", "E": time_ms, "listenKey": listen_key})

    # ---- telling -------------------------------------------------------------------------------------------------

    def user_event(self, event: dict[str, Any]) -> None:
        """Send an account event to every client of every live listen key that wants it; a liquidation, to all."""
        if event["e"] == "ORDER_TRADE_UPDATE" and event["o"]["c"].startswith(LIQUIDATION_IDS):
            self._liquidated(event)
        for told in self.told(event):
            for listen_key, members in self._private.items():
                self._tell(members, listen_key, told)

    def _liquidated(self, event: dict[str, Any]) -> None:
        """Note a forced order that was filled; the largest of a symbol is told when the streams are due."""
        order = event["o"]
        row = self._market.row_of.get(order["s"])
        if row is None or order["x"] not in {"TRADE", "CALCULATED"} or not float(order["z"]):
            return
        frame = stream_frames.force_order(order, event["E"])
        for noted in self._forced.values():
            before = noted.get(row)
            if before is None or float(before["o"]["z"]) <= float(order["z"]):
                noted[row] = frame

    def contract_changed(self, row: int, status: str) -> None:
        """Tell that a symbol was listed or delisted."""
        topic = self._groups.get((CONTRACTS, ""), {}).get(ALL_ROWS)
        if topic is not None:
            self._publish(topic, stream_frames.contract_info(self._market, row, status))

    def closed(self, forming: Forming) -> None:
        """Send the candles that close now."""
        groups = [(kind, group) for kind in KLINES if (group := self._groups.get((kind, forming.interval)))]
        if not groups:
            return
        columns, there, ids = forming.data.T.tolist(), forming.there.tolist(), self._market.print_ids.tolist()
        for kind, group in groups:
            continuous = kind == "continuousKline"
            for row, topic in group.items():
                if there[row]:
                    frame = stream_frames.kline(
                        self._market, forming, row, columns[row], closed=True, continuous=continuous
                    )
                    topic.sent_id = ids[row]
                    self._publish(topic, frame)

    def tick(self, real_ms: float) -> None:
        """Send what is due at this real time (monotonic ms)."""
        for key in tuple(self._groups):
            due = self._due.get(key)
            if due is None or real_ms >= due:
                period = KINDS[key[0]][1]
                # From the planned moment, so that the cadence does not drift, unless that is long past.
                self._due[key] = due + period if due is not None and real_ms - due < period else real_ms + period
                self._send_group(key, self._groups[key])

    def flush(self) -> None:
        """Write what is queued; clients that are gone or too slow are forgotten."""
        for client in tuple(self._clients):
            if not client.flush():
                self.leave(client)

    def _send_group(self, key: tuple[str, str], group: dict[int, Topic]) -> None:
        kind, argument = key
        if kind == CONTRACTS:  # told when something happens
            return
        if kind in FORCED:
            self._send_forced(kind, group)
            return
        if kind.startswith("!"):
            for topic in tuple(group.values()):
                self._send_all(kind, topic)
            return
        market = self._market
        ids = market.print_ids.tolist()
        steady = kind.startswith("markPrice")
        build = self._builder(kind, argument)
        for row, topic in group.items():
            if (ids[row] != topic.sent_id or steady) and market.last[row] > 0:
                payload = build(topic)
                topic.sent_id = ids[row]
                if payload is not None:
                    self._publish(topic, payload)

    def _builder(self, kind: str, argument: str) -> Callable[[Topic], dict[str, Any] | None]:
        """What makes the payloads of a stream kind."""
        market = self._market
        if kind in KLINES:
            return self._klines(kind, argument)
        if "epth" in kind:
            return partial(self._partial_depth, int(argument)) if argument else self._diff_depth
        if kind in {"aggTrade", "trade"}:
            return partial(self._traded, kind)
        one = _SIMPLE["markPrice" if kind.startswith("markPrice") else kind]
        return lambda topic: one(market, topic.row)

    def _klines(self, kind: str, interval: str) -> Callable[[Topic], dict[str, Any] | None]:
        market, forming, continuous = self._market, self._market.forming(interval), kind == "continuousKline"
        columns, there = forming.data.T.tolist(), forming.there.tolist()

        def build(topic: Topic) -> dict[str, Any] | None:
            row = topic.row
            if not there[row]:
                return None
            return stream_frames.kline(market, forming, row, columns[row], closed=False, continuous=continuous)

        return build

    def _partial_depth(self, levels: int, topic: Topic) -> dict[str, Any]:
        return stream_frames.partial_depth(self._market, topic.row, levels, topic.sent_id)

    def _diff_depth(self, topic: Topic) -> dict[str, Any] | None:
        if topic.book is None:
            return None
        return stream_frames.diff_depth(self._market, topic.row, topic.sent_id, *topic.book.changes())

    def _traded(self, kind: str, topic: Topic) -> dict[str, Any] | None:
        traded = float(self._market.traded[topic.row])
        volume, topic.sent_traded = traded - topic.sent_traded, traded
        frame = (stream_frames.agg_trade if kind == "aggTrade" else stream_frames.trade)(
            self._market, topic.row, volume
        )
        return frame if float(frame["q"]) else None

    def _send_forced(self, kind: str, group: dict[int, Topic]) -> None:
        noted, self._forced[kind] = self._forced[kind], {}
        for row, frame in noted.items():
            topic = group.get(ALL_ROWS if kind.startswith("!") else row)
            if topic is not None:
                self._publish(topic, frame)

    def _send_all(self, kind: str, topic: Topic) -> None:
        """A stream over all symbols: one array of the symbols that changed, or one frame each (!bookTicker)."""
        market = self._market
        if kind.startswith("!markPrice"):  # delisted symbols, too, as on the exchange
            priced = (market.last > 0).nonzero()[0].tolist()
            self._publish(topic, [stream_frames.mark_price(market, row) for row in priced])
            return
        rows = market.listed().nonzero()[0].tolist()
        newest = int(market.print_ids.max())
        changed = [row for row in rows if market.print_ids[row] > topic.sent_id]
        topic.sent_id = newest
        if kind == "!bookTicker":
            for row in changed:
                self._publish(topic, stream_frames.book_ticker(market, row))
        elif changed:
            build = stream_frames.day_ticker if kind == "!ticker@arr" else stream_frames.mini_ticker
            self._publish(topic, [build(market, row) for row in changed])

    def _publish(self, topic: Topic, payload: Any) -> None:
        self._send(topic.clients, topic.name, payload)

    def _tell(self, members: dict[Subscriber, None], listen_key: str, event: dict[str, Any]) -> None:
        wanted = {client: None for client in members if not client.events or event["e"] in client.events}
        self._send(wanted, listen_key, event)

    def _send(self, clients: dict[Subscriber, None], name: str, payload: Any) -> None:
        self.frames += 1
        encoded = orjson.dumps(payload, default=str)
        raw = wrapped = b""
        for client in clients:
            if client.combined:
                wrapped = wrapped or ws_frame(b'{"stream":"%b","data":%b}' % (name.encode(), encoded))
                self.deliver(client, wrapped, name, payload)
            else:
                raw = raw or ws_frame(encoded)
                self.deliver(client, raw, name, payload)
