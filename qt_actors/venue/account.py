"""Account: the truth on balances, positions and orders, as the exchange has it.

Owns: the serial of reconciliation rounds and their pace; which fills were told.
Hears: user data from the private stream, snapshots and ledgers by way of the gateway, requests for either.
Says: order and fill events at once, a snapshot every round, the ledger every minute, each to its listeners.
Never: lets two rounds overlap; passes on a snapshot that shows less than the fills told explain before the ledger, read
    after it, has told its fills, but holds it no longer than ``held_real_ms_max``: protection waits for it, too.
On restart: opens the private stream again, reconciles; before its first snapshot goes the ledger since the journal's
    last row, with every fill of the trades that the journal has open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from qt_actors.kernel import Actor, TimerFired
from qt_actors.messages.base import Message
from qt_actors.messages.market import StreamChanged
from qt_actors.messages.orders import ConditionalUpdated, Fill, OrderUpdated
from qt_actors.messages.positions import (
    AccountSnapshot,
    BalanceChanged,
    LedgerSynced,
    OpenOrdersSeen,
    SnapshotRequested,
)
from qt_actors.messages.requests import AccountLoadRequested, LedgerLoadRequested, LedgerSyncRequested
from qt_actors.messages.system import Drained, DrainRequested, IncidentRepaired, IncidentSeen, VenueLost, VenueReady
from qt_actors.ports import JournalReader, Mailbox, Streams
from qt_actors.venue.holdings import Holdings
from qt_actors.venue.ledger import OVERLAP_MS, Ledger
from qt_actors.venue.rounds import Rounds

TRANSFERRED: Final = frozenset(
    {
        "DEPOSIT",
        "WITHDRAW",
        "ADMIN_DEPOSIT",
        "ADMIN_WITHDRAW",
        "ASSET_TRANSFER",
        "COIN_SWAP_DEPOSIT",
        "COIN_SWAP_WITHDRAW",
    }
)
"""Reasons of ACCOUNT_UPDATE that are no result of trading."""
STREAM_LOST: Final = "private stream lost"


class AccountWiring(msgspec.Struct, frozen=True, kw_only=True):
    """What the account needs from outside. A round costs 90 of 2400 weight a minute; this pace spends at most 65 %.

    order_listeners: told of order and conditional events, and of fills that only the ledger told.
    rounds_at_once, round_refill_real_ms: how many may follow without a pause, how soon another one is allowed.
    answer_real_ms_max, stream_real_ms_max: a question unanswered, a fill untold by the stream by then is lost.
    held_real_ms_max: a snapshot is held back no longer; held_again_real_ms: between two looks for what it lacks, of
        which ``held_syncs_max`` are made.
    opening_ms_max: market time before a trade is noted as opened in which it may have had its first fills.
    """

    gateway: Mailbox
    streams: Streams
    journal: Callable[[], JournalReader]
    order_listeners: tuple[Mailbox, ...]
    snapshot_listeners: tuple[Mailbox, ...]
    ledger_listeners: tuple[Mailbox, ...]
    recorder: Mailbox
    stream_listeners: tuple[Mailbox, ...] = ()
    round_real_ms: int = 10_000
    rounds_at_once: int = 4
    round_refill_real_ms: int = 4_500
    ledger_real_ms: int = 60_000
    ledger_back_ms_max: int = 7 * 86_400_000
    answer_real_ms_max: int = 75_000
    stream_real_ms_max: int = 3_000
    held_real_ms_max: int = 10_000
    held_again_real_ms: int = 500
    held_syncs_max: int = 3
    opening_ms_max: int = 60_000


class Account(Actor):
    """See the module's card."""

    def __init__(self, wiring: AccountWiring) -> None:
        """Keep the wiring."""
        super().__init__()
        self._wiring = wiring
        self._serial = 0
        self._rounds, self._syncs = Rounds(wiring.rounds_at_once), Rounds()
        self._ledger, self._holdings = Ledger(0), Holdings()
        self._untold: tuple[str, ...] = ()
        self._untold_since_ms = 0
        self._held: AccountSnapshot | None = None
        self._held_syncs, self._held_back = 0, 0
        self._connected_ms: int | None = None
        self._snapshot: AccountSnapshot | None = None
        self._answer_drain: Callable[[object], None] | None = None

    def on_start(self) -> None:
        """Listen first, then ask: what changes in between is told."""
        self._serial = self.incarnation * 1_000_000  # serials rise over restarts, too
        back_ms = self.now_ms() - self._wiring.ledger_back_ms_max
        journal = self._wiring.journal()
        self._ledger = Ledger(max(journal.last_income_ms(), back_ms))
        self._look_for_losses(journal)
        trades = journal.open_trades()
        self._untold = tuple(sorted({trade.symbol for trade in trades}))
        opened_ms = min((trade.opened_ms for trade in trades), default=self.now_ms())
        self._untold_since_ms = opened_ms - self._wiring.opening_ms_max
        self._syncs.wanted = False  # the first one follows the first snapshot
        self._wiring.streams.open_account(self.me)
        self.timer("refill", self._wiring.round_refill_real_ms, real=True)
        self._ask()

    def handle(self, message: object) -> None:
        """One case a message."""
        match message:
            case OrderUpdated():
                if message.fill is not None and self._ledger.told(message.fill):
                    self._holdings.told(message.fill)
                _tell(self._wiring.order_listeners, message)
            case ConditionalUpdated():
                _tell(self._wiring.order_listeners, message)
            case Fill() if self._ledger.found(message):
                self._holdings.told(message)
                _tell(self._wiring.order_listeners, message)
                self.timer("mute", self._wiring.stream_real_ms_max, real=True)
            case Fill() if self._ledger.settled(message):
                _tell(self._wiring.order_listeners, message)
            case AccountSnapshot(serial=serial) if serial == self._serial and self._rounds.running:
                if self._held is None:
                    self._compare(message)
            case LedgerSynced() if self._syncs.running:
                self._synced(message)
            case StreamChanged(stream="private"):
                self._stream(message)
            case TimerFired(key=key):
                self._timer(key)
            case _:
                self._requested(message)

    def statistics(self) -> Mapping[str, object]:
        """Return what the tree view shows."""
        seen, told = self._snapshot, {"stream": self._connected_ms is not None, "fills_repaired": self._ledger.repaired}
        told["snapshots_held_back"] = self._held_back
        orders = len(seen.orders) + len(seen.conditionals) if seen else 0
        return {**told, "serial": self._serial, "positions": len(seen.positions) if seen else 0, "orders": orders}

    def _requested(self, message: object) -> None:
        match message:
            case SnapshotRequested():
                self._rounds.wanted = True
            case LedgerSyncRequested():
                self._syncs.wanted = True
            case BalanceChanged(reason=reason) if reason in TRANSFERRED:
                self._syncs.wanted = True  # until the ledger tells it, a deposit looks like a gain
            case DrainRequested():
                self._answer_drain = self.reply_later()
                self._rounds.refill()
                self._rounds.wanted = self._syncs.wanted = True
            case VenueLost():
                self._rounds.lose()
                self._syncs.lose()
                self._ledger.restart()
                self._held = None
                return  # asked again when the venue is back, or by the timers
            case VenueReady():
                self._wiring.streams.hurry()
            case _:
                return
        self._ask()

    def _timer(self, key: str) -> None:
        match key:
            case "refill":
                self._rounds.refill()
                self.timer("refill", self._wiring.round_refill_real_ms, real=True)
            case "mute":
                self._check_stream()
            case "held":
                self._pass_on()
            case _:
                asked = self._rounds if key.endswith("round") else self._syncs
                if not key.startswith("late"):
                    asked.wanted = True
                elif asked.running:
                    asked.lose()
                    self._ledger.restart()
                    self._incident(f"{key}: no answer in {self._wiring.answer_real_ms_max} ms", repaired=False)
        self._ask()

    def _ask(self) -> None:
        """Begin what is wanted and may begin."""
        wiring = self._wiring
        if self._rounds.begin():
            self._serial += 1
            self._holdings.asked()
            wiring.gateway.tell(AccountLoadRequested(serial=self._serial, reply_to=self.path))
            self.timer("round", wiring.round_real_ms, real=True)
            self.timer("late round", wiring.answer_real_ms_max, real=True)
        if self._syncs.begin():
            since_ms, self._held_syncs = self._ledger.since_ms, self._held_syncs + 1
            if self._untold:
                since_ms = min(since_ms, self._untold_since_ms)
            wiring.gateway.tell(LedgerLoadRequested(since_ms=since_ms, symbols=self._untold, reply_to=self.path))
            self.timer("ledger", wiring.ledger_real_ms, real=True)
            self.timer("late ledger", wiring.answer_real_ms_max, real=True)
        if self._answer_drain is not None and self._rounds.idle and self._syncs.idle:
            self._answer_drain(Drained(path=self.path, account=self._snapshot))
            self._answer_drain = None

    def _synced(self, synced: LedgerSynced) -> None:
        """Pass the ledger on; where it shows fills that were never told, ask for those once."""
        _tell(self._wiring.ledger_listeners, synced)
        self._look_for_losses(self._wiring.journal())
        repair = self._ledger.repair(synced)
        if repair is not None:
            since_ms, symbols = repair
            self._wiring.gateway.tell(LedgerLoadRequested(since_ms=since_ms, symbols=symbols, reply_to=self.path))
            return
        if self._ledger.unexplained:
            self._incident(f"commissions without a fill: {self._ledger.unexplained}", repaired=False)
        self._syncs.end()
        if self._held is None and self._snapshot is not None:
            self._untold = ()
        if self._held is not None and self._held_syncs:
            self._look_again(self._held)
        self._ask()

    def _look_for_losses(self, journal: JournalReader) -> None:
        """Fills that were told and never reached the disk are told again: a writer may die with what it had heard."""
        charges = journal.rows("charges_without_fill", {"since_ms": self.now_ms() - self._wiring.ledger_back_ms_max})
        self._ledger.unwritten((row["symbol"], row["trade_id"], row["time_ms"]) for row in charges)

    def _compare(self, snapshot: AccountSnapshot) -> None:
        """Pass a snapshot on; but one that lacks what the fills told do not explain waits for the ledger, as the first.

        What has grown goes out at once, for it may be bare; its fills are asked for all the same.
        """
        self._held, self._held_syncs = snapshot, 0
        if self._snapshot is not None:
            untold, lacking = self._holdings.unexplained(snapshot), self._holdings.lacking(snapshot)
            self._untold_since_ms = self._snapshot.requested_ms - OVERLAP_MS
            self._syncs.wanted = self._syncs.wanted or bool(untold)
            if not lacking:
                self._pass_on(untold)
                return
            self._untold = untold
        self._syncs.wanted = True
        self._held_back += 1
        self.timer("held", self._wiring.held_real_ms_max, real=True)
        self._ask()

    def _look_again(self, held: AccountSnapshot) -> None:
        """The ledger was read after the snapshot: pass it on, unless a fill is lacking that may still appear."""
        self._untold = self._holdings.lacking(held)
        if not self._untold:
            self._pass_on()
        elif self._held_syncs < self._wiring.held_syncs_max:
            self.timer("again", self._wiring.held_again_real_ms, real=True)
        else:
            self._incident(f"less is held than fills explain: {', '.join(self._untold)}", repaired=False)
            self._pass_on()

    def _pass_on(self, untold: tuple[str, ...] = ()) -> None:
        if self._held is None:
            return
        snapshot, self._held, self._untold = self._held, None, untold
        self.cancel_timer("held")
        self.cancel_timer("again")
        self._rounds.end()
        self._holdings.passed(snapshot)
        before, self._snapshot = self._snapshot, snapshot
        _tell(self._wiring.snapshot_listeners, snapshot)
        resting = (*snapshot.orders, *snapshot.conditionals)
        if before is None or resting != (*before.orders, *before.conditionals):
            self._wiring.recorder.tell(OpenOrdersSeen(orders=resting, asked_ms=snapshot.requested_ms))
        self._ask()

    def _stream(self, change: StreamChanged) -> None:
        _tell(self._wiring.stream_listeners, change)
        self._connected_ms = self.now_ms() if change.connected else None
        if change.connected:
            self._rounds.wanted = self._syncs.wanted = True
            self._wiring.recorder.tell(IncidentRepaired(kind=STREAM_LOST, subject=self.path))
            self._ask()
        else:
            self._incident(change.reason, repaired=False, kind=STREAM_LOST)

    def _check_stream(self) -> None:
        """A stream that stays silent on a fill made after it connected is mute, whatever its socket says."""
        lost, since_ms = self._ledger.never_told(), self._connected_ms
        if since_ms is not None and any(fill.time_ms > since_ms for fill in lost):
            self._incident(f"the private stream never told {len(lost)} fills, the ledger did", repaired=True)
            self._connected_ms = None
            self._wiring.streams.reopen("private", "it missed a fill")

    def _incident(self, detail: str, *, repaired: bool, kind: str = "account") -> None:
        self._wiring.recorder.tell(
            IncidentSeen(kind=kind, subject=self.path, detail=detail, repaired=repaired, now_ms=self.now_ms())
        )


def _tell(listeners: tuple[Mailbox, ...], message: Message) -> None:
    for listener in listeners:
        listener.tell(message)
