"""Room that is kept for the day the disk is full: a start then still has its journal, to protect what is open.

The recorder keeps entries off on a disk as full as that, and the journal of exits needs far less than is kept.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

LOG = logging.getLogger("qt")
FILE_NAME: Final = "reserve"
RESERVE_BYTES: Final = 8 << 20
CRAMPED_BYTES: Final = 2 << 20
"""With less than this free a start would not come to its first order."""
AMPLE_BYTES: Final = 128 << 20
"""With less than this free the disk's room is left to others."""


def keep_room(data_dir: Path, free_bytes: Callable[[Path], int]) -> None:
    """Give the reserve to a full disk; lay it in where there is ample room. Never a reason not to start."""
    file = data_dir / FILE_NAME
    try:
        free = free_bytes(data_dir)
        if free < CRAMPED_BYTES and file.exists():
            file.unlink()
            LOG.error("the disk of %s is full: its reserve of %d MiB is used up now", data_dir, RESERVE_BYTES >> 20)
        elif free > AMPLE_BYTES and not file.exists():
            file.write_bytes(secrets.token_bytes(RESERVE_BYTES))  # no zeros: some file systems store none of them
    except OSError as error:
        LOG.warning("no room is kept for a full disk in %s: %s", data_dir, error.strerror)
