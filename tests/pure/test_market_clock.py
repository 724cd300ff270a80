from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qt_actors.exchange.clock import ExchangeClock


class Hands:
    """Two clocks that a test moves."""

    def __init__(self, wall: float = 1_800_000_000_000.0) -> None:
        self.wall = wall
        self.monotonic = 5_000.0

    def go(self, ms: float) -> None:
        self.wall += ms
        self.monotonic += ms

    def clock(self, start_ms: int, speed: float) -> ExchangeClock:
        return ExchangeClock(start_ms, speed, wall=lambda: self.wall, monotonic=lambda: self.monotonic)


def test_exchange_time_is_the_start_plus_real_time_times_speed() -> None:
    hands = Hands()
    clock = hands.clock(1_000_000, 60.0)
    hands.go(500)
    assert clock.now_ms() == 1_000_000 + 30_000


def test_a_step_of_the_wall_clock_moves_no_exchange_time() -> None:
    hands = Hands()
    clock = hands.clock(1_000_000, 1.0)
    hands.wall += 3_600_000
    assert clock.now_ms() == 1_000_000


def test_pausing_stops_time_and_resuming_goes_on_from_there() -> None:
    hands = Hands()
    clock = hands.clock(0, 10.0)
    hands.go(100)
    clock.pause()
    clock.pause()
    hands.go(100_000)
    assert clock.now_ms() == 1_000
    clock.resume()
    hands.go(10)
    assert clock.now_ms() == 1_100


def test_holding_sets_time_back_and_counts_it() -> None:
    hands = Hands()
    clock = hands.clock(0, 100.0)
    hands.go(50)
    clock.hold(3_000)
    assert (clock.now_ms(), clock.held_ms) == (3_000, 2_000)
    clock.hold(9_000)
    assert clock.now_ms() == 3_000, "never forward"


@pytest.mark.parametrize("speed", [0.0, -1.0, 1e7, float("nan")])
def test_an_impossible_speed_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match="speed"):
        ExchangeClock(0, speed)


@given(speed=st.sampled_from([0.5, 1.0, 60.0, 3600.0]), elapsed=st.floats(0, 1e7), paused=st.booleans())
def test_the_description_lets_anybody_compute_exchange_time(speed: float, elapsed: float, *, paused: bool) -> None:
    hands = Hands()
    clock = hands.clock(1_700_000_000_000, speed)
    hands.go(elapsed)
    if paused:
        clock.pause()
    told = clock.describe()
    hands.go(777.0)
    computed = told["anchor_exchange_ms"]
    if not told["paused"]:
        computed += (hands.wall - told["anchor_unix_ms"]) * told["speed"]
    assert abs(computed - clock.now_ms()) <= 1.5


def test_at_speed_one_the_window_is_binance_s_own() -> None:
    hands = Hands()
    clock = hands.clock(1_000_000_000, 1.0)
    hands.go(60_000)
    now = clock.now_ms()
    assert clock.refusal(now, 5000) is None
    assert clock.refusal(now - 5000, 5000) is None
    assert clock.refusal(now + 999, 5000) is None
    assert clock.refusal(now - 5001, 5000) == "Timestamp for this request is outside of the recvWindow."
    assert clock.refusal(now + 1000, 5000) == "Timestamp for this request was 1000ms ahead of the server's time."
    assert clock.refusal(int(hands.wall), 5000) is not None, "the wall clock is another time"


@given(synchronised=st.floats(0, 600_000), later=st.floats(0, 600_000), speed=st.sampled_from([0.1, 10.0, 3600.0]))
def test_at_another_speed_an_offset_taken_at_any_time_since_the_start_stays_good(
    synchronised: float, later: float, speed: float
) -> None:
    hands = Hands()
    clock = hands.clock(1_700_000_000_000, speed)
    hands.go(synchronised)
    offset = clock.now_ms() - hands.wall
    hands.go(later)
    assert clock.refusal(int(hands.wall + offset), 5000) is None
    assert clock.refusal(clock.now_ms(), 5000) is None, "a client that shares the clock"
    assert clock.refusal(int(hands.wall), 5000) is None, "a client that sends the wall clock"


def test_at_another_speed_a_time_nobody_could_have_been_told_is_refused() -> None:
    hands = Hands()
    clock = hands.clock(1_700_000_000_000, 3600.0)
    hands.go(1_000)
    assert clock.refusal(1_700_000_000_000 - 60_000, 5000) is not None
    assert clock.refusal(clock.now_ms() + 60_000, 5000) is not None


def test_after_a_pause_a_client_that_paces_itself_by_the_wall_is_still_accepted() -> None:
    hands = Hands()
    clock = hands.clock(1_000_000_000, 1.0)
    offset = clock.now_ms() - hands.wall
    clock.pause()
    hands.go(120_000)
    clock.resume()
    assert clock.refusal(int(hands.wall + offset), 5000) is None
