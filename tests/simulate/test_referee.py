"""The referee sees what it is there to see: each of its new eyes is shown something wrong, once."""

import logging

import pytest

from qt_actors.kernel import Actor, ChildSpec, SupervisorSpec, conflate
from qt_actors.kernel.answers import Answer
from qt_actors.kernel.incarnation import here
from qt_actors.kernel.messages import Envelope
from qt_actors.messages.system import ControlTaken
from qt_actors.simulation.campaign import plan_of
from qt_actors.simulation.ear import Ear, only
from qt_actors.simulation.letters import CACHE_MAX, CountedRuntime
from qt_actors.simulation.operator import Operator
from qt_actors.simulation.run import Run
from qt_actors.simulation.weather import Request
from qt_actors.simulation.world import World

BTC = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.010"}


class Keeper(Actor):
    """Keeps what it hears."""

    def __init__(self):
        super().__init__()
        self.heard = []

    def handle(self, message):
        self.heard.append(message)


@pytest.fixture
def runtime():
    counted = CountedRuntime(1, 0, generation=1)
    counted.start(SupervisorSpec("root", "one_for_one", (ChildSpec("keeper", Keeper, mailbox={str: conflate(type)}),)))
    assert counted.wait_ready()
    return counted


def tell(runtime, *messages):
    for message in messages:
        runtime.address("root/keeper").tell(message)


def test_handled_replaced_and_waiting_messages_are_not_lost(runtime):
    tell(runtime, 1, 2, "old", "new")
    runtime.run_until_idle()
    tell(runtime, 3)
    assert not [*runtime.lost(), *runtime.twice]


def test_a_message_that_vanishes_from_a_mailbox_is_missed(runtime):
    tell(runtime, 1, 2)
    runtime.mailbox("root/keeper")._user.pop()
    runtime.run_until_idle()
    assert list(runtime.lost()) == ["root/keeper: 1 messages were neither handled, replaced nor buried"]


def test_a_message_that_is_handled_a_second_time_is_noticed(runtime):
    tell(runtime, 1)
    box = runtime.mailbox("root/keeper")
    box.offer(box._user[0])
    runtime.run_until_idle()
    assert len(runtime.twice) == 1


def test_a_superseded_actor_that_speaks_is_heard(runtime):
    own = runtime._nodes["root/keeper"].live
    own.fenced, here.own = True, own
    try:
        runtime.carrier(runtime.mailbox("root/keeper"))(Envelope(1, runtime.next_number(), 1, 0, own.path))
    finally:
        own.fenced, here.own = False, None
    assert runtime.undead == ["root/keeper#1, superseded, told root/keeper int"]


def test_who_keeps_something_of_every_message_is_a_hoard(runtime):
    tell(runtime, *range(1_000))
    runtime.run_until_idle()
    assert not list(runtime.hoards())
    for _ in range(CACHE_MAX // 1_000 + 1):
        tell(runtime, *range(1_000))
        runtime.run_until_idle()
    assert [hoard.split(" holds ")[0] for hoard in runtime.hoards()] == ["root/keeper: Keeper.heard"]


def test_a_mailbox_that_refuses_or_does_not_empty_is_crowded(runtime):
    tell(runtime, *range(100))
    assert not list(runtime.crowded(at_peace=False))
    assert len(list(runtime.crowded(at_peace=True))) == 1


def test_a_secret_in_a_log_line_is_heard_and_not_repeated():
    heard = []
    with only(Ear({"key": "s3cr3t"}, lambda *told: heard.append(told))):
        logging.getLogger("qt.anything").warning("sent with %s", "s3cr3t")
        logging.getLogger("qt.anything").warning("sent")
    assert heard == [("key", "sent with <key>")]


class Trader:
    """Keeps the questions."""

    def __init__(self):
        self.asked = []

    def question(self, _path, message):
        self.asked.append((message.control, Answer()))
        return self.asked[-1][1]


def passed(world, ms):
    end_us = world.now_us + ms * 1000
    while world.due_us() <= end_us:
        world.now_us = world.due_us()
        world.happen()
    world.now_us = end_us


def test_a_word_holds_when_it_is_confirmed_and_is_repeated_until_then():
    world, trader = World(1, ("BTCUSDT",)), Trader()
    operator = Operator(world, lambda: trader)
    operator.say("halt")
    trader.asked[0][1].give(ControlTaken(control="halt", fault="disk full", entries=False, because=""))
    passed(world, 1_000)
    assert [word for word, _ in trader.asked] == ["halt", "halt"]
    assert not operator.holds
    trader.asked[1][1].give(ControlTaken(control="halt", fault="", entries=False, because=""))
    passed(world, 60_000)
    assert len(trader.asked) == 2
    assert list(operator.holds) == ["halt"]
    operator.say("resume")
    assert not operator.holds


def test_a_word_without_a_trader_is_said_to_the_next_one():
    world, trader = World(1, ("BTCUSDT",)), Trader()
    living = []
    operator = Operator(world, lambda: living[0] if living else None)
    operator.say("pause")
    passed(world, 30_000)
    living.append(trader)
    passed(world, 10_000)
    assert [word for word, _ in trader.asked][:1] == ["pause"]


@pytest.fixture
def run(tmp_path):
    return Run(plan_of(1, 0.1, rate=0), tmp_path)


def entered(run, sent_us):
    name = "qt-BTCUSDT-t85sgo-e0"
    reply = run.world.request("POST", "/fapi/v1/order", {**BTC, "newClientOrderId": name, "newOrderRespType": "RESULT"})
    run.weather.carried_out(Request("POST", "/fapi/v1/order", {**BTC, "newClientOrderId": name}, sent_us), reply)
    told = [violation.invariant for violation in run.referee.violations]
    return [invariant for invariant in told if invariant != "one decision, one position"]


@pytest.mark.parametrize(("word", "means"), [("halt", "halted"), ("pause", "paused")])
def test_an_entry_sent_after_a_word_holds_is_a_violation_and_one_on_its_way_is_not(run, word, means):
    run.operator.holds[word] = 1_000_000
    assert not entered(run, 1_500_000)
    assert entered(run, 20_000_000) == [f"{means} means no entries"]


def looked_at(run, ms):
    run.world.now_us += ms * 1000
    run.world.advance()
    run.referee.look()


def test_a_close_that_is_not_done_in_time_is_a_violation(run):
    run.referee.alive = lambda: True
    run.referee.expect_flat("BTCUSDT")  # nothing is held: nothing is expected
    stop = {"algoType": "CONDITIONAL", "symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET", "quantity": "0.010"}
    run.world.request("POST", "/fapi/v1/algoOrder", {**stop, "triggerPrice": "60000", "reduceOnly": "true"})
    run.world.request("POST", "/fapi/v1/order", BTC)
    looked_at(run, 100)
    run.referee.expect_flat("BTCUSDT")
    looked_at(run, 60_000)
    assert not run.referee.violations
    looked_at(run, 60_000)
    assert [violation.invariant for violation in run.referee.violations] == ["exits are never blocked"]


def test_who_counts_fewer_seconds_without_a_stop_than_there_were_is_found_out(run):
    run.referee.alive = lambda: True
    run.world.request("POST", "/fapi/v1/order", BTC)
    run.hands.touched["BTCUSDT"] = run.world.now_us
    looked_at(run, 100)
    looked_at(run, 5_000)
    run.referee.check_count(5.2)
    assert not run.referee.violations
    run.referee.check_count(1.0)
    assert [violation.invariant for violation in run.referee.violations] == ["unprotected seconds are counted"]
