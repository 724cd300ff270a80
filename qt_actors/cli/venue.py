"""Which exchange a run trades on: embedded, one that runs elsewhere, the testnet; never real money by accident."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from config.settings import Settings
from qt_actors.edges.binance_client import Credentials
from qt_actors.edges.endpoints import TESTNET, EndpointError, Endpoints
from qt_actors.edges.exchange_clock import RemoteClock, SharedClock
from qt_actors.exchange.candle_files import MarketDataError
from qt_actors.exchange.config import DEFAULT_KEY, ExchangeConfig, rules_of, source_of
from qt_actors.exchange.rules import RulesError
from qt_actors.exchange.server import ServedExchange, serve_in_thread
from qt_actors.exchange.state import StateError
from qt_actors.kernel import Clock, WallClock
from qt_actors.wiring import haste_of

MODELS_SETTLE_MS = 2 * 86_400_000
"""A replay begins after what the models were trained on when at least two days of it are left."""


class StartError(Exception):
    """The trader cannot start; the text is one line for the user."""

    def __init__(self, line: str, *, wrong_usage: bool = False) -> None:
        """``wrong_usage``: exit code 2 instead of 1."""
        super().__init__(line)
        self.wrong_usage = wrong_usage


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What ``qt run`` was asked for."""

    mode: Literal["paper", "testnet", "live"] = "paper"
    replay: Path | None = None
    start_ms: int | None = None
    symbols: str = "all"
    speed: float = 60.0
    duration_s: float | None = None
    exchange_url: str | None = None
    seed: int = 1
    fresh: bool = False
    exchange_info: Path | None = None
    brackets: Path | None = None
    funding: Path | None = None
    same_account: bool = False


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a request comes to, looked at from every side and nothing touched yet."""

    market: str
    """Name shown everywhere: ``synthetic seed 1``, ``replay FOLDER``, ``testnet``."""
    account: str | None = None
    """Id of the account as the exchange tells it; None for the embedded one, which keeps its account with us."""
    state_market: str = ""
    """Embedded: identity of the market in the account's file."""
    clock: RemoteClock | None = None


class Venue(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange to trade on."""

    market: str
    account: str
    endpoints: Endpoints
    credentials: Credentials | None
    clock: Clock
    serve: Callable[[], ServedExchange] | None
    """Embedded only: the first call hands out the exchange already started."""
    served: ServedExchange | None = None
    account_now: Callable[[], str] | None = None
    """Exchange elsewhere: the id of the account it has by now; another one means that it was started anew."""


def market_name(request: RunRequest) -> str:
    """Return the name of the embedded market asked for, the same for every way to spell it."""
    chosen = "" if request.symbols == "all" else " " + ",".join(sorted(set(wanted_symbols(request.symbols))))
    if request.replay is not None:
        return f"replay {request.replay.resolve()}{chosen}"
    return f"synthetic seed {request.seed}{chosen}"


def wanted_symbols(text: str) -> list[str]:
    """Return the names in ``A,B``."""
    return [name.strip().upper() for name in text.split(",") if name.strip()]


def plan_of(settings: Settings, request: RunRequest) -> Plan:
    """Look at everything that can be wrong with a request before anything of an earlier run is touched.

    Raises:
        StartError: with the one line that says why.
    """
    if request.mode == "live":
        raise StartError("--mode live is refused: it needs a passed `qt doctor`, which this version does not have")
    if request.mode == "testnet":
        key = settings.testnet_api_key
        if key is None or settings.testnet_api_secret is None:
            line = "--mode testnet needs BINANCE_TESTNET_API_KEY and BINANCE_TESTNET_SECRET_KEY (in .env)"
            raise StartError(line, wrong_usage=True)
        return Plan(market="testnet", account=sha256(key.get_secret_value().encode()).hexdigest()[:16])
    if settings.paper_feed == "binance":
        line = "QT_PAPER_FEED=binance is not available in this version; allowed now is embedded"
        raise StartError(line, wrong_usage=True)
    if request.exchange_url is not None:
        endpoints = loopback(request.exchange_url)
        try:
            clock = RemoteClock(endpoints.rest)
        except OSError as error:
            line = f"--exchange-url {request.exchange_url}: no embedded exchange answers there ({error})"
            raise StartError(f"{line}; start one with: qt exchange") from None
        return Plan(market=f"exchange {endpoints.rest} ({clock.market})", account=clock.account, clock=clock)
    try:
        config = exchange_config(settings, request)
        source = source_of(config, rules_of(config))
    except (MarketDataError, RulesError, ValueError) as error:
        raise StartError(str(error), wrong_usage=True) from None
    return Plan(market=market_name(request), state_market=source.identity)


def venue_of(settings: Settings, request: RunRequest, plan: Plan, held_out_ms: int | None) -> Venue:
    """Return the venue, the embedded exchange already serving.

    ``held_out_ms`` is the end of what the models were trained and calibrated on; a replay begins there when it can.

    Raises:
        StartError: with the one line that says why.
    """
    key, secret = settings.testnet_api_key, settings.testnet_api_secret
    if request.mode == "testnet" and plan.account and key is not None and secret is not None:
        credentials = Credentials(key.get_secret_value(), secret.get_secret_value())
        return Venue(
            market=plan.market,
            account=plan.account,
            endpoints=TESTNET,
            credentials=credentials,
            clock=WallClock(),
            serve=None,
        )
    if request.mode != "paper":
        raise StartError(f"--mode {request.mode} is refused")  # never past here with real money, whoever calls
    paper, clock = Credentials(DEFAULT_KEY, DEFAULT_KEY), plan.clock
    if request.exchange_url is not None and clock is not None:
        return Venue(
            market=plan.market,
            account=clock.account,
            endpoints=loopback(request.exchange_url),
            credentials=paper,
            clock=clock,
            serve=None,
            account_now=lambda: clock.account,
        )
    return _embedded(settings, request, plan.market, paper, held_out_ms)


def loopback(url: str) -> Endpoints:
    """Return the endpoints of an embedded exchange.

    Raises:
        StartError: not an http URL, or one of a real exchange.
    """
    try:
        parts = urlsplit(url)
        base = f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"
        return Endpoints("loopback", base, base, base.replace("http", "ws", 1))
    except (EndpointError, ValueError) as error:
        raise StartError(f"--exchange-url {url}: {error}; give http://127.0.0.1:PORT", wrong_usage=True) from None


def _embedded(settings: Settings, request: RunRequest, name: str, paper: Credentials, held_out_ms: int | None) -> Venue:
    config = exchange_config(settings, request)
    try:
        if request.replay is not None and request.start_ms is None and held_out_ms is not None:
            source = source_of(config, rules_of(config))
            if source.default_start_ms < held_out_ms < source.end_ms - MODELS_SETTLE_MS:
                config = msgspec.structs.replace(config, start_ms=held_out_ms)
        served = serve_in_thread(config)
    except (MarketDataError, RulesError, StateError, ValueError) as error:
        raise StartError(str(error), wrong_usage=True) from None
    except OSError as error:
        raise StartError(f"the embedded exchange cannot listen: {error}") from None
    fixed = msgspec.structs.replace(config, port=served.port)
    first = [served]
    return Venue(
        market=name,
        account=served.account,
        endpoints=loopback(f"http://127.0.0.1:{served.port}"),
        credentials=paper,
        clock=SharedClock(served.clock.now_ms, config.speed),
        serve=lambda: first.pop() if first else serve_in_thread(fixed),
        served=served,
    )


def exchange_config(settings: Settings, request: RunRequest) -> ExchangeConfig:
    """Return the settings of the embedded exchange."""
    return ExchangeConfig(
        replay=None if request.replay is None else str(request.replay),
        symbols=request.symbols,
        seed=request.seed,
        start_ms=request.start_ms,
        speed=request.speed,
        wallet=Decimal(str(settings.paper_wallet_usd)),
        state_path=str(settings.data_dir / "exchange.json"),
        request_weight_max=int(2400 * haste_of(request.speed)),
        orders_minute_max=int(1200 * haste_of(request.speed)),
        orders_ten_seconds_max=int(300 * haste_of(request.speed)),
        exchange_info=None if request.exchange_info is None else str(request.exchange_info),
        brackets=None if request.brackets is None else str(request.brackets),
        funding=None if request.funding is None else str(request.funding),
    )
