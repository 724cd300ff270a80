"""One trader a data folder: the lock that it holds, and where the trader that holds it answers."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from config.settings import Settings

FILE_NAME: Final = "lock"
EVERYWHERE: Final = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 # compared with, not bound to
LOCK_BYTES_MAX: Final = 400


class FolderError(Exception):
    """The data folder cannot be used, or another trader uses it; one line."""

    def __init__(self, line: str, *, wrong_usage: bool) -> None:
        super().__init__(line)
        self.wrong_usage = wrong_usage


def address_of(settings: Settings) -> str:
    """Return where a trader with these settings answers on this machine."""
    host = "127.0.0.1" if settings.http_host in EVERYWHERE else settings.http_host
    return f"http://[{host}]:{settings.http_port}" if ":" in host else f"http://{host}:{settings.http_port}"


@contextmanager
def sole_user(settings: Settings) -> Iterator[None]:
    """Make the data folder and hold its lock; the system frees it whatever becomes of us.

    Our address and process number stand in it.

    Raises:
        FolderError: the folder cannot be made or written, or another trader holds it.
    """
    folder = settings.data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / FILE_NAME).open("ab", buffering=0)
    except OSError as error:
        line = f"QT_DATA_DIR={folder} cannot be used: {error.strerror}; give a folder that can be written"
        raise FolderError(line, wrong_usage=True) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            line = f"another qt run uses {folder}; stop it or give another QT_DATA_DIR"
            raise FolderError(line, wrong_usage=False) from None
        with suppress(OSError):  # on a full disk the views go by the settings
            lock.truncate(0)
            lock.write(f"{address_of(settings)}\n{os.getpid()}\n".encode())
        yield


class Tenant(NamedTuple):
    """Who uses a data folder now; what could not be written into its lock (a full disk) is empty."""

    url: str
    process: str


def tenant(data_dir: Path) -> Tenant | None:
    """Return the trader that holds this folder now; None when none does."""
    try:
        with (data_dir / FILE_NAME).open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                url, _, process = lock.read(LOCK_BYTES_MAX).decode(errors="replace").partition("\n")
                return Tenant(url.strip(), process.strip())
    except OSError:  # none there, or not ours to read
        return None
    return None
