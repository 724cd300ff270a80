"""What ``make run`` starts: honcho on the Procfile, whose end is 0 when somebody asked for it.

After Ctrl-C or SIGTERM honcho ends with 130 or 143, however orderly its processes stopped; make calls that an error.
"""

from __future__ import annotations

import signal
import sys

from honcho.command import main

ASKED_FOR = {128 + signal.SIGINT, 128 + signal.SIGTERM}


def run() -> int:
    """Run all processes until one ends or a signal comes; return the exit code."""
    sys.argv[1:] = ["start", "--no-prefix"]  # each line has its own clock and name
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        return 0 if code in ASKED_FOR else code
    return 0


if __name__ == "__main__":
    raise SystemExit(run())
