"""The kernel against bare pykka, in the same process, interleaved; prints one JSON object of medians and their ratios.

Run: python tests/bench/bench_kernel.py [rounds]. A ratio above 1 means the kernel is better.
"""

from __future__ import annotations

import json
import queue
import statistics
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pykka

from qt_actors.kernel import Actor, Address, Backoff, ChildSpec, SimRuntime, SupervisorSpec, ThreadRuntime, conflate

if TYPE_CHECKING:
    from collections.abc import Callable

MESSAGES = 50_000
ROUND_TRIPS = 3_000
PAIRS = 5_000
CRASHES = 60


class Order(msgspec.Struct, frozen=True, gc=False):
    """A command: never dropped."""

    number: int


class Quote(msgspec.Struct, frozen=True, gc=False):
    """Market data: only the newest per symbol matters."""

    symbol: int
    price: float


class PykkaCounter(pykka.ThreadingActor):
    """Sets `done` after `expected` messages."""

    use_daemon_thread = True

    def __init__(self, expected: int, done: threading.Event) -> None:
        super().__init__()
        self._left = expected
        self._done = done

    def on_receive(self, _message: Any) -> None:
        self._left -= 1
        if not self._left:
            self._done.set()


class PykkaEcho(pykka.ThreadingActor):
    """Answers with the message."""

    use_daemon_thread = True

    def on_receive(self, message: Any) -> Any:
        return message


class PykkaPing(pykka.ThreadingActor):
    """Plays `count` rallies with its partner, then sets `done`."""

    use_daemon_thread = True

    def __init__(self, count: int, done: threading.Event) -> None:
        super().__init__()
        self.partner: Any = None
        self._left = count
        self._done = done

    def on_receive(self, message: Any) -> None:
        if isinstance(message, tuple):
            self.partner = message[0]
        self._left -= 1
        if self._left > 0:
            self.partner.tell((self.actor_ref,))
        else:
            self._done.set()


class Counter(Actor):
    """Sets `done` after `expected` messages."""

    def __init__(self, expected: int, done: threading.Event) -> None:
        super().__init__()
        self._left = expected
        self._done = done

    def handle(self, message: object) -> None:
        self._left -= 1
        if not self._left:
            self._done.set()


class Echo(Actor):
    """Answers with the message; dies of a "boom"."""

    def handle(self, message: object) -> None:
        if message == "boom":
            raise RuntimeError(message)
        self.reply(message)


class Ping(Actor):
    """Plays `count` rallies with its partner, then sets `done`."""

    def __init__(self, partner: Address, count: int, done: threading.Event) -> None:
        super().__init__()
        self._partner = partner
        self._left = count
        self._done = done

    def handle(self, message: object) -> None:
        self._left -= 1
        if self._left > 0:
            self._partner.tell(message)
        else:
            self._done.set()


def tree(*children: ChildSpec) -> SupervisorSpec:
    """A root that forgives everything at once."""
    return SupervisorSpec("root", "one_for_one", children, 10**6, 10**9, Backoff(0, 0))


def started(*children: ChildSpec) -> ThreadRuntime:
    """A threaded runtime with these actors up."""
    runtime = ThreadRuntime()
    runtime.start(tree(*children))
    assert runtime.wait_ready(10)
    return runtime


def per_second(count: int, work: Callable[[], None]) -> float:
    """How many of `count` a second."""
    begin = time.perf_counter()
    work()
    return count / (time.perf_counter() - begin)


def tell_pykka() -> float:
    """Messages per second, one sender, one receiver."""
    done = threading.Event()
    ref = PykkaCounter.start(MESSAGES, done)
    message = Order(1)

    def work() -> None:
        for _ in range(MESSAGES):
            ref.tell(message)
        done.wait()

    try:
        return per_second(MESSAGES, work)
    finally:
        ref.stop()


def tell_pykka_fast_queue() -> float:
    """The same with pykka's queue replaced by a SimpleQueue: what a queue alone can do."""

    class Fast(PykkaCounter):
        @staticmethod
        def _create_actor_inbox() -> Any:
            return queue.SimpleQueue()

    done = threading.Event()
    ref = Fast.start(MESSAGES, done)
    message = Order(1)

    def work() -> None:
        for _ in range(MESSAGES):
            ref.tell(message)
        done.wait()

    try:
        return per_second(MESSAGES, work)
    finally:
        ref.stop()


def tell_kernel() -> float:
    """Messages per second through an address, with causality, bounds and persistence."""
    done = threading.Event()
    runtime = started(ChildSpec("counter", lambda: Counter(MESSAGES, done), mailbox_max=MESSAGES))
    address, message = runtime.address("root/counter"), Order(1)

    def work() -> None:
        for _ in range(MESSAGES):
            address.tell(message)
        done.wait()

    try:
        return per_second(MESSAGES, work)
    finally:
        runtime.stop(5)


def tell_conflated() -> float:
    """Quotes per second for 100 symbols into a receiver that keeps the newest of each."""
    done = threading.Event()
    runtime = started(ChildSpec("counter", lambda: Counter(-1, done), mailbox={Quote: conflate("symbol")}))
    address = runtime.address("root/counter")
    quotes = [Quote(symbol, 1.0) for symbol in range(100)]

    def work() -> None:
        for number in range(MESSAGES):
            address.tell(quotes[number % 100])

    try:
        return per_second(MESSAGES, work)
    finally:
        runtime.stop(5)


def tell_sim() -> float:
    """Messages per second on the deterministic runtime."""
    done = threading.Event()
    runtime = SimRuntime()
    runtime.start(tree(ChildSpec("counter", lambda: Counter(MESSAGES, done), mailbox_max=MESSAGES)))
    runtime.wait_ready()
    address, message = runtime.address("root/counter"), Order(1)

    def work() -> None:
        for _ in range(MESSAGES):
            address.tell(message)
        runtime.run_until_idle()

    return per_second(MESSAGES, work)


def micros(ask: Callable[[], object]) -> float:
    """Median of ROUND_TRIPS calls, in microseconds."""
    times = []
    for _ in range(ROUND_TRIPS):
        begin = time.perf_counter()
        ask()
        times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1e6


def ask_pykka() -> float:
    """Round trip from outside, microseconds."""
    ref = PykkaEcho.start()
    try:
        return micros(lambda: ref.ask(1))
    finally:
        ref.stop()


def ask_kernel() -> float:
    """Round trip from outside, microseconds."""
    runtime = started(ChildSpec("echo", Echo))
    address = runtime.address("root/echo")
    try:
        return micros(lambda: address.ask(1, 1))
    finally:
        runtime.stop(5)


def pair_pykka() -> float:
    """One way between two actors that tell each other, microseconds."""
    done = threading.Event()
    a, b = PykkaPing.start(PAIRS, done), PykkaPing.start(PAIRS, done)
    begin = time.perf_counter()
    a.tell((b,))
    done.wait()
    took = time.perf_counter() - begin
    a.stop()
    b.stop()
    return took / (2 * PAIRS) * 1e6


def pair_kernel() -> float:
    """One way between two actors that tell each other, microseconds."""
    done = threading.Event()
    runtime = ThreadRuntime()
    a, b = runtime.address("root/a"), runtime.address("root/b")
    runtime.start(tree(ChildSpec("a", lambda: Ping(b, PAIRS, done)), ChildSpec("b", lambda: Ping(a, PAIRS, done))))
    runtime.wait_ready(10)
    begin = time.perf_counter()
    a.tell(("go",))
    done.wait()
    took = time.perf_counter() - begin
    runtime.stop(5)
    return took / (2 * PAIRS) * 1e6


def recovery_kernel() -> float:
    """From a message that crashes the actor to the next incarnation's first answer, microseconds (no backoff)."""
    runtime = started(ChildSpec("echo", Echo, poison=None))
    address = runtime.address("root/echo")
    times = []
    for _ in range(CRASHES):
        begin = time.perf_counter()
        address.tell("boom")
        address.ask(1, 5)
        times.append(time.perf_counter() - begin)
    runtime.stop(5)
    return statistics.median(times) * 1e6


def main(rounds: int) -> None:
    """Measure in turn, `rounds` times, and print."""
    measures = (
        tell_pykka, tell_kernel, tell_pykka_fast_queue, tell_conflated, tell_sim, ask_pykka, ask_kernel, pair_pykka,
        pair_kernel, recovery_kernel,
    )  # fmt: skip
    figures: dict[str, list[float]] = {measure.__name__: [] for measure in measures}
    for _ in range(rounds):
        for measure in measures:
            figures[measure.__name__].append(measure())
    median = {name: statistics.median(values) for name, values in figures.items()}
    report = {
        "rounds": rounds,
        "tell_per_s": {name: round(median[name]) for name in figures if name.startswith("tell")},
        "us": {name: round(median[name], 1) for name in figures if not name.startswith("tell")},
        "ratio_to_pykka": {
            "tell": round(median["tell_kernel"] / median["tell_pykka"], 2),
            "tell_best": round(max(figures["tell_kernel"]) / max(figures["tell_pykka"]), 2),
            "ask": round(median["ask_pykka"] / median["ask_kernel"], 2),
            "between_actors": round(median["pair_pykka"] / median["pair_kernel"], 2),
            "simulated_tell": round(median["tell_sim"] / median["tell_pykka"], 2),
        },
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    import logging

    logging.disable(logging.CRITICAL)  # the crashes of recovery_kernel are meant
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
