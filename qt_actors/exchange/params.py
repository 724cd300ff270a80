"""Reading wire parameters as Binance does: text in, values or its own refusals out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from qt_actors.exchange.errors import refusal

NUMBER: Final = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?", re.ASCII)
INTEGER: Final = re.compile(r"-?[0-9]{1,18}", re.ASCII)
CLIENT_ID: Final = re.compile(r"[\.A-Z\:/a-z0-9_-]{1,36}", re.ASCII)


def text(params: Mapping[str, str], name: str, default: str = "") -> str:
    """An optional text, stripped of nothing; empty means absent."""
    return params.get(name) or default


def required(params: Mapping[str, str], name: str) -> str:
    """A mandatory text, or -1102."""
    value = params.get(name)
    if not value:
        raise refusal(-1102, name)
    return value


def symbol_of(params: Mapping[str, str]) -> str:
    """The mandatory symbol, upper-cased (lower case is accepted and answered upper-case)."""
    return required(params, "symbol").upper()


def decimal(params: Mapping[str, str], name: str) -> Decimal | None:
    """An optional number, or -1100 when it is written any other way than digits and one point."""
    value = params.get(name)
    if not value:
        return None
    if not NUMBER.fullmatch(value):
        raise refusal(-1100, name, r"^([0-9]{1,20})(\.[0-9]{1,20})?$")
    return Decimal(value)


def integer(params: Mapping[str, str], name: str) -> int | None:
    """An optional whole number, or -1100."""
    value = params.get(name)
    if not value:
        return None
    if not INTEGER.fullmatch(value):
        raise refusal(-1100, name, "^[0-9]{1,18}$")
    return int(value)


def limit_of(params: Mapping[str, str], default: int, most: int) -> int:
    """The optional `limit`, 1 to `most`, or -1130."""
    value = integer(params, "limit")
    if value is None:
        return default
    if not 1 <= value <= most:
        raise refusal(-1130, "limit")
    return value


def boolean(params: Mapping[str, str], name: str, code: int = -1130) -> bool:
    """An optional true/false in any case (python-binance sends `True`), absent is false, else the refusal of `code`."""
    value = (params.get(name) or "false").lower()
    if value not in {"true", "false"}:
        raise refusal(code, name)
    return value == "true"


def choice(params: Mapping[str, str], name: str, allowed: frozenset[str], default: str, code: int = -1130) -> str:
    """An optional enum value, or the refusal of `code`."""
    value = params.get(name) or default
    if value not in allowed:
        raise refusal(code, name)
    return value


def client_id(params: Mapping[str, str], name: str) -> str:
    """An optional client id, or -4015 when it breaks the rule of 1 to 36 allowed characters."""
    value = params.get(name)
    if not value:
        return ""
    if not CLIENT_ID.fullmatch(value):
        raise refusal(-4015)
    return value


def json_list(text: str, name: str) -> list[Any]:
    """A mandatory JSON array with something in it, or -1102."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, list) or not value:
        raise refusal(-1102, name)
    return value


def batch(params: Mapping[str, str], count_max: int) -> list[dict[str, str]]:
    """The elements of batchOrders as wire parameters, or -4082 when too many or no objects."""
    orders = json_list(params.get("batchOrders", ""), "batchOrders")
    if len(orders) > count_max or not all(isinstance(one, dict) for one in orders):
        raise refusal(-4082, len(orders))
    return [{key: str(value) for key, value in one.items() if value is not None} for one in orders]
