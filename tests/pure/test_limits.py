"""The limits that are told are those that decide, and each says whose word it is."""

from __future__ import annotations

from decimal import Decimal as D

import pytest

from config.settings import load
from qt_actors.decisions.day import loss_limit_of
from qt_actors.decisions.governor import gross_limit
from qt_actors.decisions.limits import limits_of, limits_text
from qt_actors.decisions.policy import base_confidence, positions_max


def named(settings, start=D(10_000), equity=D(9_000)):
    return {limit.name: limit for limit in limits_of(settings, start, equity)}


@pytest.mark.parametrize("profile", ["SAFE", "AGGRESSIVE", "NONE"])
@pytest.mark.parametrize(
    "env", [{}, {"QT_MAX_DAILY_LOSS": "100", "QT_MAX_GROSS_NOTIONAL": "500", "QT_MAX_POSITIONS": "2"},
            {"RM_MAX_CONCURRENT_TRADES": "1", "QT_CONFIDENCE_THRESHOLD": "0.7"}],
)  # fmt: skip
def test_what_is_told_is_what_decides(profile, env):
    settings = load(None, {"ORCHESTRATOR_PROFILE": profile, **env})
    told = named(settings)
    assert told["daily loss"].value == pytest.approx(float(loss_limit_of(D(10_000), settings)))
    assert told["gross notional"].value == pytest.approx(float(gross_limit(D(9_000), settings)))
    assert told["open positions"].value == positions_max(settings)
    assert (told["base confidence"].value, told["base confidence"].source) == base_confidence(settings)


def test_the_default_profile_tightens_every_default_and_says_so():
    told = named(load(None, {}))
    assert {n: (limit.value, limit.source.split(":")[0]) for n, limit in told.items()} == {
        "risk per trade": (0.008, "profile SAFE"),
        "open positions": (6, "profile SAFE"),
        "leverage": (10, "profile SAFE"),
        "daily loss": (200.0, "profile SAFE"),
        "gross notional": (45_000.0, "QT_MAX_GROSS_NOTIONAL"),
        "base confidence": (0.55, "profile SAFE"),
    }
    assert told["daily loss"].allows["QT_MAX_DAILY_LOSS"] == 1500


def test_a_tighter_variable_is_named_as_the_source():
    told = named(load(None, {"QT_DEFAULT_LEVERAGE": "3", "RM_MAX_CONCURRENT_TRADES": "2"}))
    assert (told["leverage"].value, told["leverage"].source) == (3, "QT_DEFAULT_LEVERAGE")
    assert (told["open positions"].value, told["open positions"].source) == (2, "RM_MAX_CONCURRENT_TRADES")


def test_before_the_account_is_known_a_share_of_it_is_not_guessed():
    told = named(load(None, {}), None, None)
    assert (told["daily loss"].value, told["daily loss"].source) == (None, "")
    assert told["open positions"].value == 6


def test_the_line_says_value_source_and_what_the_others_allow():
    line = limits_text(limits_of(load(None, {}), D(10_000), D(10_000)))
    assert "open positions 6 (profile SAFE; QT_MAX_POSITIONS allows 10; RM_MAX_CONCURRENT_TRADES allows 10)" in line
    assert "daily loss $200.00 (profile SAFE: 2 % of the day's start; QT_MAX_DAILY_LOSS allows $1,500.00)" in line
    assert "risk per trade 0.8 % of equity" in line
    assert "\n" not in line
