"""uvicorn on a thread of its own, and the board that the web's actor keeps up to date."""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import socket
import threading
from collections.abc import Callable
from typing import Final

import uvicorn

from config.settings import Settings
from exporters.prometheus import Metrics
from qt_actors.edges.web.app import Sources, make_app
from qt_actors.edges.web.control import Asked, Controls
from qt_actors.edges.web.snapshot import RunInfo, Snapshot, fold
from qt_actors.edges.web.token import FILE_NAME, token_of
from qt_actors.kernel import ActorState
from qt_actors.ports import JournalReader, Mailbox

logger = logging.getLogger(__name__)

STOP_S: Final = 2.0
"""Real time that open requests are given at the stop."""
_BACKLOG: Final = 128
_HOSTS: Final = "set 127.0.0.1 (this machine alone), 0.0.0.0 (everybody who reaches it), or one of its addresses"


class WebPortError(OSError):
    """The HTTP port cannot be had; one line: which, why, what to do."""


class WebHostError(WebPortError):
    """QT_HTTP_HOST is no address of this machine."""


class Board:
    """The newest snapshot, replaced whole, so that a reader never sees half a change."""

    def __init__(self, run: RunInfo) -> None:
        """Begin with nothing heard."""
        self._snapshot = Snapshot(run=run)

    def snapshot(self) -> Snapshot:
        """Return what stands now; from any thread."""
        return self._snapshot

    def show(self, message: object) -> None:
        """Fold one message in; from one thread, the actor's."""
        self._snapshot = fold(self._snapshot, message)


class WebServer:
    """``oversight.web``'s port: board, application and socket; started and stopped by the actor, again if need be."""

    def __init__(self, host: str, port: int, board: Board, sources: Sources) -> None:
        """Remember; nothing listens yet."""
        self._host = host
        self._wanted_port = port
        self._board = board
        self._sources = sources
        self._socket: socket.socket | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port that listens, also when 0 (any free one) was asked for."""
        return self._wanted_port if self._socket is None else int(self._socket.getsockname()[1])

    def show(self, message: object) -> None:
        """Show one message on the board."""
        self._board.show(message)

    def bind(self) -> None:
        """Take the port; to be called early, so that a taken one stops the start with one line.

        Raises:
            WebPortError: in use, not allowed, or no such address.
        """
        if self._socket is not None:
            return
        self._socket = listening(self._host, self._wanted_port)

    def start(self) -> None:
        """Serve; does nothing while it serves.

        Raises:
            WebPortError: as ``bind``.
        """
        if self._thread is not None and self._thread.is_alive():
            return
        self.bind()
        config = uvicorn.Config(
            make_app(self._sources),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=1,
            timeout_keep_alive=5,
        )
        self._server = uvicorn.Server(config)
        bound = self._socket
        assert bound is not None  # noqa: S101 # bind has just made it; mypy needs the word
        self._thread = threading.Thread(target=self._server.run, args=([bound],), name="web", daemon=True)
        self._thread.start()
        shown = f"[{self._host}]" if ":" in self._host else self._host
        logger.info("dashboard and API on http://%s:%d", shown, self.port)
        if not is_loopback(self._host):
            logger.warning(
                "QT_HTTP_HOST=%s: whoever reaches this machine can read dashboard and API, unencrypted; "
                "control needs the token, and sends it unencrypted, too",
                self._host,
            )

    def stop(self) -> None:
        """Stop serving and free the port; does nothing when nothing serves."""
        server, thread = self._server, self._thread
        if server is not None and thread is not None:
            server.should_exit = True
            thread.join(STOP_S)
            if thread.is_alive():
                server.force_exit = True
                thread.join(STOP_S)
        if self._socket is not None:
            self._socket.close()
        self._socket = self._server = self._thread = None


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens there.

    Raises:
        WebHostError: no such address.
        WebPortError: in use or not allowed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        number = error.errno or 0
        if number == errno.EADDRNOTAVAIL or number < 0:  # below 0: of the resolver, no such name
            raise WebHostError(f"QT_HTTP_HOST={host} is no address of this machine; {_HOSTS}") from None
        fault = os.strerror(number) if number else str(error)
        raise WebPortError(
            f"HTTP port {port} on {host}: {fault}; end what uses it or set QT_HTTP_PORT (0 takes any free one)"
        ) from error


def web_server(
    settings: Settings,
    run: RunInfo,
    *,
    tree: Callable[[], tuple[ActorState, ...]],
    journal: JournalReader,
    metrics: Metrics,
    now_ms: Callable[[], int],
    governor: Asked,
    executor: Mailbox,
) -> WebServer:
    """Return the web server of a trader, not yet listening; the control token is made or taken from the settings.

    Raises:
        TokenFileError: the token file cannot be written.
    """
    configured = settings.api_token.get_secret_value() if settings.api_token else None
    token = token_of(configured, settings.data_dir)
    if not configured:
        logger.info("control over HTTP needs the token in %s", settings.data_dir / FILE_NAME)
    board = Board(run)
    sources = Sources(
        snapshot=board.snapshot,
        tree=tree,
        journal=journal,
        metrics=metrics,
        now_ms=now_ms,
        controls=Controls(governor=governor, executor=executor, token=token),
        settings=settings,
    )
    return WebServer(settings.http_host, settings.http_port, board, sources)
