"""Mailboxes: bounds, conflation, overflow; nothing is lost without a trace, whoever sends while whoever reads."""

from __future__ import annotations

import threading
from collections import Counter, deque
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qt_actors.kernel import (
    Actor,
    Address,
    Backoff,
    ChildSpec,
    Fenced,
    MailboxFullError,
    Policy,
    Probe,
    SimRuntime,
    SupervisorSpec,
    ThreadRuntime,
    bounded,
    conflate,
    drop_oldest,
)
from qt_actors.kernel.incarnation import Incarnation
from qt_actors.kernel.mailbox import Mailbox
from qt_actors.kernel.messages import Envelope


class Quote(msgspec.Struct, frozen=True):
    symbol: str
    price: int


class Command(msgspec.Struct, frozen=True):
    number: int


class Note(msgspec.Struct, frozen=True):
    number: int


class Listener(Actor):
    """Passes on what it hears."""

    def __init__(self, out: Address) -> None:
        super().__init__()
        self.out = out

    def handle(self, message: object) -> None:
        self.out.tell(message)


def waiting(policies: dict[type, Policy], mailbox_max: int = 1024) -> tuple[SimRuntime, Probe, Address]:
    """A listener that has not run yet: everything told to it waits."""
    runtime = SimRuntime()
    probe = Probe(runtime, "out")
    out = runtime.address("out")
    child = ChildSpec("listener", lambda: Listener(out), mailbox=policies, mailbox_max=mailbox_max)
    runtime.start(SupervisorSpec("root", children=(child,)))
    return runtime, probe, runtime.address("root/listener")


def test_ten_thousand_quotes_conflate_to_the_newest_of_each_symbol():
    runtime, probe, address = waiting({Quote: conflate("symbol")})
    for price in range(5_000):
        address.tell(Quote("BTCUSDT", price))
        address.tell(Quote("ETHUSDT", price))
    runtime.run_until_idle()
    assert probe.heard == (Quote("BTCUSDT", 4_999), Quote("ETHUSDT", 4_999))
    assert runtime.mailbox("root/listener").conflated == 9_998


def test_a_conflated_message_keeps_the_place_of_the_first_and_the_trace_of_the_newest():
    runtime, probe, address = waiting({Quote: conflate(lambda quote: quote.symbol)})
    address.tell(Quote("BTCUSDT", 1), trace="old")
    address.tell(Command(1))
    address.tell(Quote("BTCUSDT", 2), trace="new")
    runtime.run_until_idle()
    assert probe.expect(Quote).price == 2
    assert probe.trace == "new"
    assert probe.expect(Command) == Command(1)


def test_a_key_that_was_read_is_queued_again():
    runtime, probe, address = waiting({Quote: conflate("symbol")})
    for price in range(3):
        address.tell(Quote("BTCUSDT", price))
        runtime.run_until_idle()
    assert [quote.price for quote in probe.heard] == [0, 1, 2]


def test_more_keys_than_allowed_are_refused_but_idle_keys_make_room():
    runtime, probe, address = waiting({Quote: conflate("symbol", keys_max=2)})
    address.tell(Quote("A", 1))
    address.tell(Quote("B", 1))
    with pytest.raises(MailboxFullError, match=r"root/listener: mailbox full, 2 messages wait; Quote refused"):
        address.tell(Quote("C", 1))
    runtime.run_until_idle()
    address.tell(Quote("C", 2))
    runtime.run_until_idle()
    assert [quote.symbol for quote in probe.heard] == ["A", "B", "C"]


def test_commands_are_never_dropped_the_sender_of_one_too_many_is_told():
    runtime, probe, address = waiting({}, mailbox_max=3)
    for number in range(3):
        address.tell(Command(number))
    with pytest.raises(MailboxFullError, match=r"3 messages wait; Command refused"):
        address.tell(Command(3))
    runtime.run_until_idle()
    assert probe.heard == tuple(Command(number) for number in range(3))
    assert runtime.mailbox("root/listener").refused == 1
    address.tell(Command(4))
    runtime.run_until_idle()
    assert probe.heard[-1] == Command(4)


def test_market_data_does_not_use_up_the_room_of_commands():
    runtime, probe, address = waiting({Quote: conflate("symbol")}, mailbox_max=2)
    for number in range(10):
        address.tell(Quote(f"S{number}", 1))
    address.tell(Command(1))
    address.tell(Command(2))
    with pytest.raises(MailboxFullError):
        address.tell(Command(3))
    runtime.run_until_idle()
    assert len(probe.heard) == 12


def test_a_class_can_have_a_bound_of_its_own():
    runtime, probe, address = waiting({Command: bounded(1)})
    address.tell(Command(1))
    with pytest.raises(MailboxFullError, match=r"1 messages wait"):
        address.tell(Command(2))
    runtime.run_until_idle()
    address.tell(Command(3))
    runtime.run_until_idle()
    assert probe.heard == (Command(1), Command(3))


def test_the_oldest_note_goes_and_becomes_a_dead_letter():
    runtime, probe, address = waiting({Note: drop_oldest(2)})
    for number in range(4):
        address.tell(Note(number))
    runtime.run_until_idle()
    assert probe.heard == (Note(2), Note(3))
    assert [(letter.message, letter.reason) for letter in runtime.dead_letters.kept()] == [
        (Note(0), "dropped"),
        (Note(1), "dropped"),
    ]
    assert runtime.mailbox("root/listener").dropped == 2


def test_policies_apply_to_what_waited_before_the_tree_was_started():
    runtime = SimRuntime()
    probe = Probe(runtime, "out")
    out = runtime.address("out")
    for price in range(5):
        runtime.address("root/listener").tell(Quote("BTCUSDT", price))
    child = ChildSpec("listener", lambda: Listener(out), mailbox={Quote: conflate("symbol")})
    runtime.start(SupervisorSpec("root", children=(child,)))
    runtime.wait_ready()
    runtime.run_until_idle()
    assert probe.heard == (Quote("BTCUSDT", 4),)


def test_a_question_is_never_conflated_away():
    runtime, _probe, address = waiting({Quote: conflate("symbol")})
    address.tell(Quote("BTCUSDT", 1))
    with pytest.raises(Exception, match="without an answer"):
        address.ask(Quote("BTCUSDT", 2), 1)
    assert runtime.mailbox("root/listener").conflated == 0


class Model:
    """What a mailbox should do, written the slow and obvious way."""

    def __init__(self) -> None:
        self.queue: list[Any] = []
        self.refused = 0

    def offer(self, message: Any) -> None:
        same = [waiting for waiting in self.queue if type(waiting) is type(message)]
        match message:
            case Quote(symbol):
                for place, waiting_quote in enumerate(self.queue):
                    if isinstance(waiting_quote, Quote) and waiting_quote.symbol == symbol:
                        self.queue[place] = message
                        return
            case Note() if len(same) >= 3:
                self.queue.remove(same[0])
            case Command() if len(same) >= 4:
                self.refused += 1
                return
        self.queue.append(message)

    def take(self) -> Any:
        return self.queue.pop(0) if self.queue else None


MESSAGES = st.one_of(
    st.builds(Quote, st.sampled_from("AB"), st.integers(0, 9)),
    st.builds(Command, st.integers(0, 99)),
    st.builds(Note, st.integers(0, 99)),
    st.none(),  # the reader takes one
)


@given(st.lists(MESSAGES, max_size=60))
def test_a_mailbox_does_what_the_slow_and_obvious_one_does(steps: list[Any]):
    mailbox, reader = _mailbox([])
    model = Model()
    for message in steps:
        if message is None:
            envelope = mailbox.take(reader)
            assert (None if envelope is None else envelope.message) == model.take()
            continue
        model.offer(message)
        try:
            mailbox.offer(Envelope(message, 0, 0, 0, ""))
        except MailboxFullError:
            assert isinstance(message, Command)
        assert mailbox.depth == len(model.queue)
    assert mailbox.refused == model.refused


def _mailbox(buried: list[Envelope]) -> tuple[Mailbox, Incarnation]:
    runtime = SimRuntime()
    mailbox = Mailbox("box", lambda envelope, _reason: buried.append(envelope))
    policies = {Quote: conflate("symbol"), Note: drop_oldest(3), Command: bounded(4)}
    mailbox.configure(policies, 1024, lambda box, envelope: box.offer(envelope))
    reader = Incarnation(runtime, mailbox, 1, ChildSpec("box", lambda: Listener(runtime.address("out"))), None)
    mailbox.adopt(reader, deque_of_tokens())
    return mailbox, reader


class deque_of_tokens(deque[None]):  # noqa: N801 -- a stand-in for the wake-up queue: only `put` is called
    """Counts wake-ups."""

    put = deque.append


def test_every_queued_message_has_a_wake_up():
    mailbox, reader = _mailbox([])
    tokens = deque_of_tokens()
    mailbox.adopt(reader, tokens)
    for number in range(10):
        mailbox.offer(Envelope(Quote("A", number), 0, 0, 0, ""))
        mailbox.offer(Envelope(Note(number), 0, 0, 0, ""))
    assert len(tokens) == mailbox.depth == 4


def test_a_superseded_reader_gets_nothing():
    mailbox, reader = _mailbox([])
    mailbox.offer(Envelope(Command(1), 0, 0, 0, ""))
    assert mailbox.disown(reader, fence=True)
    assert not mailbox.disown(reader)
    with pytest.raises(Fenced):
        mailbox.take(reader)
    assert mailbox.depth == 1


def test_a_message_that_comes_back_yields_to_a_newer_one_of_its_key():
    mailbox, reader = _mailbox([])
    mailbox.offer(Envelope(Quote("A", 1), 0, 0, 0, ""))
    old = mailbox.take(reader)
    assert old is not None
    mailbox.offer(Envelope(Quote("A", 2), 0, 0, 0, ""))
    mailbox.put_back(old)
    newest = mailbox.take(reader)
    assert newest is not None
    assert newest.message == Quote("A", 2)
    assert mailbox.take(reader) is None


def test_a_message_that_comes_back_is_first_again():
    mailbox, reader = _mailbox([])
    for message in (Quote("A", 1), Command(1), Note(1)):
        for following in (message, Command(2)):
            mailbox.offer(Envelope(following, 0, 0, 0, ""))
        envelope = mailbox.take(reader)
        assert envelope is not None
        mailbox.put_back(envelope)
        again = mailbox.take(reader)
        assert again is envelope
        while mailbox.take(reader) is not None:
            pass


SENDERS, EACH = 4, 3_000


class Totals(Actor):
    """Counts what it hears and crashes at every 997th; counts and the newest quotes outlive it in `heard`."""

    def __init__(self, heard: Counter[object], newest: dict[str, int], done: threading.Event) -> None:
        super().__init__()
        self.heard = heard
        self.newest = newest
        self.done = done

    def handle(self, message: object) -> None:
        self.heard[type(message).__name__] += 1
        if isinstance(message, Quote):
            self.newest[message.symbol] = message.price
        if message == "end":
            self.done.set()
        if sum(self.heard.values()) % 997 == 0:
            raise RuntimeError


def test_no_message_is_lost_among_crashes_and_many_senders():
    """Conservation: told = handled + conflated + dropped + refused, per class, on real threads."""
    runtime = ThreadRuntime()
    heard: Counter[object] = Counter()
    newest: dict[str, int] = {}
    done = threading.Event()
    child = ChildSpec(
        "totals",
        lambda: Totals(heard, newest, done),
        mailbox={Quote: conflate("symbol"), Note: drop_oldest(50), Command: bounded(100_000)},
        poison=None,
    )
    runtime.start(SupervisorSpec("root", children=(child,), intensity=10_000, period_ms=10**9, backoff=Backoff(0, 0)))
    address, mailbox = runtime.address("root/totals"), runtime.mailbox("root/totals")

    def send(sender: int) -> None:
        for number in range(EACH):
            address.tell(Quote(f"S{sender}", number))
            address.tell(Command(number))
            address.tell(Note(number))

    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    address.tell("end")
    assert done.wait(30)
    assert runtime.stop(5)
    assert heard["Command"] == SENDERS * EACH
    assert heard["Note"] + mailbox.dropped == SENDERS * EACH
    assert heard["Quote"] + mailbox.conflated == SENDERS * EACH
    assert newest == {f"S{sender}": EACH - 1 for sender in range(SENDERS)}
    crashes = sum(count for (_kind, reason), count in runtime.dead_letters.counts().items() if reason == "crash")
    assert crashes == sum(heard.values()) // 997 > 0
    restarts = {state.path: state.restarts for state in runtime.tree()}
    assert restarts["root/totals"] == crashes
