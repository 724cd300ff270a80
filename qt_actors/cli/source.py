"""Where a view reads: the HTTP API of the running trader, else the journal it left."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Final
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import ProxyHandler, build_opener

from qt_actors.cli.tenancy import address_of, tenant

if TYPE_CHECKING:
    from config.settings import Settings
    from qt_actors.edges.journal_queries import SqliteJournalReader

TIMEOUT_S: Final = 3.0
ANSWER_BYTES_MAX: Final = 32 * 1024 * 1024

Json = dict[str, Any]


class NotRunningError(Exception):
    """No trader answers, though one may hold the data folder; one line."""


class RefusedError(Exception):
    """The trader answered no; its one line."""


class Trader:
    """The running trader's API."""

    def __init__(self, settings: Settings) -> None:
        """Take the address of whoever uses the data folder, else the settings'; nothing is sent yet."""
        self._folder, self._tenant = settings.data_dir, tenant(settings.data_dir)
        self.url = (self._tenant and self._tenant.url) or address_of(settings)
        self._opener = build_opener(ProxyHandler({}))  # a proxy of the environment must not see the loopback

    @property
    def holds(self) -> bool:
        """Whether a trader held the data folder when it was looked for."""
        return self._tenant is not None

    def ask(self, path: str) -> Json:
        """Return the JSON object at ``path``.

        Raises:
            NotRunningError: nothing answers there, or not a trader.
            RefusedError: it answered with an error.
        """
        try:
            with self._opener.open(self.url + quote(path, safe="/?=&"), timeout=TIMEOUT_S) as answer:
                body = answer.read(ANSWER_BYTES_MAX)
        except HTTPError as error:
            body = error.read(ANSWER_BYTES_MAX)
            if error.code != 503 or path != "/health":
                raise RefusedError(self._line(body, error)) from None
        except (OSError, HTTPException, ValueError) as error:  # ValueError: a host that no URL can name
            reason = getattr(error, "reason", error)
            reason = getattr(reason, "strerror", None) or reason
            raise NotRunningError(self._absent(f"{reason}")) from None
        return self._object(body)

    def _absent(self, reason: str) -> str:
        """Return what it means that nothing answers: who holds the folder lives, whatever it does."""
        if self._tenant is None:
            return f"no trader answers at {self.url} ({reason})"
        process = self._tenant.process
        end = f"end process {process} (kill -9 {process})" if process else "end it"
        return (
            f"a trader holds {self._folder} but does not answer at {self.url} ({reason}): it may hang, or just start "
            f"or stop; ask again, read its log, and if it stays so {end} and start qt run again"
        )

    def _object(self, body: bytes) -> Json:
        try:
            told = json.loads(body)
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise NotRunningError(f"{self.url} answers, but not as a trader does; is another program on that port?")
        return told

    def _line(self, body: bytes, error: HTTPError) -> str:
        try:
            return str(self._object(body).get("error") or error)
        except NotRunningError as foreign:
            return str(foreign)


def journal_of(settings: Settings) -> SqliteJournalReader:
    """Return the reader of the journal in ``QT_DATA_DIR``."""
    from qt_actors.edges.journal import FILE_NAME  # noqa: PLC0415 # its messages import numpy: not while a trader runs
    from qt_actors.edges.journal_queries import SqliteJournalReader  # noqa: PLC0415 # as above

    return SqliteJournalReader(settings.data_dir / FILE_NAME)


def numbers(row: Mapping[str, Any]) -> Json:
    """Return a journal row with the texts of money and quantity as numbers, as the API tells them."""
    from qt_actors.edges.web.views import money  # noqa: PLC0415 # not needed while a trader runs

    return money([dict(row)])[0]
