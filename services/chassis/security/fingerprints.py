"""Fingerprints of requests: they tell two requests apart without storing them, and reveal nothing without a key.

A plain hash of an address could be recognised by anybody who knows the address. So a fingerprint is an HMAC under a key
derived from ENCRYPTION_KEYS. The first key makes new fingerprints; those of older keys are recognised while they are
listed.
"""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

_PURPOSE: Final = b"order-saga fingerprints v1"


class Fingerprints:
    """Makes fingerprints."""

    def __init__(self, secrets: Sequence[str]) -> None:
        """Take the secrets that keys derive from, the newest first."""
        if not secrets:
            raise ValueError("at least one secret is needed")
        self._keys = [hmac.digest(secret.encode(), _PURPOSE, hashlib.sha256) for secret in secrets]

    def __repr__(self) -> str:
        return f"Fingerprints({len(self._keys)} keys)"

    def of(self, content: bytes) -> tuple[str, ...]:
        """Return every fingerprint by which this may be known, first the one to store."""
        return tuple(hmac.digest(key, content, hashlib.sha256).hex() for key in self._keys)
