"""The API's description against what the paths really answer."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from qt_actors.edges.web import answers, history
from qt_actors.messages import market, policy, positions, signals, system
from tests.web_site import (
    BAR,
    NOW,
    a_decision,
    a_position,
    a_resting,
    a_result,
    a_signal,
    an_account,
    decided,
    make_healthy,
)

ANSWERS = {
    "/health": (answers.Health,),
    "/api/signals/live": (answers.LiveSignals,),
    "/api/positions": (answers.Positions,),
    "/api/ai/status": (answers.AiStatus,),
    "/api/risk": (answers.Risk, answers.Unknown),
    "/api/policy": (answers.Conductor, answers.UnknownPolicy),
    "/api/os/report": (answers.OsReport,),
    "/api/tree": (answers.Tree,),
    "/api/trades": (history.Trades,),
    "/api/decisions/{symbol}": (history.Decisions,),
    "/api/why": (history.Why,),
    "/api/pnl": (history.Results,),
    "/api/equity": (history.Curve,),
    "/api/incidents": (history.Incidents,),
}
WORDS = {
    "/api/control/{control}": (answers.Steered,),
    "/api/positions/close-all": (answers.ClosingAll,),
    "/api/positions/{symbol}/close": (answers.Closing,),
}


def shown_as(told, shape):
    """What is left of an answer when it is read as ``shape``: less than it, if it says more than it is said to."""
    return msgspec.json.decode(msgspec.json.encode(msgspec.convert(told, shape)))


def assert_fits(told, shapes):
    faults = []
    for shape in shapes:
        try:
            assert shown_as(told, shape) == told
        except (AssertionError, msgspec.ValidationError) as error:
            faults.append(f"{shape.__name__}: {error}")
        else:
            return
    raise AssertionError("\n".join(faults))


def busy(site):
    """Let something stand in every answer."""
    make_healthy(site)
    held = (a_position(), a_position("ETHUSDT", "-2"))
    trail = a_resting("TRAILING_STOP_MARKET", "0", callback=Decimal("1.5"))
    found = msgspec.structs.replace(a_signal(), edge_r=0.1)
    site.show(
        an_account(*held, conditionals=(a_resting("STOP_MARKET", "95"), trail)),
        signals.Signals(close_time_ms=BAR, symbols=("BTCUSDT",), signals=(found,)),
        market.UniverseChosen(symbols=("BTCUSDT",), rules=(), refused={"DOGEUSDT": "volume 3 < 1000000"}),
        policy.Policy(
            min_confidence=0.49,
            base=0.55,
            adjustments=(("regime", -0.06),),
            risk_multiplier=1.2,
            allow_trades=True,
            max_open_positions=6,
            reasons=("trending",),
        ),
        positions.ProtectionMeasured(now_ms=NOW, unprotected_seconds=0.5, unprotected_symbols=("ETHUSDT",)),
        system.BudgetUsed(weight_ratio=0.1, orders_ratio=0.2),
    )
    made = msgspec.structs.replace(a_decision(), signal=found)
    worth = Decimal(10_000)
    site.journal.append(
        [
            decided(made),
            a_result(),
            system.EquityMeasured(
                now_ms=NOW,
                wallet_usd=worth,
                equity_usd=worth,
                unrealized_usd=worth,
                daily_pnl_usd=worth,
                gross_notional_usd=worth,
            ),
            system.IncidentSeen(kind="account", subject="BTCUSDT", detail="odd", repaired=True, now_ms=NOW),
        ]
    )


@pytest.mark.parametrize("prepare", [lambda _site: None, busy], ids=["at the start", "busy"])
def test_every_answer_has_the_shape_that_the_description_says_no_more_and_no_less(site, prepare):
    prepare(site)
    for path, shapes in ANSWERS.items():
        symbol = "BTCUSDT"
        if prepare is not busy and "{symbol}" in path:
            continue
        assert_fits(site.get(path.replace("{symbol}", symbol)), shapes)


def test_an_answer_that_says_more_or_less_than_described_is_noticed():
    told = {"accepted": "close", "symbols": [], "reason": ""}
    assert_fits(told, (answers.Closing,))
    for odd in ({**told, "more": 1}, {"accepted": "close", "reason": ""}, {**told, "symbols": None}):
        with pytest.raises(AssertionError):
            assert_fits(odd, (answers.Closing,))


def test_an_operators_word_is_answered_as_described(site, tmp_path):
    right = f"Bearer {(tmp_path / 'api-token').read_text().strip()}"
    site.show(an_account(a_position()))
    for path, shapes in WORDS.items():
        asked = path.replace("{control}", "pause").replace("{symbol}", "BTCUSDT")
        status, told = site.ask(asked, "POST", right)
        assert status == 202
        assert_fits(told, shapes)


def test_the_description_names_these_shapes_and_every_shape_is_in_it(site):
    document = site.get("/openapi.json")
    schemas = document["components"]["schemas"]
    for path, shapes in {**ANSWERS, **WORDS}.items():
        (told,) = document["paths"][path].values()
        code = "202" if path in WORDS else "200"
        schema = told["responses"][code]["content"]["application/json"]["schema"]
        named = [part["$ref"].rpartition("/")[2] for part in schema.get("anyOf", [schema])]
        assert named == [shape.__name__ for shape in shapes]
    referred = {part for part in str(document).replace("'", '"').split('"') if part.startswith("#/components/schemas/")}
    assert {name.rpartition("/")[2] for name in referred} <= set(schemas)
    assert {"Held", "Trade", "Judged", "ModelVote", "Refusal"} <= set(schemas)


def test_a_number_may_be_null_wherever_it_stands_because_what_is_none_leaves_so(site):
    schemas = site.get("/openapi.json")["components"]["schemas"]
    assert schemas["Signal"]["properties"]["edge_r"] == {"type": ["number", "null"]}
    assert schemas["Held"]["properties"]["stop_price"] == {"anyOf": [{"type": "number"}, {"type": "null"}]}
    assert schemas["Held"]["properties"]["opened_ms"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}


def test_the_description_says_how_each_path_refuses_and_that_control_needs_the_token(site):
    document = site.get("/openapi.json")
    said = {path: set(told["responses"]) for path, methods in document["paths"].items() for told in methods.values()}
    assert said["/health"] == {"200", "503"}
    assert said["/api/decisions/{symbol}"] == {"200", "404", "422", "503"}
    assert said["/api/trades"] == {"200", "422", "503"}
    assert said["/api/control/{control}"] == said["/api/positions/close-all"] == {"202", "401", "422", "503"}
    assert said["/api/positions/{symbol}/close"] == {"202", "401", "404", "422", "503"}
    (scheme,) = document["components"]["securitySchemes"]
    assert document["components"]["securitySchemes"][scheme]["scheme"] == "bearer"
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            assert ("security" in told) == (method == "post"), path
            refusals = [v for k, v in told["responses"].items() if k[0] in "45" and path != "/health"]
            assert all(
                r["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Refusal"} for r in refusals
            )


@pytest.mark.parametrize("path", ["/health", "/api/trades", "/", "/metrics", "/openapi.json", "/static/page.js"])
def test_head_is_answered_as_get_without_the_body(site, path):
    assert site.ask(path, "HEAD") == (200, "")
    assert int(site.headers(path, "HEAD")["Content-Length"]) > 0


def test_head_of_a_path_that_only_takes_posts_does_nothing(site):
    assert site.ask("/api/control/halt", "HEAD") == (405, "")
    assert site.governor.told == []


def test_another_method_and_a_fault_of_ours_are_one_line_too(site):
    assert site.ask("/health", "DELETE") == (405, {"error": "not this method, but GET"})
    site.states = None
    status, told = site.ask("/api/tree")
    assert (status, list(told)) == (500, ["error"])
    assert "TypeError" in told["error"]


def test_a_reason_of_several_lines_is_refused_because_it_would_forge_the_log(site, tmp_path):
    right = f"Bearer {(tmp_path / 'api-token').read_text().strip()}"
    status, told = site.ask("/api/control/pause?reason=a%0aroot%20resumed", "POST", right)
    assert (status, site.governor.told) == (422, [])
    assert told["error"].startswith("reason=")


def test_a_symbol_longer_than_any_is_422_and_is_not_told_back_in_full(site):
    status, told = site.ask("/api/decisions/" + "A" * 5000)
    assert status == 422
    assert len(told["error"]) <= 500
