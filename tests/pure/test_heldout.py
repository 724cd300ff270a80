"""What a replay says of the candles that the models know."""

from __future__ import annotations

import pytest

from qt_actors.cli.heldout import held_out_ms, seen_text

HELD = 1_743_465_600_000  # 2025-04-01
KNOWN = "the models were trained and calibrated on candles until 2025-04-01: "


@pytest.mark.parametrize(
    ("begins_ms", "held_ms", "says"),
    [
        (HELD, HELD, KNOWN + "these are new to them"),
        (HELD - 1, HELD, KNOWN + "--from 2025-04-01 begins after them"),
        (None, HELD, KNOWN + "--from 2025-04-01 begins after them"),
        (HELD, None, ""),
    ],
)
def test_a_replay_says_whether_the_models_know_its_candles(begins_ms, held_ms, says):
    assert seen_text(begins_ms, held_ms) == says


def test_without_models_nothing_is_known_of_them(tmp_path):
    assert held_out_ms(tmp_path) is None
