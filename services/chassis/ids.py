"""The only source of randomness and of identifiers.

UUIDs are of the driver's class, as Postgres gives them: a `uuid.UUID` that is compared, hashed, written and sent in a
tenth of the time.
"""

import hashlib
import json
import random
import secrets
import uuid
from functools import lru_cache
from typing import Final

from asyncpg.pgproto.pgproto import UUID

IDENTIFIER: Final = r"^[A-Za-z0-9_-]{1,64}$"
"""What a user, an order or a product is called, in paths and in headers."""
_NAMESPACE = uuid.UUID("6f2d8a5e-0c1b-5d7e-9a34-3b1f4c8e7d20").bytes


def new_id(prefix: str) -> str:
    """Return `prefix_` and 128 random bits, url-safe."""
    return f"{prefix}_{secrets.token_urlsafe(16)}"


def new_uuid() -> uuid.UUID:
    return UUID(uuid.uuid4().bytes)


@lru_cache(maxsize=4096)
def derived_uuid(*parts: str) -> uuid.UUID:
    """Return the same UUID for the same parts, and another one for parts split elsewhere."""
    digest = bytearray(hashlib.sha1(_NAMESPACE + json.dumps(parts).encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50  # a UUID of version 5 (RFC 9562)
    digest[8] = digest[8] & 0x3F | 0x80
    return UUID(bytes(digest))


def read_uuid(text: str) -> uuid.UUID:
    """Read a UUID in any form that `uuid.UUID` reads; ValueError if it is none."""
    try:
        return UUID(text)
    except ValueError:  # one of the rarer forms, or none
        return UUID(uuid.UUID(text).bytes)


def new_secret(nbytes: int = 32) -> str:
    """Return `nbytes` random bytes, url-safe."""
    return secrets.token_urlsafe(nbytes)


def random_bytes(nbytes: int) -> bytes:
    return secrets.token_bytes(nbytes)


def random_hex(digits: int) -> str:
    """Return random hexadecimal digits for what nobody needs to guess; the kernel is not asked for them."""
    return f"{random.getrandbits(4 * digits):0{digits}x}"


def jitter(low: float, high: float) -> float:
    """Return a number between the two, to spread what would otherwise happen at once."""
    return random.uniform(low, high)  # noqa: S311 - spreads load, guards nothing
