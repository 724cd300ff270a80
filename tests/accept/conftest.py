"""What the acceptance tests share."""

from __future__ import annotations

import pytest

from tests.processes import RUNNING, Process, environment, free_port, get, wait_until
from tests.web_site import Site


@pytest.fixture
def site(tmp_path):
    """A web server that listens, with an empty journal."""
    site = Site(tmp_path)
    yield site
    site.close()


@pytest.fixture(autouse=True)
def nobody_is_left_running():
    yield
    while RUNNING:
        left = RUNNING.pop()
        left.kill()
        left.wait()


@pytest.fixture
def exchange(tmp_path):
    """An exchange of its own: 12 synthetic symbols, half an hour a second."""
    port = free_port()
    symbols = "BTCUSDT,ETHUSDT,BNBUSDT,SOLUSDT,XRPUSDT,ADAUSDT,DOGEUSDT,LINKUSDT,AVAXUSDT,LTCUSDT,DOTUSDT,NEARUSDT"
    process = Process(
        ["exchange", "--port", str(port), "--speed", "1800", "--symbols", symbols],
        environment(tmp_path / "unused", 0),
        tmp_path,
    )
    base = f"http://127.0.0.1:{port}"

    def is_up():
        try:
            return get(f"{base}/fapi/v1/ping") == {}
        except OSError:
            return False

    wait_until(is_up, 60, process.log.read_text)
    return base
