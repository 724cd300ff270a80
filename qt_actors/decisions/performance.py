"""How a symbol, or a model, has done in closed trades (SPEC 7.4), and how much that tightens the policy.

Results are counted in R (net result over the risk taken), so that a big position does not weigh more than a small one.
Old trades fade: a trade counts half after fifty later ones. A short record is drawn towards an even one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from math import nan
from typing import Any, Final

import msgspec

from qt_actors.messages.base import Side
from qt_actors.messages.positions import TradeClosed
from qt_actors.messages.signals import ModelVote

FADE: Final = 0.5 ** (1 / 50)
PRIOR_TRADES: Final = 20.0
"""Imagined even trades added to every record: 0 of 5 then reads 0.40, not 0.00 (20 trades tell a rate to ±0.22)."""
WIN_RATE_FLOOR: Final = 0.45
WIN_RATE_SLOPE: Final = 0.5
"""Five points of win rate below the floor cost 0.025 of confidence."""
WIN_RATE_ADD_MAX: Final = 0.05
DRAWDOWN_R_FREE: Final = 3.0
"""Three stops below its best is ordinary noise; each further one costs 0.01."""
DRAWDOWN_ADD_MAX: Final = 0.04
STREAK_FREE: Final = 2
"""Two losses in a row happen to everyone every few trades; each further one costs 0.02."""
STREAK_ADD_MAX: Final = 0.06

LEARNED_MAX: Final = 500
"""Trades remembered by name, so that one told twice counts once; older ones have faded to a thousandth."""


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """A faded record; ``weight`` and ``wins`` are faded counts, ``trades`` the true number."""

    trades: int = 0
    weight: float = 0.0
    wins: float = 0.0
    sum_r: float = 0.0
    total_r: float = 0.0
    peak_r: float = 0.0
    losing_streak: int = 0

    @property
    def win_rate(self) -> float:
        """Share of winners, drawn towards one half by ``PRIOR_TRADES``."""
        return (self.wins + PRIOR_TRADES / 2) / (self.weight + PRIOR_TRADES)

    @property
    def expectancy_r(self) -> float:
        """Mean result in R, drawn towards zero by ``PRIOR_TRADES``."""
        return self.sum_r / (self.weight + PRIOR_TRADES)

    @property
    def drawdown_r(self) -> float:
        """How far the sum of results lies below its best."""
        return self.peak_r - self.total_r


UNTRIED: Final = Performance()


def result_r(trade: TradeClosed) -> float | None:
    """Return the net result over the risk; None for an adopted trade, one without known risk or with unknown result."""
    known = trade.complete and not trade.adopted
    return _net_r(trade.realized_usd - trade.commission_usd, trade.risk_usd) if known else None


def _net_r(net_usd: Decimal, risk_usd: Decimal) -> float | None:
    return float(net_usd / risk_usd) if risk_usd > 0 else None


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """All records of closed trades, and what those that are not closed yet will add to.

    Attributes:
        votes: of each open trade's decision.
        learned: decisions of the newest closed trades that are in the records.
    """

    symbols: Mapping[str, Performance] = {}
    models: Mapping[str, Performance] = {}
    votes: Mapping[str, tuple[ModelVote, ...]] = {}
    learned: tuple[str, ...] = ()


def recovered(rows: Iterable[Mapping[str, Any]]) -> Record:
    """Return the records that the journal's trades make, given newest first, each with the votes behind it."""
    record = Record()
    for row in reversed(list(rows)):
        # an abstention has no probabilities: what is no number is null in the journal
        votes = tuple(
            msgspec.convert({name: nan if said is None else said for name, said in vote.items()}, ModelVote)
            for vote in row["votes"]
            if vote["action"] is not None
        )
        if row["closed_ms"] is None:
            record = msgspec.structs.replace(record, votes={**record.votes, row["decision_id"]: votes})
            continue
        net_usd = Decimal(row["realized_usd"]) - Decimal(row["commission_usd"])
        known = row["complete"] and not row["adopted"]
        net_r = _net_r(net_usd, Decimal(row["risk_usd"])) if known else None
        record = _learned(record, row["decision_id"], row["symbol"], row["side"], net_r, votes)
    return record


def learned(record: Record, trade: TradeClosed) -> Record:
    """Fold one closed trade into the records of its symbol and of the models that voted on it, once."""
    votes = record.votes.get(trade.decision_id, ())
    return _learned(record, trade.decision_id, trade.symbol, trade.side, result_r(trade), votes)


def _learned(
    record: Record, decision_id: str, symbol: str, side: Side, net_r: float | None, votes: Iterable[ModelVote]
) -> Record:
    if decision_id in record.learned:
        return record
    symbols, models = record.symbols, record.models
    if net_r is not None:
        symbols = {**symbols, symbol: with_result(symbols.get(symbol, UNTRIED), net_r)}
        models = after_votes(models, votes, side, net_r)
    return Record(
        symbols=symbols,
        models=models,
        votes={d: v for d, v in record.votes.items() if d != decision_id},
        learned=(*record.learned, decision_id)[-LEARNED_MAX:],
    )


def with_result(record: Performance, net_r: float) -> Performance:
    """Add one result in R; a result of exactly zero is no win and no loss."""
    total = record.total_r + net_r
    return Performance(
        trades=record.trades + 1,
        weight=record.weight * FADE + 1,
        wins=record.wins * FADE + (1.0 if net_r > 0 else 0.5 if net_r == 0 else 0.0),
        sum_r=record.sum_r * FADE + net_r,
        total_r=total,
        peak_r=max(record.peak_r, total),
        losing_streak=record.losing_streak + 1 if net_r < 0 else 0 if net_r > 0 else record.losing_streak,
    )


def after_votes(
    records: Mapping[str, Performance], votes: Iterable[ModelVote], side: Side, net_r: float
) -> dict[str, Performance]:
    """Fold one closed trade into the records by model: who voted the other way is credited with the opposite result."""
    made = dict(records)
    for vote in votes:
        if vote.action in {"BUY", "SELL"}:
            made[vote.model] = with_result(made.get(vote.model, UNTRIED), net_r if vote.action == side else -net_r)
    return made


def tightening(record: Performance) -> tuple[tuple[str, float], ...]:
    """Return (reason, addition to the minimum confidence) for a symbol's record; it only ever tightens."""
    below = WIN_RATE_FLOOR - record.win_rate
    beyond = record.drawdown_r - DRAWDOWN_R_FREE
    extra = record.losing_streak - STREAK_FREE
    found = []
    if below > 0:
        found.append((f"win rate {record.win_rate:.2f}", min(WIN_RATE_ADD_MAX, WIN_RATE_SLOPE * below)))
    if beyond > 0:
        found.append((f"drawdown {record.drawdown_r:.1f} R", min(DRAWDOWN_ADD_MAX, 0.01 * beyond)))
    if extra > 0:
        found.append((f"{record.losing_streak} losses in a row", min(STREAK_ADD_MAX, 0.02 * extra)))
    return tuple(found)


def model_tightening(records: Mapping[str, Performance], agreeing: Iterable[str]) -> tuple[tuple[str, float], ...]:
    """Return the addition for models that agree on the trade but have lately been wrong: their mean win rate counts."""
    rates = [records.get(m, UNTRIED).win_rate for m in agreeing]
    if not rates:
        return ()
    mean = sum(rates) / len(rates)
    below = WIN_RATE_FLOOR - mean
    return ((f"models' win rate {mean:.2f}", min(WIN_RATE_ADD_MAX, WIN_RATE_SLOPE * below)),) if below > 0 else ()
