"""What one run says and how: log lines with the time of a market that is not the wall clock's."""

from __future__ import annotations

import logging
import re

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
