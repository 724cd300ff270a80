"""A stand-in for tests: takes over an address, hears what the actor there would hear, answers in its name."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING, TypeVar

from qt_actors.kernel.messages import Down, Envelope, Up

if TYPE_CHECKING:
    from collections.abc import Callable

    from qt_actors.kernel.runtime import Runtime

M = TypeVar("M")


class Probe:
    """Everything told to `path` from now on comes here; watchers of `path` hear that it is up.

    On the deterministic runtime waiting runs the actors in virtual time, on threads it waits in real time. An
    expectation that is not met raises AssertionError and shows what came instead.
    """

    def __init__(self, runtime: Runtime, path: str) -> None:
        self.path = path
        self._runtime = runtime
        self._unread: queue.SimpleQueue[Envelope] = queue.SimpleQueue()
        self._heard: list[Envelope] = []
        self._last: Envelope | None = None
        self._answers: list[tuple[type, Callable[[object], object]]] = []
        runtime.mailbox(path).tap = self._hear
        self.up()

    @property
    def heard(self) -> tuple[object, ...]:
        """All messages so far, read or not."""
        return tuple(envelope.message for envelope in self._heard)

    @property
    def trace(self) -> str:
        """Trace id of the message read last."""
        return self._runtime.trace_of(self._read())

    @property
    def sender(self) -> str:
        """Path of who sent the message read last; empty for the outside."""
        return self._read().sender

    def answers(self, kind: type[M], answer: Callable[[M], object]) -> None:
        """From now on answer each `kind` at once with `answer(message)`; None means silence. It can still be read."""
        self._answers.append((kind, answer))  # type: ignore[arg-type]  # only called with instances of `kind`

    def expect(self, kind: type[M], *, within_ms: float = 1000) -> M:
        """The next unread message, which must be a `kind`."""
        message = self._next(within_ms, kind.__name__)
        assert isinstance(message, kind), f"{self.path}: expected {kind.__name__}, heard {message!r}"  # noqa: S101 -- a test tool
        return message

    def fish(self, kind: type[M], where: Callable[[M], bool] | None = None, *, within_ms: float = 1000) -> M:
        """The next unread `kind` for which `where` holds; others are skipped. Each waits up to `within_ms`."""
        while True:
            message = self._next(within_ms, kind.__name__)
            if isinstance(message, kind) and (where is None or where(message)):
                return message

    def expect_none(self, *, for_ms: float = 0) -> None:
        """Nothing unread, and nothing comes for `for_ms`."""
        try:
            envelope = self._runtime.await_item(self._unread, for_ms / 1000)
        except queue.Empty:
            return
        msg = f"{self.path}: expected silence, heard {envelope.message!r}"
        raise AssertionError(msg)

    def reply(self, value: object) -> None:
        """Answer the message read last, in its trace."""
        self._answer(self._read(), value)

    def tell(self, path: str, message: object, *, trace: str | None = None) -> None:
        """Tell another actor in this one's name; its replies come here."""
        number = self._runtime.next_number()
        self._runtime.address(path).forward(Envelope(message, number, trace or number, 0, self.path))

    def up(self) -> None:
        """Watchers hear `Up`."""
        self._runtime.watches.tell(Up(self.path, 0), outside=True)

    def down(self, reason: str) -> None:
        """Watchers hear `Down`."""
        self._runtime.watches.tell(Down(self.path, 0, reason), outside=True)

    def _hear(self, envelope: Envelope) -> None:
        self._heard.append(envelope)
        self._unread.put(envelope)
        for kind, answer in self._answers:
            if isinstance(envelope.message, kind):
                value = answer(envelope.message)
                if value is not None:
                    self._answer(envelope, value)

    def _next(self, within_ms: float, wanted: str) -> object:
        try:
            self._last = self._runtime.await_item(self._unread, within_ms / 1000)
        except queue.Empty:
            msg = f"{self.path}: no {wanted} within {within_ms} ms; heard so far: {self.heard[-5:]!r}"
            raise AssertionError(msg) from None
        return self._read().message

    def _read(self) -> Envelope:
        if self._last is None:
            msg = f"{self.path}: nothing has been read yet"
            raise AssertionError(msg)
        return self._last

    def _answer(self, question: Envelope, value: object) -> None:
        if question.answer is not None:
            question.answer.give(value)
            return
        if not question.sender:
            msg = f"{self.path}: {question.message!r} came from outside, nobody hears an answer"
            raise AssertionError(msg)
        number = self._runtime.next_number()
        answer = Envelope(value, number, question.trace, question.number, self.path)
        self._runtime.address(question.sender).forward(answer)
