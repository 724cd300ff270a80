"""What a trader that leaves can truthfully say of the positions that stay."""

from __future__ import annotations

from qt_actors.decisions.protection import covered_quantity
from qt_actors.messages.positions import AccountSnapshot


def cover_text(snapshot: AccountSnapshot | None) -> tuple[str, bool]:
    """Return one line on what stays open and what covers it, and whether all of it is well; None = not known."""
    if snapshot is None:
        return (
            "which positions stay open, and whether stops on the exchange cover them, is NOT known",
            False,
        )
    held, bare = snapshot.positions, []
    for position in held:
        size, have = abs(position.quantity), covered_quantity(position, snapshot.conditionals)
        if have < size:
            bare.append(f"{position.symbol} ({size - have:f} of {size:f})")
    if not held:
        return "no position is open", True
    stay = "1 position stays open" if len(held) == 1 else f"{len(held)} positions stay open"
    if bare:
        return f"{stay}, {len(bare)} NOT covered by a stop on the exchange: {', '.join(bare)}", False
    return f"{stay}, all covered by stops on the exchange: {', '.join(p.symbol for p in held)}", True
