"""The day's result: where it begins, what is transferred, when a loss is final."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qt_actors.decisions.day import LEDGER_LAG_MS, Condition, Reading, after_condition, daily_loss_limit, daily_pnl
from qt_actors.decisions.governor import directive_of, first_state
from qt_actors.messages.positions import IncomeRow

replace = msgspec.structs.replace
DAY_MS = 86_400_000
NOON = 1_700_049_600_000  # 2023-11-15 12:00 UTC
MIDNIGHT = NOON + DAY_MS // 2
OPENED = NOON - 3_600_000
MINUTE = 60_000


def reading(equity, at=NOON, took=0) -> Reading:
    return Reading(equity_usd=Decimal(equity), asked_ms=at, told_ms=at + took)


def seen(equity, at=NOON, *rows, took=0, ledger=0, before=None) -> Condition:
    return Condition(
        reading=reading(equity, at, took),
        gross_notional_usd=Decimal(0),
        healthy=True,
        transfers=rows,
        ledger_ms=ledger,
        before=before,
    )


def moved(amount, at, kind="TRANSFER", asset="USDT") -> IncomeRow:
    return IncomeRow(
        kind=kind, transaction_id=at, symbol="", amount_usd=Decimal(amount), asset=asset, time_ms=at, trade_id=""
    )


def state(**changes):
    known = {"day": "2023-11-15", "day_start_equity_usd": Decimal(10_000), "day_opened_ms": OPENED}
    return replace(first_state(OPENED), **known | changes)


def allowed(held, condition, settings) -> bool:
    return directive_of(held, condition, settings, NOON).allow_new_positions


def test_a_deposit_is_no_profit_and_a_withdrawal_no_loss():
    assert daily_pnl(state(), seen("15000", NOON, moved("5000", NOON - MINUTE))) == 0
    assert daily_pnl(state(), seen("9000", NOON, moved("-1000", NOON - MINUTE))) == 0


@pytest.mark.parametrize("kind", ["REALIZED_PNL", "COMMISSION", "FUNDING_FEE", "INSURANCE_CLEAR", "SOMETHING_NEW"])
def test_what_is_not_known_to_be_a_transfer_is_a_loss(kind):
    assert daily_pnl(state(), seen("9000", NOON, moved("-1000", NOON - MINUTE, kind))) == -1000


def test_another_asset_moves_nothing_in_an_account_counted_in_usdt():
    assert daily_pnl(state(), seen("9000", NOON, moved("-1000", NOON - MINUTE, asset="BNB"))) == -1000


def test_a_deposit_from_before_the_day_began_is_in_its_start_already():
    assert daily_pnl(state(), seen("10000", NOON, moved("10000", OPENED), moved("10000", OPENED - 1))) == 0


def test_a_transfer_that_the_reading_may_not_contain_yet_is_not_taken_off():
    late = seen("10000", NOON, moved("5000", NOON + 1), took=200)
    assert daily_pnl(state(), late) == 0


def test_the_first_deposit_of_a_new_paper_account_counts_for_nothing(facts):
    begun = after_condition(first_state(NOON), seen("10000", NOON + 50, moved("10000", NOON)), facts.settings(), NOON)
    assert (begun.day, begun.day_start_equity_usd) == ("2023-11-15", Decimal(10_000))
    assert daily_pnl(begun, seen("10000", NOON + MINUTE, moved("10000", NOON))) == 0


def test_a_state_that_does_not_know_when_its_day_began_takes_nothing_off():
    assert daily_pnl(state(day_opened_ms=0), seen("10000", NOON, moved("10000", NOON - MINUTE))) == 0


def test_what_was_withdrawn_is_no_longer_there_to_be_lost_and_a_deposit_widens_nothing(facts):
    settings = facts.settings()
    assert daily_loss_limit(state(), seen("1000", NOON, moved("-9000", NOON - 1)), settings) == 50
    assert daily_loss_limit(state(), seen("19000", NOON, moved("9000", NOON - 1)), settings) == 500


def test_a_day_that_went_over_its_limit_stays_stopped_even_when_it_recovers(facts):
    settings = facts.settings()
    over = after_condition(state(), seen("9400"), settings, NOON)
    later = after_condition(over, seen("9900", NOON + MINUTE, ledger=NOON + MINUTE), settings, NOON + MINUTE)
    word = directive_of(later, seen("9900"), settings, NOON + MINUTE)
    assert not word.allow_trades
    assert word.reason.startswith("entries stopped until 00:00 UTC: the day's loss $600.00 went over $500.00")


def test_a_withdrawal_that_the_ledger_tells_later_was_no_loss_and_entries_come_back(facts):
    settings = facts.settings()
    taken = moved("-3000", NOON - MINUTE)
    doubtful = state()
    for at in (NOON, NOON + 10_000):
        doubtful = after_condition(doubtful, seen("7000", at, ledger=NOON - 2 * MINUTE), settings, at)
        assert not allowed(doubtful, seen("7000", at), settings)
    told = seen("7000", NOON + MINUTE, taken, ledger=NOON + MINUTE)
    known = after_condition(doubtful, told, settings, NOON + MINUTE)
    assert (known.day_lost, allowed(known, told, settings)) == ("", True)


def test_a_loss_is_never_explained_by_a_withdrawal_after_it(facts):
    settings = facts.settings()
    lost = after_condition(state(), seen("9400"), settings, NOON)
    for at, equity in ((NOON + 5000, "9900"), (NOON + 10_000, "9300")):
        lost = after_condition(lost, seen(equity, at), settings, at)
    told = seen("9300", NOON + MINUTE, moved("-600", NOON + 8000), ledger=NOON + MINUTE)
    assert after_condition(lost, told, settings, NOON + MINUTE).day_lost
    assert not allowed(after_condition(lost, told, settings, NOON + MINUTE), told, settings)


def test_a_loss_on_top_of_a_withdrawal_is_a_loss_even_when_it_was_made_good_before_the_ledger_told(facts):
    settings = facts.settings()
    held = state()
    for at, equity in ((NOON, "7000"), (NOON + 10_000, "6300"), (NOON + 20_000, "7000")):
        held = after_condition(held, seen(equity, at), settings, at)
    told = seen("7000", NOON + MINUTE, moved("-3000", NOON - MINUTE), ledger=NOON + MINUTE)
    assert after_condition(held, told, settings, NOON + MINUTE).day_lost


def test_a_loss_that_the_ledger_has_passed_is_final(facts):
    settings = facts.settings()
    lost = after_condition(state(), seen("9400"), settings, NOON)
    final = after_condition(lost, seen("9400", NOON + MINUTE, ledger=NOON + LEDGER_LAG_MS), settings, NOON)
    told = seen("6400", NOON + 2 * MINUTE, moved("-3000", NOON + MINUTE), ledger=NOON + 2 * MINUTE)
    assert (final.lost_ms, bool(after_condition(final, told, settings, NOON).day_lost)) == (0, True)


def test_the_next_utc_day_starts_from_its_own_equity_and_lifts_the_days_stop(facts):
    settings = facts.settings()
    over = after_condition(state(), seen("9400"), settings, NOON)
    assert after_condition(over, seen("9400", MIDNIGHT - 1), settings, MIDNIGHT - 1).day_lost
    new = after_condition(over, seen("9400", MIDNIGHT), settings, MIDNIGHT)
    assert (new.day, new.day_start_equity_usd, new.day_lost) == ("2023-11-16", Decimal(9400), "")


def test_what_was_lost_over_midnight_while_nobody_looked_belongs_to_the_new_day(facts):
    woken = seen("9600", MIDNIGHT + 7_200_000, before=reading("10000", MIDNIGHT - 3_600_000))
    new = after_condition(state(), woken, facts.settings(), NOON)
    assert (new.day_start_equity_usd, daily_pnl(new, woken)) == (Decimal(10_000), Decimal(-400))


def test_a_withdrawal_over_midnight_is_no_loss_of_the_new_day(facts):
    taken = moved("-400", MIDNIGHT + MINUTE)
    woken = seen("9600", MIDNIGHT + 7_200_000, taken, before=reading("10000", MIDNIGHT - 3_600_000))
    assert daily_pnl(after_condition(state(), woken, facts.settings(), NOON), woken) == 0


def test_a_reading_from_long_ago_says_nothing_of_the_new_day(facts):
    woken = seen("7000", NOON + 30 * DAY_MS, before=reading("10000", NOON))
    assert after_condition(state(), woken, facts.settings(), NOON).day_start_equity_usd == 7000


STEPS = st.lists(
    st.tuples(st.sampled_from(["trade", "move", "read", "ledger"]), st.integers(-900, 900)), min_size=1, max_size=25
)


@given(steps=STEPS)
def test_no_order_of_trades_transfers_readings_and_ledgers_hides_a_loss_that_was_read(facts, steps):
    """A model account: whatever the ledger tells when, a true loss over the limit that was read stops the day."""
    settings = facts.settings(QT_MAX_DAILY_LOSS=500)
    held, equity, result, rows, known, ledger, broken = state(), Decimal(10_000), 0, [], (), 0, False
    for step, (what, amount) in enumerate([*steps, ("ledger", 0), ("read", 0)]):
        at = NOON + step * 20_000
        if what == "trade":
            equity, result = equity + amount, result + amount
        elif what == "move" and equity + amount > 5000:
            equity += amount
            rows.append(moved(str(amount), at))
        elif what == "ledger":
            known, ledger = tuple(rows), at
        if what in {"read", "ledger"}:
            condition = seen(equity, at, *known, ledger=ledger)
            held = after_condition(held, condition, settings, at)
            withdrawn = sum(min(Decimal(0), r.amount_usd) for r in rows)
            undisclosed = any(r.amount_usd > 0 for r in rows if r not in known)
            limit = min(Decimal(500), (10_000 + withdrawn) * Decimal("0.05"))
            broken = broken or (-result > 500 >= limit and not undisclosed)
            if broken:
                assert not allowed(held, condition, settings)
