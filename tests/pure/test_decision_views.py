"""What became of a decision, in one sentence."""

from __future__ import annotations

import pytest

from qt_actors.edges.web.decision_views import missed, sentence


def a_gate(name, value, limit, note=""):
    return {"name": name, "passed": 0, "value": value, "limit": limit, "note": note, "transient": 0}


def a_hold(votes, quorum, warmup=""):
    cast = [{"model": f"m{i}", "action": action, "reason": ""} for i, action in enumerate(votes)]
    active = sum(action is not None for action in votes)
    return {"verdict": "hold", "votes": cast, "active": active, "quorum": quorum, "warmup": warmup}


@pytest.mark.parametrize(
    ("gate", "reads"),
    [
        (a_gate("confidence", "0.41", "≥ 0.55"), "confidence 0.41 below 0.55"),
        (a_gate("mark_gap", "1.20 %", "≤ 1.00 % from mid"), "mark gap 1.20 % above 1.00 % from mid"),
        (a_gate("slots", "6", "< 6 positions"), "slots 6 not below 6 positions"),
        (a_gate("spread", "unknown", "≤ 50 bps"), "spread (unknown; needed: ≤ 50 bps)"),
        (
            a_gate("governor", "EMERGENCY", "new positions allowed", "halted by hand"),
            "governor (EMERGENCY, halted by hand; needed: new positions allowed)",
        ),
    ],
)
def test_a_gate_says_what_it_measured_against_what_it_needs(gate, reads):
    assert missed(gate) == reads
    made = {"verdict": "denied", "gate": gate["name"], "gates": [gate]}
    assert sentence(made) == f"no entry: {reads}"


@pytest.mark.parametrize(
    ("made", "reads"),
    [
        (a_hold(["HOLD", "HOLD", "HOLD", "BUY"], 3), "3 of 4 models say HOLD"),
        (a_hold(["BUY", "SELL", "HOLD", "BUY"], 3), "the models disagree (2 BUY, 1 SELL, 1 HOLD; 3 must agree)"),
        (a_hold([None, None, "BUY"], 2), "only 1 model votes, 2 must agree"),
        (a_hold([None, None], 2), "no model votes, 2 must agree"),
        (a_hold(["HOLD"], 1), "the model says HOLD"),
        (a_hold(["HOLD"], 1, "40/256"), "40 closed bars of the 256 that the models need"),
    ],
)
def test_a_hold_says_how_the_votes_fell(made, reads):
    assert sentence(made) == f"no entry: {reads}"


@pytest.mark.parametrize(
    ("trade", "reads"),
    [
        (None, "admitted, and no order has been sent yet"),
        ({"phase": "stopping", "quantity": "0", "closed_ms": None}, "admitted, entry under way (stopping)"),
        ({"phase": "abandoned", "reason": "stop refused (-2021)"}, "admitted, but given up: stop refused (-2021)"),
        ({"phase": "open", "side": "SHORT", "quantity": "1", "closed_ms": None}, "entered SHORT, open"),
        (
            {"phase": "closed", "side": "LONG", "quantity": "1", "closed_ms": 1, "exit_reason": "trail"},
            "entered LONG, closed by trail",
        ),
    ],
)
def test_an_entry_says_how_far_it_came(trade, reads):
    assert sentence({"verdict": "admitted"}, trade) == reads
