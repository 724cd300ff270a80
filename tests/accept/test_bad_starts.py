"""What cannot be started, or not whole: one line that says what is wrong, and an exit code."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from qt_actors.edges.journal import next_generation
from tests.processes import (
    QT,
    Journal,
    Process,
    environment,
    free_port,
    get,
    wait_until,
)


def test_a_bad_variable_is_one_line_and_exit_code_2(tmp_path):
    bad = {"QT_TP_PCT": "lots", "QT_MAX_POSITION": "3"}
    done = subprocess.run(
        [*QT, "run"], env=environment(tmp_path, 0, **bad), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "QT_MAX_POSITION is not a variable of this trader; did you mean QT_MAX_POSITIONS?",
        "QT_TP_PCT='lots' is not allowed: a number > 0 and ≤ 0.5",
    ]


def test_a_port_that_is_taken_is_one_line_and_nothing_is_announced_or_begun(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run(
            [*QT, "run"], env=environment(tmp_path, taken.getsockname()[1]),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("HTTP port")
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"\xff\xfe\x00", ".env cannot be read: it is not UTF-8"),
        (b"QT_TP_PCT=0.1\nmy key\n", ".env line 2 is not NAME"),
    ],
)
def test_a_bad_env_file_is_one_line_without_its_content(tmp_path, content, line):
    (tmp_path / ".env").write_bytes(content)
    env = environment(tmp_path / "data", 0, PYTHONPATH=str(Path(__file__).parents[2]))
    done = subprocess.run([*QT, "run"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(line)
    assert len(done.stderr.splitlines()) == 1
    assert "my key" not in done.stderr


@pytest.mark.parametrize("token", ["x", "fifteen-letters", "a space in the middle", "ü" * 16])
def test_a_weak_token_stops_the_start_and_is_not_repeated(tmp_path, token):
    done = subprocess.run(
        [*QT, "run"], env=environment(tmp_path, 0, QT_API_TOKEN=token),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == (
        "QT_API_TOKEN=*** is not allowed: 16 or more printable ASCII characters, none of them a space\n"
    )


@pytest.mark.parametrize(("redirected", "code"), [(">&-", 0), ("> /dev/full", 1), ("| head -1", 0)])
def test_an_output_that_cannot_be_written_is_no_traceback(tmp_path, redirected, code):
    next_generation(tmp_path / "journal.sqlite3", 1, "paper", "synthetic seed 1")
    done = subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -m qt_actors pnl {redirected}"],
        env=environment(tmp_path, 1, PYTHONIOENCODING="ascii"),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1 + code


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["run", "--mode", "live"], "--mode live is refused"),
        (["run", "--mode", "testnet"], "--mode testnet needs BINANCE_TESTNET_API_KEY"),
        (["run", "--replay", "/nowhere"], "no such folder"),
        (["run", "--exchange-url", "http://127.0.0.1:1"], "no embedded exchange answers there"),
        (["run", "--exchange-url", "https://fapi.binance.com"], "belongs to live"),
        (["run", "--from", "yesterday"], "is not a time"),
        (["run", "--symbols", "NOPEUSDT"], "NOPEUSDT"),
        (["run", "--speed", "-1"], "speed"),
        (["run", "--speed", "nan"], "--speed nan is not allowed"),
        (["run", "--seed", "-1"], "--seed -1 is not allowed"),
        (["run", "--seed", "99999999999999999999999"], "is not allowed; give a whole number"),
        (["run", "--from", "99999999999999999999"], "is not allowed; give a time"),
        (["run", "--symbols", ","], "none is named"),
        (["run", "--exchange-url", ""], "allowed is http://host"),
        (["run", "--exchange-url", "http://localhost:none"], "no embedded exchange answers there"),
        (["run", "--brackets", "b.json"], "go with --exchange-info"),
        (["exchange", "--speed", "0"], "--speed 0.0 is not allowed"),
        (["exchange", "--wallet", "inf"], "--wallet Infinity is not allowed"),
        (["exchange", "--from", "0"], "--from 0 is not allowed"),
        (["exchange", "--replay", "/nowhere"], "no such folder"),
        (["why", " "], "is no symbol"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_line_without_a_traceback(tmp_path, arguments, line):
    done = subprocess.run(
        [*QT, *arguments], env=environment(tmp_path, 0), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode in {1, 2}
    assert line in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["missing", "truncated", "interval"])
def test_an_unusable_model_file_is_named_and_the_others_trade_on(tmp_path, harm):
    models = tmp_path / "models"
    shutil.copytree(Path(__file__).parents[2] / "models" / "artifacts", models)
    if harm == "missing":
        (models / "xgb.onnx").unlink()
    elif harm == "truncated":
        (models / "xgb.onnx").write_bytes((models / "xgb.onnx").read_bytes()[:1000])
    else:
        manifest = json.loads((models / "xgb.json").read_text())
        (models / "xgb.json").write_text(json.dumps({**manifest, "interval": "15m"}))
    port = free_port()
    trader = Process(
        ["run", "--speed", "600", "--symbols", "BTCUSDT,ETHUSDT,SOLUSDT"],
        environment(tmp_path / "data", port, QT_MODELS_DIR=str(models)),
        tmp_path,
    )
    journal = Journal(tmp_path / "data")
    wait_until(lambda: journal.rows("SELECT 1 FROM decisions WHERE active = 3"), 60, trader.log.read_text)
    health = get(f"http://127.0.0.1:{port}/health")
    assert health["status"] == "degraded"
    assert health["ai_status"]["xgb"] == "missing"
    assert "xgb" in health["ai_reasons"]["xgb"]
    assert trader.stop() == 0


@pytest.mark.parametrize(
    ("harm", "line"),
    [
        ("api-token", "the control token cannot be written there (a folder stands in its place); move it away"),
        ("exchange.json", "is no saved exchange state, or damaged; bring back a copy, or move it away"),
    ],
)
def test_a_harmed_file_of_the_data_folder_stops_the_start_with_what_to_do(tmp_path, harm, line):
    if harm == "api-token":
        (tmp_path / harm).mkdir()
    else:
        (tmp_path / harm).write_bytes(b"17")
    done = subprocess.run(
        [*QT, "run"], env=environment(tmp_path, 0), capture_output=True, text=True, timeout=60, check=False
    )
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1, done.stderr
    assert last.startswith(f"{tmp_path / harm}: {line}")
    assert "Errno" not in done.stderr
    assert "Traceback" not in done.stderr
