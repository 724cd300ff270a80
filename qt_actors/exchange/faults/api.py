"""Acting on requests of the WebSocket API: a fault meets them by method and path of the REST route of same meaning."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from qt_actors.exchange.faults.fault import REQUEST, Facts
from qt_actors.exchange.faults.requests import (
    MAINTENANCE,
    duplicated,
    end_order,
    late,
    refusal_of,
    spoiler,
    with_empty_book,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qt_actors.exchange.exchange import Exchange
    from qt_actors.exchange.faults.fault import Fault


async def reply_under_faults(
    exchange: Exchange,
    data: str | bytes,
    healthy: Callable[[str | bytes], dict[str, Any]],
    routes: Mapping[str, tuple[str, str]],
) -> dict[str, Any] | None:
    """The answer to one frame as `healthy` would give it and as the faults want it; None cuts the connection.

    Args:
        exchange: whose faults.
        data: the frame.
        healthy: answers it.
        routes: REST method and path of every method.
    """
    desk = exchange.desk
    if desk.lasting(MAINTENANCE):
        return None
    if not desk.concerns(REQUEST):
        return healthy(data)
    number, facts = _seen(data, routes)
    hits = desk.hits(facts)
    await late(hits, executed=False)
    fault = spoiler(hits, executed=False)
    if fault is not None:
        return _spoilt(number, fault)
    with with_empty_book(exchange, facts, hits):
        reply = healthy(data)
        again = duplicated(hits)
        if again is not None:
            second = healthy(data)
            reply = second if again.executed else reply
    if reply["status"] == 200:
        end_order(exchange, facts, reply["result"], hits)
    await late(hits, executed=True)
    fault = spoiler(hits, executed=True)
    return reply if fault is None else _spoilt(number, fault)


def _seen(data: str | bytes, routes: Mapping[str, tuple[str, str]]) -> tuple[Any, Facts]:
    """The request's id and what it shows; a frame that is no request shows nothing."""
    try:
        request = json.loads(data)
        params = request.get("params") or {}
        method, path = routes.get(request["method"], ("", ""))
        shown = [str(params.get(name, "")) for name in ("symbol", "side", "type")]
        return request.get("id"), Facts(REQUEST, method, path, "", "", "", "", shown[0].upper(), *shown[1:])
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None, Facts(REQUEST)


def _spoilt(number: Any, fault: Fault) -> dict[str, Any] | None:
    refusal = refusal_of(fault)
    if refusal is None:
        return None
    return {"id": number, "status": refusal.status, "error": {"code": refusal.code or -1000, "msg": refusal.text}}
