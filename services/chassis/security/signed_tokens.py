"""Signed tokens: url-safe texts that prove where they come from.

They are signed, not encrypted: whoever holds one can read its payload. A token is the id of its key, an HMAC of 160
bits, and the payload.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import Final

from services.chassis.errors import NotFound

_KEY_ID_BYTES: Final = 4
_MAC_BYTES: Final = 20
_TOKEN_CHARS_MAX: Final = 1_024
_PURPOSE: Final = b"order-saga sealed token v1"
"""Its words are older than this module's: with others, no link that is out already would hold."""


def sign_token(secrets: Sequence[str], payload: bytes) -> str:
    """Return the token of a payload, signed by the first secret; the same for the same payload."""
    key = _derived(secrets[0])
    return _spelled(_key_id(key) + _mac(key, payload) + payload)


def read_token(secrets: Sequence[str], token: str) -> bytes:
    """Return the payload of a token that one of the secrets has signed; NotFound for any other."""
    if len(token) > _TOKEN_CHARS_MAX or not re.fullmatch(r"[A-Za-z0-9_-]+", token):
        raise NotFound
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (binascii.Error, ValueError):
        raise NotFound from None
    key_id, mac = raw[:_KEY_ID_BYTES], raw[_KEY_ID_BYTES : _KEY_ID_BYTES + _MAC_BYTES]
    payload = raw[_KEY_ID_BYTES + _MAC_BYTES :]
    for secret in secrets:
        key = _derived(secret)
        if hmac.compare_digest(_key_id(key), key_id) and hmac.compare_digest(_mac(key, payload), mac):
            if _spelled(raw) != token:
                break  # another spelling of the same bytes is another token
            return payload
    raise NotFound


def _spelled(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _derived(secret: str) -> bytes:
    return hmac.digest(secret.encode(), _PURPOSE, hashlib.sha256)


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"key id" + key).digest()[:_KEY_ID_BYTES]


def _mac(key: bytes, payload: bytes) -> bytes:
    return hmac.digest(key, payload, hashlib.sha256)[:_MAC_BYTES]
