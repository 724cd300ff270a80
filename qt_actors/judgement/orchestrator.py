"""Orchestrator: one policy from all subsystems; every symbol and bar ends in exactly one decision.

Owns: the bar being decided and its decisions, the record of closed trades by symbol and by model.
Hears: closed bars, feature batches (stop distances), signals, regimes, quotes, directives, the account, trades,
the governor's answers.
Says: decisions to the recorder and whoever shows them; proposed entries, one at a time, to the governor.
Never: places an order; lets a bar pass without a decision on every symbol; guesses what it does not know.
On restart: reads the record of closed trades from the journal; until account, quotes and directive (which tells the
cooldown and the entries under way) are heard again every entry is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

import msgspec

from config.settings import Settings
from qt_actors.decisions import chain
from qt_actors.decisions.facts import BookFacts, SymbolFacts, quote_at
from qt_actors.decisions.ids import parse
from qt_actors.decisions.performance import UNTRIED, Record, learned, recovered
from qt_actors.decisions.policy import policy_of
from qt_actors.decisions.trade_state import ENDED
from qt_actors.kernel import Actor, TimerFired
from qt_actors.messages.market import BarsClosed, QuotesUpdated, SymbolRules, UniverseChosen
from qt_actors.messages.policy import (
    Decision,
    DecisionsMade,
    Directive,
    EntriesProposed,
    EntryAdmitted,
    EntryDenied,
    Gate,
)
from qt_actors.messages.positions import AccountSnapshot, TradeChanged, TradeClosed
from qt_actors.messages.requests import UniverseRequested
from qt_actors.messages.signals import FeatureBatch, ModelVote, RegimesRead, Signals
from qt_actors.messages.system import Measured
from qt_actors.ports import JournalReader, Mailbox


class OrchestratorWiring(msgspec.Struct, frozen=True, kw_only=True):
    """What the orchestrator needs from outside."""

    universe: Mailbox
    settings: Settings
    governor: Mailbox
    journal: Callable[[], JournalReader]
    listeners: tuple[Mailbox, ...]
    """Told of every ``DecisionsMade`` and of the policy of each bar."""
    quote_age_ms_max: int
    telemetry: Mailbox
    monotonic_s: Callable[[], float]


class Orchestrator(Actor):
    """See the module's card."""

    def __init__(self, wiring: OrchestratorWiring) -> None:
        """Keep the wiring."""
        super().__init__()
        self._wiring = wiring
        self._rules: dict[str, SymbolRules] = {}
        self._quotes: QuotesUpdated | None = None
        self._directive: Directive | None = None
        self._account: AccountSnapshot | None = None
        self._features: FeatureBatch | None = None
        self._regimes: RegimesRead | None = None
        self._signals: Signals | None = None
        self._bar: BarsClosed | None = None
        self._bar_heard_s = 0.0
        self._decided_ms = 0
        self._made: dict[str, Decision] = {}
        self._queue: list[Decision] = []
        self._asked: Decision | None = None
        self._busy: set[str] = set()
        self._record = Record()
        """Closed trades by symbol and model, and the votes behind the open ones: as many as there are positions."""
        self._count: Counter[str] = Counter()

    def on_start(self) -> None:
        """Read how symbols and models have done; ask for what is not told by itself."""
        self._record = recovered(self._wiring.journal().rows("trades_voted"))
        self._wiring.universe.tell(UniverseRequested(reply_to=self.path))
        self._check_later()

    def on_stop(self) -> None:
        """A bar without signals still ends in decisions."""
        self._answer_open("the trader stopped before the governor answered")
        self._close_bar()

    def handle(self, message: object) -> None:
        """One case a message."""
        match message:
            case BarsClosed():
                self._close_bar()
                self._bar, self._bar_heard_s = message, self._wiring.monotonic_s()
            case Signals():
                self._decide(message)
            case EntryAdmitted(decision=decision) | EntryDenied(decision=decision):
                self._answered(decision)
            case TimerFired(key="check"):
                self._again()
                self._check_later()
            case TradeChanged(trade=trade):
                (self._busy.discard if trade.phase in ENDED else self._busy.add)(trade.symbol)
                if trade.phase == "abandoned":
                    self._note_votes(trade.decision_id, None)
            case TradeClosed():
                self._record = learned(self._record, message)
            case UniverseChosen(rules=rules):
                self._rules = {r.symbol: r for r in rules}
            case _:
                self._keep(message)

    def _keep(self, message: object) -> None:
        match message:
            case QuotesUpdated():
                self._quotes = message
            case Directive():
                self._directive = message
            case AccountSnapshot():
                self._account = message
            case FeatureBatch():
                self._features = message
            case RegimesRead():
                self._regimes = message
            case _:
                pass

    def statistics(self) -> Mapping[str, object]:
        """Return what the tree view shows."""
        return dict(self._count)

    def _check_later(self) -> None:
        self.timer("check", self._wiring.settings.check_interval_s * 1000)

    def _decide(self, signals: Signals) -> None:
        if signals.close_time_ms <= self._decided_ms:
            return
        self._answer_open("a new bar closed before the governor answered")
        self._signals, self._decided_ms = signals, signals.close_time_ms
        self._made = {}
        made = chain.decide_all(
            signals, self._facts(), self._book(), self._wiring.settings, self.now_ms(), trace=self.trace
        )
        self._settle(made)
        self._publish_policy(signals)
        if self._bar is not None and self._bar.close_time_ms == signals.close_time_ms:
            seconds = self._wiring.monotonic_s() - self._bar_heard_s
            self._wiring.telemetry.tell(Measured(metric="qt_cycle_seconds", value=seconds))

    def _publish_policy(self, signals: Signals) -> None:
        """Tell the policy a typical symbol has now: market regime, median volatility, no spread, no record."""
        market = self._regimes.market if self._regimes else "NORMAL"
        seen = sorted(signals.signals, key=lambda s: s.volatility)
        typical = msgspec.structs.replace(seen[len(seen) // 2], regime=market)
        policy = policy_of(typical, 0.0, UNTRIED, market, self._directive, self._wiring.settings, self._record.models)
        for listener in self._wiring.listeners:
            listener.tell(policy)

    def _again(self) -> None:
        """Ask again for signals of this bar that may pass later; their decisions change, none is added."""
        now, signals = self.now_ms(), self._signals
        if signals is None or self._asked is not None:
            return
        waiting = {d.symbol for d in self._made.values() if chain.may_pass_later(d)}
        live = tuple(s for s in signals.signals if s.symbol in waiting and s.expires_ms > now)
        if not live:
            return
        subset = Signals(close_time_ms=signals.close_time_ms, symbols=tuple(s.symbol for s in live), signals=live)
        trace = next(d.trace for d in self._made.values())
        made = chain.decide_all(subset, self._facts(waiting), self._book(), self._wiring.settings, now, trace=trace)
        self._settle(
            msgspec.structs.replace(d, evaluations=self._made[d.symbol].evaluations + 1)
            for d in made
            if d.gate != self._made[d.symbol].gate
        )

    def _settle(self, made: Iterable[Decision]) -> None:
        decisions = tuple(made)
        self._queue = list(chain.best_first(decisions))
        proposed = {d.symbol for d in self._queue}
        self._tell(tuple(d for d in decisions if d.symbol not in proposed))
        self._propose()

    def _propose(self) -> None:
        if self._queue:
            self._asked = self._queue.pop(0)
            self._wiring.governor.tell(EntriesProposed(decisions=(self._asked,)), trace=self._asked.trace)

    def _answered(self, decision: Decision) -> None:
        admitted = decision.verdict == "admitted"
        if admitted and decision.signal is not None:
            self._note_votes(decision.decision_id, decision.signal.votes)
        if self._asked is None or decision.decision_id != self._asked.decision_id:
            if admitted:  # its bar was closed for want of an answer, and yet it is being entered
                self._publish((msgspec.structs.replace(decision, decided_ms=self.now_ms()),))
            return
        self._asked = None
        self._tell((decision,))
        if admitted and self._wiring.settings.cooldown_s:
            self._refuse_queue(
                Gate(
                    name="cooldown",
                    passed=False,
                    value=f"{decision.symbol} was entered in this cycle",
                    limit=f"{self._wiring.settings.cooldown_s} s between entries",
                    transient=True,
                )
            )
        self._propose()

    def _refuse_queue(self, gate: Gate) -> None:
        refused = tuple(chain.with_admission(d, (gate,), self.now_ms()) for d in self._queue)
        self._queue = []
        self._tell(refused)

    def _answer_open(self, reason: str) -> None:
        """Close what the governor has not answered: silence is a no."""
        if self._asked is not None:
            self._queue.insert(0, self._asked)
            self._asked = None
        self._refuse_queue(Gate(name="governor", passed=False, value=reason, limit="an answer", transient=True))

    def _close_bar(self) -> None:
        """Decide a bar that no signals came for."""
        bar = self._bar
        if bar is None or self._decided_ms >= bar.close_time_ms:
            return
        self._answer_open("a new bar closed before the governor answered")
        gate = Gate(name="signals", passed=False, value="none came", limit="one a symbol and bar")
        self._decided_ms, self._made, self._signals = bar.close_time_ms, {}, None
        self._tell(
            tuple(
                Decision(
                    decision_id=chain.decision_id(symbol, bar.close_time_ms),
                    symbol=symbol,
                    close_time_ms=bar.close_time_ms,
                    decided_ms=self.now_ms(),
                    action="HOLD",
                    verdict="denied",
                    gate=gate.name,
                    gates=(gate,),
                    signal=None,
                )
                for symbol in bar.symbols
            )
        )

    def _tell(self, decisions: tuple[Decision, ...]) -> None:
        if not decisions:
            return
        self._made.update({d.symbol: d for d in decisions})
        self._count.update(d.verdict for d in decisions if d.evaluations == 1)
        self._publish(decisions)

    def _publish(self, decisions: tuple[Decision, ...]) -> None:
        told = DecisionsMade(close_time_ms=decisions[0].close_time_ms, decisions=decisions)
        for listener in self._wiring.listeners:
            listener.tell(told)

    def _facts(self, only: set[str] | None = None) -> dict[str, SymbolFacts]:
        """Gather what is known of every symbol (or of some); HOLD signals need nothing."""
        signals, quotes, features = self._signals, self._quotes, self._features
        wanted = [s.symbol for s in signals.signals if s.action != "HOLD"] if signals else []
        rows = {s: i for i, s in enumerate(quotes.symbols)} if quotes else {}
        stops: dict[str, float] = {}
        if features is not None and signals is not None and features.close_time_ms == signals.close_time_ms:
            stops = dict(zip(features.symbols, features.stop_distance.tolist(), strict=True))
        return {
            symbol: SymbolFacts(
                rules=self._rules.get(symbol),
                quote=quote_at(quotes, rows[symbol]) if quotes is not None and symbol in rows else None,
                stop_distance=stops.get(symbol),
                performance=self._record.symbols.get(symbol, UNTRIED),
            )
            for symbol in wanted
            if only is None or symbol in only
        }

    def _book(self) -> BookFacts:
        account, directive = self._account, self._directive
        held = frozenset(p.symbol for p in account.positions) if account else None
        orders = (*account.orders, *account.conditionals) if account else ()
        resting = {order.symbol for order in orders if parse(order.client_id)}
        pending = self._busy | set(directive.reserved) | resting if directive else None
        gross = sum((p.notional_usd for p in account.positions), Decimal(0)) if account else None
        return BookFacts(
            directive=directive,
            equity_usd=directive.equity_usd if directive else None,
            available_usd=account.available_usd if account else None,
            gross_notional_usd=max(gross, directive.gross_notional_usd) if gross is not None and directive else None,
            held=held,
            pending=frozenset(pending - held) if pending is not None and held is not None else None,
            last_entry_ms=directive.last_entry_ms if directive else None,
            market=self._regimes.market if self._regimes else "NORMAL",
            models=self._record.models,
            quote_age_ms_max=self._wiring.quote_age_ms_max,
        )

    def _note_votes(self, decision_id: str, votes: tuple[ModelVote, ...] | None) -> None:
        """Keep who voted for an entry until its trade is closed; None: it came to nothing."""
        others = {d: v for d, v in self._record.votes.items() if d != decision_id}
        kept = others if votes is None else {**others, decision_id: votes}
        self._record = msgspec.structs.replace(self._record, votes=kept)
