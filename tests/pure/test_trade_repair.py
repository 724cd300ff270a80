"""What fails is tried again by rule, and no rule is without an end, however hostile the exchange."""

from __future__ import annotations

from decimal import Decimal as D

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qt_actors.decisions import trade_life, trade_repair
from qt_actors.decisions.trade_state import (
    ATTEMPTS_MAX,
    COUNTED_MAX,
    ENDED,
    FORGIVEN_MS,
    RETRY_REAL_MS_MAX,
    is_bare,
    remaining,
    retry_real_ms,
)
from qt_actors.messages.orders import CancelOrder, PlaceConditional, PlaceOrder
from qt_actors.messages.positions import TradeClosed
from tests.builders import NOW, a_plan, algo_update, order_update

CONDITIONAL = ("stand", "cancelled at once", "expired, then acknowledged", "passed", "refused", "denied", "unknown")
MARKET = ("filled", "filled in part", "expired", "refused", "denied", "missing")


class Hostile:
    """An exchange that answers each order as told; time goes on by the executor's timer and the monitor's looks."""

    def __init__(self, answers, *, lost=True):
        self.answers = answers
        self.now_ms = NOW
        self.placed: list[tuple[int, object]] = []
        self.trade_id = 1
        self.closed: list[TradeClosed] = []
        trade = trade_life.on_leverage_set(trade_life.begin(a_plan(), NOW).trade, NOW)
        stop = trade.commands[0].client_id
        self.trade = trade_life.on_accepted(trade.trade, stop, "NEW", D(0), NOW).trade
        self.queue: list[object] = []
        entry = order_update(self.trade, self.trade.entry_id, "FILLED", executed="0.010", trade_id=1, last="0.010")
        self.take(trade_life.on_order(self.trade, entry, NOW))
        if lost:
            self.take(trade_life.on_conditional(self.trade, algo_update(self.trade, stop, "CANCELED"), NOW))

    def take(self, step):
        self.trade = step.trade
        self.closed += [e for e in step.events if isinstance(e, TradeClosed)]
        self.queue += [c for c in step.commands if not isinstance(c, CancelOrder)]

    def settle(self, most=1_500):
        """Answer everything that is sent, at once."""
        while self.queue:
            command = self.queue.pop(0)
            if not hasattr(command, "purpose"):
                continue
            self.placed.append((self.now_ms, command))
            assert len(self.placed) < most, "orders without an end"
            kind = "market" if isinstance(command, PlaceOrder) else command.purpose
            self.answer(command, self.answers(kind, len(self.placed)))

    def answer(self, command, how):
        trade, now, order = self.trade, self.now_ms, command.client_id
        match how:
            case "stand":
                self.take(trade_life.on_accepted(trade, order, "NEW", D(0), now))
            case "cancelled at once":
                self.take(trade_life.on_accepted(trade, order, "NEW", D(0), now))
                self.take(trade_life.on_conditional(self.trade, algo_update(trade, order, "CANCELED"), now))
            case "expired, then acknowledged":
                self.take(trade_life.on_conditional(trade, algo_update(trade, order, "EXPIRED"), now))
                self.take(trade_life.on_accepted(self.trade, order, "NEW", D(0), now))
            case "passed":
                self.take(trade_life.on_refused(trade, order, -2021, "would trigger", now))
            case "refused":
                self.take(trade_life.on_refused(trade, order, -2019, "no", now))
            case "denied" | "missing":
                self.take(trade_life.on_refused(trade, order, 0, how, now))
            case "unknown":
                self.take(trade_life.on_unknown(trade, order, now))
            case "expired":
                self.take(trade_life.on_accepted(trade, order, "EXPIRED", D(0), now))
                self.take(trade_life.on_order(self.trade, order_update(trade, order, "EXPIRED", executed="0"), now))
            case _:
                self.fill(command, command.quantity if how == "filled" else command.quantity / 2)

    def fill(self, command, quantity):
        self.trade_id += 1
        size = str(min(quantity, remaining(self.trade)))
        status = "FILLED" if D(size) >= min(command.quantity, remaining(self.trade)) else "EXPIRED"
        told = {"executed": size, "trade_id": self.trade_id, "side": command.side, "last": size}
        update = order_update(self.trade, command.client_id, status, **told)
        self.take(trade_life.on_order(self.trade, update, self.now_ms))

    def live(self, seconds):
        """Let time pass: the timer fires when it is due, the monitor asks for what is missing every ten seconds."""
        self.settle()
        due, end = self._due(), self.now_ms + seconds * 1000
        while self.now_ms < end and self.trade.phase not in ENDED:
            self.now_ms += 1000
            if due is not None and self.now_ms >= due:
                self.take(trade_repair.retry(self.trade, self.now_ms))
            if (self.now_ms - NOW) % 10_000 == 0:
                missing = self.trade
                target, trail = not missing.target_id, not missing.trail_id
                self.take(trade_repair.rearm(missing, self.now_ms, target=target, trail=trail))
                if is_bare(self.trade):
                    self.take(trade_repair.protect(self.trade, self.now_ms, passed=False))
            self.settle()
            due = self._due() if due is None or self.now_ms >= due or self._due() is None else due

    def _due(self):
        delay = retry_real_ms(self.trade)
        return None if delay is None else self.now_ms + delay


@pytest.mark.parametrize("conditional", CONDITIONAL[1:])
@pytest.mark.parametrize("market", [m for m in MARKET if m != "filled"])
def test_no_failure_however_lasting_sends_orders_without_an_end(conditional, market):
    venue = Hostile(lambda kind, _: market if kind == "market" else conditional)
    venue.live(600)
    by_second = {}
    for at_ms, _ in venue.placed:
        by_second[at_ms] = by_second.get(at_ms, 0) + 1
    assert max(by_second.values()) <= 4 * (ATTEMPTS_MAX + 2)
    ours = "denied" in (conditional, market) or market == "missing"  # what never left us goes on by the second
    assert len(venue.placed) <= (2 * 600 if ours else 80)


@given(st.lists(st.sampled_from(CONDITIONAL), max_size=40), st.lists(st.sampled_from(MARKET), max_size=40))
@settings(deadline=None)
def test_when_the_exchange_comes_to_its_senses_the_position_is_covered_or_closed(conditional, market):
    """A finite number of hostile answers, then good ones."""
    told = {"market": iter(market)}
    rest = iter(conditional)
    good = {"market": "filled"}
    venue = Hostile(lambda kind, _: next(told.get(kind, rest), good.get(kind, "stand")))
    venue.live(1800)
    trade = venue.trade
    pending_stop = any("-s" in i for i in trade.pending)  # of unknown outcome: its look-up is the executor's
    assert trade.phase in ENDED or trade.stop_id or pending_stop
    assert D(0) <= trade.exited <= trade.filled == D("0.010")
    assert len({c.client_id for _, c in venue.placed}) == len(venue.placed)
    assert all(c.reduce_only for _, c in venue.placed if isinstance(c, PlaceOrder))
    assert len(venue.closed) == (1 if trade.phase == "closed" else 0)


def opened():
    venue = Hostile(lambda kind, _: "filled" if kind == "market" else "stand", lost=False)
    venue.settle()
    assert venue.trade.phase == "open"
    return venue.trade


def test_a_stop_that_stood_an_hour_begins_a_new_count():
    trade = msgspec.structs.replace(opened(), strikes=ATTEMPTS_MAX, strike_ms=NOW, stop_id="")
    soon = trade_repair.stop_failed(trade, "gone", NOW + FORGIVEN_MS - 1)
    assert [type(c) for c in soon.commands] == [PlaceOrder]
    later = trade_repair.stop_failed(trade, "gone", NOW + FORGIVEN_MS)
    assert [type(c) for c in later.commands] == [PlaceConditional]


def test_the_pause_between_two_tries_grows_to_a_minute_and_no_longer():
    bare = msgspec.structs.replace(opened(), stop_id="")
    pauses = [retry_real_ms(msgspec.structs.replace(bare, strikes=n)) for n in range(20)]
    assert pauses[0] == 1000
    assert pauses == sorted(pauses)
    assert pauses[-1] == RETRY_REAL_MS_MAX
    assert retry_real_ms(opened()) is None


def test_a_close_asked_for_while_the_entry_is_under_way_follows_its_fill():
    trade = trade_life.on_leverage_set(trade_life.begin(a_plan(), NOW).trade, NOW)
    entering = trade_life.on_accepted(trade.trade, trade.commands[0].client_id, "NEW", D(0), NOW).trade
    step = trade_repair.close(entering, "manual: enough", NOW)
    assert step.commands == ()
    fill = order_update(entering, entering.entry_id, "FILLED", executed="0.010", trade_id=1, last="0.010")
    (close,) = trade_life.on_order(step.trade, fill, NOW).commands
    assert (close.purpose, close.quantity, close.reduce_only) == ("close", D("0.010"), True)


def test_a_close_asked_for_before_the_entry_is_sent_gives_the_entry_up():
    trade = trade_life.on_leverage_set(trade_life.begin(a_plan(), NOW).trade, NOW)
    step = trade_repair.close(trade.trade, "manual: enough", NOW)
    assert step.trade.phase == "abandoned"
    late = trade_life.on_accepted(step.trade, trade.commands[0].client_id, "NEW", D(0), NOW)
    assert [type(c) for c in late.commands] == [CancelOrder]


def test_a_close_that_failed_is_wanted_until_it_is_done_and_policy_does_not_hurry_it():
    step = trade_repair.close(opened(), "policy: held too long", NOW)
    failed = trade_life.on_refused(step.trade, step.trade.close_id, -1001, "no", NOW).trade
    assert failed.phase == "open"
    assert retry_real_ms(failed) == 1000
    assert trade_repair.close_by_policy(failed, "policy: held too long", NOW + 5).commands == ()
    (again,) = trade_repair.retry(failed, NOW + 1000).commands
    assert again.client_id != step.commands[0].client_id
    (by_hand,) = trade_repair.close(failed, "manual: now", NOW + 5).commands
    assert by_hand.purpose == "close"


def test_what_somebody_adds_by_hand_is_protected_whole_before_the_old_stop_goes():
    trade = opened()
    added = order_update(
        trade, "web_7", "FILLED", executed="0.020", trade_id=9, side="BUY", last="0.020", price="103000"
    )
    step = trade_life.on_order(trade, added, NOW)
    (stop,) = step.commands
    assert (stop.kind, stop.quantity) == ("STOP_MARKET", D("0.030"))
    assert (remaining(step.trade), step.trade.entry_price) == (D("0.030"), D(102_000))
    after = trade_life.on_accepted(step.trade, stop.client_id, "NEW", D(0), NOW)
    assert [c.client_id for c in after.commands] == [trade.stop_id]


def test_a_size_without_a_fill_is_the_exchange_s_word_and_the_result_is_said_to_be_unknown():
    smaller = trade_repair.on_resized(opened(), D("0.004"), D(100_000), NOW).trade
    assert (remaining(smaller), smaller.complete, smaller.exits) == (D("0.004"), False, ("external",))
    step = trade_repair.on_resized(opened(), D("0.016"), D(100_500), NOW)
    assert (remaining(step.trade), step.trade.entry_price) == (D("0.016"), D(100_500))
    assert [c.quantity for c in step.commands] == [D("0.016")]
    (closed,) = trade_repair.on_position_gone(smaller, NOW).events
    assert not closed.complete


def test_a_target_that_filled_in_part_is_not_taken_twice():
    trade = opened()
    part = {"executed": "0.002", "side": "SELL"}
    step = trade_life.on_order(
        trade, order_update(trade, trade.target_id, "PARTIALLY_FILLED", trade_id=4, last="0.002", **part), NOW
    )
    step = trade_life.on_order(step.trade, order_update(trade, trade.target_id, "EXPIRED", **part), NOW)
    (take,) = step.commands
    assert (take.purpose, take.quantity) == ("take", D("0.003"))


def test_a_stop_of_unknown_outcome_is_seconded_at_once_and_the_surplus_taken_back():
    trade = opened()
    step = trade_life.on_conditional(trade, algo_update(trade, trade.stop_id, "CANCELED"), NOW)
    first = step.commands[0].client_id
    step = trade_life.on_unknown(step.trade, first, NOW)
    (second,) = step.commands
    step = trade_life.on_accepted(step.trade, second.client_id, "NEW", D(0), NOW)
    step = trade_life.on_accepted(step.trade, first, "NEW", D(0), NOW)
    assert [c.client_id for c in step.commands] == [first]
    assert step.trade.stop_id == second.client_id


def test_a_foreign_stop_is_never_cancelled():
    trade = msgspec.structs.replace(opened(), stop_id="web_1", target_id="", trail_id="")
    assert trade_repair.end(trade, NOW).commands == ()


def test_a_stop_acknowledged_after_the_governor_forbade_entries_is_taken_back_without_one():
    trade = trade_life.on_leverage_set(trade_life.begin(a_plan(), NOW).trade, NOW)
    stop = trade.commands[0].client_id
    step = trade_life.on_accepted(trade.trade, stop, "NEW", D(0), NOW, "entries were stopped: halted")
    assert step.trade.phase == "abandoned"
    assert [(type(c), c.client_id) for c in step.commands] == [(CancelOrder, stop)]


def test_executions_told_again_after_any_number_of_others_are_counted_once():
    trade = msgspec.structs.replace(opened(), filled=D(1000), quantity=D(1000))
    told = [
        order_update(trade, "web_1", "FILLED", executed="1", trade_id=n, side="SELL", last="1")
        for n in range(10, 20 + 2 * COUNTED_MAX)
    ]
    told[-50:] = reversed(told[-50:])
    for event in (*told, *told):
        trade = trade_life.on_order(trade, event, NOW).trade
    assert trade.exited == len(told)
    assert len(trade.counted) == COUNTED_MAX


def test_what_is_added_while_a_close_is_under_way_is_closed_too():
    step = trade_repair.close(opened(), "manual: enough", NOW)
    (close,) = step.commands
    added = order_update(step.trade, "web_7", "FILLED", executed="0.004", trade_id=8, side="BUY", last="0.004")
    trade = trade_life.on_order(step.trade, added, NOW).trade
    trade = trade_life.on_accepted(trade, close.client_id, "FILLED", D("0.010"), NOW).trade
    done = {"executed": "0.010", "trade_id": 9, "side": "SELL", "last": "0.010"}
    trade = trade_life.on_order(trade, order_update(trade, close.client_id, "FILLED", **done), NOW).trade
    assert (trade.phase, remaining(trade)) == ("open", D("0.004"))
    (again,) = trade_repair.retry(trade, NOW + 1000).commands
    assert (again.purpose, again.quantity) == ("close", D("0.004"))


@pytest.mark.parametrize("left", ["0.010", "0.004"])
def test_a_close_that_is_over_while_the_account_still_shows_a_position_is_tried_again(left):
    step = trade_repair.close(opened(), "manual: enough", NOW)
    trade = trade_life.on_accepted(step.trade, step.commands[0].client_id, "FILLED", D("0.010"), NOW).trade
    trade = trade_life.on_position_seen(trade, D(left), D(100_000), NOW).trade
    assert (trade.phase, remaining(trade)) == ("open", D(left))
    (again,) = trade_repair.retry(trade, NOW + 1000).commands
    assert (again.purpose, again.quantity) == ("close", D(left))
