"""The command line: one `typer` application, a file a group of commands."""

from __future__ import annotations

from importlib.metadata import version as version_of
from typing import Annotated

import typer

from qt_actors.cli import exchange, run, simulate, train, views

app = typer.Typer(
    name="qt",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Quantum Trader: autonomous trading of Binance USDⓈ-M perpetual futures. Paper by default.",
    epilog="Exit codes: 0 well, 1 found a problem (qt status: not healthy, or nothing runs), 2 wrong usage.",
)


def _version(asked: bool) -> None:  # typer hands it over by place
    if asked:
        typer.echo(f"qt {version_of('quantum-trader')}")
        raise typer.Exit


@app.callback()
def qt(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Have the options that stand before every command."""


for group in (run, exchange, simulate, train, views):
    group.register(app)
