"""Whose account lies in the data folder: known by its id, put aside whole, brought back, never mixed."""

from __future__ import annotations

import shutil
from decimal import Decimal

import msgspec
import pytest

from qt_actors.cli.ownership import ARCHIVE_NAME, MOVE_NAME, STATE_NAME, Asked, Kept, judge, kept_in, own
from qt_actors.cli.venue import StartError
from qt_actors.edges.journal import FILE_NAME, SqliteJournal, next_generation
from qt_actors.edges.journal_queries import SqliteJournalReader
from qt_actors.exchange.config import ExchangeConfig, rules_of, source_of
from qt_actors.exchange.exchange import Exchange
from qt_actors.exchange.saved_state import Owner
from qt_actors.messages import positions

NOW = 1_700_000_000_000
STATE = "synthetic:1 of 1 symbols"
EMBEDDED = Asked(mode="paper", market="synthetic seed 1", state_market=STATE)
REMOTE = Asked(mode="paper", market="exchange http://127.0.0.1:9000 (synthetic:1)", account="aa")
TESTNET = Asked(mode="testnet", market="testnet", account="k1")
OURS = Kept(mode="paper", market="synthetic seed 1", account="aa", journal=True, state=Owner("aa", STATE))
THERE = Kept(mode="paper", market="exchange http://localhost:9000 (synthetic:1)", account="aa", journal=True)
TESTED = Kept(mode="testnet", market="testnet", account="k1", journal=True)
change = msgspec.structs.replace


@pytest.mark.parametrize(
    ("kept", "asked", "act", "looks_back"),
    [
        (Kept(), EMBEDDED, "keep", True),
        (OURS, EMBEDDED, "keep", False),
        (change(OURS, account=""), EMBEDDED, "keep", False),
        (Kept(state=Owner("aa", STATE)), EMBEDDED, "keep", False),
        (change(OURS, state=None), EMBEDDED, "aside", False),
        (change(OURS, state=Owner("bb", STATE)), EMBEDDED, "aside", True),
        (OURS, change(EMBEDDED, market="synthetic seed 2", state_market="synthetic:2 of 1 symbols"), "aside", True),
        (OURS, change(EMBEDDED, state_market="synthetic:1 since another day"), "aside", True),
        (OURS, REMOTE, "aside", True),
        (THERE, REMOTE, "keep", False),
        (THERE, EMBEDDED, "aside", True),
        (change(THERE, market=REMOTE.market, account="bb"), REMOTE, "aside", True),
        (OURS, TESTNET, "refuse", False),
        (TESTED, EMBEDDED, "refuse", False),
        (TESTED, TESTNET, "keep", False),
        (Kept(), TESTNET, "keep", False),
        (change(TESTED, account=""), TESTNET, "keep", False),
        (TESTED, change(TESTNET, account="k2"), "refuse", False),
        (TESTED, change(TESTNET, account="k2", same_account=True), "keep", False),
    ],
)
def test_an_account_is_known_by_its_id_and_only_paper_is_ever_moved(kept, asked, act, looks_back):
    verdict = judge(kept, asked, fresh=False)
    assert (verdict.act, verdict.look_back) == (act, looks_back)
    assert bool(verdict.why) == (act != "keep")


@pytest.mark.parametrize(
    ("kept", "asked", "act"),
    [
        (OURS, EMBEDDED, "aside"),
        (THERE, REMOTE, "aside"),
        (Kept(), EMBEDDED, "keep"),
        (TESTED, TESTNET, "refuse"),
        (Kept(), TESTNET, "refuse"),
    ],
)
def test_a_fresh_account_is_begun_on_paper_only_and_never_looks_back(kept, asked, act):
    verdict = judge(kept, asked, fresh=True)
    assert (verdict.act, verdict.look_back) == (act, False)


def embedded(seed):
    config = ExchangeConfig(symbols="BTCUSDT", seed=seed)
    return Asked(
        mode="paper", market=f"synthetic seed {seed}", state_market=source_of(config, rules_of(config)).identity
    )


def run(folder, seed, wallet_usd):
    """One run of the trader as far as the folder sees it; returns the account's id and what the journal holds."""
    asked = embedded(seed)
    own(folder, asked, fresh=False)
    exchange = Exchange(ExchangeConfig(symbols="BTCUSDT", seed=seed, state_path=str(folder / STATE_NAME)))
    next_generation(folder / FILE_NAME, NOW, "paper", asked.market, exchange.account)
    journal = SqliteJournal(folder / FILE_NAME, lambda: NOW)
    journal.append([a_transfer(wallet_usd)])
    exchange.close()
    journal.close()
    return exchange.account, held(folder)


def a_transfer(amount_usd):
    row = positions.IncomeRow(
        kind="TRANSFER",
        transaction_id=amount_usd,
        symbol="",
        amount_usd=Decimal(amount_usd),
        asset="USDT",
        time_ms=NOW,
    )
    return positions.LedgerSynced(
        income=(row,), wallet_usd=Decimal(0), equity_usd=Decimal(0), unrealized_usd=Decimal(0), now_ms=NOW
    )


def held(folder):
    return [r["entries"] for r in SqliteJournalReader(folder / FILE_NAME).rows("income_by_kind")]


def test_each_market_keeps_its_own_account_and_goes_on_with_it(tmp_path, caplog):
    caplog.set_level("INFO")
    first, _ = run(tmp_path, 1, 1)
    assert run(tmp_path, 1, 2) == (first, [2]), "the same market goes on"
    second, rows = run(tmp_path, 2, 3)
    assert second != first
    assert rows == [1], "nothing of the first account is mixed in"
    assert run(tmp_path, 1, 4) == (first, [3])
    assert run(tmp_path, 2, 5) == (second, [2])
    assert len(list((tmp_path / ARCHIVE_NAME).iterdir())) == 1
    said = [r.getMessage() for r in caplog.records]
    assert sum("was put aside" in line for line in said) == 3
    assert sum("goes on; it was in" in line for line in said) == 2


def test_a_deleted_exchange_state_is_a_new_account_and_the_old_journal_is_put_aside(tmp_path, caplog):
    caplog.set_level("INFO")
    first, _ = run(tmp_path, 1, 1)
    (tmp_path / STATE_NAME).unlink()
    second, rows = run(tmp_path, 1, 2)
    assert second != first
    assert rows == [1]
    assert "its exchange.json is gone" in caplog.text
    (aside,) = (tmp_path / ARCHIVE_NAME).iterdir()
    assert held(aside) == [1]


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("moved", range(6))
def test_a_move_that_was_killed_half_way_is_finished_by_the_next_start(tmp_path, back, moved):
    first, _ = run(tmp_path, 1, 1)
    aside = tmp_path / ARCHIVE_NAME / "20260101T000000 it"
    aside.mkdir(parents=True)
    files = sorted(p for p in tmp_path.iterdir() if p.name.startswith((FILE_NAME, STATE_NAME)))
    assert len(files) == 5
    for path in files if back else files[:moved]:
        shutil.move(path, aside)
    for path in files[:moved] if back else ():
        shutil.move(aside / path.name, tmp_path)
    (tmp_path / MOVE_NAME).write_text(f'{{"archived":"{aside.name}","back":{str(back).lower()}}}')
    assert run(tmp_path, 1, 2) == (first, [2])
    assert not (tmp_path / MOVE_NAME).exists()
    assert not aside.exists(), "whole again, in one place"


def test_what_was_put_aside_and_cannot_be_read_stays_where_it_is(tmp_path):
    aside = tmp_path / ARCHIVE_NAME / "20260101T000000 it"
    aside.mkdir(parents=True)
    (aside / FILE_NAME).write_bytes(b"garbage" * 100)
    run(tmp_path, 1, 1)
    assert (aside / FILE_NAME).read_bytes() == b"garbage" * 100


@pytest.mark.parametrize("name", [FILE_NAME, STATE_NAME, MOVE_NAME])
@pytest.mark.parametrize("content", [b"\xff\xfe garbage", b"[1]", b"{}", b"a" * 5000])
def test_a_file_that_is_not_what_its_name_says_is_one_line_and_nothing_is_moved(tmp_path, name, content):
    run(tmp_path, 1, 1)
    (tmp_path / name).write_bytes(content)
    before = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(StartError, match=name) as refused:
        own(tmp_path, embedded(2), fresh=False)
    assert "\n" not in str(refused.value)
    assert [n for n in sorted(p.name for p in tmp_path.iterdir()) if "-" not in n] == [
        n for n in before if "-" not in n
    ]
    assert (tmp_path / name).read_bytes() == content


def test_a_folder_that_cannot_take_the_move_is_one_line_and_loses_nothing(tmp_path):
    account, _ = run(tmp_path, 1, 1)
    (tmp_path / ARCHIVE_NAME).write_text("a file where a folder should be")
    with pytest.raises(StartError, match="QT_DATA_DIR") as refused:
        own(tmp_path, embedded(2), fresh=False)
    assert "\n" not in str(refused.value)
    (tmp_path / ARCHIVE_NAME).unlink()
    own(tmp_path, embedded(2), fresh=False)
    (aside,) = (tmp_path / ARCHIVE_NAME).iterdir()
    assert kept_in(aside).account == account
