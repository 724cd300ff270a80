"""Does it trade now, and if not, by whose word and since when?"""

from __future__ import annotations

from qt_actors.edges.web.answers import Standing, Trading
from qt_actors.edges.web.snapshot import Snapshot


def trading(snapshot: Snapshot) -> Trading:
    """Return ``state``, ``reason`` and ``since_ms`` (market time, None: not known).

    States: ``not yet decided``; ``halted`` and ``paused`` by an operator; ``stopped`` by the governor; ``allowed``.
    """
    directive, governor = snapshot.directive, snapshot.governor
    state: Standing = "not yet decided"
    since_ms = 0
    if directive is not None:
        allowed = directive.allow_trades and directive.allow_new_positions
        state, since_ms = "allowed" if allowed else "stopped", snapshot.entries_since_ms
    if governor is not None and governor.paused:
        state, since_ms = "paused", governor.paused_ms
    if governor is not None and governor.halted:
        state, since_ms = "halted", governor.halted_ms
    return {"state": state, "reason": directive.reason if directive else "", "since_ms": since_ms or None}
