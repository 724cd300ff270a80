"""Under which names the trader may be asked: a page that points its own name at loopback must not read it.

Browsers let a page read whatever answers under the page's own name, wherever that name leads (DNS rebinding). The Host
header of such a request is the page's name, so a name that is not ours is refused. An address cannot be pointed anew.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import msgspec

LOCAL: Final = ("localhost", "127.0.0.1", "::1")
SHOWN_CHARACTERS_MAX: Final = 100
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class Hosts(msgspec.Struct, frozen=True, kw_only=True):
    """The names that are ours, in small letters; ``any_address``: each IP address is, too."""

    names: tuple[str, ...]
    any_address: bool

    def has(self, header: str) -> bool:
        """Tell whether a Host header (``NAME``, ``NAME:PORT``, ``[ADDRESS]:PORT``) names us."""
        name = _name(header)
        return name in self.names or (self.any_address and _address(name) is not None)

    def refusal(self, header: str) -> str:
        """Return one line: what was asked for and what is allowed."""
        names = (f"[{name}]" if ":" in name else name for name in self.names)
        also = " or any IP address of this machine" if self.any_address else "; QT_HTTP_HOST adds one"
        return f"Host {header[:SHOWN_CHARACTERS_MAX]!r} is not allowed: use {', '.join(names)}{also}"


def hosts_of(http_host: str, machine: str = "") -> Hosts:
    """Return the names of a trader that listens on ``QT_HTTP_HOST``; ``machine`` is this machine's (asked if empty)."""
    bound = _address(http_host)
    everywhere = bound is not None and bound.is_unspecified
    own = (machine or socket.gethostname()) if everywhere else http_host
    names = (*LOCAL, own.lower(), *((own.lower().partition(".")[0],) if everywhere else ()))
    return Hosts(names=tuple(dict.fromkeys(filter(None, names))), any_address=everywhere)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _name(header: str) -> str:
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower().removesuffix(".")


class Hosted:
    """Answers under our own names only; ``refuse`` makes the answer to the others."""

    def __init__(self, app: Application, hosts: Hosts, refuse: Callable[[str], Application]) -> None:
        """Remember."""
        self._app = app
        self._hosts = hosts
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on or refuse."""
        told = [value.decode("latin-1") for name, value in scope.get("headers", ()) if name == b"host"]
        ours = all(self._hosts.has(host) for host in told) and told
        await (self._app if ours else self._refuse(", ".join(told)))(scope, receive, send)
