"""How `make run` starts and ends, and what `qt` says of itself."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.processes import QT

ROOT = Path(__file__).parents[2]
RUNNER = [sys.executable, "-m", "qt_actors.cli.procfile"]
WAITS = "import signal; signal.signal(signal.SIGTERM, lambda *_: exit(0)); print('up', flush=True); signal.pause()"


def started(folder, code):
    (folder / "Procfile").write_text(f"one: exec {shlex.quote(sys.executable)} -c {shlex.quote(code)}\n")
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        RUNNER, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_runner_that_is_asked_to_stop_ends_with_0(tmp_path, number):
    with started(tmp_path, WAITS) as runner:
        before = []
        for line in runner.stdout:
            before.append(line)
            if line == "up\n":  # as the process wrote it: no clock and no name before it
                break
        runner.send_signal(number)
        after = runner.stdout.read()
    assert runner.returncode == 0, [*before, after]
    assert "stopped (rc=0)" in after


def test_the_runner_ends_as_its_process_did_when_nobody_asked(tmp_path):
    with started(tmp_path, "raise SystemExit(3)") as runner:
        out, _ = runner.communicate(timeout=60)
    assert runner.returncode == 3, out


def test_the_traders_own_process_is_what_the_runner_signals():
    commands = [line.partition(": ")[2] for line in (ROOT / "Procfile").read_text().splitlines()]
    assert commands == ["exec .venv/bin/qt run"]


def test_make_train_without_data_says_what_to_give_and_installs_nothing():
    words = [shutil.which("make"), "-C", str(ROOT), "train"]
    made = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, env={"PATH": "/usr/bin:/bin"})
    assert made.returncode == 2
    (line,) = [line for line in made.stderr.splitlines() if "directory" not in line]
    assert re.search(r"say which folder of candles: make train DATA=FOLDER", line)


def test_qt_tells_its_version():
    told = subprocess.run([*QT, "--version"], capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout == f"qt {version('quantum-trader')}\n"
