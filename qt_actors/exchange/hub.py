"""The hub: which client hears which stream, and when.

Cadence is kept in real time, so that a market running at 3600 times speed floods nobody: a kline at most every
250 ms, a book ticker every 100 ms, a mark price every 1 or 3 s, for each symbol, and only when something was printed
since. Two things are never thinned out: a candle that closes (`x: true`) goes to every subscriber exactly once, in
order; and user data. Each payload is encoded once, whatever the number of clients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import orjson

from qt_actors.exchange import stream_frames
from qt_actors.exchange.market_replies import ladder
from qt_actors.exchange.stream_names import KINDS, feed_of
from qt_actors.exchange.subscribers import Subscriber, ws_frame

if TYPE_CHECKING:
    from qt_actors.exchange.forming import Forming
    from qt_actors.exchange.market import Market

DIFF_LEVELS: Final = 20
KLINES: Final = ("kline", "continuousKline")
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

    def __init__(self, name: str, row: int) -> None:
        self.name = name
        self.row = row
        self.clients: dict[Subscriber, None] = {}
        self.sent_id = -1
        self.sent_traded = 0.0
        self.book: tuple[dict[str, str], dict[str, str]] | None = None


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
        row = self._market.row_of.get(feed.symbol, -1)
        if feed.symbol and row < 0:
            return
        if feed.kind in KLINES:
            self._market.forming(feed.argument)  # is kept from now on
        group = self._groups.setdefault((feed.kind, feed.argument), {})
        group.setdefault(row, Topic(name, row)).clients[client] = None

    def unsubscribe(self, client: Subscriber, name: str) -> None:
        """Forget a subscription; unknown ones are fine."""
        client.streams.pop(name, None)
        feed = feed_of(name)
        if feed is None:
            return
        key, row = (feed.kind, feed.argument), self._market.row_of.get(feed.symbol, -1)
        topic = self._groups.get(key, {}).get(row)
        if topic is not None:
            topic.clients.pop(client, None)
            if not topic.clients:
                del self._groups[key][row]
                if not self._groups[key]:
                    del self._groups[key]
                    if feed.kind in KLINES and not any((kind, feed.argument) in self._groups for kind in KLINES):
                        self._market.drop_forming(feed.argument)

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
        """Send an account event to every client of every live listen key that wants it."""
        for told in self.told(event):
            for listen_key, members in self._private.items():
                self._tell(members, listen_key, told)

    def closed(self, forming: Forming) -> None:
        """Send the candles that close now."""
        for kind in KLINES:
            group = self._groups.get((kind, forming.interval))
            if not group:
                continue
            for row, topic in group.items():
                if forming.there[row]:
                    frame = stream_frames.kline(
                        self._market, forming, row, closed=True, continuous=kind == "continuousKline"
                    )
                    topic.sent_id = int(self._market.print_ids[row])
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
        if kind.startswith("!"):
            for topic in tuple(group.values()):
                self._send_all(kind, topic)
            return
        market = self._market
        ids = market.print_ids.tolist()
        steady = kind.startswith("markPrice")
        for row, topic in group.items():
            if (ids[row] != topic.sent_id or steady) and market.last[row] > 0:
                payload = self._payload(kind, argument, topic)
                topic.sent_id = ids[row]
                if payload is not None:
                    self._publish(topic, payload)

    def _payload(self, kind: str, argument: str, topic: Topic) -> dict[str, Any] | None:
        market, row = self._market, topic.row
        if kind in KLINES:
            forming = market.forming(argument)
            if not forming.there[row]:
                return None
            return stream_frames.kline(market, forming, row, closed=False, continuous=kind == "continuousKline")
        if kind == "bookTicker":
            return stream_frames.book_ticker(market, row)
        if kind.startswith("markPrice"):
            return stream_frames.mark_price(market, row)
        if kind.startswith("depth"):
            return self._depth(argument, topic)
        if kind == "aggTrade":
            traded = float(market.traded[row])
            volume, topic.sent_traded = traded - topic.sent_traded, traded
            return stream_frames.agg_trade(market, row, volume) if topic.sent_id >= 0 else None
        return stream_frames.day_ticker(market, row) if kind == "ticker" else stream_frames.mini_ticker(market, row)

    def _depth(self, argument: str, topic: Topic) -> dict[str, Any]:
        market, row = self._market, topic.row
        before = topic.sent_id if topic.sent_id >= 0 else int(market.print_ids[row]) - 1
        if argument:
            return stream_frames.partial_depth(market, row, int(argument), before)
        bids, asks = ladder(market, row, DIFF_LEVELS)
        book = (_sizes(bids), _sizes(asks))
        known = topic.book or ({}, {})
        changes = tuple(_changes(old, new) for old, new in zip(known, book, strict=True))
        topic.book = book
        return stream_frames.diff_depth(market, row, before, (changes[0], changes[1]))

    def _send_all(self, kind: str, topic: Topic) -> None:
        """A stream over all symbols: one array of the symbols that changed, or one frame each (!bookTicker)."""
        market = self._market
        rows = market.listed().nonzero()[0].tolist()
        if kind.startswith("!markPrice"):
            self._publish(topic, [stream_frames.mark_price(market, row) for row in rows])
            return
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


def _sizes(levels: list[list[str]]) -> dict[str, str]:
    """Size by price."""
    return {price: size for price, size in levels}  # noqa: C416 - dict(levels) does not type: a level is a list


def _changes(old: dict[str, str], new: dict[str, str]) -> list[list[str]]:
    """Levels that are new or have another size, and with size "0" those that are gone."""
    gone = [[price, "0"] for price in old if price not in new]
    return [[price, size] for price, size in new.items() if old.get(price) != size] + gone
