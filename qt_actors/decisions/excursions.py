"""Best and worst excursion of open trades (MFE, MAE), from quotes."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from qt_actors.messages.market import QuotesUpdated
from qt_actors.messages.positions import TradeState


def excursions(trades: Mapping[str, TradeState], quotes: QuotesUpdated) -> dict[str, TradeState]:
    """Return the trades whose extreme moved; fractions of the entry price, MFE ≥ 0 ≥ MAE.

    ``changed_ms`` stays: an excursion changes nothing that a reconciliation compares.
    """
    moved: dict[str, TradeState] = {}
    rows = {s: i for i, s in enumerate(quotes.symbols)} if trades else {}
    for symbol, trade in trades.items():
        row = rows.get(symbol)
        if row is None or trade.phase not in {"arming", "open", "closing"} or not trade.entry_price:
            continue
        mark = float(quotes.mark[row])
        if not np.isfinite(mark):
            continue
        gain = (mark / float(trade.entry_price) - 1.0) * (1 if trade.side == "BUY" else -1)
        if gain > trade.mfe_pct or gain < trade.mae_pct:
            moved[symbol] = msgspec.structs.replace(
                trade, mfe_pct=max(gain, trade.mfe_pct), mae_pct=min(gain, trade.mae_pct)
            )
    return moved
