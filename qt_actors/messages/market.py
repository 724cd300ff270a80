"""Market data as the trader speaks of it: rules, bars, quotes."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from qt_actors.messages.base import Message

Floats = NDArray[np.float64]
Times = NDArray[np.int64]


class Bracket(Message, frozen=True, kw_only=True):
    """One row of a symbol's leverage table (USDⓈ-M ``leverageBracket``)."""

    notional_floor: Decimal
    notional_cap: Decimal
    leverage_max: int
    maintenance_ratio: Decimal
    maintenance_amount: Decimal
    """``cum``: maintenance margin = notional × ratio − amount."""


class SymbolRules(Message, frozen=True, kw_only=True):
    """What the exchange allows for one symbol; read from exchangeInfo, leverageBracket and fundingInfo."""

    symbol: str
    status: str
    onboard_ms: int
    price_tick: Decimal
    price_min: Decimal
    price_max: Decimal
    quantity_step: Decimal
    quantity_min: Decimal
    market_quantity_max: Decimal
    notional_min: Decimal
    price_multiplier_up: Decimal
    price_multiplier_down: Decimal
    brackets: tuple[Bracket, ...]
    funding_interval_hours: int = 8
    contract_type: str = "PERPETUAL"
    quote_asset: str = "USDT"


class RulesLoaded(Message, frozen=True, kw_only=True):
    """Gateway → universe: every symbol the exchange lists, whatever its contract, and its last 24 h quote volume."""

    rules: tuple[SymbolRules, ...]
    quote_volume_24h_usd: dict[str, float]


class UniverseChosen(Message, frozen=True, kw_only=True):
    """The symbols traded from now on, in the one order that every array uses, with the refused and why.

    ``rules`` are of every symbol the exchange lists: a position may be held on one that is not traded.
    """

    symbols: tuple[str, ...]
    rules: tuple[SymbolRules, ...]
    refused: dict[str, str]


class HistoryRequested(Message, frozen=True, kw_only=True):
    """Ask the feed for all closed bars it holds; answered with ``HistoryReady`` to ``reply_to``."""

    reply_to: str


class HistoryReady(Message, frozen=True, kw_only=True):
    """Closed bars of all symbols, oldest first.

    Attributes:
        open_time_ms: int64[B], a grid without holes.
        ohlcv: float64[S, B, 5] open, high, low, close, volume; NaN where a symbol has no bar.
    """

    symbols: tuple[str, ...]
    interval_ms: int
    open_time_ms: Times
    ohlcv: Floats


class BarsClosed(Message, frozen=True, kw_only=True):
    """One closed bar of every symbol.

    Attributes:
        ohlcv: float64[S, 5]; NaN rows for symbols whose bar is missing even after repair.
    """

    symbols: tuple[str, ...]
    interval_ms: int
    open_time_ms: int
    close_time_ms: int
    ohlcv: Floats
    replayed: bool = False
    """True for the bar that was already closed when the trader started."""


class QuotesUpdated(Message, frozen=True, kw_only=True):
    """The newest quote of every symbol, gathered about once a second.

    Attributes:
        bid, ask, bid_quantity, ask_quantity, mark, funding_rate: float64[S]; NaN where nothing was heard yet.
        next_funding_ms, heard_ms: int64[S]; exchange time of the next settlement and of the newest quote.
    """

    now_ms: int
    symbols: tuple[str, ...]
    bid: Floats
    ask: Floats
    bid_quantity: Floats
    ask_quantity: Floats
    mark: Floats
    funding_rate: Floats
    next_funding_ms: Times
    heard_ms: Times


class StreamChanged(Message, frozen=True, kw_only=True):
    """A stream class (``market``, ``public``, ``private``) connected, went silent, or was lost."""

    stream: str
    connected: bool
    reason: str = ""


class BarsLoaded(Message, frozen=True, kw_only=True):
    """Gateway → feed: closed bars of one symbol by REST, oldest first.

    Attributes:
        open_time_ms: int64[B]; ohlcv: float64[B, 5].
    """

    symbol: str
    interval: str
    open_time_ms: Times
    ohlcv: Floats
    error: str = ""


class BarUpdate(Message, frozen=True, kw_only=True):
    """Streams edge → feed: the closed bars heard since the last batch, in order.

    Attributes:
        symbols: one per row, repeated when two bars of a symbol closed; open_time_ms: int64[N]; ohlcv: float64[N, 5].
    """

    symbols: tuple[str, ...]
    open_time_ms: Times
    ohlcv: Floats
    heard_ms: int
