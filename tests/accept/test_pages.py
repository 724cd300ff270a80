"""The pages: what they load and whom they ask."""

from __future__ import annotations

import re

import pytest

from qt_actors.edges.web.app import STATIC


@pytest.mark.parametrize("name", ["index.html", "docs.html"])
def test_pages_load_nothing_from_elsewhere(name):
    text = (STATIC / name).read_text()
    foreign = [u for u in re.findall(r"https?://[^\s'\"<>]+", text) if not u.startswith("http://www.w3.org/2000/svg")]
    assert foreign == []
    assert len(text) < 60_000


def test_every_path_the_page_asks_for_is_served(site):
    text = (STATIC / "index.html").read_text()
    paths = set(re.findall(r'"(/(?:health|api|metrics|docs)[^"]*)"', text))
    posts = {p for p in paths if p.startswith("/api/control") or p.endswith("close-all")}
    assert len(paths - posts) > 8
    for path in paths - posts:
        site.get(path)
    for path in posts:
        assert site.ask(path, "POST")[0] == 401
