"""Sending one request well: budget before, signature time of the trader's clock, classified failure after."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from types import MappingProxyType
from typing import Any, Protocol

import msgspec

from qt_actors.edges.binance_client import Credentials, close_client, heard_headers, new_client, stamp
from qt_actors.edges.binance_errors import BAN_S_DEFAULT, LIMIT_S_MAX, Failure, classify
from qt_actors.edges.endpoints import Endpoints
from qt_actors.edges.weights import Budget
from qt_actors.messages.orders import Priority

log = logging.getLogger(__name__)

CLOCK_SAMPLES = 3
RETRY_S = 0.25


class Clock(Protocol):
    """The trader's clock (``qt_actors.kernel.clocks``)."""

    speed: float

    def now_ms(self) -> int:
        """UTC, milliseconds."""
        ...


class Route(msgspec.Struct, frozen=True):
    """One REST call of python-binance, its cost and its nature.

    Attributes:
        method: name on AsyncClient; fixed: arguments that never change.
        weight: IP weight; orders: count against the order limits; signed: carries a timestamp.
        repeatable: sending it twice changes nothing more than once, so an unknown outcome may simply be asked again.
        tries: how often in all; timeout_s: for each try.
    """

    method: str
    weight: int = 1
    orders: int = 0
    signed: bool = True
    repeatable: bool = True
    tries: int = 2
    timeout_s: float = 10.0
    fixed: MappingProxyType[str, Any] = MappingProxyType({})


class Means(msgspec.Struct, frozen=True):
    """By what requests leave, and the wall clock and chance they go by; a simulation has others.

    Attributes:
        client: makes the client of some endpoints and credentials.
        stamp: lets the client's next signed request carry a time (ms).
        close: ends a client's connections.
        wall_s: real time, seconds since 1970; chance: in [0, 1).
    """

    client: Callable[[Endpoints, Credentials | None], Any] = new_client
    stamp: Callable[[Any, float], None] = stamp
    close: Callable[[Any], Awaitable[None]] = close_client
    wall_s: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random


class BudgetDenied(Exception):  # noqa: N818 -- a refusal, not an error
    """Our own budget refused to send; ``wait_s``: real seconds until it may be asked again."""

    def __init__(self, reason: str, wait_s: float) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class Requests:
    """The client, its budget and its clock offset; lives on the socket loop.

    Args:
        endpoints, credentials: where and who; without credentials only public routes work.
        clock: the trader's.
        on_failure: hears every classified failure (bans and bad credentials concern everybody).
        means: see there.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        credentials: Credentials | None,
        clock: Clock,
        on_failure: Callable[[Failure], None],
        means: Means | None = None,
    ) -> None:
        self._means = means or Means()
        self.endpoints = endpoints
        self.credentials = credentials
        self.budget = Budget(self._means.wall_s)
        self.offset_ms = 0.0
        self.uncertainty_ms = 0.0
        self._clock = clock
        self._on_failure = on_failure
        self._client: Any = None
        self._measuring: asyncio.Task[None] | None = None

    def exchange_ms(self) -> float:
        """The exchange's time, as well as it is known."""
        return self._clock.now_ms() + self.offset_ms

    def until_ms(self, seconds: float) -> int:
        """Exchange time after so many real seconds."""
        return int(self.exchange_ms() + seconds * 1000.0 * self._clock.speed)

    async def close(self) -> None:
        """Close the HTTP session; the next request opens another."""
        client, self._client = self._client, None
        if client is not None:
            await self._means.close(client)

    async def measure_clock(self) -> None:
        """Set ``offset_ms`` from the quickest of a few round trips; within its error it is zero.

        Raises:
            Failure: the exchange's time cannot be read.
        """
        best: tuple[float, float] | None = None
        for _ in range(CLOCK_SAMPLES):
            before = self._clock.now_ms()
            content = await self.send(TIME, "protect")
            after = self._clock.now_ms()
            offset = int(content["serverTime"]) - (before + after) / 2
            best = min(best or (float("inf"), 0.0), (after - before, offset))
        elapsed, offset = best or (0.0, 0.0)
        self.uncertainty_ms = elapsed / 2 + 1
        self.offset_ms = offset if abs(offset) > self.uncertainty_ms else 0.0

    async def send(self, route: Route, priority: Priority, *, patient: bool = False, **arguments: Any) -> Any:
        """Decoded JSON of the reply.

        Args:
            route: what to call.
            priority: which share of the budget it may use.
            patient: wait for the budget instead of being denied.
            arguments: query parameters, strings for money and booleans; ``weight`` overrides the route's.

        Raises:
            BudgetDenied: our own budget says no.
            Failure: the request failed; ``outcome`` says what is known.
        """
        weight = int(arguments.pop("weight", route.weight))
        attempt = 1
        while True:
            try:
                return await self._once(route, priority, weight, arguments, patient=patient)
            except Failure as failure:
                failure.tries = attempt
                again = failure.outcome in {"retry", "clock"} or (route.repeatable and failure.outcome == "unknown")
                if attempt >= route.tries or not again:
                    raise
                if failure.outcome == "clock" and route is not TIME:
                    await self._measure_quietly()
            await asyncio.sleep(RETRY_S * attempt * (1.0 + self._means.chance()))
            attempt += 1

    async def _once(
        self, route: Route, priority: Priority, weight: int, arguments: dict[str, Any], *, patient: bool
    ) -> Any:
        await self._admit(route, priority, weight, patient=patient)
        if self._client is None:
            self._client = self._means.client(self.endpoints, self.credentials)
        sent_s = self.budget.spend(weight, route.orders)
        if route.signed:
            self._means.stamp(self._client, self.exchange_ms())
        try:
            async with asyncio.timeout(route.timeout_s):
                return await getattr(self._client, route.method)(**route.fixed, **arguments)
        except Exception as error:  # noqa: BLE001 -- whatever it was, it is classified; unknown is the answer to surprise
            failure = self._classified(error)
        finally:
            self.budget.heard(heard_headers(), sent_s)
        self._heed(failure)
        raise failure

    async def _admit(self, route: Route, priority: Priority, weight: int, *, patient: bool) -> None:
        while (wait_s := self.budget.wait_s(priority, weight, route.orders)) > 0.0:
            if banned_s := self.budget.banned_s():
                reason = f"banned by the exchange for {banned_s:.0f} s more"
                raise Failure("banned", -1003, reason, sent=False)
            if not patient:
                raise BudgetDenied(f"{priority} requests may go on in {wait_s:.1f} s", wait_s)
            await asyncio.sleep(wait_s + 0.01)

    def _classified(self, error: BaseException) -> Failure:
        failure = classify(error)
        if self.credentials is not None:
            failure.reason = self.credentials.redact(failure.reason)
        return failure

    def _heed(self, failure: Failure) -> None:
        """What a failure means for the requests to come."""
        if failure.outcome == "limited":
            self.budget.slow_down(failure.wait_s)
        elif failure.outcome == "banned":
            self.budget.ban(self._ban_s(failure))
        elif failure.outcome == "clock" and (self._measuring is None or self._measuring.done()):
            self._measuring = asyncio.ensure_future(self._measure_quietly())
        self._on_failure(failure)

    def _ban_s(self, failure: Failure) -> float:
        if failure.banned_until_ms is not None:
            # bans are told in wall-clock time, whatever the speed
            seconds = failure.banned_until_ms / 1000.0 - self._means.wall_s()
        else:
            seconds = BAN_S_DEFAULT if failure.wait_s is None else failure.wait_s
        return min(max(seconds, 1.0), LIMIT_S_MAX)

    async def _measure_quietly(self) -> None:
        try:
            await self.measure_clock()
        except (Failure, BudgetDenied, KeyError, TypeError, ValueError) as error:
            log.warning("the exchange's clock could not be measured: %s", error)


TIME = Route("futures_time", signed=False)
