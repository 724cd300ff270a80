"""Positions that an operator wants flat: kept in the governor's state until they are, a restart in between included."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from qt_actors.messages.system import ClosesRequested, GovernorState


def after_request(state: GovernorState, asked: ClosesRequested) -> GovernorState:
    """Keep what is to be closed; said again, the newest reason counts."""
    return msgspec.structs.replace(state, closing={**state.closing, **dict.fromkeys(asked.symbols, asked.reason)})


def after_look(state: GovernorState, held: Collection[str]) -> GovernorState:
    """Forget what the account no longer holds."""
    return _keeping(state, {symbol: why for symbol, why in state.closing.items() if symbol in held})


def after_end(state: GovernorState, symbol: str) -> GovernorState:
    """Forget a symbol whose trade has ended: the next one is another."""
    return _keeping(state, {s: why for s, why in state.closing.items() if s != symbol})


def _keeping(state: GovernorState, closing: dict[str, str]) -> GovernorState:
    return state if closing == state.closing else msgspec.structs.replace(state, closing=closing)
