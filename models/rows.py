"""Rows as the fits take them: what a model sees, what happened next, and how much the row counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class FeatureRows(NamedTuple):
    """Rows of indicators: float32[N, F], int64[N] labels (0 SELL, 1 HOLD, 2 BUY), float32[N] weights of mean 1."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    weights: NDArray[np.float32]


class WindowRows(NamedTuple):
    """Rows of windows, gathered when asked for because they overlap.

    Attributes:
        gather: row indices int64[n] to float32[n, L, C].
        labels, weights: as in ``FeatureRows``.
        paths: float32[N, H], cumulated return 1..H bars ahead in units of the window's volatility; NaN past the end
            of data.
    """

    gather: Callable[[NDArray[np.int64]], NDArray[np.float32]]
    labels: NDArray[np.int64]
    weights: NDArray[np.float32]
    paths: NDArray[np.float32]
