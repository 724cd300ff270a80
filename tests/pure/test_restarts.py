"""When is a child restarted, after how long, and when does its supervisor give up."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from qt_actors.kernel.restarts import (
    Backoff,
    Budget,
    BudgetExceeded,
    Poison,
    PoisonRecord,
    RestartAfter,
    poison_record,
    restart_verdict,
    slowest_exhaustion_ms,
)

BUDGET = Budget(3, 10_000)
BACKOFF = Backoff(100, 1_000, 2.0, 0.5, 5_000)


def verdict(
    failures_ms: tuple[int, ...] = (), streak: int = 0, healthy_ms: int = 0, now_ms: int = 0, draw: float = 0.0
):
    return restart_verdict(failures_ms, streak, healthy_ms, now_ms, BUDGET, BACKOFF, draw)


def test_a_first_failure_waits_the_initial_delay():
    assert verdict(now_ms=7) == RestartAfter(100, (7,), 1)


def test_each_failure_in_a_row_doubles_the_delay_up_to_its_maximum():
    delays = [BACKOFF.delay_ms(streak, 0.0) for streak in range(6)]
    assert delays == [100, 200, 400, 800, 1_000, 1_000]


def test_jitter_only_lengthens_the_delay_and_by_no_more_than_its_share():
    assert BACKOFF.delay_ms(0, 0.0) == 100
    assert BACKOFF.delay_ms(0, 1.0) == 150


def test_a_long_streak_does_not_overflow():
    assert Backoff(1, 10_000, 10.0, 0.0).delay_ms(10_000, 0.0) == 10_000


def test_health_for_long_enough_forgives_the_streak():
    assert verdict(streak=4, healthy_ms=4_999) == RestartAfter(1_000, (0,), 5)
    assert verdict(streak=4, healthy_ms=5_000) == RestartAfter(100, (0,), 1)


def test_one_failure_more_than_the_intensity_within_the_period_exceeds_the_budget():
    assert isinstance(verdict((1, 2), now_ms=3), RestartAfter)
    assert verdict((1, 2, 3), now_ms=4) == BudgetExceeded(4, 10_000)


def test_failures_older_than_the_period_no_longer_count():
    outcome = verdict((1, 2, 3), now_ms=10_002)
    assert outcome == RestartAfter(100, (3, 10_002), 1)


def test_an_intensity_of_zero_allows_no_restart():
    assert restart_verdict((), 0, 0, 5, Budget(0, 1_000), BACKOFF, 0.0) == BudgetExceeded(1, 1_000)


def test_the_slowest_exhaustion_is_the_sum_of_the_delays_with_full_jitter():
    assert slowest_exhaustion_ms(BUDGET, BACKOFF) == 150 + 300 + 600
    assert slowest_exhaustion_ms(Budget(1_000_000, 1), Backoff(1, 10, 2.0, 0.0)) == 1 + 2 + 4 + 8 + 999_996 * 10


@given(st.lists(st.integers(0, 3_000), min_size=1, max_size=40), st.integers(0, 5), st.integers(1, 5_000))
def test_no_window_ever_holds_more_restarts_than_the_budget_allows(gaps_ms: list[int], intensity: int, period_ms: int):
    budget, failures_ms, streak, now_ms, granted = Budget(intensity, period_ms), (), 0, 0, []
    for gap_ms in gaps_ms:
        now_ms += gap_ms
        outcome = restart_verdict(failures_ms, streak, gap_ms, now_ms, budget, BACKOFF, 0.3)
        if isinstance(outcome, BudgetExceeded):
            break
        failures_ms, streak = outcome.failures_ms, outcome.streak
        granted.append(now_ms)
    for start in range(len(granted)):
        assert sum(1 for at_ms in granted[start:] if at_ms < granted[start] + period_ms) <= intensity


@given(st.integers(0, 100), st.floats(0, 1, exclude_max=True))
def test_delays_never_shrink_as_the_streak_grows(streak: int, draw: float):
    for shorter, longer in pairwise(BACKOFF.delay_ms(n, draw) for n in range(streak, streak + 3)):
        assert shorter <= longer


def test_a_failure_whose_cause_was_taken_away_waits_like_any_other_but_does_not_count():
    full = (1, 2, 3)
    assert isinstance(restart_verdict(full, 1, 0, 4, BUDGET, BACKOFF, 0.0), BudgetExceeded)
    assert restart_verdict(full, 1, 0, 4, BUDGET, BACKOFF, 0.0, counts=False) == RestartAfter(200, full, 2)


POISON = Poison(crashes_max=3, period_ms=1_000, open_ms=100, open_max_ms=300)


def opened_for_ms(*crashes_ms: int) -> list[int]:
    """For how long the circuit opens at each of these crashes."""
    record, lasts = PoisonRecord(), []
    for at_ms in crashes_ms:
        record = poison_record(record, at_ms, POISON)
        lasts.append(max(0, record.open_until_ms - at_ms))
    return lasts


def test_a_circuit_opens_at_the_last_crash_that_is_too_many_within_the_period():
    assert opened_for_ms(0, 500, 999) == [0, 0, 100]
    assert opened_for_ms(0, 500, 1_000) == [0, 0, 0]
    assert opened_for_ms(0, 500, 1_000, 1_499) == [0, 0, 0, 100]


def test_after_it_has_closed_one_crash_opens_it_for_twice_as_long_up_to_its_maximum():
    assert opened_for_ms(0, 0, 0, 100, 300, 700) == [0, 0, 100, 200, 300, 300]


def test_a_circuit_forgets_after_a_time_without_crashes():
    assert opened_for_ms(0, 0, 0, 399) == [0, 0, 100, 200]
    assert opened_for_ms(0, 0, 0, 400, 400, 400) == [0, 0, 100, 0, 0, 100]


@given(st.lists(st.integers(0, 2_000), max_size=40), st.integers(1, 5))
def test_one_class_of_message_never_crashes_an_actor_more_often_than_its_circuit_allows(
    gaps_ms: list[int], crashes_max: int
):
    """Crashes come only while the circuit is closed; so many in a period are then possible and no more."""
    limits = Poison(crashes_max, period_ms=1_000, open_ms=1_000, open_max_ms=4_000)
    record, now_ms, crashes_ms = PoisonRecord(), 0, []
    for gap_ms in gaps_ms:
        now_ms += gap_ms
        if now_ms >= record.open_until_ms:
            record = poison_record(record, now_ms, limits)
            crashes_ms.append(now_ms)
            assert sum(at_ms > now_ms - 1_000 for at_ms in crashes_ms) <= crashes_max
