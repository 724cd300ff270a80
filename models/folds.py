"""Walk-forward spans by time over all symbols alike: a symbol split would leak, since returns move together.

::

    | train ... | purge + embargo | calibration | purge + embargo | test |

A label that reaches over the edge of the next span, or ends less than the embargo before it, is in none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


class FoldEdges(NamedTuple):
    """Begin of the calibration span, begin and end of the test span, ms UTC; ``train_ms`` begins training."""

    calibration_ms: int
    test_ms: int
    end_ms: int
    train_ms: int = 0


class Fold(NamedTuple):
    """Row numbers by use, int64 ascending."""

    train: Rows
    calibration: Rows
    test: Rows


def expanding_edges(first_test_ms: int, end_ms: int, *, test_ms: int, calibration_ms: int) -> tuple[FoldEdges, ...]:
    """Edges of consecutive test spans from ``first_test_ms`` to ``end_ms``, a calibration span just before each.

    The last span may be shorter; one of less than half the length joins none and is left out.
    """
    if min(test_ms, calibration_ms) <= 0:
        raise ValueError(f"test span {test_ms} ms and calibration span {calibration_ms} ms must be above 0")
    starts = range(first_test_ms, end_ms - test_ms // 2, test_ms)
    return tuple(FoldEdges(start - calibration_ms, start, min(start + test_ms, end_ms)) for start in starts)


def walk_forward(t0_ms: Rows, t1_ms: Rows, edges: Sequence[FoldEdges], embargo_ms: int) -> tuple[Fold, ...]:
    """Split rows, whose labels live from ``t0_ms`` to ``t1_ms`` (int64[N]), at the given edges.

    Raises:
        ValueError: edges out of order, or a negative embargo.
    """
    if embargo_ms < 0:
        raise ValueError(f"embargo {embargo_ms} ms must be at least 0")
    folds = []
    for edge in edges:
        if not edge.train_ms < edge.calibration_ms < edge.test_ms < edge.end_ms:
            raise ValueError(f"{edge}: train, calibration, test and end must follow each other in time")
        train = (t0_ms >= edge.train_ms) & (t1_ms < edge.calibration_ms - embargo_ms)
        calibration = (t0_ms >= edge.calibration_ms) & (t1_ms < edge.test_ms - embargo_ms)
        test = (t0_ms >= edge.test_ms) & (t0_ms < edge.end_ms)
        folds.append(Fold(np.flatnonzero(train), np.flatnonzero(calibration), np.flatnonzero(test)))
    return tuple(folds)
