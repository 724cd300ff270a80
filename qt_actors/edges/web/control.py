"""Control over HTTP: pause, resume, halt, close; only with the bearer token.

202 means that the governor has taken the word and that it is on disk: it holds now, and after a restart. Anything less
is 503 and says what is missing. A close is passed on to the executor before anything is waited for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, Protocol

import msgspec
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Query, Request, Security
from fastapi.security import HTTPBearer

from qt_actors.edges.web import answers
from qt_actors.edges.web.description import Symbol, said
from qt_actors.edges.web.snapshot import Snapshot
from qt_actors.edges.web.token import is_bearer
from qt_actors.kernel import MailboxFullError, UnansweredError
from qt_actors.messages.positions import ClosePosition
from qt_actors.messages.system import ClosesRequested, Control, ControlRequested, ControlTaken
from qt_actors.ports import Mailbox

BY: Final = "http"
ANSWER_S_MAX: Final = 5.0
"""Real time for the governor's answer: it waits for one fsync; past it something is broken."""
Reason = Annotated[
    str,
    Query(
        max_length=answers.REASON_CHARACTERS_MAX,
        pattern=answers.REASON_PATTERN,
        description="One line, kept in the journal and shown wherever the state is shown; may stand in a JSON body.",
    ),
]
Bearer: Final = HTTPBearer(
    auto_error=False, description="QT_API_TOKEN, or what stands in the file api-token of QT_DATA_DIR."
)
BODY: Final = {
    "requestBody": {
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/GivenReason"}}},
        "required": False,
    }
}


async def reason_of(request: Request, reason: Reason = "") -> str:
    """Return the operator's reason, the query's or else the body's; empty when none was given."""
    body = await request.body()
    try:
        given = msgspec.json.decode(body, type=answers.GivenReason).reason if body else ""
    except msgspec.DecodeError as error:
        raise HTTPException(422, f'body: {error}; allowed is {{"reason": "one line"}}') from error
    return (reason or given).strip()


Given = Annotated[str, Depends(reason_of)]


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
    allowed = [Security(Bearer), Depends(_operator(controls.token))]
    router = APIRouter(prefix="/api", tags=["control"], dependencies=allowed)

    @router.post(
        "/control/{control}",
        status_code=202,
        responses=said(202, answers.Steered, 401, 422, 503),
        response_model=None,
        openapi_extra=BODY,
    )
    def steer(control: Control, reason: Given) -> answers.Steered:
        """Pause: no entries. Resume: entries again. Halt: no entries until resumed, a restart included.

        202: it holds and is on disk; `entries` and `because` say what follows from it, `note` what else it changed:
        resume begins the losing streak again at zero.
        """
        return {"accepted": control, "reason": reason, **_steer(controls.governor, control, reason)}

    @router.post(
        "/positions/close-all",
        status_code=202,
        responses=said(202, answers.ClosingAll, 401, 422, 503),
        response_model=None,
        openapi_extra=BODY,
    )
    def close_all(reason: Given) -> answers.ClosingAll:
        """Close every open position at market, reduce-only, and pause entries; resume to go on trading."""
        account = snapshot().account
        symbols = [p.symbol for p in account.positions] if account else []
        word = _close(controls.executor, symbols, reason)
        why = f"close all, {reason}" if reason else "close all"
        paused = _steer(controls.governor, "pause", why, f"closing {symbols}, but ")
        _keep(controls.governor, word)
        if account is None:
            raise HTTPException(503, "entries are paused, but the account is not known yet: nothing was closed")
        return {"accepted": "close", "symbols": symbols, "reason": reason, **paused}

    @router.post(
        "/positions/{symbol}/close",
        status_code=202,
        responses=said(202, answers.Closing, 401, 404, 422, 503),
        response_model=None,
        openapi_extra=BODY,
    )
    def close(symbol: Symbol, reason: Given) -> answers.Closing:
        """Close the symbol's position at market, reduce-only."""
        account = snapshot().account
        if account is None:
            raise HTTPException(503, f"the account is not known yet: {symbol.upper()} was not closed")
        if symbol.upper() not in {p.symbol for p in account.positions}:
            raise HTTPException(404, f"symbol {symbol.upper()}: no open position")
        _keep(controls.governor, _close(controls.executor, [symbol.upper()], reason))
        return {"accepted": "close", "symbols": [symbol.upper()], "reason": reason}

    app.include_router(router)


def _operator(token: str) -> Callable[[str | None], None]:
    def operator(authorization: Annotated[str | None, Header(include_in_schema=False)] = None) -> None:
        if not is_bearer(authorization, token):
            raise HTTPException(
                401,
                "control needs Authorization: Bearer TOKEN, where TOKEN is QT_API_TOKEN or stands in the file "
                "api-token of QT_DATA_DIR",
                {"WWW-Authenticate": "Bearer"},
            )

    return operator


def _close(executor: Mailbox, symbols: list[str], reason: str) -> ClosesRequested:
    """Pass closes on; return what the governor is to keep."""
    why = f"by operator: {reason}" if reason else "by operator"
    try:
        for symbol in symbols:
            executor.tell(ClosePosition(symbol=symbol, reason=why, exit_reason="manual"))
    except MailboxFullError as error:
        raise HTTPException(503, f"not passed on: {error}") from error
    return ClosesRequested(symbols=tuple(symbols), reason=why, by=BY)


def _keep(governor: Asked, word: ClosesRequested) -> None:
    """Wait until closes that are under way are on disk, too."""
    if word.symbols:
        _told(governor, word, f"closing {', '.join(word.symbols)}, but ")


def _steer(governor: Asked, control: Control, reason: str, already: str = "") -> answers.Outcome:
    """Give the governor an operator's word and wait until it holds; ``already`` tells what has been done before."""
    taken = _told(governor, ControlRequested(control=control, reason=reason, by=BY), already)
    return {"entries": "allowed" if taken.entries else "stopped", "because": taken.because, "note": taken.note}


def _told(governor: Asked, word: ControlRequested | ClosesRequested, already: str) -> ControlTaken:
    what = word.control if isinstance(word, ControlRequested) else "it"
    try:
        taken = governor.ask(word, ANSWER_S_MAX)
    except MailboxFullError as error:
        raise HTTPException(503, f"{already}{what} was not passed on: {error}") from error
    except (TimeoutError, UnansweredError) as error:
        fault = f"{already}{what} is not confirmed ({error}); see /api/risk whether it holds, and repeat it"
        raise HTTPException(503, fault) from error
    if not isinstance(taken, ControlTaken):
        raise HTTPException(503, f"{already}{what} is not confirmed: the answer was {type(taken).__name__}")
    if taken.fault:
        holds = "" if what == "it" else " holds now, but"
        fault = f"{already}{what}{holds} is not on disk, a restart would forget it: {taken.fault}"
        raise HTTPException(503, fault)
    return taken
