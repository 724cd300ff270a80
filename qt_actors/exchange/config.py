"""What an exchange is started with, and the market and rules it makes of it."""

from __future__ import annotations

import gzip
import json
import math
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from qt_actors.exchange.candle_files import MarketDataError
from qt_actors.exchange.candles import CLOSE, VOLUME
from qt_actors.exchange.captured import CapturedMarket
from qt_actors.exchange.clock import SPEED_MAX
from qt_actors.exchange.faults.fault import Fault
from qt_actors.exchange.intervals import DAY_MS
from qt_actors.exchange.listing import ListedRules
from qt_actors.exchange.replay import ReplayMarket, decimals_of
from qt_actors.exchange.rule_table import symbol_info
from qt_actors.exchange.rules import RATE_LIMITS, ExchangeRules
from qt_actors.exchange.synthetic import SyntheticMarket

if TYPE_CHECKING:
    from qt_actors.exchange.history import MarketSource

FILE_BYTES_MAX: Final = 64 * 1024 * 1024
DEFAULT_KEY: Final = "paper"
SEED_MAX: Final = (1 << 63) - 1
WALLET_MAX: Final = 10**12
_STARTS: Final = range(31_536_000_000, 4_102_444_800_000)
ALT_COIN_TIERS: Final = [[50, 5000, "0.015"], [20, 25000, "0.025"], [10, 100000, "0.05"], [5, 250000, "0.1"],
                         [2, 1000000, "0.25"], [1, 3000000, "0.5"]]  # fmt: skip


class ExchangeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one exchange.

    Attributes:
        replay: folder of candle files, or a file of captured frames; None for the synthetic market.
        symbols: a list, "A,B" or "all" (synthetic: all symbols of the rules).
        seed: of the synthetic market and of every price path.
        start_ms: exchange time to begin at, ms UTC; None for the source's own.
        speed: exchange ms per real ms, > 0.
        paused: begin with exchange time standing still, until `/qt/resume`.
        host, port: where to listen; port 0 takes a free one.
        api_key, api_secret: the one account's credentials; the secret may be a public key in PEM (`signing`).
        wallet: starting balance in USDT.
        state_path: where the account and the market's time are kept; None keeps nothing.
        exchange_info, brackets, funding: files of real rules, leverage brackets and funding rates.
        detail: price path detail; None for what the speed leaves room for.
        request_weight_max, orders_minute_max, orders_ten_seconds_max: rate limits.
        faults: what shall go wrong (`exchange.faults`).
    """

    replay: str | None = None
    symbols: tuple[str, ...] | str = "all"
    seed: int = 1
    start_ms: int | None = None
    speed: float = 1.0
    paused: bool = False
    host: str = "127.0.0.1"
    port: int = 0
    api_key: str = DEFAULT_KEY
    api_secret: str = DEFAULT_KEY
    wallet: Decimal = Decimal(10_000)
    state_path: str | None = None
    exchange_info: str | None = None
    brackets: str | None = None
    funding: str | None = None
    detail: int | None = None
    request_weight_max: int = 2400
    orders_minute_max: int = 1200
    orders_ten_seconds_max: int = 300
    faults: tuple[Fault, ...] = ()

    def rate_limits(self) -> list[dict[str, Any]]:
        """The limits as exchangeInfo tells them."""
        most = (self.request_weight_max, self.orders_minute_max, self.orders_ten_seconds_max)
        return [{**limit, "limit": count} for limit, count in zip(RATE_LIMITS, most, strict=True)]


def read_json(path: Path, what: str) -> Any:
    """A JSON file, plain or gzipped.

    Raises:
        MarketDataError: it is missing, too large or no JSON.
    """
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise MarketDataError(f"{path}: {path.stat().st_size:,} bytes; {what} has at most {FILE_BYTES_MAX:,}")
        raw = path.read_bytes()
        return json.loads(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw)
    except (OSError, ValueError, EOFError) as reason:
        if isinstance(reason, MarketDataError):
            raise
        raise MarketDataError(f"{path}: cannot be read as {what} (JSON or JSON.gz): {reason}") from reason


def rules_of(config: ExchangeConfig) -> ExchangeRules:
    """The rules of the configured files, or the shipped table.

    Raises:
        MarketDataError: a file cannot be read.
        RulesError: a document lacks something.
    """
    if config.exchange_info is None and config.brackets is not None:
        raise MarketDataError(f"{config.brackets}: leverage brackets go with --exchange-info FILE; give both")
    if config.exchange_info is None:
        return ExchangeRules.default()
    info = read_json(Path(config.exchange_info), "exchangeInfo")
    brackets = None if config.brackets is None else read_json(Path(config.brackets), "leverage brackets")
    if not isinstance(info, dict) or not isinstance(brackets, list | None):
        raise MarketDataError(
            f"{config.exchange_info}: exchangeInfo is a JSON object and leverage brackets a JSON list, "
            "as the exchange answers them"
        )
    return ExchangeRules.from_exchange_info(info, brackets)


def source_of(config: ExchangeConfig, rules: ExchangeRules) -> MarketSource:
    """The configured market.

    Raises:
        MarketDataError: the folder, a file, a symbol or a number cannot be used.
    """
    _check_numbers(config)
    if config.replay is not None:
        if Path(config.replay).is_file():
            return CapturedMarket(Path(config.replay))
        return ReplayMarket(Path(config.replay), config.symbols, config.seed)
    if isinstance(config.symbols, str):
        named = (name.strip() for name in config.symbols.upper().split(","))
        wanted = tuple(rules.symbols) if config.symbols == "all" else tuple(dict.fromkeys(filter(None, named)))
    else:
        wanted = tuple(symbol.upper() for symbol in config.symbols)
    if not wanted:
        raise MarketDataError("symbols: none is named; give A,B or all")
    unknown = [symbol for symbol in wanted if symbol not in rules.symbols]
    if unknown:
        raise MarketDataError(
            f"symbols: {', '.join(unknown)} are not among the {len(rules.symbols)} symbols of the rules, "
            f"such as {min(rules.symbols)}; name those or give --exchange-info FILE"
        )
    return SyntheticMarket(config.seed, [rules.symbols[symbol] for symbol in wanted], start_ms=config.start_ms)


def _check_numbers(config: ExchangeConfig) -> None:
    for name, value, allowed, well in (
        ("speed", config.speed, f"a number above 0 and up to {SPEED_MAX:,.0f}", 0 < config.speed <= SPEED_MAX),
        ("seed", config.seed, f"a whole number from 0 to {SEED_MAX:,}", 0 <= config.seed <= SEED_MAX),
        ("wallet", config.wallet, f"0 to {WALLET_MAX:,} USDT", 0 <= config.wallet <= WALLET_MAX),
        ("from", config.start_ms, "a time from 1971 to 2099", config.start_ms is None or config.start_ms in _STARTS),
    ):
        if not well:
            raise MarketDataError(f"--{name} {value} is not allowed; give {allowed}")


def market_rules(rules: ExchangeRules, source: MarketSource) -> ListedRules:
    """The rules of the source's symbols, in its order; symbols the rules do not know get ones made of their candles."""
    missing = [row for row, symbol in enumerate(source.symbols) if symbol not in rules.symbols]
    made: dict[str, Any] = {}
    if missing:
        info = {"symbols": [_made_info(source, row) for row in missing]}
        made = dict(ExchangeRules.from_exchange_info(info, None).symbols)
    return ListedRules({symbol: rules.symbols.get(symbol) or made[symbol] for symbol in source.symbols})


def _made_info(source: MarketSource, row: int) -> dict[str, Any]:
    """An exchangeInfo row for an unknown symbol: tick by its prices' decimals, step by its volumes' and its price.

    A step is worth between 0.001 and 10 USDT; filters and brackets are a small alt-coin's.
    """
    end = int(source.end_of_ms[row]) if int(source.end_of_ms[row]) <= source.end_ms else source.default_start_ms
    start = max(int(source.first_ms[row]), end - DAY_MS) // source.interval_ms * source.interval_ms
    candles = source.read(start, end, [row]).data[:, 0]
    closes = candles[CLOSE][~np.isnan(candles[VOLUME])]
    price = float(np.median(closes)) if closes.size else 1.0
    level = max(0, math.ceil(math.log10(price)))
    volumes = candles[VOLUME][~np.isnan(candles[VOLUME])]
    digits = min(max(level - 1, decimals_of(volumes[:, None]) if volumes.size else 0), level + 3, 8)
    tick = f"{Decimal(1).scaleb(-int(source.decimals[row])):f}"
    step = f"{Decimal(1).scaleb(-digits):f}"
    return symbol_info(
        source.symbols[row],
        {
            "onboard": int(source.first_ms[row]),
            "digits": [int(source.decimals[row]), digits],
            "price": [tick, tick, f"{1000 * price:.0f}" if price > 1 else "1000"],
            "lot": [step, step, f"{round(10_000_000 / price) + 1}", f"{round(1_000_000 / price) + 1}"],
            "notional": "5",
            "band": ["1.1500", "0.8500"],
            "protect": ["0.1500", "0.15"],
            "liquidation": "0.015000",
            "kind": [],
            "tiers": ALT_COIN_TIERS,
        },
    )
