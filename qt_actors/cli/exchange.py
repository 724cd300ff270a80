"""``qt exchange``: the embedded exchange alone, for any Binance USDⓈ-M client."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qt_actors.cli.run import parse_time
from qt_actors.cli.say import wrong_usage

if TYPE_CHECKING:
    from qt_actors.exchange.config import ExchangeConfig


def exchange(
    replay: Annotated[
        Path | None, typer.Option(help="Folder of SYMBOL.parquet or Binance's CSV/zip dumps; or a file of raw frames.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = 9000,
    host: Annotated[str, typer.Option(help="Where to listen; loopback unless told otherwise.")] = "127.0.0.1",
    speed: Annotated[float, typer.Option(help="Exchange seconds a second; 1000000: as fast as it can.")] = 1.0,
    paused: Annotated[bool, typer.Option(help="Begin with time standing still, until /qt/resume or /qt/step.")] = False,
    symbols: Annotated[str, typer.Option(help="A,B or all.")] = "all",
    from_: Annotated[str | None, typer.Option("--from", help="Market time to begin at: 2025-04-01 or ms.")] = None,
    seed: Annotated[int, typer.Option(help="Of the synthetic market and of every price path.")] = 1,
    wallet: Annotated[float, typer.Option(min=0, help="Starting balance in USDT.")] = 10_000,
    api_key: Annotated[str, typer.Option(help="The one account's key.")] = "paper",
    api_secret: Annotated[str, typer.Option(help="Its secret.")] = "paper",  # noqa: S107 # play money
    api_public_key: Annotated[
        Path | None, typer.Option(help="Its public key instead of a secret, PEM: RSA or Ed25519 signatures.")
    ] = None,
    state: Annotated[Path | None, typer.Option(help="File that keeps the account and the market's time.")] = None,
    exchange_info: Annotated[Path | None, typer.Option(help="exchangeInfo JSON(.gz): real symbol rules.")] = None,
    brackets: Annotated[Path | None, typer.Option(help="leverageBracket JSON(.gz) to go with it.")] = None,
    funding: Annotated[Path | None, typer.Option(help="Funding, Parquet: symbol, funding_time, funding_rate.")] = None,
    faults: Annotated[Path | None, typer.Option(help="What shall go wrong, a JSON object a line; see above.")] = None,
) -> None:
    """Serve the exchange until Ctrl-C: REST and streams on one port, Binance's protocol.

    Time: GET /qt/clock; POST /qt/pause, /qt/resume, /qt/step?bars=1 or ?ms=500, /qt/speed?value=60, /qt/seek?to=MS.
    Rules: python -m pydoc qt_actors.exchange.control

    Faults: a line such as {"kind": "unknown_executed", "method": "POST", "path": "/fapi/v1/order", "times": 1}.
    While it runs, /qt/faults lists (GET), adds (POST) and clears (DELETE) them. All kinds and fields:
    python -m pydoc qt_actors.exchange.faults
    """
    from qt_actors.exchange.config import ExchangeConfig  # noqa: PLC0415 # this command only
    from qt_actors.exchange.entry import run  # noqa: PLC0415
    from qt_actors.exchange.faults.reading import FaultsError, read_faults  # noqa: PLC0415
    from qt_actors.wiring import haste_of  # noqa: PLC0415

    if api_public_key is not None:
        api_secret = _read_key(api_public_key)
    try:
        wrong_on_purpose = () if faults is None else read_faults(faults)
    except FaultsError as wrong:
        wrong_usage(str(wrong))
    config = ExchangeConfig(
        replay=None if replay is None else str(replay),
        symbols=symbols,
        seed=seed,
        start_ms=parse_time(from_),
        speed=speed,
        paused=paused,
        host=host,
        port=port,
        api_key=api_key,
        api_secret=api_secret,
        wallet=Decimal(str(wallet)),
        state_path=None if state is None else str(state),
        request_weight_max=int(2400 * haste_of(speed)),
        orders_minute_max=int(1200 * haste_of(speed)),
        orders_ten_seconds_max=int(300 * haste_of(speed)),
        exchange_info=None if exchange_info is None else str(exchange_info),
        brackets=None if brackets is None else str(brackets),
        funding=None if funding is None else str(funding),
        faults=wrong_on_purpose,
    )
    raise typer.Exit(run(config, partial(_announce, config), partial(typer.echo, err=True)))


def _announce(config: ExchangeConfig, line: str) -> None:
    """Say what is served; of a folder replayed from its beginning also what our models know of it."""
    from qt_actors.cli.heldout import held_out_ms, seen_text  # noqa: PLC0415 # reads the models' manifests

    typer.echo(line)
    from_its_beginning = config.replay and Path(config.replay).is_dir() and config.start_ms is None
    if from_its_beginning and (seen := seen_text(None, held_out_ms(None))):
        typer.echo(seen)


def _read_key(path: Path) -> str:
    from qt_actors.exchange.signing import public_key  # noqa: PLC0415 # this command only

    try:
        text = path.read_text("ascii").strip()
        known = public_key(text)
    except (OSError, ValueError) as reason:
        wrong_usage(f"--api-public-key {path}: {reason}")
    if known is None:
        wrong_usage(f"--api-public-key {path}: begins with no -----BEGIN PUBLIC KEY-----")
    return text


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(exchange)
