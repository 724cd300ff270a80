"""Addresses: telling, asking from the edge, replies, traces, deadlines, letters that reach nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from qt_actors.kernel import (
    Actor,
    Address,
    AskInHandlerError,
    ChildSpec,
    KernelError,
    Probe,
    SimRuntime,
    SupervisorSpec,
    ThreadRuntime,
    UnansweredError,
)

Runtime = ThreadRuntime | SimRuntime


class Worker(Actor):
    """Runs functions it is told, passes everything else on with its trace and incarnation."""

    def __init__(self, out: Address) -> None:
        super().__init__()
        self.out = out

    def handle(self, message: object) -> None:
        if callable(message):
            message(self)
        else:
            self.out.tell((message, self.incarnation))


@pytest.fixture(params=["threads", "simulation"])
def runtime(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    made = ThreadRuntime() if request.param == "threads" else SimRuntime(seed=1)
    yield made
    made.stop(5)


def begin(runtime: Runtime, *names: str) -> Probe:
    """A flat tree of workers that report to the probe."""
    probe = Probe(runtime, "out")
    out = runtime.address("out")
    children = tuple(ChildSpec(name, lambda: Worker(out)) for name in names)
    runtime.start(SupervisorSpec("root", "one_for_one", children))
    assert runtime.wait_ready(5)
    return probe


def reply_with(value: object) -> Callable[[Worker], None]:
    return lambda me: me.reply(value)


def test_an_address_is_the_same_object_for_the_same_path(runtime: Runtime):
    assert runtime.address("root/a") is runtime.address("root/a")


def test_what_is_told_before_the_actor_exists_waits_for_it(runtime: Runtime):
    runtime.address("root/a").tell("early")
    probe = begin(runtime, "a")
    assert probe.expect(tuple) == ("early", 1)


def test_messages_of_one_sender_arrive_in_order(runtime: Runtime):
    probe = begin(runtime, "a")
    for number in range(200):
        runtime.address("root/a").tell(number)
    assert [probe.expect(tuple)[0] for _ in range(200)] == list(range(200))


def test_any_object_can_be_a_message(runtime: Runtime):
    probe = begin(runtime, "a")
    for message in (None, 0, [], {"a": 1}, Exception("told, not raised")):
        runtime.address("root/a").tell(message)
        assert probe.expect(tuple)[0] is message


def test_the_edge_asks_and_the_actor_replies(runtime: Runtime):
    begin(runtime, "a")
    assert runtime.address("root/a").ask(reply_with(42), 5) == 42


def test_a_reply_to_an_actor_that_told_is_a_message_to_it_in_the_same_trace(runtime: Runtime):
    probe = begin(runtime, "a")
    probe.tell("root/a", reply_with("answer"), trace="t-1")
    assert probe.expect(str) == "answer"
    assert (probe.trace, probe.sender) == ("t-1", "root/a")


def test_a_reply_to_nobody_is_a_dead_letter(runtime: Runtime):
    begin(runtime, "a")
    runtime.address("root/a").tell(reply_with("lost"))
    runtime.address("root/a").ask(reply_with(None), 5)
    assert [(letter.message, letter.reason) for letter in runtime.dead_letters.kept()] == [("lost", "no sender")]


def test_a_question_handled_without_an_answer_fails_at_once(runtime: Runtime):
    begin(runtime, "a")
    with pytest.raises(UnansweredError, match="root/a handled str without an answer"):
        runtime.address("root/a").ask("no reply to this", 60)


def test_an_answer_can_be_given_after_the_handler_has_returned(runtime: Runtime):
    probe = begin(runtime, "a")

    def promise(me: Worker) -> None:
        me.out.tell(me.reply_later())

    probe.answers(object, lambda answer: answer("later") if callable(answer) else None)
    assert runtime.address("root/a").ask(promise, 5) == "later"


def test_a_question_whose_handler_crashes_fails_at_once_with_the_reason(runtime: Runtime):
    begin(runtime, "a")

    def crash(_me: Worker) -> None:
        msg = "no luck"
        raise RuntimeError(msg)

    with pytest.raises(UnansweredError, match="crash RuntimeError: no luck"):
        runtime.address("root/a").ask(crash, 60)


def test_asking_inside_a_handler_raises(runtime: Runtime):
    probe = begin(runtime, "a", "b")

    def ask(me: Worker) -> None:
        with pytest.raises(AskInHandlerError, match="root/a asked root/b"):
            runtime.address("root/b").ask("anything", 1)
        me.out.tell("refused")

    runtime.address("root/a").tell(ask)
    assert probe.expect(str) == "refused"


def test_a_handler_cannot_stop_its_own_runtime(runtime: Runtime):
    probe = begin(runtime, "a")

    def stop(me: Worker) -> None:
        with pytest.raises(KernelError, match="only main does"):
            runtime.stop(1)
        me.out.tell("refused")

    runtime.address("root/a").tell(stop)
    assert probe.expect(str) == "refused"


def test_a_question_whose_asker_gave_up_is_not_handled_later():
    runtime = SimRuntime()
    runtime.address("root/a").tell("first")
    with pytest.raises(TimeoutError, match=r"root/a did not answer within 0\.5 s"):
        runtime.address("root/a").ask("place an order", 0.5)
    probe = begin(runtime, "a")
    assert probe.expect(tuple)[0] == "first"
    probe.expect_none(for_ms=1000)
    assert runtime.dead_letters.counts() == {("str", "unasked"): 1}


def test_a_trace_goes_from_message_to_message(runtime: Runtime):
    probe = begin(runtime, "a", "b")

    def pass_on(me: Worker) -> None:
        first = me.trace
        runtime.address("root/b").tell(lambda b: b.out.tell((first, b.trace, b.sender)))

    runtime.address("root/a").tell(pass_on, trace="bar-7")
    assert probe.expect(tuple) == ("bar-7", "bar-7", "root/a")
    assert probe.trace == "bar-7"


def test_messages_from_outside_begin_traces_of_their_own(runtime: Runtime):
    probe = begin(runtime, "a")
    traces = set()
    for _ in range(3):
        runtime.address("root/a").tell("x")
        probe.expect(tuple)
        traces.add(probe.trace)
    assert len(traces) == 3
    assert all(trace.startswith("1-") for trace in traces)


def test_a_message_read_after_its_deadline_is_a_dead_letter():
    runtime = SimRuntime(start_ms=1_000)
    runtime.address("root/a").tell("late", deadline_ms=1_050)
    runtime.address("root/a").tell("in time", deadline_ms=1_100)
    runtime.run_for(100)
    probe = begin(runtime, "a")
    assert probe.expect(tuple)[0] == "in time"
    assert [(letter.message, letter.reason) for letter in runtime.dead_letters.kept()] == [("late", "deadline")]


def test_after_the_stop_everything_told_is_a_dead_letter_with_its_trace(runtime: Runtime):
    begin(runtime, "a")
    letters = []
    runtime.on_dead_letter(letters.append)
    assert runtime.stop(5)
    runtime.address("root/a").tell("too late", trace="t-9")
    (letter,) = letters
    assert (letter.path, letter.message, letter.reason, letter.trace) == ("root/a", "too late", "closed", "t-9")


def test_a_question_to_a_closed_address_fails_at_once(runtime: Runtime):
    begin(runtime, "a")
    runtime.stop(5)
    with pytest.raises(UnansweredError, match="closed"):
        runtime.address("root/a").ask("anything", 60)


def test_a_failing_dead_letter_subscriber_harms_nobody(runtime: Runtime):
    heard = []

    def fail(_letter: object) -> None:
        msg = "subscriber"
        raise ValueError(msg)

    runtime.on_dead_letter(fail)
    runtime.on_dead_letter(heard.append)
    begin(runtime, "a")
    runtime.address("root/a").tell(reply_with("lost"))
    runtime.address("root/a").ask(reply_with(None), 5)
    assert [letter.message for letter in heard] == ["lost"]


def test_a_return_address_reaches_its_own_incarnation_only(runtime: Runtime):
    probe = begin(runtime, "a")
    runtime.address("root/a").tell(lambda me: me.out.tell(me.return_address))
    address = probe.expect(Address)
    address.tell("result")
    assert probe.expect(tuple) == ("result", 1)

    def crash(_me: Worker) -> None:
        raise RuntimeError

    runtime.address("root/a").tell(crash)
    runtime.address("root/a").tell("alive again")
    assert probe.expect(tuple) == ("alive again", 2)
    address.tell("result of the dead one")
    runtime.address("root/a").tell("after")
    assert probe.expect(tuple) == ("after", 2)
    assert ("str", "stale") in runtime.dead_letters.counts()


def test_an_actor_that_no_runtime_started_says_so():
    class Bare(Actor):
        def handle(self, message: object) -> None:
            raise NotImplementedError(message)

    with pytest.raises(KernelError, match="no path yet: a runtime has not started it"):
        _ = Bare().path
    with pytest.raises(KernelError, match="started by a runtime from a ChildSpec"):
        Bare.start()
