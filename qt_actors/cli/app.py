"""The command line: one `typer` application, a file a group of commands."""

from __future__ import annotations

import typer

from qt_actors.cli import exchange, run, simulate, train, views

app = typer.Typer(
    name="qt",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Quantum Trader: autonomous trading of Binance USDⓈ-M perpetual futures. Paper by default.",
)
for group in (run, exchange, simulate, train, views):
    group.register(app)
