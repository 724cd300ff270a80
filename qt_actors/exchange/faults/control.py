"""GET, POST and DELETE `/qt/faults`: faults while the exchange runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

from qt_actors.exchange.faults.reading import FaultsError, faults_of
from qt_actors.exchange.params import INTEGER

if TYPE_CHECKING:
    from qt_actors.exchange.faults.desk import Desk

PATH: Final = "/qt/faults"


async def serve_faults(request: web.Request, desk: Desk) -> web.Response:
    """List, add, clear; what cannot be used is told in one line with HTTP 400."""
    try:
        if request.method == "GET":
            return _json(desk.listed())
        if request.method == "POST":
            return _json({"numbers": desk.add(faults_of((await request.read()).decode(), "body"))})
        if request.method == "DELETE":
            return _json({"cleared": desk.clear(_number(request.query.get("number")))})
        return _json({"code": -5000, "msg": f"{request.method} {PATH}: give GET, POST or DELETE"}, 405)
    except FaultsError as wrong:
        return _json({"code": -1130, "msg": str(wrong)}, 400)
    except UnicodeDecodeError:
        return _json({"code": -1130, "msg": "body: no UTF-8 text"}, 400)
    except web.HTTPRequestEntityTooLarge as large:
        return _json({"code": -1130, "msg": f"body: {large.text}"}, 413)


def _number(text: str | None) -> int | None:
    if text is not None and not INTEGER.fullmatch(text):
        raise FaultsError(f"number: {text[:40]!r} is not allowed; give one that GET {PATH} lists")
    return None if text is None else int(text)


def _json(content: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(content), status=status, content_type="application/json")
