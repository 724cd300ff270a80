"""The bearer token that control needs: the operator's own, or one made at this start and left for its owner to read."""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path
from typing import Final

FILE_NAME: Final = "api-token"


class TokenFileError(OSError):
    """The token's file cannot be written; one line: which, why, what to do."""


def token_of(configured: str | None, data_dir: Path) -> str:
    """Return ``QT_API_TOKEN``, or make one and write it to ``data_dir/api-token``, readable by its owner alone.

    Raises:
        TokenFileError: the file cannot be written.
    """
    if configured:
        return configured
    made = secrets.token_urlsafe(32)
    path = data_dir / FILE_NAME
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # an old one may be readable by others, or a link to elsewhere
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(made + "\n")
    except OSError as error:
        what = "a folder stands in its place" if path.is_dir() else error.strerror
        line = f"{path}: the control token cannot be written there ({what}); move it away or set QT_API_TOKEN"
        raise TokenFileError(line) from None
    return made


def is_bearer(header: str | None, token: str) -> bool:
    """Tell whether the Authorization header carries the token; takes as long for a near miss as for a far one."""
    scheme, _, given = (header or "").partition(" ")
    return hmac.compare_digest(given.strip().encode(), token.encode()) and scheme.lower() == "bearer"
