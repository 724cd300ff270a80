"""An operator who means it: repeats a word until the trader has confirmed it, and knows since when it holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from qt_actors.kernel import UnansweredError
from qt_actors.kernel.answers import Answer
from qt_actors.messages.system import Control, ControlRequested, ControlTaken
from qt_actors.simulation.world import World

LOOK_MS: Final = 250
LOOKS_MAX: Final = 20
"""So many looks at an answer, then the word is repeated: five seconds, as over HTTP."""


class Asked(Protocol):
    """A trader that can be asked."""

    def question(self, path: str, message: object) -> Answer:
        """Ask an actor."""


class Operator:
    """Says pause, halt, resume.

    Args:
        world: whose time counts; trader: the living one, if there is one.

    Attributes:
        holds: words confirmed and not taken back, with the virtual µs of their confirmation.
    """

    def __init__(self, world: World, trader: Callable[[], Asked | None]) -> None:
        self.holds: dict[Control, int] = {}
        self._world, self._trader = world, trader
        self._serial = 0

    def say(self, control: Control) -> None:
        """Say it, and go on saying it until it is confirmed or another word is said."""
        if control == "resume":
            self.holds.clear()  # from now on nobody knows whether entries are still stopped
        self._serial += 1
        self._ask(control, self._serial)

    def _ask(self, control: Control, serial: int) -> None:
        if serial != self._serial:
            return
        trader = self._trader()
        answer = None
        if trader is not None:
            word = ControlRequested(control=control, reason="simulated", by="simulation")
            answer = trader.question("root/judgement/governor", word)
        self._look(control, serial, answer, LOOKS_MAX)

    def _look(self, control: Control, serial: int, answer: Answer | None, left: int) -> None:
        if serial != self._serial:
            return
        if answer is not None and answer.settled and _holds(answer):
            if control != "resume":
                self.holds[control] = self._world.now_us
        elif left and (answer is None or not answer.settled):
            self._world.after(LOOK_MS, lambda: self._look(control, serial, answer, left - 1))
        else:
            self._world.after(LOOK_MS, lambda: self._ask(control, serial))


def _holds(answer: Answer) -> bool:
    """Whether it is a confirmation."""
    try:
        taken = answer.get(timeout=0)
    except UnansweredError:
        return False
    return isinstance(taken, ControlTaken) and not taken.fault
