"""Recorded replies of the real exchange, and whether ours have the same keys and types."""

from __future__ import annotations

import json
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

Shape = dict[str, str]


def shape(payload: dict[str, Any]) -> Shape:
    """Keys with the JSON type of their value; whole and fractional numbers count as one type, null as any."""
    names = {bool: "boolean", str: "string", int: "number", float: "number", list: "list", dict: "object"}
    return {key: names.get(type(value), "null") for key, value in payload.items()}


def compare(
    ours: dict[str, Any],
    theirs: dict[str, Any],
    *,
    newer: AbstractSet[str] = frozenset(),
    gone: AbstractSet[str] = frozenset(),
) -> None:
    """Same keys and types; `newer` keys came after the capture, `gone` ones were removed after it."""
    mine, real = shape(ours), shape(theirs)
    assert set(mine) - set(real) == newer, "keys that only we send"
    assert set(real) - set(mine) == gone, "keys that only the real exchange sends"
    differing = {key for key in set(mine) & set(real) if mine[key] != real[key] and real[key] != "null"}
    assert not differing


def reply_of(samples: Path, name: str) -> Any:
    """The JSON of a REST fixture, whose first three lines are method, path and whether it is signed."""
    text = (samples / "binance_net" / "Endpoints" / "UsdFutures" / name).read_text(encoding="utf-8-sig")
    return json.loads("\n".join(text.splitlines()[3:]))
