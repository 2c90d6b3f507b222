"""The only source of randomness and of identifiers."""

import json
import random
import secrets
import uuid

_NAMESPACE = uuid.UUID("6f2d8a5e-0c1b-5d7e-9a34-3b1f4c8e7d20")


def new_id(prefix: str) -> str:
    """Return `prefix_` and 128 random bits, url-safe."""
    return f"{prefix}_{secrets.token_urlsafe(16)}"


def new_uuid() -> uuid.UUID:
    return uuid.uuid4()


def derived_uuid(*parts: str) -> uuid.UUID:
    """Return the same UUID for the same parts, and another one for parts split elsewhere."""
    return uuid.uuid5(_NAMESPACE, json.dumps(parts))


def new_secret(nbytes: int = 32) -> str:
    """Return `nbytes` random bytes, url-safe."""
    return secrets.token_urlsafe(nbytes)


def random_bytes(nbytes: int) -> bytes:
    return secrets.token_bytes(nbytes)


def jitter(low: float, high: float) -> float:
    """Return a number between the two, to spread what would otherwise happen at once."""
    return random.uniform(low, high)  # noqa: S311  # spreads load, guards nothing
