"""Which account a run goes on with: the embedded exchange's own state, an exchange elsewhere, one started anew."""

from __future__ import annotations

import signal
import subprocess
from decimal import Decimal as D

import pytest

from tests.processes import (
    DEADLINE_S,
    QT,
    Journal,
    Process,
    environment,
    free_port,
    wait_until,
)


@pytest.mark.slow
def test_the_paper_account_of_the_embedded_exchange_comes_back_from_its_own_state(tmp_path):
    journal, env = Journal(tmp_path / "data"), environment(tmp_path / "data", free_port())
    first = Process(["run", "--speed", "1800"], env, tmp_path)
    wait_until(lambda: journal.rows("SELECT 1 FROM trades WHERE phase = 'open'"), DEADLINE_S, first.log.read_text)
    first.stop(signal.SIGKILL)
    (open_before,) = {row[0] for row in journal.rows("SELECT count(*) FROM trades WHERE phase = 'open'")}
    second = Process(["run", "--speed", "1800", "--duration", "8"], env, tmp_path)
    assert second.popen.wait(60) == 0
    text = second.log.read_text()
    assert "Traceback" not in text
    assert not journal.rows("SELECT 1 FROM incidents WHERE kind = 'adopted position'"), text
    equal = journal.total("SELECT amount_usd FROM income")
    (wallet,) = journal.rows("SELECT wallet_usd FROM equity ORDER BY now_ms DESC LIMIT 1")[0]
    assert open_before >= 1
    assert equal == D(wallet)


def an_exchange(port, folder, *more):
    process = Process(
        ["exchange", "--port", str(port), "--symbols", "BTCUSDT", *more], environment(folder / "unused", 0), folder
    )
    process.wait_for("exchange http://", 60)
    return process


def test_an_exchange_elsewhere_is_known_by_its_account_and_not_by_its_address(tmp_path):
    journal, port, state = Journal(tmp_path / "data"), free_port(), str(tmp_path / "state")
    env = environment(tmp_path / "data", free_port())

    def trade(base):
        done = subprocess.run(
            [*QT, "run", "--exchange-url", base, "--duration", "1"],
            env=env, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stderr, len(journal.rows("SELECT 1 FROM sessions"))

    first = an_exchange(port, tmp_path, "--state", state)
    for starts, base in enumerate(("http://127.0.0.1:{}", "http://LOCALHOST:{}/", "HTTP://localhost:{}"), 1):
        said, counted = trade(base.format(port))
        assert counted == starts
        assert "put aside" not in said
    assert first.stop() == 0
    other = an_exchange(port, tmp_path)
    said, counted = trade(f"http://localhost:{port}")
    assert counted == 1
    assert "the exchange there has another account now" in said
    assert other.stop() == 0
    an_exchange(port, tmp_path, "--state", state)
    said, counted = trade(f"http://127.0.0.1:{port}")
    assert counted == 4, "the first account's journal came back"
    assert "goes on; it was in" in said


def test_an_exchange_that_is_started_anew_under_a_running_trader_stops_it(tmp_path):
    port = free_port()
    first = an_exchange(port, tmp_path)
    trader = Process(
        ["run", "--exchange-url", f"http://127.0.0.1:{port}"], environment(tmp_path / "data", free_port()), tmp_path
    )
    trader.wait_for("all actors are up", 60)
    assert first.stop() == 0
    an_exchange(port, tmp_path)
    trader.wait_for("the exchange has another account now", 30)
    assert trader.popen.wait(20) == 1
