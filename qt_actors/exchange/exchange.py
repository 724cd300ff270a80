"""The exchange: one market, one account, one hub, one clock, and the order in which they act.

Everything runs on one thread. Time moves in `step`: the market is walked to the clock's now, the engine gets every
price point, what clients shall hear is queued, what changed is saved, and only then anything leaves. A request does
the same around its own operation, so it meets the prices of its own moment.
"""

from __future__ import annotations

import logging
import secrets
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qt_actors.exchange.candle_files import MarketDataError
from qt_actors.exchange.clock import ExchangeClock
from qt_actors.exchange.config import market_rules, rules_of, source_of
from qt_actors.exchange.engine import Engine
from qt_actors.exchange.errors import ExchangeError
from qt_actors.exchange.faults.before import Teller
from qt_actors.exchange.faults.desk import Desk
from qt_actors.exchange.faults.frames import Frames
from qt_actors.exchange.funding_rates import FundingCalendar, read_settlements
from qt_actors.exchange.hub import Hub
from qt_actors.exchange.listen_keys import ListenKeys
from qt_actors.exchange.listing import PHASES, SETTLING, phases
from qt_actors.exchange.market import Market, detail_for
from qt_actors.exchange.saved_state import LOG_BYTES_MAX, Entry, Snapshot, StateFile

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from qt_actors.exchange.config import ExchangeConfig
    from qt_actors.exchange.forming import Forming
    from qt_actors.exchange.quotes import Quote

log = logging.getLogger(__name__)

TIME_SAVED_EVERY_MS: Final = 1000.0  # real time; market time is logged this often even when nothing changed
SNAPSHOT_EVERY_MS: Final = 20_000.0  # real time; at most a hundredth of the time goes into snapshots
LAG_MAX_MS: Final = 1000.0  # further behind than this (real time), the clock waits for the market
AHEAD_MAX_MS: Final = 3_600_000.0  # so it does when it would be this far ahead (exchange time)


class Exchange:
    """A running exchange without its sockets.

    Args:
        config: the settings.
        clock_of: makes the clock from the starting time and the speed (tests give one of their own).

    Raises:
        MarketDataError, RulesError, StateError: a file cannot be used; one line each.

    Attributes:
        account: random id of its account, made with it and kept with it.
        market, engine, hub, clock, listen_keys: its parts.
        desk, frames: its faults, and what they do to streams.
        stands: whether requests leave the market where it is; a fault wants it so for a moment.
        ended: whether the market has no candle left; exchange time stands still then.
    """

    def __init__(self, config: ExchangeConfig, clock_of: Callable[[int, float], ExchangeClock] = ExchangeClock) -> None:
        self.config = config
        every_rule = rules_of(config)
        self._source = source_of(config, every_rule)
        self._rules = market_rules(every_rule, self._source)
        known = {} if config.funding is None else read_settlements(Path(config.funding), self._source.symbols)
        self._calendar = FundingCalendar(self._source.symbols, known)
        self._file = None if config.state_path is None else StateFile(Path(config.state_path), self._source.identity)
        try:
            self._begin(clock_of)
        except BaseException:
            if self._file is not None:
                self._file.close()
            raise

    def _begin(self, clock_of: Callable[[int, float], ExchangeClock]) -> None:
        config = self.config
        loaded = None if self._file is None else self._file.load()
        self.account = (loaded[0].account if loaded is not None else "") or secrets.token_hex(8)
        start = config.start_ms if config.start_ms is not None else self._source.default_start_ms
        start = loaded[0].now_ms if loaded is not None else start
        first, end = int(self._source.first_ms.min()), self._source.end_ms
        if not first < start <= end - (loaded is None):
            raise MarketDataError(
                f"start {_utc(start)}: {self._source.name} has candles from {_utc(first)} to {_utc(end)}; begin between"
            )
        self.ended = False
        self._pending: list[dict[str, Any]] = []
        self._detail = config.detail or detail_for(len(self._source.symbols), self._source.interval_ms, config.speed)
        if loaded is None:
            self.market = self._market(start, self._detail, config.seed)
            self.hub = Hub(self.market)
            self.engine = Engine(self._rules, wallet=config.wallet, now_ms=start, emit=self._pending.append)
            self._tell_quotes()
        else:
            self._recover(*loaded)
        self.clock = clock_of(self.market.now_ms, config.speed)
        if config.paused:
            self.clock.pause()
        self.listen_keys = ListenKeys(self.clock.real_ms, "" if loaded is None else loaded[0].listen_key)
        self.stands = False
        self.desk = Desk(self.clock, config.faults)
        self.frames = Frames(self.desk, self.clock)
        self.hub.deliver, self.hub.told = self.frames.deliver, Teller(self.desk).told
        self._pending.clear()
        self.snapshot()

    def _market(self, start_ms: int, detail: int, seed: int, carry: bytes | None = None) -> Market:
        rules = [self._rules.symbols[symbol] for symbol in self._source.symbols]
        self._phases = phases(self._source, start_ms)
        for row, symbol in enumerate(self._source.symbols):
            self._rules.set_status(symbol, PHASES[self._phases[row]])
        return Market(self._source, rules, start_ms, self._calendar, seed=seed, detail=detail, carry=carry)

    def _recover(self, saved: Snapshot, entries: list[Entry]) -> None:
        """Be where the saved state was: walk from the snapshot to the end of the log, with its operations on the way.

        The walk uses the paths of the time it repeats; a changed seed or detail counts from its end on.
        """
        self.market = self._market(saved.now_ms, saved.detail, saved.seed, saved.carry)
        self.hub = Hub(self.market)
        self.engine = Engine.restore(saved.engine, self._rules, self._pending.append)
        for entry in entries:
            self.market.advance(entry.now_ms, self)
            if entry.method:
                self._apply(entry.method, entry.params)
        if (saved.detail, saved.seed) != (self._detail, self.config.seed):
            self.market = self._market(self.market.now_ms, self._detail, self.config.seed)
            self.hub = Hub(self.market)

    # ---- the market speaks ---------------------------------------------------------------------------------------

    def watched(self) -> Collection[str]:
        """Symbols whose every price point matters to the account; the others' quotes are had when it acts."""
        return self.engine.active

    def quoted(self, quotes: list[Quote]) -> None:
        """Price points of them: each goes to the engine, and time with it."""
        quote, advance = self.engine.quote, self.engine.advance
        for one in quotes:
            advance(one.time_ms)
            quote(one)

    def closed(self, forming: Forming) -> None:
        """Candles that close: each goes to its subscribers, after what happened to the account before."""
        self._tell_account()
        self.hub.closed(forming)
        if forming is self.market.base:
            self._follow_listings()

    def settled(self, symbol: str, rate: float, time_ms: int) -> None:
        """A funding settlement."""
        self.engine.settle_funding(symbol, Decimal(repr(rate)), time_ms)

    # ---- time ----------------------------------------------------------------------------------------------------

    def step(self, budget_ms: int | None = None) -> bool:
        """Walk the market to the clock's now, at most `budget_ms` of exchange time; True when it got there.

        Says what happened to the streams, but lets nothing leave: `commit` does.
        """
        now = self.clock.now_ms()
        self.walk(now if budget_ms is None else min(now, self.market.now_ms + budget_ms))
        return self.ended or self.market.now_ms >= now

    def walk(self, to_ms: int) -> None:
        """Walk the market to a moment, whatever the clock says; at the end of its candles time stands still."""
        if to_ms >= self._source.end_ms:
            to_ms = self._source.end_ms
            if not self.ended:
                self.ended = True
                log.warning("%s has no candle left; exchange time stands still", self._source.name)
                self.clock.hold(to_ms)
                self.clock.pause()
        self.market.advance(to_ms, self)

    def span(self) -> tuple[int, int]:
        """Open time of the first candle and end of the last, ms UTC."""
        return int(self._source.first_ms.min()), self._source.end_ms

    def start_over(self, at_ms: int) -> None:
        """Go back to a moment: a new market with the same paths, the same account.

        Raises:
            ExchangeError: -4067 while there is an open order, -4068 while there is a position.
        """
        now, engine = self.market.now_ms, self.engine
        if engine.open_orders({}, now) or engine.open_algo_orders({}, now):
            raise ExchangeError(-4067, "Time cannot go back if there exists open orders.")
        if any(Decimal(row["positionAmt"]) for row in engine.position_risk_v3({}, now)):
            raise ExchangeError(-4068, "Time cannot go back if there exists position.")
        self.market = self._market(at_ms, self._detail, self.config.seed)
        self.hub.follow(self.market)
        self.ended = False
        self.clock.move_to(at_ms)
        self._tell_quotes()
        self.snapshot()  # the log of operations goes forward only

    def lag_ms(self) -> float:
        """How far the market is behind the clock, in real time."""
        return (self.clock.now_ms() - self.market.now_ms) / self.clock.speed

    def wait_for_market(self) -> None:
        """Hold the clock when the market is too far behind: time waits rather than a price point being skipped."""
        if self.lag_ms() > min(LAG_MAX_MS, AHEAD_MAX_MS / self.clock.speed):
            self.clock.hold(self.market.now_ms)

    def catch_up(self) -> None:
        """Walk to the clock's now unless that would take long; then the market's own moment counts.

        Raises:
            OSError: something that happened could not be saved yet; nothing else happens before it is.
        """
        if self._file is not None and self._file.torn:
            self.commit()
        if not self.stands and self.lag_ms() < LAG_MAX_MS:
            self.step()

    def operate(self, method: str, params: dict[str, str]) -> Any:
        """Run one engine operation at the present moment; it is saved and its events leave before its reply.

        Raises:
            ExchangeError: the engine refused.
            OSError: the disk refuses to keep it; it happened, and is told once it is saved.
        """
        self.catch_up()
        before = self.engine.revision
        try:
            return self._act(method, params)
        finally:
            if self._file is not None and self.engine.revision != before:
                self._logged(method, {name: text for name, text in params.items() if name != "signature"})
            self.commit()

    def _tell_quotes(self) -> None:
        """Bring the quotes of symbols up to date that the engine was not told of point by point."""
        active = self.engine.active
        for quote in self.market.fresh_quotes():
            if quote.symbol not in active:
                self.engine.quote(quote)

    def _act(self, method: str, params: dict[str, str]) -> Any:
        self._tell_quotes()
        self.engine.advance(self.market.now_ms)
        return getattr(self.engine, method)(params, self.market.now_ms)

    def _apply(self, method: str, params: dict[str, str]) -> None:
        """Repeat a logged operation; one that was refused half-way is refused half-way again."""
        try:
            self._act(method, params)
        except ExchangeError:
            log.debug("repeated %s was refused, as it was the first time", method)

    # ---- saving and telling --------------------------------------------------------------------------------------

    def commit(self) -> None:
        """Save what changed, then let everything leave.

        Raises:
            OSError: the disk refuses; then nothing leaves before a snapshot holds what the log lacks.
        """
        if self._file is not None:
            if self._file.torn or self.listen_keys.key != self._saved_key:
                self.snapshot()
            aged = self.clock.real_ms() - self._logged_real_ms >= TIME_SAVED_EVERY_MS
            if self.engine.revision != self._logged_revision or (aged and self.market.now_ms != self._logged_now_ms):
                self._logged("", {})
        self._tell_account()
        self.hub.flush()

    def snapshot_if_due(self) -> None:
        """Write a snapshot when the last one is old enough for what it costs."""
        if self._file is None:
            return
        if self.clock.real_ms() >= self._snapshot_due_ms or self._file.log_bytes > LOG_BYTES_MAX:
            self.snapshot()

    def snapshot(self) -> None:
        """Write a snapshot now, when a state file is kept."""
        began = self.clock.real_ms()
        self._logged_revision, self._logged_now_ms = self.engine.revision, self.market.now_ms
        self._logged_real_ms = began
        if self._file is None:
            return
        key = self.listen_keys.key
        self._file.store(
            Snapshot(
                number=0,
                account=self.account,
                market=self._source.identity,
                now_ms=self.market.now_ms,
                seed=self.market.seed,
                detail=self.market.detail,
                carry=self.market.carry(),
                engine=self.engine.save(),
                listen_key=key,
            )
        )
        self._saved_key = key
        now = self.clock.real_ms()
        self._snapshot_due_ms = now + max(SNAPSHOT_EVERY_MS, 100 * (now - began))

    def close(self) -> None:
        """Save and let the state file go; what happens from here on is kept by nobody.

        Raises:
            OSError: the disk refuses.
        """
        file = self._file
        try:
            self.commit()
            self.snapshot()
        finally:
            self._file = None
            if file is not None:
                file.close()

    def _logged(self, method: str, params: dict[str, str]) -> None:
        if self._file is not None and not self._file.torn:
            self._file.append(Entry(self.market.now_ms, method, params))
            self._logged_revision, self._logged_now_ms = self.engine.revision, self.market.now_ms
            self._logged_real_ms = self.clock.real_ms()

    def _tell_account(self) -> None:
        for event in self._pending:
            self.hub.user_event(event)
        self._pending.clear()  # in place: the engine appends to this list

    # ---- listings ------------------------------------------------------------------------------------------------

    def _follow_listings(self) -> None:
        """Give symbols that began or ended their status; what is left on an ended one is closed first."""
        now = phases(self._source, self.market.now_ms)
        if np.array_equal(now, self._phases):
            return
        for row in np.flatnonzero(now != self._phases).tolist():
            symbol = self._source.symbols[row]
            if now[row] == SETTLING:
                self.engine.delist(symbol, self.market.now_ms)
            self._rules.set_status(symbol, PHASES[now[row]])
            self.hub.contract_changed(row, PHASES[now[row]])
            log.info("%s is %s", symbol, PHASES[now[row]])
        self._phases = now


def _utc(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%MZ")
