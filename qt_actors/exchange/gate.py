"""What every request passes before it is answered: its weight, its key, its signature, its time, its order count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qt_actors.exchange.params import required
from qt_actors.exchange.routes import Access, Route
from qt_actors.exchange.signing import check_key, check_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qt_actors.exchange.exchange import Exchange
    from qt_actors.exchange.limits import Limits


def admit(
    route: Route,
    params: Mapping[str, str],
    key: str | None,
    check_signature: Callable[[], None],
    exchange: Exchange,
    limits: Limits,
) -> None:
    """Let a request in, or raise the refusal of the first thing that is wrong with it.

    Args:
        route: what it asks for.
        params: its parameters.
        key: the API key it carries.
        check_signature: judges its signature; called for signed routes only.
        exchange: whom it asks.
        limits: what it counts on; a refused request has cost its weight all the same.
    """
    if route.bucket:
        limits.count_bucket(route.bucket)
    else:
        limits.count_weight(route.weight(params))
    if route.access is not Access.PUBLIC:
        check_key(key, exchange.config.api_key)
    if route.access is Access.SIGNED:
        required(params, "timestamp")
        check_signature()
        check_time(params, exchange.clock)
    if route.orders:
        limits.count_orders(*route.orders)
