"""What the views look like: from the API's JSON to rich text. Reads well to somebody who sees it first."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.text import Text

from qt_actors.cli.draw import NAMES, TONES, Fitted, clock, number, price, share, span, table, tone, under, usd
from qt_actors.cli.source import Json
from qt_actors.decisions.cover import opening_text
from qt_actors.decisions.limits import shown
from qt_actors.decisions.texts import count

_BAR: Final = 20


def market_text(told: Json) -> str:
    """Return ``PAPER · synthetic market, seed 7``: nobody takes a paper market for a real one."""
    market = str(told.get("market") or "no market yet")
    if market.startswith("synthetic"):
        market = "synthetic market" + market.removeprefix("synthetic").replace(" seed", ", seed")
    return f"{str(told.get('mode') or '').upper()} · {market}"


def status(told: Json) -> RenderableType:
    """Return the first screen a user sees: what runs, whether it is well, what it holds, who votes."""
    head = Text.assemble(
        (f"Quantum Trader {told.get('version', '')}".rstrip() + "  ", "bold"),
        (market_text(told), "bold cyan"),
        "  ",
        (
            told["status"] if told["running"] else str(told["status"]).upper(),
            TONES.get(told["status"], "bold red reverse"),
        ),
    )
    lines = [head]
    if told["running"]:
        about = (f"up {span(told['uptime'])}", f"profile {told['profile']}", f"{told['bar_interval']} bars")
        lines.append(Text(" · ".join((*about, count(told["symbols"], "symbol"), told["source"])), style="dim"))
    else:
        seen = f"of market time {clock(told['last_seen_ms'])}" if told["last_seen_ms"] else "of before any measurement"
        written = datetime.fromtimestamp(told["written_s"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        who = "The trader does not answer" if told["running"] is None else "No trader runs"
        warning = f"  ! {who}. The figures are {seen}, written {written}: they may be wrong now."
        lines.append(Text(warning, style="bold red"))
        source = f"{told['source']} · started {count(told['starts'], 'time')}"
        lines.append(Text(source, style="yellow" if told["running"] is None else "dim"))
    lines += [Text(f"  ! {reason}", style="yellow") for reason in told.get("reasons", ())]
    quorum = _quorum(told)
    votes = (_models(told),) if quorum is None else (_models(told), quorum)
    limits = (told.get("risk") or {}).get("limits", ())
    told_limits = (under(_limits(limits)),) if limits else ()
    return Group(*lines, Text(""), under(_money(told)), under(Group(*votes)), *told_limits)


def _money(told: Json) -> Fitted:
    risk = told.get("risk") or {}
    known = risk.get("known", False)
    limit = f"entries stop at −{usd(risk['daily_loss_limit_usd'])}" if known else ""
    gross = f"of {usd(risk['gross_limit_usd'])} allowed" if known else ""
    rows = [
        ("Equity", usd(told["equity"]), f"available {usd(risk['available_usd'])}" if known else ""),
        ("Today", Text(usd(told["daily_pnl"], sign=True), tone(told["daily_pnl"])), limit),
        *((("Exposure", usd(risk["gross_notional_usd"]), gross),) if known else ()),
        ("Positions", told["active_positions"], Text(opening_text(told.get("opening_orders_of_others", ())), "yellow")),
    ]
    if told["running"]:
        rows.append(_entries(told["trading"], risk.get("risk_level", "not known")))
        seconds = told["unprotected_seconds"]
        rows.append(
            ("Unprotected", Text(f"{seconds:.1f} s", "red" if seconds else "green"), "since the start; must be 0")
        )
    elif told.get("governor"):
        state = told["governor"]
        halts = "; ".join(filter(None, (state["halt_reason"], state["day_lost"])))
        word = f"halted: {halts}" if halts else "paused" if state["paused"] else "not halted"
        rows.append(("Governor", word, f"{count(state['losing_streak'], 'loss', 'losses')} in a row"))
    return table("<", "", "<", rows=rows)


def _entries(trading: Json, level: str) -> tuple[str, Text, str]:
    """Return whether it enters; if not, since when and how it goes on: by whose word, the reasons above tell."""
    state = trading["state"]
    if state == "allowed":
        return "Entries", Text(state, "green"), f"risk {level} · {trading['reason']}"
    since = f"since {clock(trading['since_ms'], seconds=False)}" if trading["since_ms"] else ""
    end = "until resumed" if state in {"halted", "paused"} else ""
    return "Entries", Text(state, "bold yellow"), " · ".join(filter(None, (since, end)))


def _limits(limits: Iterable[Json]) -> Fitted:
    """Return each limit in force, by whose word it stands, and what the others allow."""
    rows = []
    for limit in limits:
        unit, by, allowed = limit["unit"], limit["source"], limit["allows"]
        others = (f"{who} {shown(value, unit)}" for who, value in allowed.items() if who != by)
        rows.append((limit["name"], shown(limit["value"], unit), by or "–", "; ".join(others)))
    return table("<Limit", "In force", "<By", "?<Others allow", rows=rows)


def _quorum(told: Json) -> Text | None:
    """Return how many models vote and must agree; None when nothing runs."""
    if not told["running"]:
        return None
    models = told["models"]
    text = f"{models['active']} of {count(models['meant'], 'model')} vote, {models['quorum']} must agree"
    if models["active"] == models["meant"]:
        return Text(text, "dim")
    return Text(f"{text}; {models['quorum_of_all']} when all vote", "yellow")


def _models(told: Json) -> Fitted:
    votes = {m["model"]: m["votes"] or {} for m in (told.get("ai") or {}).get("models", ())}
    rows = []
    for name, state in told["ai_status"].items():
        cast = votes.get(name, {})
        counts = [cast.get(k, "–") for k in ("buy", "sell", "hold", "abstained")]
        said = told.get("ai_reasons", {}).get(name, "")
        rows.append((NAMES.get(name, name), Text(state, TONES.get(state, "yellow")), *counts, said))
    state = "<State" if told["running"] else "<Last state"
    return table("<Model", state, "Buy", "Sell", "Hold", "No vote", "<Reason", rows=rows)


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
            Text(usd(p.get("unrealized_pnl_usd"), sign=True), tone(p.get("unrealized_pnl_usd"))),
            Text(price(p["stop_price"]) if p["stop_price"] else "none", "" if p["stop_price"] else "bold red"),
            price(p["target_price"]),
            share(p["trail_callback_pct"]),
            span(p.get("age_s")),
            usd(p.get("notional_usd")),
            number(p["confidence"]),
            p["phase"],
        )
        for p in told["positions"]
    ]
    heads = ("<Symbol", "<Side", "Quantity", "Entry", "Mark", "Unrealised", "Stop", "?Target", "?Trail", "?Age")
    held = table(*heads, "?Notional", "?Confidence", "?<Phase", rows=rows)
    seen = told.get("account_age_s")
    return held if seen is None else Group(held, Text(f"as seen on the exchange {span(seen)} ago", style="dim"))


def pnl(told: Json) -> RenderableType:
    """Return what closed trades brought, and what the exchange's ledger says."""
    if not told["total"]["trades"] and not told["ledger"]:
        return Text("No trade has been closed yet, and the ledger is empty.")
    heads = ("Trades", "Won", "Realised", "Fees", "Funding", "Net")
    spans = [{"span": "Today (UTC)", **told["today"]}, {"span": "In all", **told["total"]}]
    ledger = [(r["kind"], r["entries"], usd(r["amount_usd"], sign=True), r["asset"]) for r in told["ledger"]]
    tables = (
        table("<Closed trades", *heads, rows=_results(spans, "span")),
        table("<By exit", *heads, rows=_results(told["by_exit"], "exit_reason")),
        table("<By day (UTC)", *heads, rows=_results(told["by_day"], "day")),
        table("<By symbol", *heads, rows=_results(told["by_symbol"], "symbol")),
        table("<Exchange's ledger", "Entries", "Amount", "<Asset", rows=ledger),
    )
    earned = [sum(r["amount_usd"] for r in told[k] if r["kind"] != "TRANSFER") for k in ("ledger_today", "ledger")]
    streak = told["losing_streak"]
    notes: tuple[str, ...] = (
        f"Net = realised − fees + funding. Losing streak now: {'–' if streak is None else streak}.",
        f"Wallet (the ledger, open trades too): {usd(earned[0], sign=True)} today, {usd(earned[1], sign=True)} in all.",
    )
    notes += (_ledger_read(told),)
    unknown = told["total"]["trades"] - told["total"]["complete"]
    if unknown:
        notes += (f"Of {count(unknown, 'trade')} not all fills are known: counted neither as won nor as lost.",)
    rest = (under(table) for table in tables[1:] if table.rows)
    return Group(under(tables[0]), *(Text(f"  {note}", style="dim") for note in notes), Text(""), *rest)


def _ledger_read(told: Json) -> str:
    """Return how old the ledger is: what was closed after it was read is not in it yet."""
    if not told["running"]:
        return f"Ledger as the last run left it; its last figures are of {clock(told['now_ms'])}."
    if told["ledger_ms"] is None:
        return "Ledger not read since the start: newer charges are not in it."
    return f"Ledger read {span(told['ledger_age_s'])} ago, at {clock(told['ledger_ms'])}; newer charges are not in it."


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
        bar = Text("█" * max(1, round(row["decisions"] / most * _BAR)), TONES.get(verdict, "cyan"))
        rows.append(
            (
                Text(verdict, TONES.get(verdict, "")),
                row["reason"].replace("_", " "),
                row["decisions"],
                bar,
                row["example"],
            )
        )
    many, when = count(told["decisions"], "symbol"), clock(told["close_time_ms"] + 1)
    head = f"{many} at the bar closed {when}, {told['admitted']} admitted"
    hint = Text("Gate by gate: qt why SYMBOL", style="dim")
    return Group(
        Text(head, style="bold"),
        *_stops(told),
        table("<Verdict", "<Gate or reason", "Symbols", "?<", "?<Such as", rows=rows),
        hint,
    )


def _stops(told: Json) -> list[Text]:
    lines = [Text(f"  ! {line}", style="yellow") for line in told["stops"]]
    if told["not_traded"]:
        beside = count(len(told["not_traded"]), "more symbol is", "more symbols are")
        lines.append(Text(f"  {beside} not in the universe", style="dim"))
    return lines
