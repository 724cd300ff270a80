"""The exchange alone, as a process: what `qt exchange` runs."""

from __future__ import annotations

import asyncio
import logging
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import uvloop

from qt_actors.exchange.candle_files import MarketDataError
from qt_actors.exchange.rules import RulesError
from qt_actors.exchange.server import ExchangeServer
from qt_actors.exchange.state import StateError

if TYPE_CHECKING:
    from collections.abc import Callable

    from qt_actors.exchange.config import ExchangeConfig

log = logging.getLogger(__name__)


def run(
    config: ExchangeConfig,
    say: Callable[[str], object] = log.info,
    complain: Callable[[str], object] = log.error,
) -> int:
    """Serve until SIGINT or SIGTERM.

    Args:
        config: the settings.
        say: told in one line where it listens and what it serves.
        complain: told in one line why it cannot start.

    Returns:
        The exit code: 0 stopped in order, 1 the port cannot be had, 2 a setting or file is wrong.
    """
    try:
        server = ExchangeServer(config)
    except (MarketDataError, RulesError, StateError) as wrong:
        complain(str(wrong))
        return 2
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(_serve(server, config, say))
        except OSError as reason:
            complain(
                f"{config.host}:{config.port} cannot be listened on ({reason.strerror or reason}); give another --port"
            )
            return 1


async def _serve(server: ExchangeServer, config: ExchangeConfig, say: Callable[[str], object]) -> int:
    port = await server.start()
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, over.set)
    market = server.exchange.market
    begins = datetime.fromtimestamp(market.now_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    many = len(market.symbols)
    say(
        f"exchange http://{config.host}:{port} (streams ws://{config.host}:{port}): {market.source.name}, "
        f"{many} {'symbol' if many == 1 else 'symbols'}, from {begins} at speed {config.speed:g}"
    )
    try:
        await over.wait()
    finally:
        await server.stop()
    return 0
