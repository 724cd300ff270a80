"""Listens to every log line of a run for what must not be in it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


class Ear(logging.Handler):
    """Hears every line, tracebacks included, and prints none.

    Args:
        secrets: what must not be said, by name; told: hears the name and the line, with the secret left out.
    """

    def __init__(self, secrets: Mapping[str, str], told: Callable[[str, str], None]) -> None:
        super().__init__()
        self._secrets, self._told = secrets, told

    def emit(self, record: logging.LogRecord) -> None:
        """Hear a line."""
        text = self.format(record)
        for name, secret in self._secrets.items():
            if secret in text:
                self._told(name, text.replace(secret, f"<{name}>")[:300])


@contextmanager
def only(ear: Ear) -> Iterator[None]:
    """Let it be the only one who hears; a simulated crash is no news to anybody else."""
    root = logging.getLogger()
    handlers, level, disabled = root.handlers[:], root.level, root.manager.disable
    root.handlers[:] = [ear]
    root.setLevel(logging.INFO)
    logging.disable(logging.NOTSET)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.disable(disabled)
