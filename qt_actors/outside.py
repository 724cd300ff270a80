"""What a run stands on, and its edges: the same actors get others in a simulation."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from config.settings import Settings
from exporters.prometheus import Metrics
from models.registry import Manifest
from qt_actors.edges.binance_client import Credentials
from qt_actors.edges.binance_requests import Means
from qt_actors.edges.binance_rest import BinanceRest
from qt_actors.edges.binance_socket import StreamSocket
from qt_actors.edges.binance_streams import BinanceStreams, Socket
from qt_actors.edges.endpoints import Endpoints
from qt_actors.edges.journal import SqliteJournal
from qt_actors.edges.loop import Loop, SocketLoop
from qt_actors.edges.onnx_model import load_model
from qt_actors.kernel import Clock
from qt_actors.ports import Journal, Model
from qt_actors.venue.exchange import Served


def free_bytes(folder: Path) -> int:
    """Return how much may still be written to a folder's disk.

    Raises:
        OSError: the folder is not there.
    """
    return shutil.disk_usage(folder).free


class Outside(msgspec.Struct, frozen=True, kw_only=True):
    """What a run stands on."""

    settings: Settings
    mode: Literal["paper", "testnet", "live"]
    market: str
    symbols: str
    endpoints: Endpoints
    credentials: Credentials | None
    clock: Clock
    serve: Callable[[], Served] | None
    """Starts the embedded exchange; None when the exchange is elsewhere."""
    open_journal: Callable[[Path, Callable[[], int]], Journal] = SqliteJournal
    free_bytes: Callable[[Path], int] = free_bytes
    load_model: Callable[..., tuple[Manifest, Model]] = load_model
    web: bool = True
    """Whether there is a window; a simulation has none."""
    metrics: Metrics | None = None
    """Where measurements are kept; None for a table of the run's own."""


class Edges(msgspec.Struct, frozen=True, kw_only=True):
    """Connections of the run, shared by the actors that own them."""

    loop: Loop
    rest: BinanceRest
    streams: BinanceStreams

    def close(self) -> None:
        """Drop every connection."""
        self.streams.close()
        self.rest.close()
        self.loop.stop()


def open_edges(
    outside: Outside,
    loop: Loop | None = None,
    means: Means | None = None,
    socket: Callable[..., Socket] = StreamSocket,
) -> Edges:
    """Return the edges on one running loop, of real sockets unless another is given; nothing is sent yet."""
    if loop is None:
        loop = SocketLoop()
        loop.start()
    rest = BinanceRest(outside.endpoints, outside.credentials, outside.clock, loop, means)
    streams = BinanceStreams(outside.endpoints, outside.clock, loop, rest, socket=socket)
    return Edges(loop=loop, rest=rest, streams=streams)
