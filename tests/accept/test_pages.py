"""The pages: what they load, whom they ask, and that their parts fit."""

from __future__ import annotations

import re

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
