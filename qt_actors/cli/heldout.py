"""Until when the models at hand have seen candles, and what that says of a replay."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from models.registry import ARTIFACTS, MODEL_NAMES, ModelFileError, load_manifest


def held_out_ms(models_dir: Path | None) -> int | None:
    """Return the end of what the models at hand were trained and calibrated on; None without a readable manifest."""
    ends = []
    for name in MODEL_NAMES:
        try:
            manifest = load_manifest((models_dir or ARTIFACTS) / f"{name}.json")
        except ModelFileError:
            continue
        ends.append(max(manifest.train.to_ms, manifest.calibration.to_ms))
    return max(ends, default=None)


def seen_text(begins_ms: int | None, held_ms: int | None) -> str:
    """Return whether a replay that begins then shows the models candles that they know; empty without models."""
    if held_ms is None:
        return ""
    until = datetime.fromtimestamp(held_ms / 1000, UTC).strftime("%Y-%m-%d")
    known = f"the models were trained and calibrated on candles until {until}"
    if begins_ms is None or begins_ms < held_ms:
        return f"{known}: --from {until} begins after them"
    return f"{known}: these are new to them"
