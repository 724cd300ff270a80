"""The HTTP API over a real socket: an operator's word."""

from __future__ import annotations

import stat

import pytest

from qt_actors.kernel import MailboxFullError, UnansweredError
from qt_actors.messages.system import ClosesRequested
from tests.web_site import (
    Site,
    a_position,
    an_account,
)

CONTROL_PATHS = (
    "/api/control/pause",
    "/api/control/resume",
    "/api/control/halt",
    "/api/positions/BTCUSDT/close",
    "/api/positions/close-all",
)


def test_control_without_the_right_token_is_401_and_nobody_is_told(site, tmp_path):
    right = (tmp_path / "api-token").read_text().strip()
    wrong = (None, "", "Bearer", "Bearer wrong", f"Basic {right}", f"Bearer {right}x", right)
    site.show(an_account(a_position()))
    for path in CONTROL_PATHS:
        for header in wrong:
            status, told = site.ask(path, "POST", header)
            assert status == 401, (path, header)
            assert "Bearer" in told["error"]
            assert right not in told["error"]
    assert site.governor.told == site.executor.told == []


def test_the_token_made_at_the_start_is_readable_by_its_owner_alone_and_works(site, tmp_path):
    file = tmp_path / "api-token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    right = f"Bearer {file.read_text().strip()}"
    for control in ("pause", "resume", "halt"):
        status, told = site.ask(f"/api/control/{control}?reason=drill", "POST", right)
        assert (status, told["accepted"]) == (202, control)
    assert [(m.control, m.reason, m.by) for m in site.governor.told] == [
        (c, "drill", "http") for c in ("pause", "resume", "halt")
    ]


def test_202_says_what_follows_from_the_word(site, tmp_path):
    right = f"Bearer {(tmp_path / 'api-token').read_text().strip()}"
    assert site.ask("/api/control/halt?reason=drill", "POST", right) == (
        202,
        {
            "accepted": "halt",
            "reason": "drill",
            "entries": "stopped",
            "because": "entries halted by operator: drill",
            "note": "",
        },
    )
    assert site.ask("/api/control/resume", "POST", right)[1]["entries"] == "allowed"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError("no answer within 5 s"), "halt is not confirmed"),
        (UnansweredError("its handler crashed"), "halt is not confirmed"),
        (MailboxFullError("mailbox full"), "halt was not passed on"),
        (None, "not on disk, a restart would forget it: disk full"),
    ],
)
def test_a_word_that_is_not_taken_and_on_disk_is_503_with_what_is_missing(site, tmp_path, error, said):
    right = f"Bearer {(tmp_path / 'api-token').read_text().strip()}"
    site.governor.error, site.governor.fault = error, "disk full"
    status, told = site.ask("/api/control/halt", "POST", right)
    assert status == 503
    assert said in told["error"]


def test_close_all_closes_even_when_the_governor_does_not_answer_and_says_that_entries_go_on(site, tmp_path):
    right = f"Bearer {(tmp_path / 'api-token').read_text().strip()}"
    site.show(an_account(a_position()))
    site.governor.error = TimeoutError("no answer within 5 s")
    status, told = site.ask("/api/positions/close-all", "POST", right)
    assert (status, [m.symbol for m in site.executor.told]) == (503, ["BTCUSDT"])
    assert told["error"].startswith("closing ['BTCUSDT'], but pause is not confirmed")


def test_a_close_that_is_under_way_but_not_on_disk_is_503_and_says_so(site, tmp_path):
    right = f"Bearer {(tmp_path / 'api-token').read_text().strip()}"
    site.show(an_account(a_position()))
    site.governor.fault = "disk full"
    status, told = site.ask("/api/positions/BTCUSDT/close?reason=enough", "POST", right)
    assert (status, [m.symbol for m in site.executor.told]) == (503, ["BTCUSDT"])
    assert told["error"].startswith("closing BTCUSDT, but it is not on disk")
    kept = ClosesRequested(symbols=("BTCUSDT",), reason="by operator: enough", by="http")
    assert site.governor.told == [kept]


def test_close_all_before_the_account_is_known_pauses_and_says_that_nothing_was_closed(site, tmp_path):
    right = f"Bearer {(tmp_path / 'api-token').read_text().strip()}"
    status, told = site.ask("/api/positions/close-all", "POST", right)
    assert (status, [m.control for m in site.governor.told]) == (503, ["pause"])
    assert "nothing was closed" in told["error"]


def test_closing_tells_the_executor_of_open_positions_only(site, tmp_path):
    right = f"Bearer {(tmp_path / 'api-token').read_text().strip()}"
    status, told = site.ask("/api/positions/BTCUSDT/close", "POST", right)
    assert (status, "not known yet" in told["error"]) == (503, True)
    site.show(an_account())
    assert site.ask("/api/positions/BTCUSDT/close", "POST", right) == (
        404,
        {"error": "symbol BTCUSDT: no open position"},
    )
    site.show(an_account(a_position(), a_position("ETHUSDT", "-2")))
    assert site.ask("/api/positions/btcusdt/close", "POST", right)[0] == 202
    assert site.ask("/api/positions/close-all", "POST", right)[1]["symbols"] == ["BTCUSDT", "ETHUSDT"]
    assert [(m.symbol, m.exit_reason) for m in site.executor.told] == [
        ("BTCUSDT", "manual"),
        ("BTCUSDT", "manual"),
        ("ETHUSDT", "manual"),
    ]


def test_a_word_that_is_no_control_is_refused_with_what_is_allowed(site, tmp_path):
    right = f"Bearer {(tmp_path / 'api-token').read_text().strip()}"
    status, told = site.ask("/api/control/explode", "POST", right)
    assert status == 422
    assert "'pause', 'resume' or 'halt'" in told["error"]


def test_a_configured_token_is_used_and_none_is_written(tmp_path):
    site = Site(tmp_path, QT_API_TOKEN="my-own-strong-token")
    assert site.ask("/api/control/pause", "POST", "Bearer my-own-strong-token")[0] == 202
    assert not (tmp_path / "api-token").exists()
    site.close()
