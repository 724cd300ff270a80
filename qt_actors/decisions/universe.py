"""Which symbols are traded? (SPEC 12, Universe OS: what can be known before the first bar)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Final

from config.settings import Settings
from qt_actors.decisions.texts import UNKNOWN, usd
from qt_actors.messages.market import SymbolRules, UniverseChosen

REFERENCE: Final = "BTCUSDT"
"""Every symbol's features are relative to it."""
AGE_DAYS_MIN: Final = 7
"""The first days of a listing are auctions, not markets; how many bars the models need is the warm-up's question."""
DAY_MS: Final = 86_400_000


def refusal(
    rules: SymbolRules, volume_usd: float | None, settings: Settings, now_ms: int, *, asked_for: bool
) -> str | None:
    """Return why a symbol is not traded, None when it is.

    ``asked_for``: named by the user, whose word replaces age and volume minimum; a halted or frozen one stays refused.
    """
    if not _is_tradable(rules):
        return f"a {rules.contract_type} contract quoted in {rules.quote_asset}, not a perpetual in USDT"
    if rules.status != "TRADING":
        return f"status {rules.status}, not TRADING"
    if not rules.brackets:
        return "the exchange gave no leverage table"
    known = volume_usd is not None and isfinite(volume_usd)
    if known and not volume_usd:
        return "frozen: no volume in 24 h"
    if asked_for:
        return None
    age_days = (now_ms - rules.onboard_ms) / DAY_MS
    if age_days < AGE_DAYS_MIN:
        return f"listed {max(0.0, age_days):.1f} days ago, at least {AGE_DAYS_MIN} wanted"
    if volume_usd is None or not known:
        return f"24 h volume {UNKNOWN}"
    if volume_usd < settings.volume_24h_usd_min:
        return f"24 h volume {usd(volume_usd)}, at least {usd(settings.volume_24h_usd_min)} wanted"
    return None


def _is_tradable(rules: SymbolRules) -> bool:
    return rules.contract_type == "PERPETUAL" and rules.quote_asset == "USDT"


def choose_universe(
    rules: Sequence[SymbolRules],
    volumes: Mapping[str, float],
    requested: Sequence[str] | None,
    settings: Settings,
    now_ms: int,
) -> UniverseChosen:
    """Return the symbols to trade: BTCUSDT first, then by 24 h volume (ties by name), up to ``QT_UNIVERSE_MAX``.

    ``requested`` None is every perpetual in USDT. BTCUSDT is kept whenever it trades: as reference, even when not asked
    for. Every symbol asked for that is not chosen is in ``refused`` with its reason. The rules stay those of all
    symbols listed: whoever must protect or close a position found there needs them.
    """
    listed = {r.symbol: r for r in rules}
    tradable = {r.symbol for r in rules if _is_tradable(r)}
    wanted = tradable if requested is None else set(requested) | ({REFERENCE} & set(listed))
    asked_for = requested is not None
    refused = dict.fromkeys(sorted(wanted - set(listed)), "not listed by the exchange")
    fit = []
    for name in sorted(wanted & set(listed)):
        reference = name == REFERENCE
        reason = refusal(listed[name], volumes.get(name), settings, now_ms, asked_for=asked_for or reference)
        if reason is None:
            fit.append(name)
        else:
            refused[name] = reason
    fit.sort(key=lambda name: (name != REFERENCE, -volumes.get(name, 0.0), name))
    for place, name in enumerate(fit[settings.universe_max :], settings.universe_max + 1):
        refused[name] = f"rank {place} by volume, QT_UNIVERSE_MAX is {settings.universe_max}"
    chosen = tuple(fit[: settings.universe_max])
    return UniverseChosen(symbols=chosen, rules=tuple(listed[name] for name in sorted(listed)), refused=refused)
