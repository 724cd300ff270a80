"""A symbol's decisions as they are told: one sentence each and, of an admitted one, its trade and its orders.

Pure but for the journal it is given. Page, API and command line show these, gates in the order in which they were asked
(those that admission asked again stand where they were asked last).
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from qt_actors.decisions.texts import HELD, UNKNOWN, exited
from qt_actors.ports import JournalReader

Json = dict[str, Any]
_MISSED: Final = {"≥": "below", "≤": "above", "<": "not below", ">": "not above"}


def decided(journal: JournalReader, rows: list[Json]) -> list[Json]:
    """Return the journal's decisions with ``sentence``, ``trade`` (None: there is none) and ``orders``.

    Prices and quantities are texts as the journal keeps them, ``net_usd`` includes funding; times are ms UTC.
    """
    told = []
    for made in rows:
        trade, orders = None, []
        if made["verdict"] == "admitted":
            asked = {"decision_id": made["decision_id"]}
            trade = next(map(_trade, journal.rows("trade_of", asked)), None)
            orders = journal.rows("intents_of", asked)
        told.append({**made, "sentence": sentence(made, trade), "trade": trade, "orders": orders})
    return told


def _trade(row: Json) -> Json:
    """Return a trade, open or ended, in one shape."""
    state = row.pop("state") or {}
    return {
        **row,
        "side": HELD[row["side"]],
        "quantity": row["quantity"] or state.get("filled"),
        "entry_price": row["entry_price"] or state.get("entry_price"),
        "stop_price": state.get("stop_price"),
        "target_price": state.get("target_price"),
        "reason": state.get("reason", ""),
    }


def sentence(made: Json, trade: Json | None = None) -> str:
    """Return what became of a decision in one sentence: ``no entry: confidence 0.41 below 0.55``."""
    if made["verdict"] == "hold":
        return f"no entry: {_held(made)}"
    if made["verdict"] == "denied":
        gate = next((g for g in made["gates"] if g["name"] == made["gate"]), None)
        return f"no entry: {missed(gate) if gate else made['gate'] or 'no order could be planned'}"
    if trade is None:
        return "admitted, and no order has been sent yet"
    if trade["phase"] == "abandoned":
        return f"admitted, but given up: {trade['reason'] or 'no reason was told'}"
    if not trade["quantity"] or not float(trade["quantity"]):
        return f"admitted, entry under way ({trade['phase']})"
    now = trade["phase"] if trade["closed_ms"] is None else f"closed {exited(trade['exit_reason'])}"
    return f"entered {trade['side']}, {now}"


def missed(gate: Json) -> str:
    """Return what a gate measured against what it needs: ``spread 62.0 bps above 50 bps``."""
    name, value, note = gate["name"].replace("_", " "), gate["value"], gate["note"]
    sign, _, limit = gate["limit"].partition(" ")
    if sign in _MISSED and value != UNKNOWN:
        return f"{name} {value} {_MISSED[sign]} {limit}"
    return f"{name} ({value}{f', {note}' if note else ''}; needed: {gate['limit']})"


def _held(made: Json) -> str:
    """Return why the models' votes come to no side."""
    if made["warmup"]:
        have, _, need = made["warmup"].partition("/")
        return f"{have} closed bars of the {need} that the models need"
    active, quorum = made["active"] or 0, made["quorum"] or 0
    counts = Counter(v["action"] for v in made["votes"] if v["action"])
    if active < quorum or not active:
        votes = {0: "no model votes", 1: "only 1 model votes"}.get(active, f"only {active} models vote")
        return f"{votes}, {quorum} must agree" if quorum else votes
    if counts["HOLD"] >= quorum:
        return f"{counts['HOLD']} of {active} models say HOLD" if active > 1 else "the model says HOLD"
    cast = ", ".join(f"{counts[action]} {action}" for action in ("BUY", "SELL", "HOLD") if counts[action])
    return f"the models disagree ({cast}; {quorum} must agree)"
