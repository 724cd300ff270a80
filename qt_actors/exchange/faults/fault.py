"""A fault as data, and the pure decision which faults happen to a request or a frame (words: package docstring)."""

from __future__ import annotations

import hashlib
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

import msgspec

REQUEST, FRAME, MOMENT, WINDOW = "request", "frame", "moment", "window"
FILL_EXECUTIONS: Final = frozenset({("TRADE_LITE", ""), ("ORDER_TRADE_UPDATE", "TRADE"), ("ACCOUNT_UPDATE", "ORDER")})

ONLY_REQUEST: Final = frozenset({"method", "path", "executed"})
ONLY_FRAME: Final = frozenset({"stream", "event", "execution"})
ORDER: Final = frozenset({"symbol", "side", "type"})
SPAN: Final = frozenset({"from_ms", "after_s", "for_s"})
COUNTED: Final = SPAN | {"skip", "times", "probability", "seed"}


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One fault; what its fields mean and which kind takes which stands in the package docstring."""

    kind: str
    method: str = ""
    path: str = ""
    route: str = ""
    stream: str = ""
    event: str = ""
    execution: str = ""
    symbol: str = ""
    side: str = ""
    type: str = ""
    from_ms: int = 0
    after_s: float = 0.0
    for_s: float = 0.0
    skip: int = 0
    times: int = 0
    probability: float = 1.0
    seed: int = 0
    every_s: float = 0.0
    ms: int = 0
    jitter_ms: int = 0
    executed: bool = False
    code: int = 0
    status: int = 400
    text: str = ""
    retry_after_s: int = 0
    share: float = 0.5
    quiet: bool = False

    @property
    def given(self) -> frozenset[str]:
        """The fields that say something."""
        return frozenset(
            name
            for name, default in zip(self.__struct_fields__[1:], self.__struct_defaults__, strict=True)
            if getattr(self, name) != default
        )

    @property
    def scopes(self) -> frozenset[str]:
        """What this fault is asked about: the kind's scopes, narrowed by the fields that only one of them has."""
        kind, given = KINDS[self.kind], self.given
        if len(kind.scopes) == 1:
            return kind.scopes
        if MOMENT in kind.scopes:
            framed = given & (ONLY_FRAME | ORDER | {"skip", "times"}) and "every_s" not in given
            return frozenset({FRAME if framed else MOMENT})
        if given & ONLY_REQUEST:
            return frozenset({REQUEST})
        return frozenset({FRAME}) if given & (ONLY_FRAME | {"route"}) else kind.scopes


class Kind(NamedTuple):
    """What a kind of fault can meet, and the fields it takes beside `kind`."""

    scopes: frozenset[str]
    takes: frozenset[str]
    needs: frozenset[str] = frozenset()


def _request(*how: str, needs: str = "") -> Kind:
    takes = COUNTED | ORDER | {"method", "path", *how}
    return Kind(frozenset({REQUEST}), takes, frozenset(needs.split()))


def _frame(*how: str, moment: bool = False, needs: str = "") -> Kind:
    takes = COUNTED | ORDER | ONLY_FRAME | {"route", *how} | ({"every_s"} if moment else set())
    return Kind(frozenset({FRAME, MOMENT} if moment else {FRAME}), takes, frozenset(needs.split()))


def _both(*how: str, needs: str = "") -> Kind:
    takes = COUNTED | ORDER | ONLY_FRAME | ONLY_REQUEST | {"route", *how}
    return Kind(frozenset({REQUEST, FRAME}), takes, frozenset(needs.split()))


def _moment(*how: str, needs: str = "") -> Kind:
    takes = SPAN | {"probability", "seed", "every_s", "times", *how}
    return Kind(frozenset({MOMENT}), takes, frozenset(needs.split()))


def _window(*how: str, needs: str = "") -> Kind:
    return Kind(frozenset({WINDOW}), SPAN | set(how), frozenset(needs.split()))


KINDS: Final[dict[str, Kind]] = {
    "latency": _both("ms", "jitter_ms", needs="ms"),
    "drop": _both(),
    "partial_reply": _request("share"),
    "refuse": _request("code", "status", "text", "executed", "retry_after_s", needs="code"),
    "unknown_executed": _request(),
    "unknown_not_executed": _request(),
    "unavailable": _request(),
    "internal_error": _request(),
    "throttled": _request(),
    "bad_reply": _request("executed"),
    "backend_timeout": _request("executed"),
    "bad_gateway": _request("executed"),
    "too_many_requests": _request("retry_after_s"),
    "too_many_orders": _request("retry_after_s"),
    "banned": _request("retry_after_s"),
    "bad_timestamp": _request(),
    "no_liquidity": _request(),
    "expire_order": _request("ms"),
    "duplicate_request": _request("executed"),
    "duplicate": _frame(),
    "reorder": _frame(),
    "delayed_fill": _frame("ms", "jitter_ms", needs="ms"),
    "disconnect": _frame(moment=True),
    "mute": _frame(moment=True),
    "dead": _frame(moment=True),
    "listen_key_loss": _moment("quiet"),
    "clock_jump": _moment("ms", needs="ms"),
    "expire_open": _moment("symbol", "side", "type"),
    "deleverage": _moment("symbol"),
    "skew": _window("ms", needs="ms"),
    "maintenance": _window(),
    "before_2025_12_09": _window(),
    "before_2026_04_23": _window(),
}


_PLACED: Final = ("POST", "/fapi/v1/order")
ON_ORDERS: Final = {
    "no_liquidity": frozenset({_PLACED}),
    "expire_order": frozenset({_PLACED, ("POST", "/fapi/v1/algoOrder")}),
}
"""Kinds that meet single orders being placed, and nothing else."""
SPOILERS: Final = frozenset(
    {
        "drop", "partial_reply", "refuse", "unknown_executed", "unknown_not_executed", "unavailable", "internal_error",
        "throttled", "bad_reply", "backend_timeout", "bad_gateway", "too_many_requests", "too_many_orders", "banned",
        "bad_timestamp",
    }
)  # fmt: skip
"""Kinds of which one is enough: they leave nothing of an answer or a frame."""


class Facts(NamedTuple):
    """What a request or a frame shows of itself; what it lacks is empty."""

    scope: str
    method: str = ""
    path: str = ""
    route: str = ""
    stream: str = ""
    event: str = ""
    execution: str = ""
    symbol: str = ""
    side: str = ""
    type: str = ""


class Tally(NamedTuple):
    """How often a fault was asked and met, and how often it happened."""

    met: int = 0
    happened: int = 0


def begins(fault: Fault, added_ms: float, real_ms: float, market_ms: int) -> float | None:
    """The real time at which a fault begins to act, None while that is not known yet."""
    begin = added_ms + 1000 * fault.after_s
    if real_ms < begin or market_ms < fault.from_ms:
        return None
    return real_ms if fault.from_ms else begin


def acts(fault: Fault, began_ms: float | None, real_ms: float) -> bool:
    """Whether a fault that began then acts now."""
    return began_ms is not None and (not fault.for_s or real_ms < began_ms + 1000 * fault.for_s)


def meets(fault: Fault, facts: Facts) -> bool:
    """Whether a fault, whose scopes hold that of the facts, is about this request or frame."""
    if fault.kind == "delayed_fill" and (facts.event, facts.execution) not in FILL_EXECUTIONS:
        return False
    if fault.kind in ON_ORDERS and (facts.method, facts.path) not in ON_ORDERS[fault.kind]:
        return False
    return all(
        not wanted or fnmatchcase(shown, wanted)
        for wanted, shown in (
            (fault.method, facts.method), (fault.path, facts.path), (fault.route, facts.route),
            (fault.stream, facts.stream), (fault.event, facts.event), (fault.execution, facts.execution),
            (fault.symbol, facts.symbol), (fault.side, facts.side), (fault.type, facts.type),
        )
    )  # fmt: skip


def happens(fault: Fault, tally: Tally) -> bool:
    """Whether a fault that has met something happens to it."""
    if tally.met < fault.skip or (fault.times and tally.happened >= fault.times):
        return False
    return fault.probability >= 1.0 or chance(fault, tally.met) < fault.probability


def delay_ms(fault: Fault, number: int) -> float:
    """The delay of the `number`-th that a fault has met."""
    return fault.ms + fault.jitter_ms * chance(fault, number, "delay")


def chance(fault: Fault, number: int, what: str = "whether") -> float:
    """A number in [0, 1): a hash of the fault's seed and kind and of the count, the same on every machine."""
    text = f"{fault.seed}|{fault.kind}|{number}|{what}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest()) / 2**56
