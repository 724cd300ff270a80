"""Time by HTTP: where it is, and pause, resume, step, speed and seek. No signature, no weight.

    GET  /qt/clock                  where exchange time is
    POST /qt/pause, /qt/resume      stop it, let it go on
    POST /qt/step?bars=1  or ?ms=N  walk to the end of the running bar (of the n-th), or N ms; then time stands still
    POST /qt/speed?value=60         exchange ms a real ms; 1,000,000 is as fast as the machine can
    POST /qt/seek?to=MS             go to a moment, ms UTC; time runs on, or stands still, as before

Each answers what `/qt/clock` would, when it is there. Forward, seek and step are time that passes, at most a million
bars of it at once: every price point, candle, fill, funding settlement and liquidation on the way happens and is told.
They take their turns; a pause ends them where they are, and the clock is told at any time. Back, the market starts
over at that moment, its streams stay subscribed; the account must be flat and without open orders (else -4067 or
-4068, the codes of a changed position mode), keeps its wallet, and its history keeps its times.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

from qt_actors.exchange.clock import SPEED_MAX
from qt_actors.exchange.errors import UNKNOWN_503, ExchangeError, refusal
from qt_actors.exchange.params import decimal, integer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qt_actors.exchange.exchange import Exchange

PATHS: Final = {
    "/qt/clock": "GET", "/qt/pause": "POST", "/qt/resume": "POST", "/qt/step": "POST", "/qt/speed": "POST",
    "/qt/seek": "POST",
}  # fmt: skip
BARS_MAX: Final = 1_000_000
SLICE_BARS: Final = 4  # walked between two looks at the sockets


class Control:
    """Moves an exchange's time as asked, one request at a time.

    Args:
        exchange: the exchange.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._turn = asyncio.Lock()
        self._cuts = 0  # pauses that wait for their turn

    def cut(self) -> None:
        """End the walk under way, and those that wait for their turn, where they are."""
        self._cuts += 1

    async def serve(self, request: web.Request) -> web.Response:
        """Answer one request; what cannot be done is refused with a code and HTTP 400."""
        if request.method != PATHS[request.path]:
            return _json({"code": -5000, "msg": f"Path {request.path}, Method {request.method} is invalid"}, 404)
        if request.path == "/qt/clock":
            return _json(self.clock())
        if request.path == "/qt/pause":
            self.cut()
        try:
            async with self._turn:
                await self._act(request.path, request.query)
                return _json(self.clock())
        except ExchangeError as refused:
            return _json({"code": refused.code, "msg": refused.msg}, 400)
        except OSError:  # a disk that keeps nothing: who moves time has told it
            return _json({"msg": UNKNOWN_503}, 503)

    async def _act(self, path: str, params: Mapping[str, Any]) -> None:
        exchange, clock = self._exchange, self._exchange.clock
        if path == "/qt/pause":
            self._cuts -= 1
            exchange.catch_up()
            clock.pause()
            exchange.commit()
        elif path == "/qt/resume" and not exchange.ended:
            clock.resume()
        elif path == "/qt/speed":
            speed = decimal(params, "value")
            if speed is None:
                raise refusal(-1102, "value")
            if not 0 < speed <= SPEED_MAX:
                raise refusal(-1130, "value")
            exchange.catch_up()
            clock.run_at(float(speed))
        elif path == "/qt/step":
            clock.pause()
            await self._walk(self._step_end(params))
        elif path == "/qt/seek":
            await self._seek(params)

    def _step_end(self, params: Mapping[str, Any]) -> int:
        market = self._exchange.market
        ms, bars = integer(params, "ms"), integer(params, "bars")
        if ms is not None:
            if not 0 < ms <= BARS_MAX * market.interval_ms:
                raise refusal(-1130, "ms")
            return market.now_ms + ms
        if not 0 < (bars := 1 if bars is None else bars) <= BARS_MAX:
            raise refusal(-1130, "bars")
        return market.open_ms() + bars * market.interval_ms

    async def _seek(self, params: Mapping[str, Any]) -> None:
        exchange, to_ms = self._exchange, integer(params, "to")
        if to_ms is None:
            raise refusal(-1102, "to")
        first, end = exchange.span()
        furthest = exchange.market.now_ms + BARS_MAX * exchange.market.interval_ms
        if not first < to_ms < min(end, furthest):
            raise refusal(-1130, "to")
        stood = exchange.clock.paused
        exchange.clock.pause()
        try:
            if to_ms < exchange.market.now_ms:
                exchange.start_over(to_ms)
            await self._walk(to_ms)
        finally:
            if not stood and not exchange.ended:
                exchange.clock.resume()

    async def _walk(self, to_ms: int) -> None:
        """Walk the market there in slices, others being served between them; a pause cuts it short."""
        exchange = self._exchange
        while exchange.market.now_ms < to_ms and not exchange.ended and not self._cuts:
            exchange.walk(min(to_ms, exchange.market.now_ms + SLICE_BARS * exchange.market.interval_ms))
            exchange.commit()
            await asyncio.sleep(0)
        exchange.clock.move_to(exchange.market.now_ms)
        exchange.hub.tick(exchange.clock.real_ms())
        exchange.commit()

    def clock(self) -> dict[str, Any]:
        """The reply of every path."""
        exchange = self._exchange
        return {
            **exchange.clock.describe(),
            "account": exchange.account,
            "market": exchange.market.source.name,
            "market_ms": exchange.market.now_ms,
            "interval_ms": exchange.market.interval_ms,
            "points_per_bar": exchange.market.points_per_bar,
            "ended": exchange.ended,
        }


def _json(content: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(content), status=status, content_type="application/json")
