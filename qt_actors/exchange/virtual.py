"""The exchange inside a program, for backtests and simulations: no socket, no thread, no clock but the caller's."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import orjson

from qt_actors.exchange.clock import ExchangeClock
from qt_actors.exchange.errors import ExchangeError
from qt_actors.exchange.exchange import Exchange
from qt_actors.exchange.routes import ROUTES
from qt_actors.exchange.stream_names import feed_of
from qt_actors.exchange.subscribers import Subscriber, frame_payload

if TYPE_CHECKING:
    from qt_actors.exchange.config import ExchangeConfig

ACCOUNT: Final = "account"


class _Listener(Subscriber):
    """A client that keeps what it is sent."""

    def __init__(self, route: str, heard: list[dict[str, Any]]) -> None:
        super().__init__(asyncio.Transport(), route, combined=True)
        self._heard = heard

    def queue(self, frame: bytes) -> None:
        self._heard.append(orjson.loads(frame_payload(frame)))

    def flush(self) -> bool:
        return True


class VirtualExchange:
    """One account on one market whose time only moves when it is told to.

    Market, engine, paths and payloads are those of `qt exchange` with the same settings: the same orders at the same
    moments get the same fills. Requests are neither signed nor counted. Not thread-safe.

    Args:
        config: as for a served exchange; `host`, `port`, `api_key` and the limits mean nothing here, `speed` only the
            path detail where `detail` is None.

    Raises:
        MarketDataError, RulesError, StateError: a file cannot be used; one line each.

    Example:
        A trade of a day, by hand, on the synthetic market::

            exchange = VirtualExchange(ExchangeConfig(symbols="BTCUSDT", seed=7))
            exchange.subscribe("btcusdt@kline_15m")
            exchange.request("POST", "/fapi/v1/order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01")
            while exchange.now_ms < end_ms:
                for told in exchange.next_bar():
                    print(told["stream"], told["data"])  # candles, and the account's events under "account"
            exchange.request("GET", "/fapi/v2/balance")
    """

    def __init__(self, config: ExchangeConfig) -> None:
        self._moved_ms = 0.0
        self._heard: list[dict[str, Any]] = []
        self.exchange = Exchange(config, self._clock)
        self._listeners = {route: _Listener(route, self._heard) for route in ("market", "public", "private")}
        for listener in self._listeners.values():
            self.exchange.hub.join(listener)
        self.exchange.hub.attach(self._listeners["private"], ACCOUNT)

    def _clock(self, start_ms: int, _speed: float) -> ExchangeClock:
        return ExchangeClock(start_ms, 1.0, wall=lambda: self._moved_ms, monotonic=lambda: self._moved_ms)

    @property
    def now_ms(self) -> int:
        """Exchange time, ms UTC."""
        return self.exchange.market.now_ms

    @property
    def ended(self) -> bool:
        """Whether the market has no candle left."""
        return self.exchange.ended

    def subscribe(self, *streams: str) -> None:
        """Hear these streams from now on; names as on the exchange, of any route.

        A closed candle, an account event, a changed contract is always heard; the rest once for each `advance`.
        """
        for name in streams:
            feed = feed_of(name)
            if feed is not None:
                self.exchange.hub.subscribe(self._listeners[feed.route], name)

    def request(self, method: str, path: str, **params: str | int | bool | Decimal) -> Any:
        """The reply of a REST endpoint ("POST", "/fapi/v1/order"), at this moment.

        Raises:
            ExchangeError: the exchange refused; `code` and `msg` are Binance's.
        """
        route = ROUTES.get((method, path))
        if route is None:
            raise ExchangeError(-5000, f"Path {path}, Method {method} is invalid", 404)
        return route.answer(self.exchange, {name: _wire(value) for name, value in params.items()})

    def advance(self, to_ms: int) -> list[dict[str, Any]]:
        """Let time pass up to and including `to_ms`; what was heard since the last call, in order.

        Each is `{"stream": name, "data": payload}`; the account's events come as the stream "account".
        """
        self._moved_ms += max(0, to_ms - self.exchange.clock.now_ms())
        self.exchange.step()
        self.exchange.hub.tick(self._moved_ms)
        self.exchange.commit()
        heard = self._heard.copy()
        self._heard.clear()
        return heard

    def next_bar(self) -> list[dict[str, Any]]:
        """`advance` to the end of the running bar, when its candle has closed."""
        market = self.exchange.market
        return self.advance(market.open_ms() + market.interval_ms)

    def close(self) -> None:
        """Save, where the settings name a state file."""
        self.exchange.close()


def _wire(value: str | int | bool | Decimal) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return format(value, "f") if isinstance(value, Decimal) else str(value)
