"""What the views look like: from the API's JSON to rich text. Reads well to somebody who sees it first."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from qt_actors.cli.source import Json
from qt_actors.cli.stored import clock

PIPED_WIDTH: Final = 160
"""Columns when the output is no terminal, so that nothing is cut off in a file."""
NAMES: Final = {"xgb": "XGBoost", "lgbm": "LightGBM", "nhits": "N-HiTS", "patchtst": "PatchTST"}
_TONES: Final = {
    "healthy": "bold green",
    "starting": "bold yellow",
    "degraded": "bold yellow",
    "active": "green",
    "admitted": "bold green",
    "hold": "dim",
}
_BAR: Final = 40


def show(*parts: RenderableType) -> None:
    """Print to stdout."""
    console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False)
    for part in parts:
        console.print(part)


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


def market_text(told: Json) -> str:
    """Return ``PAPER · synthetic market, seed 7``: nobody takes a paper market for a real one."""
    market = str(told.get("market") or "no market yet")
    if market.startswith("synthetic"):
        market = "synthetic market" + market.removeprefix("synthetic").replace(" seed", ", seed")
    return f"{str(told.get('mode') or '').upper()} · {market}"


class Fitted:
    """A table; where the terminal is too narrow for one, a short list for every row, so that nothing is cut off."""

    def __init__(self, heads: Sequence[str], rows: list[list[Text]]) -> None:
        """``heads`` that begin with ``<`` are aligned left."""
        self.names = [name.removeprefix("<") for name in heads]
        self.rows = rows
        self.table = Table(box=None, pad_edge=False, padding=(0, 2))
        self.width = 4 * (len(heads) - 1)
        for place, (head, name) in enumerate(zip(heads, self.names, strict=True)):
            left, cells = head.startswith("<"), [name, *(row[place].plain for row in rows)]
            wraps = left and place > 0
            words = [word for cell in cells for word in cell.split()] if wraps else cells
            self.width += max(map(cell_len, words), default=0)
            self.table.add_column(Text(name, style="dim"), justify="left" if left else "right", no_wrap=not wraps)
        for row in rows:
            self.table.add_row(*row)

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the one that fits."""
        if self.width <= options.max_width:
            yield self.table
            return
        for row in self.rows:
            listed = Table.grid(padding=(0, 2))
            for name, cell in zip(self.names, row, strict=True):
                if cell.plain.strip():
                    listed.add_row(Text(name, style="dim"), cell)
            yield listed
            yield Text("")


def _table(*columns: str, rows: Iterable[Sequence[Any]]) -> Fitted:
    """Return a table; a column that begins with ``<`` is aligned left."""
    return Fitted(columns, [[c if isinstance(c, Text) else Text(str(c)) for c in row] for row in rows])


def _under(part: RenderableType) -> Padding:
    return Padding(part, (0, 0, 1, 2), expand=False)


def status(told: Json) -> RenderableType:
    """Return the first screen a user sees: what runs, whether it is well, what it holds, who votes."""
    head = Text.assemble(
        ("Quantum Trader", "bold"),
        f" {told.get('version', '')}  ",
        (market_text(told), "bold cyan"),
        "  ",
        (told["status"] if told["running"] else "NOT RUNNING", _TONES.get(told["status"], "bold red reverse")),
    )
    lines = [head]
    if told["running"]:
        about = (f"up {span(told['uptime'])}", f"profile {told['profile']}", f"{told['bar_interval']} bars")
        lines.append(Text(" · ".join((*about, f"{told['symbols']} symbols", told["source"])), style="dim"))
    else:
        seen = f"of market time {clock(told['last_seen_ms'])}" if told["last_seen_ms"] else "of before any measurement"
        written = datetime.fromtimestamp(told["written_s"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        lines.append(
            Text(
                f"  ! No trader runs. The figures are {seen}, written {written}: they may be wrong now.",
                style="bold red",
            )
        )
        lines.append(Text(f"{told['source']} · started {told['starts']} times", style="dim"))
    lines += [Text(f"  ! {reason}", style="yellow") for reason in told.get("reasons", ())]
    return Group(*lines, Text(""), _under(_money(told)), _under(_models(told)))


def _money(told: Json) -> Fitted:
    risk = told.get("risk") or {}
    known = risk.get("known", False)
    limit = f"entries stop at −{usd(risk['daily_loss_limit_usd'])}" if known else ""
    gross = f"of {usd(risk['gross_limit_usd'])} allowed" if known else ""
    rows = [
        ("Equity", usd(told["equity"]), f"available {usd(risk['available_usd'])}" if known else ""),
        ("Today", Text(usd(told["daily_pnl"], sign=True), tone(told["daily_pnl"])), limit),
        ("Exposure", usd(risk.get("gross_notional_usd")), gross),
        ("Positions", told["active_positions"], ""),
    ]
    if told["running"]:
        entries = told["entries"]
        why = f"risk {risk.get('risk_level', 'unknown')} · {told['entries_reason']}"
        rows.append(("Entries", Text(entries, "green" if entries == "allowed" else "yellow"), why))
        seconds = told["unprotected_seconds"]
        rows.append(
            ("Unprotected", Text(f"{seconds:.1f} s", "red" if seconds else "green"), "since the start; must be 0")
        )
    elif told.get("governor"):
        state = told["governor"]
        halts = "; ".join(filter(None, (state["halt_reason"], state["day_lost"])))
        word = f"halted: {halts}" if halts else "paused" if state["paused"] else "not halted"
        rows.append(("Governor", word, f"{state['losing_streak']} losses in a row"))
    return _table("<", "", "<", rows=rows)


def _models(told: Json) -> Fitted:
    votes = {m["model"]: m["votes"] or {} for m in (told.get("ai") or {}).get("models", ())}
    rows = []
    for name, state in told["ai_status"].items():
        cast = votes.get(name, {})
        counts = [cast.get(k, "–") for k in ("buy", "sell", "hold", "abstained")]
        said = told.get("ai_reasons", {}).get(name, "")
        rows.append((NAMES.get(name, name), Text(state, _TONES.get(state, "yellow")), *counts, said))
    return _table("<Model", "<State", "Buy", "Sell", "Hold", "No vote", "<Reason", rows=rows)


def positions(told: Json) -> RenderableType:
    """Return the open positions with what protects them."""
    if not told["positions"]:
        return Text("No position is open.")
    rows = [
        (
            p["symbol"],
            p["side"],
            price(p["quantity"]),
            price(p["entry_price"]),
            price(p.get("mark_price")),
            usd(p.get("notional_usd")),
            Text(usd(p.get("unrealized_pnl_usd"), sign=True), tone(p.get("unrealized_pnl_usd"))),
            Text(price(p["stop_price"]), "" if p["stop_price"] else "bold red"),
            price(p["target_price"]),
            share(p["trail_callback_pct"]),
            number(p["confidence"]),
            span(p.get("age_s")),
            p["phase"],
        )
        for p in told["positions"]
    ]
    heads = ("<Symbol", "<Side", "Quantity", "Entry", "Mark", "Notional", "Unrealised", "Stop", "Target", "Trail")
    table = _table(*heads, "Confidence", "Age", "<Phase", rows=rows)
    seen = told.get("account_age_s")
    return table if seen is None else Group(table, Text(f"as seen on the exchange {span(seen)} ago", style="dim"))


def pnl(told: Json) -> RenderableType:
    """Return what closed trades brought, and what the exchange's ledger says."""
    if not told["total"]["trades"] and not told["ledger"]:
        return Text("No trade has been closed yet, and the ledger is empty.")
    heads = ("Trades", "Won", "Realised", "Fees", "Funding", "Net")
    spans = [{"span": "Today (UTC)", **told["today"]}, {"span": "In all", **told["total"]}]
    ledger = [(r["kind"], r["entries"], usd(r["amount_usd"], sign=True), r["asset"]) for r in told["ledger"]]
    tables = (
        _table("<Closed trades", *heads, rows=_results(spans, "span")),
        _table("<By exit", *heads, rows=_results(told["by_exit"], "exit_reason")),
        _table("<By day (UTC)", *heads, rows=_results(told["by_day"], "day")),
        _table("<By symbol", *heads, rows=_results(told["by_symbol"], "symbol")),
        _table("<Exchange's ledger", "Entries", "Amount", "<Asset", rows=ledger),
    )
    earned = [sum(r["amount_usd"] for r in told[k] if r["kind"] != "TRANSFER") for k in ("ledger_today", "ledger")]
    streak = told["losing_streak"]
    notes: tuple[str, ...] = (
        f"Net = realised − fees + funding. Losing streak now: {'–' if streak is None else streak}.",
        f"Wallet (the ledger, open trades too): {usd(earned[0], sign=True)} today, {usd(earned[1], sign=True)} in all.",
    )
    unknown = told["total"]["trades"] - told["total"]["complete"]
    if unknown:
        notes += (f"Of {unknown} trades the fills are not all known: they count neither as won nor as lost.",)
    rest = (_under(table) for table in tables[1:] if table.rows)
    return Group(_under(tables[0]), *(Text(f"  {note}", style="dim") for note in notes), Text(""), *rest)


def _results(rows: list[Json], key: str) -> list[tuple[Any, ...]]:
    return [
        (
            r[key],
            r["trades"],
            f"{r['wins']} ({share(r['wins'] / r['complete'], 0)})" if r["complete"] else "–",
            usd(r["realized_usd"], sign=True),
            usd(-r["commission_usd"], sign=True),
            usd(r["funding_usd"], sign=True),
            Text(usd(r["net_usd"], sign=True), tone(r["net_usd"])),
        )
        for r in rows
    ]


def funnel(told: Json) -> RenderableType:
    """Return where the decisions of the newest bar ended, and what stops all of them."""
    if not told["funnel"]:
        return Group(Text("No decision yet: the first come with the first closed bar."), *_stops(told))
    most = max(r["decisions"] for r in told["funnel"])
    rows = []
    for row in told["funnel"]:
        verdict = row["verdict"]
        bar = Text("█" * max(1, round(row["decisions"] / most * _BAR)), _TONES.get(verdict, "cyan"))
        rows.append(
            (Text(verdict, _TONES.get(verdict, "")), row["reason"], row["decisions"], bar, f"e.g. {row['example']}")
        )
    head = (
        f"{told['decisions']} symbols at the bar closed {clock(told['close_time_ms'] + 1)}, {told['admitted']} admitted"
    )
    hint = Text("Gate by gate: qt why SYMBOL", style="dim")
    return Group(
        Text(head, style="bold"),
        *_stops(told),
        _table("<Verdict", "<Gate or reason", "Symbols", "<", "<", rows=rows),
        hint,
    )


def _stops(told: Json) -> list[Text]:
    lines = [Text(f"  ! {line}", style="yellow") for line in told["stops"]]
    if told["not_traded"]:
        lines.append(Text(f"  {len(told['not_traded'])} more symbols are not in the universe", style="dim"))
    return lines


def decisions(told: Json) -> RenderableType:
    """Return the symbol's decisions gate by gate, the newest bar last, where the eye ends."""
    if not told["decisions"]:
        return Text(f"No decision on {told['symbol']} yet: the first comes with the next closed bar.")
    return Group(*(_under(_decision(d)) for d in reversed(told["decisions"])))


def _decision(made: Json) -> RenderableType:
    verdict = made["verdict"]
    by = f" by {made['gate']}" if verdict == "denied" else ""
    head = Text.assemble(
        (f"{made['symbol']}  bar closed {clock(made['close_time_ms'] + 1)}  ", "bold"),
        (verdict + by, _TONES.get(verdict, "bold yellow")),
    )
    if made["evaluations"] > 1:
        head.append(f"  evaluated {made['evaluations']} times", "dim")
    figures = f"confidence {share(made['confidence'])}  p(win) {share(made['p_win'])}  {made['regime'] or ''}"
    votes = "  ".join(
        f"{NAMES.get(v['model'], v['model'])} {v['action']} {number(v['confidence'])}"
        if v["action"]
        else f"{NAMES.get(v['model'], v['model'])} – ({v['reason']})"
        for v in made["votes"]
    )
    rows = [
        (
            Text("✓", "green") if g["passed"] else Text("✗", "bold red"),
            Text(g["name"], "" if g["passed"] else "bold"),
            g["value"],
            g["limit"],
            g["note"] + (" (may pass later)" if g["transient"] and not g["passed"] else ""),
        )
        for g in made["gates"]
    ]
    return Group(
        head,
        Text(f"{made['action']}  {figures}\n{votes}", style="dim"),
        _table("<", "<Gate", "Value", "Limit", "<", rows=rows),
    )


def tree(told: Json) -> RenderableType:
    """Return the supervision tree as a tree."""
    rows = []
    for actor in told["actors"]:
        path = actor["path"].split("/")
        state = Text(actor["state"], "green" if actor["state"] == "up" else "bold yellow")
        figures = ", ".join(f"{k} {v}" for k, v in actor["statistics"].items())
        busy = f"{actor['busy_ms']} ms" if actor["busy_ms"] else "–"
        heading = actor["kind"] == "supervisor"
        name = Text("  " * (len(path) - 1) + path[-1], "bold" if heading else "")
        what = actor["last_error"] if actor["state"] != "up" and actor["last_error"] else figures
        counts = (actor["incarnation"], actor["restarts"], actor["mailbox_depth"], actor["handled"], busy)
        rows.append((name, actor["detail"] if heading else state, *counts, actor["last_message"], what))
    heads = ("<Actor", "<State", "Incarnation", "Restarts", "Waiting", "Handled", "Busy", "<Last message", "<Figures")
    return _table(*heads, rows=rows)
