"""``qt simulate``: the whole trader in virtual time, under faults drawn from seeds."""

from __future__ import annotations

import json
import logging
from typing import Annotated, Literal

import msgspec
import typer

from qt_actors.cli.say import wrong_usage

HOURS_MAX = 10_000.0


def simulate(
    seeds: Annotated[int, typer.Option(min=1, help="How many runs, one a seed.")] = 10,
    hours: Annotated[float, typer.Option(help="Market hours of each run.")] = 2.0,
    first_seed: Annotated[int, typer.Option(min=0, help="Seed of the first run; the next ones follow.")] = 1,
    votes: Annotated[
        Literal["random", "models"], typer.Option(help="Seeded votes on 5m bars, or the ONNX models on 1h bars.")
    ] = "random",
    rate: Annotated[float, typer.Option(min=0, max=100, help="Times as many faults as usual; 0 for none.")] = 1.0,
    keep: Annotated[str, typer.Option(help="Only the faults of these numbers (0: none), as a shrunk run says.")] = "",
    shrink: Annotated[bool, typer.Option(help="Look for a shorter run that fails in the same way.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON.")] = False,
) -> None:
    """Run the trader against the exchange inside this program: seeded faults, every invariant, virtual time."""
    if not 0 < hours <= HOURS_MAX:
        wrong_usage(f"--hours {hours:g} is not allowed; give a number above 0 and up to {HOURS_MAX:g}")
    words = [word.strip() for word in keep.split(",") if word.strip()]
    if not all(word.isdigit() for word in words):
        wrong_usage(f"--keep {keep!r} is not allowed; give numbers of faults, such as 3,7")
    from qt_actors.simulation import campaign as c  # noqa: PLC0415 # the trader and the exchange, this command only
    from qt_actors.simulation.run import Plan, Result  # noqa: PLC0415 # as above

    def told(plan: Plan, result: Result) -> None:
        for violation in result.violations:
            typer.echo(
                f"seed {plan.seed}, {violation.at_ms / 1000:.3f} s, step {violation.step}: {violation.invariant}: "
                f"{violation.detail}\n  {c.replay_command(plan)}",
                err=True,
            )
        if shrink and result.violations:
            typer.echo(f"  shorter: {c.replay_command(c.shrink(plan, result.violations[0]))}", err=True)

    kept = [int(word) for word in words]
    plans = (
        c.plan_of(seed, hours, votes=votes, rate=rate, keep=kept) for seed in range(first_seed, first_seed + seeds)
    )
    heard = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # a simulated crash is no news
    try:
        report = c.campaign(plans, told)
    finally:
        logging.disable(heard)
    typer.echo(json.dumps(msgspec.to_builtins(report)) if as_json else c.summary(report))
    raise typer.Exit(1 if report.violations else 0)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(simulate)
