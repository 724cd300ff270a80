"""The screen of ``qt tree``: who runs, since when, how often restarted, what waits; who is in trouble stands first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.text import Text

from qt_actors.cli.draw import clock, hanging, span, table
from qt_actors.cli.source import Json
from qt_actors.decisions.texts import count

BUSY_MS: Final = 2_000
"""Longer in one message is worth a look."""
HUNG_MS: Final = 10_000
"""The shortest patience of the tree's watchdogs: past it an actor is about to be given up."""
_EPOCH_MS: Final = 1_000_000_000_000


def tree(told: Json) -> RenderableType:
    """Return the supervision tree: a summary, what is wrong, a line an actor."""
    actors = told["actors"]
    ill = [actor for actor in actors if _trouble(actor)]
    rows = [_row(actor) for actor in actors]
    heads = ("<Actor", "<State", "Up", "Restarts", "Waiting", "Busy", "?Handled", "?<Figures")
    wrong = (hanging(Text(f"  ! {actor['path']}", "bold red"), Text(_trouble(actor))) for actor in ill)
    return Group(_summary(actors), *wrong, Text(""), table(*heads, rows=rows))


def _summary(actors: Iterable[Json]) -> Text:
    workers = [actor for actor in actors if actor["kind"] != "supervisor"]
    states = [_state(actor) for actor in workers]
    tally = {state: states.count(state) for state in dict.fromkeys(states)}
    told = "all up" if set(tally) == {"up"} else ", ".join(f"{many} {state}" for state, many in tally.items())
    restarts = sum(actor["restarts"] for actor in actors)
    text = f"{count(len(workers), 'actor')}: {told}; {count(restarts, 'restart')} since the start"
    return Text(text, style="bold" if set(tally) == {"up"} else "bold yellow")


def _state(actor: Json) -> str:
    """Return the state, or that an actor that is up does not come back from its message."""
    if actor["state"] == "up" and actor["busy_ms"] >= BUSY_MS:
        return "hung" if actor["busy_ms"] >= HUNG_MS else "busy"
    return {"backoff": "restarting", "idle": "not started"}.get(actor["state"], str(actor["state"]))


def _trouble(actor: Json) -> str:
    """Return what is wrong with an actor, or was at last; empty when nothing ever was."""
    said = []
    state = _state(actor)
    if state in {"hung", "busy"}:
        said.append(f"{state}: {_busy(actor['busy_ms'])} in {actor['last_message']}")
    elif state not in {"up", "starting"}:
        said.append(state)
    if actor["circuits"]:
        said.append(f"kept from it because it crashed on them: {', '.join(actor['circuits'])}")
    if actor["zombies"]:
        said.append(f"{count(actor['zombies'], 'stuck predecessor')} still there")
    if actor["last_error"]:
        when = f" at {clock(actor['last_error_ms'])}" if actor["last_error_ms"] else ""
        said.append(f"last error{when}: {actor['last_error']}")
    return "; ".join(said)


def _row(actor: Json) -> tuple[Any, ...]:
    parts = actor["path"].split("/")
    state = _state(actor)
    well = state == "up"
    tone = "" if well else "bold red" if state in {"hung", "ended"} else "bold yellow"
    heading = "bold" if actor["kind"] == "supervisor" else ""
    name = Text("  " * (len(parts) - 1) + parts[-1], tone or heading)
    return (
        name,
        Text(state, "green" if well else tone),
        span(actor["up_ms"] / 1000) if actor["up_ms"] else "–",
        Text(str(actor["restarts"]), "yellow" if actor["restarts"] else ""),
        actor["mailbox_depth"],
        _busy(actor["busy_ms"]),
        f"{actor['handled']:,}",
        Text(_supervision(actor) if heading else _figures(actor["statistics"]), "dim"),
    )


def _busy(ms: int) -> str:
    return "–" if not ms else f"{ms} ms" if ms < BUSY_MS else span(ms / 1000)


def _supervision(actor: Json) -> str:
    """Return how a supervisor restarts, and how much of its patience is used."""
    said, figures = str(actor["detail"]).replace("_", " "), actor["statistics"]
    if not figures.get("failures"):
        return said
    return f"{said}; {figures['failures']} of {figures['intensity']} failures in {span(figures['period_ms'] / 1000)}"


def _figures(statistics: Mapping[str, object]) -> str:
    """Return an actor's own figures as people read them; what is empty is left out."""
    shown = ((name, _value(name, value)) for name, value in statistics.items())
    return ", ".join(f"{name.removesuffix('_ms').replace('_', ' ')} {text}" for name, text in shown if text)


def _value(name: str, value: object) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_ms") and isinstance(value, int):
        return "" if not value else clock(value, seconds=False) if value > _EPOCH_MS else span(value / 1000)
    return f"{value:.3g}" if isinstance(value, float) else str(value)
