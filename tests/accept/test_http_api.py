"""The HTTP API over a real socket: what all paths have in common, its description, and the server."""

from __future__ import annotations

import http.client

import pytest

from config.settings import load
from exporters.prometheus import Metrics
from qt_actors.edges.journal import FILE_NAME
from qt_actors.edges.journal_queries import SqliteJournalReader
from qt_actors.edges.web.server import WebPortError, web_server
from qt_actors.edges.web.snapshot import RunInfo
from tests.web_site import (
    NOW,
    Postbox,
)

EMPTY_PATHS = (
    "/health",
    "/api/signals/live",
    "/api/positions",
    "/api/trades",
    "/api/ai/status",
    "/api/risk",
    "/api/policy",
    "/api/os/report",
    "/api/tree",
    "/api/why",
    "/api/pnl",
    "/api/equity",
    "/api/incidents",
    "/metrics",
    "/",
    "/docs",
    "/openapi.json",
)


def test_every_path_answers_before_anything_has_happened(site):
    for path in EMPTY_PATHS:
        site.get(path)


def test_a_bad_parameter_is_422_and_one_line_with_name_and_value(site):
    said = {
        "/api/trades?limit=0": "limit='0': Input should be greater than or equal to 1",
        "/api/trades?limit=many": "limit='many'",
        "/api/trades?limit=999999": "less than or equal to 1000",
        "/api/equity?hours=-1": "hours='-1'",
        "/api/decisions/BTCUSDT?limit=201": "less than or equal to 200",
    }
    for path, line in said.items():
        status, told = site.ask(path)
        assert status == 422
        assert line in told["error"]
        assert "\n" not in told["error"]


def test_an_unknown_path_is_404_in_one_line(site):
    assert site.ask("/api/nonsense") == (404, {"error": "no such path; see /docs"})


def test_metrics_are_scraped_with_requests_counted_by_route_and_class(site):
    site.ask("/api/decisions/NOUSDT")
    site.ask("/no/such/path/at/all")
    text = site.get("/metrics")
    assert "qt_unprotected_position_seconds_total 0.0" in text
    assert 'qt_http_requests_total{code="4xx",route="/api/decisions/{symbol}"} 1.0' in text
    assert 'qt_http_requests_total{code="4xx",route="unknown"} 1.0' in text


def test_every_path_of_the_specification_is_in_the_openapi_document(site):
    paths = site.get("/openapi.json")["paths"]
    wanted = {
        "/health",
        "/api/signals/live",
        "/api/positions",
        "/api/trades",
        "/api/ai/status",
        "/api/risk",
        "/api/policy",
        "/api/tree",
        "/api/decisions/{symbol}",
        "/api/control/{control}",
        "/metrics",
    }
    assert wanted <= set(paths)
    assert all(told["description"] for methods in paths.values() for told in methods.values())


def test_a_port_in_use_is_one_line_with_what_to_do(site, tmp_path):
    taken = load(None, {"QT_DATA_DIR": str(tmp_path / "b"), "QT_HTTP_PORT": str(site.server.port)})
    other = web_server(
        taken,
        RunInfo(version="", mode="paper", market="", profile="", bar_interval="1h", models=()),
        tree=tuple,
        journal=SqliteJournalReader(tmp_path / FILE_NAME),
        metrics=Metrics(),
        now_ms=lambda: NOW,
        governor=Postbox("g"),
        executor=Postbox("e"),
    )
    with pytest.raises(WebPortError, match=rf"HTTP port {site.server.port} on 127.0.0.1: .*in use; .*QT_HTTP_PORT"):
        other.bind()


def test_a_stopped_server_frees_its_port_and_starts_again(site):
    site.get("/health")
    site.server.stop()
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection("127.0.0.1", site.server.port or 1, timeout=1).request("GET", "/health")
    site.server.start()
    site.get("/health")
