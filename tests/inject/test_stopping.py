"""The last look at the account while stopping: what is bare is put right and looked at again, in bounded time."""

from __future__ import annotations

import pytest

from qt_actors.cli.session import LOOKS, last_word
from qt_actors.kernel import Actor, ChildSpec, SimRuntime, SupervisorSpec
from qt_actors.messages.system import Drained
from tests.builders import a_snapshot

BARE, WELL, FLAT = (
    a_snapshot(conditionals=()),
    a_snapshot(serial=2),
    a_snapshot(serial=3, positions=(), conditionals=()),
)


class Answering(Actor):
    """Answers each wish to stop with the next of its words, the last one for ever."""

    def __init__(self, told, *words):
        super().__init__()
        self._told, self._words = told, words

    def handle(self, _message):
        self._told.append(self.path)
        word = self._words[min(len([p for p in self._told if p == self.path]), len(self._words)) - 1]
        self.reply(Drained(path=self.path, account=word))


@pytest.mark.parametrize(
    ("words", "shown", "looks"),
    [((WELL,), WELL, 1), ((FLAT,), FLAT, 1), ((BARE, WELL), WELL, 2), ((BARE,), BARE, LOOKS), ((None,), None, 1)],
)
def test_a_bare_position_is_looked_at_again_after_the_executor_has_put_it_right(words, shown, looks):
    runtime, told = SimRuntime(seed=1), []
    venue = SupervisorSpec("venue", children=(ChildSpec("account", lambda: Answering(told, *words)),))
    trading = SupervisorSpec("trading", children=(ChildSpec("executor", lambda: Answering(told, None)),))
    runtime.start(SupervisorSpec("root", children=(venue, trading)))
    assert runtime.wait_ready()
    assert last_word(runtime) == shown
    account, executor = "root/venue/account", "root/trading/executor"
    assert told == [executor, *([account, executor] * looks)][: 1 + 2 * looks - (shown is None)]
    runtime.stop()
