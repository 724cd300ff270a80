"""``qt run``: the trader, until it is told to stop."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from config.settings import Settings, SettingsError, load, warnings
from qt_actors.cli.say import problem, wrong_usage

Mode = Literal["paper", "testnet", "live"]
ProfileName = Literal["safe", "aggressive", "none"]
SYNTHETIC_SPEED = 300.0
"""Five minutes a second: trades are seen within a minute or two, and every log line can still be read."""


def parse_time(text: str | None) -> int | None:
    """Return ms UTC of ``2025-04-01``, ``2025-04-01T12:00`` or milliseconds.

    Raises:
        typer.Exit: with the line that says what is allowed.
    """
    if text is None:
        return None
    if text.isdigit():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        wrong_usage(f"--from {text!r} is not a time; give 2025-04-01, 2025-04-01T12:00 or milliseconds since 1970")
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def settings_or_exit(**overrides: object) -> Settings:
    """Read ``.env`` and the environment; a fault is one line each and exit code 2."""
    try:
        settings = load(Path(".env"), os.environ, **overrides)
    except SettingsError as error:
        wrong_usage(*error.lines)
    for line in warnings(os.environ, settings):
        typer.echo(line, err=True)
    return settings


def run(
    mode: Annotated[Mode, typer.Option(help="paper needs no key and no network.")] = "paper",
    profile: Annotated[ProfileName | None, typer.Option(help="Overrides ORCHESTRATOR_PROFILE.")] = None,
    replay: Annotated[Path | None, typer.Option(help="Folder of SYMBOL.parquet or Binance's CSV/zip dumps.")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="Market time to begin at: 2025-04-01 or ms.")] = None,
    symbols: Annotated[str, typer.Option(help="A,B or all.")] = "all",
    speed: Annotated[float | None, typer.Option(help="60 makes a minute a second; default 300.")] = None,
    duration: Annotated[float | None, typer.Option(min=0, help="Stop after so many real seconds.")] = None,
    exchange_url: Annotated[str | None, typer.Option(help="An embedded exchange that runs elsewhere.")] = None,
    seed: Annotated[int, typer.Option(help="Of the synthetic market and every random choice.")] = 1,
    fresh: Annotated[bool, typer.Option(help="Begin a new paper account; the old one is put aside.")] = False,
    same_account: Annotated[bool, typer.Option(help="Testnet: the API key is a new one of the same account.")] = False,
    exchange_info: Annotated[Path | None, typer.Option(help="exchangeInfo JSON(.gz): real symbol rules.")] = None,
    brackets: Annotated[Path | None, typer.Option(help="leverageBracket JSON(.gz) to go with it.")] = None,
    funding: Annotated[Path | None, typer.Option(help="Funding, Parquet: symbol, funding_time, funding_rate.")] = None,
) -> None:
    """Start the trader; Ctrl-C stops it in order, positions stay open with their stops on the exchange."""
    settings = settings_or_exit(ORCHESTRATOR_PROFILE=profile.upper() if profile else None)
    from qt_actors.cli.session import RunRequest, StartError, run_session  # noqa: PLC0415 # the trader, this command only

    request = RunRequest(
        mode=mode,
        replay=replay,
        start_ms=parse_time(from_),
        symbols=symbols,
        speed=SYNTHETIC_SPEED if speed is None else speed,
        duration_s=duration,
        exchange_url=exchange_url,
        seed=seed,
        fresh=fresh,
        same_account=same_account,
        exchange_info=exchange_info,
        brackets=brackets,
        funding=funding,
    )
    try:
        code = run_session(settings, request)
    except StartError as error:
        if error.wrong_usage:
            wrong_usage(str(error))
        problem(str(error))
    raise typer.Exit(code)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(run)
