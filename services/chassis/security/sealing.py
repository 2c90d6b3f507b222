"""Encryption at rest: texts sealed with AES-256-GCM under keys that rotate; the first seals, all open.

A sealed text is `sealed.1.<key id>.<nonce and ciphertext>`: it says which key it wants and nothing else. Two seals of
one text differ.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.chassis import ids
from services.chassis.errors import Unsealable

_PREFIX: Final = "sealed.1."
_KEY_ID_CHARS: Final = 8
_NONCE_BYTES: Final = 12
_PURPOSE: Final = b"order-saga at rest v1"


class Sealer:
    """Seals and opens texts."""

    def __init__(self, secrets: Sequence[str]) -> None:
        """Take the secrets that keys derive from, the newest first."""
        if not secrets:
            raise ValueError("at least one secret is needed")
        keys = [hmac.digest(secret.encode(), _PURPOSE, hashlib.sha256) for secret in secrets]
        self._keys = {_key_id(key): AESGCM(key) for key in reversed(keys)}
        self._newest = _key_id(keys[0])

    def __repr__(self) -> str:
        return f"Sealer({len(self._keys)} keys)"

    def seal(self, text: str) -> str:
        """Return the text sealed with the newest key."""
        nonce = ids.random_bytes(_NONCE_BYTES)
        sealed = self._keys[self._newest].encrypt(nonce, text.encode(), _PURPOSE)
        return f"{_PREFIX}{self._newest}.{base64.urlsafe_b64encode(nonce + sealed).decode()}"

    def open(self, sealed: str) -> str:
        """Return what was sealed; Unsealable without its key, or if a bit of it has changed."""
        key_id, dot, rest = sealed.removeprefix(_PREFIX).partition(".")
        key = self._keys.get(key_id)
        if not is_sealed(sealed) or key is None or not dot:
            raise Unsealable
        try:
            raw = base64.b64decode(rest, altchars=b"-_", validate=True)
            if base64.urlsafe_b64encode(raw).decode() != rest:
                raise Unsealable  # another spelling of the same bytes is another text
            return key.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _PURPOSE).decode()
        except (InvalidTag, binascii.Error, ValueError):
            raise Unsealable from None

    def is_newest(self, sealed: str) -> bool:
        """Whether this was sealed with the key that seals now."""
        return sealed.startswith(f"{_PREFIX}{self._newest}.")


def is_sealed(text: str) -> bool:
    """Whether a text claims to be sealed; no JSON text begins like that."""
    return text.startswith(_PREFIX)


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"key id" + key).hexdigest()[:_KEY_ID_CHARS]
