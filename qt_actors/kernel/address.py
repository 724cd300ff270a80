"""The only thing actors hold of each other: a path that outlives every incarnation behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qt_actors.kernel.errors import AskInHandlerError
from qt_actors.kernel.incarnation import here
from qt_actors.kernel.messages import Envelope

if TYPE_CHECKING:
    from qt_actors.kernel.mailbox import Mailbox
    from qt_actors.kernel.post import Post


class Address:
    """Where messages for one path go; usable from any thread. Get it from `runtime.address(path)`.

    With `incarnation` it is a return address for work that one incarnation started: what comes after that
    incarnation's end is a dead letter ("stale"), never a surprise for the next one.
    """

    __slots__ = ("_incarnation", "_next_number", "_offer", "_runtime", "path")

    def __init__(self, runtime: Post, mailbox: Mailbox, incarnation: int = 0) -> None:
        self.path = mailbox.path
        self._runtime = runtime
        self._offer = runtime.carrier(mailbox)
        self._next_number = runtime.next_number
        self._incarnation = incarnation

    def __repr__(self) -> str:
        return f"<{self.path}>"

    @property
    def fence(self) -> tuple[int, int]:
        """(generation, epoch) of whoever is entitled to act for this path now; a smaller one is a zombie's."""
        return self._runtime.fence(self.path)

    def tell(self, message: object, *, trace: str | None = None, deadline_ms: int | None = None) -> None:
        """Send and go on. Inside a handler the trace is inherited.

        `deadline_ms` is a time of the runtime's clock (UTC): read later than that, the message is a dead letter.

        Raises:
            MailboxFullError: the receiver's mailbox is full of messages that are never dropped.
        """
        number = self._next_number()
        own = here.own
        if own is None:
            envelope = Envelope(message, number, trace or number, 0, "", deadline_ms)
        else:
            if own.fenced:
                self._runtime.refuse(own, self.path, message)
            cause = own.current
            if cause is None:
                envelope = Envelope(message, number, trace or number, 0, own.path, deadline_ms)
            else:
                envelope = Envelope(message, number, trace or cause.trace, cause.number, own.path, deadline_ms)
        if self._incarnation:
            envelope.incarnation = self._incarnation
        self._offer(envelope)

    def forward(self, envelope: Envelope) -> None:
        """Send an envelope that is already addressed and traced; only the kernel makes those."""
        self._offer(envelope)

    def ask(self, message: object, timeout_s: float) -> object:
        """Send and wait for the answer (`Actor.reply`): for the edges only (command line, HTTP, tests).

        Raises:
            AskInHandlerError: called by an actor.
            TimeoutError: no answer in time; the question is withdrawn unless its handler already runs.
            UnansweredError: it became a dead letter, its handler crashed or did not answer.
            MailboxFullError: as `tell`.
        """
        if here.own is not None:
            msg = f"{here.own.path} asked {self.path}: actors never wait; tell, and handle the reply as a message"
            raise AskInHandlerError(msg)
        answer = self._runtime.new_answer()
        number = self._next_number()
        self._offer(Envelope(message, number, number, 0, "", answer=answer))
        return self._runtime.await_answer(answer, self.path, timeout_s)
