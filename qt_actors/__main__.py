"""``python -m qt_actors`` and the ``qt`` command."""

from __future__ import annotations

import io
import os
import sys


def main() -> None:
    """Run the command line; exit codes: 0 well, 1 found a problem, 2 wrong usage."""
    from qt_actors.cli.app import app  # noqa: PLC0415 # no work at import: `qt --help` stays quick

    _open_outputs()
    try:
        app()
    except OSError as error:  # the output cannot be written: a full disk, a device that went away
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 # what is left is flushed there
        sys.stderr.write(f"qt: {error}\n")
        os._exit(1)


def _open_outputs() -> None:
    """Make the outputs take every character, and exist: a terminal may be plain ASCII, a shell may close them."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 # open as long as we run
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


if __name__ == "__main__":
    main()
