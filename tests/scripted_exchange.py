"""An exchange that does what the test's script says: any status, any body, silence, a torn connection; and any stream.

Unlike the embedded exchange it keeps no books: it is for the failures that no healthy exchange shows.
"""

from __future__ import annotations

import asyncio
import json
import queue
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import WSMsgType, web

WAIT_S = 10.0
HANG, TEAR = "hang", "tear"
"""Bodies of the script: never answer; close the connection instead of answering."""


class Reply:
    """One scripted answer; ``body`` is JSON-able, bytes as they are, or HANG or TEAR."""

    def __init__(self, status: int = 200, body: Any = None, **headers: str) -> None:
        self.status = status
        self.body = {} if body is None else body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def refusal(code: int, text: str = "no", status: int = 400, **headers: str) -> Reply:
    """Binance's error shape."""
    return Reply(status, {"code": code, "msg": text}, **headers)


class Request:
    """What came in."""

    def __init__(self, method: str, path: str, query: str, body: str, headers: dict[str, str]) -> None:
        self.method, self.path, self.query, self.body, self.headers = method, path, query, body, headers
        self.params = dict(parse_qsl(query) + parse_qsl(body))


class Line:
    """One accepted stream connection, driven from the test's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: web.WebSocketResponse, request: web.Request) -> None:
        self.path = request.path_qs
        self.heard: queue.Queue[Any] = queue.Queue()
        self.ended = threading.Event()
        self._loop = loop
        self._socket = socket
        self._transport = request.transport

    def send(self, *frames: Any) -> None:
        """Send JSON-able frames, or text and bytes as they are."""
        for frame in frames:
            text = frame if isinstance(frame, str) else json.dumps(frame)
            asyncio.run_coroutine_threadsafe(self._socket.send_str(text), self._loop).result(WAIT_S)

    def close(self, code: int = 1001) -> None:
        """Close in order."""
        asyncio.run_coroutine_threadsafe(self._socket.close(code=code), self._loop).result(WAIT_S)

    def tear(self) -> None:
        """Cut the connection."""
        self._loop.call_soon_threadsafe(self._transport.abort)  # type: ignore[union-attr] # it was accepted

    def subscribed(self) -> list[str]:
        """Names of the next SUBSCRIBE frame, acknowledged."""
        request = self.heard.get(timeout=WAIT_S)
        assert request["method"] == "SUBSCRIBE"
        self.send({"result": None, "id": request["id"]})
        return list(request["params"])


class ScriptedExchange:
    """Listens on loopback; ``script(method, path, *replies)`` says what comes next, the last one for ever."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.lines: dict[str, queue.Queue[Line]] = defaultdict(queue.Queue)
        self.refuse_streams = 0
        self.handshakes = 0
        self._script: dict[tuple[str, str], list[Reply]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._runner: web.AppRunner | None = None
        self.port = int(self._call(self._start()))
        self.script("GET", "/fapi/v1/time", Reply(body={"serverTime": 0}))
        self.script("GET", "/fapi/v1/exchangeInfo", Reply(body={"rateLimits": [], "symbols": []}))
        self.script("GET", "/fapi/v1/positionSide/dual", Reply(body={"dualSidePosition": False}))
        self.script("POST", "/fapi/v1/listenKey", Reply(body={"listenKey": "listen-1"}))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def script(self, method: str, path: str, *replies: Reply) -> None:
        """Answer so from now on."""
        self._script[method, path] = list(replies)

    def sent(self, method: str, path: str) -> list[Request]:
        """Requests of this kind so far."""
        return [r for r in tuple(self.requests) if (r.method, r.path) == (method, path)]

    def line(self, route: str) -> Line:
        """The next connection to a route (``market``, ``public``, ``private``)."""
        return self.lines[route].get(timeout=WAIT_S)

    def stop(self) -> None:
        """Stop listening; a second call does nothing."""
        if self._thread.is_alive():
            self._call(self._stop())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(WAIT_S)
            self._loop.close()

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_S)

    async def _start(self) -> int:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return int(self._runner.addresses[0][1])

    async def _stop(self) -> None:
        for lines in self.lines.values():
            while not lines.empty():
                lines.get_nowait()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._stream(request)
        body = (await request.read()).decode()
        heard = Request(request.method, request.path, request.rel_url.raw_query_string, body, dict(request.headers))
        self.requests.append(heard)
        script = self._script.get((request.method, request.path), [refusal(-5000, "not scripted", 404)])
        reply = script.pop(0) if len(script) > 1 else script[0]
        if callable(reply.body):
            reply = _computed(reply.body, heard)
        if isinstance(reply.body, str) and reply.body in {HANG, TEAR}:
            if reply.body == HANG:
                await asyncio.sleep(WAIT_S * 3)
            request.transport.abort()  # type: ignore[union-attr] # the request came over it
            return web.Response()
        raw = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        return web.Response(body=raw, status=reply.status, headers=reply.headers, content_type="application/json")

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        self.handshakes += 1
        if self.refuse_streams > 0:
            self.refuse_streams -= 1
            return web.Response(status=503)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        line = Line(self._loop, socket, request)
        self.lines[request.path.split("/")[1]].put(line)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                line.heard.put(json.loads(message.data))
        line.ended.set()
        return socket


def _computed(make: Callable[[Request], Any], request: Request) -> Reply:
    made = make(request)
    return made if isinstance(made, Reply) else Reply(body=made)
