"""The house rules that linters cannot say."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from pathlib import Path

import pytest

from qt_actors.messages import market, orders, policy, positions, requests, signals, system
from qt_actors.messages.base import Message

ROOT = Path(__file__).parents[2]
ROOMS = ("config", "models", "exporters", "qt_actors")
CODE = sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py"))
BRANCHES = ("ground", "venue", "trading", "judgement", "minds", "feed", "oversight")
CARD = ("Owns:", "Hears:", "Says:", "Never:", "On restart:")
LINES_MAX = 400
FUNCTION_LINES_MAX = 60


def functions(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", CODE, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_and_no_function_is_too_long_to_read(path):
    assert len(path.read_text().splitlines()) <= LINES_MAX
    for node in functions(path):
        first = node.body[0]
        told = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
        start = first.end_lineno if told else node.lineno
        assert node.end_lineno - start <= FUNCTION_LINES_MAX, node.name


def test_every_message_is_frozen():
    seen = 0
    for module in (market, orders, policy, positions, requests, signals, system):
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, Message) and kind.__module__ == module.__name__:
                seen += 1
                assert kind.__struct_config__.frozen, kind
    assert seen > 50


def actor_files():
    for branch in BRANCHES:
        for path in sorted((ROOT / "qt_actors" / branch).glob("*.py")):
            if re.search(r"^class \w+\(Actor\):", path.read_text(), re.MULTILINE):
                yield path


@pytest.mark.parametrize("path", list(actor_files()), ids=lambda p: p.stem)
def test_every_actor_carries_its_card(path):
    card = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert [head for head in CARD if head not in card] == []


def test_the_readme_shows_every_room_there_is():
    readme = (ROOT / "README.md").read_text()
    rooms = [p.name for p in (ROOT / "qt_actors").iterdir() if p.is_dir() and (p / "__init__.py").exists()]
    assert [room for room in rooms if f"{room}/" not in readme] == []


def test_the_env_example_names_every_variable_and_no_other():
    from config.settings import Settings

    known = {field.alias for field in Settings.model_fields.values()}
    shown = set(re.findall(r"^#?([A-Z][A-Z_0-9]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert shown == known


def test_every_test_that_the_architecture_names_exists():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = set(re.findall(r"tests/[\w/*]+\.py", text))
    assert named
    assert [name for name in named if not list(ROOT.glob(name))] == []


def test_no_unfinished_work_is_left_in_the_code():
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK|NotImplementedError)\b")
    assert [p for p in CODE if marks.search(p.read_text())] == []


def test_trading_needs_no_training_library():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    plain = " ".join(project["dependencies"]).lower()
    assert not re.search(r"torch|xgboost|lightgbm|scikit-learn|skl2onnx", plain)


def test_no_path_of_a_developers_machine_stands_in_the_project():
    suspect = re.compile(r"/(home|root|work|Users)/\w+")
    texts = [*CODE, *ROOT.glob("*.md"), *(ROOT / "models").glob("*.md"), ROOT / "pyproject.toml", ROOT / "Makefile"]
    assert [p.name for p in texts if suspect.search(p.read_text())] == []
