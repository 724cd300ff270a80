"""The whole trader and its exchange in virtual time: the price path, the calls and what goes wrong are the test's word.

Actors, wiring, journal, edges and exchange are those of ``qt simulate``; nothing is drawn by chance but latencies. A
referee looks after every step: whatever a test does, no position may lack its stop but by somebody else's hand, and no
decision may become two positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from config.settings import load
from models.registry import ARTIFACTS, BUY, HOLD, SELL, load_manifest
from qt_actors.edges.binance_errors import ReplyError
from qt_actors.edges.journal_queries import SqliteJournalReader
from qt_actors.kernel import DeadLetter
from qt_actors.messages.system import DrainRequested
from qt_actors.simulation import invariants
from qt_actors.simulation.hands import Hands
from qt_actors.simulation.life import Life, Setup
from qt_actors.simulation.operator import Operator
from qt_actors.simulation.referee import Referee
from qt_actors.simulation.truth import Truth, books_of, truth_of
from qt_actors.simulation.weather import Fault, Kind, Request, Verdict, Weather
from qt_actors.simulation.world import World

BAR_MS = 300_000
HISTORY_BARS = 700
DAY_MS = 1_735_689_600_000
"""2025-01-01T00:00Z, when the history ends; a funding time."""
START_MS = DAY_MS + BAR_MS - 20_000
"""Shortly before the first bar closes: the second one begins with what was decided on the first."""
PRICES = {
    "BTCUSDT": (60_000.0, 1),
    "ETHUSDT": (3_000.0, 2),
    "BNBUSDT": (600.0, 2),
    "SOLUSDT": (150.0, 2),
    "XRPUSDT": (2.0, 4),
}
"""To begin with, and its decimals."""
ORDER, ALGO = "/fapi/v1/order", "/fapi/v1/algoOrder"
SETTINGS = {
    "QT_BAR_INTERVAL": "5m",
    "QT_ATR_INTERVAL": "1h",
    "QT_STOP_MODE": "percent",
    "QT_SL_PCT": "0.02",
    "QT_TP_PCT": "0.02",
    "QT_DEFAULT_LEVERAGE": "10",
    "QT_MAX_HOLDING_BARS": "1000",
    "ORCHESTRATOR_PROFILE": "NONE",
}


def refusal(code: int, text: str = "refused", status: int = 400) -> ReplyError:
    """What the exchange answers instead of a reply."""
    return ReplyError(status, code, text)


UNKNOWN = refusal(0, "Unknown error, please check your request or try again later.", 503)


class Sent(msgspec.Struct, frozen=True):
    """A request that left the trader."""

    at_ms: int
    method: str
    path: str
    params: dict[str, Any]


class Rule(msgspec.Struct, kw_only=True):
    """What happens to requests of this kind, at most ``times`` of them.

    before: an error in place of carrying it out; after: in place of its answer; lost, late_ms: of the answer;
    later_ms: after it was sent it is carried out all the same (with ``before``).
    """

    method: str
    path: str
    only: Callable[[Mapping[str, Any]], bool] = lambda _: True
    times: int = 1_000_000
    before: Exception | None = None
    after: Exception | None = None
    lost: bool = False
    late_ms: float = 0
    later_ms: float | None = None
    met: int = 0

    def verdict(self, method: str, path: str, params: Mapping[str, Any], usual: Verdict) -> Verdict | None:
        """What becomes of this request; None when it is another kind of request."""
        if self.method not in {method, "*"} or self.path not in {path, "*"} or self.met >= self.times:
            return None
        if not self.only(params):
            return None
        self.met += 1
        return Verdict(usual.there_ms, usual.back_ms + self.late_ms, self.before, self.after, self.lost)


class Script(Weather):
    """The usual weather, in which some requests meet a rule.

    Attributes:
        sent: what left the trader, in order.
        event_delay_ms: of the account's events; None: they never come.
        exit_left: quantities that the next reducing market orders find in the book.
    """

    def __init__(self, world: World, seed: int) -> None:
        super().__init__(world, seed)
        self.rules: list[Rule] = []
        self.sent: list[Sent] = []
        self.event_delay_ms: float | None = 0
        self.exit_left: list[Decimal] = []

    def on_request(self, method: str, path: str, params: Mapping[str, Any]) -> Verdict:
        """Write down what leaves, and let the first rule that knows it decide."""
        self.sent.append(Sent(self.world.now_ms, method, path, dict(params)))
        usual = super().on_request(method, path, params)
        for rule in self.rules:
            verdict = rule.verdict(method, path, params, usual)
            if verdict is not None:
                if rule.later_ms is not None:
                    self.world.after(rule.later_ms, partial(self.world.request, method, path, dict(params)))
                return verdict
        return usual

    def on_event(self) -> tuple[float, ...]:
        """After which delays an event of the account arrives."""
        if self.event_delay_ms is None:
            return ()
        return tuple(delay + self.event_delay_ms for delay in super().on_event())

    @contextmanager
    def at_the_desk(self, world: World, request: Request) -> Iterator[None]:
        """Leave only the next of ``exit_left`` in the book for a market order that reduces."""
        params, exchange = request.params, world.exchange.exchange
        if request.path != ORDER or "reduceOnly" not in params or request.method != "POST" or not self.exit_left:
            with super().at_the_desk(world, request):
                yield
            return
        book = {"symbol": params["symbol"], "side": params["side"]}
        exchange.operate("spoil", {"do": "thin_book", "left": str(self.exit_left.pop(0)), **book})
        exchange.stands = True
        try:
            yield
        finally:
            exchange.stands = False
            exchange.operate("spoil", {"do": "full_book", **book})


class Called:
    """``ports.Model`` that says what the test says, of each symbol in its order."""

    version = "called"

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def probabilities(self, rows: Any) -> Any:
        """float32[N, 3] (SELL, HOLD, BUY)."""
        stage, found = self._stage, np.full((len(rows), 3), 0.02, np.float32)
        stage.shown[stage.world.now_ms, rows.ndim] = rows.copy()
        for row, symbol in enumerate(stage.symbols[: len(rows)]):
            found[row, {"SELL": SELL, "BUY": BUY}.get(stage.calls.get(symbol, ""), HOLD)] = 0.96
        return found


def write_candles(folder: Path, symbol: str, moves: tuple[float, ...], bars: int) -> None:
    """A quiet history, then a bar for each move (fractions), then quiet again; each bar goes straight to its close."""
    chance, (price, digits) = np.random.default_rng(1), PRICES[symbol]
    quiet = chance.normal(0, 0.0004, HISTORY_BARS + bars)
    quiet[HISTORY_BARS + 1 :: 2] = -quiet[HISTORY_BARS : quiet.size - 1 : 2]  # what goes up comes down again
    quiet[HISTORY_BARS : HISTORY_BARS + len(moves)] = moves
    close = np.round(price * np.exp(np.cumsum(quiet)) / np.exp(quiet[:HISTORY_BARS].sum()), digits)
    first = np.concatenate(([close[0]], close[:-1]))
    reach = np.where(np.abs(quiet) < 0.002, price * 0.0003, 0)
    frame = pl.DataFrame(
        {
            "open_time": DAY_MS + (np.arange(close.size) - HISTORY_BARS) * BAR_MS,
            "open": first,
            "high": np.round(np.maximum(first, close) + reach, digits),
            "low": np.round(np.minimum(first, close) - reach, digits),
            "close": close,
            "volume": np.full(close.size, np.round(30e6 / price)),
        }
    )
    frame.write_parquet(folder / f"{symbol}.parquet")


class Stage:
    """One trader on one account.

    Args:
        folder: empty; moves: of BTCUSDT's bars from the day's begin on, fractions; others: symbols beside it, quiet.
        bars, detail: how long the market goes on, a third of its points a bar; start_ms: when the trader starts.
        loaders: of the models that are loaded otherwise, by name; settings: what differs from ``SETTINGS``.

    Attributes:
        calls: what all models say from now on, by symbol.
        shown: what they were shown, by the moment and the number of its axes: 2 are features, 3 windows.
        loaders: of the models that are loaded otherwise, by name.
        life: the living trader; None while its process is gone.
    """

    def __init__(
        self,
        folder: Path,
        moves: tuple[float, ...] = (),
        *,
        others: tuple[str, ...] = (),
        bars: int = 150,
        detail: int = 30,
        loaders: dict[str, Callable[..., Any]] | None = None,
        start_ms: int = START_MS,
        **settings: str,
    ) -> None:
        self.symbols = ("BTCUSDT", *others)
        candles = folder / "candles"
        candles.mkdir()
        for symbol in self.symbols:
            write_candles(candles, symbol, moves if symbol == "BTCUSDT" else (), bars)
        self.world = World(1, self.symbols, replay=str(candles), start_ms=start_ms, detail=detail)
        self.weather = Script(self.world, 1)
        self.hands = Hands(self.world)
        known = load(None, {}, **{**SETTINGS, **settings, "QT_DATA_DIR": folder / "data"})
        self.operator = Operator(self.world, lambda: self.life)
        self.referee = Referee(self.world, self.weather, self.hands, known, self.operator.holds)
        self.referee.alive = lambda: self.life is not None
        self.calls: Mapping[str, str] = {}
        self.shown: dict[tuple[int, int], Any] = {}
        self.loaders: dict[str, Callable[..., Any]] = loaders or {}
        self.setup = Setup(seed=1, settings=known, symbols=self.symbols, load_model=self._model)
        self.arrived: list[tuple[Request, Any]] = []
        self.weather.observers.append(lambda request, reply: self.arrived.append((request, reply)))
        self.letters: list[DeadLetter] = []
        self.life: Life | None = None
        self._truth: tuple[int, Truth] | None = None
        self.world.after(0, self._tick)
        self.start()

    def _model(self, name: str, folder: Path, *, interval: str, feature_hash: str) -> tuple[Any, Any]:
        if name in self.loaders:
            return self.loaders[name](name, folder, interval=interval, feature_hash=feature_hash)
        manifest = msgspec.structs.replace(load_manifest(ARTIFACTS / f"{name}.json"), interval=interval)
        return manifest, Called(self)

    def _tick(self) -> None:
        self.world.advance()
        self.world.after(1_000, self._tick)

    # what happens

    def start(self) -> None:
        """Begin a process."""
        self.life = Life(self.world, self.weather, self.setup)
        self.life.runtime.on_dead_letter(self.letters.append)
        self.referee.begin_life()

    def kill(self) -> None:
        """End it as SIGKILL does."""
        assert self.life is not None
        self.life.kill()
        self.life = None

    def clear(self) -> None:
        """It is over."""
        if self.life is not None:
            self.kill()

    def on(self, method: str, path: str, **what: Any) -> Rule:
        """From now on this happens to such requests."""
        rule = Rule(method=method, path=path, **what)
        self.weather.rules.insert(0, rule)
        return rule

    def off(self, *rules: Rule) -> None:
        """These rules are over."""
        for rule in rules:
            self.weather.rules.remove(rule)

    def begin(self, kind: Kind, for_s: float) -> None:
        """A fault of the simulation's own kinds."""
        self.weather.begin(Fault(number=len(self.weather.happened) + 1, kind=kind, at_ms=0, for_ms=int(for_s * 1000)))

    def ask(self, method: str, path: str, **params: Any) -> Any:
        """Another hand on the same account."""
        reply = self.world.request(method, path, params)
        if "symbol" in params:
            self.hands.touched[params["symbol"]] = self.world.now_us
        return reply

    # time

    def pass_s(self, seconds: float) -> None:
        """Let so much time pass."""
        self._run(lambda: False, seconds)

    def leap(self, seconds: float) -> None:
        """Let so much time pass at once, with no trader there."""
        assert self.life is None
        self.world.now_us += round(seconds * 1e6)
        self.world.advance()

    def until(self, come: Callable[[], object], *, within_s: float = 900) -> None:
        """Let time pass until it has come."""
        assert self._run(lambda: bool(come()), within_s), f"not within {within_s} s"

    def _run(self, come: Callable[[], bool], seconds: float) -> bool:
        world, end_us = self.world, self.world.now_us + round(seconds * 1e6)
        while True:
            if come():
                return True
            until_us = min(world.due_us(), end_us)
            if self.life is None:
                world.now_us = until_us
            else:
                self.life.run_until(until_us, partial(self._is_due_before, until_us))
                assert not self.life.runtime.failed.is_set(), "the process has ended by itself"
            if world.now_us >= world.due_us():
                world.happen()
            self.referee.look()
            assert not self.referee.violations, self.referee.violations
            if world.now_us >= end_us and world.due_us() > end_us:
                return come()

    def _is_due_before(self, until_us: int) -> bool:
        return self.world.due_us() < until_us

    # what is so

    @property
    def truth(self) -> Truth:
        """The account as the exchange has it; what it is worth may be of a moment ago."""
        revision = self.world.exchange.exchange.engine.revision
        if self._truth is None or self._truth[0] != revision:
            self._truth = (revision, truth_of(self.world))
        return self._truth[1]

    def held(self, symbol: str = "BTCUSDT") -> Decimal:
        """Signed quantity on the exchange."""
        return next((p.quantity for p in self.truth.positions if p.symbol == symbol), Decimal(0))

    def stops(self, symbol: str = "BTCUSDT") -> list[Decimal]:
        """Quantities of the stops that stand."""
        return [o.quantity for o in self.truth.stops if o.symbol == symbol and o.kind == "STOP_MARKET"]

    def sent(self, method: str, path: str, **params: Any) -> list[Sent]:
        """What left the trader so far."""
        return [
            s for s in self.weather.sent if (s.method, s.path) == (method, path) and params.items() <= s.params.items()
        ]

    def entries(self) -> list[Sent]:
        """Market orders sent that do not only reduce."""
        return [s for s in self.sent("POST", ORDER) if "reduceOnly" not in s.params]

    def journal(self, question: str, **parameters: Any) -> list[dict[str, Any]]:
        """Rows of the journal."""
        return list(SqliteJournalReader(self.setup.journal).rows(question, parameters))

    def incidents(self) -> str:
        """Everything that was named, one a line."""
        return "\n".join(f"{r['kind']} {r['subject']}: {r['detail']}" for r in self.journal("incidents", limit=1000))

    def open_trades(self) -> list[Any]:
        """Of the journal."""
        return list(SqliteJournalReader(self.setup.journal).open_trades())

    # the usual scenes

    def enter(self, action: str = "BUY", symbol: str = "BTCUSDT") -> Decimal:
        """Call until a trade is open and armed; what is held then."""
        self.calls, before = {symbol: action}, len(self.entries())
        self.until(lambda: len(self.entries()) > before)
        self.until(lambda: any(t.phase == "open" and t.symbol == symbol for t in self.open_trades()))
        self.calls = {}
        return self.held(symbol)

    def ends_well(self, *, crashes: int = 0) -> None:
        """No crash but the planned ones, nothing bare, and the journal's books equal the exchange's."""
        self.weather.rules.clear()
        self.calls = {}
        assert self.life is not None
        self.pass_s(75)
        answer = self.life.question("root/venue/account", DrainRequested())
        self.until(lambda: answer.settled, within_s=60)
        self.pass_s(2)
        reader = SqliteJournalReader(self.setup.journal)
        assert not invariants.books_agree(books_of(self.world, reader, self.symbols, self.world.start_ms))
        assert sum(line.restarts for line in self.life.runtime.tree()) == crashes
        assert not [*self.life.runtime.lost(), *self.life.runtime.twice]
