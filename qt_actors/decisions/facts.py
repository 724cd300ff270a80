"""What the entry chain must know before it may say yes; ``None`` is "not known", and what is not known is refused."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from math import isfinite
from typing import Final

import msgspec

from qt_actors.decisions.performance import Performance
from qt_actors.messages.base import Side
from qt_actors.messages.market import QuotesUpdated, SymbolRules
from qt_actors.messages.policy import Directive
from qt_actors.messages.signals import Regime

QUOTE_AGE_MS_MAX: Final = 15_000
"""Quotes are gathered about once a second; fifteen missed rounds are a dead stream, not a quiet market."""
TAKER_FEE: Final = 0.0005
"""USDⓈ-M VIP 0 taker commission, a fraction of notional (binance.com/en/fee/futureFee)."""


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """The newest quote of one symbol; prices in USDT, quantities in the base asset, funding per its own interval."""

    bid: float
    ask: float
    bid_quantity: float
    ask_quantity: float
    mark: float
    funding_rate: float
    heard_ms: int

    @property
    def is_sound(self) -> bool:
        """Prices and quantities are numbers, and prices those of a market; a funding rate may be missing."""
        figures = (self.bid, self.ask, self.bid_quantity, self.ask_quantity, self.mark)
        return all(map(isfinite, figures)) and 0 < self.bid <= self.ask and self.mark > 0

    @property
    def mid(self) -> float:
        """Middle of bid and ask."""
        return (self.bid + self.ask) / 2

    @property
    def spread_bps(self) -> float:
        """Ask minus bid, in hundredths of a percent of the middle."""
        return (self.ask - self.bid) / self.mid * 1e4

    def touch(self, side: Side) -> float:
        """Price a market order of this side would take first."""
        return self.ask if side == "BUY" else self.bid

    def touch_quantity(self, side: Side) -> float:
        """Quantity resting at that price."""
        return self.ask_quantity if side == "BUY" else self.bid_quantity


def quote_at(quotes: QuotesUpdated, index: int) -> Quote | None:
    """Return one symbol's quote; None when bid, ask or mark was never heard or makes no sense."""
    known = Quote(
        bid=float(quotes.bid[index]),
        ask=float(quotes.ask[index]),
        bid_quantity=float(quotes.bid_quantity[index]),
        ask_quantity=float(quotes.ask_quantity[index]),
        mark=float(quotes.mark[index]),
        funding_rate=float(quotes.funding_rate[index]),
        heard_ms=int(quotes.heard_ms[index]),
    )
    return known if known.is_sound else None


def rules_are_sound(rules: SymbolRules) -> bool:
    """Tell whether tick, step, largest order and leverage table are there and every figure makes sense."""
    positive = (rules.price_tick, rules.quantity_step, rules.market_quantity_max)
    figures = [*positive, rules.quantity_min, rules.notional_min]
    for row in rules.brackets:
        figures += [row.notional_floor, row.notional_cap, row.maintenance_ratio, row.maintenance_amount]
    return bool(rules.brackets) and all(f.is_finite() and f >= 0 for f in figures) and min(positive) > 0


class SymbolFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one symbol beside its signal.

    Attributes:
        stop_distance: 1.5 × ATR(14) / price on ``QT_ATR_INTERVAL`` at the signal's bar close (``FeatureBatch``).
        performance: of the symbol's closed trades; an empty ``Performance`` when there are none.
    """

    rules: SymbolRules | None
    quote: Quote | None
    stop_distance: float | None
    performance: Performance | None


class BookFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the account and of ourselves, the same for all symbols of a cycle.

    Attributes:
        gross_notional_usd: open positions at mark plus reserved entries.
        held, pending: symbols with a position (whoever opened it), and with an entry under way or reserved, or an order
            of ours that still rests from before.
        last_entry_ms: when the last entry was admitted, 0 when there never was one.
        models: closed-trade record by model name; a model without one counts as untried.
        quote_age_ms_max: in exchange time, so a replay at speed N passes N times as much.
    """

    directive: Directive | None
    equity_usd: Decimal | None
    available_usd: Decimal | None
    gross_notional_usd: Decimal | None
    held: frozenset[str] | None
    pending: frozenset[str] | None
    last_entry_ms: int | None
    market: Regime = "NORMAL"
    models: Mapping[str, Performance] = {}
    quote_age_ms_max: int = QUOTE_AGE_MS_MAX
    taker_fee: float = TAKER_FEE


def sound_book(book: BookFacts) -> BookFacts:
    """Return the book with everything that is no number as not known."""
    word = book.directive
    if word is not None and not (isfinite(word.size_multiplier) and isfinite(word.leverage_multiplier)):
        word = None
    known = {
        name: value if value is not None and value.is_finite() else None
        for name, value in (
            ("equity_usd", book.equity_usd),
            ("available_usd", book.available_usd),
            ("gross_notional_usd", book.gross_notional_usd),
        )
    }
    return msgspec.structs.replace(book, directive=word, **known)
