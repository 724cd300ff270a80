"""Views find the trader that uses their data folder, wherever it listens."""

from __future__ import annotations

import json
import os
import socket

import pytest

from config.settings import load
from qt_actors.cli import source
from qt_actors.cli.tenancy import FILE_NAME, FolderError, address_of, sole_user, tenant
from tests.cli_board import make_healthy


def settings_of(folder, **env):
    return load(None, {"QT_DATA_DIR": str(folder), **env})


def test_a_trader_on_another_port_than_the_shell_knows_is_found_by_its_data_folder(qt, board, port, tmp_path):
    make_healthy(board)
    with sole_user(settings_of(tmp_path / "var", QT_HTTP_PORT=str(port))):
        got = qt("status", QT_HTTP_PORT="9")
    assert got.exit_code == 0, got.stderr
    assert f"http://127.0.0.1:{port}" in got.stdout
    assert qt("status", QT_HTTP_PORT="9").exit_code == 1, "the folder is free again: its old address says nothing"


@pytest.mark.parametrize(
    ("host", "address"),
    [("0.0.0.0", "http://127.0.0.1:8123"), ("::1", "http://[::1]:8123"), ("localhost", "http://localhost:8123")],  # noqa: S104 # asked for, not bound to
)
def test_the_address_is_one_that_this_machine_can_ask(tmp_path, host, address):
    with sole_user(settings_of(tmp_path, QT_HTTP_HOST=host, QT_HTTP_PORT="8123")):
        assert tenant(tmp_path) == (address, str(os.getpid()))
    assert tenant(tmp_path) is None


def test_a_folder_has_one_trader_and_the_second_one_changes_no_address(tmp_path):
    first, second = settings_of(tmp_path, QT_HTTP_PORT="8001"), settings_of(tmp_path, QT_HTTP_PORT="8002")
    with sole_user(first):
        with pytest.raises(FolderError, match="another qt run uses"), sole_user(second):
            pass
        assert tenant(tmp_path).url == address_of(first)


@pytest.mark.usefixtures("journal")
@pytest.mark.parametrize("words", [("status",), ("positions",), ("pnl",), ("why",), ("tree",)])
def test_a_trader_that_holds_its_folder_and_does_not_answer_is_never_said_not_to_run(qt, tmp_path, words, monkeypatch):
    monkeypatch.setattr(source, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as stopped:  # the system takes the call, nobody picks it up: SIGSTOP
        address = f"http://127.0.0.1:{stopped.getsockname()[1]}"
        with sole_user(settings_of(tmp_path / "var", QT_HTTP_PORT=str(stopped.getsockname()[1]))):
            got = qt(*words, COLUMNS="1000")
            told = json.loads(qt("status", "--json").stdout)
    assert got.exit_code == (1 if words in {("status",), ("tree",)} else 0)
    assert f"a trader holds {tmp_path / 'var'} but does not answer at {address} (timed out): it may hang" in got.output
    assert f"kill -9 {os.getpid()}" in got.output
    assert "no trader" not in got.output.lower()
    assert "not running" not in got.output.lower()
    assert (told["running"], told["status"]) == (None, "not answering")


def test_a_lock_that_is_no_text_is_no_address(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"\xff\xfe")
    assert tenant(tmp_path) is None
