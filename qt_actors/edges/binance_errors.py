"""Every way a request can fail, and what may be done about it, as data.

https://developers.binance.com/docs/derivatives/usds-margined-futures/error-code
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import aiohttp

Outcome = Literal[
    "rejected", "unknown", "retry", "limited", "banned", "clock", "credentials", "missing", "duplicate", "unchanged"
]
"""What is known after a failure.

``rejected`` definitely not executed, sending the same again is pointless · ``unknown`` may or may not have been
executed: look it up · ``retry`` definitely not executed, the same may be sent again · ``limited`` not executed, slow
down · ``banned`` not executed, stop all requests · ``clock`` not executed, measure the clock · ``credentials`` not
executed, an operator must act · ``missing`` the exchange does not know the order (or cannot touch it any more) ·
``duplicate`` an order with this client id is already there · ``unchanged`` it is already so: success.
"""

CODES: Mapping[int, Outcome] = MappingProxyType(
    {
        -1000: "unknown",  # an unknown error occurred while processing the request
        -1001: "retry",  # internal error, unable to process
        -1003: "limited",  # too many requests; with HTTP 418 a ban
        -1006: "unknown",  # unexpected response from the message bus
        -1007: "unknown",  # timeout waiting for the backend
        -1008: "retry",  # throttled by system protection
        -1015: "limited",  # too many orders
        -1016: "retry",  # maintenance
        -1021: "clock",  # timestamp outside of recvWindow
        -1022: "credentials",  # signature
        -1109: "retry",  # maintenance
        239999: "retry",  # maintenance of the integrated margin system
        -2008: "credentials",  # bad API key id
        -2011: "missing",  # cancel: unknown order
        -2013: "missing",  # order does not exist
        -2014: "credentials",  # API key format
        -2015: "credentials",  # key, IP address or permission
        -4046: "unchanged",  # no need to change margin type
        -4059: "unchanged",  # no need to change position side
        -4109: "credentials",  # inactive account
        -4116: "duplicate",  # clientOrderId duplicated
        -4117: "missing",  # stop order is triggering: it can no longer be cancelled
        -4171: "unchanged",  # no need to change multi-assets mode
        -5027: "unchanged",  # no need to modify the order
        -5028: "clock",  # recvWindow, judged again by the matching engine
    }
)
"""What a code says; a code that is not here, with a status 4xx, is a plain rejection."""

STATUSES: Mapping[int, Outcome] = MappingProxyType(
    {403: "limited", 408: "unknown", 418: "banned", 429: "limited", 451: "credentials", 499: "unknown"}
)
"""What an HTTP status says on its own: firewall, backend timeout, ban, limit, location, connection given up."""

BAN_S_DEFAULT = 120.0
LIMIT_S_MAX = 3 * 86_400.0


class ReplyError(Exception):
    """The exchange answered with an HTTP error.

    Attributes:
        status: HTTP status; code: Binance's error code, 0 when the body was not its JSON.
        text: Binance's message, or empty; wait_s: ``Retry-After`` in seconds, None when absent.
    """

    def __init__(self, status: int, code: int, text: str, wait_s: float | None = None) -> None:
        super().__init__(f"HTTP {status}, code {code}: {text}")
        self.status = status
        self.code = code
        self.text = text
        self.wait_s = wait_s


class UnreadableError(Exception):
    """The exchange answered 2xx with something that is not the documented reply."""


class Failure(Exception):  # noqa: N818 -- a failed request as a value that travels: what is known, not what went wrong
    """A request that failed, classified; its text is fit for a log (the caller redacts keys).

    Attributes:
        outcome: see ``Outcome``; code: Binance's, 0 for none; reason: one line.
        banned_until_ms: Unix ms from the ban's text, when it gives one; wait_s: ``Retry-After``.
        sent: False when the request did not leave this machine.
        tries: how often the same request was made, this one included.
    """

    def __init__(
        self,
        outcome: Outcome,
        code: int,
        reason: str,
        *,
        banned_until_ms: int | None = None,
        wait_s: float | None = None,
        sent: bool = True,
    ) -> None:
        super().__init__(reason)
        self.outcome: Outcome = outcome
        self.code = code
        self.reason = reason
        self.banned_until_ms = banned_until_ms
        self.wait_s = wait_s
        self.sent = sent
        self.tries = 1


def classify(error: BaseException) -> Failure:
    """What is known after this error; whatever is not in the tables is ``unknown``."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, ReplyError):
        return _of_reply(error)
    if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
        return Failure("retry", 0, "cannot connect to the exchange", sent=False)
    if isinstance(error, TimeoutError):
        return Failure("unknown", 0, "no answer in time")
    if isinstance(error, (aiohttp.ClientError, OSError)):
        return Failure("unknown", 0, f"connection lost ({type(error).__name__})")
    if isinstance(error, UnreadableError):
        return Failure("unknown", 0, str(error))
    return Failure("unknown", 0, f"unexpected {type(error).__name__}")


def _of_reply(error: ReplyError) -> Failure:
    text = error.text or f"HTTP {error.status}"
    until = re.search(r"until (\d{12,14})", text)
    return Failure(
        _outcome(error),
        error.code,
        text,
        banned_until_ms=int(until.group(1)) if until else None,
        wait_s=None if error.wait_s is None else min(max(error.wait_s, 0.0), LIMIT_S_MAX),
    )


def _outcome(error: ReplyError) -> Outcome:
    status, code = error.status, error.code
    if status == 418:
        return "banned"
    if status == 503 and error.text.startswith("Service Unavailable"):
        return "retry"
    if code in CODES:
        return CODES[code]
    if status in STATUSES:
        return STATUSES[status]
    return "rejected" if 400 <= status < 500 else "unknown"
