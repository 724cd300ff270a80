"""Stream frames of Binance USDⓈ-M, decoded by type : candles, marks, quotes, user data."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from qt_actors.messages.base import Message, Side
from qt_actors.messages.orders import ConditionalUpdated, Fill, OrderUpdated
from qt_actors.messages.positions import BalanceChanged

ZERO = Decimal(0)


class Envelope(msgspec.Struct, frozen=True):
    """Any frame: a combined one has ``stream`` and ``data``, a raw one ``e``, an acknowledgement ``id``."""

    stream: str = ""
    data: msgspec.Raw = msgspec.Raw(b"")
    e: str = ""
    id: int | None = None
    error: Any = None


class Candle(msgspec.Struct, frozen=True):
    """``k`` of a kline frame; ``x`` is true once, when the candle has closed."""

    t: int
    o: float
    h: float
    low: float = msgspec.field(name="l")
    c: float
    v: float
    x: bool


class KlineFrame(msgspec.Struct, frozen=True):
    """``<symbol>@kline_<interval>``."""

    s: str
    k: Candle


class MarkFrame(msgspec.Struct, frozen=True):
    """``<symbol>@markPrice@1s``: mark price, funding rate, next settlement."""

    E: int
    s: str
    p: float
    r: float
    T: int


class QuoteFrame(msgspec.Struct, frozen=True):
    """``<symbol>@bookTicker``: best bid and ask with their quantities."""

    E: int
    s: str
    b: float
    B: float
    a: float
    A: float


class OrderBody(msgspec.Struct, frozen=True):
    """``o`` of ORDER_TRADE_UPDATE."""

    s: str
    c: str
    S: Side
    o: str
    q: Decimal
    x: str
    X: str
    i: int
    last: Decimal = msgspec.field(name="l")
    z: Decimal
    T: int
    ot: str = ""
    ap: Decimal = ZERO
    L: Decimal = ZERO
    N: str | None = None
    n: Decimal | None = None
    t: int = 0
    m: bool = False
    R: bool = False
    rp: Decimal = ZERO
    er: str = ""


class OrderFrame(msgspec.Struct, frozen=True):
    """ORDER_TRADE_UPDATE."""

    o: OrderBody


class AlgoBody(msgspec.Struct, frozen=True):
    """``o`` of ALGO_UPDATE; what is only known after the trigger may be absent."""

    caid: str
    aid: int
    o: str
    s: str
    S: Side
    q: Decimal
    X: str
    ai: str = ""
    aq: str = ""
    tp: str = ""
    R: bool = False
    rm: str | None = None


class AlgoFrame(msgspec.Struct, frozen=True):
    """ALGO_UPDATE."""

    T: int
    o: AlgoBody


class BalanceRow(msgspec.Struct, frozen=True):
    """``B`` of ACCOUNT_UPDATE: asset and wallet."""

    a: str
    wb: Decimal


class AccountBody(msgspec.Struct, frozen=True):
    """``a`` of ACCOUNT_UPDATE."""

    m: str
    B: tuple[BalanceRow, ...] = ()


class AccountFrame(msgspec.Struct, frozen=True):
    """ACCOUNT_UPDATE."""

    T: int
    a: AccountBody


envelope = msgspec.json.Decoder(Envelope).decode
kline = msgspec.json.Decoder(KlineFrame, strict=False).decode
mark = msgspec.json.Decoder(MarkFrame, strict=False).decode
quote = msgspec.json.Decoder(QuoteFrame, strict=False).decode
_order = msgspec.json.Decoder(OrderFrame, strict=False).decode
_algo = msgspec.json.Decoder(AlgoFrame, strict=False).decode
_account = msgspec.json.Decoder(AccountFrame, strict=False).decode


def user_messages(event: str, frame: bytes) -> tuple[Message, ...]:
    """Messages of one user-data event; none for kinds the trader has no use for.

    Raises:
        msgspec.DecodeError: the frame is not of its kind's shape.
    """
    convert = _USER.get(event)
    return convert(frame) if convert is not None else ()


def _order_updated(frame: bytes) -> tuple[Message, ...]:
    body = _order(frame).o
    return (
        OrderUpdated(
            client_id=body.c,
            symbol=body.s,
            order_id=body.i,
            side=body.S,
            order_type=body.o,
            original_type=body.ot or body.o,
            execution=body.x,
            status=body.X,
            quantity=body.q,
            executed_quantity=body.z,
            average_price=body.ap,
            reduce_only=body.R,
            time_ms=body.T,
            fill=_fill(body) if body.last and body.t else None,
            expiry_reason="" if body.er == "0" else body.er,
        ),
    )


def _fill(body: OrderBody) -> Fill:
    return Fill(
        symbol=body.s,
        trade_id=body.t,
        order_id=body.i,
        client_id=body.c,
        side=body.S,
        price=body.L,
        quantity=body.last,
        commission=body.n or ZERO,
        commission_asset=body.N or "",
        realized_pnl=body.rp,
        maker=body.m,
        time_ms=body.T,
    )


def _conditional_updated(frame: bytes) -> tuple[Message, ...]:
    event = _algo(frame)
    body = event.o
    return (
        ConditionalUpdated(
            client_id=body.caid,
            symbol=body.s,
            algo_id=body.aid,
            side=body.S,
            kind=body.o,
            status=body.X,
            quantity=body.q,
            trigger_price=_decimal(body.tp),
            reduce_only=body.R,
            time_ms=event.T,
            child_id=int(body.ai) if body.ai and body.ai != "0" else None,
            executed_quantity=_decimal(body.aq),
            reason=body.rm or "",
        ),
    )


def _decimal(text: str) -> Decimal:
    return Decimal(text) if text else ZERO


def _balance_changed(frame: bytes) -> tuple[Message, ...]:
    event = _account(frame)
    return tuple(
        BalanceChanged(wallet_usd=row.wb, reason=event.a.m, time_ms=event.T) for row in event.a.B if row.a == "USDT"
    )


_USER: dict[str, Callable[[bytes], tuple[Message, ...]]] = {
    "ORDER_TRADE_UPDATE": _order_updated,
    "ALGO_UPDATE": _conditional_updated,
    "ACCOUNT_UPDATE": _balance_changed,
}
