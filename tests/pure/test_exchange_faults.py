"""Faults as data: how they are read, what they meet, when they happen, and that a seed says it all."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from qt_actors.exchange import faults
from qt_actors.exchange.clock import ExchangeClock
from qt_actors.exchange.faults.desk import Desk
from qt_actors.exchange.faults.fault import FRAME, KINDS, REQUEST, Facts, Fault, delay_ms, meets
from qt_actors.exchange.faults.frames import facts_of
from qt_actors.exchange.faults.reading import FaultsError, faults_of, read_faults

if TYPE_CHECKING:
    from pathlib import Path

START_MS = 1_735_689_600_000
ORDER = Facts(REQUEST, method="POST", path="/fapi/v1/order", symbol="BTCUSDT", side="BUY", type="MARKET")


class Time:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.real = 0.0

    def clock(self, speed: float = 1.0) -> ExchangeClock:
        return ExchangeClock(START_MS, speed, wall=lambda: START_MS + self.real, monotonic=lambda: self.real)


def desk(*faults: Fault) -> tuple[Desk, Time]:
    time = Time()
    return Desk(time.clock(), faults), time


def pattern(desk: Desk, facts: Facts, count: int) -> str:
    return "".join("x" if desk.hits(facts) else "." for _ in range(count))


def test_a_fault_waits_skips_happens_so_often_and_ends() -> None:
    counted, _ = desk(Fault(kind="drop", skip=2, times=3))
    assert pattern(counted, ORDER, 8) == "..xxx..."
    timed, time = desk(Fault(kind="drop", after_s=2, for_s=3))
    seen = ""
    for second in range(7):
        time.real = 1000.0 * second
        seen += pattern(timed, ORDER, 1)
    assert seen == "..xxx.."


def test_a_fault_of_exchange_time_lasts_real_seconds_from_then_on() -> None:
    time = Time()
    one = Desk(time.clock(speed=60.0), [Fault(kind="drop", from_ms=START_MS + 60_000, for_s=2)])
    seen = ""
    for tenth in range(0, 50, 5):
        time.real = 100.0 * tenth
        seen += pattern(one, ORDER, 1)
    assert seen == "..xxxx...."


def test_the_same_seed_gives_the_same_faults_and_another_seed_others() -> None:
    def run(seed: int) -> str:
        return pattern(desk(Fault(kind="drop", probability=0.3, seed=seed))[0], ORDER, 400)

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert 80 < run(1).count("x") < 160
    jitter = Fault(kind="latency", ms=10, jitter_ms=100, seed=4)
    delays = [delay_ms(jitter, n) for n in range(200)]
    assert delays == [delay_ms(jitter, n) for n in range(200)]
    assert 10 <= min(delays) < 30
    assert 90 < max(delays) < 110


def test_a_fault_that_meets_nothing_here_counts_nothing() -> None:
    one, _ = desk(Fault(kind="drop", symbol="ETHUSDT", path="/fapi/*", times=1))
    assert one.hits(ORDER) == []
    assert one.hits(ORDER._replace(symbol="ETHUSDT")) != []
    assert one.listed()[0]["met"] == one.listed()[0]["happened"] == 1


@pytest.mark.parametrize(
    ("fault", "facts", "met"),
    [
        (Fault(kind="drop", path="/fapi/v1/*Order"), ORDER, False),
        (Fault(kind="drop", path="/fapi/v1/*rder", method="POST"), ORDER, True),
        (Fault(kind="drop", method="GET"), ORDER, False),
        (Fault(kind="drop", side="SELL"), ORDER, False),
        (Fault(kind="drop", type="MARKET"), ORDER, True),
        (Fault(kind="no_liquidity"), ORDER, True),
        (Fault(kind="no_liquidity"), ORDER._replace(method="GET"), False),
        (Fault(kind="expire_order", ms=1), ORDER._replace(path="/fapi/v1/algoOrder"), True),
        (Fault(kind="drop", stream="user"), Facts(FRAME, stream="user"), True),
        (Fault(kind="drop", stream="*@kline_*"), Facts(FRAME, stream="btcusdt@kline_1m"), True),
        (Fault(kind="drop", event="ALGO_UPDATE"), Facts(FRAME, event="ORDER_TRADE_UPDATE"), False),
        (Fault(kind="delayed_fill", ms=1), Facts(FRAME, event="ORDER_TRADE_UPDATE", execution="NEW"), False),
        (Fault(kind="delayed_fill", ms=1), Facts(FRAME, event="ORDER_TRADE_UPDATE", execution="TRADE"), True),
        (Fault(kind="delayed_fill", ms=1), Facts(FRAME, event="ACCOUNT_UPDATE", execution="FUNDING_FEE"), False),
    ],
)
def test_a_fault_meets_what_its_fields_say(fault: Fault, facts: Facts, met: bool) -> None:
    assert meets(fault, facts) is met


@pytest.mark.parametrize(
    ("fault", "scopes"),
    [
        (Fault(kind="latency", ms=1), {"request", "frame"}),
        (Fault(kind="latency", ms=1, symbol="BTCUSDT"), {"request", "frame"}),
        (Fault(kind="latency", ms=1, method="GET"), {"request"}),
        (Fault(kind="drop", event="ALGO_UPDATE"), {"frame"}),
        (Fault(kind="drop", route="market"), {"frame"}),
        (Fault(kind="mute", route="market"), {"moment"}),
        (Fault(kind="disconnect", event="TRADE_LITE"), {"frame"}),
        (Fault(kind="disconnect", every_s=5), {"moment"}),
    ],
)
def test_a_fault_is_asked_only_about_what_its_fields_can_see(fault: Fault, scopes: set[str]) -> None:
    assert fault.scopes == scopes


def test_moments_come_once_or_at_every_stretch_with_their_chance() -> None:
    both, time = desk(
        Fault(kind="listen_key_loss", after_s=1), Fault(kind="clock_jump", ms=5, every_s=2, times=3),
        Fault(kind="expire_open", every_s=1, probability=0.5, seed=9),
    )  # fmt: skip
    seen = []
    for second in range(11):
        time.real = 1000.0 * second
        seen += [(second, hit.fault.kind) for hit in both.moments()]
    assert [at for at, kind in seen if kind == "listen_key_loss"] == [1]
    assert [at for at, kind in seen if kind == "clock_jump"] == [0, 2, 4]
    assert 0 < sum(kind == "expire_open" for _, kind in seen) < 11


def test_added_faults_have_numbers_and_can_be_cleared_one_by_one() -> None:
    one, time = desk(Fault(kind="drop"))
    assert one.add([Fault(kind="maintenance", for_s=1), Fault(kind="skew", ms=-3)]) == [2, 3]
    assert [fault.ms for fault in one.lasting("skew")] == [-3]
    assert (one.clear(1), one.clear(1), bool(one.hits(ORDER))) == (1, 0, False)
    time.real = 1500.0
    assert [row["acts"] for row in one.listed()] == [False, True]
    assert one.clear() == 2
    assert not one.concerns(REQUEST)


GOOD: dict[str, dict[str, Any]] = {
    kind: {"kind": kind, **({"ms": 5} if "ms" in rule.needs else {}), **({"code": -1} if "code" in rule.needs else {})}
    for kind, rule in KINDS.items()
}


def test_every_kind_can_be_written_is_told_in_the_table_and_stands_in_it_once() -> None:
    import json

    written = faults_of("\n".join(json.dumps(said) for said in GOOD.values()), "text")
    assert [fault.kind for fault in written] == list(KINDS)
    table = faults.__doc__ or ""
    told = [kind for row in re.findall(r"^\| ([a-z0-9_, ]+) \|", table, re.MULTILINE) for kind in row.split(", ")]
    assert sorted(told) == sorted([*KINDS, "kind"])
    for field in Fault.__struct_fields__:
        assert field in table


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "f:3: no JSON object: Expecting"),
        ("[]", "f:3: no JSON object; one fault is"),
        ("{}", "f:3: kind: None is none; allowed: random, latency"),
        ('{"kind": "explode"}', "f:3: kind: 'explode' is none; allowed: random, latency"),
        ('{"kind": "drop", "wait": 3}', "f:3: wait: not a field of drop; it takes after_s, event"),
        ('{"kind": "maintenance", "times": 3}', "f:3: times: not a field of maintenance; it takes after_s, for_s"),
        ('{"kind": "latency"}', "f:3: ms: is missing; latency needs ms"),
        ('{"kind": "latency", "ms": "5"}', "f:3: ms: Expected `int`, got `str`"),
        ('{"kind": "latency", "ms": -5}', "f:3: ms: -5 is not allowed; give 0 to 1000000000"),
        ('{"kind": "drop", "probability": 1.5}', "f:3: probability: 1.5 is not allowed; give 0 to 1"),
        ('{"kind": "drop", "probability": NaN}', "f:3: probability: nan is not allowed; give 0 to 1"),
        ('{"kind": "drop", "method": "post"}', "f:3: method: 'post' is not allowed; give one of GET, POST"),
        ('{"kind": "drop", "route": "spot"}', "f:3: route: 'spot' is not allowed; give one of public, market"),
        ('{"kind": "drop", "path": "fapi"}', "f:3: path: 'fapi' is not allowed; it begins with / or *"),
        ('{"kind": "drop", "path": "/*", "stream": "*"}', "f:3: stream: drop meets requests (path) or frames"),
        ('{"kind": "refuse", "code": -1, "status": 200}', "f:3: status: 200 is not allowed; give 400 to 599"),
        ('{"kind": "random"}', "f:3: rates: an object of kind and probability"),
        ('{"kind": "random", "rates": {"nothing": 1}}', "f:3: kind: 'nothing' is none"),
        ('{"kind": "random", "rates": {"skew": 1}}', "f:3: rates: skew lasts, it has no rate"),
        ('{"kind": "random", "rates": {"refuse": 1}}', "f:3: rates: refuse needs a code"),
        ('{"kind": "random", "rates": {"drop": "often"}}', "f:3: probability: Expected `float`, got `str`"),
        ('{"kind": "random", "rates": {"drop": 1}, "rate": 1}', "f:3: rate: not a field of random"),
    ],
)
def test_a_line_that_is_no_fault_is_told_in_one_line(line: str, says: str) -> None:
    with pytest.raises(FaultsError) as wrong:
        faults_of(f'# comment\n{{"kind": "drop"}}\n{line}\n', "f")
    assert str(wrong.value).startswith(says)
    assert "\n" not in str(wrong.value)


def test_a_random_line_is_a_fault_a_kind_with_its_rate_and_seed() -> None:
    text = '{"kind": "random", "seed": 7, "after_s": 3, "rates": {"drop": 0.1, "latency": 0.2, "mute": 0.01}}'
    drop, latency, mute = faults_of(text, "text")
    assert (drop.probability, drop.seed, drop.after_s) == (0.1, 7, 3)
    assert latency.jitter_ms > 0
    assert mute.scopes == {"frame"}


def test_a_file_that_cannot_be_read_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(FaultsError, match=r"none: cannot be read as faults"):
        read_faults(tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(FaultsError, match=r"binary: cannot be read as faults"):
        read_faults(tmp_path / "binary")
    (tmp_path / "many").write_text('{"kind": "drop"}\n' * 1001)
    with pytest.raises(FaultsError, match=r"many: 1,001 faults; at most 1,000"):
        read_faults(tmp_path / "many")
    (tmp_path / "good").write_text('\n# two\n{"kind": "drop"}\n  {"kind": "mute", "route": "private"}\n')
    assert [fault.kind for fault in read_faults(tmp_path / "good")] == ["drop", "mute"]


def test_frames_show_event_execution_symbol_side_and_type() -> None:
    order = {"e": "ORDER_TRADE_UPDATE", "o": {"s": "BTCUSDT", "S": "BUY", "o": "MARKET", "x": "TRADE", "X": "FILLED"}}
    seen = facts_of("private", "k" * 64, order)
    assert (seen.stream, seen.event, seen.execution) == ("user", "ORDER_TRADE_UPDATE", "TRADE")
    assert (seen.symbol, seen.side, seen.type) == ("BTCUSDT", "BUY", "MARKET")
    algo = {"e": "ALGO_UPDATE", "o": {"s": "BTCUSDT", "S": "SELL", "o": "STOP_MARKET", "X": "NEW"}}
    assert facts_of("private", "k", algo).execution == "NEW"
    account = {"e": "ACCOUNT_UPDATE", "a": {"m": "ORDER", "P": [{"s": "ETHUSDT"}]}}
    assert facts_of("private", "k", account)[-3:] == ("ETHUSDT", "", "")
    assert facts_of("private", "k", account).execution == "ORDER"
    book = {"e": "bookTicker", "s": "BTCUSDT", "a": "100.5", "o": "1"}
    assert facts_of("public", "btcusdt@bookTicker", book).symbol == "BTCUSDT"
    assert facts_of("market", "!ticker@arr", [book]).stream == "!ticker@arr"
