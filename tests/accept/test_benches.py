"""The benchmarks that the README's claims rest on still run; what they measure is not looked at here."""

from __future__ import annotations

from tests.bench.bench_cycle import measure


def test_the_decision_cycle_can_be_measured():
    told = measure(6, cycles=2)
    assert told["symbols"] == 6
    assert told["cycle_ms_p50"] > 0
