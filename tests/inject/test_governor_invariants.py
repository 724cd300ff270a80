"""Whatever happens in whatever order: what is let go fits what is left of the day, and never against a directive.

The truth is kept by the test: which entries are alive, which are filled, what a snapshot showed when it was asked for.
"""

from __future__ import annotations

from decimal import Decimal as D

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from qt_actors.decisions.admission import holding_loss, plan_loss
from qt_actors.decisions.protection import holdings_of
from qt_actors.decisions.trade_life import begin
from qt_actors.messages.market import UniverseChosen
from qt_actors.messages.policy import Directive, EntriesProposed, EntryAdmitted, ReservationReleased
from qt_actors.messages.positions import TradeChanged
from qt_actors.messages.system import ControlRequested, VenueLost, VenueReady
from tests.builders import CLOSE_MS, NOW, a_decision, a_plan, a_position, a_snapshot, a_stop, some_rules
from tests.inject.test_governor import House

SYMBOLS = ("BTCUSDT", "ETHUSDT", "XRPUSDT", "SOLUSDT", "ADAUSDT", "BNBUSDT")
START_USD = D(1500)
"""SAFE may lose $30 a day: one entry of $27 at its worst, and never two."""


class World:
    """A governor, and what is really the case."""

    def __init__(self):
        self.house = House(QT_COOLDOWN_SECONDS="0")
        self.plans, self.filled, self.equity, self.serial, self.asked = {}, set(), START_USD, 0, None
        self.shown, self.heard, self.decisions = a_snapshot(positions=(), conditionals=()), 0, 0
        rules = tuple(some_rules(s) for s in SYMBOLS)
        self.house.tell(UniverseChosen(symbols=SYMBOLS, rules=rules, refused={}), VenueReady(clock_offset_ms=0))
        self.do("ask")
        self.do("show")

    def alive(self, index):
        return sorted(self.plans)[index % len(self.plans)] if self.plans else None

    def do(self, what, index=0):
        symbol, decision_id = SYMBOLS[index % len(SYMBOLS)], self.alive(index)
        plan = self.plans.get(decision_id)
        match what:
            case "propose":
                self.decisions += 1
                made = a_plan(symbol=symbol, decision_id=f"{symbol}-{CLOSE_MS + self.decisions}")
                decision = a_decision(symbol=symbol, decision_id=made.decision_id, plan=made)
                self.house.tell(EntriesProposed(decisions=(decision,)))
            case "enter":
                for step in ("propose", "begin", "fill", "opened"):
                    self.do(step, index)
            case "ask" if self.asked is None:
                held = tuple(a_position(symbol=self.plans[d].symbol) for d in self.filled)
                stops = tuple(a_stop(symbol=p.symbol) for p in held)
                self.serial += 1
                self.asked = a_snapshot(serial=self.serial, positions=held, conditionals=stops, equity_usd=self.equity)
            case "show" if self.asked is not None:
                self.shown, self.asked = self.asked, None
                self.house.tell(self.shown)
            case "begin" if plan is not None:
                self.house.tell(TradeChanged(trade=begin(plan, NOW).trade))
            case "fill" if plan is not None:
                self.filled.add(decision_id)
            case "opened" if decision_id in self.filled:
                self.house.tell(
                    ReservationReleased(decision_id=decision_id, symbol=plan.symbol, outcome="opened"),
                )
            case "end" if plan is not None:
                del self.plans[decision_id]
                self.filled.discard(decision_id)
                ended = msgspec.structs.replace(begin(plan, NOW).trade, phase="closed")
                self.house.tell(TradeChanged(trade=ended))
            case "lose":
                self.equity -= index
            case "halt" | "resume" | "pause":
                self.house.tell(ControlRequested(control=what, reason="", by="test"))
            case "cut":
                self.house.tell(VenueLost(reason="cut"), *[VenueReady(clock_offset_ms=0)] * (index % 2))
            case "wait":
                self.house.runtime.run_for(index * 1000)
            case _:
                pass
        self.check()

    def check(self):
        """Every entry that went out since the last look was allowed, and everything alive fits the day."""
        told = self.house.probes["executor"].heard
        new, self.heard = told[self.heard :], len(told)
        word = next((m for m in reversed(told[: self.heard - len(new)]) if isinstance(m, Directive)), None)
        for message in new:
            word = message if isinstance(message, Directive) else word
            if isinstance(message, EntryAdmitted):
                assert word.allow_new_positions
                self.plans[message.decision.decision_id] = message.decision.plan
                seen = {h.symbol: holding_loss(h) for h in holdings_of(self.shown)}
                worst = sum(seen.get(p.symbol) or plan_loss(p) for p in self.plans.values())
                lost_usd = max(D(0), START_USD - self.shown.equity_usd)
                assert worst + lost_usd <= word.daily_loss_limit_usd


OFTEN = ("propose", "enter", "ask", "show")
SELDOM = ("begin", "fill", "opened", "end", "lose", "halt", "resume", "resume", "pause", "cut", "wait")
EVENTS = st.lists(
    st.tuples(st.sampled_from((*OFTEN * 5, *SELDOM)), st.integers(0, 50)),
    min_size=5,
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(events=EVENTS)
def test_no_order_of_events_lets_more_go_than_the_day_can_lose_or_anything_against_a_directive(events):
    world = World()
    for what, index in events:
        world.do(what, index)
    world.house.runtime.stop()
