"""Ensemble: gathers the votes of a bar and says one signal a symbol.

Owns: the bar being voted on; who cannot vote.
Hears: the feature batch that opens a vote, regimes, votes, the models' states.
Says: signals to the orchestrator and the position monitor; the log line of every symbol that may be traded; whether the
    models that can vote suffice, to the governor and whoever shows it.
Never: waits past its deadline: who is late is skipped, and said so.
On restart: the open vote is lost; the orchestrator closes that bar's decisions without signals.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import msgspec

from config.settings import Settings
from qt_actors.decisions.texts import count
from qt_actors.decisions.voting import log_line, signals_of, staffing
from qt_actors.kernel import Actor, Address, TimerFired, Up
from qt_actors.messages.signals import MODELS, FeatureBatch, ModelStateChanged, RegimesRead, Signals, Votes
from qt_actors.messages.system import HealthReported, Measured
from qt_actors.ports import Mailbox

LOG = logging.getLogger("qt.ensemble")
LOGGED_MAX = 3
"""Signals of a bar that are logged at INFO."""
VOTE_DEADLINE_MS = 2000
"""Real time from the batch to the last vote waited for; a whole cycle takes about a tenth of it."""


class EnsembleWiring(msgspec.Struct, frozen=True, kw_only=True):
    """What the ensemble needs from outside."""

    settings: Settings
    listeners: tuple[Mailbox, ...]
    telemetry: Mailbox
    watchers: tuple[Address, ...]
    """Told the models' health at each change, and when they have started anew."""


class Ensemble(Actor):
    """See the module's card."""

    def __init__(self, wiring: EnsembleWiring) -> None:
        """Keep the wiring."""
        super().__init__()
        self._wiring = wiring
        self._batch: FeatureBatch | None = None
        self._regimes: RegimesRead | None = None
        self._votes: dict[str, Votes] = {}
        self._absent: dict[str, ModelStateChanged] = {}
        self._silent: dict[str, str] = {}
        """Models that did not answer to the newest bar in time."""
        self._staffing = staffing({}, wiring.settings)
        self._cycles = 0
        self._late = 0

    def on_start(self) -> None:
        """Hear of watchers that start anew: they know nothing of the models' health."""
        for watcher in self._wiring.watchers:
            self.watch(watcher)

    def handle(self, message: object) -> None:
        """One case a message."""
        match message:
            case FeatureBatch():
                if self._batch is not None:
                    self._conclude()
                self._batch = message
                self.timer("deadline", VOTE_DEADLINE_MS, real=True)
                self._regimes, self._votes = None, {}
            case RegimesRead(close_time_ms=close_time_ms) if self._is_open(close_time_ms):
                self._regimes = message
            case Votes(model=model, close_time_ms=close_time_ms) if self._is_open(close_time_ms):
                self._votes[model] = message
            case Votes():
                self._late += 1
            case ModelStateChanged(model=model, state=state):
                self._absent = {m: told for m, told in self._absent.items() if m != model}
                if state in {"missing", "quarantined"}:
                    self._absent[model] = message
                self._count_staff()
            case Up(path=path):
                self._tell_health([w for w in self._wiring.watchers if w.path == path])
            case TimerFired(key="deadline") if self._batch is not None:
                self._conclude()
            case _:
                return
        if self._batch is not None and self._regimes is not None and len(self._votes) == len(MODELS):
            self._conclude()

    def statistics(self) -> Mapping[str, object]:
        """Return what the tree view shows."""
        return {"cycles": self._cycles, "late_votes": self._late}

    def _is_open(self, close_time_ms: int) -> bool:
        return self._batch is not None and self._batch.close_time_ms == close_time_ms

    def _conclude(self) -> None:
        batch, regimes = self._batch, self._regimes
        assert batch is not None  # noqa: S101 # both callers have looked
        self.cancel_timer("deadline")
        self._batch, self._cycles = None, self._cycles + 1
        self._silent = {m: "late" for m in MODELS if m not in self._votes}
        self._count_staff()
        votes = [self._votes[m] for m in MODELS if m in self._votes]
        absent = {model: told.state for model, told in self._absent.items()}
        told = signals_of(batch, votes, regimes, self._wiring.settings, self.now_ms(), absent=absent)
        for listener in self._wiring.listeners:
            listener.tell(told)
        self._log(told)
        strongest = max((s.confidence for s in told.signals if s.action != "HOLD"), default=0.0)
        self._wiring.telemetry.tell(Measured(metric="qt_ensemble_confidence", value=strongest))

    def _count_staff(self) -> None:
        """Say it when other models than before can vote: a smaller quorum is another trader."""
        before = self._staffing
        absent = {model: _absence(told) for model, told in self._absent.items()}
        now = self._staffing = staffing({**self._silent, **absent}, self._wiring.settings)
        if now == before:
            return
        if now.quorum < before.quorum or (not now.health and before.health):
            LOG.warning("quorum %d → %d: %s", before.quorum, now.quorum, now.reason)
        elif now.health > before.health:
            LOG.info("quorum %d: %s", now.quorum, now.reason or "all models can vote")
        self._tell_health(self._wiring.watchers)

    def _tell_health(self, watchers: Iterable[Address]) -> None:
        now = self._staffing
        told = HealthReported(subsystem="models", health=now.health, reason=now.reason, now_ms=self.now_ms())
        for watcher in watchers:
            watcher.tell(told)

    def _log(self, told: Signals) -> None:
        """Log the bar in one line and its strongest signals in full; all of them at DEBUG."""
        calls = sorted((s for s in told.signals if s.action != "HOLD"), key=lambda s: -s.confidence)
        closed = datetime.fromtimestamp(told.close_time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
        buys = sum(s.action == "BUY" for s in calls)
        LOG.info(
            "bar %s: %s, %d BUY, %d SELL, %d HOLD",
            closed,
            count(len(told.signals), "symbol"),
            buys,
            len(calls) - buys,
            len(told.signals) - len(calls),
        )
        for rank, signal in enumerate(calls):
            LOG.log(logging.INFO if rank < LOGGED_MAX else logging.DEBUG, "%s", log_line(signal))


def _absence(told: ModelStateChanged) -> str:
    """Return why a model cannot vote, without what to do about it: its own log line and the API say that, too."""
    what = "cannot vote" if told.state == "missing" else told.state
    return f"{what}: {told.reason.partition('; ')[0]}"
