"""The coordination report (SPEC 12) of what is built so far: a subsystem that does not exist yet says so.

Nothing is coordinated here: the governor's directive is the one directive there is, so there can be no conflict.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from qt_actors.edges.web.answers import OsReport, Subsystem
from qt_actors.edges.web.snapshot import Snapshot
from qt_actors.edges.web.standing import trading
from qt_actors.edges.web.views import ai_status
from qt_actors.kernel import ActorState
from qt_actors.messages.system import VenueReady

LEVEL_HEALTH: Final = {"NORMAL": 100, "CAUTIOUS": 70, "DEFENSIVE": 40, "EMERGENCY": 0}
NOT_BUILT: Final = ("position_intelligence", "portfolio_balancer", "profit_amplification", "self_healing")


def os_report(snapshot: Snapshot, states: Iterable[ActorState], now_ms: int) -> OsReport:
    """Return the report; ``system_health`` (0–100) is the mean of the subsystems that exist, null before all spoke."""
    directive = snapshot.directive
    known = {
        "universe_os": _universe(snapshot),
        "risk_os": _risk(snapshot),
        "execution_layer": _execution(snapshot),
        "model_supervisor": _models(snapshot),
        "supervision_tree": _tree(states),
    }
    healths = [s["health"] for s in known.values() if s["health"] is not None]
    absent: dict[str, Subsystem] = {name: {"status": "not built", "health": None, "detail": ""} for name in NOT_BUILT}
    allowed = bool(directive and directive.allow_new_positions)
    return {
        "timestamp": now_ms,
        "system_risk_mode": directive.risk_level if directive else "EMERGENCY",
        "system_health": round(sum(healths) / len(known)) if len(healths) == len(known) else None,
        "subsystems": {**known, **absent},
        "trading": trading(snapshot),
        "conflicts": [],
        "emergency_actions": [directive.reason] if directive and directive.risk_level == "EMERGENCY" else [],
        "global_directives": {
            "allow_new_trades": bool(directive and directive.allow_trades),
            "allow_new_positions": allowed,
            "scale_position_sizes": directive.size_multiplier if directive else 0.0,
            "universe_mode": "NORMAL",
            "execution_preference": None,
            "portfolio_action": "hold" if allowed else "no new positions",
        },
    }


def _told(health: int | None, detail: str) -> Subsystem:
    return {"status": "starting" if health is None else "active", "health": health, "detail": detail}


def _universe(snapshot: Snapshot) -> Subsystem:
    chosen = snapshot.universe
    if chosen is None:
        return _told(None, "no symbols chosen yet")
    return _told(100 if chosen.symbols else 0, f"{len(chosen.symbols)} symbols, {len(chosen.refused)} refused")


def _risk(snapshot: Snapshot) -> Subsystem:
    directive = snapshot.directive
    return _told(LEVEL_HEALTH[directive.risk_level], directive.reason) if directive else _told(None, "no word yet")


def _execution(snapshot: Snapshot) -> Subsystem:
    venue, budget = snapshot.venue, snapshot.budget
    if venue is None:
        return _told(None, "the exchange has not answered yet")
    if not isinstance(venue, VenueReady):
        return _told(0, venue.reason)
    used = max(budget.weight_ratio, budget.orders_ratio) if budget else 0.0
    return _told(100 if used < 0.9 else 60, f"{used:.0%} of the request limits used")


def _models(snapshot: Snapshot) -> Subsystem:
    told = ai_status(snapshot)
    heard = snapshot.models
    share = round(100 * told["active"] / told["meant"]) if told["meant"] else 0
    return _told(share if heard else None, f"{told['active']} of {told['meant']} models vote, quorum {told['quorum']}")


def _tree(states: Iterable[ActorState]) -> Subsystem:
    actors = [s for s in states if s.kind == "actor"]
    up = [s for s in actors if s.state == "up"]
    share = round(100 * len(up) / len(actors)) if actors else None
    return _told(share, f"{len(up)} of {len(actors)} actors up, {sum(s.restarts for s in actors)} restarts")
