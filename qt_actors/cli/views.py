"""The views: ``qt status, positions, pnl, why, tree, predict``. They ask the running trader, else its journal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from qt_actors.cli.run import settings_or_exit
from qt_actors.cli.say import problem, wrong_usage
from qt_actors.cli.source import Json, NotRunningError, RefusedError, Trader, journal_of
from qt_actors.cli.symbols import nearest, spellings
from qt_actors.edges.journal_schema import JournalError

if TYPE_CHECKING:
    from config.settings import Settings
    from qt_actors.edges.journal_queries import SqliteJournalReader

WELL: Final = frozenset({"healthy", "starting", "halted", "paused"})
"""Somebody's wish that nothing is entered is no illness."""
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object instead of a screen.")]


def status(*, json: AsJson = False) -> None:
    """Show what runs, whether it is well, what it holds and who votes.

    Exit code: 0 healthy (also halted or paused by an operator) or starting, 1 degraded, unhealthy, not running or
    not answering, 2 wrong usage.
    """
    from qt_actors.cli import screens, stored  # noqa: PLC0415 # rich is slow to import, --help does not need it

    def live(trader: Trader) -> Json:
        health = trader.ask("/health")
        if "ai_status" not in health:
            raise NotRunningError(f"{trader.url} answers, but not as a trader does; is another program on that port?")
        return {**health, "risk": trader.ask("/api/risk"), "ai": trader.ask("/api/ai/status")}

    told = _told(settings_or_exit(), live, stored.status)
    _out(told, screens.status, json=json, noted=False)
    raise typer.Exit(0 if told["status"] in WELL else 1)


def positions(*, json: AsJson = False) -> None:
    """Show the open positions with stop, target and trail."""
    from qt_actors.cli import screens, stored  # noqa: PLC0415 # as above

    told = _told(settings_or_exit(), lambda t: t.ask("/api/positions"), stored.positions)
    _out(told, screens.positions, json=json)


def pnl(
    *, days: Annotated[int, typer.Option(min=1, max=400, help="How many days back.")] = 14, json: AsJson = False
) -> None:
    """Show net results: today, in all, by exit, day and symbol; and the exchange's own ledger."""
    from qt_actors.cli import screens, stored  # noqa: PLC0415 # as above

    told = _told(settings_or_exit(), lambda t: t.ask(f"/api/pnl?days={days}"), lambda j: stored.pnl(j, days))
    _out(told, screens.pnl, json=json)


def why(
    symbol: Annotated[
        str | None, typer.Argument(help="One symbol (BTCUSDT, BTC/USDT, btc); none: all of them, summed up.")
    ] = None,
    *,
    bars: Annotated[int, typer.Option(min=1, max=200, help="How many bars back (with a symbol).")] = 5,
    everything: Annotated[bool, typer.Option("--all", help="Every gate of every bar, passed ones too.")] = False,
    json: AsJson = False,
) -> None:
    """Show why there is a trade or none: what decided, every gate's value against what it needs."""
    from qt_actors.cli import screens, stored  # noqa: PLC0415 # as above
    from qt_actors.cli.why import decisions  # noqa: PLC0415 # as above

    settings = settings_or_exit()
    if symbol is None:
        _out(_told(settings, lambda t: t.ask("/api/why"), stored.why), screens.funnel, json=json)
        return
    if not spellings(symbol):
        wrong_usage(f"{symbol!r} is no symbol; give one such as BTCUSDT, or none for all")

    def recorded(journal: SqliteJournalReader) -> Json:
        told = next(filter(None, (stored.decisions(journal, name, bars) for name in spellings(symbol))), None)
        if told is None:
            known = nearest(symbol, stored.symbols(journal))
            problem(f"symbol {symbol}: the journal {journal.path} has no decision on it in its last {bars} bars{known}")
        return told

    told = _told(settings, lambda t: _decided(t, symbol, bars), recorded)
    _out(told, lambda shown: decisions(shown, everything=everything), json=json)


def _decided(trader: Trader, symbol: str, bars: int) -> Json:
    """Return the decisions on the symbol that is meant; a line with the nearest names when there is none."""
    names = spellings(symbol)
    for name in names:
        try:
            return trader.ask(f"/api/decisions/{name}?limit={bars}")
        except RefusedError:
            continue
    refused = trader.ask("/api/why")["not_traded"]
    for name in names:
        if name in refused:
            raise RefusedError(f"symbol {name}: {refused[name]}")
    known = {s["symbol"] for s in trader.ask("/api/signals/live")["signals"]}
    raise RefusedError(f"symbol {symbol}: not traded here{nearest(symbol, known)}")


def tree(*, json: AsJson = False) -> None:
    """Show the supervision tree of the running trader."""
    from qt_actors.cli.tree import tree as drawn  # noqa: PLC0415 # as above

    told = _told(settings_or_exit(), lambda t: t.ask("/api/tree"), None)
    _out(told, drawn, json=json)


def predict(
    symbol: Annotated[str, typer.Argument(help="BTCUSDT, BTC/USDT or btc.")],
    data: Annotated[Path, typer.Option(help="Folder of candles: SYMBOL.parquet or Binance's CSV/zip dumps.")],
    *,
    json: AsJson = False,
) -> None:
    """Say what the models make of the symbol's newest bar in a folder of candles; nothing is traded."""
    if not data.is_dir():
        wrong_usage(f"--data {data}: no such folder; give one that holds SYMBOL.parquet files")
    settings = settings_or_exit()
    from qt_actors.cli.predict import PredictError, prediction_of  # noqa: PLC0415 # numeric libraries, this command only

    try:
        told = prediction_of(spellings(symbol), data, settings)
    except PredictError as error:
        problem(*(f"qt predict: {line}" for line in str(error).splitlines()))
    if json:
        typer.echo(msgspec.json.encode(told))
        return
    from qt_actors.cli.draw import show  # noqa: PLC0415 # as above
    from qt_actors.cli.why import prediction  # noqa: PLC0415 # as above

    show(prediction(told))


def _told(
    settings: Settings, live: Callable[[Trader], Json], stored: Callable[[SqliteJournalReader], Json] | None
) -> Json:
    """Ask the running trader; when none answers, its journal, where that can tell it (``stored``).

    The answer says who told it: ``source``, and ``running``: None where a trader holds the folder and does not answer.
    """
    trader = Trader(settings)
    try:
        return {"running": True, **live(trader), "source": trader.url}
    except RefusedError as error:
        problem(str(error))
    except NotRunningError as error:
        absent = str(error)
    if stored is None:
        problem(absent, *(() if trader.holds else ("this is told by a running trader only; start it with qt run",)))
    journal = journal_of(settings)
    try:
        told = {"running": False, **stored(journal), "source": f"{absent}; from the journal {journal.path}"}
    except JournalError as error:
        problem(absent, str(error))
    if trader.holds:
        silent = {"running": None, "status": "not answering", "stops": [absent]}
        told |= {name: value for name, value in silent.items() if name in told}
    return told


def _out(told: Json, screen: Callable[[Json], Any], *, json: bool, noted: bool = True) -> None:
    """Print as JSON or as a screen, with a word on stderr when it is not the running trader that told it."""
    if json:
        typer.echo(msgspec.json.encode(told))
        return
    if noted and not told["running"]:
        typer.echo(told["source"], err=True)
    from qt_actors.cli.draw import show  # noqa: PLC0415 # as above

    show(screen(told))


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (status, positions, pnl, why, tree, predict):
        app.command()(command)
