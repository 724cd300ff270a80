"""The safety governor: its levels, its day, its memory."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qt_actors.decisions import governor
from qt_actors.decisions.governor import Condition, directive_of, first_state
from qt_actors.messages.policy import Directive

replace = msgspec.structs.replace
DAY_MS = 86_400_000
NOON = 1_700_049_600_000  # 2023-11-15 12:00 UTC
START = Decimal(10_000)


def condition(equity="10000", gross="0", **changes) -> Condition:
    return replace(Condition(equity_usd=Decimal(equity), gross_notional_usd=Decimal(gross), healthy=True), **changes)


def state(**changes):
    return replace(first_state(START, NOON), **changes)


def said(facts, seen, before=None, profile="AGGRESSIVE", **variables) -> Directive:
    return directive_of(before or state(), seen, facts.settings(profile, **variables), NOON)


@pytest.mark.parametrize(
    ("profile", "variables", "limit"),
    [("SAFE", {}, 200), ("AGGRESSIVE", {}, 500), ("NONE", {}, 1500), ("NONE", {"QT_MAX_DAILY_LOSS": 90}, 90)],
)
def test_the_tighter_of_dollars_and_the_profiles_share_limits_the_day(facts, profile, variables, limit):
    assert said(facts, condition(), profile=profile, **variables).daily_loss_limit_usd == limit


@pytest.mark.parametrize(
    ("equity", "level", "size", "leverage", "allowed"),
    [
        ("10000", "NORMAL", 1.0, 1.0, True),
        ("9751", "NORMAL", 1.0, 1.0, True),
        ("9750", "CAUTIOUS", 0.5, 0.75, True),
        ("9625", "DEFENSIVE", 0.25, 0.5, True),
        ("9500", "DEFENSIVE", 0.25, 0.5, True),
        ("9499.99", "EMERGENCY", 0.0, 0.0, False),
        ("12000", "NORMAL", 1.0, 1.0, True),
    ],
)
def test_the_days_loss_steps_down_size_and_leverage_until_it_stops(facts, equity, level, size, leverage, allowed):
    word = said(facts, condition(equity))
    assert (word.risk_level, word.size_multiplier, word.leverage_multiplier) == (level, size, leverage)
    assert word.allow_trades == word.allow_new_positions == allowed


@pytest.mark.parametrize(
    ("streak", "level"),
    [(0, "NORMAL"), (2, "NORMAL"), (3, "CAUTIOUS"), (4, "DEFENSIVE"), (5, "EMERGENCY"), (9, "EMERGENCY")],
)
def test_losses_in_a_row_step_down_and_five_stop(facts, streak, level):
    assert said(facts, condition(), state(losing_streak=streak)).risk_level == level


@pytest.mark.parametrize(
    ("gross", "level"),
    [
        ("35999", "NORMAL"),
        ("36000", "CAUTIOUS"),
        ("42750", "DEFENSIVE"),
        ("45000", "DEFENSIVE"),
        ("45001", "EMERGENCY"),
    ],
)
def test_gross_notional_steps_down_and_stops_above_45_000(facts, gross, level):
    word = said(facts, condition(gross=gross))
    assert (word.risk_level, word.gross_limit_usd, word.gross_notional_usd) == (level, 45_000, Decimal(gross))


def test_the_profiles_multiple_of_equity_limits_a_small_account(facts):
    word = directive_of(first_state(Decimal(1000), NOON), condition("1000", "10001"), facts.settings("SAFE"), NOON)
    assert (word.gross_limit_usd, word.risk_level) == (10_000, "EMERGENCY")


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (condition(healthy=False, health_reason="no quotes for 40 s"), "no quotes for 40 s"),
        (condition(healthy=None), "health not known"),
        (condition(equity_usd=None), "the account is not known yet"),
        (condition(gross_notional_usd=None), "the account is not known yet"),
        (condition("0"), "equity $0.00"),
    ],
)
def test_an_unhealthy_or_unknown_system_makes_no_entries_and_says_why(facts, seen, reason):
    word = said(facts, seen)
    assert (word.risk_level, word.allow_trades, word.reason) == ("EMERGENCY", False, reason)


def test_without_any_state_there_are_no_entries(facts):
    word = directive_of(None, condition(), facts.settings(), NOON)
    assert (word.allow_trades, word.risk_level) == (False, "EMERGENCY")


def test_the_worst_concern_decides_and_all_as_bad_are_named(facts):
    word = said(facts, condition("9400"), state(losing_streak=5))
    assert word.reason == "day's loss $600.00 of $500.00; 5 losses in a row of 5"


def test_a_deposit_is_no_profit_and_a_withdrawal_no_loss(facts):
    assert said(facts, condition("15000", transfers_usd=Decimal(5000))).daily_pnl_usd == 0
    assert said(facts, condition("9000", transfers_usd=Decimal(-1000))).risk_level == "NORMAL"


def test_a_day_that_went_over_its_limit_stays_stopped_even_when_it_recovers(facts):
    settings = facts.settings()
    over = governor.after_condition(state(), condition("9400"), settings, NOON)
    assert over.halted
    later = governor.after_condition(over, condition("9900"), settings, NOON + 1000)
    word = directive_of(later, condition("9900"), settings, NOON + 1000)
    assert not word.allow_trades
    assert word.reason.startswith("halted until the next UTC day: the day's loss $600.00 went over $500.00")


def test_the_next_utc_day_starts_from_its_own_equity_and_lifts_the_days_halt(facts):
    settings = facts.settings()
    over = governor.after_condition(state(), condition("9400"), settings, NOON)
    midnight = NOON + DAY_MS // 2
    still = governor.after_condition(over, condition("9400"), settings, midnight - 1)
    assert still.halted
    new = governor.after_condition(over, condition("9400"), settings, midnight)
    assert (new.day, new.day_start_equity_usd, new.halted) == ("2023-11-16", Decimal(9400), False)


def test_an_operators_halt_and_a_pause_survive_the_day(facts):
    held = state(halted=True, halt_reason="by hand", paused=True)
    new = governor.after_day(held, START, facts.settings(), NOON + DAY_MS)
    assert (new.halted, new.halt_reason, new.paused) == (True, "by hand", True)


@pytest.mark.parametrize(("streak", "after"), [(5, 3), (7, 3), (4, 4), (0, 0)])
def test_a_streak_that_stopped_comes_back_two_short_and_a_shorter_one_survives(facts, streak, after):
    new = governor.after_day(state(losing_streak=streak), START, facts.settings(), NOON + DAY_MS)
    assert new.losing_streak == after


def test_a_clock_that_goes_backwards_opens_no_new_day(facts):
    assert governor.after_day(state(), Decimal(1), facts.settings(), NOON - DAY_MS) == state()


@pytest.mark.parametrize(
    ("results", "streak"),
    [(["-1", "-1"], 2), (["-1", "5"], 0), (["-1", "0", "-1"], 2), (["-1"] * 6, 6)],
)
def test_the_streak_counts_net_losses(facts, results, streak):
    held = state()
    for net in results:
        held = governor.after_trade(held, facts.closed(net))
    assert held.losing_streak == streak


def test_a_gain_eaten_by_fees_is_a_loss(facts):
    trade = facts.closed(realized_usd=Decimal(3), commission_usd=Decimal(4))
    assert governor.after_trade(state(), trade).losing_streak == 1


def test_pause_stops_entries_and_resume_allows_them(facts):
    paused = governor.after_control(state(), "pause", "", NOON)
    word = said(facts, condition(), paused)
    assert (word.allow_trades, word.risk_level, word.reason) == (False, "NORMAL", "paused; all within limits")
    assert said(facts, condition(), governor.after_control(paused, "resume", "", NOON)).allow_trades


def test_resume_ends_a_halt_by_hand_and_a_streak(facts):
    held = governor.after_control(state(losing_streak=5), "halt", "", NOON)
    assert said(facts, condition(), held).reason == "halted by an operator; 5 losses in a row of 5"
    freed = governor.after_control(held, "resume", "", NOON)
    assert (freed.halted, freed.losing_streak) == (False, 0)


def test_resume_never_ends_a_halt_by_the_days_loss(facts):
    over = governor.after_condition(state(), condition("9400"), facts.settings(), NOON)
    assert governor.after_control(over, "resume", "", NOON).halted


def test_the_state_comes_back_from_the_journal_as_it_was(facts):
    held = governor.after_condition(state(losing_streak=2), condition("9400"), facts.settings(), NOON)
    assert msgspec.json.decode(msgspec.json.encode(held), type=type(held)) == held


LEVELS = list(governor.LEVELS)


@given(
    loss=st.decimals(0, 3000, places=2),
    more=st.decimals(0, 3000, places=2),
    streak=st.integers(0, 8),
    longer=st.integers(0, 3),
    gross=st.decimals(0, 60_000, places=2),
    wider=st.decimals(0, 20_000, places=2),
    profile=st.sampled_from(["SAFE", "AGGRESSIVE", "NONE"]),
)
def test_more_loss_a_longer_streak_or_more_exposure_never_loosens(
    facts, loss, more, streak, longer, gross, wider, profile
):
    before = said(facts, condition(START - loss, gross), state(losing_streak=streak), profile)
    after = said(facts, condition(START - loss - more, gross + wider), state(losing_streak=streak + longer), profile)
    assert LEVELS.index(after.risk_level) >= LEVELS.index(before.risk_level)
    assert after.size_multiplier <= before.size_multiplier
    assert after.leverage_multiplier <= before.leverage_multiplier
    assert after.allow_trades <= before.allow_trades


@given(losses=st.lists(st.decimals("9000", "10500", places=2), min_size=1, max_size=20))
def test_once_over_the_limit_no_later_reading_of_the_day_allows_entries(facts, losses):
    settings, held, over = facts.settings(), state(), False
    for minute, equity in enumerate(losses):
        now = NOON + minute * 60_000
        held = governor.after_condition(held, condition(equity), settings, now)
        over = over or START - equity > 500
        assert directive_of(held, condition(equity), settings, now).allow_trades == (not over)
