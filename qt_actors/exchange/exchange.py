"""The exchange: one market, one account, one hub, one clock, and the order in which they act.

Everything runs on one thread. Time moves in `step`: the market is walked to the clock's now, the engine gets every
price point, then what clients shall hear is queued, the state is saved if a client could see a difference, and only
then anything leaves. A request does the same around its own operation, so it meets the prices of its own moment.
"""

from __future__ import annotations

import logging
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qt_actors.exchange import saved_state
from qt_actors.exchange.clock import ExchangeClock
from qt_actors.exchange.config import market_rules, rules_of, source_of
from qt_actors.exchange.engine import Engine
from qt_actors.exchange.funding_rates import FundingCalendar, read_settlements
from qt_actors.exchange.hub import Hub
from qt_actors.exchange.listen_keys import ListenKeys
from qt_actors.exchange.market import Market, detail_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from qt_actors.exchange.config import ExchangeConfig
    from qt_actors.exchange.forming import Forming
    from qt_actors.exchange.quotes import Quote
    from qt_actors.exchange.saved_state import Saved

log = logging.getLogger(__name__)

SAVE_TIME_EVERY_MS: Final = 1000.0  # market time is saved this often (real time) even when nobody traded
LAG_MAX_MS: Final = 1000.0  # further behind than this (real time), the clock waits for the market


class Exchange:
    """A running exchange without its sockets.

    Args:
        config: the settings.
        clock_of: makes the clock from the starting time and the speed (tests give one of their own).

    Raises:
        MarketDataError, RulesError, StateError: a file cannot be used; one line each.

    Attributes:
        market, engine, hub, clock, listen_keys: its parts.
        ended: whether the market has no candle left; exchange time stands still then.
    """

    def __init__(self, config: ExchangeConfig, clock_of: Callable[[int, float], ExchangeClock] = ExchangeClock) -> None:
        self.config = config
        every_rule = rules_of(config)
        source = source_of(config, every_rule)
        rules = market_rules(every_rule, source)
        self._state_path = None if config.state_path is None else Path(config.state_path)
        saved = None if self._state_path is None else saved_state.load(self._state_path, source.name)
        start = config.start_ms if config.start_ms is not None else source.default_start_ms
        start = saved.now_ms if saved is not None else start
        known = {} if config.funding is None else read_settlements(Path(config.funding), source.symbols)
        detail = config.detail or detail_for(len(source.symbols), source.interval_ms, config.speed)
        self.market = Market(
            source,
            [rules.symbols[symbol] for symbol in source.symbols],
            start,
            FundingCalendar(source.symbols, known),
            seed=config.seed,
            detail=detail,
        )
        self.clock = clock_of(start, config.speed)
        self.hub = Hub(self.market)
        self.listen_keys = ListenKeys(self.clock.real_ms)
        self.ended = False
        self._pending: list[dict[str, Any]] = []
        self.engine = self._engine(saved, rules, start)
        self._saved_revision = -1
        self._saved_ms = self.clock.real_ms()
        self._saved_now = -1
        for row in self.market.listed().nonzero()[0].tolist():
            self.engine.quote(self.market.quote_now(row))
        self.commit()

    def _engine(self, saved: Saved | None, rules: Any, start: int) -> Engine:
        if saved is not None:
            return Engine.restore(saved.engine, rules, self._pending.append)
        return Engine(rules, wallet=self.config.wallet, now_ms=start, emit=self._pending.append)

    # ---- the market speaks ---------------------------------------------------------------------------------------

    def quoted(self, quotes: list[Quote]) -> None:
        """Price points: each goes to the engine."""
        quote = self.engine.quote
        for one in quotes:
            quote(one)

    def closed(self, forming: Forming) -> None:
        """Candles that close: each goes to its subscribers, after what happened to the account before."""
        self._tell_account()
        self.hub.closed(forming)

    def settled(self, symbol: str, rate: float, time_ms: int) -> None:
        """A funding settlement."""
        self.engine.settle_funding(symbol, Decimal(repr(rate)), time_ms)

    # ---- time ----------------------------------------------------------------------------------------------------

    def step(self, budget_ms: int | None = None) -> bool:
        """Walk the market to the clock's now, at most `budget_ms` of exchange time; True when it got there.

        Says what happened to the streams, but lets nothing leave: `commit` does.
        """
        now = self.clock.now_ms()
        target = now if budget_ms is None else min(now, self.market.now_ms + budget_ms)
        if target >= self.market.source.end_ms:
            target = self.market.source.end_ms
            if not self.ended:
                self.ended = True
                log.warning("%s has no candle left; exchange time stands still", self.market.source.name)
            self.clock.hold(target)
            self.clock.pause()
            now = target
        self.market.advance(target, self)
        self.engine.advance(self.market.now_ms)
        return target >= now

    def lag_ms(self) -> float:
        """How far the market is behind the clock, in real time."""
        return (self.clock.now_ms() - self.market.now_ms) / self.clock.speed

    def wait_for_market(self) -> None:
        """Hold the clock when the market is too far behind: time waits rather than a price point being skipped."""
        if self.lag_ms() > LAG_MAX_MS:
            self.clock.hold(self.market.now_ms)

    def operate(self, method: str, params: dict[str, str]) -> Any:
        """Run one engine operation at the present moment; its events leave before its reply.

        Raises:
            ExchangeError: the engine refused.
        """
        self.catch_up()
        try:
            return getattr(self.engine, method)(params, self.market.now_ms)
        finally:
            self.commit()

    def catch_up(self) -> None:
        """Walk to the clock's now unless that would take long; then the market's own moment counts."""
        if self.lag_ms() < LAG_MAX_MS:
            self.step()

    def commit(self) -> None:
        """Save what changed, then let everything leave."""
        self._save()
        self._tell_account()
        self.hub.flush()

    def save(self) -> None:
        """Save now, when a state file is kept."""
        if self._state_path is not None:
            saved_state.store(
                self._state_path,
                saved_state.Saved(saved_state.VERSION, self.market.source.name, self.market.now_ms, self.engine.save()),
            )
            self._saved_revision, self._saved_now = self.engine.revision, self.market.now_ms
            self._saved_ms = self.clock.real_ms()

    def _save(self) -> None:
        if self._state_path is None:
            return
        aged = self.clock.real_ms() - self._saved_ms >= SAVE_TIME_EVERY_MS and self._saved_now != self.market.now_ms
        if self.engine.revision != self._saved_revision or aged:
            self.save()

    def _tell_account(self) -> None:
        for event in self._pending:
            self.hub.user_event(event)
        self._pending.clear()  # in place: the engine appends to this list
