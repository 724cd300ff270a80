"""The command line beside a served board, a journal, or nothing."""

from __future__ import annotations

import socket

import pytest
import typer
from typer.testing import CliRunner

from config.settings import load
from exporters.prometheus import Metrics
from qt_actors.cli import views
from qt_actors.edges.journal import FILE_NAME, SqliteJournal, next_generation
from qt_actors.edges.journal_queries import SqliteJournalReader
from qt_actors.edges.web.server import web_server
from qt_actors.edges.web.snapshot import RunInfo
from tests.cli_board import MODELS, NOW, an_actor

app = typer.Typer()
views.register(app)


class Nobody:
    """A mailbox nobody is told through: views only read."""

    path = "root/nobody"

    def tell(self, message, **_):
        raise AssertionError(message)


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture
def qt(tmp_path, port, monkeypatch):
    monkeypatch.chdir(tmp_path)  # no .env of the developer

    def call(*words, **environ):
        known = {"QT_DATA_DIR": str(tmp_path / "var"), "QT_HTTP_PORT": str(port), "COLUMNS": ""}
        return CliRunner().invoke(app, words, env={**known, **environ})

    return call


@pytest.fixture
def journal(tmp_path):
    (tmp_path / "var").mkdir()
    path = tmp_path / "var" / FILE_NAME
    next_generation(path, NOW, "paper", "synthetic seed 7")
    journal = SqliteJournal(path, lambda: NOW)
    yield journal
    journal.close()


@pytest.fixture
def actors():
    """What the tree of the board consists of; a test may change it."""
    return [an_actor("root", "supervisor", statistics={"failures": 0}), an_actor("root/executor")]


@pytest.fixture
def board(tmp_path, port, journal, actors):
    """The web of a running trader."""
    server = web_server(
        load(None, {"QT_DATA_DIR": str(tmp_path / "var"), "QT_HTTP_PORT": str(port)}),
        RunInfo(
            version="0.1.0", mode="paper", market="synthetic seed 7", profile="SAFE", bar_interval="1h", models=MODELS
        ),
        tree=lambda: tuple(actors),
        journal=SqliteJournalReader(journal.path),
        metrics=Metrics(),
        now_ms=lambda: NOW,
        governor=Nobody(),
        executor=Nobody(),
    )
    server.start()
    yield server
    server.stop()
