"""Why there is a trade or none: what decided stands first, every gate can be seen."""

from __future__ import annotations

import json
from decimal import Decimal

import msgspec
import pytest

from qt_actors.messages import policy, positions, signals
from tests.cli_board import BAR, HOUR, NOW, a_decision, a_result, a_signal, a_trade, an_intent, funding, some_decisions

GATE_MARKS = ("  ✓", "  ✗")


@pytest.mark.parametrize("running", [True, False])
def test_why_without_a_symbol_sums_up_where_all_decisions_ended(qt, journal, board, running):
    journal.append([some_decisions()])
    if not running:
        board.stop()
    got = qt("why")
    assert got.exit_code == 0
    for text in ("3 symbols at the bar closed 2023-11-14 22:00:00 UTC, 1 admitted", "denied", "spread", "BTCUSDT"):
        assert text in got.stdout
    told = json.loads(qt("why", "--json").stdout)
    assert [f["decisions"] for f in told["funnel"]] == [2, 1]


@pytest.mark.parametrize("running", [True, False])
def test_the_first_line_names_the_gate_that_decided_with_value_and_limit(qt, journal, board, running):
    journal.append([some_decisions()])
    if not running:
        board.stop()
    got = qt("why", "BTCUSDT")
    assert got.exit_code == 0, got.output
    first, *rest = got.stdout.splitlines()
    assert first == "BTCUSDT  2023-11-14 22:00 UTC  no entry: spread 31.0 bps above 25 bps"
    votes = {line.split()[0]: line.split()[1:] for line in rest if line.startswith(("  XGBoost", "  N-HiTS"))}
    assert votes["XGBoost"][:2] == ["SELL", "0.70"]
    assert votes["N-HiTS"] == ["–", "warmup", "25/120"]
    failed = [i for i, line in enumerate(rest) if "✗" in line]
    assert [rest[i].split() for i in failed] == [["✗", "spread", "31.0", "bps", "≤", "25", "bps"]]
    assert rest[failed[0] + 1].strip() == "may pass later"
    assert "  ✓  1 gate passed: confidence" in rest


@pytest.mark.usefixtures("board")
def test_with_all_every_gate_stands_in_the_order_asked(qt, journal):
    journal.append([some_decisions()])
    shown = [line.split()[:2] for line in qt("why", "BTCUSDT", "--all").stdout.splitlines() if line[:3] in GATE_MARKS]
    told = json.loads(qt("why", "BTCUSDT", "--json").stdout)["decisions"][0]
    assert [name for _, name in shown] == [gate["name"] for gate in told["gates"]] == ["confidence", "spread"]
    assert [mark for mark, _ in shown] == ["✓", "✗"]


@pytest.mark.usefixtures("board")
def test_earlier_bars_are_told_in_a_line_each(qt, journal):
    earlier = a_decision("BTCUSDT", gate="confidence")
    earlier = msgspec.structs.replace(earlier, close_time_ms=BAR - HOUR, decision_id=f"BTCUSDT-{BAR - HOUR}")
    journal.append([policy.DecisionsMade(close_time_ms=BAR - HOUR, decisions=(earlier,)), some_decisions()])
    lines = qt("why", "BTCUSDT").stdout.splitlines()
    place = lines.index("Before that:")
    assert lines[place + 1 :] == ["  2023-11-14 21:00 UTC  no entry: confidence 0.81 below 0.55"]
    assert "Before that:" not in qt("why", "BTCUSDT", "--bars", "1").stdout


@pytest.mark.parametrize("running", [True, False])
def test_an_entry_is_told_with_its_trade_and_its_orders(qt, journal, board, running):
    decision_id = f"SOLUSDT-{BAR}"
    changes = {"symbol": "SOLUSDT", "opened_ms": NOW - 1, "stop_price": Decimal("89200.00")}
    trade = msgspec.structs.replace(a_trade(), decision_id=decision_id, **changes)
    journal.append([some_decisions(), positions.TradeChanged(trade=trade)])
    journal.write_intents([an_intent(decision_id, "s0", "BUY", "stop"), an_intent(decision_id, "e0", "SELL", "entry")])
    if not running:
        board.stop()
    got = qt("why", "SOLUSDT")
    lines = got.stdout.splitlines()
    assert lines[0] == "SOLUSDT  2023-11-14 22:00 UTC  entered SHORT, open"
    assert "  Trade  SHORT 0.057 at 87,400, stop 89,200, target 85,000; open" in lines
    placed = [line.split() for line in lines if line.strip().startswith(("stop", "entry"))]
    assert [words[:4] for words in placed] == [["entry", "SELL", "0.5", "100"], ["stop", "BUY", "0.5", "100"]]
    closed = a_result("SOLUSDT", "-2.00", side="SELL", decision_id=decision_id, exit_reason="stop")
    journal.append([closed, funding("SOLUSDT", "-0.25", NOW)])
    if running:
        assert "entered SHORT, closed by stop" in qt("why", "SOLUSDT").stdout
        told = json.loads(qt("why", "SOLUSDT", "--json").stdout)["decisions"][0]["trade"]
        assert (told["side"], told["net_usd"], told["complete"]) == ("SHORT", "-2.75", 1)


@pytest.mark.parametrize("words", ["btcusdt", "BTC/USDT", "btc/usdt:usdt", "BTC-USDT", "BTCUSDT.P", "btc"])
@pytest.mark.usefixtures("board")
def test_a_symbol_is_understood_however_it_is_spelled(qt, journal, words):
    journal.append([some_decisions()])
    assert json.loads(qt("why", words, "--json").stdout)["symbol"] == "BTCUSDT"


@pytest.mark.parametrize("running", [True, False])
def test_a_symbol_nobody_decides_on_is_one_line_with_the_nearest_names(qt, journal, board, running):
    journal.append([some_decisions()])
    board.show(signals.Signals(close_time_ms=BAR, symbols=("BTCUSDT",), signals=(a_signal("BTCUSDT"),)))
    if not running:
        board.stop()
    got = qt("why", "BTCUSD")
    assert (got.exit_code, got.stdout) == (1, "")
    assert len(got.stderr.splitlines()) == 1
    assert got.stderr.startswith("symbol BTCUSD: ")
    assert "nearest: BTCUSDT" in got.stderr


@pytest.mark.usefixtures("board")
def test_what_is_no_symbol_is_wrong_usage(qt):
    got = qt("why", "/")
    assert got.exit_code == 2
    assert "give one such as BTCUSDT" in got.stderr


@pytest.mark.parametrize("columns", [80, 120, 200])
@pytest.mark.usefixtures("board")
def test_piped_no_line_is_wider_than_columns_says_or_padded(qt, journal, columns):
    journal.append([some_decisions(), positions.TradeChanged(trade=a_trade())])
    for words in (("why",), ("why", "BTCUSDT"), ("why", "BTCUSDT", "--all"), ("tree",), ("status",), ("pnl",)):
        lines = qt(*words, COLUMNS=str(columns)).stdout.splitlines()
        assert max(map(len, lines)) <= columns, words
        assert all(line == line.rstrip() for line in lines), words
