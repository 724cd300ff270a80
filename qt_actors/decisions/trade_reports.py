"""What is told of a trade when it opens and when it ends."""

from __future__ import annotations

from decimal import Decimal

from qt_actors.decisions.texts import HELD, exited, price
from qt_actors.decisions.trade_state import UNPROTECTED
from qt_actors.messages.positions import ProtectPosition, TradeClosed, TradeOpened, TradeState


def opened_report(trade: TradeState, now_ms: int) -> TradeOpened:
    """Return the report of a trade whose entry has just filled."""
    return TradeOpened(
        decision_id=trade.decision_id,
        symbol=trade.symbol,
        side=trade.side,
        quantity=trade.filled,
        entry_price=trade.entry_price,
        decision_price=trade.decision_price,
        stop_price=trade.stop_price,
        target_price=trade.target_price,
        confidence=trade.confidence,
        leverage=trade.leverage,
        risk_usd=trade.risk_usd,
        opened_ms=now_ms,
        adopted=trade.adopted,
    )


def closed_report(trade: TradeState, now_ms: int) -> TradeClosed:
    """Return the report of a trade that is flat; slippage against us is positive, in bps of the decision price."""
    exit_price = trade.exit_notional / trade.exited if trade.exited and trade.exit_notional else Decimal(0)
    sign = 1 if trade.side == "BUY" else -1
    slip = (
        sign * float((trade.entry_price - trade.decision_price) / trade.decision_price) if trade.decision_price else 0.0
    )
    return TradeClosed(
        decision_id=trade.decision_id,
        symbol=trade.symbol,
        side=trade.side,
        quantity=trade.filled,
        entry_price=trade.entry_price,
        exit_price=exit_price,
        opened_ms=trade.opened_ms,
        closed_ms=now_ms,
        exit_reason=trade.exits[-1] if trade.exits else "external",  # type: ignore[arg-type] # exits hold ExitReason texts
        exits=trade.exits,
        realized_usd=trade.realized_usd,
        commission_usd=trade.commission_usd,
        risk_usd=trade.risk_usd,
        slippage_bps=slip * 1e4,
        mfe_pct=trade.mfe_pct,
        mae_pct=trade.mae_pct,
        confidence=trade.confidence,
        adopted=trade.adopted,
        complete=trade.complete,
    )


def placed_line(trade: TradeState, trace: str) -> str:
    """Return the log line of an accepted entry (SPEC 10.5)."""
    return (
        f"ORDER PLACED {trade.symbol} {trade.side} {price(trade.quantity)} @ {price(trade.decision_price)} "
        f"conf={trade.confidence:.2f} stop={price(trade.stop_price)} trace={trace}"
    )


def stop_given_up(before: TradeState | None, trade: TradeState) -> str:
    """Return why a trade is to be closed for want of a stop, once: when that has just been decided."""
    kind, _, why = trade.close_wanted.partition(": ")
    return why if kind == UNPROTECTED and (before is None or not before.close_wanted) else ""


def adopted_text(trade: TradeState, found: ProtectPosition) -> str:
    """Return what is said of a position that somebody else has opened and that is ours to protect now."""
    stop = f"stop at {price(trade.stop_price)}"
    if found.missing_quantity:
        stop += f"; {price(found.missing_quantity)} of it had no stop"
    return f"{HELD[trade.side]} {price(trade.filled)}, opened from outside; {stop}"


def closed_line(trade: TradeClosed) -> str:
    """Return the log line of a trade that is flat; funding may still be told, so the result is without it."""
    result = trade.realized_usd - trade.commission_usd
    how = " then ".join(map(exited, trade.exits)) or exited(trade.exit_reason)
    what = f"TRADE CLOSED {trade.symbol} {HELD[trade.side]} {price(trade.quantity)} {how}"
    if not trade.complete:
        return f"{what}; its result is not known in full"
    return (
        f"{what} @ {trade.exit_price:,.8g}: {result:+,.2f} USDT after fees, before funding, "
        f"held {(trade.closed_ms - trade.opened_ms) / 3_600_000:.1f} h"
    )
