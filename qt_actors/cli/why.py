"""The screen of ``qt why SYMBOL``: the newest bar's decision, what decided it first; earlier bars in a line each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from qt_actors.cli.draw import NAMES, TONES, clock, exact, hanging, number, price, share, table, usd
from qt_actors.cli.source import Json
from qt_actors.decisions.texts import count, exited
from qt_actors.edges.web.decision_views import sentence

_SIDES = (("p_buy", "buy"), ("p_hold", "hold"), ("p_sell", "sell"))


def decisions(told: Json, *, everything: bool = False) -> RenderableType:
    """Return the symbol's decisions, the newest first; ``everything``: each of them with every gate."""
    if not told["decisions"]:
        return Text(f"No decision on {told['symbol']} yet: the first comes with the next closed bar.")
    newest, *older = told["decisions"]
    if everything:
        return Group(*(part for made in told["decisions"] for part in _decision(made, everything=True)))
    parts = list(_decision(newest, everything=False))
    if older:
        parts.append(Text("Before that:", style="dim"))
        parts += [_in(_headline(made)) for made in older]
    return Group(*parts)


def prediction(told: Json) -> RenderableType:
    """Return what the models make of one bar: the call, each vote, where stop and target would be."""
    calm = told["action"] == "HOLD"
    call = f"{told['action']}, confidence {number(told['confidence'])}"
    said = Text(sentence({**told, "verdict": "hold"})) if calm else Text(call, "bold green")
    when = Text(f"{clock(told['close_time_ms'], seconds=False)}  ", "bold")
    parts: list[RenderableType] = [
        hanging(Text(told["symbol"], "bold"), when.append_text(said)),
        Text(""),
        _in(_votes(told["votes"])),
        _in(Text(_tally(told), style="dim")),
    ]
    if not calm and told["stop_pct"]:
        up = 1 if told["action"] == "BUY" else -1
        target, stop = (told["close"] * (1 + up * way) for way in (told["target_pct"], -told["stop_pct"]))
        text = f"close {price(told['close'])} · target {price(target)} · stop {price(stop)}"
        parts.append(_in(Text(text, style="dim")))
    for name, reason in told["models_missing"].items():
        parts.append(_in(hanging(Text(f"! {NAMES.get(name, name)}", "yellow"), Text(f"does not vote: {reason}"))))
    scope = f"{told['bar_interval']} bars of {count(told['market_symbols'], 'symbol')} in {told['data']}"
    return Group(*parts, Text(""), _in(Text(scope, style="dim")))


def _decision(made: Json, *, everything: bool) -> Iterator[RenderableType]:
    yield hanging(Text(made["symbol"], "bold"), _said(made))
    yield Text("")
    if made["votes"]:
        yield _in(_votes(made["votes"]))
        yield _in(Text(_tally(made), style="dim"))
        yield Text("")
    failed = [g for g in made["gates"] if not g["passed"]]
    passed = [g for g in made["gates"] if g["passed"]]
    if everything:
        yield _in(_gates(made["gates"], made["gate"]))
    else:
        if failed:
            yield _in(_gates(failed, made["gate"]))
        if passed:
            names = ", ".join(_name(g) for g in passed)
            said = f"{count(len(passed), 'gate')} passed: {names}"
            yield _in(hanging(Text("✓", "green"), Text(said, style="dim")))
    yield Text("")
    if made["trade"]:
        yield _in(_trade(made["trade"]))
    if made["orders"]:
        yield _in(_orders(made["orders"]))
        yield Text("")


def _in(part: RenderableType) -> Padding:
    return Padding(part, (0, 0, 0, 2), expand=False)


def _said(made: Json) -> Text:
    again = f" (asked {made['evaluations']} times)" if made["evaluations"] > 1 else ""
    return Text.assemble(
        (f"{clock(made['close_time_ms'] + 1, seconds=False)}  ", "bold"),
        (made["sentence"], TONES.get(made["verdict"], "bold yellow")),
        (again, "dim"),
    )


def _headline(made: Json) -> RenderableType:
    when = Text(clock(made["close_time_ms"] + 1, seconds=False))
    return hanging(when, Text(made["sentence"], style=TONES.get(made["verdict"], "")))


def _votes(votes: Iterable[Json]) -> RenderableType:
    rows: list[tuple[Any, ...]] = []
    for vote in votes:
        name, action = NAMES.get(vote["model"], vote["model"]), vote["action"]
        if not action:
            rows.append((name, "–", "", vote["reason"]))
            continue
        chances = "  ".join(f"{side} {share(vote[key], 0)}" for key, side in _SIDES)
        conviction = "" if action == "HOLD" else number(vote["confidence"])
        rows.append((name, Text(action, "" if action == "HOLD" else "bold"), conviction, Text(chances, "dim")))
    return table("<", "<", "", "<", rows=rows)


def _tally(made: Json) -> str:
    regime = f"regime {made['regime']}" if made["regime"] else ""
    agree = f"{made['agree']} of {made['active']} agree, {made['quorum']} must"
    if made["action"] == "HOLD":
        return " · ".join(filter(None, (agree, regime)))
    figures = (f"confidence {number(made['confidence'])}", f"chance of winning {share(made['p_win'], 0)}")
    return " · ".join(filter(None, (f"{made['action']}: {agree}", *figures, regime)))


def _name(gate: Json) -> str:
    return str(gate["name"]).replace("_", " ")


def _gates(gates: Iterable[Json], deciding: str) -> RenderableType:
    """Return a line a gate, its note under its limit."""
    rows = []
    for gate in gates:
        passed = gate["passed"]
        limit = Text(gate["limit"])
        note = "; ".join(filter(None, (gate["note"], "" if passed or not gate["transient"] else "may pass later")))
        if note:
            limit.append(f"\n{note}", "dim")
        tone = "" if passed else "bold red" if gate["name"] == deciding else "bold"
        mark = Text("✓", "green") if passed else Text("✗", "bold red")
        rows.append((mark, Text(_name(gate), tone), gate["value"], limit))
    return table("<", "<Gate", "<Value", "<Needed", rows=rows)


def _trade(trade: Json) -> RenderableType:
    size = f"{trade['side']} {exact(trade['quantity'])} at {exact(trade['entry_price'])}"
    if trade["closed_ms"] is None:
        rest = f"stop {exact(trade['stop_price'])}, target {exact(trade['target_price'])}; {trade['phase']}"
    else:
        net = usd(float(trade["net_usd"]), sign=True) if trade["complete"] else "not known in full"
        ended = f"closed {exited(trade['exit_reason'])} at {exact(trade['exit_price'])}"
        rest = f"{ended} on {clock(trade['closed_ms'])}, net {net}"
    return hanging(Text("Trade", "dim"), Text(f"{size}, {rest}"))


def _orders(orders: Iterable[Json]) -> RenderableType:
    rows = [
        (
            order["purpose"],
            order["side"],
            exact(order["quantity"]),
            exact(order["price"]),
            " ".join(filter(None, (order["outcome"] or "no answer yet", order["reason"]))),
            order["kind"],
        )
        for order in orders
    ]
    return table("<Order", "<Side", "Quantity", "Price", "<Outcome", "?<Kind", rows=rows)
