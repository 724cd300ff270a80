"""Where the exchange is: one object redirects every REST and stream URL, and keeps tests away from real money."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

import msgspec

Network = Literal["loopback", "testnet", "live"]


class EndpointError(ValueError):
    """A URL that this configuration must not use."""


class Endpoints(msgspec.Struct, frozen=True):
    """Base URLs without a trailing slash; construction refuses a mixture of networks.

    Attributes:
        network: which money is at stake: the embedded exchange's, the testnet's, or real.
        rest: futures REST (``/fapi`` follows).
        spot: spot REST (``/api`` follows); python-binance wants one, the gateway never calls it.
        streams: WebSocket base (``/market``, ``/public``, ``/private`` follow).

    Raises:
        EndpointError: a URL is malformed, or names a host of another network.
    """

    network: Network
    rest: str
    spot: str
    streams: str

    def __post_init__(self) -> None:
        for name, url, schemes in (
            ("rest", self.rest, ("http", "https")),
            ("spot", self.spot, ("http", "https")),
            ("streams", self.streams, ("ws", "wss")),
        ):
            parts = urlsplit(url)
            if parts.scheme not in schemes or not parts.hostname or parts.path or parts.query or parts.username:
                allowed = " or ".join(f"{scheme}://host[:port]" for scheme in schemes)
                raise EndpointError(f"{name} URL {url!r}: allowed is {allowed}, without a path")
            actual = network_of(parts.hostname)
            if actual != self.network:
                raise EndpointError(f"{name} URL {url!r} belongs to {actual}, the trader is set up for {self.network}")
            if self.network == "live" and parts.scheme not in {"https", "wss"}:
                raise EndpointError(f"{name} URL {url!r}: real money is traded over TLS only")

    def allows(self, url: str) -> bool:
        """True when a REST URL lies below this configuration's bases."""
        return url.startswith((f"{self.rest}/fapi/", f"{self.spot}/api/"))


def network_of(host: str) -> Network:
    """The network a host name belongs to; whatever is not Binance's is an embedded exchange."""
    host = host.lower().rstrip(".")
    if host.endswith(("binancefuture.com", "binance.vision")):
        return "testnet"
    if host == "binance.com" or host.endswith((".binance.com", ".binance.me", ".binance.us", ".binance.info")):
        return "testnet" if host.startswith(("demo-", "testnet")) else "live"
    return "loopback"


LIVE = Endpoints("live", "https://fapi.binance.com", "https://api.binance.com", "wss://fstream.binance.com")
TESTNET = Endpoints(
    "testnet", "https://demo-fapi.binance.com", "https://demo-api.binance.com", "wss://fstream.binancefuture.com"
)


def loopback(url: str) -> Endpoints:
    """Endpoints of an embedded exchange at ``http://host:port``: one port serves REST and streams.

    Raises:
        EndpointError: the URL is malformed or a host of Binance's.
    """
    base = url.rstrip("/")
    return Endpoints("loopback", base, base, "ws" + base.removeprefix("http"))
