"""What all tests share: where the real candles lie, and builders with defaults."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real candles beside the project; tests that need it are skipped where it is absent."""
    root = Path(os.environ.get("QT_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (root / "klines").is_dir():
        pytest.skip(f"no real candles at {root} (set QT_TEST_DATA)")
    return root
