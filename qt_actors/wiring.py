"""All wiring: who is made with what, and who tells whom. The tree itself is in ``tree``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from importlib.metadata import version
from typing import Final

from config.settings import INTERVALS_MS
from exporters.prometheus import Metrics
from models.features import HISTORY_BARS, feature_hash
from models.registry import ARTIFACTS, Manifest
from qt_actors.decisions.voting import meant
from qt_actors.edges.journal import FILE_NAME
from qt_actors.edges.journal_queries import SqliteJournalReader
from qt_actors.edges.web.server import WebServer, web_server
from qt_actors.edges.web.snapshot import RunInfo
from qt_actors.feed.feed import Feed, FeedWiring
from qt_actors.ground.recorder import Recorder, RecorderWiring
from qt_actors.ground.telemetry import Telemetry, TelemetryWiring
from qt_actors.judgement.governor import Governor, GovernorWiring
from qt_actors.judgement.orchestrator import Orchestrator, OrchestratorWiring
from qt_actors.kernel import Actor, Address, DeadLetter, SimRuntime, ThreadRuntime
from qt_actors.messages.signals import MODELS
from qt_actors.minds.ensemble import Ensemble, EnsembleWiring
from qt_actors.minds.features import Features, FeaturesWiring
from qt_actors.minds.model import ModelServer, ModelWiring
from qt_actors.minds.regime import RegimeReader, RegimeWiring
from qt_actors.minds.universe import Universe, UniverseWiring
from qt_actors.outside import Edges, Outside
from qt_actors.oversight.web import Web, WebWiring
from qt_actors.ports import Model
from qt_actors.trading.executor import Executor, ExecutorWiring
from qt_actors.trading.position_monitor import PositionMonitor, PositionMonitorWiring
from qt_actors.venue.account import Account, AccountWiring
from qt_actors.venue.exchange import EmbeddedExchange, EmbeddedExchangeWiring, Served
from qt_actors.venue.gateway import Gateway, GatewayWiring

QUOTE_AGE_REAL_MS_MAX: Final = 15_000
"""A quote older than this (real time) is no quote; on a faster market clock it is that much older in market time."""
HASTE_MAX: Final = 10.0
WEB: Final = "oversight/web"


def haste_of(speed: float) -> float:
    """Return how much more often than in real time the account is asked; request limits of paper exchanges follow."""
    return min(HASTE_MAX, max(1.0, speed))


class Wires:
    """Addresses by their short names, and the wiring of every actor."""

    def __init__(self, runtime: ThreadRuntime | SimRuntime, outside: Outside, edges: Edges) -> None:
        """Make the addresses; actors are made when they are started."""
        self._runtime = runtime
        self._outside = outside
        self._edges = edges
        self._metrics = outside.metrics or Metrics()
        self._dead: Counter[tuple[str, str]] = Counter()
        self._journal_file = outside.settings.data_dir / FILE_NAME
        self._web: WebServer
        runtime.on_dead_letter(self._buried)

    def __getitem__(self, name: str) -> Address:
        """Return the address of ``branch/actor``."""
        return self._runtime.address(f"root/{name}")

    def many(self, *names: str) -> tuple[Address, ...]:
        """Return several addresses, of those who are in the tree."""
        return tuple(self[name] for name in names if self._outside.web or name != WEB)

    def _buried(self, letter: DeadLetter) -> None:
        self._dead[type(letter.message).__name__, letter.reason] += 1
        if not self._runtime.stopping:
            self["ground/recorder"].tell(letter)

    def _reader(self) -> SqliteJournalReader:
        return SqliteJournalReader(self._journal_file)

    # ground

    def recorder(self) -> Actor:
        """Return the journal's writer."""
        return Recorder(
            RecorderWiring(
                open_journal=lambda: self._outside.open_journal(self._journal_file, self._outside.clock.now_ms),
                address_of=self._runtime.address,
                telemetry=self["ground/telemetry"],
                watchers=self.many("judgement/governor", "ground/telemetry", "oversight/web"),
                free_bytes=lambda: self._outside.free_bytes(self._journal_file.parent),
                monotonic_s=self._runtime.monotonic_s,
            )
        )

    def telemetry(self) -> Actor:
        """Return the keeper of the metrics."""
        outside = self._outside
        kind = outside.market.split(" ", 1)[0]
        return Telemetry(
            TelemetryWiring(
                metrics=self._metrics,
                tree=self._runtime.tree,
                dead_letters=lambda: dict(self._dead),
                run_info=(version("quantum-trader"), outside.mode, kind, outside.settings.profile.name),
                speed=outside.clock.speed,
            )
        )

    # venue

    def exchange(self, serve: Callable[[], Served]) -> Callable[[], Actor]:
        """Return the maker of the embedded exchange's keeper."""
        return lambda: EmbeddedExchange(EmbeddedExchangeWiring(serve=serve))

    def gateway(self) -> Actor:
        """Return the one door to the exchange."""
        return Gateway(
            GatewayWiring(
                exchange=self._edges.rest,
                address_of=self._runtime.address,
                subscribers=self.many(
                    "ground/telemetry",
                    "venue/account",
                    "trading/position-monitor",
                    "judgement/governor",
                    "minds/universe",
                    "feed/market-data",
                    "oversight/web",
                ),
                outcome_listeners=self.many("ground/telemetry"),
            )
        )

    def account(self) -> Actor:
        """Return the exchange's word on the account; asked more often where market time runs faster."""
        haste = haste_of(self._outside.clock.speed)
        return Account(
            AccountWiring(
                gateway=self["venue/gateway"],
                streams=self._edges.streams,
                journal=self._reader,
                order_listeners=self.many("ground/recorder", "trading/executor"),
                snapshot_listeners=self.many(
                    "judgement/governor",
                    "judgement/orchestrator",
                    "trading/position-monitor",
                    "ground/telemetry",
                    "oversight/web",
                ),
                ledger_listeners=self.many("ground/recorder", "judgement/governor", "oversight/web"),
                stream_listeners=self.many("ground/telemetry", "trading/position-monitor", "oversight/web"),
                recorder=self["ground/recorder"],
                round_real_ms=int(10_000 / haste),
                round_refill_real_ms=int(4_500 / haste),
                ledger_real_ms=int(60_000 / haste),
                opening_ms_max=int(60_000 * max(1.0, self._outside.clock.speed)),
            )
        )

    # trading

    def position_monitor(self) -> Actor:
        """Return the one who proves protection."""
        return PositionMonitor(
            PositionMonitorWiring(
                executor=self["trading/executor"],
                account=self["venue/account"],
                recorder=self["ground/recorder"],
                telemetry=self["ground/telemetry"],
                watchers=self.many("oversight/web"),
                settings=self._outside.settings,
                patience_ms=int(15_000 * max(1.0, self._outside.clock.speed)),
                stop_patience_ms=int(2_000 * max(1.0, self._outside.clock.speed)),
            )
        )

    def executor(self) -> Actor:
        """Return the one who trades."""
        return Executor(
            ExecutorWiring(
                universe=self["minds/universe"],
                gateway=self["venue/gateway"],
                recorder=self["ground/recorder"],
                governor=self["judgement/governor"],
                account=self["venue/account"],
                watchers=self.many(
                    "trading/position-monitor",
                    "judgement/governor",
                    "judgement/orchestrator",
                    "ground/telemetry",
                    "oversight/web",
                ),
                journal=self._reader,
                adopted_stop_pct=min(Decimal("0.02"), Decimal(str(self._outside.settings.sl_pct))),
            )
        )

    # judgement

    def governor(self) -> Actor:
        """Return the one who can stop everything."""
        return Governor(
            GovernorWiring(
                universe=self["minds/universe"],
                settings=self._outside.settings,
                journal=self._reader,
                recorder=self["ground/recorder"],
                executor=self["trading/executor"],
                orchestrator=self["judgement/orchestrator"],
                listeners=self.many("ground/telemetry", "oversight/web"),
            )
        )

    def orchestrator(self) -> Actor:
        """Return the conductor."""
        speed = max(1.0, self._outside.clock.speed)
        return Orchestrator(
            OrchestratorWiring(
                universe=self["minds/universe"],
                settings=self._outside.settings,
                governor=self["judgement/governor"],
                journal=self._reader,
                listeners=self.many("ground/recorder", "ground/telemetry", "oversight/web"),
                quote_age_ms_max=int(QUOTE_AGE_REAL_MS_MAX * speed),
                telemetry=self["ground/telemetry"],
                monotonic_s=self._runtime.monotonic_s,
            )
        )

    # minds

    def ensemble(self) -> Actor:
        """Return the one who counts the votes."""
        return Ensemble(
            EnsembleWiring(
                settings=self._outside.settings,
                listeners=self.many(
                    "judgement/orchestrator", "trading/position-monitor", "ground/telemetry", "oversight/web"
                ),
                telemetry=self["ground/telemetry"],
                watchers=self.many("judgement/governor", "ground/telemetry", "oversight/web"),
            )
        )

    def model(self, name: str) -> Callable[[], Actor]:
        """Return the maker of one model's server."""
        settings = self._outside.settings
        folder = settings.models_dir or ARTIFACTS

        def load() -> tuple[Manifest, Model]:
            return self._outside.load_model(name, folder, interval=settings.bar_interval, feature_hash=feature_hash())

        wiring = ModelWiring(
            name=name,
            load=load,
            ensemble=self["minds/ensemble"],
            recorder=self["ground/recorder"],
            telemetry=self["ground/telemetry"],
            watchers=self.many("oversight/web"),
            monotonic_s=self._runtime.monotonic_s,
        )
        return lambda: ModelServer(wiring)

    def features(self) -> Actor:
        """Return the one who computes features once for all."""
        models = tuple(f"minds/model-{name}" for name in MODELS)
        return Features(
            FeaturesWiring(
                feed=self["feed/market-data"],
                listeners=self.many("minds/ensemble", "judgement/orchestrator", "minds/regime", *models),
                telemetry=self["ground/telemetry"],
                atr_interval_ms=INTERVALS_MS[self._outside.settings.atr_interval],
                monotonic_s=self._runtime.monotonic_s,
            )
        )

    def regime(self) -> Actor:
        """Return the reader of regimes."""
        return RegimeReader(
            RegimeWiring(listeners=self.many("minds/ensemble", "judgement/orchestrator", "oversight/web"))
        )

    def universe(self) -> Actor:
        """Return the one who picks the symbols."""
        wanted = self._outside.symbols
        return Universe(
            UniverseWiring(
                settings=self._outside.settings,
                requested=None if wanted == "all" else tuple(s.strip().upper() for s in wanted.split(",")),
                gateway=self["venue/gateway"],
                listeners=self.many(
                    "feed/market-data",
                    "trading/executor",
                    "judgement/governor",
                    "judgement/orchestrator",
                    "oversight/web",
                ),
                recorder=self["ground/recorder"],
            )
        )

    # feed

    def feed(self) -> Actor:
        """Return the market data."""
        settings = self._outside.settings
        return Feed(
            FeedWiring(
                gateway=self["venue/gateway"],
                universe=self["minds/universe"],
                streams=self._edges.streams,
                history_listeners=self.many("minds/features"),
                bar_listeners=self.many("judgement/orchestrator", "minds/features", "oversight/web"),
                quote_listeners=self.many(
                    "judgement/orchestrator", "trading/executor", "ground/telemetry", "oversight/web"
                ),
                recorder=self["ground/recorder"],
                telemetry=self["ground/telemetry"],
                address_of=self._runtime.address,
                interval=settings.bar_interval,
                interval_ms=settings.interval_ms,
                history_bars=HISTORY_BARS + 1,
                repair_real_ms=1_500,
                deadline_real_ms=4_000,
                speed=self._outside.clock.speed,
            )
        )

    # oversight

    def web(self) -> Actor:
        """Return the window."""
        return Web(WebWiring(server=self._web))

    def bind(self) -> None:
        """Make the web server and take its port, so that a taken one stops the start with one line.

        Raises:
            OSError: the port cannot be had, or the token cannot be written.
        """
        settings, outside = self._outside.settings, self._outside
        run = RunInfo(
            version=version("quantum-trader"),
            mode=outside.mode,
            market=outside.market,
            profile=settings.profile.name,
            bar_interval=settings.bar_interval,
            models=meant(settings),
            speed=outside.clock.speed,
        )
        self._web = web_server(
            settings,
            run,
            tree=self._runtime.tree,
            journal=self._reader(),
            metrics=self._metrics,
            now_ms=outside.clock.now_ms,
            governor=self["judgement/governor"],
            executor=self["trading/executor"],
        )
        self._web.bind()
