"""Which symbol somebody means: ``btcusdt``, ``BTC/USDT``, ``BTC/USDT:USDT``, ``BTC-USDT``, ``BTCUSDT.P``, ``BTC``."""

from __future__ import annotations

import re
from collections.abc import Collection
from difflib import get_close_matches
from typing import Final

NEAREST: Final = 4
"""Names told."""
_QUOTE: Final = "USDT"


def spellings(text: str) -> tuple[str, ...]:
    """Return the exchange's names that may be meant, the likeliest first; none when nothing is left of the text."""
    head = re.split(r"[:.]", text.upper(), maxsplit=1)[0]
    name = "".join(c for c in head if c.isalnum())
    base = name.removesuffix(_QUOTE)
    if not base:
        return ()
    return tuple(dict.fromkeys((name, base + _QUOTE, f"1000{base}{_QUOTE}")))


def nearest(text: str, known: Collection[str]) -> str:
    """Return ``; nearest: BTCUSDT, ...`` for a line about a name that is not known, or how many there are."""
    names = spellings(text) or ("",)
    near = [found for name in names[:2] for found in get_close_matches(name, known, NEAREST, cutoff=0.7)]
    if near:
        return f"; nearest: {', '.join(list(dict.fromkeys(near))[:NEAREST])}"
    shown, more = sorted(known)[:NEAREST], len(known) - NEAREST
    return f"; there are {', '.join(shown)}{f' and {more} more' if more > 0 else ''}" if shown else ""
