"""The pages: what they load, whom they ask, and that their parts fit."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from qt_actors.edges.web.app import STATIC

PARTS = sorted(file.name for file in STATIC.iterdir())
SCRIPTS = [name for name in PARTS if name.endswith(".js")]


@pytest.mark.parametrize("name", PARTS)
def test_a_page_loads_nothing_from_elsewhere(name):
    text = (STATIC / name).read_text()
    foreign = [u for u in re.findall(r"https?://[^\s'\"<>]+", text) if not u.startswith("http://www.w3.org/2000/svg")]
    assert foreign == []


@pytest.mark.parametrize("name", PARTS)
def test_a_part_of_a_page_is_short_enough_to_be_read(name):
    assert len((STATIC / name).read_text().splitlines()) <= 400


def test_every_part_is_served_and_nothing_beside_them(site):
    for name in PARTS:
        assert site.ask(f"/static/{name}")[0] == 200
    for name in ("../app.py", "%2e%2e/app.py", "..%2fapp.py", "", "nothing.js"):
        assert site.ask(f"/static/{name}")[0] == 404, name


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_runs_no_script_but_its_own_files_and_refers_to_parts_that_exist(site, path):
    text = site.get(path)
    assert "'unsafe-inline'" not in site.headers(path)["Content-Security-Policy"]
    assert not re.search(r"<style|<script(?![^>]*src=)|\sstyle=|\son[a-z]+=", text)
    referred = re.findall(r'"/static/([^"]+)"', text)
    assert referred
    assert set(referred) <= set(PARTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_imports_only_what_the_other_exports(name):
    for names, module in re.findall(r'import \{([^}]+)\} from "\./([^"]+)"', (STATIC / name).read_text()):
        exported = (STATIC / module).read_text()
        for imported in map(str.strip, names.split(",")):
            word = re.escape(imported)
            said = rf"export (?:async )?(?:const|function) {word}[ (]|export \{{[^}}]* {word}[ ,]"
            assert re.search(said, exported), f"{name}: {imported} of {module}"


def test_every_element_that_the_scripts_name_is_on_its_page():
    calls = r'(?:\$|put|table|gauge)\("([a-z-]+)"'
    for page, scripts in {"index.html": set(SCRIPTS) - {"docs.js"}, "docs.html": {"docs.js"}}.items():
        there = set(re.findall(r'\sid="([^"]+)"', (STATIC / page).read_text()))
        named = {found for script in scripts for found in re.findall(calls, (STATIC / script).read_text())}
        assert named - there == set(), page
        assert named


def test_every_panel_has_a_section_that_can_say_that_its_path_refuses():
    panels = set(re.findall(r'path: "(/api/(?!control|positions)[^"]+)"', (STATIC / "panels.js").read_text()))
    sections = " ".join(re.findall(r'data-of="([^"]+)"', (STATIC / "index.html").read_text())).split()
    assert panels <= set(sections)
    assert len(panels) > 6


def test_every_path_the_pages_ask_for_is_served(site):
    text = "".join((STATIC / name).read_text() for name in PARTS)
    paths = set(re.findall(r'"(/(?:health|api|metrics|docs|openapi)[^" ]*)"', text))
    posts = {p for p in paths if p.startswith("/api/control") or p.endswith("close-all")}
    assert len(paths - posts) > 10
    assert len(posts) == 4
    for path in paths - posts:
        site.get(path)
    for path in posts:
        assert site.ask(path, "POST")[0] == 401


@pytest.fixture(scope="module")
def node():
    """Run node with these arguments and return what it prints; a browser is too heavy for a test."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("no node on this machine: the pages' scripts are not run")

    def run(*words):
        done = subprocess.run([program, *words], cwd=STATIC, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def printed(node, *shown):
    """Return what the expressions are, ``f`` being the numbers' formats."""
    script = f'const f = await import(process.cwd() + "/format.js"); console.log(JSON.stringify([{", ".join(shown)}]))'
    return json.loads(node("--input-type=module", "--eval", script))


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_a_module_without_a_fault_of_syntax(node, tmp_path, name):
    module = tmp_path / name.replace(".js", ".mjs")  # node takes other names for scripts of the old kind
    module.write_text((STATIC / name).read_text())
    node("--check", str(module))


def test_what_is_not_known_is_a_dash_and_never_a_zero(node):
    formats = ("number", "usd", "signed", "share", "change", "price", "span", "clock", "hour")
    asked = [f"f.{name}({unknown})" for name in formats for unknown in ("null", "undefined")]
    assert printed(node, *asked) == ["—"] * len(asked)


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("f.usd(-1234.5)", "−$1,234.50"),
        ("f.signed(12)", "+$12.00"),
        ("f.signed(0)", "$0.00"),
        ("f.share(0.25, 0)", "25 %"),
        ("f.change(-0.0123)", "−1.23 %"),
        ("f.price(0.002299, f.decimals([0.002414, 0.0021963]))", "0.0022990"),
        ("f.price(87400)", "87,400"),
        ("f.span(7200)", "2.0 h"),
        ('f.plural(1, "symbol")', "1 symbol"),
    ],
)
def test_numbers_are_shown_as_people_read_them(node, asked, shown):
    assert printed(node, asked) == [shown]
