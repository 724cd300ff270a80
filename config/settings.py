"""Environment variables (SPEC 16), validated once and frozen.

An unknown or invalid value stops the start: one line a fault, naming the variable, the value and what is allowed.
Variables the trader does not own are left alone; those that begin with ``QT_`` or ``RM_`` are ours.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any, Literal

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from config.profiles import NO_PROFILE, PROFILES, Profile

OWN_PREFIXES = ("QT_", "RM_")
TOKEN_LENGTH_MIN = 16
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
IDLE = frozenset({
    "event_driven", "use_testnet", "continuous_learning", "retrain_samples_min", "retrain_interval_hours",
    "model_supervisor_interval_s", "portfolio_balancer_interval_s",
})  # fmt: skip
"""Checked, and not used yet: what reads them joins with a later version."""
INTERVALS_MS = {
    "1m": 60_000,
    "3m": 180_000,
    "5m": 300_000,
    "15m": 900_000,
    "30m": 1_800_000,
    "1h": 3_600_000,
    "2h": 7_200_000,
    "4h": 14_400_000,
    "6h": 21_600_000,
    "8h": 28_800_000,
    "12h": 43_200_000,
    "1d": 86_400_000,
}
Interval = Literal["1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d"]
AiModel = Literal["ensemble", "xgb", "lgbm", "nhits", "patchtst"]


class SettingsError(ValueError):
    """Bad configuration; ``lines`` holds one line a fault."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        """Keep the lines; the text is all of them."""
        super().__init__("\n".join(lines))
        self.lines = lines


def _env(name: str, default: Any, **limits: Any) -> Any:
    return Field(default=default, alias=name, **limits)


class Settings(BaseModel):
    """All variables of SPEC 16. Fractions inside (0.015 = 1.5 %), money in USDT."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=False, allow_inf_nan=False)

    ai_model: AiModel = _env("AI_MODEL", "ensemble")
    event_driven: bool = _env("QT_EVENT_DRIVEN_MODE", True)
    confidence_threshold: float | None = _env("QT_CONFIDENCE_THRESHOLD", None, ge=0.0, le=1.0)
    check_interval_s: int = _env("QT_CHECK_INTERVAL", 10, ge=1, le=3600)
    cooldown_s: int = _env("QT_COOLDOWN_SECONDS", 120, ge=0, le=86_400)
    position_usd_max: float = _env("RM_MAX_POSITION_USD", 5000.0, gt=0)
    position_usd_min: float = _env("RM_MIN_POSITION_USD", 20.0, gt=0)
    risk_per_trade: float = _env("RM_RISK_PER_TRADE_PCT", 0.015, gt=0, le=0.05)
    risk_max: float = _env("RM_MAX_RISK_PCT", 0.03, gt=0, le=0.05)
    high_confidence_multiplier: float = _env("RM_HIGH_CONF_MULT", 2.0, gt=0, le=5)
    low_confidence_multiplier: float = _env("RM_LOW_CONF_MULT", 0.3, ge=0, le=1)
    concurrent_trades_max: int = _env("RM_MAX_CONCURRENT_TRADES", 10, ge=1, le=222)
    leverage_default: int = _env("QT_DEFAULT_LEVERAGE", 30, ge=1, le=125)
    positions_max: int = _env("QT_MAX_POSITIONS", 10, ge=1, le=222)
    daily_loss_usd_max: float = _env("QT_MAX_DAILY_LOSS", 1500.0, gt=0)
    gross_notional_usd_max: float = _env("QT_MAX_GROSS_NOTIONAL", 45_000.0, gt=0)
    losing_streak_max: int = _env("QT_MAX_LOSING_STREAK", 5, ge=1, le=100)
    tp_pct: float = _env("QT_TP_PCT", 0.06, gt=0, le=0.5)
    sl_pct: float = _env("QT_SL_PCT", 0.08, gt=0, le=0.5)
    trail_pct: float = _env("QT_TRAIL_PCT", 0.02, ge=0.001, le=0.2)
    partial_tp: float = _env("QT_PARTIAL_TP", 0.5, ge=0.5, le=0.8)
    stop_mode: Literal["atr", "percent"] = _env("QT_STOP_MODE", "atr")
    confidence_scale: Literal["conviction", "probability"] = _env("QT_CONFIDENCE_SCALE", "conviction")
    holding_bars_max: int = _env("QT_MAX_HOLDING_BARS", 48, ge=1, le=1000)
    bar_interval: Interval = _env("QT_BAR_INTERVAL", "1h")
    atr_interval: Interval = _env("QT_ATR_INTERVAL", "4h")
    universe_max: int = _env("QT_UNIVERSE_MAX", 222, ge=1, le=222)
    volume_24h_usd_min: float = _env("QT_MIN_VOLUME_24H", 1_000_000.0, ge=0)
    paper_feed: Literal["embedded", "binance"] = _env("QT_PAPER_FEED", "embedded")
    paper_wallet_usd: float = _env("QT_PAPER_WALLET", 10_000.0, gt=0)
    http_host: str = _env("QT_HTTP_HOST", "127.0.0.1", description="an IP address of this machine or a host name")
    http_port: int = _env("QT_HTTP_PORT", 8000, ge=0, le=65_535)
    api_token: SecretStr | None = _env(
        "QT_API_TOKEN", None, description=f"{TOKEN_LENGTH_MIN} or more printable ASCII characters, none of them a space"
    )
    data_dir: Path = _env("QT_DATA_DIR", Path("var"))
    models_dir: Path | None = _env("QT_MODELS_DIR", None)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = _env("QT_LOG_LEVEL", "INFO")
    testnet_api_key: SecretStr | None = _env("BINANCE_TESTNET_API_KEY", None)
    testnet_api_secret: SecretStr | None = _env("BINANCE_TESTNET_SECRET_KEY", None)
    api_key: SecretStr | None = _env("BINANCE_API_KEY", None)
    api_secret: SecretStr | None = _env("BINANCE_SECRET_KEY", None)
    use_testnet: bool = _env("USE_BINANCE_TESTNET", True)
    continuous_learning: bool = _env("QT_CONTINUOUS_LEARNING", True)
    retrain_samples_min: int = _env("QT_MIN_SAMPLES_FOR_RETRAIN", 50, ge=1)
    retrain_interval_hours: int = _env("QT_RETRAIN_INTERVAL_HOURS", 24, ge=1)
    model_supervisor_interval_s: int = _env("QT_MODEL_SUPERVISOR_INTERVAL", 300, ge=10)
    portfolio_balancer_interval_s: int = _env("QT_PORTFOLIO_BALANCER_INTERVAL", 60, ge=5)
    profile_name: Literal["SAFE", "AGGRESSIVE", "NONE"] = _env("ORCHESTRATOR_PROFILE", "SAFE")

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_absent(cls, value: Any, info: Any) -> Any:
        """An empty value (``QT_API_TOKEN=``) means the default."""
        return cls.model_fields[info.field_name].default if value == "" else value

    @field_validator("api_token")
    @classmethod
    def _token_is_strong(cls, token: SecretStr | None) -> SecretStr | None:
        """Whoever has it can close every position; it travels in an HTTP header."""
        text = token.get_secret_value() if token else None
        if text is not None and (len(text) < TOKEN_LENGTH_MIN or not all("!" <= c <= "~" for c in text)):
            raise ValueError("too weak")
        return token

    @field_validator("http_host")
    @classmethod
    def _host_is_a_host(cls, host: str) -> str:
        """No port, no scheme, no number out of range; whether it is this machine's shows when it is bound."""
        try:
            ipaddress.ip_address(host)
        except ValueError:
            if not _HOST_NAME.fullmatch(host) or len(host) > 253 or host.replace(".", "").isdigit():
                raise ValueError("no host") from None
        return host

    @model_validator(mode="after")
    def _limits_agree(self) -> Settings:
        """Relations between limits that no single field can check."""
        if self.position_usd_min > self.position_usd_max:
            msg = "RM_MIN_POSITION_USD must not be above RM_MAX_POSITION_USD"
            raise ValueError(msg)
        if self.risk_per_trade > self.risk_max:
            msg = "RM_RISK_PER_TRADE_PCT must not be above RM_MAX_RISK_PCT"
            raise ValueError(msg)
        if INTERVALS_MS[self.atr_interval] % INTERVALS_MS[self.bar_interval]:
            msg = "QT_ATR_INTERVAL must be a multiple of QT_BAR_INTERVAL"
            raise ValueError(msg)
        return self

    @property
    def profile(self) -> Profile:
        """The chosen profile."""
        return PROFILES.get(self.profile_name, NO_PROFILE)

    @property
    def interval_ms(self) -> int:
        """Length of the trader's bar."""
        return INTERVALS_MS[self.bar_interval]


def allowed(field: str) -> str:
    """What a variable allows, in words, from its own declaration; ``field`` is its name in ``Settings``."""
    info = Settings.model_fields[field]
    if info.description:
        return info.description
    options = getattr(info.annotation, "__args__", None)
    if getattr(info.annotation, "__origin__", None) is Literal and options:
        return "one of " + ", ".join(map(str, options))
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    limits = [f"{sign} {getattr(m, name):g}" for m in info.metadata for name, sign in signs.items() if hasattr(m, name)]
    kind = {float: "a number", int: "a whole number", bool: "true or false"}.get(info.annotation, "")  # type: ignore[arg-type] # annotations are plain classes here
    if not kind and options:
        kind = "a number" if float in options else "text"
    return " ".join([kind or "text", " and ".join(limits)]).strip()


SECRETS = frozenset(f.alias or n for n, f in Settings.model_fields.items() if "Secret" in str(f.annotation))


def _faults(error: ValidationError, values: Mapping[str, str]) -> tuple[str, ...]:
    names = {f.alias: n for n, f in Settings.model_fields.items()}
    lines = []
    for fault in error.errors():
        if not fault["loc"]:
            lines.append(f"configuration: {fault['msg'].removeprefix('Value error, ')}")
            continue
        alias = str(fault["loc"][0])
        shown = "***" if alias in SECRETS else repr(values.get(alias, ""))
        lines.append(f"{alias}={shown} is not allowed: {allowed(names[alias])}")
    return tuple(dict.fromkeys(lines))


def _read(env_file: Path) -> dict[str, str]:
    try:
        text = env_file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError((f"{env_file} cannot be read: {why}; write it anew from .env.example",)) from None
    faults: list[str] = []
    first: dict[str, int] = {}
    for bound in parse_stream(StringIO(text)):  # a line's text may be a secret: it is never shown
        line = bound.original.line + len(bound.original.string) - len(bound.original.string.lstrip("\r\n"))
        if bound.error:
            faults.append(f"{env_file} line {line} is not NAME=value; see .env.example")
        elif bound.key and bound.key in first:
            faults.append(f"{env_file} line {line}: {bound.key} stands in line {first[bound.key]} already; keep one")
        elif bound.key and not bound.value:
            faults.append(f"{env_file} line {line}: {bound.key} is empty; give it a value or delete the line")
        if bound.key:
            first.setdefault(bound.key, line)
    if faults:
        raise SettingsError(tuple(faults))
    return {name: value or "" for name, value in dotenv_values(stream=StringIO(text)).items()}


def load(env_file: Path | None = Path(".env"), environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Read ``.env`` and the environment (which wins) into ``Settings``; ``overrides`` by variable name win over both.

    Raises:
        SettingsError: unknown or invalid values, one line each.
    """
    environ = os.environ if environ is None else environ
    known = {f.alias for f in Settings.model_fields.values()}
    from_file = _read(env_file) if env_file and env_file.exists() else {}
    from_env = {k: v for k, v in environ.items() if k in known or k.startswith(OWN_PREFIXES)}
    values = {**from_file, **from_env, **{k: str(v) for k, v in overrides.items() if v is not None}}
    unknown = []
    for name in sorted(set(values) - known):
        near = difflib.get_close_matches(name, [k for k in known if k], 1)
        hint = f"; did you mean {near[0]}?" if near else "; see .env.example for all variables"
        unknown.append(f"{name} is not a variable of this trader{hint}")
        values.pop(name)
    if values.get("AI_MODEL") == "hybrid":
        values["AI_MODEL"] = "ensemble"
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError((*unknown, *_faults(error, values))) from None
    if unknown:
        raise SettingsError(tuple(unknown))
    return settings


def warnings(environ: Mapping[str, str], settings: Settings) -> tuple[str, ...]:
    """What is allowed but worth a line at the start: renamed values, and variables that change nothing."""
    fields = Settings.model_fields
    changed = [f for f in sorted(IDLE & settings.model_fields_set) if getattr(settings, f) != fields[f].default]
    return (
        *(("AI_MODEL=hybrid is taken as ensemble",) if environ.get("AI_MODEL") == "hybrid" else ()),
        *(f"{fields[f].alias} has no effect in this version" for f in changed),
    )
