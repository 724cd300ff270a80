"""What became of every message: handled once, replaced by a newer one by rule, a dead letter, or waiting still."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from qt_actors.kernel import MailboxFullError, SimRuntime
from qt_actors.kernel.answers import Answer
from qt_actors.kernel.incarnation import Incarnation, here
from qt_actors.kernel.mailbox import Mailbox
from qt_actors.kernel.messages import Envelope

WAITING_AFTER_PEACE_MAX: Final = 32
CACHE_MAX: Final = 8_192
"""Nothing an actor remembers of a few hours of four symbols is more; who keeps something of every message is."""
DEPTH_MAX: Final = 4


class CountedRuntime(SimRuntime):
    """The deterministic runtime with a book of the messages that actors and edges tell.

    Attributes:
        twice: what was handled a second time, though nothing had failed the first time.
        undead: what a superseded incarnation said all the same.
    """

    def __init__(self, seed: int, start_ms: int, *, generation: int) -> None:
        super().__init__(seed, start_ms, generation=generation)
        self.twice: list[str] = []
        self.undead: list[str] = []
        self._untold: dict[str, set[int]] = {}
        """Path → numbers of messages that nobody has begun to handle."""

    def question(self, path: str, message: object) -> Answer:
        """Ask from outside; whoever asks looks at the answer when it likes."""
        answer, number = self.new_answer(), self.next_number()
        self.address(path).forward(Envelope(message, number, number, 0, "", answer=answer))
        return answer

    def carrier(self, mailbox: Mailbox) -> Callable[[Envelope], None]:
        """Note what is told; a sender who is told that there is no room has lost nothing silently."""
        offer, untold = super().carrier(mailbox), self._untold.setdefault(mailbox.path, set())

        def carry(envelope: Envelope) -> None:
            untold.add(envelope.number)
            if here.own is not None and here.own.fenced:
                name = type(envelope.message).__name__
                self.undead.append(f"{here.own.path}#{here.own.number}, superseded, told {mailbox.path} {name}")
            try:
                offer(envelope)
            except MailboxFullError:
                untold.discard(envelope.number)
                raise

        return carry

    def guard(self, own: Incarnation, call: Callable[[Any], None]) -> Callable[[Any], None]:
        """Note what is handled."""
        guarded, untold = super().guard(own, call), self._untold.setdefault(own.path, set())

        def counted(message: Any) -> None:
            envelope = own.current
            if envelope is not None and not envelope.own and not own.fenced:  # a zombie wakes with a dead letter
                if envelope.number in untold:
                    untold.discard(envelope.number)
                elif not envelope.attempts:
                    self.twice.append(f"{own.path} was given {type(message).__name__} {envelope.number} twice")
            guarded(message)

        return counted

    def bury(self, path: str, envelope: Envelope, reason: str, error: str = "", stack: str = "") -> None:
        """Note what has become a dead letter."""
        self._untold.get(path, set()).discard(envelope.number)
        super().bury(path, envelope, reason, error, stack)

    def lost(self) -> Iterator[str]:
        """Where messages are gone without a trace."""
        for path, untold in self._untold.items():
            mailbox = self.mailbox(path)
            held = sum(turn.held is not None for own, turn in self._turns.items() if own.path == path)
            missing = len(untold) - mailbox.depth - mailbox.conflated - held
            if missing > 0:
                yield f"{path}: {missing} messages were neither handled, replaced nor buried"

    def crowded(self, *, at_peace: bool) -> Iterator[str]:
        """Which mailbox holds more than it may, has refused something, or is not empty when nothing happens."""
        for path, node in self._nodes.items():
            mailbox, limit = node.mailbox, node.spec.mailbox_max
            if mailbox.refused:
                yield f"{path}: {mailbox.refused} messages refused"
            if mailbox.depth > (WAITING_AFTER_PEACE_MAX if at_peace else limit + WAITING_AFTER_PEACE_MAX):
                yield f"{path}: {mailbox.depth} messages wait, the limit is {limit}"

    def hoards(self) -> Iterator[str]:
        """Which container of which actor has grown beyond what a few hours can need."""
        for path, node in self._nodes.items():
            if node.live is not None and node.live.actor is not None and not node.spec.supervises:
                for name, size in _containers(node.live.actor, DEPTH_MAX, set()):
                    if size > CACHE_MAX:
                        yield f"{path}: {name} holds {size} items"


def _containers(thing: object, depth: int, seen: set[int]) -> Iterator[tuple[str, int]]:
    """Names and sizes of the containers that an object of ours keeps, those of what it keeps included."""
    if id(thing) in seen or depth == 0:
        return
    seen.add(id(thing))
    for name, value in tuple(vars(thing).items()) if hasattr(thing, "__dict__") else ():
        if isinstance(value, dict | list | set) or hasattr(value, "popleft"):
            yield f"{type(thing).__name__}.{name}", len(value)
        elif type(value).__module__.startswith("qt_actors") and name not in {"_own", "_runtime", "_wiring"}:
            yield from _containers(value, depth - 1, seen)
