"""Acting at a moment: connections, the listen key, the clock, open orders, positions, by nobody's request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qt_actors.exchange.hub import UNROUTED as TODAY

if TYPE_CHECKING:
    from qt_actors.exchange.exchange import Exchange
    from qt_actors.exchange.faults.fault import Fault


ALL: Final = frozenset({"public", "market", "private"})


def tick(exchange: Exchange) -> None:
    """Do what is due now; called between two looks at the sockets."""
    desk, hub = exchange.desk, exchange.hub
    exchange.clock.skew_ms = sum(fault.ms for fault in desk.lasting("skew"))
    if desk.lasting("maintenance"):
        for client in hub.clients:
            client.cut()
    _route(exchange, ALL if desk.lasting("before_2026_04_23") else TODAY)
    for hit in desk.moments():
        _act(exchange, hit.fault)
    exchange.frames.release(hub.clients)


def _route(exchange: Exchange, delivering: frozenset[str]) -> None:
    """Let unrouted URLs deliver these routes; where that becomes less, their connections end."""
    before, exchange.hub.unrouted = exchange.hub.unrouted, delivering
    if before - delivering:
        for client in exchange.hub.clients:
            if client.route == "legacy":
                client.cut()


def _act(exchange: Exchange, fault: Fault) -> None:
    match fault.kind:
        case "listen_key_loss":
            key = exchange.listen_keys.delete()
            if key is not None:
                exchange.hub.expire(key, exchange.clock.now_ms(), quiet=fault.quiet)
        case "clock_jump":
            exchange.clock.jump(fault.ms)
            exchange.step()  # at once: a clock too far ahead of its market is held
        case "deleverage":
            exchange.operate("spoil", {"do": "deleverage", "symbol": fault.symbol})
        case "expire_open":
            wire = {"do": "expire", "symbol": fault.symbol, "side": fault.side, "type": fault.type}
            exchange.operate("spoil", wire)
        case _:
            for client in exchange.hub.clients:
                if fault.route not in {"", client.route}:
                    continue
                if fault.kind == "disconnect":
                    client.cut()
                else:
                    exchange.frames.silence(client, muted=fault.kind == "mute")
