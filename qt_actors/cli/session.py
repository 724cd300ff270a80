"""One run of the trader in this process: prepare, start the tree, wait, stop in order."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

from config.settings import Settings
from qt_actors.cli.heldout import held_out_ms, seen_text
from qt_actors.cli.ownership import Asked, own
from qt_actors.cli.readiness import holds_trades, idle_wallet, without_quorum
from qt_actors.cli.reserve import keep_room
from qt_actors.cli.stopping import asked_to_stop
from qt_actors.cli.tenancy import FolderError, sole_user
from qt_actors.cli.venue import RunRequest, StartError, Venue, plan_of, venue_of
from qt_actors.decisions.cover import cover_text, opening_orders, opening_text
from qt_actors.edges.journal import FILE_NAME, end_session, next_generation
from qt_actors.edges.journal_queries import SqliteJournalReader
from qt_actors.edges.journal_schema import JournalError
from qt_actors.edges.web.server import WebHostError, WebPortError, listening
from qt_actors.kernel import Clock, Guard, SupervisorSpec, ThreadRuntime
from qt_actors.messages.positions import AccountSnapshot
from qt_actors.messages.system import Drained, DrainRequested, MarketPaused
from qt_actors.outside import Edges, Outside, free_bytes, open_edges
from qt_actors.tree import supervision_tree

__all__ = ["RunRequest", "StartError", "run_session"]
LOG = logging.getLogger("qt")
STOP_TIMEOUT_S: Final = 5.0
LAST_RESORT: Final = Guard(exit_after_ms=30_000)
"""Beyond repair and still here after this: the process ends all the same, for the runner to start it again."""
ORDERS_TIMEOUT_S: Final = 1.5
ACCOUNT_TIMEOUT_S: Final = 2.5
LEFT_TIMEOUT_S: Final = 0.5
TREE_TIMEOUT_S: Final = 0.5
"""Left of the whole for the actors to stop."""
LOOKS: Final = 4
READY_TIMEOUT_S: Final = 60.0


def run_session(settings: Settings, request: RunRequest) -> int:
    """Run until Ctrl-C, SIGTERM, the duration's end, the replay's end or a failure; return the exit code.

    Raises:
        StartError: nothing was started.
    """
    lines = configure_logging(settings)
    plan = plan_of(settings, request)
    if fault := without_quorum(settings):
        if not holds_trades(settings):
            raise StartError(fault, wrong_usage=True)
        LOG.error("entries stay off, open trades are protected: %s", fault)
    with _sole_user(settings):
        asked = Asked(
            mode=request.mode,
            market=plan.market,
            account=plan.account,
            state_market=plan.state_market,
            same_account=request.same_account,
        )
        _free_port(settings)
        keep_room(settings.data_dir, free_bytes)
        own(settings.data_dir, asked, fresh=request.fresh)
        if idle := idle_wallet(settings, embedded=plan.account is None):
            LOG.warning("%s", idle)
        started_s = time.monotonic()
        held_ms = held_out_ms(settings.models_dir)
        venue = venue_of(settings, request, plan, held_ms)
        if venue.clock.speed != 1.0:
            lines.market = venue.clock
        try:
            generation = next_generation(
                settings.data_dir / FILE_NAME, venue.clock.now_ms(), request.mode, venue.market, venue.account
            )
        except JournalError as error:
            raise StartError(str(error)) from None
        runtime = ThreadRuntime(venue.clock, seed=request.seed, generation=generation, guard=LAST_RESORT)
        outside = _outside(settings, request, venue, held_ms)
        edges = open_edges(outside)
        journal = settings.data_dir / FILE_NAME
        try:
            tree = _tree(runtime, outside, edges, venue)
        except StartError:
            _note_end(journal, generation, venue.clock.now_ms())
            raise
        with asked_to_stop() as stop:
            try:
                runtime.start(tree)
                code = _live(runtime, request, venue, stop, started_s)
            finally:
                in_order = _stop(runtime, venue)
                edges.close()
                if in_order:
                    _note_end(journal, generation, venue.clock.now_ms())
                _sum_up(journal)
    return code


@contextmanager
def _sole_user(settings: Settings) -> Iterator[None]:
    try:
        with sole_user(settings):
            yield
    except FolderError as error:
        raise StartError(str(error), wrong_usage=error.wrong_usage) from None


def _free_port(settings: Settings) -> None:
    """Find out that the port is taken before anything is moved, begun or announced."""
    try:
        listening(settings.http_host, settings.http_port).close()
    except WebPortError as error:
        raise StartError(str(error), wrong_usage=isinstance(error, WebHostError)) from None


def _tree(runtime: ThreadRuntime, outside: Outside, edges: Edges, venue: Venue) -> SupervisorSpec:
    try:
        return supervision_tree(runtime, outside, edges)
    except OSError as error:  # nothing runs yet but the market
        if venue.served is not None:
            venue.served.stop()
        edges.close()
        raise StartError(str(error)) from None


def _outside(settings: Settings, request: RunRequest, venue: Venue, held_ms: int | None) -> Outside:
    """Say what is about to run, and what it stands on."""
    begins = datetime.fromtimestamp(venue.clock.now_ms() / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    LOG.info("%s on %s; market time %s UTC, speed %g", request.mode.upper(), venue.market, begins, venue.clock.speed)
    if request.replay is not None and (seen := seen_text(venue.clock.now_ms(), held_ms)):
        LOG.info("%s", seen)
    return Outside(
        settings=settings,
        mode=request.mode,
        market=venue.market,
        symbols=request.symbols,
        endpoints=venue.endpoints,
        credentials=venue.credentials,
        clock=venue.clock,
        serve=venue.serve,
    )


def _live(runtime: ThreadRuntime, request: RunRequest, venue: Venue, stop: threading.Event, started_s: float) -> int:
    """Wait for a reason to stop."""
    if not runtime.wait_ready(READY_TIMEOUT_S):
        LOG.error("the tree did not start: %s", runtime.failed.reason or f"not ready in {READY_TIMEOUT_S:.0f} s")
        return 1
    LOG.info("all actors are up after %.1f s; Ctrl-C stops in order", time.monotonic() - started_s)
    ends_s = None if request.duration_s is None else time.monotonic() + request.duration_s
    while not stop.wait(0.2):
        if runtime.failed.is_set():
            LOG.error("beyond repair, entries are off: %s", runtime.failed.reason)
            return 1
        if ends_s is not None and time.monotonic() >= ends_s:
            LOG.info("the asked-for %g s are over", request.duration_s)
            return 0
        if venue.account_now is not None and venue.account_now() != venue.account:
            LOG.error("the exchange has another account now: it was started anew; start again to trade on it")
            return 1
        if venue.served is not None and venue.served.ended:
            LOG.info("the replay has no candle left")
            return 0
    return 0


def _stop(runtime: ThreadRuntime, venue: Venue) -> bool:
    """Stop: the embedded market stands first, orders under way end, the account is reconciled once more.

    Returns whether the whole tree came to its end in order.
    """
    LOG.info("stopping: no new entries")
    before_s = time.monotonic()
    if venue.serve is not None:
        runtime.address("root/venue/exchange").tell(MarketPaused())
    shown = None if runtime.failed.is_set() else last_word(runtime)
    text, well = cover_text(shown)
    LOG.log(logging.INFO if well else logging.WARNING, "%s", text)
    if opening := opening_text(opening_orders(shown)):
        LOG.warning("%s; what they open while no trader runs has no stop", opening)
    in_order = runtime.stop(STOP_TIMEOUT_S - (time.monotonic() - before_s))
    LOG.info("stopped %sin %.1f s", "in order " if in_order else "", time.monotonic() - before_s)
    return in_order


def _note_end(journal: Path, generation: int, now_ms: int) -> None:
    try:
        end_session(journal, generation, now_ms)
    except JournalError as error:
        LOG.warning("the next start will call this end unclean: %s", error)


def last_word(runtime: ThreadRuntime) -> AccountSnapshot | None:
    """Let what is under way end, then ask the account for the exchange's last word: the journal ends equal to it.

    What that shows is put right before we go: stops without a position, positions without a stop; then we look again.
    """
    last_s = time.monotonic() + STOP_TIMEOUT_S - TREE_TIMEOUT_S
    left, shown = "stops of closed positions may still rest until the next start", None
    _ask(runtime, "root/trading/executor", ORDERS_TIMEOUT_S, "orders are still under way")
    for _ in range(LOOKS):
        timeout_s = min(ACCOUNT_TIMEOUT_S, last_s - time.monotonic())
        told = _ask(runtime, "root/venue/account", timeout_s, "the last reconciliation was not finished")
        if not isinstance(told, Drained) or told.account is None:
            break
        shown = told.account
        _ask(runtime, "root/trading/executor", min(LEFT_TIMEOUT_S, last_s - time.monotonic()), left)
        if cover_text(shown)[1]:
            break
    return shown


def _ask(runtime: ThreadRuntime, path: str, timeout_s: float, otherwise: str) -> object | None:
    try:
        return runtime.address(path).ask(DrainRequested(), timeout_s)
    except Exception as error:  # noqa: BLE001 # whatever goes wrong here must not keep the trader from stopping
        LOG.warning("%s: %s", otherwise, error)
        return None


def _sum_up(journal: Path) -> None:
    """Say what the journal holds, and whether its ledger is the exchange's wallet to the last digit."""
    try:
        reader = SqliteJournalReader(journal)
        income = {row["kind"]: Decimal(row["amount_usd"]) for row in reader.rows("income_by_kind")}
        last = reader.rows("equity_last")
    except OSError as error:
        LOG.warning("the journal could not be summed up: %s", error)
        return
    if last and income:
        total, wallet = sum(income.values(), Decimal(0)), Decimal(last[0]["wallet_usd"])
        if "TRANSFER" in income:
            verdict = "equal to" if total == wallet else "NOT"
            LOG.info("ledger: %s USDT by the journal, %s the exchange's %s", total, verdict, wallet)
        else:  # the account is older than the journal
            LOG.info("ledger: %s USDT since the journal began; the wallet holds %s", total, wallet)
        parts = sorted((kind.lower().replace("_", " "), amount) for kind, amount in income.items())
        LOG.info("of it %s", ", ".join(f"{kind} {amount:+,.2f}" for kind, amount in parts))


class OneLine(logging.Formatter):
    """``22:19:47 executor      ORDER PLACED …``; the level is shown when it is not INFO.

    Where the market has a time of its own: ``22:19:47 (04-01 13:05:12) executor …``. Who names itself in brackets is
    not named twice: ``22:19:47 [ENSEMBLE] BTCUSDT: …``.
    """

    market: Clock | None = None

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, and the traceback below it when there is one."""
        *above, who = record.name.split(".")
        who = above[-1] if who == "server" else who
        level = "" if record.levelno == logging.INFO else f"{record.levelname} "
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        if self.market is not None:
            clock += datetime.fromtimestamp(self.market.now_ms() / 1000, UTC).strftime(" (%m-%d %H:%M:%S)")
        said = record.getMessage()
        named = said.startswith(f"[{who.upper()}] ")
        line = f"{clock} {level}{said}" if named else f"{clock} {who:13} {level}{said}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure_logging(settings: Settings) -> OneLine:
    """Write one line an event to stderr: time (real, and the market's), level when not INFO, who, what."""
    handler, lines = logging.StreamHandler(), OneLine()
    handler.setFormatter(lines)
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for name in ("uvicorn.error", "uvicorn.access", "websockets", "asyncio", "aiohttp", "pykka"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return lines
