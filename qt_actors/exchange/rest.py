"""The REST side: a request in, Binance's reply or Binance's error shape out, whatever was sent."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import orjson
from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from qt_actors.exchange.errors import UNAVAILABLE_503, UNKNOWN_503, ExchangeError
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
    except OSError:  # a disk that keeps nothing is told by who moves time; here nobody knows what became of it
        return _json({"msg": UNKNOWN_503}, 503, limits.headers(orders=False))
    except Exception:  # a bug here must not become a hung or half-answered socket
        log.exception("%s %s", request.method, request.path)
        text = "An unknown error occured while processing the request."
        return _json({"code": -1000, "msg": text}, 500, limits.headers(orders=False))
    return _json(reply, 200, limits.headers(orders=counted) if weighed else {})


def refused_unavailable() -> web.Response:
    """What is asked of an exchange that stops: failed, not executed."""
    return _json({"msg": UNAVAILABLE_503}, 503, {})


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
    """The body as text, or -1100 for one that is none, -1101 for one that is too long."""
    if not request.body_exists:
        return ""
    try:
        raw = await request.read()
    except web.HTTPRequestEntityTooLarge as reason:
        raise ExchangeError(-1101, f"Too much data sent; at most {BODY_BYTES_MAX} bytes are read.", 413) from reason
    except (RequestPayloadError, ConnectionError) as reason:  # not in the encoding it names, or broken off
        raise ExchangeError(-1100, "The body of the request cannot be read.") from reason
    try:
        return raw.decode()
    except UnicodeDecodeError as reason:
        raise ExchangeError(-1100, "Illegal characters found in a parameter.") from reason


def _params(query: str, body: str) -> dict[str, str]:
    """Parameters of body and query, the query's winning; -1101 for one that either names twice."""
    return {**_pairs(body), **_pairs(query)}


def _pairs(text: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=PARAMETERS_MAX)
    except ValueError as reason:
        raise ExchangeError(-1101, f"Too many parameters; expected at most {PARAMETERS_MAX}.") from reason
    params = dict(pairs)
    if len(params) < len(pairs):
        raise ExchangeError(-1101, "Duplicate values for a parameter detected.")
    return params


def _json(content: Any, status: int, headers: dict[str, str]) -> web.Response:
    body = orjson.dumps(content, default=str)
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")
