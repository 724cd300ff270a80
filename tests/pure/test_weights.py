"""The request budget: below the exchange's limits, with a reserve that only protection may touch."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qt_actors.edges.weights import ORDER_HEADERS, SHARES, WEIGHT_HEADER, Budget, Limits
from qt_actors.messages.orders import Priority

MINUTE = 60.0
START = 1_795_300_020.0 // MINUTE * MINUTE
PRIORITIES: tuple[Priority, ...] = get_args(Priority)


class Watch:
    """A wall clock that stands until it is set."""

    def __init__(self) -> None:
        self.s = START

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def budget(watch: Watch) -> Budget:
    return Budget(watch, Limits(weight_per_minute=1000, orders_per_10_s=100, orders_per_minute=300))


def test_each_class_stops_at_its_share_and_protection_last(budget: Budget) -> None:
    stopped = []
    for _ in range(1000):
        stopped += [p for p in PRIORITIES if p not in stopped and budget.wait_s(p, 1) > 0]
        budget.spend(1)
    assert stopped == ["research", "entry", "reconcile", "protect"]
    assert SHARES["protect"] < 1.0


def test_a_request_that_weighs_nothing_passes_when_the_weight_is_spent(budget: Budget) -> None:
    budget.spend(1000)
    assert budget.wait_s("entry", 1) > 0
    assert budget.wait_s("entry", 0, orders=1) == 0


def test_orders_are_counted_in_both_windows(budget: Budget, watch: Watch) -> None:
    for _ in range(60):
        budget.spend(0, 1)
    assert budget.wait_s("entry", 0, 1) == 10.0
    assert budget.wait_s("protect", 0, 1) == 0.0
    watch.s += 10
    assert budget.wait_s("entry", 0, 1) == 0.0
    for _ in range(125):
        budget.spend(0, 1)
    watch.s += 10
    assert budget.wait_s("entry", 0, 1) == 40.0


def test_the_window_turns_with_the_clock_minute(budget: Budget, watch: Watch) -> None:
    watch.s += 59.5
    budget.spend(950)
    assert budget.wait_s("protect", 1) == 0.5
    watch.s += 0.5
    assert budget.wait_s("protect", 1) == 0.0


def test_the_exchanges_own_count_wins_upwards_but_not_from_the_last_window(budget: Budget, watch: Watch) -> None:
    sent = budget.spend(10)
    budget.heard({WEIGHT_HEADER: "700"}, sent)
    assert budget.ratios()[0] == 0.7
    budget.heard({WEIGHT_HEADER: "5"}, sent)
    assert budget.ratios()[0] == 0.7
    watch.s += MINUTE
    budget.heard({WEIGHT_HEADER: "900", ORDER_HEADERS[60.0]: "250"}, sent)
    assert budget.ratios() == (0.0, 0.0)


def test_what_a_predecessor_spent_is_set_against_the_exchanges_own_limits_once_they_are_known(watch: Watch) -> None:
    budget = Budget(watch)
    budget.heard({WEIGHT_HEADER: "9000", ORDER_HEADERS[60.0]: "1500"}, budget.spend(1))
    assert {budget.wait_s(p, 30, 1) for p in PRIORITIES} == {0.0}
    budget.limit(Limits(weight_per_minute=24_000, orders_per_10_s=3000, orders_per_minute=12_000))
    assert budget.ratios() == (9000 / 24_000, 1500 / 12_000)
    assert {budget.wait_s(p, 90) for p in PRIORITIES} == {0.0}


def test_a_nearly_spent_minute_is_waited_out_with_protection_still_free(watch: Watch) -> None:
    watch.s += 52
    budget = Budget(watch)
    budget.heard({WEIGHT_HEADER: "2100"}, budget.spend(1))
    budget.limit(Limits())
    assert budget.wait_s("reconcile", 90) == budget.wait_s("research", 1) == 8.0
    assert budget.wait_s("protect", 120) == 0.0
    watch.s += 8
    assert budget.wait_s("reconcile", 90) == 0.0


@pytest.mark.parametrize("nonsense", ["", "-5", "many", "1e9", "٣"])
def test_a_header_that_is_no_number_changes_nothing(budget: Budget, nonsense: str) -> None:
    budget.heard({WEIGHT_HEADER: nonsense}, budget.spend(1))
    assert budget.ratios()[0] == 0.001


def test_after_429_only_protection_goes_on_until_the_next_minute_or_retry_after(budget: Budget, watch: Watch) -> None:
    watch.s += 15
    budget.slow_down(None)
    assert budget.wait_s("reconcile", 1) == 45.0
    assert budget.wait_s("protect", 1) == 0.0
    budget.slow_down(120.0)
    assert budget.wait_s("entry", 0, 1) == 120.0


def test_after_418_nothing_goes_out_before_the_given_time(budget: Budget, watch: Watch) -> None:
    budget.ban(300.0)
    assert {budget.wait_s(p, 0) for p in PRIORITIES} == {300.0}
    watch.s += 299
    assert budget.banned_s() == 1.0
    watch.s += 1
    assert budget.wait_s("research", 1) == 0.0


@given(st.lists(st.tuples(st.sampled_from(PRIORITIES), st.integers(1, 40), st.floats(0, 20)), max_size=200))
def test_no_sequence_of_admitted_requests_spends_more_than_its_share(
    requests: list[tuple[Priority, int, float]],
) -> None:
    watch = Watch()
    budget = Budget(watch, Limits(weight_per_minute=500))
    spent: dict[int, int] = {}
    for priority, weight, pause_s in requests:
        watch.s += pause_s
        if budget.wait_s(priority, weight) == 0.0:
            budget.spend(weight)
            minute = int(watch.s // MINUTE)
            spent[minute] = spent.get(minute, 0) + weight
            assert spent[minute] <= 500 * SHARES[priority]
