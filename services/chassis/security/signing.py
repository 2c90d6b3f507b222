"""Signatures of webhooks, by Standard Webhooks 1.0: over the raw bytes, made and checked.

Everything is compared as bytes and in constant time; nothing from outside reaches `int()` or `float()` unchecked.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from services.chassis.errors import Unauthenticated

WEBHOOK_ID: Final = "webhook-id"
WEBHOOK_TIMESTAMP: Final = "webhook-timestamp"
WEBHOOK_SIGNATURE: Final = "webhook-signature"
TOLERANCE_S: Final = 300

_PREFIX: Final = "whsec_"
_ID: Final = re.compile(r"[!-~]{1,255}", re.ASCII)
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}", re.ASCII)
_MAX_SIGNATURES: Final = 16


def verify(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: datetime) -> str:
    """Return the webhook's id; Unauthenticated unless one of the secrets has signed these bytes in the last 300 s."""
    named = {name.lower(): value for name, value in headers.items()}
    webhook_id, timestamp = named.get(WEBHOOK_ID, ""), named.get(WEBHOOK_TIMESTAMP, "")
    if not _ID.fullmatch(webhook_id) or not _TIMESTAMP.fullmatch(timestamp):
        raise Unauthenticated("The webhook's id or timestamp is missing or malformed.")
    if abs(now.timestamp() - int(timestamp)) > TOLERANCE_S:
        raise Unauthenticated("The webhook's timestamp is too far from now.")
    given = [
        signature.removeprefix("v1,").encode("utf-8", "surrogatepass")
        for signature in named.get(WEBHOOK_SIGNATURE, "").split(" ")[:_MAX_SIGNATURES]
        if signature.startswith("v1,")
    ]
    expected = [_signature(secret, webhook_id, timestamp, body) for secret in secrets]
    holding = [hmac.compare_digest(mine, theirs) for mine in expected for theirs in given]  # all, without a shortcut
    if not any(holding):
        raise Unauthenticated("The webhook's signature does not hold.")
    return webhook_id


def sign(secret: str, webhook_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the three headers of a signed webhook; `timestamp` in seconds since 1970."""
    return {
        WEBHOOK_ID: webhook_id,
        WEBHOOK_TIMESTAMP: str(timestamp),
        WEBHOOK_SIGNATURE: "v1," + _signature(secret, webhook_id, str(timestamp), body).decode(),
    }


def _signature(secret: str, webhook_id: str, timestamp: str, body: bytes) -> bytes:
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    signed = b".".join((webhook_id.encode(), timestamp.encode(), body))
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256))
