"""``python -m qt_actors`` and the ``qt`` command."""

from __future__ import annotations


def main() -> None:
    """Run the command line; exit codes: 0 well, 1 found a problem, 2 wrong usage."""
    from qt_actors.cli.app import app  # noqa: PLC0415 # no work at import: `qt --help` stays quick

    app()


if __name__ == "__main__":
    main()
