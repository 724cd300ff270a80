"""Chance without a generator: splitmix64 hashes of what is drawn for, the same on every machine, in any order."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2: Final = np.uint64(0x94D049BB133111EB)


def symbol_key(symbol: str, seed: int = 0) -> int:
    """A 64-bit key of a symbol, the same on every machine."""
    digest = hashlib.blake2b(f"{seed}:{symbol}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def uniforms(keys: NDArray[np.uint64], opens: NDArray[np.int64], count: int, salt: int) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1), shape (n, count), by hashing (key, open time, index, salt)."""
    lane = np.arange(1, count + 1, dtype=np.uint64) + np.uint64(salt << 32)
    with np.errstate(over="ignore"):  # wrapping around is what a hash does
        state = (keys ^ (opens.astype(np.uint64) * _MIX_2))[:, None] + lane[None, :] * _GOLDEN
    return unit(_finish(state))


def mixed(values: NDArray[np.uint64], key: int) -> NDArray[np.uint64]:
    """Hashes of 64-bit values under a key."""
    with np.errstate(over="ignore"):
        return _finish((values + np.uint64(1)) * _GOLDEN ^ np.uint64(key))


def unit(hashes: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Hashes as numbers in [0, 1)."""
    return np.asarray((hashes >> np.uint64(11)) * 2.0**-53, dtype=np.float64)


def _finish(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        state = (state ^ (state >> np.uint64(30))) * _MIX_1
        state = (state ^ (state >> np.uint64(27))) * _MIX_2
    return state ^ (state >> np.uint64(31))
