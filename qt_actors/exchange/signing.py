"""Who sent this request: API key, signature, timestamp.

The signature covers query string and body as they were sent, without the signature itself. Clients that percent-encode
on the wire but sign the plain text (python-binance does, except for the symbol) are accepted as on the real exchange:
the raw text, the decoded text and the decoded text with an encoded symbol are all tried.

An account's secret is a text (HMAC-SHA256, hex) or a public key in PEM: RSA (PKCS#1 v1.5 over SHA-256) or Ed25519,
both with a base64 signature, which clients percent-encode once, twice (python-binance in a form) or not (in JSON).
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, unquote_plus

from Crypto.Hash import SHA256
from Crypto.PublicKey import ECC, RSA
from Crypto.Signature import eddsa, pkcs1_15

from qt_actors.exchange.errors import ExchangeError, refusal
from qt_actors.exchange.params import integer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from qt_actors.exchange.clock import ExchangeClock

RECV_WINDOW_DEFAULT_MS: Final = 5000
RECV_WINDOW_MAX_MS: Final = 60_000
KEY_LENGTH_MAX: Final = 256
PEM: Final = "-----BEGIN "


def check_key(sent: str | None, api_key: str) -> None:
    """-2014 without a key or with an impossible one, -2015 with another's; both are HTTP 401."""
    if not sent or len(sent) > KEY_LENGTH_MAX or not sent.isascii() or not sent.isprintable():
        raise ExchangeError(-2014, "API-key format invalid.", 401)
    if not hmac.compare_digest(sent, api_key):
        raise ExchangeError(-2015, "Invalid API-key, IP, or permissions for action.", 401)


def check_signature(query: str, body: str, api_secret: str) -> None:
    """-1102 when there is no signature, -1022 when it fits none of the accepted texts."""
    query_rest, from_query = _without_signature(query)
    body_rest, from_body = _without_signature(body)
    raw = query_rest + body_rest
    sent = unquote_plus(from_body or from_query)
    check_text((raw, unquote_plus(raw), _symbol_encoded(raw)), sent, api_secret)


def check_text(texts: Iterable[str], signature: str, api_secret: str) -> None:
    """-1102 when there is no signature, -1022 when it fits none of the texts that may have been signed."""
    if not signature:
        raise refusal(-1102, "signature")
    if any(_fits(api_secret, text.encode(), signature) for text in dict.fromkeys(texts)):
        return
    raise ExchangeError(-1022, "Signature for this request is not valid.")


@lru_cache(maxsize=16)
def public_key(secret: str) -> RSA.RsaKey | ECC.EccKey | None:
    """The key of a PEM text; None for a secret that is none.

    Raises:
        ValueError: it begins as a PEM text and is no public key of RSA or Ed25519.
    """
    if not secret.startswith(PEM):
        return None
    key: RSA.RsaKey | ECC.EccKey | None = None
    for read in (RSA.import_key, ECC.import_key):
        with suppress(ValueError):
            key = key or read(secret)
    if key is None or (isinstance(key, ECC.EccKey) and key.curve != "Ed25519"):
        raise ValueError("is no public key of RSA or Ed25519 in PEM")
    if key.has_private():
        raise ValueError("is a private key; give the public one")
    return key


def _fits(secret: str, text: bytes, signature: str) -> bool:
    """Whether that secret, or the private half of that public key, signed the text."""
    key = public_key(secret)
    if key is None:
        made = hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()
        return hmac.compare_digest(made.encode(), signature.lower().encode())
    try:
        plain = b64decode(unquote(signature).replace(" ", "+"), validate=True)  # a plus sign reads as a space in a form
        if isinstance(key, RSA.RsaKey):
            pkcs1_15.new(key).verify(SHA256.new(text), plain)
        else:
            eddsa.new(key, "rfc8032").verify(text, plain)
    except ValueError:
        return False
    return True


def check_time(params: Mapping[str, str], clock: ExchangeClock) -> None:
    """-1102 without a timestamp, -1131 for a window over a minute, -1021 outside of it (rule: clock.py)."""
    timestamp = integer(params, "timestamp")
    if timestamp is None:
        raise refusal(-1102, "timestamp")
    window = integer(params, "recvWindow")
    if window is None:
        window = RECV_WINDOW_DEFAULT_MS
    if not 0 <= window <= RECV_WINDOW_MAX_MS:
        raise ExchangeError(-1131, "recvWindow must be less than 60000.")
    reason = clock.refusal(timestamp, window)
    if reason is not None:
        raise ExchangeError(-1021, reason)


def _without_signature(text: str) -> tuple[str, str]:
    """A form-encoded text without its signature, and the signature."""
    kept, found = [], ""
    for part in text.split("&") if text else ():
        if part.startswith("signature="):
            found = part.removeprefix("signature=")
        else:
            kept.append(part)
    return "&".join(kept), found


def _symbol_encoded(raw: str) -> str:
    return "&".join(part if part.startswith("symbol=") else unquote_plus(part) for part in raw.split("&"))
