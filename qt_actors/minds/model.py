"""A model's actor: one ONNX run a bar for all symbols.

Owns: one served model and its state (active, warming up, missing, quarantined).
Hears: feature batches.
Says: votes to the ensemble; its state to whoever shows it; how long an inference took.
Never: votes on a row it was not given whole; an abstention carries its reason and is no vote.
On restart: loads its file again; a file that cannot serve leaves it abstaining, named, while the others trade on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.registry import Manifest, ModelFileError, actions_and_confidence
from qt_actors.kernel import Actor
from qt_actors.messages.signals import FeatureBatch, ModelState, ModelStateChanged, Votes
from qt_actors.messages.system import IncidentSeen, Measured
from qt_actors.ports import Mailbox, Model

LOG = logging.getLogger("qt.model")
FAULTS_MAX = 3
"""Inference errors in a row before the model is quarantined until its actor is restarted."""


class ModelWiring(msgspec.Struct, frozen=True, kw_only=True):
    """What a model needs from outside."""

    name: str
    load: Callable[[], tuple[Manifest, Model]]
    """Raises ``ModelFileError`` with the one line that names the file and the command that makes it."""
    ensemble: Mailbox
    recorder: Mailbox
    telemetry: Mailbox
    watchers: tuple[Mailbox, ...]
    """Told, beside the three above, of its state and its votes."""
    monotonic_s: Callable[[], float]


class ModelServer(Actor):
    """See the module's card."""

    def __init__(self, wiring: ModelWiring) -> None:
        """Keep the wiring; the file is read in ``on_start``."""
        super().__init__()
        self._wiring = wiring
        self._served: tuple[Manifest, Model] | None = None
        self._state: ModelState = "warmup"
        self._reason = "no bars yet"
        self._faults = 0
        self._runs = 0

    def on_start(self) -> None:
        """Load and verify the artifact; a bad one is told, never guessed around."""
        try:
            self._served = self._wiring.load()
        except ModelFileError as error:
            self._become("missing", str(error))
        else:
            self._become("warmup", "no bars yet")

    def handle(self, message: object) -> None:
        """One case a message."""
        match message:
            case FeatureBatch():
                self._vote(message)
            case _:
                pass

    def statistics(self) -> Mapping[str, object]:
        """Return what the tree view shows."""
        return {"state": self._state, "reason": self._reason, "runs": self._runs}

    def _vote(self, batch: FeatureBatch) -> None:
        count = len(batch.symbols)
        probabilities = np.full((count, 3), np.nan, np.float32)
        actions, confidence = np.full(count, -1, np.int8), np.zeros(count, np.float32)
        abstentions = self._abstentions(batch)
        rows = np.array([i for i, reason in enumerate(abstentions) if not reason], np.int64)
        started = self._wiring.monotonic_s()
        if self._served is not None and rows.size:
            try:
                self._infer(batch, rows, (probabilities, actions, confidence))
            except (RuntimeError, ValueError) as error:
                abstentions = self._failed(error, abstentions)
        elapsed_ms = (self._wiring.monotonic_s() - started) * 1000
        for array in (probabilities, actions, confidence):
            array.flags.writeable = False
        votes = Votes(
            model=self._wiring.name,
            close_time_ms=batch.close_time_ms,
            symbols=batch.symbols,
            probabilities=probabilities,
            actions=actions,
            confidence=confidence,
            abstentions=abstentions,
            elapsed_ms=elapsed_ms,
        )
        for listener in (self._wiring.ensemble, self._wiring.telemetry, *self._wiring.watchers):
            listener.tell(votes)
        seconds = elapsed_ms / 1000
        self._wiring.telemetry.tell(
            Measured(metric="qt_model_inference_seconds", value=seconds, labels=(self._wiring.name,))
        )

    def _infer(
        self,
        batch: FeatureBatch,
        rows: NDArray[np.int64],
        out: tuple[NDArray[np.float32], NDArray[np.int8], NDArray[np.float32]],
    ) -> None:
        assert self._served is not None  # noqa: S101 # told by the caller; mypy needs the word
        manifest, model = self._served
        source = batch.windows if manifest.kind == "window" else batch.features
        found = model.probabilities(source[rows])
        actions, confidence = actions_and_confidence(found, manifest)
        out[0][rows], out[1][rows], out[2][rows] = found, actions, confidence
        self._faults, self._runs = 0, self._runs + 1
        if self._state != "active":
            self._become("active", "")

    def _abstentions(self, batch: FeatureBatch) -> tuple[str, ...]:
        if self._served is None or self._state == "quarantined":
            return (self._state,) * len(batch.symbols)
        need = batch.need
        pairs = zip(batch.have.tolist(), batch.eligible.tolist(), strict=True)
        return tuple(
            "" if eligible else (f"warmup {have}/{need}" if have < need else "no whole bar") for have, eligible in pairs
        )

    def _failed(self, error: Exception, abstentions: tuple[str, ...]) -> tuple[str, ...]:
        self._faults += 1
        text = f"inference failed: {str(error).splitlines()[0][:200]}"
        if self._faults >= FAULTS_MAX:
            self._become("quarantined", text)
        self._wiring.recorder.tell(
            IncidentSeen(kind="inference", subject=self._wiring.name, detail=text, repaired=False, now_ms=self.now_ms())
        )
        return tuple(reason or text for reason in abstentions)

    def _become(self, state: ModelState, reason: str) -> None:
        self._state, self._reason = state, reason
        if state in {"missing", "quarantined"}:
            LOG.warning(
                "%s %s: %s",
                self._wiring.name,
                "cannot vote" if state == "missing" else "is quarantined and abstains",
                reason,
            )
        version = self._served[0].version if self._served else ""
        told = ModelStateChanged(model=self._wiring.name, state=state, reason=reason, version=version)
        for watcher in (self._wiring.recorder, self._wiring.ensemble, self._wiring.telemetry, *self._wiring.watchers):
            watcher.tell(told)
