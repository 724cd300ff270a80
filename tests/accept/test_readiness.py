"""A configuration that can never enter anything is refused before anything starts."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from config.settings import load
from models.registry import ARTIFACTS
from qt_actors.cli.ownership import STATE_NAME
from qt_actors.cli.readiness import holds_trades, idle_wallet, without_quorum
from qt_actors.decisions.trade_life import begin
from qt_actors.edges.journal import FILE_NAME, SqliteJournal
from qt_actors.messages.positions import TradeChanged
from tests.builders import a_plan
from tests.processes import QT, environment


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    shutil.copytree(ARTIFACTS, folder)
    return folder


def fault(folder, **env):
    return without_quorum(load(None, {"QT_MODELS_DIR": str(folder), **env}))


def test_the_shipped_models_are_enough():
    assert without_quorum(load(None, {})) == ""


def test_two_whole_models_are_enough_and_one_is_not(models):
    (models / "xgb.onnx").unlink()
    (models / "lgbm.json").write_bytes(b"{")
    assert fault(models) == ""
    (models / "nhits.onnx").write_bytes((models / "nhits.onnx").read_bytes()[:1000])
    told = fault(models)
    assert "1 of 4 models can vote, 2 must agree" in told
    assert f"{models / 'xgb.onnx'}: missing (2 more like it); restore it" in told
    assert fault(models, AI_MODEL="patchtst") == ""
    assert "0 of 1" in fault(models, AI_MODEL="xgb")


def test_an_interval_without_models_names_the_models_own_and_an_empty_folder_how_to_fill_it(tmp_path):
    assert "where all models are of 1h bars set QT_BAR_INTERVAL=1h, else train this one with" in without_quorum(
        load(None, {"QT_BAR_INTERVAL": "15m"})
    )
    assert "missing" in fault(tmp_path)
    assert "qt train --data DIR --out DIR" in fault(tmp_path)


@pytest.mark.parametrize("bad", [{"QT_BAR_INTERVAL": "15m"}, {"QT_MODELS_DIR": "/nowhere"}])
def test_such_a_start_is_one_line_and_exit_code_2_and_leaves_nothing(tmp_path, bad):
    data = tmp_path / "data"
    done = subprocess.run(
        [*QT, "run"], env=environment(data, 0, **bad), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("nothing could ever be entered, 0 of 4 models can vote, 2 must agree: ")
    assert len(done.stderr.splitlines()) == 1
    assert not (data / FILE_NAME).exists()


def test_open_trades_are_seen_so_that_they_are_protected_without_models(tmp_path):
    settings = load(None, {"QT_DATA_DIR": str(tmp_path)})
    assert not holds_trades(settings)
    journal = SqliteJournal(settings.data_dir / FILE_NAME, lambda: 1)
    assert not holds_trades(settings)
    journal.append([TradeChanged(trade=begin(a_plan(), 0).trade)])
    journal.close()
    assert holds_trades(settings)


def test_a_wallet_asked_for_counts_on_a_new_paper_account_only_and_says_so_else(tmp_path):
    def told(wallet, **where):
        return idle_wallet(load(None, {"QT_DATA_DIR": str(tmp_path), "QT_PAPER_WALLET": wallet}), **where)

    assert told("500", embedded=True) == ""
    assert "the exchange's own" in told("500", embedded=False)
    (tmp_path / STATE_NAME).write_text("{}")
    assert told("500", embedded=True).endswith("--fresh begins a new one")
    assert told("10000", embedded=True) == ""


def test_a_host_that_is_not_this_machines_is_one_line_that_names_the_variable(tmp_path):
    host = "192.0.2.1"  # of nobody: RFC 5737
    done = subprocess.run(
        [*QT, "run"], env=environment(tmp_path, 0, QT_HTTP_HOST=host),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert line.startswith(f"QT_HTTP_HOST={host} is no address of this machine; set 127.0.0.1")
