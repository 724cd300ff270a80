"""The web's actor on the deterministic runtime, its server on a real socket."""

from __future__ import annotations

import http.client
import json
import socket
from decimal import Decimal

import pytest

from config.settings import load
from exporters.prometheus import Metrics
from qt_actors.edges.journal import FILE_NAME, next_generation
from qt_actors.edges.journal_queries import SqliteJournalReader
from qt_actors.edges.web.server import web_server
from qt_actors.edges.web.snapshot import RunInfo
from qt_actors.kernel import ChildSpec, Crash, Probe, SimRuntime, SupervisorSpec
from qt_actors.messages.positions import AccountSnapshot, LedgerSynced
from qt_actors.messages.system import BudgetUsed, ControlRequested, ControlTaken
from qt_actors.oversight.web import Web, WebWiring

PATH = "root/web"


def make(folder, port=0):
    runtime = SimRuntime(seed=1)
    governor, executor = Probe(runtime, "root/governor"), Probe(runtime, "root/executor")
    server = web_server(
        load(None, {"QT_DATA_DIR": str(folder), "QT_HTTP_PORT": str(port), "QT_API_TOKEN": "a-token-of-the-test"}),
        RunInfo(version="1", mode="paper", market="replay data", profile="SAFE", bar_interval="1h", models=("xgb",)),
        tree=runtime.tree,
        journal=SqliteJournalReader(folder / FILE_NAME),
        metrics=Metrics(),
        now_ms=runtime.clock.now_ms,
        governor=runtime.address(governor.path),
        executor=runtime.address(executor.path),
    )
    runtime.start(SupervisorSpec("root", children=(ChildSpec("web", lambda: Web(WebWiring(server=server))),)))
    return runtime, server, governor


@pytest.fixture
def house(tmp_path):
    runtime, server, governor = make(tmp_path)
    assert runtime.wait_ready()
    yield runtime, server, governor
    runtime.stop()


def ask(server, path, method="GET", headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(method, path, headers=headers or {})
    told = json.loads(connection.getresponse().read())
    connection.close()
    return told


def an_account(equity):
    money = Decimal(equity)
    return AccountSnapshot(
        serial=1,
        requested_ms=0,
        now_ms=0,
        wallet_usd=money,
        equity_usd=money,
        available_usd=money,
        positions=(),
        orders=(),
        conditionals=(),
    )


def test_what_the_actor_hears_is_what_a_request_reads(house):
    runtime, server, _ = house
    runtime.address(PATH).tell(an_account(123))
    runtime.run_until_idle()
    assert ask(server, "/health")["equity"] == 123.0
    assert {a["path"] for a in ask(server, "/api/tree")["actors"]} == {"root", PATH}


def test_when_the_ledger_was_read_is_heard(house, tmp_path):
    runtime, server, _ = house
    next_generation(tmp_path / FILE_NAME, 0, "paper", "synthetic")
    zero = Decimal(0)
    runtime.address(PATH).tell(
        LedgerSynced(income=(), wallet_usd=zero, equity_usd=zero, unrealized_usd=zero, now_ms=1_234)
    )
    runtime.run_until_idle()
    assert ask(server, "/api/pnl")["ledger_ms"] == 1_234


def test_a_message_it_does_not_show_changes_nothing(house):
    runtime, server, _ = house
    before = ask(server, "/api/risk")
    runtime.address(PATH).tell("gossip")
    runtime.run_until_idle()
    assert ask(server, "/api/risk") == before


def test_an_operators_word_reaches_the_governor_with_what_was_said(house):
    _, server, governor = house
    taken = ControlTaken(control="halt", fault="", entries=False, because="entries halted by operator: drill")
    governor.answers(ControlRequested, lambda _: taken)
    ask(server, "/api/control/halt?reason=drill", "POST", {"Authorization": "Bearer a-token-of-the-test"})
    assert governor.expect(ControlRequested) == ControlRequested(control="halt", reason="drill", by="http")


def test_a_crash_leaves_the_server_up_and_what_was_known_on_the_board(house):
    runtime, server, _ = house
    port = server.port
    runtime.address(PATH).tell(an_account(123))
    runtime.run_until_idle()
    runtime.inject(Crash(path=PATH, nth=runtime.handled(PATH) + 1))
    runtime.address(PATH).tell(BudgetUsed(weight_ratio=0.5, orders_ratio=0))
    runtime.run_for(1000)
    assert next(s.restarts for s in runtime.tree() if s.path == PATH) == 1
    assert server.port == port
    runtime.address(PATH).tell(BudgetUsed(weight_ratio=0.25, orders_ratio=0))
    runtime.run_until_idle()
    assert ask(server, "/health")["equity"] == 123.0


def test_an_orderly_stop_frees_the_port(tmp_path):
    runtime, server, _ = make(tmp_path)
    assert runtime.wait_ready()
    port = server.port
    runtime.stop()
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_taken_port_brings_the_tree_down_with_the_line_that_says_so(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        runtime, _, _ = make(tmp_path, taken.getsockname()[1])
        assert runtime.run_until(runtime.failed.is_set, 600_000)
        assert any("set QT_HTTP_PORT" in s.last_error for s in runtime.tree())
