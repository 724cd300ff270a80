"""Control over HTTP: pause, resume, halt, close; only with the bearer token.

202 to pause, resume and halt means that the governor has taken the word and that it is on disk: it holds now, and after
a restart. Anything less is 503 and says what is missing. A close is passed on before anything is waited for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Annotated, Final, Protocol

import msgspec
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Query, Security
from fastapi.security import HTTPBearer

from qt_actors.edges.web import answers
from qt_actors.edges.web.description import Symbol, said
from qt_actors.edges.web.snapshot import Snapshot
from qt_actors.edges.web.token import is_bearer
from qt_actors.kernel import MailboxFullError, UnansweredError
from qt_actors.messages.positions import ClosePosition
from qt_actors.messages.system import Control, ControlRequested, ControlTaken
from qt_actors.ports import Mailbox

logger = logging.getLogger(__name__)

BY: Final = "http"
ANSWER_S_MAX: Final = 5.0
"""Real time for the governor's answer: it waits for one fsync; past it something is broken."""
Reason = Annotated[
    str,
    Query(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$", description="One line, shown wherever the state is shown."),
]
Bearer: Final = HTTPBearer(
    auto_error=False, description="QT_API_TOKEN, or what stands in the file api-token of QT_DATA_DIR."
)


class Asked(Mailbox, Protocol):
    """A mailbox whose owner answers; the kernel's ``Address`` is one."""

    def ask(self, message: object, timeout_s: float) -> object:
        """Send and wait for the answer.

        Raises:
            TimeoutError: no answer in time; the question is withdrawn unless it is being handled.
            UnansweredError: it was lost with its reader.
        """
        ...


class Controls(msgspec.Struct, frozen=True, kw_only=True):
    """Whom an operator's word is told, and the token that makes it one."""

    governor: Asked
    executor: Mailbox
    token: str


def add(app: FastAPI, controls: Controls, snapshot: Callable[[], Snapshot]) -> None:
    """Add the control paths."""

    def operator(authorization: Annotated[str | None, Header(include_in_schema=False)] = None) -> None:
        if not is_bearer(authorization, controls.token):
            raise HTTPException(
                401,
                "control needs Authorization: Bearer TOKEN, where TOKEN is QT_API_TOKEN or stands in the file "
                "api-token of QT_DATA_DIR",
                {"WWW-Authenticate": "Bearer"},
            )

    router = APIRouter(prefix="/api", tags=["control"], dependencies=[Security(Bearer), Depends(operator)])

    @router.post(
        "/control/{control}", status_code=202, responses=said(202, answers.Steered, 401, 422, 503), response_model=None
    )
    def steer(control: Control, reason: Reason = "by an operator") -> answers.Steered:
        """Pause: no entries. Resume: entries again. Halt: no entries until resumed, a restart included.

        202: it holds and is on disk; `entries` and `because` say what follows from it.
        """
        return {"accepted": control, "reason": reason, **_steer(controls.governor, control, reason)}

    @router.post(
        "/positions/close-all",
        status_code=202,
        responses=said(202, answers.ClosingAll, 401, 422, 503),
        response_model=None,
    )
    def close_all(reason: Reason = "by an operator") -> answers.ClosingAll:
        """Close every open position at market, reduce-only, and pause entries; resume to go on trading."""
        account = snapshot().account
        symbols = [p.symbol for p in account.positions] if account else []
        for symbol in symbols:
            _close(controls.executor, symbol, reason)
        paused = _steer(controls.governor, "pause", f"close all: {reason}", f"closing {symbols}, but ")
        if account is None:
            raise HTTPException(503, "entries are paused, but the account is not known yet: nothing was closed")
        return {"accepted": "close", "symbols": symbols, **paused}

    @router.post(
        "/positions/{symbol}/close",
        status_code=202,
        responses=said(202, answers.Closing, 401, 404, 422, 503),
        response_model=None,
    )
    def close(symbol: Symbol, reason: Reason = "by an operator") -> answers.Closing:
        """Close the symbol's position at market, reduce-only."""
        account = snapshot().account
        if account is None:
            raise HTTPException(503, f"the account is not known yet: {symbol.upper()} was not closed")
        if symbol.upper() not in {p.symbol for p in account.positions}:
            raise HTTPException(404, f"symbol {symbol.upper()}: no open position")
        _close(controls.executor, symbol.upper(), reason)
        return {"accepted": "close", "symbols": [symbol.upper()]}

    app.include_router(router)


def _close(executor: Mailbox, symbol: str, reason: str) -> None:
    logger.warning("operator over HTTP: close %s (%s)", symbol, reason)
    try:
        executor.tell(ClosePosition(symbol=symbol, reason=reason, exit_reason="manual"))
    except MailboxFullError as error:
        raise HTTPException(503, f"not passed on: {error}") from error


def _steer(governor: Asked, control: Control, reason: str, already: str = "") -> answers.Outcome:
    """Give the governor an operator's word and wait until it holds; ``already`` tells what has been done before."""
    logger.warning("operator over HTTP: %s (%s)", control, reason)
    try:
        taken = governor.ask(ControlRequested(control=control, reason=reason, by=BY), ANSWER_S_MAX)
    except MailboxFullError as error:
        raise HTTPException(503, f"{already}{control} was not passed on: {error}") from error
    except (TimeoutError, UnansweredError) as error:
        fault = f"{already}{control} is not confirmed ({error}); see /api/risk whether it holds, and repeat it"
        raise HTTPException(503, fault) from error
    if not isinstance(taken, ControlTaken):
        raise HTTPException(503, f"{already}{control} is not confirmed: the answer was {type(taken).__name__}")
    if taken.fault:
        fault = f"{already}{control} holds now, but is not on disk, a restart would forget it: {taken.fault}"
        raise HTTPException(503, fault)
    return {"entries": "allowed" if taken.entries else "stopped", "because": taken.because}
