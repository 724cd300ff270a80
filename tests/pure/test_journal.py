"""The journal against real SQLite files: identity, durability of its promises, faults as one line."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qt_actors.decisions.performance import recovered
from qt_actors.edges import journal_schema
from qt_actors.edges.journal import FILE_NAME, IntentConflictError, JournalError, SqliteJournal, next_generation
from qt_actors.edges.journal_queries import QUESTIONS, ExactSum, SqliteJournalReader
from qt_actors.edges.journal_rows import RECORDS, statements
from qt_actors.messages.orders import ConditionalUpdated, Fill, Intent, IntentResolved, OrderUpdated
from qt_actors.messages.policy import Decision, DecisionsMade, Gate
from qt_actors.messages.positions import IncomeRow, LedgerSynced, OpenOrdersSeen, TradeChanged, TradeClosed, TradeState
from qt_actors.messages.signals import ModelStateChanged, ModelVote, Signal
from qt_actors.messages.system import EquityMeasured, GovernorState, IncidentRepaired, IncidentSeen
from tests.builders import a_stop

NOW = 1_700_000_000_000
BAR = 1_699_999_200_000
HOUR = 3_600_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / FILE_NAME


@pytest.fixture
def journal(path):
    journal = SqliteJournal(path, lambda: NOW)
    yield journal
    journal.close()


@pytest.fixture
def reader(path):
    return SqliteJournalReader(path)


def an_intent(client_id="qt-BTCUSDT-1-e0", **changes):
    return msgspec.structs.replace(
        Intent(
            client_id=client_id,
            decision_id=f"BTCUSDT-{BAR}",
            symbol="BTCUSDT",
            side="BUY",
            purpose="entry",
            conditional=False,
            kind="MARKET",
            quantity=Decimal("0.0570"),
            price=Decimal("87400.10"),
            created_ms=NOW,
        ),
        **changes,
    )


def a_signal(symbol="BTCUSDT"):
    vote = ModelVote(model="xgb", action="SELL", confidence=0.67, p_sell=0.5, p_hold=0.3, p_buy=0.2)
    silent = ModelVote(
        model="nhits", action=None, confidence=0.0, p_sell=float("nan"), p_hold=0, p_buy=0, reason="warmup 25/120"
    )
    return Signal(
        symbol=symbol,
        action="SELL",
        confidence=0.8122,
        p_win=0.54,
        edge_r=0.1,
        agree=3,
        active=4,
        quorum=3,
        regime="NORMAL",
        tp_pct=0.06,
        sl_pct=0.08,
        close=87_400.0,
        volatility=0.01,
        volatility_rank=0.5,
        votes=(vote, silent),
        close_time_ms=BAR,
        expires_ms=BAR + HOUR,
    )


def a_decision(symbol="BTCUSDT", *, verdict="denied", decided_ms=NOW, evaluations=1, close_time_ms=BAR):
    gates = (
        Gate(name="confidence", passed=True, value="0.81", limit="0.55"),
        Gate(name="cooldown", passed=False, value="60 s", limit="120 s", transient=True, note="since the last entry"),
    )
    return Decision(
        decision_id=f"{symbol}-{close_time_ms}",
        symbol=symbol,
        close_time_ms=close_time_ms,
        decided_ms=decided_ms,
        action="SELL",
        verdict=verdict,
        gate="cooldown" if verdict == "denied" else "",
        gates=gates,
        signal=a_signal(symbol),
        evaluations=evaluations,
        trace="t1",
    )


def decided(*decisions):
    return DecisionsMade(close_time_ms=BAR, decisions=decisions)


def a_fill(trade_id=1, client_id="qt-BTCUSDT-1-e0", commission="0.01"):
    return Fill(
        symbol="BTCUSDT",
        trade_id=trade_id,
        order_id=7,
        client_id=client_id,
        side="BUY",
        price=Decimal("87400.10"),
        quantity=Decimal("0.0570"),
        commission=Decimal(commission),
        commission_asset="USDT",
        realized_pnl=Decimal("-1.23456789"),
        maker=False,
        time_ms=NOW,
    )


def an_order(status="NEW", *, executed="0", time_ms=NOW, fill=None):
    return OrderUpdated(
        client_id="qt-BTCUSDT-1-e0",
        symbol="BTCUSDT",
        order_id=7,
        side="BUY",
        order_type="MARKET",
        original_type="MARKET",
        execution="TRADE" if fill else "NEW",
        status=status,
        quantity=Decimal("0.057"),
        executed_quantity=Decimal(executed),
        average_price=Decimal("87400.1"),
        reduce_only=False,
        time_ms=time_ms,
        fill=fill,
    )


def a_conditional(status="NEW", *, child_id=None, time_ms=NOW):
    return ConditionalUpdated(
        client_id="qt-BTCUSDT-1-s0",
        symbol="BTCUSDT",
        algo_id=7,
        side="SELL",
        kind="STOP_MARKET",
        status=status,
        quantity=Decimal("0.057"),
        trigger_price=Decimal(85000),
        reduce_only=True,
        time_ms=time_ms,
        child_id=child_id,
    )


def a_trade(phase="open", *, changed_ms=NOW, stop="85000.50"):
    return TradeState(
        decision_id=f"BTCUSDT-{BAR}",
        symbol="BTCUSDT",
        side="BUY",
        phase=phase,
        quantity=Decimal("0.057"),
        filled=Decimal("0.057"),
        exited=Decimal(0),
        entry_price=Decimal("87400.1"),
        decision_price=Decimal(87400),
        stop_id="qt-BTCUSDT-1-s0",
        stop_price=Decimal(stop),
        stop_quantity=Decimal("0.057"),
        entry_id="qt-BTCUSDT-1-e0",
        target_id="",
        target_price=Decimal(90000),
        target_quantity=Decimal("0.028"),
        trail_id="",
        trail_quantity=Decimal("0.029"),
        trail_callback_pct=Decimal("1.4"),
        close_id="",
        leverage=10,
        confidence=0.81,
        risk_usd=Decimal("71.44"),
        opened_ms=NOW,
        expires_ms=NOW + HOUR,
        changed_ms=changed_ms,
        exits=("target",),
    )


def a_result(symbol="BTCUSDT", realized="12.30", closed_ms=NOW + 5):
    return TradeClosed(
        decision_id=f"{symbol}-{BAR}",
        symbol=symbol,
        side="BUY",
        quantity=Decimal("0.057"),
        entry_price=Decimal("87400.1"),
        exit_price=Decimal(88000),
        opened_ms=NOW,
        closed_ms=closed_ms,
        exit_reason="trail",
        exits=("target", "trail"),
        realized_usd=Decimal(realized),
        commission_usd=Decimal("0.10"),
        risk_usd=Decimal("71.44"),
        slippage_bps=0.4,
        mfe_pct=0.01,
        mae_pct=-0.002,
        confidence=0.81,
    )


def an_income(transaction_id=1, kind="FUNDING_FEE", amount="-0.00000001", time_ms=NOW, trade_id=""):
    return IncomeRow(
        kind=kind,
        transaction_id=transaction_id,
        symbol="BTCUSDT",
        amount_usd=Decimal(amount),
        asset="USDT",
        time_ms=time_ms,
        trade_id=trade_id,
    )


def a_ledger(*income):
    zero = Decimal(0)
    return LedgerSynced(income=income, wallet_usd=zero, equity_usd=zero, unrealized_usd=zero, now_ms=NOW)


def an_equity(now_ms=NOW, equity="10000.00000001"):
    zero = Decimal(0)
    return EquityMeasured(
        now_ms=now_ms,
        wallet_usd=zero,
        equity_usd=Decimal(equity),
        unrealized_usd=zero,
        daily_pnl_usd=zero,
        gross_notional_usd=zero,
    )


def a_governor(streak=3):
    return GovernorState(
        day="2026-11-22",
        day_start_equity_usd=Decimal("10000.10"),
        losing_streak=streak,
        halted=True,
        halt_reason="daily loss",
        changed_ms=NOW,
    )


def an_incident(now_ms=NOW, detail="answer lost"):
    return IncidentSeen(kind="rest", subject="BTCUSDT", detail=detail, repaired=True, now_ms=now_ms)


EVERY_RECORD = (
    decided(a_decision()),
    IntentResolved(client_id="qt-BTCUSDT-1-e0", outcome="accepted", exchange_id=7, time_ms=NOW),
    an_order(fill=a_fill()),
    a_conditional(),
    OpenOrdersSeen(orders=(a_stop(exchange_id=9),), asked_ms=NOW),
    a_fill(2),
    a_ledger(an_income(), an_income(2, "TRANSFER", "100"), an_income(3, "COMMISSION", "-1", trade_id="99")),
    TradeChanged(trade=a_trade()),
    a_result("ETHUSDT"),
    an_equity(),
    a_governor(),
    an_incident(),
    IncidentRepaired(kind="stream", subject="feed"),
    ModelStateChanged(model="xgb", state="active", version="v1"),
)


def snapshot(reader):
    defaults = {"symbol": "BTCUSDT", "decision_id": f"BTCUSDT-{BAR}", "since_ms": 0, "close_time_ms": BAR}
    return {
        name: reader.rows(name, {k: defaults[k] for k, v in question.parameters.items() if v is ...})
        for name, question in QUESTIONS.items()
    }


def test_every_message_of_the_journal_is_written_and_every_question_answered(journal, reader):
    assert {type(r) for r in EVERY_RECORD} == set(RECORDS)
    journal.write_intents([an_intent()])
    journal.append(EVERY_RECORD)
    empty = {name for name, rows in snapshot(reader).items() if not rows}
    assert empty == {"sessions"}


def test_a_closed_trade_comes_with_the_votes_of_its_decision_and_makes_a_record(journal, reader):
    journal.append([decided(a_decision(verdict="admitted")), a_result(), a_result("ETHUSDT")])
    rows = {row["symbol"]: row for row in reader.rows("trades_voted")}
    assert [v["model"] for v in rows["BTCUSDT"]["votes"]] == [v.model for v in a_signal("BTCUSDT").votes]
    assert rows["ETHUSDT"]["votes"] == []
    record = recovered(rows.values())
    assert {symbol: r.wins for symbol, r in record.symbols.items()} == {"BTCUSDT": 1.0, "ETHUSDT": 1.0}
    assert set(record.models) == {v.model for v in a_signal("BTCUSDT").votes if v.action}


def test_writing_everything_twice_changes_nothing_but_the_counts_of_incidents(journal, reader):
    journal.write_intents([an_intent()])
    journal.append(EVERY_RECORD)
    before = snapshot(reader)
    journal.append(EVERY_RECORD)
    after = snapshot(reader)
    assert before.pop("incidents")[0]["times"] == 1
    assert after.pop("incidents")[0]["times"] == 2
    assert after == before


def test_every_symbol_and_bar_has_one_row_and_a_new_evaluation_raises_its_count(journal, reader):
    journal.append([decided(a_decision(), a_decision("ETHUSDT"))])
    journal.append([decided(a_decision(decided_ms=NOW + 10_000))])
    rows = reader.rows("decisions_of_bar", {"close_time_ms": BAR})
    assert [(r["symbol"], r["evaluations"]) for r in rows] == [("BTCUSDT", 2), ("ETHUSDT", 1)]


def test_an_evaluation_count_told_by_the_orchestrator_is_taken_over(journal, reader):
    journal.append([decided(a_decision())])
    journal.append([decided(a_decision(decided_ms=NOW + 10_000, evaluations=7))])
    assert reader.rows("decisions", {"symbol": "BTCUSDT"})[0]["evaluations"] == 7


def test_a_denied_decision_may_become_admitted_and_never_goes_back(journal, reader):
    journal.append([decided(a_decision(verdict="denied"))])
    journal.append([decided(a_decision(verdict="admitted"))])
    journal.append([decided(a_decision(verdict="denied", decided_ms=NOW + 10_000))])
    row = reader.rows("decisions", {"symbol": "BTCUSDT"})[0]
    assert (row["verdict"], row["gate"], row["decided_ms"]) == ("admitted", "", NOW)


def test_an_older_evaluation_that_arrives_late_changes_nothing(journal, reader):
    journal.append([decided(a_decision(decided_ms=NOW + 10_000))])
    before = reader.rows("decisions", {"symbol": "BTCUSDT"})
    journal.append([decided(a_decision(verdict="hold", decided_ms=NOW))])
    assert reader.rows("decisions", {"symbol": "BTCUSDT"}) == before


def test_gates_and_votes_come_back_with_their_names_and_an_abstention_has_no_number(journal, reader):
    journal.append([decided(a_decision())])
    row = reader.rows("decisions", {"symbol": "BTCUSDT"})[0]
    assert row["gates"][1] == {
        "name": "cooldown",
        "passed": 0,
        "value": "60 s",
        "limit": "120 s",
        "note": "since the last entry",
        "transient": 1,
    }
    assert row["votes"][1]["p_sell"] is None
    assert row["votes"][1]["reason"] == "warmup 25/120"


def test_an_intent_is_open_until_it_is_resolved(journal, reader):
    stop = an_intent("qt-BTCUSDT-1-s0", purpose="stop", conditional=True, price=None)
    journal.write_intents([an_intent(), stop])
    assert reader.open_intents() == (an_intent(), stop)
    journal.append([IntentResolved(client_id="qt-BTCUSDT-1-s0", outcome="accepted", exchange_id=9, time_ms=NOW)])
    assert reader.open_intents() == (an_intent(),)


def test_the_same_intent_again_is_no_fault_and_an_entry_id_is_never_used_for_another(journal, reader):
    journal.write_intents([an_intent()])
    journal.write_intents([an_intent()])
    journal.append([IntentResolved(client_id=an_intent().client_id, outcome="expired", exchange_id=None, time_ms=NOW)])
    with pytest.raises(IntentConflictError, match="was used before"):
        journal.write_intents([an_intent("qt-ETHUSDT-1-e0"), an_intent(created_ms=NOW + 1)])
    assert reader.open_intents() == (), "none of a refused batch is written"


def test_the_id_of_an_order_that_only_reduces_may_be_armed_again(journal, reader):
    close = an_intent("qt-BTCUSDT-1-c0", purpose="close")
    journal.write_intents([close])
    journal.append([IntentResolved(client_id=close.client_id, outcome="rejected", exchange_id=None, time_ms=NOW)])
    again = msgspec.structs.replace(close, created_ms=NOW + 1, quantity=Decimal("0.02"))
    journal.write_intents([again])
    assert reader.open_intents() == (again,)


def test_an_intent_outlives_a_process_that_is_killed_right_after_writing_it(path):
    killed = """
import os, pathlib, sys
from decimal import Decimal
from qt_actors.edges.journal import SqliteJournal
from qt_actors.messages.orders import Intent
journal = SqliteJournal(pathlib.Path(sys.argv[1]), lambda: 0)
journal.write_intents([Intent(client_id="qt-X-1-e0", decision_id="X-1", symbol="X", side="BUY", purpose="entry",
    conditional=False, kind="MARKET", quantity=Decimal("1"), price=None, created_ms=1)])
os.kill(os.getpid(), 9)
"""
    ended = subprocess.run([sys.executable, "-c", killed, str(path)], check=False, capture_output=True)
    assert ended.returncode == -9, ended.stderr
    assert [i.client_id for i in SqliteJournalReader(path).open_intents()] == ["qt-X-1-e0"]


@pytest.mark.parametrize("statuses", [("NEW", "FILLED"), ("FILLED", "NEW"), ("FILLED", "NEW", "FILLED", "NEW")])
def test_repeated_and_overtaking_frames_end_in_the_final_state(journal, reader, statuses):
    for status in statuses:
        journal.append([an_order(status, executed="0.057" if status == "FILLED" else "0")])
    (row,) = reader.rows("orders")
    assert (row["status"], row["executed_quantity"]) == ("FILLED", "0.057")
    assert reader.rows("orders_open") == []


def test_orders_and_conditional_orders_with_the_same_number_are_two(journal, reader):
    journal.append([an_order(), a_conditional("TRIGGERED", child_id=8), a_conditional("FINISHED", time_ms=NOW + 1)])
    stop, entry = sorted(reader.rows("orders"), key=lambda r: r["kind"], reverse=True)
    assert (stop["status"], stop["child_id"], stop["trigger_price"]) == ("FINISHED", 8, "85000")
    assert (entry["status"], entry["conditional"]) == ("NEW", 0)


def test_a_fill_without_client_id_takes_it_from_the_other_source_whichever_comes_first(journal, reader):
    journal.append([a_fill(1, client_id=""), a_fill(1, client_id="qt-a")])
    journal.append([a_fill(2, client_id="qt-b"), a_fill(2, client_id="")])
    assert [r["client_id"] for r in reader.rows("fills")] == ["qt-b", "qt-a"]


@given(
    st.lists(
        st.decimals(allow_nan=False, allow_infinity=False, places=8, min_value=-1000000, max_value=1000000),
        min_size=1,
        max_size=30,
    )
)
def test_sums_of_money_are_exact_to_the_last_digit(amounts):
    connection = sqlite3.connect(":memory:")
    connection.create_aggregate("exact_sum", 1, ExactSum)
    connection.execute("CREATE TABLE t (x TEXT)")
    connection.executemany("INSERT INTO t VALUES (?)", [(format(a, "f"),) for a in amounts])
    (total,) = connection.execute("SELECT exact_sum(x) FROM t").fetchone()
    connection.close()
    assert Decimal(total) == sum(amounts, Decimal(0))


def test_money_is_text_with_every_digit_and_never_an_exponent(journal, reader):
    journal.append([a_ledger(an_income(1, amount="1E-8"), an_income(2, amount="-1E+3"), an_income(2, amount="7"))])
    (total,) = reader.rows("income_by_kind")
    assert (total["entries"], total["amount_usd"]) == (2, "-999.99999999")
    assert reader.last_income_ms() == NOW


def test_trades_come_back_as_they_were_until_they_end(journal, reader):
    journal.append([TradeChanged(trade=a_trade("entering")), TradeChanged(trade=a_trade("open", changed_ms=NOW + 1))])
    journal.append([TradeChanged(trade=a_trade("stopping", changed_ms=NOW - 1))])
    assert reader.open_trades() == (a_trade("open", changed_ms=NOW + 1),)
    journal.append([TradeChanged(trade=a_trade("closed", changed_ms=NOW + 5)), a_result()])
    assert reader.open_trades() == ()
    (row,) = reader.rows("trades")
    assert (row["exit_reason"], row["exits"], row["realized_usd"]) == ("trail", ["target", "trail"], "12.30")


def test_profit_is_told_by_day_and_by_symbol(journal, reader):
    day = 86_400_000
    journal.append([a_result(), a_result("ETHUSDT", "-5"), a_result("SOLUSDT", "1", closed_ms=NOW + day)])
    today, before = reader.rows("pnl_by_day")
    assert (before["day"], before["trades"], before["wins"], before["realized_usd"]) == ("2023-11-14", 2, 1, "7.30")
    assert today["realized_usd"] == "1"
    symbols = [r["symbol"] for r in reader.rows("pnl_by_symbol")]
    assert symbols == ["BTCUSDT", "SOLUSDT", "ETHUSDT"]


def test_the_governors_state_is_the_last_one_written(journal, reader):
    assert reader.governor_state() is None
    journal.append([a_governor(2), a_governor(3)])
    assert reader.governor_state() == a_governor(3)


def test_a_storm_of_the_same_incident_is_one_row_a_minute(journal, reader):
    journal.append([an_incident(NOW + i) for i in range(5000)])
    journal.append([an_incident(NOW + 60_000)])
    assert [r["times"] for r in reader.rows("incidents")] == [1, 5000]


def test_generations_count_the_starts_durably(path, reader):
    numbers = [next_generation(path, NOW + i, "paper", "synthetic seed 7", "a1b2") for i in range(3)]
    assert numbers == [1, 2, 3]
    assert reader.rows("sessions")[0] == {
        "generation": 3,
        "started_ms": NOW + 2,
        "mode": "paper",
        "market": "synthetic seed 7",
        "account": "a1b2",
        "ended_ms": None,
    }


def test_old_rows_go_after_their_time_and_admitted_decisions_stay(path, reader):
    now = [NOW]
    journal = SqliteJournal(path, lambda: now[0])
    journal.append([decided(a_decision("AUSDT"), a_decision("BUSDT", verdict="admitted")), an_equity(), an_incident()])
    now[0] = NOW + 181 * journal_schema.DAY_MS
    journal.append([an_equity(now[0])])
    journal.close()
    assert [r["symbol"] for r in reader.rows("decisions_of_bar", {"close_time_ms": BAR})] == ["BUSDT"]
    assert len(reader.rows("equity")) == 1
    assert reader.rows("incidents") == []


def test_a_full_disk_is_one_line_nothing_is_written_and_room_makes_it_work_again(journal, reader):
    connection = journal._connection
    connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(JournalError, match=r"full.*free some space") as full:
        journal.append([decided(*(a_decision(f"S{i}USDT") for i in range(200)))])
    assert "\n" not in str(full.value)
    assert reader.rows("bars") == []
    connection.execute("PRAGMA max_page_count = 1000000")
    journal.append([decided(a_decision())])
    assert len(reader.rows("bars")) == 1


def test_a_journal_that_another_program_holds_is_named(path, journal):
    journal._connection.execute("PRAGMA busy_timeout = 10")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalError, match="locked; another program holds it"):
        journal.write_intents([an_intent()])
    other.execute("ROLLBACK")
    other.close()
    journal.write_intents([an_intent()])


def test_a_newer_schema_is_refused_in_one_line_by_writer_and_reader(path, journal, reader):
    journal._connection.execute("PRAGMA user_version = 99")
    with pytest.raises(JournalError, match=r"version 99.*choose another QT_DATA_DIR"):
        SqliteJournal(path, lambda: NOW)
    with pytest.raises(JournalError, match="version 99"):
        reader.open_trades()


@pytest.mark.parametrize("content", [b"this is not a database, it is a letter" * 100])
def test_a_foreign_file_is_refused_and_left_as_it_is(path, content):
    path.write_bytes(content)
    with pytest.raises(JournalError, match="not a database; move the file away"):
        SqliteJournal(path, lambda: NOW)
    assert path.read_bytes() == content


def test_a_reader_without_a_journal_says_that_no_trader_has_run(tmp_path):
    with pytest.raises(JournalError, match="no trader has run"):
        SqliteJournalReader(tmp_path / "none.sqlite3").rows("trades")


def test_a_reader_reads_while_nobody_writes_and_writes_nothing_itself(path, journal, reader):
    journal.append([decided(a_decision())])
    journal.close()
    before = path.read_bytes()
    assert len(reader.rows("bars")) == 1
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("query", "parameters", "error"),
    [("nonsense", {}, KeyError), ("trades", {"limits": 3}, ValueError), ("decisions", {}, ValueError)],
)
@pytest.mark.usefixtures("journal")
def test_an_unknown_question_or_parameter_is_named(reader, query, parameters, error):
    with pytest.raises(error, match="journal"):
        reader.rows(query, parameters)


def test_a_message_without_a_table_is_a_bug_and_says_so():
    with pytest.raises(TypeError, match="no table for Gate"):
        list(statements(Gate(name="x", passed=True, value="", limit=""), NOW))


def test_a_journal_of_the_oldest_schema_is_migrated_with_every_row(path, reader):
    connection = sqlite3.connect(path, isolation_level=None)
    journal_schema.migrate(connection, journal_schema.MIGRATIONS[:1])
    assert journal_schema.version_of(connection) == 1
    connection.execute(
        "INSERT INTO sessions (started_ms, mode, market) VALUES (?, 'paper', 'synthetic seed 7')", (NOW,)
    )
    connection.execute("INSERT INTO income VALUES ('FUNDING_FEE', 7, 'BTCUSDT', '-0.50', 'USDT', ?, '')", (NOW,))
    connection.close()
    assert reader.rows("sessions")[0]["market"] == "synthetic seed 7", "read as it is"
    assert next_generation(path, NOW, "paper", "synthetic seed 7", "a1b2") == 2
    SqliteJournal(path, lambda: NOW).close()
    assert [r["account"] for r in reader.rows("sessions")] == ["a1b2", ""]
    assert reader.rows("income_by_kind")[0]["amount_usd"] == "-0.50"
    with contextlib.closing(sqlite3.connect(path)) as migrated:
        assert journal_schema.version_of(migrated) == journal_schema.SCHEMA_VERSION
        tables = {n for (n,) in migrated.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    new = sqlite3.connect(":memory:", isolation_level=None)
    journal_schema.migrate(new)
    assert tables == {n for (n,) in new.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    new.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="file"):
        SqliteJournal(Path(tmp_path / "file" / FILE_NAME), lambda: NOW)


def test_a_full_disk_at_the_first_start_is_told_as_what_it_is():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("PRAGMA max_page_count = 3")
    with pytest.raises(sqlite3.Error, match="full"):
        journal_schema.migrate(connection)
    connection.close()


def test_charges_without_a_fill_are_found_by_their_trade(journal, reader):
    charged = [an_income(n, "COMMISSION", time_ms=NOW + n, trade_id=str(n)) for n in (1, 2)]
    journal.append([a_ledger(*charged, an_income(3))])
    fill = a_fill(trade_id=1)
    journal.append([fill])
    owed = reader.rows("charges_without_fill", {"since_ms": NOW})
    assert owed == [{"symbol": "BTCUSDT", "trade_id": 2, "time_ms": NOW + 2}]
    assert reader.rows("charges_without_fill", {"since_ms": NOW + 3}) == []


def test_what_is_well_again_is_repaired_and_nothing_else(journal, reader):
    lost = IncidentSeen(kind="stream lost", subject="feed", detail="mute", repaired=False, now_ms=NOW)
    others = [msgspec.structs.replace(lost, subject="account"), msgspec.structs.replace(lost, kind="hang")]
    journal.append([lost, *others, IncidentRepaired(kind="stream lost", subject="feed")])
    journal.append([lost, IncidentRepaired(kind="stream lost", subject="feed")])
    states = {(row["kind"], row["subject"]): bool(row["repaired"]) for row in reader.rows("incidents")}
    assert states == {("stream lost", "feed"): True, ("stream lost", "account"): False, ("hang", "feed"): False}
