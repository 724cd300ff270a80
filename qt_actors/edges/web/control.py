"""Control over HTTP: pause, resume, halt, close; only with the bearer token, told to mailboxes, never waited for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Query

from qt_actors.edges.web.snapshot import Snapshot
from qt_actors.edges.web.token import is_bearer
from qt_actors.kernel import MailboxFullError
from qt_actors.messages.positions import ClosePosition
from qt_actors.messages.system import Control, ControlRequested
from qt_actors.ports import Mailbox

logger = logging.getLogger(__name__)

BY = "http"
Reason = Annotated[str, Query(max_length=200, description="Shown wherever the state is shown.")]


class Controls(msgspec.Struct, frozen=True, kw_only=True):
    """Whom an operator's word is told, and the token that makes it one."""

    governor: Mailbox
    executor: Mailbox
    token: str


def add(app: FastAPI, controls: Controls, snapshot: Callable[[], Snapshot]) -> None:
    """Add the control paths; each answers 202 when the word was passed on, and the state shows when it took effect."""

    def operator(authorization: Annotated[str | None, Header()] = None) -> None:
        if not is_bearer(authorization, controls.token):
            raise HTTPException(
                401,
                "control needs Authorization: Bearer TOKEN, where TOKEN is QT_API_TOKEN or stands in the file "
                "api-token of QT_DATA_DIR",
                {"WWW-Authenticate": "Bearer"},
            )

    router = APIRouter(prefix="/api", tags=["control"], dependencies=[Depends(operator)])

    @router.post("/control/{control}", status_code=202)
    def steer(control: Control, reason: Reason = "by an operator") -> dict[str, Any]:
        """Pause: no entries. Resume: entries again. Halt: no entries until resumed, a restart included."""
        _tell(controls.governor, ControlRequested(control=control, reason=reason, by=BY))
        return {"accepted": control, "reason": reason}

    @router.post("/positions/close-all", status_code=202)
    def close_all(reason: Reason = "by an operator") -> dict[str, Any]:
        """Pause entries, then close every open position at market, reduce-only; resume to go on trading."""
        _tell(controls.governor, ControlRequested(control="pause", reason=f"close all: {reason}", by=BY))
        account = snapshot().account
        symbols = [p.symbol for p in account.positions] if account else []
        for symbol in symbols:
            _tell(controls.executor, ClosePosition(symbol=symbol, reason=reason, exit_reason="manual"))
        return {"accepted": "close", "symbols": symbols}

    @router.post("/positions/{symbol}/close", status_code=202)
    def close(symbol: str, reason: Reason = "by an operator") -> dict[str, Any]:
        """Close the symbol's position at market, reduce-only."""
        account = snapshot().account
        if account is None or symbol.upper() not in {p.symbol for p in account.positions}:
            raise HTTPException(404, f"symbol {symbol.upper()}: no open position")
        _tell(controls.executor, ClosePosition(symbol=symbol.upper(), reason=reason, exit_reason="manual"))
        return {"accepted": "close", "symbols": [symbol.upper()]}

    app.include_router(router)


def _tell(mailbox: Mailbox, message: ControlRequested | ClosePosition) -> None:
    match message:
        case ControlRequested(control=control, reason=reason):
            logger.warning("operator over HTTP: %s (%s)", control, reason)
        case ClosePosition(symbol=symbol, reason=reason):
            logger.warning("operator over HTTP: close %s (%s)", symbol, reason)
    try:
        mailbox.tell(message)
    except MailboxFullError as error:
        raise HTTPException(503, f"not passed on: {error}") from error
