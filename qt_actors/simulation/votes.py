"""Votes drawn from a seed, in place of a model's: mostly of one mind, so that many entries are wanted."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.registry import ARTIFACTS, BUY, HOLD, SELL, Manifest, load_manifest

CALLED: Final = 0.6
"""Share of symbols and bars on which the models have an opinion."""
DISSENT: Final = 0.1


class SeededVotes:
    """``ports.Model``: what is called depends on seed, bar and row only; each model dissents now and then."""

    def __init__(self, seed: int, name: str, interval_ms: int, now_ms: Callable[[], int]) -> None:
        """Keep what the votes follow from."""
        self._seed = seed
        self._name = name
        self._interval_ms = interval_ms
        self._now_ms = now_ms

    @property
    def version(self) -> str:
        """Says that it is no model."""
        return f"seeded-{self._seed}"

    def probabilities(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32[N, 3] (SELL, HOLD, BUY)."""
        bar = self._now_ms() // self._interval_ms
        found = np.full((len(rows), 3), 0.02, np.float32)
        for row in range(len(rows)):
            shared = random.Random(f"{self._seed}/{bar}/{row}")  # noqa: S311 -- repeatable votes, no secret
            own = random.Random(f"{self._seed}/{bar}/{row}/{self._name}")  # noqa: S311 -- as above
            called = shared.choice((SELL, BUY)) if shared.random() < CALLED else HOLD
            found[row, own.choice((SELL, HOLD, BUY)) if own.random() < DISSENT else called] = 0.96
        return found


def seeded_votes(seed: int, interval_ms: int, now_ms: Callable[[], int]) -> Callable[..., tuple[Manifest, SeededVotes]]:
    """The loader of such votes; kind, inputs and thresholds are those of the shipped models."""

    def load(name: str, _folder: Path, *, interval: str, **_: Any) -> tuple[Manifest, SeededVotes]:
        manifest = msgspec.structs.replace(load_manifest(ARTIFACTS / f"{name}.json"), interval=interval)
        return manifest, SeededVotes(seed, name, interval_ms, now_ms)

    return load
