"""From text to faults: a line a fault, and one clear line about what cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import msgspec

from qt_actors.exchange.faults.fault import KINDS, ONLY_FRAME, ONLY_REQUEST, ORDER, Fault

TEXT_BYTES_MAX: Final = 1024 * 1024
FAULTS_MAX: Final = 1000
METHODS: Final = ("GET", "POST", "PUT", "DELETE")
ROUTES: Final = ("public", "market", "private", "legacy")
ENDLESS_S: Final = 1e9
RANDOM: Final[dict[str, dict[str, Any]]] = {
    "latency": {"ms": 50, "jitter_ms": 2000},
    "expire_order": {"ms": 500},
    "delayed_fill": {"ms": 500, "jitter_ms": 3000},
    "too_many_requests": {"retry_after_s": 2},
    "too_many_orders": {"retry_after_s": 2},
    "banned": {"retry_after_s": 5},
    "listen_key_loss": {"every_s": 10},
    "clock_jump": {"ms": 2000, "every_s": 10},
    "expire_open": {"every_s": 10},
    "deleverage": {"every_s": 60},
    **{kind: {"stream": "*"} for kind in ("disconnect", "mute", "dead")},
}
"""How the kinds of a `random` line are, where the kind alone does not say it; with `every_s` the rate is a draw's."""


class FaultsError(Exception):
    """Text that describes no fault, in one line."""


def read_faults(path: Path) -> tuple[Fault, ...]:
    """The faults of a file.

    Raises:
        FaultsError: it cannot be read, or a line is wrong; names file, line and field, and what is allowed.
    """
    try:
        if path.stat().st_size > TEXT_BYTES_MAX:
            raise FaultsError(f"{path}: {path.stat().st_size:,} bytes; faults have at most {TEXT_BYTES_MAX:,}")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as reason:
        raise FaultsError(f"{path}: cannot be read as faults, one JSON object a line: {reason}") from reason
    return faults_of(text, str(path))


def faults_of(text: str, name: str) -> tuple[Fault, ...]:
    """The faults of a text; `name` is what its lines are called in an error.

    Raises:
        FaultsError: a line is wrong.
    """
    faults: list[Fault] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                faults += _of_line(line)
            except FaultsError as wrong:
                raise FaultsError(f"{name}:{number}: {wrong}") from None
    if len(faults) > FAULTS_MAX:
        raise FaultsError(f"{name}: {len(faults):,} faults; at most {FAULTS_MAX:,} are kept")
    return tuple(faults)


def _of_line(line: str) -> list[Fault]:
    try:
        said = json.loads(line)
    except (ValueError, RecursionError) as reason:
        raise FaultsError(f"no JSON object: {reason}") from None
    if not isinstance(said, dict):
        raise FaultsError('no JSON object; one fault is {"kind": ..., ...}')
    if said.get("kind") == "random":
        return _random(said)
    return [_checked(said)]


def _checked(said: dict[str, Any]) -> Fault:
    kind = said.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise FaultsError(f"kind: {kind!r} is none; allowed: random, {', '.join(KINDS)}")
    takes, needs = KINDS[kind].takes, KINDS[kind].needs
    for field in said:
        if field != "kind" and field not in takes:
            raise FaultsError(f"{field}: not a field of {kind}; it takes {', '.join(sorted(takes))}")
    missing = sorted(needs - said.keys())
    if missing:
        raise FaultsError(f"{missing[0]}: is missing; {kind} needs {', '.join(sorted(needs))}")
    try:
        fault = msgspec.convert(said, Fault)
    except msgspec.ValidationError as reason:
        what, _, where = str(reason).partition(" - at `$.")
        raise FaultsError(f"{where.rstrip('`') or 'fault'}: {what}") from None
    _check_values(fault)
    return fault


def _check_values(fault: Fault) -> None:
    signed = fault.kind in {"skew", "clock_jump"}
    limits: dict[str, tuple[float, float]] = {
        "from_ms": (0, 1e14), "after_s": (0, ENDLESS_S), "for_s": (0, ENDLESS_S), "every_s": (0, ENDLESS_S),
        "skip": (0, 1e9), "times": (0, 1e9), "probability": (0, 1), "seed": (-1e15, 1e15),
        "ms": (-1e9 if signed else 0, 1e9), "jitter_ms": (0, 1e9), "code": (-1e9, 1e9), "status": (400, 599),
        "retry_after_s": (0, 1e6), "share": (0, 1),
    }  # fmt: skip
    for field, (least, most) in limits.items():
        value = getattr(fault, field)
        if not least <= value <= most:
            raise FaultsError(f"{field}: {value} is not allowed; give {least:.15g} to {most:.15g}")
    for field, allowed in (("method", METHODS), ("route", ROUTES), ("side", ("BUY", "SELL"))):
        value = getattr(fault, field)
        if value and value not in allowed:
            raise FaultsError(f"{field}: {value!r} is not allowed; give one of {', '.join(allowed)}")
    if fault.path and not fault.path.startswith(("/", "*")):
        raise FaultsError(f"path: {fault.path!r} is not allowed; it begins with / or *")
    asked, heard = sorted(fault.given & ONLY_REQUEST), sorted(fault.given & (ONLY_FRAME | {"route"}))
    if "every_s" in fault.given and fault.given & (ONLY_FRAME | ORDER) and len(KINDS[fault.kind].scopes) > 1:
        raise FaultsError(f"every_s: {fault.kind} happens at moments (every_s) or to frames (stream, event), not both")
    if asked and heard:
        raise FaultsError(f"{heard[0]}: {fault.kind} meets requests ({asked[0]}) or frames ({heard[0]}), not both")


def _random(said: dict[str, Any]) -> list[Fault]:
    """The faults of a `random` line: one a kind, each with its rate and the line's seed and span."""
    rates = said.get("rates")
    span: dict[str, Any] = {name: said[name] for name in ("from_ms", "after_s", "for_s") if name in said}
    unknown = sorted(said.keys() - {"kind", "seed", "rates", *span})
    if unknown:
        raise FaultsError(f"{unknown[0]}: not a field of random; it takes seed, rates, from_ms, after_s, for_s")
    if not isinstance(rates, dict) or not rates:
        raise FaultsError('rates: an object of kind and probability, such as {"drop": 0.01}')
    faults = []
    for kind, rate in rates.items():
        if kind in KINDS and "probability" not in KINDS[kind].takes:
            raise FaultsError(f"rates: {kind} lasts, it has no rate; give it a line of its own")
        if kind == "refuse":
            raise FaultsError("rates: refuse needs a code; give it a line of its own with a probability")
        seeded = {"kind": kind, "probability": rate, "seed": said.get("seed", 0)}
        faults.append(_checked({**RANDOM.get(kind, {}), **seeded, **span}))
    return faults
