"""One life of the trader's process: the tree of ``tree.py`` on the deterministic runtime, from its start to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from config.settings import Settings
from exporters.prometheus import Metrics
from models.registry import Manifest
from qt_actors.edges.binance_client import Credentials
from qt_actors.edges.binance_requests import Means
from qt_actors.edges.binance_socket import StreamSocket
from qt_actors.edges.endpoints import loopback
from qt_actors.edges.journal import FILE_NAME, JournalError, SqliteJournal, next_generation
from qt_actors.kernel.answers import Answer
from qt_actors.messages.orders import Intent
from qt_actors.outside import Edges, Outside, open_edges
from qt_actors.ports import Model
from qt_actors.simulation.letters import CountedRuntime
from qt_actors.simulation.loop import VirtualLoop
from qt_actors.simulation.weather import Weather
from qt_actors.simulation.wire import Wire
from qt_actors.simulation.world import World
from qt_actors.tree import supervision_tree

KEY: Final = "sim-key-7f3a91c05d"
SECRET: Final = "sim-secret-b82e64d1fa"  # noqa: S105 -- looked for in everything that is written
ROOM_BYTES: Final = 1 << 30
NOWHERE: Final = "http://127.0.0.1:1"
STEPS_MAX: Final = 100_000
"""Between two events of the world, of which there is one a second at least."""
UNPROTECTED: Final = "qt_unprotected_position_seconds_total"
WEIGHTY: Final = ("GovernorState", "TradeClosed", "TradeChanged", "IntentResolved", "LedgerSynced", "DecisionsMade")


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What does not change between the lives of a run."""

    seed: int
    settings: Settings
    symbols: tuple[str, ...]
    load_model: Callable[..., tuple[Manifest, Model]]

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return self.settings.data_dir / FILE_NAME


class SimJournal(SqliteJournal):
    """The journal in the weather; nothing is synced, for a killed process loses nothing that SQLite was given."""

    def __init__(self, path: Path, now_ms: Callable[[], int], weather: Weather) -> None:
        """Open the file, where it can be opened now."""
        self._weather = weather
        self._point = "open"
        _check(path, weather, self._point)
        super().__init__(path, now_ms)

    def write_intents(self, intents: Iterable[Intent]) -> None:
        """Write them, at the point of an order's life that its purpose names."""
        known = tuple(intents)
        self._point = f"intent {known[0].purpose}" if known else "intent"
        super().write_intents(known)

    def append(self, records: Iterable[object]) -> None:
        """Write them, at the point that the weightiest of them names."""
        known = tuple(records)
        names = {type(record).__name__ for record in known}
        self._point = next((name for name in WEIGHTY if name in names), "the rest")
        super().append(known)

    @contextmanager
    def _commit(self, *, durable: bool) -> Iterator[None]:
        del durable
        _check(self.path, self._weather, self._point)
        with super()._commit(durable=False):
            yield

    def abandon(self) -> None:
        """Close as the system does it for a process that is gone."""
        self._connection.close()


def _check(path: Path, weather: Weather, point: str) -> None:
    fault = weather.before_write(point)
    if fault:
        raise JournalError(path, fault)


class Life:
    """From the process's start on.

    Args:
        world, weather: it lives in; setup: of the run.

    Raises:
        JournalError: it cannot start: the journal cannot be written.
    """

    def __init__(self, world: World, weather: Weather, setup: Setup) -> None:
        self.world, self.setup = world, setup
        self.began_us = world.now_us
        _check(setup.journal, weather, "start")
        self.generation = next_generation(setup.journal, world.now_ms, "paper", "simulated")
        self.runtime = CountedRuntime(setup.seed * 1000 + self.generation, world.now_ms, generation=self.generation)
        self.metrics = Metrics()
        self.loop = VirtualLoop(world)
        self.wire = Wire(world, weather)
        self._journals: list[SimJournal] = []
        self.edges = self._open(weather)

    def _open(self, weather: Weather) -> Edges:
        def open_journal(path: Path, now_ms: Callable[[], int]) -> SimJournal:
            journal = SimJournal(path, now_ms, weather)
            self._journals.append(journal)
            return journal

        setup, chance = self.setup, self.world.random.random
        outside = Outside(
            settings=setup.settings,
            mode="paper",
            market="simulated",
            symbols=",".join(setup.symbols),
            endpoints=loopback(NOWHERE),
            credentials=Credentials(KEY, SECRET),
            clock=self.runtime.clock,
            serve=None,
            open_journal=open_journal,
            free_bytes=lambda _folder: ROOM_BYTES,
            load_model=setup.load_model,
            web=False,
            metrics=self.metrics,
        )
        wire = self.wire
        means = Means(client=wire.client, stamp=wire.stamp, close=wire.close, wall_s=self.world.now_s, chance=chance)
        dial: Any = wire.dial  # what it gives is as much of a connection as is used
        socket = partial(StreamSocket, dial=dial, chance=chance)
        edges = open_edges(outside, self.loop, means, socket)
        self.runtime.start(supervision_tree(self.runtime, outside, edges))
        return edges

    def run_until(self, to_us: int, interrupted: Callable[[], bool]) -> None:
        """Let the actors live up to a moment of the world, unless interrupted; the world's time follows.

        Raises:
            KernelError: they chase each other without end.
        """
        runtime, began = self.runtime, self.began_us
        runtime.run_until(interrupted, (to_us - self.world.now_us) / 1000, steps_max=STEPS_MAX)
        self.world.now_us = began + round(runtime.monotonic_s() * 1e6)

    def tell(self, path: str, message: object) -> None:
        """Tell an actor something from outside."""
        self.runtime.address(f"root/{path}").tell(message)

    def question(self, path: str, message: object) -> Answer:
        """Ask an actor from outside; the answer comes when it comes."""
        return self.runtime.question(path, message)

    def unprotected_s(self) -> float:
        """What the trader itself has counted in this life."""
        lines = self.metrics.exposition().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(UNPROTECTED))

    def kill(self) -> None:
        """End at once: nobody is told, nothing is finished; what has left for the exchange arrives there."""
        self.wire.die()
        self.loop.stop()
        for journal in self._journals:
            journal.abandon()
