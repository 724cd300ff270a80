"""The HTTP API over a real socket: whether it trades, by whose word not, and the reason an operator gave."""

from __future__ import annotations

import http.client
import json
from decimal import Decimal

import pytest

from qt_actors.messages import system
from tests.web_site import NOW, Site, a_directive, a_position, an_account, make_healthy


def a_state(**changes):
    return system.GovernorState(
        day="2023-11-14",
        losing_streak=0,
        changed_ms=NOW,
        **{"day_start_equity_usd": Decimal(1), "halted": False, "halt_reason": "", **changes},
    )


@pytest.mark.parametrize(
    ("what", "held"),
    [
        ("halted", a_state(halted=True, halt_reason="fire drill", halted_ms=NOW - 5)),
        ("paused", a_state(paused=True, pause_reason="fire drill", paused_ms=NOW - 5)),
    ],
)
def test_a_trader_that_an_operator_stopped_is_not_told_as_plainly_healthy(site, what, held):
    make_healthy(site)
    told = site.get("/health")
    assert (told["status"], told["trading"]["state"]) == ("healthy", "allowed")
    reason = f"entries {what} by operator: fire drill"
    site.show(a_directive(allow=False, reason=reason), held)
    told = site.get("/health")
    assert (told["status"], told["reasons"], told["entries"]) == (what, [reason], "stopped")
    assert told["trading"] == {"state": what, "reason": reason, "since_ms": NOW - 5}
    assert site.get("/api/os/report")["trading"] == told["trading"]
    risk = site.get("/api/risk")
    kind = {"halted": "halt", "paused": "pause"}[what]
    assert (risk[f"{kind}_reason"], risk[f"{what}_ms"]) == ("fire drill", NOW - 5)


def test_a_trader_that_its_own_limits_stopped_says_so_and_since_when(site):
    make_healthy(site)
    site.show(a_directive(allow=False, reason="5 losses in a row of 5"), a_state())
    told = site.get("/health")
    assert (told["status"], told["reasons"]) == ("healthy", ["5 losses in a row of 5"])
    assert told["trading"] == {"state": "stopped", "reason": "5 losses in a row of 5", "since_ms": NOW}


def test_a_halt_hides_nothing_that_is_wrong(site):
    make_healthy(site)
    halt = a_state(halted=True, halt_reason="drill", halted_ms=NOW)
    site.show(a_directive(allow=False, reason="entries halted by operator: drill"), halt)
    site.show(system.HealthReported(subsystem="models", health=0, reason="0 of 4 can vote", now_ms=NOW))
    status, told = site.ask("/health")
    assert (status, told["status"]) == (503, "unhealthy")
    assert told["reasons"][0] == "models: 0 of 4 can vote"


def test_risk_tells_every_limit_with_its_source_and_no_setting_beside(site):
    site.show(an_account(), a_directive(), a_state(day_start_equity_usd=Decimal(10_000)))
    told = site.get("/api/risk")
    limits = {limit["name"]: limit for limit in told["limits"]}
    assert limits["daily loss"]["value"] == told["daily_loss_limit_usd"] == 200
    assert limits["open positions"] == {
        "name": "open positions",
        "unit": "positions",
        "value": 6,
        "source": "profile SAFE",
        "allows": {"QT_MAX_POSITIONS": 10, "RM_MAX_CONCURRENT_TRADES": 10, "profile SAFE": 6},
    }


def test_a_quorum_that_has_shrunk_is_in_the_health(site):
    make_healthy(site)
    assert site.get("/health")["models"] == {"active": 4, "meant": 4, "quorum": 3, "quorum_of_all": 3}
    reason = "3 of 4 can vote, 2 instead of 3 must agree (xgb missing)"
    site.show(system.HealthReported(subsystem="models", health=75, reason=reason, now_ms=NOW))
    told = site.get("/health")
    assert told["status"] == "degraded"
    assert f"models: {reason}" in told["reasons"]


@pytest.mark.parametrize(("host", "exposed"), [("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)])  # noqa: S104
def test_a_window_open_to_others_is_warned_of_at_the_start(tmp_path, caplog, host, exposed):
    site = Site(tmp_path, QT_HTTP_HOST=host)
    try:
        assert site.get("/health")["status"] == "starting"
    finally:
        site.close()
    warned = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert [f"QT_HTTP_HOST={host}: whoever reaches this machine can read" in w for w in warned] == [True] * exposed


def post(site, path, body, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", site.server.port, timeout=10)
    token = (site.settings.data_dir / "api-token").read_text().strip()
    connection.request("POST", path, body, {"Authorization": f"Bearer {token}", **headers})
    answer = connection.getresponse()
    told = json.loads(answer.read())
    connection.close()
    return answer.status, told


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("control", ["halt", "pause", "resume"])
def test_a_reason_in_the_body_is_kept_as_one_in_the_query_is(site, control):
    body = json.dumps({"reason": " fire drill "})
    status, told = post(site, f"/api/control/{control}", body, **JSON)
    assert (status, told["reason"]) == (202, "fire drill")
    assert post(site, f"/api/control/{control}?reason=lunch", None)[1]["reason"] == "lunch"
    assert [m.reason for m in site.governor.told] == ["fire drill", "lunch"]


def test_a_close_carries_the_operators_reason_to_the_trade_and_to_the_pause(site):
    site.show(an_account(a_position()))
    status, told = post(site, "/api/positions/close-all", json.dumps({"reason": "fire drill"}), **JSON)
    assert (status, told["reason"], told["symbols"]) == (202, "fire drill", ["BTCUSDT"])
    assert [m.reason for m in site.executor.told] == ["by operator: fire drill"]
    assert [m.reason for m in site.governor.told] == ["close all, fire drill", "by operator: fire drill"]


@pytest.mark.parametrize(
    "body",
    [
        '{"reasn": "x"}',
        "no json",
        "reason=drill",
        json.dumps({"reason": "two\nlines"}),
        json.dumps({"reason": "x" * 201}),
    ],
)
def test_a_body_that_is_no_reason_is_refused_and_nobody_is_told(site, body):
    for query in ("", "?reason=drill"):
        assert post(site, f"/api/control/halt{query}", body, **JSON)[0] == 422
    assert site.governor.told == []
