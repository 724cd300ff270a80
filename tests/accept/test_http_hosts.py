"""Under which names the API answers: a foreign page must not read it through a name of its own (DNS rebinding)."""

from __future__ import annotations

import http.client
import json

import pytest

from qt_actors.edges.web.hosts import hosts_of
from tests.web_site import make_healthy


def asked_as(site, path, *hosts, method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", site.server.port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    for host in hosts:
        connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


@pytest.mark.parametrize("host", ["localhost", "LocalHost:8000", "127.0.0.1:8000", "[::1]:8000", "[::1]"])
def test_the_names_of_this_machine_are_answered(site, host):
    make_healthy(site)
    assert asked_as(site, "/health", host)[0] == 200


@pytest.mark.parametrize("path", ["/", "/health", "/api/risk", "/metrics", "/docs", "/nothing"])
@pytest.mark.parametrize("host", ["evil.com", "evil.com:8000", "127.0.0.1.evil.com", "8.8.8.8", "", "[", "localhost@x"])
def test_any_other_name_gets_one_line_that_says_what_is_allowed_and_nothing_else(site, path, host):
    status, body = asked_as(site, path, host)
    assert status == 400
    assert "use localhost, 127.0.0.1, [::1]" in json.loads(body)["error"]
    assert list(json.loads(body)) == ["error"]


def test_a_control_under_a_foreign_name_is_not_passed_on(site):
    assert asked_as(site, "/api/control/halt", "evil.com", method="POST")[0] == 400
    assert site.governor.told == []


@pytest.mark.parametrize(
    ("listens", "host", "ours"),
    [
        ("127.0.0.1", "box", False),
        ("192.168.1.5", "192.168.1.5:8000", True),
        ("192.168.1.5", "192.168.1.6", False),
        ("box.lan", "BOX.lan:8000", True),
        ("box.lan", "box.lan.", True),
        ("0.0.0.0", "192.168.1.5:8000", True),  # noqa: S104 # asked for, not bound to
        ("0.0.0.0", "[fe80::1]:8000", True),  # noqa: S104 # as above
        ("0.0.0.0", "box", True),  # noqa: S104 # as above
        ("::", "box.lan:8000", True),
        ("::", "10.0.0.7", True),
        ("::", "evil.com", False),
    ],
)
def test_what_listens_everywhere_is_asked_by_any_address_and_the_machines_name(listens, host, ours):
    assert hosts_of(listens, machine="Box.lan").has(host) == ours
