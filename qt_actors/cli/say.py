"""How the command line says no: one line on stderr, exit code 2 for wrong usage, 1 for a problem found."""

from __future__ import annotations

from typing import NoReturn

import typer


def wrong_usage(*lines: str) -> NoReturn:
    """Say what is wrong, what is allowed, what to do; leave with 2."""
    for line in lines:
        typer.echo(line, err=True)
    raise typer.Exit(2)


def problem(*lines: str) -> NoReturn:
    """Say what was found; leave with 1."""
    for line in lines:
        typer.echo(line, err=True)
    raise typer.Exit(1)
