"""The REST side: a request in, Binance's reply or Binance's error shape out, whatever was sent."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import orjson
from aiohttp import web

from qt_actors.exchange.errors import ExchangeError
from qt_actors.exchange.gate import admit
from qt_actors.exchange.routes import ROUTES, Route
from qt_actors.exchange.signing import check_signature

if TYPE_CHECKING:
    from qt_actors.exchange.exchange import Exchange
    from qt_actors.exchange.limits import Limits

log = logging.getLogger(__name__)

BODY_BYTES_MAX: Final = 256 * 1024
PARAMETERS_MAX: Final = 200


async def serve_rest(request: web.Request, exchange: Exchange, limits: Limits) -> web.Response:
    """Answer one request; never raises, always JSON."""
    route = ROUTES.get((request.method, request.path))
    counted = route is not None and bool(route.orders)
    weighed = route is None or not route.bucket
    try:
        reply = await _answer(request, route, exchange, limits)
    except ExchangeError as refused:
        headers = limits.headers(orders=False) if weighed else {}
        if refused.http_status in {418, 429}:
            headers["Retry-After"] = str(limits.retry_after_s())
        return _json({"code": refused.code, "msg": refused.msg}, refused.http_status, headers)
    except Exception:  # a bug here must not become a hung or half-answered socket
        log.exception("%s %s", request.method, request.path)
        text = "An unknown error occured while processing the request."
        return _json({"code": -1000, "msg": text}, 500, limits.headers(orders=False))
    return _json(reply, 200, limits.headers(orders=counted) if weighed else {})


async def _answer(request: web.Request, route: Route | None, exchange: Exchange, limits: Limits) -> Any:
    if route is None:
        path = request.path.encode("ascii", "replace").decode()[:200]
        raise ExchangeError(-5000, f"Path {path}, Method {request.method} is invalid", 404)
    query = request.rel_url.raw_query_string.encode("utf-8", "replace").decode()  # raw bytes come as lone surrogates
    body = await _body(request)
    params = _params(query, body)
    check = partial(check_signature, query, body, exchange.config.api_secret)
    admit(route, params, request.headers.get("X-MBX-APIKEY"), check, exchange, limits)
    return route.answer(exchange, params)


async def _body(request: web.Request) -> str:
    """The body as text, or -1102 / -1100 for one that is none or too long."""
    if not request.body_exists:
        return ""
    try:
        raw = await request.read()
    except web.HTTPRequestEntityTooLarge as reason:
        raise ExchangeError(-1101, f"Too much data sent; at most {BODY_BYTES_MAX} bytes are read.", 413) from reason
    try:
        return raw.decode()
    except UnicodeDecodeError as reason:
        raise ExchangeError(-1100, "Illegal characters found in a parameter.") from reason


def _params(query: str, body: str) -> dict[str, str]:
    """Parameters of body and query, the query's winning; the last of doubled ones counts."""
    try:
        pairs = [
            *parse_qsl(body, keep_blank_values=True, max_num_fields=PARAMETERS_MAX),
            *parse_qsl(query, keep_blank_values=True, max_num_fields=PARAMETERS_MAX),
        ]
    except ValueError as reason:
        raise ExchangeError(-1101, f"Too many parameters; expected at most {PARAMETERS_MAX}.") from reason
    return dict(pairs)


def _json(content: Any, status: int, headers: dict[str, str]) -> web.Response:
    body = orjson.dumps(content, default=str)
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")
