"""How the screens are drawn: numbers as people read them, tables that fit, one place that prints.

On a terminal as wide as it is; piped as wide as ``COLUMNS`` says, else ``PIPED_WIDTH``, and without trailing blanks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import typer
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from qt_actors.decisions import texts

PIPED_WIDTH: Final = 160
"""Columns when the output is no terminal and nobody says how wide it may be."""
COMFORT: Final = 36
"""Columns below which a text that may be left out is."""
GAP: Final = 2
"""Blanks between columns."""
NAMES: Final = {"xgb": "XGBoost", "lgbm": "LightGBM", "nhits": "N-HiTS", "patchtst": "PatchTST"}
TONES: Final = {
    "healthy": "bold green",
    "starting": "bold yellow",
    "degraded": "bold yellow",
    "halted": "bold yellow",
    "paused": "bold yellow",
    "active": "green",
    "admitted": "bold green",
    "hold": "dim",
}


def show(*parts: RenderableType) -> None:
    """Print to stdout."""
    terminal = sys.stdout.isatty()
    free = terminal or os.environ.get("COLUMNS", "").isdigit()  # rich reads both
    console = Console(width=None if free else PIPED_WIDTH, highlight=False)
    with console.capture() as drawn:
        for part in parts:
            console.print(part)
    lines = drawn.get().splitlines()
    typer.echo("\n".join(lines if terminal else map(str.rstrip, lines)), color=True)


def usd(value: float | None, *, sign: bool = False) -> str:
    """Return dollars as people read them; ``sign`` puts a plus before gains."""
    if value is None:
        return "–"
    return f"{'−' if value < 0 else '+' if sign and value > 0 else ''}${abs(value):,.2f}"


def number(value: float | None, digits: int = 2) -> str:
    """Return a number, or a dash."""
    return "–" if value is None else f"{value:,.{digits}f}"


def price(value: float | None) -> str:
    """Return seven significant digits, as prices from 0.00001 to 100,000 need."""
    return "–" if not value else f"{value:,.7g}" if value < 1_000_000 else f"{value:,.0f}"


def share(value: float | None, digits: int = 1) -> str:
    """Return a fraction in percent."""
    return "–" if value is None else f"{value * 100:.{digits}f} %"


def span(seconds: float | None) -> str:
    """Return a stretch of time in its natural unit."""
    if seconds is None:
        return "–"
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86_400:.1f} d"


def tone(value: float | None) -> str:
    """Return the colour of a gain or loss."""
    return "" if not value else "green" if value > 0 else "red"


def clock(ms: int | None, *, seconds: bool = True) -> str:
    """Return a time as people read it."""
    shown = "%Y-%m-%d %H:%M:%S UTC" if seconds else "%Y-%m-%d %H:%M UTC"
    return "–" if ms is None else datetime.fromtimestamp(ms / 1000, UTC).strftime(shown)


def exact(text: str | None) -> str:
    """Return a price or quantity that is kept digit for digit, without the zeros at its end."""
    return "–" if text is None else texts.price(Decimal(text))


class Fitted:
    """A table. Where it is too wide, columns that may be left out are, the last first; they are named below it.

    Where that does not help, each row is a short list, so that nothing is cut off.
    """

    def __init__(self, heads: Sequence[str], rows: list[list[Text]]) -> None:
        """Heads begin with ``<`` when aligned left, before it with ``?`` when the column may be left out."""
        self.optional = [head.startswith("?") for head in heads]
        bare = [head.removeprefix("?") for head in heads]
        self.left = [head.startswith("<") for head in bare]
        self.names = [head.removeprefix("<") for head in bare]
        self.rows = rows

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the one that fits."""
        shown = list(range(len(self.names)))
        while self._width(shown) > options.max_width and any(self.optional[c] for c in shown):
            shown.remove(max(c for c in shown if self.optional[c]))
        if self._width(shown) <= options.max_width:
            yield self._table(shown)
            hidden = [name for place, name in enumerate(self.names) if name and place not in shown]
            if hidden and self.rows:
                yield Text(f"not at this width: {', '.join(hidden)}", style="dim")
            return
        for row in self.rows:
            listed = Table.grid(padding=(0, GAP))
            for name, cell in zip(self.names, row, strict=True):
                if cell.plain.strip():
                    listed.add_row(Text(name, style="dim"), cell)
            yield listed
            yield Text("")

    def _wraps(self, column: int) -> bool:
        return self.left[column] and column > 0

    def _width(self, shown: Sequence[int]) -> int:
        """Return the columns needed: of texts that wrap the longest word, but some comfort where they may go."""
        needed = 0
        for column in shown:
            cells = [self.names[column], *(row[column].plain for row in self.rows)]
            words = [word for cell in cells for word in cell.split()] if self._wraps(column) else cells
            longest = max(map(cell_len, words), default=0)
            whole = max(map(cell_len, cells))
            needed += max(longest, min(whole, COMFORT)) if self.optional[column] else longest
        return needed + GAP * (len(shown) - 1)

    def _table(self, shown: Sequence[int]) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
        for column in shown:
            head = Text(self.names[column], style="dim")
            table.add_column(head, justify="left" if self.left[column] else "right", no_wrap=not self._wraps(column))
        for row in self.rows:
            table.add_row(*(row[column] for column in shown))
        table.show_header = any(self.names[column] for column in shown)
        return table


def table(*columns: str, rows: Iterable[Sequence[Any]]) -> Fitted:
    """Return a table; a column that begins with ``<`` is aligned left, with ``?`` before it may be left out."""
    return Fitted(columns, [[c if isinstance(c, Text) else Text(str(c)) for c in row] for row in rows])


def under(part: RenderableType) -> Padding:
    """Return the part a little to the right, an empty line below it."""
    return Padding(part, (0, 0, 1, 2), expand=False)


def hanging(lead: Text, text: Text) -> Table:
    """Return text whose further lines stand under its first, not under ``lead``."""
    line = Table.grid(padding=(0, GAP, 0, 0))
    line.add_column(no_wrap=True)
    line.add_column()
    line.add_row(lead, text)
    return line
