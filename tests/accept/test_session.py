"""What one run says and how: log lines with the time of a market that is not the wall clock's."""

from __future__ import annotations

import logging
import re

import pytest

from qt_actors.cli.session import OneLine
from qt_actors.kernel import Clock


class Standing(Clock):
    speed = 60.0

    def now_ms(self):
        return 1_700_000_000_000


def test_a_log_line_carries_the_markets_time_where_it_is_not_the_wall_clocks():
    record = logging.LogRecord("qt_actors.trading.executor", logging.WARNING, "", 0, "placed %s", ("it",), None)
    lines = OneLine()
    assert re.fullmatch(r"\d\d:\d\d:\d\d executor      WARNING placed it", lines.format(record))
    lines.market = Standing()
    assert re.fullmatch(r"\d\d:\d\d:\d\d \(11-14 22:13:20\) executor      WARNING placed it", lines.format(record))


@pytest.mark.parametrize(
    ("logger", "said", "shown"),
    [
        ("qt_actors.minds.ensemble", "[ENSEMBLE] BTCUSDT: SELL", "[ENSEMBLE] BTCUSDT: SELL"),
        ("qt_actors.minds.ensemble", "bar 2026-01-01", "ensemble      bar 2026-01-01"),
        ("qt_actors.edges.web.server", "dashboard", "web           dashboard"),
        ("qt", "[PAPER] on", "qt            [PAPER] on"),
    ],
)
def test_who_speaks_is_named_once(logger, said, shown):
    record = logging.LogRecord(logger, logging.INFO, "", 0, said, (), None)
    assert OneLine().format(record).partition(" ")[2] == shown
