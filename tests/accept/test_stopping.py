"""Signals to a running trader: however often the same wish is passed on, it stops in order."""

from __future__ import annotations

import signal

from tests.processes import Process, environment, free_port


def test_a_wish_to_stop_that_is_passed_on_once_more_while_stopping_is_the_same_wish(tmp_path):
    trader = Process(["run", "--symbols", "BTCUSDT,ETHUSDT"], environment(tmp_path / "data", free_port()), tmp_path)
    trader.wait_for("all actors are up", 60)
    trader.popen.send_signal(signal.SIGINT)
    trader.wait_for("stopping: no new entries")
    trader.popen.send_signal(signal.SIGTERM)
    assert trader.popen.wait(20) == 0
    assert "stopped in order" in trader.log.read_text()
    assert "Traceback" not in trader.log.read_text()
