"""Ten bugs, planted one at a time: does the simulation find each, and in how many seeds?

    .venv/bin/python tests/simulate/mutants.py [--seeds 200] [NAME ...]

A planted bug is an edit of a copy of the sources. A seed counts only when the sources as they are pass it. Not a part
of ``make test``: it takes minutes. Exit code 1 when one lives on, 2 when an edit no longer finds its place.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).parents[2]
ROOMS = ("config", "models", "exporters", "qt_actors")
HUNT = """
import json, logging, sys
from qt_actors.simulation.campaign import plan_of, play
import msgspec
logging.disable(logging.CRITICAL)
first, last, hours, rate, kinds, paths = json.loads(sys.argv[1])
for seed in range(first, last + 1):
    plan = plan_of(seed, hours, rate=rate)
    wanted = tuple(f for f in plan.faults if f.kind in (kinds or [f.kind]) and f.path in (paths or [f.path]))
    plan = msgspec.structs.replace(plan, faults=wanted)
    found = play(plan).violations
    if found:
        print(json.dumps([seed, found[0].invariant, found[0].detail]))
        break
"""


class Edit(msgspec.Struct, frozen=True):
    """``old`` stands exactly once in the file."""

    path: str
    old: str
    new: str


class Bug(msgspec.Struct, frozen=True, kw_only=True):
    """A planted bug, and under which weather it is looked for.

    Attributes:
        edits: make the bug; setting: made in the clean copy, too.
        kinds, paths: of faults that strike, and of the actors they strike at; none named: all.
    """

    name: str
    edits: tuple[Edit, ...]
    setting: tuple[Edit, ...] = ()
    hours: float = 0.5
    rate: float = 3.0
    kinds: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()


LIFE, REPAIR = "qt_actors/decisions/trade_life.py", "qt_actors/decisions/trade_repair.py"
ORDERS, GOVERNOR = "qt_actors/decisions/trade_orders.py", "qt_actors/judgement/governor.py"
EAGER = Edit(
    "qt_actors/simulation/run.py",
    '"QT_MAX_HOLDING_BARS": "6",',
    '"QT_MAX_HOLDING_BARS": "6", "QT_COOLDOWN_SECONDS": "0", "QT_MAX_POSITIONS": "1",',
)

BUGS = (
    Bug(
        name="stop after entry",
        edits=(
            Edit(
                LIFE,
                '    return place(trade, now_ms, "stop", trade.quantity)\n\n\ndef on_leverage_refused',
                "    command = entry_order(trade)\n"
                '    sent = {"phase": "entering", "entry_id": command.client_id, "pending": (command.client_id,)}\n'
                "    return Step(with_changes(trade, now_ms, **sent), (command,))\n\n\ndef on_leverage_refused",
            ),
        ),
    ),
    Bug(
        name="resend on unknown",
        edits=(
            Edit(
                "qt_actors/edges/binance_orders.py",
                'PLACE = Route("futures_create_order", 0, 1, repeatable=False,',
                'PLACE = Route("futures_create_order", 0, 1, repeatable=True,',
            ),
        ),
    ),
    Bug(
        name="fence ignored",
        edits=(
            Edit("qt_actors/venue/gateway.py", "            if command.fence < newest:", "            if False:"),
            Edit("qt_actors/kernel/address.py", "            if own.fenced:", "            if False:"),
        ),
        rate=40.0,
        kinds=("hang",),
    ),
    Bug(
        name="lost mailbox",
        edits=(
            Edit(
                "qt_actors/kernel/mailbox.py",
                "            self._closed = False\n            self._owner = owner\n",
                "            self._closed = False\n            self._owner = owner\n"
                "            if owner.number > 1:\n                self._user.clear()\n",
            ),
        ),
    ),
    Bug(
        name="stop not replaced",
        edits=(
            Edit(
                REPAIR,
                '    return place(trade, now_ms, "stop", remaining(trade))\n\n\ndef close_failed',
                "    return Step(trade)\n\n\ndef close_failed",
            ),
            Edit(
                REPAIR,
                '    return place(again, now_ms, "stop", remaining(trade))\n\n\ndef exit_failed',
                "    return Step(again)\n\n\ndef exit_failed",
            ),
        ),
    ),
    Bug(
        name="halt forgotten",
        edits=(
            Edit(
                GOVERNOR,
                "        state = journal.governor_state() or first_state(self.now_ms())\n",
                "        state = journal.governor_state() or first_state(self.now_ms())\n"
                "        state = msgspec.structs.replace(state, halted=False, paused=False)\n",
            ),
        ),
        rate=6.0,
    ),
    Bug(
        name="wrong side of stop",
        edits=(
            Edit(ORDERS, '{"stop": trade.stop_price,', '{"stop": 2 * trade.decision_price - trade.stop_price,'),
            Edit(
                ORDERS,
                "        side=opposite(trade.side),\n        kind=",
                '        side=trade.side if purpose == "stop" else opposite(trade.side),\n        kind=',
            ),
        ),
    ),
    Bug(
        name="double adoption",
        edits=(
            Edit(
                REPAIR,
                "    if trade is None or trade.phase in ENDED:\n        trade = adopt",
                "    if True:\n        trade = adopt",
            ),
        ),
    ),
    Bug(
        name="ledger page skipped",
        edits=(
            Edit("qt_actors/edges/binance_rest.py", "PAGE_ROWS = 1000", "PAGE_ROWS = 4"),
            Edit("qt_actors/edges/binance_rest.py", "range(1, PAGES_MAX + 1)", "range(1, PAGES_MAX + 1, 2)"),
        ),
    ),
    Bug(
        name="reservation forgotten",
        edits=(
            Edit(
                GOVERNOR,
                "        underway = {**self._underway, plan.decision_id: reservations.Underway(plan=plan)}\n",
                "        underway = {**self._underway}\n",
            ),
        ),
        setting=(EAGER,),
    ),
)


class Copy:
    """The sources in a folder of their own, with edits."""

    def __init__(self, folder: Path, edits: tuple[Edit, ...]) -> None:
        self._folder = folder
        for room in ROOMS:
            shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
        for edit in edits:
            text = (folder / edit.path).read_text()
            if text.count(edit.old) != 1:
                print(f"{edit.path}: {edit.old!r} stands there {text.count(edit.old)} times, not once")
                raise SystemExit(2)
            (folder / edit.path).write_text(text.replace(edit.old, edit.new))

    def hunt(self, bug: Bug, first: int, last: int) -> tuple[int, str, str] | None:
        """(seed, invariant, detail) of the first seed that breaks something."""
        arguments = json.dumps([first, last, bug.hours, bug.rate, bug.kinds, bug.paths])
        environment = {**os.environ, "PYTHONPATH": str(self._folder), "OMP_WAIT_POLICY": "passive"}
        command: list[Any] = [sys.executable, "-c", HUNT, arguments]
        told = subprocess.run(command, cwd=self._folder, env=environment, check=True, capture_output=True, text=True)
        return tuple(json.loads(told.stdout)) if told.stdout else None  # type: ignore[return-value] # as printed


def caught(bug: Bug, folder: Path, seeds: int) -> Iterator[tuple[int, str, str]]:
    """The first seed that the bug fails and the sources as they are pass."""
    planted, clean = Copy(folder / "planted", bug.edits + bug.setting), Copy(folder / "clean", bug.setting)
    seed = 0
    while seed < seeds:
        found = planted.hunt(bug, seed + 1, seeds)
        if found is None:
            return
        seed = found[0]
        if clean.hunt(bug, seed, seed) is None:
            yield found
            return


def main() -> None:
    """Plant, look, and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"any of: {', '.join(bug.name for bug in BUGS)}")
    parser.add_argument("--seeds", type=int, default=200)
    options = parser.parse_args()
    living = 0
    for bug in BUGS:
        if options.names and bug.name not in options.names:
            continue
        began_s = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            found = next(caught(bug, Path(folder), options.seeds), None)
        living += found is None
        told = f"seed {found[0]}: {found[1]}: {found[2]}" if found else f"LIVES after {options.seeds} seeds"
        print(f"{bug.name:24}{time.monotonic() - began_s:6.0f} s  {told}", flush=True)
    raise SystemExit(1 if living else 0)


if __name__ == "__main__":
    main()
