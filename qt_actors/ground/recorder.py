"""Recorder: the journal's single writer.

Owns: the journal's connection; what has been heard and is not yet written.
Hears: intents; everything worth keeping (decisions, orders, fills, income, trades, equity, incidents, models, the
    governor's state); dead letters.
Says: IntentsRecorded once they are on disk, else IntentsLost, to who sent them, StateWritten likewise to the governor;
    its health and the disk's; what a commit took.
Never: answers for an intent before it is durable; drops an order, fill, trade or the governor's state while anything
    lesser can go instead; blocks anyone.
On restart: opens the journal again; what waited in its mailbox is still there.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from qt_actors.kernel import Actor, Address, DeadLetter, TimerFired, Up
from qt_actors.messages import orders, policy, positions, signals, system
from qt_actors.ports import Journal, Mailbox

logger = logging.getLogger(__name__)

FLUSH_MS: Final = 250
RETRY_MS: Final = 1000
FLUSH_ROWS: Final = 500
LOG_AGAIN_S: Final = 60.0
WAITING_ROWS_MAX: Final = 20_000
"""Rows kept for a journal that cannot be written; past it the oldest of ``EXPENDABLE`` go first."""
EXPENDABLE: Final = (policy.DecisionsMade, system.EquityMeasured, system.IncidentSeen, signals.ModelStateChanged)
SUBSYSTEM: Final = "journal"
ROOM_BYTES_MIN: Final = 16 << 20
"""With less than this free on the journal's disk nothing is entered; with twice as much, again."""
ROOM_MS: Final = 30_000
"""Real time between two looks at the room."""


class RecorderWiring(msgspec.Struct, frozen=True, kw_only=True):
    """What the recorder needs from outside."""

    open_journal: Callable[[], Journal]
    """Raises OSError with one clear line when the journal cannot be opened: then the trader does not start."""
    address_of: Callable[[str], Mailbox]
    telemetry: Mailbox
    watchers: tuple[Address, ...]
    """Told the journal's and the disk's health at each change, and when they have started anew: a trader that cannot
    remember must not enter."""
    free_bytes: Callable[[], int]
    """Of the journal's disk; raises OSError."""
    monotonic_s: Callable[[], float]


class Recorder(Actor):
    """See the module's card."""

    def __init__(self, wiring: RecorderWiring) -> None:
        """Keep the wiring; the journal is opened in ``on_start``."""
        super().__init__()
        self._wiring = wiring
        self._waiting: deque[object] = deque()
        self._rows = 0
        self._armed = False
        self._logged: dict[tuple[str, str], float] = {}
        self._fault = ""
        self._written = 0
        self._dropped = 0
        self._cramped = ""

    def on_start(self) -> None:
        """Open, create or migrate the journal."""
        self._journal = self._wiring.open_journal()
        for watcher in self._wiring.watchers:
            self.watch(watcher)
        self._look_for_room()

    def on_stop(self) -> None:
        """Write what waits and close."""
        if not self._flush():
            logger.error("journal: %d rows could not be written before the stop: %s", self._rows, self._fault)
        self._journal.close()

    def handle(self, message: object) -> None:
        """One case a message."""
        match message:
            case orders.RecordIntents():
                self._record_intents(message)
            case system.GovernorState(revision=revision):
                self._keep(message)
                fault = "" if self._flush() else self._fault
                if self.sender:
                    self.reply(system.StateWritten(revision=revision, fault=fault))
            case positions.TradeChanged() | positions.TradeClosed() | orders.IntentResolved():
                self._keep(message)
                self._flush()
            case (
                policy.DecisionsMade()
                | orders.OrderUpdated()
                | orders.ConditionalUpdated()
                | orders.Fill()
                | positions.LedgerSynced()
                | positions.OpenOrdersSeen()
                | system.EquityMeasured()
                | system.IncidentSeen()
                | system.IncidentRepaired()
                | signals.ModelStateChanged()
            ):
                self._keep(message)
                self._flush_soon()
            case DeadLetter():
                self._dead(message)
            case TimerFired(key=key):
                self._timer(key)
            case Up(path=path):
                self._tell_ills(path)
            case _:
                pass

    def _timer(self, key: str) -> None:
        if key == "room":
            self._look_for_room()
        else:
            self._armed = False
            self._flush()

    def _look_for_room(self) -> None:
        """Say it before the journal cannot be written any more."""
        self.timer("room", ROOM_MS, real=True)
        try:
            free = self._wiring.free_bytes()
        except OSError as error:
            cramped = f"its room cannot be told: {error.strerror}"
        else:
            enough = free >= ROOM_BYTES_MIN * (2 if self._cramped else 1)
            cramped = "" if enough else f"less than {ROOM_BYTES_MIN >> 20} MiB are free; free some space"
        if cramped == self._cramped:
            return
        self._cramped = cramped
        logger.log(logging.ERROR if cramped else logging.INFO, "the journal's disk: %s", cramped or "has room again")
        self._tell_health("disk", cramped, self._wiring.watchers)

    def _tell_ills(self, path: str) -> None:
        """Tell a watcher that has started anew what is wrong."""
        anew = [w for w in self._wiring.watchers if w.path == path]
        for subsystem, fault in ((SUBSYSTEM, self._fault), ("disk", self._cramped)):
            if fault:
                self._tell_health(subsystem, fault, anew)

    def _tell_health(self, subsystem: str, fault: str, watchers: Iterable[Address]) -> None:
        health = 0 if fault else 100
        told = system.HealthReported(subsystem=subsystem, health=health, reason=fault, now_ms=self.now_ms())
        for watcher in watchers:
            watcher.tell(told)

    def statistics(self) -> Mapping[str, object]:
        """Return what the tree view shows."""
        told: dict[str, object] = {"written": self._written, "waiting": self._rows}
        if self._dropped:
            told["dropped"] = self._dropped
        if self._fault:
            told["fault"] = self._fault
        return told

    def _record_intents(self, message: orders.RecordIntents) -> None:
        """Write what happened before, then the intents; the answer waits for the disk."""
        self._flush()
        started_s = self._wiring.monotonic_s()
        try:
            self._journal.write_intents(message.intents)
        except OSError as error:  # edges.journal.JournalError
            answer: object = orders.IntentsLost(token=message.token, reason=str(error))
            self._report(str(error))
        except ValueError as error:  # edges.journal.IntentConflictError: the journal is well, the intent is not
            answer = orders.IntentsLost(token=message.token, reason=str(error))
            self._remember("intent_conflict", message.reply_to, str(error))
        else:
            self._measure("intents", started_s)
            if not self._waiting:
                self._report("")
            answer = orders.IntentsRecorded(token=message.token)
        self._wiring.address_of(message.reply_to).tell(answer)

    def _dead(self, letter: DeadLetter) -> None:
        cause = letter.error.strip().splitlines()[-1] if letter.error.strip() else ""
        detail = f"{type(letter.message).__name__} from {letter.sender or 'outside'}: {letter.reason}"
        self._remember("dead_letter", letter.path, f"{detail} ({cause})" if cause else detail)

    def _remember(self, kind: str, subject: str, detail: str) -> None:
        now_ms = self.now_ms()
        self._keep(system.IncidentSeen(kind=kind, subject=subject, detail=detail, repaired=False, now_ms=now_ms))
        self._flush_soon()

    def _log(self, incident: system.IncidentSeen) -> None:
        """Log an incident, each kind and subject at most once a minute; who has news has logged it."""
        now_s, what = self._wiring.monotonic_s(), (incident.kind, incident.subject)
        if incident.kind in system.NEWS or now_s - self._logged.get(what, -LOG_AGAIN_S) < LOG_AGAIN_S:
            return
        self._logged = {k: t for k, t in self._logged.items() if now_s - t < LOG_AGAIN_S} | {what: now_s}
        logger.warning("%s: %s: %s", incident.kind, incident.subject, incident.detail)

    def _keep(self, record: object) -> None:
        if isinstance(record, system.IncidentSeen):
            self._wiring.telemetry.tell(record)
            self._log(record)
        self._waiting.append(record)
        self._rows += _rows(record)
        while self._rows > WAITING_ROWS_MAX and len(self._waiting) > 1:
            index = next((i for i, r in enumerate(self._waiting) if isinstance(r, EXPENDABLE)), 0)
            gone = _rows(self._waiting[index])
            del self._waiting[index]
            self._rows -= gone
            self._dropped += gone

    def _flush_soon(self) -> None:
        if self._rows >= FLUSH_ROWS and not self._fault:
            self._flush()
        elif not self._armed:
            self._armed = True
            self.timer("flush", RETRY_MS if self._fault else FLUSH_MS, real=True)

    def _flush(self) -> bool:
        """Write all that waits in one transaction; what could not be written waits on. True when nothing waits."""
        if not self._waiting:
            return True
        started_s = self._wiring.monotonic_s()
        try:
            self._journal.append(self._waiting)
        except OSError as error:  # edges.journal.JournalError
            self._report(str(error))
            self._flush_soon()
            return False
        self._measure("batch", started_s)
        self._written += self._rows
        self._waiting.clear()
        self._rows = 0
        self._report("")
        return True

    def _measure(self, kind: str, started_s: float) -> None:
        seconds = self._wiring.monotonic_s() - started_s
        self._wiring.telemetry.tell(system.Measured(metric="qt_journal_commit_seconds", value=seconds, labels=(kind,)))

    def _report(self, fault: str) -> None:
        """Tell the journal's health when it changes, every fault as a metric, the first one as a log line."""
        if fault:
            self._wiring.telemetry.tell(system.Measured(metric="qt_journal_errors_total", value=1))
        if fault == self._fault:
            return
        if fault:
            logger.error("%s (%d rows wait)", fault, self._rows)
        else:
            logger.info("journal: written again, %d rows dropped meanwhile", self._dropped)
        self._fault = fault
        self._tell_health(SUBSYSTEM, fault, self._wiring.watchers)


def _rows(record: object) -> int:
    """How many rows a record makes, about."""
    if isinstance(record, policy.DecisionsMade):
        return len(record.decisions)
    return len(record.income) if isinstance(record, positions.LedgerSynced) else 1
