"""The safety governor: its levels, its day, its memory."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qt_actors.decisions import governor
from qt_actors.decisions.day import Condition, Reading, after_condition, after_day
from qt_actors.decisions.governor import directive_of, first_state
from qt_actors.messages.policy import Directive

replace = msgspec.structs.replace
DAY_MS = 86_400_000
NOON = 1_700_049_600_000  # 2023-11-15 12:00 UTC
START = Decimal(10_000)
STREAK_STOPS = "5 losses in a row of 5, until 00:00 UTC or an operator's resume"


def reading(equity, at=NOON) -> Reading:
    return Reading(equity_usd=Decimal(equity), asked_ms=at, told_ms=at)


def condition(equity="10000", gross="0", at=NOON, **changes) -> Condition:
    seen = Condition(reading=reading(equity, at), gross_notional_usd=Decimal(gross), healthy=True)
    return replace(seen, **changes)


def state(**changes):
    known = {"day": "2023-11-15", "day_start_equity_usd": START, "day_opened_ms": NOON - DAY_MS // 2}
    return replace(first_state(NOON), **known | changes)


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


def test_a_streak_tells_until_when_it_stops_entries_and_says_no_end_while_it_does_not(facts):
    assert said(facts, condition(), state(losing_streak=5)).reason == STREAK_STOPS
    assert said(facts, condition(), state(losing_streak=4)).reason == "4 losses in a row of 5"


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
    word = directive_of(
        state(day_start_equity_usd=Decimal(1000)), condition("1000", "10001"), facts.settings("SAFE"), NOON
    )
    assert (word.gross_limit_usd, word.risk_level) == (10_000, "EMERGENCY")


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (condition(healthy=False, health_reason="no quotes for 40 s"), "no quotes for 40 s"),
        (condition(healthy=None), "health not known"),
        (condition(reading=None), "the account is not known yet"),
        (condition(gross_notional_usd=None), "the account is not known yet"),
        (condition("0"), "equity $0.00"),
    ],
)
def test_an_unhealthy_or_unknown_system_makes_no_entries_and_says_why(facts, seen, reason):
    word = said(facts, seen)
    assert (word.risk_level, word.allow_trades, word.reason) == ("EMERGENCY", False, reason)


def test_before_the_account_was_ever_seen_there_are_no_entries(facts):
    word = directive_of(first_state(NOON), condition(), facts.settings(), NOON)
    assert (word.allow_trades, word.risk_level, word.reason) == (False, "EMERGENCY", "the account is not known yet")


def test_the_worst_concern_decides_and_all_as_bad_are_named(facts):
    word = said(facts, condition("9400"), state(losing_streak=5))
    assert word.reason == f"day's loss $600.00 of $500.00; {STREAK_STOPS}"


def test_an_operators_halt_and_a_pause_survive_the_day(facts):
    held = state(halted=True, halt_reason="by hand", paused=True)
    new = after_day(held, condition(at=NOON + DAY_MS), facts.settings(), NOON + DAY_MS)
    assert (new.day, new.halted, new.halt_reason, new.paused) == ("2023-11-16", True, "by hand", True)


@pytest.mark.parametrize("word", ["halt", "pause"])
def test_a_word_heard_before_the_account_is_known_holds_when_it_is(facts, word):
    held = governor.after_control(first_state(NOON), word, "drill", NOON)
    known = after_condition(held, condition(), facts.settings(), NOON + 1)
    assert known.day_start_equity_usd == START
    assert not said(facts, condition(), known).allow_new_positions
    freed = governor.after_control(known, "resume", "", NOON + 2)
    assert said(facts, condition(), freed).allow_new_positions


@given(words=st.lists(st.sampled_from(["halt", "pause", "resume"]), min_size=1, max_size=6), known=st.integers(0, 6))
def test_the_last_words_hold_whenever_the_account_becomes_known_between_them(facts, words, known):
    held, settings = first_state(NOON), facts.settings()
    for at, word in enumerate(words):
        held = after_condition(held, condition(), settings, NOON) if at == known else held
        held = governor.after_control(held, word, "", NOON + at)
    held = after_condition(held, condition(), settings, NOON)
    assert said(facts, condition(), held).allow_new_positions == (words[-1] == "resume")


@pytest.mark.parametrize(("streak", "after"), [(5, 3), (7, 3), (4, 4), (0, 0)])
def test_a_streak_that_stopped_comes_back_two_short_and_a_shorter_one_survives(facts, streak, after):
    new = after_day(state(losing_streak=streak), condition(at=NOON + DAY_MS), facts.settings(), NOON + DAY_MS)
    assert new.losing_streak == after


def test_a_clock_that_goes_backwards_opens_no_new_day(facts):
    assert after_day(state(), condition("1", at=NOON - DAY_MS), facts.settings(), NOON - DAY_MS) == state()


def test_a_wrong_clock_of_our_own_opens_no_day_that_the_exchange_has_not(facts):
    assert after_day(state(), condition("1"), facts.settings(), NOON + 3 * DAY_MS) == state()


@pytest.mark.parametrize(
    ("results", "streak"),
    [(["-1", "-1"], 2), (["-1", "5"], 0), (["-1", "0", "-1"], 2), (["-1"] * 6, 6)],
)
def test_the_streak_counts_net_losses(facts, results, streak):
    held = state()
    for number, net in enumerate(results):
        held = governor.after_trade(held, facts.closed(net, decision_id=f"BTCUSDT-{number}"))
    assert held.losing_streak == streak


def test_a_trade_told_twice_counts_once(facts):
    once = governor.after_trade(state(), facts.closed("-1"))
    assert governor.after_trade(once, facts.closed("-1")) == once


def test_a_trade_whose_result_nobody_knows_neither_lengthens_nor_ends_the_streak(facts):
    losing = governor.after_trade(state(), facts.closed("-1", decision_id="BTCUSDT-1"))
    for net in ("-5", "5"):
        unknown = facts.closed(net, decision_id="BTCUSDT-2", complete=False)
        assert governor.after_trade(losing, unknown).losing_streak == 1


def test_trades_that_the_journal_knows_and_we_do_not_are_counted_oldest_first(facts):
    heard = governor.after_trade(state(), facts.closed("-1", decision_id="BTCUSDT-1"))
    nets = {"BTCUSDT-1": "-1", "BTCUSDT-2": "7", "BTCUSDT-3": "-1", "BTCUSDT-4": "-1"}
    rows = [
        {"decision_id": d, "realized_usd": net, "commission_usd": "0", "closed_ms": NOON, "complete": 1}
        for d, net in nets.items()
    ]
    recovered = governor.after_results(heard, reversed(rows))
    assert recovered.losing_streak == 2
    assert governor.after_results(recovered, reversed(rows)) == recovered


def test_a_resumed_streak_is_not_counted_again_from_before():
    resumed = governor.after_control(state(losing_streak=5), "resume", "", NOON + 5)
    assert (resumed.losing_streak, resumed.streak_since_ms) == (0, NOON + 5)


def test_a_gain_eaten_by_fees_is_a_loss(facts):
    trade = facts.closed(realized_usd=Decimal(3), commission_usd=Decimal(4))
    assert governor.after_trade(state(), trade).losing_streak == 1


def test_pause_stops_entries_and_resume_allows_them(facts):
    paused = governor.after_control(state(), "pause", "lunch", NOON)
    word = said(facts, condition(), paused)
    assert (word.allow_trades, word.risk_level, word.reason) == (False, "NORMAL", "entries paused by operator: lunch")
    assert said(facts, condition(), governor.after_control(paused, "resume", "", NOON)).allow_trades


def test_resume_ends_a_halt_by_hand_and_a_streak(facts):
    held = governor.after_control(state(losing_streak=5), "halt", "", NOON)
    why = said(facts, condition(), held).reason
    assert why == f"entries halted by operator: no reason given; {STREAK_STOPS}"
    freed = governor.after_control(held, "resume", "", NOON)
    assert (freed.halted, freed.losing_streak) == (False, 0)


@pytest.mark.parametrize("control", ["halt", "pause"])
def test_a_stop_said_again_keeps_its_first_moment_and_the_newest_reason_until_resumed(control):
    first = governor.after_control(state(), control, "lunch", NOON)
    again = governor.after_control(first, control, "fire drill", NOON + 5)
    field = {"halt": "halt_reason", "pause": "pause_reason"}[control]
    since = {"halt": "halted_ms", "pause": "paused_ms"}[control]
    assert (getattr(again, field), getattr(again, since)) == ("fire drill", NOON)
    freed = governor.after_control(again, "resume", "", NOON + 9)
    assert (getattr(freed, field), getattr(freed, since)) == ("", 0)


def test_a_resume_says_which_streak_it_forgets_and_nothing_when_there_is_none():
    assert governor.control_note(state(losing_streak=4), "resume") == "the losing streak of 4 begins again at zero"
    assert governor.control_note(state(), "resume") == governor.control_note(state(losing_streak=4), "halt") == ""


def test_resume_never_ends_a_halt_by_the_days_loss(facts):
    over = after_condition(state(), condition("9400"), facts.settings(), NOON)
    words = ("halt", "resume")
    for word in words:
        over = governor.after_control(over, word, "", NOON)
    recovered = condition("9990")
    assert not said(facts, recovered, after_condition(over, recovered, facts.settings(), NOON)).allow_trades


def test_a_loss_over_the_limit_during_an_operators_halt_outlives_the_resume(facts):
    held = governor.after_control(state(), "halt", "", NOON)
    over = after_condition(held, condition("9400"), facts.settings(), NOON)
    freed = governor.after_control(over, "resume", "", NOON)
    assert not said(facts, condition("9990"), freed).allow_trades


def test_no_reason_that_an_operator_gives_makes_a_halt_end_with_the_day(facts):
    held = governor.after_control(state(), "halt", "until the next UTC day: lunch", NOON)
    assert after_day(held, condition(at=NOON + DAY_MS), facts.settings(), NOON + DAY_MS).halted


def test_the_state_comes_back_from_the_journal_as_it_was(facts):
    held = after_condition(state(losing_streak=2), condition("9400"), facts.settings(), NOON)
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
        held = after_condition(held, condition(equity), settings, now)
        over = over or equity < 9500
        assert directive_of(held, condition(equity), settings, now).allow_trades == (not over)
