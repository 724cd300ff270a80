"""Pure: how often a child may be restarted and how long it waits (OTP's restart intensity, Pekko's backoff).

And when it is the message that is broken, not the actor: a circuit keeps a class of messages from an actor that crashes
on it again and again, instead of letting it use up the restart budget of everybody beside it.
"""

from __future__ import annotations

import msgspec

_STREAK_MAX = 64  # longer streaks wait no longer, and cannot overflow a float


class Backoff(msgspec.Struct, frozen=True):
    """Delay before a restart: min(max, initial * factor^streak) * (1 + jitter * draw); real milliseconds.

    The streak of failures is forgotten after `reset_after_ms` of health.
    """

    initial_ms: int = 100
    max_ms: int = 10_000
    factor: float = 2.0
    jitter: float = 0.2
    reset_after_ms: int = 60_000

    def delay_ms(self, streak: int, draw: float) -> int:
        """Delay after `streak` earlier failures in a row; `draw` in [0, 1) is the caller's chance."""
        raw_ms = min(float(self.max_ms), self.initial_ms * self.factor ** min(streak, _STREAK_MAX))
        return round(raw_ms * (1 + self.jitter * draw))


class Budget(msgspec.Struct, frozen=True):
    """At most `intensity` restarts within `period_ms` of real time, over all children of one supervisor."""

    intensity: int = 5
    period_ms: int = 60_000


class RestartAfter(msgspec.Struct, frozen=True):
    """Restart the child in `delay_ms`; remember `failures_ms` and `streak` for the next verdict."""

    delay_ms: int
    failures_ms: tuple[int, ...]
    streak: int


class BudgetExceeded(msgspec.Struct, frozen=True):
    """Too many failures: the supervisor gives up."""

    failures: int
    period_ms: int


def restart_verdict(
    failures_ms: tuple[int, ...],
    streak: int,
    healthy_ms: int,
    now_ms: int,
    budget: Budget,
    backoff: Backoff,
    draw: float,
    *,
    counts: bool = True,
) -> RestartAfter | BudgetExceeded:
    """What follows a failure at `now_ms`.

    Args:
        failures_ms: times of the earlier failures of all children of this supervisor.
        streak: failures in a row of this child before this one.
        healthy_ms: how long this child had been up.
        now_ms: monotonic time, as `failures_ms`.
        budget: failures allowed in a sliding window.
        backoff: how the delay grows.
        draw: in [0, 1), for the jitter.
        counts: False when the cause has been taken away (a circuit has opened): no failure against the budget.
    """
    recent = tuple(at_ms for at_ms in failures_ms if at_ms > now_ms - budget.period_ms)
    if counts:
        recent = (*recent, now_ms)
    if len(recent) > budget.intensity:
        return BudgetExceeded(len(recent), budget.period_ms)
    if healthy_ms >= backoff.reset_after_ms:
        streak = 0
    return RestartAfter(backoff.delay_ms(streak, draw), recent, streak + 1)


def slowest_exhaustion_ms(budget: Budget, backoff: Backoff) -> int:
    """How long a child that fails at once takes to use up the budget; from the period on, it never escalates."""
    growing = min(budget.intensity, _STREAK_MAX)
    rest = budget.intensity - growing
    return sum(backoff.delay_ms(streak, 1.0) for streak in range(growing)) + rest * backoff.delay_ms(_STREAK_MAX, 1.0)


class Poison(msgspec.Struct, frozen=True):
    """A circuit opens at the `crashes_max`-th crash on one class of message within `period_ms`; real milliseconds.

    It stays open for `open_ms`, twice as long at each further opening, `open_max_ms` at most. After it has closed the
    first crash opens it again, until `open_max_ms` went by without one.
    """

    crashes_max: int = 3
    period_ms: int = 60_000
    open_ms: int = 60_000
    open_max_ms: int = 600_000


class PoisonRecord(msgspec.Struct, frozen=True):
    """What is remembered of the crashes on one class of message; open until `open_until_ms` (exclusive)."""

    crashes_ms: tuple[int, ...] = ()
    openings: int = 0
    open_until_ms: int = 0


def poison_record(before: PoisonRecord, now_ms: int, limits: Poison) -> PoisonRecord:
    """The record after one more crash at `now_ms` (monotonic); by it the circuit opens if `open_until_ms` is later."""
    on_probation = before.openings > 0 and now_ms < before.open_until_ms + limits.open_max_ms
    openings = before.openings if on_probation else 0
    recent = (*(at_ms for at_ms in before.crashes_ms if at_ms > now_ms - limits.period_ms), now_ms)
    if not on_probation and len(recent) < limits.crashes_max:
        return PoisonRecord(recent)
    lasts_ms = min(limits.open_max_ms, limits.open_ms * 2 ** min(openings, _STREAK_MAX))
    return PoisonRecord((), openings + 1, now_ms + lasts_ms)
