"""Every command in the documents is one that `qt` and `make` know, with the options shown."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from qt_actors.exchange.config import ExchangeConfig
from qt_actors.exchange.server import serve_in_thread

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "models/CARD.md")


def code(document):
    text = (ROOT / document).read_text()
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return "\n".join(blocks) + "\n" + "\n".join(re.findall(r"`([^`\n]+)`", text))


def commands(pattern):
    found = {m.group(0) for d in DOCUMENTS for m in re.finditer(pattern, code(d))}
    assert found
    return sorted(found)


@pytest.mark.parametrize("command", commands(r"\bqt [a-z]+"))
def test_every_qt_command_in_the_documents_exists(command):
    name = command.split()[1]
    if name == "doctor":
        pytest.skip("named in the README as not there yet")
    done = subprocess.run(
        [sys.executable, "-m", "qt_actors", name, "--help"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("option", commands(r"\bqt (?:run|exchange|train|why|predict)[^\n#|]*--[a-z-]+"))
def test_every_option_in_the_documents_is_known(option):
    words = option.split()
    helped = subprocess.run(
        [sys.executable, "-m", "qt_actors", words[words.index("qt") + 1] if "qt" in words else words[1], "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"COLUMNS": "200", "PATH": "/usr/bin:/bin"},
    ).stdout
    for flag in re.findall(r"--[a-z-]+", option):
        assert flag in helped


def test_the_ten_lines_of_the_readme_trade_on_the_exchange():
    (example,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len([line for line in example.splitlines() if line]) <= 10
    exchange = serve_in_thread(ExchangeConfig(symbols=("BTCUSDT",), seed=1))
    try:
        done = subprocess.run(
            [sys.executable, "-c", example.replace("127.0.0.1:9000", f"127.0.0.1:{exchange.port}")],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        exchange.stop()
    assert (done.stdout.strip(), done.stderr) == ("FILLED 0.010", "")


@pytest.mark.parametrize("target", commands(r"\bmake [a-z-]+"))
def test_every_make_target_in_the_documents_exists(target):
    assert re.search(rf"^{target.split()[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
